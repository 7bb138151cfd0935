"""Lints of collections and of what else has rules: what they leave open and what they cost, seen with fields and neighbours."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from baas.engines.query.guarded import Guarded, Kind
from baas.engines.query.indexing import of_entered, of_list
from baas.engines.query.table import rule_env
from baas.engines.rules.lint import Lint, decided, implies, lint_rule
from baas.engines.rules.rule import Rule, RuleError, check
from baas.engines.rules.tree import Among, Apply, Column, Compare, Fact, Row, walk
from baas.engines.schema.collection import ACTIONS, Action, Collection, Field
from baas.engines.schema.fields.base import is_many
from baas.engines.schema.manifest import USERS, pointer


@dataclass(frozen=True, slots=True)
class Advice:
    """One warning: `pointer` into the manifest of whom it is about, and what to do. `place` has line, column, snippet."""

    kind: Kind
    name: str
    code: str
    pointer: str
    message: str
    hint: str | None
    place: Mapping[str, object] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """For an answer, without what the answer is about."""
        hint = {} if self.hint is None else {"hint": self.hint}
        return {"code": self.code, "pointer": self.pointer, "message": self.message, **hint, **self.place}


def advise(wanted: Iterable[Collection], collections: Mapping[str, Collection]) -> list[Advice]:
    """Every warning about collections whose expressions are right, in the order of their rules and then of their fields."""
    entered: dict[str, frozenset[str]] = {}
    return [advice for one in wanted for advice in _Adviser(one, collections, entered).all()]


def advise_beside(wanted: Iterable[Guarded], collections: Mapping[str, Collection]) -> list[Advice]:
    """Every warning about what is no collection. Its rules must be right."""
    own = _written_by_accounts(collections)
    return [advice for one in wanted for advice in _advice_beside(one, collections, own)]


def _advice_beside(one: Guarded, collections: Mapping[str, Collection], own: frozenset[str]) -> Iterator[Advice]:
    rules = {action: rule for action in one.rules if (rule := _fitting(one, action, collections)) is not None}
    for action, rule in rules.items():
        # Nobody follows files or channels by a list: time that passes is seen at the next call.
        found = [*lint_rule(rule, action=action, live=False, auth_writes=own, what=_WHAT[one.kind])]
        found += of_entered(rule, collections)
        if action == "list":
            found += _more_than_view(rule, rules.get("view"), "files")
        for lint in found:
            yield _placed(one.kind, one.name, pointer("/rules", action), rule, lint)


def _fitting(one: Guarded, action: str, collections: Mapping[str, Collection]) -> Rule | None:
    """None also for a rule that was read a moment before or after the collections that it fits."""
    try:
        return one.check(action, collections)
    except RuleError:
        return None


_WHAT: Mapping[Kind, str] = {"collection": "any record", "bucket": "any file", "channel": "here"}


class _Adviser:
    """Looks at one collection; `entered` is what is known already of the ways between all of them."""

    def __init__(self, collection: Collection, collections: Mapping[str, Collection], entered: dict[str, frozenset[str]]) -> None:
        self._entered = entered
        self._collection = collection
        self._collections = collections
        self._rules = _rules(collection, collections)
        self._own = _written_by_accounts(collections)

    def all(self) -> list[Advice]:
        found = [
            self._advice(pointer("/rules", action), rule, lint)
            for action, rule in self._rules.items()
            for lint in self._of_rule(action, rule)
        ]
        return found + list(self._of_reads())

    def _of_rule(self, action: Action, rule: Rule) -> Iterator[Lint]:
        # Every list can be followed but that of a view, whose records write no change.
        live = self._collection.view is None
        yield from lint_rule(rule, action=action, live=live, auth_writes=self._own)
        if action == "create":
            yield from self._owner_not_named(rule)
        if action == "update":
            yield from self._given_away(rule)
        if action == "list":
            yield from _more_than_view(rule, self._rules.get("view"), "records")
            if self._collection.view is None:
                yield from of_list(rule, self._collection)
        if action in ("list", "view"):
            yield from self._circle(action, rule)
        yield from of_entered(rule, self._collections)
        yield from self._guessable(rule)

    def _of_reads(self) -> Iterator[Advice]:
        for number, one in enumerate(self._collection.fields):
            if one.read is not None:
                rule = check(one.read, rule_env(self._collection, "view", self._collections))
                for lint in lint_rule(rule, action="view", live=False, auth_writes=self._own):
                    yield self._advice(pointer("/fields", number, "read"), rule, lint)

    def _advice(self, at: str, rule: Rule, lint: Lint) -> Advice:
        return _placed("collection", self._collection.name, at, rule, lint)

    # R005, R006: whose record it is

    def _owners(self) -> list[Field]:
        """Single relations to accounts that a caller may write."""
        return [
            one
            for one in self._collection.fields
            if one.type == "relation" and one.options.get("to") == USERS and not is_many(one) and _writable(one)
        ]

    def _owner_not_named(self, rule: Rule) -> Iterator[Lint]:
        names = [one.name for one in self._owners()]
        if names and not any(("next", name) in rule.names for name in names):
            message = f"The rule does not ask `next.{names[0]}`: a caller can make records in the name of others."
            yield Lint("R005", rule.tree.at, message, f"Say next.{names[0]} == auth.id")

    def _given_away(self, rule: Rule) -> Iterator[Lint]:
        for one in self._owners():
            if ("record", one.name) in rule.names and ("next", one.name) not in rule.names and not one.immutable:
                message = f"The rule asks `record.{one.name}` and not `next.{one.name}`: a record can be given away."
                hint = f"Mark the field {one.name!r} as immutable, or add next.{one.name} == auth.id."
                yield Lint("R006", _place_of(rule, "record", one.name), message, hint)

    # R012

    def _guessable(self, rule: Rule) -> Iterator[Lint]:
        """A hidden field beside something that the caller chooses: he learns it by trying."""
        hidden = {one.name for one in self._collection.fields if one.hidden}
        open_names = {one.name for one in self._collection.fields if _writable(one)}
        seen: set[str] = set()
        for node in walk(rule.tree):
            if not isinstance(node, Compare | Among | Apply):
                continue
            below = list(walk(node))
            names = {one.name for one in below if isinstance(one, Column) and _is_row(one, "record")} & hidden - seen
            chosen = any(
                (isinstance(one, Column) and _is_row(one, "next") and one.name in open_names)
                or (isinstance(one, Fact) and one.root == "auth" and one.name in self._own)
                for one in below
            )
            for name in sorted(names) if chosen else ():
                seen.add(name)
                message = f"The hidden field `{name}` is compared with what the caller chooses: he finds it by trying."
                yield Lint("R012", node.at, message, "Compare it with what only operators write, or check it in code.")

    # R015

    def _circle(self, action: Action, rule: Rule) -> Iterator[Lint]:
        """Who sees what here depends on another collection, whose rules depend on this one."""
        way = self._way_back(sorted(_entered(rule) - {self._collection.name}))
        if way:
            path = " → ".join((self._collection.name, *way, self._collection.name))
            message = f"The {action} rules depend on each other in a circle: {path}."
            yield Lint("R015", rule.tree.at, message, "Keep what both ask for in one of the collections.")

    def _way_back(self, starts: Sequence[str]) -> list[str]:
        """The shortest way from one of these collections to this one, by what their rules enter; empty when there is none."""
        before: dict[str, str | None] = dict.fromkeys(starts)
        ahead = deque(starts)
        while ahead:
            name = ahead.popleft()
            entered = self._enters(name)
            if self._collection.name in entered:
                way = [name]
                while (earlier := before[way[0]]) is not None:
                    way.insert(0, earlier)
                return way
            for following in sorted(entered - before.keys()):
                before[following] = name
                ahead.append(following)
        return []

    def _enters(self, name: str) -> frozenset[str]:
        """The collections that the list and view rules of this one enter."""
        if name not in self._entered:
            collection = self._collections.get(name)
            rules = _rules(collection, self._collections, ("list", "view")).values() if collection is not None else ()
            self._entered[name] = frozenset(one for rule in rules for one in _entered(rule))
        return self._entered[name]


# R007


def _more_than_view(rule: Rule, view: Rule | None, what: str) -> Iterator[Lint]:
    if decided(rule.tree) is False:
        return
    if view is None:
        message = f"Lists show {what} that nobody may view one by one: the view rule is locked."
        yield Lint("R007", rule.tree.at, message, "Give view the rule of list.")
    elif implies(rule.tree, view.tree) is False:
        message = f"Lists can show {what} that the view rule does not."
        yield Lint("R007", rule.tree.at, message, "Let the view rule admit whatever the list rule admits.")


def _placed(kind: Kind, name: str, at: str, rule: Rule, lint: Lint) -> Advice:
    spot = RuleError(rule.source, lint.at, lint.code, lint.message).as_dict()
    place = {key: value for key, value in spot.items() if key not in ("code", "message")}
    return Advice(kind, name, lint.code, at, lint.message, lint.hint, place)


def _rules(
    collection: Collection, collections: Mapping[str, Collection], actions: Sequence[Action] = ACTIONS
) -> dict[Action, Rule]:
    """The rules that are set, checked."""
    sources = ((action, collection.rules.get(action)) for action in actions)
    return {action: check(source, rule_env(collection, action, collections)) for action, source in sources if source is not None}


def _entered(rule: Rule) -> set[str]:
    return {name for name, _ in rule.entered}


def _written_by_accounts(collections: Mapping[str, Collection]) -> frozenset[str]:
    """The fields of `users` that an account gives itself at sign-up or changes later."""
    users = collections.get(USERS)
    return frozenset(one.name for one in users.fields if _writable(one)) if users is not None else frozenset()


def _writable(one: Field) -> bool:
    """Whether callers under rules may write the field at all."""
    return not (one.hidden or one.readonly or one.system)


def _is_row(node: Column, root: str) -> bool:
    return isinstance(node.row, Row) and node.row.root == root


def _place_of(rule: Rule, root: str, name: str) -> int:
    found = (node.at for node in walk(rule.tree) if isinstance(node, Column) and _is_row(node, root) and node.name == name)
    return next(found, rule.tree.at)
