"""A whole number of 64 bits."""

from baas.engines.schema.collection import Field
from baas.engines.schema.fields.base import SAFE, Cast, FieldFault, Kind, Operator, Option, range_text, read_int64, whole
from baas.infra.db.sql import Sql, join, literal, sql


class IntKind(Kind):
    """A signed 64-bit integer. Within ±2^53 it is a JSON number; beyond, where JavaScript would round it, a string."""

    name = "int"
    options = (
        Option("min", "int64", "Smallest value."),
        Option("max", "int64", "Largest value."),
    )

    def settle(self, options: dict[str, object]) -> dict[str, object]:
        bounds = {name: read_int64(value) for name, value in options.items()}
        low, high = bounds.get("min"), bounds.get("max")
        if low is not None and high is not None and low > high:
            raise FieldFault("out_of_range", "min must not be above max.", at="/min")
        return dict(bounds)

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
        number = read_int64(value)
        if number is None:
            if type(value) is int:
                raise FieldFault("out_of_range", "Must be a whole number of 64 bits.")
            raise FieldFault("wrong_type", "Must be a whole number.")
        low, high = whole(field, "min"), whole(field, "max")
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

    def operators(self, field: Field) -> tuple[Operator, ...]:
        return ("$inc", "$min", "$max")

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
        return {"anyOf": [number, {"type": "string", "pattern": "^-?[1-9][0-9]{15,18}$", "description": "Beyond 2^53."}]}


def _constant(number: int) -> Sql:
    # PostgreSQL reads -9223372036854775808 as minus a number that is one too large; as a quoted constant it fits.
    return sql("{}::bigint", literal(str(number)))
