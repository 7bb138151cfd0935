"""What is right by the grammar and wrong by experience: lints over the typed tree of one rule. Codes are stable.

R003 is an error and stops the save (`check_access`); the others are advice. Lints that need the fields and indexes of collections
are in `engines/query/advice.py`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import reduce
from itertools import product
from typing import Literal

from baas.engines.rules import values
from baas.engines.rules.evaluate import Frame, closure
from baas.engines.rules.rule import Rule, check
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
    Key,
    ListOf,
    Logic,
    Loop,
    MapOf,
    Node,
    Not,
    Quantify,
    Related,
    Row,
    children,
    walk,
)
from baas.engines.rules.types import JSON, Env, Facts, RowType, RuleError
from baas.engines.rules.valueless import refuse_valueless

Place = tuple[object, ...]
Sense = Literal["for", "against", "both"]
"""How a part helps the whole to be true: by being true, by being false, or either way."""
_NOBODY = Facts(None, datetime(2000, 1, 1, tzinfo=UTC))
_WRITES = ("create", "update", "delete", "send", "track")
_MOST_ATOMS = 7  # 3**7 assignments are tried
_FLIPPED: Mapping[Sense, Sense] = {"for": "against", "against": "for", "both": "both"}


@dataclass(frozen=True, slots=True)
class Lint:
    """One finding in a rule, at character `at` of its source."""

    code: str
    at: int
    message: str
    hint: str | None = None


def check_access(source: str, env: Env) -> Rule:
    """A checked rule to be saved, which is not wrong by experience either. Raises RuleError, also for `no_value` and R003."""
    rule = check(source, env)
    refuse_valueless(source, rule.tree)
    found = next(equal_nulls(rule), None)
    if found is not None:
        raise RuleError(source, found.at, found.code, found.message, found.hint)
    return rule


def lint_rule(rule: Rule, *, action: str, live: bool, auth_writes: frozenset[str], what: str = "any record") -> Iterator[Lint]:
    """R001, R002, R004, R009, R010, R011, R013 of one rule.

    `live`: subscribers follow the list. `auth_writes`: the fields of `auth` that an account may write itself. `what`: the
    object of the action.
    """
    yield from _constants(rule)
    if action in _WRITES and decided(rule.tree) is True:
        yield Lint("R004", rule.tree.at, f"Anybody may {action} {what}, without an account.", "Say who: auth != null && …")
    nodes = tuple(walk(rule.tree))
    yield from _own_claims(nodes, auth_writes)
    yield from _slow_loops(rule.tree, "for")
    if live and action in ("list", "view"):
        yield from _times(nodes)
    yield from _aggregates(nodes, action)


# R001, R002: what is decided before any record is looked at


def decided(node: Node) -> bool | None:
    """True or False where no record and no caller can change it; None where one may."""
    if node.fixed:
        value = closure(node)(Frame(_NOBODY))
        return value if isinstance(value, bool) else None
    match node:
        case Logic(operator=operator, items=items):
            return _decided_chain(items, decides=operator == "or")
        case Not(item=item):
            inner = decided(item)
            return None if inner is None or (not inner and _may_lack_value(item)) else not inner
        case Conditional(condition=condition, yes=yes, no=no):
            taken = decided(condition)
            return None if taken is None else decided(yes if taken else no)
        case Compare(operator="==" | "!=" as operator):
            same = _always_equal(node)
            return None if same is None else same is (operator == "==")
    return None


def _decided_chain(items: Sequence[Node], *, decides: bool) -> bool | None:
    known = [decided(item) for item in items]
    if decides in known or _opposites(items, certain=decides) or (not decides and _contradiction(items)):
        return decides
    return not decides if all(one is not None for one in known) else None


def _may_lack_value(node: Node) -> bool:
    """Whether a condition can be neither true nor false, for some row or some caller: then its opposite is never certain."""
    return _may_fail(node) or any(isinstance(one, Fact) and one.root == "auth" and one.name != "" for one in walk(node))


def _opposites(items: Sequence[Node], *, certain: bool) -> bool:
    """`a == b` beside `a != b`. `certain`: one of the two must be true, so none may be without a value."""
    seen: set[tuple[tuple[object, ...], bool]] = set()
    for item in items:
        inner, flipped = (item.item, True) if isinstance(item, Not) else (item, False)
        if isinstance(inner, Logic | Not | Conditional) or (certain and _may_lack_value(inner)):
            continue
        atom, opposite = _atom(inner)
        if (atom, opposite is flipped) in seen:
            return True
        seen.add((atom, opposite is not flipped))
    return False


def _always_equal(node: Compare) -> bool | None:
    left, right = node.left, node.right
    here = place(left)
    if here is not None and here == place(right) and not _may_fail(left):
        return True
    for side, other in ((left, right), (right, left)):
        if _is_null(other) and isinstance(side, Column) and isinstance(side.row, Row) and not _may_be_null(side, frozenset()):
            return False
    return None


_MIRRORED: Mapping[str, str] = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "=="}


def _contradiction(items: Sequence[Node]) -> bool:
    """`a == 1 && a == 2`, `a > 1 && a < 0`: what is written out about one place leaves it no value."""
    bounds: dict[Place, list[tuple[str, object]]] = {}
    for item in items:
        match item:
            case Compare(operator=operator, left=left, right=right) if operator != "!=" and left.fixed is not right.fixed:
                side, other, sign = (right, left, _MIRRORED[operator]) if left.fixed else (left, right, str(operator))
                here, value = place(side), closure(other)(Frame(_NOBODY))
                if here is None:
                    continue
                if any(_exclude(bound, (sign, value)) for bound in bounds.setdefault(here, [])):
                    return True
                bounds[here].append((sign, value))
    return False


def _exclude(one: tuple[str, object], other: tuple[str, object]) -> bool:
    """Whether no value is on the right side of both bounds."""
    (a, x), (b, y) = one, other
    if a == b == "==":
        return not values.equal(x, y)
    sign = values.order(x, y)
    if sign is None or (a[0] == b[0] and a[0] in "<>"):
        return False
    above = sign if a[0] == ">" or b[0] == "<" else -sign  # 1: what must be above lies over what must be below
    return above > 0 or (above == 0 and not (a.endswith("=") and b.endswith("=")))


def _constants(rule: Rule) -> Iterator[Lint]:
    yield from _undecided(rule.tree, whole=True)


def _undecided(node: Node, *, whole: bool = False) -> Iterator[Lint]:
    known = decided(node)
    if known is not None:
        if not isinstance(node, Constant):
            yield _decided_lint(node, known, whole=whole)
        return
    match node:
        case Logic(items=items):
            for item in items:
                yield from _undecided(item)
        case Not(item=item):
            yield from _undecided(item)
        case Conditional(condition=condition, yes=yes, no=no):
            taken = decided(condition)
            if taken is None:
                for part in (condition, yes, no):
                    yield from _undecided(part)
            else:
                lost = no if taken else yes
                yield Lint("R002", lost.at, f"This is never reached: the condition is always {str(taken).lower()}.")


def _decided_lint(node: Node, known: bool, *, whole: bool) -> Lint:
    if known:
        hint = "Say `true` if everybody is meant." if whole else "Leave it out, or mend it."
        return Lint("R001", node.at, "This is always true.", hint)
    hint = "Say null to lock the action." if whole else "Leave it out, or mend it."
    return Lint("R002", node.at, "This is never true.", hint)


# R003: null meets null


def equal_nulls(rule: Rule) -> Iterator[Lint]:
    """Equalities that hold because both sides are null, where that lets somebody in; `x in [a, b]` is two of them.

    A side counts as not null where the rest of the rule makes it so: `record.team != null && record.team == auth.team`, also
    behind `!`, in the arms of `?:`, and beside the other cases of `||`. A field before and after (`next.a == record.a`) may be
    null on both sides: then it stays as it is.
    """
    yield from _meetings(rule.tree, frozenset(), "for", rule.env.auth)


def _meetings(node: Node, known: frozenset[Place], sense: Sense, auth: RowType | None) -> Iterator[Lint]:
    match node:
        case Logic(operator=operator, items=items):
            proofs = [_proves(item, known, when=operator == "and", auth=auth) for item in items]
            for index, item in enumerate(items):
                others = (proof for at, proof in enumerate(proofs) if at != index)
                yield from _meetings(item, known.union(*others), sense, auth)
        case Not(item=item):
            yield from _meetings(item, known, _FLIPPED[sense], auth)
        case Conditional(condition=condition, yes=yes, no=no):
            yield from _meetings(condition, known, "both", auth)
            yield from _meetings(yes, known | _proves(condition, known, when=True, auth=auth), sense, auth)
            yield from _meetings(no, known | _proves(condition, known, when=False, auth=auth), sense, auth)
        case Quantify(list=held, body=body) | Count(list=held, body=body) | Gather(list=held, body=body):
            yield from _meetings(held, known, "both", auth)
            inside = _of_elements(held, node.level, known, auth)
            yield from _meetings(body, inside, sense if isinstance(node, Quantify) else "both", auth)
        case _:
            met = _met(node, known, sense, auth)
            if met is not None:
                yield _meeting(node.at, *met)
            for part in children(node):
                yield from _meetings(part, known, "both", auth)


def _met(node: Node, known: frozenset[Place], sense: Sense, auth: RowType | None) -> tuple[Node, Node] | None:
    """Two values that may both be null, where their being equal lets somebody in."""
    match node:
        case Compare(operator="==", left=left, right=right) if sense != "against":
            pairs = [(left, right)]
        case Compare(operator="!=", left=left, right=right) if sense != "for":
            pairs = [(left, right)]
        case Among(item=item, list=ListOf() | Fitted(list=ListOf()) as held) if sense != "against":
            pairs = [(item, one) for one in _written(held)]
        case Among(item=item, list=held) if sense != "against":
            nulls = _may_be_null(item, known, auth) and _may_hold_null(held, known, auth)
            return (item, held) if nulls else None
        case _:
            return None
    return next((pair for pair in pairs if _both_null(*pair, known, auth)), None)


def _written(held: ListOf | Fitted) -> tuple[Node, ...]:
    """The elements of a list that is written out, fitted for SQL or not."""
    inner = held.list if isinstance(held, Fitted) else held
    return inner.items if isinstance(inner, ListOf) else ()


def _both_null(left: Node, right: Node, known: frozenset[Place], auth: RowType | None) -> bool:
    if _is_null(left) or _is_null(right) or _before_and_after(left, right):
        return False
    if _may_be_null(left, known, auth) and _may_be_null(right, known, auth):
        return True
    # Lists and maps are equal part by part, also to JSON.
    kinds = {left.type.kind, right.type.kind}
    within = kinds <= _HOLDERS and bool(kinds & {"list", "map"})
    return within and all(_null_inside(one, known, auth) for one in (left, right))


def _meeting(at: int, left: Node, right: Node) -> Lint:
    named = [_name(side) for side in (left, right)]
    guard = next((name for name in named if name is not None), "…")
    both = " and ".join(f"`{name}`" for name in named if name is not None) if None not in named else "both sides"
    message = f"{both} can be null, and null == null is true: whoever lacks both is let in."
    return Lint("R003", at, message, f"Say {guard} != null && … before it, or make the field required.")


def _before_and_after(left: Node, right: Node) -> bool:
    """The same field of record and next: a question of change, not of access."""
    a, b = place(left), place(right)
    return a is not None and b is not None and a[0] != b[0] and {a[0], b[0]} == {"record", "next"} and a[1:] == b[1:]


def _proves(node: Node, known: frozenset[Place], *, when: bool, auth: RowType | None) -> frozenset[Place]:
    """What is not null where the condition is `when` (or fails because the same place does)."""
    match node:
        case Not(item=item):
            return _proves(item, known, when=not when, auth=auth)
        case Logic(operator=operator, items=items):
            proofs = [_proves(item, known, when=when, auth=auth) for item in items]
            every = (operator == "and") is when
            return frozenset().union(*proofs) if every else reduce(frozenset.intersection, proofs)
        case Compare(operator="==" | "!=" as operator, left=left, right=right):
            return _proved_by_equality(left, right, known, equal=(operator == "==") is when, auth=auth)
        case Among(item=item, list=held) if when:
            here = place(item)
            written = isinstance(held, ListOf | Fitted) and any(_is_null(one) for one in _written(held))
            certain = here is not None and not written and not _may_hold_null(held, known, auth)
            return frozenset({here}) if here is not None and certain else frozenset()
    return frozenset()


def _proved_by_equality(
    left: Node, right: Node, known: frozenset[Place], *, equal: bool, auth: RowType | None
) -> frozenset[Place]:
    proved = set()
    for side, other in ((left, right), (right, left)):
        here = place(side)
        if here is None:
            continue
        if (_is_null(other) and not equal) or (equal and not _is_null(other) and not _may_be_null(other, known, auth)):
            proved.add(here)
    return frozenset(proved)


def _may_be_null(node: Node, known: frozenset[Place], auth: RowType | None = None) -> bool:
    here = place(node)
    if here is not None and here in known:
        return False
    match node:
        case Constant(value=value):
            return value is None
        case Column(nullable=nullable, type=type_):
            return nullable or type_ is JSON
        case Fact(root="auth", name=name):
            field = None if auth is None else auth.fields.get(name)
            return name not in ("", "id", "collection", "claims") and field is not None and field.nullable
        case Conditional(yes=yes, no=no):
            return _may_be_null(yes, known, auth) or _may_be_null(no, known, auth)
        case Loop(level=level):
            return node.type.kind in ("json", "dyn") or (_NULLS, level) in known
        case At(object=held, free=free):
            # Beside a row a position without a value is a failure.
            return node.type.kind in ("json", "dyn") or (free and _may_hold_null(held, known, auth, written=True))
        case Key():
            return node.type.kind in ("json", "dyn")
    return False


_NULLS = "elements of this loop may be null"
"""What `known` holds of a loop's level, beside the places that are not null."""


