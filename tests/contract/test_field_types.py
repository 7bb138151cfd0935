"""What every field type must do, run over the list of them on a real PostgreSQL.

A good value goes in through `clean`, lives in a column of `column_type`, and comes back by `to_json` as the JSON it was (or as
its normal form, where the type has one). A hostile value is refused by `clean`; PostgreSQL never has to.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import baas.engines.schema.fields as fields
from baas.base.ids import short_id, uuid7
from baas.engines.schema import ddl, names
from baas.engines.schema.collection import Collection, Field
from baas.engines.schema.fields import KINDS, FieldFault, kind_named, kind_of
from baas.engines.schema.fields.base import CASTS
from baas.infra.db.errors import CheckViolated
from baas.infra.db.extensions import is_ready
from baas.infra.db.pool import Database
from baas.infra.db.sql import ident, sql

TARGET = "01932f3a-0000-7000-8000-000000000001"
OTHER = "01932f3a-0000-7000-8000-000000000002"
D = Decimal
SURROGATE = "\ud83d"
ODD_TEXT = "% _ \\ ' \" é e\u0301 ß İ \uffff 😀 \n\t \u202e <b> $1 {} :x"

GOOD: dict[str, list[tuple[dict[str, Any], object, object]]] = {
    "text": [
        ({}, "", ""),
        ({}, ODD_TEXT, ODD_TEXT),
        ({}, "x" * 100_000, "x" * 100_000),
        ({"min": 2, "max": 3}, "😀😀😀", "😀😀😀"),
    ],
    "email": [
        ({}, "ann@example.org", "ann@example.org"),
        ({}, "Ann.O'Neil+x@Example.ORG", "ann.o'neil+x@example.org"),
        ({}, "jörg@bücher.example", "jörg@bücher.example"),
    ],
    "url": [
        ({}, "https://example.org/a?b=c#d", "https://example.org/a?b=c#d"),
        ({}, "http://[::1]:8080/ü", "http://[::1]:8080/ü"),
    ],
    "int": [
        ({}, 0, 0),
        ({}, 2**53, 2**53),
        ({}, -(2**53), -(2**53)),
        ({}, 2**53 + 1, str(2**53 + 1)),
        ({}, 2**63 - 1, str(2**63 - 1)),
        ({}, -(2**63), str(-(2**63))),
        ({}, str(-(2**63)), str(-(2**63))),
        ({"min": -(2**63), "max": 2**63 - 1}, 5, 5),
        ({"min": 1, "max": 5}, 5, 5),
    ],
    "float": [
        ({}, 0, 0),
        ({}, D("0.1"), D("0.1")),
        ({}, D("1.7976931348623157e308"), D("1.7976931348623157e308")),
        ({}, D("5e-324"), D("5e-324")),
        ({}, -0.0, 0),
        ({"min": -1.5, "max": 1e300}, -1.5, D("-1.5")),
    ],
    "decimal": [
        ({}, "9.50", "9.50"),
        ({}, "-0.000000000000000000001", "-0.000000000000000000001"),
        ({}, "9" * 200 + "." + "9" * 200, "9" * 200 + "." + "9" * 200),
        ({}, 12, "12"),
        ({}, 2**63 - 1, str(2**63 - 1)),
        ({}, D("1E+2"), "100"),
        ({}, D("0.1"), "0.1"),
        ({"precision": 6, "scale": 2}, "1234.5", "1234.50"),
        ({"precision": 6, "scale": 2}, "-9999.99", "-9999.99"),
        ({"precision": 2, "scale": 2}, "0.99", "0.99"),
        ({"precision": 4}, 1234, "1234"),
        ({"precision": 4, "scale": 2}, "0007.10", "7.10"),
    ],
    "bool": [({}, True, True), ({}, False, False)],
    "date": [
        ({}, "2026-11-20", "2026-11-20"),
        ({}, "0001-01-02", "0001-01-02"),
        ({}, "9999-12-30", "9999-12-30"),
        ({}, "2024-02-29", "2024-02-29"),
    ],
    "datetime": [
        ({}, "2026-11-20T10:31:07Z", "2026-11-20T10:31:07.000000Z"),
        ({}, "2026-03-29t03:30:00.123456+02:00", "2026-03-29T01:30:00.123456Z"),
        ({}, "0001-01-01T00:00:00.000001Z", "0001-01-01T00:00:00.000001Z"),
        ({}, "9999-12-31T23:59:59.999998Z", "9999-12-31T23:59:59.999998Z"),
    ],
    "select": [
        ({"values": ["a", ODD_TEXT]}, ODD_TEXT, ODD_TEXT),
        ({"values": ["a", ODD_TEXT], "many": True}, [ODD_TEXT, "a"], [ODD_TEXT, "a"]),
        ({"values": ["a", "b"], "max": 2}, [], []),
    ],
    "json": [
        ({}, {"a": [1, D("2.5"), None, True, {"": ODD_TEXT}]}, {"a": [1, D("2.5"), None, True, {"": ODD_TEXT}]}),
        ({}, "", ""),
        ({}, False, False),
        ({}, [], []),
        ({}, D("1e300"), 10**300),
        ({}, -(2**63), -(2**63)),
        ({"max_bytes": 8}, {"a": "é"}, None),
    ],
    "relation": [
        ({"to": "things"}, TARGET, TARGET),
        ({"to": "things"}, TARGET.upper(), TARGET),
        ({"to": "things", "on_delete": "cascade"}, TARGET, TARGET),
        ({"to": "things", "many": True}, [OTHER, TARGET], [OTHER, TARGET]),
        ({"to": "things", "many": True}, [], []),
    ],
    "file": [
        ({"bucket": "photos"}, "2026/a b é.jpg", "2026/a b é.jpg"),
        ({"bucket": "photos", "max": 3}, ["a", "b/c"], ["a", "b/c"]),
    ],
    "geo_point": [
        ({}, {"lat": D("52.52"), "lon": D("13.405")}, {"lat": D("52.52"), "lon": D("13.405")}),
        ({}, {"lon": -180, "lat": 90}, {"lat": 90, "lon": -180}),
        ({}, {"lat": -0.0, "lon": 5e-324}, {"lat": 0, "lon": D("5e-324")}),
    ],
    "vector": [
        ({"dimensions": 3}, [1, D("-2.5"), 0], [1, D("-2.5"), 0]),
        ({"dimensions": 1, "metric": "l2"}, [0], [0]),
        ({"dimensions": 2, "metric": "inner"}, [D("1e15"), D("1e-15")], [D("1e15"), D("1e-15")]),
        ({"dimensions": 2000}, [1] * 2000, [1] * 2000),
    ],
}
GOOD["json"][-1] = ({"max_bytes": 10}, {"a": "é"}, {"a": "é"})

NOT_TEXT: list[object] = [1, True, D("1.5"), [], {}, ["a"], {"$inc": 1}]
HOSTILE: dict[str, list[tuple[dict[str, Any], object]]] = {
    "text": [
        *(({}, value) for value in NOT_TEXT),
        ({}, "a\0b"),
        ({}, SURROGATE),
        ({}, "a\udc00"),
        ({"min": 2}, "😀"),
        ({"max": 3}, "abcd"),
    ],
    "email": [
        *(({}, value) for value in NOT_TEXT),
        *(({}, value) for value in ("", "ann", "ann@", "@example.org", "a@b@c.org", "a b@example.org", "ann@exa mple.org")),
        ({}, "ann@example.org\0"),
        ({}, SURROGATE + "@example.org"),
        ({}, "ann@example.org\nbcc: all@example.org"),
        ({}, "a" * 300 + "@example.org"),
        ({}, "Ann <ann@example.org>"),
    ],
    "url": [
        *(({}, value) for value in NOT_TEXT),
        *(({}, value) for value in ("", "example.org", "//example.org", "javascript:alert(1)", "ftp://example.org", "http://")),
        ({}, "http://example.org/\n"),
        ({}, "http://exa mple.org/"),
        ({}, 'http://example.org/"><script>'),
        ({}, "http://[::1"),
        ({}, "http://example.org:99999/"),
        ({}, "http://example.org/\0"),
        ({}, "http://example.org/" + SURROGATE),
        ({}, "http://example.org/" + "x" * 2048),
    ],
    "int": [
        *(({}, value) for value in (True, "5", "", D("5.0"), D("1.5"), 5.0, [], {}, float("nan"), "9007199254740992", "٥")),
        ({}, 2**63),
        ({}, -(2**63) - 1),
        ({}, str(2**63)),
        ({}, 10**400),
        ({}, " 9007199254740993"),
        ({}, "9007199254740993\n"),
        ({"min": 1}, 0),
        ({"max": 5}, 6),
    ],
    "float": [
        *(({}, value) for value in (True, "1.5", "", [], {}, float("nan"), float("inf"), D("NaN"), D("-Infinity"))),
        ({}, D("1e309")),
        ({}, 10**400),
        ({"min": 1.5}, 1),
        ({"max": 1.5}, D("1.6")),
    ],
    "decimal": [
        *(({}, value) for value in (True, "", "1e5", "NaN", "Infinity", " 1", "1_0", "1.", ".5", "+1", "٥", "1\n", [], {})),
        ({}, float("nan")),
        ({}, float("inf")),
        ({}, D("NaN")),
        ({}, D("sNaN")),
        ({}, D("Infinity")),
        ({}, D("1e401")),
        ({}, D("1e-401")),
        ({}, "9" * 401),
        ({}, 10**400),
        ({"precision": 6, "scale": 2}, "12345"),
        ({"precision": 6, "scale": 2}, "1.234"),
        ({"precision": 2, "scale": 2}, 1),
    ],
    "bool": [({}, value) for value in (0, 1, "true", "", "t", [], {}, D(1))],
    "date": [
        *(({}, value) for value in NOT_TEXT),
        *(
            ({}, value)
            for value in (
                "", "2026-02-30", "2026-13-01", "20261120", "2026-W47-5", "2026-11-20T00:00:00Z", "20000-01-01", "0000-01-01",
                "0001-01-01", "9999-12-31", "infinity", "-infinity", "today", "2026-11-20 BC", "٢٠٢٦-١١-٢٠", "2026-11-20\n",
            )
        ),
    ],
    "datetime": [
        *(({}, value) for value in NOT_TEXT),
        *(
            ({}, value)
            for value in (
                "", "2026-11-20", "2026-11-20T10:31:07", "2026-11-20 10:31:07Z", "2026-11-20T10:31Z", "2026-11-20T10:31:60Z",
                "2026-11-20T24:00:00Z", "2026-11-20T10:31:07.1234567Z", "2026-11-20T10:31:07+25:00", "infinity", "now",
                "20000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00+14:00",
                "9999-12-31T23:59:59-14:00", "2026-02-30T00:00:00Z", "2026-11-20T10:31:07Z\n",
            )
        ),
    ],
    "select": [
        *(({"values": ["a"]}, value) for value in (*NOT_TEXT, "", "b", "A", "a ")),
        *(({"values": ["a", "b", "c"], "max": 2}, value) for value in ("a", {}, ["a", "a"], ["d"], [1], [None], [["a"]])),
        ({"values": ["a", "b", "c"], "max": 2}, ["a", "b", "c"]),
    ],
    "json": [
        ({}, "a\0b"),
        ({}, SURROGATE),
        ({}, {"a\0": 1}),
        ({}, {SURROGATE: 1}),
        ({}, [{"a": ["\0"]}]),
        ({}, -(10**401)),
        ({}, [float("nan")]),
        ({}, [float("inf")]),
        ({}, [D("NaN")]),
        ({}, [D("1e1000")]),
        ({}, [D("1e-1000")]),
        ({}, [D("1." + "1" * 500)]),
        ({"max_bytes": 9}, {"a": "é"}),
    ],
    "relation": [
        *(({"to": "things"}, value) for value in (*NOT_TEXT, "", "x", TARGET + "\n", "{" + TARGET + "}")),
        ({"to": "things"}, TARGET.replace("-", "")),
        *(({"to": "things", "many": True}, value) for value in (TARGET, {}, [1], [None], [TARGET, TARGET.upper()], ["x"])),
        ({"to": "things", "max": 1, "many": True}, [TARGET, OTHER]),
    ],
    "file": [
        *(({"bucket": "photos"}, value) for value in (*NOT_TEXT, "", "/a", "a/", "a//b", ".", "a/../b", "..")),
        *(({"bucket": "photos"}, value) for value in ("a\0", "a\nb", "a\\b")),
        ({"bucket": "photos"}, "x" * 1025),
        ({"bucket": "photos"}, SURROGATE),
        *(({"bucket": "photos", "many": True}, value) for value in ("a", ["a", "a"], [1], ["/a"])),
    ],
    "geo_point": [
        *(({}, value) for value in (1, "52,13", [52, 13], True, {}, {"lat": 1}, {"lon": 1}, {"lat": 1, "lon": None})),
        *(({}, {"lat": value, "lon": 0}) for value in ("1", True, [], D("90.1"), -91, float("nan"), D("1e400"), 10**400)),
        *(({}, {"lat": 0, "lon": value}) for value in (D("180.0000000001"), D("-1e309"), D("NaN"), {})),
        ({}, {"lat": 1, "lon": 1, "alt": 1}),
    ],
    "vector": [
        *(({"dimensions": 2}, value) for value in (1, "[1,2]", {}, True, [], [1], [1, 2, 3])),
        *(({"dimensions": 2}, [1, value]) for value in ("2", None, True, [2])),
        *(({"dimensions": 2}, [1, value]) for value in (float("nan"), float("inf"), D("NaN"), D("1e400"), 10**400, D("1.1e15"))),
        ({"dimensions": 2}, [0, 0]),
        ({"dimensions": 2}, [D("1e-300"), D("-1e-16")]),
    ],
}  # fmt: skip
_deep: object = 1
for _ in range(200):
    _deep = [_deep]
HOSTILE["json"].append(({}, _deep))

LIMITED = {kind: [case for case in HOSTILE[kind] if {"min", "max"} & case[0].keys()] for kind in ("text", "int", "float")}
DEFAULTS = {kind: found for kind, found in GOOD.items() if kind not in ("relation", "file")}


def field(kind: str, options: dict[str, Any], **flags: Any) -> Field:
    settled, faults = kind_named(kind).check_options(options)
    assert [] == [(fault.at, fault.message) for fault in faults]
    return Field("value", kind, options=settled, **flags)


def cases(table: dict[str, list[Any]]) -> list[Any]:
    return [pytest.param(kind, *case, id=f"{kind}-{n}") for kind, found in table.items() for n, case in enumerate(found)]


@pytest.fixture(scope="module")
async def schema(db: Database) -> AsyncIterator[str]:
    """A schema with one table to link to, holding TARGET and OTHER."""
    name = f"fields_{short_id()}"
    await db.execute(sql("create schema {}", ident(name)))
    await db.execute(sql("create table {} (id uuid primary key)", ident(name, "things")))
    await db.execute(sql("insert into {} values ({}::uuid), ({}::uuid)", ident(name, "things"), TARGET, OTHER))
    yield name
    await db.execute(sql("drop schema {} cascade", ident(name)))


async def made(db: Database, schema: str, one: Field) -> Collection:
    """A table with this one field; where PostgreSQL has no vectors there is nothing to test."""
    if one.type == "vector" and not await is_ready(db, "vector"):
        pytest.skip("needs PostgreSQL's extension vector")
    collection = Collection(f"c_{short_id()}", schema, (one,))
    for statement in ddl.create(collection, lambda _collection, _index: sql("true"), logged=False):
        await db.execute(statement)
    return collection


async def insert(db: Database, collection: Collection, value: object) -> None:
    one = collection.fields[0]
    await db.execute(
        sql(
            "insert into {} (id, value) values ({}, {}::{})",
            ident(collection.schema, collection.name),
            uuid7(),
            value,
            CASTS[kind_of(one).cast(one)],
        )
    )


async def shown(db: Database, collection: Collection) -> object:
    one = collection.fields[0]
    expression = kind_of(one).to_json(sql("t.value"), one)
    text = await db.fetch_value(sql("select json_build_object('v', {})::text from {} t", expression, ddl.table(collection)))
    return json.loads(text, parse_float=Decimal)["v"]


def test_every_file_of_the_folder_is_in_the_list() -> None:
    """A field type that nobody listed would never be tested."""
    folder = Path(fields.__file__).parent
    files = {path.stem.rstrip("_").replace("integer", "int") for path in folder.glob("*.py")} - {"", "base", "__init"}

    assert files == {kind.name for kind in KINDS}
    assert set(GOOD) == set(HOSTILE) == {kind.name for kind in KINDS}


def test_the_reference_names_every_type_and_every_option() -> None:
    """`docs/reference/fields.md` is written by hand; a new type or option must stand there."""
    text = (Path(__file__).parents[2] / "docs/reference/fields.md").read_text("utf-8")
    for kind in KINDS:
        assert f"| `{kind.name}` |" in text
        described = text.partition(f"**{kind.name}**")[2].partition("\n\n")[0]
        assert [] == [option.name for option in kind.options if f"`{option.name}`" not in described], kind.name


@pytest.mark.parametrize(("kind", "options", "value", "expected"), cases(GOOD))
async def test_a_good_value_comes_back_as_it_was(
    db: Database, schema: str, kind: str, options: dict[str, Any], value: object, expected: object
) -> None:
    """Clean, store, show: the same JSON, also when it is sent once more."""
    one = field(kind, options)
    collection = await made(db, schema, one)
    await insert(db, collection, kind_of(one).clean(one, value))
    answer = await shown(db, collection)

    assert expected == answer
    assert isinstance(answer, type(expected)) or isinstance(expected, Decimal | int)
    kind_of(one).clean(one, answer)


@pytest.mark.parametrize(("kind", "options", "value"), cases(HOSTILE))
def test_a_hostile_value_is_refused_before_the_database(kind: str, options: dict[str, Any], value: object) -> None:
    """A fault with a code and words, nothing else."""
    one = field(kind, options)
    with pytest.raises(FieldFault) as caught:
        kind_of(one).clean(one, value)

    assert caught.value.code.isidentifier()
    assert caught.value.message.endswith(".")


@pytest.mark.parametrize(("kind", "options", "value"), cases(LIMITED))
async def test_what_a_check_forbids_the_table_refuses_too(
    db: Database, schema: str, kind: str, options: dict[str, Any], value: object
) -> None:
    """Limits of a field are a CHECK as well, for writes that compute a value in SQL."""
    one = field(kind, options)
    free = replace(one, options={**one.options, **dict.fromkeys(("min", "max"))})
    collection = await made(db, schema, one)
    with pytest.raises(CheckViolated) as caught:
        await insert(db, collection, kind_of(one).clean(free, value))

    assert names.check(collection, one) == caught.value.constraint


@pytest.mark.parametrize(("kind", "options", "value", "expected"), cases(DEFAULTS))
async def test_a_default_is_the_value_of_rows_that_were_there(
    db: Database, schema: str, kind: str, options: dict[str, Any], value: object, expected: object
) -> None:
    """A cleaned value is written as a constant of DDL and means the same."""
    one = field(kind, options)
    collection = await made(db, schema, one)
    await insert(db, collection, None)
    constant = ddl.constant(one, kind_of(one).clean(one, value))
    await db.execute(sql("update {} set value = {}", ddl.table(collection), constant))

    assert expected == await shown(db, collection)


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS])
def test_rules_know_the_type_and_the_document_has_a_schema(kind: str) -> None:
    """Every kind says what it is to rules and to clients, for each of its forms."""
    scalars = {"string", "int", "double", "decimal", "bool", "timestamp", "json", "geo", "vector", "ref(things)"}
    for options, _, _ in GOOD[kind]:
        one = field(kind, options)

        assert kind_of(one).rule_type(one) in scalars | {f"list({scalar})" for scalar in scalars}
        assert isinstance(kind_of(one).json_schema(one), dict)
