"""Syntax tree to typed tree: every name is known, every operator has its types, or the text is refused with place and hint."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Literal, NoReturn

from baas.engines.rules import parse as syntax
from baas.engines.rules.functions import FUNCTIONS, NAMES, overloads
from baas.engines.rules.functions.function import ZONE, Function
from baas.engines.rules.paths import place
from baas.engines.rules.patterns import PatternFault, canonical, place_in_literal
from baas.engines.rules.tree import (
    Among,
    Apply,
    At,
    Column,
    Compare,
    Conditional,
    Constant,
    Count,
    Fact,
    Fitted,
    Follow,
    Gather,
    Has,
    Key,
    ListOf,
    Logic,
    Loop,
    MapOf,
    Meant,
    Node,
    Not,
    Quantify,
    Related,
    Row,
    walk,
)
from baas.engines.rules.types import (
    AUTH,
    BOOL,
    BYTES,
    DOUBLE,
    DYN,
    INT,
    JSON,
    MAP,
    NULL,
    NUMBERS,
    STRING,
    TEXTS,
    TIMESTAMP,
    Env,
    Inverse,
    RowType,
    RuleError,
    Type,
    list_of,
    parse_type,
    row_of,
)
from baas.engines.rules.valueless import refuse_valueless
from baas.engines.rules.variables import FITTED
from baas.engines.schema.manifest import USERS

ROOTS = ("auth", "now", "record", "next", "input", "request", "value")
MAX_LOOPS = 2
MAX_HOPS = {"rule": 4, "validation": 4, "filter": 2}  # relations in one path
MAX_ENTERED = {"rule": 8, "validation": 8, "filter": 3}  # paths and lists of other collections' records in one expression
MOST_USES = 4  # conditions on each of them, together
_LITERALS = {type(None): NULL, bool: BOOL, int: INT, float: DOUBLE, str: STRING, bytes: BYTES}
MACROS = ("exists", "all", "filter", "map", "exists_one")
# What functions and fields are called in other languages.
_ELSEWHERE = {
    **dict.fromkeys(("length", "len", "count"), "size"),
    **dict.fromkeys(("toLowerCase", "lower", "tolower"), "lowerAscii"),
    **dict.fromkeys(("toUpperCase", "upper", "toupper"), "upperAscii"),
    **dict.fromkeys(("includes", "indexOf"), "contains"),
    **dict.fromkeys(("any", "some"), "exists"),
    **dict.fromkeys(("every", "forall"), "all"),
    **dict.fromkeys(("match", "test", "regex"), "matches"),
    "uid": "id",
}
_CUT = "A text is asked by startsWith(), endsWith() or contains()."
# What there is nothing for under another name.
_MISSING = {
    "abs": "Say x < 0 ? -x : x.",
    **dict.fromkeys(("substring", "substr", "slice", "charAt", "left", "right"), _CUT),
    **dict.fromkeys(("trim", "strip"), "Texts are compared as they are stored."),
    **dict.fromkeys(("round", "floor", "ceil"), "int(x) cuts towards zero."),
    **dict.fromkeys(("join", "split", "replace", "format"), "Expressions take no texts apart."),
    "coalesce": "Say x == null ? y : x.",
}
_ORDERED = frozenset({"string", "ref", "int", "double", "decimal", "bool", "timestamp", "duration", "bytes"})
_JSON_EQUALS = frozenset({"string", "ref", "int", "double", "decimal", "bool", "list", "json", "map"})
_JSON_ORDERED = frozenset({"string", "ref", "int", "double", "decimal", "bool", "json"})
_CONDITIONS = frozenset({"bool", "json", "dyn"})
_COLLECTIONS = frozenset({"list", "map", "json", "dyn"})

Binding = Callable[[int], Node]
"""What a loop variable stands for where it is used: a loop node at that place, or the item where a list was written out."""
Scope = dict[str, Binding]
_Body = Callable[[Binding], Node]
_Gatherer = Literal["filter", "map", "exists_one"]


def check_syntax(source: str, tree: syntax.Syntax, env: Env) -> Node:
    """The typed tree of a condition. Raises RuleError."""
    checker = Checker(source, env)
    root = checker.condition(tree, {})
    checker.refuse_unstorable(root)
    checker.refuse_too_wide(root)
    # What a client sends is judged whole. What is stored was judged when it was saved (`check_access`): a stricter version of the
    # language must not close the collection.
    if env.kind == "filter":
        refuse_valueless(source, root)
    return root


class Checker:
    """One method a kind of syntax; `scope` maps loop variables to what they stand for."""

    def __init__(self, source: str, env: Env) -> None:
        self._source = source
        self._env = env
        self._nul_at: int | None = None

    # Everything

    def node(self, tree: syntax.Syntax, scope: Scope) -> Node:  # noqa: PLR0912  one case a kind
        match tree:
            case syntax.Literal(value, at):
                if isinstance(value, str) and "\0" in value:
                    self._nul_at = at
                return Constant(_LITERALS[value.__class__], at, value)
            case syntax.Name(name, at):
                return self._name(name, at, scope)
            case syntax.Member():
                return self._member(tree, scope)
            case syntax.Binary():
                return self._binary(tree, scope)
            case syntax.Logic(operator, items, at):
                nodes = tuple(self.condition(item, scope) for item in items)
                return Logic(BOOL, at, "and" if operator == "&&" else "or", nodes, *_known(nodes))
            case syntax.Call():
                return self._call(tree, scope)
            case syntax.Unary("!", operand, at):
                item = self.condition(operand, scope)
                return Not(BOOL, at, item, item.free, item.fixed)
            case syntax.Unary(_, operand, at):
                return self._apply("neg", (self.node(operand, scope),), at, shown="-")
            case syntax.Variable(name, at):
                if not self._env.vars:
                    raise self._error(at, "not_allowed", "variables (`$name`) are for filters; a rule holds its values itself.")
                return Fact(DYN, at, "vars", name)
            case syntax.Conditional():
                return self._conditional(tree, scope)
            case syntax.Index(inner, index, at):
                held, place = self._values((inner, index), scope)
                return self._index(held, place, at)
            case syntax.ListOf(items, at):
                nodes = tuple(self._listed(one) for one in self._values(items, scope))
                return ListOf(list_of(_common(nodes)), at, nodes, *_known(nodes))
            case syntax.MapOf(entries, at):
                return self._map(entries, at, scope)

    def _listed(self, node: Node) -> Node:
        """What a list or a map may hold: SQL has no lists of places that it can compare."""
        if node.type.kind in ("geo", "vector"):
            words = f"a list or map holds no value of type {node.type.kind}."
            raise self._error(node.at, "type_mismatch", words, "Compare one by one, with ==.")
        return node

    def condition(self, tree: syntax.Syntax, scope: Scope) -> Node:
        """A node where a truth value is needed; JSON counts when it is true or false."""
        node = self.node(tree, scope)
        if node.type.kind not in _CONDITIONS:
            raise self._error(
                tree.at, "type_mismatch", f"this needs a condition, and {self._what(node)} is not one.", _as_condition(node)
            )
        return node

    def refuse_unstorable(self, root: Node) -> None:
        """No stored text holds a NUL, so a literal with one can only be a mistake (and the database would raise on it)."""
        if self._nul_at is not None and not root.free:
            raise self._error(self._nul_at, "type_mismatch", "stored text holds no NUL character.")

    def refuse_too_wide(self, root: Node) -> None:
        """Each list of records becomes a sub-select, and each condition on a path: paths count once, up to a number of uses."""
        most, seen = MAX_ENTERED[self._env.kind], set[Hashable]()
        for number, (at, which) in enumerate(_entered(root)):
            seen.add(which)
            if len(seen) > most:
                words = f"an expression of this kind enters other collections by at most {most} paths and lists."
                raise self._error(
                    at, "too_complex", words, "One path counts once, however many conditions it has; ask for less at once."
                )
            if number >= most * MOST_USES:
                words = f"the paths and lists of this expression stand in more than {most * MOST_USES} conditions."
                raise self._error(at, "too_complex", words, "Say `path in [a, b]` for several values of one field.")

    # Names

    def _name(self, name: str, at: int, scope: Scope) -> Node:
        if name in scope:
            return scope[name](at)
        match name:
            case "now":
                return Fact(TIMESTAMP, at, "now", "")
            case "auth":
                return Fact(AUTH, at, "auth", "")
            case "value" if self._env.value is not None:
                return self._column("next", self._env.value, at)
            case "record" | "next" | "request" | "input":
                raise self._error(
                    at, "type_mismatch", f"`{name}` is not a value by itself.", f"Say one of its fields: `{name}.…`."
                )
        return self._bare(name, at, scope)

    def _bare(self, name: str, at: int, scope: Scope) -> Node:
        if self._env.bare is not None and self._row(self._env.bare) is not None:
            return self._column(self._env.bare, name, at, beside=scope)
        rows = [root for root in ("record", "next") if (row := self._row(root)) is not None and name in _readable(row)]
        if rows:
            raise self._error(
                at, "unknown_name", f"{name!r} could be the row before or after.", f"Say record.{name} or next.{name}."
            )
        raise self._error(at, "unknown_name", f"unknown name {name!r}.", self._meant(name, [*self._roots(), *scope]))

    def _roots(self) -> Sequence[str]:
        return ROOTS if self._env.value is not None else [root for root in ROOTS if root != "value"]

    def _row(self, root: str) -> RowType | None:
        return self._env.record if root == "record" else self._env.next

    def _column(self, root: str, name: str, at: int, beside: Scope | None = None) -> Node:
        row = self._row(root)
        if row is None:
            raise self._error(at, "unknown_name", f"there is no `{root}` in {self._here()}.")
        found = self._field(row, Row(row_of(""), at, root), name, at)
        if found is None:
            known = _readable(row) + ([*self._roots(), *beside] if beside is not None else [])
            raise self._error(at, "unknown_field", f"unknown field {name!r}.", self._meant(name, known))
        return found

    def _field(self, of: RowType, row: Row | Loop | Follow, name: str, at: int) -> Column | Related | None:
        """A field of a row, or the records that lead to it by a relation; None when it has neither."""
        field = of.fields.get(name)
        if field is not None and field.readable:
            return Column(parse_type(field.type), at, row, name, field.nullable)
        inverse = of.inverses.get(name)
        if inverse is None or inverse.collection not in self._env.collections:
            return None
        return Related(list_of(row_of(inverse.collection)), at, row, inverse.field, inverse.many)

    def _through(self, ref: Node, name: str, at: int) -> Node:
        """A field of the record that a relation leads to."""
        if not isinstance(ref, Column | Loop | Fact):
            hint = f"Say list.exists(x, x.{name} == …)." if isinstance(ref, At) else "Name the relation itself before the dot."
            raise self._error(at, "not_allowed", "a path goes through fields alone.", hint)
        certain = isinstance(ref, Column) and not ref.nullable and _is_stored(ref.row)
        row = Follow(row_of(ref.type.target), ref.at, ref, certain)
        most = MAX_HOPS[self._env.kind]
        if _hops(row) > most:
            raise self._error(at, "too_complex", f"a path of this kind goes through at most {most} relations.")
        return self._of_entered(row, name, at)

    def _of_entered(self, row: Loop | Follow, name: str, at: int) -> Node:
        # A collection that the author may not enter is as good as none: its fields are unknown, whatever they are called.
        collection = row.type.target
        of = self._env.collections.get(collection, _EMPTY)
        found = self._field(of, row, name, at)
        if found is None:
            known = _readable(of)
            raise self._error(at, "unknown_field", f"unknown field {name!r} of {collection!r}.", self._meant(name, known))
        return found

    def _member(self, tree: syntax.Member, scope: Scope) -> Node:
        inner, name, at = tree
        if isinstance(inner, syntax.Name) and inner.name in ROOTS and inner.name not in scope:
            node = self._of_root(inner, name, at)
            if node is not None:
                return node
        return self._key(self.node(inner, scope), name, at)

    def _of_root(self, inner: syntax.Name, name: str, at: int) -> Node | None:
        match inner.name:
            case "record" | "next":
                if self._row(inner.name) is None:
                    raise self._error(inner.at, "unknown_name", f"there is no `{inner.name}` in {self._here()}.")
                return self._column(inner.name, name, at)
            case "auth":
                return self._of_auth(name, at)
            case "request":
                if name not in ("action", "via"):
                    raise self._error(at, "unknown_field", f"unknown field {name!r}.", self._meant(name, ["action", "via"]))
                return Fact(STRING, at, "request", name)
            case "input":
                if self._env.kind == "filter":
                    raise self._error(inner.at, "unknown_name", "there is no `input` in a filter.")
                raise self._error(
                    inner.at,
                    "not_allowed",
                    "`input` only tells what was sent.",
                    f"Say has(input.{name}), or next.{name} for its value.",
                )
        return None

    def _of_auth(self, name: str, at: int) -> Node:
        if name in ("id", "collection"):
            return Fact(STRING, at, "auth", name)
        if name == "claims":
            return Fact(JSON, at, "auth", name)
        fields = self._env.auth.fields if self._env.auth is not None else {}
        field = fields.get(name)
        inverse = self._env.auth.inverses.get(name) if field is None and self._env.auth is not None else None
        if inverse is not None and (inverse.collection in self._env.collections or self._env.closed is not None):
            return self._back_to_caller(inverse, at)
        if field is None or not field.readable:
            known = ["id", "collection", "claims", *(_readable(self._env.auth) if self._env.auth else [])]
            raise self._error(at, "unknown_field", f"unknown field {name!r}.", self._meant(name, known))
        return Fact(parse_type(field.type), at, "auth", name)

    def _back_to_caller(self, inverse: Inverse, at: int) -> Node:
        """`auth.posts`: the records that lead to the caller's own."""
        if inverse.collection not in self._env.collections:
            self._no_rows(inverse.collection, at)
        me = Fact(Type("ref", None, USERS), at, "auth", "id")
        return Related(list_of(row_of(inverse.collection)), at, Follow(row_of(USERS), at, me, False), inverse.field, inverse.many)

    def _refuse_undecided(self, held: Node) -> None:
        """A row's value beside a caller's under one `?:` has no one type that SQL could open."""
        if held.type is DYN and not held.free:
            raise self._error(held.at, "type_mismatch", "both branches of `?:` need one type here.")

    def _key(self, inner: Node, name: str, at: int) -> Node:
        self._refuse_undecided(inner)
        match inner.type.kind:
            case "json" | "map" | "dyn":
                return Key(JSON if inner.type is JSON else DYN, at, inner, name, inner.free, inner.fixed)
            case "geo" if name in ("lat", "lon"):
                return self._apply(f".{name}", (inner,), at, shown=name)
            case "ref":
                return self._through(inner, name, at)
            case "row" if isinstance(inner, Loop):
                return self._of_entered(inner, name, at)
        hint = f"Say size({'…' if not isinstance(inner, Column) else inner.name})." if _ELSEWHERE.get(name) == "size" else None
        raise self._error(at, "type_mismatch", f"{self._what(inner)} has no field {name!r}.", hint)

    def _index(self, inner: Node, index: Node, at: int) -> Node:
        known = _known((inner, index))
        kind, by = inner.type.kind, index.type.kind
        if kind == "list" and isinstance(inner, ListOf) and not inner.free:
            raise self._error(
                at, "type_mismatch", "a list of record fields has no positions.", "Use it with in, exists, all or size."
            )
        self._refuse_undecided(inner)
        if inner.type.item is DYN and inner.free and not index.free:
            inner = Fitted(inner.type, inner.at, inner, None, True, inner.fixed)
        if (kind == "list" and by in ("int", "dyn")) or (kind == "json" and by in ("int", "string", "dyn")):
            return At(inner.type.item or JSON if kind == "list" else JSON, at, inner, index, *known)
        if (kind in ("map", "dyn") or (kind == "list" and by == "double")) and all(known[:1]):
            return At(DYN, at, inner, index, *known)
        if kind in ("list", "json"):
            raise self._error(at, "type_mismatch", f"a position in a {kind} is an int, not {_a(by)}.")
        hint = "A text is asked by startsWith(), endsWith() or contains()." if kind in TEXTS else None
        raise self._error(at, "type_mismatch", f"{self._what(inner)} has no positions.", hint)

    # Operators

    def _binary(self, tree: syntax.Binary, scope: Scope) -> Node:
        operator, at = tree.operator, tree.at
        if operator == "in":
            return self._among(tree, scope)
        left, right = self._values((tree.left, tree.right), scope)
        if operator in ("==", "!=", "<", "<=", ">", ">="):
            return self._compare(operator, left, right, at)
        return self._apply(operator, (left, right), at, shown=operator)

    def _compare(self, operator: str, left: Node, right: Node, at: int) -> Node:
        equality = operator in ("==", "!=")
        left, right = self._as_beside(left, right), self._as_beside(right, left)
        if not (_may_equal if equality else _may_order)(left.type.kind, right.type.kind):
            said = "can never be equal" if equality else "have no order"
            raise self._error(at, "type_mismatch", f"{left.type} and {right.type} {said}.", _conversion(left.type, right.type))
        for side in (left, right):
            if isinstance(side, ListOf) and not side.free:
                raise self._error(
                    side.at, "type_mismatch", "a list of record fields compares with nothing.", "Use in, exists, all or size."
                )
        return Compare(BOOL, at, operator, left, right, *_known((left, right)))  # type: ignore[arg-type]

    def _as_beside(self, node: Node, beside: Node, target: Type | None = None) -> Node:
        """A variable beside something of a row, as a value of its type."""
        target = target or beside.type
        if beside.free or target.kind not in FITTED:
            return node
        match node:
            case Fact(root="vars"):
                return Meant(DYN, node.at, node, target)
            case ListOf(items=items) if target.kind == "list" and target.item is not None:
                return replace(node, items=tuple(self._as_beside(one, beside, target.item) for one in items))
        return node

    def _values(self, trees: Sequence[syntax.Syntax], scope: Scope) -> tuple[Node, ...]:
        nodes = tuple(self.node(tree, scope) for tree in trees)
        for node in nodes:
            self._refuse_rows(node)
        return nodes

    def _refuse_rows(self, node: Node) -> None:
        """Records have fields; they are not values themselves."""
        if node.type.kind == "row":
            raise self._error(
                node.at, "type_mismatch", "a record is not a value by itself.", "Say one of its fields, like its id."
            )
        if node.type.item is not None and node.type.item.kind == "row":
            words = "a list of records is used with exists, all, filter or size."
            raise self._error(node.at, "type_mismatch", words, "For one of them say list.exists(x, x.id == …).")

    def _among(self, tree: syntax.Binary, scope: Scope) -> Node:
        (item, where), at = self._values((tree.left, tree.right), scope), tree.at
        free, fixed = _known((item, where))
        kind = where.type.kind
        if kind not in _COLLECTIONS:
            raise self._error(at, "type_mismatch", f"`in` needs a list, and {self._what(where)} is not one.", _as_list(where))
        if isinstance(where, ListOf) and not free and (not where.free or where.type.item is DYN):
            return self._any_of(item, where, at)
        where = self._as_beside(where, item, list_of(item.type))
        if where.type.item is not None:
            item = self._as_beside(item, where, where.type.item)
        if isinstance(where, Meant) and item.type.kind in ("geo", "vector"):
            words = f"a list holds no value of type {item.type.kind}."
            raise self._error(where.at, "type_mismatch", words, "Compare one by one, with ==.")
        inside = where.type.item.kind if where.type.item is not None else "dyn"
        if not _may_equal(item.type.kind, inside) and not (isinstance(where, ListOf) and not where.items):
            raise self._error(
                at,
                "type_mismatch",
                f"{item.type} and {where.type.item} can never be equal.",
                _conversion(item.type, where.type.item),
            )
        if where.free and not item.free and item.type.kind != "json" and kind != "json":
            where = Fitted(DYN, where.at, where, item.type.kind, True, where.fixed)
        return Among(BOOL, at, item, where, free, fixed)

    def _any_of(self, item: Node, where: ListOf, at: int) -> Node:
        """`x in [a, b]` with record fields among them is `x == a || x == b`, in both evaluators."""
        pairs = tuple(self._compare("==", item, one, one.at) for one in where.items)
        if len(pairs) == 1:
            return pairs[0]
        return Logic(BOOL, at, "or", pairs, *_known(pairs))

    def _conditional(self, tree: syntax.Conditional, scope: Scope) -> Node:
        condition = self.condition(tree.condition, scope)
        yes, no = self._values((tree.yes, tree.no), scope)
        known = _known((condition, yes, no))
        common = _common((yes, no))
        if common is DYN and not known[0] and DYN not in (yes.type, no.type):
            raise self._error(tree.at, "type_mismatch", f"both branches of `?:` need one type, not {yes.type} and {no.type}.")
        return Conditional(common, tree.at, condition, yes, no, *known)

    def _map(self, entries: Sequence[tuple[syntax.Syntax, syntax.Syntax]], at: int, scope: Scope) -> Node:
        keys = tuple(self.node(key, scope) for key, _ in entries)
        held = tuple(self._listed(self.node(value, scope)) for _, value in entries)
        free, fixed = _known(keys + held)
        if not free:
            raise self._error(at, "not_allowed", "a map holds no record fields.")
        for key in keys:
            if key.type.kind not in ("string", "int", "bool", "dyn", "json"):
                raise self._error(key.at, "type_mismatch", f"{_a(str(key.type))} is no key of a map.")
        return MapOf(MAP, at, keys, held, free, fixed)

    # Calls

    def _call(self, tree: syntax.Call, scope: Scope) -> Node:
        target, name, args, at = tree
        if target is not None and name in MACROS:
            return self._macro(tree, scope)
        if target is None and name in ("has", "changed", "dyn", "rows"):
            return self._special(name, args, at, scope)
        if name == "size" and len(args) + (target is not None) == 1:
            counted = self._counted(target or args[0], scope)
            if counted is not None:
                return counted
        called = f".{name}" if target is not None else name
        if called not in NAMES:
            self._unknown_function(called, name, at)
        nodes = self._values((target, *args) if target is not None else args, scope)
        if name == "matches" and len(nodes) == 2:
            nodes = (nodes[0], self._pattern(args[-1]))
        if target is not None and len(nodes) == 2 and nodes[0].type is TIMESTAMP and f".{name}" in NAMES:
            nodes = (nodes[0], self._zone(nodes[1]))
        return self._apply(called, nodes, at, shown=name)

    def _apply(self, name: str, args: tuple[Node, ...], at: int, *, shown: str) -> Node:
        found = overloads(name, tuple(arg.type.kind for arg in args))
        if not found:
            self._no_overload(name, shown, args, at)
        free, fixed = _known(args)
        if not free:
            self._refuse_in_memory_only(found, shown, args, at)
            args = tuple(self._as_parameter(arg, index, found) for index, arg in enumerate(args))
        result = found[0].result if len({one.result for one in found}) == 1 else DYN
        if result.kind == "list":
            if not free and len({arg.type.item.kind for arg in args if arg.type.item}) > 1:
                self._no_overload(name, shown, args, at)
            result = list_of(_common_of([arg.type.item or DYN for arg in args]))
        return Apply(result, at, name, found, args, free, fixed)

    def _as_parameter(self, arg: Node, index: int, found: Sequence[Function]) -> Node:
        """A variable where a function takes one type alone, as a value of that."""
        kinds = {one.params[index] for one in found}
        if len(kinds) > 1 or not isinstance(arg, Fact) or arg.root != "vars" or not kinds <= FITTED - {"list"}:
            return arg
        return Meant(DYN, arg.at, arg, Type(kinds.pop()))

    def _zone(self, name: Node) -> Node:
        """The name of a time zone, looked up before any row is read: an unknown one is a failure, not an SQL error."""
        if not name.free:
            raise self._error(name.at, "not_allowed", "a time zone comes from the expression, not from a record.")
        return self._apply(ZONE, (name,), name.at, shown="time zone")

    def _pattern(self, tree: syntax.Syntax) -> Node:
        """The pattern of `matches`, in the one form that both evaluators read."""
        if self._env.kind == "filter":
            raise self._error(tree.at, "not_allowed", "patterns are for rules and validation.", "Say contains() or startsWith().")
        if not isinstance(tree, syntax.Literal) or not isinstance(tree.value, str):
            raise self._error(tree.at, "not_allowed", "a pattern is written out in the expression, as a string.")
        try:
            return Constant(STRING, tree.at, canonical(tree.value))
        except PatternFault as fault:
            at = tree.at + place_in_literal(self._source[tree.at :], fault.at)
            raise self._error(at, "bad_pattern", fault.message) from None

    def _refuse_in_memory_only(self, found: Sequence[Function], shown: str, args: tuple[Node, ...], at: int) -> None:
        if all(one.sql is None for one in found):
            raise self._error(at, "not_allowed", f"{shown}() takes no record fields.", "Write the value out, or pass it in.")
        for arg in args:
            if isinstance(arg, ListOf) and not arg.free:
                raise self._error(
                    arg.at, "type_mismatch", "a list of record fields joins with nothing.", "Use in, exists, all or size."
                )

    def _unknown_function(self, name: str, shown: str, at: int) -> NoReturn:
        method = name.startswith(".")
        if (name[1:] if method else f".{name}") in NAMES:
            usage = f"{shown}(x)" if method else f"x.{shown}(…)"
            raise self._error(
                at, "unknown_function", f"{shown!r} is not a {'method' if method else 'function'}.", f"Write {usage}."
            )
        if shown in _MISSING:
            words = f"there is no {'method' if method else 'function'} {shown!r}."
            raise self._error(at, "unknown_function", words, _MISSING[shown])
        known = [one.lstrip(".") for one in NAMES if one.startswith(".") == method] + [
            *(MACROS if method else ("has", "changed"))
        ]
        raise self._error(
            at, "unknown_function", f"unknown {'method' if method else 'function'} {shown!r}.", self._meant(shown, known)
        )

    def _no_overload(self, name: str, shown: str, args: tuple[Node, ...], at: int) -> NoReturn:
        given = " and ".join(_a(str(arg.type)) for arg in args) or "nothing"
        takes = sorted({" and ".join(one.params) for one in FUNCTIONS if one.name == name})
        hint = f"It takes {'; '.join(takes)}."
        if any(arg.type is JSON for arg in args):
            hint = f"Convert the JSON value first: int(…), double(…), string(…). {hint}"
        elif name == ".contains" and args[0].type.kind == "list":
            hint = "For an element of a list say `x in list`."
        elif {arg.type.kind for arg in args} == {"int", "double"}:
            hint = "Convert one side: double(…) or int(…)."
        raise self._error(at, "type_mismatch", f"`{shown}` does not take {given}.", hint)

    def _special(self, name: str, args: tuple[syntax.Syntax, ...], at: int, scope: Scope) -> Node:
        if name == "changed":
            return self._changed(args, at)
        if name == "rows":
            return self._rows(args, at)
        if len(args) != 1:
            raise self._error(at, "type_mismatch", f"{name}() takes one argument.")
        if name == "has":
            return self._has(args[0], at, scope)
        inner = self.node(args[0], scope)
        if not inner.free or not isinstance(inner, Constant | ListOf | MapOf | Fact | Apply | At | Key):
            return inner
        # `dyn(x)` forgets the type: only the value decides from here on.
        return Conditional(DYN, at, Constant(BOOL, at, value=True), inner, inner, inner.free, inner.fixed)

    def _rows(self, args: tuple[syntax.Syntax, ...], at: int) -> Node:
        """`rows("members")`: all records of a collection."""
        if self._env.kind == "filter":
            raise self._error(at, "not_allowed", "rows() is for rules; a filter follows the relations of its own collection.")
        match args:
            case (syntax.Literal(str() as name, place),):
                if name not in self._env.collections:
                    self._no_rows(name, place)
                return Related(list_of(row_of(name)), at, None)
        raise self._error(at, "type_mismatch", 'rows() takes the name of a collection: rows("members").')

    def _no_rows(self, name: str, at: int) -> NoReturn:
        if self._env.closed is not None:
            raise self._error(at, "not_allowed", f"{self._env.closed}: it enters no collection.")
        if name in self._env.views:
            raise self._error(
                at, "not_allowed", f"{name!r} is a view, which rules do not enter.", "Name the collections it reads."
            )
        raise self._error(
            at, "unknown_name", f"there is no collection {name!r}.", self._meant(name, sorted(self._env.collections))
        )

    def _has(self, tree: syntax.Syntax, at: int, scope: Scope) -> Node:
        if not isinstance(tree, syntax.Member):
            raise self._error(at, "type_mismatch", "has() takes a field: has(record.title).")
        inner = tree.of
        if isinstance(inner, syntax.Name) and inner.name not in scope:
            if inner.name == "input":
                return self._sent(tree.name, tree.at, inner.at)
            if inner.name in ROOTS and inner.name != "value":
                return self._is_set(self._member(tree, scope), at)
        node = self.node(inner, scope)
        if node.type.kind not in ("json", "map", "dyn"):
            return self._is_set(self._key(node, tree.name, tree.at), at)
        return Has(BOOL, at, node, tree.name, node.free, node.fixed)

    def _is_set(self, field: Node, at: int) -> Node:
        self._refuse_rows(field)
        return Compare(BOOL, at, "!=", field, Constant(NULL, at, None), field.free, field.fixed)

    def _sent(self, name: str, at: int, root_at: int) -> Node:
        if self._env.next is None:
            raise self._error(root_at, "unknown_name", f"there is no `input` in {self._here()}.")
        self._column("next", name, at)
        return Fact(BOOL, at, "input", name)

    def _changed(self, args: tuple[syntax.Syntax, ...], at: int) -> Node:
        """`changed("a", "b")` is `next.a != record.a || next.b != record.b`."""
        if self._env.record is None or self._env.next is None:
            raise self._error(at, "not_allowed", "changed() is for update rules, where there is a record and a next.")
        if not args or not all(isinstance(arg, syntax.Literal) and isinstance(arg.value, str) for arg in args):
            raise self._error(at, "type_mismatch", 'changed() takes names of fields: changed("title").')
        pairs = []
        for arg in args:
            name = str(arg.value) if isinstance(arg, syntax.Literal) else ""
            pairs.append(self._compare("!=", self._column("next", name, arg.at), self._column("record", name, arg.at), arg.at))
        return pairs[0] if len(pairs) == 1 else Logic(BOOL, at, "or", tuple(pairs), *_known(pairs))

    # Macros

    def _macro(self, tree: syntax.Call, scope: Scope) -> Node:
        target, name, at = tree.target, tree.name, tree.at
        if len(tree.args) != 2 or not isinstance(tree.args[0], syntax.Name) or target is None:
            raise self._error(at, "type_mismatch", f"{name} takes a name and a condition: list.{name}(x, x == 1).")
        variable, body = tree.args[0].name, tree.args[1]
        if variable in ROOTS or variable in scope:
            raise self._error(tree.args[0].at, "not_allowed", f"{variable!r} is taken; choose another name for the element.")
        if (
            name in ("exists", "all")
            and isinstance(target, syntax.Call)
            and target.name == "filter"
            and target.target is not None
        ):
            held = self.node(target.target, scope)
            if not held.free:
                return self._over_filtered(tree, target, held, scope)
        held = self.node(target, scope)
        if held.type.kind not in _COLLECTIONS:
            raise self._error(at, "type_mismatch", f"{name} needs a list, and {self._what(held)} is not one.")

        def checked(bound: Binding) -> Node:
            inner = scope | {variable: bound}
            return self.node(body, inner) if name == "map" else self.condition(body, inner)

        match name:
            case "exists" | "all":
                return self._looped(name, held, checked, at, scope)
            case "filter" | "map" | "exists_one":
                return self._gathered(name, held, checked, at, scope)
        raise AssertionError(f"no macro {name}")

    def _over_filtered(self, tree: syntax.Call, inner: syntax.Call, held: Node, scope: Scope) -> Node:
        """`l.filter(x, p).exists(y, q)` is `l.exists(x, p && q)`, and `.all` is `l.all(x, !p || q)`: no list is made."""
        first, variable = (one.args[0] if one.args else None for one in (inner, tree))
        if len(inner.args) != 2 or not isinstance(first, syntax.Name) or not isinstance(variable, syntax.Name):
            raise self._error(inner.at, "type_mismatch", "filter takes a name and a condition: list.filter(x, x == 1).")
        at = tree.at

        def body(bound: Binding) -> Node:
            kept = self.condition(inner.args[1], scope | {first.name: bound})
            asked = self.condition(tree.args[1], scope | {variable.name: bound})
            if tree.name == "all":
                kept = Not(BOOL, at, kept, kept.free, kept.fixed)
            nodes = (kept, asked)
            return Logic(BOOL, at, "and" if tree.name == "exists" else "or", nodes, *_known(nodes))

        return self._looped("exists" if tree.name == "exists" else "all", held, body, at, scope)

    def _gathered(self, name: _Gatherer, held: Node, body: _Body, at: int, scope: Scope) -> Node:
        level, node = self._element(held, body, scope)
        if not (held.free and node.free):
            hint = "Use it as size(l.filter(…)) or l.filter(…).exists(…)." if name == "filter" else None
            raise self._error(at, "not_allowed", f"{name} makes a list in memory and takes no record fields.", hint)
        result = {"filter": held.type if held.type.kind == "list" else list_of(DYN), "map": list_of(node.type)}.get(name, BOOL)
        return Gather(result, at, name, held, level, node, True, held.fixed and node.fixed)

    def _looped(self, operator: Literal["exists", "all"], held: Node, body: _Body, at: int, scope: Scope) -> Node:
        level, node = self._element(held, body, scope)
        if isinstance(held, ListOf) and not (held.free and node.free):
            # Written out over a list that is written out: each item keeps its own type and its own index.
            nodes = tuple(body(_standing_for(item)) for item in held.items)
            if not nodes:
                return Constant(BOOL, at, operator == "all")
            return Logic(BOOL, at, "or" if operator == "exists" else "and", nodes, *_known(nodes)) if len(nodes) > 1 else nodes[0]
        free, fixed = _known((held, node))
        if held.free and not free:
            held = _uniform(held)
        return Quantify(BOOL, at, operator, held, level, node, free, fixed)

    def _element(self, held: Node, body: _Body, scope: Scope) -> tuple[int, Node]:
        """The body checked with the loop's variable. Known before any row only when list and body are: else it is a variable of
        the query, and nothing that names it can be worked out beforehand."""
        self._refuse_undecided(held)
        level = len(scope)
        if level >= MAX_LOOPS:
            raise self._error(held.at, "too_complex", f"macros nest at most {MAX_LOOPS} deep.")
        item = (held.type.item or DYN) if held.type.kind == "list" else JSON if held.type is JSON else DYN

        def bound(*, free: bool) -> Binding:
            return lambda at: Loop(item, at, level, free, free and held.fixed)

        node = body(bound(free=held.free))
        return level, node if node.free == held.free or not held.free else body(bound(free=False))

    def _counted(self, tree: syntax.Syntax, scope: Scope) -> Node | None:
        """`size(l.filter(x, p))` over a row's list, and the size of a list that is written out or of records."""
        if isinstance(tree, syntax.ListOf):
            nodes = tuple(self.node(item, scope) for item in tree.items)
            return None if _known(nodes)[0] else Constant(INT, tree.at, len(nodes))
        if isinstance(tree, syntax.Member | syntax.Name) or _is_rows(tree):
            held = self.node(tree, scope)
            return Count(INT, tree.at, held, len(scope), Constant(BOOL, tree.at, True), False, False) if _of_rows(held) else None
        if not (isinstance(tree, syntax.Call) and tree.name == "filter" and tree.target is not None):
            return None
        if len(tree.args) != 2 or not isinstance(tree.args[0], syntax.Name):
            return None
        variable, condition = tree.args[0].name, tree.args[1]
        if variable in ROOTS or variable in scope:
            return None
        held = self.node(tree.target, scope)
        if held.type.kind not in ("list", "json", "dyn") or (isinstance(held, ListOf) and not held.free):
            return None
        level, node = self._element(held, lambda bound: self.condition(condition, scope | {variable: bound}), scope)
        free, fixed = _known((held, node))
        if held.free and not free:
            held = _uniform(held)
        return Count(INT, tree.at, held, level, node, free, fixed)

    # Words

    def _here(self) -> str:
        """What kind of expression this is, in words."""
        if self._env.kind == "rule" and self._env.action:
            return f"{_a(self._env.action)} rule"
        return _a(self._env.kind)

    def _error(self, at: int, code: str, message: str, hint: str | None = None) -> RuleError:
        return RuleError(self._source, at, code, message, hint)

    def _meant(self, name: str, known: Sequence[str]) -> str | None:
        usual = _ELSEWHERE.get(name)
        close = [usual] if usual in known else get_close_matches(name, known, n=1, cutoff=0.7)
        return f"Did you mean {close[0]!r}?" if close else None

    def _what(self, node: Node) -> str:
        """How to call a node in a message: its name if it has one, else its type."""
        match node:
            case Column(row=Row(root=root), name=name) | Fact(root=root, name=name) if name:
                return f"`{root}.{name}` ({node.type})"
        return _a(str(node.type))


