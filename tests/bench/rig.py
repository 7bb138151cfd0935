"""A real server process with an embedded PostgreSQL, filled with notes, and a look into both processes."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import asyncpg
import httpx2

from baas.infra.db.embedded.cluster import Cluster

EMAIL, PASSWORD = "bench@example.com", "a password for the benchmark"
_TICK = os.sysconf("SC_CLK_TCK")
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_MIB = 1024**2
_UNLIMITED = {"BAAS_API_PER_ADDRESS": "1000000000", "BAAS_ANONYMOUS_CREATES_PER_ADDRESS": "1000000000"}


class Rig:
    """`baas serve` in a folder of its own; `prepare` makes the project, the rest looks at it."""

    def __init__(self, folder: Path, workers: int = 1) -> None:
        self.folder = folder
        self._workers = workers
        folder.chmod(0o755)
        self.data = folder / "data"
        self._baas = Path(sys.executable).with_name("baas")

    def __enter__(self) -> "Rig":
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        environment = {**os.environ, "BAAS_ACCESS_LOG_SAMPLE": "0", **_UNLIMITED}
        self._make_operator(environment)
        command = [self._baas, "serve", "--port", str(port), "--data-dir", self.data, "--workers", str(self._workers)]
        self._server = subprocess.Popen(command, env=environment, stderr=(self.folder / "stderr").open("w"))
        self._wait_until_ready()
        self.idle_memory = f"server {memory(*self.server_pids()):.0f} MiB, PostgreSQL {memory(*self.database_pids()):.0f} MiB"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.terminate()
        self._server.wait(60)

    @property
    def server_pid(self) -> int:
        return self._server.pid

    @property
    def base(self) -> str:
        return "/v1/projects/bench"

    def prepare(self, rows: int) -> tuple[str, str]:
        """A project with `rows` notes of one user; the user's access token and id."""
        self._rows = rows
        with httpx2.Client(base_url=self.url, timeout=60) as http:
            token = _made(http.post("/v1/operators/sign-in", json={"email": EMAIL, "password": PASSWORD}))["token"]
            http.headers["authorization"] = f"Bearer {token}"
            _made(http.post("/v1/projects", json={"name": "bench"}))
            user = _made(http.post(f"{self.base}/users", json={"email": EMAIL, "password": PASSWORD}))["id"]
            _made(http.post(f"{self.base}/collections", json=_NOTES))
            self._fill(http, user, rows)
            del http.headers["authorization"]
            session = _made(http.post(f"{self.base}/auth/sign-in", json={"email": EMAIL, "password": PASSWORD}))
        return session["access_token"], user

    def statement_of(self, work: Callable[[], Any], name: str) -> str:
        """The statement that `work` makes the server send most, as a pgbench script with the same parameters."""
        self._log_statements(True)
        before = self._log.stat().st_size
        work()
        self._log_statements(False)
        written = self._log.read_bytes()
        # A full log is begun anew.
        text = written[before if before <= len(written) else 0 :].decode("utf-8", "replace")
        parameters = r"(?:[^\n]*DETAIL: {1,2}[Pp]arameters: ([^\n]*)\n)?"
        found = re.findall(r"execute (?:__asyncpg[^:]*|p\d+): ([^\n]*)\n" + parameters, text)
        if not found:
            sys.exit(f"no statement of {name} in PostgreSQL's log")
        return _as_script(*max(found, key=lambda one: sum(other[0] == one[0] for other in found[-200:])), name, self._rows)

    @property
    def dsn(self) -> str:
        return Cluster.of_running_server(self.data).url()

    @property
    def pgbench(self) -> str:
        own = sorted(self.data.glob("engine/*/**/bin/pgbench"))
        return str(own[-1]) if own else tool("pgbench")

    def server_pids(self) -> list[int]:
        """The server's first process and its workers."""
        return [self.server_pid, *(pid for pid in descendants(self.server_pid) if not is_postgres(pid))]

    def database_pids(self) -> list[int]:
        """The postmaster and all its children."""
        return [pid for pid in descendants(self.server_pid) if is_postgres(pid)]

    def version(self) -> str:
        return subprocess.run([self.pgbench, "--version"], capture_output=True, text=True, check=True).stdout.strip()

    @property
    def _log(self) -> Path:
        return Cluster.of_running_server(self.data).log

    def _make_operator(self, environment: dict[str, str]) -> None:
        command = [self._baas, "operators", "create", EMAIL, "--password-stdin", "--data-dir", self.data]
        subprocess.run(command, input=PASSWORD, text=True, check=True, env=environment, stdout=subprocess.DEVNULL)

    def _wait_until_ready(self) -> None:
        for _ in range(600):
            try:
                if httpx2.get(f"{self.url}/readyz").status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            time.sleep(0.05)
        sys.exit((self.folder / "stderr").read_text())

    def _fill(self, http: httpx2.Client, user: str, rows: int) -> None:
        started = time.perf_counter()
        for first in range(1, rows + 1, 1000):
            batch = [_note(number, user) for number in range(first, min(first + 1000, rows + 1))]
            _made(http.post(f"{self.base}/collections/notes/records", json=batch))
        seconds = time.perf_counter() - started
        print(f"{rows} records by {-(-rows // 1000)} array creates, one after another: {rows / seconds:,.0f} records/s\n")
        self._as_superuser("vacuum analyze")

    def _log_statements(self, on: bool) -> None:
        values = ("0", "-1", "default") if on else ("1000", "0", "terse")
        names = ("log_min_duration_statement", "log_parameter_max_length", "log_error_verbosity")
        for name, value in zip(names, values, strict=True):
            self._as_superuser(f"alter system set {name} = '{value}'")
        self._as_superuser("select pg_reload_conf()")
        time.sleep(0.5)

    def _as_superuser(self, statement: str) -> None:
        import asyncio

        async def run() -> None:
            connection = await asyncpg.connect(Cluster.of_running_server(self.data).superuser_url("baas"))
            await connection.execute(statement, timeout=600)
            await connection.close()

        asyncio.run(run())


