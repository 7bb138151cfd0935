"""How things end in a real server: requests that a drain cuts off, streams, and PostgreSQL, once and for good."""

import contextlib
import json
import os
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from baas.infra.db.embedded.postmaster import is_ready
from tests.support.process import free_port, open_folder, running, wait_for
from tests.support.rig import Client, Rig, rig

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
LARGE = 24 * 1024**2
"""Bytes; more than the buffers of both ends of a connection hold."""


@contextlib.contextmanager
def server(drain_s: int) -> Iterator[Rig]:
    """A server of its own, with an operator and a project."""
    with rig("pipelined", environ={"BAAS_DRAIN_TIMEOUT_S": str(drain_s), "BAAS_LOG_LEVEL": "info"}) as one:
        yield one


def opened(one: Rig, method: str, path: str, *headers: str, body: bytes = b"") -> socket.socket:
    """A connection on which this much of a request has been sent, and nothing was read."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    client.settimeout(40)
    client.connect(("127.0.0.1", one.port))
    lines = (f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {one.token}", *headers, "", "")
    client.sendall("\r\n".join(lines).encode() + body)
    return client


def rest(client: socket.socket) -> bytes:
    """Everything that still comes, to the end of the connection."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts)


def a_large_file(one: Rig) -> str:
    """Its path."""
    assert one.client().call("POST", "buckets", {"name": "b", "max_size": LARGE}).status == 201
    path = f"{one.base}buckets/b/files/large"
    headers = {"Authorization": f"Bearer {one.token}", "Content-Type": "application/octet-stream"}
    put = urllib.request.Request(one.address + path, bytes(LARGE), headers, method="PUT")
    with urllib.request.urlopen(put) as answer:
        assert answer.status == 201
    return path


def test_what_a_drain_cuts_off_is_said_in_a_line() -> None:
    """A download nobody reads and a body that never ends: the one is cut, the other answered; neither is a fault."""
    with server(drain_s=1) as one:
        download = opened(one, "GET", a_large_file(one))
        body = opened(
            one, "POST", f"{one.base}collections", "Content-Type: application/json", "Content-Length: 100", body=b'{"name"'
        )
        with download, body:
            assert download.recv(12) == b"HTTP/1.1 200"
            time.sleep(0.3)

            assert one.stop() == 0
            told = rest(body)
            assert told.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1\r\n" in told.lower()
            assert json.loads(told.rpartition(b"\r\n\r\n")[2])["code"] == "stopping"
            assert len(rest(download)) < LARGE
        said = one.server.output
        assert said.count('"request_cut_off"') == 2
        assert said.count('"status":503') == 1
        assert "Traceback" not in said
        assert "Exception in ASGI" not in said
        assert "without completing" not in said


def test_a_stream_is_told_to_come_back_and_does_not_hold_the_server() -> None:
    """An open stream gets `reconnect` and its end; the server stops long before the drain's time is up."""
    with server(drain_s=20) as one:
        one.collection("notes", {"name": "text", "type": "text"})
        subscribe = "".join(f"%{byte:02x}" for byte in b'[{"id": "a", "collection": "notes", "initial": true}]')
        with opened(one, "GET", f"{one.base}realtime?subscribe={subscribe}", "Accept: text/event-stream") as stream:
            came = b""
            while b"event: snapshot" not in came:
                came += stream.recv(4096)
            started = time.monotonic()

            assert one.stop() == 0
            assert time.monotonic() - started < 15
            came += rest(stream)
            assert b"event: reconnect" in came
            assert came.endswith(b"0\r\n\r\n")  # ended, not torn
        assert "Traceback" not in one.server.output


def postmaster(data: Path) -> int:
    """The process of the embedded PostgreSQL of a data folder."""
    (home,) = data.glob("pg/[0-9]*")
    return int((home / "postmaster.pid").read_text().split()[0])


def test_readiness_says_no_while_postgresql_starts_again() -> None:
    """503 with the time to wait and the part that fails; the process lives on, and is ready again by itself."""
    with server(drain_s=5) as one:
        client = Client(one.port, "", one.token)
        os.kill(postmaster(one.data), signal.SIGKILL)
        answers = []
        wait_for(lambda: answers.append(client.call("GET", "/readyz")) or answers[-1].status == 503)

        assert answers[-1].headers["retry-after"] == "1"
        assert answers[-1].body["code"] == "not_ready"
        assert answers[-1].body["parts"]["database"] in ("failing", "slow")
        assert client.call("GET", "/healthz").status == 200
        wait_for(lambda: client.call("GET", "/readyz").status == 200, 60)


def ends_by_itself(folder: Path) -> None:
    """Kill PostgreSQL whenever it is ready, until the server has ended."""
    port, data = free_port(), folder / "data"
    with running(["serve", "--port", str(port), "--data-dir", str(data)], folder) as server:
        server.wait_until_ready(f"http://127.0.0.1:{port}")
        (home,) = data.glob("pg/[0-9]*")
        dead: set[int] = set()
        while server.process.poll() is None:  # a slow machine may need more than five to have five in a minute
            with contextlib.suppress(OSError, ValueError, IndexError):
                pid = postmaster(data)
                if pid not in dead and is_ready(home, pid):
                    os.kill(pid, signal.SIGKILL)
                    dead.add(pid)
            time.sleep(0.02)

        assert server.wait() == 1
        said = server.output
        assert len(dead) >= 5
        assert "PostgreSQL ended 5 times within 60 seconds and is not started again." in said
        assert "database system is ready to accept connections" in said
        assert "Traceback" not in said


@pytest.mark.timeout(300)
def test_a_postgresql_that_dies_again_and_again_ends_the_server() -> None:
    """The fifth death within a minute is the last: exit code 1, with what PostgreSQL said, and nothing left behind."""
    with open_folder() as folder:
        ends_by_itself(folder)
