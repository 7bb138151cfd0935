"""Ranges and conditions as RFC 9110 writes them, on bytes in memory."""

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from baas.base.errors import PreconditionFailed, RangeNotSatisfiable
from baas.infra.http.content import Content, one_range

DATA = bytes(range(100))
MODIFIED = datetime(2026, 11, 20, 10, 31, 7, 123456, tzinfo=UTC)
SAME, EARLIER, LATER = (f"Fri, 20 Nov 2026 10:31:{second:02} GMT" for second in (7, 6, 8))


@contextlib.asynccontextmanager
async def data(start: int, stop: int) -> AsyncIterator[AsyncIterator[bytes]]:
    async def pieces() -> AsyncIterator[bytes]:
        for position in range(start, stop, 7):
            yield DATA[position : min(stop, position + 7)]

    yield pieces()


async def ask(method: str = "GET", size: int = len(DATA), **headers: str) -> tuple[int, dict[str, str], bytes]:
    sent: list[Any] = []

    async def receive() -> Any:
        import asyncio

        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    content = Content(size, "abc", MODIFIED, {"Content-Type": "text/plain", "Cache-Control": "no-cache"}, data)
    await content({"type": "http", "method": method, "headers": raw}, receive, send)
    answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], answered, b"".join(message["body"] for message in sent[1:])


async def test_the_whole_has_validators_and_length() -> None:
    status, headers, body = await ask()

    assert (200, DATA) == (status, body)
    assert '"abc"' == headers["etag"]
    assert SAME == headers["last-modified"]
    assert "100" == headers["content-length"]
    assert "bytes" == headers["accept-ranges"]


async def test_head_has_the_headers_alone() -> None:
    status, headers, body = await ask("HEAD", range="bytes=0-9")

    assert (200, "100", b"") == (status, headers["content-length"], body)


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [
        *(("bytes=0-0", 0, 1), ("bytes=10-19", 10, 20), ("bytes=90-", 90, 100), ("bytes=-5", 95, 100)),
        *(("bytes=-500", 0, 100), ("bytes=99-1000", 99, 100), ("Bytes=3-4", 3, 5)),
    ],
)
async def test_one_range_is_a_part(wanted: str, start: int, stop: int) -> None:
    status, headers, body = await ask(range=wanted)

    assert (206, DATA[start:stop]) == (status, body)
    assert f"bytes {start}-{stop - 1}/100" == headers["content-range"]
    assert str(stop - start) == headers["content-length"]


@pytest.mark.parametrize("wanted", ["bytes=0-1,5-6", "bytes=5-4", "bytes=-", "lines=1-2", "bytes=a-b", "bytes", "bytes=1--2"])
async def test_what_is_no_single_range_gets_the_whole(wanted: str) -> None:
    assert (200, DATA) == (await ask(range=wanted))[::2]


@pytest.mark.parametrize(("wanted", "size"), [("bytes=100-", 100), ("bytes=200-300", 100), ("bytes=-0", 100), ("bytes=0-", 0)])
def test_a_range_outside_is_refused(wanted: str, size: int) -> None:
    with pytest.raises(RangeNotSatisfiable) as refused:
        one_range(wanted, size)

    assert f"bytes */{size}" == refused.value.headers["Content-Range"]


@pytest.mark.parametrize(("condition", "status"), [('"abc"', 206), (SAME, 206), ('"old"', 200), (EARLIER, 200), ('W/"abc"', 200)])
async def test_if_range_gives_the_part_of_the_same_version_only(condition: str, status: int) -> None:
    assert status == (await ask(range="bytes=0-9", if_range=condition))[0]


@pytest.mark.parametrize(
    ("conditions", "status"),
    [
        ({"if_none_match": '"abc"'}, 304),
        ({"if_none_match": '"x", W/"abc"'}, 304),
        ({"if_none_match": "*"}, 304),
        ({"if_none_match": '"x"'}, 200),
        ({"if_none_match": '"x"', "if_modified_since": LATER}, 200),
        ({"if_modified_since": SAME}, 304),
        ({"if_modified_since": LATER}, 304),
        ({"if_modified_since": EARLIER}, 200),
        ({"if_modified_since": "yesterday"}, 200),
        ({"if_match": '"abc"'}, 200),
        ({"if_unmodified_since": SAME}, 200),
        ({"if_match": '"abc"', "if_unmodified_since": EARLIER}, 200),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_conditions(method: str, conditions: dict[str, str], status: int) -> None:
    answered, headers, body = await ask(method, **conditions)

    assert status == answered
    assert '"abc"' == headers["etag"]
    assert "no-cache" == headers["cache-control"]
    if status == 304:
        assert b"" == body
        assert "content-type" not in headers


@pytest.mark.parametrize("conditions", [{"if_match": '"x"'}, {"if_match": 'W/"abc"'}, {"if_unmodified_since": EARLIER}])
async def test_conditions_that_fail(conditions: dict[str, str]) -> None:
    with pytest.raises(PreconditionFailed):
        await ask(**conditions)


async def test_an_empty_file_is_answered_whole() -> None:
    assert (200, b"") == (await ask(size=0))[::2]


async def test_a_client_that_is_gone_stops_the_reading() -> None:
    read = 0

    @contextlib.asynccontextmanager
    async def endless(start: int, stop: int) -> AsyncIterator[AsyncIterator[bytes]]:
        async def pieces() -> AsyncIterator[bytes]:
            nonlocal read
            while True:
                read += 1
                yield b"x"

        yield pieces()

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        import asyncio

        await asyncio.sleep(0)

    await Content(1 << 40, "abc", MODIFIED, {}, endless)({"type": "http", "method": "GET", "headers": []}, receive, send)

    assert read < 5
