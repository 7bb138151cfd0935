"""What is asked, as frozen values: no SQL, no HTTP, no caller. The compiler turns one of them into one statement."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

Count = Literal["none", "estimate", "exact"]
Values = Mapping[str, object]
"""Field name -> the value as the driver binds it: what `schema/validate.py` makes of a body."""


class SortKey(NamedTuple):
    """One sort key: a field of the record, or of the one that the relations of `path` lead to, each from the one before.

    Absent values come last in both directions, unless `nulls_first`. Absent is also what the caller may not read. What is
    `computed` is no field: the query makes it, as the rank of a search.
    """

    field: str
    descending: bool = False
    path: tuple[str, ...] = ()
    nulls_first: bool = False
    computed: bool = False


@dataclass(frozen=True, slots=True)
class Filter:
    """A client's expression and the values of its `$names`, decoded from JSON with decimals for fractions.

    Two filters are equal when their texts are: values are read anew for every request, and 1 is not True.
    """

    source: str
    vars: Mapping[str, object] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Expand:
    """The records that a name leads to from each record of an answer: a relation of its own, or the `inverse` of another's.

    `fields` None is everything that the caller may read. `filter` leaves out records; `sort` and `limit` are for lists alone,
    `limit` None is the default. `source` is the parameter that named it, for what is said of a wrong name.
    """

    name: str
    fields: tuple[str, ...] | None = None
    filter: Filter | None = None
    sort: tuple[SortKey, ...] = ()
    limit: int | None = None
    expand: tuple["Expand", ...] = ()
    source: Literal["expand", "fields"] = "expand"


@dataclass(frozen=True, slots=True)
class Search:
    """What was typed, taken apart: `words` for websearch_to_tsquery, `prefixes` for to_tsquery, `loose` for a look with typos.

    `loose` holds each word with what a slip may have made it of, for to_tsquery; when `tolerant`, a record matches that has
    something like each word, or one of those.
    """

    words: str
    prefixes: str
    loose: tuple[tuple[str, str], ...] = ()
    tolerant: bool = False


class AsOf(NamedTuple):
    """A moment, with everything undone that came later; or the revision of a record. Exactly one of them."""

    moment: datetime | None = None
    rev: int | None = None


@dataclass(frozen=True, slots=True)
class Near:
    """Around what to look: `target` as the column's type reads it; of a place also its degrees, and `within` in metres."""

    field: str
    target: str
    within: float | None = None
    centre: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class List:
    """A page of records. `sort` ends in `id`, so the order is total (`ordered` makes it so).

    `after` holds the sort keys of the last record of the page before, as PostgreSQL writes them (None for null); None is the
    first page. `fields` None is everything the caller may read; `expand` adds the records that each one leads to.
    """

    sort: tuple[SortKey, ...]
    limit: int
    filter: Filter | None = None
    after: tuple[str | None, ...] | None = None
    fields: tuple[str, ...] | None = None
    count: Count = "none"
    expand: tuple[Expand, ...] = ()
    search: Search | None = None
    near: Near | None = None
    as_of: AsOf | None = None


class Get(NamedTuple):
    id: UUID
    fields: tuple[str, ...] | None = None
    expand: tuple[Expand, ...] = ()
    as_of: AsOf | None = None


class Versions(NamedTuple):
    """The changes of one record, newest first; `after` is the place of the last one of the page before."""

    id: UUID
    limit: int
    after: int | None = None


@dataclass(frozen=True, slots=True)
class Insert:
    """A new record; `values` holds its `id`, and a field that is missing is stored as null."""

    values: Values


@dataclass(frozen=True, slots=True)
class InsertMany:
    """New records, all or nothing, answered in this order."""

    rows: tuple[Values, ...]


@dataclass(frozen=True, slots=True)
class Update:
    """`values` of the record with this id change, the others stay; an `Operation` is a value that is worked out of the old one.

    Only while the record has one of these revisions and is one that `where` shows, when those are given.
    """

    id: UUID
    values: Values
    revs: tuple[int, ...] | None = None
    where: Filter | None = None


@dataclass(frozen=True, slots=True)
class Put:
    """Create the record with this id, or replace it.

    `values` is the whole row; of a stored one only `replaces` changes. A `fixed` field must already have the value given.
    `revs` given: only replace, and only one of those revisions; `only_old`: only replace, of whatever revision.
    """

    id: UUID
    values: Values
    replaces: tuple[str, ...]
    fixed: tuple[str, ...] = ()
    revs: tuple[int, ...] | None = None
    only_old: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    id: UUID
    revs: tuple[int, ...] | None = None
    where: Filter | None = None


def ordered(keys: tuple[SortKey, ...]) -> tuple[SortKey, ...]:
    """The keys with `id` as the last one, in the direction of the key before it, so that one index read backwards serves too.

    What follows `id` cannot change the order and is dropped.
    """
    for position, key in enumerate(keys):
        if key.field == "id" and not key.path:
            return keys[: position + 1]
    return (*keys, SortKey("id", keys[-1].descending if keys else False))
