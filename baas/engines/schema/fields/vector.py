"""A vector for nearest-neighbour search, where PostgreSQL has the extension of this name."""

from array import array
from collections.abc import Mapping

from baas.engines.schema.collection import Field
from baas.engines.schema.fields.base import Cast, FieldFault, Kind, Option, whole
from baas.engines.schema.fields.float_ import clean_double
from baas.infra.db.extensions import SCHEMA
from baas.infra.db.sql import Sql, ident, literal, sql

EXTENSION = "vector"
MAX_DIMENSIONS = 2000
"""What an HNSW index of four-byte numbers takes."""
OPERATORS: Mapping[str, Sql] = {
    "cosine": sql("operator({}.<=>)", ident(SCHEMA)),
    "l2": sql("operator({}.<->)", ident(SCHEMA)),
    "inner": sql("operator({}.<#>)", ident(SCHEMA)),
}
"""Distances by metric; less is nearer. That of `inner` is the inner product, negated."""
_CLASSES = {"cosine": "vector_cosine_ops", "l2": "vector_l2_ops", "inner": "vector_ip_ops"}
# The extension sums squares in four bytes: outside these, a distance could be infinite, or a direction nothing.
_LARGEST, _SMALLEST = 1e15, 1e-15


class VectorKind(Kind):
    """A list of `dimensions` four-byte floats. Rules see only whether there is one."""

    name = "vector"
    options = (
        Option("dimensions", "int", "How many numbers each vector has.", low=1, high=MAX_DIMENSIONS, required=True),
        Option("metric", "text", "What near means: cosine, l2 or inner.", choices=tuple(_CLASSES)),
    )

    def settle(self, options: dict[str, object]) -> dict[str, object]:
        return {**options, "metric": options.get("metric", "cosine")}

    def indexable(self, field: Field) -> bool:
        return False

    def accepts(self, old: Field, new: Field) -> bool:
        same = old.type == "vector" and old.options["dimensions"] == new.options["dimensions"]
        # A vector without a direction may be stored under another metric.
        return same and (new.options["metric"] != "cosine" or old.options["metric"] == "cosine")

    def column_type(self, field: Field) -> Sql:
        return sql("{}({})", ident(SCHEMA, "vector"), literal(whole(field, "dimensions")))

    def cast(self, field: Field) -> Cast:
        return "vector"

    def clean(self, field: Field, value: object) -> str:
        if type(value) is not list:
            raise FieldFault("wrong_type", "Must be a list of numbers.")
        if len(value) != whole(field, "dimensions"):
            raise FieldFault("wrong_length", f"Must hold {field.options['dimensions']} numbers, not {len(value)}.")
        numbers = array("f", (_number(item, at) for at, item in enumerate(value)))
        if field.options["metric"] == "cosine" and all(abs(one) < _SMALLEST for one in numbers):
            raise FieldFault("out_of_range", "A vector of zeros has no direction, which is what the metric cosine compares.")
        return "[" + ",".join(map(repr, numbers)) + "]"

    def to_json(self, column: Sql, field: Field) -> Sql:
        return sql("{}::text::json", column)

    def rule_type(self, field: Field) -> str:
        return "vector"

    def rule_column(self, column: Sql, field: Field) -> Sql:
        # Rules only look whether it is there; as text the driver can read it, too.
        return sql("({}::text)", column)

    def json_schema(self, field: Field) -> dict[str, object]:
        length = whole(field, "dimensions")
        return {"type": "array", "items": {"type": "number", "format": "float"}, "minItems": length, "maxItems": length}


def _number(item: object, at: int) -> float:
    try:
        number = clean_double(item)
        if abs(number) > _LARGEST:
            raise FieldFault("out_of_range", f"Must be between {-_LARGEST:g} and {_LARGEST:g}.")
    except FieldFault as fault:
        raise FieldFault(fault.code, fault.message, at=f"/{at}") from None
    return number


def operators(field: Field) -> Sql:
    """The operator class of an index for the field's metric."""
    return ident(SCHEMA, _CLASSES[str(field.options["metric"])])
