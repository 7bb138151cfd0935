"""Lists: order, pages, filters, counts, and what is refused."""

import asyncio
import json
import random
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.callers import Caller, ProjectUnderTest

BASE = "collections/things/records"
OPEN = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")
FIELDS = [
    {"name": "text", "type": "text"},
    {"name": "must", "type": "int", "required": True},
    {"name": "int", "type": "int"},
    {"name": "float", "type": "float"},
    {"name": "decimal", "type": "decimal"},
    {"name": "bool", "type": "bool"},
    {"name": "date", "type": "date"},
    {"name": "datetime", "type": "datetime"},
    {"name": "select", "type": "select", "values": ["a", "b"]},
    {"name": "tags", "type": "select", "values": ["a", "b"], "many": True},
    {"name": "json", "type": "json"},
]
VALUES: dict[str, list[Any]] = {
    "text": [None, "", "a", "é", "Z", "😀", "a\\'\""],
    "must": [0, 1, 2],
    "int": [None, -(2**63), 0, 2**53 + 1, 2**63 - 1],
    "float": [None, -1e300, 5e-324, 0.1, 0.30000000000000004],
    "decimal": [None, "-1.5", "1.50", "1.5", "99999999999999999999.000000001"],
    "bool": [None, True, False],
    "date": [None, "0001-01-02", "2026-02-28", "9999-12-30"],
    "datetime": [None, "0001-01-01T00:00:00.000001Z", "2026-11-20T10:31:07.104233Z", "9999-12-31T23:59:59.999998Z"],
    "select": [None, "a", "b"],
}
SORTS = [
    *(f"{sign}{name}" for name in (*VALUES, "id", "created_at", "updated_at", "rev") for sign in ("", "-")),
    "must,-int",
    "-text,must,float",
    "-decimal,date,-datetime,select",
]


async def fill(project: ProjectUnderTest, count: int, seed: int = 1) -> None:
    draw = random.Random(seed)
    rows = [{name: draw.choice(values) for name, values in VALUES.items()} for _ in range(count)]
    answer = await project.operator.post(
        BASE, json=[{k: str(v) if k == "int" and v and abs(v) > 2**53 else v for k, v in row.items()} for row in rows]
    )
    assert answer.status_code == 201, answer.text


async def pages(caller: Caller, limit: int, **params: Any) -> list[dict[str, Any]]:
    """Every item by following cursors."""
    items: list[dict[str, Any]] = []
    cursor = None
    while True:
        more = {"cursor": cursor} if cursor else {}
        answer = await caller.get(BASE, params={**params, "limit": limit, **more})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return items
        assert len(items) < 1000, "the pages come to an end"
        assert len(page["items"]) == limit


async def test_pages_make_up_the_whole_list_in_every_order(project: ProjectUnderTest) -> None:
    """Under ties and nulls, by every type, both ways; no record twice, none missing, the order that of one large page."""
    await project.collection("things", FIELDS)
    await fill(project, 60)
    for sort in SORTS:
        whole = await project.operator.list("things", sort=sort, limit=500)
        assert len(whole) == 60
        for limit in (1, 7, 60):
            if limit > 1 or sort in ("int", "-text,must,float"):
                assert await pages(project.operator, limit, sort=sort) == whole, (sort, limit)


async def test_nulls_come_last_in_both_directions(project: ProjectUnderTest) -> None:
    await project.collection("things", FIELDS)
    await fill(project, 40)
    for sort in ("int", "-int", "text", "-text", "bool", "-datetime"):
        values = [one[sort.lstrip("-")] for one in await project.operator.list("things", sort=sort, limit=100)]
        first_null = values.index(None)
        assert values[first_null:] == [None] * (len(values) - first_null)
    texts = [one["text"] for one in await project.operator.list("things", sort="text", limit=100) if one["text"] is not None]
    assert texts == sorted(texts), "by code point, whatever the database's own order is"


