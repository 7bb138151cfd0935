"""The embedded PostgreSQL: made once, started as another user where we are root, brought back, judged, stopped."""

import asyncio
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from baas.infra.db.embedded import address
from baas.infra.db.embedded.address import socket_folder
from baas.infra.db.embedded.cluster import Cluster
from baas.infra.db.embedded.engine import choose_engine
from baas.infra.db.embedded.faults import ClusterFault, InUse
from baas.infra.db.embedded.host import HOST
from baas.infra.db.embedded.layout import lay_out
from tests.support.process import free_port, open_folder, postgres_of, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that another user may enter."""
    with open_folder() as path:
        yield path


@pytest.fixture(scope="module")
def data(folder: Path) -> Path:
    """A data folder whose database is made; the tests below start it again and again."""
    with Cluster(folder / "data"):
        pass
    return folder / "data"


def ask(url: str, question: str) -> object:
    async def asked() -> object:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            return await connection.fetchval(question)
        finally:
            await connection.close()

    return asyncio.run(asked())


def answers(url: str) -> bool:
    try:
        return ask(url, "select 1") == 1
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
        return False


def pid_file(data: Path) -> Path:
    (found,) = data.glob("pg/*/postmaster.pid")
    return found


def as_account() -> dict[str, object]:
    account = HOST.choose_account(lambda _: None)
    return {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}


def test_the_server_logs_in_without_power_over_the_machine(data: Path) -> None:
    """It owns its database, may make schemas there, and is no superuser: no files, no programs, no other database (T3)."""
    with Cluster(data) as cluster:
        url = cluster.url()

        assert ask(url, "select rolsuper or rolcreatedb or rolcreaterole from pg_roles where rolname = current_user") is False
        assert ask(url, "select has_database_privilege('baas', 'create')") is True
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            ask(url, "select pg_read_file('/etc/passwd')")
        with pytest.raises(asyncpg.InvalidPasswordError):
            ask(url.replace("baas_server:", "baas_server:x"), "select 1")


def test_what_may_be_lost_is_not(data: Path) -> None:
    """Synchronous, checksummed, UTF-8, one order of texts."""
    with Cluster(data) as cluster:
        for name, value in {
            "fsync": "on",
            "full_page_writes": "on",
            "synchronous_commit": "on",
            "data_checksums": "on",
            "server_encoding": "UTF8",
            "listen_addresses": "",
        }.items():
            assert value == ask(cluster.url(), f"show {name}")


def test_secrets_are_for_the_server_alone(data: Path) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (data / "secret").iterdir()}

    assert modes == {"pg": 0o600, "pg_server": 0o600}
    assert stat.S_IMODE((data / "secret").stat().st_mode) == 0o700
    assert stat.S_IMODE((data / "run").stat().st_mode) == 0o700


def test_no_folder_above_the_data_is_touched() -> None:
    """Below folders that are closed to everybody else, as /root is, it works too, and every mode stays as it was."""
    top = Path(tempfile.mkdtemp(prefix="baas-closed-"))
    data = top / "closed" / "data"
    data.mkdir(parents=True)
    for one in (top, top / "closed", data):
        one.chmod(0o700)
    above = [data, *data.parents]
    before = [(stat.S_IMODE(one.stat().st_mode), one.stat().st_uid) for one in above]
    elsewhere = None
    try:
        with Cluster(data) as cluster:
            elsewhere = cluster.log.parents[1]
            assert ask(cluster.url(), "select 1") == 1
        with Cluster(data) as cluster:
            assert elsewhere == cluster.log.parents[1]

        assert before == [(stat.S_IMODE(one.stat().st_mode), one.stat().st_uid) for one in above]
        assert IS_ROOT == (elsewhere != data)
    finally:
        if elsewhere is not None and elsewhere != data:
            shutil.rmtree(elsewhere)
        shutil.rmtree(top)


def test_it_comes_back_when_killed(data: Path) -> None:
    """kill -9 of the postmaster: back by itself, with what was acknowledged."""
    with Cluster(data) as cluster:
        ask(cluster.url(), "create table kept as select 42 as answer")
        assert cluster.pid
        first = cluster.pid
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: cluster.pid not in (None, first) and answers(cluster.url()))

        assert ask(cluster.url(), "select answer from kept") == 42
        ask(cluster.url(), "drop table kept")
    assert postgres_of(data) == []


def test_it_gives_up_when_killed_again_and_again(data: Path) -> None:
    """Five ends within a minute are somebody else's problem, told with the last lines of the log."""
    told: list[ClusterFault] = []
    with Cluster(data, gave_up=told.append) as cluster:
        for _ in range(5):
            pid = cluster.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda before=pid: told or (cluster.pid not in (None, before) and answers(cluster.url())))

        assert len(told) == 1
    assert "ended 5 times within 60 seconds" in str(told[0])
    assert "ready to accept connections" in str(told[0])


