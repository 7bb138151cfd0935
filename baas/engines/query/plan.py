"""Plans of statements: what they are estimated to cost, and which index would have helped.

The estimate is made for all values at once, from statistics over all records, hidden ones included: it decides and is logged for
operators, and no caller is ever told a number of it.
"""

import json
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from baas.base.errors import Unavailable
from baas.engines.query.table import Table
from baas.infra.db.pool import Database
from baas.infra.db.sql import Statement

_KEEP_S = 600.0
_KEEP_MOST = 2000
_EQUAL = re.compile(r'(?:\b\w+\.)?"?\b([a-z][a-z0-9_]*)"? = (?!ANY)')
_RANGE = re.compile(r'(?:\b\w+\.)?"?\b([a-z][a-z0-9_]*)"? (?:<|>|<=|>=|~>=~|~<~) ')
_SORT = re.compile(r'^(?:\w+\.)?"?([a-z][a-z0-9_]*)"?( DESC)?( NULLS (?:FIRST|LAST))?$')
_PLACE = re.compile(r'\((?:\w+\.)?"?([a-z][a-z0-9_]*)"?\)\.lat')
_MOST_FIELDS = 3


class Costs:
    """Estimated costs of statements by their text, kept for ten minutes: what is asked again costs no second round trip."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known: dict[str, tuple[float, float]] = {}

    async def of(self, statement: Statement) -> float:
        """In PostgreSQL's unit: a page read in order is 1. Nothing where it cannot be had soon: the time limit holds anyway."""
        known = self._known.get(statement.text)
        if known is not None and known[1] > time.monotonic():
            return known[0]
        try:
            plan = await self._db.plan(statement)
        except Unavailable:
            return 0.0
        cost = float(json.loads(plan)[0]["Plan"]["Total Cost"])
        if len(self._known) >= _KEEP_MOST:
            self._known.clear()
        self._known[statement.text] = (cost, time.monotonic() + _KEEP_S)
        return cost


def outline(plan: str) -> str:
    """A plan in a few lines, as EXPLAIN shows it to people."""
    return "\n".join(_lines(json.loads(plan)[0]["Plan"], 0))


def suggestion(plan: str, table: Table) -> dict[str, object] | None:
    """An entry for `indexes` of the collection's manifest that would spare a scan of all its records; None when none shows.

    Fields that are compared for equality come first, then those of the order, else one that is compared by size.
    """
    nodes = list(_nodes(json.loads(plan)[0]["Plan"]))
    scans = [one for one in nodes if one["Node Type"] == "Seq Scan" and one.get("Relation Name") == table.name]
    if not scans:
        return None
    conditions = " ".join(str(one.get("Filter", "")) for one in scans)
    equal = [name for name in _fields(_EQUAL, conditions, table) if table.columns[name].cast != "bool"]
    order = [] if len(scans) > 1 else list(_order(nodes, table))
    ranged = [name for name in _fields(_RANGE, conditions, table) if name not in equal]
    fields = [*equal, *(one for one in order if one.removeprefix("-") not in equal)] or ranged[:1]
    fields = list(dict.fromkeys(fields or ranged[:1] or _places(nodes, table)))[:_MOST_FIELDS]
    if not fields or fields == ["id"] or any(list(one.fields[: len(fields)]) == fields for one in table.collection.indexes):
        return None
    return {"fields": fields}


def _order(nodes: list[Mapping[str, Any]], table: Table) -> Iterator[str]:
    """The sort keys as an index entry names them, without the `id` that every order ends in."""
    keys: list[str] = next((one["Sort Key"] for one in nodes if "Sort" in one["Node Type"] and "Sort Key" in one), [])
    for key in keys:
        match = _SORT.match(key)
        if match is None or match[1] not in table.columns:
            return
        if match[1] != "id":
            yield f"-{match[1]}" if match[2] else match[1]


def _fields(pattern: re.Pattern[str], conditions: str, table: Table) -> list[str]:
    """The columns of the table that stand before an operator, each once, and only such as an index can hold."""
    names = dict.fromkeys(match[1] for match in pattern.finditer(conditions))
    return [name for name in names if name in table.columns and table.columns[name].sortable]


def _places(nodes: list[Mapping[str, Any]], table: Table) -> list[str]:
    """A place that is measured from: an index over it alone finds what is near."""
    said = " ".join(str(one.get(name, "")) for one in nodes for name in ("Filter", "Sort Key", "Output"))
    names = dict.fromkeys(match[1] for match in _PLACE.finditer(said))
    return [name for name in names if name in table.columns and table.columns[name].cast == "geo_point"][:1]


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _lines(node: Mapping[str, Any], depth: int) -> Iterator[str]:
    where = f" on {node['Relation Name']}" if "Relation Name" in node else ""
    using = f" using {node['Index Name']}" if "Index Name" in node else ""
    yield f"{'  ' * depth}{node['Node Type']}{using}{where}  cost={node['Total Cost']} rows={node['Plan Rows']}"
    for name in ("Index Cond", "Recheck Cond", "Filter", "Join Filter", "Hash Cond", "Sort Key", "Group Key"):
        if name in node:
            yield f"{'  ' * depth}  {name}: {str(node[name])[:500]}"
    for child in node.get("Plans", ()):
        yield from _lines(child, depth + 1)
