"""The embedded database moved to a newer major of PostgreSQL: whole or not at all, whatever happens on the way."""

import asyncio
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import asyncpg
import pytest

from baas.infra.db.embedded import layout
from baas.infra.db.embedded.cluster import Cluster
from baas.infra.db.embedded.engine import Engine, choose_engine, install, newer_engine
from baas.infra.db.embedded.faults import ClusterFault, InUse
from baas.infra.db.embedded.upgrade import OldDatabase, remove_old, upgrade
from tests.support.process import ServerProcess, free_port, get, open_folder, post, postgres_of, run, running, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
KEY = "k7Qm2ZtR9vWx4Lp8Nf3Hs6Jd1Gb5Yc0A"
OPERATOR = {"email": "first@example.com", "password": "a long password"}
NOTES = 300
ROLES = """
    select string_agg(concat_ws(' ', rolname, rolsuper, rolcreatedb, rolcanlogin, rolpassword), ', ' order by rolname)
    from pg_authid where rolname in ('baas', 'reader')
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that another user may enter."""
    with open_folder() as path:
        yield path


@pytest.fixture(scope="module")
def older() -> Engine:
    """The system's PostgreSQL, if it is older than the one that is embedded."""
    for path in sorted(Path("/usr/lib/postgresql").glob("*/bin")):
        engine = choose_engine(path, path, None)
        if newer_engine(None, engine.major):
            return engine
    pytest.skip("needs a PostgreSQL of the system that is older than the embedded one")


@pytest.fixture(scope="module")
def filled(folder: Path, older: Engine) -> Path:
    """A data folder of the older major, filled through the product, and with what an operator may have put there by hand."""
    data, port = folder / "filled", free_port()
    url = f"http://127.0.0.1:{port}"
    made = ["operators", "create", OPERATOR["email"], "--password-stdin", "--data-dir", str(data)]
    with running(serve(data, port), folder, environ={"BAAS_PG_BIN": str(older.bin)}) as server:
        server.wait_until_ready(url)
        assert run(made, folder, given=OPERATOR["password"] + "\n")[0] == 0
        by = {"Authorization": f"Bearer {signed_in(url)}"}
        project = f"{url}/v1/projects/app"
        assert post(f"{url}/v1/projects", {"name": "app"}, **by)[0] == 201
        notes = {"name": "notes", "fields": [{"name": "title", "type": "text", "required": True}], "rules": {"list": "true"}}
        assert post(f"{project}/collections", notes, **by)[0] == 201
        view = {"name": "titles", "view": {"sql": "select id, title from notes"}}
        assert post(f"{project}/collections", view, **by)[0] == 201
        for first in range(0, NOTES, 100):
            batch = [{"title": f"note {number:03}"} for number in range(first, first + 100)]
            assert post(f"{project}/collections/notes/records", batch, **by)[0] in (200, 201)
        user = {"email": "user@example.com", "password": "another long password"}
        assert post(f"{project}/users", user, **by)[0] == 201
        cluster = Cluster.of_running_server(data)
        ask(cluster.superuser_url(), "create role reader login password 'read'")
        ask(cluster.superuser_url(), "comment on role reader is 'CREATE ROLE baas;'")
        ask(cluster.superuser_url(), 'create database "an Other"')
        ask(cluster.superuser_url("an Other").replace(" ", "%20"), 'create table "odd \'Name" as select lo_create(0) as object')
        ask(cluster.superuser_url(), "alter system set work_mem = '5MB'")
        assert server.stop() == 0
    return data


@pytest.fixture
def data(folder: Path, filled: Path) -> Iterator[Path]:
    """A copy of it, to be moved; what must not change anything works on the first one."""
    copy = folder / "data"
    subprocess.run(["/bin/cp", "-a", filled, copy], check=True)
    yield copy
    wait_for(lambda: postgres_of(copy) == [])
    shutil.rmtree(copy)


def serve(data: Path, port: int) -> list[str]:
    return ["serve", "--port", str(port), "--data-dir", str(data)]


def signed_in(url: str) -> object:
    status, answer = post(f"{url}/v1/operators/sign-in", OPERATOR)
    assert status == 200
    return answer["token"]


def ask(url: str, question: str) -> object:
    async def asked() -> object:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            return await connection.fetchval(question)
        finally:
            await connection.close()

    return asyncio.run(asked())