@pytest.mark.parametrize("reused", [False, True])
def test_the_pid_file_of_an_earlier_life_does_not_hinder(data: Path, reused: bool) -> None:
    """Its process is dead; or its number belongs to another program now, as when a container restarts: that one is left alone."""
    other = subprocess.Popen(["/bin/sleep", "60"], **as_account())  # type: ignore[call-overload]
    try:
        if not reused:
            other.kill()
            other.wait()
        with Cluster(data):
            text = pid_file(data).read_text()
        (home,) = data.glob("pg/[0-9]*")
        stale = home / "postmaster.pid"
        stale.write_text("\n".join([str(other.pid), *text.splitlines()[1:]]) + "\n")
        shutil.chown(stale, home.owner(), home.group())
        with Cluster(data) as cluster:
            assert answers(cluster.url())

        assert reused == (other.poll() is None)
    finally:
        other.kill()
        other.wait()


def test_an_orphan_is_stopped(data: Path) -> None:
    """A PostgreSQL that an earlier server left running on this data ends before ours starts."""
    with Cluster(data) as cluster:
        program = cluster.engine.program("postgres")
    (home,) = data.glob("pg/[0-9]*")
    command = [program, "-D", str(home), "-k", str(data / "run"), "-h", ""]
    orphan = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True, **as_account())  # type: ignore[call-overload]
    try:
        wait_for(lambda: (home / "postmaster.pid").exists() and "ready" in (home / "postmaster.pid").read_text())
        said: list[str] = []
        with Cluster(data, say=said.append) as cluster:
            assert answers(cluster.url())
            assert orphan.wait(20) == 0
        assert any("left running" in one for one in said)
    finally:
        orphan.poll()
        if orphan.returncode is None:
            orphan.terminate()
            orphan.wait()


def test_a_data_folder_has_one_server(data: Path) -> None:
    """The second one is told who has it; the first one does not notice."""
    with Cluster(data) as cluster:
        with pytest.raises(InUse, match=f"in use by another server \\(process {os.getpid()}\\)"):
            Cluster(data).start()

        assert answers(cluster.url())
        assert cluster.url() == Cluster.of_running_server(data).url()


