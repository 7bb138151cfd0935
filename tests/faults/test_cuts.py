"""Connections cut after N bytes, between client and server and between server and PostgreSQL, in both directions: a call is there
or it is not, and repeated by its key it is there once (threat model P1, P2).
"""

import asyncio
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest
import uvicorn

from baas.server import open_server
from tests.support.proxy import Direction, Proxy, target_of, through
from tests.support.rig import WAYS, Record, report
from tests.support.settings import settings_for_tests

RACING, BESIDE = 3, 8
"""Clients that race with each key, and groups of them, each with keys of its own."""
Leg = tuple[Literal["client", "database"], Direction]


@asynccontextmanager
async def between(database_url: str, folder: Path, way: str) -> AsyncIterator[tuple[Proxy, Proxy]]:
    """A server that reaches PostgreSQL by one proxy and is reached by another: the clients' first, then the database's."""
    async with Proxy(target_of(database_url)) as database:
        settings = settings_for_tests(folder, db_pipeline=way == "pipelined")
        async with open_server(settings, through(database_url, database.port)) as server:
            await server.operators.create("first@example.com", "operator password")
            listener = socket.create_server(("127.0.0.1", 0))
            config = uvicorn.Config(server.app, lifespan="off", log_config=None, timeout_graceful_shutdown=1)
            running = uvicorn.Server(config)
            serving = asyncio.create_task(running.serve(sockets=[listener]))
            async with Proxy(("127.0.0.1", listener.getsockname()[1])) as front:
                yield front, database
                database.let_be()
            running.should_exit = True
            await serving


async def until_known(http: httpx2.AsyncClient, statuses: Counter[int], path: str, body: Any, key: str) -> httpx2.Response:
    """The same call again, until somebody says what happened."""
    async with asyncio.timeout(60):
        while True:
            try:
                answer = await http.post(path, json=body, headers={"idempotency-key": key})
            except httpx2.TransportError:
                statuses[0] += 1
                continue
            statuses[answer.status_code] += 1
            if answer.status_code != 503 and answer.json().get("code") != "idempotency_in_progress":
                return answer
            await asyncio.sleep(0.01)


async def _race(empty_url: str, folder: Path, way: str, legs: Sequence[Leg], *, keys: int, seed: int) -> tuple[int, Counter[int]]:
    """`keys` calls, each made by three clients at once, while connections are cut again and again after more and more bytes, each
    time on one of the `legs`.
    """
    statuses: Counter[int] = Counter()
    async with between(empty_url, folder, way) as (front, database):
        address = f"http://127.0.0.1:{front.port}"
        async with httpx2.AsyncClient(base_url=address) as setting_up:
            session = await setting_up.post(
                "/v1/operators/sign-in", json={"email": "first@example.com", "password": "operator password"}
            )
            login = {"authorization": f"Bearer {session.json()['token']}"}
            assert (await setting_up.post("/v1/projects", json={"name": "cuts"}, headers=login)).status_code == 201
            made = {"name": "rows", "fields": [{"name": "key", "type": "text"}]}
            base = "/v1/projects/cuts/collections"
            assert (await setting_up.post(base, json=made, headers=login)).status_code == 201
        chance = random.Random(seed)
        proxies = {"client": front, "database": database}
        done = asyncio.Event()

        async def cutter() -> None:
            """At 1, 2, 3 … bytes first, then anywhere in a call."""
            at = 0
            while not done.is_set():
                at += 1
                leg, direction = chance.choice(legs)
                cut = proxies[leg]
                before = cut.cuts
                cut.cut_after(direction, at if at <= 40 else chance.randrange(1, 4000))
                while cut.cuts == before and not done.is_set():
                    await asyncio.sleep(0.001)

        async def one(http: httpx2.AsyncClient, key: int) -> tuple[int, str]:
            answer = await until_known(http, statuses, f"{base}/rows/records", {"key": str(key)}, f"key-{key}")
            assert answer.status_code == 201, answer.text
            return key, answer.json()["id"]

        async def client(at: int) -> list[tuple[int, str]]:
            async with httpx2.AsyncClient(base_url=address, headers=login, timeout=20) as http:
                return [await one(http, key) for key in range(at, keys, BESIDE)]

        cutting = asyncio.create_task(cutter())
        told = await asyncio.gather(*(client(at) for _ in range(RACING) for at in range(BESIDE)))
        done.set()
        await cutting
        for proxy in (front, database):
            proxy.let_be()
        async with httpx2.AsyncClient(base_url=address, headers=login) as http:
            rows: list[dict[str, Any]] = []
            cursor = ""
            while True:
                page = (await http.get(f"{base}/rows/records?limit=500{cursor}")).json()
                rows += page["items"]
                if not page["next_cursor"]:
                    break
                cursor = f"&cursor={page['next_cursor']}"

    answers = {pair for one in told for pair in one}
    assert len(rows) == keys, "one effect for each key"
    assert answers == {(int(row["key"]), row["id"]) for row in rows}, "every client was told of the same record"
    cuts = front.cuts + database.cuts
    assert cuts > keys / 4
    return cuts, statuses


LEGS: Sequence[Leg] = [("client", "up"), ("client", "down"), ("database", "up"), ("database", "down")]
EACH = {" ".join(leg): [leg] for leg in LEGS}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("legs", "keys"), [*((leg, 16) for leg in EACH), ("all", 40)])
async def test_each_key_has_one_effect_over_cut_connections(
    empty_url: str, tmp_path: Path, way: str, legs: str, keys: int, seed: int, record_property: Record
) -> None:
    cuts, statuses = await _race(empty_url, tmp_path, way, EACH.get(legs, LEGS), keys=keys, seed=seed)
    report(record_property, f"{legs}, {way}", seed=seed, keys=keys, rows=keys, cuts=cuts, statuses=dict(statuses))


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("legs", [*EACH, "all"])
async def test_five_hundred_keys_have_one_effect_each_over_cut_connections(
    empty_url: str, tmp_path: Path, way: str, legs: str, seed: int, record_property: Record
) -> None:
    cuts, statuses = await _race(empty_url, tmp_path, way, EACH.get(legs, LEGS), keys=500, seed=seed)
    report(record_property, f"{legs}, {way}", seed=seed, keys=500, rows=500, cuts=cuts, statuses=dict(statuses))
