"""Puts a rule to a record and its surroundings until memory knows all that the database knew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from baas.base.principal import Principal
from baas.engines.query.asking import Asking
from baas.engines.query.probe import Judged, Probe
from baas.engines.query.table import Table, rule_env
from baas.engines.query.tree import Values
from baas.engines.rules.evaluate import Frame
from baas.engines.rules.explain import Found, Neighbours, Part, explain, take_apart
from baas.engines.rules.rule import Facts
from baas.engines.schema.collection import Action
from baas.features.auth.model import auth_in_rules
from baas.features.rules import store
from baas.infra.db.pool import Queries

_MOST_ROUNDS = 12
_MOST_FETCHES = 200


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a rule is asked for: a principal of the kind user or anonymous, and `auth` as rules see it."""

    principal: Principal
    auth: Mapping[str, object] | None

    @staticmethod
    def of(record: Mapping[str, object] | None, claims: Mapping[str, object], project_id: str) -> "Caller":
        """A user by his record, or nobody."""
        if record is None:
            return Caller(Principal(), None)
        user = Principal("user", str(record["id"]), project_id, claims=claims)
        return Caller(user, auth_in_rules(user, record))


@dataclass(frozen=True, slots=True)
class Seen:
    """One row with the rule taken apart on it. `complete`: memory had all that the rule asks for."""

    judged: Judged
    found: Found
    complete: bool

    @property
    def disagreements(self) -> list[Found]:
        """The parts of which memory says something else than the database."""
        return [one for one in self.found.walk() if one.memory is not None]


class Questioning:
    """One rule, asked for one caller. `values` are those of a create or update, cleaned; `sent` the keys he sent."""

    def __init__(
        self,
        table: Table,
        action: Action,
        caller: Caller,
        now: datetime,
        *,
        sent: Mapping[str, object] | None = None,
        values: Values | None = None,
    ) -> None:
        self.table = table
        self.part = apart(table, action)
        self.asking = Asking(caller.principal, now=now, auth=caller.auth, sent=sent)
        self._facts = Facts(auth=caller.auth, now=now, action=action, input=sent)
        self._probe = Probe(table, action, self.part, self.asking, facts=self._facts, values=values)

    @property
    def condition(self) -> tuple[str, Sequence[object]] | None:
        """The SQL that decides, with its parameters; None where no row can change the verdict."""
        statement = self._probe.rule_text()
        return None if statement is None else (statement.text, statement.args)

    @property
    def verdict(self) -> bool | None:
        """What is known before any row."""
        return self.part.rule.fold(self._facts).verdict

    async def ask(self, db: Queries, record: UUID | None) -> list[Seen]:
        """The rule on a record, on a new row (create), or (`record` None) on every record up to a thousand."""
        return [await self._look(db, one) for one in await store.judged(db, self._probe, record)]

    def unasked(self) -> Found:
        """The rule without any record: what is known of the caller alone."""
        return explain(self.part, Frame(self._facts), lambda _: "not asked", complete=False)

    async def _look(self, db: Queries, judged: Judged) -> Seen:
        """Again and again with more of the other records, until nothing more is missed."""
        beside, fetches = Neighbours(), 0
        frame = Frame(self._facts, judged.record, judged.next, beside)
        for _ in range(_MOST_ROUNDS):
            found = explain(self.part, frame, judged.answer, complete=True)
            if not beside.wanted:
                return Seen(judged, found, True)
            for wanted in sorted(beside.wanted):
                table, fetches = self.table.other(wanted[0]), fetches + 1
                rows = [] if table is None else await store.other_records(db, table, wanted, self._fields_of(table))
                if rows is None or fetches > _MOST_FETCHES:
                    return Seen(judged, explain(self.part, frame, judged.answer, complete=False), False)
                beside.know(wanted, rows)
        return Seen(judged, explain(self.part, frame, judged.answer, complete=False), False)

    def _fields_of(self, table: Table) -> list[str]:
        """What the rule reads of another collection."""
        asked = {field for name, field in self.part.rule.entered if name == table.name and field in table.columns}
        return sorted(asked | {"id"})


def apart(table: Table, action: Action) -> Part:
    """The rule of an action, taken apart; it must be set."""
    source = table.collection.rules[action]
    if source is None:
        raise ValueError(f"{table.name}.{action} is locked")
    return take_apart(source, rule_env(table.collection, action, table.others))
