"""The values of the language in memory, and what they mean to each other: equality, order, text, arithmetic.

SQL must agree with every function here (tests/contract and the differential test hold that). None of them raises:
what has no value gives None, and the caller makes that a failure.

In memory: None bool int float Decimal str bytes list dict, aware datetime, timedelta; JSON numbers are int and Decimal.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Context, Decimal, InvalidOperation
from functools import lru_cache
from zoneinfo import ZoneInfo

from baas.base.places import Geo

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
EARLIEST = datetime(1, 1, 1, 0, 0, 0, 1, UTC)
LATEST = datetime(9999, 12, 31, 23, 59, 59, 999_998, UTC)
# The driver writes datetime.min and .max as -infinity and infinity, so the two ends are not times of the language.
LONGEST = timedelta(seconds=315_576_000_000)  # google.protobuf.Duration: ten thousand years
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
_DECIMALS = Context(prec=2_000, Emin=-999_999, Emax=999_999)
_DIGITS = 400  # before and after the point; more is refused at input
_TOO_LARGE = Decimal(10) ** _DIGITS
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_KINDS: Mapping[type, str] = {
    type(None): "null",
    bool: "bool",
    int: "int",
    float: "double",
    Decimal: "decimal",
    str: "string",
    bytes: "bytes",
    datetime: "timestamp",
    timedelta: "duration",
    list: "list",
    tuple: "list",
    Geo: "geo",
    dict: "map",
}
_NUMBERS = frozenset({"int", "double", "decimal"})


def kind_of(value: object) -> str:
    """The kind of a value: null bool int double decimal string bytes timestamp duration geo list map, or ""."""
    return _KINDS.get(value.__class__, "")


def is_uuid(text: str) -> bool:
    """Whether this is the one way a uuid is written: lower case, with hyphens. Only such text can equal an id."""
    return _UUID.fullmatch(text) is not None


# Equality and order


def equal(a: object, b: object) -> bool:
    """Equality across kinds: numbers by value (an int and a double as doubles), lists and maps by content, else one kind only."""
    if a.__class__ is b.__class__ and a.__class__ is not list and a.__class__ is not dict:
        return a == b
    kind, other = kind_of(a), kind_of(b)
    if kind in _NUMBERS and other in _NUMBERS:
        return _numbers_equal(a, b)
    if kind != other:
        return False
    return _deeply(a, b, equal)


def json_equal(a: object, b: object) -> bool:
    """Equality where a JSON value is involved: numbers are decimals, whatever they are written as."""
    kind, other = kind_of(a), kind_of(b)
    if kind in _NUMBERS and other in _NUMBERS:
        return as_decimal(a) == as_decimal(b)
    return kind == other and _deeply(a, b, json_equal)


def _deeply(a: object, b: object, same: Callable[[object, object], bool]) -> bool:
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return a == b


def _numbers_equal(a: object, b: object) -> bool:
    x, y = numbers(a, b)
    return x == y


def numbers(a: object, b: object) -> tuple[float | Decimal | int, float | Decimal | int]:
    """Two numbers in the type they are compared in: decimal if either is, else double if either is, else int."""
    if isinstance(a, Decimal) or isinstance(b, Decimal):
        return as_decimal(a), as_decimal(b)
    if isinstance(a, float) or isinstance(b, float):
        return float(a), float(b)  # type: ignore[arg-type]
    return a, b  # type: ignore[return-value]


def order(a: object, b: object, *, as_json: bool = False) -> int | None:
    """-1, 0 or 1; None where the two have no order. Strings by code point, false before true."""
    kind, other = kind_of(a), kind_of(b)
    if kind in _NUMBERS and other in _NUMBERS:
        x, y = (as_decimal(a), as_decimal(b)) if as_json else numbers(a, b)
        return (x > y) - (x < y)
    if kind != other or kind in ("null", "list", "map", ""):
        return None
    return -1 if a < b else int(a > b)  # type: ignore[operator]


# Decimals and doubles


def plain(number: Decimal) -> Decimal:
    """The number as PostgreSQL would hold it: no exponent, no negative zero."""
    if not number:
        number = number.copy_abs()
    exponent = number.as_tuple().exponent
    return number.quantize(Decimal(1), context=_DECIMALS) if isinstance(exponent, int) and exponent > 0 else number


def as_decimal(number: object) -> Decimal:
    """The number as a decimal; a double is its shortest text (`0.1`, never 0.1000000000000000055)."""
    if isinstance(number, Decimal):
        return number
    # A whole double has no digits after the point in PostgreSQL's text, which `string(decimal(x))` shows.
    return Decimal(repr(number).removesuffix(".0")) if isinstance(number, float) else Decimal(number)  # type: ignore[arg-type]


def narrowed(number: Decimal) -> float | Decimal:
    """A JSON number of the caller's as the double it is written as, when it is one; else the decimal."""
    double = float(number)
    return double if abs(double) < 1e300 and Decimal(repr(double)) == number else number


def decimal_result(number: Decimal) -> Decimal | None:
    """A decimal within the bounds of the language, else None."""
    number = plain(number)
    if number.copy_abs() >= _TOO_LARGE or -int(number.as_tuple().exponent) > _DIGITS:
        return None
    return number


def decimal_sum(a: Decimal, b: Decimal) -> Decimal | None:
    return decimal_result(_DECIMALS.add(a, b))


def decimal_difference(a: Decimal, b: Decimal) -> Decimal | None:
    return decimal_result(_DECIMALS.subtract(a, b))


