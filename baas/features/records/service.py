"""Records: list, read and write under the rules of their collection.

Each call is one statement with the rule inside it. Only when that statement touches nothing is a second one asked, which tells
the refusals apart (`refusals.py`).
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from uuid import UUID

from baas.base.clock import Clock
from baas.base.errors import BadRequest, Conflict, Fault, Forbidden, Invalid, NotFound, Unauthenticated, Unavailable, did_you_mean
from baas.base.ids import uuid7
from baas.base.principal import Principal
from baas.base.project import Project
from baas.base.settings import Settings
from baas.engines.query import nearness
from baas.engines.query.asking import Asking, scope_of
from baas.engines.query.compile import Compiler
from baas.engines.query.expand import BadFilter, Node, check_records
from baas.engines.query.export import Export, Format, ending
from baas.engines.query.grouping import Asked, BadAggregate, Grouping
from baas.engines.query.grouping import read as read_grouping
from baas.engines.query.reach import BadName, Way
from baas.engines.query.search import best_first, sought
from baas.engines.query.table import Table
from baas.engines.query.tree import (
    AsOf,
    Delete,
    Expand,
    Filter,
    Get,
    Insert,
    InsertMany,
    List,
    Near,
    Put,
    Search,
    Update,
    Versions,
    ordered,
)
from baas.engines.rules.types import RuleError
from baas.engines.schema.catalog import Catalog, on_fresh_definitions
from baas.engines.schema.collection import Action
from baas.engines.schema.validate import Unfit, immutable_names
from baas.features.auth.model import auth_in_rules
from baas.features.auth.service import Auth
from baas.features.records import refusals
from baas.features.records.aggregates import NO_ZONE
from baas.features.records.bulk import Bulk
from baas.features.records.cursors import query_of, versions_of
from baas.features.records.demands import Demands
from baas.features.records.histories import check_old, check_old_list, check_since
from baas.features.records.limits import list_limit_s, most_cost, too_slow
from baas.features.records.model import ANY, Followed, Groups, History, Page, Precondition, Stored, Wanted
from baas.features.records.query import wanted_by_body
from baas.features.records.store import Lines, RecordStore
from baas.features.records.upserts import Upserted, Upserts
from baas.features.records.writing import Places, all_new_values, locks, refused
from baas.features.records.writing import changed_values as changed_values  # noqa: PLC0414  other rooms find it here
from baas.features.records.writing import new_values as new_values  # noqa: PLC0414  other rooms find it here
from baas.infra.db.pool import Database
from baas.infra.http.page import Cursors

Body = Mapping[str, object]
_TRIES = 3


LastKey = tuple[str | None, ...]


class Records:
    """Reads and writes records as the principal's rules allow."""

    def __init__(  # noqa: PLR0917  the parts it is made of, in the order in which they are made
        self, db: Database, catalog: Catalog, compiler: Compiler, auth: Auth, clock: Clock, settings: Settings
    ) -> None:
        self._store = RecordStore(db)
        self._catalog = catalog
        self._compiler = compiler
        self._auth = auth
        self._clock = clock
        self._demands = Demands(compiler, self._store)
        self._places = Places(self._store)
        self._bulk = Bulk(self._store, compiler, self._ask_for_many)
        self._upserts = Upserts(self._store, compiler, self._ask_to_upsert)
        self._export_s, self._export_idle_s = settings.export_timeout_s, settings.export_idle_timeout_s
        self._cursors = Cursors(settings.secret_key.reveal().encode())
        self._via = "rest"

    def through(self, via: str) -> "Records":
        """The same for another door: what rules read as `request.via`."""
        other = copy(self)
        other._via = via
        other._bulk = Bulk(self._store, self._compiler, other._ask_for_many)
        other._upserts = Upserts(self._store, self._compiler, other._ask_to_upsert)
        return other

    @on_fresh_definitions
    async def list(self, project: Project, principal: Principal, collection: str, wanted: Wanted) -> Page:
        """One page of the records that the list rule shows.

        Raises NotFound for no such collection, Forbidden or Unauthenticated when no record can be shown, BadRequest
        (`bad_filter`, `bad_sort`, `bad_fields`, `bad_cursor`, `bad_search`, `bad_near`), Invalid over a limit.

        A search that finds nothing is asked once more with tolerance for typos, where the collection has an index for that.
        """
        definitions = await self._catalog.stamp(project)  # before the rules are read: who follows from here is shown later ones
        table = await self._table(project, principal, collection)
        asking = await self._asking(project, principal, table, "list")
        _admit_list(table, asking)
        if wanted.as_of is not None:
            check_old_list(wanted)
            check_since(await self._store.history_since(table), wanted.as_of)
        asking = await self._with_filter(project, table, asking, wanted)
        near = None if wanted.near is None else nearness.read(table, _open_names(table, asking), wanted.near)
        for search in (searches := sought(table, wanted.search)):
            last = search is searches[-1]
            try:
                page = await self._page(project, table, asking, wanted, search, near)
            except BadRequest as error:
                if last or error.code != "bad_cursor":
                    raise
                continue  # the cursor is of the search with tolerance for typos
            if last or page.items or wanted.cursor is not None:
                return page if page.feed is None else page._replace(feed=f"{page.feed}.{definitions}")
        raise AssertionError("there is a last one")

    async def _page(  # noqa: PLR0917  what a page depends on
        self, project: Project, table: Table, asking: Asking, wanted: Wanted, search: Search | None, near: Near | None
    ) -> Page:
        principal = asking.principal
        keys = ordered(wanted.sort) if wanted.sort else best_first(search, near)
        with _in_words(wanted.expand_text):
            found = self._compiler.ways(table, keys, asking)
            nodes = self._compiler.nodes(table, wanted.expand, asking) if wanted.expand else ()
        asking = await self._with_records_beside(project, asking, wanted.expand, nodes, found, around=wanted.limit)
        query = query_of(project, principal, keys, found, wanted, (search, near))
        tree = List(
            sort=keys,
            limit=wanted.limit,
            filter=None if wanted.filter is None else Filter(wanted.filter, wanted.vars),
            after=None if wanted.cursor is None else self._cursors.open(wanted.cursor, query),
            fields=_projection(table, asking, wanted.fields),
            count=wanted.count,
            expand=wanted.expand,
            search=search,
            near=near,
            as_of=None if wanted.as_of is None else AsOf(wanted.as_of),
        )
        with too_slow(list_limit_s(project, asking), asked=_asks_for_more(wanted)):
            page, last = await self._nearest_page(project, table, asking, tree) or await self._ask(project, table, asking, tree)
        return page if last is None else page._replace(next_cursor=self._cursors.seal(last, query))

    async def _ask(self, project: Project, table: Table, asking: Asking, tree: List) -> tuple[Page, LastKey | None]:
        """A page without its cursor, and the sort keys of its last record when there are more."""
        try:
            statement = self._compiler.list(table, tree, asking)
        except RuleError as error:  # of the filter: with these values it would be too large a statement
            raise refusals.bad_filter(error) from None
        await self._store.refuse_above(most_cost(project, asking.principal), statement)
        return await self._store.page(statement, len(tree.sort), list_limit_s(project, asking))

    async def _nearest_page(
        self, project: Project, table: Table, asking: Asking, tree: List
    ) -> tuple[Page, LastKey | None] | None:
        """The same of the nearest places, without measuring all of them; None where it cannot be had so.

        An index finds enough records to know a circle that holds the page; what is in the circle is then put in order. A page
        that is not full, since records have gone meanwhile, is asked for once more, without the circle.
        """
        if tree.near is None or not nearness.has_ring(table, tree):
            return None
        try:
            statement = self._compiler.ring(table, tree, asking)
        except RuleError as error:
            raise refusals.bad_filter(error) from None
        await self._store.refuse_above(most_cost(project, asking.principal), statement)
        metres = await self._store.ring(statement, list_limit_s(project, asking))
        if metres is None:
            return None
        page, last = await self._ask(project, table, asking, replace(tree, near=replace(tree.near, within=metres)))
        return None if last is None else (page, last)

    async def followed(self, project: Project, principal: Principal, collection: str, wanted: Wanted) -> Followed:
        """A list that is not read but followed: whether it may be asked for, and of what. Raises as `list` does, and Invalid
        (`not_followed`) for a view, whose rows change without a change of their own.
        """
        table = await self._table(project, principal, collection)
        if table.collection.view is not None:
            raise Invalid("A view has no changes of its own to follow.", code="not_followed")
        asking = await self._asking(project, principal, table, "list")
        _admit_list(table, asking)
        asking = await self._with_filter(project, table, asking, wanted)
        with _in_words(wanted.expand_text):
            nodes = self._compiler.nodes(table, wanted.expand, asking) if wanted.expand else ()
        asking = await self._with_records_beside(project, asking, wanted.expand, nodes, (), around=wanted.limit)
        where = None if wanted.filter is None else Filter(wanted.filter, wanted.vars)
        tree = List(ordered(()), wanted.limit, where, fields=_projection(table, asking, wanted.fields), expand=wanted.expand)
        rule = None if where is None else self._compiler.check_filter(table, where.source, asking)
        return Followed(table, tree, asking, rule, nodes)

    @staticmethod
    def wanted(body: Body) -> Wanted:
        """A list as a JSON body asks for it. Raises Invalid with a pointer to every fault, BadRequest."""
        return wanted_by_body(dict(body))

    @on_fresh_definitions
    async def aggregate(self, project: Project, principal: Principal, collection: str, asked: Asked) -> Groups:
        """Groups of the records that the list rule shows, and figures over them.

        Raises as `list` does, and BadRequest (`bad_aggregate`) with every fault.
        """
        table = await self._table(project, principal, collection)
        asking = await self._asking(project, principal, table, "list")
        _admit_list(table, asking)
        if asked.time_zone is not None and not await self._store.knows_zone(asked.time_zone):
            raise Invalid("The aggregate is wrong.", errors=[NO_ZONE])
        try:
            read = read_grouping(asked, table, asking)
        except BadAggregate as error:
            raise refusals.bad_aggregate(error) from None
        search, near = _sought_alone(table, asking, asked)
        grouping = replace(read, search=search, near=near)
        asking = await self._with_filter(project, table, asking, asked, beside=grouping)
        try:
            statement = self._compiler.aggregate(table, grouping, asking)
        except RuleError as error:
            raise refusals.bad_filter(error) from None
        await self._store.refuse_above(most_cost(project, principal), statement)
        limit_s = list_limit_s(project, asking)
        with too_slow(limit_s, asked=True):
            return await self._store.groups(statement, limit_s)

    @on_fresh_definitions
    async def export(self, project: Project, principal: Principal, collection: str, wanted: Wanted, form: Format) -> Lines:
        """Every record that the list rule shows, as lines of a file. Raises as `list` does, before the first line."""
        table = await self._table(project, principal, collection)
        asking = await self._asking(project, principal, table, "list")
        _admit_list(table, asking)
        asking = await self._with_filter(project, table, asking, wanted)
        keys = ordered(wanted.sort)
        with _in_words(None):
            found = self._compiler.ways(table, keys, asking)
        asking = await self._with_records_beside(project, asking, (), (), found, around=0)
        where = None if wanted.filter is None else Filter(wanted.filter, wanted.vars)
        tree = Export(form, keys, where, _projection(table, asking, wanted.fields), *_sought_alone(table, asking, wanted))
        try:
            statement, header = self._compiler.export(table, tree, asking)
        except RuleError as error:
            raise refusals.bad_filter(error) from None
        await self._store.refuse_above(most_cost(project, principal), statement)
        return await self._store.lines(
            statement, header=header, ending=ending(form), total_s=self._export_s, idle_s=self._export_idle_s
        )

    @on_fresh_definitions
    async def get(  # noqa: PLR0917  what one record is asked by
        self,
        project: Project,
        principal: Principal,
        collection: str,
        record: str,
        fields: Sequence[str] | None = None,
        expand: tuple[Expand, ...] = (),
        expand_text: str | None = None,
        as_of: AsOf | None = None,
    ) -> Stored:
        """One record. Raises NotFound when it is absent or invisible, Forbidden when the view rule is locked, and as `list`."""
        table = await self._table(project, principal, collection)
        asking = await self._asking(project, principal, table, "view")
        _refuse_locked(table, asking, "view")
        if expand:
            with _in_words(expand_text):
                nodes = self._compiler.nodes(table, expand, asking)
            asking = await self._with_records_beside(project, asking, expand, nodes, (), around=1)
        tree = Get(_record_id(record), _projection(table, asking, fields), expand, as_of)
        if as_of is not None:
            check_old(expand)
            check_since(await self._store.history_since(table), as_of.moment)
        if asking.judge(table, "view").verdict is False:
            raise refusals.absent()
        stored = await self._store.record(self._compiler.get(table, tree, asking), asking.limit_s)
        if stored is None:
            raise refusals.absent()
        return stored

    @on_fresh_definitions
    async def history(  # noqa: PLR0917  whose, and which part
        self, project: Project, principal: Principal, collection: str, record: str, limit: int, cursor: str | None
    ) -> History:
        """The changes of a record, newest first, each as the caller may see it today; of a deleted record too.

        Raises as `get` does (NotFound also when no change is kept), BadRequest (`history_off`, `bad_cursor`).
        """
        table = await self._table(project, principal, collection)
        asking = await self._asking(project, principal, table, "view")
        _refuse_locked(table, asking, "view")
        check_since(await self._store.history_since(table), None)
        record_id = _record_id(record)
        query = versions_of(project, principal, table.name, record_id)
        after = None if cursor is None else int(self._cursors.open(cursor, query)[0] or 0)
        statement = self._compiler.versions(table, Versions(record_id, limit, after), asking)
        items, last = await self._store.versions(statement, limit)
        if not items and cursor is None:
            raise refusals.absent()
        return History(",".join(items), None if last is None else self._cursors.seal((str(last),), query))

    @on_fresh_definitions
    async def create(self, project: Project, principal: Principal, collection: str, body: Body) -> Stored:
        """A new record from a body. Raises Invalid with every fault, Forbidden when the rule says no, Conflict."""
        table = await self._table(project, principal, collection)
        asking = await self._asking(project, principal, table, "create", sent=body)
        _refuse_locked(table, asking, "create")
        try:
            values = new_values(table, asking, body)
        except Unfit as error:
            raise await self._demands.with_faults_of_new(table, asking, error) from None
        values.setdefault("id", uuid7())
        tree = Insert(values)
        stored = None
        if asking.judge(table, "create").verdict is not False:
            with refused(table, asking):
                stored = await self._store.change(
                    self._compiler.insert(table, tree, asking), asking.limit_s, locks(table, asking, "create")
                )
        if stored is None:
            raise await self._why_not_inserted(table, tree, asking)
        return Stored(stored.body, stored.rev, stored.seen, True, str(values["id"]))

    @on_fresh_definitions
    async def create_many(self, project: Project, principal: Principal, collection: str, bodies: Sequence[object]) -> str:
        """New records, all or none; their JSON texts in the order given, with commas between. Raises as `create` does.

        At most 1,000. Where the create rule looks at `input`, all bodies must have the same keys, because it is asked once.
        """
        table = await self._table(project, principal, collection)
        first = bodies[0] if bodies and isinstance(bodies[0], dict) else {}
        asking = await self._asking(project, principal, table, "create", sent=first)
        _refuse_locked(table, asking, "create")
        if not bodies:
            return ""
        tree = InsertMany(all_new_values(table, asking, bodies))
        items = None
        if asking.judge(table, "create").verdict is not False:
            try:
                with refused(table, asking):
                    items = await self._store.items(
                        self._compiler.insert_many(table, tree, asking), asking.limit_s, locks(table, asking, "create")
                    )
            except (Conflict, Invalid) as error:
                raise await self._places.told(table, asking, tree.rows, error) from None
        if items is None:
            raise await self._why_not_inserted(table, tree, asking)
        return items

    @on_fresh_definitions
    async def patch(  # noqa: PLR0917  where, what, and when
        self, project: Project, principal: Principal, collection: str, record: str, body: Body, only: Precondition = ANY
    ) -> Stored:
        """Change some fields of a record as far as it is as `only` says. Raises NotFound, Forbidden, Invalid, Conflict,
        PreconditionFailed, PreconditionRequired, and BadRequest (`bad_filter`).
        """
        table = await self._table(project, principal, collection)
        asking = await self._asking_only(project, principal, table, "update", where=only.where, sent=body)
        _refuse_locked(table, asking, "update")
        refusals.demand_precondition(table, given=only.given)
        record_id = _record_id(record)
        try:
            tree = Update(record_id, changed_values(table, asking, body), only.revs, only.where)
        except Unfit as error:
            raise await self._demands.with_faults_of_change(table, asking, record_id, error) from None
        if not tree.values:
            return await self._unchanged(table, asking, tree)
        for _ in range(_TRIES):
            stored = None
            if asking.judge(table, "update").verdict is not False:
                with refused(table, asking), refusals.in_filter():
                    stored = await self._store.change(
                        self._compiler.update(table, tree, asking), asking.limit_s, locks(table, asking, "update")
                    )
            if stored is not None:
                return stored
            with refusals.in_filter():
                why = await self._store.why(self._compiler.why_not_changed(table, tree, asking))
            names = self._compiler.reference_names(table, tree.values, asking)
            refusals.of_change("update", why, tree, names, self._demands.unmet_by_change(table, asking, tree, why))
        raise _moving_target()

    @on_fresh_definitions
    async def put(
        self,
        project: Project,
        principal: Principal,
        collection: str,
        record: str,
        body: Body,
        *,
        only: Precondition = ANY,
        only_new: bool = False,
    ) -> Stored:
        """Create the record under this id, or replace it: a field that the body leaves out gets its default or null.

        `only_new` refuses to replace, a precondition to create, its revision anything but that one. What the caller may not
        write (hidden, readonly) stays as it is. Raises as `patch` and `create` do.
        """
        table = await self._table(project, principal, collection)
        asking = await self._asking(project, principal, table, "update", "create", sent=body)
        record_id = _record_id(record)
        _refuse_locked(table, asking, "create")
        if not only_new:
            _refuse_locked(table, asking, "update")
        refusals.demand_precondition(table, given=only.given or only_new)
        body = _body_under_id(body, record_id)
        values = new_values(table, asking, body) | {"id": str(record_id)}
        if only_new:
            return await self._put_new(table, Insert(values), asking)
        replaces, fixed = _written_by_put(table, asking, body)
        tree = Put(record_id, values, replaces, fixed, only.revs, only.given)
        for _ in range(_TRIES):
            try:
                with refused(table, asking):
                    stored = await self._store.change(
                        self._compiler.put(table, tree, asking), asking.limit_s, locks(table, asking, "update", "create")
                    )
            except refusals.IdTaken:
                continue  # made by somebody else a moment ago: this time it is there to be replaced
            if stored is not None:
                return Stored(stored.body, stored.rev, stored.seen, stored.created, str(record_id))
            why = await self._store.why(self._compiler.why_not_put(table, tree, asking))
            names = self._compiler.reference_names(table, table.columns, asking)
            refusals.of_put(why, tree, names, self._demands.unmet_by_put(table, asking, tree, why))
        raise _moving_target()

    @on_fresh_definitions
    async def delete(
        self, project: Project, principal: Principal, collection: str, record: str, only: Precondition = ANY
    ) -> None:
        """Remove a record as far as it is as `only` says. Raises as `patch`, and Conflict when others link to it."""
        table = await self._table(project, principal, collection)
        asking = await self._asking_only(project, principal, table, "delete", where=only.where)
        _refuse_locked(table, asking, "delete")
        refusals.demand_precondition(table, given=only.given)
        tree = Delete(_record_id(record), only.revs, only.where)
        for _ in range(_TRIES):
            if asking.judge(table, "delete").verdict is not False:
                with refused(table, asking, "delete"), refusals.in_filter():
                    if await self._store.touched(
                        self._compiler.delete(table, tree, asking), asking.limit_s, locks(table, asking, "delete")
                    ):
                        return
            with refusals.in_filter():
                why = await self._store.why(self._compiler.why_not_changed(table, tree, asking))
            refusals.of_change("delete", why, tree, ())
        raise _moving_target()

    # Many at once.

    @on_fresh_definitions
    async def update_many(self, project: Project, principal: Principal, collection: str, body: Body) -> int:
        """Change every record that a filter shows and the rule admits: see `bulk.py`. How many."""
        return await self._bulk.update(project, principal, collection, body)

    @on_fresh_definitions
    async def delete_many(self, project: Project, principal: Principal, collection: str, body: Body) -> int:
        """Delete them. How many."""
        return await self._bulk.delete(project, principal, collection, body)

    @on_fresh_definitions
    async def upsert(self, project: Project, principal: Principal, collection: str, body: Body) -> Upserted:
        """Create records, or change those with the same unique key, all or none: see `upserts.py`."""
        return await self._upserts.upsert(project, principal, collection, body)

    async def _ask_to_upsert(self, project: Project, principal: Principal, collection: str, sent: Body) -> tuple[Table, Asking]:
        table = await self._table(project, principal, collection)
        asking = await self._asking(project, principal, table, "update", "create", sent=sent)
        _refuse_locked(table, asking, "create")
        _refuse_locked(table, asking, "update")
        refusals.demand_precondition(table, given=False)
        return table, asking

    async def _ask_for_many(  # noqa: PLR0917  who asks, for what
        self, project: Project, principal: Principal, collection: str, action: Action, where: Filter, sent: Body | None
    ) -> tuple[Table, Asking]:
        table = await self._table(project, principal, collection)
        _refuse_locked(table, await self._facts(project, principal, whole=False), action)
        asking = await self._asking_only(project, principal, table, "list", action, where=where, sent=sent)
        _admit_list(table, asking)
        if asking.judge(table, action).verdict is False:
            raise refusals.denied(action)
        return table, asking

    # Who asks, and what.

    async def _table(self, project: Project, principal: Principal, name: str) -> Table:
        scope = scope_of(name)
        if principal.kind == "key" and not principal.may(scope):
            raise Forbidden(f"This key lacks the scope {scope!r}.", code="scope_missing", scope=scope)
        collections = await self._catalog.collections(project)
        table = self._compiler.table(collections, name)
        if table is None:
            await self._catalog.get(project, name)  # another server may have made it a moment ago; raises when not
            table = self._compiler.table(await self._catalog.collections(project), name)
        if table is None:
            raise NotFound("No such collection.", code="collection_not_found")
        return table

    async def _asking(
        self, project: Project, principal: Principal, table: Table, *actions: Action, sent: Body | None = None
    ) -> Asking:
        """The facts of this call; the user's record is fetched only when a rule of these actions looks at it."""
        whole = principal.kind == "user" and table.needs_auth_record(*actions)
        return await self._facts(project, principal, whole=whole, sent=sent)

    async def _facts(self, project: Project, principal: Principal, *, whole: bool, sent: Body | None = None) -> Asking:
        record = None
        if whole and principal.kind == "user":
            record = await self._auth.record(project, UUID(principal.id))
            if record is None:
                raise Unauthenticated("The account of this credential is gone.")
        auth = auth_in_rules(principal, record)
        limit_s = project.settings.limits.statement_timeout_ms / 1000
        return Asking(principal, now=self._clock.now(), via=self._via, auth=auth, sent=sent, limit_s=limit_s)

    async def _asking_only(
        self,
        project: Project,
        principal: Principal,
        table: Table,
        *actions: Action,
        where: Filter | None,
        sent: Body | None = None,
    ) -> Asking:
        """The facts of a change, and those that a client's condition on the stored record needs. Raises BadRequest."""
        asking = await self._asking(project, principal, table, *actions, sent=sent)
        if where is None:
            return asking
        with refusals.in_filter():
            rule = self._compiler.check_filter(table, where.source, asking)
        refusals.check_vars((rule,), where.vars)
        needed = rule.needs_auth_record or table.needs_auth_record_beside(rule)
        if needed and principal.kind == "user" and not asking.has_record:
            return await self._facts(project, principal, whole=True, sent=sent)
        return asking

    async def _with_filter(
        self, project: Project, table: Table, asking: Asking, wanted: Wanted | Asked, *, beside: Grouping | None = None
    ) -> Asking:
        """The facts that the filter and what stands `beside` it need too.

        Raises BadRequest for a wrong filter, and unless `vars` has exactly the names that are used.
        """
        rules = [] if beside is None or beside.having is None else [beside.having]
        needed = beside is not None and beside.needs_auth_record()
        if wanted.filter is not None:
            try:
                rule = self._compiler.check_filter(table, wanted.filter, asking)
            except RuleError as error:
                raise refusals.bad_filter(error) from None
            rules.append(rule)
            needed = needed or rule.needs_auth_record or table.needs_auth_record_beside(rule)
        refusals.check_vars(rules, wanted.vars)
        if needed and asking.principal.kind == "user" and not table.needs_auth_record("list"):
            return await self._facts(project, asking.principal, whole=True)
        return asking

    async def _with_records_beside(
        self,
        project: Project,
        asking: Asking,
        expand: tuple[Expand, ...],
        nodes: tuple[Node, ...],
        found: tuple[Way, ...],
        *,
        around: int,
    ) -> Asking:
        """The facts that expansions and sort keys need too. Raises Invalid when so many records `around` them are too many."""
        if nodes:
            check_records(nodes, around)
            _check_values(nodes, expand)
        if asking.principal.kind != "user" or asking.has_record:
            return asking
        if any(way.needs_auth_record() for way in found) or any(one.needs_auth_record() for node in nodes for one in node.walk()):
            return await self._facts(project, asking.principal, whole=True)
        return asking

    async def _unchanged(self, table: Table, asking: Asking, tree: Update) -> Stored:
        """The answer to a change of nothing: judged like any other, and no change, so neither a revision nor in the log."""
        with refusals.in_filter():
            why = await self._store.why(self._compiler.why_not_changed(table, tree, asking))
        refusals.of_change("update", why, tree, ())
        stored = None
        if asking.judge(table, "view").verdict is not False:
            stored = await self._store.record(self._compiler.get(table, Get(tree.id), asking), asking.limit_s)
        return stored or Stored(f'{{"id":"{tree.id}"}}', None, seen=False)

    async def _put_new(self, table: Table, tree: Insert, asking: Asking) -> Stored:
        stored = None
        if asking.judge(table, "create").verdict is not False:
            try:
                with refused(table, asking):
                    stored = await self._store.change(
                        self._compiler.insert(table, tree, asking), asking.limit_s, locks(table, asking, "create")
                    )
            except refusals.IdTaken:
                raise refusals.exists_already() from None
        if stored is None:
            raise await self._why_not_inserted(table, tree, asking)
        return Stored(stored.body, stored.rev, stored.seen, True, str(tree.values["id"]))

    async def _why_not_inserted(self, table: Table, tree: Insert | InsertMany, asking: Asking) -> Exception:
        if asking.judge(table, "create").verdict is False:
            return refusals.denied("create")
        why = await self._store.why(self._compiler.why_not_inserted(table, tree, asking))
        unmet = self._demands.unmet_by_new(table, asking, tree, why)
        names = self._compiler.reference_names(table, table.columns, asking)
        return refusals.of_insert(why, names, unmet, many=isinstance(tree, InsertMany))


