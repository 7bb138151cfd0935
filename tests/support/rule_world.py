"""A table of hostile rows, and the question put to both evaluators: does the SQL of an expression say what memory says?"""

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import LiteralString

from baas.base.places import Geo
from baas.engines.rules.rows import Alone
from baas.engines.rules.rule import Env, Facts, Folded, Leaf, RowField, RowType, Rule, RuleFailure
from baas.infra.db.pool import Queries
from baas.infra.db.sql import Sql, Statement, ident, join, sql

ROWS = 60
IDS = [f"{n:08x}-0000-4000-8000-{'f' if n % 2 else '0'}00000000000" for n in range(1, 5)]
TEXTS = [
    "",
    "a",
    "b",
    "A",
    "x",
    "open",
    "%",
    "_",
    "a%b_c",
    "\\",
    "'",
    '"',
    "é",
    "e\u0301",
    "ß",
    "İ",
    "ı",
    "\uffff",
    "😀",
    "line\nbreak",
    "a\n",
]
TEXTS += [
    "1",
    "-7",
    "007",
    "1.5",
    "1e400",
    "true",
    "t",
    "2024-02-29T12:00:00Z",
    "2023-02-29T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "ab" * 40,
    *IDS,
]
TEXTS += [IDS[0].upper(), "2024-02-29T23:30:00.1234567-02:30", "5-5", "+3", " 3", "NaN", "٣"]
INTS = [0, 1, -1, 2, 3, 7, 100, 2**31, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 1_700_000_000]
DOUBLES = [
    0.0,
    -0.0,
    1.0,
    -1.5,
    0.1,
    0.2,
    0.1 + 0.2,
    0.3,
    1e308,
    -1e308,
    5e-324,
    1e-200,
    1e200,
    float(2**53),
    9.2e18,
    1e15,
    123456.789,
]
DECIMALS = [
    "0",
    "0.1",
    "0.30",
    "0.3",
    "-1.5",
    "1.50",
    "100",
    "9007199254740993",
    "0.30000000000000004",
    "12345678901234567890.123",
    "5",
]
TIMES = [
    datetime(2024, 3, 31, 0, 59, 59, 999_999, UTC),  # Berlin springs forward a microsecond later
    datetime(2024, 3, 31, 1, 0, tzinfo=UTC),
    datetime(2024, 10, 27, 1, 30, tzinfo=UTC),
    datetime(2024, 2, 29, 12, 0, tzinfo=UTC),
    datetime(1, 1, 1, 0, 0, 0, 1, UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_998, UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 500_000, UTC),
]
JSONS = [
    *(
        "null",
        "true",
        "false",
        "0",
        "1",
        "1.0",
        "0.1",
        "-7",
        "9007199254740993",
        "1e3",
        '""',
        '"a"',
        '"é"',
        '"1"',
        "[]",
        "{}",
        "[null]",
    ),
    *(
        '["a"]',
        '["a","b",1]',
        "[1,2.0]",
        '{"a":1}',
        '{"a":null}',
        '{"a":{"b":"x"}}',
        '{"a":{"b":0.30}}',
        '{"a":"open"}',
        '{"b":[1,"a"]}',
    ),
    *(
        '{"a":true}',
        '{"a":false,"b":2}',
        '{"a":[]}',
        '["x",["a"],{"a":1}]',
        '"2024-02-29T12:00:00Z"',
        '{"a":1e300}',
        "123456789012345678901234567890",
    ),
    *('{"a":"%"}', '{"%":1,"a":"\\u00df"}', "[true,false]", '"open"', "0.30000000000000004", '[{"a":"x"},{"a":"y"}]'),
]
TAGS = [[], ["a"], ["a", "b"], ["%"], ["x", "x"], ["open", "é"], ["_", "", "\\"], [IDS[0]]]
MEMBERS = [[], IDS[:1], IDS[:2], IDS]
NUMBERS = [[], [0], [1, 2, 3], [2**53 + 1], [2**63 - 1, -1]]
SCORES = [[], [0.1], [0.1, 0.2, 0.30000000000000004], [1e308, 5e-324], [3.0, 7.0]]


PLACES = [
    Geo(0.0, 0.0),
    Geo(52.52, 13.405),
    Geo(52.5200000001, 13.405),
    Geo(-90.0, 0.0),
    Geo(90.0, 180.0),
    Geo(-33.8688, 151.2093),
    Geo(0.0, -180.0),
    Geo(5e-324, -1e-300),
    Geo(1e-9, 179.999999999),
]


