"""Real servers in processes of their own: started by the command, reached by HTTP, stopped by signals."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

ROOT = Path(__file__).parents[2]
START_S, STOP_S = 60, 40
"""Bounds against hanging, not expectations: the machine may be busy."""


class ServerProcess:
    """One `baas …` process. Its output goes to a file, so that no pipe fills up."""

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        *,
        environ: Mapping[str, str] | None = None,
        user: int | None = None,
        python: str = sys.executable,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._output = folder / f"output-{time.monotonic_ns()}"
        self._file = self._output.open("wb")
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(
            [python, "-m", "baas", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=clean_environ(folder, environ),
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )

    @property
    def output(self) -> str:
        return self._output.read_text("utf-8", "replace")

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_until_ready(self, url: str) -> float:
        """Seconds from the start to the first good /readyz. Fails with the output when the process ends first."""
        while get(f"{url}/readyz")[0] != 200:
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.output}"
            assert time.monotonic() - self.started_at < START_S, f"not ready:\n{self.output}"
            time.sleep(0.02)
        return time.monotonic() - self.started_at

    def stop(self, kind: int = signal.SIGTERM) -> int:
        """Send the signal and wait; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(kind)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(STOP_S)
        self._file.close()
        return code


@contextmanager
def running(
    arguments: Sequence[str],
    folder: Path,
    *,
    environ: Mapping[str, str] | None = None,
    user: int | None = None,
    python: str = sys.executable,
) -> Iterator[ServerProcess]:
    """A process that is gone afterwards, whatever happened."""
    server = ServerProcess(arguments, folder, environ=environ, user=user, python=python)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.terminate()
            try:
                server.wait()
            except subprocess.TimeoutExpired:
                server.process.kill()
                server.wait()


def run(
    arguments: Sequence[str], folder: Path, *, environ: Mapping[str, str] | None = None, given: str = ""
) -> tuple[int, str, str]:
    """One command to its end: exit code, stdout, stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "baas", *arguments],
        input=given,
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
        cwd=folder,
        env=clean_environ(folder, environ),
    )
    return done.returncode, done.stdout, done.stderr


def clean_environ(folder: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours without BAAS_*, with a home of its own and a cheap password hash; warnings of any library are errors."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BAAS_")}
    paths = os.pathsep.join(str(ROOT / part) for part in ("", "sdk", "cli"))
    ours = {"HOME": str(folder), "PYTHONPATH": paths, "PYTHONWARNINGS": "error", "XDG_CONFIG_HOME": str(folder / "config")}
    ours |= {"BAAS_ARGON2_MEMORY_KIB": "8192", "BAAS_ARGON2_TIME": "1"}
    return kept | ours | dict(more or {})


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def get(url: str, **headers: str) -> tuple[int, bytes]:
    """Status and body; 0 when nobody answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except (OSError, HTTPException):
        return 0, b""


def post(url: str, body: object, **headers: str) -> tuple[int, dict[str, object]]:
    """Status and JSON; 0 when the outcome is unknown."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())
    except (OSError, ValueError, HTTPException):
        return 0, {}


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that another user may enter; in the end no database runs in it, and it is gone."""
    path = Path(tempfile.mkdtemp(prefix="baas-test-"))
    path.chmod(0o755)
    yield path
    assert postgres_of(path) == []
    shutil.rmtree(path)


def postgres_of(folder: Path) -> list[int]:
    """Every living process that runs on a database below this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if Path(entry / "cwd").readlink().is_relative_to(folder) and b"postgres" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def wait_for(what: object, seconds: float = 60) -> None:
    """Until `what()` is true; fails after the time."""
    assert callable(what)
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
