"""What `postmaster.pid` says, and whether the process it names is a PostgreSQL on this data or a stranger with its number."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from baas.infra.db.embedded.faults import ClusterFault

_FILE = "postmaster.pid"
_FAST_S, _IMMEDIATE_S = 10, 10


def is_ready(pgdata: Path, pid: int) -> bool:
    """Whether our child wrote the file and says that it takes connections (its line 8)."""
    lines = _lines(pgdata)
    return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def clear_way(pgdata: Path, say: Callable[[str], None]) -> None:
    """Stop an orphan that still runs on this data; remove a file whose number now belongs to another program.

    To be called under the data folder's lock, so that no server of ours is starting meanwhile. PostgreSQL itself removes a file
    whose process is dead, but refuses to start while any process has that number, as happens when a container restarts.
    Raises ClusterFault when the orphan does not stop.
    """
    lines = _lines(pgdata)
    pid = int(lines[0]) if lines and lines[0].strip().isdigit() else 0
    if pid <= 0 or not _alive(pid):
        return
    if not _serves(pid, pgdata):
        say(f"removed the pid file of an earlier run: its number {pid} belongs to another program now")
        (pgdata / _FILE).unlink(missing_ok=True)
        return
    say(f"stopping the PostgreSQL {pid} that an earlier server left running")
    for kind, patience_s in ((signal.SIGINT, _FAST_S), (getattr(signal, "SIGQUIT", signal.SIGTERM), _IMMEDIATE_S)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, kind)
        if _gone(pid, patience_s):
            return
    raise ClusterFault(f"PostgreSQL {pid}, left by an earlier server, does not stop. Stop it by hand, then start again.")


def _lines(pgdata: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return (pgdata / _FILE).read_text("utf-8", "replace").splitlines()
    return []


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # A process that has ended and waits to be collected holds no files.
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return True


def _serves(pid: int, pgdata: Path) -> bool:
    """Whether the process is a PostgreSQL on this data: its program's name and, for it stands in its data, its folder."""
    if sys.platform == "linux":
        try:
            program = Path(f"/proc/{pid}/exe").readlink().name
            return program.startswith("postgres") and Path(f"/proc/{pid}/cwd").samefile(pgdata)
        except OSError:
            return False  # of another user, or gone: not the one we started
    listed = subprocess.run(["/bin/ps", "-p", str(pid), "-o", "command="], capture_output=True, text=True, check=False, timeout=5)
    return "postgres" in listed.stdout and str(pgdata) in listed.stdout


def _gone(pid: int, patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while _alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
