"""Why the embedded PostgreSQL does not run, in words for the person who started it."""

import re
from pathlib import Path

_TAIL_LINES = 30
_KNOWN = (
    (r"No space left on device|could not extend file.*No space", "The disk is full. Free some space and start again."),
    (
        r"lock file .*postmaster.pid.* already exists",
        "Another PostgreSQL uses these files. Stop it, then start again.",
    ),
    (r"data directory .* has (wrong ownership|invalid permissions)", "The folder of the database belongs to another user."),
    (r"could not (open|create|write).*Permission denied", "A file of the database may not be opened by its user."),
    (r"Read-only file system", "The disk is mounted read-only."),
    (
        r"could not create shared memory segment|could not resize shared memory|Cannot allocate memory",
        "There is too little memory.",
    ),
    (r"database files are incompatible with server", "The files were written by another version of PostgreSQL."),
    (
        r"could not locate a valid checkpoint record|invalid page in block",
        "The files of the database are damaged: restore a backup.",
    ),
    (
        r"error while loading shared libraries|not found \(required by",
        "A library that PostgreSQL needs is missing on this system.",
    ),
    (
        r"user with administrative permissions is not permitted",
        "PostgreSQL refuses to run as an administrator. Start the server from an ordinary console.",
    ),
)


class ClusterFault(Exception):
    """The embedded PostgreSQL cannot be used; the text says what is wrong and what to do about it."""


class InUse(ClusterFault):
    """Another server has the data folder."""


class PortTaken(ClusterFault):
    """Another program took the port that was free a moment ago."""


def last_lines(log: Path, since: int = 0) -> list[str]:
    """The last lines of the log, from byte `since` on."""
    try:
        with log.open("rb") as file:
            file.seek(max(since, log.stat().st_size - 64 * 1024))
            return file.read().decode("utf-8", "replace").splitlines()[-_TAIL_LINES:]
    except OSError:
        return []


def explain(what: str, lines: list[str]) -> ClusterFault:
    """A fault that names the known cause in `lines`, and shows the lines as they are."""
    text = "\n".join(lines)
    cause = next((words for pattern, words in _KNOWN if re.search(pattern, text)), "")
    shown = "\n".join(f"    {line}" for line in lines)
    return ClusterFault(f"{what} {cause}".strip() + (f"\n  The last lines of its log:\n{shown}" if shown else ""))
