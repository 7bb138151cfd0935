# Made from _async/records.py by sdk/unasync.py; change that one.
"""Records of one collection: what changes them."""

from collections.abc import Iterable, Mapping
from typing import cast

import httpx2

from baas_sdk._sync.paging import gone
from baas_sdk._sync.reading import Reading
from baas_sdk._sync.transport import Call, parsed
from baas_sdk.errors import APIError, ConfigError, Conflict, NotFound, PreconditionFailed
from baas_sdk.ids import uuid7
from baas_sdk.models import M, Record
from baas_sdk.retry import Repeat
from baas_sdk.wire import encode


class Collection(Reading[M]):
    """The records of one collection, as the caller's rules allow. Made by `client.collection(...)`."""

    def create(self, values: Mapping[str, object] | None = None, /, **fields: object) -> M:
        """Creates a record from a mapping, keywords, or both, and gives it back; `{"id"}` alone when the caller may not view it.

        Without an `id` among the values one is made here, so that a repeated request is known to be the same record.

        Raises:
            Invalid: values that do not fit; every fault is in `.fields`.
            Conflict: a unique value, or the id, is taken.
            Forbidden, NotAuthenticated: the create rule says no.
        """
        body = _merged(values, fields)
        if "id" in body:
            return self._read(self._transport.json("POST", self._path, body))
        body = {"id": uuid7(), **body}

        def settle(refusal: APIError) -> httpx2.Response | None:
            return self._made(cast(str, body["id"]), refusal)

        return self._read(self._transport.json("POST", self._path, body, repeat=Repeat.SAFE, settle=settle))

    def create_many(self, items: Iterable[Mapping[str, object]]) -> list[M]:
        """Creates up to 1,000 records in one transaction: all or none. The answer has their order.

        Raises: as `create`; the pointers in `.fields` begin with the index.
        """
        values = list(items)
        ids = sorted(uuid7() for _ in values)  # so that the order of ids, which lists have, is the order given
        bodies = [{"id": made, **item} for made, item in zip(ids, values, strict=True)]
        if not bodies:
            return []
        own = len({body["id"] for body in bodies}) == len(bodies)

        def settle(refusal: APIError) -> httpx2.Response | None:
            """All or none: when the first is there, all are."""
            if self._made(str(bodies[0]["id"]), refusal) is None:
                return None
            found = [self._made(str(body["id"]), refusal) for body in bodies]
            return httpx2.Response(200, content=encode({"items": [parsed(one) for one in found if one is not None]}))

        repeat = Repeat.SAFE if own else Repeat.UNSENT
        answer = self._transport.json("POST", self._path, bodies, repeat=repeat, settle=settle)
        return [self._read(item) for item in answer["items"]]

    def update(self, record: M | str, values: Mapping[str, object] | None = None, /, **fields: object) -> M:
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
            return self._read(self._transport.json("PATCH", path, body))

        def settle(refusal: APIError) -> httpx2.Response | None:
            return self._changed(path, rev, body) if isinstance(refusal, PreconditionFailed) else None

        match = {"If-Match": f'"{rev}"'}
        return self._read(self._transport.json("PATCH", path, body, headers=match, repeat=Repeat.SAFE, settle=settle))

    def put(self, record: M | str, values: Mapping[str, object] | None = None, /, **fields: object) -> M:
        """Makes the record exactly this: created when absent, replaced when there; a record only in its revision.

        Raises: as `create` and `update`.
        """
        body = _merged(values, fields)
        record_id, rev = _identity(record)
        path = self._item(record_id)
        if rev is None:
            return self._read(self._transport.json("PUT", path, body, repeat=Repeat.SAFE))

        def settle(refusal: APIError) -> httpx2.Response | None:
            return self._changed(path, rev, body) if isinstance(refusal, PreconditionFailed) else None

        match = {"If-Match": f'"{rev}"'}
        return self._read(self._transport.json("PUT", path, body, headers=match, repeat=Repeat.SAFE, settle=settle))

    def delete(self, record: M | str) -> None:
        """Deletes it; a record only while it has the revision that was read.

        Raises:
            NotFound: it is absent or hidden. Forbidden: the delete rule says no.
            PreconditionFailed: the record changed since it was read. Conflict: others refer to it.
        """
        record_id, rev = _identity(record)
        headers = {} if rev is None else {"If-Match": f'"{rev}"'}
        self._transport.json("DELETE", self._item(record_id), headers=headers, repeat=Repeat.SAFE, settle=gone)

    def _made(self, record_id: str, refusal: APIError) -> httpx2.Response | None:
        """The record, if the attempt whose answer was lost made it; its id alone when the caller may not view it."""
        try:
            return self._transport.send(Call("GET", self._item(record_id)))
        except NotFound:
            taken = isinstance(refusal, Conflict) and any(error.pointer.endswith("/id") for error in refusal.errors)
            return httpx2.Response(200, content=encode({"id": record_id})) if taken else None

    def _changed(self, path: str, rev: int, body: Mapping[str, object]) -> httpx2.Response | None:
        """Whether the attempt whose answer was lost made the change: the next revision, with what was sent in it."""
        try:
            response = self._transport.send(Call("GET", path))
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
