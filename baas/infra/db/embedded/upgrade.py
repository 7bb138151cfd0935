"""Moves the embedded database to a newer major version of PostgreSQL, which cannot open what an older one wrote.

The older engine and the newer one run beside each other, met at addresses that only we know; everything is copied, counted on
both sides, and made real by one rename. Until that rename the database is the old one, untouched, whatever happens; afterwards
it is the new one, and the old one is kept until `remove_old`.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from baas.infra.db.embedded.address import Address, choose_address
from baas.infra.db.embedded.child import Child, Start
from baas.infra.db.embedded.conf import server_settings
from baas.infra.db.embedded.contents import Contents, analyze, count, differences, watched
from baas.infra.db.embedded.dump import pour
from baas.infra.db.embedded.engine import Engine, choose_engine, install, newer_engine
from baas.infra.db.embedded.faults import ClusterFault
from baas.infra.db.embedded.home import SUPERUSER, Home, move_in
from baas.infra.db.embedded.host import HOST
from baas.infra.db.embedded.initdb import initdb
from baas.infra.db.embedded.layout import claim

_MIB = 1024**2
_MOST_WAL, _SPARE = 1024 * _MIB, 64 * _MIB
# Nothing may write to the old one; the new one writes all down when it stops, before anybody relies on it.
_OLD_OPTIONS = ("default_transaction_read_only=on", "autovacuum=off")
_NEW_OPTIONS = ("synchronous_commit=off", "autovacuum=off")
T = TypeVar("T")


class Interrupted(ClusterFault):
    """Somebody stopped the move; nothing has changed."""


@dataclass(frozen=True, slots=True)
class Upgraded:
    """A move that is done. `kept` is the folder of the old database."""

    before: str
    after: str
    kept: Path
    tables: int
    rows: int


@dataclass(frozen=True, slots=True)
class OldDatabase:
    """A database that was moved, as it was before. `size` in bytes."""

    major: int
    folder: Path
    size: int


def upgrade(
    data: Path,
    *,
    pg_bin: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
    interrupted: Callable[[], bool] = lambda: False,
    by_port: bool = not HOST.has_sockets,
) -> Upgraded | None:
    """Move the database in `data` to the engine that a new database would get; None when there is nothing to move.

    Raises ClusterFault when a server runs, when an engine or space is missing, when the copy fails or differs: the old database
    stays the database then. What was left of a move that was cut short is thrown away.
    """
    data = data.resolve()
    if not data.is_dir():
        raise ClusterFault(f"There is no data folder {data}. Name the server's with --data-dir.")
    lock = claim(data)
    try:
        home = move_in(data, say)
        major = home.layout.major()
        newer = newer_engine(pg_bin, major) if major else None
        if major is None or newer is None:
            return None
        others = home.layout.account is not None
        old = install(_engine_of(pg_bin, home, major), home.layout.engine, for_others=others)
        new = install(newer, home.layout.engine, for_others=others, beside=old)
        return _Move(home, old, new, say=say, interrupted=interrupted, by_port=by_port).run()
    finally:
        os.close(lock)


def old_databases(data: Path) -> list[OldDatabase]:
    """What earlier moves kept, the newest first."""
    layout = move_in(data.resolve()).layout
    return [OldDatabase(major, layout.pg(major), _size(layout.pg(major))) for major in layout.majors()[1:]]


def remove_old(data: Path, old: OldDatabase) -> None:
    """Remove one of `old_databases` for good; a server may run meanwhile. Raises ClusterFault for the one in use."""
    layout = move_in(data.resolve()).layout
    if old.major not in layout.majors()[1:]:
        raise ClusterFault(f"The database in {old.folder} is in use.")
    layout.remove_database(old.major)


def _engine_of(pg_bin: Path | None, home: Home, major: int) -> Engine:
    """The one that can open the data; `pg_bin` may name the newer one."""
    with contextlib.suppress(ClusterFault):
        return choose_engine(pg_bin, home.layout.engine, major)
    return choose_engine(None, home.layout.engine, major)


def _size(folder: Path) -> int:
    """Bytes on disk, without the journal."""
    found = 0
    for path, folders, files in os.walk(folder):
        if "pg_wal" in folders:
            folders.remove("pg_wal")
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                found += (Path(path) / name).lstat().st_size
    return found


class _Move:
    """One move, from beginning to end."""

    def __init__(
        self, home: Home, old: Engine, new: Engine, *, say: Callable[[str], None], interrupted: Callable[[], bool], by_port: bool
    ) -> None:
        self._home = home
        self._old, self._new = old, new
        self._say = say
        self._interrupted = interrupted
        self._by_port = by_port
        self._before = home.layout.pg(old.major)
        self._after = home.layout.pg(new.major)
        self._making = self._after.with_suffix(".upgrade")

    def run(self) -> Upgraded:
        self._home.remove_unfinished(self._new, self._say)
        self._refuse_full_disk()
        self._say(f"moving the database from {self._old} to {self._new}; the old one stays in {self._before}")
        try:
            contents = self._copy()
            self._home.layout.make_real(self._making, self._after)
        except BaseException:
            shutil.rmtree(self._making, ignore_errors=True)
            raise
        self._tell_of_settings()
        return Upgraded(self._old.version, self._new.version, self._before, len(contents), sum(contents.values()))

    def _copy(self) -> Contents:
        """A whole new database beside the old one, both stopped again; its contents."""
        initdb(self._home.layout, self._new, self._making, SUPERUSER, self._home.superuser_password)
        settings = self._making / "baas.conf"
        settings.write_text(server_settings({}))
        self._home.layout.own(settings)
        old = Start(self._old, self._before, self._address("old"), _OLD_OPTIONS)
        new = Start(self._new, self._making, self._address("new"), _NEW_OPTIONS)
        with self._running(old), self._running(new) as child:
            before = self._ask(count, old)
            self._say(f"copying {len(before)} tables with {sum(before.values())} rows")
            pour(
                self._new, old.address, new.address, self._home.superuser_password, say=self._say, check=self._refuse_interrupted
            )
            self._ask(analyze, new)
            self._say("counting the rows of the copy")
            after = self._ask(count, new)
        if found := differences(before, after):
            raise ClusterFault(f"The copy differs from the database, which stays as it is. Rows of {found}")
        if not child.ended_cleanly():
            raise ClusterFault(f"PostgreSQL {self._new.version} did not stop properly, so its copy is not used.")
        self._refuse_interrupted()
        return after

    def _ask(self, what: Callable[[Callable[[str], str]], Coroutine[Any, Any, T]], start: Start) -> T:
        def url(database: str) -> str:
            return self._home.superuser_url(start.address, database)

        try:
            return watched(what(url), self._refuse_interrupted)
        except ClusterFault as fault:
            if isinstance(fault.__cause__, asyncpg.InvalidPasswordError):
                raise ClusterFault(self._home.wrong_password(start.pgdata)) from None
            raise

    @contextmanager
    def _running(self, start: Start) -> Iterator[Child]:
        child = Child(self._home.layout, start, say=self._say, interrupted=self._interrupted)
        try:
            child.come_up()
            yield child
        except ClusterFault:
            self._refuse_interrupted()  # then that is why
            raise
        finally:
            child.end()
            with contextlib.suppress(OSError):
                Path(start.address.host).rmdir()

    def _address(self, name: str) -> Address:
        return choose_address(self._home.layout, f"upgrade-{name}", by_port=self._by_port)

    def _refuse_interrupted(self) -> None:
        if self._interrupted():
            raise Interrupted(f"The move was stopped. The database is that of PostgreSQL {self._old.version}, as before.")

    def _refuse_full_disk(self) -> None:
        """The copy, its journal while it is written, and an empty database's own files."""
        size = _size(self._before)
        needed = size + min(size, _MOST_WAL) + _SPARE
        free = shutil.disk_usage(self._home.layout.home).free
        if free < needed:
            raise ClusterFault(
                f"Moving the database to PostgreSQL {self._new.version} takes up to {needed // _MIB} MB"
                f" on the disk of {self._home.layout.home}, which has {free // _MIB} MB free. Free some space and start again."
            )

    def _tell_of_settings(self) -> None:
        """What somebody set by ALTER SYSTEM may not suit the new version, which would then not start: it is not taken along."""
        with contextlib.suppress(OSError):
            lines = (self._before / "postgresql.auto.conf").read_text("utf-8", "replace").splitlines()
            names = [line.partition("=")[0].strip() for line in lines if "=" in line and not line.startswith("#")]
            if names:
                self._say(f"settings made with ALTER SYSTEM are not taken along: {', '.join(names)}")
