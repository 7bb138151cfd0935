"""An exact decimal number."""

import re
from decimal import Decimal

from baas.engines.schema.collection import Field
from baas.engines.schema.fields.base import Cast, FieldFault, Kind, Operator, Option, whole
from baas.infra.db.sql import Sql, literal, sql

_WRITTEN = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_MAX_DIGITS = 400


class DecimalKind(Kind):
    """An exact number: a string in answers (`"9.50"`), a string or a number in requests. Nothing is ever rounded.

    Without options every value keeps the digits it was sent with. With `precision` and `scale` the column is
    `numeric(precision, scale)`, answers always have `scale` digits after the point, and a value with more is refused.
    """

    name = "decimal"
    options = (
        Option("precision", "int", "Most digits in all.", low=1, high=_MAX_DIGITS),
        Option("scale", "int", "Digits after the point; 0 when only precision is given.", low=0, high=_MAX_DIGITS),
    )

    def settle(self, options: dict[str, object]) -> dict[str, object]:
        precision, scale = options.get("precision"), options.get("scale")
        if precision is None and scale is not None:
            raise FieldFault("required", "scale needs precision.", at="/precision")
        if isinstance(precision, int):
            options = {"precision": precision, "scale": scale or 0}
            if isinstance(scale, int) and scale > precision:
                raise FieldFault("out_of_range", "scale must not be above precision.", at="/scale")
        return options

    def accepts(self, old: Field, new: Field) -> bool:
        return old.type == "decimal" and _room(new)[0] >= _room(old)[0] and _room(new)[1] >= _room(old)[1]

    def column_type(self, field: Field) -> Sql:
        precision, scale = whole(field, "precision"), whole(field, "scale")
        if precision is None:
            return sql("numeric")
        return sql("numeric({}, {})", literal(precision), literal(scale))

    def cast(self, field: Field) -> Cast:
        return "numeric"

    def clean(self, field: Field, value: object) -> Decimal:
        number = _read(value)
        whole_digits, scale = _room(field)
        _, digits, exponent = number.as_tuple()
        if not isinstance(exponent, int):
            raise FieldFault("wrong_type", "Must be a decimal number.")
        after = max(0, -exponent)
        before = max(0, len(digits) + exponent) if number else 0
        if before + after > _MAX_DIGITS or before > whole_digits:
            raise FieldFault("out_of_range", f"Must have at most {min(whole_digits, _MAX_DIGITS)} digits before the point.")
        if after > scale:
            raise FieldFault("too_precise", f"Must have at most {scale} digits after the point.")
        return number

    def to_json(self, column: Sql, field: Field) -> Sql:
        return sql("{}::text", column)

    def operators(self, field: Field) -> tuple[Operator, ...]:
        return ("$inc", "$min", "$max")

    def rule_type(self, field: Field) -> str:
        return "decimal"

    def json_schema(self, field: Field) -> dict[str, object]:
        return {"type": "string", "format": "decimal", "pattern": f"^{_WRITTEN.pattern}$"}


def _read(value: object) -> Decimal:
    if type(value) is str and len(value) <= _MAX_DIGITS + 2 and _WRITTEN.fullmatch(value):
        return Decimal(value)
    if type(value) is Decimal:
        return value
    if type(value) is int and value.bit_length() <= 64:
        return Decimal(value)
    if type(value) is float:
        return Decimal(repr(value))
    raise FieldFault("wrong_type", 'Must be a decimal number such as "9.50".')


def _room(field: Field) -> tuple[int, int]:
    """Digits before and after the point."""
    precision, scale = whole(field, "precision"), whole(field, "scale")
    return (_MAX_DIGITS, _MAX_DIGITS) if precision is None else (precision - (scale or 0), scale or 0)
