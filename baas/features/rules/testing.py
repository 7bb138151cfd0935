"""Runs cases against rules: tables of the project's own definitions with the case's rows, in a schema that never comes to be.

Everything happens in one transaction that is rolled back. Each case is judged by the database and in memory; where the two differ
the case fails, whatever it expected.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import NAMESPACE_URL, UUID, uuid5

from baas.base.errors import Conflict, Fault, Invalid
from baas.base.ids import short_id, uuid7
from baas.engines.query.compile import Compiler
from baas.engines.query.table import USERS, Table
from baas.engines.rules.explain import Found, reason
from baas.engines.rules.values import is_uuid
from baas.engines.schema.collection import Collection
from baas.engines.schema.constraints import violation_of
from baas.engines.schema.manifest import pointer
from baas.engines.schema.validate import clean_create
from baas.features.records.service import changed_values, new_values
from baas.features.rules import store
from baas.features.rules.explaining import Caller, Seen, about_rule
from baas.features.rules.model import Branch, Case, Coverage, Outcome, Report
from baas.infra.db.errors import ConstraintViolated
from baas.infra.db.pool import Database, Transaction

MAX_TABLES = 100
_TIMEOUT_S = 20.0
_MOST_FAULTS = 100
Rows = Mapping[str, Sequence[Mapping[str, object]]]


@dataclass(frozen=True, slots=True)
class Suite:
    """Rows that all cases see, and the cases."""

    cases: Sequence[Case]
    rows: Rows = field(default_factory=dict)


class _Undo(Exception):
    """Ends the transaction without a trace."""


class Testing:
    """One run. `collections` are the project's own definitions; nothing of its data is read."""

    def __init__(self, db: Database, collections: Mapping[str, Collection], now: datetime) -> None:
        self._db = db
        schema = f"t_{short_id()}"
        self._schema = schema
        # A view stands as a table here, so that a case can say what it shows.
        self._collections = {name: replace(one, schema=schema, view=None) for name, one in collections.items()}
        self._compiler = Compiler()
        self._now = now
        self._labels: dict[str, str] = {}
        self._coverage: dict[tuple[str, str], Coverage] = {}

    async def run(self, suite: Suite) -> Report:
        """Every case. Raises Invalid with every fault of the rows and of the cases themselves."""
        self._labels = _labels([suite.rows, *(case.rows for case in suite.cases)])
        self._refuse_strangers(suite)
        tables = self._needed(suite)
        outcomes: list[Outcome] = []
        try:
            async with self._db.transaction(statement_timeout_s=_TIMEOUT_S) as tx:
                await store.make_scratch(tx, self._schema, tables)
                await self._fill(tx, suite.rows, "/rows")
                for at, case in enumerate(suite.cases):
                    outcomes.append(await self._case(tx, case, at))
                raise _Undo
        except _Undo:
            pass
        return Report(outcomes, list(self._coverage.values()), self._untested(suite))

    # Rows

    async def _fill(self, tx: Transaction, rows: Rows, at: str) -> None:
        """Rows in any order: what they point to is only looked for when all are there."""
        faults: list[Fault] = []
        cleaned = []
        for name, given in rows.items():
            table = self._table(name)
            for number, row in enumerate(given):
                try:
                    cleaned.append((table, self._clean(table, row)))
                except Invalid as error:
                    here = pointer(at, name, number)
                    faults += [replace(fault, pointer=f"{here}{fault.pointer}") for fault in error.errors]
        if faults:
            raise Invalid("Some rows do not fit their collections.", errors=faults[:_MOST_FAULTS])
        await store.constraints(tx, deferred=True)
        try:
            for table, values in cleaned:
                await store.insert_row(tx, table, values)
            await store.constraints(tx, deferred=False)
        except ConstraintViolated as error:
            raise self._unfit(error, at) from None

    def _clean(self, table: Table, row: Mapping[str, object]) -> dict[str, object]:
        given = self._resolved(table, row)
        if table.name == USERS and "email" not in given:
            given["email"] = f"{row.get('id', short_id())}@example.com"
        values = clean_create(table.collection, given, privileged=True)
        values.setdefault("id", uuid7())
        return {**values, "rev": 1, "created_at": self._now, "updated_at": self._now}

    def _resolved(self, table: Table, row: Mapping[str, object]) -> dict[str, object]:
        """Labels replaced by the ids they stand for, where an id is wanted."""
        ids = {"id", *(one.name for one in table.collection.fields if one.type == "relation")}
        return {name: self._resolve(value) if name in ids else value for name, value in row.items()}

    def _resolve(self, value: object) -> object:
        if isinstance(value, list):
            return [self._resolve(one) for one in value]
        return self._labels.get(value, value) if isinstance(value, str) else value

    def _unfit(self, error: ConstraintViolated, at: str) -> Invalid:
        found = violation_of(error, self._collections)
        name = found.collection.name if found is not None else ""
        fields = ", ".join(found.fields) if found is not None else ""
        words = f"A row breaks a constraint on {fields}." if fields else "A row breaks a constraint of its collection."
        return Invalid("The rows cannot be stored together.", errors=[Fault(pointer(at, name), "does_not_fit", words)])

    # Cases

    async def _case(self, tx: Transaction, case: Case, at: int) -> Outcome:
        table = self._table(case.collection)
        await store.savepoint(tx)
        try:
            if case.rows:
                await self._fill(tx, case.rows, pointer("/cases", at, "rows"))
            if table.collection.rules.get(case.action) is None:
                return _outcome(case, () if isinstance(case.expect, tuple) else "deny", "The rule is locked (null).")
            return await self._judge(tx, table, case)
        finally:
            await store.back_to_savepoint(tx)

    async def _judge(self, tx: Transaction, table: Table, case: Case) -> Outcome:
        caller = await self._caller(tx, case)
        if caller is None:
            return Outcome(case, False, None, f"There is no user {case.user!r} among the rows.")
        sent = None if case.input is None else self._resolved(table, case.input)
        values: dict[str, object] | None = None
        if case.action in ("create", "update"):
            make = new_values if case.action == "create" else changed_values
            try:
                values = dict(make(table, caller.asking(self._now, sent), sent or {}))
            except Invalid as error:
                said = "; ".join(f"{fault.pointer} {fault.message}" for fault in error.errors[:5])
                return Outcome(case, False, None, f"The input is refused before any rule is asked: {said}")
            if case.action == "create":
                values.setdefault("id", uuid7())
        asked = about_rule(table, case.action, caller, self._now, sent=sent, values=values)
        record = self._record(case)
        seen = await asked.ask(tx, record)
        self._cover(case, seen)
        differing = next((one for row in seen for one in row.disagreements), None)
        outcome = self._verdict(case, seen, record)
        return outcome if differing is None else replace(outcome, passed=False, disagreement=_difference(differing))

    def _verdict(self, case: Case, seen: Sequence[Seen], record: UUID | None) -> Outcome:
        if isinstance(case.expect, tuple):
            shown = [str(row.judged.id) for row in seen if _allowed(row)]
            names = {self._resolve(one): one for one in case.expect} | {one: label for label, one in self._labels.items()}
            return _outcome(case, tuple(sorted(str(names.get(one, one)) for one in shown)), None)
        if not seen:
            return _outcome(case, "deny", f"There is no record {case.record!r}." if record else "There is no record.")
        return _outcome(case, "allow" if _allowed(seen[0]) else "deny", reason(seen[0].found))

    async def _caller(self, tx: Transaction, case: Case) -> Caller | None:
        if case.user is None:
            return Caller.of(None, {}, "")
        wanted = str(self._resolve(case.user))
        users = self._table(USERS)
        rows = await store.other_records(tx, users, (USERS, "", wanted), users.columns) if is_uuid(wanted) else None
        return Caller.of(rows[0], case.claims, "") if rows and not rows[0].get("disabled") else None

    def _record(self, case: Case) -> UUID | None:
        if case.record is None:
            return None
        found = str(self._resolve(case.record))
        return UUID(found) if is_uuid(found) else uuid5(NAMESPACE_URL, found)

    # What was covered

    def _cover(self, case: Case, seen: Sequence[Seen]) -> None:
        key = (case.collection, case.action)
        if key not in self._coverage:
            source = self._collections[case.collection].rules[case.action] or ""
            self._coverage[key] = Coverage(case.collection, case.action, source, {})
        branches = self._coverage[key].branches
        for row in seen:
            _count(row.found, branches)  # type: ignore[arg-type]  # filled here alone

    def _untested(self, suite: Suite) -> list[str]:
        """Rules of the collections that the cases speak of which no case asked."""
        asked = {(case.collection, case.action) for case in suite.cases}
        return sorted(
            f"{name}.{action}"
            for name in {case.collection for case in suite.cases}
            for action, source in self._collections[name].rules.items()
            if source is not None and (name, action) not in asked
        )

    # Tables

    def _table(self, name: str) -> Table:
        table = self._compiler.table(self._collections, name)
        if table is None:
            raise AssertionError(f"{name} was looked for before")
        return table

    def _refuse_strangers(self, suite: Suite) -> None:
        faults = [
            Fault(pointer("/cases", at, "collection"), "unknown_collection", f"There is no collection {case.collection!r}.")
            for at, case in enumerate(suite.cases)
            if case.collection not in self._collections
        ]
        for at, rows in [("/rows", suite.rows), *((f"/cases/{n}/rows", case.rows) for n, case in enumerate(suite.cases))]:
            unknown = (name for name in rows if name not in self._collections)
            faults += [Fault(pointer(at, name), "unknown_collection", f"There is no collection {name!r}.") for name in unknown]
        if faults:
            raise Invalid("The cases name collections that are not there.", errors=faults[:_MOST_FAULTS])

    def _needed(self, suite: Suite) -> list[Collection]:
        """The collections that rows, cases, their relations and their rules lead to."""
        ahead = {USERS, *suite.rows, *(case.collection for case in suite.cases)}
        ahead |= {name for case in suite.cases for name in case.rows}
        found: dict[str, Collection] = {}
        while ahead:
            name = ahead.pop()
            collection = self._collections.get(name)
            if name in found or collection is None:
                continue
            found[name] = collection
            ahead |= {str(one.options["to"]) for one in collection.fields if one.type == "relation"}
            rules = (self._table(name).rule(action) for action in collection.rules)
            ahead |= {entered for rule in rules if rule is not None for entered, _ in rule.entered}
        if len(found) > MAX_TABLES:
            raise Conflict(
                f"These cases need {len(found)} collections; a test has at most {MAX_TABLES}.", code="too_many_collections"
            )
        return list(found.values())


