"""Everybody comes back at once: the server is killed under many streams and writers, all streams live again and hold the list."""

import asyncio
import itertools
import json
import random
import time
from collections import Counter
from typing import Any

import asyncpg
import pytest

from tests.support.rig import Client, Crowd, Record, Rig, report

names = itertools.count()


class Subscriber:
    """A stream that comes back by itself behind the last event it saw, after a wait by chance, and what it holds."""

    def __init__(self, rig: Rig, collection: str, chance: random.Random) -> None:
        subscribe = json.dumps([{"id": "a", "collection": collection, "initial": True}])
        self._path = f"{rig.base}realtime?subscribe=" + "".join(f"%{one:02x}" for one in subscribe.encode())
        self._rig, self._chance = rig, chance
        self._last = ""
        self.held: dict[str, int] = {}
        self.live = False
        self.opened = 0
        self.refused: Counter[int] = Counter()

    async def run(self) -> None:
        while True:
            try:
                await self._follow()
            except (OSError, asyncio.IncompleteReadError, EOFError):
                pass
            finally:
                self.live = False
            await asyncio.sleep(self._chance.random() * 2)

    async def _follow(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._rig.port)
        try:
            since = f"Last-Event-ID: {self._last}\r\n" if self._last else ""
            head = f"GET {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self._rig.token}\r\n{since}\r\n"
            writer.write(head.encode())
            first = await reader.readline()
            if not first:
                return  # cut off before an answer
            status = int(first.split()[1])
            if status != 200:
                self.refused[status] += 1
                if status == 410:
                    self._last = ""
                return
            self.opened += 1
            name = id_ = ""
            while line := (await reader.readline()).decode().rstrip("\r\n"):
                pass  # headers
            while not reader.at_eof():
                line = (await reader.readline()).decode().rstrip("\r\n")
                key, _, value = line.partition(": ")
                match key:
                    case "event":
                        name = value
                    case "id":
                        id_ = value
                    case "data":
                        self._take(name, json.loads(value))
                        self._last = id_ or self._last
        finally:
            writer.transport.abort()

    def _take(self, name: str, data: dict[str, Any]) -> None:
        if name == "ready":
            self.live = True
        elif name == "snapshot":
            if data["first"]:
                self.held = {}
            self.held |= {one["id"]: one["rev"] for one in data["items"]}
        elif name == "change" and data["action"] in {"leave", "delete"}:
            self.held.pop(data["id"], None)
        elif name == "change":
            self.held[data["record"]["id"]] = data["record"]["rev"]


@pytest.mark.parametrize(
    ("streams", "writers"), [(60, 4), pytest.param(900, 20, marks=[pytest.mark.long, pytest.mark.timeout(900)])]
)
async def test_all_streams_live_again_and_hold_the_list(
    streams: int, writers: int, killable: Rig, seed: int, record_property: Record
) -> None:
    """Kill -9 under them; the time until the last is live again, and the statements that PostgreSQL ran meanwhile."""
    name = f"herd{next(names)}"
    path = await asyncio.to_thread(killable.collection, name, {"name": "n", "type": "int"})
    client = killable.client()
    made = await asyncio.to_thread(client.sure, "POST", path, [{"n": 0}] * 10)
    ids = [one["id"] for one in made.body["items"]]

    def work(client: Client, chance: random.Random) -> bool:
        time.sleep(0.05)
        if chance.random() < 0.2:
            return client.sure("POST", path, {"n": 1}).status == 201
        return client.sure("PATCH", f"{path}/{chance.choice(ids)}", {"n": {"$inc": 1}}).status == 200

    crowd_of = [Subscriber(killable, name, random.Random(f"{seed} {at}")) for at in range(streams)]
    tasks = [asyncio.create_task(one.run()) for one in crowd_of]
    try:
        await _until(lambda: all(one.live for one in crowd_of), "all live", crowd_of)
        with Crowd(killable, [work] * writers, seed) as crowd:
            await asyncio.to_thread(crowd.wait_for_more, 20)
            await asyncio.to_thread(killable.kill_server)
            began, at = time.monotonic(), crowd.acknowledged
            before = await _transactions(killable)
            await _until(lambda: all(one.live for one in crowd_of), "all live again", crowd_of)
            taken = round(time.monotonic() - began, 2)
            await asyncio.sleep(1.2)  # PostgreSQL's processes tell of their counts once a second
            asked = await _transactions(killable) - before
            writes = crowd.acknowledged - at
            await asyncio.to_thread(crowd.wait_for_more, 20)
        listed = {one["id"]: one["rev"] for one in await asyncio.to_thread(killable.everything, path)}
        await _until(lambda: all(one.held == listed for one in crowd_of), "all hold the list", crowd_of)
        assert not any(one.done() for one in tasks), "a stream that failed does not come back"
    finally:
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    refused = sum((one.refused for one in crowd_of), Counter[int]())
    assert set(refused) <= {503, 429}
    report(
        record_property, f"herd, {killable.way}", seed=seed, streams=streams, acknowledged=crowd.acknowledged,
        different_at_the_end=0, all_live_s=taken, transactions=asked, writes_meanwhile=writes,
        opened=sum(one.opened for one in crowd_of), refused=dict(refused),
    )  # fmt: skip


async def _until(what: Any, words: str, crowd: list[Subscriber]) -> None:
    try:
        async with asyncio.timeout(60):
            while not what():
                await asyncio.sleep(0.05)
    except TimeoutError:
        told = Counter((one.live, len(one.held), *one.refused.items()) for one in crowd)
        raise AssertionError(f"never: {words}; live, held, refused: {told}") from None


async def _transactions(rig: Rig) -> int:
    """Of the server's database, so far; every statement of its own is one."""
    connection = await asyncpg.connect(rig.database_url())
    try:
        await connection.execute("select pg_stat_clear_snapshot()")
        return int(await connection.fetchval("select xact_commit from pg_stat_database where datname = current_database()"))
    finally:
        await connection.close()
