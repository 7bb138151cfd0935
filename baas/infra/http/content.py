"""Stored bytes as an answer: validators, conditional requests and one range (RFC 9110, sections 8.8, 13 and 14)."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from baas.base.errors import PreconditionFailed, RangeNotSatisfiable
from baas.infra.http.etags import condition, matches

_ONE_RANGE = re.compile(r"bytes=\s*([0-9]*)-([0-9]*)\s*", re.IGNORECASE)
_SLOWEST_BYTES_PER_S = 1024
_IDLE_S = 30

Open = Callable[[int, int], AbstractAsyncContextManager[AsyncIterator[bytes]]]
"""The bytes from the first position until before the second."""


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes with their validators, answered as the request asks: whole, one range, or not at all (304, 412, 416).

    `etag` is strong and without its quotes. `headers` go with 200 and 206; those a cache needs go with 304 too. What `open`
    raises on entering comes out before a byte is sent. Another status than 200 (an own 404 page) is answered whole.
    """

    size: int
    etag: str
    modified: datetime
    headers: Mapping[str, str]
    open: Open
    status: HTTPStatus = HTTPStatus.OK

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises PreconditionFailed and RangeNotSatisfiable, before anything is sent."""
        asked = Headers(scope=scope)
        if self.status == HTTPStatus.OK and not_modified(asked, self.etag, self.modified):
            kept = {name: value for name, value in self.headers.items() if name.lower() in _SENT_WITH_304}
            await _start(send, HTTPStatus.NOT_MODIFIED, {**kept, **self._validators()})
            await send({"type": "http.response.body", "body": b""})
            return
        part = self._part(asked) if scope["method"] == "GET" and self.status == HTTPStatus.OK else None
        start, stop = part or (0, self.size)
        headers = {**self.headers, **self._validators(), "Accept-Ranges": "bytes", "Content-Length": str(stop - start)}
        if part:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{self.size}"
        status = HTTPStatus.PARTIAL_CONTENT if part else self.status
        if scope["method"] == "HEAD" or start == stop:
            await _start(send, status, headers)
            await send({"type": "http.response.body", "body": b""})
            return
        async with self.open(start, stop) as pieces:
            await _start(send, status, headers)
            await _send_pieces(pieces, stop - start, receive, send)

    def _part(self, asked: Headers) -> tuple[int, int] | None:
        """Several ranges get the whole: answering them costs more than it is worth, and is a known way to exhaust servers."""
        wanted = asked.get("range")
        if wanted is None or not self._if_range(asked.get("if-range")):
            return None
        return one_range(wanted, self.size)

    def _if_range(self, condition: str | None) -> bool:
        return condition is None or condition.strip() in (f'"{self.etag}"', http_date(self.modified))

    def _validators(self) -> dict[str, str]:
        return {"ETag": f'"{self.etag}"', "Last-Modified": http_date(self.modified)}


_SENT_WITH_304 = ("cache-control", "content-location", "date", "expires", "vary", "x-content-type-options")


def not_modified(asked: Headers, etag: str, modified: datetime) -> bool:
    """Whether a GET or HEAD gets 304; conditions in the order of RFC 9110, section 13.2.2.

    Raises PreconditionFailed where If-Match or If-Unmodified-Since does not hold.
    """
    if (wanted := condition(asked.raw, "If-Match")) is not None:
        check_if_match(wanted, etag)
    elif (moment := parse_http_date(asked.get("if-unmodified-since"))) and _seconds(modified) > moment:
        raise PreconditionFailed("The file was changed after the given time.")
    if (known := _all(asked, "if-none-match")) is not None:
        return matches(known, etag, weak=True)
    since = parse_http_date(asked.get("if-modified-since"))
    return since is not None and _seconds(modified) <= since


def check_if_match(wanted: str, etag: str | None, *, seen: bool = True) -> None:
    """Raises PreconditionFailed unless the condition names this version; None is a thing that does not exist.

    The refusal has the version as its ETag for callers who may see it.
    """
    if etag is None or not matches(wanted, etag, weak=False):
        headers = {"ETag": f'"{etag}"'} if etag is not None and seen else None
        raise PreconditionFailed("The file is not the version that If-Match names.", headers=headers)


def one_range(wanted: str, size: int) -> tuple[int, int] | None:
    """The part that a Range header asks for as (start, stop), or None for the whole: another unit, several ranges, nonsense.

    Raises RangeNotSatisfiable for a range that lies outside.
    """
    match = _ONE_RANGE.fullmatch(wanted)
    if match is None or match[1] == match[2] == "" or max(len(match[1]), len(match[2])) > 18:
        return None
    if not match[1]:
        start, stop = max(0, size - int(match[2])), size
    else:
        start, stop = int(match[1]), min(size, int(match[2]) + 1) if match[2] else size
        if match[2] and int(match[2]) < start:
            return None
    if start >= size:
        raise RangeNotSatisfiable(f"The file has {size} bytes.", headers={"Content-Range": f"bytes */{size}"})
    return start, stop


def http_date(moment: datetime) -> str:
    """`Fri, 20 Nov 2026 10:31:07 GMT`."""
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def parse_http_date(text: str | None) -> datetime | None:
    """The moment, or None for what is no HTTP date: a condition that cannot be read is none."""
    if text is None:
        return None
    try:
        found = parsedate_to_datetime(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _seconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


def _all(asked: Headers, name: str) -> str | None:
    values = asked.getlist(name)
    return ", ".join(values) if values else None


async def _start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": int(status), "headers": raw})


async def _send_pieces(pieces: AsyncIterator[bytes], size: int, receive: Receive, send: Send) -> None:
    """Stops when the client is gone (a server may drop what is sent then, and reading on would be for nobody) or too slow.

    An answer left unfinished makes the server close the connection, which is how the client learns of it.
    """
    left = size
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        async for piece in pieces:
            if gone.done():
                return
            left -= len(piece)
            async with asyncio.timeout(_IDLE_S + len(piece) / _SLOWEST_BYTES_PER_S):
                await send({"type": "http.response.body", "body": piece, "more_body": left > 0})
    except TimeoutError:
        return
    finally:
        gone.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await gone


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
