"""A change of a record and a place among changes, as values; and what a schema change does to the log.

The table's own triggers write the log (project migration 0006, `schema/ddl.py`), in the transaction of the change; the statement
that writes says by whom (`query/asking.SIGNED`).
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal, NamedTuple

from baas.base.errors import BadRequest
from baas.infra.db.pool import Queries
from baas.infra.db.sql import Sql, ident, sql

Image = Mapping[str, object]
"""A row as PostgreSQL writes it as JSON: column name -> value, fractions as Decimal. Hidden fields are in it."""
_CURSOR = re.compile(r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\.(0|[1-9][0-9]{0,17})")


class Change(NamedTuple):
    """One change of one record, at a position that no other change has. For the server's eyes: no rule was asked.

    `before` is None for a create, `after` for a delete. `rev` is the record's after the change, for a delete the last one.
    """

    pos: int
    seq: int
    collection: str
    record: str
    action: Literal["create", "update", "delete"]
    rev: int
    before: Image | None
    after: Image | None
    principal: str
    request_id: str
    at: datetime


class Cursor(NamedTuple):
    """Behind the change at `pos`. Positions of another epoch (a restored backup, a collection dropped) mean nothing."""

    epoch: str
    pos: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.pos}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """From the text that a client was given. Raises BadRequest (`bad_cursor`)."""
        match = _CURSOR.fullmatch(text)
        if match is None:
            raise BadRequest("This is no cursor of a feed.", code="bad_cursor")
        return cls(match[1], int(match[2]))


async def new_epoch(tx: Queries, schema: str) -> None:
    """Make every cursor that was given out too old: who follows must read the lists again. For a restored database, and for
    changes of the schema after which old images would be read as what they are not.
    """
    await tx.execute(sql("update {} set epoch = gen_random_uuid(), floor_pos = last_pos", ident(schema, "_feed")))


async def forget_collection(tx: Queries, schema: str, collection: str) -> None:
    """A collection is dropped: one that takes its name must not show what it held."""
    for table in ("_change_pending", "_histories"):
        await tx.execute(sql("delete from {} where collection = {}", ident(schema, table), collection))
    await new_epoch(tx, schema)


async def forget_fields(tx: Queries, schema: str, collection: str, *, gone: Iterable[str], renames: Mapping[str, str]) -> None:
    """Fields of a collection end or get other names: a field that takes a name must not show what another one held."""
    lost = [*gone, *renames]
    if not lost:
        return
    before, after = (_reshaped(ident(image), lost, renames) for image in ("before", "after"))
    for table in ("_change_pending", "_history"):
        await tx.execute(
            sql("update {} set before = {}, after = {} where collection = {}", ident(schema, table), before, after, collection)
        )
    await new_epoch(tx, schema)


def _reshaped(image: Sql, lost: list[str], renames: Mapping[str, str]) -> Sql:
    made = sql("{} - {}::text[]", image, lost)
    for old, new in renames.items():
        moved = sql("jsonb_build_object({}::text, {} -> {}::text)", new, image, old)
        made = sql("{} || case when {} ? {}::text then {} else jsonb_build_object() end", made, image, old, moved)
    return made


async def keep_history(tx: Queries, schema: str, collection: str, *, wanted: bool) -> None:
    """Keep the versions of a collection's records from now on, or forget them all."""
    table = ident(schema, "_histories")
    if wanted:
        # Writers wait, so that what is committed before the history begins is before it, and all the rest is in it.
        await tx.execute(sql("lock table {} in share row exclusive mode", ident(schema, collection)))
        await tx.execute(sql("insert into {} (collection) values ({}) on conflict do nothing", table, collection))
    else:
        await tx.execute(sql("delete from {} where collection = {}", table, collection))
