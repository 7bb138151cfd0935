"""The one compiler: what is asked + who asks + the rules -> one statement. Every row that leaves the product is selected here.

Text is made once per shape (collection version, operation, fields, what the rules fold to, filter, sort, …) and kept; for a
shape that is known only the values are read. Each method returns a `Statement` whose columns its docstring names.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Literal

from baas.engines.query import history, page
from baas.engines.query.aggregate import Aggregate
from baas.engines.query.answer import Beside, Shown, shown
from baas.engines.query.asking import ALWAYS, SIGNED, Asking, Judgement
from baas.engines.query.crowd import Crowd
from baas.engines.query.expand import Node, bounded, expanded, find_nodes
from baas.engines.query.export import Export, header, line
from baas.engines.query.grouping import Grouping
from baas.engines.query.images import pictures
from baas.engines.query.nearness import DISTANCE, Nearness, Told
from baas.engines.query.order import Key, Order, order_of, shape_of, ways
from baas.engines.query.reach import Way
from baas.engines.query.references import Reference, references
from baas.engines.query.rows import RowsOf, clients_rows, rows, sharing
from baas.engines.query.search import Found
from baas.engines.query.table import Column, Table
from baas.engines.query.text import Kept, Slot, Template
from baas.engines.query.tree import (
    Count,
    Delete,
    Expand,
    Filter,
    Get,
    Insert,
    InsertMany,
    List,
    Put,
    SortKey,
    Update,
    Values,
    Versions,
)
from baas.engines.query.validations import new_row, validations
from baas.engines.query.written import Demanded, Written, hole
from baas.engines.rules.rule import Rule
from baas.engines.schema.collection import Action, Collection
from baas.engines.schema.fields.base import CASTS, Cast
from baas.infra.db.sql import Sql, Statement, ident, join, literal, sql

ESTIMATE_AT_MOST = 10_000
"""`count: estimate` counts no further; this total means that many or more."""
_ID_ONLY = sql("json_build_object('id', r.id)::text")
_REVISION = "the revision it must have"  # a name that no column has


class Compiler:
    """Makes statements and keeps their text; holds nothing of a request, so one serves the whole process."""

    def __init__(self, *, texts: int = 2000, filters: int = 500, tables: int = 4000) -> None:
        self._texts: Kept[Template] = Kept(texts)
        # Clients choose what is expanded, and the texts are long: they have a place of their own, where they push out no others.
        self._expanded: Kept[Template] = Kept(filters)
        # Clients write filters, so whoever wants can fill this: few are kept, and a lost one costs a hundred microseconds.
        self._filters: Kept[Rule] = Kept(filters)
        self._nodes: Kept[tuple[Node, ...]] = Kept(filters)
        self._ways: Kept[tuple[Way, ...]] = Kept(filters)
        self._crowds: Kept[Crowd] = Kept(filters)
        self._tables: Kept[Table] = Kept(tables)

    def table(self, collections: Mapping[str, Collection], name: str) -> Table | None:
        """The collection of this name as the compiler sees it, None when the project has none."""
        collection = collections.get(name)
        if collection is None:
            return None
        key = (collection.schema, collection.version, name)
        return self._tables.get(key, lambda: Table(collection, collections, lambda other: self.table(collections, other)))

    def statement_of(self, text: str) -> tuple[str, Table] | None:
        """What a kept text does, and on which collection. It looks through all of them: for the log, not for requests."""
        kept = (*self._texts.items(), *self._expanded.items())
        keys = (key for key, template in kept if template.text == text and isinstance(key, tuple))
        key = next(keys, ())
        tables = (table for table_key, table in self._tables.items() if table_key in key)
        table = next(tables, None)
        return None if table is None else (str(key[0]), table)

    def check_filter(self, table: Table, source: str, asking: Asking) -> Rule:
        """A client's filter over the fields that exist for this caller; raises RuleError.

        Where a field of a record is not readable for him, what it stands in is neither true nor false.
        """
        masked = asking.masked
        return self._filters.get((table.key, masked, source), lambda: table.filter(source, masked=masked))

    def nodes(self, table: Table, expand: tuple[Expand, ...], asking: Asking) -> tuple[Node, ...]:
        """The expansions with their names looked up; raises BadName and BadFilter."""
        key = (table.key, asking.masked, asking.judged, expand)
        return self._nodes.get(key, lambda: find_nodes(table, expand, asking, self.check_filter))

    def ways(self, table: Table, keys: tuple[SortKey, ...], asking: Asking) -> tuple[Way, ...]:
        """Where sort keys lead; raises BadName."""
        key = (table.key, asking.masked, asking.judged, keys)
        return self._ways.get(key, lambda: ways(table, keys, asking))

    def get(self, table: Table, tree: Get, asking: Asking) -> Statement:
        """`body` (JSON text) and `rev` of one record, no row when it is absent or invisible."""
        view, show = asking.judge(table, "view"), self._shown(table, tree, asking)

        def make() -> Template:
            known = [] if tree.as_of is None else [history.seen_now(table, view)]
            conditions = all_hold([sql("r.id = {}::uuid", Slot("id")), *known], (view, rows(table, record="r")))
            rev = sql("r.rev") if "rev" in table.columns else sql("null::int8 as rev")
            source = table.sql if tree.as_of is None else history.state(table, tree.as_of)
            text = sql("select {} as body, {} from {} r where {}", show.json("r"), rev, source, conditions)
            return Template(text, None if tree.expand or tree.as_of else "read")

        key = ("get", table.key, view.key, show.key, history.kind(tree.as_of))
        text = self._texts.get(key, make) if not tree.expand else self._expanded.get(key, lambda: bounded(make()))
        return text.bind({"id": tree.id, **history.slots(tree.as_of)}, asking.leaves)

    def versions(self, table: Table, tree: Versions, asking: Asking) -> Statement:
        """Rows `item` (JSON text) and `seq` of a record's changes, newest first, one more than the limit."""
        view, show, told = asking.judge(table, "view"), shown(table, None, asking), asking.principal.privileged
        key = ("versions", table.key, view.key, show.key, tree.limit, told)
        text = self._texts.get(key, lambda: Template(history.versions(table, view, show, limit=tree.limit, told=told)))
        return text.bind({"id": tree.id, "after": tree.after}, asking.leaves)

    def list(self, table: Table, tree: List, asking: Asking) -> Statement:
        """One row: `items` (JSON texts with commas between, null for none), `more`, `key0…` (the last record's sort keys as
        text), `total` when counted, `feed` (a cursor, not of a view). Raises RuleError for a bad filter.
        """
        rule, show = asking.judge(table, "list"), self._shown(table, tree, asking)
        wanted = self._wanted(table, tree.filter, asking)
        nulls = None if tree.after is None else tuple(value is None for value in tree.after)
        order, found = shape_of(table, tree.sort, asking), _found(table, tree)
        sought = tuple(one.key for one in found)
        then = history.kind(tree.as_of)
        key = ("list", table.key, rule.key, wanted.key, sought, show.key, order, tree.limit, nulls, tree.count, then)
        plain = tree.count == "none" and not (tree.expand or found or then or any(key.path for key in tree.sort))

        def make() -> Template:
            conditions = [one.condition("r") for one in found]
            if tree.as_of is not None:
                conditions.append(history.seen_now(table, rule))
            visible = all_hold(conditions, (rule, rows(table, record="r")), (wanted, clients_rows(table, "r", asking)))
            order = order_of(tree.sort, ways(table, tree.sort, asking), asking)
            source = sql("{} r", _with_found(table, found) if tree.as_of is None else history.state(table, tree.as_of))
            text = _list(table, tree, order, nulls=nulls, visible=visible, show=show, source=source)
            return Template(text, "read" if plain else None)

        text = self._texts.get(key, make) if not tree.expand else self._expanded.get(key, lambda: bounded(make()))
        slots = {} if tree.after is None else page.slots(tree.after)
        return text.bind({**slots, **_slots_of(found), **history.slots(tree.as_of)}, asking.leaves)

    def ring(self, table: Table, tree: List, asking: Asking) -> Statement:
        """One row: `metres`, the distance within which the page and one record more are, null when there are fewer records.

        Of as many records as that, which an index finds first, the farthest: the nearest are not farther. For what
        `nearness.has_ring` admits. Raises RuleError.
        """
        rule, wanted = asking.judge(table, "list"), self._wanted(table, tree.filter, asking)
        nulls = None if tree.after is None else tuple(value is None for value in tree.after)
        if tree.near is None:
            raise ValueError("a ring is around something")
        near, order = Nearness(table, tree.near), shape_of(table, tree.sort, asking)
        key = ("ring", table.key, rule.key, wanted.key, near.key, order, tree.limit, nulls)

        def make() -> Template:
            clients = (wanted, clients_rows(table, "r", asking))
            visible = all_hold([near.condition("r")], (rule, rows(table, record="r")), clients)
            order = order_of(tree.sort, ways(table, tree.sort, asking), asking)
            here = visible if nulls is None else sql("{} and {}", visible, page.after(order, nulls, "r"))
            most, source = literal(tree.limit + 1), _with_found(table, (near,))
            found = sql("select {} as d from {} r where {} order by {}", DISTANCE.of("r"), source, here, near.about("r"))
            return Template(
                sql("select case when count(*) = {} then max(c.d) end as metres from ({} limit {}) c", most, found, most)
            )

        slots = {} if tree.after is None else page.slots(tree.after)
        return self._texts.get(key, make).bind({**slots, **near.slots()}, asking.leaves)

    def aggregate(self, table: Table, grouping: Grouping, asking: Asking) -> Statement:
        """One row: `items` (JSON texts of groups with commas between, null for none) and `more`. Raises RuleError."""
        rule, wanted = asking.judge(table, "list"), self._wanted(table, grouping.filter, asking)
        having = ALWAYS if grouping.having is None else asking.condition(grouping.having, grouping.vars, "having")
        made, found = Aggregate(table, grouping, asking, having), _found(table, grouping)

        def make() -> Template:
            conditions = [one.condition("r") for one in found]
            return Template(
                made.sql(all_hold(conditions, (rule, rows(table, record="r")), (wanted, clients_rows(table, "r", asking))))
            )

        key = ("aggregate", table.key, rule.key, wanted.key, tuple(one.key for one in found), made.key)
        return self._texts.get(key, make).bind({**made.slots, **_slots_of(found)}, asking.leaves)

    def export(self, table: Table, tree: Export, asking: Asking) -> tuple[Statement, str]:
        """The statement of one text column, a record a row, and what stands before the first. Raises RuleError."""
        rule, wanted = asking.judge(table, "list"), self._wanted(table, tree.filter, asking)
        show, found = shown(table, tree.fields, asking), _found(table, tree)

        def make() -> Template:
            conditions = [one.condition("r") for one in found]
            visible = all_hold(conditions, (rule, rows(table, record="r")), (wanted, clients_rows(table, "r", asking)))
            order = order_of(tree.sort, ways(table, tree.sort, asking), asking)
            text = line(show, tree.format, "r")
            return Template(sql("select {} as line from {} r where {} order by {}", text, table.sql, visible, order.by("r")))

        sought = tuple(one.key for one in found)
        key = ("export", tree.format, table.key, rule.key, wanted.key, sought, show.key, shape_of(table, tree.sort, asking))
        return self._texts.get(key, make).bind(_slots_of(found), asking.leaves), header(show, tree.format)

    def pictures(self, table: Table, images: Sequence[str]) -> Statement:
        """What was and became of records, for everybody's eyes at once: see `query/images.py`. Never to be sent as it is."""
        return self._texts.get(("pictures", table.key), lambda: pictures(table)).bind({"images": images}, {})

    def crowd(self, table: Table, tree: List, asking: Asking, *, bodies: bool) -> Crowd:
        """Which images the list rule and the filter show, asked for everybody who would get the same. Raises RuleError.

        `bodies`: and the records as they would be in the list.
        """
        rule, wanted = asking.judge(table, "list"), self._wanted(table, tree.filter, asking)
        show = self._shown(table, tree, asking) if bodies else None
        key = ("crowd", table.key, rule.key, wanted.key, None if show is None else show.key)

        def make() -> Crowd:
            visible = all_hold([], (rule, rows(table, record="r")), (wanted, clients_rows(table, "r", asking)))
            return Crowd(key, table, visible, None if show is None else show.json("r"))

        return self._crowds.get(key, make)

    def insert(self, table: Table, tree: Insert, asking: Asking) -> Statement:
        """`body`, `rev` and `seen` (whether this caller may view it, else the body is the id alone); no row when refused."""
        create, view, show = asking.judge(table, "create"), asking.judge(table, "view"), shown(table, None, asking)
        refs, demands = references(table, table.columns, asking), validations(table, asking, "create")
        key = ("insert", table.key, create.key, view.key, show.key, _keys(refs), _keys(demands))

        def make() -> Template:
            return Template(
                sql(
                    "insert into {} as r ({}) select {} from {} where {} returning {}",
                    table.sql,
                    names_of(table.columns),
                    names_of(table.columns, "n"),
                    one_row(table),
                    all_hold(
                        [SIGNED, *whole_references_hold(refs), *_demands_hold(demands, new_row(table, "n"))],
                        (create, sharing(rows(table, next="n"))),
                    ),
                    answer_of(table, view, show),
                ),
                "create",
            )

        return self._texts.get(key, make).bind(_one_rows_slots(table, tree.values, asking), asking.leaves)

    def insert_many(self, table: Table, tree: InsertMany, asking: Asking) -> Statement:
        """One row: `items` (JSON texts with commas between, in the order given), null when the whole was refused."""
        create, view, show = asking.judge(table, "create"), asking.judge(table, "view"), shown(table, None, asking)
        refs, demands = references(table, table.columns, asking), validations(table, asking, "create")
        key = ("insert many", table.key, create.key, view.key, show.key, _keys(refs), _keys(demands))

        def make() -> Template:
            holding = [*whole_references_hold(refs), *_demands_hold(demands, new_row(table, "n"))]
            allowed = all_hold(holding, (create, sharing(rows(table, next="n"))))
            return Template(
                sql(
                    "with n as (select {} from {}), made as (insert into {} as r ({}) select {} from n"
                    " where {} and (select bool_and(coalesce({}, false)) from n) returning r.id, {})"
                    " select string_agg(made.body, ',' order by n._position) as items from made join n using (id)",
                    unpacked(table),
                    many_rows(table),
                    table.sql,
                    names_of(table.columns),
                    names_of(table.columns, "n"),
                    SIGNED,
                    allowed,
                    answer_of(table, view, show),
                )
            )

        return self._texts.get(key, make).bind(many_rows_slots(table, tree.rows, asking), asking.leaves)

    def update(self, table: Table, tree: Update, asking: Asking) -> Statement:
        """`body`, `rev` and `seen` of the record as it is now; no row when it is absent, refused, of another revision or not one
        that `where` shows. Raises RuleError.
        """
        rule, view, show = asking.judge(table, "update"), asking.judge(table, "view"), shown(table, None, asking)
        written, only = Written(table, tree.values), self._only(table, tree.where, asking)
        refs, demands = references(table, written.names, asking), self.demands(table, asking, "update", tree.values)
        folded = (_keys((rule, view, show, *(one for one, _ in only))), _keys(refs), _keys(demands))
        key = ("update", table.key, written.key, tree.revs is None, folded)

        def make() -> Template:
            holding = [*references_hold(refs, written), *_demands_hold(demands, written.rows())]
            conditions = [SIGNED, *_this_one(tree.revs), *holding]
            return Template(
                sql(
                    "update {} r set {} from {} where {} returning {}",
                    table.sql,
                    written.assignments(),
                    written.row(),
                    all_hold(conditions, (rule, sharing(written.rows())), *only),
                    answer_of(table, view, show),
                ),
                "change",
            )

        slots = written.slots(asking.now) | {"id": tree.id, _REVISION: tree.revs}
        return self._texts.get(key, make).bind(slots, asking.leaves)

    def put(self, table: Table, tree: Put, asking: Asking) -> Statement:
        """`body`, `rev`, `seen` and `created`; no row when refused. A record that appears meanwhile raises UniqueViolated."""
        update, create, view = asking.judge(table, "update"), asking.judge(table, "create"), asking.judge(table, "view")
        show = shown(table, None, asking)
        refs = references(table, table.columns, asking)
        changed, new = validations(table, asking, "update", tree.replaces), validations(table, asking, "create")
        only_old = tree.only_old or tree.revs is not None
        folded = (_keys((update, create, view, show, *refs)), _keys(changed), _keys(new))
        key = ("put", table.key, tree.replaces, tree.fixed, tree.revs is None, only_old, folded)

        def make() -> Template:
            written = Written.of(table, tree.replaces)
            both = written.rows()
            holding = [*whole_references_hold(refs, old="r"), *stay(tree.fixed), *_demands_hold(changed, both)]
            replaced = [SIGNED, *_this_one(tree.revs), *holding]
            absent = sql("not exists (select from {} r where r.id = n.id)", table.sql)
            only_replace = [sql("false")] if only_old else []
            return Template(
                sql(
                    "with n as (select * from {}),"
                    " replaced as (update {} r set {} from n where {} returning {}, false as created),"
                    " made as (insert into {} as r ({}) select {} from n where {} returning {}, true as created)"
                    " select body, rev, seen, created from replaced union all select body, rev, seen, created from made",
                    one_row(table),
                    table.sql,
                    written.assignments(),
                    all_hold(replaced, (update, sharing(both))),
                    answer_of(table, view, show),
                    table.sql,
                    names_of(table.columns),
                    names_of(table.columns, "n"),
                    all_hold(
                        [SIGNED, *only_replace, absent, *whole_references_hold(refs), *_demands_hold(new, new_row(table, "n"))],
                        (create, sharing(rows(table, next="n"))),
                    ),
                    answer_of(table, view, show),
                ),
                "change",
            )

        slots = {**_one_rows_slots(table, tree.values, asking), _REVISION: tree.revs}
        return self._texts.get(key, make).bind(slots, asking.leaves)

    def delete(self, table: Table, tree: Delete, asking: Asking) -> Statement:
        """`rev` of the record that is gone; no row when it is absent, refused, of another revision or not one that `where` shows.
        Raises RuleError.
        """
        rule, only = asking.judge(table, "delete"), self._only(table, tree.where, asking)
        key = ("delete", table.key, tree.revs is None, rule.key, *_keys(one for one, _ in only))

        def make() -> Template:
            conditions = all_hold([SIGNED, *_this_one(tree.revs)], (rule, sharing(rows(table, record="r"))), *only)
            return Template(sql("delete from {} r where {} returning r.rev", table.sql, conditions), "change")

        return self._texts.get(key, make).bind({"id": tree.id, _REVISION: tree.revs}, asking.leaves)

    # Why a change touched nothing: asked only then, to choose between 403, 404, 409, 412 and 422.

    def why_not_inserted(self, table: Table, tree: Insert | InsertMany, asking: Asking) -> Statement:
        """`allowed` by the rule; `targets`: for each of `reference_names`, where what it points to is missing (see `losses`);
        `failing`: for each of `demands`, the positions from 1 of the rows that do not meet it, null for none.
        """
        create, refs = asking.judge(table, "create"), references(table, table.columns, asking)
        demands = validations(table, asking, "create")
        key = ("why not inserted", type(tree), table.key, create.key, _keys(refs), _keys(demands))

        def make() -> Template:
            source, position = one_row(table), literal(1)
            if isinstance(tree, InsertMany):
                source, position = sql("(select {} from {}) n", unpacked(table), many_rows(table)), sql("n._position")
            allowed = _every(all_hold([], (create, rows(table, next="n"))))
            lost = (reference.lost(ident("n", reference.column.name), None) for reference in refs)
            targets = (sql("string_agg(({} - 1) || ':' || {}, ' ' order by {})", position, one, position) for one in lost)
            failing = (
                sql("(array_agg({}) filter (where not {}))::text", position, one)
                for one in _demands_hold(demands, new_row(table, "n"))
            )
            return Template(
                sql(
                    "select {} as allowed, array[{}]::text[] as targets, array[{}]::text[] as failing from {}",
                    allowed,
                    join(", ", targets),
                    join(", ", failing),
                    source,
                )
            )

        if isinstance(tree, InsertMany):
            slots = many_rows_slots(table, tree.rows, asking)
        else:
            slots = _one_rows_slots(table, tree.values, asking)
        return self._texts.get(key, make).bind(slots, asking.leaves)

    def why_not_changed(self, table: Table, tree: Update | Delete, asking: Asking) -> Statement:
        """No row when the record is absent; else `seen`, `rev`, `allowed` by the rule, `wanted` by `where`, `targets` as above,
        and `valid` for each of the `demands`.
        """
        action: Action = "update" if isinstance(tree, Update) else "delete"
        rule, view, only = asking.judge(table, action), asking.judge(table, "view"), self._only(table, tree.where, asking)
        written = Written(table, tree.values if isinstance(tree, Update) else {})
        refs = references(table, written.names, asking)
        demands = self.demands(table, asking, "update", written.values) if isinstance(tree, Update) else ()
        folded = (_keys((rule, view, *(one for one, _ in only))), _keys(refs), _keys(demands))
        key = ("why not changed", action, table.key, written.key, folded)

        def make() -> Template:
            return Template(
                sql(
                    "select coalesce({}, false) as seen, r.rev, coalesce({}, false) as allowed, coalesce({}, false) as wanted,"
                    " array[{}]::text[] as targets, {} as valid from {} r, {} where r.id = {}::uuid",
                    view.where(rows(table, record="r")),
                    rule.where(written.rows()),
                    all_hold([], *only),
                    _lost((one, written.next(one.column.name)) for one in refs),
                    booleans(_demands_hold(demands, written.rows())),
                    table.sql,
                    written.row(),
                    Slot("id"),
                )
            )

        return self._texts.get(key, make).bind(written.slots(asking.now) | {"id": tree.id}, asking.leaves)

    def why_not_put(self, table: Table, tree: Put, asking: Asking) -> Statement:
        """`present`, `seen`, `rev`, `may_update`, `may_create`, `targets`, `stays` for each of the fixed fields, `valid` for each
        of the demands of an update, `valid_new` for each of those of a create.
        """
        update, create, view = asking.judge(table, "update"), asking.judge(table, "create"), asking.judge(table, "view")
        refs = references(table, table.columns, asking)
        changed, new = validations(table, asking, "update", tree.replaces), validations(table, asking, "create")
        folded = (_keys((update, create, view, *refs)), _keys(changed), _keys(new))
        key = ("why not put", table.key, tree.replaces, tree.fixed, folded)

        def make() -> Template:
            return Template(
                sql(
                    "select r.id is not null as present, coalesce({}, false) as seen, r.rev, coalesce({}, false) as may_update,"
                    " coalesce({}, false) as may_create, array[{}]::text[] as targets, {} as stays, {} as valid, {} as valid_new"
                    " from {} left join {} r on r.id = n.id",
                    view.where(rows(table, record="r")),
                    update.where(Written.of(table, tree.replaces).rows()),
                    create.where(rows(table, next="n")),
                    _lost((one, ident("n", one.column.name)) for one in refs),
                    booleans(stay(tree.fixed)),
                    booleans(_demands_hold(changed, Written.of(table, tree.replaces).rows())),
                    booleans(_demands_hold(new, new_row(table, "n"))),
                    one_row(table),
                    table.sql,
                )
            )

        return self._texts.get(key, make).bind(_one_rows_slots(table, tree.values, asking), asking.leaves)

    def reference_names(self, table: Table, names: Iterable[str], asking: Asking) -> tuple[str, ...]:
        """The fields that `targets` of the three statements above speaks of, in its order."""
        return tuple(reference.column.name for reference in references(table, names, asking))

    def _shown(self, table: Table, tree: Get | List, asking: Asking) -> Shown:
        beside: Beside | None = None
        if tree.expand:
            beside = expanded(self.nodes(table, tree.expand, asking), tree.expand, asking)
        if isinstance(tree, List) and tree.near is not None:
            beside = Told(beside)
        return shown(table, tree.fields, asking, beside)

    def demands(
        self, table: Table, asking: Asking, action: Literal["create", "update"], changed: Iterable[str] | Values | None = None
    ) -> tuple[Demanded, ...]:
        """What `failing`, `valid` and `valid_new` speak of, in their order; `changed` None: of a new record. Values may hold
        operations, whose results have limits.
        """
        found = validations(table, asking, action, changed)
        return (*Written(table, changed).limits(asking), *found) if isinstance(changed, Mapping) else found

    def _only(self, table: Table, where: Filter | None, asking: Asking) -> tuple[tuple[Judgement, RowsOf], ...]:
        """What a client's own condition on a stored record admits: of records that he may view, or he would learn of others."""
        if where is None:
            return ()
        view = (asking.judge(table, "view"), rows(table, record="r"))
        return (view, (self._wanted(table, where, asking), clients_rows(table, "r", asking)))

    def _wanted(self, table: Table, wanted: Filter | None, asking: Asking) -> Judgement:
        if wanted is None:
            return ALWAYS
        return asking.filter(table, self.check_filter(table, wanted.source, asking), wanted.vars)


