"""Windows: no other user, ports instead of sockets, a job that ends PostgreSQL with us, and its own way to be told to stop.

Written after the documentation of the system and of PostgreSQL; types are checked, but no test has run it there yet.
"""

import ctypes
import msvcrt
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from ctypes import wintypes
from functools import cached_property
from pathlib import Path

from baas.infra.db.embedded.system import Account, Shutdown

assert sys.platform == "win32"  # noqa: S101  so that types are checked on the system they are for

_TELL_S = 10
_LOCKED_AT = 1 << 30  # far behind the text: what is locked cannot be read by others
_SAME_START_S = 30
_EPOCH_S = 11_644_473_600  # from 1601, where Windows begins to count, to 1970

_KILL_ON_JOB_CLOSE = 0x2000
_EXTENDED_LIMITS = 9
_PROCESS_TERMINATE, _PROCESS_SET_QUOTA, _PROCESS_QUERY_LIMITED, _SYNCHRONIZE = 0x0001, 0x0100, 0x1000, 0x0010_0000
_WAIT_TIMEOUT = 0x102
_DRIVE_REMOTE = 4
_FILE_APPEND_DATA, _SHARE_ALL, _OPEN_ALWAYS, _ATTRIBUTE_NORMAL = 0x0004, 0x0007, 4, 0x80


class _BasicLimits(ctypes.Structure):
    """JOBOBJECT_BASIC_LIMIT_INFORMATION."""

    _fields_ = (
        ("per_process_time", wintypes.LARGE_INTEGER),
        ("per_job_time", wintypes.LARGE_INTEGER),
        ("flags", wintypes.DWORD),
        ("least_working_set", ctypes.c_size_t),
        ("most_working_set", ctypes.c_size_t),
        ("most_processes", wintypes.DWORD),
        ("affinity", ctypes.c_size_t),
        ("priority", wintypes.DWORD),
        ("scheduling", wintypes.DWORD),
    )