def _labels(every: Sequence[Rows]) -> dict[str, str]:
    """Ids of rows that are names and no UUIDs, each with the UUID it stands for."""
    given = (row.get("id") for rows in every for held in rows.values() for row in held)
    return {one: str(uuid5(NAMESPACE_URL, one)) for one in given if isinstance(one, str) and not is_uuid(one)}


def _allowed(seen: Seen) -> bool:
    return seen.found.failure is None and seen.found.value is True


def _outcome(case: Case, got: str | tuple[str, ...], why: str | None) -> Outcome:
    wanted = tuple(sorted(case.expect)) if isinstance(case.expect, tuple) else case.expect
    passed = wanted == got
    return Outcome(case, passed, got, None if passed else why)


def _difference(found: Found) -> str:
    said = "error" if found.failure is not None else str(found.value).lower()
    return f"`{found.part.text}` is {said} in the database and {found.memory} in memory"


def _count(found: Found, branches: dict[int, Branch], *, is_branch: bool = True) -> None:
    """The whole, what `&&` and `||` join, the condition of `?:`, and of its arms the one that was taken."""
    part = found.part
    if is_branch and part.is_condition:
        branches.setdefault(part.number, Branch(part.text, part.start)).count(found)
    for at, below in enumerate(found.parts):
        if part.kind == "choice" and at and len(found.parts) == 3:
            taken = found.parts[0].value is True if at == 1 else found.parts[0].value is False
            if not taken or found.parts[0].failure is not None:
                continue
        _count(below, branches, is_branch=part.kind in ("and", "or", "choice"))
