"""Everything of one PostgreSQL poured into another: roles with their passwords, databases, tables, rows."""

import contextlib
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO

from baas.infra.db.embedded.address import Address
from baas.infra.db.embedded.engine import Engine
from baas.infra.db.embedded.faults import ClusterFault, explain
from baas.infra.db.embedded.home import SUPERUSER
from baas.infra.db.embedded.host import HOST

_LOOK_S, _TELL_S, _END_S = 0.05, 15.0, 5.0
_PIECE = 1024**2
_TAIL_LINES, _TAIL_BYTES = 30, 64 * 1024
_THERE_ALREADY = f"CREATE ROLE {SUPERUSER};".encode()


def pour(
    engine: Engine,
    source: Address,
    target: Address,
    password: str,
    *,
    say: Callable[[str], None],
    check: Callable[[], None],
) -> None:
    """Copy with the engine's `pg_dumpall` and `psql`, both as the superuser, whose password is the same on both sides.

    `check` is called every moment and raises to end it. Raises ClusterFault at the first error of either program.
    """
    for name in ("pg_dumpall", "pg_dump", "psql"):
        if not os.path.exists(engine.program(name)):  # noqa: PTH110  a text, not a path of ours
            raise ClusterFault(f"{engine} comes without the program {name}, which is needed to copy the database.")
    dump = [engine.program("pg_dumpall"), "-w", "-U", SUPERUSER, "-l", "postgres"]
    load = [engine.program("psql"), "-w", "-X", "-q", "-U", SUPERUSER, "-d", "postgres", "-v", "ON_ERROR_STOP=1"]
    with contextlib.ExitStack() as stack:
        said = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(2)]
        dumping = _start(dump, source, password, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said[0])
        stack.callback(_end, dumping)
        loading = _start(load, target, password, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said[1])
        stack.callback(_end, loading)
        assert dumping.stdout is not None  # noqa: S101  both are pipes
        assert loading.stdin is not None  # noqa: S101
        pump = _Pump(dumping.stdout, loading.stdin)
        pump.start()
        stack.callback(pump.join, _END_S)  # one that is stuck ends with the servers
        stack.callback(_end, loading)
        stack.callback(_end, dumping)
        told = time.monotonic()
        while dumping.poll() is None or loading.poll() is None:
            check()
            if time.monotonic() - told > _TELL_S:
                told = time.monotonic()
                say(f"copied {pump.copied >> 20} MB so far")
            time.sleep(_LOOK_S)
        if dumping.returncode or loading.returncode:
            # When one fails, so does the other soon: the words of both.
            raise explain("The database could not be copied.", [line for output in said for line in _tail(output)])


class _Pump(threading.Thread):
    """Carries the dump from one program to the other, but for the making of the role that every database begins with."""

    def __init__(self, source: IO[bytes], sink: IO[bytes]) -> None:
        super().__init__(name="upgrade", daemon=True)
        self._source, self._sink = source, sink
        self.copied = 0

    def run(self) -> None:
        with contextlib.suppress(OSError), self._source, self._sink:  # one of the programs has ended: its own words say why
            self._copy()

    def _copy(self) -> None:
        for line in self._source:
            if line.strip() == _THERE_ALREADY:
                break
            self._sink.write(line)
            if line.startswith(b"\\connect "):  # past the roles: what looks like it from here on is data
                break
        while piece := self._source.read(_PIECE):
            self._sink.write(piece)
            self.copied += len(piece)


def _start(command: Sequence[str], address: Address, password: str, **pipes: IO[bytes] | int) -> "subprocess.Popen[bytes]":
    """As ourselves: nobody else can look at our environment, where the password is."""
    environment = {**HOST.environment, **address.environment, "PGPASSWORD": password, "PGCONNECT_TIMEOUT": "10"}
    return subprocess.Popen(HOST.command(None, command[0], command[1:]), env=environment, **pipes)  # type: ignore[call-overload, no-any-return]


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.kill()
    process.wait()


def _tail(output: IO[bytes]) -> list[str]:
    output.seek(0, os.SEEK_END)
    output.seek(max(0, output.tell() - _TAIL_BYTES))
    return output.read().decode("utf-8", "replace").splitlines()[-_TAIL_LINES:]
