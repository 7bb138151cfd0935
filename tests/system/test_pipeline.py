"""The pipelined connections and a PostgreSQL that is killed, that is started again, and that speaks TLS."""

import asyncio
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from baas.base.errors import BaasError
from baas.infra.db.embedded.cluster import Cluster
from baas.infra.db.errors import ConnectionLost
from baas.infra.db.pool import Database
from baas.infra.db.sql import Statement
from tests.conftest import missing
from tests.support.paths import WAYS, ask, insert, opened, stored, under_load, warm

_SYSTEM = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, because a socket lies in it, and open to the account that PostgreSQL runs as."""
    with tempfile.TemporaryDirectory(prefix="baas-pipe-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


async def _serves_again(db: Database) -> None:
    await asyncio.sleep(0.3)
    async with asyncio.timeout(20):
        while True:
            with suppress(BaasError):
                await db.fetch_value(Statement("select 7"))
                return
            await asyncio.sleep(0.02)


async def _make(db: Database) -> None:
    async with db.transaction() as tx:
        await tx.execute_script("create table kept (id int8 primary key, n int8)")


@pytest.mark.parametrize("way", WAYS)
async def test_a_killed_postgresql_loses_nothing_acknowledged(folder: Path, way: str) -> None:
    """`kill -9` of the server process under load, twice; it comes back by itself, and so do the connections."""
    with Cluster(folder) as cluster:
        async with opened(cluster.url(), way) as db:
            await _make(db)

            async def faults() -> None:
                for _ in range(2):
                    await asyncio.sleep(0.5)
                    assert cluster.pid is not None
                    os.kill(cluster.pid, signal.SIGKILL)
                    await _serves_again(db)

            found = await under_load(db, "kept", faults)
            print(way, found)
            await warm(db)

            assert found[0] > 100
            assert 7 == await db.fetch_value(ask("select 7"))


@pytest.mark.parametrize("way", WAYS)
async def test_postgresql_is_stopped_and_started(folder: Path, way: str) -> None:
    with Cluster(folder) as cluster:
        async with opened(cluster.url(), way) as db:
            await _make(db)
            await db.fetch_value(insert("kept", 1, 1))
            await asyncio.to_thread(cluster.stop)
            for _ in range(3):
                with pytest.raises(ConnectionLost):
                    await db.fetch_value(insert("kept", 2, 1))
            with Cluster(folder):
                await warm(db)
                await db.fetch_value(insert("kept", 3, 1))

                assert [1, 3] == await stored(db, "kept")


def _certificate(folder: Path) -> tuple[Path, Path]:
    certificate, key = folder / "server.crt", folder / "server.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-out", str(certificate), "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", ["require", "verify-full"])
async def test_over_tls_with_a_password(folder: Path, way: str, mode: str) -> None:
    """Encrypted, by SCRAM, at a port; `verify-full` with the wrong authority is refused by both ways."""
    if not _SYSTEM or shutil.which("openssl") is None:
        missing("a PostgreSQL with TLS and openssl (on Debian: apt install postgresql openssl)")
    data = folder / "data"
    certificate, key = _certificate(folder)
    plain = Cluster(data, pg_bin=_SYSTEM[-1].parent, by_port=True)
    plain.start()  # makes the folder, and the account's
    plain.stop()
    owner = next(data.glob("**/PG_VERSION")).stat()
    for path in (certificate, key):
        os.chown(path, owner.st_uid, owner.st_gid)
        path.chmod(0o600 if path == key else 0o644)
    settings = {"ssl": "on", "ssl_cert_file": f"'{certificate}'", "ssl_key_file": f"'{key}'"}
    with Cluster(data, pg_bin=_SYSTEM[-1].parent, by_port=True, settings=settings) as cluster:
        parts = urlsplit(cluster.url())
        place = parts.netloc.replace("127.0.0.1", "localhost")
        url = urlunsplit(parts._replace(netloc=place, query=f"sslmode={mode}&sslrootcert={certificate}"))
        async with opened(url, way) as db:
            told = ask("select ssl, version, cipher from pg_stat_ssl where pid = pg_backend_pid()")
            row = await db.fetch_row(told)
            large = await db.fetch_value(ask("select repeat('x', $1::int4)", 3_000_000))
            many = await asyncio.gather(*(db.fetch_value(ask("select $1::int8", number)) for number in range(500)))

            assert row is not None
            assert (True, "TLSv1.3") == (row["ssl"], row["version"])
            assert (3_000_000, list(range(500))) == (len(large), many)
        if mode == "verify-full":
            other = folder / "other"
            other.mkdir()
            wrong, _ = _certificate(other)
            with pytest.raises((ConnectionLost, ssl.SSLError)):
                await Database.connect(url.replace(str(certificate), str(wrong)), pipelined=way == "pipelined")
        wrong_password = url.replace(f":{parts.password}@", ":not-it@")
        assert wrong_password != url
        with pytest.raises(Exception, match="password authentication failed"):
            await Database.connect(wrong_password, pipelined=way == "pipelined")
