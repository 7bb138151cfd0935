"""Records over HTTP. The routes are plain ASGI callables: what PostgreSQL wrote goes out as bytes, nothing is built around it."""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from baas.base.denial import MAX_DENIED_BYTES, Denial, Shape
from baas.base.errors import BadRequest, Forbidden, NotFound, PreconditionFailed, Unauthenticated
from baas.base.principal import Principal
from baas.base.project import Project
from baas.features.records.aggregates import ANSWER, REQUEST, asked_by_body, groups_json
from baas.features.records.bulk import AFFECTED, DELETE_REQUEST, UPDATE_REQUEST
from baas.features.records.creates import COUNTER, AnonymousCreates, OnceCounted
from baas.features.records.histories import AS_OF, AS_OF_ONE, HISTORY, MAX_VERSIONS, PAGE, as_of_by_query
from baas.features.records.model import (
    DEFAULT_LIMIT,
    MAX_FILTER_LENGTH,
    MAX_LIMIT,
    MAX_SEARCH_LENGTH,
    Page,
    Precondition,
    Stored,
    Wanted,
)
from baas.features.records.query import (
    COUNTS,
    EXPAND_SCHEMA,
    condition_by_query,
    selection_by_query,
    wanted_by_body,
    wanted_by_query,
)
from baas.features.records.service import Records
from baas.features.records.upserts import ANSWER as UPSERTED
from baas.features.records.upserts import REQUEST as UPSERT
from baas.infra.http import params
from baas.infra.http.answers import send_json
from baas.infra.http.body import as_object, read_json_body
from baas.infra.http.context import Context
from baas.infra.http.etags import condition, matches, tags
from baas.infra.http.page import next_link
from baas.infra.http.routes import ANYONE, BOTH, MATCH, Body, Endpoint, Method

_PATH = "/v1/projects/{project}/collections/{collection}/records"
_NO_STORE = (b"cache-control", b"no-store")
_REVISION = re.compile(r"[1-9][0-9]{0,18}")
_KEPT_QUERIES, _LONGEST_KEPT = 1000, 1000  # query strings; bytes of one
_encode = msgspec.json.Encoder().encode

_BY_RULE = frozenset({"rule_denied", "record_not_found", "unauthenticated"})
_ACTIONS = {
    "list": "list",
    "query": "list",
    "get": "view",
    "history": "view",
    "create": "create",
    "patch": "update",
    "upsert": "update",
    "update_many": "update",
    "delete_many": "delete",
    "put": "update",
    "delete": "delete",
}

_SHAPES: Mapping[str, Shape] = {"put": "put", "upsert": "upsert", "update_many": "bulk", "delete_many": "bulk"}

Handle = Callable[["Call"], Awaitable[None]]


class Call(NamedTuple):
    """One request to a collection: who, where, and the three things ASGI gives."""

    project: Project
    principal: Principal
    collection: str
    record: str
    scope: Scope
    receive: Receive
    send: Send

    def header(self, name: bytes) -> str | None:
        for key, value in self.scope["headers"]:
            if key == name:
                return str(value.decode("latin-1"))
        return None

    async def body(self) -> object:
        sent = await read_json_body(self.scope, self.receive, limit=self.project.settings.limits.max_json_bytes)
        self.scope["baas.sent"] = sent
        return sent

    def denial(self, action: str, shape: Shape) -> Denial:
        """What was asked, for the operator who asks why it was refused. A long body is let go: many may be waiting to be kept."""
        wanted, length = params.query(self.scope).get("filter"), self.header(b"content-length") or ""
        sent = self.scope.get("baas.sent")
        shape = "many" if isinstance(sent, list) else shape
        kept = sent if length.isdecimal() and int(length) <= MAX_DENIED_BYTES else None
        return Denial(self.collection, action, self.record or None, kept, wanted, call=shape)

    def answer(self, body: bytes, status: int = 200, *headers: tuple[bytes, bytes]) -> Awaitable[None]:
        return send_json(self.send, body, status, (_NO_STORE, *headers))

    async def empty(self, status: int, *headers: tuple[bytes, bytes]) -> None:
        await self.send({"type": "http.response.start", "status": status, "headers": [_NO_STORE, *headers]})
        await self.send({"type": "http.response.body", "body": b""})


