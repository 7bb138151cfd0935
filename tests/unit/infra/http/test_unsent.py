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
async def address(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[str, int]]:
    monkeypatch.setattr(unsent, "_LOOK_S", LOOK_S)
    listener = socket.create_server(("127.0.0.1", 0))
    http = partial(Protocol, limits=HeadLimits(8192, 32_768, 100), header_timeout_s=5.0)
    ws = "baas.infra.http.websocket:WebSocketProtocol"
    config = uvicorn.Config(app, http=http, ws=ws, lifespan="off", log_config=None, access_log=False)  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    yield listener.getsockname()
    server.should_exit = True
    await serving


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
