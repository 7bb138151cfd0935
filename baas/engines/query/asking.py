"""One request's side of a statement: who asks, when, and what the rules fold to with these facts in them."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from baas.base.principal import Principal
from baas.engines.query.table import Table
from baas.engines.rules.rows import Rows
from baas.engines.rules.rule import Facts, Folded, Leaf, Rule
from baas.engines.schema.collection import Action
from baas.engines.schema.manifest import USERS
from baas.infra.db.sql import Sql, sql
from baas.infra.observe.requests import REQUEST_ID

_NOTHING: Mapping[str, object] = MappingProxyType({})


class Judgement(NamedTuple):
    """A condition with the caller's facts in it: `verdict` where no row can change it, `key` for what its text depends on."""

    key: Hashable
    verdict: bool | None
    source: Hashable = None
    rule: Rule | None = None
    folded: Folded | None = None

    def where(self, rows: Rows, scope: str = "") -> Sql:
        """SQL that is true exactly for the rows that the condition admits; `scope` as in `Rule.where`."""
        if self.verdict is not None or self.rule is None or self.folded is None:
            return sql("true") if self.verdict else sql("false")
        return self.rule.where(self.folded.shape, rows, self.source, scope)


# The hole for the id of the user who asks, null for everyone else.
CALLER = Leaf("caller", 0)
# A condition of every statement that writes, true whoever asks: it tells the change log, which triggers write, who does it and in
# which request. A query of its own, so that PostgreSQL evaluates it once and before anything else.
SIGNED = sql("(select set_config('baas.by', {}::text, true)) is not null", Leaf("caller", 1))
ALWAYS = Judgement(True, True)
NEVER = Judgement(False, False)


def scope_of(collection: str) -> str:
    """The scope that a key needs for the records of a collection: accounts are a matter of their own."""
    return USERS if collection == USERS else "records"


def signature(principal: Principal) -> str:
    """The principal as the change log names him: `user:<id>`, `key:<id>`, `operator:<id>`, `anonymous`."""
    return f"{principal.kind}:{principal.id}" if principal.id else principal.kind


class Asking:
    """The facts of one request; folds each rule once. Never shared between requests.

    `auth` is the user's record for rules (None for everyone else), `sent` the keys and values of the body. `judged` says that
    rules apply and `masked` that field flags do; both are off for operators and keys. A room that has decided access itself
    (a user's own record at `/auth/me`) gives `judged=False, masked=True`. `limit_s` is how long a statement may take.
    """

    def __init__(
        self,
        principal: Principal,
        *,
        now: datetime,
        via: str = "rest",
        auth: Mapping[str, object] | None = None,
        sent: Mapping[str, object] | None = None,
        judged: bool | None = None,
        masked: bool | None = None,
        limit_s: float | None = None,
    ) -> None:
        self.principal = principal
        self.now = now
        self.judged = not principal.privileged if judged is None else judged
        self.masked = not principal.privileged if masked is None else masked
        self.sent = sent
        self.limit_s = limit_s
        user_id = principal.id if principal.kind == "user" else None
        self.leaves: dict[Hashable, Sequence[object]] = {"caller": (user_id, f"{signature(principal)} {REQUEST_ID.get()}")}
        self._via = via
        self._auth = auth
        self._known: dict[Hashable, Judgement] = {}

    @property
    def has_record(self) -> bool:
        """Whether the fields of the user's own record are among the facts."""
        return self._auth is not None and "rev" in self._auth

    def judge(self, table: Table, action: Action) -> Judgement:
        """The rule of an action for this caller; what is locked is never true, nor what a key has no scope for."""
        if not self.judged:
            key = self.principal.kind == "key"
            return ALWAYS if not key or self.principal.may(scope_of(table.name)) else NEVER
        rule = table.rule(action)
        return NEVER if rule is None else self._fold(("rule", table.name, action), rule, action, _NOTHING)

    def may_read(self, table: Table, name: str) -> Judgement:
        """The `read` expression of a field for this caller."""
        rule = table.read(name) if self.masked else None
        return ALWAYS if rule is None else self._fold(("read", table.name, name), rule, "view", _NOTHING)

    def validate(self, table: Table, name: str, action: Action) -> Judgement:
        """The `validate` of a field, which holds for everybody."""
        source = ("validate", table.name, name, action)
        rule = next((demand.rule for demand in table.demands() if demand.field.name == name), None)
        return ALWAYS if rule is None else self._fold(source, rule, action, _NOTHING)

    def filter(self, table: Table, rule: Rule, values: Mapping[str, object], place: Hashable = "") -> Judgement:
        """A checked filter with the values of its `$names`; its text depends on what the caller may enter and read with it.

        `place` tells the filters of one request apart.
        """
        wanted = self._fold(("filter", place), rule, "list", values)
        if wanted.verdict is not None:
            return wanted
        gates = [self.may_read(table, name) for name in table.gated(name for root, name in rule.names if root == "record")]
        gates += [one for name, field in rule.entered if (other := table.other(name)) for one in self._ways(other, field)]
        return wanted._replace(key=(wanted.key, *(gate.key for gate in gates if gate is not ALWAYS))) if gates else wanted

    def condition(self, rule: Rule, values: Mapping[str, object], place: Hashable) -> Judgement:
        """A client's expression over something else than records, such as groups of them."""
        return self._fold(("filter", place), rule, "list", values)

    def _ways(self, other: Table, field: str) -> Iterator[Judgement]:
        """What a client needs to enter another collection and to read a field there."""
        yield self.judge(other, "list")
        if field:
            yield self.may_read(other, field)

    def _fold(self, source: Hashable, rule: Rule, action: str, values: Mapping[str, object]) -> Judgement:
        known = self._known.get(source)
        if known is not None:
            return known
        facts = Facts(auth=self._auth, now=self.now, action=action, via=self._via, vars=values, input=self.sent)
        folded = rule.fold(facts)
        self.leaves[source] = folded.values
        # Filters that differ in their literals alone share a key: the literals are holes of one text.
        key: Hashable = (source, rule.key, folded.shape) if folded.verdict is None else folded.verdict
        judgement = Judgement(key, folded.verdict, source, rule, folded)
        self._known[source] = judgement
        return judgement