Sought = tuple[Found | Nearness, ...]


def _found(table: Table, tree: List | Grouping | Export) -> Sought:
    """What the query computes beside the columns, and the conditions that go with it."""
    search = () if tree.search is None else (Found(table, tree.search),)
    return search if tree.near is None else (*search, Nearness(table, tree.near))


def _slots_of(found: Sought) -> dict[Hashable, object]:
    return {name: value for one in found for name, value in one.slots().items()}


def _with_found(table: Table, found: Sought) -> Sql:
    """The table, with what is computed as columns. PostgreSQL sees through it, so an index on the expression still serves."""
    if not found:
        return table.sql
    columns = join(", ", (sql("{} as {}", one.expression("t"), ident(one.column.name)) for one in found))
    return sql("(select t.*, {} from {} t)", columns, table.sql)


def _list(table: Table, tree: List, order: Order, *, nulls: page.Nulls, visible: Sql, show: Shown, source: Sql) -> Sql:
    here = visible if nulls is None else sql("{} and {}", visible, page.after(order, nulls, "r"))
    last = (_last_key(key, tree.limit) for key in order.keys)
    beside = sql("{}{}{}", join("", last), _total(table, tree.count, visible), _feed(table))
    return page.page(show.json("r"), "r", source=source, where=here, order=order.by("r"), limit=tree.limit, beside=beside)


