"""Explains to operators what a rule says to a caller and why, and keeps the refusals they ask about."""

import asyncio
from dataclasses import replace
from uuid import UUID

from baas.base.clock import Clock
from baas.base.errors import Fault, Invalid, NotFound
from baas.base.project import Project
from baas.engines.query.compile import Compiler
from baas.engines.query.table import Table
from baas.engines.query.tree import Values
from baas.engines.rules.explain import Found, reason
from baas.engines.schema.catalog import Catalog, on_fresh_definitions
from baas.engines.schema.validate import immutable_names
from baas.features.auth.service import Auth
from baas.features.records.service import changed_values, new_values
from baas.features.rules import store
from baas.features.rules.denials import Denials
from baas.features.rules.explaining import Caller, Questioning, Seen
from baas.features.rules.model import Explanation, Question, Refusal, Report
from baas.features.rules.testing import Suite, Testing
from baas.infra.db.pool import Database

_NO_RECORD = "No record was named, so only what is known of the caller was judged."
_ABSENT = "There is no record with this id."
_LOCKED = "The rule is locked (null): only operators and secret keys."


class Rules:
    """What rules say, asked by those who write them. It reads, and changes nothing."""

    def __init__(  # noqa: PLR0917  the parts it is made of, in the order in which they are made
        self, db: Database, catalog: Catalog, compiler: Compiler, auth: Auth, denials: Denials, clock: Clock
    ) -> None:
        self._db = db
        self._catalog = catalog
        self._compiler = compiler
        self._auth = auth
        self._denials = denials
        self._clock = clock
        # Each makes and drops tables on one connection: one after the other, so that they cannot take all of them.
        self._one_test = asyncio.Semaphore(1)

    @on_fresh_definitions
    async def explain(self, project: Project, question: Question) -> Explanation:
        """What the rule of an action says to a user about a record, part by part.

        Raises NotFound for no such collection or user, Invalid for an input that a write would refuse and a malformed id.
        """
        table = await self._table(project, question.collection)
        caller = await self._caller(project, question)
        if table.collection.rules.get(question.action) is None:
            return _locked(table, question)
        now = self._clock.now()
        plain = Questioning(table, question.action, caller, now, sent=question.input)
        values = _values(table, plain, question)
        asked = Questioning(table, question.action, caller, now, sent=question.input, values=values) if values else plain
        record = _id(question.record, "/id")
        if record is None and question.action != "create":
            return _unasked(table, question, asked)
        async with self._db.transaction() as tx:
            await store.read_only(tx)
            seen = await asked.ask(tx, record)
        return _explained(table, question, asked, seen[0] if seen else None)

    async def explain_refusal(self, project: Project, request_id: str) -> tuple[Refusal, Explanation]:
        """The newest refusal of this request, and what the rule says to the same call now.

        Raises NotFound when there is no such refusal, or none any more; else as `explain`.
        """
        found = await self._denials.find(project, request_id)
        if found is None:
            detail = "No refused call of this project has this request id; they are kept for a day."
            raise NotFound(detail, code="refusal_not_found")
        table = await self._table(project, found.collection)
        return found, await self.explain(project, _asked_again(table, found))

    @on_fresh_definitions
    async def test(self, project: Project, suite: Suite) -> Report:
        """Run cases against the rules of the project over rows of their own, in a schema that is gone afterwards.

        Raises Invalid with every fault of rows and cases.
        """
        collections = await self._catalog.collections(project)
        async with self._one_test:
            return await Testing(self._db, collections, self._clock.now()).run(suite)

    async def _table(self, project: Project, name: str) -> Table:
        table = self._compiler.table(await self._catalog.collections(project), name)
        if table is None:
            await self._catalog.get(project, name)  # another server may have made it a moment ago; raises when not
            table = self._compiler.table(await self._catalog.collections(project), name)
        if table is None:
            raise NotFound("No such collection.", code="collection_not_found")
        return table

    async def _caller(self, project: Project, question: Question) -> Caller:
        user = _id(question.user, "/as")
        if user is None:
            return Caller.of(None, {}, str(project.id))
        record = await self._auth.record(project, user)
        if record is None:
            raise NotFound("There is no such user, or he is disabled.", code="user_not_found")
        return Caller.of({"id": str(user), **record}, question.claims, str(project.id))