async def test_pages_stay_whole_while_others_write(project: ProjectUnderTest) -> None:
    """Records there from beginning to end appear exactly once, whatever is inserted and deleted around them."""
    await project.collection("things", FIELDS)
    await fill(project, 80)
    kept = {one["id"] for one in await project.operator.list("things", limit=100)}
    done = asyncio.Event()

    async def disturb() -> None:
        seed = 2
        while not done.is_set():
            seed += 1
            await fill(project, 5, seed)
            for one in await project.operator.list("things", sort="-created_at", limit=3):
                if one["id"] not in kept:
                    await project.operator.delete(f"{BASE}/{one['id']}")

    task = asyncio.create_task(disturb())
    for sort in ("must", "-int", "text,-must", "id"):
        seen = [one["id"] for one in await pages(project.operator, 4, sort=sort)]
        assert len(seen) == len(set(seen)), sort
        assert kept <= set(seen), sort
    done.set()
    await task


async def test_a_cursor_moves_only_within_its_query(project: ProjectUnderTest) -> None:
    """Another order, filter, value, caller, collection or project, a changed byte, a foreign text: 400, each time."""
    await project.collection("things", FIELDS, OPEN)
    await project.collection("others", FIELDS, OPEN)
    await fill(project, 6)
    user, other = await project.user(), await project.user()
    query = {"sort": "must", "filter": "must >= $n", "vars": '{"n": 0}', "limit": 2}
    cursor = (await user.get(BASE, params=query)).json()["next_cursor"]
    flipped = cursor[:-1] + ("A" if cursor[-1] != "A" else "B")
    tries = [
        (user, BASE, query | {"sort": "-must"}),
        (user, BASE, query | {"sort": "int"}),
        (user, BASE, query | {"filter": "must >= $n && true"}),
        (user, BASE, query | {"vars": '{"n": 1}'}),
        (user, BASE, {"limit": 2}),
        (other, BASE, query),
        (project.anonymous, BASE, query),
        (project.operator, BASE, query),
        (user, "collections/others/records", query),
        *(
            (user, BASE, query | {"cursor": text})
            for text in (flipped, cursor[:-2], "x", "", "é", "=", "A" * 5000, cursor + "A", " " + cursor)
        ),
    ]
    for caller, path, params in tries:
        answer = await caller.get(path, params={"cursor": cursor} | params)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor"), params

    other_size = await user.get(BASE, params=query | {"cursor": cursor, "limit": 3, "fields": "id"})
    assert (other_size.status_code, len(other_size.json()["items"])) == (200, 3)


async def test_a_cursor_grants_nothing(project: ProjectUnderTest) -> None:
    """The rule is judged on every page anew."""
    await project.collection("things", FIELDS, {"list": "record.must >= 0"})
    await fill(project, 6)
    first = (await project.anonymous.get(BASE, params={"limit": 2})).json()
    await project.operator.patch("collections/things", json={"rules": {"list": "record.must > 100"}})
    second = await project.anonymous.get(BASE, params={"limit": 2, "cursor": first["next_cursor"]})

    assert second.json()["items"] == []


async def test_the_link_header_leads_to_the_next_page(project: ProjectUnderTest) -> None:
    await project.collection("things", FIELDS)
    await fill(project, 5)
    answer = await project.operator.get(BASE, params={"sort": "-text", "filter": 'must >= 0 && text != "é\'"', "limit": 3})
    link = answer.headers["link"]
    place = link[1 : link.index(">")]

    assert link.endswith('; rel="next"')
    assert urlsplit(place).path == f"/v1/projects/{project.name}/{BASE}"
    assert parse_qs(urlsplit(place).query)["cursor"] == [answer.json()["next_cursor"]]
    assert len((await project.operator.get(place)).json()["items"]) == 2
    assert "link" not in (await project.operator.get(BASE)).headers


