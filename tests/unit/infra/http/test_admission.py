"""Places at work, and the count of requests per address."""

import asyncio

import pytest

from baas.base.errors import TooManyRequests, Unavailable
from baas.infra.http.admission import AddressRate, Gate


async def test_one_project_alone_may_have_every_place_two_share() -> None:
    """Half of the places stay for others as soon as there are others, and are free again when they are gone."""
    gate = Gate(4, queue=10, wait_s=0.05)
    assert [gate.try_enter("a") for _ in range(5)] == [True] * 4 + [False]
    gate.leave("a")
    assert gate.try_enter("b")
    gate.leave("a")
    assert not gate.try_enter("a"), "two of a, one of b: the fourth place is not for a"
    assert gate.try_enter("b")
    gate.leave("b")
    gate.leave("b")
    assert gate.try_enter("a"), "alone again"
    assert 3 == gate.at_work


async def test_who_waits_gets_the_place_in_order_but_not_beyond_its_share() -> None:
    """A crowd of one project does not keep out the next one of another."""
    gate = Gate(2, queue=10, wait_s=1)
    assert gate.try_enter("a")
    assert gate.try_enter("a")
    order: list[str] = []

    async def wait(key: str, name: str) -> None:
        await gate.enter(key)
        order.append(name)

    crowd = [asyncio.ensure_future(wait("a", f"a{number}")) for number in range(3)]
    await asyncio.sleep(0)
    late = asyncio.ensure_future(wait("b", "b"))
    await asyncio.sleep(0)
    gate.leave("a")
    await late
    assert ["b"] == order
    gate.leave("a")
    await asyncio.sleep(0.01)
    assert ["b", "a0"] == order
    gate.leave("b")
    await asyncio.sleep(0.01)
    assert ["b", "a0", "a1"] == order
    gate.leave("a")
    gate.leave("a")
    await asyncio.gather(*crowd)
    gate.leave("a")
    assert (0, 0) == (gate.at_work, gate.waiting)


async def test_a_wait_has_an_end_and_a_queue_has_one() -> None:
    """503 after the wait, at once when the queue is full; nothing is lost when a waiter gives up."""
    gate = Gate(1, queue=1, wait_s=0.3)
    assert gate.try_enter("a")
    first = asyncio.ensure_future(gate.enter("a"))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable) as full:
        await gate.enter("a")
    assert not first.done(), "who finds the queue full does not wait"
    with pytest.raises(Unavailable) as late:
        await first
    assert ("busy", "busy") == (full.value.code, late.value.code)

    gone = asyncio.ensure_future(gate.enter("a"))
    await asyncio.sleep(0)
    gone.cancel()
    gate.leave("a")
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert (0, 0) == (gate.at_work, gate.waiting)
    assert gate.try_enter("a")


async def test_a_place_given_to_one_who_is_leaving_comes_back() -> None:
    """Granted and cancelled in the same moment: the place is not lost."""
    gate = Gate(1, queue=5, wait_s=1)
    assert gate.try_enter("a")
    waiter = asyncio.ensure_future(gate.enter("a"))
    await asyncio.sleep(0)
    gate.leave("a")
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)

    assert 0 == gate.at_work


async def test_a_crowd_never_loses_or_doubles_a_place() -> None:
    """Two thousand visits of five projects with cancels and time-outs: never more than the size, none left at the end."""
    gate, most = Gate(5, queue=50, wait_s=0.02), 0

    async def visit(number: int) -> None:
        nonlocal most
        key = f"p{number % 5}"
        await gate.enter(key)
        try:
            most = max(most, gate.at_work)
            await asyncio.sleep(0.001 * (number % 3))
        finally:
            gate.leave(key)

    tasks = []
    for number in range(2000):
        tasks.append(asyncio.ensure_future(visit(number)))
        if number % 7 == 0:
            tasks[number // 2].cancel()
        if number % 20 == 0:
            await asyncio.sleep(0.001)
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert {type(None), Unavailable, asyncio.CancelledError} >= {type(result) for result in results}
    assert sum(result is None for result in results) > 100
    assert (5, 0, 0) == (most, gate.at_work, gate.waiting)


def test_the_rate_slides() -> None:
    """What was sent a moment ago still counts in part, what was sent two windows ago does not."""
    rate = AddressRate(10, window_s=10)
    for _ in range(10):
        rate.take("a", 1009.0)
    with pytest.raises(TooManyRequests):
        rate.take("a", 1009.5)
    with pytest.raises(TooManyRequests):
        rate.take("a", 1010.0)
    for _ in range(5):
        rate.take("a", 1015.0)
    with pytest.raises(TooManyRequests) as refused:
        rate.take("a", 1015.0)
    for _ in range(10):
        rate.take("a", 1050.0)
    rate.take("b", 1050.0)

    assert "5" == refused.value.headers["Retry-After"]
    assert '"api";r=0;t=5' == refused.value.headers["RateLimit"]


def test_an_ipv6_client_is_its_network() -> None:
    """All of a /64 is one client; the next is another."""
    rate = AddressRate(2)
    rate.take("2001:db8::1", 0.0)
    rate.take("2001:db8::ffff:1", 0.0)
    with pytest.raises(TooManyRequests):
        rate.take("2001:db8:0:0:1::", 0.0)
    rate.take("2001:db8:0:1::1", 0.0)
    rate.take("fe80::1%eth0", 0.0)


def test_the_memory_of_addresses_has_an_end() -> None:
    """A flood of addresses does not grow the table without limit."""
    rate = AddressRate(2)
    for number in range(120_000):
        rate.take(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 5.0)

    assert len(rate._now) + len(rate._before) <= 100_000
