"""Where a PostgreSQL of ours is met: at a socket in a folder of its own, or, where there are none, at a port of this machine."""

import contextlib
import hashlib
import os
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from baas.infra.db.embedded.faults import ClusterFault
from baas.infra.db.embedded.host import HOST
from baas.infra.db.embedded.layout import Layout, make_folder

_LOOPBACK = "127.0.0.1"
_SOCKET_PORT = 5432  # the number in the socket's name; nothing listens on the network


@dataclass(frozen=True, slots=True)
class Address:
    """`host` is a folder or the loopback address. Whoever comes has to know a password, at either."""

    host: str
    port: int

    @property
    def arguments(self) -> tuple[str, ...]:
        """What tells `postgres` to listen here and nowhere else."""
        at_port = self.host == _LOOPBACK
        return ("-p", str(self.port), "-h", self.host if at_port else "", "-k", "" if at_port else self.host)

    @property
    def environment(self) -> dict[str, str]:
        """For PostgreSQL's own clients."""
        return {"PGHOST": self.host, "PGPORT": str(self.port)}

    def url(self, user: str, password: str, database: str) -> str:
        """For the driver. Encryption is not even tried: nothing leaves the machine, and our PostgreSQL has none."""
        plain = "?sslmode=disable" if self.host == _LOOPBACK else ""
        return f"postgresql://{user}:{password}@{quote(self.host, safe='')}:{self.port}/{database}{plain}"


def choose_address(layout: Layout, name: str = "", *, by_port: bool = not HOST.has_sockets) -> Address:
    """The socket in `run/`, or in a folder `name` of its own, which nobody else knows of; else a port that is free now. Another
    program may take that before we do, and then PostgreSQL says so.
    """
    if not by_port:
        return Address(str(socket_folder(layout, name)), _SOCKET_PORT)
    return Address(_LOOPBACK, _free_port())


def address_of(layout: Layout, port: int, folder: str) -> Address:
    """Where the PostgreSQL is that says it has this port and its socket in this folder: another one may have been chosen for it
    than would be here, where another folder is that of temporary files.
    """
    if port not in (0, _SOCKET_PORT):
        return Address(_LOOPBACK, port)
    return Address(folder or str(socket_folder(layout)), _SOCKET_PORT)


def socket_folder(layout: Layout, name: str = "") -> Path:
    """The folder of the socket, below `run/`, or a short one elsewhere when its path is too long for a socket address."""
    folder = layout.home / "run" / name
    if len(os.fsencode(folder)) <= HOST.longest_socket_folder:
        if not folder.exists():
            make_folder(folder, 0o700)
            layout.own(folder)
        return folder
    name = f"baas-{HOST.user_id(layout.account)}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"
    for short in _short_folders():
        if len(os.fsencode(short / name)) <= HOST.longest_socket_folder:
            with contextlib.suppress(OSError):
                return _private(short / name, layout)
    raise ClusterFault(
        f"PostgreSQL needs a place for its socket whose path has at most {HOST.longest_socket_folder} bytes, and neither {folder}"
        f" nor a folder in {' or '.join(map(str, _short_folders()))} is one. Choose a shorter --data-dir, or a shorter TMPDIR."
    )


def _short_folders() -> tuple[Path, ...]:
    """Where anybody may make a folder. Not first the one of a user's sessions, which goes when he signs out."""
    temporary, usual = Path(tempfile.gettempdir()).resolve(), Path("/tmp").resolve()  # noqa: S108  the folder made in it is looked at
    return (*dict.fromkeys((temporary, usual)), Path(f"/run/user/{HOST.user_id(None)}"))


def _private(folder: Path, layout: Layout) -> Path:
    """The folder, made if it is not there. Raises OSError where it cannot be, or PostgreSQL could not come to it."""
    if layout.account is not None and not HOST.may_enter(layout.account, folder.parent):
        raise PermissionError
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        layout.own(folder)
    # Anyone may write to the folder of temporary files: what is there under our name may be a trap.
    if not HOST.is_private(folder, layout.account):
        raise ClusterFault(f"{folder} is not a private folder of ours. Remove it, or choose a shorter --data-dir.")
    return folder


def _free_port() -> int:
    with socket.create_server((_LOOPBACK, 0)) as listener:
        return int(listener.getsockname()[1])