_EMPTY = RowType({})


def _hops(row: Row | Loop | Follow) -> int:
    """How many relations lead to a row."""
    if not isinstance(row, Follow):
        return 0
    return 1 + (_hops(row.ref.row) if isinstance(row.ref, Column) else 0)


def _entered(root: Node) -> Iterator[tuple[int, Hashable]]:
    """Where other collections are entered, and by which path: equal for two conditions on one path from the judged row."""
    nodes = tuple(walk(root))
    between = {node.ref for node in nodes if isinstance(node, Follow)}
    for node in nodes:
        match node:
            case Column(row=Follow() as row) if node not in between:
                yield row.at, _path(row)
            case Related(of=of):
                yield node.at, node
                if isinstance(of, Follow):
                    yield of.at, _path(of)


def _path(row: Follow) -> Hashable:
    """The path, or the node itself where it begins at an element of a loop."""
    first: Row | Loop | Follow = row
    while isinstance(first, Follow) and isinstance(first.ref, Column):
        first = first.ref.row
    return row if isinstance(first, Loop) or (isinstance(first, Follow) and isinstance(first.ref, Loop)) else place(row)


def _is_stored(row: Row | Loop | Follow) -> bool:
    """Whether the row is in the database, where foreign keys hold: `next` is not yet."""
    return not isinstance(row, Row) or row.root == "record"


