"""An expression taken apart: which of its parts have a value of their own, what they came to, and why in words.

part = take_apart(source, env)          # the tree of parts, each a checked expression over the same rows
found = explain(part, frame, answer)    # the same tree with a value or a failure in every place
reason(found)                           # one sentence: "record.team is null"
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

from baas.base.places import Geo
from baas.engines.rules import parse as syntax
from baas.engines.rules import values
from baas.engines.rules.check import MACROS, ROOTS, Checker
from baas.engines.rules.evaluate import NO_ROW, Frame, closure, truth
from baas.engines.rules.parse import RULE_LIMITS, Located, locate
from baas.engines.rules.rule import Rule
from baas.engines.rules.tree import Count, Node, Quantify
from baas.engines.rules.types import Env, RuleError, RuleFailure

Row = Mapping[str, object]
Wanted = tuple[str, str, str]
_MOST_CHARS = 200  # of a value that is shown
_MOST_ITEMS = 20
_MOST_REASONS = 3
_SAFE_INTEGER = 2**53


@dataclass(frozen=True, slots=True)
class Part:
    """A sub-expression with a value of its own: characters `start` to before `end` of the source.

    `number` counts the parts from the whole (0) on. `kind` is one of and or not choice compare in call compute name list.
    """

    number: int
    kind: str
    text: str
    start: int
    end: int
    rule: Rule
    operator: str
    parts: "tuple[Part, ...]"

    @property
    def is_condition(self) -> bool:
        """Whether it is true, false or a failure; else it is a value. The whole is one even where it reads JSON."""
        return self.number == 0 or self.rule.tree.type.kind == "bool"

    def walk(self) -> "Iterator[Part]":
        """The part and those below it, parents first."""
        yield self
        for part in self.parts:
            yield from part.walk()


@dataclass(frozen=True, slots=True)
class Tally:
    """Of the elements of a loop: how many made its condition true, false, a failure."""

    true: int
    false: int
    failed: int


@dataclass(frozen=True, slots=True)
class Found:
    """A part with what it came to: a value, or `failure` in words. `memory` is what the other evaluator says, when it differs."""

    part: Part
    value: object
    failure: str | None
    parts: "tuple[Found, ...]"
    tally: Tally | None = None
    memory: str | None = None

    def walk(self) -> "Iterator[Found]":
        """The part and those below it, parents first."""
        yield self
        for found in self.parts:
            yield from found.walk()


# Taking apart


def take_apart(source: str, env: Env) -> Part:
    """The parts of an expression that is right. Raises RuleError for one that is not."""
    located = locate(source, RULE_LIMITS)
    return _Apart(source, env, located).whole()


class _Apart:
    def __init__(self, source: str, env: Env, located: Located) -> None:
        self._source = source
        self._env = env
        self._located = located
        self._count = 0

    def whole(self) -> Part:
        made = self._part(self._located.tree)
        if made is None:  # a constant
            made = self._made(self._located.tree, self._rule(self._located.tree))
        return made

    def _part(self, tree: syntax.Syntax) -> Part | None:
        """None for what has no value of its own: a constant, a row, the name of a loop's element."""
        if isinstance(tree, syntax.Literal):
            return None
        try:
            rule = self._rule(tree)
        except RuleError:
            return None
        return None if rule.tree.fixed or rule.tree.type.kind == "row" else self._made(tree, rule)

    def _rule(self, tree: syntax.Syntax) -> Rule:
        span = self._located.spans[id(tree)]
        return Rule(self._source[span.start : span.end], self._env, Checker(self._source, self._env).node(tree, {}))

    def _made(self, tree: syntax.Syntax, rule: Rule) -> Part:
        number, self._count = self._count, self._count + 1
        span = self._located.spans[id(tree)]
        kind, operator = _kind(tree)
        below = tuple(part for inner in _below(tree) for part in self._parts(inner))
        return Part(number, kind, rule.source, span.start, span.end, rule, operator, below)

    def _parts(self, tree: syntax.Syntax) -> Iterator[Part]:
        """The part this is, or where it is none, those inside it."""
        part = self._part(tree)
        if part is not None:
            yield part
        elif not isinstance(tree, syntax.Literal):
            for inner in _below(tree):
                yield from self._parts(inner)


def _kind(tree: syntax.Syntax) -> tuple[str, str]:
    match tree:
        case syntax.Logic(operator):
            return ("and" if operator == "&&" else "or"), operator
        case syntax.Unary("!"):
            return "not", "!"
        case syntax.Conditional():
            return "choice", "?:"
        case syntax.Binary("in"):
            return "in", "in"
        case syntax.Binary(operator) if operator in ("==", "!=", "<", "<=", ">", ">="):
            return "compare", operator
        case syntax.Binary(operator) | syntax.Unary(operator):
            return "compute", operator
        case syntax.Call(_, name):
            return "call", name
        case syntax.ListOf() | syntax.MapOf():
            return "list", ""
    return "name", ""