def _of_elements(held: Node, level: int, known: frozenset[Place], auth: RowType | None) -> frozenset[Place]:
    """What is known in the body of a loop."""
    return known | {(_NULLS, level)} if _may_hold_null(held, known, auth, written=True) else known


def _may_hold_null(held: Node, known: frozenset[Place], auth: RowType | None, *, written: bool = False) -> bool:
    """Whether an element can be null; one that is written as `null` is meant, and counts only where `written`.

    Elements of list fields never are.
    """

    def inside(one: Node) -> bool:
        return _may_hold_null(one, known, auth, written=written)

    match held:
        case ListOf(items=items):
            return any((written or not _is_null(one)) and _null_within(one, known, auth, written=written) for one in items)
        case Fitted(list=inner) | Gather(operator="filter", list=inner):
            return inside(inner)
        case Gather(operator="map", list=inner, body=body, level=level):
            return _null_within(body, _of_elements(inner, level, known, auth), auth, written=written)
        case Conditional(yes=yes, no=no):
            return inside(yes) or inside(no)
        case Apply(args=args):
            return any(inside(one) for one in args)
        case At(object=of) if of.type.kind == "list":
            return inside(of)
        case Column() | Fact():
            return held.type.kind in ("json", "dyn")
        case MapOf() | Related():
            return False
    return True


