"""Streams of events as `text/event-stream` (WHATWG HTML, section 9.2)."""

from collections.abc import AsyncIterator, Iterable
from typing import NamedTuple

from starlette.types import Send

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back until its buffer is full
]


class Event(NamedTuple):
    """`data` is JSON text. `retry_ms` tells the client how long to wait before it connects again."""

    name: str
    id: str
    data: bytes
    retry_ms: int | None = None

    def encoded(self) -> bytes:
        """The event on the wire. A line end inside JSON text stands between its parts, where a space says the same."""
        data = self.data.replace(b"\r", b" ").replace(b"\n", b" ") if b"\n" in self.data or b"\r" in self.data else self.data
        retry = b"" if self.retry_ms is None else b"retry: %d\n" % self.retry_ms
        return b"%bid: %b\nevent: %b\ndata: %b\n\n" % (retry, self.id.encode(), self.name.encode(), data)


async def send_events(send: Send, events: AsyncIterator[Iterable[Event]]) -> None:
    """Answer with a stream; what comes together goes out together. The head goes out before the first event."""
    await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
    await send({"type": "http.response.body", "body": b": hello\n\n", "more_body": True})
    async for some in events:
        body = b"".join([one.encoded() for one in some])
        if body:
            await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
