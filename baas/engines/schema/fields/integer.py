"""A whole number of 64 bits."""

import re

from baas.engines.schema.collection import Field
from baas.engines.schema.fields.base import INT64, Cast, FieldFault, Kind, Option, range_text, whole
from baas.infra.db.sql import Sql, join, literal, sql

SAFE = 2**53
_WHOLE = re.compile(r"-?[1-9][0-9]{15,18}")


class IntKind(Kind):
    """A signed 64-bit integer. Within ±2^53 it is a JSON number; beyond, where JavaScript would round it, a string."""

    name = "int"
    options = (
        Option("min", "int", "Smallest value.", low=INT64[0], high=INT64[1]),
        Option("max", "int", "Largest value.", low=INT64[0], high=INT64[1]),
    )

    def settle(self, options: dict[str, object]) -> dict[str, object]:
        low, high = options.get("min"), options.get("max")
        if isinstance(low, int) and isinstance(high, int) and low > high:
            raise FieldFault("out_of_range", "min must not be above max.", at="/min")
        return options

    def column_type(self, field: Field) -> Sql:
        return sql("bigint")

    def cast(self, field: Field) -> Cast:
        return "int8"

    def fits(self, column: Sql, field: Field) -> Sql | None:
        low, high = whole(field, "min"), whole(field, "max")
        bounds = []
        if low is not None:
            bounds.append(sql("{} >= {}", column, _constant(low)))
        if high is not None:
            bounds.append(sql("{} <= {}", column, _constant(high)))
        return join(" and ", bounds) if bounds else None

    def clean(self, field: Field, value: object) -> int:
        number = _read(value)
        low, high = whole(field, "min"), whole(field, "max")
        if not INT64[0] <= number <= INT64[1]:
            raise FieldFault("out_of_range", "Must be a whole number of 64 bits.")
        if (low is not None and number < low) or (high is not None and number > high):
            raise FieldFault("out_of_range", f"Must be {range_text(low, high)}.")
        return number

    def to_json(self, column: Sql, field: Field) -> Sql:
        low, high = whole(field, "min"), whole(field, "max")
        if low is not None and high is not None and low >= -SAFE and high <= SAFE:
            return column
        return sql(
            "case when {} between -9007199254740992 and 9007199254740992 then to_json({}) else to_json({}::text) end",
            column,
            column,
            column,
        )

    def rule_type(self, field: Field) -> str:
        return "int"

    def json_schema(self, field: Field) -> dict[str, object]:
        low, high = whole(field, "min"), whole(field, "max")
        number: dict[str, object] = {"type": "integer", "format": "int64"}
        if low is not None:
            number["minimum"] = low
        if high is not None:
            number["maximum"] = high
        if low is not None and high is not None and low >= -SAFE and high <= SAFE:
            return number
        return {"anyOf": [number, {"type": "string", "pattern": f"^{_WHOLE.pattern}$", "description": "Beyond 2^53."}]}


def _read(value: object) -> int:
    if type(value) is int:
        return value
    # "5" stays a string, as everywhere; only what an answer itself writes as a string is read as one.
    if type(value) is str and _WHOLE.fullmatch(value) and abs(int(value)) > SAFE:
        return int(value)
    raise FieldFault("wrong_type", "Must be a whole number.")


def _constant(number: int) -> Sql:
    # PostgreSQL reads -9223372036854775808 as minus a number that is one too large; as a quoted constant it fits.
    return sql("{}::bigint", literal(str(number)))