def _is_rows(tree: syntax.Syntax) -> bool:
    return isinstance(tree, syntax.Call) and tree.name == "rows" and tree.target is None


def _of_rows(node: Node) -> bool:
    return node.type.item is not None and node.type.item.kind == "row"


def _standing_for(item: Node) -> Binding:
    return lambda _at: item


def _uniform(held: Node) -> Node:
    """A caller's list that SQL will walk: JSON and lists of one known type stay, anything else must turn out uniform."""
    if held.type is JSON or (held.type.kind == "list" and held.type.item is not DYN):
        return held
    return Fitted(list_of(DYN), held.at, held, None, True, held.fixed)


def _known(nodes: Sequence[Node]) -> tuple[bool, bool]:
    """Whether all are free, and whether all are fixed."""
    free = fixed = True
    for node in nodes:
        if not node.fixed:
            fixed = False
            if not node.free:
                return False, False
    return free, fixed


def _common(nodes: Sequence[Node]) -> Type:
    return _common_of([node.type for node in nodes if node.type is not NULL])


def _common_of(types: Sequence[Type]) -> Type:
    first = types[0] if types else DYN
    return first if all(one == first or {one.kind, first.kind} == {"ref"} for one in types) else DYN


def _may_equal(a: str, b: str) -> bool:
    if "vector" in (a, b):
        return "null" in (a, b)
    if a == b or "dyn" in (a, b):
        return True
    if "null" in (a, b):
        return True
    if "json" in (a, b):
        return (b if a == "json" else a) in _JSON_EQUALS
    return {a, b} <= NUMBERS or {a, b} <= TEXTS


