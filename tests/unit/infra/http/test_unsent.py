"""Clients who do not read are cut after a while, whatever the server is doing for them; who reads slowly gets everything."""

import asyncio
import base64
import contextlib
import socket
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
import uvicorn

from baas.infra.http import unsent
from baas.infra.http.arrival import HeadLimits
from baas.infra.http.protocol import Protocol

MUCH = 8 * 1024**2
LOOK_S = 1.0
KEY = base64.b64encode(b"x" * 16)
UPGRADE = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n" % KEY
ENDED: dict[str, asyncio.Event] = {}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """`/whole` answers at once, `/stream` piece by piece, the socket says as much."""
    path = scope["path"]
    try:
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            for _ in range(MUCH // 65_536):
                await send({"type": "websocket.send", "bytes": b"x" * 65_536})
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(MUCH).encode())]})
        pieces = 1 if path == "/whole" else MUCH // 65_536
        for at in range(pieces):
            await send({"type": "http.response.body", "body": b"x" * (MUCH // pieces), "more_body": at + 1 < pieces})
    finally:
        ENDED[path].set()


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[uvicorn.Server]:
    monkeypatch.setattr(unsent, "_LOOK_S", LOOK_S)
    http = partial(Protocol, limits=HeadLimits(8192, 32_768, 100), header_timeout_s=5.0)
    ws = "baas.infra.http.websocket:WebSocketProtocol"
    config = uvicorn.Config(app, http=http, ws=ws, lifespan="off", log_config=None, access_log=False)  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([socket.create_server(("127.0.0.1", 0))]))
    while not server.started:
        await asyncio.sleep(0.01)
    yield server
    server.should_exit = True
    await serving


@pytest.fixture
def address(server: uvicorn.Server) -> tuple[str, int]:
    found: tuple[str, int] = server.servers[0].sockets[0].getsockname()
    return found


def narrow(address: tuple[str, int], size: int) -> socket.socket:
    """A connection that takes about `size` bytes before it is read."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    client.connect(address)
    client.setblocking(False)
    return client


@pytest.mark.parametrize("path", ["/whole", "/stream", "/v1/realtime/socket"])
async def test_who_takes_nothing_is_cut(address: tuple[str, int], path: str) -> None:
    """The connection ends, what was kept for it is freed, and what worked for it ends too."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    ENDED[path] = ended
    with contextlib.closing(narrow(address, 4096)) as client:
        upgrade = UPGRADE if path.endswith("socket") else b""
        await loop.sock_sendall(client, b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (path.encode(), upgrade))
        await asyncio.wait_for(ended.wait(), 30)
        await asyncio.sleep(LOOK_S * 2.5)
        taken = 0
        with contextlib.suppress(ConnectionResetError):
            while piece := await asyncio.wait_for(loop.sock_recv(client, 65_536), 30):
                taken += len(piece)

    assert taken < MUCH


@pytest.mark.parametrize(
    ("target", "header", "status"), [(b"", b"Cookie: " + b"a" * 9000, b"431"), (b"?since=" + b"a" * 8100, b"X: y", b"414")]
)
async def test_a_handshake_beyond_what_websockets_take_is_refused(
    address: tuple[str, int], target: bytes, header: bytes, status: bytes
) -> None:
    """And held by nothing: the connection ends."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET /v1/realtime/socket%b HTTP/1.1\r\nHost: a\r\n%b\r\n%b\r\n" % (target, header, UPGRADE))
    said = await asyncio.wait_for(reader.read(), 30)
    writer.close()

    assert said.startswith(b"HTTP/1.1 " + status)
    assert b"application/problem+json" in said


async def test_a_drain_reaches_everybody_though_one_socket_is_closing(server: uvicorn.Server, address: tuple[str, int]) -> None:
    """A socket whose client has said goodbye, and which has something to send yet, is told nothing more."""
    loop, path = asyncio.get_running_loop(), "/v1/realtime/socket"
    ENDED[path] = asyncio.Event()
    with contextlib.closing(narrow(address, 4096)) as client:
        await loop.sock_sendall(client, b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (path.encode(), UPGRADE))
        await loop.sock_recv(client, 100)
        await loop.sock_sendall(client, b"\x88\x82\0\0\0\0\x03\xe8")  # a Close frame, code 1000
        (connection,) = server.server_state.connections
        while not connection.transport.is_closing():
            await asyncio.sleep(0.01)
        connection.shutdown()
        connection.transport.abort()


@pytest.mark.parametrize("path", ["/whole", "/stream"])
async def test_who_reads_slowly_gets_everything(address: tuple[str, int], path: str) -> None:
    """Though it takes him many times as long as the others may do nothing."""
    loop = asyncio.get_running_loop()
    ENDED[path] = asyncio.Event()
    taken = 0
    with contextlib.closing(narrow(address, 65_536)) as client:
        await loop.sock_sendall(client, b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode())
        while taken < MUCH:
            piece = await asyncio.wait_for(loop.sock_recv(client, 65_536), 30)
            assert piece, f"cut after {taken} bytes"
            taken += len(piece)
            await asyncio.sleep(0.015)

    assert taken > MUCH
