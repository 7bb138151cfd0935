"""Create records, or change those that have the same unique key: one statement, all or nothing.

`on conflict do update` would ask the create rule about records that are only changed, and could not tell a refused change from
a refused create. So the stored ones are locked and judged by the update rule, the others by the create rule, and both are written
only when all may be. A record that appears meanwhile under one of the keys raises UniqueViolated: asked again, it is there.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from baas.engines.query.answer import shown
from baas.engines.query.asking import SIGNED, Asking, Judgement
from baas.engines.query.compile import (
    Compiler,
    answer_of,
    many_rows,
    many_rows_slots,
    names_of,
    references_hold,
    stay,
    unpacked,
    whole_references_hold,
)
from baas.engines.query.references import references
from baas.engines.query.rows import RowsOf, rows, sharing
from baas.engines.query.table import Table
from baas.engines.query.text import Kept, Template
from baas.engines.query.tree import Values
from baas.engines.query.validations import new_row
from baas.engines.query.written import Written
from baas.infra.db.sql import Sql, Statement, ident, join, literal, sql


@dataclass(frozen=True, slots=True)
class UpsertMany:
    """Whole rows. Of a stored record with the same `key` the fields of `changes` change; a `fixed` one must have its value."""

    key: tuple[str, ...]
    rows: tuple[Values, ...]
    changes: tuple[str, ...]
    fixed: tuple[str, ...] = ()


class Upserts:
    """Makes the statements and keeps their text.

    One row: `ok`, `items` (JSON texts with commas between, in the order given), `created`, `updated`; why not: `may_create` all
    that are new, `may_update` all that are stored, `refused` that one of these which he may view may not be changed, `may_pass`
    that all others could be created; `old_met` and `new_met`: for each of the references, (old only) the fixed fields, the
    demands: the positions from 1 where it does not hold.
    """

    def __init__(self, compiler: Compiler, *, texts: int = 500) -> None:
        self._compiler = compiler
        self._texts: Kept[Template] = Kept(texts)

    def statement(self, table: Table, tree: UpsertMany, asking: Asking) -> Statement:
        create, update, view = (asking.judge(table, action) for action in ("create", "update", "view"))
        show, written = shown(table, None, asking), Written.of(table, tree.changes)
        refs, new_refs = references(table, tree.changes, asking), references(table, table.columns, asking)
        changed = self._compiler.demands(table, asking, "update", tree.changes)
        new = self._compiler.demands(table, asking, "create")
        parts = (create, update, view, show, *refs, *new_refs, *changed, *new)
        key = ("upsert", table.key, tree.key, tree.changes, tree.fixed, tuple(one.key for one in parts))

        def make() -> Template:
            may_create, fresh = _holds(create, sharing(rows(table, next="n"))), new_row(table, "n")
            old_met = [
                *references_hold(refs, written),
                *stay(tree.fixed),
                *(one.holds(written.rows()) for one in changed),
            ]
            new_met = [
                *whole_references_hold(new_refs),
                *(one.holds(fresh) for one in new),
            ]
            return Template(
                sql(
                    "with n as materialized (select {} from {}),"
                    " old as materialized (select r.id, n._position, {} as allowed, {} as seen, {} as creatable, {} as met"
                    " from {} r join n on {} order by r.id for no key update of r),"
                    " new as materialized (select n._position, {} as allowed, {} as met from n"
                    " where not exists (select from old where old._position = n._position)),"
                    " verdict as materialized (select (select coalesce(bool_and(allowed and true = all (met)), true) from old)"
                    " and (select coalesce(bool_and(allowed and true = all (met)), true) from new) as ok),"
                    " changed as ({}),"
                    " made as (insert into {} as r ({}) select {} from n, new, verdict"
                    " where {} and verdict.ok and new._position = n._position returning r.id, {}),"
                    " told as (select _position, body from changed"
                    " union all select n._position, made.body from made join n on n.id = made.id)"
                    " select (select ok from verdict) as ok,"
                    " (select string_agg(body, ',' order by _position) from told) as items,"
                    " (select count(*) from made) as created, (select count(*) from changed) as updated,"
                    " (select coalesce(bool_and(allowed), true) from new) as may_create,"
                    " (select coalesce(bool_or(not allowed and seen), false) from old) as refused,"
                    " (select coalesce(bool_and(allowed or creatable), true) from old) as may_pass,"
                    " (select coalesce(bool_and(allowed), true) from old) as may_update, {} as old_met, {} as new_met",
                    unpacked(table),
                    many_rows(table),
                    _holds(update, sharing(written.rows())),
                    _holds(view, rows(table, record="r")),
                    may_create,
                    _booleans(old_met),
                    table.sql,
                    join(" and ", (sql("{} = {}", ident("r", name), ident("n", name)) for name in tree.key)),
                    may_create,
                    _booleans(new_met),
                    _changed(table, written, answer_of(table, view, show)),
                    table.sql,
                    names_of(table.columns),
                    names_of(table.columns, "n"),
                    SIGNED,
                    answer_of(table, view, show),
                    _failing(sql("old"), len(old_met)),
                    _failing(sql("new"), len(new_met)),
                )
            )

        return self._texts.get(key, make).bind(many_rows_slots(table, tree.rows, asking), asking.leaves)


def _changed(table: Table, written: Written, answer: Sql) -> Sql:
    """The stored ones, changed; those of which nothing is changed stay as they are, revision and all."""
    here = sql("verdict.ok and r.id = old.id and n._position = old._position")
    if not written.names:
        return sql("select n._position, {} from {} r, n, old, verdict where {}", answer, table.sql, here)
    return sql(
        "update {} r set {} from n, old, verdict where {} and {} returning n._position, {}",
        table.sql,
        written.assignments(),
        SIGNED,
        here,
        answer,
    )


def _holds(judgement: Judgement, where: RowsOf) -> Sql:
    return sql("coalesce({}, false)", judgement.where(where))


def _booleans(conditions: Iterable[Sql]) -> Sql:
    return sql("array[{}]::bool[]", join(", ", (sql("coalesce({}, false)", one) for one in conditions)))


def _failing(source: Sql, count: int) -> Sql:
    each = (
        sql("(select array_agg(_position) filter (where not met[{}]) from {})::text", literal(at + 1), source)
        for at in range(count)
    )
    return sql("array[{}]::text[]", join(", ", each))
