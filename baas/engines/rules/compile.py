"""Typed tree to SQL on two rails: T is true exactly where the expression is true, F exactly where it is false.

Where it is a failure both rails are false or null, so a failure can never be negated into an allow: negation swaps the rails, and
SQL's NOT stands only before an atom whose NULL already means failure. Every fragment is total: it never raises.

What is known before any row (a *leaf*) comes as its kind alone: the kinds decide the text, the values stay holes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Literal, NamedTuple

from baas.engines.rules import values
from baas.engines.rules.functions import Function, overloads
from baas.engines.rules.tree import (
    Among,
    Apply,
    At,
    Column,
    Compare,
    Conditional,
    Constant,
    Count,
    Formula,
    Has,
    Key,
    Logic,
    Loop,
    Node,
    Not,
    Quantify,
)
from baas.engines.rules.types import NUMBERS, RuleError
from baas.infra.db.sql import Sql, ident, join, literal, sql

MAX_EMISSIONS = 2_000
MAX_SQL_BYTES = 32 * 1024

Columns = Callable[[str, str], Sql]
"""The SQL of a field: given `record` or `next` and its name."""
Condition = Sql | bool
"""A rail: SQL, or a constant where no row can change it."""
Nullness = Literal["never", "null", "error"]
"""What SQL's NULL means in a value: it has none, it is the language's null, or it is a failure."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """The hole of a value known before any row: `folded.values[index]` of the expression whose `source` this is."""

    source: object
    index: int


class Value(NamedTuple):
    """SQL of a known kind. Kinds are those of the types, and null and error where no row matters.

    `item` is the kind of a list's elements, "" for an empty one of the caller's; `holds_null` that it holds a null. `uuid` is
    the same text as a uuid, where the caller's text is one; `given` marks a text of the caller's, for which that was found out.
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
_JSON_NULL = sql("'null'::jsonb")
_EMPTY = sql("'{{}}'::text[]")


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
    raise ValueError(f"no value of kind {kind!r} reaches SQL")


def _cast_list(value: Sql, item: str) -> Sql:
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
        case Decimal():
            return literal(values.decimal_text(value))
        case datetime():
            return literal(value.isoformat())
        case _:
            return literal(str(value))


