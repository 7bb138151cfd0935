"""What waits for one connection in the channels: bounded, and held back from who may hear nothing."""

import asyncio
from uuid import uuid4

import pytest

from baas.base.principal import ANONYMOUS
from baas.base.project import Project, ProjectSettings
from baas.features.realtime.channels import Member
from baas.features.realtime.model import MAX_QUEUE, MAX_QUEUE_BYTES

PROJECT = Project(uuid4(), "p", "p_x", ProjectSettings())


@pytest.mark.parametrize(("word", "most"), [("x", MAX_QUEUE), ("x" * 4096, MAX_QUEUE_BYTES // 4096)])
def test_who_takes_nothing_is_cut_off(word: str, most: int) -> None:
    """At the first word too many, by number or by bytes."""
    cuts: list[int] = []
    member = Member(PROJECT, lambda: ANONYMOUS, lambda: cuts.append(1), lambda: True)
    for _ in range(most):
        member.hear(word)
    assert cuts == []
    member.hear(word)
    assert cuts == [1]


def test_who_takes_one_word_for_too_long_is_cut_off() -> None:
    """Half a minute."""
    cuts: list[int] = []
    member = Member(PROJECT, lambda: ANONYMOUS, lambda: cuts.append(1), lambda: True)
    member.sending_since = 100.0
    member.look(129.0)
    assert cuts == []
    member.look(131.0)
    assert cuts == [1]


async def test_words_wait_for_who_cannot_be_checked() -> None:
    """And come when he could."""
    trusted = False
    member = Member(PROJECT, lambda: ANONYMOUS, lambda: None, lambda: trusted)
    member.hear("word")
    waiting = asyncio.ensure_future(member.next())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    trusted = True
    member.look(0.0)
    assert await waiting == "word"


async def test_one_answer_waits_at_a_time() -> None:
    """Who asks on without taking any is not read until he does; nobody is cut off for what he asked himself."""
    member = Member(PROJECT, lambda: ANONYMOUS, lambda: pytest.fail("cut off"), lambda: True)
    await member.answer("first" * MAX_QUEUE_BYTES)
    member.hear("word")
    second = asyncio.ensure_future(member.answer("second"))
    await asyncio.sleep(0.01)
    assert not second.done()
    assert (await member.next()).startswith("first")
    await second
    assert ["word", "second"] == [await member.next(), await member.next()]
