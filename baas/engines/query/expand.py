"""Records inside records: what relations lead to, both ways and on from there, in the same statement.

Each expansion is a sub-select that depends on the row around it: one look-up by index for a relation to one record, a page of
its own for a list. Every record in it satisfies the view rule of its collection, so one out of sight is as good as none; a
relation that the caller may not read of a record leads nowhere from it.

    "expand": {"author": {…} or null, "comments": [{…}, …]}, "expand_more": ["comments"]

`expand_more` names the lists that go on beyond their limit, and is there only when one does.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

from baas.base.errors import Invalid
from baas.engines.query import page
from baas.engines.query.answer import Shown, shown
from baas.engines.query.asking import ALWAYS, Asking, Judgement
from baas.engines.query.order import Order, order_of, ways
from baas.engines.query.reach import BadName, Way, no_relation, unknown
from baas.engines.query.rows import clients_rows, rows
from baas.engines.query.table import Link, Table
from baas.engines.query.text import Template
from baas.engines.query.tree import Expand
from baas.engines.rules.rule import Rule, RuleError
from baas.infra.db.sql import Sql, ident, join, literal, sql

MAX_DEPTH = 3
MAX_PATHS = 10
DEFAULT_LIMITS = (30, 10, 5)
"""Of a list, of a list in a list, and of one in that: they multiply."""
MAX_LIMIT = 500
MAX_RECORDS = 100_000
"""The most records that one answer could hold, expansions at their limits included."""

MAX_TEXT = 128 * 1024
"""Characters of a statement with expansions. Far fewer parameters fit in than the protocol can number."""

CheckFilter = Callable[[Table, str, Asking], Rule]


class BadFilter(Exception):
    """The filter of the expansion at `path` is wrong."""

    def __init__(self, path: Sequence[str], error: RuleError) -> None:
        super().__init__(f"{'.'.join(path)}: {error}")
        self.path, self.error = tuple(path), error


@dataclass(frozen=True, slots=True)
class Node:
    """An expansion whose names exist for a kind of caller. `table` is where it starts; the values of its filter are not in it."""

    table: Table
    link: Link
    fields: tuple[str, ...] | None
    filter: Rule | None
    ways: tuple[Way, ...]
    limit: int
    nodes: tuple["Node", ...]

    @property
    def holder(self) -> Table:
        """The table of the relation's column."""
        return self.link.target if self.link.back else self.table

    def walk(self) -> "Iterator[Node]":
        """This one and all below it."""
        yield self
        for node in self.nodes:
            yield from node.walk()

    def needs_auth_record(self) -> bool:
        """Whether what it must satisfy looks at fields of the caller's own record; of this one, not of those below."""
        target = self.link.target
        found = [target.rule("view"), self.holder.read(self.link.column.name)]
        found += [target.read(name) for name in target.gated(target.columns)]
        if any(rule is not None and rule.needs_auth_record for rule in found):
            return True
        if any(way.needs_auth_record() for way in self.ways):
            return True
        wanted = self.filter
        return wanted is not None and (wanted.needs_auth_record or target.needs_auth_record_beside(wanted))

    def records(self, around: int) -> int:
        """The most records that this one and those below can add to so many."""
        here = around * self.limit if self.link.many else around
        return here + sum(node.records(here) for node in self.nodes)


def check_size(expand: tuple[Expand, ...]) -> None:
    """Raises Invalid (`limit_exceeded`) for too deep or too many paths; before anything is looked up."""
    if any(len(path) > MAX_DEPTH for path in _paths(expand)):
        raise Invalid(f"A path of expand has at most {MAX_DEPTH} names.", code="limit_exceeded", limit=MAX_DEPTH)
    if sum(1 for _ in _paths(expand)) > MAX_PATHS:
        raise Invalid(f"expand has at most {MAX_PATHS} paths.", code="limit_exceeded", limit=MAX_PATHS)


def check_records(nodes: tuple[Node, ...], around: int) -> None:
    """Raises Invalid (`limit_exceeded`) when the answer could hold too many records."""
    most = around + sum(node.records(around) for node in nodes)
    if most > MAX_RECORDS:
        raise Invalid(
            f"This could answer {most:,} records, and at most {MAX_RECORDS:,} are allowed.",
            code="limit_exceeded",
            limit=MAX_RECORDS,
            hint="Lower the limit of the list, or of the lists in expand: they multiply.",
        )