def databases(data: Path) -> list[str]:
    return sorted(path.name for path in (data / "pg").iterdir())


def is_whole(cluster: Cluster) -> bool:
    """Whether every note is there."""
    schema = ask(cluster.url(), "select schema from baas.projects")
    return ask(cluster.url(), f'select count(*) from "{schema}".notes') == NOTES


def test_what_was_written_before_is_there_after(folder: Path, data: Path, older: Engine) -> None:
    """Records, passwords of operators and users, sessions of operators; the old database is kept until it is pruned."""
    environ, port = {"BAAS_SECRET_KEY_FILE": str(data / "secret" / "server_key")}, free_port()
    code, out, said = run(["db", "upgrade", "--data-dir", str(data), "--json"], folder)
    assert code == 0, said
    facts = json.loads(out)
    assert (facts["upgraded"], facts["before"], facts["path"]) == (True, older.version, str(data / "pg" / str(older.major)))
    assert facts["rows"] > NOTES
    assert "settings made with ALTER SYSTEM are not taken along: work_mem" in said

    url = f"http://127.0.0.1:{port}"
    with running(serve(data, port), folder, environ=environ) as server:
        server.wait_until_ready(url)
        assert f"PostgreSQL {facts['after']}" in server.output
        assert "db upgrade" not in server.output
        by = {"Authorization": f"Bearer {signed_in(url)}"}
        status, body = get(f"{url}/v1/projects/app/collections/notes/records?sort=title&limit=100&count=exact", **by)
        assert (status, json.loads(body)["items"][99]["title"]) == (200, "note 099")
        status, body = get(f"{url}/v1/projects/app/collections/titles/records?limit=1", **by)
        assert (status, len(json.loads(body)["items"])) == (200, 1)
        user = {"email": "user@example.com", "password": "another long password"}
        assert post(f"{url}/v1/projects/app/auth/sign-in", user)[0] == 200

        assert run(["db", "upgrade", "--data-dir", str(data)], folder)[0] == 1  # a server has the folder
        code, out, said = run(["db", "prune", "--data-dir", str(data), "--json", "--no-input"], folder)
        assert (code, out) == (8, "")
        assert databases(data) == [str(older.major), facts["after"].partition(".")[0]]
        code, out, said = run(["db", "prune", "--data-dir", str(data), "--json", "--yes"], folder)
        assert (code, [one["major"] for one in json.loads(out)["deleted"]]) == (0, [older.major]), said
        assert databases(data) == [facts["after"].partition(".")[0]]
        assert get(f"{url}/readyz")[0] == 200
        assert server.stop() == 0
    code, out, _ = run(["db", "upgrade", "--data-dir", str(data), "--json"], folder)
    assert (code, json.loads(out)) == (0, {"upgraded": False})


@pytest.mark.parametrize(
    ("moment", "kind"),
    [("moving", signal.SIGKILL), ("copying", signal.SIGKILL), ("counting", signal.SIGKILL), ("copying", signal.SIGTERM)],
)
def test_cut_short_it_changes_nothing(folder: Path, filled: Path, older: Engine, moment: str, kind: int) -> None:
    """Killed at any moment, or asked to stop: the next start has the old database, and no rest of the new one."""
    move = ServerProcess(["db", "upgrade", "--data-dir", str(filled)], folder / "cut")
    wait_for(lambda: moment in move.output)
    code = move.stop(kind)
    wait_for(lambda: postgres_of(filled) == [])

    assert (code == 130) == (kind == signal.SIGTERM)
    if kind == signal.SIGTERM:
        assert (
            f"  The move was stopped. The database is that of PostgreSQL {older.version}, as before.\n  code: interrupted\n"
            in move.output
        )
        assert databases(filled) == [str(older.major)]
    said: list[str] = []
    with Cluster(filled, say=said.append) as cluster:
        assert cluster.engine.major == older.major
        assert is_whole(cluster)
    assert databases(filled) == [str(older.major)]
    assert any("`baas db upgrade` moves it to" in line for line in said)


