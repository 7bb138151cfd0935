"""Three clients race with each key over lines that are cut at byte N, before and behind the server (threat model P1, P2)."""

import asyncio
import contextlib
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
import uvicorn

from baas.base.ids import short_id
from baas.server import open_server
from tests.support.proxy import Proxy, target_of, through
from tests.support.settings import settings_for_tests

_RACERS, _AT_ONCE, _MOST_TRIES = 3, 8, 200


@pytest.mark.timeout(300)
async def test_each_key_has_one_effect_over_cut_lines(empty_url: str, seed: int, tmp_path: Path) -> None:
    await _each_key_has_one_effect(empty_url, tmp_path, seed, keys=40)


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_each_of_many_keys_has_one_effect_over_cut_lines(empty_url: str, seed: int, tmp_path: Path) -> None:
    await _each_key_has_one_effect(empty_url, tmp_path, seed, keys=500)


async def _each_key_has_one_effect(url: str, folder: Path, seed: int, *, keys: int) -> None:
    chance = random.Random(seed)
    async with (
        Proxy(target_of(url)) as behind,
        _served(through(url, behind.port), folder) as (port, token, base),
        Proxy(("127.0.0.1", port)) as before,
    ):
        cutting = asyncio.create_task(_cut(chance, before, behind))
        places = asyncio.Semaphore(_AT_ONCE)
        statuses: Counter[int] = Counter()

        async def race(at: int) -> set[str]:
            async with places:
                racers = [_create(before.port, base, token, at, statuses) for _ in range(_RACERS)]
                return set(await asyncio.gather(*racers))

        try:
            ids = await asyncio.gather(*[race(at) for at in range(keys)])
        finally:
            cutting.cancel()
            before.let_be()
            behind.let_be()
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}{base}") as http:
            stored = await _all(http, token)
        print(
            f"seed {seed}: {keys} keys x {_RACERS} clients, cuts {before.cuts} + {behind.cuts}, {len(stored)} effects, {statuses}"
        )

        assert all(len(one) == 1 for one in ids), "every client of a key has the same record"
        assert {next(iter(one)) for one in ids} == set(stored)
        assert len(stored) == keys
        assert before.cuts + behind.cuts > keys / 4, "the lines were cut"


async def _cut(chance: random.Random, before: Proxy, behind: Proxy) -> None:
    """One line after the other breaks after so many more bytes, in either direction."""
    while True:
        proxy, direction = chance.choice([before, before, behind]), chance.choice(["up", "down"])
        proxy.cut_after(direction, chance.randrange(1, 3000))  # type: ignore[arg-type]
        await asyncio.sleep(chance.uniform(0.005, 0.06))


async def _create(port: int, base: str, token: str, at: int, statuses: Counter[int]) -> str:
    """The id of the record that this key made, asked until there is an answer."""
    headers = {"authorization": f"Bearer {token}", "idempotency-key": f"key-{at}"}
    for _ in range(_MOST_TRIES):
        with contextlib.suppress(httpx2.TransportError):
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}{base}", timeout=10) as http:
                answer = await http.post("/collections/things/records", json={"n": at}, headers=headers)
            statuses[answer.status_code] += 1
            if answer.status_code == 201:
                return str(answer.json()["id"])
            assert answer.status_code in (409, 503), answer.text
        await asyncio.sleep(0.02)
    raise AssertionError(f"no answer for key {at}")


async def _all(http: httpx2.AsyncClient, token: str) -> list[str]:
    ids, cursor = [], None
    while True:
        params = {"limit": 500, "fields": "id", **({"cursor": cursor} if cursor else {})}
        answer = await http.get("/collections/things/records", params=params, headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == 200, answer.text
        ids += [one["id"] for one in answer.json()["items"]]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return ids


@contextlib.asynccontextmanager
async def _served(database_url: str, folder: Path) -> AsyncIterator[tuple[int, str, str]]:
    """A server behind a socket with one collection `things`: its port, an operator's token, the path of the project."""
    async with open_server(settings_for_tests(folder), database_url) as server:
        listener = socket.create_server(("127.0.0.1", 0))
        uvicorn_server = uvicorn.Server(uvicorn.Config(server.app, lifespan="off", log_config=None, timeout_graceful_shutdown=1))
        serving = asyncio.create_task(uvicorn_server.serve(sockets=[listener]))
        while not uvicorn_server.started:
            await asyncio.sleep(0.01)
        port = listener.getsockname()[1]
        try:
            await server.operators.create("operator@example.com", "operator password")
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
                body = {"email": "operator@example.com", "password": "operator password"}
                token = (await http.post("/v1/operators/sign-in", json=body)).json()["token"]
                headers = {"authorization": f"Bearer {token}"}
                name = f"t-{short_id()}"
                assert (await http.post("/v1/projects", json={"name": name}, headers=headers)).status_code == 201
                made = {"name": "things", "fields": [{"name": "n", "type": "int"}]}
                answer = await http.post(f"/v1/projects/{name}/collections", json=made, headers=headers)
                assert answer.status_code == 201, answer.text
            yield port, token, f"/v1/projects/{name}"
        finally:
            uvicorn_server.should_exit = True
            await serving
