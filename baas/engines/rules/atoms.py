"""The atoms of SQL: equality, order, membership and calls, each on two rails (`want` true: it holds; false: it does not).

Total: no atom raises, whatever is stored. A failure on either side leaves both rails false or null.
"""

from collections.abc import Mapping, Sequence

from baas.engines.rules.functions.function import Function
from baas.engines.rules.operands import (
    ERROR,
    JSON_NULL,
    Condition,
    Nullness,
    Value,
    all_of,
    any_of,
    as_sql,
    cast_list,
    is_present,
    plain,
)
from baas.engines.rules.types import NUMBERS, TEXTS
from baas.infra.db.sql import Sql, sql

# Equality


def equality(a: Value, b: Value, want: bool) -> Condition:
    """`a == b` is `want`."""
    if "error" in (a.kind, b.kind):
        return False
    if a.kind == "null":
        a, b = b, a
    if b.kind == "null":
        return _is_null(a, want)
    sides = alike(a, b)
    if sides is None:
        return False if want else all_of(is_present(one) for one in (a, b) if one.null == "error")
    x, y = sides
    nullable = "null" in (x.null, y.null)
    if want:
        same = sql("{} = {}", x.sql, y.sql)
        if x.null == y.null == "null":
            return sql("({} or ({} is null and {} is null))", same, x.sql, y.sql)
        return same
    if not nullable:
        return sql("{} <> {}", x.sql, y.sql)
    # The language's null differs from every value, but a failure differs from nothing.
    differ = sql("{} is distinct from {}", x.sql, y.sql)
    return all_of((differ, *(is_present(one) for one in (x, y) if one.null == "error")))


def _is_null(value: Value, want: bool) -> Condition:
    if value.kind == "null":
        return want
    if value.kind == "json":
        held = as_json(value)
        return sql("{} = {}", held.sql, JSON_NULL) if want else sql("{} <> {}", held.sql, JSON_NULL)
    if value.null == "never":
        return not want
    if value.null == "error":
        return False if want else is_present(value)
    return sql("{} is null", value.sql) if want else sql("{} is not null", value.sql)


def alike(a: Value, b: Value) -> tuple[Value, Value] | None:
    """Both in one SQL type, in which `=` is the language's equality; None where they can never be equal."""
    kinds = {a.kind, b.kind}
    if "json" in kinds:
        if kinds & {"timestamp", "duration", "geo"}:
            return None
        return as_json(a), as_json(b)
    if kinds == {"ref", "string"}:
        return _alike_ids(a, b)
    if kinds <= NUMBERS:
        return as_numbers(a, b)
    if a.kind != b.kind:
        return None
    return _alike_lists(a, b) if a.kind == "list" else (a, b)


def _alike_ids(a: Value, b: Value) -> tuple[Value, Value] | None:
    """An id and a text: as uuids where the text is one, so that an index serves; a text that is none can equal no id."""
    if a.kind == "string":
        swapped = _alike_ids(b, a)
        return None if swapped is None else (swapped[1], swapped[0])
    if b.uuid is not None:
        return a, b._replace(sql=b.uuid, kind="ref")
    return None if b.given else (as_text(a), b)


def _alike_lists(a: Value, b: Value) -> tuple[Value, Value] | None:
    if a.item == b.item:
        return a, b
    if {a.item, b.item} <= {"uuid", "string", ""}:
        return _texts(a), _texts(b)
    if not a.item or not b.item:
        other, empty = (b, a) if not a.item else (a, b)
        return other, empty._replace(sql=cast_list(sql("'{{}}'"), other.item))
    return as_json(a), as_json(b)


def _texts(value: Value) -> Value:
    return value._replace(sql=sql("{}::text[]", value.sql), item="string") if value.item == "uuid" else value


def as_text(value: Value) -> Value:
    """An id as the text it is in the language."""
    return value._replace(sql=sql("{}::text", value.sql), kind="string") if value.kind == "ref" else value