def _below(tree: syntax.Syntax) -> tuple[syntax.Syntax, ...]:
    """The syntax inside a node, without what only names something: a root, the variable and the body of a loop."""
    match tree:
        case syntax.Member(of=inner):
            return () if isinstance(inner, syntax.Name) and inner.name in ROOTS else (inner,)
        case syntax.Index(of=inner, place=place):
            return inner, place
        case syntax.Call():
            return _below_call(tree)
        case syntax.Unary(operand=operand):
            return (operand,)
        case syntax.Binary(left=left, right=right):
            return left, right
        case syntax.Logic(items=items) | syntax.ListOf(items=items):
            return items
        case syntax.Conditional(condition=condition, yes=yes, no=no):
            return condition, yes, no
        case syntax.MapOf(entries=entries):
            return tuple(value for _, value in entries)
    return ()


def _below_call(tree: syntax.Call) -> tuple[syntax.Syntax, ...]:
    target = () if tree.target is None else (tree.target,)
    if tree.name in MACROS and len(tree.args) == 2:
        return target
    if tree.name == "has" and len(tree.args) == 1 and isinstance(tree.args[0], syntax.Member):
        # `has(record.a)` asks for a value, `has(record.a.b)` for a key: there only the holder has a value for certain.
        return tree.args if _names_a_field(tree.args[0]) else (tree.args[0].of,)
    return (*target, *tree.args)


def _names_a_field(tree: syntax.Member) -> bool:
    return isinstance(tree.of, syntax.Name) and tree.of.name in ("record", "next", "auth")


# Putting together what both evaluators say


def explain(part: Part, frame: Frame, answer: Callable[[Part], bool | Literal["not asked"] | None], *, complete: bool) -> Found:
    """Every part with its value. `answer` is what the database said of a condition: true, false, or None for neither.

    Memory gives the values and the reasons. It judges conditions too: the database decides, and `memory` says so when memory
    comes to something else. `complete`: the frame has every record beside the judged one that the rule asks for; else parts that
    depend on other records are not judged in memory.
    """
    below = tuple(explain(one, frame, answer, complete=complete) for one in part.parts)
    tree = part.rule.tree
    judged = complete or not part.rule.entered
    known = closure(tree)(frame) if judged else _UNKNOWN
    tally = _tally(tree, frame) if judged else None
    if part.is_condition and not tree.free and (said := answer(part)) != "not asked":
        failure = None if said is not None else _reason_of(known, below)
        differs = judged and _verdict(known) is not said
        return Found(part, said, failure, below, tally, _said(known) if differs else None)
    if isinstance(known, RuleFailure):
        return Found(part, None, _reason_of(known, below), below, tally)
    if part.is_condition and not isinstance(known, bool):
        return Found(part, None, "this is neither true nor false", below, tally)
    return Found(part, _shown(known), None, below, tally)


_UNKNOWN = RuleFailure("too many other records to look at")


def _tally(tree: Node, frame: Frame) -> Tally | None:
    """How the elements of a loop came out."""
    if not isinstance(tree, Quantify | Count):
        return None
    held, body, counts = closure(tree.list)(frame), truth(closure(tree.body)), {True: 0, False: 0, None: 0}
    if not isinstance(held, list | tuple):
        return None
    for item in held:
        frame.loops[tree.level] = item
        counts[_verdict(body(frame))] += 1
    return Tally(counts[True], counts[False], counts[None])


def _shown(known: object) -> object:
    """The value for people: of records and accounts, which are no values, their ids."""
    if isinstance(known, Mapping) and "id" in known:
        return known["id"]
    return [_shown(item) for item in known] if isinstance(known, list) else known


def _reason_of(known: object, below: tuple[Found, ...]) -> str:
    """Why a part has no value: a gap among its own parts says more than the part can."""
    return _gap(below) or (known.reason if isinstance(known, RuleFailure) else "it has no value for this record")


def _gap(below: tuple[Found, ...]) -> str | None:
    failed = _telling([one for one in below if one.failure is not None])
    if failed is not None:
        return failed.failure
    empty = next((one for one in below if one.value is None and one.part.kind == "name"), None)
    return f"{empty.part.text} is null" if empty is not None else None


_NO_ROWS = frozenset(failure.reason for failure in NO_ROW.values())


def _telling(failed: Sequence[Found]) -> Found | None:
    """Of failures the one that says most: that a row is not there says less than what is known of the caller without it."""
    return next((one for one in failed if one.failure not in _NO_ROWS), failed[0] if failed else None)


def _verdict(known: object) -> bool | None:
    return known if isinstance(known, bool) else None


def _said(known: object) -> str:
    if isinstance(known, RuleFailure):
        return f"error: {known.reason}"
    return str(known).lower() if isinstance(known, bool) else f"error: {known!r}"


