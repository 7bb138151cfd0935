"""Typed tree to closures: the value of an expression in memory. Agrees with the SQL of `compile.py` on every row.

A closure takes a Frame and returns a value or a RuleFailure; it never raises. Failures are made once, when the closure is.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Protocol, cast

from baas.engines.rules import values
from baas.engines.rules.functions import overloads
from baas.engines.rules.functions.function import Function
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
)
from baas.engines.rules.types import DYN, JSON, NUMBERS, TEXTS, Facts, RuleFailure
from baas.engines.rules.variables import UNFIT, fitted

Held = Mapping[str, object]


class Beside(Protocol):
    """The records beside the one that is judged: of a filter's author, those that he could list."""

    def one(self, collection: str, id: str) -> Held | None:  # noqa: A002
        """The record with this id."""

    def pointing(self, collection: str, field: str, id: str) -> Sequence[Held]:  # noqa: A002
        """The records whose relation `field` holds this id."""

    def every(self, collection: str) -> Sequence[Held]:
        """All records."""


class Frame:
    """What one evaluation reads: the facts, the two rows, the records beside them, and the loop variables by level."""

    __slots__ = ("beside", "facts", "loops", "next", "record")

    def __init__(
        self, facts: Facts, record: Held | None = None, next_row: Held | None = None, beside: Beside | None = None
    ) -> None:
        self.facts = facts
        self.record = record
        self.next = next_row
        self.beside = beside
        self.loops: list[object] = [None, None, None]


Closure = Callable[[Frame], object]


def closure(node: Node) -> Closure:  # noqa: PLR0912  one case a kind
    """The node as a function of a frame."""
    match node:
        case Constant(value=value):
            return lambda frame: value
        case Fact():
            return _fact(node)
        case Row(root=root):
            return _row(root)
        case Follow():
            return _follow(node)
        case Column():
            return _column(node)
        case Related():
            return _related(node)
        case Loop(level=level):
            return lambda frame: frame.loops[level]
        case Compare():
            return _compare(node)
        case Logic():
            return _all(node.items) if node.operator == "and" else _any(node.items)
        case Not(item=item):
            return _not(closure(item))
        case Conditional():
            return _conditional(node)
        case Apply():
            return _apply(node)
        case Among():
            return _among(node)
        case Fitted():
            return _fitted(node)
        case Meant():
            return _meant(node)
        case Key():
            return _key(closure(node.object), node.name)
        case At():
            return _at(node)
        case Has():
            return _has(closure(node.object), node.name)
        case Quantify() | Count() | Gather():
            return _loop(node)
        case ListOf(items=items):
            return _list([closure(item) for item in items])
        case MapOf(keys=keys, values=held):
            return _map([closure(key) for key in keys], [closure(value) for value in held])


# Names


def _fact(node: Fact) -> Closure:
    name = node.name
    match node.root, name:
        case "auth", "":
            return lambda frame: frame.facts.auth
        case "auth", "claims":
            return _claims
        case "auth", _:
            return _auth_field(name)
        case "now", _:
            return lambda frame: frame.facts.now
        case "request", "action":
            return lambda frame: frame.facts.action
        case "request", _:
            return lambda frame: frame.facts.via
        case "input", _:
            return lambda frame: frame.facts.input is not None and name in frame.facts.input
        case _:
            return _variable(name)


_NOBODY = RuleFailure("nobody is signed in")


def _claims(frame: Frame) -> object:
    auth = frame.facts.auth
    return _NOBODY if auth is None else auth.get("claims", {})


def _auth_field(name: str) -> Closure:
    unknown = RuleFailure(f"auth.{name} is not known")

    def read(frame: Frame) -> object:
        auth = frame.facts.auth
        return _NOBODY if auth is None else auth.get(name, unknown)

    return read


def _variable(name: str) -> Closure:
    missing = RuleFailure(f"${name} is not given")

    def read(frame: Frame) -> object:
        value = frame.facts.vars.get(name, missing)
        return _shortest(value) if isinstance(value, Decimal | list | dict) else value

    return read


