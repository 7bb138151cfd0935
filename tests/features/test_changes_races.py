"""The change log under load: nothing missed, nothing twice, each record in its order, whoever writes, reads and waits."""

import asyncio
import itertools
import random
import subprocess
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from baas.base.errors import Gone
from baas.base.project import Project
from baas.engines.changes.log import Change, Cursor, new_epoch
from baas.engines.changes.reader import Feed
from baas.engines.changes.sequencer import settle
from baas.infra.db.migrate import migrations
from baas.infra.db.pool import Database
from baas.infra.db.sql import ident, sql
from baas.server import Server
from tests.features.test_changes import OPEN, everything, project_of
from tests.support.callers import ProjectUnderTest
from tests.support.engines import Engine
from tests.support.feeds import replay, stored

WRITERS, HOT = 16, 12
COUNT = {"name": "count", "type": "int"}


async def follow(feed: Feed, project: Project, after: Cursor, until: asyncio.Event) -> list[Change]:
    """A reader beside the writers: reads in small steps, until they are done and nothing is left."""
    found: list[Change] = []
    async with feed.watching(project) as waiter:
        while True:
            done = until.is_set()
            changes = await feed.read(project, after, 50)
            found += changes
            if changes:
                after = Cursor(after.epoch, changes[-1].pos)
            elif done:
                return found
            else:
                await waiter.wait()


@pytest.mark.parametrize("seed", [1, 2])
async def test_sixteen_writers_on_hot_records_and_none_is_missed(
    project: ProjectUnderTest, server: Server, db: Database, database_url: str, seed: int
) -> None:
    """16 writers, 12 hot records, 4 readers that all sequence: every reader sees every change once, dense, in order, and its
    changes make the table.
    """
    here = await project_of(server, project)
    await project.collection(
        "hot", fields=[COUNT, {"name": "of", "type": "relation", "to": "hot", "on_delete": "set_null"}], rules=OPEN
    )
    ids = [(await project.operator.create("hot", {"count": 0}))["id"] for _ in range(HOT)]
    start = await server.feed.head(here)
    base = await stored(db, here, "hot")
    acknowledged = 0
    done = asyncio.Event()

    async def write(number: int) -> None:
        nonlocal acknowledged
        chance = random.Random(f"{seed} {number}")
        for _ in range(25):
            record = chance.choice(ids)
            path = f"collections/hot/records/{record}"
            match chance.randrange(6):
                case 0:
                    answer = await project.operator.delete(path)
                case 1:
                    answer = await project.operator.put(path, json={"count": chance.randrange(99)})
                case 2:
                    rows = [{"count": n, "of": record} for n in range(3)]
                    answer = await project.operator.post("collections/hot/records", json=rows)
                    acknowledged += 2 if answer.status_code == 201 else 0
                case _:
                    answer = await project.operator.patch(path, json={"count": chance.randrange(99)})
            assert answer.status_code < 500 or answer.status_code == 503, answer.text
            acknowledged += answer.status_code < 300

    async with AsyncExitStack() as closing:
        others = []
        for _ in range(3):
            other = await Database.connect(database_url, size=2)
            closing.push_async_callback(other.close)
            others.append(Feed(other))
        readers = [asyncio.create_task(follow(feed, here, start, done)) for feed in (server.feed, *others)]
        await asyncio.gather(*(write(number) for number in range(WRITERS)))
        done.set()
        seen = await asyncio.wait_for(asyncio.gather(*readers), 30)

    changes = seen[0]
    assert [changes] * 4 == seen, "all readers agree"
    assert list(range(start.pos + 1, start.pos + 1 + len(changes))) == [one.pos for one in changes], f"seed {seed}"
    assert len(changes) >= acknowledged > 100
    assert len({one.seq for one in changes}) == len(changes)
    assert replay(changes, base) == await stored(db, here, "hot"), f"seed {seed}"
    assert 0 == await db.fetch_value(sql("select count(*) from {}", ident(here.schema, "_change_pending")))