def bounded(template: Template) -> Template:
    """The statement; raises Invalid (`limit_exceeded`) when the rules and filters of all paths make it too long."""
    if len(template.text) > MAX_TEXT:
        raise Invalid(
            "The rules of so many expanded collections make too large a statement.",
            code="limit_exceeded",
            limit=MAX_TEXT,
            hint="Ask for fewer paths at once.",
        )
    return template


def find_nodes(table: Table, expand: tuple[Expand, ...], asking: Asking, check_filter: CheckFilter) -> tuple[Node, ...]:
    """The expansions with their names looked up. Raises BadName for what does not exist for this caller, BadFilter."""
    return _Finder(asking, check_filter).find(table, expand, (), 0)


def expanded(
    nodes: tuple[Node, ...], expand: tuple[Expand, ...], asking: Asking, path: tuple[str, ...] = ()
) -> "Expansions | None":
    """The expansions for one caller; `nodes` are those of `expand`. None when there are none."""
    if not nodes:
        return None
    return Expansions(tuple(_fold(node, one, asking, (*path, one.name)) for node, one in zip(nodes, expand, strict=True)))


class _Finder:
    """Looks up names for one kind of caller. `path` leads to where the names are, through so many `lists`."""

    def __init__(self, asking: Asking, check_filter: CheckFilter) -> None:
        self._asking = asking
        self._check_filter = check_filter

    def find(self, table: Table, expand: tuple[Expand, ...], path: tuple[str, ...], lists: int) -> tuple[Node, ...]:
        return tuple(self._one(table, one, (*path, one.name), lists) for one in expand)

    def _one(self, table: Table, expand: Expand, path: tuple[str, ...], lists: int) -> Node:
        link = self._link(table, expand, path)
        self._check_fields(link.target, expand.fields or (), path)
        return Node(
            table,
            link,
            expand.fields,
            self._filter(link.target, expand, path),
            self._ways(link.target, expand, path),
            min(DEFAULT_LIMITS[lists] if expand.limit is None else expand.limit, MAX_LIMIT),
            self.find(link.target, expand.expand, path, lists + link.many),
        )

    def _link(self, table: Table, expand: Expand, path: tuple[str, ...]) -> Link:
        links = table.links(masked=self._asking.masked)
        link = links.get(expand.name)
        if link is None and expand.name in table.names(masked=self._asking.masked):
            raise no_relation(f"bad_{expand.source}", path, table)
        if link is None or not _open(link, self._asking):
            raise unknown(f"bad_{expand.source}", path, [one.name for one in links.values() if _open(one, self._asking)])
        if not link.many and (expand.sort or expand.limit is not None):
            raise BadName("bad_expand", path, f"{expand.name!r} is one record; sort and limit are for lists.")
        return link

    def _check_fields(self, target: Table, fields: Sequence[str], path: tuple[str, ...]) -> None:
        known = target.names(masked=self._asking.masked)
        for name in fields:
            if name not in known:
                raise unknown("bad_fields", (*path, name), known)

    def _filter(self, target: Table, expand: Expand, path: tuple[str, ...]) -> Rule | None:
        try:
            return None if expand.filter is None else self._check_filter(target, expand.filter.source, self._asking)
        except RuleError as error:
            raise BadFilter(path, error) from None

    def _ways(self, target: Table, expand: Expand, path: tuple[str, ...]) -> tuple[Way, ...]:
        try:
            return ways(target, expand.sort, self._asking)
        except BadName as error:
            raise BadName(error.code, (*path, *error.path), error.message, error.hint) from None


def _open(link: Link, asking: Asking) -> bool:
    return not asking.judged or link.target.rule("view") is not None