def _null_inside(node: Node, known: frozenset[Place], auth: RowType | None) -> bool:
    """Whether something in a list, a map or JSON can be null."""
    if isinstance(node, MapOf):
        return any(_null_within(one, known, auth, written=False) or _null_inside(one, known, auth) for one in node.values)
    return node.type.kind in _HOLDERS and _may_hold_null(node, known, auth)


_HOLDERS = frozenset({"list", "map", "json", "dyn"})


def _null_within(node: Node, known: frozenset[Place], auth: RowType | None, *, written: bool) -> bool:
    """Whether a value is null, or a list in which one is."""
    if _may_be_null(node, known, auth):
        return True
    return node.type.kind == "list" and _may_hold_null(node, known, auth, written=written)


def _is_null(node: Node) -> bool:
    return isinstance(node, Constant) and node.value is None


# Where a value stands


def place(node: Node) -> Place | None:
    """Which stored or given value a node reads, equal for two nodes that read the same; None for what is computed."""
    match node:
        case Column(row=row, name=name):
            before = place(row)
            return None if before is None else (*before, name)
        case Row(root=root):
            return (root,)
        case Follow(ref=ref):
            before = place(ref)
            return None if before is None else (*before, "→")
        case Loop(level=level):
            return ("element", level)
        case Fact(root=root, name=name):
            return (root, name)
        case Key(object=held, name=name):
            before = place(held)
            return None if before is None else (*before, ".", name)
    return None


