"""Everybody comes back at once: the server is killed under many streams and writers, all streams live again and hold the list."""

import asyncio
import itertools
import json
import random
import resource
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from tests.support.rig import Client, Crowd, Record, Rig, report

names = itertools.count()


class Subscriber:
    """A stream that comes back by itself behind the last event it saw, after a wait by chance, and what it holds."""

    def __init__(self, rig: Rig, collection: str, token: str, chance: random.Random) -> None:
        subscribe = json.dumps([{"id": "a", "collection": collection, "initial": True}])
        self._path = f"{rig.base}realtime?subscribe=" + "".join(f"%{one:02x}" for one in subscribe.encode())
        self._rig, self._token, self._chance = rig, token, chance
        self._last = ""
        self._wait_s: float | None = None
        self.held: dict[str, int] = {}
        self.live = False
        self.opened = self.doubled = 0
        self.refused: Counter[int] = Counter()

    async def run(self) -> None:
        while True:
            try:
                await self._follow()
            except (OSError, asyncio.IncompleteReadError, EOFError):
                pass
            finally:
                self.live = False
            wait_s, self._wait_s = self._wait_s, None
            await asyncio.sleep(self._chance.random() * 2 if wait_s is None else wait_s)

    async def _follow(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._rig.port)
        try:
            since = f"Last-Event-ID: {self._last}\r\n" if self._last else ""
            head = f"GET {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self._token}\r\n{since}\r\n"
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
            record = data["record"]
            self.doubled += self.held.get(record["id"], 0) >= record["rev"]
            self.held[record["id"]] = record["rev"]
        elif name == "reconnect":
            self._wait_s = data["after_ms"] / 1000


@pytest.mark.parametrize(
    ("streams", "writers"), [(60, 4), pytest.param(2_000, 50, marks=[pytest.mark.long, pytest.mark.timeout(900)])]
)
async def test_all_streams_live_again_and_hold_the_list(
    streams: int, writers: int, killable: Rig, seed: int, record_property: Record
) -> None:
    """Kill -9 and a drain under them; the long form then kills in silence, to count what coming back and an event cost.

    Few writes are to what is followed: the streams are mostly idle, and the log is read all the same.
    """
    _many_files()
    name, beside = f"herd{next(names)}", f"beside{next(names)}"
    path, elsewhere = [await asyncio.to_thread(killable.collection, one, {"name": "n", "type": "int"}) for one in (name, beside)]
    client = killable.client()
    made = await asyncio.to_thread(client.sure, "POST", path, [{"n": 0}] * 10)
    ids = [one["id"] for one in made.body["items"]]
    tokens = [await asyncio.to_thread(killable.user, f"{name}-{at}@example.com") for at in range(4)]
    followed = min(1.0, 40 / streams)

    def work(client: Client, chance: random.Random) -> bool:
        time.sleep(0.2 * chance.random())
        if chance.random() > followed:
            return client.sure("POST", elsewhere, {"n": 1}).status == 201
        if chance.random() < 0.2:
            return client.sure("POST", path, {"n": 1}).status == 201
        return client.sure("PATCH", f"{path}/{chance.choice(ids)}", {"n": {"$inc": 1}}).status == 200

    herd = [Subscriber(killable, name, tokens[at % 4], random.Random(f"{seed} {at}")) for at in range(streams)]
    tasks = [asyncio.create_task(one.run()) for one in herd]
    figures: dict[str, object] = {}

    async def back(what: str, fault: Callable[[], None]) -> int:
        await asyncio.to_thread(fault)
        began, before = time.monotonic(), await _transactions(killable)
        await _until(lambda: all(one.live for one in herd), f"all live after {what}", herd)
        figures[f"{what}_all_live_s"] = round(time.monotonic() - began, 2)
        return before

    async def level() -> None:
        listed = {one["id"]: one["rev"] for one in await asyncio.to_thread(killable.everything, path)}
        await _until(lambda: all(one.held == listed for one in herd), "all hold the list", herd)

    try:
        await _until(lambda: all(one.live for one in herd), "all live", herd)
        with Crowd(killable, [work] * writers, seed) as crowd:
            await asyncio.to_thread(crowd.wait_for_more, 5 * writers)
            await back("kill", killable.kill_server)
            await asyncio.to_thread(crowd.wait_for_more, 5 * writers)
            await back("drain", killable.restart_server)
            await asyncio.to_thread(crowd.wait_for_more, 5 * writers)
        await level()
        if streams > 1_000:
            before = await back("silent_kill", killable.kill_server)
            figures |= await _counted(killable, before, lambda: client.sure("PATCH", f"{path}/{ids[0]}", {"n": {"$inc": 1}}))
            await level()
        assert not any(one.done() for one in tasks), "a stream that failed does not come back"
    finally:
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    refused = sum((one.refused for one in herd), Counter[int]())
    assert set(refused) <= {503, 429}
    doubled = sum(one.doubled for one in herd)
    report(
        record_property, f"herd, {killable.way}", seed=seed, streams=streams, acknowledged=crowd.acknowledged, lost=0,
        doubled=doubled, **figures, opened=sum(one.opened for one in herd), refused=dict(refused),
    )  # fmt: skip
    assert doubled == 0


def _many_files() -> None:
    """For this process and the servers that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 16_384)), hard))


async def _until(what: Any, words: str, crowd: list[Subscriber]) -> None:
    try:
        async with asyncio.timeout(120):
            while not what():
                await asyncio.sleep(0.05)
    except TimeoutError:
        told = Counter((one.live, len(one.held), *one.refused.items()) for one in crowd)
        raise AssertionError(f"never: {words}; live, held, refused: {told}") from None


async def _counted(rig: Rig, before: int, write: Callable[[], object]) -> dict[str, object]:
    """Transactions of a start and everybody's coming back, without what the same time costs in silence; then of a while in
    silence, and of one with a write twice a second. Idle processes of PostgreSQL tell of their counts after ten seconds.
    """
    came = time.monotonic()
    await asyncio.sleep(11)
    back, took = await _transactions(rig) - before, time.monotonic() - came

    async def rate(change: bool) -> float:
        began, at = await _transactions(rig), time.monotonic()
        for _ in range(40):
            if change:
                await asyncio.to_thread(write)
            await asyncio.sleep(0.5)
        return (await _transactions(rig) - began) / (time.monotonic() - at)

    idle, busy = await rate(change=False), await rate(change=True)
    return {
        "silent_kill_transactions": round(back - idle * took),
        "transactions_a_second_in_silence": round(idle, 1),
        "transactions_a_second_with_2_writes": round(busy, 1),
    }


async def _transactions(rig: Rig) -> int:
    """Of the server's database, so far; every statement of its own is one."""
    connection = await asyncpg.connect(rig.database_url())
    try:
        await connection.execute("select pg_stat_clear_snapshot()")
        return int(await connection.fetchval("select xact_commit from pg_stat_database where datname = current_database()"))
    finally:
        await connection.close()
