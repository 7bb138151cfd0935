"""Makes, changes and deletes collections: definition, table and every cache of them as one thing."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial

from baas.base.errors import BaasError, Conflict, Fault, Invalid, NotFound
from baas.base.project import Project
from baas.base.words import counted
from baas.engines.changes import log
from baas.engines.query.advice import Advice, advise, advise_beside
from baas.engines.query.conditions import condition
from baas.engines.query.guarded import Guarded
from baas.engines.schema import ddl, manifest
from baas.engines.schema import store as definitions
from baas.engines.schema.catalog import KIND, Catalog
from baas.engines.schema.collection import Collection
from baas.features.collections import store, views
from baas.features.collections.expressions import check_expressions
from baas.features.collections.model import Beside, BrokenExpression, Changed, Impact
from baas.infra.db.errors import ConstraintViolated
from baas.infra.db.extensions import is_ready
from baas.infra.db.listen import Invalidations, announce
from baas.infra.db.pool import Database, Queries, Transaction
from baas.infra.http.conditions import ANY, Condition, etag_of

_STATEMENT_TIMEOUT_S = 25.0


class Collections:
    """The schema of projects. A change is one transaction under the project's lock; this server sees it at once, others soon."""

    def __init__(self, db: Database, catalog: Catalog, invalidations: Invalidations) -> None:
        self._db = db
        self._catalog = catalog
        self._invalidations = invalidations
        self.beside: list[Beside] = []
        """What later rooms keep under rules; asked whenever a change could break one."""

    async def list(self, project: Project) -> Sequence[Collection]:
        """Every collection of the project, in order of name."""
        return list((await self._catalog.collections(project)).values())

    async def get(self, project: Project, name: str) -> Collection:
        """One collection. Raises NotFound."""
        return await self._catalog.get(project, name)

    async def lint(self, project: Project, name: str | None = None) -> Sequence[Advice]:
        """The warnings about one collection, or about all of them and what stands beside them. Raises NotFound."""
        if name is not None:
            await self._catalog.get(project, name)
        collections = await self._catalog.collections(project)
        wanted = [one for one in collections.values() if name in (None, one.name)]
        beside = await self._beside(self._db, project) if name is None else []
        return [*await _advice(wanted, collections), *await asyncio.to_thread(advise_beside, beside, collections)]

    async def create(self, project: Project, body: Mapping[str, object]) -> Changed:
        """Make a collection and its table, or its view, from a manifest.

        Raises Invalid with every fault, Conflict `already_exists`, `too_many_collections`, `breaks_rules`, `views_unavailable`.
        """
        extensions = await self._extensions(body)
        async with self._change(project) as (tx, collections):
            faults = manifest.Faults()
            new = manifest.read_collection(body, schema=project.schema, faults=faults)
            new = manifest.settle(new, extensions, body, faults)
            manifest.check_relations(new, collections, body, faults)
            manifest.check_inverses(new, collections, body, faults)
            if new.view is not None and not faults.found:
                _refuse_new(new, collections)
                new = await views.made(tx, new, collections, body)
            _refuse(collections, new, body, faults.found, await self._beside(tx, project))
            _refuse_new(new, collections)
            if new.view is None:
                await store.run(tx, ddl.create(new, condition))
                await store.let_reader_read(tx, new, collections)
                await log.keep_history(tx, new.schema, new.name, wanted="history" in new.options)
            version = await self._save(tx, project, new)
        await self._forget(project)
        return await _changed(replace(new, version=version), collections)

    async def change(
        self, project: Project, name: str, body: Mapping[str, object], *, may_lose_data: bool, only: Condition = ANY
    ) -> Changed:
        """Change a collection by a partial manifest: `fields` and `indexes` as whole lists, `rules` and `options` key by key.

        Raises NotFound; PreconditionFailed when the definition is not the one that `only` demands; Invalid with every fault;
        Conflict: `breaks_rules` with the expressions of any collection, bucket or channel that would lose their meaning,
        `breaks_views` with the views that read what changes, `does_not_fit` with counts when stored records stand against it,
        `confirm_required` when values would be lost and `may_lose_data` is false.
        """
        extensions = await self._extensions(body)
        async with self._change(project) as (tx, collections):
            old = _known(collections, name)
            only.check(etag_of(manifest.as_json(old)))
            faults = manifest.Faults()
            new, renames = manifest.read_change(body, old, faults)
            new = manifest.settle(new, extensions, body, faults)
            manifest.check_relations(new, collections, body, faults)
            manifest.check_inverses(new, collections, body, faults)
            if old.view is None:
                manifest.check_types(old, new, renames, body, faults)
            elif not faults.found:
                new = await views.changed(tx, old, new, collections, body)
            _refuse(collections, new, body, faults.found, await self._beside(tx, project))
            if new == old:
                return await _changed(old, collections)
            if old.view is None:
                await self._alter(tx, old, new, renames, body, may_lose_data=may_lose_data)
            version = await self._save(tx, project, new)
        await self._forget(project)
        return await _changed(replace(new, version=version), collections)

    async def delete(self, project: Project, name: str, *, may_lose_data: bool, only: Condition = ANY) -> None:
        """Delete a collection with its table.

        Raises NotFound; PreconditionFailed as `change`; Conflict: `system_collection`, `in_use` with the collections that relate
        to it or the views that read it, `breaks_rules`, `confirm_required` when it holds records and `may_lose_data` is false.
        """
        async with self._change(project) as (tx, collections):
            old = _known(collections, name)
            only.check(etag_of(manifest.as_json(old)))
            _refuse_deletion(old, collections, await self._beside(tx, project))
            await views.refuse_use(tx, old)
            await (self._drop(tx, old, may_lose_data=may_lose_data) if old.view is None else views.drop(tx, old))
            await definitions.remove(tx, old)
            await self._announce(tx, project)
        await self._forget(project)

    async def found_project(self, tx: Transaction, project: Project) -> None:
        """Give a new project its `users` collection, in the transaction that makes the project."""
        users = manifest.users(project.schema)
        await store.run(tx, ddl.create(users, condition))
        await definitions.write(tx, users)
        await definitions.next_version(tx, project.schema)

    async def _beside(self, db: Queries, project: Project) -> Sequence[Guarded]:
        return [one for read in self.beside for one in await read(db, project)]

    async def _extensions(self, body: Mapping[str, object]) -> frozenset[str]:
        """The extensions that this change has use for and may use; made on first use, where the login may."""
        wanted = manifest.useful_extensions(body)
        return frozenset([name for name in wanted if await is_ready(self._db, name)])

    @asynccontextmanager
    async def _change(self, project: Project) -> AsyncIterator[tuple[Transaction, Mapping[str, Collection]]]:
        """The transaction of one change, alone in the project, and the definitions as they are stored now."""
        try:
            async with self._db.changing_schema(statement_timeout_s=_STATEMENT_TIMEOUT_S) as tx:
                yield tx, await definitions.held(tx, project.schema)
        except ConstraintViolated as error:
            # Counted first, under a lock against writers, so only conditions on renamed or new columns can come here.
            raise Conflict("Stored records stand against this change.", code="does_not_fit") from error

    async def _drop(self, tx: Transaction, old: Collection, *, may_lose_data: bool) -> None:
        await store.run(tx, [ddl.exclusive(old)])
        records = await store.count(tx, old)
        if records and not may_lose_data:
            detail = f"Collection {old.name!r} holds {records} records. Confirm their loss with ?confirm=data-loss."
            raise Conflict(detail, code="confirm_required", records=records)
        await store.run(tx, ddl.drop(old))
        await log.forget_collection(tx, old.schema, old.name)

    async def _alter(
        self,
        tx: Transaction,
        old: Collection,
        new: Collection,
        renames: Mapping[str, str],
        body: Mapping[str, object],
        *,
        may_lose_data: bool,
    ) -> None:
        await views.refuse_breaking(tx, old, ddl.touched(old, new, renames))
        statements = ddl.alter(old, new, renames, condition)
        questions = store.questions(old, new, renames, condition)
        if questions:
            _refuse_impact(await store.impact(tx, old, questions), new, body, may_lose_data=may_lose_data)
        await store.run(tx, statements)
        gone = [field.name for field in ddl.dropped(old, new, renames)]
        await log.forget_fields(tx, old.schema, old.name, gone=gone, renames=renames)
        if old.options.get("history") != new.options.get("history"):
            await log.keep_history(tx, old.schema, old.name, wanted="history" in new.options)

    async def _forget(self, project: Project) -> None:
        """What this server keeps of the project's schema; committed is committed, so a failure here is left to the poll."""
        await self._db.when_committed(partial(self._forget_now, project))

    async def _forget_now(self, project: Project) -> None:
        self._catalog.forget(str(project.id))
        with suppress(BaasError):
            await self._invalidations.catch_up()

    async def _save(self, tx: Transaction, project: Project, collection: Collection) -> int:
        await definitions.write(tx, collection)
        return await self._announce(tx, project)

    async def _announce(self, tx: Transaction, project: Project) -> int:
        version = await definitions.next_version(tx, project.schema)
        await announce(tx, KIND, str(project.id))
        return version


