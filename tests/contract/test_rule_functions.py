"""What every rule function must do: give the same in SQL and in memory, for its examples and for hostile arguments."""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import islice

import msgspec
import pytest

from baas.engines.rules import values
from baas.engines.rules.functions import FUNCTIONS
from baas.engines.rules.functions.function import Function
from baas.engines.rules.patterns import canonical
from baas.infra.db.pool import Database
from baas.infra.db.sql import Sql, join, sql
from tests.support.rule_values import DECIMALS, DOUBLES, INTS, JSONS, PLACES, TEXTS, TIMES

_HOSTILE = {
    "string": TEXTS,
    "int": INTS,
    "double": DOUBLES,
    "decimal": [Decimal(text) for text in DECIMALS],
    "bool": [True, False],
    "timestamp": TIMES,
    "duration": [timedelta(hours=1), timedelta(microseconds=-1), values.LONGEST, -values.LONGEST, timedelta(0)],
    "json": [json.loads(text, parse_float=Decimal) for text in JSONS],
    "pattern": [
        canonical(text) for text in ("", "a", "^a$", "^[a-z]+$", ".", "[^a]", "(a|ab)*$", "\\W", "\\s{1,3}", "😀|é", "[\\s\\S]+")
    ],
    "list": [[], ["a"], ["a", "b", "\\"]],
    "geo": PLACES,
}
_JSON = msgspec.json.Encoder(decimal_format="number")
_ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/St_Johns",
    "Asia/Kathmandu",
    "+05:30",
    "-09:30",
    "02:00",
    "+14:59",
    "Nowhere/City",
    "Mars",
]
_IN_SQL = [one for one in FUNCTIONS if one.sql is not None]


def _named(function: Function) -> str:
    return f"{function.name}({','.join(function.params)})"


@pytest.mark.parametrize("function", FUNCTIONS, ids=_named)
def test_a_function_keeps_its_examples_in_memory(function: Function) -> None:
    """Each has at least one example, and Python gives what it says."""
    assert function.examples
    for *args, expected in function.examples:
        result = function.python(*args)

        assert (expected, type(expected)) == (result, type(result)), args


@pytest.mark.parametrize("function", _IN_SQL, ids=_named)
async def test_a_function_keeps_its_examples_in_sql(db: Database, function: Function) -> None:
    """PostgreSQL gives what the examples say, and null where there is no value."""
    assert [] == await _disagreements(db, function, (example[:-1] for example in function.examples))


@pytest.mark.parametrize("function", _IN_SQL, ids=_named)
async def test_a_function_is_total(db: Database, function: Function) -> None:
    """Nothing hostile raises in either evaluator, both give the same, and a null argument gives null."""
    pools = [_HOSTILE[param] for param in function.params]
    if function.params == ("timestamp", "string"):
        pools[1] = _ZONES
    cases = [(a,) for a in pools[0]] if len(pools) == 1 else [(a, b) for a in pools[0] for b in _some(pools[1])]

    assert [] == await _disagreements(db, function, cases)
    assert await db.fetch_value(sql("select ({}) is null", _call(function, [None] * len(function.params))))


@pytest.mark.parametrize("zone", [*TEXTS, "posix/../x", "+99:99", "Europe/Berlin'"])
async def test_no_name_of_a_time_zone_raises_in_sql(db: Database, zone: str) -> None:
    """The checker lets only known names through; what it cannot know, the function survives."""
    await db.fetch_value(sql("select baas_rt.local({}::timestamptz, {})", TIMES[0], zone))


def _some(pool: list[object]) -> list[object]:
    return pool if len(pool) < 20 else pool[::3]


async def _disagreements(db: Database, function: Function, cases: Iterable[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Cases where SQL does not give what memory gives; many to a statement."""
    found: list[tuple[object, ...]] = []
    for part in batched(cases, 100):
        expected = [function.python(*case) for case in part]
        same = (_same(_call(function, case), function.result.kind, one) for case, one in zip(part, expected, strict=True))
        agreed = await db.fetch_value(sql("select array[{}]", join(", ", same)))
        found += [(*case, one) for case, one, agrees in zip(part, expected, agreed, strict=True) if agrees is not True]
    return found


def batched(cases: Iterable[tuple[object, ...]], size: int) -> Iterator[list[tuple[object, ...]]]:
    remaining = iter(cases)
    while part := list(islice(remaining, size)):
        yield part


def _same(call: Sql, kind: str, expected: object) -> Sql:
    if expected is None:
        return sql("({}) is null", call)
    return sql("({}) = {}", call, _bound(kind, expected))


def _call(function: Function, args: "list[object] | tuple[object, ...]") -> Sql:
    assert function.sql is not None
    return function.sql(*(_bound(param, arg) for param, arg in zip(function.params, args, strict=True)))


def _bound(kind: str, value: object) -> Sql:
    match kind:
        case "string" | "pattern":
            return sql("{}::text", value)
        case "int":
            return sql("{}::int8", value)
        case "double":
            return sql("{}::float8", value)
        case "decimal":
            return sql("{}::numeric", value)
        case "bool":
            return sql("{}::bool", value)
        case "timestamp":
            return sql("{}::timestamptz", value)
        case "duration":
            return sql("{}::int8", values.microseconds(value) if isinstance(value, timedelta) else None)
        case "json":
            return sql("{}::jsonb", None if value is None else _JSON.encode(value).decode())
        case "list":
            return sql("{}::text[]", value)
        case "geo":
            return sql("{}::text::baas_rt.geo_point", None if value is None else str(value))
    raise AssertionError(kind)


def test_every_time_of_the_language_survives_the_driver() -> None:
    """The two ends are a microsecond inside datetime's own, which the driver writes as infinity."""
    assert values.EARLIEST > datetime.min.replace(tzinfo=values.EARLIEST.tzinfo)
    assert values.LATEST < datetime.max.replace(tzinfo=values.LATEST.tzinfo)
