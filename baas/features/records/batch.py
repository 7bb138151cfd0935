"""Several calls to records as one transaction: all of them happen, or none does.

An operation is a call of its own in all but its transport: the same table of endpoints answers it, so rules, validation,
conditions and answers are those of the single call. Later ones may use what earlier ones answered.
"""

import asyncio
import json
import random
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any
from urllib.parse import quote, unquote

import msgspec
from starlette.types import Message, Receive, Scope, Send

from baas.base.errors import BaasError, Fault, Invalid, MethodNotAllowed, NotFound, Unavailable
from baas.features.records.api import RecordsApi
from baas.features.records.creates import COUNTER, AnonymousCreates, OnceCounted
from baas.features.records.service import Records
from baas.features.records.store import take_turns
from baas.infra.db.errors import SerializationFailed
from baas.infra.db.pool import Database
from baas.infra.http.admission import AddressRate
from baas.infra.http.answers import send_json
from baas.infra.http.body import as_object, read_json_body
from baas.infra.http.context import Context
from baas.infra.http.router import Found, Router
from baas.infra.http.routes import ANYONE, Body, Endpoint

MAX_OPERATIONS = 50
MAX_BYTES = 4 << 20
LONGEST_S = 5.0
_TRIES = 4
_APART_S = 0.2
_CHANGES = frozenset(("PATCH", "PUT", "DELETE"))
_METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE")
_KEYS = frozenset({"id", "method", "path", "body", "if_match", "if_none_match"})
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_REFERENCE = re.compile(r"@@\{|@\{([A-Za-z0-9_-]{1,64})((?:\.[A-Za-z0-9_]{1,63}){1,8})\}")
_LONGEST_PATH = 8192
_encode = msgspec.json.Encoder(decimal_format="number").encode
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Operation:
    """One call. `given` are the headers that it stands for."""

    at: int
    id: str | None
    method: str
    path: str
    body: object
    given: tuple[tuple[bytes, str], ...]