async def test_a_body_asks_the_same_as_a_query_string(project: ProjectUnderTest) -> None:
    await project.collection("things", FIELDS)
    await fill(project, 12)
    query = {
        "filter": "must > $low",
        "sort": "-must,text",
        "limit": "4",
        "fields": "id,must",
        "count": "exact",
        "vars": '{"low": 0}',
    }
    asked = await project.operator.get(BASE, params=query)
    told = await project.operator.post(f"{BASE}/query", json=query | {"limit": 4, "vars": {"low": 0}})
    lists = await project.operator.post(
        f"{BASE}/query", json=query | {"limit": 4, "vars": {"low": 0}, "sort": ["-must", "text"], "fields": ["id", "must"]}
    )

    assert asked.json() == told.json() == lists.json()
    assert set(asked.json()["items"][0]) == {"id", "must"}
    cursor = asked.json()["next_cursor"]
    rest = await project.operator.post(f"{BASE}/query", json=query | {"limit": 50, "vars": {"low": 0}, "cursor": cursor})
    assert len(rest.json()["items"]) == asked.json()["total"] - 4
    assert (await project.operator.post(f"{BASE}/query", json={"cursor": None, "filter": None})).status_code == 200


async def test_counts(project: ProjectUnderTest) -> None:
    await project.collection("things", FIELDS, {"list": "record.must > 0"})
    await fill(project, 30)
    visible = len([one for one in await project.operator.list("things", limit=100) if one["must"] > 0])
    for count in ("exact", "estimate"):
        assert (await project.anonymous.get(BASE, params={"count": count, "limit": 1})).json()["total"] == visible
        assert (await project.operator.get(BASE, params={"count": count, "filter": "must == 99"})).json()["total"] == 0
        assert (await project.operator.get(BASE, params={"count": count})).json()["total"] == 30
    assert "total" not in (await project.operator.get(BASE, params={"count": "none"})).json()
    assert "total" not in (await project.operator.get(BASE)).json()


async def test_a_filter_finds_by_every_kind_of_value(project: ProjectUnderTest) -> None:
    await project.collection("things", FIELDS)
    row = {
        "text": "a'b",
        "must": 5,
        "int": 7,
        "float": 0.5,
        "decimal": "1.50",
        "bool": True,
        "date": "2026-01-02",
        "datetime": "2026-01-02T03:04:05Z",
        "select": "a",
        "tags": ["a", "b"],
        "json": {"k": [1]},
    }
    made = await project.operator.create("things", row)
    await project.operator.create("things", {"must": 1})
    for source, given in (
        ("text == $v", "a'b"),
        ("int == $v", 7),
        ("int > $v", 6.5),
        ("float == $v", 0.5),
        ("decimal == $v", 1.5),
        ("bool == $v", True),
        ("int in $v", [1, 7]),
        ("text == $v", "a'b"),
        ("select in $v", ["a"]),
        ('"a" in tags && must == $v', 5),
        ("id == $v", made["id"]),
        ("must == 5 && int != $v", None),
    ):
        found = await project.operator.get(BASE, params={"filter": source, "vars": json.dumps({"v": given})})
        assert found.status_code == 200, (source, found.text)
        assert [one["must"] for one in found.json()["items"]] == [5], source
    assert [one["must"] for one in await project.operator.list("things", filter="int == null")] == [1]


async def test_what_is_answered_comes_back_as_a_variable(project: ProjectUnderTest) -> None:
    """Every field of a record, and the server's own, equals itself as it was answered, also in a list."""
    fields = [*FIELDS, {"name": "place", "type": "geo_point"}]
    await project.collection("things", fields, OPEN)
    row = {
        "text": "a'b",
        "must": 5,
        "int": str(2**53 + 1),
        "float": 0.1,
        "decimal": "4.50",
        "bool": True,
        "date": "2026-01-02",
        "datetime": "2026-01-02T03:04:05.000001Z",
        "select": "a",
        "tags": ["a", "b"],
        "json": {"k": [1.5]},
        "place": {"lat": 52.52, "lon": 13.405},
    }
    made = await project.operator.create("things", row)
    await project.operator.create("things", {"must": 1})

    for name, value in made.items():
        asked = [(f"{name} == $v", value)]
        if name not in ("place", "tags", "json", "bool"):
            asked += [(f"{name} in $v", [value]), (f"{name} in [$v]", value), (f"{name} >= $v && {name} <= $v", value)]
        for source, given in asked:
            found = await project.operator.get(BASE, params={"filter": source, "vars": json.dumps({"v": given})})
            assert found.status_code == 200, (source, given, found.text)
            both = name == "rev"
            assert ({5, 1} if both else {5}) == {one["must"] for one in found.json()["items"]}, (source, given)