def test_where_there_are_no_sockets_it_is_met_at_a_port(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows: at a free port of this machine alone, with the same passwords; after a crash at the same one. A port that
    somebody takes in between is no hindrance.
    """
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = iter([taken.getsockname()[1]])
        monkeypatch.setattr(address, "_free_port", lambda: next(ports, None) or free_port())
        with Cluster(data, by_port=True) as cluster:
            url, first = cluster.url(), cluster.pid
            assert f"@127.0.0.1:{taken.getsockname()[1]}/" not in url
            assert ask(url, "show listen_addresses") == "127.0.0.1"
            assert ask(cluster.superuser_url(), "show unix_socket_directories") == ""
            assert url == Cluster.of_running_server(data).url()
            with pytest.raises(asyncpg.InvalidPasswordError):
                ask(url.replace("baas_server:", "baas_server:x"), "select 1")
            assert first
            os.kill(first, signal.SIGKILL)
            wait_for(lambda: cluster.pid not in (None, first) and answers(url))
    assert postgres_of(data) == []


def test_a_long_path_is_no_hindrance(folder: Path) -> None:
    """A socket's path has 107 bytes at most; the socket of a deep folder lies elsewhere, in a folder of its own."""
    data = folder / ("deep-" * 20) / "data"
    data.parent.mkdir()
    with Cluster(data) as cluster:
        assert len(str(data / "run")) > 93
        assert answers(cluster.url())
    assert postgres_of(data) == []


def test_a_long_folder_for_temporary_files_is_no_hindrance(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked for elsewhere, and found there by who has another folder for temporary files."""
    data = folder / ("deep-" * 20) / "temporary" / "data"
    data.parent.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(data.parent))
    with Cluster(data) as cluster:
        assert answers(cluster.url())
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        assert cluster.url() == Cluster.of_running_server(data).url()
    assert postgres_of(data) == []


def test_where_no_path_is_short_enough_it_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too long and what to do, not what PostgreSQL says of it."""
    layout = lay_out_at(folder / ("none-" * 20))
    monkeypatch.setattr(address, "_short_folders", lambda: (folder / ("long-" * 20),))
    with pytest.raises(ClusterFault, match=r"at most \d+ bytes, and neither .* Choose a shorter --data-dir, or a shorter TMPDIR"):
        socket_folder(layout)


def test_a_trap_in_the_place_of_the_socket_is_refused(folder: Path) -> None:
    """Everybody may write to the folder of temporary files, so what lies there under our name is looked at first."""
    layout = lay_out_at(folder / ("trap-" * 20))
    place = socket_folder(layout)
    place.chmod(0o777)
    with pytest.raises(ClusterFault, match="not a private folder of ours"):
        socket_folder(layout)
    place.rmdir()
    place.symlink_to("/tmp")
    try:
        with pytest.raises(ClusterFault, match="not a private folder of ours"):
            socket_folder(layout)
    finally:
        place.unlink()


def lay_out_at(data: Path):
    data.mkdir(mode=0o755)
    return lay_out(data, HOST.choose_account(lambda _: None))


def test_making_the_database_cut_short_leaves_nothing_in_the_way(folder: Path) -> None:
    """What a killed `initdb` left is thrown away; the database appears by one rename."""
    data = folder / "cut"
    with Cluster(data) as cluster:
        major = cluster.engine.major
    home = data / "pg" / str(major)
    home.rename(home.with_name(f"{major}.init"))
    (home.with_name(f"{major}.init") / "PG_VERSION").unlink()
    with Cluster(data) as cluster:
        assert answers(cluster.url())
    assert [str(major)] == [path.name for path in (data / "pg").iterdir()]


def test_why_it_does_not_start_is_said_in_words(data: Path) -> None:
    """The lines of the log are shown, and nothing is left running."""
    with pytest.raises(ClusterFault, match=r"did not start\.(?s:.*)nosuchlibrary"):
        Cluster(data, settings={"shared_preload_libraries": "'nosuchlibrary'"}).start()
    assert postgres_of(data) == []
    with Cluster(data) as cluster:
        assert answers(cluster.url())


def test_a_lost_password_is_said_in_words(data: Path) -> None:
    secret = data / "secret" / "pg"
    before = secret.read_text()
    secret.write_text("another")
    try:
        with pytest.raises(ClusterFault, match="does not open the database"):
            Cluster(data).start()
    finally:
        secret.write_text(before)


def test_the_database_of_another_major_is_left_alone(folder: Path) -> None:
    """No other version can open it, so the one that made it is asked for by number."""
    data = folder / "old"
    (data / "pg" / "14").mkdir(parents=True)
    (data / "pg" / "14" / "PG_VERSION").write_text("14\n")
    with pytest.raises(ClusterFault, match=r"made by PostgreSQL 14, which is not installed\. Found: "):
        Cluster(data).start()


def test_a_program_folder_without_programs_is_refused(folder: Path) -> None:
    with pytest.raises(ClusterFault, match="holds no `postgres` program"):
        choose_engine(folder, folder, None)


def test_the_programs_of_a_wheel_are_shared_not_copied(data: Path) -> None:
    """Hard links, where the disks are the same: a running server survives `pip uninstall`, at no cost."""
    with Cluster(data) as cluster:
        used = Path(cluster.engine.program("postgres"))
    if not used.is_relative_to(data):
        pytest.skip("the engine is the system's")

    assert used.stat().st_nlink > 1 or used.stat().st_dev != Path(asyncpg.__file__).stat().st_dev


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_its_server(data: Path, kind: int) -> None:
    """However the server ends, PostgreSQL does not outlive it, and ends cleanly."""
    code = (
        "import sys, time, pathlib; from baas.infra.db.embedded.cluster import Cluster;"
        "Cluster(pathlib.Path(sys.argv[1])).start(); print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(data)], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"up\n"
        assert postgres_of(data) != []
        server.send_signal(kind)
        server.wait()
    started = time.monotonic()
    wait_for(lambda: postgres_of(data) == [])

    assert not list(data.glob("pg/*/postmaster.pid"))
    assert time.monotonic() - started < 20
