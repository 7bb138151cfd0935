"""A client that follows lists over a real socket, and what it holds by the events that it was sent."""

import asyncio
import contextlib
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2


@dataclass(frozen=True)
class Sent:
    """One event as it came."""

    name: str
    id: str
    data: dict[str, Any]


@dataclass
class Following:
    """What came so far, and by subscription the records that are held."""

    events: list[Sent] = field(default_factory=list)
    held: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: defaultdict(dict))
    status: int = 0
    problem: dict[str, Any] = field(default_factory=dict)
    over: bool = False
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def last_id(self) -> str:
        return self.events[-1].id

    def take(self, event: Sent) -> None:
        self.events.append(event)
        data = event.data
        if event.name == "snapshot":
            if data["first"]:
                self.held[data["subscription"]] = {}
            self.held[data["subscription"]].update({one["id"]: one for one in data["items"]})
        elif event.name == "change":
            held = self.held.setdefault(data["subscription"], {})
            if data["action"] in ("leave", "delete"):
                assert "record" not in data
                held.pop(data["id"], None)
            else:
                record = data["record"]
                held[record["id"]] = record
        elif event.name == "ended":
            self.held[data["subscription"]] = {}
        self._came.set()

    def named(self, name: str) -> list[Sent]:
        return [one for one in self.events if one.name == name]

    @property
    def actions(self) -> list[str]:
        return [one.data["action"] for one in self.named("change")]

    async def until(self, reached: Any, timeout_s: float = 30.0) -> None:
        """Wait for `reached()`; an AssertionError says what came instead."""
        try:
            async with asyncio.timeout(timeout_s):
                while not reached():
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            raise AssertionError(f"not reached; came: {[(one.name, one.data) for one in self.events[-10:]]}") from None

    async def until_named(self, name: str, count: int = 1, timeout_s: float = 30.0) -> Sent:
        await self.until(lambda: len(self.named(name)) >= count, timeout_s)
        return self.named(name)[count - 1]

    def ended(self) -> None:
        self.over = True
        self._came.set()


@contextlib.asynccontextmanager
async def follow(
    url: str,
    project: str,
    subscribe: Sequence[dict[str, Any]],
    *,
    token: str | None = None,
    since: str | None = None,
    by_body: bool = False,
    into: Following | None = None,
    **params: str,
) -> AsyncIterator[Following]:
    """Open a stream on the server behind a real socket; it is read in the background until the block ends."""
    following = into or Following()
    path = f"{url}/v1/projects/{project}/realtime"
    headers = {"accept": "text/event-stream"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    if since:
        headers["last-event-id"] = since
    async with httpx2.AsyncClient(timeout=httpx2.Timeout(60, read=None)) as client:
        asked: dict[str, Any] = {"json": {"subscribe": list(subscribe)}} if by_body else {}
        if not by_body:
            params["subscribe"] = json.dumps(list(subscribe))
        method = "POST" if by_body else "GET"
        async with client.stream(method, path, headers=headers, params=params, **asked) as answer:
            following.status = answer.status_code
            if answer.status_code != 200:
                following.problem = json.loads(await answer.aread())
                yield following
                return
            assert answer.headers["content-type"].startswith("text/event-stream")
            reading = asyncio.create_task(_read(answer, following))
            try:
                await following.until_named("ready")
                yield following
            finally:
                reading.cancel()
                # That it was stopped or cut off is no fault; an event that should not have come is.
                with contextlib.suppress(asyncio.CancelledError, httpx2.TransportError):
                    await reading


async def _read(answer: httpx2.Response, following: Following) -> None:
    name, id_, data = "", "", ""
    try:
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("id: "):
                id_ = line[4:]
            elif line.startswith("data: "):
                data = line[6:]
            elif not line and name:
                following.take(Sent(name, id_, json.loads(data)))
                name = ""
    finally:
        following.ended()
