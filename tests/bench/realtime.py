"""How far one change fans out, how late the last one hears of it, and what an idle client costs. No real client in the way: bare
sockets that count events.

    python -m tests.bench.realtime [--clients 1000] [--seconds 10] [--writers 4]
    python -m tests.bench.realtime --members 500      users of their own, under a rule that looks for each in another collection
"""

import argparse
import asyncio
import json
import os
import re
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg
import httpx2

from baas.infra.db.embedded.cluster import Cluster
from tests.bench.rig import Rig, memory

_SENT = re.compile(rb'"title":"at ([0-9]+)"')


class Counting(asyncio.Protocol):
    """One client: counts the changes that it hears of, and how old each is (milliseconds)."""

    def __init__(self, request: bytes, ages: list[float]) -> None:
        self._request, self._ages = request, ages
        self._rest = b""
        self.ready = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        data = self._rest + data
        end = data.rfind(b"\n\n") + 2
        self._rest = data[end:]
        if not self.ready.done() and b"event: ready" in data:
            self.ready.set_result(None)
        for found in _SENT.finditer(data[:end]):
            self._ages.append((now - int(found[1])) / 1e6)


MEMBER = 'auth != null && record.team != null && rows("members").exists(m, m.team == record.team && m.user == auth.id)'
OPEN = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")


def _request(rig: Rig, subscription: dict[str, Any], token: str | None = None) -> bytes:
    known = f"Authorization: Bearer {token}\r\n" if token else ""
    subscribe = quote(json.dumps([subscription]))
    host = urlsplit(rig.url).netloc
    return f"GET {rig.base}/realtime?subscribe={subscribe} HTTP/1.1\r\nHost: {host}\r\n{known}\r\n".encode()


async def _measure(rig: Rig, token: str, requests: Sequence[bytes], record: dict[str, Any], seconds: float, writers: int) -> None:
    """Open a client a request, then create records of `shared` like `record`, which all of them see."""
    url, clients = urlsplit(rig.url), len(requests)
    loop, ages = asyncio.get_running_loop(), []
    before = memory(rig.server_pid)
    started = time.perf_counter()
    open_: list[Counting] = []
    for first in range(0, clients, 50):
        some = [
            loop.create_connection(lambda request=request: Counting(request, ages), url.hostname, url.port)
            for request in requests[first : first + 50]
        ]
        made: list[Any] = await asyncio.gather(*some)
        await asyncio.gather(*(one.ready for _, one in made))
        open_ += [one for _, one in made]
    took = time.perf_counter() - started
    await asyncio.sleep(2)
    idle = memory(rig.server_pid)
    print(f"{clients} clients live in {took:.1f} s; memory {(idle - before) * 1000 / clients:.1f} MiB per 1,000 idle clients")
    async with httpx2.AsyncClient(base_url=rig.url, headers={"authorization": f"Bearer {token}"}) as http:
        place = f"{rig.base}/collections/shared/records"
        for pace, words in ((0.0, "as fast as it goes"), (0.25, f"{writers * 4} writes/s")):
            ages.clear()
            asked = await _transactions(rig)
            stop = time.monotonic() + seconds

            async def write(stop: float = stop, pace: float = pace) -> int:
                made = 0
                while time.monotonic() < stop:
                    answer = await http.post(place, json={"title": f"at {time.monotonic_ns()}", **record})
                    assert answer.status_code == 201, answer.text
                    made += 1
                    await asyncio.sleep(pace)
                return made

            started = time.perf_counter()
            written = sum(await asyncio.gather(*(write() for _ in range(writers))))
            while len(ages) < written * clients and time.perf_counter() - started < seconds * 6:
                await asyncio.sleep(0.1)
            took = time.perf_counter() - started
            ages.sort()
            p50, p99 = (ages[int(len(ages) * share)] for share in (0.5, 0.99))
            lost = written * clients - len(ages)
            asked = await _transactions(rig) - asked
            print(
                f"{words}: {written} writes, {len(ages):,} events, lost {lost}, {len(ages) / took:,.0f} events/s,"
                f" p50 {p50:.0f} ms, p99 {p99:.0f} ms,"
                f" {asked / written:.1f} transactions a write"
            )
    for one in open_:
        one.transport.abort()


async def _transactions(rig: Rig) -> int:
    """Of all databases, so far. PostgreSQL's idle processes tell of theirs after ten seconds."""
    await asyncio.sleep(11)
    connection = await asyncpg.connect(Cluster.of_running_server(rig.data).superuser_url())
    try:
        return int(await connection.fetchval("select sum(xact_commit) from pg_stat_database"))
    finally:
        await connection.close()


def _members(http: httpx2.Client, rig: Rig, count: int) -> tuple[list[bytes], dict[str, Any]]:
    """Users who are all in one team among ten, each with a stream; and what a record of the team has."""

    def made(path: str, body: object) -> Any:
        answer = http.post(f"{rig.base}/{path}", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    answer = http.patch(f"{rig.base}/settings", json={"auth": {"sign_up": True}})
    assert answer.status_code == 200, answer.text
    made("collections", {"name": "teams", "fields": [{"name": "name", "type": "text"}]})
    links = [{"name": "team", "type": "relation", "to": "teams"}, {"name": "user", "type": "relation", "to": "users"}]
    made("collections", {"name": "members", "fields": links})
    fields = [{"name": "title", "type": "text"}, {"name": "team", "type": "relation", "to": "teams"}]
    made("collections", {"name": "shared", "fields": fields, "rules": {**OPEN, "list": MEMBER, "view": MEMBER}})
    teams = [made("collections/teams/records", {"name": f"{at}"})["id"] for at in range(10)]
    requests = []
    for at in range(count):
        session = httpx2.post(
            f"{rig.url}{rig.base}/auth/sign-up", json={"email": f"m{at}@example.com", "password": "a password for it"}
        ).json()
        made(
            "collections/members/records",
            [{"team": team, "user": session["user"]["id"]} for team in (teams[0], teams[at % 9 + 1])],
        )
        requests.append(_request(rig, {"id": "a", "collection": "shared"}, session["access_token"]))
    return requests, {"team": teams[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--members", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--writers", type=int, default=4)
    given = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 65_536)), hard))
    # Many sign up from one address, and hashing is not what is measured.
    os.environ |= {"BAAS_ARGON2_MEMORY_KIB": "8192", "BAAS_ARGON2_TIME": "1", "BAAS_SIGN_IN_PER_ADDRESS": "100000"}
    with tempfile.TemporaryDirectory() as folder, Rig(Path(folder)) as rig:
        rig.prepare(10)
        with httpx2.Client(base_url=rig.url, timeout=60) as http:
            email, password = "bench@example.com", "a password for the benchmark"
            token = http.post("/v1/operators/sign-in", json={"email": email, "password": password}).json()["token"]
            http.headers["authorization"] = f"Bearer {token}"
            if given.members:
                requests, record = _members(http, rig, given.members)
            else:
                body = {"name": "shared", "fields": [{"name": "title", "type": "text"}], "rules": OPEN}
                answer = http.post(f"{rig.base}/collections", json=body)
                assert answer.status_code == 201, answer.text
                requests, record = [_request(rig, {"id": "a", "collection": "shared"})] * given.clients, {}
        asyncio.run(_measure(rig, token, requests, record, given.seconds, given.writers))


if __name__ == "__main__":
    main()