def _asked_again(table: Table, refusal: Refusal) -> Question:
    """The refused call as a question. A put names what it may not change; an update does not."""
    user, sent = refusal.principal_id if refusal.principal_kind == "user" else None, refusal.input
    if refusal.action == "update" and sent is not None:
        fixed = {"id", *immutable_names(table.collection, privileged=False)}
        sent = {name: value for name, value in sent.items() if name not in fixed}
    return Question(refusal.collection, refusal.action, refusal.record, user, sent)


def _values(table: Table, asked: Questioning, question: Question) -> Values | None:
    """What would be stored, by the code that a write goes through. Faults point into `/input`."""
    if question.action not in ("create", "update"):
        return None
    make = new_values if question.action == "create" else changed_values
    try:
        return make(table, asked.asking, question.input or {})
    except Invalid as error:
        faults = [replace(fault, pointer=f"/input{fault.pointer}") for fault in error.errors]
        raise Invalid("A write with this input is refused before any rule is asked.", errors=faults) from None


def _id(text: str | None, pointer: str) -> UUID | None:
    if text is None:
        return None
    try:
        found = UUID(text)
    except ValueError:
        found = None
    if found is None or str(found) != text.lower():
        raise Invalid("Must be the id of a record.", errors=[Fault(pointer, "invalid", "Must be a UUID.")])
    return found


def _locked(table: Table, question: Question) -> Explanation:
    return Explanation(question, None, "deny", _LOCKED, 403, "rule_denied", None, "false", (), "agrees", table.collection.version)


def _unasked(table: Table, question: Question, asked: Questioning) -> Explanation:
    found, verdict = asked.unasked(), asked.verdict
    said = "depends" if verdict is None else "allow" if verdict else "deny"
    hint = _NO_RECORD if verdict is None else reason(found)
    return _explanation(table, question, asked, said, hint, found, "not_run" if verdict is None else "agrees", None)


def _explained(table: Table, question: Question, asked: Questioning, seen: Seen | None) -> Explanation:
    if seen is None:
        return _explanation(table, question, asked, "deny", _ABSENT, asked.unasked(), "not_run", None)
    agreement = "disagrees" if seen.disagreements else "agrees" if seen.complete else "not_run"
    said = "allow" if seen.found.failure is None and seen.found.value is True else "deny"
    return _explanation(table, question, asked, said, reason(seen.found), seen.found, agreement, seen.judged.seen)


def _explanation(  # noqa: PLR0917  what an explanation is made of
    table: Table,
    question: Question,
    asked: Questioning,
    said: str,
    hint: str,
    found: Found,
    memory: str,
    viewable: bool | None,
) -> Explanation:
    condition = asked.condition
    status, code = _answer(question, said, verdict=asked.verdict, viewable=viewable)
    return Explanation(
        question=question,
        source=table.collection.rules[question.action],
        verdict=said,  # type: ignore[arg-type]
        hint=hint,
        status=status,
        code=code,
        found=found,
        sql=condition[0] if condition is not None else str(asked.verdict).lower(),
        args=condition[1] if condition is not None else (),
        memory=memory,  # type: ignore[arg-type]
        schema_version=table.collection.version,
    )


def _answer(question: Question, said: str, *, verdict: bool | None, viewable: bool | None) -> tuple[int, str | None]:
    """The status and code that the caller gets."""
    if said != "deny":
        return (201 if question.action == "create" else 204 if question.action == "delete" else 200), None
    match question.action:
        case "create":
            return 403, "rule_denied"
        case "list" if verdict is not False:
            return 200, None
        case "list":
            return (401, "unauthenticated") if question.user is None else (403, "rule_denied")
        case "update" | "delete" if viewable:
            return 403, "rule_denied"
    return 404, "record_not_found"
