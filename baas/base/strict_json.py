"""JSON as the database can keep it: what PostgreSQL, a double or another client would read differently is refused here.

A small good body is decoded by C alone and looked at with a few byte counts; whatever looks odd is read again, slowly, by a
reader that knows the place of everything and either names the fault or finds the body innocent (a long text with colons).
"""

import json
import math
import re
from decimal import Decimal, InvalidOperation
from typing import NoReturn

import msgspec

from baas.base.errors import BadRequest, Fault, Invalid

_INT64 = range(-(2**63), 2**63)
_MAX_DIGITS = 400
# A text ends at its quote or with the body, and nothing is tried twice: one that is never closed must not cost its square.
_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_TOKENS = re.compile(_STRINGS.pattern + rb"|[\[\]{}]", re.DOTALL)
_LONG_NUMBER = re.compile(rb"[0-9]{19}")


class _OutOfRange(ValueError):
    """A number that no column and no other client could hold."""


def _number(text: str) -> Decimal:
    """A JSON number with fraction or exponent, exact; raises _OutOfRange beyond a double or 400 digits."""
    if len(text) > _MAX_DIGITS:
        raise _OutOfRange
    try:
        value = Decimal(text)
    except InvalidOperation:  # an exponent that not even Decimal can hold
        raise _OutOfRange from None
    if not -_MAX_DIGITS <= value.adjusted() <= 308 or math.isinf(float(value)):
        raise _OutOfRange
    return value


_DECODER = msgspec.json.Decoder(float_hook=_number)


def loads(data: bytes, *, max_depth: int = 32, max_keys: int = 1000) -> object:
    """The value of a JSON text in UTF-8; numbers with a fraction or exponent as Decimal, whole ones as int.

    `max_depth` counts nested objects and arrays, `max_keys` the keys of one object. Raises BadRequest (`bad_json`,
    `duplicate_key`) for what is no JSON or says a thing twice, Invalid (`nul`, `lone_surrogate`, `number_out_of_range`,
    `too_deep`, `too_many_keys`) for JSON that nobody can store; each with the place.
    """
    openings = data.count(b"{") + data.count(b"[")
    if openings > max_depth:
        _refuse_depth(data, max_depth)
    try:
        value: object = _DECODER.decode(data)
    except (ValueError, RecursionError):  # msgspec's own errors are ValueErrors
        _read_slowly(data, max_keys)
        _not_json("The body is not valid JSON.", None)  # where the two readers differ, the stricter one wins
    if _may_hide_something(data, value, max_keys):
        return _read_slowly(data, max_keys)
    return value


def loads_text(text: str, name: str) -> object:
    """The value of a JSON text that is not a body but stands in a parameter of this name. Raises BadRequest (`bad_parameter`)."""
    try:
        return loads(text.encode("utf-8", "surrogatepass"))
    except (BadRequest, Invalid) as error:
        said = error.detail.removeprefix("The body ")
        detail = f"{name} {said}" if said != error.detail else f"{name} is not usable: {said}"
        raise BadRequest(detail, code="bad_parameter", parameter=name) from None


def _may_hide_something(data: bytes, value: object, max_keys: int) -> bool:
    """Whether the body might hold what the fast decoder lets pass: NUL, long integers, repeated keys, too many of them."""
    if b"\\u0000" in data or _LONG_NUMBER.search(data):
        return True
    colons = data.count(b":")
    if colons == 0:
        return False
    if type(value) is dict and colons == len(value) <= max_keys:
        return False
    return colons > max_keys or _STRINGS.sub(b"", data).count(b":") != _count_keys(value)


def _count_keys(value: object) -> int:
    if type(value) is dict:
        return len(value) + sum(_count_keys(part) for part in value.values() if type(part) in (dict, list))
    if type(value) is list:
        return sum(_count_keys(part) for part in value if type(part) in (dict, list))
    return 0


def _refuse_depth(data: bytes, max_depth: int) -> None:
    """Raises Invalid when brackets outside strings nest too deep; runs before any decoder sees the body."""
    depth = 0
    for token in _TOKENS.finditer(data):
        match token[0]:
            case b"[" | b"{":
                depth += 1
            case b"]" | b"}":
                depth -= 1
        if depth > max_depth:
            raise Invalid(
                f"The JSON nests deeper than {max_depth} levels.",
                code="too_deep",
                errors=[Fault("", "too_deep", f"Nested deeper than {max_depth} levels, at byte {token.start()}.")],
                position=token.start(),
            )