def _may_order(a: str, b: str) -> bool:
    if "dyn" in (a, b):
        return (b if a == "dyn" else a) in _ORDERED | {"json", "dyn"}
    if "json" in (a, b):
        return (b if a == "json" else a) in _JSON_ORDERED
    return (a == b and a in _ORDERED) or {a, b} <= NUMBERS or {a, b} <= TEXTS


def _readable(row: RowType) -> list[str]:
    return [name for name, field in row.fields.items() if field.readable]


def _a(word: str) -> str:
    return f"an {word}" if word[:1] in "aeiou" else f"a {word}"


def _as_condition(node: Node) -> str | None:
    return f"Compare it: … == {'0' if node.type.kind in NUMBERS else '…'}." if node.type.kind != "null" else None


def _as_list(node: Node) -> str | None:
    """A hint for `x in "a"` and for `x in (1)`."""
    if node.type.kind in TEXTS:
        return "For a part of a text say text.contains(…); a list is written [a, b]."
    return "A list is written [1, 2]." if isinstance(node, Constant) else None


def _conversion(left: Type | None, right: Type | None) -> str | None:
    """What to write when two types do not meet, e.g. a number and its text."""
    kinds = {one.kind for one in (left, right) if one is not None}
    if kinds & TEXTS and kinds & NUMBERS:
        return f"Write the number without quotes, or convert: {(kinds & NUMBERS).pop()}(…), string(…)."
    if kinds & TEXTS and "timestamp" in kinds:
        return 'Say timestamp("2024-01-31T00:00:00Z").'
    if "json" in kinds and "timestamp" in kinds:
        return "Say timestamp(…) of the JSON value."
    if "auth" in kinds:
        return "Say auth.id, or auth == null."
    if "list" in kinds:
        return "For an element of a list say `x in list`."
    return None