_NOTES: dict[str, Any] = {
    "name": "notes",
    "fields": [
        {"name": "owner", "type": "relation", "to": "users", "required": True},
        {"name": "title", "type": "text", "required": True},
        {"name": "body", "type": "text"},
        {"name": "n", "type": "int"},
        {"name": "done", "type": "bool"},
    ],
    "indexes": [{"fields": ["owner", "-created_at", "-id"]}],
    "rules": {
        "list": "record.owner == auth.id",
        "view": "record.owner == auth.id",
        "create": "next.owner == auth.id",
        "update": "record.owner == auth.id",
    },
}


def _note(number: int, user: str) -> dict[str, Any]:
    return {
        "id": f"00000000-0000-7000-8000-{number:012x}",
        "owner": user,
        "title": f"Note {number}",
        "body": f"{number} " * 30,
        "n": number % 1000,
        "done": number % 3 == 0,
    }


def _made(answer: httpx2.Response) -> Any:
    if answer.status_code >= 300:
        sys.exit(f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text[:500]}")
    return answer.json()


def _as_script(text: str, parameters: str, name: str, rows: int) -> str:
    """The statement with its parameters as pgbench variables; what differs from call to call is drawn anew by pgbench."""
    values = re.findall(r"\$(\d+) = (NULL|'(?:[^']|'')*')", parameters)
    lines = []
    for number, value in sorted(values, key=lambda one: -int(one[0])):
        bare = value.strip("'")
        if name in ("get", "update") and bare.startswith("00000000-0000-7000-8000-"):
            value = "('00000000-0000-7000-8000-' || lpad(to_hex(:bench_n::bigint), 12, '0'))"  # noqa: PLW2901
            lines.append(f"\\set bench_n random(1, {rows})")
        elif name == "list" and bare.isdigit() and 500 <= int(bare) <= 1000:
            value = ":bench_n::bigint"  # noqa: PLW2901
            lines.append("\\set bench_n random(500, 1000)")
        elif name == "create" and _ID.fullmatch(bare) and bare[:4] == _newest(values)[:4] and bare == _newest(values):
            value = "gen_random_uuid()"  # noqa: PLW2901
        text = text.replace(f"${number}", value)
    # pgbench takes every `:word` for a variable of its own, in string constants too; the planner folds this back.
    text = re.sub(r"'[^']*'", lambda found: re.sub(r":(?=[A-Za-z])", "'||chr(58)||'", found[0]), text)
    return "\n".join([*lines, text.rstrip(";") + ";\n"])


def _newest(values: list[tuple[str, str]]) -> str:
    """Of the ids among the parameters the one made last: ids are ordered by time, so it is the new record's."""
    return max(bare for _, value in values if _ID.fullmatch(bare := value.strip("'")))


def descendants(pid: int) -> list[int]:
    """The children of a process, their children, and so on."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, waiting = [], list(children.get(pid, ()))
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], ())
    return found


def is_postgres(pid: int) -> bool:
    try:
        return "postgres" in Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return False


def tool(name: str) -> str:
    return shutil.which(name) or sys.exit(f"The benchmark needs {name}: on Debian, apt install {name}.")


def cpu_seconds(*pids: int) -> float:
    """User and system time that the processes, and the children they have outlived, have used so far."""
    total = 0.0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15])) / _TICK
    return total


def memory(*pids: int) -> float:
    """Proportional set size in MiB: shared pages counted once."""
    total = 0
    for pid in pids:
        try:
            match = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        except OSError:
            continue
        total += int(match[1]) * 1024 if match else 0
    return total / _MIB