class Emitter:
    """Builds the rails of one expression for one shape.

    `leaves` gives the index of a leaf, `kinds` the kind at each index, `fixed` the values that are written into the text.
    Raises RuleError(too_complex) beyond 2000 emissions or 32 KiB of SQL.
    """

    def __init__(
        self,
        text: str,
        leaves: Mapping[Node, int],
        kinds: Sequence[str],
        *,
        columns: Columns,
        source: object,
        fixed: Mapping[int, object],
    ) -> None:
        self._text = text
        self._leaves = leaves
        self._kinds = kinds
        self._columns = columns
        self._source = source
        self._fixed = fixed
        self._loops: dict[int, Value] = {}
        self._spent = 0

    def rail(self, root: Node, *, want: bool) -> Condition:
        """T of the root, or F."""
        condition = self._truth(root, want)
        if isinstance(condition, Sql) and len(condition.render().text.encode()) > MAX_SQL_BYTES:
            self._too_complex()
        return condition

    # Conditions

    def _truth(self, node: Node, want: bool) -> Condition:
        self._spend()
        if node in self._leaves:
            return self._kinds[self._leaves[node]] == ("true" if want else "false")
        match node:
            case Constant(value=value):
                return value is want
            case Not(item=item):
                return self._truth(item, not want)
            case Logic(operator=operator, items=items):
                rails = (self._truth(item, want) for item in items)
                return all_of(rails) if (operator == "and") is want else any_of(rails)
            case Conditional():
                return self._either(node.condition, node.yes, node.no, want)
        inner = split_at(node)
        if inner is None:
            return self._atom(node, want)
        if isinstance(inner, Conditional):
            return self._either(inner.condition, _with(node, inner, inner.yes), _with(node, inner, inner.no), want)
        yes, no = (Constant(inner.type, inner.at, one) for one in (True, False))
        return self._either(inner, _with(node, inner, yes), _with(node, inner, no), want)

    def _either(self, condition: Node, yes: Node, no: Node, want: bool) -> Condition:
        """A choice is lifted out of the atom it stands in, so that no value is sometimes null and sometimes a failure."""
        branches = ((self._truth(condition, want=True), yes), (self._truth(condition, want=False), no))
        return any_of(all_of((taken, self._truth(branch, want))) for taken, branch in branches if taken is not False)

    def _atom(self, node: Node, want: bool) -> Condition:
        match node:
            case Compare(operator="==" | "!="):
                return equality(self._value(node.left), self._value(node.right), want is (node.operator == "=="))
            case Compare():
                return ordering(self._value(node.left), self._value(node.right), node.operator, want)
            case Among():
                return membership(self._value(node.item), self._value(node.list), want)
            case Has():
                held = self._value(node.object)
                return _plain(sql("baas_rt.j_has({}, {})", held.sql, literal(node.name)), want) if held.kind == "json" else False
            case Quantify():
                return self._quantified(node, want)
        return truth_of(self._value(node), want)

    def _quantified(self, node: Quantify, want: bool) -> Condition:
        held = self._value(node.list)
        found = self._elements(held, node.level)
        if found is None:
            return False
        elements, present = found
        exists = node.operator == "exists"
        if exists is want:
            # One element decides: exists is true, or all is false.
            return _exists(elements, self._truth(node.body, want))
        against = self._against(node.body, opposite=exists)
        return all_of((present, _negated(_exists(elements, against))))

    def _against(self, body: Node, *, opposite: bool) -> Condition:
        """The elements that stand in the way. Where the body cannot fail, a plain condition: the planner sees through it and can
        use an anti-join; else also those where it fails."""
        if self._cannot_fail(body):
            return self._truth(body, opposite)
        rail = self._truth(body, not opposite)
        return not rail if isinstance(rail, bool) else sql("({}) is not true", rail)

    def _elements(self, held: Value, level: int) -> tuple[Sql, Condition] | None:
        """`from` of a list's elements, and the condition that there is a list; the loop variable becomes known."""
        name = ident(f"v{level}")
        if held.kind == "json":
            array = sql("baas_rt.j_list({})", held.sql)
            self._loops[level] = Value(sql("{}.v", name), "json", "never")
            return sql("jsonb_array_elements({}) {}(v)", array, name), sql("{} is not null", array)
        if held.kind != "list":
            return None
        item = "ref" if held.item == "uuid" else held.item or "string"
        self._loops[level] = Value(sql("{}.v", name), item, "null" if held.holds_null else "never")
        return sql("unnest({}) {}(v)", held.sql, name), _present(held)

    def _cannot_fail(self, node: Node) -> bool:
        if node in self._leaves:
            return self._kinds[self._leaves[node]] in ("true", "false")
        match node:
            case Logic(items=items):
                return all(self._cannot_fail(item) for item in items)
            case Not(item=item):
                return self._cannot_fail(item)
        if split_at(node) is not None or isinstance(node, Conditional | Quantify | Has):
            return False
        match node:
            case Compare(operator=operator):
                sides = (self._value(node.left), self._value(node.right))
                if operator in ("==", "!="):
                    return all(side.null != "error" for side in sides)
                return all(side.null == "never" for side in sides) and {side.kind for side in sides} != {"json"}
            case Among():
                item, held = self._value(node.item), self._value(node.list)
                return item.null != "error" and held.null == "never" and held.kind == "list"
        value = self._value(node)
        return value.kind == "bool" and value.null == "never"

    # Values

    def _value(self, node: Node) -> Value:
        self._spend()
        if node in self._leaves:
            return self._leaf(self._leaves[node])
        match node:
            case Column(type=type_, root=root, name=name, nullable=nullable):
                item = type_.item.kind if type_.item else ""
                return Value(
                    self._columns(root, name), type_.kind, "null" if nullable else "never", "uuid" if item == "ref" else item
                )
            case Loop(level=level):
                return self._loops[level]
            case Constant(value=value):
                return constant(value)
            case Apply():
                return self._applied(node)
            case Key():
                held = self._value(node.object)
                if held.kind != "json":
                    return ERROR
                return Value(sql("({} -> {})", held.sql, literal(node.name)), "json", "error")
            case At():
                return self._positioned(self._value(node.object), self._value(node.index))
            case Count():
                return self._counted(node)
        raise AssertionError(f"{type(node).__name__} has no value in SQL")

    def _leaf(self, index: int) -> Value:
        kind = self._kinds[index]
        if index in self._fixed:
            return given(kind, lambda _: written(self._fixed[index]), self._fixed[index])
        return given(kind, lambda _: sql("{}", Leaf(self._source, index)))

    def _applied(self, node: Apply) -> Value:
        args = [self._value(arg) for arg in node.args]
        if any(arg.kind in ("error", "null") for arg in args):
            return ERROR
        found = overloads(node.name, tuple(arg.kind for arg in args))
        if not found or found[0].sql is None:
            return ERROR
        return _call(found[0], args)

    def _positioned(self, held: Value, index: Value) -> Value:
        if held.kind == "json" and index.kind == "string":
            return Value(sql("({} -> {})", held.sql, index.sql), "json", "error")
        if held.kind == "json" and index.kind == "int":
            return Value(sql("baas_rt.j_at({}, {})", held.sql, index.sql), "json", "error")
        if held.kind == "list" and held.item and not held.holds_null and index.kind == "int":
            return Value(sql("baas_rt.at({}, {})", held.sql, index.sql), "ref" if held.item == "uuid" else held.item, "error")
        return ERROR

    def _counted(self, node: Count) -> Value:
        found = self._elements(self._value(node.list), node.level)
        if found is None:
            return ERROR
        elements, present = found
        counted, decided = self._truth(node.body, want=True), self._truth(node.body, want=False)
        # A null rail counts as neither true nor false; no element may be neither.
        failing = sql("count(*) filter (where ({}) is not true)", _sql(any_of((counted, decided))))
        number = sql("case when {} = 0 then count(*) filter (where {}) end", failing, _sql(counted))
        return Value(sql("case when {} then (select {} from {}) end", _sql(present), number, elements), "int", "error")

    # The budget

    def _spend(self) -> None:
        self._spent += 1
        if self._spent > MAX_EMISSIONS:
            self._too_complex()

    def _too_complex(self) -> None:
        raise RuleError(
            self._text,
            0,
            "too_complex",
            "this expression would become too large a statement.",
            "Each `?:` and each condition used as a value doubles what holds it; write the cases out with && and ||.",
        )


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
        case "string":
            return Value(sql("{}::text", hole(kind)), "string", "never", given=True)
    if kind.startswith("["):
        item, _, nullable = kind[1:].partition("]")
        array = _array(value, item) if value is not None else _cast_list(hole(kind), item)
        return Value(array, "list", "never", item, bool(nullable), given=True)
    return Value(_cast(hole(kind), kind), kind, "never")


