"""Following a list with the client, against the real application: nothing missed, also when the line breaks."""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from baas_sdk import AsyncSubscription, Ended, F, Forbidden, NotAuthenticated

from tests.features.test_sdk import OPEN, Twin, twin  # noqa: F401  fixtures
from tests.support.callers import ProjectUnderTest
from tests.support.proxy import Proxy

FIELDS = [
    {"name": "title", "type": "text"},
    {"name": "n", "type": "int"},
    {"name": "owner", "type": "relation", "to": "users"},
]
OWN = {**OPEN, "list": "record.owner == auth.id", "view": "record.owner == auth.id"}
Next = Callable[[], Any]


@asynccontextmanager
async def following(subscription: Any) -> AsyncIterator[Next]:
    """A function that waits for the next event of a subscription of either kind, five seconds at most."""
    if isinstance(subscription, AsyncSubscription):
        async with subscription as events:
            yield lambda: asyncio.wait_for(anext(events), 30)
        return
    found: queue.Queue[Any] = queue.Queue()
    entered = threading.Event()

    def walk() -> None:
        try:
            with subscription as events:
                entered.set()
                for event in events:
                    found.put(event)
                    if event.record is not None and event.record.title == "stop":
                        return
        except Exception as error:
            found.put(error)
            entered.set()

    thread = threading.Thread(target=walk, daemon=True)
    thread.start()

    async def take() -> Any:
        event = await asyncio.to_thread(found.get, timeout=30)
        if isinstance(event, Exception):
            raise event
        return event

    await asyncio.to_thread(entered.wait, 5)
    yield take


@pytest.fixture
async def notes(twin: Twin, project: ProjectUnderTest) -> Any:  # noqa: F811  the fixture
    await project.collection("notes", FIELDS, OPEN)
    return twin.client().collection("notes")


async def stop(twin: Twin, notes: Any) -> None:  # noqa: F811  the fixture
    """Ends the thread of a sync subscription."""
    await twin(lambda: notes.create(title="stop", n=99))


async def test_a_list_is_shown_and_then_kept(twin: Twin, notes: Any) -> None:  # noqa: F811  the fixture
    old = await twin(lambda: notes.create(title="old", n=5))
    await twin(lambda: notes.create(title="out", n=0))
    async with following(notes.subscribe(filter=F.n > 1, fields=["id", "title"])) as following_event:
        first = await following_event()
        assert ("snapshot", ["old"]) == (first.action, [note.title for note in first.items])
        new = await twin(lambda: notes.create(title="new", n=2))
        seen = await following_event()
        assert ("create", new.id, "new") == (seen.action, seen.id, seen.record.title)
        assert "n" not in seen.record
        await twin(lambda: notes.update(new.id, n=0))
        left = await following_event()
        assert ("leave", new.id, None) == (left.action, left.id, left.record)
        await twin(lambda: notes.update(new.id, n=3))
        assert "enter" == (await following_event()).action
        await twin(lambda: notes.update(old.id, title="newer"))
        assert ("update", "newer") == ((event := await following_event()).action, event.record.title)
        await twin(lambda: notes.delete(old.id))
        assert ("delete", old.id) == ((event := await following_event()).action, event.id)
        await stop(twin, notes)


async def test_a_cut_line_loses_nothing_and_doubles_nothing(
    twin: Twin,  # noqa: F811  the fixture
    notes: Any,
    server_url: str,
) -> None:
    target = urlsplit(server_url)
    async with Proxy((str(target.hostname), int(target.port or 80))) as proxy:
        behind = twin.client(f"http://127.0.0.1:{proxy.port}").collection("notes")
        async with following(behind.subscribe()) as following_event:
            assert "snapshot" == (await following_event()).action
            for n in range(8):
                if n % 2:
                    proxy.cut_all()
                else:
                    proxy.cut_after("down", 40 + n)
                await twin(lambda n=n: notes.create(title=str(n), n=n))
            await stop(twin, notes)
            seen = [(await following_event()).record.title for _ in range(9)]

    assert [*"01234567", "stop"] == seen


async def test_one_process_goes_on_where_another_was(twin: Twin, notes: Any) -> None:  # noqa: F811  the fixture
    async with following(notes.subscribe()) as following_event:
        cursor = (await following_event()).cursor
        await stop(twin, notes)
    await twin(lambda: notes.create(title="between"))
    async with following(notes.subscribe(initial=False, since=cursor)) as following_event:
        assert "stop" == (await following_event()).record.title
        if twin.operator.__class__.__name__ == "AsyncClient":
            assert "between" == (await following_event()).record.title


async def test_rules_decide_what_is_told(twin: Twin, project: ProjectUnderTest) -> None:  # noqa: F811  the fixture
    await project.collection("own", FIELDS, OWN)
    await project.collection("closed", FIELDS, {})
    ada, bob = await project.user(), await project.user()
    client, others = twin.client(token=ada.token), twin.client(token=bob.token)
    with pytest.raises(Forbidden):
        async with following(client.collection("closed").subscribe()) as following_event:
            await following_event()
    with pytest.raises(NotAuthenticated):
        async with following(twin.client().collection("own").subscribe()) as following_event:
            await following_event()
    async with following(client.collection("own").subscribe()) as following_event:
        assert [] == (await following_event()).items
        await twin(lambda: others.collection("own").create(title="Bob's", owner=bob.id))
        await twin(lambda: client.collection("own").create(title="stop", owner=ada.id))
        assert "stop" == (await following_event()).record.title


async def test_a_list_that_is_locked_meanwhile_ends(twin: Twin, notes: Any, project: ProjectUnderTest) -> None:  # noqa: F811
    await twin(lambda: notes.create(title="seen"))
    async with following(notes.subscribe()) as following_event:
        assert 1 == len((await following_event()).items)
        await twin(lambda: twin.operator.collections.update("notes", {"rules": {"list": None}}))
        assert [] == (await following_event()).items
        with pytest.raises(Ended):
            await following_event()
