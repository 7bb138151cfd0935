"""Records of one collection: what reads them."""

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, Literal
from urllib.parse import urlencode

import httpx2

from baas_sdk._async.compat import blocking
from baas_sdk._async.realtime import AsyncSubscription
from baas_sdk._async.transport import AsyncTransport, Call, parsed
from baas_sdk.changes import identity
from baas_sdk.errors import ConfigError
from baas_sdk.expansions import Expand, wish
from baas_sdk.filters import Filter, compile_filters
from baas_sdk.landing import Landing
from baas_sdk.lines import Lines
from baas_sdk.models import Group, Groups, M, Page, Version
from baas_sdk.wire import encode, segment, timestamp

Count = Literal["none", "estimate", "exact"]
Format = Literal["ndjson", "csv"]
_LONGEST_QUERY = 2000
"""Characters of a query that go into the address; longer ones are sent as a body, which no proxy cuts."""


class AsyncExport(Generic[M]):
    """Records as they arrive, once. Made by `collection.export()`."""

    def __init__(
        self,
        pieces: Callable[[], AsyncIterator[bytes]],
        read: Callable[[Mapping[str, Any]], M],
        format: Format,  # noqa: A002
    ) -> None:
        self._pieces = pieces
        self._read = read
        self.format = format

    def iter_bytes(self) -> AsyncIterator[bytes]:
        """The file in pieces, as the server sends it.

        Raises:
            ConnectionFailed: it was cut before its end.
        """
        return self._pieces()

    async def __aiter__(self) -> AsyncIterator[M]:
        """One record after the other.

        Raises:
            ConnectionFailed: it was cut before its end. ConfigError: CSV has no records, only bytes.
        """
        if self.format != "ndjson":
            raise ConfigError("CSV is read by iter_bytes(); records come from NDJSON.")
        lines = Lines()
        async for piece in self._pieces():
            for line in lines.feed(piece):
                yield self._read(json.loads(line))
        if rest := lines.end():
            yield self._read(json.loads(rest))