def as_json(value: Value) -> Value:
    """The value as JSON, where null is a value too; a double by its shortest text."""
    if value.kind == "json":
        if value.null == "null":
            return value._replace(sql=sql("coalesce({}, {})", value.sql, JSON_NULL), null="never")
        return value
    inner = sql("baas_rt.dec({})", value.sql) if value.kind == "double" else value.sql
    if value.kind == "list" and value.item == "double":
        inner = sql("{}::text[]::numeric[]", value.sql)
    if value.null == "null":
        return Value(sql("coalesce(to_jsonb({}), {})", inner, JSON_NULL), "json", "never")
    return Value(sql("to_jsonb({})", inner), "json", value.null)


def as_numbers(a: Value, b: Value) -> tuple[Value, Value]:
    """Two numbers in the type they are compared in."""
    if a.kind == b.kind:
        return a, b
    if "decimal" in (a.kind, b.kind):
        return as_decimal(a), as_decimal(b)
    return as_double(a), as_double(b)


def as_double(value: Value) -> Value:
    return value._replace(sql=sql("{}::float8", value.sql), kind="double") if value.kind == "int" else value


def as_decimal(value: Value) -> Value:
    """A number as a decimal: a double by its shortest text, for a plain cast would round to 15 digits."""
    match value.kind:
        case "int":
            return value._replace(sql=sql("{}::numeric", value.sql), kind="decimal")
        case "double":
            return value._replace(sql=sql("baas_rt.dec({})", value.sql), kind="decimal")
    return value


# Order


_OPPOSITE: Mapping[str, str] = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}


def ordering(a: Value, b: Value, operator: str, want: bool) -> Condition:
    """`a < b` is `want`; null on either side is a failure on both rails."""
    kinds = {a.kind, b.kind}
    if kinds & {"error", "null", "list"}:
        return False
    if kinds == {"json"}:
        return _ordered(sql("baas_rt.j_order({}, {})", a.sql, b.sql), sql("0"), operator if want else _OPPOSITE[operator])
    if "json" in kinds:
        a, b = _as_the_other(a, b)
    elif kinds <= NUMBERS:
        a, b = as_numbers(a, b)
    elif kinds == {"ref", "string"}:
        a, b = as_text(a), as_text(b)
    if a.kind != b.kind or a.kind == "json":
        return False
    x, y = (collated(a), b.sql) if a.kind == "string" else (a.sql, b.sql)
    return _ordered(x, y, operator if want else _OPPOSITE[operator])


def always_ordered(kinds: set[str]) -> bool:
    """Kinds that always have an order: JSON may turn out to be anything."""
    return kinds <= NUMBERS or kinds <= TEXTS or (len(kinds) == 1 and kinds <= {"bool", "timestamp", "duration"})


def collated(text: Value) -> Sql:
    """Text in code point order, whatever the database's own is."""
    return sql('{} collate "C"', text.sql)


def _as_the_other(a: Value, b: Value) -> tuple[Value, Value]:
    """JSON beside something typed, read as that; both in one type."""
    if b.kind == "json":
        y, x = _as_the_other(b, a)
        return x, y
    typed = as_decimal(b) if b.kind in NUMBERS else as_text(b)
    match typed.kind:
        case "decimal":
            return Value(sql("baas_rt.j_num({})", a.sql), "decimal", "error"), typed
        case "string":
            return Value(sql("baas_rt.j_text({})", a.sql), "string", "error"), typed
        case "bool":
            return Value(sql("baas_rt.j_bool({})", a.sql), "bool", "error"), typed
    return a, typed


def _ordered(x: Sql, y: Sql, operator: str) -> Sql:
    match operator:
        case "<":
            return sql("{} < {}", x, y)
        case "<=":
            return sql("{} <= {}", x, y)
        case ">":
            return sql("{} > {}", x, y)
    return sql("{} >= {}", x, y)


# Membership