def test_killed_after_the_switch_it_is_done(folder: Path, data: Path, older: Engine) -> None:
    """From the rename on it is the new database, with all that was in the old one, whoever put it there; a kill before it is no
    hindrance. Roles keep their passwords.
    """
    with Cluster(data) as cluster:
        roles = ask(cluster.superuser_url(), ROLES)
    for moment in (".upgrade", ""):
        move = ServerProcess(["db", "upgrade", "--data-dir", str(data)], folder / "switch")
        newer = newer_engine(None, older.major)
        assert newer is not None
        wait_for(lambda name=f"{newer.major}{moment}": (data / "pg" / name).is_dir())
        move.stop(signal.SIGKILL)
        wait_for(lambda: postgres_of(data) == [])
    with Cluster(data) as cluster:
        assert cluster.engine.major == newer.major
        assert is_whole(cluster)
        assert roles == ask(cluster.superuser_url(), ROLES)
        other = cluster.superuser_url("an Other").replace(" ", "%20")
        assert ask(other, 'select count(*) from "odd \'Name" join pg_largeobject_metadata l on l.oid = object') == 1
    assert databases(data) == [str(older.major), str(newer.major)]


@pytest.fixture(scope="module")
def programs(folder: Path, older: Engine) -> Path:
    """The newer engine's programs, to put others in their place."""
    newer = newer_engine(None, older.major)
    assert newer is not None
    place = folder / "programs"
    place.mkdir()
    return install(newer, place, for_others=True).bin


@pytest.mark.parametrize(
    ("dump", "words"),
    [
        ("sed '/note 007/d'", r"The copy differs from .* stays as it is\. Rows of .*notes of database baas: 300 before, 299"),
        ("head -c 9000; echo torn >&2; false", r"(?s)could not be copied.* torn\n"),
        ("cat; echo 'select nonsense;'", r"(?s)could not be copied.*column \"nonsense\" does not exist"),
    ],
)  # fmt: skip
def test_a_copy_that_is_not_whole_is_not_used(
    folder: Path, filled: Path, older: Engine, programs: Path, dump: str, words: str
) -> None:
    """Rows that are lost on the way, a program that fails in the middle, a statement that is refused. Meanwhile nobody comes in:
    both engines are met in closed folders that no server ever looks into.
    """
    place = folder / "bad" / "bin"
    place.mkdir(parents=True)
    for path in programs.iterdir():
        (place / path.name).symlink_to(path)
    (place / "pg_dumpall").unlink()
    (place / "pg_dumpall").write_text(f'#!/bin/sh\n{programs}/pg_dumpall "$@" | ({dump})\n')
    (place / "pg_dumpall").chmod(0o755)
    listening: list[str] = []

    def look(line: str) -> None:
        if line.startswith("copying"):
            found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (filled / "run").iterdir()}
            assert found == {"upgrade-old": 0o700, "upgrade-new": 0o700}
            words = [Path(f"/proc/{pid}/cmdline").read_text().split("\0") for pid in postgres_of(filled)]
            listening.extend(one[one.index("-h") + 1] for one in words if "-h" in one)

    try:
        with pytest.raises(ClusterFault, match=words):
            upgrade(filled, pg_bin=place, say=look)
    finally:
        shutil.rmtree(place.parent)

    assert listening == ["", ""]
    assert list((filled / "run").iterdir()) == []
    assert databases(filled) == [str(older.major)]
    assert postgres_of(filled) == []


def test_too_little_space_is_said_before_anything_begins(filled: Path, older: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=90 * 1024**2))
    said: list[str] = []
    with pytest.raises(ClusterFault, match=r"takes up to 1\d\d MB on the disk of .*, which has 90 MB free\. Free some space"):
        upgrade(filled, say=said.append)

    assert said == []
    assert databases(filled) == [str(older.major)]


def test_it_needs_the_folder_for_itself_and_the_old_programs(folder: Path, filled: Path, older: Engine) -> None:
    """A server that runs, and data of a major that is not installed, are said in words; the database in use is never removed."""
    lock = layout.claim(filled)
    try:
        with pytest.raises(InUse, match="in use by another server"):
            upgrade(filled)
    finally:
        os.close(lock)
    (folder / "fourteen" / "pg" / "14").mkdir(parents=True)
    (folder / "fourteen" / "pg" / "14" / "PG_VERSION").write_text("14\n")
    with pytest.raises(ClusterFault, match=r"made by PostgreSQL 14, which is not installed"):
        upgrade(folder / "fourteen")
    with pytest.raises(ClusterFault, match="There is no data folder"):
        upgrade(folder / "nowhere")
    with pytest.raises(ClusterFault, match="is in use"):
        remove_old(filled, OldDatabase(older.major, filled / "pg" / str(older.major), 0))
