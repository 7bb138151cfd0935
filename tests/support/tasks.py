"""What a test that ended midway left running: it must not disturb the tests behind it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

TESTS = Path(__file__).parents[1]


@asynccontextmanager
async def none_left() -> AsyncIterator[None]:
    """Cancel, at the end, the tasks that run code of tests and were not there at the beginning. The server's own go on."""
    before = asyncio.all_tasks()
    try:
        yield
    finally:
        left = [task for task in asyncio.all_tasks() - before if task is not asyncio.current_task() and _is_of_a_test(task)]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=5)


def _is_of_a_test(task: "asyncio.Task[object]") -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and Path(code.co_filename).is_relative_to(TESTS)
