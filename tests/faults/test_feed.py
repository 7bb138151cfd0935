"""The feed beside a server at work: sixteen writers, hot records, transactions that stay open elsewhere, a slow reader, and a
database that was dumped and restored (threat model P4).
"""

import asyncio
import itertools
import random
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import pytest

from baas.base.errors import Gone
from baas.base.project import Project, ProjectSettings
from baas.base.settings import Settings
from baas.engines.changes.log import Cursor
from baas.engines.changes.reader import Feed
from baas.infra.db.pool import Database
from baas.server import open_server
from tests.conftest import empty_database, missing
from tests.support.callers import ProjectUnderTest
from tests.support.engines import Engine
from tests.support.feeds import Rows, beginning, follow_through_faults, replay, stored
from tests.support.rig import Client, Crowd, Record, Rig, report
from tests.support.settings import settings_for_tests

names = itertools.count()


@pytest.mark.parametrize("changes", [300, pytest.param(20_000, marks=[pytest.mark.long, pytest.mark.timeout(1200)])])
def test_sixteen_writers_a_long_transaction_and_a_slow_reader(
    killable: Rig, seed: int, changes: int, record_property: Record
) -> None:
    """Two transactions are open all the while: one in another database, one here that has written and not committed. A quick
    reader and one that takes a nap after every few changes both see every change once, dense, each record in its order.
    """
    tag = next(names)
    path = killable.collection(f"hot{tag}", {"name": "count", "type": "int"})
    others = killable.collection(f"quiet{tag}", {"name": "count", "type": "int"})
    made = killable.client().sure("POST", path, [{"count": 0}] * 12)
    ids = [one["id"] for one in made.body["items"]]
    held = killable.client().sure("POST", others, {"count": 0}).body["id"]

    def work(client: Client, chance: random.Random) -> bool:
        place = f"{path}/{chance.choice(ids)}"
        match chance.randrange(8):
            case 0:
                answer = client.sure("DELETE", place)
            case 1:
                answer = client.sure("PUT", place, {"count": chance.randrange(99)})
            case _:
                answer = client.sure("PATCH", place, {"count": {"$inc": 1}})
        assert answer.status in {200, 201, 204, 404}, answer
        return answer.status < 300

    async def run() -> None:
        elsewhere = await asyncpg.connect(killable.superuser_url())
        here = await asyncpg.connect(killable.database_url(), server_settings={"idle_in_transaction_session_timeout": "0"})
        try:
            async with elsewhere.transaction(), here.transaction():
                await elsewhere.execute("select pg_current_xact_id()")
                await here.execute(f'update "{project.schema}".quiet{tag} set count = 1, rev = rev + 1 where id = $1', held)
                await asyncio.to_thread(crowd.wait_for_more, changes)
        finally:
            await elsewhere.close()
            await here.close()

    project, start, base = asyncio.run(beginning(killable, f"hot{tag}", f"quiet{tag}"))
    with (
        follow_through_faults(killable, project, start) as quick,
        follow_through_faults(killable, project, start, nap_s=0.1, step=20) as slow,
        Crowd(killable, [work] * 16, seed) as crowd,
    ):
        asyncio.run(run())
    _, _, tables = asyncio.run(beginning(killable, f"hot{tag}", f"quiet{tag}"))

    seen = quick.changes
    assert seen == slow.changes
    assert [one.pos for one in seen] == list(range(start.pos + 1, start.pos + 1 + len(seen)))
    assert len({one.seq for one in seen}) == len(seen)
    assert len(seen) == crowd.acknowledged + 1
    assert replay(seen, base) == tables
    assert quick.longest_silence_s < 3, "nothing waits for a transaction elsewhere"
    report(
        record_property, f"feed, {killable.way}", seed=seed, writers=16, acknowledged=crowd.acknowledged, changes=len(seen),
        missed=0, disordered=0, twice=0, longest_silence_s=quick.longest_silence_s,
    )  # fmt: skip


