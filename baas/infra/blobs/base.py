"""What every store of file contents must do. Rows in PostgreSQL say what a blob is; one without a row exists for nobody."""

import re
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from baas.base.errors import BaasError

CHUNK_BYTES = 256 * 1024
_KEY = re.compile(r"[a-z0-9][a-z0-9_-]*(/[a-z0-9][a-z0-9_-]*)*")


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes that are durable under a key. `sha256` is hexadecimal, counted over what was stored."""

    key: str
    size: int
    sha256: str


class BlobMissing(BaasError):
    """A row names a blob that is not there: removed between reading the row and opening it, or lost."""

    default_code = "blob_missing"


class BlobStore(Protocol):
    """Keeps bytes under keys. Keys are made by us (`p_7/files/<uuid>`), never by users, and are written once.

    Raises OutOfSpace when there is no room and Unavailable when the storage cannot be reached or written.
    """

    async def put(self, key: str, chunks: AsyncIterable[bytes]) -> Blob:
        """Store what `chunks` gives; durable when it returns. Failure and cancellation leave nothing under the key."""

    def open(self, key: str, start: int = 0, stop: int | None = None) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The bytes from `start` until before `stop`, at most `CHUNK_BYTES` at a time; raises BlobMissing on entering."""

    async def exists(self, key: str) -> bool:
        """Whether there is a blob under the key."""

    async def delete(self, key: str) -> None:
        """Remove the blob; one that is not there is no error. Readers that have it open read on."""

    async def delete_all(self, prefix: str) -> None:
        """Remove every blob whose key begins with `prefix/`."""

    def keys(self, prefix: str, *, before: datetime) -> AsyncIterator[str]:
        """The keys that begin with `prefix/` and were written before a moment; a sweep asks the rows which are in use."""

    async def sweep_unfinished(self, *, before: datetime) -> int:
        """Remove what uploads cut short by a crash have left since before a moment; the number of things removed."""


def check_key(key: str) -> str:
    """The key itself; raises ValueError for what we would not make, so that no path can come of it."""
    if not _KEY.fullmatch(key) or len(key) > 200:
        raise ValueError(f"not a blob key: {key!r}")
    return key
