"""Promises of time on a machine that others use too."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_STEP_S = 0.05


@asynccontextmanager
async def ends_within(limit_s: float, what: str) -> AsyncIterator[None]:
    """The block ends in time; what the event loop was kept waiting by the machine does not count. Prints how long it took."""
    lost = 0.0

    async def wait() -> None:
        nonlocal lost
        while True:
            began = time.monotonic()
            await asyncio.sleep(_STEP_S)
            lost += max(0.0, time.monotonic() - began - 2 * _STEP_S)

    waiting, began = asyncio.create_task(wait()), time.monotonic()
    try:
        yield
    finally:
        waiting.cancel()
    took = time.monotonic() - began
    print(f"{what}: {took:.2f} s, {lost:.2f} s of them lost")
    assert took - lost < limit_s, f"{what}: {took:.2f} s, {lost:.2f} s of them lost"
