"""Records as they were: the versions of one, and a whole table at a moment, out of what the change log keeps.

An old image is judged by the rule of today, as every row that leaves; and who may not see the record as it stands now (or as it
was when it was deleted) sees no older version of it either.
"""

from collections.abc import Hashable

from baas.engines.query.answer import Shown
from baas.engines.query.asking import Judgement
from baas.engines.query.rows import rows
from baas.engines.query.table import Table
from baas.engines.query.text import Slot
from baas.engines.query.tree import AsOf
from baas.infra.db.sql import Sql, ident, literal, sql


def versions(table: Table, view: Judgement, show: Shown, *, limit: int, told: bool) -> Sql:
    """Rows `item` (JSON text) and `seq`, one more than the limit. `told`: by whom and in which request, too."""
    who = sql(", ',\"principal\":', to_json(h.principal), ',\"request_id\":', to_json(h.request_id)")
    at = table.columns["created_at"].json_of(sql("h.at"))
    return sql(
        "select h.seq, concat('{{\"action\":', to_json(h.action), ',\"rev\":', h.rev, ',\"at\":', to_json({}){},"
        " ',\"record\":', {}, '}}') as item"
        " from {} h, {} r where h.record = {}::uuid and ({}::int8 is null or h.seq < {}::int8) and {} and {}"
        " order by h.seq desc limit {}",
        at,
        who if told else sql(""),
        show.json("r"),
        _entries(table),
        _image(table, sql("coalesce(h.after, h.before)")),
        Slot("id"),
        Slot("after"),
        Slot("after"),
        view.where(rows(table, record="r")),
        seen_now(table, view),
        literal(limit + 1),
    )


def state(table: Table, as_of: AsOf) -> Sql:
    """The rows of the table as they were; of a revision, the one of the record in the slot `id`."""
    if as_of.moment is None:
        return sql(
            "(select v.* from (select e.before from {} e where e.record = {}::uuid and (e.before ->> 'rev')::int8 = {}::int8"
            " order by e.seq desc limit 1) f, {} v where not exists (select from {} t where t.id = {}::uuid and t.rev = {}::int8)"
            " union all select t.* from {} t where t.id = {}::uuid and t.rev = {}::int8)",
            _entries(table),
            Slot("id"),
            Slot("as_of"),
            _image(table, sql("f.before")),
            table.sql,
            Slot("id"),
            Slot("as_of"),
            table.sql,
            Slot("id"),
            Slot("as_of"),
        )
    # What did not change since is as it stands; of everything else, what was before the first change since.
    return sql(
        "(select v.* from (select distinct on (e.record) e.before from {} e where e.at > {}::timestamptz"
        " order by e.record, e.seq) f, {} v where f.before is not null"
        " union all select t.* from {} t where not exists (select from {} e where e.record = t.id and e.at > {}::timestamptz))",
        _entries(table),
        Slot("as_of"),
        _image(table, sql("f.before")),
        table.sql,
        _entries(table),
        Slot("as_of"),
    )


def seen_now(table: Table, rule: Judgement) -> Sql:
    """Whether the rule lets the caller see the record of `r` as it stands now, or as it was when it was deleted."""
    if rule.verdict is not None:
        return literal(rule.verdict)
    condition = rule.where(rows(table, record="c"))
    return sql(
        "(exists (select from {} c where c.id = r.id and {})"
        " or (not exists (select from {} c where c.id = r.id) and exists (select from"
        " (select e.before from {} e where e.record = r.id order by e.seq desc limit 1) l, {} c where {})))",
        table.sql,
        condition,
        table.sql,
        _entries(table),
        _image(table, sql("l.before")),
        condition,
    )


def _entries(table: Table) -> Sql:
    """What is kept of the collection's changes, and what is on its way there: of one snapshot, so nothing is twice or missing."""
    schema, columns = table.collection.schema, sql("seq, record, action, rev, before, after, principal, request_id, at")
    return sql(
        "(select {} from {} where collection = {} union all select {} from {} where collection = {})",
        columns,
        ident(schema, "_history"),
        literal(table.name),
        columns,
        ident(schema, "_change_pending"),
        literal(table.name),
    )


def _image(table: Table, image: Sql) -> Sql:
    return sql("jsonb_populate_record(null::{}, {})", table.sql, image)


def kind(as_of: AsOf | None) -> str:
    """What the text of a statement depends on; empty for the present."""
    if as_of is None:
        return ""
    return "revision" if as_of.moment is None else "moment"


def slots(as_of: AsOf | None) -> dict[Hashable, object]:
    """The value of the hole that `state` leaves open."""
    if as_of is None:
        return {}
    return {"as_of": as_of.rev if as_of.moment is None else as_of.moment}
