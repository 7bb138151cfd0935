"""The facade: `check` a text once, then `fold` it for a caller, ask `where` for its SQL, or `evaluate` it on a row.

rule = check("record.public || record.owner == auth.id", env)
folded = rule.fold(facts)                       # what is known before any row: its shape, and the values
text = rule.where(folded.shape, columns, "a")   # SQL with holes Leaf("a", n); one text for every caller of this shape
rule.evaluate(facts, record)                    # the same verdict in memory: True, False or a RuleFailure
"""

import threading
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from math import isfinite
from typing import NamedTuple

import msgspec

from baas.base.places import Geo
from baas.engines.rules import values
from baas.engines.rules.check import check_syntax
from baas.engines.rules.compile import Emitter, Leaf, value_parts
from baas.engines.rules.evaluate import Beside, Closure, Frame, closure, truth
from baas.engines.rules.operands import Condition, as_sql
from baas.engines.rules.parse import FILTER_LIMITS, RULE_LIMITS, parse, skeleton
from baas.engines.rules.rows import Entered, Rows
from baas.engines.rules.tree import (
    Among,
    Column,
    Compare,
    Conditional,
    Constant,
    Fact,
    Follow,
    Formula,
    Loop,
    Meant,
    Node,
    Related,
    Row,
    children,
    walk,
)
from baas.engines.rules.types import Env, Facts, RowField, RowType, RuleError, RuleFailure, Type
from baas.engines.rules.variables import UNFIT, fitted, hint_for
from baas.infra.db.sql import Sql, ident, sql

__all__ = ["Env", "Facts", "Folded", "Leaf", "RowField", "RowType", "Rule", "RuleError", "RuleFailure", "check"]

Shape = tuple[str, ...]
Held = Mapping[str, object]
_MAX_SHAPES = 1_024
_SAFE_INTEGER = 2**53


class Folded(NamedTuple):
    """An expression for one caller. `shape` decides the SQL text and keys caches; `values` fill its holes, by `Leaf.index`.

    `verdict` is True or False where no row can change it: True allows every row, False allows none.
    """

    shape: Shape
    values: tuple[object, ...]
    verdict: bool | None


def check(source: str, env: Env) -> "Rule":
    """Parse and type one expression. Raises RuleError with the place and, where there is one, a hint."""
    tree = parse(source, FILTER_LIMITS if env.kind == "filter" else RULE_LIMITS)
    return Rule(source, env, check_syntax(source, tree, env))


