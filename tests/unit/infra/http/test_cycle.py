"""What the protocol writes for an answer, in which pieces, and which answers it refuses to write."""

import asyncio
from functools import partial
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from baas.infra.http.arrival import HeadLimits
from baas.infra.http.protocol import Protocol

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LENGTH_3 = (b"content-length", b"3")
LONG = 100_000
Message = dict[str, Any]


class Wire(asyncio.Transport):
    """A transport that keeps each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


def start(*headers: tuple[bytes, bytes], status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(data: bytes = b"", *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def told(*messages: Message, request: bytes = GET) -> Wire:
    """What an application that sends these messages makes the protocol write."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)
            await asyncio.sleep(0)

    wire = Wire()
    protocol = connected(app, wire)
    protocol.data_received(request)
    await asyncio.gather(*protocol.tasks)
    protocol.connection_lost(ConnectionResetError())  # which, unlike an orderly end, does not close the transport again
    return wire


def connected(app: Any, wire: Wire, *, keep_alive_s: float = 5) -> Protocol:
    http = partial(Protocol, limits=HeadLimits(8192, 32_768, 100), header_timeout_s=5.0)
    config = uvicorn.Config(app, http=http, ws="none", lifespan="off", interface="asgi3", log_config=None)  # type: ignore[arg-type]
    config.timeout_keep_alive = keep_alive_s  # type: ignore[assignment]
    protocol = http(config=config, server_state=ServerState(), app_state={})
    protocol.connection_made(wire)
    return protocol


async def test_head_and_body_leave_in_one_write() -> None:
    wire = await told(start(LENGTH_3), body(b"abc"))

    assert [b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"] == wire.writes
    assert not wire.closed


async def test_a_long_body_is_not_copied() -> None:
    wire = await told(start((b"content-length", b"%d" % LONG)), body(b"x" * LONG))

    assert [b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n", b"x" * LONG] == wire.writes


async def test_a_stream_shows_its_head_at_once() -> None:
    """Its first event may be hours away, and the client wants to know that it is connected."""
    wire = await told(start(), body(b"abc", more=True), body())

    assert [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
    ] == wire.writes


@pytest.mark.parametrize(
    ("status", "request_bytes", "headers", "written"),
    [
        (204, GET, (), b"HTTP/1.1 204 No Content\r\n\r\n"),
        (304, GET, ((b"etag", b'"1"'),), b'HTTP/1.1 304 Not Modified\r\netag: "1"\r\n\r\n'),
        (200, GET.replace(b"GET", b"HEAD"), (LENGTH_3,), b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n"),
    ],
)
async def test_an_answer_without_body_is_one_write(
    status: int, request_bytes: bytes, headers: tuple[tuple[bytes, bytes], ...], written: bytes
) -> None:
    wire = await told(start(*headers, status=status), body(), request=request_bytes)

    assert [written] == wire.writes


async def test_an_answer_may_end_the_connection() -> None:
    """By its own word, or because the client asked for it; said once."""
    own = await told(start(LENGTH_3, (b"connection", b"close")), body(b"abc"))
    asked = await told(start(LENGTH_3), body(b"abc"), request=GET[:-2] + b"Connection: close\r\n\r\n")

    for wire in (own, asked):
        assert [b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc"] == wire.writes
        assert wire.closed


@pytest.mark.parametrize("control", [b"\r\n", b"\n", b"\r", b"\0", b"\x7f"])
async def test_a_control_character_in_a_header_is_never_written(control: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """What follows a line break would be a header of its own, or a whole answer."""
    wire = await told(start(LENGTH_3, (b"location", b"/a" + control + b"set-cookie: x")), body(b"abc"))

    assert ([], True) == (wire.writes, wire.closed)
    assert "Exception in ASGI application" in caplog.text


@pytest.mark.parametrize(
    ("data", "more", "word"), [(b"ab", False, "shorter"), (b"abcd", False, "longer"), (b"abcd", True, "longer")]
)
async def test_a_body_of_another_length_is_never_whole(
    data: bytes, more: bool, word: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The rest would be read as the beginning of the next answer, or waited for."""
    wire = await told(start(LENGTH_3), body(data, more=more))

    assert ([], True) == (wire.writes, wire.closed)
    assert f"{word} than Content-Length" in caplog.text


async def test_an_answer_that_never_comes_is_said() -> None:
    wire = await told()

    assert wire.writes[0].startswith(b"HTTP/1.1 500 ")


async def test_a_connection_rests_from_its_last_answer_on() -> None:
    """The timer of the first answer looks again when there was another one since."""
    wire, answer = Wire(), (start(LENGTH_3), body(b"abc"))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await asyncio.sleep(0.3)
        for message in answer:
            await send(message)

    protocol = connected(app, wire, keep_alive_s=0.2)
    protocol.data_received(GET)
    await asyncio.sleep(0.12)
    protocol.data_received(GET)
    await asyncio.sleep(0.12)
    rested_anew = not wire.closed
    protocol.data_received(GET.replace(b"/ ", b"/slow "))
    await asyncio.sleep(0.35)
    worked = not wire.closed
    await asyncio.sleep(0.3)
    protocol.connection_lost(None)

    assert (True, True, True) == (rested_anew, worked, wire.closed)
    assert 3 == len(wire.writes)
