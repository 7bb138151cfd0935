"""Exports of a real server that stops: the client can tell a file that was cut from a whole one."""

import http.client
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process import free_port, open_folder, post, run, running

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fills the socket buffers of Linux")
BATCHES, BATCH, WIDTH = 24, 1000, 900
PATH = "/v1/projects/app/collections/things/records"
QUICK = {"BAAS_DRAIN_TIMEOUT_S": "4", "BAAS_API_PER_ADDRESS": "100000"}


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    with open_folder() as folder:
        fill(folder)
        yield folder / "data"


def fill(folder: Path) -> None:
    """22 MB of records that everybody may list, in `data`."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running(["serve", "--port", str(port), "--data-dir", str(folder / "data")], folder, environ=QUICK) as server:
        server.wait_until_ready(url)
        made = ["operators", "create", "a@example.com", "--password-stdin", "--data-dir", str(folder / "data")]
        assert run(made, folder, given="a long password")[0] == 0
        _, session = post(f"{url}/v1/operators/sign-in", {"email": "a@example.com", "password": "a long password"})
        bearer = {"Authorization": f"Bearer {session['token']}"}
        assert post(f"{url}/v1/projects", {"name": "app"}, **bearer)[0] == 201, server.output
        collection = {"name": "things", "fields": [{"name": "text", "type": "text"}], "rules": {"list": "true"}}
        assert post(f"{url}/v1/projects/app/collections", collection, **bearer)[0] == 201
        for _ in range(BATCHES):
            assert post(url + PATH, [{"text": "x" * WIDTH}] * BATCH, **bearer)[0] == 201
        assert server.stop() == 0


def begin(port: int) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """An export of which the first bytes have come."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", f"{PATH}/export")
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.read(1000)
    return connection, answer


def test_a_client_that_dawdles_through_the_drain_gets_a_file_that_is_visibly_cut(data: Path) -> None:
    port = free_port()
    with running(["serve", "--port", str(port), "--data-dir", str(data)], data.parent, environ=QUICK) as server:
        server.wait_until_ready(f"http://127.0.0.1:{port}")
        connection, answer = begin(port)
        server.process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        assert server.wait() == 0
        assert time.monotonic() - started < 8
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            answer.read()
        answer.close()
        connection.close()
        assert "Traceback" not in server.output


def test_a_client_that_reads_on_gets_the_whole_file_before_the_server_ends(data: Path) -> None:
    port = free_port()
    with running(["serve", "--port", str(port), "--data-dir", str(data)], data.parent, environ=QUICK) as server:
        server.wait_until_ready(f"http://127.0.0.1:{port}")
        connection, answer = begin(port)
        server.process.send_signal(signal.SIGTERM)
        rest = answer.read()
        assert BATCHES * BATCH == rest.count(b"\n")
        assert rest.endswith(b"}\n")
        answer.close()
        connection.close()
        assert server.wait() == 0
