"""Both ways to PostgreSQL: one opened and warm, and what must hold of it under load while something breaks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from baas.base.errors import BaasError, Unavailable
from baas.infra.db.errors import ConnectionLost
from baas.infra.db.pipeline.pipeline import CONNECTIONS
from baas.infra.db.pool import Database
from baas.infra.db.sql import Cheap, Statement, sql

WAYS = ("ordinary", "pipelined")


def ask(text: str, *args: object, cheap: Cheap = "read") -> Statement:
    return Statement(text, args, cheap=cheap)


@asynccontextmanager
async def opened(url: str, way: str, **limits: Any) -> AsyncIterator[Database]:
    """A database by one way. The pipelined one is warm: its connections are open."""
    db = await Database.connect(url, pipelined=way == "pipelined", **limits)
    try:
        await warm(db)
        yield db
    finally:
        await db.close()


async def warm(db: Database) -> None:
    if db.pipeline is not None:
        async with asyncio.timeout(20):
            while db.pipeline.connections < CONNECTIONS:
                for kind in ("read", "create", "change"):
                    with suppress(BaasError):
                        await db.fetch_value(ask("select 1", cheap=kind))
                await asyncio.sleep(0.02)


def insert(table: str, *args: object) -> Statement:
    return ask(f"insert into {table} (id, n) values ($1::int8, $2::int8) returning id", *args, cheap="create")


async def stored(db: Database, table: str) -> list[int]:
    rows = await db.fetch(Statement(f"select id from {table} order by id"))
    return [row["id"] for row in rows]


async def killed(url: str) -> None:
    other = await Database.connect(url, size=1)
    await other.fetch(
        sql(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and application_name = 'baas' and pid <> pg_backend_pid()"
        )
    )
    await other.close()


async def under_load(
    db: Database, table: str, faults: Callable[[], Awaitable[None]], *, writers: int = 16
) -> tuple[int, int, int]:
    """Write and read while `faults` goes on; returns acknowledged, unknown and failed reads. Nothing acknowledged is lost,
    nothing is there twice or unasked.
    """
    stop = asyncio.Event()
    acknowledged: set[int] = set()
    unknown: set[int] = set()
    failed_reads = 0
    numbers = iter(range(10_000_000))

    async def work() -> None:
        nonlocal failed_reads
        while not stop.is_set():
            number = next(numbers)
            try:
                assert number == await db.fetch_value(insert(table, number, 1))
                acknowledged.add(number)
            except Unavailable:
                unknown.add(number)
                await asyncio.sleep(0.01)
            try:
                assert number == await db.fetch_value(ask("select $1::int8", number))
            except Unavailable:
                failed_reads += 1
                await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(work()) for _ in range(writers)]
    await faults()
    stop.set()
    async with asyncio.timeout(30):
        await asyncio.gather(*tasks)
    there: list[int] = []
    for _ in range(100):
        with suppress(ConnectionLost):
            there = await stored(db, table)
            break
        await asyncio.sleep(0.1)
    assert acknowledged, "work goes on"
    assert acknowledged <= set(there)
    assert len(there) == len(set(there))
    assert set(there) <= acknowledged | unknown
    return len(acknowledged), len(unknown), failed_reads
