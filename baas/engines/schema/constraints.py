"""From the constraint that PostgreSQL names back to the fields a caller knows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from baas.engines.schema import names
from baas.engines.schema.collection import Collection
from baas.infra.db.errors import CheckViolated, ConstraintViolated, NotNullViolated, ReferenceViolated, UniqueViolated

ViolationKind = Literal["unique", "reference", "required", "check"]


@dataclass(frozen=True, slots=True)
class Violation:
    """What was violated: the fields of `collection`, in the order of the constraint; `id` alone is the primary key.

    A "reference" whose collection is not the one being written means that records of that one still link to this record.
    """

    kind: ViolationKind
    collection: Collection
    fields: tuple[str, ...]


def violation_of(error: ConstraintViolated, collections: Mapping[str, Collection]) -> Violation | None:
    """The fields behind a violated constraint; None when it is not one of a collection as these definitions have it."""
    collection = collections.get(error.table)
    if collection is None:
        return None
    if isinstance(error, NotNullViolated):
        return Violation("required", collection, (error.column,))
    fields = _fields_of(collection, error.constraint)
    kind = next((kind for kind, cls in _KINDS.items() if isinstance(error, cls)), None)
    return Violation(kind, collection, fields) if fields and kind else None


def _fields_of(collection: Collection, constraint: str) -> tuple[str, ...]:
    if constraint == names.primary_key(collection):
        return ("id",)
    for index in collection.indexes:
        if constraint == names.index(collection, index):
            return tuple(name.removeprefix("-") for name in index.fields)
    for field in collection.fields:
        if constraint in (make(collection, field) for make in (names.unique_key, names.foreign_key, names.check)):
            return (field.name,)
    return ()


_KINDS: Mapping[ViolationKind, type[ConstraintViolated]] = {
    "unique": UniqueViolated,
    "reference": ReferenceViolated,
    "check": CheckViolated,
}