class Rule:
    """A checked expression; immutable but for what it remembers of its shapes.

    `names` are the (root, field) pairs it reads: record, next, auth, input, vars; `entered` the (collection, field) pairs of
    other records, where the field that leads there counts as read and "" stands for the records themselves. `key` is equal for
    two filters that differ only in literals: their SQL is one text, with the literals in the holes. `tree` is the typed tree.
    `variables` are its `$names` where they stand, with the type that each must fit there, None for any: one that the expression
    also looks at by itself (`$x == "all" || n == $x`) may be anything everywhere, and the logic absorbs it.
    """

    __slots__ = (
        "_evaluate",
        "_fixed",
        "_index",
        "_leaves",
        "_lock",
        "_verdicts",
        "entered",
        "env",
        "key",
        "names",
        "needs_auth_record",
        "source",
        "tree",
        "variables",
    )

    def __init__(self, source: str, env: Env, tree: Node) -> None:
        self.source = source
        self.env = env
        self.tree = tree
        nodes = tuple(walk(tree))
        self.names = frozenset(_names(nodes))
        self.entered = frozenset(_entered(nodes))
        self.variables = tuple(_variables(nodes))
        self.needs_auth_record = any(root == "auth" and name not in _TOKEN_FIELDS for root, name in self.names)
        self.key: Hashable = skeleton(source) if env.kind == "filter" else source
        found = _leaves_of(tree)
        self._index = {node: index for index, (node, _) in enumerate(found)}
        self._leaves = tuple(_Reader(closure(node), node.type, as_id) for node, as_id in found)
        # A rule's constants are written into the text, where partial indexes can match them; a filter's are the client's: holes.
        fixed = [index for index, (node, _) in enumerate(found) if node.fixed and env.kind != "filter"]
        nobody = Frame(Facts(None, values.EPOCH))
        self._fixed = {index: self._leaves[index].read(nobody)[1] for index in fixed}
        self._evaluate: Closure | None = None
        self._verdicts: dict[Shape, bool | None] = {}
        self._lock = threading.Lock()
        if any(isinstance(node, Conditional | Formula) and not node.free for node in _inside_atoms(nodes)):
            self._refuse_too_complex()

    def __repr__(self) -> str:
        return f"Rule({self.source!r})"

    def check_variables(self, given: Mapping[str, object]) -> None:
        """Raises RuleError at a `$name` that is not given, or that can be no value of what it meets."""
        for variable, target in self.variables:
            name, at = variable.name, variable.at
            if name not in given:
                raise RuleError(self.source, at, "unknown_name", f"it uses ${name}, which vars does not hold.")
            if target is not None and fitted(given[name], target) is UNFIT:
                raise RuleError(self.source, at, "type_mismatch", f"${name} is no {target}.", hint_for(given[name], target))

    def fold(self, facts: Facts) -> Folded:
        """Work out everything no row is needed for."""
        frame = Frame(facts)
        kinds: list[str] = []
        bound: list[object] = []
        for leaf in self._leaves:
            kind, value = leaf.read(frame)
            kinds.append(kind)
            bound.append(value)
        shape = tuple(kinds)
        try:
            verdict = self._verdicts[shape]
        except KeyError:
            verdict = self._learn(shape)
        return Folded(shape, tuple(bound), verdict)

    def where(self, shape: Hashable, rows: Rows, source: Hashable, scope: str = "") -> Sql:
        """SQL that is true exactly for the rows the expression is true for; else false or null. Never raises when run.

        `rows` gives the SQL of fields and of other collections; holes are `Leaf(source, index)`; `scope` is the alias of the row
        it is put under when that belongs to another expression. Raises RuleError(too_complex).
        """
        return as_sql(self._rail(shape, rows, source, scope, want=True))

    def unless(self, shape: Hashable, rows: Rows, source: Hashable, scope: str = "") -> Sql:
        """SQL that is true exactly for the rows the expression is false for (not those where it is a failure)."""
        return as_sql(self._rail(shape, rows, source, scope, want=False))

    def evaluate(
        self,
        facts: Facts,
        record: Held | None = None,
        next: Held | None = None,  # noqa: A002
        beside: Beside | None = None,
    ) -> bool | RuleFailure:
        """The verdict on rows in memory; agrees with `where` and `unless`. Ids are canonical strings, JSON is decoded.

        `beside` finds the other records that it names; without it they are unknown, and what depends on them is a failure.
        """
        run = self._evaluate
        if run is None:
            run = self._evaluate = truth(closure(self.tree))
        result = run(Frame(facts, record, next, beside))
        return result if isinstance(result, bool | RuleFailure) else _NO_VERDICT

    def _rail(self, shape: Hashable, rows: Rows, source: Hashable, scope: str, *, want: bool) -> Condition:
        kinds = shape if isinstance(shape, tuple) else ()
        emitter = Emitter(self.source, self._index, kinds, rows=rows, source=source, fixed=self._fixed, scope=scope)
        return emitter.rail(self.tree, want=want)

    def _learn(self, shape: Shape) -> bool | None:
        """The verdict of a shape seen for the first time."""
        rail = self._rail(shape, _GATED if self.env.kind == "filter" else _ANY, "", "", want=True)
        verdict = rail if isinstance(rail, bool) else None
        with self._lock:
            if len(self._verdicts) >= _MAX_SHAPES:
                self._verdicts.clear()
            self._verdicts[shape] = verdict
        return verdict

    def _refuse_too_complex(self) -> None:
        """Choices inside atoms multiply: emit once with the likely kinds, so that the save is refused and not a request."""
        kinds = tuple(_likely_kind(leaf.type) for leaf in self._leaves)
        emitter = Emitter(self.source, self._index, kinds, rows=_ANY, source="", fixed={})
        emitter.rail(self.tree, want=True)
        emitter.rail(self.tree, want=False)


