"""Typed query values: each name once, each known, each of its type, or 400 `bad_parameter` with the name."""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import NoReturn, TypeVar, overload
from urllib.parse import unquote_to_bytes
from uuid import UUID

from starlette.requests import Request
from starlette.types import Scope

from baas.base.errors import BadRequest, Invalid, did_you_mean

Query = Mapping[str, str]
"""The query of a request: names as declared, each at most once, values decoded."""
T = TypeVar("T")
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_NO_MAXIMUM = 2**53
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def query(source: Request | Scope) -> Query:
    """The query values of a request, as the router has read them: all declared by its endpoint."""
    values: Query = (source.scope if isinstance(source, Request) else source)["baas.query"]
    return values


def read_query(raw: bytes, known: Collection[str]) -> Query:
    """The values of a query string, decoded. Raises BadRequest for an unknown name, a repeated one, bad UTF-8 or NUL."""
    found: dict[str, str] = {}
    for part in raw.split(b"&"):
        if not part:
            continue
        name_bytes, _, value = part.partition(b"=")
        name = _decode(name_bytes, "")
        if name not in known:
            _refuse(name, f"There is no query parameter {name!r} here.", hint=did_you_mean(name, tuple(known)) or _listing(known))
        if name in found:
            _refuse(name, f"The query parameter {name!r} may be given once.")
        found[name] = _decode(value, name)
    return MappingProxyType(found)


@overload
def text(values: Query, name: str, default: str, *, max_length: int = ...) -> str: ...
@overload
def text(values: Query, name: str, default: None = ..., *, max_length: int = ...) -> str | None: ...
def text(values: Query, name: str, default: str | None = None, *, max_length: int = 4000) -> str | None:
    """The value as it came, at most `max_length` characters."""
    value = values.get(name)
    if value is None:
        return default
    if len(value) > max_length:
        _refuse(name, f"{name!r} may have at most {max_length} characters.")
    return value


@overload
def integer(values: Query, name: str, default: int, *, minimum: int = ..., maximum: int = ...) -> int: ...
@overload
def integer(values: Query, name: str, default: None = ..., *, minimum: int = ..., maximum: int = ...) -> int | None: ...
def integer(values: Query, name: str, default: int | None = None, *, minimum: int = 0, maximum: int = _NO_MAXIMUM) -> int | None:
    """A whole number within the two bounds, both included. Raises Invalid (`limit_exceeded`) above the maximum."""
    value = values.get(name)
    if value is None:
        return default
    if _WHOLE.fullmatch(value) and int(value) > maximum:
        detail = f"{name!r} may be at most {maximum}."
        raise Invalid(detail, code="limit_exceeded", limit=maximum, parameter=name)
    if not _WHOLE.fullmatch(value) or int(value) < minimum:
        bounds = f"of at least {minimum}" if maximum == _NO_MAXIMUM else f"from {minimum} to {maximum}"
        _refuse(name, f"{name!r} must be a whole number {bounds}.")
    return int(value)


def boolean(values: Query, name: str, default: bool = False) -> bool:
    """`true` or `false` (`1` or `0`)."""
    value = values.get(name)
    if value is None:
        return default
    if value not in ("true", "false", "1", "0"):
        _refuse(name, f"{name!r} must be true or false.")
    return value in ("true", "1")


@overload
def one_of(values: Query, name: str, choices: Sequence[str], default: str) -> str: ...
@overload
def one_of(values: Query, name: str, choices: Sequence[str], default: None = ...) -> str | None: ...
def one_of(values: Query, name: str, choices: Sequence[str], default: str | None = None) -> str | None:
    """One of the listed words."""
    value = values.get(name)
    if value is None:
        return default
    if value not in choices:
        _refuse(name, f"{name!r} must be one of {', '.join(choices)}.", hint=did_you_mean(value, choices))
    return value


def identifier(value: str, name: str = "id") -> UUID:
    """A UUID in its canonical form, from the query or the path."""
    try:
        found = UUID(value)
    except ValueError:
        _refuse(name, f"{name!r} must be a UUID.")
    if str(found) != value.lower():
        _refuse(name, f"{name!r} must be a UUID in its canonical form.")
    return found


def moment(values: Query, name: str) -> datetime | None:
    """An RFC 3339 time with its offset."""
    value = values.get(name)
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        _refuse(name, f"{name!r} must be a time such as 2026-11-20T10:31:07Z.")
    return found


def _decode(raw: bytes, name: str) -> str:
    """One part of an `application/x-www-form-urlencoded` query, strictly."""
    if raw.isascii() and b"%" not in raw and b"+" not in raw and b"\0" not in raw:
        return raw.decode("ascii")
    written = raw.decode("latin-1")
    if _BROKEN_ESCAPE.search(written):
        _refuse(name, "The query string holds a broken percent escape.")
    try:
        value = unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        _refuse(name, "The query string is not UTF-8.")
    if "\0" in value:
        _refuse(name, "The query string may not hold the character U+0000.")
    return value


def _listing(known: Collection[str]) -> str:
    return f"Known here: {', '.join(known)}." if known else "This call takes no query parameters."


def _refuse(name: str, detail: str, *, hint: str | None = None) -> NoReturn:
    raise BadRequest(detail, code="bad_parameter", hint=hint, parameter=name)
