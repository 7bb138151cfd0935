"""Answers in JSON. Bytes pass through as they are: what PostgreSQL wrote as JSON is never decoded on its way out."""

from collections.abc import Mapping

import msgspec
from starlette.responses import Response
from starlette.types import Send

_ENCODER = msgspec.json.Encoder()
_JSON = b"application/json"


def encode(value: object) -> bytes:
    """The JSON text of plain values, UUIDs, decimals (as strings), dataclasses; datetimes must be text already."""
    return _ENCODER.encode(value)


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer; `value` is encoded unless it is bytes, which are the JSON text already."""
    body = value if isinstance(value, bytes) else _ENCODER.encode(value)
    return Response(body, status, headers, media_type="application/json")


def created(value: object, *, location: str, headers: Mapping[str, str] | None = None) -> Response:
    """201 with the place of the new thing and the thing itself."""
    return json_response(value, 201, {"Location": location, **(headers or {})})


def no_content(headers: Mapping[str, str] | None = None) -> Response:
    """204."""
    return Response(None, 204, headers)


def not_modified(headers: Mapping[str, str]) -> Response:
    """304 with the validators of what the client has."""
    return Response(None, 304, headers)


async def send_json(send: Send, body: bytes, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
    """The same for the plain ASGI routes; header names in lower case."""
    fixed = ((b"content-type", _JSON), (b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, *headers]})
    await send({"type": "http.response.body", "body": body})