def membership(item: Value, held: Value, want: bool) -> Condition:
    """`item in held` is `want`; no list is a failure."""
    if "error" in (item.kind, held.kind) or held.kind not in ("list", "json"):
        return False
    if "json" in (item.kind, held.kind):
        found = JSON_NULL if item.kind == "null" else as_json(item).sql
        return plain(sql("baas_rt.j_among({}, {})", found, as_json(held).sql), want)
    if item.kind == "null":
        inside: Condition = held.holds_null
        return all_of((is_present(held), inside if want else not inside))
    found_in = _one_of(item, held)
    if want:
        null_in = held.holds_null and item.null == "null"
        return any_of((found_in, all_of((sql("{} is null", item.sql), is_present(held))))) if null_in else found_in
    absent = True if found_in is False else sql("({}) is not true", as_sql(found_in))
    failing = all_of(is_present(one) for one in (item, held) if one is held or one.null == "error")
    not_null = sql("{} is not null", item.sql) if held.holds_null and item.null == "null" else True
    return all_of((failing, absent, not_null))


def _one_of(item: Value, held: Value) -> Condition:
    """T of the membership, leaving null aside; False where no element can equal the item."""
    inside = held.item
    if not inside:
        return False
    if item.kind == "ref" or inside == "uuid":
        return _id_among(item, held)
    if item.kind in NUMBERS and inside in NUMBERS:
        return _number_among(item, held)
    if item.kind != inside:
        return False
    return _contained(item.sql, held)


def _contained(item: Sql, held: Value) -> Sql:
    # A caller's list is best as `= any`, which uses the item's index; a row's list as containment, which uses its own.
    if held.given:
        return sql("{} = any ({})", item, held.sql)
    return sql("{} @> array[{}]", held.sql, item)


def _id_among(item: Value, held: Value) -> Condition:
    inside = held.item
    if item.kind == "ref" and inside == "uuid":
        return _contained(item.sql, held)
    if item.kind == "string" and inside == "uuid" and item.given:
        return _contained(item.uuid, held) if item.uuid is not None else False
    if {item.kind, inside} <= {"ref", "string", "uuid"}:
        return sql("{} = any ({}::text[])", as_text(item).sql, held.sql)
    return False


def _number_among(item: Value, held: Value) -> Sql:
    inside = held.item
    if item.kind == inside:
        return _contained(item.sql, held)
    if "decimal" not in (item.kind, inside):
        return sql("{}::float8 = any ({}::float8[])", item.sql, held.sql)
    items = sql("{}::text[]::numeric[]", held.sql) if inside == "double" else sql("{}::numeric[]", held.sql)
    return sql("{} = any ({})", as_decimal(item).sql, items)


# Functions


def call(function: Function, args: Sequence[Value]) -> Value:
    if function.result.kind == "list":
        return _joined_lists(args)
    given_args = [_as_param(arg, param) for arg, param in zip(args, function.params, strict=True)]
    safe = function.total and all(arg.null == "never" for arg in given_args)
    assert function.sql is not None  # noqa: S101  the caller looked
    return Value(function.sql(*(arg.sql for arg in given_args)), function.result.kind, "never" if safe else "error")


def _joined_lists(args: Sequence[Value]) -> Value:
    sides = _alike_lists(args[0], args[1])
    if sides is None or "json" in (sides[0].kind, sides[1].kind):
        return ERROR
    first, second = sides
    # array_cat takes NULL for an empty list.
    present = all_of(is_present(one) for one in sides)
    joined = sql("({} || {})", first.sql, second.sql)
    if isinstance(present, Sql):
        joined = sql("case when {} then {} end", present, joined)
    null: Nullness = "error" if isinstance(present, Sql) else "never"
    return Value(joined, "list", null, first.item or second.item, first.holds_null or second.holds_null)


def _as_param(value: Value, param: str) -> Value:
    if param == "string" and value.kind == "json":
        return Value(sql("baas_rt.j_text({})", value.sql), "string", "error")
    if param == "json":
        return as_json(value)
    return as_decimal(value) if param == "decimal" else as_text(value) if param == "string" else value