def _meant(node: Meant) -> Closure:
    variable, target = closure(node.variable), node.target
    unfit = RuleFailure(f"${node.variable.name} is no {target}")

    def read(frame: Frame) -> object:
        value = variable(frame)
        if value.__class__ is RuleFailure:
            return value
        found = fitted(value, target)
        return unfit if found is UNFIT else found

    return read


def _shortest(value: object) -> object:
    """A client's JSON with its fractions as doubles wherever that loses nothing: the same number as a literal in the filter."""
    if isinstance(value, Decimal):
        return values.narrowed(value)
    if isinstance(value, list):
        return [_shortest(item) for item in value]
    return {key: _shortest(item) for key, item in value.items()} if isinstance(value, dict) else value


# Rows


def _column(node: Column) -> Closure:
    row, name = closure(node.row), node.name
    unknown = RuleFailure(f"{name} is not known")

    def read(frame: Frame) -> object:
        held = row(frame)
        return held.get(name, unknown) if isinstance(held, Mapping) else held

    return read


NO_ROW = {root: RuleFailure(f"{root} is not known") for root in ("record", "next")}
"""What a row comes to where there is none."""


def _row(root: str) -> Closure:
    unknown = NO_ROW[root]
    if root == "record":
        return lambda frame: unknown if frame.record is None else frame.record
    return lambda frame: unknown if frame.next is None else frame.next


_NOT_LOADED = RuleFailure("other records are not at hand")


def _follow(node: Follow) -> Closure:
    ref, collection = closure(node.ref), node.type.target
    nothing = RuleFailure(f"the relation to {collection} is null")
    dangling = RuleFailure(f"there is no such record of {collection}")

    def read(frame: Frame) -> object:
        target = ref(frame)
        if not isinstance(target, str):
            return nothing if target is None else target
        if frame.beside is None:
            return _NOT_LOADED
        found = frame.beside.one(collection, target)
        return dangling if found is None else found

    return read


def _related(node: Related) -> Closure:
    collection, field = node.collection, node.field
    if node.of is None:
        return lambda frame: _NOT_LOADED if frame.beside is None else frame.beside.every(collection)
    row = closure(node.of)

    def read(frame: Frame) -> object:
        held = row(frame)
        if not isinstance(held, Mapping):
            return held
        return _NOT_LOADED if frame.beside is None else frame.beside.pointing(collection, field, str(held["id"]))

    return read


# Conditions


def _truth(value: object, otherwise: RuleFailure) -> object:
    if value is True or value is False or value.__class__ is RuleFailure:
        return value
    return otherwise


_NO_CONDITION = RuleFailure("this is neither true nor false")


def truth(inner: Closure) -> Closure:
    """The closure as a condition: true, false or a failure."""

    def read(frame: Frame) -> object:
        return _truth(inner(frame), _NO_CONDITION)

    return read


def _all(items: Iterable[Node]) -> Closure:
    parts = tuple(closure(item) for item in items)

    def read(frame: Frame) -> object:
        result: object = True
        for part in parts:
            value = part(frame)
            if value is False:
                return False
            if value is not True:
                result = _truth(value, _NO_CONDITION)
        return result

    return read


def _any(items: Iterable[Node]) -> Closure:
    parts = tuple(closure(item) for item in items)

    def read(frame: Frame) -> object:
        result: object = False
        for part in parts:
            value = part(frame)
            if value is True:
                return True
            if value is not False:
                result = _truth(value, _NO_CONDITION)
        return result

    return read


def _not(inner: Closure) -> Closure:
    def read(frame: Frame) -> object:
        value = inner(frame)
        if value is True:
            return False
        return True if value is False else _truth(value, _NO_CONDITION)

    return read


def _conditional(node: Conditional) -> Closure:
    condition, yes, no = closure(node.condition), closure(node.yes), closure(node.no)

    def read(frame: Frame) -> object:
        value = condition(frame)
        if value is True:
            return yes(frame)
        return no(frame) if value is False else _truth(value, _NO_CONDITION)

    return read


# Equality and order


