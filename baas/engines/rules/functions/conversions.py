"""From one type to another."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import trunc

from baas.engines.rules import values
from baas.engines.rules.functions.function import FAILS, Function
from baas.engines.rules.functions.numbers import int64
from baas.engines.rules.types import BOOL, BYTES, DECIMAL, DOUBLE, INT, STRING
from baas.infra.db.sql import Sql, sql


def conversions() -> tuple[Function, ...]:
    return (
        Function("int", ("int",), INT, same, same_sql, ((5, 5),), total=True),
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
            lambda x: int64(trunc(x)),
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
        Function("double", ("double",), DOUBLE, same, same_sql, ((5.5, 5.5),), total=True),
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
        Function("decimal", ("decimal",), DECIMAL, same, same_sql, ((Decimal("1.50"), Decimal("1.50")),), total=True),
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
        Function("string", ("string",), STRING, same, same_sql, (("a", "a"),), total=True),
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
        Function("bytes", ("bytes",), BYTES, same, None, ((b"", b""),), total=True),
        Function("+", ("bytes", "bytes"), BYTES, lambda a, b: a + b, None, ((b"a", b"b", b"ab"),), total=True),
        Function("bool", ("bool",), BOOL, same, same_sql, ((True, True),), total=True),
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


def same(value: object) -> object:
    return value


def same_sql(value: Sql) -> Sql:
    return value


def _parse_int(text: str) -> int | None:
    digits = text[1:] if text[:1] in ("+", "-") else text
    return int64(int(text)) if digits.isascii() and digits.isdigit() and len(digits) <= 30 else None


def _parse_double(text: str) -> float | None:
    number = values.parse_decimal(text)
    return None if number is None else values.double_of(number)


def _json_int(value: object) -> int | None:
    match value:
        case bool():
            return None
        case int() | Decimal():
            return int64(trunc(value))
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
