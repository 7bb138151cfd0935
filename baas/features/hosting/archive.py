"""Archives of sites, read without trust: what is in them, checked and counted, before a byte of it is stored (threat model F3).

Nothing is ever unpacked under a name from the archive. A packed tar is opened into one scratch file; its members, and those of a
zip, are read in place, so links, `..` and devices have nothing to reach. They are refused all the same: a site that would
silently lack files is not what its owner sent.
"""

import contextlib
import errno
import gzip
import hashlib
import io
import stat
import struct
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from baas.base.errors import Invalid, TooLarge, UnsupportedMediaType
from baas.base.paths import path_fault

_CHUNK = 256 * 1024
_RATIO = 100
_RATIO_FROM_BYTES = 16 << 20  # below this a bomb does no harm, and an honest page of blanks packs very well
_LARGEST_TAR_HEADER = 1 << 20
_END_OF_DIRECTORY = struct.Struct("<4s4H2LH")
_DIRECTORY_ENTRY_BYTES = 2048
_UTF8_NAME, _ENCRYPTED = 0x800, 0x1
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # LZMA takes as much memory as the archive says
_LIES = (EOFError, ValueError, OverflowError, RuntimeError, struct.error)
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, gzip.BadGzipFile, *_LIES)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes of all files together when unpacked; files."""

    open_bytes: int
    files: int


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file of an archive. `place` is where its bytes are: an offset in the tar, an index in the zip."""

    path: str
    size: int
    sha256: str
    place: int


class Archive:
    """The files of an archive, all checked. Its methods block: call them in a thread.

    `ignored` are the dot files left out: they are never served, and what is not served should not be stored.
    """

    def __init__(self, members: tuple[Member, ...], ignored: tuple[str, ...], read: Callable[[Member], Iterator[bytes]]) -> None:
        self.members = members
        self.ignored = ignored
        self.read = read


@contextlib.contextmanager
def open_archive(packed: Path, scratch: Path, limits: Limits) -> Iterator[Archive]:
    """Check every member of a `tar.gz` or `zip` file; `scratch` is a new file's path for the opened tar, removed at the end.

    Raises UnsupportedMediaType for another format, TooLarge over a limit, Invalid for an archive that is broken or holds
    anything but plain files and folders with proper, distinct paths.
    """
    with packed.open("rb") as file, contextlib.ExitStack() as stack:
        kind = file.read(4)
        file.seek(0)
        size = packed.stat().st_size
        counter = _Counter(limits, size)
        try:
            if kind[:2] == b"\x1f\x8b":
                stack.callback(scratch.unlink, missing_ok=True)
                archive = _tar(stack.enter_context(_gunzip(file, scratch, limits, size)), counter)
            elif kind in (b"PK\x03\x04", b"PK\x05\x06"):
                archive = _zip(stack.enter_context(_directory_checked(file, size, limits)), counter)
            else:
                raise UnsupportedMediaType("The archive must be a tar.gz or a zip file.", code="unknown_archive")
        except _BROKEN as error:
            raise _broken("It cannot be read to its end.") from error
        except OSError as error:
            if error.errno != errno.EINVAL:  # a place outside of the file, such as one below zero
                raise
            raise _broken("It points outside of itself.") from error
        if not archive.members:
            raise Invalid("The archive holds no file.", code="empty_archive")
        yield archive


class _Counter:
    """Counts while members are read, and knows the paths so far."""

    def __init__(self, limits: Limits, packed_bytes: int) -> None:
        self._limits = limits
        self._packed_bytes = packed_bytes
        self._opened_bytes = 0
        self._entries = 0
        self._files: dict[str, str] = {}
        self._folders: dict[str, str] = {}

    def entry(self) -> None:
        """Folders are entries too: an archive of them alone must end as well."""
        self._entries += 1
        if self._entries > 2 * self._limits.files or len(self._files) >= self._limits.files:
            raise _too_many(self._limits)

    def opened(self, size: int) -> None:
        self._opened_bytes += size
        _check_opened(self._opened_bytes, self._packed_bytes, self._limits)

    def file(self, path: str) -> None:
        """Two files whose names differ by case alone are one file on many machines, and so never a site that works everywhere."""
        folded = path.casefold()
        other = self._files.get(folded) or self._folders.get(folded)
        if other is not None:
            raise _broken(f"It holds both {other!r} and {path!r}.", code="duplicate_path")
        self._files[folded] = path
        for end in (index for index, character in enumerate(path) if character == "/"):
            folder = folded[: len(path[:end].casefold())]
            if folder in self._files:
                raise _broken(f"It holds {self._files[folder]!r} as a file and as a folder.", code="duplicate_path")
            self._folders[folder] = path[:end]