def _name(node: Node) -> str | None:
    """The place in the author's words."""
    here = place(node)
    if here is None or here[0] == "element":
        return None
    return ".".join(str(step) for step in here if step not in ("→", "."))


# R009 to R013


def _own_claims(nodes: Sequence[Node], auth_writes: frozenset[str]) -> Iterator[Lint]:
    seen = set()
    for node in nodes:
        if isinstance(node, Fact) and node.root == "auth" and node.name in auth_writes and node.name not in seen:
            seen.add(node.name)
            yield Lint(
                "R009",
                node.at,
                f"Every user sets `auth.{node.name}` for himself, at sign-up or in his account.",
                f"Mark the field {node.name!r} of users as readonly, so that only operators and keys write it.",
            )


def _slow_loops(node: Node, sense: Sense) -> Iterator[Lint]:
    match node:
        case Not(item=item):
            yield from _slow_loops(item, _FLIPPED[sense])
        case Logic(items=items):
            for item in items:
                yield from _slow_loops(item, sense)
        case Quantify(operator=operator, list=Related(), body=body) if sense != ("for" if operator == "exists" else "against"):
            if _may_fail(body):
                yield Lint(
                    "R010",
                    node.at,
                    f"`{operator}` needs here that no element is without a value, which the database cannot look up.",
                    "Let its condition compare required fields with ==, != or in.",
                )
        case _:
            for part in children(node):
                yield from _slow_loops(part, "both" if not isinstance(node, Conditional) else sense)