def _compare(node: Compare) -> Closure:
    left, right = closure(node.left), closure(node.right)
    if node.operator in ("==", "!="):
        return _equality(left, right, _sameness(node.left, node.right), wanted=node.operator == "==")
    return _ordering(node, left, right)


def _sameness(left: Node, right: Node) -> Callable[[object, object], bool] | None:
    """How to compare; None where Python's own `==` is right, which is wherever both are texts, or of one simple kind."""
    a, b = left.type.kind, right.type.kind
    if JSON in (left.type, right.type):
        return values.json_equal
    if {a, b} <= TEXTS or (a == b and a in ("bool", "int", "double", "decimal", "timestamp", "duration", "bytes")):
        return None
    return values.equal


def _equality(left: Closure, right: Closure, same: Callable[[object, object], bool] | None, *, wanted: bool) -> Closure:
    def read(frame: Frame) -> object:
        a = left(frame)
        if a.__class__ is RuleFailure:
            return a
        b = right(frame)
        if b.__class__ is RuleFailure:
            return b
        return (a == b if same is None else same(a, b)) is wanted

    return read


_ORDERS: dict[str, Callable[[int], bool]] = {
    "<": lambda sign: sign < 0,
    "<=": lambda sign: sign <= 0,
    ">": lambda sign: sign > 0,
    ">=": lambda sign: sign >= 0,
}


def _ordering(node: Compare, left: Closure, right: Closure) -> Closure:
    wanted = _ORDERS[node.operator]
    as_json = JSON in (node.left.type, node.right.type)
    no_order = RuleFailure(f"`{node.operator}` needs two values of one ordered type")

    def read(frame: Frame) -> object:
        a = left(frame)
        if a.__class__ is RuleFailure:
            return a
        b = right(frame)
        if b.__class__ is RuleFailure:
            return b
        sign = values.order(a, b, as_json=as_json)
        return no_order if sign is None else wanted(sign)

    return read


def _among(node: Among) -> Closure:
    item, held = closure(node.item), closure(node.list)
    as_json = node.item.type is JSON or node.list.type is JSON or node.list.type.item is JSON
    same = values.json_equal if as_json else values.equal
    no_list = RuleFailure("`in` needs a list")

    def read(frame: Frame) -> object:
        where = held(frame)
        if where.__class__ is RuleFailure:
            return where
        value = item(frame)
        if value.__class__ is RuleFailure:
            return value
        if isinstance(where, list | tuple):
            return any(same(value, one) for one in where)
        if isinstance(where, dict):
            return _find(where, value) is not _NO_KEY
        return no_list

    return read


# Lists and maps


def _find(held: dict[object, object], key: object) -> object:
    """The value under a key; an int and a bool are different keys, an int and a whole double the same."""
    if isinstance(key, str):
        return held.get(key, _NO_KEY)
    if not isinstance(key, bool | int | float):
        return _NO_KEY
    return next((value for one, value in held.items() if not isinstance(one, str) and values.equal(one, key)), _NO_KEY)


_NO_KEY = RuleFailure("there is no such key")
_NO_POSITION = RuleFailure("there is no such position")


def _key(inner: Closure, name: str) -> Closure:
    missing = RuleFailure(f"there is no key {name!r}")

    def read(frame: Frame) -> object:
        held = inner(frame)
        if held.__class__ is RuleFailure:
            return held
        return held.get(name, missing) if isinstance(held, dict) else missing

    return read


def _has(inner: Closure, name: str) -> Closure:
    no_map = RuleFailure(f"has(….{name}) needs an object")

    def read(frame: Frame) -> object:
        held = inner(frame)
        if held.__class__ is RuleFailure:
            return held
        return name in held if isinstance(held, dict) else no_map

    return read