def clean_path(name: str, *, folder: bool = False) -> str:
    """The path of a member without a leading `./`; '' for the top folder itself. Raises Invalid for what is no proper path."""
    path = name.removesuffix("/") if folder else name
    while path.startswith("./"):
        path = path[2:]
    if folder and path in ("", "."):
        return ""
    if fault := path_fault(path):
        raise _broken(f"The path {path[:200]!r} {fault}.", code="bad_path")
    return path


def hidden(path: str) -> bool:
    """Whether a site never serves this path: dot files and what is in dot folders, but for `/.well-known/` (RFC 8615)."""
    return any(segment.startswith(".") for segment in path.removeprefix(".well-known/").split("/"))


# ---- tar ----


@contextlib.contextmanager
def _gunzip(packed: BinaryIO, scratch: Path, limits: Limits, size: int) -> Iterator["_Headers"]:
    """The tar, opened under the limits; headers and padding come on top of the files' bytes."""
    opened, allowed = 0, limits.open_bytes + 2048 * limits.files
    with scratch.open("x+b") as tar:
        with gzip.GzipFile(fileobj=packed) as source:
            while chunk := source.read(_CHUNK):
                opened += len(chunk)
                _check_opened(opened, size, limits, allowed=allowed)
                tar.write(chunk)
        yield _Headers(tar, opened)


class _Headers(io.RawIOBase):
    """The opened tar for `tarfile`, which would read an extended header of any stated size into memory at once."""

    def __init__(self, tar: IO[bytes], size: int) -> None:
        self._tar = tar
        self._size = size
        self._position = 0
        self._lock = threading.Lock()

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= _LARGEST_TAR_HEADER:
            raise _broken("A header in it is too long.")
        data = self.read_at(self._position, size)
        self._position += len(data)
        return data

    def read_at(self, position: int, size: int) -> bytes:
        """Several threads store members at once."""
        with self._lock:
            self._tar.seek(position)
            return self._tar.read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if whence or not 0 <= offset <= self._size:
            raise _broken("It ends in the middle.")
        self._position = offset
        return offset

    def tell(self) -> int:
        return self._position

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def _tar(headers: _Headers, counter: _Counter) -> Archive:
    members, ignored = [], []
    with tarfile.TarFile(fileobj=headers, mode="r", errors="strict", encoding="utf-8") as tar:
        while (entry := _next(tar)) is not None:
            counter.entry()
            if entry.isdir():
                clean_path(entry.name, folder=True)
                continue
            if not entry.isreg() or entry.issparse():
                raise _broken(f"{entry.name[:200]!r} is a link, a device or another special file.", code="not_a_file")
            path = clean_path(entry.name)
            if hidden(path):
                ignored.append(path)
                continue
            counter.file(path)
            counter.opened(entry.size)
            members.append(_hashed(path, entry.offset_data, _span(headers, entry.offset_data, entry.size)))
            if members[-1].size != entry.size:
                raise _broken(f"{path!r} is cut short.")
        _check_end(headers, tar.offset)
    return Archive(tuple(members), tuple(ignored), lambda member: _span(headers, member.place, member.size))


def _next(tar: tarfile.TarFile) -> tarfile.TarInfo | None:
    entry = tar.next()
    if entry is not None and entry.size < 0:
        raise _broken("A header in it states a negative size.")
    return entry


