"""Records of one collection."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, Literal, cast
from urllib.parse import urlencode

import httpx2

from baas_sdk._async.paging import gone
from baas_sdk._async.transport import AsyncTransport, Call, parsed
from baas_sdk.errors import APIError, ConfigError, Conflict, NotFound, PreconditionFailed
from baas_sdk.filters import Filter, compile_filter
from baas_sdk.ids import uuid7
from baas_sdk.models import M, Page, Record
from baas_sdk.retry import Repeat
from baas_sdk.wire import encode, segment

Count = Literal["none", "estimate", "exact"]
_LONGEST_QUERY = 2000
"""Characters of a query that go into the address; longer ones are sent as a body, which no proxy cuts."""


class AsyncCollection(Generic[M]):
    """The records of one collection, as the caller's rules allow. Made by `client.collection(...)`."""

    def __init__(self, transport: AsyncTransport, name: str, read: Callable[[Mapping[str, Any]], M]) -> None:
        self.name = name
        self._transport = transport
        self._path = transport.options.path_of(f"collections/{segment(name)}/records")
        self._read = read

    async def create(self, values: Mapping[str, object] | None = None, /, **fields: object) -> M:
        """Creates a record from a mapping, keywords, or both, and gives it back; `{"id"}` alone when the caller may not view it.

        Without an `id` among the values one is made here, so that a repeated request is known to be the same record.

        Raises:
            Invalid: values that do not fit; every fault is in `.fields`.
            Conflict: a unique value, or the id, is taken.
            Forbidden, NotAuthenticated: the create rule says no.
        """
        body = _merged(values, fields)
        if "id" in body:
            return self._read(await self._transport.json("POST", self._path, body))
        body = {"id": uuid7(), **body}

        async def settle(refusal: APIError) -> httpx2.Response | None:
            return await self._made(cast(str, body["id"]), refusal)

        return self._read(await self._transport.json("POST", self._path, body, repeat=Repeat.SAFE, settle=settle))

    async def create_many(self, items: Iterable[Mapping[str, object]]) -> list[M]:
        """Creates up to 1,000 records in one transaction: all or none. The answer has their order.

        Raises: as `create`; the pointers in `.fields` begin with the index.
        """
        bodies = [{"id": uuid7(), **item} for item in items]
        if not bodies:
            return []
        own = len({body["id"] for body in bodies}) == len(bodies)

        async def settle(refusal: APIError) -> httpx2.Response | None:
            """All or none: when the first is there, all are."""
            if await self._made(str(bodies[0]["id"]), refusal) is None:
                return None
            found = [await self._made(str(body["id"]), refusal) for body in bodies]
            return httpx2.Response(200, content=encode({"items": [parsed(one) for one in found if one is not None]}))

        repeat = Repeat.SAFE if own else Repeat.UNSENT
        answer = await self._transport.json("POST", self._path, bodies, repeat=repeat, settle=settle)
        return [self._read(item) for item in answer["items"]]

    async def get(self, record_id: str, *, fields: Sequence[str] = ()) -> M:
        """One record.

        Raises:
            NotFound: it is absent, or the view rule hides it.
        """
        return self._read(await self._transport.json("GET", self._item(record_id), params=_given(fields=",".join(fields))))

    async def list(
        self,
        *,
        filter: Filter | None = None,  # noqa: A002  # the server's own word
        vars: Mapping[str, object] | None = None,  # noqa: A002  # likewise
        sort: str | Sequence[str] = (),
        limit: int | None = None,
        cursor: str | None = None,
        fields: Sequence[str] = (),
        count: bool | Count = False,
        search: str | None = None,
        near: Mapping[str, object] | None = None,
    ) -> Page[M]:
        """One page. `filter` is a text with `$names` from `vars`, or an `F` expression; `sort` is like `"-created_at,title"`.

        `count=True` adds the exact `total` of the filter, `"estimate"` a cheap one. `search` is words as a person types them.
        `near` is a place (`{"field": "place", "lat": 52.52, "lon": 13.4, "within": 5000}`) or a vector (`{"field": "embedding",
        "vector": [0.1, 0.7]}`), and every item has its `_distance`. With either, the best or nearest comes first without `sort`.

        Raises:
            BadRequest: the filter or sort cannot be read; `facts["position"]` says where.
            Forbidden, NotAuthenticated: the list rule can never hold for this caller.
        """
        compiled = compile_filter(filter, vars)
        query: dict[str, object] = {
            "filter": compiled.text if compiled is not None else None,
            "vars": compiled.variables if compiled is not None and compiled.variables else None,
            "sort": sort if isinstance(sort, str) else ",".join(sort),
            "limit": limit,
            "cursor": cursor,
            "fields": ",".join(fields),
            "count": {True: "exact", False: None}.get(count, count) if isinstance(count, bool) else count,
            "search": search,
            "near": near,
        }
        answer = await self._query({name: value for name, value in query.items() if value not in (None, "")})
        items = [self._read(item) for item in answer["items"]]
        return Page(items, answer.get("next_cursor"), answer.get("total"))

    async def iter(
        self,
        *,
        filter: Filter | None = None,  # noqa: A002  # the server's own word
        vars: Mapping[str, object] | None = None,  # noqa: A002  # likewise
        sort: str | Sequence[str] = (),
        fields: Sequence[str] = (),
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
                filter=filter, vars=vars, sort=sort, fields=fields, limit=page_size, cursor=cursor, search=search, near=near
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
    ) -> M | None:
        """The first record in this order, or None.

        Raises: as `list`.
        """
        page = await self.list(filter=filter, vars=vars, sort=sort, limit=1)
        return page.items[0] if page.items else None

    async def count(
        self,
        *,
        filter: Filter | None = None,  # noqa: A002  # the server's own word
        vars: Mapping[str, object] | None = None,  # noqa: A002  # likewise
    ) -> int:
        """How many records `list` would give in all.

        Raises: as `list`.
        """
        page = await self.list(filter=filter, vars=vars, limit=1, count=True)
        return page.total or 0

    async def update(self, record: M | str, values: Mapping[str, object] | None = None, /, **fields: object) -> M:
        """Changes the given fields and gives the record as it is now.

        A record carries its revision, so a change that somebody made meanwhile is not overwritten; an id does not ask.

        Raises:
            PreconditionFailed: the record changed since it was read.
            NotFound: it is absent or hidden. Forbidden: the update rule says no. Invalid, Conflict: as `create`.
        """
        body = _merged(values, fields)
        record_id, rev = _identity(record)
        path = self._item(record_id)
        if rev is None:
            return self._read(await self._transport.json("PATCH", path, body))

        async def settle(refusal: APIError) -> httpx2.Response | None:
            return await self._changed(path, rev, body) if isinstance(refusal, PreconditionFailed) else None

        match = {"If-Match": f'"{rev}"'}
        return self._read(await self._transport.json("PATCH", path, body, headers=match, repeat=Repeat.SAFE, settle=settle))

    async def put(self, record: M | str, values: Mapping[str, object] | None = None, /, **fields: object) -> M:
        """Makes the record exactly this: created when absent, replaced when there; a record only in its revision.

        Raises: as `create` and `update`.
        """
        body = _merged(values, fields)
        record_id, rev = _identity(record)
        path = self._item(record_id)
        if rev is None:
            return self._read(await self._transport.json("PUT", path, body, repeat=Repeat.SAFE))

        async def settle(refusal: APIError) -> httpx2.Response | None:
            return await self._changed(path, rev, body) if isinstance(refusal, PreconditionFailed) else None

        match = {"If-Match": f'"{rev}"'}
        return self._read(await self._transport.json("PUT", path, body, headers=match, repeat=Repeat.SAFE, settle=settle))

    async def delete(self, record: M | str) -> None:
        """Deletes it; a record only while it has the revision that was read.

        Raises:
            NotFound: it is absent or hidden. Forbidden: the delete rule says no.
            PreconditionFailed: the record changed since it was read. Conflict: others refer to it.
        """
        record_id, rev = _identity(record)
        headers = {} if rev is None else {"If-Match": f'"{rev}"'}
        await self._transport.json("DELETE", self._item(record_id), headers=headers, repeat=Repeat.SAFE, settle=gone)

    def _item(self, record_id: str) -> str:
        return f"{self._path}/{segment(record_id)}"

    async def _query(self, query: Mapping[str, object]) -> Any:
        texts = {name: value if isinstance(value, str) else encode(value).decode() for name, value in query.items()}
        if len(urlencode(texts)) <= _LONGEST_QUERY:
            return await self._transport.json("GET", self._path, params=texts)
        return await self._transport.json("POST", f"{self._path}/query", dict(query), repeat=Repeat.SAFE)

    async def _made(self, record_id: str, refusal: APIError) -> httpx2.Response | None:
        """The record, if the attempt whose answer was lost made it; its id alone when the caller may not view it."""
        try:
            return await self._transport.send(Call("GET", self._item(record_id)))
        except NotFound:
            taken = isinstance(refusal, Conflict) and any(error.pointer.endswith("/id") for error in refusal.errors)
            return httpx2.Response(200, content=encode({"id": record_id})) if taken else None

    async def _changed(self, path: str, rev: int, body: Mapping[str, object]) -> httpx2.Response | None:
        """Whether the attempt whose answer was lost made the change: the next revision, with what was sent in it."""
        try:
            response = await self._transport.send(Call("GET", path))
        except NotFound:
            return None
        stored = parsed(response)
        sent = parsed(httpx2.Response(200, content=encode(body)))
        same = all(name in stored and stored[name] == value for name, value in sent.items())
        return response if same and stored.get("rev") == rev + 1 else None


def _merged(values: Mapping[str, object] | None, fields: Mapping[str, object]) -> dict[str, object]:
    """The mapping and the keywords as one body; a name in both is refused, because one of them would be lost."""
    if isinstance(values, Record):
        raise ConfigError("A record holds its system fields too; send the fields that should be stored.")
    if twice := (values or {}).keys() & fields.keys():
        raise ConfigError(f"{', '.join(sorted(twice))} is given twice.")
    return {**(values or {}), **fields}


def _identity(record: object) -> tuple[str, int | None]:
    """Id and revision of a record or model; an id alone has no revision."""
    if isinstance(record, str):
        return record, None
    record_id, rev = getattr(record, "id", None), getattr(record, "rev", None)
    if not isinstance(record_id, str):
        raise ConfigError(f"{record!r} is neither a record nor an id.")
    return record_id, rev if isinstance(rev, int) else None


def _given(**params: str) -> dict[str, str]:
    return {name: value for name, value in params.items() if value}
