"""The order of a list: its keys with the caller's rights in them, and their SQL."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from baas.engines.query.asking import Asking
from baas.engines.query.reach import BadName, Reached, Way, find_way, reach
from baas.engines.query.table import Column, Table
from baas.engines.query.tree import SortKey
from baas.infra.db.sql import Sql, join, sql


@dataclass(frozen=True, slots=True)
class Key:
    """One key, at its position among the others."""

    position: int
    reached: Reached
    descending: bool
    nulls_first: bool

    @property
    def column(self) -> Column:
        return self.reached.column

    @property
    def nullable(self) -> bool:
        return self.reached.nullable

    def value(self, alias: str) -> Sql:
        """What the row with this alias is sorted by."""
        return self.reached.sql(alias, f"{alias}s{self.position}")

    def by(self, alias: str) -> Sql:
        """The key in ORDER BY. Of a column without nulls nothing is said about them, so that an index serves both ways."""
        value = self.value(alias)
        if not self.nullable:
            return sql("{} desc", value) if self.descending else value
        if self.descending:
            return sql("{} desc", value) if self.nulls_first else sql("{} desc nulls last", value)
        return sql("{} nulls first", value) if self.nulls_first else value


@dataclass(frozen=True, slots=True)
class Order:
    """Keys in their order. `key` is what the text depends on."""

    keys: tuple[Key, ...]
    key: Hashable

    def by(self, alias: str) -> Sql:
        """What stands in ORDER BY."""
        return join(", ", (key.by(alias) for key in self.keys))

    def values(self, alias: str) -> Sql:
        """The values of the keys with commas between."""
        return join(", ", (key.value(alias) for key in self.keys))


def ways(table: Table, keys: Iterable[SortKey], asking: Asking, *, code: str = "bad_sort") -> tuple[Way, ...]:
    """Where the keys lead. Raises BadName for what does not exist for this caller, and for what has no order."""
    found = []
    for key in keys:
        if key.computed:
            found.append(Way(table, (), table.column(key.field)))
            continue
        way = find_way(table, (*key.path, key.field), asking, code=code)
        if not way.column.sortable:
            hint = "Say near= for the nearest first." if way.column.cast in ("geo_point", "vector") else None
            raise BadName(code, (*key.path, key.field), f"{key.field!r} holds {way.column.plural}, which have no order.", hint)
        found.append(way)
    return tuple(found)


def order_of(keys: tuple[SortKey, ...], found: tuple[Way, ...], asking: Asking) -> Order:
    """The order for this caller; `found` are the ways of these keys."""
    reached = [reach(way, asking) for way in found]
    made = (Key(at, one, key.descending, key.nulls_first) for at, (key, one) in enumerate(zip(keys, reached, strict=True)))
    return Order(tuple(made), (keys, *(one.key for one in reached)))


def shape_of(table: Table, keys: tuple[SortKey, ...], asking: Asking) -> Hashable:
    """What the text of an order depends on: the keys alone for plain fields, which is the common case."""
    if not any(key.path for key in keys) and not (asking.masked and table.gated(key.field for key in keys)):
        return keys
    return order_of(keys, ways(table, keys, asking), asking).key
