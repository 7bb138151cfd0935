"""Linux and macOS: other users, sockets that are files, signals, and on Linux an end of the child with its parent."""

import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from baas.infra.db.embedded.faults import ClusterFault
from baas.infra.db.embedded.system import Account, Shutdown

assert sys.platform != "win32"  # noqa: S101  so that types are checked on the system they are for

_PREFERRED = ("postgres", "baas")
_CREATE_TIMEOUT_S = 10
_SMALL_BYTES = 256 * 1024**2
_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs")
_SIGNALS = {Shutdown.FAST: signal.SIGINT, Shutdown.IMMEDIATE: signal.SIGQUIT}


class Posix:
    """As `system.System` says; what macOS cannot do is said where it matters."""

    exe = ""
    has_sockets = True
    # The longest socket path is 107 bytes on Linux and 103 on macOS; PostgreSQL puts /.s.PGSQL.5432 behind the folder.
    longest_socket_folder = 89 if sys.platform == "darwin" else 93
    byte_order_locale = "C" if sys.platform == "darwin" else "C.UTF-8"
    program_folders: tuple[str, ...] = (
        "/usr/lib/postgresql/*/bin",
        "/usr/pgsql-*/bin",
        "/opt/homebrew/opt/postgresql*/bin",
        "/usr/local/opt/postgresql*/bin",
        "/Applications/Postgres.app/Contents/Versions/*/bin",
    )
    environment: Mapping[str, str] = MappingProxyType({"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"})

    def choose_account(self, say: Callable[[str], None]) -> Account | None:
        """None for an ordinary user. For root `postgres`, `baas`, a new user `baas`, or at last `nobody`, and it is said."""
        if os.geteuid() != 0:
            return None
        for name in _PREFERRED:
            if account := _find(name):
                return account
        if account := _create("baas"):
            say("made the system user 'baas' to run PostgreSQL, which refuses to run as root")
            return account
        if account := _find("nobody"):
            say(
                "PostgreSQL runs as 'nobody', because no user could be made for it: other services of 'nobody' can read its files"
            )
            return account
        raise ClusterFault("PostgreSQL refuses to run as root, and there is no other user. Start the server as an ordinary user.")

    def may_enter(self, account: Account, folder: Path) -> bool:
        """Asked of the system, so access lists count."""
        asked = subprocess.run(
            ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)],
            user=account.uid,
            group=account.gid,
            extra_groups=[],
            cwd="/",
            env={},
            stderr=subprocess.DEVNULL,
            check=False,
        )
        return asked.returncode == 0

    def give(self, path: Path, account: Account) -> None:
        os.chown(path, account.uid, account.gid)

    def is_private(self, folder: Path, account: Account | None) -> bool:
        about = folder.lstat()
        return stat.S_ISDIR(about.st_mode) and about.st_uid == self.user_id(account) and not about.st_mode & 0o077

    def user_id(self, account: Account | None) -> int:
        return account.uid if account else os.getuid()

    def lock(self, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def sync_folder(self, folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def command(self, account: Account | None, program: str, arguments: Sequence[str]) -> list[str]:
        """Through launch.py, which becomes the other user and, on Linux, asks to be told when the thread that started it ends."""
        who = (str(account.uid), str(account.gid)) if account else ("-", "-")
        launcher = str(Path(__file__).with_name("launch.py"))
        return [sys.executable, "-I", "-S", launcher, *who, str(os.getpid()), program, *arguments]

    def spawn(self, command: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
        with log.open("ab") as output:
            return subprocess.Popen(
                command,
                cwd="/",
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def tell(self, pid: int, how: Shutdown, pg_ctl: str) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, _SIGNALS[how])

    def is_alive(self, pid: int) -> bool:
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

    def is_postgres(self, pid: int, pgdata: Path, started_at: int) -> bool:
        """By its program's name and, for it stands in its data, its folder."""
        if sys.platform == "linux":
            try:
                program = Path(f"/proc/{pid}/exe").readlink().name
                return program.startswith("postgres") and Path(f"/proc/{pid}/cwd").samefile(pgdata)
            except OSError:
                return False  # of another user, or gone: not the one we started
        command = ["/bin/ps", "-p", str(pid), "-o", "command="]
        listed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=5)
        return "postgres" in listed.stdout and str(pgdata) in listed.stdout

    def memory_bytes(self) -> int:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    def shared_memory_is_small(self) -> bool:
        """Containers have 64 MiB of it by default."""
        try:
            about = os.statvfs("/dev/shm")  # noqa: S108  looked at, not written
        except OSError:
            return False
        return about.f_blocks * about.f_frsize < _SMALL_BYTES

    def network_disk(self, folder: Path) -> str | None:
        with contextlib.suppress(OSError):
            mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
            over = [(point, kind) for point, kind in mounts if folder.is_relative_to(point)]
            point, kind = max(over, key=lambda one: len(one[0]), default=("", ""))
            if kind in _NETWORK:
                return f"{point} is a network disk ({kind})"
        return None


def _find(name: str) -> Account | None:
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
