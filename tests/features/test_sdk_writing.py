"""What the client writes beyond a record: operators, conditions, many at once; and once only, over a line that breaks."""

import asyncio
from typing import Any
from urllib.parse import urlsplit

import pytest
from baas_sdk import F, Invalid, PreconditionFailed, add, append, at_least, at_most, inc, now, remove, unset

from tests.features.test_sdk import OPEN, Twin, twin  # noqa: F401  fixtures
from tests.support.callers import ProjectUnderTest
from tests.support.proxy import Proxy

FIELDS = [
    {"name": "code", "type": "text", "unique": True},
    {"name": "stock", "type": "int", "min": 0},
    {"name": "tags", "type": "select", "values": ["a", "b", "c"], "many": True},
    {"name": "seen", "type": "datetime"},
]


@pytest.fixture
async def items(twin: Twin, project: ProjectUnderTest) -> Any:  # noqa: F811  the fixture
    await project.collection("items", FIELDS, OPEN)
    return twin.operator.collection("items")


async def test_operators_work_on_what_is_stored(twin: Twin, items: Any) -> None:  # noqa: F811  the fixture
    item = await twin(lambda: items.create(stock=5, tags=["a"]))
    await twin(lambda: items.update(item.id, stock=inc(-2), tags=append("b"), seen=now()))
    changed = await twin(lambda: items.update(item.id, {"stock": at_most(2), "tags": add("b", "c")}))

    assert (2, ["a", "b", "c"]) == (changed.stock, changed.tags)
    assert changed.seen is not None
    changed = await twin(lambda: items.update(changed, stock=at_least(4), tags=remove("b"), seen=unset()))
    assert (4, ["a", "c"], None) == (changed.stock, changed.tags, changed.seen)


async def test_a_condition_decides_in_the_same_statement(twin: Twin, items: Any) -> None:  # noqa: F811  the fixture
    """Ten buyers, four lamps: four of them get one."""
    item = await twin(lambda: items.create(stock=4))

    async def buy() -> bool:
        try:
            await twin(lambda: items.update(item.id, stock=inc(-1), where=F.stock >= 1))
        except PreconditionFailed:
            return False
        return True

    assert 4 == sum(await asyncio.gather(*(buy() for _ in range(10))))
    assert 0 == (await twin(lambda: items.get(item.id))).stock
    with pytest.raises(PreconditionFailed):
        await twin(lambda: items.delete(item.id, where="stock > $n", vars={"n": 0}))
    with pytest.raises(Invalid):
        await twin(lambda: items.update(item.id, stock=inc(-1)))
    await twin(lambda: items.delete(item.id, where="stock == $n", vars={"n": 0}))


async def test_a_lost_answer_makes_no_second_effect(
    twin: Twin,  # noqa: F811  the fixture
    items: Any,
    server_url: str,
    project: ProjectUnderTest,
) -> None:
    """The line is cut while the answer comes back, for each of ten changes; every one of them happens once."""
    item = await twin(lambda: items.create(stock=0))
    target = urlsplit(server_url)
    async with Proxy((str(target.hostname), int(target.port or 80))) as proxy:
        client = twin.client(f"http://127.0.0.1:{proxy.port}", token=project.operator.token)
        for step in range(1, 11):
            proxy.cut_after("down", step * 17)
            changed = await twin(lambda: client.collection("items").update(item.id, stock=inc()))

            assert step == changed.stock
        assert 10 == proxy.cuts