@pytest.mark.parametrize(
    ("source", "position"),
    [
        ("json.?a == 1", 5),
        ("tags.exists(i, v, v == 'a')", 5),
        ("cel.bind(x, must, x == 1)", 4),
        ("Foo{a: 1} == null", 3),
        ("type(must) == 1", 0),
        ("must == 1u", 8),
        ("text == b'x'", 5),
        ("{'a': must}.a == 1", 0),
        ("math.greatest(must, 1) == 1", 5),
        ("text.charAt(0) == 'a'", 5),
    ],
)
async def test_what_the_language_leaves_out_of_cel_is_refused_with_its_place(
    project: ProjectUnderTest, source: str, position: int
) -> None:
    await project.collection("things", FIELDS, OPEN)

    body = (await project.operator.get(BASE, params={"filter": source})).json()

    assert (400, "bad_filter", position) == (body["status"], body["code"], body["position"])


@pytest.mark.parametrize(
    ("source", "value", "position", "words"),
    [
        ("datetime > $v", "yesterday", 11, "A time is text as it is answered"),
        ("must == 1 && date == $v", 20260102, 21, "A time is text as it is answered"),
        ("decimal == $v", "four", 11, 'text as it is answered: "4.50"'),
        ("decimal in $v", ["1.5", "four"], 11, 'text as it is answered: "4.50"'),
        ("int == $v", "x", 7, "Send a number."),
        ("bool == $v", "true", 8, "Send true or false."),
        ("text == $v", 5, 8, "Send text."),
        ("text.contains($v)", 5, 14, "Send text."),
        ("text in $v", "a", 8, "Send a list."),
        ("tags.exists(t, t == $v)", 5, 20, "Send text."),
        ("must == 1 && text == $w", "a", 21, None),
        ("$v == null || datetime > $v", "", 25, "A time is text"),
    ],
)
async def test_a_variable_that_can_be_no_value_of_the_field_is_refused(
    project: ProjectUnderTest, source: str, value: object, position: int, words: str | None
) -> None:
    """400 with its place, instead of an answer with nothing in it; also where the variable is not given."""
    await project.collection("things", FIELDS, OPEN)

    found = await project.operator.get(BASE, params={"filter": source, "vars": json.dumps({"v": value})})

    body = found.json()
    assert (400, "bad_filter", "vars", position) == (found.status_code, body["code"], body["parameter"], body["position"])
    assert (words or "") in (body.get("hint") or "")


@pytest.mark.parametrize(
    ("source", "value", "found"),
    [
        ("$v == 'all' || must == $v", "all", [5]),
        ("$v == 'all' || must == $v", 5, [5]),
        ("$v == 'all' || must == $v", "none", []),
        ("$v == '' || datetime > $v", "", [5]),
        ("$v == '' || datetime > $v", "2026-01-01T00:00:00Z", []),
        ("$v == null || datetime > $v", None, [5]),
        ("size($v) == 0 || must in $v", [], [5]),
    ],
)
async def test_a_variable_that_the_filter_looks_at_itself_may_be_a_sign(
    project: ProjectUnderTest, source: str, value: object, found: list[int]
) -> None:
    """As in the logic everywhere, what has no value decides nothing beside what is true."""
    await project.collection("things", FIELDS, OPEN)
    await project.operator.create("things", {"must": 5})

    answer = await project.operator.get(BASE, params={"filter": source, "vars": json.dumps({"v": value})})
    assert (200, found) == (answer.status_code, [one["must"] for one in answer.json().get("items", [])]), answer.text


