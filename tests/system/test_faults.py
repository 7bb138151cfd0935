"""Killed under load: whatever was acknowledged is there, once; the server comes back by itself (promise P1)."""

import contextlib
import itertools
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.process import ServerProcess, free_port, post, postgres_of, run, wait_for
from tests.support.process import get as get_url

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
CLIENTS = 8
ACKNOWLEDGED_BETWEEN_KILLS = 40
Record = Callable[[str, object], None]


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="baas-test-"))
    path.chmod(0o755)
    yield path
    assert postgres_of(path) == []
    shutil.rmtree(path)


class Writers:
    """Clients that create records one after the other, each with a number of its own, and remember what was acknowledged."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self.acknowledged: list[int] = []
        self.statuses: Counter[int] = Counter()
        self._threads = [threading.Thread(target=self._write) for _ in range(CLIENTS)]

    def __enter__(self) -> "Writers":
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for one in self._threads:
            one.join()

    def wait_for_more(self, least: int = ACKNOWLEDGED_BETWEEN_KILLS) -> None:
        goal = len(self.acknowledged) + least
        wait_for(lambda: len(self.acknowledged) >= goal, 90)

    def _write(self) -> None:
        while not self._stop.is_set():
            number = next(self._numbers)
            status, _ = post(f"{self._url}/collections/entries/records", {"n": number}, Authorization=f"Bearer {self._token}")
            self.statuses[status] += 1
            if status == 201:
                self.acknowledged.append(number)
            else:
                time.sleep(0.02)


def start(folder: Path, port: int) -> ServerProcess:
    environ = {"BAAS_API_PER_ADDRESS": "1000000", "BAAS_LOG_LEVEL": "warning"}
    return ServerProcess(["serve", "--port", str(port), "--data-dir", str(folder / "data")], folder, environ=environ)


def found_numbers(url: str, token: str) -> list[int]:
    """All stored numbers, page by page through the API."""
    found, cursor = [], ""
    while True:
        status, body = get_url(f"{url}/collections/entries/records?limit=500{cursor}", Authorization=f"Bearer {token}")
        assert status == 200, body
        page = json.loads(body)
        found += [item["n"] for item in page["items"]]
        if not page["next_cursor"]:
            return found
        cursor = f"&cursor={page['next_cursor']}"


Kill = Callable[[list[ServerProcess], Path, int], None]


def kill_server(servers: list[ServerProcess], folder: Path, port: int) -> None:
    servers[-1].stop(signal.SIGKILL)
    servers.append(start(folder, port))


def kill_postgres(_servers: list[ServerProcess], folder: Path, _port: int) -> None:
    (home,) = (folder / "data").glob("pg/[0-9]*")
    os.kill(int((home / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)


def kill_a_backend(_servers: list[ServerProcess], folder: Path, _port: int) -> None:
    (home,) = (folder / "data").glob("pg/[0-9]*")
    postmaster = int((home / "postmaster.pid").read_text().split()[0])

    def kill_one() -> bool:
        """After the last kill it takes a moment until there is one again."""
        for pid in postgres_of(folder):
            with contextlib.suppress(OSError):
                if pid != postmaster and b"baas_server" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
                    return True
        return False

    wait_for(kill_one)


@pytest.mark.parametrize("kill", [kill_server, kill_postgres, kill_a_backend])
def test_what_was_acknowledged_survives_a_kill(folder: Path, kill: Kill, record_property: Record) -> None:
    """Eight clients create records while something is killed; every acknowledged number is stored exactly once."""
    kill_under_load(folder, kill, 1, record_property)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kill", [kill_server, kill_postgres, kill_a_backend])
def test_what_was_acknowledged_survives_twenty_kills(folder: Path, kill: Kill, record_property: Record) -> None:
    """The same, again and again; the postmaster at most four times a minute, for at the fifth the supervisor gives up."""
    kill_under_load(folder, kill, 20, record_property, pause_s=15.5 if kill is kill_postgres else 0)


def kill_under_load(folder: Path, kill: Kill, kills: int, record_property: Record, *, pause_s: float = 0) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    servers, recoveries = [start(folder, port)], []
    try:
        servers[-1].wait_until_ready(address)
        token = an_operator(address, folder)
        url = a_project(address, token)
        with Writers(url, token) as writers:
            writers.wait_for_more()
            for _ in range(kills):
                kill(servers, folder, port)
                started = time.monotonic()
                writers.wait_for_more()
                recoveries.append(round(time.monotonic() - started, 2))
                time.sleep(max(0.0, pause_s - recoveries[-1]))
        wait_for(lambda: get_url(f"{address}/readyz")[0] == 200)
        found = found_numbers(url, token)
    finally:
        codes = [one.stop() for one in servers]

    assert codes[-1] == 0, servers[-1].output
    assert set(writers.acknowledged) - set(found) == set()
    assert [number for number, times in Counter(found).items() if times > 1] == []
    assert set(writers.statuses) <= {201, 503, 0}, writers.statuses
    assert len(writers.acknowledged) >= (kills + 1) * ACKNOWLEDGED_BETWEEN_KILLS
    figures = {"acknowledged": len(writers.acknowledged), "lost": 0, "doubled": 0, "until_writing_again_s": recoveries}
    for name, value in figures.items():
        record_property(name, value)
    print(kill.__name__, dict(writers.statuses), figures)


def an_operator(address: str, folder: Path) -> str:
    email, password = "first@example.com", "a long password"
    made = ["operators", "create", email, "--password-stdin", "--data-dir", str(folder / "data")]
    code, _, said = run(made, folder, given=password)
    assert code == 0, said
    status, session = post(f"{address}/v1/operators/sign-in", {"email": email, "password": password})
    assert status == 200, session
    return str(session["token"])


def a_project(address: str, token: str) -> str:
    """A project with one collection; its URL."""
    key = {"Authorization": f"Bearer {token}"}
    assert post(f"{address}/v1/projects", {"name": "bank"}, **key)[0] == 201
    status, made = post(
        f"{address}/v1/projects/bank/collections", {"name": "entries", "fields": [{"name": "n", "type": "int"}]}, **key
    )
    assert status == 201, made
    return f"{address}/v1/projects/bank"
