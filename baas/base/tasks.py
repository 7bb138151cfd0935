"""Tasks that end with their owner."""

import asyncio


async def end(*tasks: asyncio.Task[None] | None) -> None:
    """Cancel those that there are, and wait until they are gone, however they went."""
    there = [task for task in tasks if task is not None]
    for task in there:
        task.cancel()
    await asyncio.gather(*there, return_exceptions=True)