@pytest.mark.parametrize(
    ("source", "value", "found"),
    [
        ("datetime > now - duration($v)", "1h", [5]),
        ("$v.exists(y, timestamp(y) == datetime)", ["2099-01-01T00:00:00Z"], [5]),
        ("datetime in $v", ["2099-01-01T00:00:00Z"], [5]),
        ("datetime > now - $v", "1h", []),
        ("$v.exists(y, y == datetime)", ["2099-01-01T00:00:00Z"], []),
    ],
)
async def test_in_arithmetic_and_loops_the_type_of_a_variable_is_said(
    project: ProjectUnderTest, source: str, value: object, found: list[int]
) -> None:
    """As the reference has it: there nothing of a row stands beside the variable."""
    await project.collection("things", FIELDS, OPEN)
    await project.operator.create("things", {"must": 5, "datetime": "2099-01-01T00:00:00Z"})

    answer = await project.operator.get(BASE, params={"filter": source, "vars": json.dumps({"v": value})})
    assert (200, found) == (answer.status_code, [one["must"] for one in answer.json().get("items", [])]), answer.text


async def test_a_long_list_is_refused_whatever_it_holds(project: ProjectUnderTest) -> None:
    await project.collection("things", FIELDS, OPEN)
    body = {"filter": "must in $v", "vars": {"v": ["x"] * 201}}

    answer = await project.operator.post(f"{BASE}/query", json=body)
    assert (422, "limit_exceeded") == (answer.status_code, answer.json()["code"])


@pytest.mark.parametrize(
    ("source", "position"),
    [
        ("must ==", 7),
        ("nosuch == 1", 0),
        ("must == 'x", 8),
        ('must == "x"', 5),
        ("must = 1", 5),
        ("must == 1 or true", 10),
        (")", 0),
    ],
)
async def test_a_wrong_filter_is_refused_with_its_place(project: ProjectUnderTest, source: str, position: int) -> None:
    await project.collection("things", FIELDS)
    answer = await project.operator.get(BASE, params={"filter": source})
    body = answer.json()

    assert (answer.status_code, body["code"]) == (400, "bad_filter")
    assert abs(body["position"] - position) <= 3, body
    assert (body["line"], body["column"]) == (1, body["position"] + 1)
    assert "^" in body["snippet"]


async def test_a_wrong_name_comes_with_the_right_one(project: ProjectUnderTest) -> None:
    await project.collection("things", FIELDS, OPEN)
    for params, code in (
        ({"filter": "flaot == 0.5"}, "bad_filter"),
        ({"sort": "flaot"}, "bad_sort"),
        ({"fields": "flaot"}, "bad_fields"),
    ):
        answer = await project.anonymous.get(BASE, params=params)
        assert (answer.status_code, answer.json()["code"]) == (400, code)
        assert "float" in answer.json()["hint"]