class _in_words:  # noqa: N801  reads as a word at its use
    """A wrong name or filter leaves the block as an answer; `expand` is the text in which the name may stand."""

    __slots__ = ("_expand",)

    def __init__(self, expand: str | None) -> None:
        self._expand = expand

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, BadName):
            raise refusals.bad_name(error, self._expand) from None
        if isinstance(error, BadFilter):
            raise refusals.bad_expand_filter(error) from None


def _check_values(nodes: tuple[Node, ...], expand: tuple[Expand, ...]) -> None:
    """Raises BadRequest unless each filter's `vars` have exactly its names."""
    for node, one in zip(nodes, expand, strict=True):
        if node.filter is not None and one.filter is not None:
            refusals.check_vars((node.filter,), one.filter.vars)
        _check_values(node.nodes, one.expand)


def _asks_for_more(wanted: Wanted) -> bool:
    """More than a plain page, which takes as long as it takes by no fault of the caller's."""
    asks = wanted.filter or wanted.sort or wanted.expand or wanted.search is not None or wanted.near is not None
    return bool(asks or wanted.count != "none")


def _sought_alone(table: Table, asking: Asking, asked: Wanted | Asked) -> tuple[Search | None, Near | None]:
    """What is searched where only which records count: the words as they were typed, and places within a distance."""
    near = None if asked.near is None else nearness.read(table, _open_names(table, asking), asked.near)
    if near is not None and near.within is None:
        detail = "Here near says only which records are meant, not their order: it needs a place and `within`."
        raise BadRequest(detail, code="bad_near", parameter="near")
    return sought(table, asked.search)[0], near


