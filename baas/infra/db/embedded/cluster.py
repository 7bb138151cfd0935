"""Runs the embedded PostgreSQL: makes the database once, starts it, brings it back when it dies, stops it.

One thread starts the child and waits for it until the end, because on Linux the child is told to stop when *the thread* that
started it ends. So nothing here needs the event loop, and a killed server takes its PostgreSQL with it.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import MappingProxyType, TracebackType
from urllib.parse import quote

import asyncpg

from baas.infra.db.embedded import layout as places
from baas.infra.db.embedded import postmaster
from baas.infra.db.embedded.account import Account, choose_account
from baas.infra.db.embedded.engine import Engine, choose_engine, install
from baas.infra.db.embedded.faults import ClusterFault, explain, last_lines
from baas.infra.db.embedded.rights import settle_rights

SUPERUSER, SERVER, DATABASE = "baas", "baas_server", "baas"
_PORT = 5432  # the number in the socket's name; nothing listens on the network
_MIB = 1024**2
_INITDB_S, _SILENCE_S, _FAST_S, _IMMEDIATE_S = 180, 60, 30, 30
_TRIES, _TRY_AGAIN_S = 20, 0.2
_CRASHES, _WITHIN_S = 5, 60
_WATCH_S = 0.1
_LOG_BYTES = 64 * _MIB
# The dead postmaster's children need a moment to notice and to let go of memory and lock.
_LETTING_GO = ("pre-existing shared memory block", 'lock file "postmaster.pid" already exists')


class Cluster:
    """An embedded PostgreSQL on `data`, for one server. `settings` are the database server's own, over ours.

    `say` gets a line per event; `gave_up` is called, in another thread, when it died five times in a minute and stays down.
    """

    def __init__(
        self,
        data: Path,
        *,
        pg_bin: Path | None = None,
        connections: int = 100,
        settings: Mapping[str, object] = MappingProxyType({}),
        say: Callable[[str], None] = lambda _: None,
        gave_up: Callable[[ClusterFault], None] = lambda _: None,
    ) -> None:
        self._data = data.resolve()
        self._pg_bin = pg_bin
        self._settings = {"max_connections": max(100, connections), **settings}
        self._say = say
        self._gave_up = gave_up
        self._stopping = threading.Event()
        self._interrupted = False
        self._started: Future[None] = Future()
        self._thread: threading.Thread | None = None
        self._lock: int | None = None
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Block until PostgreSQL takes connections. Raises ClusterFault, in plain words, when it cannot be brought so far."""
        if sys.platform == "win32":
            raise ClusterFault("There is no embedded PostgreSQL on Windows yet. Give the address of one with --database-url.")
        self._lock = places.claim(self._data)
        try:
            self._prepare()
            self._thread = threading.Thread(target=self._supervise, name="postgres", daemon=True)
            self._thread.start()
            self._started.result()
        except BaseException:
            self.stop()
            raise

    def interrupt(self) -> None:
        """Let a `start` in progress fail soon. For a signal handler: it takes no lock."""
        self._interrupted = True

    def stop(self) -> None:
        """Stop PostgreSQL, cleanly, and let go of the data folder. May be called at any time, also twice."""
        self._interrupted = True
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def url(self, database: str = DATABASE) -> str:
        """For the server: a login that owns the database `baas` and is no superuser."""
        return self._url(SERVER, self._server_password, database)

    def superuser_url(self, database: str = "postgres") -> str:
        """For upkeep and tests; no request is ever served with this login."""
        return self._url(SUPERUSER, self._superuser_password, database)

    @property
    def engine(self) -> Engine:
        """The programs in use."""
        return self._engine

    @property
    def log(self) -> Path:
        """PostgreSQL's own log."""
        return self._layout.log

    @property
    def pid(self) -> int | None:
        """The postmaster's process, while there is one."""
        child = self._child
        return child.pid if child is not None and child.returncode is None else None

    def __enter__(self) -> "Cluster":
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @classmethod
    def of_running_server(cls, data: Path) -> "Cluster":
        """The cluster that another server runs on this folder, for its addresses only. Raises ClusterFault."""
        found = cls(data)
        found._look_up(choose_account(lambda _: None))
        return found

    def _url(self, user: str, password: str, database: str) -> str:
        return f"postgresql://{user}:{password}@{quote(str(self._socket), safe='')}:{_PORT}/{database}"

    def _prepare(self) -> None:
        """Everything on disk: folders, programs, the database itself, its settings."""
        account = choose_account(self._say)
        self._look_up(account)
        if self._layout.home != self._data:
            self._say(
                f"PostgreSQL runs as user {account and account.name!r}, who may not enter {self._data}: "
                f"its files are in {self._layout.home}"
            )
        _warn_of_network_disk(self._layout.home, self._say)
        major = self._layout.major()
        found = choose_engine(self._pg_bin, self._layout.engine, major)
        self._engine = install(found, self._layout.engine, for_others=account is not None)
        self._pgdata = self._layout.pg(self._engine.major)
        if major is None:
            self._make_database()
        settings = self._pgdata / "baas.conf"
        settings.write_text(_server_settings(self._settings))
        self._layout.own(settings)

    def _look_up(self, account: Account | None) -> None:
        """Where things are, and the passwords."""
        self._layout = places.lay_out(self._data, account)
        self._socket = places.socket_folder(self._layout)
        self._superuser_password = places.kept_secret(self._layout.secret, "pg")
        self._server_password = places.kept_secret(self._layout.secret, "pg_server")

    def _make_database(self) -> None:
        """`initdb` beside the final place, then one rename: a start cut short leaves nothing half made."""
        new = self._pgdata.with_name(f"{self._pgdata.name}.init")
        shutil.rmtree(new, ignore_errors=True)
        password_file = self._layout.home / "pg" / "password"
        password_file.unlink(missing_ok=True)
        with os.fdopen(os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self._superuser_password)
        self._layout.own(password_file)
        try:
            self._initdb(new, password_file)
        finally:
            password_file.unlink(missing_ok=True)
        with (new / "postgresql.conf").open("a") as file:
            file.write("\n# The server's own settings, written at every start; what ALTER SYSTEM sets wins over them.\n")
            file.write("include_if_exists = 'baas.conf'\n")
        new.rename(self._pgdata)

    def _initdb(self, pgdata: Path, password_file: Path) -> None:
        # One byte order of texts on every platform and for ever; the C library's collations change under an index.
        builtin = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
        locale = builtin if self._engine.major >= 17 else ("--locale=C" if sys.platform == "darwin" else "--locale=C.UTF-8",)
        command = self._command(
            "initdb", "-D", str(pgdata), "-U", SUPERUSER, f"--pwfile={password_file}", "-A", "scram-sha-256", "-E", "UTF8", "-k",
            "--no-instructions", *locale,
        )  # fmt: skip
        try:
            done = subprocess.run(
                command, cwd="/", env=_ENVIRONMENT, capture_output=True, timeout=_INITDB_S, check=False, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            raise ClusterFault(f"Making the database took over {_INITDB_S} seconds: the disk is too slow.") from None
        if done.returncode != 0:
            lines = (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()[-30:]
            raise explain("The database could not be made.", lines)

    def _command(self, program: str, *arguments: str) -> list[str]:
        """The launcher's command line for one of the engine's programs."""
        account = self._layout.account
        who = (str(account.uid), str(account.gid)) if account else ("-", "-")
        launcher = str(Path(__file__).with_name("launch.py"))
        return [sys.executable, "-I", "-S", launcher, *who, str(os.getpid()), self._engine.program(program), *arguments]

    def _supervise(self) -> None:
        """The thread: start, watch, bring back, stop."""
        try:
            self._come_up()
            asyncio.run(self._make_logins())
        except BaseException as error:
            self._end()
            self._started.set_exception(error)
            return
        self._started.set_result(None)
        crashes: deque[float] = deque(maxlen=_CRASHES)
        while not self._stopping.wait(_WATCH_S):
            self._cap_log()
            if self._child is not None and self._child.poll() is None:
                continue
            fault = self._bring_back(crashes)
            if fault is not None:
                self._gave_up(fault)
                return
        self._end()

    def _bring_back(self, crashes: deque[float]) -> ClusterFault | None:
        """Start again after an unexpected end; a fault when that has been tried too often."""
        crashes.append(time.monotonic())
        lines = last_lines(self.log)
        if len(crashes) == _CRASHES and crashes[-1] - crashes[0] < _WITHIN_S:
            return explain(f"PostgreSQL ended {_CRASHES} times within {_WITHIN_S} seconds and is not started again.", lines)
        self._say("PostgreSQL ended unexpectedly; starting it again")
        if not self._stopping.wait(min(0.1 * 2.0 ** (len(crashes) - 1), 5.0)):
            try:
                self._come_up()
                self._say("PostgreSQL is back")
            except ClusterFault as fault:
                if not self._interrupted:
                    self._say(str(fault))
        return None

    def _come_up(self) -> None:
        """Start the child and wait until it is ready. Raises ClusterFault when it ends instead."""
        for attempt in range(_TRIES):
            postmaster.clear_way(self._pgdata, self._say)
            offset = self.log.stat().st_size if self.log.exists() else 0
            self._spawn()
            if self._wait_until_ready():
                return
            lines = last_lines(self.log, offset)
            letting_go = any(mark in line for line in lines for mark in _LETTING_GO)
            if self._interrupted or not letting_go or attempt == _TRIES - 1:
                raise explain("PostgreSQL did not start.", lines)
            time.sleep(_TRY_AGAIN_S)

    def _spawn(self) -> None:
        command = self._command("postgres", "-D", str(self._pgdata), "-k", str(self._socket), "-p", str(_PORT), "-h", "")
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                command, cwd="/", env=_ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _wait_until_ready(self) -> bool:
        """Whether it became ready; redo after a crash may take long, and is waited for as long as the log goes on."""
        assert self._child is not None  # noqa: S101  spawned just before
        size, deadline = -1, 0.0
        while self._child.poll() is None and not self._interrupted:
            if postmaster.is_ready(self._pgdata, self._child.pid):
                return True
            grown = self.log.stat().st_size
            if grown != size:
                size, deadline = grown, time.monotonic() + _SILENCE_S
            if time.monotonic() > deadline:
                self._end()
                break
            time.sleep(0.01)
        return False

    def _end(self) -> None:
        """Fast, then immediate shutdown. Never SIGKILL: it would leave children that hold the data."""
        child = self._child
        if child is None:
            return
        for kind, patience_s in ((signal.SIGINT, _FAST_S), (signal.SIGQUIT, _IMMEDIATE_S)):
            if child.poll() is None:
                child.send_signal(kind)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(patience_s)
        if child.poll() is None:
            self._say(f"PostgreSQL {child.pid} does not stop; it is left to itself")

    async def _make_logins(self) -> None:
        """The server's own login and database, made or mended at every start."""
        try:
            connection = await asyncpg.connect(self.superuser_url(), timeout=10)
        except asyncpg.InvalidPasswordError:
            raise ClusterFault(
                f"The password in {self._layout.secret / 'pg'} does not open the database in {self._pgdata}."
                " Restore both from the same backup."
            ) from None
        try:
            if not await connection.fetchval("select true from pg_roles where rolname = $1", SERVER):
                await connection.execute(
                    f"create role {SERVER} login nosuperuser nocreatedb nocreaterole noreplication nobypassrls"
                )
            await connection.execute(
                await connection.fetchval(f"select format('alter role {SERVER} password %L', $1::text)", self._server_password)
            )
            if not await connection.fetchval("select true from pg_database where datname = $1", DATABASE):
                await connection.execute(f"create database {DATABASE} owner {SERVER}")
                await connection.execute(f"revoke all on database {DATABASE} from public")
        finally:
            await connection.close(timeout=5)
        connection = await asyncpg.connect(self.superuser_url(DATABASE), timeout=10)
        try:
            await settle_rights(connection, SERVER)
        finally:
            await connection.close(timeout=5)

    def _cap_log(self) -> None:
        """Keep the log's last part: copied aside and emptied in place, for PostgreSQL holds it open for appending."""
        with contextlib.suppress(OSError):
            if self.log.stat().st_size > _LOG_BYTES:
                shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
                os.truncate(self.log, 0)


# Not ours: that one holds secrets.
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def _server_settings(more: Mapping[str, object]) -> str:
    """Settings of the database server. Texts of statements and values stay out of its log: they are users' data."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _MIB
    values: dict[str, object] = {
        "listen_addresses": "''",
        "shared_buffers": f"{max(128, min(memory // 4, 512))}MB",
        "wal_level": "logical",
        "max_wal_size": "1GB",
        "jit": "off",
        "timezone": "'UTC'",
        "log_timezone": "'UTC'",
        "log_line_prefix": "'%m [%p] '",
        "log_min_duration_statement": "1s",
        "log_parameter_max_length": 0,
        "log_error_verbosity": "terse",
        "log_min_error_statement": "panic",
    }
    if _shared_memory_is_small():
        values["max_parallel_workers_per_gather"] = 0
    return "".join(f"{name} = {value}\n" for name, value in (values | dict(more)).items())


def _shared_memory_is_small() -> bool:
    """Containers have 64 MiB of it by default, which a parallel query can exhaust."""
    try:
        about = os.statvfs("/dev/shm")  # noqa: S108  looked at, not written
    except OSError:
        return False
    return about.f_blocks * about.f_frsize < 256 * _MIB


def _warn_of_network_disk(folder: Path, say: Callable[[str], None]) -> None:
    with contextlib.suppress(OSError):
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
        over = [(point, kind) for point, kind in mounts if folder.is_relative_to(point)]
        point, kind = max(over, key=lambda one: len(one[0]), default=("", ""))
        if kind in ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"):
            say(f"warning: {point} is a network disk ({kind}), on which a database may lose data at a crash")