@dataclass(frozen=True)
class Kept:
    """A column of the table: its type in SQL and in the language, and the values it takes."""

    sql_type: LiteralString
    type: str
    nullable: bool
    pool: Sequence[object]


COLUMNS: Mapping[str, Kept] = {
    "id": Kept("uuid", "ref(things)", False, IDS),
    "owner": Kept("uuid", "ref(users)", True, IDS),
    "s": Kept('text collate "C"', "string", False, TEXTS),
    "sn": Kept('text collate "C"', "string", True, TEXTS),
    "n": Kept("int8", "int", False, INTS),
    "nn": Kept("int8", "int", True, INTS),
    "d": Kept("float8", "double", False, DOUBLES),
    "dn": Kept("float8", "double", True, DOUBLES),
    "p": Kept("numeric", "decimal", False, DECIMALS),
    "pn": Kept("numeric", "decimal", True, DECIMALS),
    "ok": Kept("bool", "bool", False, [True, False]),
    "okn": Kept("bool", "bool", True, [True, False]),
    "at": Kept("timestamptz", "timestamp", False, TIMES),
    "atn": Kept("timestamptz", "timestamp", True, TIMES),
    "j": Kept("jsonb", "json", True, JSONS),
    "tags": Kept('text[] collate "C"', "list(string)", False, TAGS),
    "tagsn": Kept('text[] collate "C"', "list(string)", True, TAGS),
    "members": Kept("uuid[]", "list(ref(users))", True, MEMBERS),
    "nums": Kept("int8[]", "list(int)", True, NUMBERS),
    "scores": Kept("float8[]", "list(double)", True, SCORES),
    "place": Kept("baas_rt.geo_point", "geo", False, PLACES),
    "placen": Kept("baas_rt.geo_point", "geo", True, PLACES),
}
ROW = RowType({name: RowField(column.type, column.nullable) for name, column in COLUMNS.items()})
AUTH = RowType({"name": RowField("string", True), "level": RowField("int", False), "teams": RowField("list(ref(teams))", True)})


def env(kind: str) -> Env:
    """Everything an expression can name at all."""
    return Env("update", ROW, ROW, AUTH, None, vars=kind == "filter", kind="filter" if kind == "filter" else "rule")


FACTS = (
    Facts(None, TIMES[1], "update", "rest", {"a": None, "b": True, "c": [], "d": {}, "e": "%"}, None),
    Facts(
        {
            "id": IDS[0],
            "collection": "users",
            "name": "x",
            "level": 7,
            "teams": IDS[:2],
            "claims": {"role": "open", "n": 1, "l": ["a", 1]},
        },
        TIMES[3],
        "update",
        "rest",
        {"a": IDS[0], "b": 3, "c": ["a", "open"], "d": {"a": 1}, "e": Decimal("0.1")},
        {"s": "x", "n": 1},
    ),
    Facts(
        {
            "id": "not a uuid",
            "collection": "users",
            "name": None,
            "level": -1,
            "teams": None,
            "claims": {"role": None, "n": Decimal("0.1")},
        },
        TIMES[0],
        "update",
        "rest",
        {"a": "a", "b": Decimal("0.30"), "c": [1, Decimal("2.5"), None, IDS[1], "x"], "d": [1, 2], "e": 2**63 - 1},
        {},
    ),
)


@dataclass(frozen=True)
class World:
    """The rows as memory sees them, in the order of `k`; the next row of each is the one `next_k` names."""

    table: Sql
    rows: list[dict[str, object]]


async def make_world(db: Queries, seed: int, schema: str) -> World:
    """A fresh table of hostile rows in a schema of its own."""
    pick = random.Random(seed)
    table = ident(schema, "things")
    await db.execute(sql("create schema {}", ident(schema)))
    columns = join(", ", (sql("{} {}", ident(name), Sql((column.sql_type,))) for name, column in COLUMNS.items()))
    await db.execute(sql("create table {} (k int primary key, next_k int, {})", table, columns))
    drawn = [{name: _draw(pick, column, number) for name, column in COLUMNS.items()} for number in range(ROWS)]
    for number, row in enumerate(drawn):
        await db.execute(_insert(table, number, row))
    return World(table, [_in_memory(row) for row in drawn])


