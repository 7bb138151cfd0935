"""Runs the embedded PostgreSQL: makes the database once, starts it, brings it back when it dies, stops it.

One thread starts the child and waits for it until the end, because on Linux the child is told to stop when *the thread* that
started it ends. So nothing here needs the event loop, and a killed server takes its PostgreSQL with it.
"""

import asyncio
import contextlib
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import MappingProxyType, TracebackType

import asyncpg

from baas.infra.db.embedded import postmaster
from baas.infra.db.embedded.address import Address, address_of, choose_address
from baas.infra.db.embedded.child import Child, Start
from baas.infra.db.embedded.conf import server_settings
from baas.infra.db.embedded.engine import Engine, choose_engine, install, newer_engine
from baas.infra.db.embedded.extensions import give_extensions
from baas.infra.db.embedded.faults import ClusterFault, PortTaken, explain, last_lines
from baas.infra.db.embedded.home import DATABASE, SERVER, SUPERUSER, move_in
from baas.infra.db.embedded.host import HOST
from baas.infra.db.embedded.initdb import initdb
from baas.infra.db.embedded.layout import claim
from baas.infra.db.embedded.rights import settle_rights

_CRASHES, _WITHIN_S = 5, 60
_PORTS_TRIED = 5
_WATCH_S = 0.1
_LOG_BYTES = 64 * 1024**2


