"""Writes that are planned and not sent yet: the operations of a batch, and what becomes of them."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, cast
from urllib.parse import urlencode

from baas_sdk.changes import condition, identity, merged
from baas_sdk.errors import ConfigError
from baas_sdk.filters import Filter
from baas_sdk.ids import uuid7
from baas_sdk.models import M
from baas_sdk.wire import encode, segment


class Planned(Generic[M]):
    """One write of a batch. `id` is known at once, so that later writes may refer to the record; `record` when it was sent."""

    def __init__(self, read: Callable[[Mapping[str, Any]], M], record_id: str) -> None:
        self.id = record_id
        self._read = read
        self._answer: Mapping[str, Any] | None = None
        self._sent = False

    @property
    def record(self) -> M:
        """The record as the write left it.

        Raises:
            ConfigError: the batch was not sent, or the write was a delete.
        """
        if not self._sent:
            raise ConfigError("The batch is sent at the end of its block; there is no record yet.")
        if self._answer is None:
            raise ConfigError("What was deleted has no record.")
        return self._read(self._answer)

    def settle(self, answer: Mapping[str, Any] | None) -> None:
        """Called with what the server answered."""
        self._answer, self._sent = answer, True


class Plan:
    """The operations of a batch, in order."""

    def __init__(self) -> None:
        self.operations: list[dict[str, object]] = []
        self._planned: list[Planned[Any]] = []

    def add(self, planned: Planned[M], operation: dict[str, object]) -> Planned[M]:
        """One more."""
        if "body" in operation:
            operation = {**operation, "body": _plain(json.loads(encode(operation["body"])))}
        self.operations.append({"id": f"o{len(self.operations) + 1}", **operation})
        self._planned.append(planned)
        return planned

    def settle(self, results: Sequence[Mapping[str, Any]]) -> None:
        """Tells each what became of it."""
        for planned, result in zip(self._planned, results, strict=True):
            planned.settle(result.get("body"))


class PlannedCollection(Generic[M]):
    """The records of a collection, to be written by a batch. Made by `batch.collection(...)`."""

    def __init__(self, plan: Plan, name: str, read: Callable[[Mapping[str, Any]], M]) -> None:
        self._plan = plan
        self._path = f"/collections/{segment(name)}/records"
        self._read = read

    def create(self, values: Mapping[str, object] | None = None, /, **fields: object) -> Planned[M]:
        """Plans a new record."""
        body = {"id": uuid7(), **merged(values, fields)}
        planned = Planned(self._read, str(body["id"]))
        return self._plan.add(planned, {"method": "POST", "path": self._path, "body": body})

    def update(
        self,
        record: M | Planned[M] | str,
        values: Mapping[str, object] | None = None,
        /,
        *,
        where: Filter | None = None,
        vars: Mapping[str, object] | None = None,  # noqa: A002  # the server's own word
        **fields: object,
    ) -> Planned[M]:
        """Plans a change; a record only in the revision that was read."""
        return self._write("PATCH", record, {"body": merged(values, fields)}, condition(where, vars))

    def put(self, record: M | Planned[M] | str, values: Mapping[str, object] | None = None, /, **fields: object) -> Planned[M]:
        """Plans to make the record exactly this."""
        return self._write("PUT", record, {"body": merged(values, fields)}, {})

    def delete(
        self,
        record: M | Planned[M] | str,
        *,
        where: Filter | None = None,
        vars: Mapping[str, object] | None = None,  # noqa: A002  # the server's own word
    ) -> Planned[M]:
        """Plans to delete it; a record only in the revision that was read."""
        return self._write("DELETE", record, {}, condition(where, vars))

    def _write(self, method: str, record: object, body: Mapping[str, object], query: Mapping[str, str]) -> Planned[M]:
        record_id, rev = (record.id, None) if isinstance(record, Planned) else identity(record)
        path = f"{self._path}/{segment(record_id)}" + (f"?{urlencode(query)}" if query else "")
        match = {} if rev is None else {"if_match": f'"{rev}"'}
        return self._plan.add(
            Planned(self._read, record_id), cast(dict[str, object], {"method": method, "path": path, **body, **match})
        )


def _plain(value: Any) -> Any:
    """A body in which no text is taken for a reference to an earlier operation, whatever somebody typed."""
    match value:
        case str():
            return value.replace("@{", "@@{")
        case dict():
            return {name: _plain(one) for name, one in value.items()}
        case list():
            return [_plain(one) for one in value]
    return value