class Neighbours:
    """The records beside the judged one, fetched between two rounds: what a round misses is in `wanted` for the next.

    A wanted thing is (collection, "", id) for one record, (collection, field, id) for those that point to it,
    (collection, "", "") for all.
    """

    def __init__(self) -> None:
        self._known: dict[Wanted, Sequence[Row]] = {}
        self.wanted: set[Wanted] = set()

    def know(self, wanted: Wanted, rows: Sequence[Row]) -> None:
        """What was fetched."""
        self._known[wanted] = rows
        self.wanted.discard(wanted)

    def one(self, collection: str, id: str) -> Row | None:  # noqa: A002  the protocol's
        found = self._find((collection, "", id)) if values.is_uuid(id) else ()
        return found[0] if found else None

    def pointing(self, collection: str, field: str, id: str) -> Sequence[Row]:  # noqa: A002  the protocol's
        return self._find((collection, field, id))

    def every(self, collection: str) -> Sequence[Row]:
        return self._find((collection, "", ""))

    def _find(self, wanted: Wanted) -> Sequence[Row]:
        found = self._known.get(wanted)
        if found is None:
            self.wanted.add(wanted)
        return found or []


# In words


def reason(found: Found) -> str:
    """Why the whole is not true (or that it is), by the parts that decided it."""
    if _is(found, True):
        return f"`{found.part.text}` is true."
    decisive = _decisive(found)
    words = "; ".join(_why(one) for one in decisive[:_MOST_REASONS])
    return f"{words}; …" if len(decisive) > _MOST_REASONS else f"{words}."


def _why(found: Found) -> str:
    if found.failure is not None:
        return f"`{found.part.text}` has no value: {found.failure}"
    said = note(found)
    return f"`{found.part.text}` is {show(found.value)}" + (f": {said}" if said else "")


def _decisive(found: Found) -> list[Found]:
    """Down to the smallest parts that explain why this is not true: one of an `&&`, every one of an `||`."""
    against = [one for one in found.parts if not _is(one, True)]
    match found.part.kind:
        case "and" if against:
            return _decisive(next((one for one in against if one.failure is None), None) or _telling(against) or against[0])
        case "or" if against:
            return [part for one in against for part in _decisive(one)]
        case "choice" | "not" if found.parts and found.parts[0].failure is not None:
            return _decisive(found.parts[0])
    return [found]


def _is(found: Found, value: bool) -> bool:
    return found.failure is None and found.value is value


def note(found: Found) -> str | None:
    """A remark beside a part: the two values of a comparison, what a list lacks, how many elements fitted."""
    if found.tally is not None:
        return f"{found.tally.true} true, {found.tally.false} false, {found.tally.failed} without a value"
    if found.failure is not None:
        return found.failure
    if found.value is False and found.part.kind == "compare" and found.part.operator in ("==", "!="):
        return _sides(found)
    if found.value is False and found.part.kind == "in":
        if len(found.parts) == 2:
            return f"{show(found.parts[1].value)} has no {show(found.parts[0].value)}"
        return _sides(found)
    return None


def _sides(found: Found) -> str | None:
    sign = "≠" if found.part.operator == "==" else "="
    if len(found.parts) == 2:
        return f"{show(found.parts[0].value)} {sign} {show(found.parts[1].value)}"
    return f"{found.parts[0].part.text} is {show(found.parts[0].value)}" if len(found.parts) == 1 else None


def show(value: object) -> str:
    """A value as the language writes it, cut to a readable length."""
    shown = as_json(value)
    if isinstance(shown, str):
        return '"' + shown.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if shown is None or isinstance(shown, bool):
        return "null" if shown is None else str(shown).lower()
    if isinstance(shown, list):
        return f"[{', '.join(show(item) for item in shown)}]"
    if isinstance(shown, dict):
        return "{" + ", ".join(f"{key}: {show(item)}" for key, item in shown.items()) + "}"
    return str(shown)


def as_json(value: object) -> object:
    """A value of the language as JSON, cut to a readable length: times by RFC 3339, decimals and long integers as text."""
    match value:
        case None | bool() | float():
            return value
        case int():
            return value if abs(value) <= _SAFE_INTEGER else str(value)
        case str():
            return value if len(value) <= _MOST_CHARS else value[: _MOST_CHARS - 1] + "…"
        case Decimal():
            return as_json(format(value, "f"))
        case Geo(lat, lon):
            return {"lat": lat, "lon": lon}
        case datetime():
            return values.timestamp_text(value)
        case timedelta():
            return values.duration_text(values.microseconds(value))
        case list() | tuple():
            return [as_json(item) for item in value[:_MOST_ITEMS]] + (["…"] if len(value) > _MOST_ITEMS else [])
        case dict():
            return {str(key)[:_MOST_CHARS]: as_json(value[key]) for key in list(value)[:_MOST_ITEMS]}
    return as_json(str(value))