def _feed(table: Table) -> Sql:
    """Where the change log stands in the snapshot of this very statement: what the list does not show yet comes behind it."""
    if table.collection.view is not None:
        return sql("")
    name = ident(table.collection.schema, "_feed")
    return sql(", (select f.epoch::text || '.' || f.last_pos from {} f) as feed", name)


def _last_key(key: Key, limit: int) -> Sql:
    name = ident(f"key{key.position}")
    return sql(", max(({})::text) filter (where r._position = {}) as {}", key.value("r"), literal(limit), name)


def _total(table: Table, count: Count, visible: Sql) -> Sql:
    if count == "none":
        return sql("")
    if count == "exact":
        return sql(", (select count(*) from {} r where {}) as total", table.sql, visible)
    # Never the planner's own estimate: its statistics speak of rows and values that this caller may not see.
    return sql(
        ", (select count(*) from (select from {} r where {} limit {}) counted) as total",
        table.sql,
        visible,
        literal(ESTIMATE_AT_MOST),
    )


def all_hold(conditions: Iterable[Sql], *judged: tuple[Judgement, RowsOf]) -> Sql:
    """All conditions; of a judgement that no row can change nothing is written unless it is false."""
    every = [*conditions, *(sql("({})", one.where(where)) for one, where in judged if one.verdict is not True)]
    return join(" and ", every) if every else sql("true")


