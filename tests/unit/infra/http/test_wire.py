"""The edge behind a real socket: plain uvicorn, and uvicorn with our own protocol. What one lets pass, the other must hold."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
import uvicorn

from baas.infra.http.arrival import HeadLimits
from baas.infra.http.protocol import Protocol
from tests.unit.infra.http.small_app import build

ECHO = b"POST /v1/projects/app/echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
WHO = b"GET /v1/projects/app/who HTTP/1.1\r\n"


@pytest.fixture(scope="module", params=["plain", "own"])
async def address(request: pytest.FixtureRequest) -> AsyncIterator[tuple[str, int]]:
    edge, _, log, _ = build(body_idle_timeout_s=0.2, request_timeout_s=1.0)
    http: Any = "httptools"
    if request.param == "own":
        http = partial(Protocol, limits=HeadLimits(8192, 32_768, 100), header_timeout_s=2.0)
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(edge, http=http, ws="none", lifespan="off", log_config=None, access_log=False, proxy_headers=False)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    yield listener.getsockname()
    server.should_exit = True
    await serving
    log.flush()


async def talk(address: tuple[str, int], *pieces: bytes, gap_s: float = 0.0) -> bytes:
    """Everything the server says until it closes or has been silent for a while; it is heard while still being talked to."""
    reader, writer = await asyncio.open_connection(*address)
    hearing = asyncio.ensure_future(_hear(reader))
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(gap_s)
    except ConnectionError:
        pass
    said = await hearing
    writer.close()
    return said


async def _hear(reader: asyncio.StreamReader) -> bytes:
    said = b""
    try:
        while more := await asyncio.wait_for(reader.read(65_536), 0.6):
            said += more
    except (TimeoutError, ConnectionError):
        pass
    return said


def answers(said: bytes) -> list[tuple[int, bytes]]:
    """Status and body of each answer."""
    found = []
    while said:
        head, _, said = said.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        length = int(headers.get("content-length", 0))
        found.append((int(lines[0].split()[1]), said[:length]))
        said = said[length:]
    return found


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"GET /v1/projects/app/who HTTP/1.0\r\n\r\n", 400, "bad_host"),
        (WHO + b"Host: localhost\r\nHost: localhost\r\n\r\n", 400, "bad_host"),
        (WHO + b"Host: evil.example\r\n\r\n", 421, "wrong_host"),
        (WHO + b"Host: localhost\r\nX-Forwarded-Host: evil.example\r\nAuthorization: Basic eDp5\r\n\r\n", 401, "bad_token"),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414, "uri_too_long"),
        (WHO + b"Host: localhost\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", 431, "headers_too_large"),
        (WHO + b"Host: localhost\r\n" + b"X: 1\r\n" * 101 + b"\r\n", 431, None),
        (WHO.replace(b"/who", b"/%00") + b"Host: localhost\r\n\r\n", 400, "bad_path"),
        (WHO.replace(b"/who", b"/%ff") + b"Host: localhost\r\n\r\n", 400, "bad_path"),
        (WHO.replace(b"app/who", b"..%2fapp/who") + b"Host: localhost\r\n\r\n", 404, "no_project"),
        (b"BREW" + WHO[3:] + b"Host: localhost\r\n\r\n", None, None),
        (b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "no_route"),
    ],
)
async def test_a_bad_head_gets_its_problem(
    address: tuple[str, int], request_bytes: bytes, status: int | None, code: str | None
) -> None:
    """Whoever of the two refuses it first, the status is the same and the answer is a problem."""
    closing = (
        request_bytes.removesuffix(b"\r\n") + b"Connection: close\r\n\r\n" if b"\r\n\r\n" in request_bytes else request_bytes
    )
    found, body = answers(await talk(address, closing))[0]

    if status is None:
        assert found in (400, 405)
        return
    assert status == found, body
    assert code in (None, json.loads(body)["code"])


async def test_a_refused_body_leaves_the_connection_usable(address: tuple[str, int]) -> None:
    """After 400, 415 and 422 the next request on the same connection is answered."""
    bad = ECHO + b"Content-Length: 2\r\n\r\n[]"
    broken = ECHO + b"Content-Length: 1\r\n\r\n{"
    good = ECHO + b'Content-Length: 7\r\n\r\n{"a":1}'
    said = answers(await talk(address, bad, broken, good, gap_s=0.1))

    assert [422, 400, 200] == [status for status, _ in said]
    assert b'{"a":1}' == said[-1][1]


async def test_a_body_too_large_is_refused_before_it_is_sent(address: tuple[str, int]) -> None:
    """By its length, without `100 Continue`, and the connection ends, since the body is still in the air."""
    said = await talk(address, ECHO + b"Content-Length: 100000\r\nExpect: 100-continue\r\n\r\n")

    assert said.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in said
    assert b"connection: close" in said.lower()
    chunked = await talk(address, ECHO + b"Transfer-Encoding: chunked\r\n\r\n", b"7d0\r\n" + b"x" * 2000 + b"\r\n")
    assert chunked.startswith(b"HTTP/1.1 413 ")


async def test_a_body_that_stops_gets_408(address: tuple[str, int]) -> None:
    """Silence within a body, and a body by drops, end in 408 and a closed connection."""
    silent = await talk(address, ECHO + b'Content-Length: 7\r\n\r\n{"a"')
    drops = await talk(address, ECHO + b"Content-Length: 100\r\n\r\n", *[b" "] * 8, gap_s=0.1)

    for said in (silent, drops):
        assert said.startswith(b"HTTP/1.1 408 "), said
        assert b"connection: close" in said.lower()


async def test_a_client_that_leaves_within_its_body_harms_nobody(address: tuple[str, int]) -> None:
    """The next client is served."""
    _, writer = await asyncio.open_connection(*address)
    writer.write(ECHO + b'Content-Length: 7\r\n\r\n{"a"')
    await writer.drain()
    writer.close()
    await asyncio.sleep(0.05)

    assert 200 == answers(await talk(address, WHO + b"Host: localhost\r\nConnection: close\r\n\r\n"))[0][0]


async def test_an_address_as_target_changes_nothing(address: tuple[str, int]) -> None:
    """The Host header decides; a target of another host is refused or answered as ours, never as the other's."""
    said = answers(await talk(address, b"GET http://app.localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n"))

    assert said[0][0] in (400, 404)
