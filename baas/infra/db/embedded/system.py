"""What differs between operating systems, as one interface: `posix.py` and `windows.py` have it, `host.py` chooses."""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the operating system that is not us; only where there are such users, and we may become them."""

    name: str
    uid: int
    gid: int


class Shutdown(Enum):
    """How PostgreSQL is told to stop: it ends sessions and writes all down, or drops all and redoes it at the next start."""

    FAST = "INT"
    IMMEDIATE = "QUIT"


class System(Protocol):
    """An operating system, as far as running PostgreSQL needs it."""

    @property
    def exe(self) -> str:
        """What the names of programs end with."""

    @property
    def has_sockets(self) -> bool:
        """Whether PostgreSQL and its driver can meet at a file instead of a port."""

    @property
    def longest_socket_folder(self) -> int:
        """In bytes, so that the socket in it still has an address."""

    @property
    def byte_order_locale(self) -> str:
        """The locale that sorts by bytes and knows UTF-8, for engines that have none of their own."""

    @property
    def program_folders(self) -> tuple[str, ...]:
        """Where packages of the system put PostgreSQL: patterns of folders, absolute."""

    @property
    def environment(self) -> Mapping[str, str]:
        """For our programs. Not our own environment: that one holds secrets."""

    def choose_account(self, say: Callable[[str], None]) -> Account | None:
        """Who runs PostgreSQL, which refuses to be an administrator; None: we do. Raises ClusterFault when nobody can."""

    def may_enter(self, account: Account, folder: Path) -> bool:
        """Whether this user can pass through every folder down to this one."""

    def give(self, path: Path, account: Account) -> None:
        """Make this user the owner of something of ours."""

    def is_private(self, folder: Path, account: Account | None) -> bool:
        """Whether it is a folder, no link, of the user who runs PostgreSQL, and closed to everybody else."""

    def user_id(self, account: Account | None) -> int:
        """The number of the user who runs PostgreSQL."""

    def lock(self, descriptor: int) -> bool:
        """Take the lock of an open file until it is closed; False when another process has it. The file stays readable."""

    def sync_folder(self, folder: Path) -> None:
        """See to it that a rename in this folder survives a power cut."""

    def command(self, account: Account | None, program: str, arguments: Sequence[str]) -> list[str]:
        """The command line that runs a program as this user, ending with us."""

    def spawn(self, command: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
        """Start PostgreSQL, tied to our life as far as the system can, deaf to the terminal, its output put behind the log's."""

    def tell(self, pid: int, how: Shutdown, pg_ctl: str) -> None:
        """Ask a PostgreSQL to stop; one that has ended already is left alone."""

    def is_alive(self, pid: int) -> bool:
        """Whether there is such a process, not counting one that ended and waits to be collected."""

    def is_postgres(self, pid: int, pgdata: Path, started_at: int) -> bool:
        """Whether the process is the PostgreSQL on this data that wrote it started then (seconds since 1970)."""

    def memory_bytes(self) -> int:
        """How much memory the machine has."""

    def shared_memory_is_small(self) -> bool:
        """Whether parallel queries could exhaust what processes share."""

    def network_disk(self, folder: Path) -> str | None:
        """The network disk that the folder is on, in words."""