def _this_one(revs: Sequence[int] | None) -> list[Sql]:
    """The record by `id`, which `put` has in its row and the others in a slot of the same name; at one of the
    revisions when given.
    """
    here = sql("r.id = {}::uuid", Slot("id"))
    return [here] if revs is None else [here, sql("r.rev = any ({}::int8[])", Slot(_REVISION))]


def answer_of(table: Table, view: Judgement, show: Shown) -> Sql:
    """What a write returns. `r` is the record as stored now, so the view rule is judged on the new values."""
    if view.verdict is not None:
        return sql("{} as body, r.rev, {} as seen", show.json("r") if view.verdict else _ID_ONLY, literal(view.verdict))
    visible = view.where(rows(table, record="r"))
    return sql(
        "case when {} then {} else {} end as body, r.rev, coalesce({}, false) as seen", visible, show.json("r"), _ID_ONLY, visible
    )


def names_of(names: Iterable[str], *alias: str) -> Sql:
    return join(", ", (ident(*alias, name) for name in names))


def references_hold(refs: Iterable[Reference], written: Written) -> list[Sql]:
    """Of a change: what a stored record points to already is not looked for again."""
    return [reference.holds(written.next(reference.column.name), ident("r", reference.column.name)) for reference in refs]


def whole_references_hold(refs: Iterable[Reference], old: str | None = None) -> list[Sql]:
    """Of a whole row `n`, beside the stored row `old` where there is one."""
    return [
        reference.holds(ident("n", reference.column.name), ident(old, reference.column.name) if old else None)
        for reference in refs
    ]