class RecordsApi:
    """The table of the room's endpoints, and each of them."""

    def __init__(self, records: Records, creates: AnonymousCreates) -> None:
        self._records = records
        self._creates = creates
        self._known: dict[bytes, Wanted] = {}

    def routes(self) -> tuple[Endpoint, ...]:
        return (
            _endpoint("GET", "", self.list, "List records", query=_LIST_PARAMETERS, responses={200: _PAGE}),
            _endpoint("POST", "", self.create, "Create a record, or up to 1,000", request=_WRITE, responses={201: _RECORD}),
            _question("/query", self.query, "List records, asked by a body", request=_QUERY, responses={200: _PAGE}),
            _question("/aggregate", self.aggregate, "Count and sum up records", request=REQUEST, responses={200: ANSWER}),
            _endpoint(
                "POST", "/upsert", self.upsert, "Create or change by a unique key", request=UPSERT, responses={200: UPSERTED}
            ),
            _endpoint(
                "POST", "/bulk-update", self.update_many, "Change many records", request=UPDATE_REQUEST, responses={200: AFFECTED}
            ),
            _endpoint(
                "POST", "/bulk-delete", self.delete_many, "Delete many records", request=DELETE_REQUEST, responses={200: AFFECTED}
            ),
            _endpoint("GET", "/{id}", self.get, "Get a record", query=_ONE_PARAMETERS, responses={200: _RECORD, 304: None}),
            _endpoint("GET", "/{id}/history", self.history, "List the changes of a record", query=PAGE, responses={200: HISTORY}),
            _endpoint(
                "PATCH",
                "/{id}",
                self.patch,
                "Change fields of a record",
                query=_WHERE_PARAMETERS,
                request=CHANGE,
                responses={200: _RECORD},
                conditions=MATCH,
            ),
            _endpoint(
                "PUT",
                "/{id}",
                self.put,
                "Create or replace a record",
                request=_WRITE,
                responses={200: _RECORD, 201: _RECORD},
                conditions=BOTH,
            ),
            _endpoint(
                "DELETE",
                "/{id}",
                self.delete,
                "Delete a record",
                query=_WHERE_PARAMETERS,
                responses={204: None},
                conditions=MATCH,
            ),
        )

    async def list(self, call: Call) -> None:
        page = await self._records.list(call.project, call.principal, call.collection, self._wanted(call.scope))
        await call.answer(_page_json(page), 200, *_next_link(call.scope, page.next_cursor), *_feed_cursor(page))

    def _wanted(self, scope: Scope) -> Wanted:
        """What the query string asks for. Clients ask the same again and again, so a short one is understood once."""
        asked: bytes = scope["query_string"]
        wanted = self._known.get(asked)
        if wanted is None:
            wanted = wanted_by_query(params.query(scope))
            if len(asked) <= _LONGEST_KEPT:
                if len(self._known) >= _KEPT_QUERIES:
                    self._known.clear()
                self._known[asked] = wanted
        return wanted

    async def query(self, call: Call) -> None:
        wanted = wanted_by_body(as_object(await call.body()))
        page = await self._records.list(call.project, call.principal, call.collection, wanted)
        await call.answer(_page_json(page), 200, *_feed_cursor(page))

    async def aggregate(self, call: Call) -> None:
        asked = asked_by_body(as_object(await call.body()))
        await call.answer(groups_json(await self._records.aggregate(call.project, call.principal, call.collection, asked)))

    async def get(self, call: Call) -> None:
        values = params.query(call.scope)
        fields, expand = selection_by_query(values)
        as_of = as_of_by_query(values)
        stored = await self._records.get(
            call.project, call.principal, call.collection, call.record, fields, expand, values.get("expand"), as_of
        )
        only, known = condition(call.scope["headers"], "If-Match"), condition(call.scope["headers"], "If-None-Match")
        if expand or as_of is not None or stored.rev is None:
            # No ETag: the revision says nothing about the records that stand beside this one.
            if only not in (None, "*"):
                raise PreconditionFailed("What is asked for has no ETag.", hint="Ask without expand and as_of.")
            await call.answer(stored.body.encode())
            return
        etag = _etag(stored.rev)
        if only is not None and not matches(only, str(stored.rev), weak=False):
            raise PreconditionFailed("The record has changed since you read it.", headers={"ETag": etag.decode()})
        if known is not None and matches(known, str(stored.rev), weak=True):
            await call.empty(304, (b"etag", etag))
        else:
            await call.answer(stored.body.encode(), 200, (b"etag", etag))

    async def history(self, call: Call) -> None:
        values = params.query(call.scope)
        limit = params.integer(values, "limit", DEFAULT_LIMIT, minimum=1, maximum=MAX_VERSIONS)
        found = await self._records.history(
            call.project, call.principal, call.collection, call.record, limit, values.get("cursor")
        )
        body = b'{"items":[' + found.items.encode() + b'],"next_cursor":' + _encode(found.next_cursor) + b"}"
        await call.answer(body, 200, *_next_link(call.scope, found.next_cursor))

    async def create(self, call: Call) -> None:
        body = await call.body()
        self._count(call, len(body) if isinstance(body, list) else 1)
        if isinstance(body, list):
            items = await self._records.create_many(call.project, call.principal, call.collection, body)
            await call.answer(b'{"items":[' + items.encode() + b"]}", 201)
        else:
            stored = await self._records.create(call.project, call.principal, call.collection, as_object(body))
            await _answer_write(call, stored)

    async def upsert(self, call: Call) -> None:
        body = as_object(await call.body())
        items = body.get("items")
        self._count(call, len(items) if isinstance(items, list) else 0)
        done = await self._records.upsert(call.project, call.principal, call.collection, body)
        counts = b'],"created":%d,"updated":%d}' % (done.created, done.updated)
        await call.answer(b'{"items":[' + done.items.encode() + counts)

    async def update_many(self, call: Call) -> None:
        body = as_object(await call.body())
        await call.answer(
            b'{"affected":%d}' % await self._records.update_many(call.project, call.principal, call.collection, body)
        )

    async def delete_many(self, call: Call) -> None:
        body = as_object(await call.body())
        await call.answer(
            b'{"affected":%d}' % await self._records.delete_many(call.project, call.principal, call.collection, body)
        )

    async def patch(self, call: Call) -> None:
        only = _precondition(call)
        body = as_object(await call.body())
        stored = await self._records.patch(call.project, call.principal, call.collection, call.record, body, only)
        await _answer_write(call, stored)

    async def put(self, call: Call) -> None:
        only_new = condition(call.scope["headers"], "If-None-Match")
        if only_new not in (None, "*"):
            raise BadRequest("A PUT takes If-None-Match only as *.", code="bad_header", parameter="If-None-Match")
        body, only = as_object(await call.body()), _precondition(call)
        if only_new and only.given:
            raise BadRequest("If-Match and If-None-Match exclude each other.", code="bad_header", parameter="If-Match")
        self._count(call, 1)
        stored = await self._records.put(
            call.project,
            call.principal,
            call.collection,
            call.record,
            body,
            only=only,
            only_new=only_new == "*",
        )
        await _answer_write(call, stored)

    async def delete(self, call: Call) -> None:
        await self._records.delete(call.project, call.principal, call.collection, call.record, _precondition(call))
        await call.empty(204)

    def _count(self, call: Call, records: int) -> None:
        """Before the rules are asked, which costs more. Raises as `AnonymousCreates.take`."""
        counts: AnonymousCreates | OnceCounted = call.scope.get(COUNTER) or self._creates
        counts.take(Context.of(call.scope), records)