def _open_names(table: Table, asking: Asking) -> tuple[str, ...]:
    """The fields that this caller may read on every record."""
    names = table.names(masked=asking.masked)
    return tuple(name for name in names if asking.may_read(table, name).verdict is True)


def _record_id(text: str) -> UUID:
    """The id in a path; what is no UUID in its usual form names no record."""
    try:
        found = UUID(text)
    except ValueError:
        raise refusals.absent() from None
    if str(found) != text.lower():
        raise refusals.absent()
    return found


def _refuse_locked(table: Table, asking: Asking, action: Action) -> None:
    if table.collection.view is not None and action not in ("list", "view"):
        raise refusals.read_only(table.name)
    if asking.judged and table.rule(action) is None:
        raise refusals.locked(action)


def _admit_list(table: Table, asking: Asking) -> None:
    """A list that can show nothing to this caller says so, instead of an empty page that looks like no data."""
    _refuse_locked(table, asking, "list")
    if asking.judge(table, "list").verdict is False:
        if asking.principal.kind == "anonymous":
            raise Unauthenticated("This list is not for anonymous callers.")
        raise refusals.denied("list")


def _projection(table: Table, asking: Asking, fields: Sequence[str] | None) -> tuple[str, ...] | None:
    if fields is None:
        return None
    names = table.names(masked=asking.masked)
    for name in fields:
        if name not in names:
            hint = did_you_mean(name, names)
            words = f"There is no field {name!r}." if name else "A name is empty."
            raise BadRequest(words, code="bad_fields", hint=hint, parameter="fields")
    return tuple(dict.fromkeys(fields))


def _body_under_id(body: Body, record_id: UUID) -> dict[str, object]:
    """The body without its id, which may only repeat that of the path."""
    rest = dict(body)
    given = rest.pop("id", None)
    if given is not None and (not isinstance(given, str) or given.lower() != str(record_id)):
        message = "Must be the id in the path."
        raise Invalid(message, errors=[Fault("/id", "other_id", message)])
    return rest


def _written_by_put(table: Table, asking: Asking, body: Body) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a put replaces in a stored record, and what it names but must find as it is."""
    immutable = immutable_names(table.collection, privileged=not asking.masked)
    fields = table.collection.fields
    if asking.masked:
        fields = tuple(field for field in fields if not (field.hidden or field.readonly or field.system))
    replaces = tuple(field.name for field in fields if field.name not in immutable)
    return replaces, tuple(field.name for field in fields if field.name in immutable and field.name in body)


def _moving_target() -> Unavailable:
    return Unavailable("The record was changing too fast; try again.", code="busy")
