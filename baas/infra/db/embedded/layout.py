"""Where things lie in a data folder, who may enter, and the lock that lets one server use it.

    <data>/lock                  held by the running server, its pid inside
    <data>/secret/               0700: passwords of the database's two logins
    <data>/engine/<version>/     the programs in use, and the ones before
    <data>/pg/<major>/           the database
    <data>/run/                  0700: the socket
    <data>/log/postgres.log

PostgreSQL refuses to be root, so as root it is another user, who must be able to enter its folders. Where that user may not
enter the data folder (below /root, say) the last four live below /var/lib/baas instead: no folder above ours is opened for it.
"""

import contextlib
import hashlib
import os
import secrets
import stat
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from baas.infra.db.embedded.account import Account
from baas.infra.db.embedded.faults import ClusterFault, InUse

_ELSEWHERE = Path("/var/lib/baas")
_ELSEWHERE_FILE = "postgres-is-at"
# The longest socket path is 107 bytes on Linux and 103 on macOS; PostgreSQL puts /.s.PGSQL.5432 behind the folder.
_LONGEST_SOCKET_FOLDER = 89 if sys.platform == "darwin" else 93


@dataclass(frozen=True, slots=True)
class Layout:
    """`data` is the folder the operator named, `home` the one PostgreSQL lives in: the same, but for root in a closed folder."""

    data: Path
    home: Path
    account: Account | None

    @property
    def secret(self) -> Path:
        return self.data / "secret"

    @property
    def engine(self) -> Path:
        return self.home / "engine"

    @property
    def log(self) -> Path:
        return self.home / "log" / "postgres.log"

    def pg(self, major: int) -> Path:
        return self.home / "pg" / str(major)

    def major(self) -> int | None:
        """The major version of the existing database; the newest, should there be several."""
        found = [int(path.parent.name) for path in self.home.glob("pg/*/PG_VERSION") if path.parent.name.isdigit()]
        return max(found, default=None)

    def own(self, path: Path) -> None:
        """Hand something of ours to PostgreSQL's user."""
        if self.account:
            os.chown(path, self.account.uid, self.account.gid)


def claim(data: Path) -> int:
    """Make the data folder if need be and lock it for this process; the descriptor that holds the lock.

    Raises ClusterFault when another server has it or it cannot be written.
    """
    import fcntl

    try:
        if not data.is_dir():
            # Others may pass through, not list: root's PostgreSQL, being another user, must reach its own folder inside.
            data.mkdir(parents=True)
            data.chmod(0o711 if os.geteuid() == 0 else 0o700)
        lock = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ClusterFault(
            f"The data folder {data} cannot be written: {error.strerror}. Choose another with --data-dir."
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise InUse(
            f"The data folder {data} is in use by another server (process {holder}). Stop that one, or choose another --data-dir."
        ) from None
    os.truncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock


def lay_out(data: Path, account: Account | None) -> Layout:
    """Make the folders. Only folders made here get a mode or an owner; nothing above them is touched."""
    home = data
    if account and not account.may_enter(data):
        home = _elsewhere(data)
    layout = Layout(data, home, account)
    make_folder(layout.secret, 0o700)
    make_folder(layout.engine, 0o755)
    make_folder(home / "log", 0o755)
    for name in ("pg", "run"):
        make_folder(home / name, 0o700)
        layout.own(home / name)
    if account and not account.may_enter(home):
        raise ClusterFault(
            f"PostgreSQL must run as user {account.name!r}, who may not enter {home}. Start the server as an ordinary user,"
            " or choose a --data-dir that others may pass through, such as one below /var/lib."
        )
    return layout


def socket_folder(layout: Layout) -> Path:
    """The folder of the socket: `run/`, or a short one elsewhere when that path is too long for a socket address."""
    folder = layout.home / "run"
    if len(os.fsencode(folder)) <= _LONGEST_SOCKET_FOLDER:
        return folder
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    uid = layout.account.uid if layout.account else os.getuid()
    folder = Path(tempfile.gettempdir()).resolve() / f"baas-{uid}-{digest}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        layout.own(folder)
    about = folder.lstat()
    # Anyone may write to the folder of temporary files: what is there under our name may be a trap.
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != uid or about.st_mode & 0o077:
        raise ClusterFault(f"{folder} is not a private folder of ours. Remove it, or choose a shorter --data-dir.")
    return folder


def kept_secret(folder: Path, name: str) -> str:
    """The random text in `folder/name`, made at first use; readable by the server's user alone. Of two at once, one makes it."""
    path = folder / name
    with contextlib.suppress(FileNotFoundError):
        return path.read_text("ascii").strip()
    make_folder(folder, 0o700)
    new = folder / f"{name}.{secrets.token_hex(4)}"
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(48))
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):
        path.hardlink_to(new)
    new.unlink()
    return path.read_text("ascii").strip()


def _elsewhere(data: Path) -> Path:
    """A folder below /var/lib/baas, remembered in the data folder, so that a new data folder never finds an old database."""
    pointer = data / _ELSEWHERE_FILE
    try:
        if not pointer.exists():
            pointer.write_text(f"{_ELSEWHERE / f'embedded-{secrets.token_hex(8)}'}\n")
        home = Path(pointer.read_text().strip())
        for folder in (_ELSEWHERE, home):
            make_folder(folder, 0o755)
    except OSError as error:
        raise ClusterFault(f"No folder for PostgreSQL could be made below {_ELSEWHERE}: {error.strerror}.") from None
    return home


def make_folder(path: Path, mode: int) -> None:
    """Make one folder with exactly this mode; one that is there stays as it is."""
    if not path.is_dir():
        path.mkdir(mode=mode)
        path.chmod(mode)  # whatever the umask took away