_TOKEN_FIELDS = ("id", "collection", "claims", "")
_NO_VERDICT = RuleFailure("the expression is neither true nor false")


class _Anywhere:
    """Rows without tables, for texts that are only looked at."""

    table = Sql()

    def __init__(self, alias: str, gate: Condition) -> None:
        self._alias = alias
        self.visible = gate

    def column(self, name: str) -> Sql:
        return ident(self._alias, name)

    def readable(self, name: str) -> Condition:
        return self.visible


class _Any:
    """`gate`: what stands for the conditions on rows and fields; SQL where they are not known."""

    shares = False

    def __init__(self, gate: Condition) -> None:
        self._gate = gate

    def column(self, root: str, name: str) -> Sql:
        return ident(root[:1], name)

    def readable(self, root: str, name: str) -> Condition:
        return self._gate

    def enter(self, collection: str, alias: str) -> Entered:
        return _Anywhere(alias, self._gate)


_ANY = _Any(True)
# Whatever a filter's author may not read makes it a failure, so that the constant truth of the rest is no verdict yet.
_GATED = _Any(sql("gate"))


def _inside_atoms(nodes: Sequence[Node]) -> Iterator[Node]:
    """The values that atoms are made of, where a choice would be lifted out."""
    for node in nodes:
        if not node.free:
            yield from value_parts(node)


def _names(nodes: Sequence[Node]) -> Iterator[tuple[str, str]]:
    for node in nodes:
        match node:
            case Column(row=Row(root=root), name=name) | Fact(root="auth" | "input" | "vars" as root, name=name):
                yield root, name


def _variables(nodes: Sequence[Node]) -> Iterator[tuple[Fact, Type | None]]:
    loose = _loose(nodes)
    for node in nodes:
        match node:
            case Meant(variable=variable, target=target):
                yield variable, None if variable.name in loose else target
            case Fact(root="vars"):
                yield node, None


def _loose(nodes: Sequence[Node]) -> frozenset[str]:
    """The variables that somewhere meet nothing of a row; null says nothing of their type."""
    facts: list[Fact] = []
    met: set[Node] = set()
    for node in nodes:
        match node:
            case Fact(root="vars"):
                facts.append(node)
            case Meant(variable=variable):
                met.add(variable)
            case Compare(left=left, right=Constant(value=None)) | Compare(left=Constant(value=None), right=left):
                met.add(left)
    return frozenset(fact.name for fact in facts if fact not in met)


def _entered(nodes: Sequence[Node]) -> Iterator[tuple[str, str]]:
    for node in nodes:
        match node:
            case Follow():
                yield node.type.target, ""
            case Related():
                yield node.collection, node.field
            case Column(row=Follow() | Loop() as row, name=name):
                yield row.type.target, name


def _leaves_of(tree: Node) -> tuple[tuple[Node, bool], ...]:
    """Each leaf once: one that stands in several places (`auth.id in [owner, null]`) meets an id if it does so in any of them."""
    found: dict[Node, bool] = {}
    for node, as_id in _leaves(tree, as_id=False):
        found[node] = found.get(node, False) or as_id
    return tuple(found.items())