async def _changed(new: Collection, collections: Mapping[str, Collection]) -> Changed:
    return Changed(new, await _advice([new], {**collections, new.name: new}))


async def _advice(wanted: Sequence[Collection], collections: Mapping[str, Collection]) -> Sequence[Advice]:
    # Hundreds of collections take a second; others are served meanwhile.
    return await asyncio.to_thread(advise, wanted, collections)


def _refuse_new(new: Collection, collections: Mapping[str, Collection]) -> None:
    if new.name in collections:
        raise _taken(new.name)
    if len(collections) >= manifest.MAX_COLLECTIONS:
        raise Conflict(f"A project has at most {manifest.MAX_COLLECTIONS} collections.", code="too_many_collections")


def _known(collections: Mapping[str, Collection], name: str) -> Collection:
    found = collections.get(name)
    if found is None:
        raise NotFound("No such collection.", code="collection_not_found")
    return found


def _taken(name: str) -> Conflict:
    detail = f"There is a collection named {name!r}."
    return Conflict(detail, code="already_exists", errors=[Fault("/name", "already_exists", detail)])


def _refuse(
    old: Mapping[str, Collection],
    new: Collection,
    body: Mapping[str, object],
    faults: Sequence[Fault],
    beside: Sequence[Guarded],
) -> None:
    """Raise when the body has faults, or when it takes the meaning from expressions that it does not bring itself."""
    # Expressions over fields that are themselves wrong would only echo those faults.
    if any(fault.pointer.startswith("/fields") for fault in faults):
        raise Invalid("The collection is not right.", errors=faults)
    wrong, broken = check_expressions(old, {**old, new.name: new}, new.name, body, beside)
    if faults or wrong:
        raise Invalid("The collection is not right.", errors=[*faults, *wrong])
    _refuse_broken(broken)