class _Limits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION."""

    _fields_ = (
        ("basic", _BasicLimits),
        ("io", ctypes.c_ulonglong * 6),
        ("process_memory", ctypes.c_size_t),
        ("job_memory", ctypes.c_size_t),
        ("peak_process_memory", ctypes.c_size_t),
        ("peak_job_memory", ctypes.c_size_t),
    )


class _Memory(ctypes.Structure):
    """MEMORYSTATUSEX."""

    _fields_ = (
        ("size", wintypes.DWORD),
        ("load", wintypes.DWORD),
        ("total", ctypes.c_ulonglong),
        ("rest", ctypes.c_ulonglong * 6),
    )


class _Kernel:
    """The functions of kernel32 that are used, with their types; a number too short for a handle would be a wrong handle."""

    def __init__(self) -> None:
        library = ctypes.WinDLL("kernel32", use_last_error=True)
        handle, dword, text = wintypes.HANDLE, wintypes.DWORD, wintypes.LPCWSTR
        self.create_job = self._typed(library.CreateJobObjectW, handle, ctypes.c_void_p, text)
        self.limit_job = self._typed(library.SetInformationJobObject, wintypes.BOOL, handle, ctypes.c_int, ctypes.c_void_p, dword)
        self.assign_to_job = self._typed(library.AssignProcessToJobObject, wintypes.BOOL, handle, handle)
        self.open_process = self._typed(library.OpenProcess, handle, dword, wintypes.BOOL, dword)
        self.close = self._typed(library.CloseHandle, wintypes.BOOL, handle)
        self.wait = self._typed(library.WaitForSingleObject, dword, handle, dword)
        self.image_name = self._typed(
            library.QueryFullProcessImageNameW, wintypes.BOOL, handle, dword, wintypes.LPWSTR, ctypes.POINTER(dword)
        )
        times = [ctypes.POINTER(wintypes.FILETIME)] * 4
        self.process_times = self._typed(library.GetProcessTimes, wintypes.BOOL, handle, *times)
        self.memory = self._typed(library.GlobalMemoryStatusEx, wintypes.BOOL, ctypes.POINTER(_Memory))
        self.drive_type = self._typed(library.GetDriveTypeW, wintypes.UINT, text)
        self.windows_folder = self._typed(library.GetSystemWindowsDirectoryW, wintypes.UINT, wintypes.LPWSTR, wintypes.UINT)
        self.create_file = self._typed(library.CreateFileW, handle, text, dword, dword, ctypes.c_void_p, dword, dword, handle)

    @staticmethod
    def _typed(function: Callable[..., int], result: type, *arguments: object) -> Callable[..., int]:
        function.restype, function.argtypes = result, arguments  # type: ignore[attr-defined]
        return function


class Windows:
    """As `system.System` says."""

    exe = ".exe"
    has_sockets = False  # PostgreSQL has them there, Python's event loop has not
    longest_socket_folder = 0
    byte_order_locale = "C"

    @cached_property
    def program_folders(self) -> tuple[str, ...]:
        return (rf"{Path(self._windows_folder).anchor}Program Files\PostgreSQL\*\bin",)

    @cached_property
    def environment(self) -> Mapping[str, str]:
        """Without SystemRoot no program of Windows can open a socket."""
        folder = self._windows_folder
        return {"SystemRoot": folder, "PATH": rf"{folder}\System32;{folder}", "TEMP": tempfile.gettempdir(), "TZ": "UTC"}

    def choose_account(self, say: Callable[[str], None]) -> Account | None:
        """Always ourselves. An administrator's PostgreSQL refuses to run, and says so in its log (faults.py)."""
        return None

    def may_enter(self, account: Account, folder: Path) -> bool:
        return True

    def give(self, path: Path, account: Account) -> None:
        """There is nobody to give to."""

    def is_private(self, folder: Path, account: Account | None) -> bool:
        """Only asked of sockets' folders. What we make is as private as the folder it is in; a user's own is."""
        return folder.is_dir() and not folder.is_symlink()

    def user_id(self, account: Account | None) -> int:
        return 0

    def lock(self, descriptor: int) -> bool:
        os.lseek(descriptor, _LOCKED_AT, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def sync_folder(self, folder: Path) -> None:
        """NTFS keeps a journal of names, in order, and has no way to ask for more."""

    def command(self, account: Account | None, program: str, arguments: Sequence[str]) -> list[str]:
        return [program, *arguments]

    def spawn(self, command: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
        """In a job that ends when our last handle of it closes, which is when we end, however that happens: like a power cut, of
        which PostgreSQL loses nothing. With a console of its own, for Ctrl-C in ours would stop it before we have drained.
        """
        descriptor = self._open_for_appending(log)
        try:
            child = subprocess.Popen(
                command,
                cwd=log.anchor,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                creationflags=subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP,
            )
        finally:
            os.close(descriptor)
        try:
            with self._process(child.pid, _PROCESS_SET_QUOTA | _PROCESS_TERMINATE) as handle:
                self._check(self._kernel.assign_to_job(self._job, handle))
        except OSError:
            if child.poll() is None:
                child.kill()
                child.wait()
                raise
        return child

    def tell(self, pid: int, how: Shutdown, pg_ctl: str) -> None:
        """There are no signals; PostgreSQL listens at a pipe instead, to which `pg_ctl kill` is the documented way."""
        subprocess.run(
            [pg_ctl, "kill", how.value, str(pid)],
            env=dict(self.environment),
            capture_output=True,
            timeout=_TELL_S,
            check=False,
            creationflags=subprocess.CREATE_NO_WINDOW,
        )

    def is_alive(self, pid: int) -> bool:
        """Not by `os.kill`, which on Windows does kill, whatever the number."""
        try:
            with self._process(pid, _SYNCHRONIZE) as handle:
                return self._kernel.wait(handle, 0) == _WAIT_TIMEOUT
        except PermissionError:
            return True
        except OSError:
            return False

    def is_postgres(self, pid: int, pgdata: Path, started_at: int) -> bool:
        """By its program's name and, for a number is soon used again, by when it started."""
        try:
            with self._process(pid, _PROCESS_QUERY_LIMITED) as handle:
                name = ctypes.create_unicode_buffer(32_768)
                length = wintypes.DWORD(len(name))
                self._check(self._kernel.image_name(handle, 0, name, ctypes.byref(length)))
                created, *others = (wintypes.FILETIME() for _ in range(4))
                self._check(self._kernel.process_times(handle, ctypes.byref(created), *map(ctypes.byref, others)))
        except OSError:
            return False  # of another user, or gone: not the one we started
        began = ((created.dwHighDateTime << 32) + created.dwLowDateTime) / 10_000_000 - _EPOCH_S
        return Path(name.value).name.lower().startswith("postgres") and abs(began - started_at) < _SAME_START_S

    def memory_bytes(self) -> int:
        memory = _Memory(size=ctypes.sizeof(_Memory))
        self._check(self._kernel.memory(ctypes.byref(memory)))
        return int(memory.total)

    def shared_memory_is_small(self) -> bool:
        return False

    def network_disk(self, folder: Path) -> str | None:
        if folder.anchor.startswith("\\\\") or self._kernel.drive_type(folder.anchor) == _DRIVE_REMOTE:
            return f"{folder.anchor} is a network disk"
        return None

    @cached_property
    def _kernel(self) -> _Kernel:
        return _Kernel()

    @cached_property
    def _job(self) -> int:
        """One for all we start. Nobody inherits its handle, and it is never closed by us."""
        job = self._check(self._kernel.create_job(None, None))
        limits = _Limits()
        limits.basic.flags = _KILL_ON_JOB_CLOSE
        self._check(self._kernel.limit_job(job, _EXTENDED_LIMITS, ctypes.byref(limits), ctypes.sizeof(limits)))
        return job

    @cached_property
    def _windows_folder(self) -> str:
        folder = ctypes.create_unicode_buffer(wintypes.MAX_PATH)
        self._check(self._kernel.windows_folder(folder, len(folder)))
        return folder.value

    @contextmanager
    def _process(self, pid: int, access: int) -> Iterator[int]:
        handle = self._check(self._kernel.open_process(access, False, pid))
        try:
            yield handle
        finally:
            self._kernel.close(handle)

    def _open_for_appending(self, path: Path) -> int:
        """A file that is only ever appended to, so that it can be emptied meanwhile; C's own append mode keeps a place in it."""
        handle = self._kernel.create_file(str(path), _FILE_APPEND_DATA, _SHARE_ALL, None, _OPEN_ALWAYS, _ATTRIBUTE_NORMAL, None)
        if handle in (None, ctypes.c_void_p(-1).value):
            raise ctypes.WinError(ctypes.get_last_error())
        return msvcrt.open_osfhandle(handle, os.O_WRONLY | os.O_APPEND)

    @staticmethod
    def _check(result: int) -> int:
        """Raises OSError when the system said no, by 0."""
        if not result:
            raise ctypes.WinError(ctypes.get_last_error())
        return result
