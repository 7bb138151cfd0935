"""Readiness: asked seldom, answered always."""

import asyncio

from baas.infra.observe.health import Health


async def test_every_part_must_be_well_and_the_answer_says_which_is_not() -> None:
    """A part that says no, throws or hangs; no reason leaves the house."""

    async def well() -> bool:
        return True

    async def no() -> bool:
        return False

    async def throws() -> bool:
        raise RuntimeError("postgresql://u:secret@h")

    async def hangs() -> bool:
        await asyncio.sleep(60)
        return True

    health = Health({"a": well, "b": no, "c": throws, "d": hangs}, draining=lambda: False, limit_s=0.05)
    state = await health.readiness()

    assert not state.ready
    assert {"a": "ok", "b": "failing", "c": "failing", "d": "slow", "server": "ok"} == state.parts


async def test_a_crowd_asks_once_and_draining_is_known_at_once() -> None:
    """The answer is kept a second, the server's own state is not."""
    asked, draining = 0, False

    async def count() -> bool:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.01)
        return True

    health = Health({"database": count}, draining=lambda: draining, keep_s=0.2)
    states = await asyncio.gather(*(health.readiness() for _ in range(50)))
    assert (1, {True}) == (asked, {state.ready for state in states})
    draining = True
    assert "draining" == (await health.readiness()).parts["server"]
    assert 1 == asked
    await asyncio.sleep(0.25)
    await health.readiness()
    assert 2 == asked
