"""Explains to operators what a rule says to a caller and why, and keeps the refusals they ask about."""

import asyncio
from dataclasses import replace
from uuid import UUID

from baas.base.clock import Clock
from baas.base.errors import Fault, Invalid, NotFound
from baas.base.project import Project
from baas.engines.query.compile import Compiler
from baas.engines.query.table import Table
from baas.engines.rules.explain import take_apart
from baas.engines.rules.types import RuleError
from baas.engines.schema.catalog import Catalog, on_fresh_definitions
from baas.features.auth.service import Auth
from baas.features.files.service import Files
from baas.features.rules import answering, fields, store
from baas.features.rules.again import Again, question_of
from baas.features.rules.denials import Denials
from baas.features.rules.explaining import Caller, Questioning, Seen, about_rule
from baas.features.rules.fit import Write, faults, with_faults
from baas.features.rules.inputs import cleaned
from baas.features.rules.model import Explanation, Question, Refusal, Report
from baas.features.rules.testing import Suite, Testing
from baas.infra.db.pool import Database


class Rules:
    """What rules say, asked by those who write them. It reads, and changes nothing."""

    def __init__(  # noqa: PLR0917  the parts it is made of, in the order in which they are made
        self, db: Database, catalog: Catalog, compiler: Compiler, auth: Auth, files: Files, denials: Denials, clock: Clock
    ) -> None:
        self._db = db
        self._catalog = catalog
        self._compiler = compiler
        self._auth = auth
        self._files = files
        self._denials = denials
        self._clock = clock
        # Each makes and drops tables on one connection: one after the other, so that they cannot take all of them.
        self._one_test = asyncio.Semaphore(1)

    @on_fresh_definitions
    async def explain(self, project: Project, question: Question) -> Explanation:
        """What the rule of an action, or an expression of a field, says to a user about a record or a file, part by part.

        Raises NotFound for no such collection, bucket or user, Invalid for an input that a write would refuse, a malformed id and
        no such field.
        """
        if question.bucket is not None:
            return await self._about_file(project, question, question.bucket)
        table = await self._table(project, question.collection or "")
        caller = await self._caller(project, question)
        if question.field is not None:
            return await self._about_field(table, question, caller, _id(question.record, "/id"))
        return await self._about_record(table, caller, question)

    async def explain_refusal(self, project: Project, request_id: str) -> tuple[Refusal, Explanation]:
        """The newest refusal of this request, and what the rule says to the same call now.

        Raises NotFound when there is no such refusal, or none any more; else as `explain`.
        """
        found = await self._denials.find(project, request_id)
        if found is None:
            detail = "No refused call of this project has this request id; they are kept for a day."
            raise NotFound(detail, code="refusal_not_found")
        return found, await self._again(project, found)

    @on_fresh_definitions
    async def _again(self, project: Project, refusal: Refusal) -> Explanation:
        question = question_of(refusal)
        if refusal.collection is None:
            sent = refusal.input if isinstance(refusal.input, dict) else None
            return await self.explain(project, replace(question, input=sent))
        table, caller = await self._table(project, refusal.collection), await self._caller(project, question)
        again = Again(self._db, self._about_record, self._clock.now())
        return await again.explain(table, caller, question, refusal)

    @on_fresh_definitions
    async def test(self, project: Project, suite: Suite) -> Report:
        """Run cases against the rules of the project over rows of their own, in a schema that is gone afterwards.

        Raises Invalid with every fault of rows and cases.
        """
        collections = await self._catalog.collections(project)
        async with self._one_test:
            buckets = await self._files.buckets(project)
            return await Testing(self._db, project, collections, self._files, buckets, self._clock.now()).run(suite)

    async def _about_record(self, table: Table, caller: Caller, question: Question) -> Explanation:
        record, collection = _id(question.record, "/id"), table.collection
        rule = answering.Rule(collection.rules.get(question.action), collection.version)
        if rule.source is None:
            return answering.locked(question, rule)
        now = self._clock.now()
        values = cleaned(table, caller.asking(now, question.input), question)
        asked = about_rule(table, question.action, caller, now, sent=question.input, values=values)
        if record is None and question.action != "create":
            return answering.unasked(question, rule, asked)
        said = answering.explained(question, rule, asked, await self._seen(asked, record))
        if said.verdict != "allow" or values is None:
            return said
        write = Write(table, caller.asking(now, question.input), None if question.action == "create" else record, values)
        return with_faults(said, await faults(self._db, self._compiler, write))

    async def _about_field(self, table: Table, question: Question, caller: Caller, record: UUID | None) -> Explanation:
        asked = fields.asked(table, question, caller, self._clock.now())
        if isinstance(asked, Explanation):
            return asked
        if record is None and question.action != "create":
            return answering.unasked(question, asked.rule, asked.questioning)
        seen = await self._seen(asked.questioning, record)
        return fields.explained(question, asked, seen)

    async def _about_file(self, project: Project, question: Question, bucket: str) -> Explanation:
        """Public buckets ask nobody; a rule that no longer fits the schema admits nobody."""
        caller = await self._caller(project, question)
        matter = await self._files.matter(project, caller.principal, bucket, question.action, question.record, question.input)
        rule = answering.Rule(matter.bucket.rules.get(question.action), matter.bucket.version, described=matter.described)
        if matter.open_to_all:
            return answering.public(question, rule)
        if rule.source is None:
            return answering.locked(question, rule)
        try:
            part = take_apart(rule.source, matter.env)
        except RuleError as error:
            return answering.broken(question, rule, error)
        place = matter.place
        if place is None:
            raise AssertionError("a rule that is right has a place")
        asked = Questioning(part, matter.facts, lambda _: place, matter.tables)
        if question.record is None:
            return answering.unasked(question, rule, asked)
        return answering.explained(question, rule, asked, await self._seen(asked, None))

    async def _seen(self, asked: Questioning, record: UUID | None) -> Seen | None:
        async with self._db.transaction() as tx:
            await store.read_only(tx)
            seen = await asked.ask(tx, record)
        return seen[0] if seen else None

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
            return Caller.of(None, {}, str(project.id), via=question.via)
        record = await self._auth.record(project, user)
        if record is None:
            raise NotFound("There is no such user, or he is disabled.", code="user_not_found")
        claims = question.claims if question.claims is not None else await self._auth.claims(project, user)
        return Caller.of({"id": str(user), **record}, claims, str(project.id), via=question.via)


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
