"""The command in processes of its own: started, killed, drained, refused."""

import asyncio
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from baas.infra.db.embedded.cluster import Cluster
from baas.process import signals_while_starting
from tests.support.process import ROOT, ServerProcess, free_port, get, open_folder, post, postgres_of, run, running, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
NOBODY = 65_534
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with open_folder() as path:
        yield path


@pytest.fixture(scope="module")
def data(folder: Path) -> Path:
    """A data folder that has been used before."""
    with Cluster(folder / "data"):
        pass
    return folder / "data"


@pytest.fixture(scope="module")
def given(folder: Path) -> Iterator[Cluster]:
    """A PostgreSQL that runs already, as `--database-url` wants it."""
    with Cluster(folder / "given") as cluster:
        yield cluster


def new_database(cluster: Cluster, name: str, options: str = "") -> str:
    """A database of the server's login; its address."""

    async def make() -> None:
        connection = await asyncpg.connect(cluster.superuser_url())
        await connection.execute(f"create database {name} owner baas_server {options}")
        await connection.close()

    asyncio.run(make())
    return cluster.url(name)


def serve(data: Path, port: int, *more: str) -> list[str]:
    return ["serve", "--port", str(port), "--data-dir", str(data), *more]


def test_dev_is_one_command(folder: Path, record_property) -> None:
    """From nothing to ready without a question; the user is the operator at once; nothing stays behind."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    for start in ("first", "again"):
        with running(["dev", "--port", str(port)], folder / "dev", environ={"PATH": os.defpath}) as server:
            record_property(f"{start}_start_s", round(server.wait_until_ready(url), 2))
            wait_for(lambda server=server: "/docs" in server.output)
            assert f"try `{sys.executable} -m baas projects list`" in server.output
            code, listed, said = run(["projects", "list", "--json"], folder / "dev")
            assert (code, listed) == (0, '{\n  "items": [],\n  "next_cursor": null\n}\n'), said

            assert server.stop() == 0
            assert "Traceback" not in server.output
        assert postgres_of(folder / "dev") == []
    assert (folder / "dev" / ".baas" / "secret").is_dir()


def test_dev_takes_the_next_free_port_and_says_so(folder: Path, data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running(["dev", "--port", str(port), "--data-dir", str(data), "--json"], folder / "next") as server:
            wait_for(lambda: '"url"' in server.output)

            assert f"port {port} is in use, taking {port + 1}" in server.output
            assert f'"url": "http://127.0.0.1:{port + 1}"' in server.output


def test_a_message_over_64_kib_ends_the_socket(folder: Path, data: Path) -> None:
    """With 1009, before it is whole in memory; one of that length is read."""
    port = free_port()
    with running(["dev", "--port", str(port), "--data-dir", str(data)], folder / "sockets") as server:
        server.wait_until_ready(f"http://127.0.0.1:{port}")
        code, _, said = run(["projects", "create", "sockets"], folder / "sockets")
        assert code == 0, said
        address = f"ws://127.0.0.1:{port}/v1/projects/sockets/realtime/socket"
        with connect(address) as talk:
            talk.send('{"type": "auth", "ref": 0}')
            talk.send('{"type": "ping", "ref": 1}'.ljust(64 * 1024))
            heard = [str(talk.recv(timeout=30)) for _ in range(3)]
            assert {"ok", "ready"} == {json.loads(one)["type"] for one in heard}
            talk.send('{"type": "ping", "ref": 2}'.ljust(64 * 1024 + 1))
            with pytest.raises(ConnectionClosed) as closed:
                talk.recv(timeout=30)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


def test_dev_is_for_this_machine_only(folder: Path) -> None:
    code, out, said = run(["dev", "--host", "0.0.0.0", "--data-dir", str(folder / "never")], folder)

    assert (code, out) == (2, "")
    assert "listens on this machine only" in said
    assert not (folder / "never").exists()


def test_a_killed_server_takes_postgres_along_and_loses_nothing(folder: Path, data: Path) -> None:
    """kill -9 of the server: PostgreSQL ends, the next start finds everything."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    made = ["operators", "create", "first@example.com", "--password-stdin", "--data-dir", str(data)]
    with running(serve(data, port), folder / "killed") as server:
        server.wait_until_ready(url)
        assert run(made, folder, given="a long password\n")[0] == 0
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    wait_for(lambda: postgres_of(data) == [])
    with running(serve(data, port), folder / "killed") as server:
        server.wait_until_ready(url)
        signed_in = post(f"{url}/v1/operators/sign-in", {"email": "first@example.com", "password": "a long password"})

        assert signed_in[0] == 200
        assert server.stop() == 0