def _draw(pick: random.Random, column: Kept, number: int) -> object:
    if column.nullable and (number == 0 or pick.random() < 0.25):
        return None
    # The first rows walk the pool from the start, so that every value is there; the rest are drawn.
    return column.pool[number] if number < len(column.pool) and pick.random() < 0.7 else pick.choice(column.pool)


def _insert(table: Sql, number: int, row: Mapping[str, object]) -> Sql:
    held = (_held(COLUMNS[name].sql_type, value) for name, value in row.items())
    return sql("insert into {} values ({}, {}, {})", table, number, (number * 7 + 3) % ROWS, join(", ", held))


def _held(sql_type: str, value: object) -> Sql:
    match sql_type:
        case "numeric":
            return sql("{}::text::numeric", value)
        case "baas_rt.geo_point":
            return sql("{}::text::baas_rt.geo_point", None if value is None else str(value))
    return sql("{}", value)


def _in_memory(row: Mapping[str, object]) -> dict[str, object]:
    seen = dict(row)
    for name, value in row.items():
        if value is not None and COLUMNS[name].type == "json":
            seen[name] = json.loads(str(value), parse_float=Decimal)
        if value is not None and COLUMNS[name].type == "decimal":
            seen[name] = Decimal(str(value))
    return seen


def column_of(root: str, name: str) -> Sql:
    """The SQL of a field."""
    return ident("r" if root == "record" else "n", name)


PAIR = Alone(column_of)


@dataclass(frozen=True)
class Asked:
    """An expression for one caller."""

    rule: Rule
    facts: Facts
    folded: Folded


def ask(rule: Rule, facts: Facts) -> Asked:
    return Asked(rule, facts, rule.fold(facts))


@dataclass(frozen=True)
class Difference:
    """A row on which the two evaluators do not agree (`row` -1: the statement failed)."""

    asked: Asked
    row: int
    in_sql: object
    in_memory: object

    def __str__(self) -> str:
        text = self.asked.rule.where(self.asked.folded.shape, PAIR, "x").render().text
        verdicts = f"row {self.row}: SQL {self.in_sql!r}, memory {self.in_memory!r}"
        return f"{self.asked.rule.source}\n  {verdicts}\n  {self.asked.folded}\n  {text}"


async def differences(db: Queries, world: World, asked: Sequence[Asked], *, batch: int = 20) -> list[Difference]:
    """Every disagreement of SQL and memory, many expressions to a statement."""
    found: list[Difference] = []
    for start in range(0, len(asked), batch):
        part = asked[start : start + batch]
        try:
            rows = await db.fetch(_statement(world, part))
        except Exception as error:
            if len(part) == 1:
                found.append(Difference(part[0], -1, error, None))
            else:
                found += await differences(db, world, part, batch=1)
            continue
        found += [one for number, row in enumerate(rows) for one in _judged(world, part, number, list(row.values()))]
    return found


def _statement(world: World, part: Sequence[Asked]) -> Statement:
    rails: list[Sql] = []
    for number, one in enumerate(part):
        rails.append(sql("({})", one.rule.where(one.folded.shape, PAIR, number)))
        rails.append(sql("({})", one.rule.unless(one.folded.shape, PAIR, number)))
    named = (sql("{} as {}", rail, ident(f"c{number}")) for number, rail in enumerate(rails))
    whole = sql("select {} from {} r join {} n on n.k = r.next_k order by r.k", join(", ", named), world.table, world.table)
    text, holes = whole.render().text, whole.render().args
    return Statement(text, tuple(_filled(hole, part) for hole in holes))


def _filled(hole: object, part: Sequence[Asked]) -> object:
    assert isinstance(hole, Leaf)
    return part[int(str(hole.source))].folded.values[hole.index]


def _judged(world: World, part: Sequence[Asked], number: int, rails: Sequence[object]) -> Iterable[Difference]:
    record, next_row = world.rows[number], world.rows[(number * 7 + 3) % ROWS]
    for index, one in enumerate(part):
        true, false = rails[2 * index] is True, rails[2 * index + 1] is True
        in_sql = "both" if true and false else True if true else False if false else "failure"
        verdict = one.rule.evaluate(one.facts, record, next_row)
        in_memory = "failure" if isinstance(verdict, RuleFailure) else verdict
        if in_sql != in_memory:
            yield Difference(one, number, in_sql, verdict)
        if one.folded.verdict is not None and one.folded.verdict is not (verdict is True):
            yield Difference(one, number, f"verdict {one.folded.verdict}", verdict)