def _app(handle: Handle) -> ASGIApp:
    action, shape = _ACTIONS.get(handle.__name__, "list"), _SHAPES.get(handle.__name__, "one")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        context: Context = scope["baas.context"]
        path: Mapping[str, str] = scope["path_params"]
        call = Call(context.project, context.principal, path["collection"], path.get("id", ""), scope, receive, send)
        try:
            await handle(call)
        except (Forbidden, NotFound, Unauthenticated) as error:
            if error.code in _BY_RULE and not call.principal.privileged:
                # Many by a filter are refused by two rules, that of the list and their own: the call says which it meant.
                refused = action if shape == "bulk" else str(error.facts.get("action", action))
                error.denial = call.denial(refused, shape)
            raise

    return app


async def _answer_write(call: Call, stored: Stored) -> None:
    """The record as the caller may see it. What he may not see has no ETag either: it would tell the revision."""
    headers: list[tuple[bytes, bytes]] = [(b"etag", _etag(stored.rev))] if stored.seen and stored.rev else []
    if stored.created:
        place = f"/v1/projects/{call.project.name}/collections/{call.collection}/records/{stored.id}"
        headers.append((b"location", place.encode()))
    await call.answer(stored.body.encode(), 201 if stored.created else 200, *headers)


# Headers.


def _etag(rev: int) -> bytes:
    return b'"%d"' % rev


def _precondition(call: Call) -> Precondition:
    """What `If-Match` and `where` demand of the stored record. Raises BadRequest."""
    where, wanted = condition_by_query(params.query(call.scope)), condition(call.scope["headers"], "If-Match")
    revs = None if wanted in (None, "*") else tuple(_revisions(str(wanted)))
    return Precondition(revs, where, where is not None or wanted is not None)


def _revisions(wanted: str) -> Iterator[int]:
    """Those that a list of ETags names; what is no ETag of a record names none."""
    for tag in tags(wanted, weak=False):
        if _REVISION.fullmatch(tag) and int(tag) < 2**63:
            yield int(tag)


def _next_link(scope: Scope, cursor: str | None) -> list[tuple[bytes, bytes]]:
    link = next_link(scope, cursor)
    return [] if link is None else [(b"link", link.encode("latin-1"))]