class BatchApi:
    """One endpoint."""

    def __init__(self, records: Records, db: Database, rate: AddressRate, creates: AnonymousCreates) -> None:
        self._db = db
        self._rate = rate
        self._creates = creates
        self._router = Router(RecordsApi(records.through("batch"), creates).routes())

    def routes(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint(
                "POST",
                "/v1/projects/{project}/batch",
                ANYONE,
                "Write several records in one transaction",
                app=self.batch,
                tag="records",
                request=_BATCH,
                responses={200: _RESULTS},
            ),
        )

    async def batch(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises what the first operation raises that fails, with `failed_operation`; then nothing has happened."""
        context = Context.of(scope)
        limit = max(MAX_BYTES, context.project.settings.limits.max_json_bytes)
        operations = read(as_object(await read_json_body(scope, receive, limit=limit)))
        # The call itself is counted already.
        self._rate.take(context.address, time.monotonic(), len(operations) - 1)
        scope[COUNTER] = OnceCounted(self._creates)
        for attempt in range(_TRIES):
            try:
                results = await self._run(scope, context, operations)
                break
            except SerializationFailed:
                if attempt == _TRIES - 1:
                    raise
                await asyncio.sleep(random.uniform(0, _APART_S * (attempt + 1)))  # noqa: S311  so that the two do not meet again
        await send_json(send, b'{"results":[' + b",".join(results) + b"]}", 200, ((b"cache-control", b"no-store"),))

    async def _run(self, scope: Scope, context: Context, operations: Sequence[Operation]) -> list[bytes]:
        try:
            return await self._together(scope, context, operations, in_parts=False)
        except _Broken:
            # A room may ask on after a statement that failed, to say why. Rare enough to do it all again for.
            return await self._together(scope, context, operations, in_parts=True)

    async def _together(self, scope: Scope, context: Context, operations: Sequence[Operation], *, in_parts: bool) -> list[bytes]:
        used = {one for operation in operations for one in _used(operation)}
        known: dict[str, Any] = {}
        results = []
        scope[COUNTER].begin()
        async with self._db.joined(in_parts=in_parts) as (tx, joined):
            with joined.within(LONGEST_S):
                changed = {one.path.partition("?")[0].lower() for one in operations if one.method in _CHANGES}
                await take_turns(tx, context.project.schema, changed)
                for operation in operations:
                    try:
                        status, body = await self._do(scope, context, _filled(operation, known))
                    except Exception as error:
                        if joined.broken and not isinstance(error, Unavailable):
                            raise _Broken from None
                        if isinstance(error, BaasError):
                            raise _of_operation(error, operation) from None
                        raise
                    if joined.broken:
                        raise _Broken  # whatever was answered: PostgreSQL would commit nothing, and not say so
                    if operation.id in used:
                        known[str(operation.id)] = json.loads(body, parse_float=Decimal) if body else None
                    results.append(_result(operation, status, body))
        return results

    async def _do(self, outer: Scope, context: Context, operation: Operation) -> tuple[int, bytes]:
        """Status and body of one operation."""
        path, _, query = operation.path.partition("?")
        found = self._find(operation.method, f"/v1/projects/{context.project.name}{_decoded(path)}")
        body = b"" if operation.body is _MISSING else _encode(operation.body)
        headers = [(b"content-length", b"%d" % len(body)), *((name, value.encode()) for name, value in operation.given)]
        scope = {
            "type": "http",
            "method": operation.method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(b"content-type", b"application/json"), *headers],
            "baas.context": context,
            "baas.found": found,
            COUNTER: outer[COUNTER],
        }
        if "baas.limits" in outer:
            scope["baas.limits"] = outer["baas.limits"]
        answer = _Answer(body)
        await self._router(scope, answer.receive, answer.send)
        return answer.status, b"".join(answer.pieces)

    def _find(self, method: str, path: str) -> Found:
        """Raises NotFound and MethodNotAllowed for what is no write of records and no read of one."""
        found = self._router.find(method, path)
        if not found.endpoint.changes and not (method == "GET" and "id" in found.path_params):
            raise NotFound("A batch writes records, and reads single ones.", code="no_route")
        return found


class _Broken(Exception):
    """A statement failed, and the transaction with it."""


class _Answer:
    """Stands for the connection of an operation."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.status = 0
        self.pieces: list[bytes] = []

    async def receive(self) -> Message:
        return {"type": "http.request", "body": self._body, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.pieces.append(message.get("body", b""))


# Reading.


def read(body: Mapping[str, object]) -> list[Operation]:
    """The operations of a body. Raises Invalid with every fault."""
    faults = [Fault(f"/{name}", "unknown_key", "There is no such key.") for name in body if name != "operations"]
    sent = body.get("operations")
    if not isinstance(sent, list) or not sent:
        faults.append(Fault("/operations", "required", "Must be a list of operations."))
        raise Invalid("The batch is wrong.", errors=faults)
    if len(sent) > MAX_OPERATIONS:
        raise Invalid(f"A batch has at most {MAX_OPERATIONS} operations.", code="limit_exceeded", limit=MAX_OPERATIONS)
    operations, ids = [], set[str]()
    for at, one in enumerate(sent):
        place = f"/operations/{at}"
        if not isinstance(one, dict):
            faults.append(Fault(place, "not_an_object", "Must be an object."))
            continue
        faults += _faults(one, place, ids)
        given = tuple(
            (header, one[name])
            for name, header in (("if_match", b"if-match"), ("if_none_match", b"if-none-match"))
            if name in one
        )
        operation = Operation(at, one.get("id"), one.get("method", ""), one.get("path", ""), one.get("body", _MISSING), given)
        faults += [
            Fault(place, "unknown_reference", f"No operation before this one has the id {name!r}.")
            for name in dict.fromkeys(_used(operation))
            if name not in ids
        ]
        if isinstance(operation.id, str):
            ids.add(operation.id)
        operations.append(operation)
    if faults:
        raise Invalid("The batch is wrong.", errors=faults)
    return operations


def _faults(one: Mapping[str, object], place: str, ids: set[str]) -> Iterator[Fault]:
    for name in one:
        if name not in _KEYS:
            yield Fault(f"{place}/{name}", "unknown_key", "There is no such key.")
    known = one.get("id", _MISSING)
    if known is not _MISSING and not (isinstance(known, str) and _ID.fullmatch(known)):
        yield Fault(f"{place}/id", "bad_name", "Must be 1 to 64 letters, digits, underscores or hyphens.")
    elif known in ids:
        yield Fault(f"{place}/id", "duplicate", "Another operation has this id.")
    method = one.get("method")
    if method not in _METHODS:
        yield Fault(f"{place}/method", "not_allowed", f"Must be one of {', '.join(_METHODS)}.")
    path = one.get("path")
    if not isinstance(path, str) or not path.startswith("/") or len(path) > _LONGEST_PATH or not path.isprintable():
        yield Fault(f"{place}/path", "syntax", "Must be a path within the project, such as /collections/tasks/records.")
    if "body" in one and method in ("GET", "DELETE"):
        yield Fault(f"{place}/body", "unknown_key", f"{method} takes no body.")
    if "body" not in one and method in ("POST", "PATCH", "PUT"):
        yield Fault(f"{place}/body", "required", "Must be given.")
    for name in ("if_match", "if_none_match"):
        value = one.get(name, "")
        if not isinstance(value, str) or not value.isascii() or not value.isprintable():
            yield Fault(f"{place}/{name}", "wrong_type", "Must be a text.")


# References to earlier results.


def _used(operation: Operation) -> Iterator[str]:
    """The ids of the operations that this one refers to."""
    for text in _texts((operation.path, operation.body, [value for _, value in operation.given])):
        yield from (match[1] for match in _REFERENCE.finditer(text) if match[1])


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)


def _filled(operation: Operation, known: Mapping[str, Any]) -> Operation:
    """The operation with values in the place of its references. Raises Invalid where there is no such value."""
    return Operation(
        operation.at,
        operation.id,
        operation.method,
        _REFERENCE.sub(lambda match: quote(_as_text(match, known, "/path"), safe=""), operation.path),
        _replaced(operation.body, known, "/body"),
        tuple((name, _REFERENCE.sub(lambda match: _as_text(match, known, ""), value)) for name, value in operation.given),
    )


def _replaced(value: object, known: Mapping[str, Any], pointer: str) -> object:
    if isinstance(value, str):
        whole = _REFERENCE.fullmatch(value)
        if whole is not None and whole[1]:
            return _looked_up(whole, known, pointer)
        return _REFERENCE.sub(lambda match: _as_text(match, known, pointer), value) if "@" in value else value
    if isinstance(value, dict):
        return {name: _replaced(one, known, f"{pointer}/{name}") for name, one in value.items()}
    if isinstance(value, list):
        return [_replaced(one, known, f"{pointer}/{at}") for at, one in enumerate(value)]
    return value


def _looked_up(match: re.Match[str], known: Mapping[str, Any], pointer: str) -> object:
    found = known.get(match[1])
    for step in match[2][1:].split("."):
        if isinstance(found, list) and step.isdecimal() and int(step) < len(found):
            found = found[int(step)]
        elif isinstance(found, dict) and step in found:
            found = found[step]
        else:
            message = f"The answer of {match[1]!r} has no {match[2][1:]!r}."
            raise Invalid(message, errors=[Fault(pointer, "unknown_reference", message)])
    return found


def _as_text(match: re.Match[str], known: Mapping[str, Any], pointer: str) -> str:
    """Within a longer text: what is no reference (`@@{`) stands for itself."""
    if not match[1]:
        return "@{"
    value = _looked_up(match, known, pointer)
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | Decimal):
        message = f"{match[0]} is neither a text nor a number."
        raise Invalid(message, errors=[Fault(pointer, "unknown_reference", message)])
    return str(value)


