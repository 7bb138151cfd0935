"""Errors become HTTP here and nowhere else: `application/problem+json` (RFC 9457)."""

import re
from urllib.parse import quote

import msgspec
from starlette.responses import Response
from starlette.types import Scope, Send

from baas.base.errors import BaasError, Internal

_ENCODER = msgspec.json.Encoder(enc_hook=str)
_OWN_MEMBERS = frozenset(
    {"type", "title", "status", "code", "detail", "instance", "request_id", "errors", "errors_left_out", "hint"}
)
# What a caller sent may stand in these texts; an answer must not be as long as the longest request.
_MOST_CHARS = 1000
_MOST_FAULTS = 100
_LONGEST_INSTANCE = 500
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._~:@-]{0,500}")
_CUT_ESCAPE = re.compile(r"%[0-9A-F]?\Z")


def document(error: Exception, *, request_id: str, instance: str) -> dict[str, object]:
    """The members of the problem. Of a 500 nothing is told: the detail stays in the log, under the same request id."""
    shown = as_ours(error)
    body: dict[str, object] = {
        "type": f"urn:baas:problem:{shown.code}",
        "title": shown.title,
        "status": shown.status,
        "code": shown.code,
        "detail": shown.detail[:_MOST_CHARS],
        "instance": instance,
        "request_id": request_id,
    }
    if shown.hint:
        body["hint"] = shown.hint[:_MOST_CHARS]
    if shown.errors:
        body["errors"] = [
            {"pointer": one.pointer, "code": one.code, "message": one.message[:_MOST_CHARS], **(one.details or {})}
            for one in shown.errors[:_MOST_FAULTS]
        ]
        if len(shown.errors) > _MOST_FAULTS:
            body["errors_left_out"] = len(shown.errors) - _MOST_FAULTS
    body.update((name, value) for name, value in shown.facts.items() if name not in _OWN_MEMBERS)
    return body


def as_ours(error: Exception) -> BaasError:
    """The error as a client may see it: every 500, ours or not, is the same plain one."""
    if isinstance(error, BaasError) and error.status != 500:
        return error
    return Internal("Something went wrong on the server. The request id names the entry in its log.")


def problem(error: Exception, *, request_id: str, instance: str) -> Response:
    """The problem as a response."""
    status, headers, body = parts(error, request_id=request_id, instance=instance)
    response = Response(body, status)
    response.raw_headers = headers
    return response


async def send_problem(send: Send, error: Exception, *, request_id: str, instance: str) -> None:
    """The same for plain ASGI code."""
    status, headers, body = parts(error, request_id=request_id, instance=instance)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def parts(error: Exception, *, request_id: str, instance: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of the problem."""
    shown = as_ours(error)
    body = _ENCODER.encode(document(shown, request_id=request_id, instance=instance))
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    if shown.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    headers += [(name.lower().encode("latin-1"), _header_value(value)) for name, value in shown.headers.items()]
    return shown.status, headers, body


def shown_path(scope: Scope) -> str:
    """The path as a URI reference (`instance`), cut where it is absurd."""
    path: str = scope["path"]
    if path.isascii() and _PLAIN_PATH.fullmatch(path):
        return path
    return _CUT_ESCAPE.sub("", quote(path[:_LONGEST_INSTANCE], safe="/:@!$&'()*+,;=~", errors="replace")[:_LONGEST_INSTANCE])


def _header_value(value: str) -> bytes:
    """A header value without line breaks and beyond-Latin characters (threat model D4)."""
    return value.replace("\r", " ").replace("\n", " ").encode("latin-1", "replace")