def _array(items: object, item: str) -> Sql:
    """A list in the text itself."""
    if not isinstance(items, list | tuple) or not items:
        return _EMPTY
    return _cast_list(sql("array[{}]", join(", ", (sql("null") if one is None else written(one) for one in items))), item)


def constant(value: object) -> Value:
    """A literal that stands where a choice was lifted out."""
    kind = values.kind_of(value)
    if isinstance(value, bool):
        return given("true" if value else "false", lambda _: Sql())
    return given("uuid" if isinstance(value, str) and values.is_uuid(value) else kind, lambda _: written(value))


# Joining conditions


def all_of(conditions: "Sequence[Condition] | object") -> Condition:
    """AND, with constants worked out."""
    return _joined(conditions, decides=False)


def any_of(conditions: "Sequence[Condition] | object") -> Condition:
    """OR, with constants worked out."""
    return _joined(conditions, decides=True)


def _joined(conditions: object, *, decides: bool) -> Condition:
    parts: list[Sql] = []
    for one in conditions:  # type: ignore[attr-defined]
        if one is decides:
            return decides
        if isinstance(one, Sql):
            parts.append(one)
    if not parts:
        return not decides
    if len(parts) == 1:
        return parts[0]
    return sql("({})", join(" or " if decides else " and ", parts))


def _sql(condition: Condition) -> Sql:
    if isinstance(condition, Sql):
        return condition
    return sql("true") if condition else sql("false")


def _plain(atom: Sql, want: bool) -> Sql:
    """An atom whose NULL is a failure: NOT keeps it one."""
    return atom if want else sql("not {}", atom)


def _negated(condition: Condition) -> Condition:
    """NOT of a condition that is never null (an `exists`)."""
    return sql("not {}", condition) if isinstance(condition, Sql) else not condition


def _exists(elements: Sql, condition: Condition) -> Condition:
    if condition is False:
        return False
    return sql("exists (select from {} where {})", elements, _sql(condition))


def _present(value: Value) -> Condition:
    """That a value is not a failure (or, of a list, that there is one)."""
    return True if value.null == "never" else sql("{} is not null", value.sql)


def truth_of(value: Value, want: bool) -> Condition:
    """A value where a condition is needed: true, false, or else a failure."""
    if value.kind == "bool":
        return _plain(value.sql, want)
    if value.kind == "json":
        return sql("{} = 'true'::jsonb", value.sql) if want else sql("{} = 'false'::jsonb", value.sql)
    return False


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
        return False if want else all_of(_present(one) for one in (a, b) if one.null == "error")
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
    return all_of((differ, *(_present(one) for one in (x, y) if one.null == "error")))


