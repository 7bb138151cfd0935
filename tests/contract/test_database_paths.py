"""Both ways to PostgreSQL keep one contract: the ordinary pool, and the connections on which many statements are under way.

`db` is the database by one way or the other. Every statement here is marked as cheap, which the ordinary pool ignores.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from baas.base.errors import BaasError, Invalid, Unavailable
from baas.base.ids import short_id
from baas.infra.db.errors import (
    CheckViolated,
    ConnectionLost,
    NotNullViolated,
    ReferenceViolated,
    SchemaChanged,
    StatementTimedOut,
    UniqueViolated,
)
from baas.infra.db.pipeline import pipeline as module
from baas.infra.db.pool import Database
from baas.infra.db.sql import Statement
from tests.support.paths import WAYS, ask, insert, killed, opened, stored, under_load, warm
from tests.support.proxy import Proxy, target_of, through


@pytest.fixture(params=WAYS)
async def db(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[Database]:
    async with opened(database_url, request.param) as db:
        yield db


@pytest.fixture
async def table(db: Database) -> AsyncIterator[str]:
    """A table of its own for each test."""
    name = f"paths_{short_id()}"
    async with db.transaction() as tx:
        await tx.execute_script(f"create table {name} (id int8 primary key, n int8 check (n < 1000), of int8 references {name})")
    yield name
    async with db.transaction() as tx:
        await tx.execute_script(f"drop table {name}")


# Values: what goes in comes out, and is the same Python value by both ways.

VALUES: Sequence[tuple[str, object]] = [
    *(("text", text) for text in ("", "a", "NULL", "é ☃ 🂡 \u202e", '{a,"b\\\\"}', "it's; -- \\x00", "x" * 3_000_000)),
    *(("int8", number) for number in (0, -1, 2**63 - 1, -(2**63))),
    *(("float8", number) for number in (0.0, -0.0, 0.1, 1e-300, 1.7976931348623157e308, float("inf"))),
    *(("numeric", Decimal(text)) for text in ("0", "-0.10", "1E+30", "123456789012345678901234567890.123456789")),
    ("bool", True),
    ("bool", False),
    ("uuid", UUID("0190163d-8694-739b-aea5-966c26f8ad91")),
    # The first and the last date and moment of Python mean infinity to the driver; no field takes them.
    ("date", date(1, 1, 2)),
    ("date", date(9999, 12, 30)),
    ("timestamptz", datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
    ("timestamptz", datetime(2026, 11, 20, 17, 5, 30, 120001, tzinfo=UTC)),
    ("timestamptz", datetime(9999, 12, 31, 23, 59, 59, 999998, tzinfo=UTC)),
    ("jsonb", '{"a": [1, null, "é"]}'),
    ("text[]", []),
    ("text[]", ["", "NULL", "null", None, "a,b", '"', "\\", "{}", " x ", "é\n"]),
    ("int8[]", [1, None, -(2**63)]),
    ("bool[]", [True, False, None]),
    ("uuid[]", [UUID("0190163d-8694-739b-aea5-966c26f8ad91"), None]),
    *((kind, None) for kind in ("text", "int8", "bool", "uuid", "timestamptz", "jsonb", "text[]", "numeric")),
]


@pytest.mark.parametrize(("kind", "value"), VALUES, ids=[f"{kind}-{str(value)[:12]!a}" for kind, value in VALUES])
async def test_a_value_comes_back_as_it_was(db: Database, kind: str, value: object) -> None:
    found = await db.fetch_row(ask(f"select ${1}::{kind} as value, 'beside' as other", value))

    assert found is not None
    assert (value, "beside") == (found["value"], found["other"])
    assert type(value) is type(found["value"]) or isinstance(found["value"], type(value))


async def test_rows_have_the_same_shape(db: Database) -> None:
    assert [1, 2, 3] == [row["n"] for row in await db.fetch(ask("select generate_series(1, 3) as n"))]
    assert await db.fetch_row(ask("select 1 as n where false")) is None
    assert await db.fetch_value(ask("select 1 as n where false")) is None
    assert 7 == await db.fetch_value(ask("select 7 as n, 8 as other"))
    row = await db.fetch_row(ask("select 1 as n"))
    assert row is not None
    assert (1, None) == (row["n"], row.get("absent"))


async def test_a_value_of_a_type_that_only_the_driver_knows_still_arrives(db: Database) -> None:
    assert b"\0\1" == await db.fetch_value(ask("select $1::bytea", b"\0\1"))


@pytest.mark.parametrize("value", ["a\0b", "not a number", "9" * 30])
async def test_a_value_that_the_database_refuses_is_the_callers_fault(db: Database, value: str) -> None:
    with pytest.raises(Invalid):
        await db.fetch_value(ask("select $1::text::int8", value))


# Errors: the same class by both ways, and nothing else is touched.

ERRORS: Sequence[tuple[str, type[BaasError], str]] = [
    ("insert into {t} (id) values (1) returning id", UniqueViolated, "already_exists"),
    ("insert into {t} (id, of) values (2, 77) returning id", ReferenceViolated, "reference_violated"),
    ("insert into {t} (id, n) values (2, 1000) returning id", CheckViolated, "check_violated"),
    ("insert into {t} (n) values (2) returning id", NotNullViolated, "required"),
    ("select 9223372036854775807::int8 + 1", Invalid, "invalid"),
    ("select pg_sleep(5)", StatementTimedOut, "query_timeout"),
    ("select * from {t}_that_never_was", SchemaChanged, "schema_changed"),
    ("select nothing from {t}", SchemaChanged, "schema_changed"),
]


@pytest.mark.parametrize(("text", "kind", "code"), ERRORS, ids=[code for _, _, code in ERRORS])
async def test_an_error_is_the_same(
    database_url: str, db: Database, table: str, text: str, kind: type[BaasError], code: str
) -> None:
    way = WAYS[db.pipeline is not None]
    async with opened(database_url, way, limit_s=0.5) as quick:
        await quick.fetch_value(insert(table, 1, 1))
        with pytest.raises(kind) as caught:
            await quick.fetch_row(ask(text.format(t=table), cheap="create"))
        after = await quick.fetch_value(ask("select 1"))

    assert (kind, 1) == (type(caught.value), after)
    assert isinstance(caught.value, Invalid) or code == caught.value.code


async def test_a_lock_that_is_held_is_waited_for_as_long_as_ever(db: Database, table: str) -> None:
    """Three seconds, as on every connection; and who gets it in time has his answer."""
    await db.fetch_value(insert(table, 1, 1))
    update = ask(f"update {table} set n = n + 1 where id = 1 returning n", cheap="change")
    async with db.transaction() as tx:
        await tx.execute(Statement(f"update {table} set n = 10 where id = 1"))
        waiting = asyncio.create_task(db.fetch_value(update))
        others = [await db.fetch_value(ask("select 1")) for _ in range(20)]
        await asyncio.sleep(0.5)
    assert 11 == await waiting
    assert [1] * 20 == others
    async with db.transaction() as tx:
        await tx.execute(Statement(f"update {table} set n = 10 where id = 1"))
        with pytest.raises(Unavailable) as caught:
            await db.fetch_value(update)

    assert "busy" == caught.value.code


async def test_a_thousand_at_once_get_their_own_answers(db: Database, table: str) -> None:
    """Reads, writes and errors in any order: everybody gets what he asked for, and only that."""
    chance = random.Random(4)

    async def one(number: int) -> object:
        kind = chance.choice(("read", "create", "change", "error", "nothing"))
        if kind == "create":
            return number, await db.fetch_value(insert(table, number, 0))
        if kind == "change":
            return number, await db.fetch_value(
                ask(f"update {table} set n = n where false returning id", cheap="change")
            ) or number
        if kind == "error":
            with pytest.raises(CheckViolated):
                await db.fetch_value(insert(table, number, 5000))
            return number, number
        if kind == "nothing":
            return number, await db.fetch_value(ask("select $1::int8 where false", number)) or number
        return number, await db.fetch_value(ask("select $1::int8 as n, $2::text", number, "x" * chance.randrange(5000)))

    answers = await asyncio.gather(*(one(number) for number in range(1000)))

    assert all(asked == answered for asked, answered in answers)


async def test_a_failing_write_takes_no_other_with_it(db: Database, table: str) -> None:
    """Of a hundred writes sent at one moment every third fails: the others are stored, once each."""

    async def one(number: int) -> Any:
        try:
            return await db.fetch_value(insert(table, number, 5000 if number % 3 == 0 else 1))
        except CheckViolated:
            return None

    answers = await asyncio.gather(*(one(number) for number in range(100)))

    good = [number for number in range(100) if number % 3]
    assert good == [number for number in answers if number is not None]
    assert good == await stored(db, table)


async def test_a_failing_read_takes_no_other_with_it(db: Database) -> None:
    """Of a hundred reads sent at one moment every third fails, by itself alone; none has to go another way."""
    await db.fetch_value(ask("select 9223372036854775805 + $1::int8", 1))

    async def one(number: int) -> Any:
        try:
            return await db.fetch_value(ask("select 9223372036854775805 + $1::int8", 3 - number % 3))
        except BaasError as error:
            return type(error)

    answers = await asyncio.gather(*(one(number) for number in range(100)))

    assert [(Invalid, 2**63 - 1, 2**63 - 2)[number % 3] for number in range(100)] == answers
    assert db.pipeline is None or db.pipeline.figures.spilled == 0


async def test_two_of_one_key_at_once_are_one(db: Database, table: str) -> None:
    async def one() -> bool:
        try:
            return bool(await db.fetch_value(insert(table, 1, 1)))
        except UniqueViolated:
            return False

    assert 1 == sum(await asyncio.gather(*(one() for _ in range(40))))
    assert [1] == await stored(db, table)


async def test_an_answer_comes_after_its_commit(database_url: str, db: Database, table: str) -> None:
    """Whoever has an answer can show the row to another connection at once, for each of many that share their commit."""
    other = await Database.connect(database_url, size=8)

    async def one(number: int) -> Any:
        await db.fetch_value(insert(table, number, 1))
        return await other.fetch_value(Statement(f"select count(*) from {table} where id = $1", (number,)))

    counts = await asyncio.gather(*(one(number) for number in range(60)))
    await other.close()

    assert [1] * 60 == counts


async def test_a_slow_statement_holds_up_nobody(db: Database) -> None:
    """Slow ones among quick ones, first in line on every connection; they themselves get their answers."""
    loop = asyncio.get_running_loop()
    slow = [asyncio.create_task(db.fetch_value(ask("select 'slow' from pg_sleep($1::float8)", 0.6))) for _ in range(8)]
    await asyncio.sleep(0)
    started = loop.time()
    quick = await asyncio.gather(*(db.fetch_value(ask("select $1::int8", number)) for number in range(200)))
    took = loop.time() - started

    assert list(range(200)) == quick
    assert took < 0.5  # a slow one is first in line for a fifth of a second at most, and there are four on every connection
    assert ["slow"] * 8 == await asyncio.gather(*slow)


async def test_what_was_slow_goes_elsewhere_for_a_while(database_url: str) -> None:
    async with opened(database_url, "pipelined") as db:
        assert db.pipeline is not None
        slow = ask("select 1 from pg_sleep(0.3)")
        await db.fetch_value(slow)
        before = db.pipeline.figures.taken, db.pipeline.figures.spilled
        await db.fetch_value(slow)

        assert before == (db.pipeline.figures.taken, db.pipeline.figures.spilled)
        assert 1 == db.pipeline.figures.spilled


# Schema changes.


async def test_a_change_of_the_schema_is_followed(db: Database, table: str) -> None:
    """A prepared statement goes on when its result has another type, and is refused when it makes no sense any more."""
    every = ask(f"select * from {table} where id = $1", 1)
    await db.fetch_value(insert(table, 1, 1))
    for _ in range(8):
        assert {"id": 1, "n": 1, "of": None} == dict(await db.fetch_row(every) or {})
    async with db.transaction() as tx:
        await tx.execute_script(f"alter table {table} add column more text default 'm'")
    assert {"id": 1, "n": 1, "of": None, "more": "m"} == dict(await db.fetch_row(every) or {})
    async with db.transaction() as tx:
        await tx.execute_script(f"alter table {table} drop column n, add column n text default '1'")
    assert "1" == dict(await db.fetch_row(every) or {})["n"]
    with pytest.raises(SchemaChanged):
        await db.fetch_row(ask(f"select gone from {table}"))


async def test_a_schema_changes_under_load(db: Database, table: str) -> None:
    """Writes and reads go on while columns come and go; what fails says that the schema changed, and stores nothing."""
    stop = asyncio.Event()
    done: list[int] = []
    numbers = iter(range(100_000))

    async def write() -> None:
        while not stop.is_set():
            number = next(numbers)
            with suppress(SchemaChanged, Unavailable):
                row = await db.fetch_row(ask(f"insert into {table} (id) values ($1::int8) returning *", number, cheap="create"))
                assert row is not None
                assert number == row["id"]
                done.append(number)
            with suppress(SchemaChanged, Unavailable):
                await db.fetch_row(ask(f"select * from {table} where id = $1", number))

    writers = [asyncio.create_task(write()) for _ in range(12)]
    for turn in range(10):
        await asyncio.sleep(0.05)
        change = "add column extra int8" if turn % 2 == 0 else "drop column extra"
        async with db.transaction() as tx:
            await tx.execute_script(f"alter table {table} {change}")
    stop.set()
    await asyncio.gather(*writers)

    assert done
    assert sorted(done) == await stored(db, table)


async def test_more_statements_than_are_kept(db: Database) -> None:
    """Each with a text of its own, twice around: what was dropped is prepared again."""
    for _ in range(2):
        answers = await asyncio.gather(*(db.fetch_value(ask(f"select {number} + $1::int8", 1)) for number in range(600)))

        assert list(range(1, 601)) == answers
    if db.pipeline is not None:
        assert await db.fetch_value(ask("select count(*) from pg_prepared_statements")) <= 128


async def test_a_write_given_up_before_it_was_sent_never_is(db: Database, table: str) -> None:
    """Cancelled in the moment between being asked and being sent."""
    if db.pipeline is None:
        pytest.skip("the ordinary pool sends at once")
    given_up = asyncio.create_task(db.fetch_value(insert(table, 1, 1)))
    await asyncio.sleep(0)
    given_up.cancel()
    await db.fetch_value(insert(table, 2, 1))

    assert [2] == await stored(db, table)


# Requests that are given up, and connections that are lost.


async def test_requests_given_up_at_any_moment_disturb_nobody(db: Database, table: str) -> None:
    """Half of the requests are cancelled on their way; every other one has its own answer, and what it wrote is there."""
    chance = random.Random(11)

    async def one(number: int) -> Any:
        if number % 2:
            return await db.fetch_value(insert(table, number, 1))
        return await db.fetch_value(ask("select $1::int8 from pg_sleep(0.001)", number))

    tasks = [asyncio.create_task(one(number)) for number in range(600)]
    doomed = {number for number in range(600) if chance.random() < 0.5}
    for number in chance.sample(sorted(doomed), len(doomed)):
        if chance.random() < 0.2:
            await asyncio.sleep(chance.random() * 0.002)
        tasks[number].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)

    for number, answer in enumerate(answers):
        assert number == answer or (number in doomed and isinstance(answer, asyncio.CancelledError))
    there = await stored(db, table)
    assert len(there) == len(set(there))
    assert {number for number, answer in enumerate(answers) if number == answer and number % 2} <= set(there)


async def test_connections_killed_under_load(
    empty_url: str, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    """Every connection of the server's is terminated, again and again: acknowledged and lost 0, doubled 0, and work goes on."""
    for way in WAYS:
        async with opened(empty_url, way) as db:
            async with db.transaction() as tx:
                await tx.execute_script("create table if not exists kept (id int8 primary key, n int8); truncate kept")

            async def faults() -> None:
                for _ in range(8):
                    await asyncio.sleep(0.15)
                    await killed(empty_url)

            found = await under_load(db, "kept", faults)
            record_property(way, found)
            print(way, found)
            assert found[0] > 100


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("way", WAYS)
async def test_cut_after_any_byte(empty_url: str, way: str, direction: Any) -> None:
    """The connection breaks after N bytes under load, for N from 1 on: nothing acknowledged is lost, nothing is written twice."""
    async with Proxy(target_of(empty_url)) as proxy:
        url = through(empty_url, proxy.port)
        async with opened(url, way) as db:
            async with db.transaction() as tx:
                await tx.execute_script("create table kept (id int8 primary key, n int8)")
            await warm(db)

            async def faults() -> None:
                for count in [*range(1, 40), *range(40, 2000, 61)]:
                    proxy.cut_after(direction, count)
                    for _ in range(100):
                        await asyncio.sleep(0.005)
                        if proxy.cuts and proxy._left[direction] is None:
                            break

            found = await under_load(db, "kept", faults, writers=8)
            print(way, direction, proxy.cuts, found)
            assert proxy.cuts > 30
            proxy.let_be()


