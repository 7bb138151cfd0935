"""A number of double precision."""

from decimal import Decimal
from math import isfinite

from baas.engines.schema.collection import Field
from baas.engines.schema.fields.base import Cast, FieldFault, Kind, Operator, Option, range_text
from baas.infra.db.sql import Sql, join, literal, sql


class FloatKind(Kind):
    """A finite IEEE 754 double; it comes back with the shortest digits that mean the same double."""

    name = "float"
    options = (
        Option("min", "number", "Smallest value."),
        Option("max", "number", "Largest value."),
    )

    def settle(self, options: dict[str, object]) -> dict[str, object]:
        low, high = options.get("min"), options.get("max")
        if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
            raise FieldFault("out_of_range", "min must not be above max.", at="/min")
        return options

    def column_type(self, field: Field) -> Sql:
        return sql("double precision")

    def cast(self, field: Field) -> Cast:
        return "float8"

    def fits(self, column: Sql, field: Field) -> Sql | None:
        low, high = _bounds(field)
        bounds = []
        if low is not None:
            bounds.append(sql("{} >= {}::float8", column, literal(repr(low))))
        if high is not None:
            bounds.append(sql("{} <= {}::float8", column, literal(repr(high))))
        return join(" and ", bounds) if bounds else None

    def clean(self, field: Field, value: object) -> float:
        number = clean_double(value)
        low, high = _bounds(field)
        if (low is not None and number < low) or (high is not None and number > high):
            raise FieldFault("out_of_range", f"Must be {range_text(low, high)}.")
        return number

    def operators(self, field: Field) -> tuple[Operator, ...]:
        return ("$inc", "$min", "$max")

    def rule_type(self, field: Field) -> str:
        return "double"

    def json_schema(self, field: Field) -> dict[str, object]:
        low, high = _bounds(field)
        schema: dict[str, object] = {"type": "number", "format": "double"}
        if low is not None:
            schema["minimum"] = low
        if high is not None:
            schema["maximum"] = high
        return schema


def clean_double(value: object) -> float:
    """A finite double from a JSON number; raises FieldFault."""
    if type(value) not in (int, float, Decimal):
        raise FieldFault("wrong_type", "Must be a number.")
    try:
        number = float(value)  # type: ignore[arg-type]
    except (OverflowError, ValueError):
        number = float("inf")
    if not isfinite(number):
        raise FieldFault("out_of_range", "Must be a number that a double can hold.")
    return number


def _bounds(field: Field) -> tuple[float | None, float | None]:
    low, high = field.options.get("min"), field.options.get("max")
    return (
        float(low) if isinstance(low, int | float) else None,
        float(high) if isinstance(high, int | float) else None,
    )
