"""The one error tree. Raise where the fact is known; `infra/http/problem.py` alone writes it as HTTP (RFC 9457).

    BaasError
    ├─ BadRequest 400        the message cannot be read: JSON, filter, sort, cursor, parameter, id
    ├─ Unauthenticated 401   who are you
    ├─ Forbidden 403         known, and not allowed
    ├─ NotFound 404          absent, or invisible to this caller: the same answer for both
    ├─ MethodNotAllowed 405 · NotAcceptable 406 · RequestTimeout 408
    ├─ Conflict 409          with what is stored · Gone 410
    ├─ PreconditionFailed 412 · TooLarge 413 · UriTooLong 414 · UnsupportedMediaType 415 · RangeNotSatisfiable 416
    ├─ Misdirected 421       this host is not ours
    ├─ Invalid 422           well-formed but wrong; `errors` names every fault with a JSON pointer
    ├─ PreconditionRequired 428 · TooManyRequests 429 · HeadersTooLarge 431
    ├─ Internal 500          our fault; the detail stays in the log
    ├─ Unavailable 503       busy, draining, or a dependency is down; try again after `retry_after_s`
    └─ OutOfSpace 507

A class fixes `status` and a default `code`; an instance may name a finer code. Codes are part of the API and never reused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from baas.base.denial import Denial


@dataclass(frozen=True, slots=True)
class Fault:
    """One wrong place in a body: `pointer` is a JSON pointer (RFC 6901), `""` for the whole body.

    `details` are extra members beside the three, such as line and column of a fault inside an expression.
    """

    pointer: str
    code: str
    message: str
    details: Mapping[str, object] | None = None


class BaasError(Exception):
    """Root of the tree. `facts` are extra members of the problem document, `headers` extra response headers."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    default_code: ClassVar[str] = "internal"
    denial: Denial | None = None
    """Set where a rule refused: what operators may ask about afterwards. Never part of the answer."""

    def __init__(
        self,
        detail: str = "",
        *,
        code: str | None = None,
        hint: str | None = None,
        errors: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
        **facts: object,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.code = code or self.default_code
        self.hint = hint
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.facts = facts


class BadRequest(BaasError):
    status, title, default_code = 400, "Bad request", "bad_request"


class Unauthenticated(BaasError):
    """Always answered with a `WWW-Authenticate: Bearer` header (RFC 6750)."""

    status, title, default_code = 401, "Not authenticated", "unauthenticated"


class Forbidden(BaasError):
    status, title, default_code = 403, "Forbidden", "forbidden"


class NotFound(BaasError):
    status, title, default_code = 404, "Not found", "not_found"


class MethodNotAllowed(BaasError):
    status, title, default_code = 405, "Method not allowed", "method_not_allowed"


class NotAcceptable(BaasError):
    status, title, default_code = 406, "Not acceptable", "not_acceptable"


class RequestTimeout(BaasError):
    status, title, default_code = 408, "Request timeout", "request_timeout"


class Conflict(BaasError):
    status, title, default_code = 409, "Conflict", "conflict"


class Gone(BaasError):
    status, title, default_code = 410, "Gone", "gone"


class PreconditionFailed(BaasError):
    status, title, default_code = 412, "Precondition failed", "precondition_failed"


class TooLarge(BaasError):
    status, title, default_code = 413, "Content too large", "too_large"


class UriTooLong(BaasError):
    status, title, default_code = 414, "URI too long", "uri_too_long"


class UnsupportedMediaType(BaasError):
    status, title, default_code = 415, "Unsupported media type", "unsupported_media_type"


class RangeNotSatisfiable(BaasError):
    status, title, default_code = 416, "Range not satisfiable", "range_not_satisfiable"


class Misdirected(BaasError):
    status, title, default_code = 421, "Misdirected request", "wrong_host"


class Invalid(BaasError):
    """There is always a fault in `errors`: of the whole body, or of the query, where no place is more to blame."""

    status, title, default_code = 422, "Invalid content", "invalid"

    def __init__(self, detail: str = "", *, code: str | None = None, errors: Sequence[Fault] = (), **more: object) -> None:
        super().__init__(detail, code=code, errors=errors, **more)  # type: ignore[arg-type]
        self.errors = self.errors or (Fault("", self.code, self.detail),)


class PreconditionRequired(BaasError):
    status, title, default_code = 428, "Precondition required", "precondition_required"


class TooManyRequests(BaasError):
    status, title, default_code = 429, "Too many requests", "too_many_requests"

    def __init__(self, detail: str = "", *, retry_after_s: int, code: str | None = None) -> None:
        super().__init__(detail, code=code, headers={"Retry-After": str(retry_after_s)})


class HeadersTooLarge(BaasError):
    status, title, default_code = 431, "Request header fields too large", "headers_too_large"


class Internal(BaasError):
    pass


class Unavailable(BaasError):
    status, title, default_code = 503, "Service unavailable", "unavailable"

    def __init__(self, detail: str = "", *, retry_after_s: int = 1, code: str | None = None) -> None:
        super().__init__(detail, code=code, headers={"Retry-After": str(retry_after_s)})


class OutOfSpace(BaasError):
    status, title, default_code = 507, "Insufficient storage", "out_of_space"


def did_you_mean(name: str, known: Sequence[str]) -> str | None:
    """The closest known name as a sentence for `hint`, or None when nothing is close."""
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"Did you mean {close[0]!r}?" if close else None
