"""What `postmaster.pid` says, and whether the process it names is a PostgreSQL on this data or a stranger with its number."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from baas.infra.db.embedded.faults import ClusterFault
from baas.infra.db.embedded.host import HOST
from baas.infra.db.embedded.system import Shutdown

_FILE = "postmaster.pid"
_FAST_S, _IMMEDIATE_S = 10, 10


def is_ready(pgdata: Path, pid: int) -> bool:
    """Whether our child wrote the file and says that it takes connections (its line 8)."""
    lines = _lines(pgdata)
    return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def place_of(pgdata: Path) -> tuple[int, str]:
    """Where the PostgreSQL on this data is met: its port, 0 when none runs (line 4), and the folder of its socket (line 5)."""
    lines = _lines(pgdata)
    return _number(lines, 3), lines[4].strip() if len(lines) > 4 else ""


def clear_way(pgdata: Path, say: Callable[[str], None], pg_ctl: str) -> None:
    """Stop an orphan that still runs on this data; remove a file whose number now belongs to another program.

    To be called under the data folder's lock, so that no server of ours is starting meanwhile. PostgreSQL itself removes a file
    whose process is dead, but refuses to start while any process has that number, as happens when a container restarts.
    Raises ClusterFault when the orphan does not stop.
    """
    lines = _lines(pgdata)
    pid = _number(lines, 0)
    if pid <= 0 or not HOST.is_alive(pid):
        return
    if not HOST.is_postgres(pid, pgdata, _number(lines, 2)):
        say(f"removed the pid file of an earlier run: its number {pid} belongs to another program now")
        (pgdata / _FILE).unlink(missing_ok=True)
        return
    say(f"stopping the PostgreSQL {pid} that an earlier server left running")
    for how, patience_s in ((Shutdown.FAST, _FAST_S), (Shutdown.IMMEDIATE, _IMMEDIATE_S)):
        HOST.tell(pid, how, pg_ctl)
        if _gone(pid, patience_s):
            return
    raise ClusterFault(f"PostgreSQL {pid}, left by an earlier server, does not stop. Stop it by hand, then start again.")


def _lines(pgdata: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return (pgdata / _FILE).read_text("utf-8", "replace").splitlines()
    return []


def _number(lines: list[str], index: int) -> int:
    text = lines[index].strip() if index < len(lines) else ""
    return int(text) if text.isdigit() else 0


def _gone(pid: int, patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while HOST.is_alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
