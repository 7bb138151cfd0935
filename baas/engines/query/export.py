"""Records as lines of a file: JSON as in answers, or CSV by RFC 4180.

In CSV null is an empty field and an empty text is `""`, as PostgreSQL itself writes and reads it. Lists and documents stand as
JSON.
"""

from dataclasses import dataclass
from typing import Literal

from baas.engines.query.answer import Shown
from baas.engines.query.rows import rows
from baas.engines.query.table import Column
from baas.engines.query.tree import Filter, Near, Search, SortKey
from baas.infra.db.sql import Sql, join, sql

Format = Literal["ndjson", "csv"]
_PLAIN = frozenset({"int8", "float8", "numeric", "bool", "uuid"})
_WRITTEN = frozenset({"date", "timestamptz"})


@dataclass(frozen=True, slots=True)
class Export:
    """Every record, one a line, in total order. `fields` None is everything the caller may read."""

    format: Format
    sort: tuple[SortKey, ...]
    filter: Filter | None = None
    fields: tuple[str, ...] | None = None
    search: Search | None = None
    near: Near | None = None


def line(shown: Shown, form: Format, alias: str) -> Sql:
    """A record as text, without the end of its line."""
    return shown.json(alias) if form == "ndjson" else _csv(shown, alias)


def header(shown: Shown, form: Format) -> str:
    """What stands before the records. Names of fields need no quotes."""
    return "" if form == "ndjson" else ",".join(shown.names) + "\r\n"


def ending(form: Format) -> str:
    return "\n" if form == "ndjson" else "\r\n"


def _csv(shown: Shown, alias: str) -> Sql:
    gates = dict(shown.gates)
    cells = []
    for name in shown.names:
        cell = _cell(shown.table.columns[name], alias)
        gate = gates.get(name)
        if gate is not None and gate.verdict is False:
            cell = sql("null")
        elif gate is not None and gate.verdict is None:
            cell = sql("case when {} then {} end", gate.where(rows(shown.table, record=alias)), cell)
        cells.append(cell)
    return sql("array_to_string(array[{}]::text[], ',', '')", join(", ", cells))


def _cell(column: Column, alias: str) -> Sql:
    """Null for null. Numbers, booleans, ids and times hold nothing that needs quotes; all else is in quotes, always."""
    if column.cast in _PLAIN:
        return sql("{}::text", column.of(alias))
    if column.cast in _WRITTEN:
        return sql("({})::text", column.json(alias))
    if column.cast == "text":
        text = column.of(alias)
    elif column.cast == "jsonb":
        text = sql("{}::text", column.of(alias))
    else:
        text = sql("to_json({})::text", column.json(alias))
    return sql("""'"' || replace({}, '"', '""') || '"'""", text)
