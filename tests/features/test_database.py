"""The database door: its errors, its limits, its migrations, and how servers hear of each other's changes."""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from baas.base.errors import Invalid, Unavailable
from baas.base.settings import Settings
from baas.infra.db import lending, listen
from baas.infra.db import migrate as module
from baas.infra.db.errors import ConnectionLost, UniqueViolated
from baas.infra.db.listen import Invalidations, announce
from baas.infra.db.migrate import SchemaTooNew, is_current, migrate, migrate_project, migrations
from baas.infra.db.pool import Database
from baas.infra.db.sql import Sql, Statement, ident, sql
from baas.server import open_server
from tests.support.proxy import Proxy, target_of, through


async def test_a_released_connection_carries_no_state(database_url: str) -> None:
    """The pool does not reset connections, so a transaction's own limit must end with it."""
    db = await Database.connect(database_url, size=1)
    before = await db.fetch_value(sql("show statement_timeout"))
    async with db.transaction(statement_timeout_s=77) as tx:
        inside = await tx.fetch_value(sql("show statement_timeout"))
    after = await db.fetch_value(sql("show statement_timeout"))
    await db.close()

    assert ("5s", "77s", "5s") == (before, inside.replace("1min 17s", "77s"), after)


async def test_a_failed_transaction_leaves_nothing(db: Database) -> None:
    await db.execute(sql("create table if not exists scratch (id int primary key)"))

    async def insert_twice() -> None:
        async with db.transaction() as tx:
            await tx.execute(sql("insert into scratch values (1)"))
            await tx.execute(sql("insert into scratch values (1)"))

    with pytest.raises(UniqueViolated) as caught:
        await insert_twice()

    assert "scratch_pkey" == caught.value.constraint
    assert 0 == await db.fetch_value(sql("select count(*) from scratch"))


@pytest.mark.parametrize("value", ["a\0b", "9" * 30])
async def test_a_value_that_the_database_refuses_is_the_callers_fault(db: Database, value: str) -> None:
    with pytest.raises(Invalid):
        await db.fetch_value(sql("select {}::text::bigint", value))


async def test_waiting_for_a_connection_has_an_end(database_url: str) -> None:
    db = await Database.connect(database_url, size=1, wait_s=0.1)
    async with db.transaction():
        with pytest.raises(Unavailable) as caught:
            await db.fetch_value(sql("select 1"))
    await db.close()

    assert "busy" == caught.value.code


async def test_a_cut_connection_is_reported_and_replaced(database_url: str, db: Database) -> None:
    """The statement in flight fails as unknown; the next one gets a new connection."""
    other = await Database.connect(database_url, size=1)
    pid = await other.fetch_value(sql("select pg_backend_pid()"))
    sleeping = asyncio.create_task(other.fetch_value(sql("select pg_sleep(4)")))
    await asyncio.sleep(0.1)
    await db.fetch_value(sql("select pg_terminate_backend({})", pid))
    with pytest.raises(ConnectionLost):
        await sleeping

    assert 1 == await other.fetch_value(sql("select 1"))
    await other.close()


async def test_a_cancelled_borrowers_connection_is_not_lent_again(database_url: str) -> None:
    """Its statement may still be at work, and its answer would be read by the next one."""
    other = await Database.connect(database_url, size=1)
    first = await other.fetch_value(sql("select pg_backend_pid()"))
    sleeping = asyncio.create_task(other.fetch_value(sql("select pg_sleep(4)")))
    await asyncio.sleep(0.1)
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping

    assert first != await other.fetch_value(sql("select pg_backend_pid()"))
    await other.close()


async def test_who_waits_longest_gets_the_next_connection(database_url: str) -> None:
    """Also when somebody before him in the line has gone away, or was just being given one."""
    other = await Database.connect(database_url, size=1)
    order: list[int] = []

    async def ask(number: int) -> None:
        await other.fetch_value(sql("select pg_sleep(0.02)"))
        order.append(number)
        if number == 0:
            waiting[0].cancel()  # it has just been given the connection, and has not yet run

    first = asyncio.create_task(ask(0))
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(ask(number)) for number in range(1, 5)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    await asyncio.wait((first, *waiting))

    assert [0, 3, 4] == order
    await other.close()