def decimal_product(a: Decimal, b: Decimal) -> Decimal | None:
    return decimal_result(_DECIMALS.multiply(a, b))


def parse_decimal(text: str) -> Decimal | None:
    """Digits with an optional sign, point and exponent of at most three digits; at most 400 characters."""
    if len(text) > _DIGITS or not _DECIMAL_TEXT.fullmatch(text):
        return None
    try:
        return decimal_result(Decimal(text))
    except InvalidOperation:
        return None


_DECIMAL_TEXT = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


def decimal_text(number: Decimal) -> str:
    return format(plain(number), "f")


def double_of(number: Decimal) -> float | None:
    """The nearest double, within 1e-300..1e300; outside, PostgreSQL would refuse some."""
    size = number.copy_abs()
    if size >= _LARGEST or (size and size < _SMALLEST):
        return None
    return float(number) or 0.0


_LARGEST, _SMALLEST = Decimal("1e300"), Decimal("1e-300")


def double_text(number: float) -> str:
    """The shortest text that reads back, as PostgreSQL writes it: no `.0`, an exponent outside 1e-4..1e15."""
    sign, digits, exponent = Decimal(repr(number)).as_tuple()
    figures = "".join(map(str, digits)).rstrip("0") or "0"
    point = len(digits) + int(exponent)  # digits before the decimal point
    minus = "-" if sign else ""
    if figures == "0":
        return minus + "0"
    if not -4 <= point - 1 < 15:
        fraction = "." + figures[1:] if len(figures) > 1 else ""
        return f"{minus}{figures[0]}{fraction}e{'-' if point < 1 else '+'}{abs(point - 1):02d}"
    if point <= 0:
        return f"{minus}0.{'0' * -point}{figures}"
    whole, fraction = figures[:point].ljust(point, "0"), figures[point:]
    return minus + whole + ("." + fraction if fraction else "")


# Time


def in_range(moment: datetime) -> datetime | None:
    return moment if EARLIEST <= moment <= LATEST else None


def parse_timestamp(text: str) -> datetime | None:
    """RFC 3339 with a zone; a fraction beyond microseconds is cut. None for anything else or out of range."""
    found = _RFC3339.fullmatch(text)
    if found is None:
        return None
    fields = [int(one) for one in found.group(1, 2, 3, 4, 5, 6)]
    micro = int((found[7] or "").ljust(6, "0")[:6])
    hours, minutes = int(found[9] or 0), int(found[10] or 0)
    offset = timedelta(hours=hours, minutes=minutes) * (-1 if found[8] == "-" else 1)
    try:
        return in_range(datetime(*fields, micro, tzinfo=UTC) - offset)  # type: ignore[misc,arg-type]
    except (ValueError, OverflowError):
        return None


_RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]{1,9}))?"
    r"(?:[Zz]|([+-])(0[0-9]|1[0-4]):([0-5][0-9]))"
)


def timestamp_text(moment: datetime) -> str:
    """RFC 3339 in UTC with as much of the fraction as there is."""
    fraction = f".{moment.microsecond:06d}".rstrip("0") if moment.microsecond else ""
    return f"{moment.year:04d}-{moment:%m-%dT%H:%M:%S}{fraction}Z"


def microseconds(duration: timedelta) -> int:
    return duration // MICROSECOND


def parse_duration(text: str) -> timedelta | None:
    """`1h30m`, `-1.5s`, `250ms`: units h m s ms us ns; finer than a microsecond is cut."""
    if len(text) > 100 or not _DURATION.fullmatch(text):
        return None
    total = Decimal(0)
    for amount, unit in _DURATION_PART.findall(text):
        total += Decimal(amount) * _UNITS[unit]
    whole = int(total) * (-1 if text.startswith("-") else 1)
    return duration_result(whole)


def duration_result(micro: int) -> timedelta | None:
    """A duration of this many microseconds, or None beyond ten thousand years."""
    return timedelta(microseconds=micro) if abs(micro) <= LONGEST // MICROSECOND else None


_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(h|ms|us|ns|m|s)")
_DURATION = re.compile(r"[+-]?(?:0|(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:h|ms|us|ns|m|s))+)")
_UNITS = {
    "h": Decimal(3_600_000_000),
    "m": Decimal(60_000_000),
    "s": Decimal(1_000_000),
    "ms": Decimal(1_000),
    "us": Decimal(1),
    "ns": Decimal("0.001"),
}


def duration_text(micro: int) -> str:
    """Seconds with as much of the fraction as there is: `90s`, `-0.5s`."""
    seconds, rest = divmod(abs(micro), 1_000_000)
    fraction = f".{rest:06d}".rstrip("0") if rest else ""
    return f"{'-' if micro < 0 else ''}{seconds}{fraction}s"


@lru_cache(256)
def zone(name: str) -> "ZoneInfo | timezone | None":
    """A time zone by IANA name or offset (`+02:00`, `-09:30`, `02:00`); None when there is no such zone."""
    found = re.fullmatch(r"([+-]?)(0[0-9]|1[0-4]):([0-5][0-9])", name)
    if found:
        offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
        return timezone(-offset if found[1] == "-" else offset)
    if not re.fullmatch(r"[A-Za-z0-9_+\-]+(/[A-Za-z0-9_+\-]+)*", name):
        return None
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        return None


def local(moment: datetime, name: str) -> datetime | None:
    """The clock in that zone; None for no such zone or beyond year 1..9999."""
    there = zone(name)
    if there is None:
        return None
    try:
        return moment.astimezone(there)
    except (OverflowError, ValueError):
        return None
