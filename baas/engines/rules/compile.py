"""Typed tree to SQL on two rails: T is true exactly where the expression is true, F exactly where it is false.

Where it is a failure both rails are false or null, so a failure can never be negated into an allow: negation swaps the rails, and
SQL's NOT stands only before an atom whose NULL already means failure. Every fragment is total: it never raises.

What is known before any row (a *leaf*) comes as its kind alone: the kinds decide the text, the values stay holes.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

from baas.engines.rules.atoms import always_ordered, call, equality, membership, ordering
from baas.engines.rules.functions import overloads
from baas.engines.rules.operands import (
    ERROR,
    Condition,
    Value,
    all_of,
    any_element,
    any_of,
    as_sql,
    constant,
    given,
    is_present,
    negated,
    plain,
    truth_of,
    written,
)
from baas.engines.rules.paths import Surroundings, place
from baas.engines.rules.rows import Entered, Rows
from baas.engines.rules.tree import (
    Among,
    Apply,
    At,
    Column,
    Compare,
    Conditional,
    Constant,
    Count,
    Follow,
    Formula,
    Has,
    Key,
    Logic,
    Loop,
    Node,
    Not,
    Quantify,
    Related,
    Row,
    children,
)
from baas.engines.rules.types import RuleError
from baas.infra.db.sql import Sql, ident, literal, sql

MAX_EMISSIONS = 2_000
MAX_SQL_BYTES = 32 * 1024


@dataclass(frozen=True, slots=True)
class Leaf:
    """The hole of a value known before any row: `folded.values[index]` of the expression whose `source` this is."""

    source: object
    index: int


class Elements(NamedTuple):
    """What a list is read from: `source` for FROM, `within` which of its rows are elements, `present` that there is a list."""

    source: Sql
    within: Condition
    present: Condition


class Emitter:
    """Builds the rails of one expression for one shape.

    `leaves` gives the index of a leaf, `kinds` the kind at each index, `fixed` the values that are written into the text.
    Aliases are `scope` and a number, so that an expression inside another never hides its rows.
    Raises RuleError(too_complex) beyond 2000 emissions or 32 KiB of SQL.
    """

    def __init__(
        self,
        text: str,
        leaves: Mapping[Node, int],
        kinds: Sequence[str],
        *,
        rows: Rows,
        source: object,
        fixed: Mapping[int, object],
        scope: str = "",
    ) -> None:
        self._text = text
        self._leaves = leaves
        self._kinds = kinds
        self._rows = rows
        self._source = source
        self._fixed = fixed
        self._scope = scope
        self._aliases = 0
        self._loops: dict[int, Value | Entered] = {}
        self._around = Surroundings(shares=rows.shares)
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
        with self._inside(Surroundings(shares=self._rows.shares)) as around:
            return around.around(self._bare(node, want))

    @contextmanager
    def _inside(self, around: Surroundings) -> Iterator[Surroundings]:
        """What is read meanwhile belongs to this atom."""
        outer, self._around = self._around, around
        try:
            yield around
        finally:
            self._around = outer

    def _bare(self, node: Node, want: bool) -> Condition:
        match node:
            case Compare(operator="==" | "!="):
                return equality(self._value(node.left), self._value(node.right), want is (node.operator == "=="))
            case Compare():
                return ordering(self._value(node.left), self._value(node.right), node.operator, want)
            case Among():
                return membership(self._value(node.item), self._value(node.list), want)
            case Has():
                held = self._value(node.object)
                return plain(sql("baas_rt.j_has({}, {})", held.sql, literal(node.name)), want) if held.kind == "json" else False
            case Quantify():
                return self._quantified(node, want)
        return truth_of(self._value(node), want)

    def _quantified(self, node: Quantify, want: bool) -> Condition:
        found = self._elements(node.list, node.level)
        if found is None:
            return False
        exists = node.operator == "exists"
        if exists is want:
            # One element decides: exists is true, or all is false.
            shared = self._rows.shares and isinstance(node.list, Related)
            return any_element(found.source, all_of((found.within, self._truth(node.body, want))), shared=shared)
        against = all_of((found.within, self._against(node.body, opposite=exists)))
        return all_of((found.present, negated(any_element(found.source, against))))

    def _against(self, body: Node, *, opposite: bool) -> Condition:
        """The elements that stand in the way. Where the body cannot fail, a plain condition: the planner sees through it and can
        use an anti-join; else also those where it fails."""
        if self._cannot_fail(body):
            return self._truth(body, opposite)
        rail = self._truth(body, not opposite)
        return not rail if isinstance(rail, bool) else sql("({}) is not true", rail)

    def _elements(self, node: Node, level: int) -> Elements | None:
        """The elements of a list; the loop variable becomes known."""
        if isinstance(node, Related):
            return self._records(node, level)
        held = self._value(node)
        name = ident(f"{self._scope}v{level}")
        if held.kind == "json":
            array = sql("baas_rt.j_list({})", held.sql)
            self._loops[level] = Value(sql("{}.v", name), "json", "never")
            return Elements(sql("jsonb_array_elements({}) {}(v)", array, name), True, sql("{} is not null", array))
        if held.kind != "list":
            return None
        item = "ref" if held.item == "uuid" else held.item or "string"
        self._loops[level] = Value(sql("{}.v", name), item, "null" if held.holds_null else "never")
        return Elements(sql("unnest({}) {}(v)", held.sql, name), True, is_present(held))

    def _records(self, node: Related, level: int) -> Elements:
        """Records of another collection: a list that is always there."""
        entered, alias = self._enter(node.collection)
        self._loops[level] = entered
        if node.of is None:
            return Elements(sql("{} {}", entered.table, alias), entered.visible, True)
        link, owner = entered.column(node.field), self._field(node.of, "id")
        here = sql("{} @> array[{}]", link, owner) if node.many else sql("{} = {}", link, owner)
        within = all_of((here, entered.visible, entered.readable(node.field)))
        return Elements(sql("{} {}", entered.table, alias), within, True)

    def _enter(self, collection: str) -> tuple[Entered, Sql]:
        self._spend()
        self._aliases += 1
        alias = f"{self._scope}_{self._aliases}"
        return self._rows.enter(collection, alias), ident(alias)

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
        with self._inside(Surroundings(shares=self._rows.shares)) as around:
            return self._never_fails(node) and around.certain

    def _never_fails(self, node: Node) -> bool:
        """Whether the atom is true or false wherever its records are there."""
        match node:
            case Compare(operator="==" | "!="):
                return "error" not in (self._value(node.left).null, self._value(node.right).null)
            case Compare():
                sides = (self._value(node.left), self._value(node.right))
                return all(side.null == "never" for side in sides) and always_ordered({side.kind for side in sides})
            case Among():
                among, held = self._value(node.item), self._value(node.list)
                return among.null != "error" and held.null == "never" and held.kind == "list"
        value = self._value(node)
        return value.kind == "bool" and value.null == "never"

    # Values

    def _value(self, node: Node) -> Value:
        self._spend()
        if node in self._leaves:
            return self._leaf(self._leaves[node])
        match node:
            case Column(type=type_, row=row, name=name, nullable=nullable):
                item = type_.item.kind if type_.item else ""
                column = self._field(row, name)
                return Value(column, type_.kind, "null" if nullable else "never", "uuid" if item == "ref" else item)
            case Loop(level=level):
                element = self._loops[level]
                return element if isinstance(element, Value) else ERROR
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

    def _field(self, row: Row | Loop | Follow, name: str) -> Sql:
        """The column of a row, which from here on belongs to what the atom reads."""
        if isinstance(row, Row):
            self._around.demand((row.root, name), self._rows.readable(row.root, name))
            return self._rows.column(row.root, name)
        entered = self._follow(row) if isinstance(row, Follow) else self._loops[row.level]
        assert not isinstance(entered, Value)  # noqa: S101  the checker saw that it is a record
        self._around.demand((place(row), "readable", name), entered.readable(name))
        return entered.column(name)

    def _follow(self, node: Follow) -> Entered:
        key = place(node)
        if key not in self._around.entered:
            ref = self._value(node.ref)
            entered, alias = self._enter(node.type.target)
            link = equality(Value(entered.column("id"), "ref", "never"), ref, True)
            self._around.join(key, entered, alias, link, certain=node.certain)
        return self._around.entered[key]

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
        return call(found[0], args)

    def _positioned(self, held: Value, index: Value) -> Value:
        if held.kind == "json" and index.kind == "string":
            return Value(sql("({} -> {})", held.sql, index.sql), "json", "error")
        if held.kind == "json" and index.kind == "int":
            return Value(sql("baas_rt.j_at({}, {})", held.sql, index.sql), "json", "error")
        if held.kind == "list" and held.item and index.kind == "int":
            return Value(sql("baas_rt.at({}, {})", held.sql, index.sql), "ref" if held.item == "uuid" else held.item, "error")
        return ERROR

    def _counted(self, node: Count) -> Value:
        found = self._elements(node.list, node.level)
        if found is None:
            return ERROR
        rails = (as_sql(self._truth(node.body, want=True)), as_sql(self._truth(node.body, want=False)))
        # An element with neither rail true fails the count. The rails are worked out below the aggregates: one that names only
        # outer columns would else make the aggregate the outer query's.
        number = sql(
            "select case when count(*) filter (where (m.t or m.f) is not true) = 0 then count(*) filter (where m.t) end"
            " from (select {} as t, {} as f from {} where {}) m",
            *rails,
            found.source,
            as_sql(found.within),
        )
        if found.present is True:
            return Value(sql("({})", number), "int", "error")
        return Value(sql("case when {} then ({}) end", as_sql(found.present), number), "int", "error")

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


# Lifting choices out of atoms


def split_at(node: Node) -> Node | None:
    """The first choice or condition inside an atom's values, outermost first; bodies of loops are conditions of their own."""
    for part in value_parts(node):
        if part.free:
            continue
        if isinstance(part, Conditional | Formula):
            return part
        found = split_at(part)
        if found is not None:
            return found
    return None


_VALUE_PARTS = frozenset({Compare, Among, Apply, Key, Has, At})


def value_parts(node: Node) -> tuple[Node, ...]:
    """What an atom reads as values: not the branches of a choice, nor the body of a loop, which are conditions of their own."""
    if node.__class__ in _VALUE_PARTS:
        return children(node)
    return (node.list,) if isinstance(node, Quantify | Count) else ()


def _with(node: Node, old: Node, new: Node) -> Node:
    """The node with one part replaced, wherever it stands in its values. What is free stays itself: leaves are found so."""
    if node is old:
        return new
    if node.free:
        return node
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
