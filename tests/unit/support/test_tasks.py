"""Tests leave no tasks to each other."""

import asyncio

import pytest

from tests.support.tasks import none_left


async def test_what_a_failed_test_left_is_ended() -> None:
    """Its own loops, and nothing else."""
    started: list[asyncio.Task[object]] = []

    async def write() -> None:
        while True:
            await asyncio.sleep(0.01)

    async def failing() -> None:
        async with none_left():
            started.extend([asyncio.create_task(write()), asyncio.create_task(asyncio.Event().wait())])
            raise AssertionError("midway")

    there_before = asyncio.create_task(write())
    with pytest.raises(AssertionError):
        await failing()

    assert [True, False, False] == [task.cancelled() for task in (*started, there_before)]
    for task in (*started, there_before):
        task.cancel()
