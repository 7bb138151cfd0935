"""Moves what is pending into the log, where positions are dense: one statement, run by whoever reads.

`seq` is drawn while the row is locked, so for one record it is in the order of commits; where a later change of a record is
visible, the earlier one is too, and comes in the same batch or an earlier one. Nothing waits for transactions elsewhere. Two at
once would still be right (the second waits for the rows of the first and finds them gone); the lock keeps them from waiting.
"""

import asyncio

from baas.infra.db.errors import ReferenceViolated, SerializationFailed, StatementTimedOut
from baas.infra.db.pool import Database
from baas.infra.db.sql import Sql, ident, literal, sql

BATCH = 2000
_LOCK = 0x6368616E  # "chan"; beside the hash of the schema, the key of a project's sequencer
_TRIES, _PAUSE_S = 5, 0.004


def batch(schema: str, most: int) -> Sql:
    """`ours`: whether nobody else is at it; `moved`: how many changes went into the log."""
    pending, feed, log = ident(schema, "_change_pending"), ident(schema, "_feed"), ident(schema, "_change_log")
    columns = sql("seq, collection, record, action, rev, before, after, principal, request_id, at")
    return sql(
        "with lock as materialized (select pg_try_advisory_xact_lock({}, hashtext({})) as ours),"
        " b as (delete from {} p using (select seq from {} where (select ours from lock) order by seq limit {}::int8) x"
        " where p.seq = x.seq returning p.*),"
        " n as (select count(*) as k from b),"
        " f as (update {} f set last_pos = f.last_pos + n.k from n where n.k > 0 returning f.last_pos - n.k as base),"
        " l as (insert into {} (pos, {}) select f.base + row_number() over (order by b.seq), {} from b, f),"
        " h as (insert into {} ({}) select {} from b where b.collection in (select collection from {}))"
        " select (select ours from lock) as ours, (select k from n) as moved",
        literal(_LOCK),
        literal(schema),
        pending,
        pending,
        most,
        feed,
        log,
        columns,
        columns,
        ident(schema, "_history"),
        columns,
        columns,
        ident(schema, "_histories"),
    )


async def settle(db: Database, schema: str) -> int:
    """Move everything that was committed before this call; the number of changes moved here.

    Where another server is at it, wait a few milliseconds for it and leave the rest to it: nothing is lost by that, what it has
    not moved yet is read a moment later.
    """
    moved, tries, most = 0, 0, BATCH
    while tries < _TRIES:
        try:
            row = await db.fetch_row(batch(schema, most))
        except StatementTimedOut:
            if most == 1:
                raise
            most = max(1, most // 10)  # records may be a thousand times as large as usual
            continue
        except (SerializationFailed, ReferenceViolated):
            row = None  # two at once after all, or a history that ends in this moment
        if row is None or not row["ours"]:
            tries += 1
            await asyncio.sleep(_PAUSE_S)
            continue
        moved += row["moved"]
        if row["moved"] < most:
            break
    return moved
