"""Hostile values of every type: edges, near misses, and what one of the two evaluators has been known to read differently."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import LiteralString

from baas.base.places import Geo

IDS = [f"{n:08x}-0000-4000-8000-{'f' if n % 2 else '0'}00000000000" for n in range(1, 5)]
GONE = "0000dead-0000-4000-8000-000000000000"
"""An id that no record has."""
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