async def test_a_borrower_that_cannot_connect_leaves_his_place(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = await Database.connect(database_url, size=2, wait_s=0.1)
    with monkeypatch.context() as patch:
        patch.setattr(other, "_url", "postgresql://nobody@127.0.0.1:1/nothing")
        async with other.transaction():
            for _ in range(3):
                with pytest.raises(ConnectionLost):
                    await other.fetch_value(sql("select 1"))

    assert [1, 1] == await asyncio.gather(*(other.fetch_value(sql("select 1 from pg_sleep(0.05)")) for _ in range(2)))
    await other.close()


async def test_connections_that_nobody_needs_are_closed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a rush all but one go, and the next rush gets as many as before."""
    monkeypatch.setattr(lending, "_LOOK_S", 0.1)
    other = await Database.connect(database_url, size=4)

    async def rush() -> set[int]:
        asked = [other.fetch_value(sql("select pg_backend_pid() from pg_sleep(0.05)")) for _ in range(4)]
        return set(await asyncio.gather(*asked))

    async def alive(pids: set[int]) -> int:
        return await other.fetch_value(sql("select count(*) from pg_stat_activity where pid = any({})", list(pids)))

    first = await rush()
    await asyncio.sleep(0.5)

    assert (4, 1) == (len(first), await alive(first))
    assert 4 == len(await rush())
    await other.close()


async def test_a_connection_that_changed_the_schema_is_closed_soon(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle or lent, and the last one too; its place is not lost. One that changed nothing stays."""
    monkeypatch.setattr(lending, "_LOOK_S", 0.2)
    other = await Database.connect(database_url, size=1)
    pid = sql("select pg_backend_pid()")

    first = await other.fetch_value(pid)
    async with other.changing_schema(statement_timeout_s=5) as tx:
        assert first == await tx.fetch_value(pid)
    await asyncio.sleep(0.5)
    second = await other.fetch_value(pid)
    async with other.changing_schema(statement_timeout_s=5) as tx:
        await asyncio.sleep(0.5)
        assert second == await tx.fetch_value(pid)
    third = await other.fetch_value(pid)
    await asyncio.sleep(0.5)

    assert 3 == len({first, second, third})
    assert third == await other.fetch_value(pid)
    await other.close()


async def test_an_unreachable_database_is_said_so() -> None:
    with pytest.raises(ConnectionLost):
        await Database.connect("postgresql://nobody@127.0.0.1:1/nothing")


async def test_servers_starting_at_once_migrate_once(empty_url: str) -> None:
    pools = [await Database.connect(empty_url, size=2) for _ in range(4)]
    await asyncio.gather(*(migrate(pool) for pool in pools))

    assert await is_current(pools[0])
    assert 1 == await pools[0].fetch_value(sql("select count(*) from baas._migrations where number = 1"))
    for pool in pools:
        await pool.close()


@pytest.mark.parametrize(
    "ahead",
    [
        sql("insert into baas._migrations (number, name) values (9999, 'from_the_future')"),
        sql("insert into baas.projects (id, name, schema, schema_version) values (gen_random_uuid(), 'new', 'p_new', 9999)"),
    ],
    ids=["control", "project"],
)
async def test_a_newer_database_is_left_alone(empty_url: str, ahead: Sql) -> None:
    """Also when it is ahead in one project only, and nothing is migrated before that is known."""
    db = await Database.connect(empty_url, size=2)
    await migrate(db)
    await db.execute(sql("delete from baas._migrations where number = {}", len(migrations("control"))))
    await db.execute(ahead)
    with pytest.raises(SchemaTooNew, match="version 9999 by a newer server"):
        await migrate(db)

    left = await db.fetch(sql("select number from baas._migrations where number < 9999 order by number"))
    assert list(range(1, len(migrations("control")))) == [row["number"] for row in left]
    await db.close()


@pytest.mark.parametrize("kind", ["control", "project"])
async def test_the_last_state_is_brought_to_this_one(empty_url: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two servers at once on a database that lacks the newest step, with a project in it: as good as made from empty."""
    first, second = [await Database.connect(empty_url, size=2) for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(module, "migrations", lambda one: migrations(one)[: -1 if one == kind else None])
        await migrate(first)
        await _make_project(first, "p_old")
    before = await _tables(first)
    await asyncio.gather(migrate(first), migrate(second))
    await _make_project(first, "p_new")

    tables = await _tables(first)
    assert before < tables
    assert {name for schema, name in tables if schema == "p_old"} == {name for schema, name in tables if schema == "p_new"}
    assert await is_current(second)
    assert 0 == await first.fetch_value(
        sql("select count(*) from baas.projects where schema_version <> {}", len(migrations("project")))
    )
    await first.close()
    await second.close()


async def _make_project(db: Database, schema: str) -> None:
    async with db.transaction() as tx:
        await tx.execute(
            sql("insert into baas.projects (id, name, schema) values (gen_random_uuid(), {}, {})", f"of-{schema}", schema)
        )
        await tx.execute(sql("create schema {}", ident(schema)))
        await migrate_project(tx, schema)


async def _tables(db: Database) -> set[tuple[str, str]]:
    """Schema and name of all tables and functions of ours."""
    rows = await db.fetch(
        sql(
            "select n.nspname as schema, c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where n.nspname like 'p\\_%' or n.nspname = 'baas' union"
            " select n.nspname, p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
            " where n.nspname like 'p\\_%' or n.nspname like 'baas%'"
        )
    )
    return {(row["schema"], row["name"]) for row in rows}


async def test_an_interrupted_migration_leaves_the_last_state(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that fails leaves nothing of itself; the next start completes it."""
    whole = migrations("control")
    broken = (*whole[:-1], whole[-1]._replace(text=whole[-1].text + ";\ncreate table baas.half (id int); select 1/0;"))
    db = await Database.connect(empty_url, size=2)
    with monkeypatch.context() as patch:
        patch.setattr(module, "migrations", lambda kind: broken if kind == "control" else ())
        with pytest.raises(Exception, match=r".*"):
            await migrate(db)

    assert await db.fetch_value(sql("select to_regclass('baas.half')")) is None
    await migrate(db)
    assert await is_current(db)
    await db.close()


_LISTENERS = sql(
    "select pid from pg_stat_activity where application_name = 'baas listen' and datname = current_database() and state = 'idle'"
)


class Follower(NamedTuple):
    """A second server's ear, on a pool of one connection."""

    db: Database
    heard: asyncio.Queue[str]


@pytest.fixture
async def follower(database_url: str, db: Database) -> AsyncIterator[Follower]:
    pool = await Database.connect(database_url, size=1, wait_s=0.1)
    made = Follower(pool, asyncio.Queue())
    invalidations = Invalidations(pool, database_url)
    invalidations.on("test", made.heard.put_nowait)
    await invalidations.start()
    yield made
    await invalidations.stop()
    await pool.close()


async def test_an_announcement_reaches_another_server(follower: Follower, db: Database) -> None:
    async with db.transaction() as tx:
        await announce(tx, "test", "changed")

    assert "changed" == await asyncio.wait_for(follower.heard.get(), 20)


async def test_an_announcement_arrives_without_its_notification(follower: Follower, db: Database) -> None:
    """Only the row is written, as when the notification is lost; the poll finds it."""
    await db.execute(sql("insert into baas.invalidations (kind, key) values ('test', 'silently')"))

    assert "silently" == await asyncio.wait_for(follower.heard.get(), 20)


async def test_a_cut_listener_misses_nothing_and_listens_again(
    follower: Follower, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is announced right after the cut is heard in time, and later ones by notification again: the poll is off."""
    monkeypatch.setattr(listen, "_POLL_S", 3600)
    await asyncio.sleep(1.1)  # the last poll that was on
    pids = {row["pid"] for row in await db.fetch(_LISTENERS)}
    assert pids
    await db.fetch(sql("select pg_terminate_backend(pid) from ({}) l", _LISTENERS))
    async with db.transaction() as tx:
        await announce(tx, "test", "just after")

    assert "just after" == await asyncio.wait_for(follower.heard.get(), 20)
    async with asyncio.timeout(30):
        while len(await db.fetch(_LISTENERS)) < len(pids):
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.3)
    async with db.transaction() as tx:
        await announce(tx, "test", "later")
    assert "later" == await asyncio.wait_for(follower.heard.get(), 20)


async def test_announcements_are_heard_while_requests_wait_for_connections(follower: Follower, db: Database) -> None:
    """Whoever can make every connection busy cannot keep an old rule in force with that."""
    async with follower.db.transaction():
        async with db.transaction() as tx:
            await announce(tx, "test", "busy")

        assert "busy" == await asyncio.wait_for(follower.heard.get(), 20)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_every_connection_over_a_network_finds_out_that_the_other_end_is_gone(
    empty_url: str, settings: Settings, tmp_path: Path
) -> None:
    """Of a whole server: the pool, the pipelines, what listens. Fifteen seconds of silence end it, sent or not."""
    async with Proxy(target_of(empty_url)) as proxy:
        ours = replace(settings, data_dir=tmp_path, database_url=None)
        async with open_server(ours, through(empty_url, proxy.port)) as server:
            names = sql("select count(distinct application_name) from pg_stat_activity where datname = current_database()")
            while await server.db.fetch_value(names) < 3:  # baas, baas listen, baas signals
                await asyncio.sleep(0.02)
            assert server.db.pipeline is not None
            while not server.db.pipeline.connections:
                await server.db.fetch_value(Statement("select 1", cheap="read"))
                await asyncio.sleep(0.02)
            found: list[tuple[int, ...]] = []
            async with asyncio.timeout(30):  # one that is just being opened has them a moment later
                while len(found) <= 3 or set(found) != {(1, 5, 5, 2, 15_000)}:
                    await asyncio.sleep(0.02)
                    found = [options_of(wire) for wire in wires_to(proxy.port)]


def wires_to(port: int) -> Iterator[socket.socket]:
    """This process's own ends of the connections to a port."""
    for name in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            wire = socket.socket(fileno=os.dup(int(name.name)))
            with wire:
                if wire.family == socket.AF_INET and wire.getpeername()[1] == port:
                    yield wire


def options_of(wire: socket.socket) -> tuple[int, ...]:
    names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
    kept = wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    return (kept, *(wire.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names))