@pytest.mark.parametrize("way", WAYS)
async def test_a_lost_write_is_unknown_and_a_lost_read_is_read_again(empty_url: str, way: str) -> None:
    async with Proxy(target_of(empty_url)) as proxy, opened(through(empty_url, proxy.port), way) as db:
        async with db.transaction() as tx:
            await tx.execute_script("create table kept (id int8 primary key, n int8)")
        await db.fetch_value(insert("kept", 1, 1))
        proxy.cut_after("down", 0)
        with pytest.raises(ConnectionLost):
            await db.fetch_value(insert("kept", 2, 1))
        if way == "pipelined":
            await warm(db)
            proxy.cut_after("down", 0)
            assert 5 == await db.fetch_value(ask("select 5"))

        assert {2} <= set(await stored(db, "kept"))


@pytest.mark.parametrize("way", WAYS)
async def test_a_stalled_server_is_given_up(empty_url: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes, and nothing is closed: whoever waits is told in time, and later the work goes on."""
    monkeypatch.setattr(module, "_STUCK_S", 0.5)
    async with Proxy(target_of(empty_url)) as proxy, opened(through(empty_url, proxy.port), way, size=2, limit_s=1) as db:
        proxy.stall()
        asked = [asyncio.create_task(db.fetch_value(ask("select 1", cheap="create"))) for _ in range(5)]
        async with asyncio.timeout(30):
            answers = await asyncio.gather(*asked, return_exceptions=True)
        proxy.let_be()

        assert any(isinstance(answer, ConnectionLost) for answer in answers)
        async with asyncio.timeout(10):
            assert 1 == await db.fetch_value(ask("select 1"))


# What is particular to the pipelined way.


async def test_writes_of_one_moment_share_a_commit(database_url: str) -> None:
    """The transaction id of rows tells which were committed together."""
    async with opened(database_url, "pipelined") as db:
        assert db.pipeline is not None
        name = f"paths_{short_id()}"
        async with db.transaction() as tx:
            await tx.execute_script(f"create table {name} (id int8 primary key, n int8)")
        await asyncio.gather(*(db.fetch_value(insert(name, number, 1)) for number in range(40)))
        transactions = await db.fetch(Statement(f"select xmin::text as xmin, count(*) from {name} group by 1"))
        together = db.pipeline.figures.together

        assert len(transactions) < 10
        assert max(row["count"] for row in transactions) <= module.MOST_SHARING
        assert together >= 30


async def test_a_line_that_is_too_long_is_refused(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_WAITING", 50)
    async with opened(database_url, "pipelined") as db:
        asked = [asyncio.create_task(db.fetch_value(ask("select 1"))) for _ in range(60)]
        answers = await asyncio.gather(*asked, return_exceptions=True)

        refused = [one for one in answers if isinstance(one, Unavailable)]
        assert 10 == len(refused)
        assert [("busy", "1")] * 10 == [(one.code, one.headers["Retry-After"]) for one in refused]


async def test_connections_that_nobody_uses_are_closed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_IDLE_S", 0.1)
    async with opened(database_url, "pipelined") as db:
        assert db.pipeline is not None
        async with asyncio.timeout(30):
            while db.pipeline.connections:
                await asyncio.sleep(0.05)

        assert 1 == await db.fetch_value(ask("select 1"))


async def test_a_statement_that_opens_a_transaction_costs_its_connection(database_url: str) -> None:
    """What came next would be part of it. No statement of ours does so; if one did, nobody else would be drawn in."""
    async with opened(database_url, "pipelined") as db:
        with pytest.raises(BaasError):
            await db.fetch_value(ask("begin", cheap="change"))

        assert 1 == await db.fetch_value(ask("select 1", cheap="change"))
        assert await db.fetch_value(ask("select $1::uuid", found := uuid4())) == found
