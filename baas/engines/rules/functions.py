"""The list of functions and arithmetic operators: types, memory, SQL, examples. A new one is an entry here and nothing else.

`python` takes values of the parameter kinds and returns the result, or None where there is none; it never raises. `sql` takes
fragments of those types and gives null in the same cases. tests/contract/rule_functions.py runs the examples through both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from math import trunc

from baas.engines.rules import values
from baas.engines.rules.types import BOOL, BYTES, DECIMAL, DOUBLE, DURATION, DYN, INT, STRING, TIMESTAMP, Type
from baas.infra.db.sql import Sql, literal, sql

ZONE = "time zone"
FAILS = None
"""In an example: there is no value."""


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """One overload. `name` starts with a dot for a method, whose first parameter is the receiver; an operator is its sign.

    `total` says that it has a value for every non-null argument. `sql` is None for what only memory can do.
    """

    name: str
    params: tuple[str, ...]
    result: Type
    python: Callable[..., object]
    sql: Callable[..., Sql] | None
    examples: tuple[tuple[object, ...], ...]
    total: bool = False


def _text_functions() -> tuple[Function, ...]:
    text, pair = ("string",), ("string", "string")
    return (
        Function(
            ".contains",
            pair,
            BOOL,
            lambda s, part: part in s,
            lambda s, part: sql("({} like '%' || baas_rt.like_text({}) || '%')", s, part),
            (("100%", "0%", True), ("abc", "a_c", False), ("a\\b", "\\", True), ("", "", True), ("É", "é", False)),
            total=True,
        ),
        Function(
            ".startsWith",
            pair,
            BOOL,
            lambda s, part: s.startswith(part),
            lambda s, part: sql("starts_with({}, {})", s, part),
            (("%a", "%", True), ("abc", "b", False), ("abc", "", True), ("é", "e", False)),
            total=True,
        ),
        Function(
            ".endsWith",
            pair,
            BOOL,
            lambda s, part: s.endswith(part),
            lambda s, part: sql("({} like '%' || baas_rt.like_text({}))", s, part),
            (("a_b", "_b", True), ("a\n", "a", False), ("x", "xx", False), ("x", "", True)),
            total=True,
        ),
        Function(".lowerAscii", text, STRING, _lower, lambda s: sql(_LOWER_SQL, s), (("ÀB", "Àb"), ("İI", "İi")), total=True),
        Function(".upperAscii", text, STRING, _upper, lambda s: sql(_UPPER_SQL, s), (("ßa", "ßA"), ("", "")), total=True),
        Function("+", pair, STRING, lambda a, b: a + b, lambda a, b: sql("({} || {})", a, b), (("a", "b", "ab"),), total=True),
        *_sizes(),
    )


_LOWER_SQL = "translate({}, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz')"
_UPPER_SQL = "translate({}, 'abcdefghijklmnopqrstuvwxyz', 'ABCDEFGHIJKLMNOPQRSTUVWXYZ')"
_TO_LOWER = {ord(upper): upper.lower() for upper in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
_TO_UPPER = {ord(lower): lower.upper() for lower in "abcdefghijklmnopqrstuvwxyz"}


def _lower(text: str) -> str:
    return text.translate(_TO_LOWER)


def _upper(text: str) -> str:
    return text.translate(_TO_UPPER)


def _sizes() -> tuple[Function, ...]:
    """`size(x)` and `x.size()` of everything that has one; in strings and JSON strings, code points."""
    found: list[Function] = []
    for name in ("size", ".size"):
        found += [
            Function(name, ("string",), INT, len, lambda s: sql("length({})::int8", s), (("é😀", 2), ("", 0)), total=True),
            Function(
                name, ("list",), INT, len, lambda x: sql("cardinality({})::int8", x), ((["a", "b"], 2), ([], 0)), total=True
            ),
            Function(
                name,
                ("json",),
                INT,
                lambda j: len(j) if isinstance(j, str | list | dict) else None,
                lambda j: sql("baas_rt.j_size({})", j),
                (({"a": 1}, 1), ([1, 2], 2), ("é", 1), (5, FAILS), (True, FAILS)),
            ),
            Function(name, ("map",), INT, len, None, (({}, 0),), total=True),
            Function(name, ("bytes",), INT, len, None, ((b"\xff", 1),), total=True),
        ]
    return tuple(found)


def _integer_functions() -> tuple[Function, ...]:
    pair = ("int", "int")
    low, high = values.INT_MIN, values.INT_MAX
    return (
        Function(
            "+",
            pair,
            INT,
            lambda a, b: _int64(a + b),
            lambda a, b: sql("baas_rt.i64({}::numeric + {})", a, b),
            ((1, 2, 3), (high, 1, FAILS), (low, -1, FAILS)),
        ),
        Function(
            "-",
            pair,
            INT,
            lambda a, b: _int64(a - b),
            lambda a, b: sql("baas_rt.i64({}::numeric - {})", a, b),
            ((1, 2, -1), (low, 1, FAILS), (-1, low, high)),
        ),
        Function(
            "*",
            pair,
            INT,
            lambda a, b: _int64(a * b),
            lambda a, b: sql("baas_rt.i64({}::numeric * {})", a, b),
            ((3, -4, -12), (low, -1, FAILS), (5_000_000_000, 5_000_000_000, FAILS)),
        ),
        Function(
            "/",
            pair,
            INT,
            _int_quotient,
            lambda a, b: sql("baas_rt.idiv({}, {})", a, b),
            ((7, 2, 3), (-7, 2, -3), (7, 0, FAILS), (low, -1, FAILS)),
        ),
        Function(
            "%",
            pair,
            INT,
            _int_remainder,
            lambda a, b: sql("baas_rt.imod({}, {})", a, b),
            ((43, -5, 3), (-42, -5, -2), (-3, 5, -3), (34, 0, FAILS), (low, -1, 0)),
        ),
        Function(
            "neg",
            ("int",),
            INT,
            lambda a: _int64(-a),
            lambda a: sql("baas_rt.i64(-({}::numeric))", a),
            ((42, -42), (low, FAILS)),
        ),
    )


def _int64(number: int) -> int | None:
    return number if values.INT_MIN <= number <= values.INT_MAX else None


def _int_quotient(a: int, b: int) -> int | None:
    if not b:
        return None
    quotient = abs(a) // abs(b)
    return _int64(quotient if (a < 0) == (b < 0) else -quotient)


def _int_remainder(a: int, b: int) -> int | None:
    if not b:
        return None
    return abs(a) % abs(b) * (-1 if a < 0 else 1)


def _double_functions() -> tuple[Function, ...]:
    pair = ("double", "double")
    return (
        Function(
            "+",
            pair,
            DOUBLE,
            lambda a, b: a + b if abs(a) < 1e300 and abs(b) < 1e300 else None,
            lambda a, b: sql("baas_rt.fadd({}, {})", a, b),
            ((0.5, 0.25, 0.75), (1e300, 1.0, FAILS), (1.0, 1e308, FAILS)),
        ),
        Function(
            "-",
            pair,
            DOUBLE,
            lambda a, b: a - b if abs(a) < 1e300 and abs(b) < 1e300 else None,
            lambda a, b: sql("baas_rt.fsub({}, {})", a, b),
            ((0.5, 0.25, 0.25), (-1e308, 1e308, FAILS)),
        ),
        Function(
            "*",
            pair,
            DOUBLE,
            lambda a, b: a * b if _moderate(a) and _moderate(b) else None,
            lambda a, b: sql("baas_rt.fmul({}, {})", a, b),
            ((1.5, 2.0, 3.0), (0.0, 2.0, 0.0), (1e200, 1e200, FAILS), (1e-200, 1e-200, FAILS), (5e-324, 1.0, FAILS)),
        ),
        Function(
            "/",
            pair,
            DOUBLE,
            lambda a, b: a / b if b and _moderate(a) and _moderate(b) else None,
            lambda a, b: sql("baas_rt.fdiv({}, {})", a, b),
            ((3.0, 2.0, 1.5), (1.0, 0.0, FAILS), (1e-200, 1e200, FAILS)),
        ),
        Function("neg", ("double",), DOUBLE, lambda a: -a, lambda a: sql("(-{})", a), ((1.5, -1.5), (1e308, -1e308)), total=True),
    )


def _moderate(number: float) -> bool:
    """Far enough from overflow and underflow that a product or quotient of two meets neither."""
    return number == 0 or 1e-150 <= abs(number) <= 1e150


def _decimal_functions() -> tuple[Function, ...]:
    pair, huge = ("decimal", "decimal"), Decimal("9" * 300)
    return (
        Function(
            "+",
            pair,
            DECIMAL,
            values.decimal_sum,
            lambda a, b: sql("baas_rt.bounded({} + {})", a, b),
            ((Decimal("0.1"), Decimal("0.2"), Decimal("0.3")), (Decimal("9" * 400), Decimal(1), FAILS)),
        ),
        Function(
            "-",
            pair,
            DECIMAL,
            values.decimal_difference,
            lambda a, b: sql("baas_rt.bounded({} - {})", a, b),
            ((Decimal("0.3"), Decimal("0.1"), Decimal("0.2")),),
        ),
        Function(
            "*",
            pair,
            DECIMAL,
            values.decimal_product,
            lambda a, b: sql("baas_rt.bounded({} * {})", a, b),
            ((Decimal("1.10"), Decimal("2"), Decimal("2.20")), (huge, huge, FAILS)),
        ),
        Function(
            "neg",
            ("decimal",),
            DECIMAL,
            lambda a: values.plain(a.copy_negate()),
            lambda a: sql("(-{})", a),
            ((Decimal("1.50"), Decimal("-1.50")), (Decimal(0), Decimal(0))),
            total=True,
        ),
    )


def _conversions() -> tuple[Function, ...]:
    return (
        Function("int", ("int",), INT, _same, _same_sql, ((5, 5),), total=True),
        Function(
            "int",
            ("double",),
            INT,
            lambda x: trunc(x) if -(2.0**63) < x < 2.0**63 else None,
            lambda x: sql("baas_rt.int_of({})", x),
            ((-7.9, -7), (1e99, FAILS), (2.0**63, FAILS), (-(2.0**63), FAILS)),
        ),
        Function(
            "int",
            ("decimal",),
            INT,
            lambda x: _int64(trunc(x)),
            lambda x: sql("baas_rt.i64(trunc({}))", x),
            ((Decimal("1.9"), 1), (Decimal("1e30"), FAILS)),
        ),
        Function(
            "int",
            ("string",),
            INT,
            _parse_int,
            lambda s: sql("baas_rt.parse_int({})", s),
            (("987", 987), ("-5", -5), ("1.0", FAILS), ("", FAILS), ("9223372036854775808", FAILS), ("5\n", FAILS), ("٣", FAILS)),
        ),
        Function(
            "int",
            ("json",),
            INT,
            _json_int,
            lambda j: sql("baas_rt.j_int({})", j),
            ((5, 5), (Decimal("1.9"), 1), ("7", 7), (True, FAILS), ([1], FAILS)),
        ),
        Function(
            "int",
            ("timestamp",),
            INT,
            lambda t: (t - values.EPOCH) // timedelta(seconds=1),
            lambda t: sql("floor(extract(epoch from {}))::int8", t),
            ((datetime(2004, 9, 16, 23, 59, 59, tzinfo=UTC), 1095379199),),
            total=True,
        ),
        Function("double", ("double",), DOUBLE, _same, _same_sql, ((5.5, 5.5),), total=True),
        Function("double", ("int",), DOUBLE, float, lambda x: sql("{}::float8", x), ((2**53 + 1, float(2**53)),), total=True),
        Function(
            "double",
            ("decimal",),
            DOUBLE,
            values.double_of,
            lambda x: sql("baas_rt.dbl({})", x),
            ((Decimal("0.1"), 0.1), (Decimal("1e300"), FAILS), (Decimal("1e-301"), FAILS), (Decimal(0), 0.0)),
        ),
        Function(
            "double",
            ("string",),
            DOUBLE,
            _parse_double,
            lambda s: sql("baas_rt.dbl(baas_rt.parse_dec({}))", s),
            (("-84.32e7", -84.32e7), (".5", 0.5), ("1e999", FAILS), ("NaN", FAILS), ("", FAILS), (" 1", FAILS)),
        ),
        Function(
            "double",
            ("json",),
            DOUBLE,
            lambda j: None if (number := _json_decimal(j)) is None else values.double_of(number),
            lambda j: sql("baas_rt.dbl(baas_rt.j_dec({}))", j),
            ((Decimal("0.1"), 0.1), ("0.5", 0.5), (None, FAILS), (False, FAILS)),
        ),
        Function("decimal", ("decimal",), DECIMAL, _same, _same_sql, ((Decimal("1.50"), Decimal("1.50")),), total=True),
        Function(
            "decimal",
            ("string",),
            DECIMAL,
            values.parse_decimal,
            lambda s: sql("baas_rt.parse_dec({})", s),
            (("1.50", Decimal("1.50")), ("1e2", Decimal(100)), ("x", FAILS), ("1e999", FAILS)),
        ),
        Function(
            "decimal",
            ("json",),
            DECIMAL,
            _json_decimal,
            lambda j: sql("baas_rt.j_dec({})", j),
            ((Decimal("0.10"), Decimal("0.10")), ("2", Decimal(2)), ([], FAILS)),
        ),
        Function("string", ("string",), STRING, _same, _same_sql, (("a", "a"),), total=True),
        Function("string", ("int",), STRING, str, lambda x: sql("{}::text", x), ((-456, "-456"),), total=True),
        Function(
            "string",
            ("double",),
            STRING,
            values.double_text,
            lambda x: sql("{}::text", x),
            (
                (123.456, "123.456"),
                (1e15, "1e+15"),
                (1e14, "100000000000000"),
                (-0.0045, "-0.0045"),
                (1e-5, "1e-05"),
                (-0.0, "-0"),
            ),
            total=True,
        ),
        Function(
            "string",
            ("decimal",),
            STRING,
            values.decimal_text,
            lambda x: sql("{}::text", x),
            ((Decimal("1.50"), "1.50"), (Decimal("1e3"), "1000")),
            total=True,
        ),
        Function(
            "string",
            ("bool",),
            STRING,
            lambda x: "true" if x else "false",
            lambda x: sql("{}::text", x),
            ((True, "true"), (False, "false")),
            total=True,
        ),
        Function(
            "string",
            ("json",),
            STRING,
            _json_string,
            lambda j: sql("baas_rt.j_string({})", j),
            ((Decimal("1.10"), "1.10"), ("a", "a"), (True, "true"), (None, FAILS), ({}, FAILS)),
        ),
        Function(
            "string",
            ("timestamp",),
            STRING,
            values.timestamp_text,
            lambda t: sql("baas_rt.ts_text({})", t),
            (
                (datetime(2009, 2, 13, 23, 31, 30, tzinfo=UTC), "2009-02-13T23:31:30Z"),
                (datetime(1, 2, 3, 0, 0, 0, 120_000, UTC), "0001-02-03T00:00:00.12Z"),
            ),
            total=True,
        ),
        Function(
            "string",
            ("duration",),
            STRING,
            lambda d: values.duration_text(values.microseconds(d)),
            lambda d: sql("baas_rt.span_text({})", d),
            ((timedelta(seconds=1_000_000), "1000000s"), (timedelta(milliseconds=-500), "-0.5s")),
            total=True,
        ),
        Function("string", ("bytes",), STRING, _decoded, None, ((b"\xc3\xbf", "ÿ"), (b"\xff", FAILS))),
        Function("bytes", ("string",), BYTES, lambda s: s.encode(), None, (("ÿ", b"\xc3\xbf"),), total=True),
        Function("bytes", ("bytes",), BYTES, _same, None, ((b"", b""),), total=True),
        Function("+", ("bytes", "bytes"), BYTES, lambda a, b: a + b, None, ((b"a", b"b", b"ab"),), total=True),
        Function("bool", ("bool",), BOOL, _same, _same_sql, ((True, True),), total=True),
        Function(
            "bool",
            ("string",),
            BOOL,
            _BOOLEANS.get,
            lambda s: sql("baas_rt.parse_bool({})", s),
            (("1", True), ("f", False), ("True", True), ("TrUe", FAILS), ("yes", FAILS)),
        ),
        Function(
            "bool",
            ("json",),
            BOOL,
            lambda j: j if isinstance(j, bool) else None,
            lambda j: sql("baas_rt.j_bool({})", j),
            ((True, True), ("true", FAILS), (1, FAILS)),
        ),
    )


_BOOLEANS = dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "false", "FALSE", "False"), False
)


def _same(value: object) -> object:
    return value


def _same_sql(value: Sql) -> Sql:
    return value


def _parse_int(text: str) -> int | None:
    digits = text[1:] if text[:1] in ("+", "-") else text
    return _int64(int(text)) if digits.isascii() and digits.isdigit() and len(digits) <= 30 else None


def _parse_double(text: str) -> float | None:
    number = values.parse_decimal(text)
    return None if number is None else values.double_of(number)


def _json_int(value: object) -> int | None:
    match value:
        case bool():
            return None
        case int() | Decimal():
            return _int64(trunc(value))
        case str():
            return _parse_int(value)
    return None


def _json_decimal(value: object) -> Decimal | None:
    match value:
        case bool():
            return None
        case int() | Decimal():
            return values.decimal_result(values.as_decimal(value))
        case str():
            return values.parse_decimal(value)
    return None


def _json_string(value: object) -> str | None:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int() | Decimal():
            return values.decimal_text(values.as_decimal(value))
    return None


def _decoded(octets: bytes) -> str | None:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return None


def _time_functions() -> tuple[Function, ...]:
    moment, day = datetime(2024, 2, 29, 12, 0, tzinfo=UTC), timedelta(days=1)
    return (
        Function("timestamp", ("timestamp",), TIMESTAMP, _same, _same_sql, ((moment, moment),), total=True),
        Function(
            "timestamp",
            ("string",),
            TIMESTAMP,
            values.parse_timestamp,
            lambda s: sql("baas_rt.parse_ts({})", s),
            (
                ("2024-02-29T12:00:00Z", moment),
                ("2024-02-29T13:30:00.000000999+01:30", moment),
                ("2023-02-29T12:00:00Z", FAILS),
                ("0000-01-01T00:00:00Z", FAILS),
                ("0001-01-01T00:00:00+10:00", FAILS),
                ("9999-12-31T23:59:59.999999Z", FAILS),
                ("2024-02-29", FAILS),
                ("2024-02-29T24:00:00Z", FAILS),
                ("2024-02-29T12:00:00Z\n", FAILS),
            ),
        ),
        Function(
            "timestamp",
            ("json",),
            TIMESTAMP,
            lambda j: values.parse_timestamp(j) if isinstance(j, str) else None,
            lambda j: sql("baas_rt.parse_ts(baas_rt.j_text({}))", j),
            (("2024-02-29T12:00:00Z", moment), (5, FAILS)),
        ),
        Function(
            "timestamp",
            ("int",),
            TIMESTAMP,
            lambda n: _moment(n * 1_000_000),
            lambda n: sql("baas_rt.ts({}::numeric * 1000000)", n),
            ((0, values.EPOCH), (253402300800, FAILS), (-62135596801, FAILS), (values.INT_MAX, FAILS)),
        ),
        Function("duration", ("duration",), DURATION, _same, _same_sql, ((day, day),), total=True),
        Function(
            "duration",
            ("string",),
            DURATION,
            values.parse_duration,
            None,
            (("1h30m", timedelta(minutes=90)), ("-1.5s", timedelta(seconds=-1.5)), ("1d", FAILS), ("320000000000s", FAILS)),
        ),
        Function(
            "+",
            ("timestamp", "duration"),
            TIMESTAMP,
            lambda t, d: _moment(_micro(t) + values.microseconds(d)),
            lambda t, d: sql("baas_rt.ts(baas_rt.us({}) + {})", t, d),
            ((moment, day, datetime(2024, 3, 1, 12, 0, tzinfo=UTC)), (values.LATEST, day, FAILS)),
        ),
        Function(
            "+",
            ("duration", "timestamp"),
            TIMESTAMP,
            lambda d, t: _moment(_micro(t) + values.microseconds(d)),
            lambda d, t: sql("baas_rt.ts(baas_rt.us({}) + {})", t, d),
            ((day, moment, datetime(2024, 3, 1, 12, 0, tzinfo=UTC)),),
        ),
        Function(
            "-",
            ("timestamp", "duration"),
            TIMESTAMP,
            lambda t, d: _moment(_micro(t) - values.microseconds(d)),
            lambda t, d: sql("baas_rt.ts(baas_rt.us({}) - {})", t, d),
            ((moment, day, datetime(2024, 2, 28, 12, 0, tzinfo=UTC)), (values.EARLIEST, day, FAILS)),
        ),
        Function(
            "-",
            ("timestamp", "timestamp"),
            DURATION,
            lambda a, b: values.duration_result(_micro(a) - _micro(b)),
            lambda a, b: sql("baas_rt.span(baas_rt.us({}) - baas_rt.us({}))", a, b),
            ((moment, values.EPOCH, moment - values.EPOCH),),
        ),
        Function(
            "+",
            ("duration", "duration"),
            DURATION,
            lambda a, b: values.duration_result(values.microseconds(a) + values.microseconds(b)),
            lambda a, b: sql("baas_rt.span({}::numeric + {})", a, b),
            ((day, day, 2 * day), (values.LONGEST, day, FAILS)),
        ),
        Function(
            "-",
            ("duration", "duration"),
            DURATION,
            lambda a, b: values.duration_result(values.microseconds(a) - values.microseconds(b)),
            lambda a, b: sql("baas_rt.span({}::numeric - {})", a, b),
            ((day, day, 0 * day),),
        ),
        Function("neg", ("duration",), DURATION, lambda d: -d, lambda d: sql("(-{})", d), ((day, -day),), total=True),
        *_clock_parts(),
        *_duration_parts(),
    )


def _micro(moment: datetime) -> int:
    return (moment - values.EPOCH) // values.MICROSECOND


def _moment(micro: int) -> datetime | None:
    return values.EPOCH + timedelta(microseconds=micro) if _FIRST <= micro <= _LAST else None


_FIRST, _LAST = _micro(values.EARLIEST), _micro(values.LATEST)


def _clock_parts() -> tuple[Function, ...]:
    """`getHours()` and its kin: in UTC, or in the zone named by the argument."""
    moment = datetime(2009, 2, 13, 23, 31, 20, 123_456, UTC)
    parts: tuple[tuple[str, Callable[[datetime], int], Callable[[Sql], Sql], int, int], ...] = (
        (".getFullYear", lambda t: t.year, lambda t: sql("extract(year from {})::int8", t), 2009, 2009),
        (".getMonth", lambda t: t.month - 1, lambda t: sql("extract(month from {})::int8 - 1", t), 1, 1),
        (".getDate", lambda t: t.day, lambda t: sql("extract(day from {})::int8", t), 13, 14),
        (".getDayOfMonth", lambda t: t.day - 1, lambda t: sql("extract(day from {})::int8 - 1", t), 12, 13),
        (".getDayOfWeek", lambda t: t.isoweekday() % 7, lambda t: sql("extract(dow from {})::int8", t), 5, 6),
        (".getDayOfYear", lambda t: t.timetuple().tm_yday - 1, lambda t: sql("extract(doy from {})::int8 - 1", t), 43, 44),
        (".getHours", lambda t: t.hour, lambda t: sql("extract(hour from {})::int8", t), 23, 10),
        (".getMinutes", lambda t: t.minute, lambda t: sql("extract(minute from {})::int8", t), 31, 31),
        (".getSeconds", lambda t: t.second, lambda t: sql("floor(extract(second from {}))::int8", t), 20, 20),
        (
            ".getMilliseconds",
            lambda t: t.microsecond // 1000,
            lambda t: sql("floor(extract(milliseconds from {}))::int8 % 1000", t),
            123,
            123,
        ),
    )
    return tuple(
        one for name, python, part, utc, sydney in parts for one in _clock_part(name, python, part, (moment, utc, sydney))
    )


def _clock_part(
    name: str, python: Callable[[datetime], int], part: Callable[[Sql], Sql], example: tuple[datetime, int, int]
) -> tuple[Function, Function]:
    moment, utc, sydney = example

    def there(t: datetime, zone: str) -> int | None:
        clock = values.local(t, zone)
        return None if clock is None else python(clock)

    return (
        Function(
            name,
            ("timestamp",),
            INT,
            python,
            lambda t: sql("({})", part(sql("({} at time zone 'UTC')", t))),
            ((moment, utc),),
            total=True,
        ),
        Function(
            name,
            ("timestamp", "string"),
            INT,
            there,
            lambda t, zone: sql("({})", part(sql("baas_rt.local({}, {})", t, zone))),
            (
                (moment, "Australia/Sydney", sydney),
                (moment, "+11:00", sydney),
                (moment, "Mars/Olympus", FAILS),
                (values.LATEST, "+14:00", FAILS),
            ),
        ),
    )


def _duration_parts() -> tuple[Function, ...]:
    length = timedelta(seconds=-3730, milliseconds=-250)
    units = ((".getHours", 3_600_000_000, -1), (".getMinutes", 60_000_000, -62), (".getSeconds", 1_000_000, -3730))
    return tuple(_duration_part(name, unit, length, expected) for name, unit, expected in units)


def _duration_part(name: str, unit: int, example: timedelta, expected: int) -> Function:
    return Function(
        name,
        ("duration",),
        INT,
        lambda d: trunc(Decimal(values.microseconds(d)) / unit),
        lambda d: sql("({} / {}::int8)", d, literal(unit)),
        ((example, expected),),
        total=True,
    )


def _zone_names() -> tuple[Function, ...]:
    """Not callable by a text: the checker puts it around the argument of `getHours("Asia/Tokyo")`."""
    return (
        Function(
            ZONE,
            ("string",),
            STRING,
            lambda name: name if values.zone(name) is not None else None,
            None,
            (("Asia/Tokyo", "Asia/Tokyo"), ("-09:30", "-09:30"), ("Mars/Olympus", FAILS), ("../etc", FAILS), ("", FAILS)),
        ),
    )


def _list_functions() -> tuple[Function, ...]:
    return (
        Function(
            "+",
            ("list", "list"),
            Type("list", DYN),
            lambda a, b: [*a, *b],
            lambda a, b: sql("({} || {})", a, b),
            ((["a"], ["b"], ["a", "b"]), ([], ["b"], ["b"])),
            total=True,
        ),
    )


FUNCTIONS: tuple[Function, ...] = (
    *_text_functions(),
    *_integer_functions(),
    *_double_functions(),
    *_decimal_functions(),
    *_conversions(),
    *_time_functions(),
    *_list_functions(),
    *_zone_names(),
)
NAMES = frozenset(one.name for one in FUNCTIONS)

# What a value of one kind may stand for, best first: an id is a text, a number beside a decimal widens to one, and a JSON value
# is read as what a function wants (a failure when it is something else). Operators take JSON only after a conversion: whether
# `a + b` joins or adds must not depend on the data.
_ACCEPTS: dict[str, dict[str, int]] = {
    "ref": {"string": 0},
    "int": {"decimal": 1},
    "double": {"decimal": 2},
    "json": {"string": 3},
}


@cache
def overloads(name: str, kinds: tuple[str, ...]) -> tuple[Function, ...]:
    """The overloads that take arguments of these kinds: the best one, or, with a `dyn` among them, all that might be meant."""
    ranked = [(rank, one) for one in FUNCTIONS if one.name == name and (rank := _rank(name, one.params, kinds)) is not None]
    if "dyn" in kinds:
        return tuple(one for _, one in ranked)
    best = min((rank for rank, _ in ranked), default=0)
    return tuple(one for rank, one in ranked if rank == best)[:1]


def _rank(name: str, params: tuple[str, ...], kinds: tuple[str, ...]) -> int | None:
    if len(params) != len(kinds):
        return None
    widens = "decimal" in (name, *kinds)
    operator = not name.lstrip(".").isalpha() or name == "neg"
    total = 0
    for param, kind in zip(params, kinds, strict=True):
        if kind in (param, "dyn"):
            continue
        rank = _ACCEPTS.get(kind, {}).get(param)
        if rank is None or (param == "decimal" and not widens) or (kind == "json" and operator):
            return None
        total += rank
    return total