def _refuse_broken(broken: Sequence[BrokenExpression]) -> None:
    if broken:
        places = ", ".join(str(one) for one in broken[:5])
        raise Conflict(
            f"This change would break {len(broken)} expression(s): {places}.",
            code="breaks_rules",
            hint="Change them first, or in the same request where they are of this collection.",
            broken=[one.as_json() for one in broken],
        )


def _refuse_deletion(old: Collection, collections: Mapping[str, Collection], beside: Sequence[Guarded]) -> None:
    if old.system:
        raise Conflict(f"Collection {old.name!r} belongs to the platform.", code="system_collection")
    left = {name: one for name, one in collections.items() if name != old.name}
    users = [name for name, one in left.items() if any(field.options.get("to") == old.name for field in one.fields)]
    if users:
        detail = f"Collections relate to {old.name!r}: {', '.join(users)}. Remove those fields first."
        raise Conflict(detail, code="in_use", collections=users)
    _refuse_broken(check_expressions(collections, left, "", {}, beside)[1])


def _refuse_impact(found: Impact, new: Collection, body: Mapping[str, object], *, may_lose_data: bool) -> None:
    faults = []
    for name, number in found.missing.items():
        if number:
            words = f"{counted(number, 'record has', 'records have')} no value. Give each one first, or a new field a default."
            faults.append(_stored_fault(body, name, "missing_values", words, number))
    for name, number in found.unfit.items():
        if number:
            words = f"{counted(number, 'record holds', 'records hold')} a value outside the new limits."
            faults.append(_stored_fault(body, name, "outside_limits", words, number))
    for name, number in found.too_long.items():
        if number:
            words = f"{counted(number, 'record holds', 'records hold')} a text too long for an index."
            faults.append(_stored_fault(body, name, "too_long", words, number))
    for names, number in found.duplicates.items():
        if number:
            words = f"Of {', '.join(names)} {counted(number, 'value is', 'values are')} held by more than one record."
            faults.append(_stored_fault(body, names[0], "not_unique", words, number))
    if faults:
        raise Conflict("Stored records stand against this change.", code="does_not_fit", errors=faults)
    losses = {name: number for name, number in found.lost.items() if number}
    if losses and not may_lose_data:
        words = ", ".join(f"{name} ({counted(number, 'value', 'values')})" for name, number in losses.items())
        detail = f"Collection {new.name!r} would lose {words}. Confirm the loss with ?confirm=data-loss."
        raise Conflict(detail, code="confirm_required", records=found.records, fields=losses)


def _stored_fault(body: Mapping[str, object], name: str, code: str, words: str, number: int) -> Fault:
    return Fault(manifest.place(body, name), code, words, {"field": name, "count": number})
