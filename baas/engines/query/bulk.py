"""Change or delete every record that a filter finds: one statement, all or nothing, and never more than was said.

The records are those that the caller could list, that the filter shows, and that the rule lets him change: a record that the rule
keeps from him is not among them, as it is not in a list. What he sends must fit every one of them, or nothing is written.
"""

from dataclasses import dataclass

from baas.engines.query.asking import SIGNED, Asking, Judgement
from baas.engines.query.compile import Compiler, all_hold, booleans, references_hold
from baas.engines.query.references import references
from baas.engines.query.rows import RowsOf, clients_rows, rows, sharing
from baas.engines.query.table import Table
from baas.engines.query.text import Kept, Slot, Template
from baas.engines.query.tree import Filter, Values
from baas.engines.query.written import Written
from baas.infra.db.sql import Sql, Statement, ident, literal, sql

_MOST = "the most that may be changed"  # a name that no column has


@dataclass(frozen=True, slots=True)
class UpdateMany:
    """`values`, which may hold operations, for at most `most` records."""

    filter: Filter
    values: Values
    most: int


@dataclass(frozen=True, slots=True)
class DeleteMany:
    filter: Filter
    most: int


class Bulk:
    """Makes the statements and keeps their text; one serves the whole process.

    Each answers one row: `matched` (at most one more than `most`), `affected`, and `met`: for each of what `reference_names` and
    `demands` of the compiler name, in this order, whether it holds for every record.
    """

    def __init__(self, compiler: Compiler, *, texts: int = 500) -> None:
        self._compiler = compiler
        self._texts: Kept[Template] = Kept(texts)

    def update(self, table: Table, tree: UpdateMany, asking: Asking) -> Statement:
        """Raises RuleError for a bad filter."""
        written = Written(table, tree.values)
        refs, demands = references(table, written.names, asking), self._compiler.demands(table, asking, "update", tree.values)
        judged = self._judged(table, tree.filter, asking)
        rule = asking.judge(table, "update")
        keys = (rule.key, *(one.key for one, _ in judged), *(one.key for one in refs), *(one.key for one in demands))

        def make() -> Template:
            met = [*references_hold(refs, written), *(demand.holds(written.rows()) for demand in demands)]
            source = sql("{} r, {}", table.sql, written.row())
            changed = sql(
                "update {} r set {} from {}, picked, found where {} returning r.id",
                table.sql,
                written.assignments(),
                written.row(),
                _chosen(),
            )
            where = all_hold([], *judged, (rule, sharing(written.rows())))
            return Template(_statement(source, where, met, sql("for no key update of r"), changed))

        text = self._texts.get(("update many", table.key, written.key, keys), make)
        return text.bind(written.slots(asking.now) | {_MOST: tree.most}, asking.leaves)

    def delete(self, table: Table, tree: DeleteMany, asking: Asking) -> Statement:
        """Raises RuleError for a bad filter."""
        rule, judged = asking.judge(table, "delete"), self._judged(table, tree.filter, asking)

        def make() -> Template:
            changed = sql("delete from {} r using picked, found where {} returning r.id", table.sql, _chosen())
            where = all_hold([], *judged, (rule, sharing(rows(table, record="r"))))
            return Template(_statement(sql("{} r", table.sql), where, [], sql("for update of r"), changed))

        text = self._texts.get(("delete many", table.key, rule.key, *(one.key for one, _ in judged)), make)
        return text.bind({_MOST: tree.most}, asking.leaves)

    def _judged(self, table: Table, wanted: Filter, asking: Asking) -> tuple[tuple[Judgement, RowsOf], ...]:
        rule = self._compiler.check_filter(table, wanted.source, asking)
        shown = (asking.judge(table, "list"), rows(table, record="r"))
        return (shown, (asking.filter(table, rule, wanted.vars), clients_rows(table, "r", asking)))


def _statement(source: Sql, where: Sql, met: list[Sql], lock: Sql, changed: Sql) -> Sql:
    """The records are locked in the order of their ids, so that two of these never wait for each other; what is true of them is
    computed of the locked row.
    """
    every = [sql("coalesce(bool_and(picked.met[{}]), true)", literal(at + 1)) for at in range(len(met))]
    return sql(
        "with picked as materialized (select r.id, {} as met from {} where {} order by r.id limit {}::int8 + 1 {}),"
        " found as materialized (select count(*) as matched, {} as met from picked),"
        " changed as ({}) select found.matched, found.met, (select count(*) from changed) as affected from found",
        booleans(met),
        source,
        where,
        Slot(_MOST),
        lock,
        booleans(every),
        changed,
    )


def _chosen() -> Sql:
    every = ident("found", "met")
    return sql("{} and r.id = picked.id and found.matched <= {}::int8 and true = all ({})", SIGNED, Slot(_MOST), every)
