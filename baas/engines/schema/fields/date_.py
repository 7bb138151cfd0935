"""A calendar day."""

import re
from datetime import date

from baas.engines.schema.collection import Field
from baas.engines.schema.fields.base import Cast, FieldFault, Kind, Operator, clean_text
from baas.infra.db.sql import Sql, sql

_WRITTEN = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# The driver writes date.min and date.max as -infinity and infinity (measured with asyncpg 0.32), so they stay outside.
_FIRST, _LAST = date(1, 1, 2), date(9999, 12, 30)


class DateKind(Kind):
    """A day without time or zone, `"2026-11-20"`; in rules it is the moment at which that day begins in UTC."""

    name = "date"

    def column_type(self, field: Field) -> Sql:
        return sql("date")

    def cast(self, field: Field) -> Cast:
        return "date"

    def clean(self, field: Field, value: object) -> date:
        text = clean_text(value)
        try:
            day = date.fromisoformat(text) if _WRITTEN.fullmatch(text) else None
        except ValueError:
            day = None
        if day is None:
            raise FieldFault("bad_date", 'Must be a day such as "2026-11-20".')
        if not _FIRST <= day <= _LAST:
            raise FieldFault("out_of_range", f"Must be between {_FIRST} and {_LAST}.")
        return day

    def to_json(self, column: Sql, field: Field) -> Sql:
        return sql("to_char({}, 'YYYY-MM-DD')", column)

    def operators(self, field: Field) -> tuple[Operator, ...]:
        return ("$min", "$max", "$now")

    def rule_type(self, field: Field) -> str:
        return "timestamp"

    def rule_column(self, column: Sql, field: Field) -> Sql:
        return sql("({}::timestamp at time zone 'UTC')", column)

    def json_schema(self, field: Field) -> dict[str, object]:
        return {"type": "string", "format": "date"}