def test_a_killed_postgres_comes_back_by_itself(folder: Path, data: Path) -> None:
    """The server stays up, says 503 meanwhile, and serves again without hands."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running(serve(data, port), folder / "pg") as server:
        server.wait_until_ready(url)
        (home,) = data.glob("pg/[0-9]*")
        first = int((home / "postmaster.pid").read_text().split()[0])
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: (home / "postmaster.pid").exists() and int((home / "postmaster.pid").read_text().split()[0]) != first)
        wait_for(lambda: get(f"{url}/readyz")[0] == 200)

        # Readiness is remembered for a second, and a request may meet a broken connection of the pool: 503, come again.
        wait_for(lambda: post(f"{url}/v1/operators/sign-in", {"email": "a@example.com", "password": "x"})[0] == 401)
        assert server.stop() == 0
        assert "Traceback" not in server.output


def test_two_servers_start_at_once_on_an_empty_database(folder: Path, given: Cluster) -> None:
    """One migrates, the other waits, both serve; both made their own key unless they share one, so they share it."""
    address, ports = new_database(given, "two"), (free_port(), free_port())
    environ = {"BAAS_DATABASE_URL": address, "BAAS_SECRET_KEY": "k7Qm2ZtR9vWx4Lp8Nf3Hs6Jd1Gb5Yc0A"}
    servers = [ServerProcess(serve(folder / f"two-{port}", port), folder / f"two-{port}", environ=environ) for port in ports]
    try:
        for server, port in zip(servers, ports, strict=True):
            server.wait_until_ready(f"http://127.0.0.1:{port}")
    finally:
        codes = [server.stop() for server in servers]

    assert codes == [0, 0], "\n".join(server.output for server in servers)


def test_another_secret_key_is_refused(folder: Path, given: Cluster) -> None:
    """What earlier servers sealed would not open. A worker says so as a single process does."""
    address = new_database(given, "sealed")
    environ = {"BAAS_DATABASE_URL": address, "BAAS_SECRET_KEY": "k7Qm2ZtR9vWx4Lp8Nf3Hs6Jd1Gb5Yc0A"}
    port = free_port()
    with running(serve(folder / "sealed", port), folder / "sealed", environ=environ) as server:
        server.wait_until_ready(f"http://127.0.0.1:{port}")
    environ |= {"BAAS_SECRET_KEY": "0" + environ["BAAS_SECRET_KEY"]}
    for workers in ("1", "2"):
        code, _, said = run(serve(folder / "sealed", port, "--workers", workers), folder, environ=environ)

        assert code == 1
        assert {"wrong_secret_key"} == {event["code"] for event in events(said) if event["event"] == "ended"}
        assert "another secret key" in said


def half_a_request(port: int) -> socket.socket:
    """A connection whose body never ends."""
    client = socket.create_connection(("127.0.0.1", port), timeout=40)
    head = (
        b"POST /v1/operators/sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    )
    client.sendall(head + b'{"email"')
    return client


def test_a_request_that_never_ends_does_not_keep_the_server(folder: Path, data: Path) -> None:
    """SIGTERM drains for as long as the settings say, then ends with 0."""
    port = free_port()
    with running(serve(data, port), folder / "drain", environ={"BAAS_DRAIN_TIMEOUT_S": "1"}) as server:
        server.wait_until_ready(f"http://127.0.0.1:{port}")
        with half_a_request(port):
            time.sleep(0.2)
            started = time.monotonic()

            assert server.stop() == 0
            assert 0.9 < time.monotonic() - started < 12  # not by the body's own limit, which is 15 s
            assert "Traceback" not in server.output
    assert postgres_of(data) == []


def test_a_second_signal_ends_at_once(folder: Path, data: Path) -> None:
    port = free_port()
    with running(serve(data, port), folder / "twice") as server:
        server.wait_until_ready(f"http://127.0.0.1:{port}")
        with half_a_request(port):
            time.sleep(0.2)
            started = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)

            assert server.stop() == 0
            assert time.monotonic() - started < 10
            assert "Traceback" not in server.output
    assert postgres_of(data) == []


def test_a_signal_while_starting_is_heard(folder: Path) -> None:
    """At any moment of the start: it ends, with 0, and leaves no process."""
    for delay in (0.3, 0.6, 0.9):
        with running(serve(folder / f"early-{delay}", free_port()), folder / "early") as server:
            time.sleep(delay)
            code = server.stop()
            # Before Python has come to our code, the signal does what it does to every program.
            assert code in (0, -signal.SIGTERM), server.output
            assert "Traceback" not in server.output
    assert postgres_of(folder) == postgres_of(folder / "given")


def test_a_signal_between_two_steps_of_the_start_is_heard() -> None:
    """The next step is not begun, and nothing of it is left for Python to complain of."""

    async def step() -> None: ...

    with signals_while_starting() as stop:
        signal.raise_signal(signal.SIGTERM)
        work = step()
        with pytest.raises(Exception, match=r"^$"):
            stop.run(work)

    assert inspect.CORO_CLOSED == inspect.getcoroutinestate(work)


def test_several_workers_share_the_port_and_are_replaced(folder: Path, data: Path) -> None:
    """A killed worker is replaced; a stop ends all; a killed parent takes all along."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running(serve(data, port, "--workers", "2"), folder / "workers") as server:
        server.wait_until_ready(url)
        wait_for(lambda: "serving" in server.output)
        first = children(server.pid)
        assert len(first) == 2
        os.kill(first[0], signal.SIGKILL)
        wait_for(lambda: len(set(children(server.pid)) - set(first)) == 1)
        wait_for(lambda: get(f"{url}/readyz")[0] == 200)

        assert server.stop() == 0
        assert {"worker_ended", "serving"} <= {event["event"] for event in events(server.output)}
    with running(serve(data, port, "--workers", "2"), folder / "workers") as server:
        server.wait_until_ready(url)
        wait_for(lambda: "serving" in server.output)
        second = children(server.pid)
        server.stop(signal.SIGKILL)
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in second), 40)
    wait_for(lambda: postgres_of(data) == [])