async def test_what_a_list_refuses(project: ProjectUnderTest) -> None:
    await project.collection("things", FIELDS)
    deep = "(" * 200 + "true" + ")" * 200
    for params, status, code in (
        ({"limit": "0"}, 400, "bad_parameter"),
        ({"limit": "-1"}, 400, "bad_parameter"),
        ({"limit": "x"}, 400, "bad_parameter"),
        ({"limit": "501"}, 422, "limit_exceeded"),
        ({"limit": "9" * 30}, 400, "bad_parameter"),
        ({"sort": "json"}, 400, "bad_sort"),
        ({"sort": "tags"}, 400, "bad_sort"),
        ({"sort": "must,-must"}, 400, "bad_sort"),
        ({"sort": ""}, 400, "bad_sort"),
        ({"sort": "must,"}, 400, "bad_sort"),
        ({"sort": "--must"}, 400, "bad_sort"),
        ({"sort": ",".join(list(VALUES)[:9])}, 422, "limit_exceeded"),
        ({"fields": ""}, 400, "bad_fields"),
        ({"fields": "id,nope"}, 400, "bad_fields"),
        ({"fields": "*"}, 400, "bad_fields"),
        ({"count": "some"}, 400, "bad_parameter"),
        ({"filter": ""}, 400, "bad_filter"),
        ({"filter": "x" * 2049}, 422, "limit_exceeded"),
        ({"filter": deep}, 400, "bad_filter"),
        ({"vars": "{"}, 400, "bad_parameter"),
        ({"vars": "[]"}, 400, "bad_parameter"),
        ({"vars": '{"a": NaN}'}, 400, "bad_parameter"),
        ({"vars": '{"a": 1, "a": 2}'}, 400, "bad_parameter"),
        ({"filter": "must == $a"}, 400, "bad_filter"),
        ({"filter": "must == $a", "vars": '{"b": 1}'}, 400, "bad_filter"),
        ({"filter": "must == $a", "vars": '{"a": 1, "b": 1}'}, 400, "bad_filter"),
        ({"vars": '{"a": 1}'}, 400, "bad_filter"),
    ):
        answer = await project.operator.get(BASE, params=params)
        assert (answer.status_code, answer.json()["code"]) == (status, code), (params, answer.text)
    many = {"filter": "must in $v", "vars": {"v": list(range(201))}}
    assert (await project.operator.post(f"{BASE}/query", json=many)).json()["code"] == "limit_exceeded"
    body = {"filter": 1, "vars": [], "limit": True, "sort": [1], "fields": {}, "count": "x", "cursor": 1, "offset": 5}
    told = await project.operator.post(f"{BASE}/query", json=body)
    assert told.status_code == 422
    assert {one["pointer"] for one in told.json()["errors"]} == {f"/{name}" for name in body}
    assert (await project.operator.post(f"{BASE}/query", json={"limit": 501})).json()["code"] == "limit_exceeded"


async def test_the_default_page_has_thirty(project: ProjectUnderTest) -> None:
    await project.collection("things", FIELDS)
    await fill(project, 31)
    page = (await project.operator.get(BASE)).json()

    assert len(page["items"]) == 30
    assert page["next_cursor"]
    assert [one["id"] for one in page["items"]] == sorted(one["id"] for one in page["items"])


HOSTILE = [
    "",
    " ",
    "'",
    '"',
    "''",
    "; drop table x; --",
    "$1",
    "{}",
    "{0}",
    "%s",
    "%",
    "_",
    "\\",
    "\u0000",
    "\ud800",
    "\uffff",
    "😀",
    "é" * 50,
    "a" * 3000,
    "1e999",
    "NaN",
    "-0",
    "9" * 500,
    "0x10",
    "null",
    "true",
    "record",
    "next",
    "auth",
    "now",
    "id",
    "rev",
    "r",
    "n",
    "one",
    "xmin",
    "ctid",
    "tableoid",
    "r.*",
    "title--",
    "../x",
    "(",
    ")",
    "[",
    "]",
    "((((",
    "!" * 60,
    "-" * 60,
    "a.b.c.d.e",
    "$",
    "$a",
    "text.x",
    "must.size()",
    "must + 9223372036854775807 > 0",
    "1/0 == 1",
    "must / 0 == 1",
    "must % 0 == 1",
    "-9223372036854775808 - must < 0",
    "float * 1e308 > 0.0",
    "decimal * decimal > 0",
    "size(text) > 99999999999",
    "int in [1, 2, null]",
    "text < 5",
    "json.a.b == 1",
    'json["a"] > 1',
    "json == null",
    "tags.exists(t, t == 'a')",
    "tags.all(t, t != text)",
    "text.contains('%')",
    "has(json.x)",
    "datetime > now",
    "date < datetime",
    "bool",
    "!bool",
    "bool ? must > 1 : text == 'a'",
    "rows('users').exists(u, true)",
    "auth.id == id",
    "auth.claims.role == 'x'",
    "text.matches('(a+)+$')",
    "\r\n",
    "//",
    "/* */",
    "text == '\\u0000'",
    "text == '\\x00'",
    "timestamp('x') < now",
]