def _paths(expand: tuple[Expand, ...], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths that end somewhere."""
    for one in expand:
        path = (*before, one.name)
        if one.expand and len(path) <= MAX_DEPTH:
            yield from _paths(one.expand, path)
        else:
            yield path


@dataclass(frozen=True, slots=True)
class _One:
    """One expansion with the rules folded: `open` of the relation, `visible` and `wanted` of the records it leads to."""

    link: Link
    holder: Table
    show: Shown
    open: Judgement
    visible: Judgement
    wanted: Judgement
    order: Order | None
    limit: int
    asking: Asking

    @property
    def key(self) -> Hashable:
        order = None if self.order is None else self.order.key
        return (self.link.name, self.show.key, self.open.key, self.visible.key, self.wanted.key, order, self.limit)

    @property
    def never(self) -> bool:
        """Whether no record can be in it."""
        return any(one.verdict is False for one in (self.open, self.visible, self.wanted))

    def one(self, around: str, alias: str) -> Sql:
        """The JSON of the record, or null."""
        target = self.link.target
        link = sql("{} = {}", ident(alias, "id"), self.link.column.of(around))
        where = self._where(link, around, alias)
        return sql("(select {} from {} {} where {})", self.show.json(alias), target.sql, ident(alias), where)

    def many(self, around: str, alias: str) -> Sql:
        """A select of one row: `items` and `more`."""
        source, link, natural = self._rows(around, alias)
        where = self._where(link, around, alias)
        order = natural if self.order is None else self.order.by(alias)
        json = self.show.json(alias)
        return page.page(json, alias, source=source, where=where, order=order, limit=self.limit, beside=sql(""))

    def _rows(self, around: str, alias: str) -> tuple[Sql, Sql, Sql]:
        """What to select from, what links it to the row around, and its order when none is asked for."""
        table, column, row = self.link.target.sql, self.link.column, ident(alias)
        if not self.link.back:
            ids = ident(f"{alias}i")
            source = sql("unnest({}) with ordinality {}(id, at), {} {}", column.of(around), ids, table, row)
            return source, sql("{} = {}.id", ident(alias, "id"), ids), sql("{}.at", ids)
        if column.many:
            link = sql("{} @> array[{}]", column.of(alias), ident(around, "id"))
        else:
            link = sql("{} = {}", column.of(alias), ident(around, "id"))
        return sql("{} {}", table, row), link, ident(alias, "id")

    def _where(self, link: Sql, around: str, alias: str) -> Sql:
        held = alias if self.link.back else around
        target = self.link.target
        judged = (
            (self.open, rows(self.holder, record=held), held),
            (self.visible, rows(target, record=alias), alias),
            (self.wanted, clients_rows(target, alias, self.asking), alias),
        )
        return join(" and ", [link, *(sql("({})", one.where(of, scope)) for one, of, scope in judged if one.verdict is not True)])


@dataclass(frozen=True, slots=True)
class Expansions:
    """All expansions of one record, as members of its JSON object."""

    every: tuple[_One, ...]

    @property
    def key(self) -> Hashable:
        return tuple(one.key for one in self.every)

    def members(self, alias: str) -> Sql:
        """`"expand":{…}`, and `,"expand_more":[…]` where a list was cut."""
        parts: list[Sql] = []
        lists: list[tuple[str, Sql, Sql]] = []
        for at, one in enumerate(self.every):
            name, inner = one.link.name, f"{alias}x{at}"
            parts.append(literal(f'{"," if at else ""}"{name}":'))
            if one.never:
                parts.append(literal("[]" if one.link.many else "null"))
            elif one.link.many:
                found = ident(f"{inner}l")
                lists.append((name, found, one.many(alias, inner)))
                parts.append(sql("'[', {}.items, ']'", found))
            else:
                parts.append(sql("coalesce({}, 'null')", one.one(alias, inner)))
        whole = sql("concat('\"expand\":{{', {}, '}}'{})", join(", ", parts), _more(lists))
        if not lists:
            return whole
        return sql("(select {} from {})", whole, join(", ", (sql("({}) {}", text, found) for _, found, text in lists)))


def _more(lists: list[tuple[str, Sql, Sql]]) -> Sql:
    """The rest of the arguments of concat: which lists were cut."""
    if not lists:
        return sql("")
    names = join(", ", (sql("case when {}.more then {} end", found, literal(f'"{name}"')) for name, found, _ in lists))
    any_more = join(" or ", (sql("{}.more", found) for _, found, _ in lists))
    return sql(", case when {} then concat(',\"expand_more\":[', concat_ws(',', {}), ']') end", any_more, names)


def _fold(node: Node, expand: Expand, asking: Asking, path: tuple[str, ...]) -> _One:
    target = node.link.target
    wanted = ALWAYS
    if node.filter is not None and expand.filter is not None:
        wanted = asking.filter(target, node.filter, expand.filter.vars, path)
    return _One(
        link=node.link,
        holder=node.holder,
        show=shown(target, node.fields, asking, expanded(node.nodes, expand.expand, asking, path)),
        open=asking.may_read(node.holder, node.link.column.name),
        visible=asking.judge(target, "view"),
        wanted=wanted,
        order=order_of(expand.sort, node.ways, asking) if expand.sort else None,
        limit=node.limit,
        asking=asking,
    )
