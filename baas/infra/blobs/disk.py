"""Blobs as files of a local folder: written beside, synchronised, renamed into place.

    <root>/unfinished/<random>                  being written
    <root>/blobs/<key's folders>/<two letters>/<key's last part>

Both are on one file system, so that the rename is atomic. What is in place is complete and durable.
"""

import contextlib
import hashlib
import os
import shutil
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

from baas.base.errors import Unavailable
from baas.base.ids import short_id
from baas.infra.blobs.base import CHUNK_BYTES, Blob, BlobMissing, check_key
from baas.infra.blobs.thread import to_the_end

_WRITE_BYTES = 1 << 20
_REMEMBERED_FOLDERS = 50_000


class Steps:
    """The steps of a write that can fail, one method each; a test makes them fail in turn."""

    def create(self, path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)

    def write(self, descriptor: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]

    def sync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def make_folder(self, path: Path) -> None:
        path.mkdir(mode=0o700, exist_ok=True)

    def rename(self, source: Path, target: Path) -> None:
        source.replace(target)

    def sync_folder(self, path: Path) -> None:
        if os.name == "nt":  # Windows cannot open a folder; NTFS journals the rename by itself
            return
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class DiskStore:
    """Keeps blobs in a folder of this machine.

    Raises Unavailable, in plain words, when the folder cannot be made or written.
    """

    def __init__(self, root: Path, *, steps: Steps | None = None) -> None:
        self._unfinished = root / "unfinished"
        self._blobs = root / "blobs"
        self._steps = steps or Steps()
        self._durable: set[Path] = {self._blobs}
        try:
            for folder in (root, self._unfinished, self._blobs):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = self._unfinished / f"probe-{short_id()}"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise Unavailable(f"Files cannot be kept in {root}: {error.strerror}.", code="storage_unavailable") from error

    async def put(self, key: str, chunks: AsyncIterable[bytes]) -> Blob:
        target = self._path(key)
        unfinished = self._unfinished / short_id(20)
        try:
            descriptor = await to_the_end(partial(self._steps.create, unfinished), undo=os.close)
            try:
                size, sha256 = await self._write(descriptor, chunks)
                await to_the_end(partial(self._steps.sync, descriptor))
            finally:
                os.close(descriptor)
            await to_the_end(partial(self._place, unfinished, target), undo=lambda _: _remove(target))
        except BaseException:
            _remove(unfinished)
            raise
        return Blob(key, size, sha256)

    async def _write(self, descriptor: int, chunks: AsyncIterable[bytes]) -> tuple[int, str]:
        digest, size, waiting = hashlib.sha256(), 0, bytearray()

        def flush(data: bytes) -> None:
            self._steps.write(descriptor, data)
            digest.update(data)

        async for chunk in chunks:
            waiting += chunk
            if len(waiting) >= _WRITE_BYTES:
                size += len(waiting)
                await to_the_end(partial(flush, bytes(waiting)))
                waiting.clear()
        if waiting:
            size += len(waiting)
            await to_the_end(partial(flush, bytes(waiting)))
        return size, digest.hexdigest()

    def _place(self, unfinished: Path, target: Path) -> None:
        """A folder is durable when its parent is synchronised, a rename when its folder is: from the top down.

        That a folder is there says nothing: another upload may have made it a moment ago, or failed right after. So each is
        synchronised once by every process that writes into it.
        """
        for folder in reversed(target.relative_to(self._blobs).parents):
            if self._blobs / folder not in self._durable:
                self._steps.make_folder(self._blobs / folder)
                self._steps.sync_folder((self._blobs / folder).parent)
                self._remember(self._blobs / folder)
        try:
            self._steps.rename(unfinished, target)
            self._steps.sync_folder(target.parent)
        except OSError:
            self._durable = {self._blobs}  # the folder may have been removed with its project, by another process
            _remove(target)
            raise

    def _remember(self, folder: Path) -> None:
        if len(self._durable) >= _REMEMBERED_FOLDERS:
            self._durable = {self._blobs}
        self._durable.add(folder)

    @contextlib.asynccontextmanager
    async def open(self, key: str, start: int = 0, stop: int | None = None) -> AsyncIterator[AsyncIterator[bytes]]:
        descriptor = await to_the_end(partial(_open, self._path(key), key), undo=os.close)
        try:
            yield _pieces(descriptor, start, stop)
        finally:
            os.close(descriptor)

    async def exists(self, key: str) -> bool:
        return await to_the_end(self._path(key).is_file)

    async def delete(self, key: str) -> None:
        await to_the_end(partial(self._path(key).unlink, missing_ok=True))

    async def delete_all(self, prefix: str) -> None:
        await to_the_end(partial(_remove_tree, self._blobs / check_key(prefix)))
        self._durable = {self._blobs}

    async def keys(self, prefix: str, *, before: datetime) -> AsyncIterator[str]:
        for path in await to_the_end(lambda: list(self._older(self._blobs / check_key(prefix), before))):
            folders = path.relative_to(self._blobs).parts
            yield "/".join((*folders[:-2], folders[-1]))

    async def sweep_unfinished(self, *, before: datetime) -> int:
        def sweep() -> int:
            old = list(self._older(self._unfinished, before))
            for path in old:
                path.unlink(missing_ok=True)
            return len(old)

        return await to_the_end(sweep)

    def _older(self, folder: Path, before: datetime) -> Iterator[Path]:
        for path in folder.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                if path.is_file() and path.stat().st_mtime < before.timestamp():
                    yield path

    def _path(self, key: str) -> Path:
        """The last two letters spread the files over 1,296 folders: those of a UUID are random, its first are the time."""
        *folders, name = check_key(key).split("/")
        return self._blobs.joinpath(*folders, name[-2:].rjust(2, "0"), name)


async def _pieces(descriptor: int, start: int, stop: int | None) -> AsyncIterator[bytes]:
    position = start
    while stop is None or position < stop:
        size = CHUNK_BYTES if stop is None else min(CHUNK_BYTES, stop - position)
        piece = await to_the_end(partial(_read_at, descriptor, size, position))
        if not piece:
            break
        position += len(piece)
        yield piece


def _open(path: Path, key: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise BlobMissing(f"No blob {key}.") from None


def _read_at(descriptor: int, size: int, position: int) -> bytes:
    if hasattr(os, "pread"):
        piece: bytes = os.pread(descriptor, size, position)
        return piece
    os.lseek(descriptor, position, os.SEEK_SET)  # Windows; one reader per descriptor, so nobody moves it meanwhile
    return os.read(descriptor, size)


def _remove_tree(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


def _remove(path: Path) -> None:
    """As far as it goes: what cannot be removed now is swept later."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
