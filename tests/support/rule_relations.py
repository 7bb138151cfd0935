"""Records beside the hostile ones: users, teams and notes that point to each other, in SQL and in memory.

For a filter some of them are closed: records that its author could not list, and fields of them that he could not read.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from baas.engines.rules.operands import Condition
from baas.engines.rules.rule import RowField, RowType
from baas.engines.rules.types import Inverse
from baas.infra.db.pool import Queries
from baas.infra.db.sql import Sql, ident, join, sql
from tests.support.rule_values import GONE, IDS, INTS, TEXTS, TIMES, Kept

Record = Mapping[str, object]
Others = Mapping[str, Sequence[Record]]
_NOTES = [f"{n:08x}-0000-4000-9000-000000000000" for n in range(14)]

OTHERS: Mapping[str, Mapping[str, Kept]] = {
    "users": {
        "id": Kept("uuid", "ref(users)", False, IDS),
        "name": Kept('text collate "C"', "string", True, TEXTS),
        "level": Kept("int8", "int", False, [-1, 0, 1, 7]),
        "team": Kept("uuid", "ref(teams)", True, [*IDS, GONE]),
    },
    "teams": {
        "id": Kept("uuid", "ref(teams)", False, IDS),
        "name": Kept('text collate "C"', "string", False, TEXTS),
        "size": Kept("int8", "int", True, INTS),
        "lead": Kept("uuid", "ref(users)", True, [*IDS, GONE]),
        "open": Kept("bool", "bool", True, [True, True, False]),
    },
    "notes": {
        "id": Kept("uuid", "ref(notes)", False, _NOTES),
        "thing": Kept("uuid", "ref(things)", True, IDS),
        "author": Kept("uuid", "ref(users)", False, IDS),
        "fans": Kept("uuid[]", "list(ref(teams))", True, [[], IDS[:1], IDS[1:3], IDS]),
        "body": Kept('text collate "C"', "string", True, TEXTS),
        "score": Kept("int8", "int", True, [0, 1, 2, 3, -1]),
        "at": Kept("timestamptz", "timestamp", False, TIMES),
    },
}
INVERSES: Mapping[str, Mapping[str, Inverse]] = {
    "things": {"notes": Inverse("notes", "thing")},
    "users": {"notes": Inverse("notes", "author"), "led": Inverse("teams", "lead")},
    "teams": {"players": Inverse("users", "team"), "praise": Inverse("notes", "fans", many=True)},
    "notes": {},
}
# Of a filter: which records its author could list, and which fields he could read of which records.
_VISIBLE: Mapping[str, tuple[Callable[[Sql], Sql], Callable[[Record], bool]]] = {
    "users": (lambda alias: sql("{}.level >= 0", alias), lambda row: row["level"] >= 0),  # type: ignore[operator]
    "teams": (lambda alias: sql("{}.open", alias), lambda row: row["open"] is True),
}
_READABLE: Mapping[tuple[str, str], tuple[Callable[[Sql], Sql], Callable[[Record], bool]]] = {
    ("things", "pn"): (lambda alias: sql("{}.okn", alias), lambda row: row["okn"] is True),
    ("users", "name"): (lambda alias: sql("{}.level <> 1", alias), lambda row: row["level"] != 1),
    ("notes", "score"): (lambda alias: sql("{}.body is not null", alias), lambda row: row["body"] is not None),
    ("notes", "thing"): (lambda alias: sql("{}.score > 0", alias), lambda row: (row["score"] or 0) > 0),  # type: ignore[operator]
}


def row_type(columns: Mapping[str, Kept], inverses: Mapping[str, Inverse]) -> RowType:
    return RowType({name: RowField(column.type, column.nullable) for name, column in columns.items()}, inverses)


TYPES = {name: row_type(columns, INVERSES[name]) for name, columns in OTHERS.items()}


# In the database


async def make_others(db: Queries, pick: random.Random, schema: str) -> Others:
    """Their tables, with a record for each id."""
    made: dict[str, list[Record]] = {}
    for name, columns in OTHERS.items():
        table = ident(schema, name)
        await db.execute(sql("create table {} ({}, primary key (id))", table, definitions(columns)))
        made[name] = []
        for number, one in enumerate(columns["id"].pool):
            row = {key: draw(pick, column, number + 1) for key, column in columns.items()} | {"id": one}
            await db.execute(sql("insert into {} values ({})", table, values(columns, row)))
            made[name].append(in_memory(columns, row))
    return made


def definitions(columns: Mapping[str, Kept]) -> Sql:
    return join(", ", (sql("{} {}", ident(name), Sql((column.sql_type,))) for name, column in columns.items()))


def draw(pick: random.Random, column: Kept, number: int) -> object:
    if column.nullable and (number == 0 or pick.random() < 0.25):
        return None
    # The first rows walk the pool from the start, so that every value is there; the rest are drawn.
    return column.pool[number] if number < len(column.pool) and pick.random() < 0.7 else pick.choice(column.pool)


def values(columns: Mapping[str, Kept], row: Record) -> Sql:
    return join(", ", (_held(columns[name].sql_type, value) for name, value in row.items()))


def _held(sql_type: str, value: object) -> Sql:
    match sql_type:
        case "numeric":
            return sql("{}::text::numeric", value)
        case "baas_rt.geo_point":
            return sql("{}::text::baas_rt.geo_point", None if value is None else str(value))
    return sql("{}", value)


def in_memory(columns: Mapping[str, Kept], row: Record) -> dict[str, object]:
    seen = dict(row)
    for name, value in row.items():
        if value is not None and columns[name].type == "json":
            seen[name] = json.loads(str(value), parse_float=Decimal)
        if value is not None and columns[name].type == "decimal":
            seen[name] = Decimal(str(value))
    return seen


@dataclass(frozen=True)
class _EnteredTable:
    """One of the tables under an alias."""

    schema: str
    collection: str
    alias: str
    closed: bool

    @property
    def table(self) -> Sql:
        return ident(self.schema, self.collection)

    @property
    def visible(self) -> Condition:
        return _VISIBLE[self.collection][0](ident(self.alias)) if self.closed and self.collection in _VISIBLE else True

    def column(self, name: str) -> Sql:
        return ident(self.alias, name)

    def readable(self, name: str) -> Condition:
        gate = _READABLE.get((self.collection, name)) if self.closed else None
        return True if gate is None else gate[0](ident(self.alias))


@dataclass(frozen=True)
class Both:
    """The two rows of an expression, and the tables around them."""

    of: Callable[[str, str], Sql]
    schema: str
    closed: bool
    shares: bool = False

    def column(self, root: str, name: str) -> Sql:
        return self.of(root, name)

    def readable(self, root: str, name: str) -> Condition:
        gate = _READABLE.get(("things", name)) if self.closed and root == "record" else None
        return True if gate is None else gate[0](sql("r"))

    def enter(self, collection: str, alias: str) -> _EnteredTable:
        return _EnteredTable(self.schema, collection, alias, self.closed)


# In memory


def as_read(collection: str, row: Record) -> Record:
    """A record without the fields that a filter's author may not read of it."""
    return {
        name: value for name, value in row.items() if (collection, name) not in _READABLE or _READABLE[collection, name][1](row)
    }


class Near:
    """The records that an expression may enter."""

    def __init__(self, others: Others, *, closed: bool) -> None:
        self._others = {
            name: [as_read(name, row) for row in rows if name not in _VISIBLE or _VISIBLE[name][1](row)] if closed else rows
            for name, rows in others.items()
        }

    def one(self, collection: str, id: str) -> Record | None:  # noqa: A002  the name of the protocol
        return next((row for row in self._others[collection] if row["id"] == id), None)

    def pointing(self, collection: str, field: str, id: str) -> Sequence[Record]:  # noqa: A002
        def points(held: object) -> bool:
            return id in held if isinstance(held, list) else held == id

        return [row for row in self._others[collection] if points(row.get(field))]

    def every(self, collection: str) -> Sequence[Record]:
        return self._others[collection]
