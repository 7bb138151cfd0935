"""Every record of a list as one file, sent while it is read: constant memory, one moment of the database.

A file that is whole ends as HTTP says. One that was cut (the database failed, the time was over, the server stops) ends with the
connection, without the last chunk, so that a client can tell: what has no proper end is not complete.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

from starlette.types import Message, Receive, Scope, Send

from baas.base.denial import Denial
from baas.base.errors import BadRequest, Forbidden, Unauthenticated, Unavailable
from baas.base.settings import Settings
from baas.engines.query.export import Format
from baas.features.records.model import MAX_FILTER_LENGTH, MAX_SEARCH_LENGTH
from baas.features.records.query import wanted_by_query
from baas.features.records.service import Records
from baas.infra.http import params
from baas.infra.http.admission import Gate
from baas.infra.http.context import Context
from baas.infra.http.routes import ANYONE, Body, Endpoint
from baas.infra.observe.lifecycle import Lifecycle

_PATH = "/v1/projects/{project}/collections/{collection}/records/export"
_TYPES: Mapping[str, bytes] = {
    "ndjson": b"application/x-ndjson",
    "csv": b"text/csv; charset=utf-8; header=present",
}
_LAST_WORDS_S = 2.0  # of a drain: what is cut then still has its clean-up before it
_BUSY_S = 5


class ExportsApi:
    """One endpoint. `max_exports` are under way at once, of which no project holds more than half while others want some."""

    def __init__(self, records: Records, lifecycle: Lifecycle, settings: Settings) -> None:
        self._records = records
        self._draining = lifecycle.draining
        self._idle_s = settings.export_idle_timeout_s
        self._grace_s = max(0.0, settings.drain_timeout_s - _LAST_WORDS_S)
        self._places = Gate(min(settings.max_exports, settings.db_pool_size - 1), queue=0, wait_s=0)

    def routes(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint(
                "GET",
                _PATH,
                ANYONE,
                "Export records as a file",
                app=self.export,
                tag="records",
                query=_PARAMETERS,
                responses={200: _FILE},
                streams=True,
            ),
        )

    async def export(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises as a list does, and Unavailable (`too_many_exports`); once the answer has begun it is cut instead."""
        key = str(Context.of(scope).project.id)
        if not self._places.try_enter(key):
            raise Unavailable("Too many exports are under way.", code="too_many_exports", retry_after_s=_BUSY_S)
        work = asyncio.ensure_future(self._send_file(scope, send))
        cut = asyncio.ensure_future(_cut(receive, self._draining, self._grace_s))
        try:
            await asyncio.wait({work, cut}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
        finally:
            for task in (work, cut):
                task.cancel()
            # Its connection goes back before the place does.
            with contextlib.suppress(BaseException):
                await work
            self._places.leave(key)

    async def _send_file(self, scope: Scope, send: Send) -> None:
        context, collection = Context.of(scope), scope["path_params"]["collection"]
        asked = dict(params.query(scope))
        form: Format = params.one_of(asked, "format", ("ndjson", "csv"), "ndjson")  # type: ignore[assignment]
        asked.pop("format", None)
        wanted = wanted_by_query(asked)
        if wanted.expand:
            raise BadRequest("An export has the fields of the records alone.", code="bad_fields", parameter="fields")
        try:
            lines = await self._records.export(context.project, context.principal, collection, wanted, form)
        except (Forbidden, Unauthenticated) as error:
            if not context.principal.privileged:
                error.denial = Denial(collection, "list", filter=wanted.filter)
            raise
        async with lines:
            await send({"type": "http.response.start", "status": 200, "headers": _headers(collection, form)})
            with contextlib.suppress(TimeoutError):
                await self._send_pieces(lines.pieces(), send)

    async def _send_pieces(self, pieces: AsyncIterator[bytes], send: Send) -> None:
        """Raises TimeoutError when the client takes nothing for long."""
        async for piece in pieces:
            await self._send_one(send, {"type": "http.response.body", "body": piece, "more_body": True})
        await self._send_one(send, {"type": "http.response.body", "body": b""})

    async def _send_one(self, send: Send, message: Message) -> None:
        async with asyncio.timeout(self._idle_s):
            await send(message)


async def _cut(receive: Receive, draining: asyncio.Event, grace_s: float) -> None:
    """Returns when the client is gone, or the server stops and has waited long enough."""
    gone = asyncio.ensure_future(_disconnected(receive))
    stops = asyncio.ensure_future(draining.wait())
    try:
        await asyncio.wait({gone, stops}, return_when=asyncio.FIRST_COMPLETED)
        if not gone.done():
            await asyncio.wait({gone}, timeout=grace_s)
    finally:
        gone.cancel()
        stops.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _headers(collection: str, form: Format) -> list[tuple[bytes, bytes]]:
    # A collection's name is letters, digits and underscores: nothing in it needs care in a header.
    return [
        (b"content-type", _TYPES[form]),
        (b"content-disposition", f'attachment; filename="{collection}.{form}"'.encode("ascii")),
        (b"cache-control", b"no-store"),
    ]


_PARAMETERS: Mapping[str, Mapping[str, object]] = {
    "format": {"type": "string", "enum": ["ndjson", "csv"], "default": "ndjson"},
    "filter": {"type": "string", "maxLength": MAX_FILTER_LENGTH, "description": "As of a list."},
    "vars": {"type": "string", "description": "A JSON object with the values of the $names in the filter."},
    "search": {"type": "string", "maxLength": MAX_SEARCH_LENGTH, "description": "As of a list; no typo is forgiven."},
    "near": {"type": "string", "description": 'A place as JSON: {"field", "lat", "lon", "within": metres}.'},
    "sort": {"type": "string", "description": "As of a list; by id, which is by age, when left out."},
    "fields": {"type": "string", "description": "Names with commas between them; everything readable when left out."},
}
_FILE = Body({"type": "string"}, "application/x-ndjson", "One record a line; with `format=csv` it is text/csv.")