def _at(node: At) -> Closure:
    inner, index, as_json = closure(node.object), closure(node.index), node.object.type is JSON
    # In SQL a null element and no element are one; only lists of the caller hold nulls, and beside a row they count as absent.
    gap = _NO_POSITION if not node.free and not as_json else None

    def read(frame: Frame) -> object:
        held = inner(frame)
        if held.__class__ is RuleFailure:
            return held
        place = index(frame)
        if place.__class__ is RuleFailure:
            return place
        if isinstance(held, dict):
            return _find(held, place) if isinstance(place, str) or not as_json else _NO_KEY
        if isinstance(place, float) and place.is_integer() and not as_json:
            place = int(place)
        if isinstance(held, list | tuple) and place.__class__ is int and 0 <= place < len(held):
            return gap if held[place] is None else held[place]
        return _NO_POSITION

    return read


def _list(items: list[Closure]) -> Closure:
    def read(frame: Frame) -> object:
        made = []
        for item in items:
            value = item(frame)
            if value.__class__ is RuleFailure:
                return value
            made.append(value)
        return made

    return read


_TWICE = RuleFailure("a map holds a key twice")
_NO_NAME = RuleFailure("a key of a map is a text, a whole number or a truth value")


def _map(keys: list[Closure], held: list[Closure]) -> Closure:
    def read(frame: Frame) -> object:
        made: dict[object, object] = {}
        for key, value in zip(keys, held, strict=True):
            name, content = key(frame), value(frame)
            if name.__class__ is RuleFailure or content.__class__ is RuleFailure:
                return name if name.__class__ is RuleFailure else content
            if not isinstance(name, str | bool | int | float):
                return _NO_NAME
            if _find(made, name) is not _NO_KEY:
                return _TWICE
            # `1` and `true` are one key to a Python dict and two keys of the language; a list of pairs would cost every look-up.
            made[name if not isinstance(name, bool) or int(name) not in made else ("bool", name)] = content
        return made

    return read


_NO_LIST = RuleFailure("this is no list")
_MIXED = RuleFailure("this list holds several types")


def _fitted(node: Fitted) -> Closure:
    inner, target = closure(node.list), node.target

    def read(frame: Frame) -> object:
        held = inner(frame)
        if held.__class__ is RuleFailure:
            return held
        items: list[object]
        if isinstance(held, list | tuple) or (isinstance(held, dict) and target is not None):
            items = list(held)
        else:
            return _NO_LIST
        return _uniform(items) if target is None else _fit(items, target)

    return read


def _uniform(items: list[object]) -> object:
    kinds = {values.kind_of(item) for item in items}
    return items if len(kinds) <= 1 and not kinds & {"null", "list", "map", "bytes", ""} else _MIXED


def _fit(items: list[object], target: str) -> object:
    """The items that could equal a value of this kind, in one type; null stays."""
    if target == "json":
        return items
    wanted = NUMBERS if target in NUMBERS else frozenset({"string"}) if target in TEXTS else frozenset({target})
    kept = [item for item in items if item is None or values.kind_of(item) in wanted]
    if target == "ref":
        return [item for item in kept if item is None or values.is_uuid(cast("str", item))]
    kinds = {item.__class__ for item in kept if item is not None}
    if target in NUMBERS and len(kinds) > 1:
        return [None if item is None else values.as_decimal(item) for item in kept]
    return kept


# Functions


def _apply(node: Apply) -> Closure:
    failure = RuleFailure(f"`{node.name.lstrip('.')}` has no value here")
    args = tuple(closure(arg) for arg in node.args)
    kinds = tuple(arg.type.kind for arg in node.args)
    if DYN.kind in kinds:
        return _dispatched(node.name, args, kinds, failure)
    return _called(node.candidates[0], args, kinds, failure)


def _called(function: Function, args: tuple[Closure, ...], kinds: tuple[str, ...], failure: RuleFailure) -> Closure:
    python = function.python
    widths = [_widening(kind, param) for kind, param in zip(kinds, function.params, strict=True)]
    if len(args) == 1 and widths[0] is None:
        return _called_with_one(python, args[0], failure)

    def read(frame: Frame) -> object:
        given = []
        for arg, widen in zip(args, widths, strict=True):
            value = arg(frame)
            if value.__class__ is RuleFailure:
                return value
            if widen is not None:
                value = widen(value)
            if value is None:
                return failure
            given.append(value)
        result = python(*given)
        return failure if result is None else result

    return read


