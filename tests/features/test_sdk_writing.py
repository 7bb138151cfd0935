"""What the client writes beyond a record: operators, conditions, many at once; and once only, over a line that breaks."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from baas_sdk import (
    AsyncClient,
    AsyncSubscription,
    ConfigError,
    Conflict,
    F,
    Invalid,
    PreconditionFailed,
    add,
    append,
    at_least,
    at_most,
    inc,
    now,
    remove,
    unset,
)

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


async def planned(twin: Twin, client: Any, plan: Callable[[Any], Any]) -> Any:  # noqa: F811  the fixture
    """What `plan` gives of a batch, after that was sent."""
    if isinstance(client, AsyncClient):
        async with client.batch() as batch:
            return plan(batch)

    def send() -> Any:
        with client.batch() as batch:
            return plan(batch)

    return await asyncio.to_thread(send)


async def test_a_batch_happens_whole(twin: Twin, items: Any, project: ProjectUnderTest) -> None:  # noqa: F811  the fixture
    order = [{"name": "item", "type": "relation", "to": "items"}, {"name": "note", "type": "json"}]
    await project.collection("orders", order, OPEN)
    lamp = await twin(lambda: items.create(stock=1, code="lamp"))
    old = await twin(lambda: items.create(stock=9))

    def buy(batch: Any) -> Any:
        chair = batch.collection("items").create(code="chair", stock=3)
        batch.collection("items").update(lamp.id, stock=inc(-1), where=F.stock >= 1)
        order = batch.collection("orders").create(item=chair.id, note=["@{o1.id}", {"text": "@@{"}])
        gone = batch.collection("items").delete(old)
        return chair, order, gone, batch.collection("items").put(lamp.id, code="lamp", stock=7)

    def refused(batch: Any) -> Any:
        """The record is of an older revision by now."""
        return batch.collection("items").update(lamp, stock=1)

    chair, made, gone, put = await planned(twin, twin.operator, buy)
    assert ("chair", chair.id) == (chair.record.code, made.record.item)
    assert ["@{o1.id}", {"text": "@@{"}] == made.record.note, "what somebody typed is no reference"
    assert 7 == put.record.stock
    with pytest.raises(ConfigError):
        gone.record  # noqa: B018  it raises
    with pytest.raises(PreconditionFailed) as caught:
        await planned(twin, twin.operator, lambda batch: (batch.collection("items").create(), refused(batch)))
    assert "o2" == caught.value.facts["failed_operation"]
    assert 2 == await twin(items.count)
    assert 1 == await twin(twin.operator.collection("orders").count)
    assert await planned(twin, twin.operator, lambda batch: None) is None


async def test_a_block_that_raises_sends_nothing(twin: Twin, items: Any) -> None:  # noqa: F811  the fixture
    def fail(batch: Any) -> Any:
        batch.collection("items").create(code="a")
        raise KeyError("mine")

    with pytest.raises(KeyError):
        await planned(twin, twin.operator, fail)
    assert 0 == await twin(items.count)


async def test_a_history_tells_what_was(twin: Twin, items: Any) -> None:  # noqa: F811  the fixture
    await twin(lambda: twin.operator.collections.update("items", {"options": {"history": True}}))
    item = await twin(lambda: items.create(stock=1))
    changed = await twin(lambda: items.update(item, stock=2))
    page = await twin(lambda: items.history(changed, limit=1))
    rest = await twin(lambda: items.history(changed.id, cursor=page.next_cursor))

    assert [("update", 2, 2), ("create", 1, 1)] == [(one.action, one.rev, one.record.stock) for one in [*page, *rest]]
    assert timedelta() <= changed.updated_at - page.items[0].at < timedelta(seconds=5)
    assert str(page.items[0].principal).startswith("operator:")
    assert 1 == (await twin(lambda: items.get(item.id, as_of=1))).stock
    assert [1] == [one.stock for one in await twin(lambda: items.list(as_of=item.updated_at))]
    restored = await twin(lambda: items.update(changed, stock=rest.items[0].record.stock))
    assert (3, 1) == (restored.rev, restored.stock)


async def test_a_page_says_where_to_go_on_from(twin: Twin, items: Any) -> None:  # noqa: F811  the fixture
    await twin(lambda: items.create(code="before"))
    page = await twin(items.list)
    await twin(lambda: items.create(code="after"))
    subscription = items.subscribe(since=page.feed, initial=False)

    assert "after" in await told_until(subscription, "after")


async def told_until(subscription: Any, code: str) -> set[str]:
    """What is told up to this one; what the page shows may be told again."""
    seen: set[str] = set()
    if isinstance(subscription, AsyncSubscription):
        async with asyncio.timeout(30), subscription as events:
            while code not in seen:
                seen.add((await anext(events)).record.code)
        return seen

    def take() -> None:
        with subscription as events:
            while code not in seen:
                seen.add(next(events).record.code)

    await asyncio.wait_for(asyncio.to_thread(take), 30)
    return seen


async def test_a_file_is_imported_once(twin: Twin, items: Any, tmp_path: Path) -> None:  # noqa: F811  the fixture
    """What an export wrote comes back, with its faults told by line; a dry run leaves nothing."""
    await twin(lambda: items.create_many([{"stock": n} for n in range(3)]))
    file = tmp_path / "items.csv"
    await twin(lambda: items.export_to(file, fields=["stock", "tags"]))
    dry = await twin(lambda: items.import_(file, dry_run=True))
    assert (3, 0, 3) == (dry.created, dry.failed, await twin(items.count))
    seen: list[int] = []
    report = await twin(lambda: items.import_(file, on_progress=lambda progress: seen.append(progress.sent)))

    assert (3, 3, 6) == (report.read, report.created, await twin(items.count))
    assert file.stat().st_size == seen[-1]
    lines = b'{"stock": 7}\n{"stock": "x"}\n{"stock": 8}\n'
    stopped = await twin(lambda: items.import_(lines))
    skipped = await twin(lambda: items.import_([lines[:20], lines[20:]], skip_errors=True))
    assert (0, 1, 1) == (stopped.created, stopped.failed, stopped.resume)
    assert [(2, "/stock")] == [(fault["line"], fault["pointer"]) for fault in skipped.errors]
    assert 8 == await twin(items.count)
    first = (await twin(lambda: items.list(limit=1))).items[0]
    keyed = await twin(lambda: items.import_(f'{{"id": "{first.id}", "stock": 99}}\n'.encode(), key="id"))
    assert (0, 1, 99) == (keyed.created, keyed.updated, (await twin(lambda: items.get(first.id))).stock)


async def test_many_are_changed_or_none(twin: Twin, items: Any) -> None:  # noqa: F811  the fixture
    await twin(lambda: items.create_many([{"stock": n} for n in range(6)]))
    with pytest.raises(Conflict):
        await twin(lambda: items.update_many({"stock": 0}, filter=F.stock > 1, max_affected=2))
    assert 4 == await twin(lambda: items.update_many({"stock": inc(10)}, filter=F.stock > 1, max_affected=4))
    assert 2 == await twin(lambda: items.delete_many(filter="stock < $n", vars={"n": 10}, max_affected=10))
    assert [12, 13, 14, 15] == [item.stock for item in await twin(lambda: items.iter(sort="stock"))]


async def test_an_upsert_creates_or_changes(twin: Twin, items: Any) -> None:  # noqa: F811  the fixture
    await twin(lambda: items.create(code="a", stock=1))
    done = await twin(lambda: items.upsert([{"code": "a", "stock": 5}, {"code": "b", "stock": 6}], key="code"))

    assert (1, 1, [("a", 5), ("b", 6)]) == (done.created, done.updated, [(item.code, item.stock) for item in done.items])
    with pytest.raises(Invalid):
        await twin(lambda: items.upsert([{"stock": 1}], key=["stock"]))
