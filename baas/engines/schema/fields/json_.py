"""Any JSON value."""

from collections.abc import Iterator
from decimal import Decimal
from math import isfinite

import msgspec

from baas.engines.schema.collection import Field
from baas.engines.schema.fields.base import SEARCH, Cast, FieldFault, Kind, Operator, Option, clean_text, whole
from baas.infra.db.sql import Sql, sql

MAX_BYTES = 1 << 20
_MAX_DEPTH = 32
_MAX_DIGITS = 400
_LARGEST = 10**_MAX_DIGITS
_ENCODER = msgspec.json.Encoder(decimal_format="number")


class JsonKind(Kind):
    """Any JSON value, stored as `jsonb`: the order of keys is not kept. A top-level `null` is the same as no value."""

    name = "json"
    options = (Option("max_bytes", "int", "Largest size as compact JSON.", low=1, high=MAX_BYTES), SEARCH)

    def indexable(self, field: Field) -> bool:
        return False

    def column_type(self, field: Field) -> Sql:
        return sql("jsonb")

    def cast(self, field: Field) -> Cast:
        return "jsonb"

    def clean(self, field: Field, value: object) -> str:
        _check(value)
        encoded = _ENCODER.encode(value)
        most = whole(field, "max_bytes") or MAX_BYTES
        if len(encoded) > most:
            raise FieldFault("too_long", f"Must have at most {most} bytes as JSON.")
        return encoded.decode()

    def operators(self, field: Field) -> tuple[Operator, ...]:
        return ("$append", "$add", "$remove")

    def rule_type(self, field: Field) -> str:
        return "json"

    def json_schema(self, field: Field) -> dict[str, object]:
        return {"description": "Any JSON value."}


def _check(value: object) -> None:
    """Walk without recursion: what comes here may be as deep as a body can be."""
    waiting: list[tuple[object, str, int]] = [(value, "", 0)]
    while waiting:
        one, at, depth = waiting.pop()
        try:
            waiting.extend((child, at + step, depth + 1) for child, step in _children(one))
        except FieldFault as fault:
            raise FieldFault(fault.code, fault.message, at=at) from None
        if depth > _MAX_DEPTH:
            raise FieldFault("too_deep", f"Must not be nested deeper than {_MAX_DEPTH} levels.")


def _children(value: object) -> Iterator[tuple[object, str]]:
    """The values inside a value and the step to each; raises FieldFault for a leaf that PostgreSQL or JSON cannot hold."""
    match value:
        case str():
            clean_text(value)
        case None | bool():
            pass
        case int():
            # Past 64 bits too: `jsonb` writes 6e23 as a whole number, and what it writes is taken back.
            if abs(value) > _LARGEST:
                raise FieldFault("out_of_range", "Must be a number that a double can hold.")
        case float():
            if not isfinite(value):
                raise FieldFault("out_of_range", "Must be a finite number.")
        case Decimal():
            if not value.is_finite() or len(value.as_tuple().digits) > _MAX_DIGITS or abs(value.adjusted()) > _MAX_DIGITS:
                raise FieldFault("out_of_range", "Must be a number that a double can hold.")
        case list():
            yield from ((item, f"/{index}") for index, item in enumerate(value))
        case dict():
            for key, item in value.items():
                yield item, "/" + clean_text(key).replace("~", "~0").replace("/", "~1")
        case _:
            raise FieldFault("wrong_type", "Must be a JSON value.")
