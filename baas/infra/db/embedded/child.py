"""One PostgreSQL as our child, from its start until it has ended. It must be started by a thread that outlives it (launch.py)."""

import contextlib
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from baas.infra.db.embedded import postmaster
from baas.infra.db.embedded.address import Address
from baas.infra.db.embedded.engine import Engine
from baas.infra.db.embedded.faults import PortTaken, explain, last_lines
from baas.infra.db.embedded.host import HOST
from baas.infra.db.embedded.layout import Layout
from baas.infra.db.embedded.system import Shutdown

_SILENCE_S, _FAST_S, _IMMEDIATE_S = 60, 30, 30
_TRIES, _TRY_AGAIN_S = 20, 0.2
# The dead postmaster's children need a moment to notice and to let go of memory and lock.
_LETTING_GO = ("pre-existing shared memory block", 'lock file "postmaster.pid" already exists')

_TAKEN = "could not bind IPv4 address"


@dataclass(frozen=True, slots=True)
class Start:
    """What is started: an engine on its data, met at an address. `options` win over the settings in its files."""

    engine: Engine
    pgdata: Path
    address: Address
    options: tuple[str, ...] = ()


class Child:
    """A PostgreSQL that we started, or may start again. `interrupted` is asked while it comes up."""

    def __init__(self, layout: Layout, start: Start, *, say: Callable[[str], None], interrupted: Callable[[], bool]) -> None:
        self._layout = layout
        self._start = start
        self._say = say
        self._interrupted = interrupted
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The postmaster's process, while there is one."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def come_up(self) -> None:
        """Start it and wait until it takes connections. Raises ClusterFault when it ends instead."""
        log, pg_ctl = self._layout.log, self._start.engine.program("pg_ctl")
        for attempt in range(_TRIES):
            postmaster.clear_way(self._start.pgdata, self._say, pg_ctl)
            offset = log.stat().st_size if log.exists() else 0
            self._process = HOST.spawn(self._command(), log)
            if self._wait_until_ready():
                return
            lines = last_lines(log, offset)
            if any(_TAKEN in line for line in lines):
                raise PortTaken(f"Port {self._start.address.port} was taken by another program before PostgreSQL had it.")
            letting_go = any(mark in line for line in lines for mark in _LETTING_GO)
            if self._interrupted() or not letting_go or attempt == _TRIES - 1:
                raise explain("PostgreSQL did not start.", lines)
            time.sleep(_TRY_AGAIN_S)

    def end(self) -> None:
        """Fast, then immediate shutdown. Never killed: that would leave children of its own that hold the data."""
        process = self._process
        if process is None:
            return
        for how, patience_s in ((Shutdown.FAST, _FAST_S), (Shutdown.IMMEDIATE, _IMMEDIATE_S)):
            if process.poll() is None:
                HOST.tell(process.pid, how, self._start.engine.program("pg_ctl"))
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(patience_s)
        if process.poll() is None:
            self._say(f"PostgreSQL {process.pid} does not stop; it is left to itself")

    def ended_cleanly(self) -> bool:
        """Whether it wrote everything down before it ended."""
        return self._process is not None and self._process.poll() == 0

    def _command(self) -> list[str]:
        options = [word for option in self._start.options for word in ("-c", option)]
        arguments = ["-D", str(self._start.pgdata), *self._start.address.arguments, *options]
        return HOST.command(self._layout.account, self._start.engine.program("postgres"), arguments)

    def _wait_until_ready(self) -> bool:
        """Whether it became ready; redo after a crash may take long, and is waited for as long as the log goes on."""
        assert self._process is not None  # noqa: S101  spawned just before
        size, deadline = -1, 0.0
        while self._process.poll() is None and not self._interrupted():
            if postmaster.is_ready(self._start.pgdata, self._process.pid):
                return True
            grown = self._layout.log.stat().st_size
            if grown != size:
                size, deadline = grown, time.monotonic() + _SILENCE_S
            if time.monotonic() > deadline:
                self.end()
                break
            time.sleep(0.01)
        return False
