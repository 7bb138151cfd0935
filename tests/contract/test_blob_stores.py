"""What every store of file contents does, run over the list of stores; then the disk's own promise: each step may fail."""

import asyncio
import contextlib
import errno
import hashlib
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from baas.base.errors import BaasError, OutOfSpace, Unavailable
from baas.infra.blobs import STORES
from baas.infra.blobs.base import CHUNK_BYTES, Blob, BlobMissing, BlobStore
from baas.infra.blobs.disk import DiskStore, Steps

BIG = os.urandom(3 * (1 << 20) + 17)


async def chunks(data: bytes, size: int = 60_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read(store: BlobStore, key: str, start: int = 0, stop: int | None = None) -> bytes:
    async with store.open(key, start, stop) as pieces:
        return b"".join([piece async for piece in pieces])


@pytest.fixture(params=STORES, ids=lambda store: store.__name__)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    return request.param(tmp_path / "files")


@pytest.mark.parametrize("data", [b"", b"x", BIG], ids=["empty", "one byte", "big"])
async def test_what_is_put_is_read_back(store: BlobStore, data: bytes) -> None:
    blob = await store.put("p_1/files/aa", chunks(data))

    assert Blob("p_1/files/aa", len(data), hashlib.sha256(data).hexdigest()) == blob
    assert data == await read(store, blob.key)
    assert await store.exists(blob.key)


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 1), (5, 5), (CHUNK_BYTES - 1, CHUNK_BYTES + 1), (len(BIG) - 3, None), (7, len(BIG))]
)
async def test_a_part_is_exactly_that_part(store: BlobStore, start: int, stop: int | None) -> None:
    await store.put("p_1/files/aa", chunks(BIG))

    assert BIG[start:stop] == await read(store, "p_1/files/aa", start, stop)


async def test_reading_comes_in_pieces(store: BlobStore) -> None:
    await store.put("p_1/files/aa", chunks(BIG))

    async with store.open("p_1/files/aa") as pieces:
        assert CHUNK_BYTES >= max([len(piece) async for piece in pieces])


async def test_what_is_absent_is_missing(store: BlobStore) -> None:
    with pytest.raises(BlobMissing):
        await read(store, "p_1/files/none")
    assert not await store.exists("p_1/files/none")
    await store.delete("p_1/files/none")
    await store.delete_all("p_2")


async def test_a_reader_of_a_deleted_blob_reads_on(store: BlobStore) -> None:
    await store.put("p_1/files/aa", chunks(BIG))

    async with store.open("p_1/files/aa") as pieces:
        first = await anext(pieces)
        await store.delete("p_1/files/aa")
        assert BIG == first + b"".join([piece async for piece in pieces])
    assert not await store.exists("p_1/files/aa")


async def test_a_prefix_goes_as_a_whole_and_alone(store: BlobStore) -> None:
    for key in ("p_1/files/aa", "p_1/sites/bb", "p_10/files/cc"):
        await store.put(key, chunks(b"x"))

    await store.delete_all("p_1")

    assert [False, False, True] == [await store.exists(key) for key in ("p_1/files/aa", "p_1/sites/bb", "p_10/files/cc")]


async def test_keys_lists_what_is_older_than_a_moment(store: BlobStore) -> None:
    for key in ("p_1/files/aa", "p_1/files/bb", "p_1/sites/cc"):
        await store.put(key, chunks(b"x"))
    soon, past = datetime.now(UTC) + timedelta(minutes=1), datetime.now(UTC) - timedelta(hours=1)

    assert ["p_1/files/aa", "p_1/files/bb"] == sorted([key async for key in store.keys("p_1/files", before=soon)])
    assert [] == [key async for key in store.keys("p_1/files", before=past)]
    assert [] == [key async for key in store.keys("p_9/files", before=soon)]


@pytest.mark.parametrize("key", ["", "../x", "/etc/x", "p_1//x", "p_1/..", "P_1/x", "p_1/a b", "p_1/x\0", "p_1/x\n", "a" * 300])
async def test_only_keys_of_our_making_are_taken(store: BlobStore, key: str) -> None:
    with pytest.raises(ValueError, match="not a blob key"):
        await store.put(key, chunks(b"x"))


@pytest.mark.parametrize("after", [0, 1, 30])
async def test_an_upload_cut_short_leaves_nothing(store: BlobStore, tmp_path: Path, after: int) -> None:
    async def cut() -> AsyncIterator[bytes]:
        for _ in range(after):
            yield b"x" * 60_000
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        await store.put("p_1/files/aa", cut())

    assert not await store.exists("p_1/files/aa")
    assert [] == left(tmp_path)


async def test_a_cancelled_upload_leaves_nothing(store: BlobStore, tmp_path: Path) -> None:
    """Cancelled at every moment of its run, an upload is there as a whole or not at all."""
    for rounds in range(40):
        task = asyncio.create_task(store.put("p_1/files/aa", chunks(BIG[: 2 << 20])))
        await asyncio.sleep(rounds * 0.0005)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        if task.cancelled():
            assert not await store.exists("p_1/files/aa"), f"visible after {rounds} rounds"
            assert [] == left(tmp_path)
        else:
            assert BIG[: 2 << 20] == await read(store, "p_1/files/aa")
            await store.delete("p_1/files/aa")


class FailAt(Steps):
    """Fails the n-th step; steps after it work again, as after a moment of a full disk."""

    def __init__(self, step: int, error: int) -> None:
        self.left, self.error = step, error

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise OSError(self.error, os.strerror(self.error))

    def create(self, path: Path) -> int:
        self._count()
        return super().create(path)

    def write(self, descriptor: int, data: bytes) -> None:
        self._count()
        super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        self._count()
        super().sync(descriptor)

    def make_folder(self, path: Path) -> None:
        self._count()
        super().make_folder(path)

    def rename(self, source: Path, target: Path) -> None:
        self._count()
        super().rename(source, target)

    def sync_folder(self, path: Path) -> None:
        self._count()
        super().sync_folder(path)


@pytest.mark.parametrize(
    ("error", "expected"), [(errno.ENOSPC, OutOfSpace), (errno.EIO, Unavailable), (errno.EROFS, Unavailable)]
)
async def test_whichever_step_fails_nothing_is_visible(tmp_path: Path, error: int, expected: type[BaasError]) -> None:
    """Create, 3 writes, fsync, 3 folders with their parents, rename, its folder: 13 steps, and no other."""
    failed = 0
    for step in range(1, 100):
        root = tmp_path / f"{step}"
        store = DiskStore(root, steps=FailAt(step, error))
        try:
            await store.put("p_1/files/aa", chunks(BIG))
        except expected:
            failed += 1
            assert not await store.exists("p_1/files/aa"), f"visible after step {step}"
            assert [] == left(root)
            await store.put("p_1/files/aa", chunks(BIG))
        assert BIG == await read(store, "p_1/files/aa")
        if failed < step:
            break

    assert 13 == failed


async def test_what_a_crash_left_is_swept(tmp_path: Path) -> None:
    """A file that a killed server was writing is never visible, and its space comes back."""
    store = DiskStore(tmp_path)
    (tmp_path / "unfinished" / "abc").write_bytes(b"half")
    now = datetime.now(UTC)

    assert 0 == await store.sweep_unfinished(before=now - timedelta(hours=24))
    assert 1 == await store.sweep_unfinished(before=now + timedelta(minutes=1))
    assert [] == left(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="a plain file as parent")
def test_a_folder_that_cannot_be_written_is_said_in_plain_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(Unavailable, match=r"Files cannot be kept in .*Not a directory"):
        DiskStore(tmp_path / "file" / "below")


def left(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]