async def test_hostile_names_and_values_never_break_the_server(project: ProjectUnderTest) -> None:
    """Every place takes every hostile text: 4xx or 2xx, problem documents, never a 5xx, and no SQL in an answer."""
    await project.collection("things", FIELDS, OPEN)
    await fill(project, 10)
    record = (await project.operator.list("things", limit=1))[0]["id"]
    draw, inputs, broken = random.Random(7), 0, []
    print("seed 7")
    user = await project.user()
    for text in HOSTILE:
        quoted = json.dumps(text)
        second = draw.choice(HOSTILE)
        sendable = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        printable = "".join(letter for letter in sendable if 32 < ord(letter) < 127)
        both = f"({sendable}) && ({second.encode('utf-8', 'replace').decode()})"
        calls: list[tuple[str, str, dict[str, Any]]] = [
            *(
                ("GET", BASE, {"params": {name: sendable}})
                for name in ("filter", "sort", "fields", "cursor", "limit", "count", "vars")
            ),
            ("GET", BASE, {"params": {sendable or "x": "1"}}),
            ("GET", BASE, {"params": {"filter": "text == $v || text > $v", "vars": '{"v":' + quoted + "}"}}),
            ("GET", BASE, {"params": {"filter": "$v", "vars": '{"v":' + quoted + "}"}}),
            ("GET", BASE, {"params": {"filter": f"text == {quoted}", "sort": "text"}}),
            ("GET", BASE, {"params": {"filter": both}}),
            ("GET", f"{BASE}/{record}", {"params": {"fields": sendable}}),
            ("GET", f"{BASE}/{record}", {"headers": {"if-none-match": printable}}),
            ("PATCH", f"{BASE}/{record}", {"content": "{}", "headers": {"if-match": printable}}),
            ("POST", f"{BASE}/query", {"content": '{"filter":' + quoted + "}"}),
            ("POST", f"{BASE}/query", {"content": '{"sort":[' + quoted + "]}"}),
            ("POST", f"{BASE}/query", {"content": "{" + quoted + ":1}"}),
            ("POST", BASE, {"content": "{" + quoted + ":" + quoted + "}"}),
            *(
                ("POST", BASE, {"content": '{"must":1,"' + name + '":' + quoted + "}"})
                for name in (*VALUES, "tags", "json", "id")
            ),
            ("POST", BASE, {"content": '[{"must":1,"json":{' + quoted + ":[" + quoted + "]}}]"}),
            ("PATCH", f"{BASE}/{record}", {"content": "{" + quoted + ":" + quoted + "}"}),
            ("PUT", f"{BASE}/{record}", {"content": '{"must":1,"text":' + quoted + "}"}),
        ]
        for method, path, options in calls:
            if "content" in options:
                options["headers"] = {"content-type": "application/json"} | options.get("headers", {})
            answer = await user.request(method, path, **options)
            inputs += 1
            lowered = answer.text.lower()
            told = any(word in lowered for word in ("select ", "pg_", "asyncpg"))
            if answer.status_code >= 500 or (answer.status_code >= 400 and told):
                broken.append((method, path, options, answer.status_code, answer.text[:200]))
    print(f"{inputs} inputs, {len(broken)} broken")

    assert broken == []
    assert inputs > 2000


NUMBERS = [
    "1e400",
    "-1e400",
    "1e-400",
    "9223372036854775808",
    "-9223372036854775809",
    "0.1e1",
    "1E+2",
    "-0.0",
    "1" * 310,
    "0." + "1" * 500,
]


async def test_hostile_numbers_never_break_the_server(project: ProjectUnderTest) -> None:
    await project.collection("things", FIELDS, OPEN)
    broken = []
    for number in NUMBERS:
        for name in VALUES:
            sent = f'{{"must":1,"{name}":{number}}}' if name != "must" else f'{{"must":{number}}}'
            answers = [
                await project.anonymous.post(BASE, content=sent, headers={"content-type": "application/json"}),
                await project.anonymous.get(
                    BASE, params={"filter": f"{name} == $v || {name} == null", "vars": f'{{"v":{number}}}'}
                ),
                await project.anonymous.get(BASE, params={"filter": f"{name} == {number}"}),
            ]
            broken += [(number, name, one.status_code, one.text[:200]) for one in answers if one.status_code >= 500]

    assert broken == []
