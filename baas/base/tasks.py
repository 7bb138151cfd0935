"""Tasks that end with their owner, and go on whatever happens until then."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator

from baas.base.errors import BaasError


@contextlib.contextmanager
def going_on(log: logging.Logger, what: str, *, but: type[BaasError] | None = None) -> Iterator[None]:
    """End the block at an error, and let what is behind it go on. Errors of ours pass in silence (the database is away), others
    are written down as `what`; those of the kind `but` are raised.
    """
    try:
        yield
    except BaasError as error:
        if but is not None and isinstance(error, but):
            raise
    except Exception:
        log.exception(what)


async def end(*tasks: asyncio.Task[None] | None) -> None:
    """Cancel those that there are, and wait until they are gone, however they went."""
    there = [task for task in tasks if task is not None]
    for task in there:
        task.cancel()
    await asyncio.gather(*there, return_exceptions=True)
