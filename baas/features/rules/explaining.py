"""Puts an expression to a row and its surroundings until memory knows all that the database knew."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

from baas.base.principal import Principal
from baas.engines.query import places
from baas.engines.query.asking import Asking
from baas.engines.query.probe import Judged, Place, Probe
from baas.engines.query.rows import Tables
from baas.engines.query.table import Demand, Table, rule_env, validation_env
from baas.engines.query.tree import Values
from baas.engines.rules.evaluate import Frame
from baas.engines.rules.explain import Found, Neighbours, Part, explain, take_apart
from baas.engines.rules.rule import Facts
from baas.engines.schema.collection import Action, Field
from baas.features.auth.model import auth_in_rules
from baas.features.rules import store
from baas.infra.db.pool import Queries

_MOST_ROUNDS = 12
_MOST_FETCHES = 200


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a rule is asked for: a principal of the kind user or anonymous, `auth` as rules see it, and the door he comes by."""

    principal: Principal
    auth: Mapping[str, object] | None
    via: str = "rest"

    @staticmethod
    def of(record: Mapping[str, object] | None, claims: Mapping[str, object], project_id: str, *, via: str = "rest") -> "Caller":
        """A user by his record, or nobody."""
        if record is None:
            return Caller(Principal(), None, via)
        user = Principal("user", str(record["id"]), project_id, claims=claims)
        return Caller(user, auth_in_rules(user, record), via)

    def asking(self, now: datetime, sent: Mapping[str, object] | None) -> Asking:
        """His side of a statement."""
        return Asking(self.principal, now=now, via=self.via, auth=self.auth, sent=sent)


@dataclass(frozen=True, slots=True)
class Seen:
    """One row with the expression taken apart on it. `complete`: memory had all that the expression asks for."""

    judged: Judged
    found: Found
    complete: bool

    @property
    def disagreements(self) -> list[Found]:
        """The parts of which memory says something else than the database."""
        return [one for one in self.found.walk() if one.memory is not None]


class Questioning:
    """One expression, asked for one caller. `place` says where it meets the row with an id, or (None) all of them."""

    def __init__(self, part: Part, facts: Facts, place: Callable[[UUID | None], Place], other: Tables) -> None:
        self.part = part
        self._facts = facts
        self._place = place
        self._other = other

    @property
    def condition(self) -> tuple[str, Sequence[object]] | None:
        """The SQL that decides, with its parameters; None where no row can change the verdict."""
        statement = Probe(self.part, self._facts, self._place(None)).rule_text()
        return None if statement is None else (statement.text, statement.args)

    @property
    def verdict(self) -> bool | None:
        """What is known before any row."""
        return self.part.rule.fold(self._facts).verdict

    async def ask(self, db: Queries, record: UUID | None) -> list[Seen]:
        """The expression on a row, on a new row (create), or (`record` None) on every row up to a thousand."""
        probe = Probe(self.part, self._facts, self._place(record))
        return [await self._look(db, one) for one in await store.judged(db, probe)]

    def unasked(self) -> Found:
        """The expression without any row: what is known of the caller alone."""
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
                table, fetches = self._other(wanted[0]), fetches + 1
                rows = [] if table is None else await store.other_records(db, table, wanted, self._fields_of(table))
                if rows is None or fetches > _MOST_FETCHES:
                    return Seen(judged, explain(self.part, frame, judged.answer, complete=False), False)
                beside.know(wanted, rows)
        return Seen(judged, explain(self.part, frame, judged.answer, complete=False), False)

    def _fields_of(self, table: Table) -> list[str]:
        """What the expression reads of another collection."""
        asked = {field for name, field in self.part.rule.entered if name == table.name and field in table.columns}
        return sorted(asked | {"id"})


def about_rule(
    table: Table,
    action: Action,
    caller: Caller,
    now: datetime,
    *,
    sent: Mapping[str, object] | None = None,
    values: Values | None = None,
) -> Questioning:
    """The rule of an action, which must be set. `values` are those of a create or update, cleaned; `sent` the keys he sent."""
    source = table.collection.rules[action]
    if source is None:
        raise ValueError(f"{table.name}.{action} is locked")
    part = take_apart(source, rule_env(table.collection, action, table.others))
    asked = places.Question(table, action, caller.asking(now, sent), values)
    facts = Facts(auth=caller.auth, now=now, action=action, via=caller.via, input=sent)
    return Questioning(part, facts, partial(places.of_rule, asked), table.other)


def about_read(table: Table, field: Field, action: Action, caller: Caller, now: datetime) -> Questioning:
    """The `read` of a field, which must be set, on records that are viewed or listed."""
    part = take_apart(field.read or "true", rule_env(table.collection, "view", table.others))
    asked = places.Question(table, action, caller.asking(now, None))
    facts = Facts(auth=caller.auth, now=now, action="view", via=caller.via)  # as `Asking.may_read` has it, whatever the call
    return Questioning(part, facts, partial(places.of_read, asked), table.other)


def about_validation(  # noqa: PLR0917  what a write is made of
    table: Table, demand: Demand, action: Action, caller: Caller, now: datetime, sent: Mapping[str, object], values: Values
) -> Questioning:
    """The `validate` of a field on what a create or an update makes."""
    field = demand.field
    part = take_apart(field.validate or "true", validation_env(table.collection, field, table.others))
    asked = places.Question(table, action, caller.asking(now, sent), values)
    facts = Facts(auth=caller.auth, now=now, action=action, via=caller.via, input=sent)
    return Questioning(part, facts, lambda record: places.of_validation(asked, record, field), table.other)
