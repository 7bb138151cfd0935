"""Subscriptions over a server that answers by a script: what is told, and how a break is mended."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from baas_sdk import AsyncSubscription, ConnectionFailed, Ended, Event, F, Forbidden, NotAuthenticated, Record

from tests.unit.sdk.conftest import Reply, ScriptedServer, Twin

STREAM = {"Content-Type": "text/event-stream; charset=utf-8"}
ONE, TWO = {"id": "1", "rev": 1, "title": "one\u2028"}, {"id": "2", "rev": 1, "title": "two"}


def stream(*messages: tuple[str, str, Any], cut: bool = False, more: bytes = b"") -> Reply:
    """An answer with these messages (name, place, data) that ends in order, or is cut."""
    body = b": hello\n\n" + b"".join(
        f"id: {place}\nevent: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode() for name, place, data in messages
    )
    return Reply(200, body + more + b"x" * cut, STREAM, cut_after=len(body + more) if cut else None)


def change(place: str, action: str, record: Any = None, **more: Any) -> tuple[str, str, Any]:
    what = {"record": record} if record is not None else {}
    return "change", place, {"subscription": "s", "action": action, **what, **more}


def snapshot(place: str, *items: Any, first: bool = True, more: bool = False) -> tuple[str, str, Any]:
    return "snapshot", place, {"subscription": "s", "items": items, "first": first, "more": more}


READY = ("ready", "e.0", {"cursor": "e.0"})


async def told(subscription: Any, count: int) -> Sequence[Event[Record]]:
    """The first events of a subscription of either kind."""
    if isinstance(subscription, AsyncSubscription):
        async with subscription as events:
            return [await anext(events) for _ in range(count)]

    def walk() -> Sequence[Event[Record]]:
        with subscription as events:
            return [next(events) for _ in range(count)]

    return await asyncio.to_thread(walk)


async def test_events_are_told_as_values(twin: Twin, scripted: ScriptedServer) -> None:
    scripted.script = [
        stream(
            READY,
            snapshot("e.0", ONE),
            change("e.1", "enter", TWO, rev=1),
            change("e.2", "leave", id="1", rev=2),
            more=b": x\n\n",
        )
    ]
    todos = twin.client(scripted.url).collection("todos")
    events = await told(todos.subscribe(filter=F.n > 1, fields=["id", "title"], expand="owner"), 3)

    assert ["snapshot", "enter", "leave"] == [event.action for event in events]
    assert [Record(ONE)] == events[0].items
    assert (Record(TWO), "2", "e.1") == (events[1].record, events[1].id, events[1].cursor)
    assert (None, "1", "e.2") == (events[2].record, events[2].id, events[2].cursor)
    (seen,) = scripted.seen
    assert ("POST", "/v1/projects/p/realtime", "text/event-stream") == (seen.method, seen.target, seen.headers["accept"])
    wanted = {"filter": "n > $v1", "vars": {"v1": 1}, "fields": "id,title", "expand": "owner"}
    assert [{"id": "s", "collection": "todos", **wanted, "initial": True}] == seen.json


@pytest.mark.parametrize("cut", [True, False])
async def test_a_stream_that_ends_is_taken_up_where_it_was(twin: Twin, scripted: ScriptedServer, cut: bool) -> None:
    scripted.script = [
        stream(READY, snapshot("e.0", ONE), ("bookmark", "e.5", {"cursor": "e.5"}), cut=cut),
        Reply(503, {"code": "unavailable"}),
        stream(READY, change("e.6", "delete", id="1")),
    ]
    events = await told(twin.client(scripted.url).collection("todos").subscribe(), 2)

    assert ["snapshot", "delete"] == [event.action for event in events]
    assert [None, "e.5", "e.5"] == [seen.headers.get("last-event-id") for seen in scripted.seen]


async def test_a_snapshot_comes_whole_or_again(twin: Twin, scripted: ScriptedServer) -> None:
    """The first connection breaks between the parts: what was told of it is forgotten."""
    scripted.script = [
        stream(("ready", "e.3.0", {}), snapshot("e.3.0", ONE, more=True), cut=True),
        stream(("ready", "e.4.0", {}), snapshot("e.4.0", ONE, more=True), snapshot("e.4.d", TWO, first=False)),
    ]
    (event,) = await told(twin.client(scripted.url).collection("todos").subscribe(), 1)

    assert ["1", "2"] == [record.id for record in event.items]
    assert "e.4.d" == event.cursor


async def test_a_forgotten_place_gives_everything_anew(twin: Twin, scripted: ScriptedServer) -> None:
    """Also to who wanted changes only: what happened meanwhile cannot be told otherwise."""
    gone = Reply(410, {"code": "feed_gone", "cursor": "e.9"})
    for script, since in (([gone], "e.1"), ([stream(READY), gone], None)):
        scripted.script = [*script, stream(READY, snapshot("e.9", TWO))]
        (event,) = await told(twin.client(scripted.url).collection("todos").subscribe(initial=False, since=since), 1)

        assert ("snapshot", ["2"]) == (event.action, [record.id for record in event.items])
        assert (True, None) == (scripted.seen[-1].json[0]["initial"], scripted.seen[-1].headers.get("last-event-id"))


async def test_what_cannot_go_on_is_told(twin: Twin, scripted: ScriptedServer) -> None:
    todos = twin.client(scripted.url).collection("todos")
    scripted.script = [Reply(403, {"code": "rule_denied"})]
    with pytest.raises(Forbidden):
        await told(todos.subscribe(), 1)
    scripted.script = [stream(READY, ("ended", "e.1", {"subscription": "s", "code": "rule_denied", "detail": "No more."}))]
    with pytest.raises(Ended, match="No more"):
        await told(todos.subscribe(), 1)
    scripted.script = [stream(READY, ("closed", "e.1", {"code": "bad_token", "detail": "x"})), Reply(401, {"code": "bad_token"})]
    with pytest.raises(NotAuthenticated):
        await told(twin.client(scripted.url, token="opt_x").collection("todos").subscribe(), 1)
    with pytest.raises(ConnectionFailed):
        await told(twin.client("http://127.0.0.1:9", max_retries=0).collection("todos").subscribe(), 1)


async def test_a_draining_server_says_when_to_come_back(
    twin: Twin, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def rest(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("baas_sdk._async.realtime.sleep", rest)
    monkeypatch.setattr("baas_sdk._sync.realtime.sleep", pauses.append)
    scripted.script = [stream(READY, ("reconnect", "e.1", {"after_ms": 1500})), stream(READY, change("e.2", "create", ONE))]
    (event,) = await told(twin.client(scripted.url).collection("todos").subscribe(initial=False), 1)

    assert ("create", [1.5], "e.1") == (event.action, pauses, scripted.seen[-1].headers["last-event-id"])
