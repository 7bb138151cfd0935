"""Pages by keyset: the rows of a page as JSON texts, the place where the page before ended, and what comes after it."""

from baas.engines.query.order import Key, Order
from baas.engines.query.text import Slot
from baas.infra.db.sql import Sql, ident, join, literal, sql

Nulls = tuple[bool, ...] | None
"""Which keys of the last record were null, None for the first page: all that the text of a page depends on."""


def page(json: Sql, alias: str, *, source: Sql, where: Sql, order: Sql, limit: int, beside: Sql) -> Sql:
    """A select of one row: `items` (the JSON texts of the rows with commas between, null for none), `more`, and what stands
    `beside` them. The rows of `source`, and those that come out, have this alias.
    """
    name = ident(alias)
    position = ident(alias, "_position")
    # The limit is a constant of the text: with a parameter the planner would guess a tenth of the table. The record beyond
    # the limit only says that there is more; it is never turned into JSON.
    return sql(
        "select string_agg({}, ',') filter (where {} <= {}) as items, count(*) > {} as more{}"
        " from (select p.*, row_number() over () as _position from"
        " (select {}.* from {} where {} order by {} limit {}) p) {}",
        json,
        position,
        literal(limit),
        literal(limit),
        beside,
        name,
        source,
        where,
        order,
        literal(limit + 1),
        name,
    )


def after(order: Order, nulls: tuple[bool, ...], alias: str) -> Sql:
    """True for what comes after the record whose keys are in the slots `("after", position)`."""
    keys = order.keys
    if not any(key.nullable for key in keys) and len({key.descending for key in keys}) == 1:
        # One direction and no nulls is a comparison of rows, which a btree index answers with one descent.
        ours = order.values(alias)
        theirs = join(", ", (_slot(key) for key in keys))
        return sql("({}) < ({})", ours, theirs) if keys[0].descending else sql("({}) > ({})", ours, theirs)
    return sql("({})", _after_from(0, keys, nulls, alias))


def slots(values: tuple[str | None, ...]) -> dict[object, object]:
    """The values of the holes that `after` leaves open."""
    return {("after", position): value for position, value in enumerate(values)}


def _after_from(at: int, keys: tuple[Key, ...], nulls: tuple[bool, ...], alias: str) -> Sql:
    """True where this key comes later than that of the last record, or is equal to it and what follows comes later."""
    key = keys[at]
    value = key.value(alias)
    rest = _after_from(at + 1, keys, nulls, alias) if at + 1 < len(keys) else None
    if nulls[at]:
        equal = sql("{} is null", value)
        later = sql("{} is not null", value) if key.nulls_first else None
    else:
        last = _slot(key)
        equal = sql("{} = {}", value, last)
        later = sql("{} < {}", value, last) if key.descending else sql("{} > {}", value, last)
        if key.nullable and not key.nulls_first:
            later = sql("({} or {} is null)", later, value)
    if rest is None:
        return later or sql("false")
    same = sql("{} and ({})", equal, rest)
    return same if later is None else sql("{} or ({})", later, same)


def _slot(key: Key) -> Sql:
    """A key travels as the text that PostgreSQL wrote for it, so it comes back as exactly the same value."""
    hole = Slot(("after", key.position))
    return key.column.typed(hole) if key.column.cast == "text" else key.column.typed(sql("{}::text", hole))