@pytest.mark.timeout(300)
async def test_a_dump_restored_elsewhere_goes_on(
    project: ProjectUnderTest,
    engine: Engine,
    database_url: str,
    db: Database,
    seed: int,
    record_property: Record,
    tmp_path: Path,
) -> None:
    """Dumped while it is written to, restored into an empty database: the tables are those of the log up to one moment, what was
    pending is not lost, old cursors are gone, and from the fresh one nothing is missed though transaction ids began anew.
    """
    if shutil.which("pg_dump") is None or shutil.which("psql") is None:
        missing("pg_dump and psql (on Debian: apt install postgresql-client)")
    chance = random.Random(seed)
    opened: dict[str, str | None] = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")
    await project.collection("hot", [{"name": "count", "type": "int"}], opened)
    ids = [(await project.operator.create("hot", {"count": 0}))["id"] for _ in range(8)]
    here = Project(UUID(project.id), project.name, project.schema, ProjectSettings())
    start = await Feed(db).head(here)
    base = await stored(db, here, "hot")
    done = asyncio.Event()

    async def write() -> None:
        while not done.is_set():
            place = f"collections/hot/records/{chance.choice(ids)}"
            answer = await project.operator.patch(place, json={"count": {"$inc": 1}})
            assert answer.status_code == 200, answer.text

    writers = [asyncio.create_task(write()) for _ in range(8)]
    try:
        await asyncio.sleep(0.3)
        dump = await asyncio.to_thread(_dump, database_url)
    finally:
        done.set()
        await asyncio.gather(*writers)

    async with empty_database(engine) as url:
        await asyncio.to_thread(_restore, dump, engine.admin_url, url)
        other = await Database.connect(url, size=4)
        try:
            counts = await _go_on(other, here, start, base, ids[0], url, settings_for_tests(tmp_path))
        finally:
            await other.close()
    report(record_property, "dump and restore", seed=seed, **counts)


async def _go_on(
    db: Database, project: Project, start: Cursor, base: Rows, record: str, url: str, settings: Settings
) -> dict[str, Any]:
    """By itself, when a server first finds itself on the restored database."""
    feed = Feed(db)
    before = [one async for one in _all(feed, project, start)]
    assert before
    assert replay(before, base) == await stored(db, project, "hot")

    old = Cursor(start.epoch, before[-1].pos)
    async with open_server(settings, url):
        pass
    with pytest.raises(Gone) as caught:
        await feed.read(project, old)
    fresh = Cursor.parse(str(caught.value.facts["cursor"]))
    async with open_server(settings, url):
        pass
    assert await feed.head(project) == fresh, "only a restore begins a new epoch, and not a start"
    rows = await stored(db, project, "hot")
    async with db.transaction() as tx:
        for _ in range(5):
            await tx.execute_script(f"update \"{project.schema}\".hot set count = 7, rev = rev + 1 where id = '{record}'")
    after = [one async for one in _all(feed, project, fresh)]
    assert [one.pos for one in after] == list(range(fresh.pos + 1, fresh.pos + 6))
    assert replay(after, rows) == await stored(db, project, "hot")
    twice = [pos for pos, times in Counter(one.pos for one in [*before, *after]).items() if times > 1]
    assert twice == []
    return {"before": len(before), "after": len(after), "missed": 0, "disordered": 0, "twice": 0}


async def _all(feed: Feed, project: Project, after: Cursor) -> Any:
    while found := await feed.read(project, after, 100):
        for one in found:
            yield one
        after = Cursor(after.epoch, found[-1].pos)


def _dump(url: str) -> bytes:
    command = ["pg_dump", "--no-owner", "--no-privileges", "--dbname", url]
    done = subprocess.run(command, check=False, capture_output=True)
    if b"server version mismatch" in done.stderr:
        pytest.skip("needs a pg_dump as new as this PostgreSQL")
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def _restore(dump: bytes, admin_url: str, url: str) -> None:
    """By the superuser, as a restore is; owned by whoever served it."""
    login = urlsplit(url).username
    place = admin_url.rpartition("/")[0] + "/" + Path(urlsplit(url).path).name
    done = subprocess.run(["psql", "--quiet", "--dbname", place], input=dump, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    grants = (
        "".join(f'grant all on all {kind} in schema %I to "{login}";' for kind in ("tables", "sequences", "functions"))
        + f'grant all on schema %I to "{login}"'
    )
    text = (
        "do $$ declare s text; begin for s in select nspname from pg_namespace where nspname !~ '^pg_|information_schema' loop"
        f" execute format('{grants}', s, s, s, s); end loop; end $$"
    )
    done = subprocess.run(["psql", "--quiet", "--dbname", place, "-c", text], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
