"""All SQL of the room: the table of refusals, what a probe reads, and the scratch schema of tests."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from baas.engines.query.conditions import condition
from baas.engines.query.probe import MAX_ROWS, Judged, Probe, neighbour, neighbours
from baas.engines.query.table import Column, Table
from baas.engines.rules.explain import Row, Wanted
from baas.engines.schema import ddl
from baas.engines.schema.collection import Collection
from baas.features.rules.model import BUCKET, Refusal
from baas.infra.db.pool import Queries
from baas.infra.db.sql import Sql, Statement, ident, join, literal, sql

_LINK = re.compile(r'alter table "[^"]+"\."[^"]+" add constraint "[^"]+" foreign key \(')
KEEP = timedelta(hours=24)
KEEP_AT_MOST = 10_000
_COLUMNS: Mapping[str, str] = {
    "request_id": "text",
    "at": "timestamptz",
    "status": "int4",
    "code": "text",
    "collection": "text",
    "action": "text",
    "record": "text",
    "principal_kind": "text",
    "principal_id": "text",
    "schema_version": "int8",
    "input": "text",
    "input_rows": "int4",
    "filter": "text",
    "call": "text",
    "via": "text",
    "claims": "text",
}
_JSON = ("input", "claims")
_TYPES: Mapping[str, Sql] = {
    "text": sql("text[]"),
    "timestamptz": sql("timestamptz[]"),
    "int4": sql("int4[]"),
    "int8": sql("int8[]"),
}


# Refusals


async def write_refusals(db: Queries, schema: str, refusals: Sequence[Refusal]) -> None:
    """All of them in one statement."""
    names = join(", ", (ident(name) for name in _COLUMNS))
    arrays = join(", ", (sql("{}::{}", [_cell(one, name) for one in refusals], _TYPES[kind]) for name, kind in _COLUMNS.items()))
    read = join(", ", (sql("{}::jsonb", ident(name)) if name in _JSON else ident(name) for name in _COLUMNS))
    table = _refusals(schema)
    await db.execute(sql("insert into {} ({}) select {} from unnest({}) given({})", table, names, read, arrays, names))


def _cell(refusal: Refusal, name: str) -> object:
    if name == "collection":
        return refusal.collection if refusal.bucket is None else f"{BUCKET}{refusal.bucket}"
    value = getattr(refusal, name)
    return json.dumps(value, default=_number) if name in _JSON and value is not None else value


def _number(value: object) -> object:
    return float(value) if isinstance(value, Decimal) else str(value)


async def find_refusal(db: Queries, schema: str, request_id: str) -> Refusal | None:
    """The newest with this request id, which callers may choose and so repeat."""
    query = sql("select * from {} where request_id = {} order by id desc limit 1", _refusals(schema), request_id)
    row = await db.fetch_row(query)
    if row is None:
        return None
    given = {name: row[name] for name in _COLUMNS}
    in_bucket = given["collection"].startswith(BUCKET)
    given["bucket"] = given["collection"].removeprefix(BUCKET) if in_bucket else None
    given["collection"] = None if in_bucket else given["collection"]
    given |= {name: None if row[name] is None else json.loads(row[name], parse_float=Decimal) for name in _JSON}
    return Refusal(**given)


async def sweep_refusals(db: Queries, schema: str) -> int:
    """Delete those past their day and those beyond the newest ten thousand, a bounded number at a time; how many."""
    table = _refusals(schema)
    return await db.execute(
        sql(
            "delete from {} where id in (select id from {} where at < now() - {}::interval"
            " or id <= (select max(id) from {}) - {} order by id limit 20000)",
            table,
            table,
            KEEP,
            table,
            literal(KEEP_AT_MOST),
        )
    )


def _refusals(schema: str) -> Sql:
    return ident(schema, "_denials")


# Probes


async def read_only(tx: Queries) -> None:
    """From here on the transaction sees one moment and changes nothing."""
    await tx.execute(sql("set transaction isolation level repeatable read, read only"))


async def judged(db: Queries, probe: Probe) -> list[Judged]:
    """What the probe found, row by row."""
    return [probe.read(row) for row in await db.fetch(probe.statement())]


async def by_key(db: Queries, table: Table, values: Mapping[str, object]) -> UUID | None:
    """The id of the stored record with these values, which are unique together."""
    same = join(
        " and ", (sql("{} = {}", column.of("r"), column.typed(values[column.name])) for column in _columns(table, values))
    )
    found: UUID | None = await db.fetch_value(sql("select r.id from {} r where {}", table.sql, same))
    return found


def _columns(table: Table, values: Iterable[str]) -> list[Column]:
    return [table.columns[name] for name in values]


async def why(db: Queries, statement: Statement) -> Mapping[str, Any] | None:
    """What stands against a write: the answer of one of the compiler's `why_…` statements."""
    return await db.fetch_row(statement)


async def other_records(db: Queries, table: Table, wanted: Wanted, names: Iterable[str]) -> list[Row] | None:
    """Records of another collection with these fields; None when they are too many or too large to look at."""
    rows = await db.fetch(neighbours(table, wanted, names))
    if len(rows) > MAX_ROWS or any(row["beyond"] for row in rows):
        return None
    return [neighbour(table, row) for row in rows]


# The scratch schema of tests


async def make_scratch(tx: Queries, schema: str, collections: Sequence[Collection]) -> None:
    """A schema with these tables, gone when the transaction is rolled back. Links are looked at when all rows are there.

    Nothing is logged: nobody follows what never was.
    """
    await tx.execute(sql("create schema {}", ident(schema)))
    created = [ddl.create(one, condition, logged=False) for one in collections]
    # All tables before what links them.
    for statement in [one[0] for one in created] + [piece for one in created for piece in one[1:]]:
        link = _LINK.match(statement.render().text)
        await tx.execute(sql("{} deferrable initially deferred", statement) if link else statement)


async def constraints(tx: Queries, *, deferred: bool) -> None:
    """Whether rows may point to others that are yet to come. Raises ConstraintViolated at the end of that."""
    await tx.execute(sql("set constraints all deferred") if deferred else sql("set constraints all immediate"))


async def savepoint(tx: Queries) -> None:
    await tx.execute(sql("savepoint one_case"))


async def back_to_savepoint(tx: Queries) -> None:
    await tx.execute(sql("rollback to savepoint one_case"))
    await tx.execute(sql("release savepoint one_case"))


async def insert_row(tx: Queries, table: Table, values: Mapping[str, Any]) -> None:
    """One row as it is, without rules."""
    columns = _columns(table, values)
    names = join(", ", (ident(name) for name in values))
    holes = join(", ", (column.typed(values[column.name]) for column in columns))
    await tx.execute(sql("insert into {} ({}) values ({})", table.sql, names, holes))
