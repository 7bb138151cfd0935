"""How far one change fans out, how late the last one hears of it, and what an idle client costs. No real client in the way: bare
sockets that count events.

    python -m tests.bench.realtime [--clients 1000] [--seconds 10] [--writers 4]
"""

import argparse
import asyncio
import json
import re
import resource
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2

from tests.bench.rig import Rig

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


async def _measure(rig: Rig, token: str, clients: int, seconds: float, writers: int) -> None:
    from tests.bench.rig import _memory

    url = urlsplit(rig.url)
    subscribe = quote(json.dumps([{"id": "a", "collection": "shared"}]))
    request = f"GET {rig.base}/realtime?subscribe={subscribe} HTTP/1.1\r\nHost: {url.netloc}\r\n\r\n".encode()
    loop, ages = asyncio.get_running_loop(), []
    before = _memory(rig.server_pid)
    started = time.perf_counter()
    open_: list[Counting] = []
    for first in range(0, clients, 50):
        some = [
            loop.create_connection(lambda: Counting(request, ages), url.hostname, url.port)
            for _ in range(min(50, clients - first))
        ]
        made: list[Any] = await asyncio.gather(*some)
        await asyncio.gather(*(one.ready for _, one in made))
        open_ += [one for _, one in made]
    took = time.perf_counter() - started
    await asyncio.sleep(2)
    idle = _memory(rig.server_pid)
    print(f"{clients} clients live in {took:.1f} s; memory {(idle - before) * 1000 / clients:.1f} MiB per 1,000 idle clients")
    async with httpx2.AsyncClient(base_url=rig.url, headers={"authorization": f"Bearer {token}"}) as http:
        place = f"{rig.base}/collections/shared/records"
        for pace, words in ((0.0, "as fast as it goes"), (0.25, f"{writers * 4} writes/s")):
            ages.clear()
            stop = time.monotonic() + seconds

            async def write(stop: float = stop, pace: float = pace) -> int:
                made = 0
                while time.monotonic() < stop:
                    answer = await http.post(place, json={"title": f"at {time.monotonic_ns()}"})
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
            print(
                f"{words}: {written} writes, {len(ages):,} events, lost {lost}, {len(ages) / took:,.0f} events/s,"
                f" p50 {p50:.0f} ms, p99 {p99:.0f} ms"
            )
    for one in open_:
        one.transport.abort()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--writers", type=int, default=4)
    given = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 65_536)), hard))
    with tempfile.TemporaryDirectory() as folder, Rig(Path(folder)) as rig:
        rig.prepare(10)
        with httpx2.Client(base_url=rig.url) as http:
            email, password = "bench@example.com", "a password for the benchmark"
            token = http.post("/v1/operators/sign-in", json={"email": email, "password": password}).json()["token"]
            rules = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")
            body = {"name": "shared", "fields": [{"name": "title", "type": "text"}], "rules": rules}
            answer = http.post(f"{rig.base}/collections", json=body, headers={"authorization": f"Bearer {token}"})
            assert answer.status_code == 201, answer.text
        asyncio.run(_measure(rig, token, given.clients, given.seconds, given.writers))


if __name__ == "__main__":
    main()
