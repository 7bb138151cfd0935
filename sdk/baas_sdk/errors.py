"""Everything the client raises, under one root.

    BaasError
    ├─ ConfigError            the call cannot be sent as it is: no address, no project, a name that is no name
    ├─ ConnectionFailed       no answer: refused, cut, unreachable
    │  └─ TimedOut            no answer in time
    └─ APIError               the server's refusal (RFC 9457): status, code, title, detail, errors, request_id, retry_after
       ├─ BadRequest 400 · NotAuthenticated 401 · Forbidden 403 · NotFound 404 · Conflict 409
       ├─ PreconditionFailed 412 · TooLarge 413 · Invalid 422 (with `.fields`) · RateLimited 429
       └─ ServerError 5xx

`code` is stable and meant for programs, `detail` for people. No name shadows a builtin.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

_NOTHING: Mapping[str, object] = MappingProxyType({})
_MEMBERS = ("type", "title", "status", "code", "detail", "instance", "request_id", "errors")


class BaasError(Exception):
    """Root of everything this package raises on purpose."""


class ConfigError(BaasError):
    """The call cannot be sent as it is; nothing left this machine."""


class ConnectionFailed(BaasError):
    """The server gave no answer. Unless `sent` is False, whether a write took effect is unknown: read before repeating it."""

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class TimedOut(ConnectionFailed):
    """The server gave no answer within the time-out."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong place in what was sent: `pointer` is a JSON pointer into the body (RFC 6901), `facts` what else is known of it,
    such as the line, column and `hint` of a wrong rule."""

    pointer: str
    code: str
    message: str
    facts: Mapping[str, object] = field(default_factory=dict, hash=False)


class APIError(BaasError):
    """The server answered with a refusal. `facts` are the members of the problem document beyond the standard ones."""

    def __init__(
        self,
        status: int,
        *,
        code: str,
        title: str = "",
        detail: str = "",
        errors: Sequence[FieldError] = (),
        request_id: str = "",
        retry_after: float | None = None,
        facts: Mapping[str, object] = _NOTHING,
    ) -> None:
        super().__init__(detail or title or code)
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail or title
        self.errors = tuple(errors)
        self.request_id = request_id
        self.retry_after = retry_after
        self.facts = facts

    def __str__(self) -> str:
        parts = [f"{self.status} {self.code}: {self.detail}"]
        parts += [f"  {error.pointer or '(body)'}: {error.message}" for error in self.errors if error.message != self.detail]
        if hint := self.facts.get("hint"):
            parts.append(f"  {hint}")
        parts[-1] += f" (request {self.request_id or 'unknown'})"
        return "\n".join(parts)

    def problem(self) -> dict[str, object]:
        """The problem document again, as the server sent it."""
        document: dict[str, object] = {"title": self.title, "status": self.status, "code": self.code, "detail": self.detail}
        if self.request_id:
            document["request_id"] = self.request_id
        if self.errors:
            document["errors"] = [{"pointer": e.pointer, "code": e.code, "message": e.message, **e.facts} for e in self.errors]
        return document | dict(self.facts)


class BadRequest(APIError):
    """400: the request could not be read; for a filter, `facts["position"]` says where."""


class NotAuthenticated(APIError):
    """401: no credential, or one that is wrong, expired or foreign."""


class Forbidden(APIError):
    """403: the caller is known and may not do this."""


class NotFound(APIError):
    """404: absent, or invisible to this caller."""


class Conflict(APIError):
    """409: at odds with what is stored."""


class PreconditionFailed(APIError):
    """412: the record changed since it was read, or a condition did not hold."""


class TooLarge(APIError):
    """413: more bytes than the server takes."""


class Invalid(APIError):
    """422: well-formed but wrong; every fault is in `errors`, and by field in `fields`."""

    @property
    def fields(self) -> dict[str, list[FieldError]]:
        """The faults by field: `/title` is `title`, `/items/0/title` is `items.0.title`, the whole body is `""`."""
        grouped: dict[str, list[FieldError]] = {}
        for error in self.errors:
            name = ".".join(part.replace("~1", "/").replace("~0", "~") for part in error.pointer.split("/")[1:])
            grouped.setdefault(name, []).append(error)
        return grouped


class RateLimited(APIError):
    """429: too often; `retry_after` is in seconds."""


class ServerError(APIError):
    """5xx: the server's fault or its bad moment. Whether a write took effect is unknown."""


_BY_STATUS: Mapping[int, type[APIError]] = MappingProxyType(
    {
        400: BadRequest,
        401: NotAuthenticated,
        403: Forbidden,
        404: NotFound,
        409: Conflict,
        412: PreconditionFailed,
        413: TooLarge,
        422: Invalid,
        429: RateLimited,
    }
)


def error_of(status: int, headers: Mapping[str, str], content: bytes) -> APIError:
    """The error that an answer of 400 or more means; an answer that is no problem document still makes one."""
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else APIError)
    problem = _problem(content)
    return kind(
        status,
        code=_text(problem, "code") or f"http_{status}",
        title=_text(problem, "title"),
        detail=_text(problem, "detail") or _text(problem, "title") or f"The server answered {status} without saying why.",
        errors=_field_errors(problem.get("errors")),
        request_id=_text(problem, "request_id") or headers.get("X-Request-Id", ""),
        retry_after=_seconds(headers.get("Retry-After")),
        facts=MappingProxyType({name: value for name, value in problem.items() if name not in _MEMBERS}),
    )


def _problem(content: bytes) -> Mapping[str, object]:
    try:
        value = json.loads(content)
    except ValueError:
        return _NOTHING
    return value if isinstance(value, dict) else _NOTHING


def _text(problem: Mapping[str, object], name: str) -> str:
    value = problem.get(name)
    return value if isinstance(value, str) else ""


def _field_errors(value: object) -> list[FieldError]:
    entries = value if isinstance(value, list) else []
    return [_field_error(entry) for entry in entries if isinstance(entry, dict)]


def _field_error(entry: Mapping[str, object]) -> FieldError:
    facts = {name: value for name, value in entry.items() if name not in ("pointer", "code", "message")}
    return FieldError(_text(entry, "pointer"), _text(entry, "code"), _text(entry, "message"), MappingProxyType(facts))


def _seconds(value: str | None) -> float | None:
    """Only the form in seconds: our server sends no dates, and a date of a proxy's clock helps nobody."""
    return float(value) if value is not None and value.isascii() and value.isdigit() else None
