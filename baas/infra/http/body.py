"""Bounded reading of request bodies: never more bytes, seconds or levels than the limits say."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope

from baas.base.errors import BadRequest, Fault, Invalid, RequestTimeout, TooLarge, UnsupportedMediaType
from baas.base.strict_json import loads

_SLOWEST_BYTES_PER_S = 1024
_MOST_OF_NONE = 16 * 1024


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """What the edge lays into the scope as `baas.limits`; seconds, levels, keys of one object."""

    idle_s: float = 15.0
    max_json_depth: int = 32
    max_json_keys: int = 1000


_DEFAULT = BodyLimits()


async def read_json(request: Request, *, limit: int) -> object:
    """The JSON value of the body, at most `limit` bytes.

    Raises UnsupportedMediaType unless the content type is JSON, TooLarge, RequestTimeout, and what `strict_json.loads` raises.
    """
    return await read_json_body(request.scope, request.receive, limit=limit)


async def read_object(request: Request, *, limit: int) -> dict[str, object]:
    """The same, and Invalid (`not_an_object`) for any other JSON value."""
    return as_object(await read_json_body(request.scope, request.receive, limit=limit))


async def read_json_body(scope: Scope, receive: Receive, *, limit: int) -> object:
    """`read_json` for the plain ASGI routes."""
    _check_json_type(scope)
    limits: BodyLimits = scope.get("baas.limits", _DEFAULT)
    data = await read_bytes(scope, receive, limit=limit)
    if not data:
        raise BadRequest("The body is empty; JSON was expected.", code="bad_json", position=0)
    return loads(data, max_depth=limits.max_json_depth, max_keys=limits.max_json_keys)


def as_object(value: object) -> dict[str, object]:
    """The value when it is a JSON object; raises Invalid otherwise."""
    if not isinstance(value, dict):
        message = "The body must be a JSON object."
        raise Invalid(message, code="not_an_object", errors=[Fault("", "not_an_object", message)])
    return value


async def refuse_body(scope: Scope, receive: Receive) -> None:
    """For a call that takes no body: what is sent with it would be dropped in silence. `{}` says nothing, and passes.

    Raises what `read_json_body` does for what is no JSON, and Invalid for anything else.
    """
    if not any(name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in scope["headers"]):
        return
    data = await read_bytes(scope, receive, limit=_MOST_OF_NONE)
    if not data:
        return
    _check_json_type(scope)
    body = as_object(loads(data))
    if body:
        faults = [Fault(f"/{name[:100]}", "unknown_key", "This call takes no body.") for name in body]
        raise Invalid("This call takes no body.", errors=faults)


async def read_bytes(scope: Scope, receive: Receive, *, limit: int) -> bytes:
    """The whole body in memory. Raises TooLarge and RequestTimeout."""
    chunks = [chunk async for chunk in _chunks(scope, receive, limit)]
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def stream_body(request: Request, *, limit: int) -> AsyncIterator[bytes]:
    """The body in the pieces it comes in, for what is larger than memory should hold. Raises as `read_bytes` does."""
    return _chunks(request.scope, request.receive, limit)


def stream_pieces(scope: Scope, receive: Receive, *, limit: int) -> AsyncIterator[bytes]:
    """`stream_body` for the plain ASGI routes."""
    return _chunks(scope, receive, limit)


async def _chunks(scope: Scope, receive: Receive, limit: int) -> AsyncIterator[bytes]:
    _refuse_declared(scope, limit)
    idle_s = scope.get("baas.limits", _DEFAULT).idle_s
    clock = asyncio.get_running_loop().time
    started, total, more = clock(), 0, True
    while more:
        try:
            async with asyncio.timeout(idle_s):
                message = await receive()
        except TimeoutError:
            raise _too_slow(f"No byte of the body came for {idle_s:g} seconds.") from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk, more = message.get("body", b""), message.get("more_body", False)
        total += len(chunk)
        if total > limit:
            raise _too_large(limit)
        elapsed = clock() - started
        if more and elapsed > idle_s and total < elapsed * _SLOWEST_BYTES_PER_S:
            raise _too_slow(f"The body came slower than {_SLOWEST_BYTES_PER_S} bytes a second.")
        if chunk:
            yield chunk


def _refuse_declared(scope: Scope, limit: int) -> None:
    """Refuse by Content-Length, before a byte is read (and before `100 Continue` is sent)."""
    declared, waits = 0, False
    for name, value in scope["headers"]:
        if name == b"content-length":
            if not value.isdigit():
                raise BadRequest("Content-Length is not a number.", code="bad_header")
            declared = int(value[:20])
        elif name == b"expect":
            waits = True
        elif name == b"content-encoding" and value.lower() != b"identity":
            raise UnsupportedMediaType("Compressed request bodies are not accepted.", headers={"Accept-Encoding": "identity"})
    if declared > limit:
        raise _too_large(limit, waits=waits)


def _check_json_type(scope: Scope) -> None:
    given = b"".join(value for name, value in scope["headers"] if name == b"content-type").lower()
    if given == b"application/json":
        return
    media, _, parameters = given.partition(b";")
    media = media.strip()
    if media != b"application/json" and not (media.startswith(b"application/") and media.endswith(b"+json")):
        raise UnsupportedMediaType("The body must be sent as application/json.")
    charset = parameters.replace(b" ", b"").replace(b'"', b"")
    if charset.startswith(b"charset=") and charset != b"charset=utf-8":
        raise UnsupportedMediaType("JSON is sent in UTF-8.")


def _too_large(limit: int, *, waits: bool = False) -> TooLarge:
    """A client that waits for `100 Continue` may still send or not, so the connection ends; one that sends already would get
    a reset instead of this answer, so its connection stays.
    """
    return TooLarge(f"The body may have at most {limit} bytes.", limit=limit, headers={"Connection": "close"} if waits else {})


def _too_slow(detail: str) -> RequestTimeout:
    return RequestTimeout(detail, headers={"Connection": "close"})
