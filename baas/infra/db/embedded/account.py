"""The user that PostgreSQL runs as: ourselves, or another one when we are root, because it refuses to be root."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from baas.infra.db.embedded.faults import ClusterFault

_PREFERRED = ("postgres", "baas")
_CREATE_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the operating system that is not us."""

    name: str
    uid: int
    gid: int

    def may_enter(self, folder: Path) -> bool:
        """Whether this user can pass through every folder down to this one; asked of the system, so access lists count."""
        asked = subprocess.run(
            ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)],
            user=self.uid,
            group=self.gid,
            extra_groups=[],
            cwd="/",
            env={},
            stderr=subprocess.DEVNULL,
            check=False,
        )
        return asked.returncode == 0


def choose_account(say: Callable[[str], None]) -> Account | None:
    """None for an ordinary user. For root: `postgres`, `baas`, a new system user `baas`, or at last `nobody` with a warning."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    for name in _PREFERRED:
        if account := _find(name):
            return account
    if account := _create("baas"):
        say("made the system user 'baas' to run PostgreSQL, which refuses to run as root")
        return account
    if account := _find("nobody"):
        say("PostgreSQL runs as 'nobody', because no user could be made for it: other services of 'nobody' can read its files")
        return account
    raise ClusterFault("PostgreSQL refuses to run as root, and there is no other user. Start the server as an ordinary user.")


def _find(name: str) -> Account | None:
    import pwd

    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(name, entry.pw_uid, entry.pw_gid) if entry.pw_uid else None


def _create(name: str) -> Account | None:
    program = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        return None
    command = [program, "--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", name]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_CREATE_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return None
    return _find(name)