def _check_end(headers: _Headers, position: int) -> None:
    """`tarfile` takes a damaged header for the end; the true end is a block of zeros. Without this half a site would go live."""
    block = headers.read_at(position, 512)
    if len(block) < 512 or any(block):
        raise _broken("It ends in the middle.")


def _span(headers: _Headers, start: int, size: int) -> Iterator[bytes]:
    position, stop = start, start + size
    while position < stop:
        chunk = headers.read_at(position, min(_CHUNK, stop - position))
        if not chunk:
            return
        position += len(chunk)
        yield chunk


# ---- zip ----


@contextlib.contextmanager
def _directory_checked(packed: BinaryIO, size: int, limits: Limits) -> Iterator[zipfile.ZipFile]:
    """`zipfile` reads the whole directory into memory, so its size is looked at before. Zip64 is for what is over our limits."""
    packed.seek(max(0, size - 65_557))
    tail = packed.read(65_557)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END_OF_DIRECTORY.size:
        raise _broken("It cannot be read to its end.")
    _, _, _, _, entries, directory_bytes, _, _ = _END_OF_DIRECTORY.unpack_from(tail, at)
    if tail[max(0, at - 20) :].startswith(b"PK\x06\x07") or entries > 2 * limits.files:
        raise _too_many(limits)
    if directory_bytes > 2 * limits.files * _DIRECTORY_ENTRY_BYTES:
        raise _too_many(limits)
    packed.seek(0)
    with zipfile.ZipFile(packed) as archive:
        yield archive


def _zip(archive: zipfile.ZipFile, counter: _Counter) -> Archive:
    members, ignored = [], []
    entries = archive.infolist()
    for index, entry in enumerate(entries):
        counter.entry()
        name = _zip_name(entry)
        mode = stat.S_IFMT(entry.external_attr >> 16)
        if name.endswith("/"):
            clean_path(name, folder=True)
            continue
        if mode not in (0, stat.S_IFREG) or entry.flag_bits & _ENCRYPTED or entry.compress_type not in _PACKINGS:
            raise _broken(f"{name[:200]!r} is a link, encrypted or packed in an unusual way.", code="not_a_file")
        path = clean_path(name)
        if hidden(path):
            ignored.append(path)
            continue
        counter.file(path)
        members.append(_hashed(path, index, _zip_chunks(archive, entry), counter))
    return Archive(tuple(members), tuple(ignored), lambda member: _zip_chunks(archive, entries[member.place]))


def _zip_name(entry: zipfile.ZipInfo) -> str:
    """The name as it was written: `zipfile` cuts at NUL, and reads names without the UTF-8 flag in a code page of 1981."""
    name = entry.orig_filename
    if entry.flag_bits & _UTF8_NAME or name.isascii():
        return name
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        raise _broken(f"The name {name[:200]!r} in it is not UTF-8.", code="bad_path") from None


def _zip_chunks(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """Inflated in bounded pieces; the last read checks the CRC, and more bytes than stated are never read."""
    with archive.open(entry) as source:
        while chunk := source.read(_CHUNK):
            yield chunk


# ---- both ----


def _hashed(path: str, place: int, chunks: Iterator[bytes], counter: _Counter | None = None) -> Member:
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        size += len(chunk)
        digest.update(chunk)
        if counter:
            counter.opened(len(chunk))
    return Member(path, size, digest.hexdigest(), place)


def _check_opened(opened: int, packed: int, limits: Limits, *, allowed: int | None = None) -> None:
    if opened > (allowed or limits.open_bytes):
        most = limits.open_bytes
        raise TooLarge(f"The archive may hold at most {most} bytes when unpacked.", code="archive_too_large", limit=most)
    if opened > _RATIO_FROM_BYTES and opened > _RATIO * packed:
        raise TooLarge(f"The archive unpacks to more than {_RATIO} times its size.", code="archive_ratio", limit=_RATIO)


def _too_many(limits: Limits) -> TooLarge:
    return TooLarge(f"The archive may hold at most {limits.files} files.", code="too_many_files", limit=limits.files)


def _broken(why: str, *, code: str = "bad_archive") -> Invalid:
    return Invalid(f"The archive is refused: {why}", code=code)