_Place = tuple["_Place", str | int] | None
"""Where a value stands: the place around it and the step from there. Written as a pointer only when there is a fault, because
the pointers of a long list under a long key would be larger than the body by far.
"""


class _Pairs(list[tuple[str, object]]):
    """An object as it was written, repeated keys and all."""


class _Unreadable(str):
    """The text of a number that is out of range."""

    __slots__ = ()


def _read_slowly(data: bytes, max_keys: int) -> object:
    """The same value by the standard library, whose hooks show what was written, and then a walk that knows every place."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        _not_json("The body is not UTF-8.", error.start)
    if text.startswith("\ufeff"):
        _not_json("The body begins with a byte order mark, which JSON has not.", 0)
    try:
        written = json.loads(
            text, object_pairs_hook=_Pairs, parse_float=_any_number, parse_int=_any_integer, parse_constant=_constant
        )
    except json.JSONDecodeError as error:
        _not_json(f"The body is not valid JSON: {error.msg[:1].lower()}{error.msg[1:]}.", error.pos)
    except RecursionError:
        raise Invalid("The JSON nests too deep.", code="too_deep") from None
    return _walk(written, None, max_keys)


def _any_number(text: str) -> Decimal | _Unreadable:
    try:
        return _number(text)
    except _OutOfRange:
        return _Unreadable(text)


def _any_integer(text: str) -> int | _Unreadable:
    if len(text) > 20 or int(text) not in _INT64:
        return _Unreadable(text)
    return int(text)


class _Constant(str):
    """NaN, Infinity or -Infinity, which Python's reader lets pass and JSON does not know."""

    __slots__ = ()


def _constant(text: str) -> _Constant:
    return _Constant(text)


def _walk(value: object, place: _Place, max_keys: int) -> object:
    """The plain value of what was written. Raises for the first fault, with its pointer."""
    if isinstance(value, _Pairs):
        return _walk_object(value, place, max_keys)
    if isinstance(value, list):
        return [_walk(part, (place, index), max_keys) for index, part in enumerate(value)]
    if isinstance(value, _Constant):
        raise BadRequest(
            f"The body is not valid JSON: {value} is not a JSON number.",
            code="bad_json",
            errors=[Fault(_pointer(place), "bad_json", f"{value} is not a JSON number.")],
        )
    if isinstance(value, _Unreadable):
        _invalid(place, "number_out_of_range", "Numbers must fit 64 bits, or a double when they have a fraction or exponent.")
    if isinstance(value, str):
        _check_text(value, place)
    return value


def _walk_object(pairs: _Pairs, place: _Place, max_keys: int) -> dict[str, object]:
    if len(pairs) > max_keys:
        _invalid(place, "too_many_keys", f"An object may have at most {max_keys} keys; this one has {len(pairs)}.")
    found: dict[str, object] = {}
    for key, part in pairs:
        _check_text(key, place)
        if key in found:
            message = "The key appears twice in one object."
            fault = Fault(_pointer((place, key)), "duplicate_key", message)
            raise BadRequest(message, code="duplicate_key", errors=[fault])
        found[key] = _walk(part, (place, key), max_keys)
    return found


def _check_text(text: str, place: _Place) -> None:
    if "\0" in text:
        _invalid(place, "nul", "Text may not hold the character U+0000.")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        _invalid(place, "lone_surrogate", "Text may not hold half of a surrogate pair.")


def _pointer(place: _Place) -> str:
    """The place by RFC 6901."""
    steps: list[str] = []
    while place is not None:
        place, step = place
        steps.append(str(step).replace("~", "~0").replace("/", "~1"))
    return "".join(f"/{step}" for step in reversed(steps))


def _invalid(place: _Place, code: str, message: str) -> NoReturn:
    raise Invalid(message, code=code, errors=[Fault(_pointer(place), code, message)])


def _not_json(detail: str, position: int | None) -> NoReturn:
    if position is None:
        raise BadRequest(detail, code="bad_json")
    raise BadRequest(detail, code="bad_json", position=position)