def _lost(written: Iterable[tuple[Reference, Sql]]) -> Sql:
    """Of one changed record, what the values that its references get miss."""
    return join(", ", (sql("'0:' || {}", one.lost(new, ident("r", one.column.name))) for one, new in written))


def _demands_hold(demands: Iterable[Demanded], where: RowsOf) -> list[Sql]:
    return [demand.holds(where) for demand in demands]


def stay(names: Iterable[str]) -> list[Sql]:
    return [sql("{} is not distinct from {}", ident("r", name), ident("n", name)) for name in names]


def _every(condition: Sql) -> Sql:
    return sql("bool_and(coalesce({}, false))", condition)


def booleans(conditions: Iterable[Sql]) -> Sql:
    return sql("array[{}]::bool[]", join(", ", conditions))


def _keys(parts: Iterable[Judgement | Shown | Reference | Demanded]) -> tuple[Hashable, ...]:
    return tuple(part.key for part in parts)


# Values on their way in: one row `n` with a column of each name and type.


def one_row(table: Table) -> Sql:
    """The whole new record."""
    return sql("(select {}) n", join(", ", (hole(column) for column in table.columns.values())))


def _one_rows_slots(table: Table, values: Values, asking: Asking) -> dict[Hashable, object]:
    slots: dict[Hashable, object] = {name: values.get(name) for name in table.columns}
    return slots | {"rev": 1, "created_at": asking.now, "updated_at": asking.now}


