"""What an atom of SQL is made of: values of a known kind and nullness, and conditions joined with their constants worked out."""

from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Literal, NamedTuple

from baas.base.places import Geo
from baas.engines.rules import values
from baas.infra.db.sql import Sql, join, literal, sql

Condition = Sql | bool
"""A rail: SQL, or a constant where no row can change it."""
Nullness = Literal["never", "null", "error"]
"""What SQL's NULL means in a value: it has none, it is the language's null, or it is a failure."""


class Value(NamedTuple):
    """SQL of a known kind. Kinds are those of the types, and null and error where no row matters.

    `item` is the kind of a list's elements, "" for an empty one of the caller's; `holds_null` that it holds a null. `uuid` is
    the same text as a uuid, where the caller's text is one; `given` marks a text that is known to be none, and a caller's list.
    """

    sql: Sql
    kind: str
    null: Nullness
    item: str = ""
    holds_null: bool = False
    uuid: Sql | None = None
    given: bool = False


ERROR = Value(Sql(), "error", "error")
NULL = Value(Sql(), "null", "null")
JSON_NULL = sql("'null'::jsonb")
EMPTY = sql("'{{}}'::text[]")


def _cast(value: Sql, kind: str) -> Sql:
    """The fragment as a parameter or constant of a kind: the driver and the planner are always told the type."""
    match kind:
        case "string" | "uuid":
            return sql("{}::text", value)
        case "int" | "duration":
            return sql("{}::int8", value)
        case "double":
            return sql("{}::float8", value)
        case "decimal":
            return sql("{}::numeric", value)
        case "timestamp":
            return sql("{}::timestamptz", value)
        case "bool":
            return sql("{}::bool", value)
        case "json":
            return sql("{}::jsonb", value)
        case "geo":
            # A row of two numbers: PostgreSQL takes it apart while it plans, where a text would be read again for every row.
            return sql("row(({}::float8[])[1], ({}::float8[])[2])::baas_rt.geo_point", value, value)
    raise ValueError(f"no value of kind {kind!r} reaches SQL")


def cast_list(value: Sql, item: str) -> Sql:
    match item:
        case "string" | "":
            return sql("{}::text[]", value)
        case "uuid":
            return sql("{}::uuid[]", value)
        case "int" | "duration":
            return sql("{}::int8[]", value)
        case "double":
            return sql("{}::float8[]", value)
        case "decimal":
            return sql("{}::numeric[]", value)
        case "timestamp":
            return sql("{}::timestamptz[]", value)
        case "bool":
            return sql("{}::bool[]", value)
    raise ValueError(f"no list of {item!r} reaches SQL")


def written(value: object) -> Sql:
    """A value as quoted text for a constant in the statement itself."""
    match value:
        case bool():
            return literal("true" if value else "false")
        case float():
            return literal(repr(value))
        case Geo():
            return literal(f"{{{value.lat!r},{value.lon!r}}}")
        case Decimal():
            return literal(values.decimal_text(value))
        case datetime():
            return literal(value.isoformat())
        case _:
            return literal(str(value))


# Leaves and constants


def given(kind: str, hole: Callable[[str], Sql], value: object = None) -> Value:
    """A value known before any row, from its kind: a hole each time it is used, or its text."""
    match kind:
        case "error":
            return ERROR
        case "null":
            return NULL
        case "true" | "false":
            return Value(sql("true") if kind == "true" else sql("false"), "bool", "never")
        case "uuid":
            return Value(sql("{}::text", hole(kind)), "string", "never", uuid=sql("{}::uuid", hole(kind)), given=True)
        case "text" | "string":
            return Value(sql("{}::text", hole(kind)), "string", "never", given=kind == "text")
    if kind.startswith("["):
        item, _, nullable = kind[1:].partition("]")
        array = _array(value, item) if value is not None else cast_list(hole(kind), item)
        return Value(array, "list", "never", item, bool(nullable), given=True)
    return Value(_cast(hole(kind), kind), kind, "never")


def _array(items: object, item: str) -> Sql:
    """A list in the text itself."""
    if not isinstance(items, list | tuple) or not items:
        return EMPTY
    return cast_list(sql("array[{}]", join(", ", (sql("null") if one is None else written(one) for one in items))), item)


def constant(value: object) -> Value:
    """A literal that stands where a choice was lifted out."""
    kind = values.kind_of(value)
    if isinstance(value, bool):
        return given("true" if value else "false", lambda _: Sql())
    if isinstance(value, str):
        kind = "uuid" if values.is_uuid(value) else "text"
    return given(kind, lambda _: written(value))


# Joining conditions


def all_of(conditions: Iterable[Condition]) -> Condition:
    """AND, with constants worked out."""
    return _joined(conditions, decides=False)


def any_of(conditions: Iterable[Condition]) -> Condition:
    """OR, with constants worked out."""
    return _joined(conditions, decides=True)


def _joined(conditions: Iterable[Condition], *, decides: bool) -> Condition:
    parts: list[Sql] = []
    for one in conditions:
        if isinstance(one, Sql):
            parts.append(one)
        elif one is decides:
            return decides
    if not parts:
        return not decides
    if len(parts) == 1:
        return parts[0]
    return sql("({})", join(" or " if decides else " and ", parts))


def as_sql(condition: Condition) -> Sql:
    if isinstance(condition, Sql):
        return condition
    return sql("true") if condition else sql("false")


def plain(atom: Sql, want: bool) -> Sql:
    """An atom whose NULL is a failure: NOT keeps it one."""
    return atom if want else sql("not {}", atom)


def negated(condition: Condition) -> Condition:
    """NOT of a condition that is never null (an `exists`)."""
    return sql("not {}", condition) if isinstance(condition, Sql) else not condition


def any_element(elements: Sql, condition: Condition, *, shared: bool = False) -> Condition:
    """`shared`: the elements are records, and the one that decides is locked."""
    if condition is False:
        return False
    return sql("exists (select from {} where {}{})", elements, as_sql(condition), sql(" for share") if shared else sql(""))


def is_present(value: Value) -> Condition:
    """That a value is not a failure (or, of a list, that there is one)."""
    return True if value.null == "never" else sql("{} is not null", value.sql)


def truth_of(value: Value, want: bool) -> Condition:
    """A value where a condition is needed: true, false, or else a failure."""
    if value.kind == "bool":
        return plain(value.sql, want)
    if value.kind == "json":
        return sql("{} = 'true'::jsonb", value.sql) if want else sql("{} = 'false'::jsonb", value.sql)
    return False