def _leaves(node: Node, *, as_id: bool) -> Iterator[tuple[Node, bool]]:
    """The largest parts that need no row, left to right; and whether a text there meets an id, so that being a uuid matters."""
    if node.free:
        yield node, as_id
        return
    match node:
        case Compare(left=left, right=right):
            yield from _leaves(left, as_id=right.type.kind == "ref")
            yield from _leaves(right, as_id=left.type.kind == "ref")
        case Follow(ref=ref):
            yield from _leaves(ref, as_id=True)
        case Among(item=item, list=held):
            yield from _leaves(item, as_id=held.type.item is not None and held.type.item.kind == "ref")
            yield from _leaves(held, as_id=item.type.kind == "ref")
        case Conditional(condition=condition, yes=yes, no=no):
            yield from _leaves(condition, as_id=False)
            yield from _leaves(yes, as_id=as_id)
            yield from _leaves(no, as_id=as_id)
        case _:
            for child in children(node):
                yield from _leaves(child, as_id=False)


def _likely_kind(type_: Type) -> str:
    match type_.kind:
        case "bool":
            return "true"
        case "ref" | "dyn":
            return "string"
        case "list":
            return f"[{type_.item.kind if type_.item and type_.item.kind in _IN_ARRAYS else 'string'}]"
        case "auth" | "map" | "bytes":
            return "null"
    return type_.kind


_IN_ARRAYS = frozenset({"string", "int", "double", "decimal", "bool", "timestamp", "duration"})


@dataclass(frozen=True, slots=True)
class _Reader:
    """One leaf: how to work it out, and how it is bound."""

    run: Closure
    type: Type
    as_id: bool

    def read(self, frame: Frame) -> tuple[str, object]:
        """The kind that goes into the shape, and the value as the driver takes it."""
        value = self.run(frame)
        if isinstance(value, str):
            if "\0" in value:
                return "error", None
            # "text" is a string that was looked at and is no uuid; of a plain "string" that is not known.
            return ("string" if not self.as_id else "uuid" if values.is_uuid(value) else "text"), value
        return _bound(value, as_json=self.type.kind == "json", as_id=self.as_id)


def _bound(value: object, *, as_json: bool, as_id: bool) -> tuple[str, object]:
    match value:
        case None:
            return "null", None
        case bool():
            return ("true" if value else "false"), None
        case int():
            # A JSON number is a decimal; as an int, which an index of ints can serve, it means the same within 2**53.
            if (as_json and abs(value) > _SAFE_INTEGER) or not values.INT_MIN <= value <= values.INT_MAX:
                return "decimal", Decimal(value)
            return "int", value
        case float():
            return ("double", value) if isfinite(value) else ("error", None)
        case Decimal():
            return "decimal", value
        case datetime():
            return "timestamp", value
        case timedelta():
            return "duration", values.microseconds(value)
        case Geo():
            return "geo", value
        case list() | tuple():
            return _bound_list(list(value), as_json=as_json, as_id=as_id)
        case dict():
            return _bound_json(value)
    return "error", None


def _bound_list(items: list[object], *, as_json: bool, as_id: bool) -> tuple[str, object]:
    """A list of one kind as an array, else as JSON. The kind is `[int]`, `[string]?` with nulls in it, `[]` when empty."""
    if as_json:
        return _bound_json(items)
    kinds = {values.kind_of(item) for item in items}
    nullable = "?" if "null" in kinds else ""
    kinds.discard("null")
    if len(kinds) > 1 or not kinds <= _IN_ARRAYS or (kinds == {"int"} and not all(_fits(item) for item in items)):
        return _bound_json(items)
    if not kinds:
        return f"[]{nullable}", items
    kind = kinds.pop()
    if kind == "duration":
        items = [values.microseconds(item) if isinstance(item, timedelta) else None for item in items]
    if kind == "string" and as_id and all(item is None or (isinstance(item, str) and values.is_uuid(item)) for item in items):
        kind = "uuid"
    return f"[{kind}]{nullable}", items


def _fits(item: object) -> bool:
    return item is None or (isinstance(item, int) and values.INT_MIN <= item <= values.INT_MAX)


def _bound_json(value: object) -> tuple[str, object]:
    try:
        return "json", _JSON.encode(value).decode()
    except (TypeError, ValueError):
        return "error", None


_JSON = msgspec.json.Encoder(decimal_format="number", enc_hook=None)
