"""What a change of a collection gives, and what it would meet in its table."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from baas.base.project import Project
from baas.engines.query.advice import Advice
from baas.engines.query.guarded import Guarded, Kind
from baas.engines.schema.collection import Collection
from baas.infra.db.pool import Queries

Beside = Callable[[Queries, Project], Awaitable[Sequence[Guarded]]]
"""What a later room keeps in a project under rules over its schema, as stored now."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A definition as it is stored now, and what lints say of its rules."""

    collection: Collection
    advice: Sequence[Advice]


@dataclass(frozen=True, slots=True)
class Impact:
    """Counts of stored records, by field: those that lose a value, that lack a required one, that break a limit.

    `duplicates` counts values held by several records, by the fields that are to be unique; `too_long` counts values that no
    index entry can hold.
    """

    records: int = 0
    lost: Mapping[str, int] = field(default_factory=dict)
    missing: Mapping[str, int] = field(default_factory=dict)
    unfit: Mapping[str, int] = field(default_factory=dict)
    too_long: Mapping[str, int] = field(default_factory=dict)
    duplicates: Mapping[tuple[str, ...], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BrokenExpression:
    """An expression that a change leaves without meaning; `place` is a pointer into the manifest of what it belongs to."""

    kind: Kind
    name: str
    place: str
    error: Mapping[str, object]

    def __str__(self) -> str:
        return f"{'' if self.kind == 'collection' else f'{self.kind} '}{self.name}{self.place}"

    def as_json(self) -> dict[str, object]:
        return {self.kind: self.name, "place": self.place, **self.error}
