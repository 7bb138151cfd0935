"""Raw bytes against the protocol: what is refused, how, and that the connection ends when its border is in doubt."""

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator
from functools import partial

import pytest
import uvicorn

from baas.infra.http.arrival import HeadLimits
from baas.infra.http.protocol import Protocol

HEADER_TIMEOUT_S = 0.3
GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


async def echo(scope, receive, send) -> None:
    """Answers with method, path, number of headers and bytes of the body."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    text = f"{scope['method']} {scope['path']} {len(scope['headers'])} {size}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(text)).encode())]})
    await send({"type": "http.response.body", "body": text})


@pytest.fixture(scope="module")
async def address() -> AsyncIterator[tuple[str, int]]:
    listener = socket.create_server(("127.0.0.1", 0))
    http = partial(Protocol, limits=HeadLimits(8192, 32_768, 100), header_timeout_s=HEADER_TIMEOUT_S)
    config = uvicorn.Config(echo, http=http, ws="none", lifespan="off", log_config=None, access_log=False, timeout_keep_alive=1)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    address = listener.getsockname()
    while not server.started:
        await asyncio.sleep(0.01)
    yield address
    server.should_exit = True
    await serving


async def send(address: tuple[str, int], *pieces: bytes, gap_s: float = 0.0) -> bytes:
    """Everything the server says until it closes."""
    reader, writer = await asyncio.open_connection(*address)
    said = b""
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(gap_s)
        while more := await asyncio.wait_for(reader.read(65_536), 5):
            said += more
    except ConnectionError:
        pass
    finally:
        writer.close()
    return said


REFUSED = {
    "two ways to say where the body ends": (CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\n") + b"0\r\n\r\n", 400),
    "the same, other order": (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    "a length with a sign": (POST + b"Content-Length: +3\r\n\r\nabc", 400),
    "a list of lengths": (POST + b"Content-Length: 3, 3\r\n\r\nabc", 400),
    "another coding": (POST + b"Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n", 400),
    "a coding like chunked": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "two codings": (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunks in HTTP/1.0": (CHUNKED.replace(b"1.1", b"1.0") + b"0\r\n\r\n", 400),
    "a space before the colon": (POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    "a bare line feed after the request line": (b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    "a bare line feed after a header": (b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
    "a bare line feed at the end": (GET + b"\n", 400),
    "a bare carriage return": (GET + b"X: a\rb\r\n\r\n", 400),
    "a folded header": (GET + b"X: b\r\n c\r\n\r\n", 400),
    "a header folded with a tab": (GET + b"X: b\r\n\tc\r\n\r\n", 400),
    "NUL in a header": (GET + b"X: b\x00c\r\n\r\n", 400),
    "a header without a name": (GET + b": x\r\n\r\n", 400),
    "two hosts": (GET + b"Host: a\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "another host in the target": (b"GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a tunnel": (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a target without a path": (b"GET ?x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "a version to come": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01", 400),
    "an upgrade with a body": (POST + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc", 400),
    "chunks with bare line feeds": (CHUNKED + b"3\nabc\n0\n\n", 400),
    "a negative chunk": (CHUNKED + b"-1\r\nabc\r\n0\r\n\r\n", 400),
    "a chunk beyond 64 bit": (CHUNKED + b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n", 400),
    "a long target": (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "a long header": (GET + b"X: " + b"a" * 40_000 + b"\r\n\r\n", 431),
    "many headers": (GET + b"X: a\r\n" * 100 + b"\r\n", 431),
    "a header without end": (GET + b"X: " + b"a" * 700_000, 431),
    "a trailer without end": (CHUNKED + b"0\r\nX: " + b"a" * 900_000, 431),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_doubtful_messages_are_refused_and_the_connection_ends(address, name):
    """One problem document with the right status, `Connection: close`, and nothing of a second request is answered."""
    message, status = REFUSED[name]

    said = await send(address, message + b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n")

    assert said.startswith(f"HTTP/1.1 {status} ".encode()), said[:200]
    assert b"content-type: application/problem+json\r\n" in said
    assert b"connection: close\r\n" in said
    assert f'"status":{status}'.encode() in said
    assert b"/second" not in said


@pytest.mark.parametrize(
    ("message", "answers"),
    [
        (GET + b"\r\n", [b"GET / 1 0"]),
        (GET + b"\r\n" + b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n", [b"GET / 1 0", b"GET /2 1 0"]),
        (b"GET http://a/x?y HTTP/1.1\r\nHost: a\r\n\r\n", [b"GET /x 1 0"]),
        (GET + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n", [b"GET / 3 0"]),
        (CHUNKED + b"3;x=y\r\nabc\r\n0\r\n\r\n", [b"POST / 2 3"]),
        (POST + b"Content-Length: 900000\r\n\r\n" + b"y" * 900_000, [b"POST / 2 900000"]),
    ],
)
async def test_good_messages_are_answered(address, message, answers):
    said = await send(address, message)

    assert said.count(b"HTTP/1.1 200 OK") == len(answers)
    assert all(one in said for one in answers)


async def test_a_trailer_is_no_header(address):
    """What comes after the body cannot add to a head that has been judged."""
    said = await send(address, CHUNKED + b"0\r\nAuthorization: Bearer x\r\n\r\n")

    assert b"POST / 2 0" in said


async def test_a_header_without_end_is_not_collected(address):
    """It is refused for its size long before it ends, and before its time is up."""
    said = await send(address, GET + b"X: " + b"a" * 900_000)

    assert said.startswith(b"HTTP/1.1 431 ")


async def test_the_answer_arrives_although_the_client_still_sends(address):
    """Closing at once would reset the connection, and take the answer from a client that reads after it has sent."""

    def stubborn() -> bytes:
        with socket.create_connection(address, timeout=5) as client:
            client.sendall(GET + b"X: " + b"a" * 40_000 + b"\r\n")
            for _ in range(20):
                time.sleep(0.01)
                client.sendall(b"Y: " + b"a" * 1000 + b"\r\n")
            return client.recv(65_536)

    assert (await asyncio.to_thread(stubborn)).startswith(b"HTTP/1.1 431 ")


async def test_slow_headers_get_408(address):
    """The clock starts at the first byte and no later byte moves it on."""
    started = asyncio.get_running_loop().time()
    said = await send(address, *[b"GET / HTTP/1.1\r\n", *([b"X: y\r\n"] * 20)], gap_s=0.05)

    assert said.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"slow_headers"' in said
    assert asyncio.get_running_loop().time() - started < 10


@pytest.mark.parametrize("behind", [b"}", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"])
async def test_what_came_whole_is_answered_before_what_is_wrong_behind_it(address, behind):
    """Though both arrive in one piece."""
    said = await send(address, GET + b"\r\n" + POST + b"Content-Length: 2\r\n\r\nab" + behind)

    assert [b"200", b"200", b"400"] == re.findall(rb"HTTP/1.1 (\d+) ", said)
    assert b"POST / 2 2" in said


async def test_a_silent_connection_ends_without_a_word(address):
    assert await send(address) == b""


async def test_the_second_request_has_its_own_clock(address):
    """A kept connection may rest between requests, not within a head."""
    said = await send(address, GET + b"\r\n", GET, gap_s=0.05)

    assert b"200 OK" in said
    assert b'"code":"slow_headers"' in said