@pytest.mark.parametrize("seed", range(4))
async def test_replaying_the_feed_makes_the_tables(project: ProjectUnderTest, server: Server, db: Database, seed: int) -> None:
    """Any calls on linked collections, cascades and refusals among them: the feed from its start folds onto the tables."""
    here, chance = await project_of(server, project), random.Random(seed)
    start = await server.feed.head(here)
    await project.collection("teams", fields=[COUNT], rules=OPEN)
    to_team = {"type": "relation", "to": "teams"}
    await project.collection("cards", fields=[COUNT, {**to_team, "name": "team", "on_delete": "cascade"}], rules=OPEN)
    to_card = {"type": "relation", "to": "cards"}
    fields = [{**to_card, "name": "card", "on_delete": "cascade"}, {**to_team, "name": "seen", "on_delete": "set_null"}]
    await project.collection("notes", fields=[*fields, {"name": "words", "type": "json"}], rules=OPEN)
    known: dict[str, list[str]] = {"teams": [], "cards": [], "notes": []}

    def body(collection: str) -> dict[str, Any]:
        def some(name: str) -> str | None:
            return chance.choice([*known[name], None]) if known[name] else None

        if collection == "notes":
            return {"card": some("cards"), "seen": some("teams"), "words": chance.choice([None, [1.5, "é"], {"a": None}])}
        return {"count": chance.randrange(9), **({"team": some("teams")} if collection == "cards" else {})}

    for _ in range(60):
        collection = chance.choice(list(known))
        path = f"collections/{collection}/records"
        match chance.randrange(5):
            case 0 | 1:
                answer = await project.operator.post(path, json=body(collection))
                known[collection] += [answer.json()["id"]] if answer.status_code == 201 else []
            case 2 if known[collection]:
                answer = await project.operator.patch(f"{path}/{chance.choice(known[collection])}", json=body(collection))
            case 3 if known[collection]:
                answer = await project.operator.put(f"{path}/{chance.choice(known[collection])}", json=body(collection))
            case 4 if known[collection]:
                answer = await project.operator.delete(f"{path}/{chance.choice(known[collection])}")
            case _:
                continue
        assert answer.status_code < 500, answer.text

    changes = await everything(server.feed, here, start)
    by_record: dict[str, list[int]] = {}
    for one in changes:
        by_record.setdefault(one.record, []).append(one.rev if one.after else one.rev + 1)
    assert replay(changes) == await stored(db, here, "teams", "cards", "notes"), f"seed {seed}"
    # A put of a deleted id begins again at 1; until then the revisions of a record rise by one.
    for revs in by_record.values():
        assert all(later in (earlier + 1, 1) for earlier, later in itertools.pairwise(revs)), (seed, revs)


async def test_a_long_transaction_elsewhere_does_not_silence_the_feed(
    project: ProjectUnderTest, server: Server, engine: Any
) -> None:
    """A transaction with an id that stays open in another database, and one in this database that writes elsewhere."""
    here = await project_of(server, project)
    await project.collection("posts", fields=[COUNT], rules=OPEN)
    start = await server.feed.head(here)
    connection = await asyncpg.connect(engine.admin_url)
    try:
        async with connection.transaction():
            await connection.execute("select pg_current_xact_id()")
            await project.operator.create("posts", {"count": 1})
            found = await asyncio.wait_for(server.feed.read(here, start), 30)
    finally:
        await connection.close()

    assert [start.pos + 1] == [one.pos for one in found]


async def test_a_writer_that_has_not_committed_holds_nobody_up(project: ProjectUnderTest, server: Server, db: Database) -> None:
    """Its change comes when it commits, behind the ones that were committed meanwhile though they began later."""
    here = await project_of(server, project)
    await project.collection("posts", fields=[COUNT], rules=OPEN)
    slow, fast = [await project.operator.create("posts", {"count": 0}) for _ in range(2)]
    start = await server.feed.head(here)
    async with db.transaction() as tx:
        table = ident(here.schema, "posts")
        await tx.execute(sql("update {} set count = 1, rev = rev + 1 where id = {}::uuid", table, slow["id"]))
        await project.operator.patch(f"collections/posts/records/{fast['id']}", json={"count": 2})
        first = await server.feed.read(here, start)
    second = await server.feed.read(here, Cursor(start.epoch, first[-1].pos))

    assert [fast["id"]] == [one.record for one in first]
    assert [(slow["id"], start.pos + 2, "server")] == [(one.record, one.pos, one.principal) for one in second]
    assert second[0].seq < first[0].seq


async def test_sequencers_side_by_side_make_one_order(project: ProjectUnderTest, server: Server, db: Database) -> None:
    """Eight at once on a backlog of several batches: every change gets one position."""
    here = await project_of(server, project)
    await project.collection("posts", fields=[COUNT], rules=OPEN)
    start = await server.feed.head(here)
    for _ in range(5):
        rows = [{"count": n} for n in range(1000)]
        assert 201 == (await project.operator.post("collections/posts/records", json=rows)).status_code
    moved = await asyncio.gather(*(settle(db, here.schema) for _ in range(8)))

    head = await server.feed.head(here)
    positions = await db.fetch_value(
        sql("select array_agg(pos order by seq) from {} where pos > {}", ident(here.schema, "_change_log"), start.pos)
    )
    assert list(range(start.pos + 1, start.pos + 5001)) == positions
    assert start.pos + 5000 == head.pos
    assert sum(moved) <= 5000


async def test_what_takes_too_long_at_once_is_moved_in_smaller_batches(
    project: ProjectUnderTest, server: Server, db: Database, database_url: str
) -> None:
    """A batch that hits the time limit of statements would else stop the feed for ever."""
    here = await project_of(server, project)
    await project.collection("posts", fields=[COUNT], rules=OPEN)
    start = await server.feed.head(here)
    slow = ident(here.schema, "_slow")
    async with db.transaction() as tx:
        await tx.execute(
            sql("create function {}() returns trigger language plpgsql as 'begin perform pg_sleep(0.01); return new; end'", slow)
        )
        log = ident(here.schema, "_change_log")
        await tx.execute(sql("create trigger slow before insert on {} for each row execute function {}()", log, slow))
    impatient = await Database.connect(database_url, size=2, limit_s=0.5)
    try:
        rows = [{"count": n} for n in range(120)]
        assert 201 == (await project.operator.post("collections/posts/records", json=rows)).status_code
        await settle(impatient, here.schema)
    finally:
        await impatient.close()

    assert 120 == (await server.feed.head(here)).pos - start.pos