# Answers.


def _decoded(path: str) -> str:
    """The path as a server reads it. A slash or a control character within a segment would lead elsewhere: there is nothing."""
    segments = [unquote(one, errors="replace") for one in path.split("/")]
    if any("/" in one or "\ufffd" in one or not one.isprintable() for one in segments):
        raise NotFound("There is nothing at this path.", code="no_route")
    return "/".join(segments)


def _of_operation(error: BaasError, operation: Operation) -> BaasError:
    """The error of an operation as that of the batch, with pointers into the whole body."""
    error.facts["failed_operation"] = operation.id
    error.facts["failed_index"] = operation.at
    if error.denial is not None:
        error.denial = replace(error.denial, via="batch")
    place = f"/operations/{operation.at}"
    inside = ("/body", "/path")
    error.errors = tuple(
        Fault(
            place + (one.pointer if one.pointer.startswith(inside) else f"/body{one.pointer}"), one.code, one.message, one.details
        )
        for one in error.errors
    )
    if isinstance(error, MethodNotAllowed):
        error.headers.pop("Allow", None)  # that of the batch's own path is another
    return error


def _result(operation: Operation, status: int, body: bytes) -> bytes:
    return b'{"id":%b,"status":%d,"body":%b}' % (_encode(operation.id), status, body or b"null")


_OPERATION: Mapping[str, object] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["method", "path"],
    "properties": {
        "id": {"type": "string", "pattern": f"^{_ID.pattern}$", "description": "What later operations call it by."},
        "method": {"type": "string", "enum": list(_METHODS)},
        "path": {"type": "string", "description": "Within the project, such as `/collections/tasks/records/@{a.id}`."},
        "body": {"description": 'A text `"@{a.id}"` becomes that value of the answer of operation `a`; `@@{` is `@{`.'},
        "if_match": {"type": "string"},
        "if_none_match": {"type": "string"},
    },
}
_BATCH = Body(
    {
        "type": "object",
        "additionalProperties": False,
        "required": ["operations"],
        "properties": {"operations": {"type": "array", "minItems": 1, "maxItems": MAX_OPERATIONS, "items": _OPERATION}},
    }
)
_RESULTS = Body(
    {
        "type": "object",
        "required": ["results"],
        "properties": {
            "results": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["id", "status", "body"],
                    "properties": {"id": {"type": ["string", "null"]}, "status": {"type": "integer"}, "body": {}},
                },
            }
        },
    }
)