def many_rows(table: Table) -> Sql:
    """One array a column, so that a thousand records and one have the same text. Positions, not names: `n` names them."""
    columns = list(table.columns.values())
    arrays = join(", ", (sql("{}::{}[]", Slot(column.name), CASTS[_carrier(column)]) for column in columns))
    names = join(", ", (ident(f"c{at}") for at in range(len(columns))))
    return sql("unnest({}) with ordinality packed({}, _position)", arrays, names)


def unpacked(table: Table) -> Sql:
    cells = (
        sql("{} as {}", column.typed(ident("packed", f"c{at}")), ident(name))
        for at, (name, column) in enumerate(table.columns.items())
    )
    return join(", ", [*cells, sql("packed._position")])


def many_rows_slots(table: Table, every: tuple[Values, ...], asking: Asking) -> dict[Hashable, object]:
    slots: dict[Hashable, object] = {
        name: [_packed(column, values.get(name)) for values in every] for name, column in table.columns.items()
    }
    count = len(every)
    return slots | {"rev": [1] * count, "created_at": [asking.now] * count, "updated_at": [asking.now] * count}


def _carrier(column: Column) -> Cast:
    """What an element travels as: an array of arrays would be flattened by `unnest`, and JSON is text to the driver."""
    return "text" if column.many or column.cast in ("jsonb", "geo_point", "vector") else column.cast


def _packed(column: Column, value: object) -> object:
    if not column.many or value is None:
        return value
    items = (str(item).replace("\\", "\\\\").replace('"', '\\"') for item in value)  # type: ignore[attr-defined]
    return "{" + ",".join(f'"{item}"' for item in items) + "}"
