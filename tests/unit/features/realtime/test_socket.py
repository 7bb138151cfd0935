"""How a conversation ends: whatever is ordinary raises nothing, or the server would log it as a fault with its stack."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from baas.base.principal import ANONYMOUS
from baas.base.project import Project, ProjectSettings
from baas.features.realtime.channels import Member
from baas.features.realtime.socket import SocketApp
from baas.infra.http.sse import Event

PROJECT = Project(uuid4(), "p", "p_x", ProjectSettings())
CLOSED = Event("closed", "", b'{"status":401}', None)


class World:
    """A connection with nothing behind it but what `events` shows; what was sent to the client, as a strict server takes it."""

    def __init__(self, events: Callable[[], AsyncIterator[list[Event]]]) -> None:
        self.member = Member(PROJECT, lambda: ANONYMOUS, lambda: None, lambda: True)
        self.sent: list[dict[str, Any]] = []
        self.gone = False
        self._events = events
        self._said = [json.dumps({"type": "auth", "ref": 1})]

    async def run(self) -> None:
        async def leave_all(_: Member) -> None: ...

        channels = SimpleNamespace(enter=lambda *_: self.member, leave_all=leave_all, look_soon=lambda: None)
        app = SocketApp(SimpleNamespace(open=self._open), channels, lambda *_: None)  # type: ignore[arg-type]
        async with asyncio.timeout(10):
            await app({"baas.context": SimpleNamespace(project=PROJECT, request_id="r")}, self._receive, self._send)  # type: ignore[arg-type]

    @contextlib.asynccontextmanager
    async def _open(self, *_: Any) -> AsyncIterator[Any]:
        yield SimpleNamespace(principal=ANONYMOUS, trusted=True, cut=lambda: None, events=self._events, on_renewed=None)

    async def _receive(self) -> dict[str, Any]:
        if not self._said:
            await asyncio.Event().wait()
        return {"type": "websocket.receive", "text": self._said.pop(0)}

    async def _send(self, message: Any) -> None:
        if self.gone:
            raise OSError("the client is gone")
        if self.sent and self.sent[-1]["type"] == "websocket.close":
            raise RuntimeError("sent after the close")
        self.sent.append(message)
        await asyncio.sleep(0.01)


async def test_a_client_that_is_cut_off() -> None:
    async def events() -> AsyncIterator[list[Event]]:
        yield []
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)

    await World(events).run()


async def test_a_client_that_leaves_while_it_is_told_something() -> None:
    async def events() -> AsyncIterator[list[Event]]:
        await asyncio.sleep(0.05)
        world.gone = True
        yield [CLOSED]

    world = World(events)
    await world.run()
    assert "ok" == json.loads(world.sent[-1]["text"])["type"]


async def test_words_that_come_while_the_connection_is_closed() -> None:
    """The close is the last that is sent, and is not cut short by them."""

    async def events() -> AsyncIterator[list[Event]]:
        await asyncio.sleep(0.05)
        for at in range(10):
            asyncio.get_running_loop().call_later(at / 500, world.member.hear, "word")
        yield [CLOSED]

    world = World(events)
    await world.run()
    assert {"type": "websocket.close", "code": 4401, "reason": "closed"} == world.sent[-1]
