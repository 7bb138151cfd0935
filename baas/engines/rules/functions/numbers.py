"""Arithmetic of the three kinds of number."""

from decimal import Decimal

from baas.engines.rules import values
from baas.engines.rules.functions.function import FAILS, Function
from baas.engines.rules.types import DECIMAL, DOUBLE, INT
from baas.infra.db.sql import sql


def integer_functions() -> tuple[Function, ...]:
    pair = ("int", "int")
    low, high = values.INT_MIN, values.INT_MAX
    return (
        Function(
            "+",
            pair,
            INT,
            lambda a, b: int64(a + b),
            lambda a, b: sql("baas_rt.i64({}::numeric + {})", a, b),
            ((1, 2, 3), (high, 1, FAILS), (low, -1, FAILS)),
        ),
        Function(
            "-",
            pair,
            INT,
            lambda a, b: int64(a - b),
            lambda a, b: sql("baas_rt.i64({}::numeric - {})", a, b),
            ((1, 2, -1), (low, 1, FAILS), (-1, low, high)),
        ),
        Function(
            "*",
            pair,
            INT,
            lambda a, b: int64(a * b),
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
            lambda a: int64(-a),
            lambda a: sql("baas_rt.i64(-({}::numeric))", a),
            ((42, -42), (low, FAILS)),
        ),
    )


def int64(number: int) -> int | None:
    return number if values.INT_MIN <= number <= values.INT_MAX else None


def _int_quotient(a: int, b: int) -> int | None:
    if not b:
        return None
    quotient = abs(a) // abs(b)
    return int64(quotient if (a < 0) == (b < 0) else -quotient)


def _int_remainder(a: int, b: int) -> int | None:
    if not b:
        return None
    return abs(a) % abs(b) * (-1 if a < 0 else 1)


def double_functions() -> tuple[Function, ...]:
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


def decimal_functions() -> tuple[Function, ...]:
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