def _is_null(value: Value, want: bool) -> Condition:
    if value.kind == "null":
        return want
    if value.kind == "json":
        held = as_json(value)
        return sql("{} = {}", held.sql, _JSON_NULL) if want else sql("{} <> {}", held.sql, _JSON_NULL)
    if value.null == "never":
        return not want
    if value.null == "error":
        return False if want else _present(value)
    return sql("{} is null", value.sql) if want else sql("{} is not null", value.sql)


def alike(a: Value, b: Value) -> tuple[Value, Value] | None:
    """Both in one SQL type, in which `=` is the language's equality; None where they can never be equal."""
    kinds = {a.kind, b.kind}
    if "json" in kinds:
        if kinds & {"timestamp", "duration"}:
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
        return other, empty._replace(sql=_cast_list(sql("'{{}}'"), other.item))
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
            return value._replace(sql=sql("coalesce({}, {})", value.sql, _JSON_NULL), null="never")
        return value
    inner = sql("baas_rt.dec({})", value.sql) if value.kind == "double" else value.sql
    if value.kind == "list" and value.item == "double":
        inner = sql("{}::text[]::numeric[]", value.sql)
    if value.null == "null":
        return Value(sql("coalesce(to_jsonb({}), {})", inner, _JSON_NULL), "json", "never")
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


_Operator = Literal["<", "<=", ">", ">="]
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
    if held.kind == "json":
        found = _JSON_NULL if item.kind == "null" else as_json(item).sql
        return _plain(sql("baas_rt.j_among({}, {})", found, held.sql), want)
    if item.kind == "null":
        inside: Condition = held.holds_null
        return all_of((_present(held), inside if want else not inside))
    found_in = _one_of(item, held)
    if want:
        null_in = held.holds_null and item.null == "null"
        return any_of((found_in, sql("{} is null", item.sql))) if null_in else found_in
    absent = True if found_in is False else sql("({}) is not true", _sql(found_in))
    failing = all_of(_present(one) for one in (item, held) if one is held or one.null == "error")
    not_null = sql("{} is not null", item.sql) if held.holds_null and item.null == "null" else True
    return all_of((failing, absent, not_null))


def _one_of(item: Value, held: Value) -> Condition:
    """T of the membership, leaving null aside; False where no element can equal the item."""
    inside = held.item
    if not inside:
        return False
    if item.kind == "json":
        return sql("{} = any (array(select jsonb_array_elements({})))", as_json(item).sql, as_json(held).sql)
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


def _call(function: Function, args: Sequence[Value]) -> Value:
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
    safe = all(arg.null == "never" for arg in args)
    item = sides[0].item or sides[1].item
    return Value(sql("({} || {})", sides[0].sql, sides[1].sql), "list", "never" if safe else "error", item)


def _as_param(value: Value, param: str) -> Value:
    if param == "string" and value.kind == "json":
        return Value(sql("baas_rt.j_text({})", value.sql), "string", "error")
    if param == "json":
        return as_json(value)
    return as_decimal(value) if param == "decimal" else as_text(value) if param == "string" else value


# Lifting choices out of atoms


def split_at(node: Node) -> Node | None:
    """The first choice or condition inside an atom's values, outermost first; bodies of loops are conditions of their own."""
    for part in _value_parts(node):
        if part.free:
            continue
        if isinstance(part, Conditional | Formula):
            return part
        found = split_at(part)
        if found is not None:
            return found
    return None


def _value_parts(node: Node) -> tuple[Node, ...]:
    match node:
        case Compare():
            return (node.left, node.right)
        case Among():
            return (node.item, node.list)
        case Apply():
            return node.args
        case Key() | Has():
            return (node.object,)
        case At():
            return (node.object, node.index)
        case Quantify() | Count():
            return (node.list,)
        case _:
            return ()


def _with(node: Node, old: Node, new: Node) -> Node:
    """The node with one part replaced, wherever in its values it stands."""
    if node is old:
        return new
    match node:
        case Compare():
            return replace(node, left=_with(node.left, old, new), right=_with(node.right, old, new))
        case Among():
            return replace(node, item=_with(node.item, old, new), list=_with(node.list, old, new))
        case Apply():
            return replace(node, args=tuple(_with(arg, old, new) for arg in node.args))
        case Key() | Has():
            return replace(node, object=_with(node.object, old, new))
        case At():
            return replace(node, object=_with(node.object, old, new), index=_with(node.index, old, new))
        case Quantify() | Count():
            return replace(node, list=_with(node.list, old, new))
        case _:
            return node
