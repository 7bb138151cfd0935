"""A moment in time."""

import re
from datetime import UTC, datetime

from baas.engines.schema.collection import Field
from baas.engines.schema.fields.base import Cast, FieldFault, Kind, Operator, clean_text
from baas.infra.db.sql import Sql, sql

_WRITTEN = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})")
# The driver writes datetime.min and datetime.max as -infinity and infinity; the rule language has the same two edges.
_FIRST = datetime(1, 1, 1, 0, 0, 0, 1, UTC)
_LAST = datetime(9999, 12, 31, 23, 59, 59, 999998, UTC)


class DatetimeKind(Kind):
    """A moment by RFC 3339 with its offset; microseconds; answers are always in UTC with six digits and `Z`."""

    name = "datetime"

    def column_type(self, field: Field) -> Sql:
        return sql("timestamptz")

    def cast(self, field: Field) -> Cast:
        return "timestamptz"

    def clean(self, field: Field, value: object) -> datetime:
        text = clean_text(value)
        if not _WRITTEN.fullmatch(text):
            raise FieldFault(
                "bad_datetime",
                'Must be a moment by RFC 3339, to the microsecond at most, such as "2026-11-20T10:31:07Z".',
            )
        try:
            moment = datetime.fromisoformat(text.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            raise FieldFault("bad_datetime", "Must be a moment that exists, between the years 1 and 9999.") from None
        if not _FIRST <= moment <= _LAST:
            raise FieldFault("out_of_range", "Must lie between the years 1 and 9999.")
        return moment

    def to_json(self, column: Sql, field: Field) -> Sql:
        return sql("""to_char({} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""", column)

    def operators(self, field: Field) -> tuple[Operator, ...]:
        return ("$min", "$max", "$now")

    def rule_type(self, field: Field) -> str:
        return "timestamp"

    def json_schema(self, field: Field) -> dict[str, object]:
        return {"type": "string", "format": "date-time"}
