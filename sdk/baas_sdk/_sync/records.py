# Made from _async/records.py by sdk/unasync.py; change that one.
"""Records of one collection: what changes them."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from baas_sdk._sync.compat import blocking
from baas_sdk._sync.files import pieces_of
from baas_sdk._sync.raw import Raw
from baas_sdk._sync.reading import Reading, Format
from baas_sdk._sync.transport import Call, parsed
from baas_sdk.changes import condition, identity, merged
from baas_sdk.filters import Filter, compile_filters
from baas_sdk.ids import uuid7
from baas_sdk.models import ImportReport, M, Progress, Upserted
from baas_sdk.sources import Source, examine

_IMPORT_S = 600.0
"""How long a server may take for a file after all of it was sent."""


class Collection(Reading[M]):
    """The records of one collection, as the caller's rules allow. Made by `client.collection(...)`."""

    @property
    def raw(self) -> Raw:
        """The same calls, answered by the response with its headers: `(todos.raw.list(limit=5)).headers`."""
        return Raw(self._transport, lambda transport: Collection(transport, self.name, self._read))

    def create(self, values: Mapping[str, object] | None = None, /, **fields: object) -> M:
        """Creates a record from a mapping, keywords, or both, and gives it back; `{"id"}` alone when the caller may not view it.

        Without an `id` among the values one is made here.

        Raises:
            Invalid: values that do not fit; every fault is in `.fields`.
            Conflict: a unique value, or the id, is taken.
            Forbidden, NotAuthenticated: the create rule says no.
        """
        return self._read(self._transport.json("POST", self._path, {"id": uuid7(), **merged(values, fields)}))

    def create_many(self, items: Iterable[Mapping[str, object]]) -> list[M]:
        """Creates up to 1,000 records in one transaction: all or none. The answer has their order.

        Raises: as `create`; the pointers in `.fields` begin with the index.
        """
        values = list(items)
        ids = sorted(uuid7() for _ in values)  # so that the order of ids, which lists have, is the order given
        bodies = [{"id": made, **item} for made, item in zip(ids, values, strict=True)]
        if not bodies:
            return []
        answer = self._transport.json("POST", self._path, bodies)
        return [self._read(item) for item in answer["items"]]

    def update(
        self,
        record: M | str,
        values: Mapping[str, object] | None = None,
        /,
        *,
        where: Filter | None = None,
        vars: Mapping[str, object] | None = None,  # noqa: A002  # the server's own word
        **fields: object,
    ) -> M:
        """Changes the given fields and gives the record as it is now; a value may be an operator, such as `inc(-1)`.

        A record carries its revision, so a change that somebody made meanwhile is not overwritten; an id does not ask. `where` is
        a condition on what is stored: `update(lamp.id, stock=inc(-1), where=F.stock >= 1)` is one statement, and never oversells.

        Raises:
            PreconditionFailed: the record changed since it was read, or `where` does not hold.
            NotFound: it is absent or hidden. Forbidden: the update rule says no. Invalid, Conflict: as `create`.
        """
        body = merged(values, fields)
        record_id, rev = identity(record)
        params = condition(where, vars)
        return self._read(self._transport.json("PATCH", self._item(record_id), body, params=params, headers=_match(rev)))

    def put(self, record: M | str, values: Mapping[str, object] | None = None, /, **fields: object) -> M:
        """Makes the record exactly this: created when absent, replaced when there; a record only in its revision.

        Raises: as `create` and `update`.
        """
        body = merged(values, fields)
        record_id, rev = identity(record)
        return self._read(self._transport.json("PUT", self._item(record_id), body, headers=_match(rev)))

    def delete(
        self,
        record: M | str,
        *,
        where: Filter | None = None,
        vars: Mapping[str, object] | None = None,  # noqa: A002  # the server's own word
    ) -> None:
        """Deletes it; a record only while it has the revision that was read, and only while `where` holds.

        Raises:
            NotFound: it is absent or hidden. Forbidden: the delete rule says no.
            PreconditionFailed: the record changed since it was read, or `where` does not hold. Conflict: others refer to it.
        """
        record_id, rev = identity(record)
        params = condition(where, vars)
        self._transport.json("DELETE", self._item(record_id), params=params, headers=_match(rev))

    def update_many(
        self,
        values: Mapping[str, object],
        *,
        filter: Filter,  # noqa: A002  # the server's own word
        max_affected: int,
        vars: Mapping[str, object] | None = None,  # noqa: A002  # likewise
    ) -> int:
        """Changes every record of a filter that the caller may change; how many they were.

        Raises:
            Conflict: they are more than `max_affected`, and nothing was written. Others: as `update`.
        """
        body = {**compile_filters({"filter": filter}, vars), "patch": values, "max_affected": max_affected}
        answer = self._transport.json("POST", f"{self._path}/bulk-update", body)
        return int(answer["affected"])

    def delete_many(
        self,
        *,
        filter: Filter,  # noqa: A002  # the server's own word
        max_affected: int,
        vars: Mapping[str, object] | None = None,  # noqa: A002  # likewise
    ) -> int:
        """Deletes every record of a filter that the caller may delete; how many they were.

        Raises:
            Conflict: they are more than `max_affected`, and nothing was deleted. Others: as `delete`.
        """
        body = {**compile_filters({"filter": filter}, vars), "max_affected": max_affected}
        answer = self._transport.json("POST", f"{self._path}/bulk-delete", body)
        return int(answer["affected"])

    def upsert(self, items: Iterable[Mapping[str, object]], *, key: str | Sequence[str]) -> Upserted[M]:
        """Creates each record, or changes the one that has the same values in the `key`, whose fields a unique index has.

        Raises:
            Invalid: there is no such unique index, or values do not fit; nothing was written. Forbidden, Conflict: as `create`.
        """
        body = {"key": [key] if isinstance(key, str) else list(key), "items": list(items)}
        answer = self._transport.json("POST", f"{self._path}/upsert", body)
        return Upserted([self._read(item) for item in answer["items"]], answer["created"], answer["updated"])

    def import_(
        self,
        source: Source,
        *,
        key: str | Sequence[str] = (),
        format: Format | None = None,  # noqa: A002  # the server's own word
        dry_run: bool = False,
        skip_errors: bool = False,
        from_line: int = 1,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> ImportReport:
        """Creates a record of each line of a file, NDJSON or CSV as `export_to` writes them, a thousand lines a transaction.

        A line with a fault stops it before the thousand that it is among, or is left out with `skip_errors`; the report tells
        each. With a `key`, whose fields a unique index has, a line changes the record with the same values in them, as `upsert`
        does. `dry_run` writes nothing. Repeated after a break when the source can be read again: no line is written twice.

        Raises:
            Forbidden, NotAuthenticated: the create rule can never hold. TooLarge: the file is.
            APIError: it was stopped on the way; `facts["report"]` says how far it came.
        """
        upload = blocking(examine, source)
        csv = (format or ("csv" if (upload.name or "").lower().endswith(".csv") else "ndjson")) == "csv"
        params = {"on_error": "skip"} if skip_errors else {}
        if names := [key] if isinstance(key, str) else list(key):
            params["key"] = ",".join(names)
        length = {} if upload.size is None else {"Content-Length": str(upload.size)}
        call = Call(
            "POST",
            f"{self._path}/import",
            params={**params, "dry_run": "true" if dry_run else "false", "from_line": str(from_line)},
            content=lambda: pieces_of(upload, on_progress),
            headers={"Content-Type": "text/csv" if csv else "application/x-ndjson", **length},
            replays=upload.replays,
            silence_s=_IMPORT_S,
        )
        return ImportReport(parsed(self._transport.send(call)))


def _match(rev: int | None) -> dict[str, str]:
    return {} if rev is None else {"If-Match": f'"{rev}"'}
