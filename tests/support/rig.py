"""A real server with its own PostgreSQL that is killed and started again, and clients that remember what they were told."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from uuid import uuid4

from baas.infra.db.embedded.cluster import Cluster
from tests.support.process import ServerProcess, free_port, get, post, postgres_of, run, wait_for

WAYS = ("ordinary", "pipelined")
"""Both ways to PostgreSQL: the setting `db_pipeline` off and on."""
_UNKNOWN = {0, 503, 507}
"""To be asked again. A 500 is a bug, whatever was killed."""
_LONGEST_OUTAGE_S = 60


@dataclass(frozen=True)
class Answer:
    """Status 0: nobody answered, and what happened is unknown."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


class Client:
    """One caller with one kept connection, for one thread."""

    def __init__(self, port: int, base: str, token: str, statuses: Counter[int] | None = None) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=10)
        self._base = base
        self._token = token
        self.statuses: Counter[int] = Counter() if statuses is None else statuses
        """Of every call; may be shared between clients."""

    def call(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """Once, whatever comes of it. `if_match="…"` is the header If-Match."""
        answer = self._call(method, path, body, headers)
        self.statuses[answer.status] += 1
        return answer

    def sure(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """Again and again with one Idempotency-Key, until there is an answer that says what happened."""
        headers.setdefault("idempotency_key", uuid4().hex)
        until = time.monotonic() + _LONGEST_OUTAGE_S
        while True:
            answer = self.call(method, path, body, **headers)
            in_progress = answer.status == 409 and answer.body["code"] == "idempotency_in_progress"
            if answer.status not in _UNKNOWN and not in_progress:
                return answer
            assert time.monotonic() < until, f"no answer for {_LONGEST_OUTAGE_S} s, last {answer}"
            time.sleep(0.02)

    def _call(self, method: str, path: str, body: object, headers: dict[str, str]) -> Answer:
        sent = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            self._connection.request(method, self._base + path, None if body is None else json.dumps(body).encode(), sent)
            answer = self._connection.getresponse()
            raw = answer.read()
        except (OSError, HTTPException):
            self._connection.close()
            time.sleep(0.02)
            return Answer(0)
        told = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, json.loads(raw) if raw else None, told)

    def close(self) -> None:
        self._connection.close()

    def __del__(self) -> None:
        self.close()


class Rig:
    """The server, its data folder below a folder of its own, one project, and an operator's token."""

    def __init__(self, folder: Path, *, way: str, environ: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.way = way
        self.data = folder / "data"
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._environ = {
            "BAAS_API_PER_ADDRESS": "1000000",
            "BAAS_ANONYMOUS_CREATES_PER_ADDRESS": "1000000",
            "BAAS_LOG_LEVEL": "warning",
            "BAAS_REALTIME_PER_USER": "5000",
            "BAAS_REALTIME_PER_PROJECT": "5000",
            "BAAS_DB_PIPELINE": "on" if way == "pipelined" else "off",
            **(environ or {}),
        }
        self.recoveries: list[float] = []
        """Seconds from each fault until the server was ready again."""
        self.token = ""
        self.base = "/v1/projects/bank/"
        self.server = self._started()

    def found(self) -> None:
        """The operator and the project."""
        self.server.wait_until_ready(self.address)
        self.token = self._operator()
        assert post(f"{self.address}/v1/projects", {"name": "bank"}, Authorization=f"Bearer {self.token}")[0] == 201

    def client(self, token: str | None = None, statuses: Counter[int] | None = None) -> Client:
        return Client(self.port, self.base, token or self.token, statuses)

    def collection(self, name: str, *fields: dict[str, Any]) -> str:
        """Make it, open to everybody; the path of its records."""
        rules = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")
        made = self.client().call("POST", "collections", {"name": name, "fields": fields, "rules": rules})
        assert made.status == 201, made
        return f"collections/{name}/records"

    def user(self, email: str) -> str:
        """A user's token."""
        password = "correct horse battery"
        made = self.client().call("POST", "users", {"email": email, "password": password})
        assert made.status == 201, made
        session = self.client().call("POST", "auth/sign-in", {"email": email, "password": password})
        return str(session.body["access_token"])

    def everything(self, path: str) -> list[dict[str, Any]]:
        """All records, page by page through the API."""
        client, found, cursor = self.client(), [], ""
        while True:
            page = client.call("GET", f"{path}?limit=500{cursor}")
            assert page.status == 200, page
            found += page.body["items"]
            if not page.body["next_cursor"]:
                return found
            cursor = f"&cursor={page.body['next_cursor']}"

    def database_url(self) -> str:
        """As the server reaches it; good while it runs."""
        return Cluster.of_running_server(self.data).url()

    def superuser_url(self) -> str:
        """Of another database on the same PostgreSQL."""
        return Cluster.of_running_server(self.data).superuser_url()

    def kill_server(self) -> None:
        """`kill -9`, and start it again. Its PostgreSQL dies with it."""
        self.server.stop(signal.SIGKILL)
        self.server = self._started()
        self._recovered(time.monotonic())

    def restart_server(self) -> None:
        """End it as an operator does, which takes as long as it takes to drain, and start it again."""
        assert self.server.stop() == 0, self.server.output
        self.server = self._started()
        self._recovered(time.monotonic())

    def move_log(self, disk: Path) -> None:
        """PostgreSQL's write-ahead log onto another disk, as an operator may have it. The server is started again for it."""
        assert self.server.stop() == 0, self.server.output
        (log,) = self.data.glob("pg/[0-9]*/pg_wal")
        there = disk / "pg_wal"
        subprocess.run(["cp", "-a", str(log), str(there)], check=True)
        shutil.rmtree(log)
        log.symlink_to(there)
        self.server = self._started()
        self.server.wait_until_ready(self.address)

    def kill_postgres(self) -> None:
        """`kill -9` of the postmaster; the server lives on and brings it back."""
        (home,) = self.data.glob("pg/[0-9]*")
        pid = int((home / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        wait_for(lambda: not Path(f"/proc/{pid}").exists())
        self._recovered(killed)

    def kill_backend(self) -> None:
        """`kill -9` of one of PostgreSQL's processes that serve a connection; the others end, and it recovers by itself."""
        (home,) = self.data.glob("pg/[0-9]*")
        postmaster = int((home / "postmaster.pid").read_text().split()[0])
        for pid in postgres_of(self.folder):
            with contextlib.suppress(OSError):
                if pid != postmaster and b"baas_server" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
                    self._recovered(time.monotonic())
                    return
        raise AssertionError("no connection to kill")

    def _recovered(self, since: float) -> None:
        """A write is the proof: readiness is looked at once a second only."""
        client = self.client()
        wait_for(lambda: client.call("PATCH", "settings", {}).status == 200, _LONGEST_OUTAGE_S)
        self.recoveries.append(round(time.monotonic() - since, 2))

    def stop(self) -> int:
        return self.server.stop()

    def _started(self) -> ServerProcess:
        arguments = ["serve", "--port", str(self.port), "--data-dir", str(self.data)]
        return ServerProcess(arguments, self.folder, environ=self._environ)

    def _operator(self) -> str:
        email, password = "first@example.com", "a long password"
        made = ["operators", "create", email, "--password-stdin", "--data-dir", str(self.data)]
        code, _, said = run(made, self.folder, given=password)
        assert code == 0, said
        status, session = post(f"{self.address}/v1/operators/sign-in", {"email": email, "password": password})
        assert status == 200, session
        return str(session["token"])


@contextmanager
def rig(way: str, folder: Path | None = None, environ: dict[str, str] | None = None) -> Iterator[Rig]:
    """Started, and gone afterwards without a trace; a clean stop ends with 0."""
    below = folder or Path(tempfile.mkdtemp(prefix="baas-rig-"))
    below.chmod(0o755)
    made = Rig(below, way=way, environ=environ)
    try:
        made.found()
        yield made
        assert made.stop() == 0, made.server.output
    finally:
        made.server.stop(signal.SIGKILL)
        wait_for(lambda: postgres_of(below) == [])
        if folder is None:
            shutil.rmtree(below)


Record = Callable[[str, object], None]
"""pytest's `record_property`."""
Work = Callable[[Client, random.Random], bool]
"""One step of a client; whether something was acknowledged."""


class Crowd:
    """Clients that work at the same time, each with chance of its own made from one seed. The first that fails ends them all."""

    def __init__(self, rig: Rig, work: Sequence[Work], seed: int) -> None:
        self.statuses: Counter[int] = Counter()
        self.acknowledged = 0
        self.seed = seed
        self._stop = threading.Event()
        self._count = threading.Lock()
        self._rig = rig
        self._failures: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(rig.client(statuses=self.statuses), one, random.Random(f"{seed} {at}")))
            for at, one in enumerate(work)
        ]

    def __enter__(self) -> "Crowd":
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for one in self._threads:
            one.join()
        self._check()

    def wait_for_more(self, least: int) -> None:
        goal = self.acknowledged + least
        self.wait_until(lambda: self.acknowledged >= goal, 90 + least / 50)

    def wait_until(self, what: Callable[[], bool], seconds: float = 90) -> None:
        def ready() -> bool:
            self._check()
            return what()

        wait_for(ready, seconds)

    def _check(self) -> None:
        if self._failures:
            raise AssertionError(
                f"seed {self.seed}: a client failed; the server said:\n{self._rig.server.output[-20_000:]}"
            ) from self._failures[0]

    def _run(self, client: Client, work: Work, chance: random.Random) -> None:
        with contextlib.closing(client):
            try:
                while not self._stop.is_set():
                    done = work(client, chance)
                    with self._count:
                        self.acknowledged += done
            except BaseException as error:  # told in the test's own thread
                self._failures.append(error)
                self._stop.set()


def report(record: Record, test: str, **figures: object) -> None:
    """Into the run's report, and on the screen with `-s` or `-rP`."""
    for name, value in figures.items():
        record(name, value)
    print(test, figures)


def under_faults(rig: Rig, work: Sequence[Work], faults: Sequence[Callable[[], None]], seed: int, between: int) -> Crowd:
    """Let the crowd work, with a fault after every `between` acknowledged steps and as many steps at the end."""
    with Crowd(rig, work, seed) as crowd:
        crowd.wait_for_more(between)
        for fault in faults:
            fault()
            crowd.wait_for_more(between)
    assert get(f"{rig.address}/healthz")[0] == 200
    return crowd
