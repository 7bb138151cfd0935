"""Clients that are slow and a database that keeps everybody waiting cost their own slots: others are served, health stays green
(threat model P10).
"""

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import asyncpg
import pytest

from tests.support.process import get
from tests.support.rig import Record, Rig, report

_ESTABLISHED = b"\x01"  # the first byte of Linux's tcp_info


def _latencies(rig: Rig, path: str, calls: int) -> tuple[float, float]:
    """Median and p99 of reads by one client, in milliseconds."""
    client, taken = rig.client(), []
    for _ in range(calls):
        began = time.perf_counter()
        answer = client.call("GET", f"{path}?limit=1&fields=id")
        taken.append((time.perf_counter() - began) * 1000)
        assert answer.status == 200, answer
    taken.sort()
    return round(taken[len(taken) // 2], 1), round(taken[int(len(taken) * 0.99)], 1)


KINDS = ("headers", "body", "deaf")


@contextmanager
def _slow_clients(rig: Rig, path: str, count: int) -> Iterator[Counter[str]]:
    """A third of them send a byte of their headers a second, a third a byte of their body, the others ask for megabytes and read
    nothing; inside, all are connected. Counts who was cut, by kind.
    """
    ends: Counter[str] = Counter()
    stop = threading.Event()
    to = f"{rig.base}{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {rig.token}\r\n".encode()
    first = {
        "headers": b"POST " + to,
        "body": b"POST " + to + b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n",
        "deaf": b"GET " + to + b"\r\n",
    }

    def drip(sockets: list[tuple[str, socket.socket]]) -> None:
        while not stop.wait(1):
            for kind, one in [*sockets]:
                try:
                    if kind != "deaf":
                        one.send(b"X")
                    elif one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) != _ESTABLISHED:
                        raise ConnectionResetError
                except OSError:
                    sockets.remove((kind, one))
                    ends[kind] += 1

    with ExitStack() as closing:
        sockets = []
        for at in range(count):
            one = closing.enter_context(socket.socket())
            one.settimeout(20)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.connect(("127.0.0.1", rig.port))
            kind = KINDS[at % 3]
            one.sendall(first[kind])
            sockets.append((kind, one))
        thread = threading.Thread(target=drip, args=(sockets,))
        thread.start()
        try:
            yield ends
        finally:
            stop.set()
            thread.join()


@pytest.mark.parametrize(("slow", "seconds"), [(100, 3), pytest.param(500, 75, marks=pytest.mark.long)])
def test_slow_clients_cost_others_little(killable: Rig, slow: int, seconds: int, record_property: Record) -> None:
    """Slots are for calls that have arrived whole: hundreds of dripping ones leave a normal client's times as they are. After the
    time limits for headers, for silence and for what nobody reads they are cut.
    """
    path = killable.collection(f"slow{slow}", {"name": "n", "type": "int"}, {"name": "text", "type": "text"})
    for _ in range(3):
        assert killable.client().call("POST", path, [{"text": "x" * 90_000}] * 10).status == 201
    before = _latencies(killable, path, 150)
    with _slow_clients(killable, path, slow) as ends:
        beside = _latencies(killable, path, 150)
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            assert get(f"{killable.address}/healthz")[0] == 200
            time.sleep(0.2)
        cut = dict(ends)
    if seconds > 60:
        assert all(cut.get(kind, 0) >= slow // 3 for kind in KINDS), cut
    assert killable.client().call("POST", path, {"n": 1}).status == 201
    assert beside[0] < max(20 * before[0], 500), (before, beside)
    report(record_property, f"{slow} slow clients, {killable.way}", median_and_p99_ms=before, beside_them=beside, cut=cut)


@pytest.mark.parametrize("calls", [1, pytest.param(3, marks=pytest.mark.long)])
def test_a_database_that_makes_everybody_wait_ends_in_503(killable: Rig, calls: int, record_property: Record) -> None:
    """A lock held elsewhere stops every statement on a table; 200 clients ask of it. All are answered in time, mostly by 503 with
    Retry-After, health and readiness stay green, and when the lock is gone everything works.
    """
    path = killable.collection(f"waiting{calls}", {"name": "n", "type": "int"})
    answers: list[tuple[int, bool, float]] = []
    healths: Counter[int] = Counter()

    def ask() -> None:
        client = killable.client()
        for _ in range(calls):
            began = time.monotonic()
            answer = client.call("POST", path, {"n": 1})
            answers.append((answer.status, "retry-after" in answer.headers, time.monotonic() - began))

    async def locked() -> None:
        connection = await asyncpg.connect(killable.database_url())
        try:
            async with connection.transaction():
                schema = await connection.fetchval("select schema from baas.projects where name = 'bank'")
                await connection.execute(f'lock table "{schema}".waiting{calls} in access exclusive mode')
                threads = [threading.Thread(target=ask) for _ in range(200)]
                for one in threads:
                    one.start()
                while any(one.is_alive() for one in threads):
                    for place in ("healthz", "readyz"):
                        found = await asyncio.to_thread(get, f"{killable.address}/{place}")
                        healths[found[0]] += 1
                    await asyncio.sleep(0.1)
                    await connection.execute("select 1")
        finally:
            await connection.close()

    asyncio.run(locked())
    statuses = Counter(status for status, _, _ in answers)
    longest = max(taken for _, _, taken in answers)
    assert set(statuses) == {503}, statuses
    assert all(told for _, told, _ in answers), "Retry-After"
    assert len(answers) == 200 * calls
    assert longest < 10, "nobody hangs"
    assert set(healths) == {200}
    assert killable.client().sure("POST", path, {"n": 1}).status == 201
    assert len(killable.everything(path)) == 1, "a 503 changed nothing"
    report(record_property, f"pool exhausted, {killable.way}", clients=200, answers=dict(statuses), longest_s=round(longest, 2),
           health=dict(healths))  # fmt: skip
