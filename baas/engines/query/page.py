"""Pages by keyset: the order, the place where the page before ended, and what comes after it."""

from baas.engines.query.table import Column, Table
from baas.engines.query.text import Slot
from baas.engines.query.tree import SortKey
from baas.infra.db.sql import Sql, join, sql

Nulls = tuple[bool, ...] | None
"""Which keys of the last record were null, None for the first page: all that the text of a page depends on."""


def order_by(table: Table, keys: tuple[SortKey, ...], alias: str) -> Sql:
    """Null comes last in both directions; for a column without nulls nothing is said, so that an index serves both ways."""
    return join(", ", (_one_order(table.columns[key.field], key, alias) for key in keys))


def after(table: Table, keys: tuple[SortKey, ...], nulls: tuple[bool, ...], alias: str) -> Sql:
    """True for what comes after the record whose keys are in the slots `("after", position)`."""
    columns = [table.columns[key.field] for key in keys]
    if not any(column.nullable for column in columns) and len({key.descending for key in keys}) == 1:
        # One direction and no nulls is a comparison of rows, which a btree index answers with one descent.
        ours = join(", ", (column.of(alias) for column in columns))
        theirs = join(", ", (_slot(column, position) for position, column in enumerate(columns)))
        return sql("({}) < ({})", ours, theirs) if keys[0].descending else sql("({}) > ({})", ours, theirs)
    return sql("({})", _after_from(0, columns, keys, nulls, alias))


def slots(values: tuple[str | None, ...]) -> dict[object, object]:
    """The values of the holes that `after` leaves open."""
    return {("after", position): value for position, value in enumerate(values)}


def _one_order(column: Column, key: SortKey, alias: str) -> Sql:
    if not key.descending:
        return column.of(alias)
    return sql("{} desc nulls last", column.of(alias)) if column.nullable else sql("{} desc", column.of(alias))


def _after_from(at: int, columns: list[Column], keys: tuple[SortKey, ...], nulls: tuple[bool, ...], alias: str) -> Sql:
    column = columns[at].of(alias)
    last = at == len(keys) - 1
    if nulls[at]:
        return sql("false") if last else sql("{} is null and ({})", column, _after_from(at + 1, columns, keys, nulls, alias))
    value = _slot(columns[at], at)
    beyond = sql("{} < {}", column, value) if keys[at].descending else sql("{} > {}", column, value)
    if columns[at].nullable:
        beyond = sql("({} or {} is null)", beyond, column)
    if last:
        return beyond
    return sql("{} or ({} = {} and ({}))", beyond, column, value, _after_from(at + 1, columns, keys, nulls, alias))


def _slot(column: Column, position: int) -> Sql:
    """A key travels as the text that PostgreSQL wrote for it, so it comes back as exactly the same value."""
    hole = Slot(("after", position))
    return column.typed(hole) if column.cast == "text" else column.typed(sql("{}::text", hole))
