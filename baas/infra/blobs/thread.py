"""Steps that block on a disk, run in a thread and never left behind."""

import asyncio
import contextlib
import errno
from collections.abc import Callable
from typing import TypeVar

from baas.base.errors import OutOfSpace, Unavailable

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
T = TypeVar("T")


async def to_the_end(step: Callable[[], T], *, undo: Callable[[T], object] | None = None) -> T:
    """Run a step to its end, also when the caller is cancelled: a descriptor must not be closed under a running write.

    A cancelled caller never sees what its last step made, so `undo` takes it back. Raises OutOfSpace and Unavailable for the
    system's errors.
    """
    running = asyncio.ensure_future(asyncio.to_thread(step))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await _finished(running)
        if undo and running.exception() is None:
            undo(running.result())
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise OutOfSpace("The file storage has no space left.") from error
        raise Unavailable("The file storage cannot be read or written.", code="storage_unavailable") from error


async def _finished(running: asyncio.Future[T]) -> None:
    while not running.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([running])