def _may_fail(node: Node) -> bool:
    """Whether this can be without a value for some row; what is known before any row decides for all rows at once."""
    if node.free:
        return False
    match node:
        case Column(row=row):
            return _may_fail(row)
        case Row() | Loop() | Constant():
            return False
        case Follow(ref=ref, certain=certain):
            return not certain or _may_fail(ref) or _may_be_null(ref, frozenset())
        case Logic() | Not():
            return any(_may_fail(part) for part in children(node))
        case Compare(operator="==" | "!="):
            return any(_may_fail(part) for part in children(node))
        case Compare(left=left, right=right):
            return any(_may_fail(part) or _may_be_null(part, frozenset()) or part.type is JSON for part in (left, right))
        case Among(item=item, list=held):
            return _may_fail(item) or _may_fail(held) or (not held.free and _may_be_null(held, frozenset()))
        case Apply(candidates=candidates, args=args):
            return not candidates[0].total or any(_may_fail(arg) or _may_be_null(arg, frozenset()) for arg in args)
    return True


def _times(nodes: Sequence[Node]) -> Iterator[Lint]:
    moment = next((node for node in nodes if isinstance(node, Fact) and node.root == "now"), None)
    if moment is not None:
        message = "Subscribers are not told when time alone lets a record in or out."
        yield Lint("R011", moment.at, message, "Write the change into a field when its time comes, and ask that field.")


def _aggregates(nodes: Sequence[Node], action: str) -> Iterator[Lint]:
    counted = next((node for node in nodes if isinstance(node, Count) and isinstance(node.list, Related)), None)
    if counted is not None and action in ("create", "update", "delete"):
        message = "Counting records of a collection makes writers that ask this rule wait for each other."
        yield Lint("R013", counted.at, message, "Keep the number in a field and change it with the records, if writes are many.")


# Whether one rule admits only what another one admits


def implies(stronger: Node, weaker: Node) -> bool | None:
    """Whether every record that the first admits is admitted by the second; None where there are too many conditions to tell.

    Conditions are taken as unrelated to each other: `a > 2` does not imply `a > 1` here.
    """
    atoms = sorted({one for node in (stronger, weaker) for one in _atoms(node)}, key=repr)
    if len(atoms) > _MOST_ATOMS:
        return True if _structure(stronger) == _structure(weaker) else None
    for chosen in product((True, False, None), repeat=len(atoms)):
        world = dict(zip(atoms, chosen, strict=True))
        if _holds(stronger, world) is True and _holds(weaker, world) is not True:
            return False
    return True


def same(a: Node, b: Node) -> bool:
    """Whether two conditions are one, wherever they stand."""
    return _atom(a) == _atom(b)


def _atoms(node: Node) -> Iterator[tuple[object, ...]]:
    match node:
        case Logic() | Not():
            for part in children(node):
                yield from _atoms(part)
        case Constant():
            return
        case _:
            yield _atom(node)[0]


def _holds(node: Node, world: Mapping[tuple[object, ...], bool | None]) -> bool | None:
    match node:
        case Constant(value=value):
            return value if isinstance(value, bool) else None
        case Not(item=item):
            inner = _holds(item, world)
            return None if inner is None else not inner
        case Logic(operator=operator, items=items):
            known, decides = [_holds(item, world) for item in items], operator == "or"
            return decides if decides in known else None if None in known else not decides
    atom, swapped = _atom(node)
    value = world[atom]
    return None if value is None else value is not swapped


def _atom(node: Node) -> tuple[tuple[object, ...], bool]:
    """A condition in one form for `a == b`, `b == a` and their opposites; and whether it is the opposite."""
    if isinstance(node, Compare) and node.operator in ("==", "!="):
        sides = sorted((_structure(node.left), _structure(node.right)), key=repr)
        return ("==", *sides), node.operator == "!="
    return _structure(node), False


_NOT_STRUCTURE = frozenset({"at", "candidates", "free", "fixed", "type"})


def _structure(node: Node) -> tuple[object, ...]:
    """What a node says, wherever it stands."""
    parts: list[object] = [type(node).__name__]
    for one in fields(node):
        if one.name not in _NOT_STRUCTURE:
            value = getattr(node, one.name)
            parts.append(tuple(_part(item) for item in value) if isinstance(value, tuple) else _part(value))
    return tuple(parts)


def _part(value: object) -> object:
    return _structure(value) if isinstance(value, Node) else (type(value).__name__, repr(value))