def _called_with_one(python: Callable[..., object], arg: Closure, failure: RuleFailure) -> Closure:
    def read(frame: Frame) -> object:
        value = arg(frame)
        if value.__class__ is RuleFailure:
            return value
        result = None if value is None else python(value)
        return failure if result is None else result

    return read


def _widening(kind: str, param: str) -> Callable[[object], object] | None:
    """How a value of this kind becomes the parameter; the result is None where it cannot."""
    if param == "decimal" and kind in ("int", "double"):
        return lambda value: None if value is None else values.plain(values.as_decimal(value))
    if kind == "json" and param == "string":
        return lambda value: value if isinstance(value, str) else None
    return None


def _dispatched(name: str, args: tuple[Closure, ...], kinds: tuple[str, ...], failure: RuleFailure) -> Closure:
    """The overload is chosen by the values: an argument's type was not known."""

    def read(frame: Frame) -> object:
        given = []
        for arg in args:
            value = arg(frame)
            if value.__class__ is RuleFailure:
                return value
            given.append(value)
        found = [values.kind_of(value) if kind == DYN.kind else kind for value, kind in zip(given, kinds, strict=True)]
        chosen = overloads(name, tuple(found))
        if not chosen:
            return failure
        widened = [
            widen(value) if (widen := _widening(kind, param)) is not None else value
            for value, kind, param in zip(given, found, chosen[0].params, strict=True)
        ]
        result = None if None in widened else chosen[0].python(*widened)
        return failure if result is None else result

    return read


# Macros


def _loop(node: Quantify | Count | Gather) -> Closure:
    items, level = _items(closure(node.list), as_json=node.list.type is JSON), node.level
    body = closure(node.body)
    match node:
        case Quantify(operator="exists"):
            return _exists(items, level, truth(body), decides=True)
        case Quantify():
            return _exists(items, level, truth(body), decides=False)
        case Count():
            return _counted(_kept(items, level, truth(body)))
        case Gather(operator="filter"):
            return _kept(items, level, truth(body))
        case Gather(operator="map"):
            return _mapped(items, level, body)
        case _:
            kept = _counted(_kept(items, level, truth(body)))
            return lambda frame: result if (result := kept(frame)).__class__ is RuleFailure else result == 1


def _items(inner: Closure, *, as_json: bool) -> Closure:
    def read(frame: Frame) -> object:
        held = inner(frame)
        if held.__class__ is RuleFailure or isinstance(held, list | tuple):
            return held
        return list(held) if isinstance(held, dict) and not as_json else _NO_LIST

    return read


def _exists(items: Closure, level: int, body: Closure, *, decides: bool) -> Closure:
    """One deciding element decides; else a failure of any is a failure; else the other answer."""

    def read(frame: Frame) -> object:
        held = items(frame)
        if held.__class__ is RuleFailure:
            return held
        result: object = not decides
        loops = frame.loops
        for loops[level] in cast("list[object]", held):
            value = body(frame)
            if value is decides:
                return decides
            if value.__class__ is RuleFailure:
                result = value
        return result

    return read


def _kept(items: Closure, level: int, body: Closure) -> Closure:
    def read(frame: Frame) -> object:
        held = items(frame)
        if held.__class__ is RuleFailure:
            return held
        kept = []
        for item in cast("list[object]", held):
            frame.loops[level] = item
            value = body(frame)
            if value.__class__ is RuleFailure:
                return value
            if value is True:
                kept.append(item)
        return kept

    return read


def _mapped(items: Closure, level: int, body: Closure) -> Closure:
    def read(frame: Frame) -> object:
        held = items(frame)
        if held.__class__ is RuleFailure:
            return held
        made = []
        for item in cast("list[object]", held):
            frame.loops[level] = item
            value = body(frame)
            if value.__class__ is RuleFailure:
                return value
            made.append(value)
        return made

    return read


def _counted(kept: Closure) -> Closure:
    def read(frame: Frame) -> object:
        held = kept(frame)
        return held if held.__class__ is RuleFailure else len(cast("list[object]", held))

    return read