def children(pid: int) -> list[int]:
    """The server processes among its children."""
    found = Path(f"/proc/{pid}/task").glob("*/children")
    pids = [int(one) for path in found for one in path.read_text().split()]
    return [one for one in pids if b"process_workers" in Path(f"/proc/{one}/cmdline").read_bytes()]


def refused(folder: Path, *more: str, environ: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit code and words of a server that must not start; there is never a traceback."""
    code, out, said = run(serve(folder / "refused", free_port(), *more), folder, environ=environ)
    assert "Traceback" not in said
    assert "" == out
    return code, events(said)[-1]["detail"] if said.startswith("{") else said


def test_a_taken_port_is_said(folder: Path) -> None:
    """As an event of the log where programs read that, for a person in words, with --json as a problem document."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        arguments = serve(folder / "refused", port)
        logged = run(arguments, folder)
        told = run(arguments, folder, environ={"BAAS_LOG_FORMAT": "text"})
        asked = run([*arguments, "--json"], folder)
    detail = f"Port {port} of 127.0.0.1 is in use. Stop what uses it, or choose another with --port."

    assert [(1, "")] * 3 == [one[:2] for one in (logged, told, asked)]
    (event,) = events(logged[2])
    assert ("error", "ended", "cannot_listen", detail) == tuple(event[name] for name in ("level", "event", "code", "detail"))
    assert f"✗ This cannot be done\n  {detail}\n  code: cannot_listen\n" == told[2]
    assert {"title": "This cannot be done", "code": "cannot_listen", "detail": detail} == json.loads(asked[2])


def events(output: str) -> list[dict[str, Any]]:
    """The lines of a log that programs read: each of them is JSON."""
    return [json.loads(line) for line in output.splitlines()]


def test_an_address_of_another_machine_is_said(folder: Path) -> None:
    code, said = refused(folder, "--host", "192.0.2.1", "--insecure-http")

    assert code == 1
    assert "no address of this machine" in said


def test_a_data_folder_that_cannot_be_written_is_said(folder: Path, given: Cluster) -> None:
    """With the embedded database and with a given one."""
    for more in ((), ("--database-url", given.url())):
        code, _, said = run(["serve", "--port", str(free_port()), "--data-dir", "/proc/nowhere", *more], folder)

        assert code == 1
        assert events(said)[-1]["detail"].startswith("The data folder /proc/nowhere cannot be written: ")


def test_a_data_folder_in_use_is_said(folder: Path, data: Path) -> None:
    port = free_port()
    with running(serve(data, port), folder / "inuse") as server:
        server.wait_until_ready(f"http://127.0.0.1:{port}")
        code, _, said = run(serve(data, free_port()), folder)

        assert code == 1
        assert f"in use by another server (process {server.pid})" in said


def test_a_database_that_is_away_is_said(folder: Path) -> None:
    code, said = refused(folder, "--database-url", "postgresql://a:hunter22@127.0.0.1:1/x")

    assert code == 7
    assert "The database at 127.0.0.1:1/x cannot be reached" in said
    assert "hunter22" not in said


def test_a_wrong_password_is_said(folder: Path, given: Cluster) -> None:
    code, said = refused(folder, "--database-url", given.url().replace("baas_server:", "baas_server:x"))

    assert code == 1
    assert "refuses the sign-in" in said


def test_a_missing_database_is_said(folder: Path, given: Cluster) -> None:
    code, said = refused(folder, "--database-url", given.url("nowhere"))

    assert code == 1
    assert 'no such database (database "nowhere" does not exist)' in said


def test_a_database_that_may_lose_or_garble_data_is_refused(folder: Path, given: Cluster) -> None:
    """Not UTF-8, or commits that do not wait for the disk."""
    latin = new_database(given, "latin", "encoding 'LATIN1' locale_provider libc locale 'C' template template0")
    assert "stores text as LATIN1" in refused(folder, "--database-url", latin)[1]
    hasty = new_database(given, "hasty")

    async def hurry() -> None:
        connection = await asyncpg.connect(given.superuser_url())
        await connection.execute("alter database hasty set synchronous_commit = off")
        await connection.close()

    asyncio.run(hurry())
    assert "because synchronous_commit is off" in refused(folder, "--database-url", hasty)[1]


def test_a_database_of_a_newer_server_is_left_alone(folder: Path, given: Cluster) -> None:
    address = new_database(given, "newer")
    made = ["operators", "list", "--database-url", address, "--data-dir", str(folder / "newer")]
    assert run(made, folder)[0] == 0

    async def upgrade() -> None:
        connection = await asyncpg.connect(address)
        await connection.execute("insert into baas._migrations (number, name) values (9999, '9999_future')")
        await connection.close()

    asyncio.run(upgrade())
    code, said = refused(folder, "--database-url", address)

    assert code == 1
    assert "migrated to version 9999 by a newer server" in said


def test_bad_settings_are_said_all_at_once(folder: Path) -> None:
    code, said = refused(folder, environ={"BAAS_LOG_LEVEL": "loud", "BAAS_WORKRES": "2", "BAAS_SECRET_KEY": "short-and-secret"})

    assert code == 2
    assert "log_level (environment BAAS_LOG_LEVEL) is 'loud', but must be one of debug, info, warning, error." in said
    assert "BAAS_WORKRES (environment) is no setting. Did you mean 'BAAS_WORKERS'?" in said
    assert "too easy to guess" in said
    assert "short-and-secret" not in said


def test_plain_http_for_others_needs_a_word(folder: Path) -> None:
    code, said = refused(folder, "--host", "0.0.0.0")

    assert code == 2
    assert "over plain HTTP" in said


def test_the_set_up_link_is_told_until_there_is_an_operator(folder: Path, given: Cluster) -> None:
    """One link for one operator; the token is in the fragment, which no server log ever sees."""
    address, port = new_database(given, "fresh"), free_port()
    url, place = f"http://127.0.0.1:{port}", folder / "fresh"
    with running(serve(place, port, "--database-url", address), place) as server:
        server.wait_until_ready(url)
        (link,) = [event["link"] for event in events(server.output) if event["event"] == "setup_link"]
        token = link.partition("#")[2]
        operator = {"token": token, "email": "first@example.com", "password": "a long password"}
        assert link.startswith(url)
        assert post(f"{url}/v1/operators/setup", operator)[0] in (200, 201)
        assert post(f"{url}/v1/operators/setup", operator)[0] == 410
    with running(serve(place, port, "--database-url", address), place) as server:
        server.wait_until_ready(url)
        assert "/_/setup#" not in server.output


def test_config_show_tells_values_and_origins(folder: Path) -> None:
    """Flags, environment, file and defaults; secrets are dots."""
    file = folder / "server.toml"
    file.write_text("port = 9000\n")
    environ = {
        "BAAS_HOSTS": "a.example,b.example",
        "BAAS_METRICS_TOKEN": "k7Qm2ZtR9vWx4Lp8Nf3Hs6Jd1Gb5Yc0A",
        "BAAS_CONFIG": str(file),
    }
    code, out, _ = run(["config", "show"], folder, environ=environ)

    assert code == 0
    rows = {line.split("\t")[0]: line.split("\t")[1:] for line in out.splitlines()}
    assert rows["port"] == ["9000", "settings file"]
    assert rows["hosts"] == ["a.example,b.example", "environment BAAS_HOSTS"]
    assert rows["metrics_token"] == ["•••", "environment BAAS_METRICS_TOKEN"]
    assert rows["workers"] == ["1", "default"]


@pytest.mark.skipif(not IS_ROOT, reason="only root can become somebody else; an ordinary user's run is the whole test file")
def test_an_ordinary_user_can_run_it(folder: Path) -> None:
    """Everything in folders of its own, no other user involved."""
    home = folder / "nobody"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    python = next((one for one in (sys.executable, "/usr/bin/python3") if can_run(one)), None)
    if python is None:
        pytest.skip("no Python that another user may run has what the server needs")
    port = free_port()
    with running(serve(home / "data", port), home, environ=LIBRARIES, user=NOBODY, python=python) as server:
        server.wait_until_ready(f"http://127.0.0.1:{port}")
        assert {Path(f"/proc/{pid}").stat().st_uid for pid in postgres_of(home)} == {NOBODY}
        assert server.stop() == 0
    assert postgres_of(home) == []


LIBRARIES = {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "sdk", ROOT / "cli", Path(asyncpg.__file__).parents[1])))}


def can_run(python: str) -> bool:
    """Whether another user can import the server with this interpreter; one below /root, say, cannot be entered."""
    probe = [python, "-c", "import baas.process, baas_cli, asyncpg, uvloop"]
    try:
        return (
            subprocess.run(
                probe, user=NOBODY, group=NOBODY, extra_groups=[], cwd="/", env=LIBRARIES, capture_output=True, check=False
            ).returncode
            == 0
        )
    except OSError:
        return False