def _feed_cursor(page: Page) -> list[tuple[bytes, bytes]]:
    """From where to follow what changes after this list; a view has no changes of its own."""
    return [] if page.feed is None else [(b"x-feed-cursor", page.feed.encode())]


def _page_json(page: Page) -> bytes:
    cursor = _encode(page.next_cursor)
    total = b"" if page.total is None else b',"total":%d' % page.total
    return b'{"items":[' + page.items.encode() + b'],"next_cursor":' + cursor + total + b"}"


# The API document.


def _endpoint(
    method: Method,
    path: str,
    handle: Handle,
    summary: str,
    *,
    query: Mapping[str, Mapping[str, object]] | None = None,
    request: Body | None = None,
    responses: Mapping[int, Body | None],
    conditions: tuple[str, ...] = (),
) -> Endpoint:
    return Endpoint(
        method,
        _PATH + path,
        ANYONE,
        summary,
        app=_app(handle),
        tag="records",
        query=query or {},
        request=request,
        responses=responses,
        conditions=conditions,
    )


def _question(path: str, handle: Handle, summary: str, *, request: Body, responses: Mapping[int, Body | None]) -> Endpoint:
    """A POST that changes nothing."""
    return replace(_endpoint("POST", path, handle, summary, request=request, responses=responses), asks=True)


_FIELDS_PARAMETER: Mapping[str, Mapping[str, object]] = {
    "fields": {"type": "string", "description": "Names with commas between them; everything readable when left out."},
}
_EXPAND_PARAMETER: Mapping[str, Mapping[str, object]] = {
    "expand": {
        "type": "string",
        "description": "Dotted paths such as `author,comments.author`, or as text the object that `/query` takes.",
    },
}
_GET_PARAMETERS = {**_FIELDS_PARAMETER, **_EXPAND_PARAMETER}
_WHERE_PARAMETERS: Mapping[str, Mapping[str, object]] = {
    "where": {
        "type": "string",
        "maxLength": MAX_FILTER_LENGTH,
        "description": "A condition on the record as it is stored; 412 when it does not hold.",
    },
    "vars": {"type": "string", "description": "A JSON object with the values of the $names in `where`."},
}
_ONE_PARAMETERS = {**_GET_PARAMETERS, "as_of": AS_OF_ONE}
_SEARCH = 'Words that must be there, the last one by its beginning; "phrases"; -words that must not. Best first without sort.'
_NEAR = (
    'A place {"field", "lat", "lon", "within"?: metres} or a vector {"field", "vector"}; nearest first without sort. Every item'
    " has its `_distance`."
)
_LIST_PARAMETERS: Mapping[str, Mapping[str, object]] = {
    "search": {"type": "string", "maxLength": MAX_SEARCH_LENGTH, "description": _SEARCH},
    "near": {"type": "string", "description": f"{_NEAR} As JSON."},
    "filter": {"type": "string", "maxLength": MAX_FILTER_LENGTH, "description": "An expression over the fields of a record."},
    "vars": {"type": "string", "description": "A JSON object with the values of the $names in the filter."},
    "sort": {"type": "string", "description": "Field names with commas between them, `-` in front for descending."},
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    "cursor": {"type": "string", "description": "next_cursor of the page before."},
    **_GET_PARAMETERS,
    "count": {"type": "string", "enum": list(COUNTS), "default": "none", "description": "An estimate stops at 10,000."},
    "as_of": AS_OF,
}
CHANGE = Body(
    {
        "type": "object",
        "description": 'Fields with their new values, or with one operator each, such as {"$inc": 3}:'
        " $inc, $min, $max, $append, $add, $remove, $now, $unset.",
    }
)
_RECORD = Body({"type": "object", "properties": {"id": {"type": "string", "format": "uuid"}}, "required": ["id"]})
_WRITE = Body({"type": ["object", "array"]})
_PAGE = Body(
    {
        "type": "object",
        "required": ["items", "next_cursor"],
        "properties": {
            "items": {"type": "array", "items": {"type": "object"}},
            "next_cursor": {"type": ["string", "null"]},
            "total": {"type": "integer"},
        },
    }
)
_QUERY = Body(
    {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "filter": {"type": "string", "maxLength": MAX_FILTER_LENGTH},
            "search": {"type": "string", "maxLength": MAX_SEARCH_LENGTH, "description": _SEARCH},
            "near": {"type": "object", "description": _NEAR},
            "vars": {"type": "object"},
            "sort": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
            "limit": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT},
            "cursor": {"type": ["string", "null"]},
            "fields": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
            "expand": EXPAND_SCHEMA,
            "count": {"type": "string", "enum": list(COUNTS)},
            "as_of": AS_OF,
        },
    }
)
