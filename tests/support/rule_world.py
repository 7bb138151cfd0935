"""A table of hostile rows, and the question put to both evaluators: does the SQL of an expression say what memory says?"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from baas.engines.rules.rule import Env, Facts, Folded, Leaf, RowField, RowType, Rule, RuleFailure
from baas.engines.rules.types import Kind
from baas.infra.db.pool import Queries
from baas.infra.db.sql import Sql, Statement, ident, join, sql
from tests.support.rule_relations import (
    INVERSES,
    TYPES,
    Both,
    Near,
    Others,
    as_read,
    definitions,
    draw,
    in_memory,
    make_others,
    row_type,
    values,
)
from tests.support.rule_values import (
    DECIMALS,
    DOUBLES,
    GONE,
    IDS,
    INTS,
    JSONS,
    MEMBERS,
    NUMBERS,
    PLACES,
    SCORES,
    TAGS,
    TEXTS,
    TIMES,
    Kept,
)

ROWS = 60
COLUMNS: Mapping[str, Kept] = {
    "id": Kept("uuid", "ref(things)", False, IDS),
    "owner": Kept("uuid", "ref(users)", True, [*IDS, GONE]),
    "team": Kept("uuid", "ref(teams)", False, IDS),
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
ROW = row_type(COLUMNS, INVERSES["things"])
AUTH = RowType(
    {
        "name": RowField("string", True),
        "level": RowField("int", False),
        "team": RowField("ref(teams)", True),
        "teams": RowField("list(ref(teams))", True),
    }
)


def env(kind: str) -> Env:
    """Everything an expression can name at all."""
    known: Kind = "filter" if kind == "filter" else "rule"
    return Env("update", ROW, ROW, AUTH, None, vars=kind == "filter", kind=known, collections=TYPES)


# Variables as JSON holds what it has no type for, and such that hold it wrong.
_SENT: tuple[dict[str, object], ...] = (
    {"f": "2024-03-31T01:00:00Z", "g": "1.50", "h": {"lat": Decimal("52.52"), "lon": Decimal("13.405")}, "i": [0, 1], "j": "1h"},
    {"f": "2024-02-29", "g": "0.3", "h": {"lat": 0, "lon": 0}, "i": ["9223372036854775807"], "j": "-1.5s"},
    {"f": 5, "g": "x", "h": {"lat": 91, "lon": 0}, "i": ["a"], "j": "1d"},
)
FACTS = (
    Facts(None, TIMES[1], "update", "rest", {"a": None, "b": True, "c": [], "d": {}, "e": "%", **_SENT[0]}, None),
    Facts(
        {
            "id": IDS[0],
            "collection": "users",
            "name": "x",
            "level": 7,
            "team": IDS[1],
            "teams": IDS[:2],
            "claims": {"role": "open", "n": 1, "l": ["a", 1]},
        },
        TIMES[3],
        "update",
        "rest",
        {"a": IDS[0], "b": 3, "c": ["a", "open"], "d": {"a": 1}, "e": Decimal("0.1"), **_SENT[1]},
        {"s": "x", "n": 1},
    ),
    Facts(
        {
            "id": "not a uuid",
            "collection": "users",
            "name": None,
            "level": -1,
            "team": None,
            "teams": None,
            "claims": {"role": None, "n": Decimal("0.1")},
        },
        TIMES[0],
        "update",
        "rest",
        {"a": "a", "b": Decimal("0.30"), "c": [1, Decimal("2.5"), None, IDS[1], "x"], "d": [1, 2], "e": 2**63 - 1, **_SENT[2]},
        {},
    ),
)


@dataclass(frozen=True)
class World:
    """The rows as memory sees them, in the order of `k`; the next row of each is the one `next_k` names. `others` are the
    records that they lead to.
    """

    schema: str
    rows: list[dict[str, object]]
    others: Others

    @property
    def table(self) -> Sql:
        return ident(self.schema, "things")


async def make_world(db: Queries, seed: int, schema: str) -> World:
    """Fresh tables of hostile rows in a schema of their own."""
    pick = random.Random(seed)
    await db.execute(sql("create schema {}", ident(schema)))
    others = await make_others(db, pick, schema)
    table = ident(schema, "things")
    await db.execute(sql("create table {} (k int primary key, next_k int, {})", table, definitions(COLUMNS)))
    drawn = [{name: draw(pick, column, number) for name, column in COLUMNS.items()} for number in range(ROWS)]
    for number, row in enumerate(drawn):
        await db.execute(sql("insert into {} values ({}, {}, {})", table, number, _next(number), values(COLUMNS, row)))
    return World(schema, [in_memory(COLUMNS, row) for row in drawn], others)


def _next(number: int) -> int:
    return (number * 7 + 3) % ROWS


def column_of(root: str, name: str) -> Sql:
    """The SQL of a field."""
    return ident("r" if root == "record" else "n", name)


def pair(kind: str, schema: str = "s") -> Both:
    """The rows `r` and `n` with the ways to others; a filter is closed where its author may not go."""
    return Both(column_of, schema, closed=kind == "filter")


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
        text = self.asked.rule.where(self.asked.folded.shape, pair(self.asked.rule.env.kind), "x").render().text
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
        both = pair(one.rule.env.kind, world.schema)
        rails.append(sql("({})", one.rule.where(one.folded.shape, both, number)))
        rails.append(sql("({})", one.rule.unless(one.folded.shape, both, number)))
    named = (sql("{} as {}", rail, ident(f"c{number}")) for number, rail in enumerate(rails))
    whole = sql("select {} from {} r join {} n on n.k = r.next_k order by r.k", join(", ", named), world.table, world.table)
    text, holes = whole.render().text, whole.render().args
    return Statement(text, tuple(_filled(hole, part) for hole in holes))


def _filled(hole: object, part: Sequence[Asked]) -> object:
    assert isinstance(hole, Leaf)
    return part[int(str(hole.source))].folded.values[hole.index]


def _judged(world: World, part: Sequence[Asked], number: int, rails: Sequence[object]) -> Iterable[Difference]:
    for index, one in enumerate(part):
        true, false = rails[2 * index] is True, rails[2 * index + 1] is True
        in_sql = "both" if true and false else True if true else False if false else "failure"
        verdict = verdict_of(world, one, number)
        in_memory = "failure" if isinstance(verdict, RuleFailure) else verdict
        if in_sql != in_memory:
            yield Difference(one, number, in_sql, verdict)
        if one.folded.verdict is not None and one.folded.verdict is not (verdict is True):
            yield Difference(one, number, f"verdict {one.folded.verdict}", verdict)


def verdict_of(world: World, asked: Asked, number: int) -> bool | RuleFailure:
    """What memory says of a row."""
    closed = asked.rule.env.kind == "filter"
    record = world.rows[number]
    record = as_read("things", record) if closed else record
    return asked.rule.evaluate(asked.facts, record, world.rows[_next(number)], Near(world.others, closed=closed))