class Cluster:
    """An embedded PostgreSQL on `data`, for one server. `settings` are the database server's own, over ours.

    `say` gets a line per event; `gave_up` is called, in another thread, when it died five times in a minute and stays down.
    `by_port` is for systems without sockets, and to try that way elsewhere.
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
        by_port: bool = not HOST.has_sockets,
    ) -> None:
        self._data = data.resolve()
        self._pg_bin = pg_bin
        self._settings = {"max_connections": max(100, connections), **settings}
        self._say = say
        self._gave_up = gave_up
        self._by_port = by_port
        self._stopping = threading.Event()
        self._interrupted = False
        self._started: Future[None] = Future()
        self._thread: threading.Thread | None = None
        self._lock: int | None = None
        self._child: Child | None = None

    def start(self) -> None:
        """Block until PostgreSQL takes connections. Raises ClusterFault, in plain words, when it cannot be brought so far."""
        self._lock = claim(self._data)
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
        return self._home.server_url(self._address, database)

    def superuser_url(self, database: str = "postgres") -> str:
        """For upkeep and tests; no request is ever served with this login."""
        return self._home.superuser_url(self._address, database)

    @property
    def engine(self) -> Engine:
        """The programs in use."""
        return self._engine

    @property
    def log(self) -> Path:
        """PostgreSQL's own log."""
        return self._home.layout.log

    @property
    def pid(self) -> int | None:
        """The postmaster's process, while there is one."""
        return self._child.pid if self._child else None

    def __enter__(self) -> "Cluster":
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @classmethod
    def of_running_server(cls, data: Path) -> "Cluster":
        """The cluster that another server runs on this folder, for its addresses only. Raises ClusterFault."""
        found = cls(data)
        found._home = move_in(found._data)
        layout = found._home.layout
        found._address = address_of(layout, *postmaster.place_of(layout.pg(layout.major() or 0)))
        return found

    def _prepare(self) -> None:
        """Everything on disk: folders, programs, the database itself, its settings."""
        self._home = move_in(self._data, self._say)
        layout = self._home.layout
        major = layout.major()
        found = choose_engine(self._pg_bin, layout.engine, major)
        self._engine = install(found, layout.engine, for_others=layout.account is not None)
        self._home.remove_unfinished(self._engine, self._say)
        self._pgdata = layout.pg(self._engine.major)
        if major is None:
            # Beside the final place, then one rename: a start cut short leaves nothing half made.
            new = self._pgdata.with_suffix(".init")
            initdb(layout, self._engine, new, SUPERUSER, self._home.superuser_password)
            layout.make_real(new, self._pgdata)
        elif newer := newer_engine(self._pg_bin, major):
            self._say(f"the database is of PostgreSQL {self._engine.version}; `baas db upgrade` moves it to {newer.version}")
        settings = self._pgdata / "baas.conf"
        settings.write_text(server_settings(self._settings))
        layout.own(settings)

    def _supervise(self) -> None:
        """The thread: start, watch, bring back, stop."""
        try:
            child = self._come_up_first()
            asyncio.run(self._make_logins())
        except BaseException as error:
            if self._child:
                self._child.end()
            self._started.set_exception(error)
            return
        self._started.set_result(None)
        crashes: deque[float] = deque(maxlen=_CRASHES)
        while not self._stopping.wait(_WATCH_S):
            self._cap_log()
            if child.is_running():
                continue
            fault = self._bring_back(child, crashes)
            if fault is not None:
                self._gave_up(fault)
                return
        child.end()

    def _come_up_first(self) -> Child:
        """Start it where it will stay: connections of the server are made to that address as long as it lives."""
        for attempt in range(_PORTS_TRIED):
            self._address: Address = choose_address(self._home.layout, by_port=self._by_port)
            start = Start(self._engine, self._pgdata, self._address)
            self._child = Child(self._home.layout, start, say=self._say, interrupted=lambda: self._interrupted)
            try:
                self._child.come_up()
                return self._child
            except PortTaken:
                if attempt == _PORTS_TRIED - 1:
                    raise
        raise AssertionError("the range is never empty")

    def _bring_back(self, child: Child, crashes: deque[float]) -> ClusterFault | None:
        """Start again after an unexpected end; a fault when that has been tried too often."""
        crashes.append(time.monotonic())
        lines = last_lines(self.log)
        if len(crashes) == _CRASHES and crashes[-1] - crashes[0] < _WITHIN_S:
            return explain(f"PostgreSQL ended {_CRASHES} times within {_WITHIN_S} seconds and is not started again.", lines)
        self._say("PostgreSQL ended unexpectedly; starting it again")
        if not self._stopping.wait(min(0.1 * 2.0 ** (len(crashes) - 1), 5.0)):
            try:
                child.come_up()
                self._say("PostgreSQL is back")
            except ClusterFault as fault:
                if not self._interrupted:
                    self._say(str(fault))
        return None

    async def _make_logins(self) -> None:
        """The server's own login and database, made or mended at every start."""
        try:
            connection = await asyncpg.connect(self.superuser_url(), timeout=10)
        except asyncpg.InvalidPasswordError:
            raise ClusterFault(self._home.wrong_password(self._pgdata)) from None
        try:
            if not await connection.fetchval("select true from pg_roles where rolname = $1", SERVER):
                await connection.execute(
                    f"create role {SERVER} login nosuperuser nocreatedb nocreaterole noreplication nobypassrls"
                )
            alter = f"select format('alter role {SERVER} password %L', $1::text)"
            await connection.execute(await connection.fetchval(alter, self._home.server_password))
            if not await connection.fetchval("select true from pg_database where datname = $1", DATABASE):
                # Not through the log: that leaves 7 MiB of `shared_buffers` touched, for as long as this PostgreSQL runs.
                await connection.execute(f"create database {DATABASE} owner {SERVER} strategy file_copy")
                await connection.execute(f"revoke all on database {DATABASE} from public")
        finally:
            await connection.close(timeout=5)
        connection = await asyncpg.connect(self.superuser_url(DATABASE), timeout=10)
        try:
            await settle_rights(connection, SERVER)
            await give_extensions(connection, SERVER)
        finally:
            await connection.close(timeout=5)

    def _cap_log(self) -> None:
        """Keep the log's last part: copied aside and emptied in place, for PostgreSQL holds it open for appending."""
        with contextlib.suppress(OSError):
            if self.log.stat().st_size > _LOG_BYTES:
                shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
                os.truncate(self.log, 0)
