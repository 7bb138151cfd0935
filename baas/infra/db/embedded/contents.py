"""What is in a PostgreSQL, counted: the proof that a copy is whole."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import asyncpg

from baas.infra.db.embedded.faults import ClusterFault

_CONNECT_S = 10
_LOOK_S = 0.1
_NAMED = 5
T = TypeVar("T")
Contents = Mapping[tuple[str, str], int]
"""How many rows each table has, by database and by its name in full."""

# What belongs to an extension is made anew by it, perhaps by a newer version of it. A partitioned table is its partitions.
_TABLES = """
    select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where (c.relkind = 'r' or c.relkind = 'm' and c.relispopulated) and n.nspname not in ('pg_catalog', 'information_schema')
        and n.nspname !~ '^pg_(toast|temp)'
        and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
    union all select 'pg_catalog.pg_largeobject_metadata' where exists (select from pg_largeobject_metadata) order by 1
"""


async def count(url: Callable[[str], str]) -> Contents:
    """Count every row of every table in every database, exactly. `url` gives a superuser's address of a database."""
    counted = {}
    for database in await databases(url):
        connection = await asyncpg.connect(url(database), timeout=_CONNECT_S)
        try:
            for row in await connection.fetch(_TABLES):
                # The name is PostgreSQL's own, quoted by itself.
                counted[database, row[0]] = await connection.fetchval(f"select count(*) from {row[0]}")  # noqa: S608
        finally:
            await connection.close(timeout=_CONNECT_S)
    return counted


async def analyze(url: Callable[[str], str]) -> None:
    """Let the planner know all tables, which a copy does not tell it."""
    for database in await databases(url):
        connection = await asyncpg.connect(url(database), timeout=_CONNECT_S)
        try:
            await connection.execute("analyze")
        finally:
            await connection.close(timeout=_CONNECT_S)


async def databases(url: Callable[[str], str]) -> list[str]:
    """The names of all that can be opened."""
    connection = await asyncpg.connect(url("postgres"), timeout=_CONNECT_S)
    try:
        return [row[0] for row in await connection.fetch("select datname from pg_database where datallowconn order by 1")]
    finally:
        await connection.close(timeout=_CONNECT_S)


def differences(before: Contents, after: Contents) -> str | None:
    """In words, the first few; None when there are none."""
    found = [
        f"{table[1]} of database {table[0]}: {before.get(table, 'none')} before, {after.get(table, 'none')} after"
        for table in sorted({*before, *after})
        if before.get(table) != after.get(table)
    ]
    more = f" And {len(found) - _NAMED} more." if len(found) > _NAMED else ""
    return "; ".join(found[:_NAMED]) + "." + more if found else None


def watched(work: Coroutine[Any, Any, T], check: Callable[[], None]) -> T:
    """Run to the end; `check` is called every moment and raises to end it. Raises ClusterFault for what the database says."""

    async def run() -> T:
        task = asyncio.create_task(work)
        try:
            while not task.done():
                await asyncio.wait([task], timeout=_LOOK_S)
                check()
            return task.result()
        finally:
            task.cancel()

    try:
        return asyncio.run(run())
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise ClusterFault(f"The database could not be read: {error}") from error
