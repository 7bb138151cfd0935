"""True or false."""

from baas.engines.schema.collection import Field
from baas.engines.schema.fields.base import Cast, FieldFault, Kind
from baas.infra.db.sql import Sql, sql


class BoolKind(Kind):
    """`true` or `false`; 0, 1 and strings are neither."""

    name = "bool"

    def column_type(self, field: Field) -> Sql:
        return sql("boolean")

    def cast(self, field: Field) -> Cast:
        return "bool"

    def clean(self, field: Field, value: object) -> bool:
        if type(value) is not bool:
            raise FieldFault("wrong_type", "Must be true or false.")
        return value

    def rule_type(self, field: Field) -> str:
        return "bool"

    def json_schema(self, field: Field) -> dict[str, object]:
        return {"type": "boolean"}