class AsyncReading(Generic[M]):
    """Reads the records of one collection or view, as the caller's rules allow."""

    def __init__(self, transport: AsyncTransport, name: str, read: Callable[[Mapping[str, Any]], M]) -> None:
        self.name = name
        self._transport = transport
        self._path = transport.options.path_of(f"collections/{segment(name)}/records")
        self._read = read

    async def get(
        self, record_id: str, *, fields: Sequence[str] = (), expand: Expand = (), as_of: datetime | int | None = None
    ) -> M:
        """One record; `expand` as in `list`. `as_of` is a moment, or a revision: as it was then, where histories are kept.

        Raises:
            NotFound: it is absent, or the view rule hides it. BadRequest: the collection keeps no history, or not from then on.
        """
        query = {"fields": ",".join(fields), "expand": wish(expand), "as_of": _moment(as_of)}
        return self._read(await self._transport.json("GET", self._item(record_id), params=_texts(query)))

    async def list(
        self,
        *,
        filter: Filter | None = None,  # noqa: A002  # the server's own word
        vars: Mapping[str, object] | None = None,  # noqa: A002  # likewise
        sort: str | Sequence[str] = (),
        limit: int | None = None,
        cursor: str | None = None,
        fields: Sequence[str] = (),
        expand: Expand = (),
        count: bool | Count = False,
        search: str | None = None,
        near: Mapping[str, object] | None = None,
        as_of: datetime | None = None,
    ) -> Page[M]:
        """One page. `filter` is a text with `$names` from `vars`, or an `F` expression; `sort` is like `"-created_at,title"`.

        `expand` adds the records that relations lead to, under `expand` of each item: dotted paths (`"author,comments.author"`),
        or an object with wishes for each path (`{"comments": {"filter": F.likes >= 3, "sort": "-likes", "limit": 5}}`).
        `count=True` adds the exact `total` of the filter, `"estimate"` a cheap one. `search` is words as a person types them.
        `near` is a place (`{"field": "place", "lat": 52.52, "lon": 13.4, "within": 5000}`) or a vector (`{"field": "embedding",
        "vector": [0.1, 0.7]}`), and every item has its `_distance`. With either, the best or nearest comes first without `sort`.
        `as_of` gives the records as they were at a moment, under the rules of today.

        Raises:
            BadRequest: the filter or sort cannot be read; `facts["position"]` says where.
            Forbidden, NotAuthenticated: the list rule can never hold for this caller.
        """
        response = await self._query(
            {
                **compile_filters({"filter": filter}, vars),
                "sort": sort if isinstance(sort, str) else ",".join(sort),
                "limit": limit,
                "cursor": cursor,
                "fields": ",".join(fields),
                "expand": wish(expand),
                "count": {True: "exact", False: None}.get(count, count) if isinstance(count, bool) else count,
                "search": search,
                "near": near,
                "as_of": _moment(as_of),
            }
        )
        answer = parsed(response)
        items = [self._read(item) for item in answer["items"]]
        return Page(items, answer.get("next_cursor"), answer.get("total"), response.headers.get("X-Feed-Cursor"))

    async def history(self, record: M | str, *, limit: int | None = None, cursor: str | None = None) -> Page[Version[M]]:
        """The changes of a record, the newest first, where the collection keeps histories.

        Raises:
            NotFound: it is absent, or the view rule hides it. BadRequest: the collection keeps no history.
        """
        path, query = f"{self._item(identity(record)[0])}/history", {"limit": limit, "cursor": cursor}
        answer = await self._transport.json("GET", path, params=_texts(query))
        return Page([self._version(item) for item in answer["items"]], answer["next_cursor"])

    def _version(self, item: Mapping[str, Any]) -> Version[M]:
        at = datetime.fromisoformat(item["at"])
        return Version(item["action"], item["rev"], at, self._read(item["record"]), item.get("principal"), item.get("request_id"))

    async def iter(
        self,
        *,
        filter: Filter | None = None,  # noqa: A002  # the server's own word
        vars: Mapping[str, object] | None = None,  # noqa: A002  # likewise
        sort: str | Sequence[str] = (),
        fields: Sequence[str] = (),
        expand: Expand = (),
        search: str | None = None,
        near: Mapping[str, object] | None = None,
        page_size: int = 100,
    ) -> AsyncIterator[M]:
        """Every record that `list` would give, page after page; nothing is held open between them.

        Raises: as `list`.
        """
        cursor: str | None = None
        while True:
            page = await self.list(
                filter=filter,
                vars=vars,
                sort=sort,
                fields=fields,
                expand=expand,
                limit=page_size,
                cursor=cursor,
                search=search,
                near=near,
            )
            for item in page.items:
                yield item
            cursor = page.next_cursor
            if cursor is None:
                return

    async def first(
        self,
        *,
        filter: Filter | None = None,  # noqa: A002  # the server's own word
        vars: Mapping[str, object] | None = None,  # noqa: A002  # likewise
        sort: str | Sequence[str] = (),
        fields: Sequence[str] = (),
        expand: Expand = (),
        search: str | None = None,
        near: Mapping[str, object] | None = None,
    ) -> M | None:
        """The first record in this order, or None.

        Raises: as `list`.
        """
        page = await self.list(
            filter=filter, vars=vars, sort=sort, fields=fields, expand=expand, search=search, near=near, limit=1
        )
        return page.items[0] if page.items else None

    async def count(
        self,
        *,
        filter: Filter | None = None,  # noqa: A002  # the server's own word
        vars: Mapping[str, object] | None = None,  # noqa: A002  # likewise
        search: str | None = None,
        near: Mapping[str, object] | None = None,
    ) -> int:
        """How many records `list` would give in all.

        Raises: as `list`.
        """
        page = await self.list(filter=filter, vars=vars, search=search, near=near, limit=1, fields=["id"], count=True)
        return page.total or 0

    async def aggregate(
        self,
        select: Mapping[str, str] | None = None,
        *,
        group_by: str | Sequence[str | Mapping[str, str]] = (),
        filter: Filter | None = None,  # noqa: A002  # the server's own word
        having: Filter | None = None,
        vars: Mapping[str, object] | None = None,  # noqa: A002  # likewise
        sort: str | Sequence[str] = (),
        limit: int | None = None,
        time_zone: str | None = None,
        search: str | None = None,
        near: Mapping[str, object] | None = None,
    ) -> Groups:
        """Figures of groups, or of all records: `aggregate({"n": "count()", "total": "sum(price)"}, group_by=["status"])`.

        `group_by` names fields, also through relations and as parts of time (`"created_at:month"`). `having` is a condition on
        the names of the answer, `F.n > 1` or a text, which shares `vars` with `filter`. `search` and `near` (a place with
        `within`) say which records count.

        Raises:
            BadRequest: what does not fit, each with its pointer. Forbidden, NotAuthenticated: as `list`.
        """
        body: dict[str, object] = {
            **compile_filters({"filter": filter, "having": having}, vars),
            "select": select,
            "group_by": [group_by] if isinstance(group_by, str) else list(group_by),
            "sort": sort if isinstance(sort, str) else ",".join(sort),
            "limit": limit,
            "time_zone": time_zone,
            "search": search,
            "near": near,
        }
        given = {name: value for name, value in body.items() if value not in (None, "", [])}
        answer = await self._transport.json("POST", f"{self._path}/aggregate", given, asks=True)
        return Groups([Group(item) for item in answer["items"]], answer["more"])

    @asynccontextmanager
    async def export(
        self,
        format: Format = "ndjson",  # noqa: A002  # the server's own word
        *,
        filter: Filter | None = None,  # noqa: A002  # the server's own word
        vars: Mapping[str, object] | None = None,  # noqa: A002  # likewise
        sort: str | Sequence[str] = (),
        fields: Sequence[str] = (),
        search: str | None = None,
        near: Mapping[str, object] | None = None,
    ) -> AsyncIterator[AsyncExport[M]]:
        """Every record that `list` would give, as of one moment and in one answer, read while it arrives. `near` needs `within`;
        `search` and `near` say which records are meant, and change neither their order nor what is told of them.

        `async with todos.export() as records: async for record in records: …`; `iter_bytes()` gives the file as it is.

        Raises: as `list`; while it is read ConnectionFailed, when it was cut: what came before is not the whole.
        """
        query = {
            **compile_filters({"filter": filter}, vars),
            "format": format,
            "sort": sort if isinstance(sort, str) else ",".join(sort),
            "fields": ",".join(fields),
            "search": search,
            "near": near,
        }
        call = Call("GET", f"{self._path}/export", params=_texts(query), headers={"Accept": "*/*"})
        async with self._transport.stream(call) as response:
            yield AsyncExport(response.aiter_bytes, self._read, format)

    async def export_to(
        self,
        to: Path,
        *,
        filter: Filter | None = None,  # noqa: A002  # the server's own word
        vars: Mapping[str, object] | None = None,  # noqa: A002  # likewise
        sort: str | Sequence[str] = (),
        fields: Sequence[str] = (),
        search: str | None = None,
        near: Mapping[str, object] | None = None,
        format: Format | None = None,  # noqa: A002  # the server's own word
    ) -> Path:
        """Writes an export to a file, beside it first and renamed at the end, so that `to` is whole or not there.

        Without `format` a name that ends in `.csv` gets CSV, any other NDJSON.

        Raises: as `export`. OSError: the disk refuses.
        """
        form: Format = format or ("csv" if to.suffix.lower() == ".csv" else "ndjson")
        landing = await blocking(Landing, to)
        try:
            async with self.export(form, filter=filter, vars=vars, sort=sort, fields=fields, search=search, near=near) as export:
                async for piece in export.iter_bytes():
                    await blocking(landing.file.write, piece)
            await blocking(landing.commit)
        except BaseException:
            landing.discard()
            raise
        return to

    def subscribe(
        self,
        *,
        filter: Filter | None = None,  # noqa: A002  # the server's own word
        vars: Mapping[str, object] | None = None,  # noqa: A002  # likewise
        fields: Sequence[str] = (),
        expand: Expand = (),
        initial: bool = True,
        since: str | None = None,
    ) -> AsyncSubscription[M]:
        """Follows what a list shows: first everything (`initial`) or from `since` on, then each change as it happens.

        `async with todos.subscribe(filter=F.done == False) as events: async for event in events: …`

        Raises, when the block is entered: as `list`; BadRequest for a filter that cannot be followed. See `AsyncSubscription`.
        """
        wanted = {
            "collection": self.name,
            **compile_filters({"filter": filter}, vars),
            "fields": ",".join(fields),
            "expand": wish(expand),
            "initial": initial,
        }
        given = {name: value for name, value in wanted.items() if value not in (None, "")}
        return AsyncSubscription(self._transport, given, self._read, since)

    def _item(self, record_id: str) -> str:
        return f"{self._path}/{segment(record_id)}"

    async def _query(self, query: Mapping[str, object]) -> httpx2.Response:
        given = {name: value for name, value in query.items() if value not in (None, "")}
        texts = _texts(given)
        if len(urlencode(texts)) <= _LONGEST_QUERY:
            return await self._transport.send(Call("GET", self._path, params=texts))
        kind = {"Content-Type": "application/json"}
        return await self._transport.send(Call("POST", f"{self._path}/query", content=encode(given), headers=kind, asks=True))


def _moment(as_of: datetime | int | None) -> str | None:
    return timestamp(as_of) if isinstance(as_of, datetime) else None if as_of is None else str(as_of)


def _texts(query: Mapping[str, object]) -> dict[str, str]:
    """A query as an address has it; what is None or empty is left out."""
    return {
        name: value if isinstance(value, str) else encode(value).decode()
        for name, value in query.items()
        if value not in (None, "")
    }