async def test_a_read_of_large_changes_stays_small_and_says_that_there_is_more(project: ProjectUnderTest, server: Server) -> None:
    here = await project_of(server, project)
    await project.collection("posts", fields=[{"name": "words", "type": "json"}], rules=OPEN)
    start = await server.feed.head(here)
    noise = random.Random(1)
    for _ in range(8):
        words = {"noise": noise.randbytes(400_000).hex()}
        assert 201 == (await project.operator.post("collections/posts/records", json={"words": words})).status_code

    async with server.feed.watching(here) as waiter:
        # While another reader moves what is pending, there may be nothing to read yet.
        while not (first := await server.feed.read(here, start)):
            await waiter.wait(1)
        assert len(first) < 8
        assert await waiter.wait(0.01)
    rest = await everything(server.feed, here, Cursor(start.epoch, first[-1].pos))
    assert list(range(start.pos + 1, start.pos + 9)) == [one.pos for one in (*first, *rest)]


async def test_a_project_of_an_older_server_gets_its_log(project: ProjectUnderTest, server: Server, db: Database) -> None:
    """The migration finds tables that know nothing of a log, and those from which a key takes relations."""
    here = await project_of(server, project)
    await project.collection("posts", fields=[COUNT], rules=OPEN)
    fields = [{"name": "post", "type": "relation", "to": "posts", "on_delete": "set_null"}]
    await project.collection("notes", fields=fields, rules=OPEN)
    await project.operator.post("collections", json={"name": "seen", "view": {"sql": "select id, count from posts"}})
    post = await project.operator.create("posts", {"count": 1})
    note = await project.operator.create("notes", {"post": post["id"]})
    async with db.transaction() as tx:
        schema = ident(here.schema)
        for function in ("_log_new", "_log_change", "_count_change"):
            await tx.execute(sql("drop function {}.{} cascade", schema, ident(function)))
        for table in ("_feed", "_change_pending", "_change_log", "_history", "_histories"):
            await tx.execute(sql("drop table {}.{} cascade", schema, ident(table)))
        step = next(one for one in migrations("project") if one.name.endswith("_changes"))
        await tx.execute_script(step.text.replace("{schema}", f'"{here.schema}"'))

    start = await server.feed.head(here)
    await project.operator.delete(f"collections/posts/records/{post['id']}")
    await project.user()
    changes = await everything(server.feed, here, start)
    assert {("posts", "delete"), ("notes", "update"), ("users", "create")} == {(one.collection, one.action) for one in changes}
    assert 2 == (await project.operator.get(f"collections/notes/records/{note['id']}")).json()["rev"]


async def test_a_restored_dump_goes_on_where_it_was_and_may_begin_a_new_epoch(
    project: ProjectUnderTest, server: Server, db: Database, engine: Engine, database_url: str, empty_url: str
) -> None:
    """Another cluster counts its transactions from somewhere else; positions and the order of changes do not depend on it."""
    here = await project_of(server, project)
    await project.collection("posts", fields=[COUNT], rules=OPEN)
    start = await server.feed.head(here)
    await project.operator.create("posts", {"count": 1})
    head = await server.feed.head(here)
    await project.operator.create("posts", {"count": 2})
    major = int(await db.fetch_value(sql("show server_version_num"))) // 10000
    tools = Path(f"/usr/lib/postgresql/{major}/bin")
    if not (tools / "pg_dump").exists():
        pytest.skip(f"needs pg_dump of PostgreSQL {major}")
    dump = [tools / "pg_dump", "--no-owner", "--schema", here.schema, "--dbname", _admin(engine, database_url)]
    text = await asyncio.to_thread(subprocess.run, dump, capture_output=True, check=True)
    restore = [tools / "psql", "-q", "-v", "ON_ERROR_STOP=1", "--dbname", empty_url]
    await asyncio.to_thread(subprocess.run, restore, input=text.stdout, capture_output=True, check=True)

    restored = await Database.connect(empty_url, size=2)
    try:
        feed = Feed(restored)
        table = ident(here.schema, "posts")
        await restored.execute(sql("update {} set count = 7, rev = rev + 1", table))
        found = await everything(feed, here, start)
        assert [1, 2, 3, 4] == [one.pos - start.pos for one in found]
        assert replay(found) == await stored(restored, here, "posts")
        await new_epoch(restored, here.schema)
        with pytest.raises(Gone):
            await feed.read(here, head)
        assert (await feed.head(here)).pos == start.pos + 4
    finally:
        await restored.close()


def _admin(engine: Engine, url: str) -> str:
    return engine.admin_url.rpartition("/")[0] + "/" + url.rpartition("/")[2]
