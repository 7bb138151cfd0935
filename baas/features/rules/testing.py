"""Runs cases against rules: tables of the project's own definitions with the case's rows, in a schema that never comes to be.

Everything happens in one transaction that is rolled back. Each case is judged by the database and in memory; where the two differ
the case fails, whatever it expected.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import NAMESPACE_URL, UUID, uuid5

from baas.base.errors import BaasError, BadRequest, Conflict, Fault, Invalid
from baas.base.ids import short_id, uuid7
from baas.base.project import Project
from baas.engines.query.compile import Compiler
from baas.engines.query.table import Table
from baas.engines.rules.explain import Found, reason, take_apart
from baas.engines.rules.values import is_uuid
from baas.engines.schema.collection import Action, Collection
from baas.engines.schema.constraints import violation_of
from baas.engines.schema.manifest import USERS, pointer
from baas.engines.schema.validate import clean_create
from baas.features.files.model import Bucket, Stage
from baas.features.files.service import Files
from baas.features.records.service import changed_values, new_values
from baas.features.rules import fields, fit, store
from baas.features.rules.explaining import Caller, Questioning, Seen, about_rule
from baas.features.rules.model import BUCKET, Branch, Case, Coverage, Expectation, Explanation, Outcome, Question, Report, Unfit
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

    def __init__(  # noqa: PLR0917  what a run is made of
        self,
        db: Database,
        project: Project,
        collections: Mapping[str, Collection],
        files: Files,
        buckets: Sequence[Bucket],
        now: datetime,
    ) -> None:
        self._db = db
        self._project = project
        self._files = files
        self._buckets = {one.name: one for one in buckets}
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
                await self._files.set_up(self._stage(tx, self._now), self._project, {})
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
        await self._files.add_files(self._stage(tx, self._now), self._of_buckets(rows))
        for name, given in rows.items():
            if name.startswith(BUCKET):
                continue
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

    def _of_buckets(self, rows: Rows) -> Rows:
        """Those of the rows that are files, by the name of the bucket."""
        return {
            name.removeprefix(BUCKET): [{**one, "owner": self._resolve(one.get("owner"))} for one in held]
            for name, held in rows.items()
            if name.startswith(BUCKET)
        }

    def _stage(self, tx: Transaction, now: datetime) -> Stage:
        return Stage(tx, self._schema, self._collections, lambda name: self._compiler.table(self._collections, name), now)

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
        await store.savepoint(tx)
        try:
            if case.rows:
                await self._fill(tx, case.rows, pointer("/cases", at, "rows"))
            if case.bucket is not None:
                return await self._judge_file(tx, case, self._buckets[case.bucket])
            table = self._table(case.collection)
            if case.field is None and table.collection.rules.get(case.action) is None:
                return _outcome(case, () if isinstance(case.expect, tuple) else "deny", "The rule is locked (null).")
            return await self._judge(tx, table, case)
        finally:
            await store.back_to_savepoint(tx)

    async def _judge(self, tx: Transaction, table: Table, case: Case) -> Outcome:
        caller = await self._caller(tx, case)
        if caller is None:
            return Outcome(case, False, None, f"There is no user {case.user!r} among the rows.")
        sent, now = None if case.input is None else self._resolved(table, case.input), case.now or self._now
        if case.field is not None:
            return await self._judge_field(tx, table, case, caller, sent)
        values: dict[str, object] | None = None
        if case.action in ("create", "update"):
            make = new_values if case.action == "create" else changed_values
            try:
                values = dict(make(table, caller.asking(now, sent), sent or {}))
            except Invalid as error:
                return _refused_before(case, error)
            if case.action == "create":
                values.setdefault("id", uuid7())
        asked = about_rule(table, case.action, caller, now, sent=sent, values=values)
        record = self._record(case)
        seen = await asked.ask(tx, record)
        self._cover((case.subject, case.action), table.collection.rules[case.action], seen)
        outcome = self._verdict(case, seen, record)
        if values is not None and seen and _allowed(seen[0]):
            write = fit.Write(table, caller.asking(now, sent), record if case.action == "update" else None, values)
            if unfit := await fit.faults(tx, self._compiler, write):
                outcome = _outcome(case, Unfit(fit.names(unfit)), "; ".join(f"{one.pointer} {one.message}" for one in unfit[:5]))
        return _with_difference(outcome, seen)

    async def _judge_field(
        self, tx: Transaction, table: Table, case: Case, caller: Caller, sent: Mapping[str, object] | None
    ) -> Outcome:
        """The `read` or the `validate` of a field, as an explanation asks it."""
        record = self._record(case)
        question = Question(case.action, case.collection, None, str(record) if record else None, None, sent, field=case.field)
        try:
            asked = fields.asked(table, question, caller, case.now or self._now)
        except Invalid as error:
            return _refused_before(case, error)
        if isinstance(asked, Explanation):
            return _outcome(case, asked.verdict, asked.hint)
        seen = await asked.questioning.ask(tx, record)
        what = "read" if case.action in ("view", "list") else "validate"
        self._cover((f"{case.collection}.{case.field}", what), asked.rule.source, seen)
        said = fields.explained(question, asked, seen[0] if seen else None)
        return _with_difference(_outcome(case, said.verdict, said.hint), seen)

    async def _judge_file(self, tx: Transaction, case: Case, bucket: Bucket) -> Outcome:
        """A bucket's rule on the file of a path; nobody asks it of a download from a public one."""
        caller = await self._caller(tx, case)
        if caller is None:
            return Outcome(case, False, None, f"There is no user {case.user!r} among the rows.")
        stage, path = self._stage(tx, case.now or self._now), case.record or ""
        try:
            matter = await self._files.matter_of_case(
                stage, self._project, caller.principal, caller.auth, bucket, case.action, path, case.input
            )
        except (BadRequest, Invalid) as error:
            return _refused_before(case, error)
        source, place = bucket.rules.get(case.action), matter.place
        if matter.open_to_all:
            return _outcome(case, "allow", "The bucket is public.")
        if source is None or place is None:
            return _outcome(case, "deny", "The rule is locked (null), or no longer fits the schema.")
        seen = await Questioning(take_apart(source, matter.env), matter.facts, lambda _: place, matter.tables).ask(tx, None)
        self._cover((case.subject, case.action), source, seen)
        if not seen:
            return _outcome(case, "deny", f"There is no file {path!r}.")
        return _with_difference(_outcome(case, "allow" if _allowed(seen[0]) else "deny", reason(seen[0].found)), seen)

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
            return Caller.of(None, {}, "", via=case.via)
        wanted = str(self._resolve(case.user))
        users = self._table(USERS)
        rows = await store.other_records(tx, users, (USERS, "", wanted), users.columns) if is_uuid(wanted) else None
        return Caller.of(rows[0], case.claims, "", via=case.via) if rows and not rows[0].get("disabled") else None

    def _record(self, case: Case) -> UUID | None:
        if case.record is None:
            return None
        found = str(self._resolve(case.record))
        return UUID(found) if is_uuid(found) else uuid5(NAMESPACE_URL, found)

    # What was covered

    def _cover(self, key: tuple[str, str], source: str | None, seen: Sequence[Seen]) -> None:
        if key not in self._coverage:
            self._coverage[key] = Coverage(*key, source or "", {})
        branches = self._coverage[key].branches
        for row in seen:
            _count(row.found, branches)  # type: ignore[arg-type]  # filled here alone

    def _untested(self, suite: Suite) -> list[str]:
        """Rules of the collections and buckets that the cases speak of which no case asked."""
        asked = {(case.subject, case.action) for case in suite.cases if case.field is None}
        return sorted(
            f"{name}.{action}"
            for name in {case.subject for case in suite.cases}
            for action, source in self._rules_of(name).items()
            if source is not None and (name, action) not in asked
        )

    def _rules_of(self, subject: str) -> Mapping[Action, str | None]:
        if subject.startswith(BUCKET):
            return self._buckets[subject.removeprefix(BUCKET)].rules
        return self._collections[subject].rules

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
            if case.bucket is None and case.collection not in self._collections
        ]
        faults += [
            Fault(pointer("/cases", at, "bucket"), "unknown_bucket", f"There is no bucket {case.bucket!r}.")
            for at, case in enumerate(suite.cases)
            if case.bucket is not None and case.bucket not in self._buckets
        ]
        for at, rows in [("/rows", suite.rows), *((f"/cases/{n}/rows", case.rows) for n, case in enumerate(suite.cases))]:
            known = {*self._collections, *(f"{BUCKET}{name}" for name in self._buckets)}
            unknown = (name for name in rows if name not in known)
            faults += [Fault(pointer(at, name), "unknown_collection", f"There is no collection {name!r}.") for name in unknown]
        if faults:
            raise Invalid("The cases name collections that are not there.", errors=faults[:_MOST_FAULTS])

    def _needed(self, suite: Suite) -> list[Collection]:
        """The collections that rows, cases, their relations and their rules lead to."""
        ahead = {USERS, *suite.rows, *(case.collection for case in suite.cases)}
        ahead |= {name for case in suite.cases for name in case.rows}
        for bucket in {case.bucket for case in suite.cases if case.bucket is not None}:
            of_files = self._files.rules_of(self._project, self._buckets[bucket], self._collections)
            ahead |= {name for rule in of_files.values() if rule is not None for name, _ in rule.entered}
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


def _outcome(case: Case, got: Expectation, why: str | None) -> Outcome:
    wanted = case.expect
    if isinstance(wanted, Unfit):
        passed = isinstance(got, Unfit) and (wanted.fields is None or tuple(sorted(wanted.fields)) == got.fields)
    else:
        passed = got == (tuple(sorted(wanted)) if isinstance(wanted, tuple) else wanted)
    return Outcome(case, passed, got, None if passed else why)


def _refused_before(case: Case, error: BaasError) -> Outcome:
    """What is malformed says nothing of a rule, whatever was expected."""
    said = "; ".join(f"{fault.pointer} {fault.message}" for fault in error.errors[:5]) or error.detail
    return Outcome(case, False, None, f"The input is refused before any rule is asked: {said}")


def _with_difference(outcome: Outcome, seen: Sequence[Seen]) -> Outcome:
    differing = next((one for row in seen for one in row.disagreements), None)
    return outcome if differing is None else replace(outcome, passed=False, disagreement=_difference(differing))


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
