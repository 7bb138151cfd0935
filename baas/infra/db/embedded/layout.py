"""Where things lie in a data folder, who may enter, and the lock that lets one server use it.

    <data>/lock                  held by the running server, its pid inside
    <data>/secret/               0700: passwords of the database's two logins
    <data>/engine/<version>/     the programs in use, and the ones before
    <data>/pg/<major>/           the database; of several, the one of the newest major, the others are kept from upgrades
    <data>/run/                  0700: the socket
    <data>/log/postgres.log

PostgreSQL refuses to be root, so as root it is another user, who must be able to enter its folders. Where that user may not
enter the data folder (below /root, say) the last four live below /var/lib/baas instead: no folder above ours is opened for it.
"""

import contextlib
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from baas.infra.db.embedded.faults import ClusterFault, InUse
from baas.infra.db.embedded.host import HOST
from baas.infra.db.embedded.system import Account

_ELSEWHERE = Path("/var/lib/baas")
_ELSEWHERE_FILE = "postgres-is-at"
_UNFINISHED = (".init", ".upgrade", ".removed")


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

    def majors(self) -> list[int]:
        """The major versions there are databases of, the newest first."""
        found = [int(path.parent.name) for path in self.home.glob("pg/*/PG_VERSION") if path.parent.name.isdigit()]
        return sorted(found, reverse=True)

    def major(self) -> int | None:
        """The major version of the existing database; the newest, should there be several."""
        return next(iter(self.majors()), None)

    def unfinished(self) -> list[Path]:
        """What making, moving or removing a database left when it was cut short."""
        return sorted(path for path in self.home.glob("pg/*") if path.suffix in _UNFINISHED)

    def make_real(self, made: Path, name: Path) -> None:
        """Give a folder its name, in one step that survives a power cut."""
        made.rename(name)
        HOST.sync_folder(name.parent)

    def remove_database(self, major: int) -> None:
        """Remove one for good. Cut short, it is no database any more, and the next start removes what is left."""
        folder = self.pg(major)
        doomed = folder.with_name(f"{major}.removed")
        shutil.rmtree(doomed, ignore_errors=True)
        folder.rename(doomed)
        with contextlib.suppress(FileNotFoundError):  # a server that starts now removes it too
            shutil.rmtree(doomed)

    def own(self, path: Path) -> None:
        """Hand something of ours to PostgreSQL's user."""
        if self.account:
            HOST.give(path, self.account)


def claim(data: Path) -> int:
    """Make the data folder if need be and lock it for this process; the descriptor that holds the lock.

    Raises ClusterFault when another server has it or it cannot be written.
    """
    try:
        if not data.is_dir():
            # Others may pass through, not list: root's PostgreSQL, being another user, must reach its own folder inside.
            data.mkdir(parents=True)
            data.chmod(0o711 if hasattr(os, "geteuid") and os.geteuid() == 0 else 0o700)
        lock = os.open(data / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ClusterFault(
            f"The data folder {data} cannot be written: {error.strerror}. Choose another with --data-dir."
        ) from None
    if not HOST.lock(lock):
        os.lseek(lock, 0, os.SEEK_SET)
        holder = os.read(lock, 20).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise InUse(
            f"The data folder {data} is in use by another server (process {holder}). Stop that one, or choose another --data-dir."
        )
    os.ftruncate(lock, 0)
    os.lseek(lock, 0, os.SEEK_SET)
    os.write(lock, str(os.getpid()).encode())
    return lock


def lay_out(data: Path, account: Account | None) -> Layout:
    """Make the folders. Only folders made here get a mode or an owner; nothing above them is touched."""
    home = data
    if account and not HOST.may_enter(account, data):
        home = _elsewhere(data)
    layout = Layout(data, home, account)
    make_folder(layout.secret, 0o700)
    make_folder(layout.engine, 0o755)
    make_folder(home / "log", 0o755)
    for name in ("pg", "run"):
        make_folder(home / name, 0o700)
        layout.own(home / name)
    if account and not HOST.may_enter(account, home):
        raise ClusterFault(
            f"PostgreSQL must run as user {account.name!r}, who may not enter {home}. Start the server as an ordinary user,"
            " or choose a --data-dir that others may pass through, such as one below /var/lib."
        )
    return layout


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
