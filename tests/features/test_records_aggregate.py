"""Aggregates: what they count, what they must never count, and what is refused."""

import random
from decimal import Decimal
from typing import Any

import pytest

from tests.support.callers import Caller, ProjectUnderTest

OPEN = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")
PATH = "collections/orders/records/aggregate"


async def ask(caller: Caller, collection: str = "orders", **body: Any) -> list[dict[str, Any]]:
    answer = await caller.post(f"collections/{collection}/records/aggregate", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def refused(caller: Caller, collection: str = "orders", **body: Any) -> dict[str, Any]:
    answer = await caller.post(f"collections/{collection}/records/aggregate", json=body)
    assert 400 <= answer.status_code < 500, answer.text
    return {"status": answer.status_code, **answer.json()}


async def orders(project: ProjectUnderTest, rows: list[dict[str, Any]], rules: dict[str, str | None] | None = None) -> None:
    await project.collection(
        "people", [{"name": "country", "type": "text"}, {"name": "hidden_age", "type": "int", "hidden": True}], rules or OPEN
    )
    await project.collection(
        "orders",
        [
            {"name": "status", "type": "select", "values": ["open", "done"]},
            {"name": "title", "type": "text"},
            {"name": "price", "type": "decimal", "precision": 10, "scale": 2},
            {"name": "free", "type": "decimal"},
            {"name": "amount", "type": "int"},
            {"name": "weight", "type": "float"},
            {"name": "paid", "type": "bool"},
            {"name": "day", "type": "date"},
            {"name": "at", "type": "datetime"},
            {"name": "tags", "type": "select", "values": ["a", "b"], "many": True},
            {"name": "data", "type": "json"},
            {"name": "author", "type": "relation", "to": "people"},
            {"name": "secret", "type": "text", "hidden": True},
            {"name": "salary", "type": "int", "read": "record.title == 'mine'"},
        ],
        OPEN,
    )
    answer = await project.operator.post("collections/orders/records", json=rows)
    assert answer.status_code == 201, answer.text


async def test_groups_and_figures(project: ProjectUnderTest) -> None:
    """The shape of the contract: decimals as strings, null as a group of its own, at the end."""
    await orders(
        project,
        [
            {"status": "open", "price": "1.50"},
            {"status": "open", "price": "8.00"},
            {"status": "done"},
            {"price": "0.10"},
        ],
    )
    assert [
        {"status": "done", "n": 1, "priced": 0, "total": None},
        {"status": "open", "n": 2, "priced": 2, "total": "9.50"},
        {"status": None, "n": 1, "priced": 1, "total": "0.10"},
    ] == await ask(
        project.anonymous, group_by=["status"], select={"n": "count()", "priced": "count(price)", "total": " sum ( price ) "}
    )


async def test_without_groups_there_is_one_row_even_of_nothing(project: ProjectUnderTest) -> None:
    await orders(project, [])
    select = {
        "n": "count()",
        "s": "sum(amount)",
        "a": "avg(weight)",
        "m": "min(title)",
        "f": "sum(weight)",
        "d": "count_distinct(day)",
    }
    assert [{"n": 0, "s": None, "a": None, "m": None, "f": None, "d": 0}] == await ask(project.anonymous, select=select)
    assert [] == await ask(project.anonymous, select=select, group_by=["status"])
    assert [] == await ask(project.anonymous, select=select, having="n > 0")


async def test_types_of_figures(project: ProjectUnderTest) -> None:
    """A sum of 64-bit numbers beyond 2^53 is a string, of doubles a number; a mean of decimals is exact, of others a double."""
    most = str(2**63 - 1)
    await orders(
        project,
        [
            {
                "amount": most,
                "weight": 0.5,
                "price": "1.00",
                "free": "1.25",
                "day": "2026-01-31",
                "at": "2026-01-31T23:30:00Z",
                "title": "b",
            },
            {
                "amount": most,
                "weight": 0.25,
                "price": "2.00",
                "free": "2",
                "day": "2025-01-31",
                "at": "2025-01-31T23:30:00Z",
                "title": "a",
            },
        ],
    )
    found = await ask(
        project.anonymous,
        select={
            "si": "sum(amount)",
            "ai": "avg(amount)",
            "mi": "max(amount)",
            "sf": "sum(weight)",
            "af": "avg(weight)",
            "sd": "sum(price)",
            "ad": "avg(price)",
            "sfree": "sum(free)",
            "afree": "avg(free)",
            "md": "min(price)",
            "day": "max(day)",
            "at": "min(at)",
            "title": "min(title)",
            "ids": "count_distinct(id)",
            "paid": "count_distinct(paid)",
            "tags": "count(tags)",
            "rev": "sum(rev)",
            "made": "count_distinct(created_at)",
        },
    )
    assert [
        {
            "si": str(2**64 - 2),
            "ai": 9.223372036854775807e18,
            "mi": most,
            "sf": 0.75,
            "af": 0.375,
            "sd": "3.00",
            "ad": "1.5",
            "sfree": "3.25",
            "afree": "1.625",
            "md": "1.00",
            "day": "2026-01-31",
            "at": "2025-01-31T23:30:00.000000Z",
            "title": "a",
            "ids": 2,
            "paid": 0,
            "tags": 0,
            "rev": 2,
            "made": 1,
        }
    ] == found


HOSTILE_FLOATS = [1.7976931348623157e308, -1.7976931348623157e308, 1e300, -1e300, 5e-324, -5e-324, 0.1, 0.2, 1e-310, 1e280, None]


@pytest.mark.parametrize("seed", range(6))
async def test_no_figure_raises(project: ProjectUnderTest, seed: int) -> None:
    """PostgreSQL's own sum and avg of doubles end the statement when they overflow; ours have a value or null."""
    draw = random.Random(seed)
    digits = "9" * 400
    rows = [
        {
            "weight": draw.choice(HOSTILE_FLOATS[: 4 + 7 * (seed % 2)]),
            "free": draw.choice([f"{digits}", f"-{digits}", f"0.{digits[:399]}", "0", None]),
            "amount": draw.choice([str(2**63 - 1), str(-(2**63)), 0, None]),
            "at": draw.choice(["0001-01-01T00:00:00.000001Z", "9999-12-31T23:59:59.999998Z", None]),
            "day": draw.choice(["0001-01-02", "9999-12-30", None]),
            "status": draw.choice(["open", "done", None]),
        }
        for _ in range(12)
    ]
    await orders(project, rows)
    select = {
        f"{f}_{c}": f"{f}({c})"
        for f in ("sum", "avg", "min", "max", "count", "count_distinct")
        for c in ("weight", "free", "amount")
    }
    for zone in (None, "Pacific/Auckland", "America/New_York"):
        for bucket in ("hour", "day", "week", "month", "quarter", "year"):
            for one in await ask(project.anonymous, group_by=["status", f"at:{bucket}"], select=select, time_zone=zone):
                assert one["count_weight"] >= 0
    exact = [Decimal(row["weight"]) for row in rows if row["weight"] is not None]
    (found,) = await ask(project.anonymous, select={"s": "sum(weight)", "a": "avg(weight)"})
    total = sum(exact, Decimal(0))
    if not exact:
        assert found == {"s": None, "a": None}
    elif abs(total) > Decimal("1.797693134862315e308"):
        assert found["s"] is None
    elif found["s"] is not None:
        assert found["s"] == pytest.approx(float(total), rel=1e-9, abs=1e285)
    for having in (
        "sum_weight / (sum_weight - sum_weight) > 1.0",
        "sum_amount * sum_amount * sum_amount > 0.0",
        "max_amount + max_amount > 0",
        "!(sum_free > 0.0)",
    ):
        await ask(project.anonymous, group_by=["status"], select=select, having=having)


async def test_buckets_of_time_begin_in_the_zone(project: ProjectUnderTest) -> None:
    await orders(
        project, [{"at": "2025-12-31T23:30:00Z", "day": "2026-02-03"}, {"at": "2026-03-01T00:00:00Z", "day": "2026-02-01"}]
    )
    n = {"n": "count()"}
    assert ["2025-12-01", "2026-03-01"] == [
        one["at:month"] for one in await ask(project.anonymous, group_by=["at:month"], select=n)
    ]
    berlin = await ask(
        project.anonymous, group_by=[{"field": "at", "by": "month", "as": "m"}], select=n, time_zone="Europe/Berlin"
    )
    assert [{"m": "2026-01-01", "n": 1}, {"m": "2026-03-01", "n": 1}] == berlin
    assert ["2026-01-26", "2026-02-02"] == [one["day:week"] for one in await ask(project.anonymous, group_by=["day:week"])]
    kathmandu = await ask(project.anonymous, group_by=["at:hour"], time_zone="Asia/Kathmandu")
    assert ["2025-12-31T23:15:00.000000Z", "2026-02-28T23:15:00.000000Z"] == [one["at:hour"] for one in kathmandu]
    recent = await ask(
        project.anonymous, group_by=[{"field": "at", "by": "year", "as": "y"}], having="y >= timestamp('2026-01-01T00:00:00Z')"
    )
    assert [{"y": "2026-01-01"}] == recent


async def test_having_sort_and_limit(project: ProjectUnderTest) -> None:
    await orders(project, [{"title": chr(97 + n % 7), "amount": n % 7} for n in range(20)])
    body: dict[str, Any] = {"group_by": ["title"], "select": {"n": "count()", "s": "sum(amount)"}}
    answer = await project.anonymous.post(PATH, json=body | {"sort": "-s,title", "limit": 2})
    assert {"items": [{"title": "f", "n": 3, "s": 15}, {"title": "e", "n": 3, "s": 12}], "more": True} == answer.json()
    found = await ask(project.anonymous, **body, having="n == $n && title != 'f'", vars={"n": 3}, sort=["n", "-title"])
    assert list("edcba") == [one["title"] for one in found]
    found = await ask(project.anonymous, **body, filter="amount > $least", having="s > $least", vars={"least": 5})
    assert [{"title": "g", "n": 2, "s": 12}] == found


async def test_only_listed_records_count(project: ProjectUnderTest) -> None:
    """The list rule stands inside: figures over hidden rows would tell of them."""
    user = await project.user()
    await project.collection(
        "notes",
        [{"name": "owner", "type": "relation", "to": "users"}, {"name": "size", "type": "int"}],
        OPEN | {"list": "record.owner == auth.id"},
    )
    await project.operator.post("collections/notes/records", json=[{"owner": user.id, "size": 1}, {"size": 100}, {"size": 1000}])
    select = {"n": "count()", "s": "sum(size)", "m": "max(size)"}
    assert [{"n": 1, "s": 1, "m": 1}] == await ask(user, "notes", select=select)
    assert [{"n": 3, "s": 1101, "m": 1000}] == await ask(project.operator, "notes", select=select)
    assert 401 == (await refused(project.anonymous, "notes", select=select))["status"]
    other = await project.user()
    assert [{"n": 0, "s": None, "m": None}] == await ask(other, "notes", select=select)


async def test_a_locked_list_is_answered_as_by_list(project: ProjectUnderTest) -> None:
    await orders(project, [])
    await project.operator.patch("collections/orders", json={"rules": {"list": None}})
    assert 403 == (await refused(project.anonymous, select={"n": "count()"}))["status"]
    await project.operator.patch("collections/orders", json={"rules": {"list": "auth != null"}})
    assert 401 == (await refused(project.anonymous, select={"n": "count()"}))["status"]


async def test_unreadable_values_are_null(project: ProjectUnderTest) -> None:
    """A gate holds in keys and in figures, record by record."""
    await orders(project, [{"title": "mine", "salary": 5}, {"title": "yours", "salary": 100}])
    select = {"n": "count()", "c": "count(salary)", "s": "sum(salary)", "m": "max(salary)", "d": "count_distinct(salary)"}
    assert [{"n": 2, "c": 1, "s": 5, "m": 5, "d": 1}] == await ask(project.anonymous, select=select)
    assert [{"n": 2, "c": 2, "s": 105, "m": 100, "d": 2}] == await ask(project.operator, select=select)
    assert [{"salary": 5}, {"salary": None}] == await ask(project.anonymous, group_by=["salary"])


async def test_groups_through_relations_see_what_may_be_listed(project: ProjectUnderTest) -> None:
    await orders(project, [], OPEN | {"list": "record.country != 'XX'"})
    people = [(await project.operator.create("people", {"country": country}))["id"] for country in ("DE", "FR", "XX")]
    await project.operator.post(
        "collections/orders/records", json=[{"author": one, "amount": 1} for one in (*people, people[0], None)]
    )
    body: dict[str, Any] = {"group_by": ["author.country"], "select": {"n": "count()", "first": "min(author.created_at)"}}
    found = await ask(project.anonymous, **body)
    assert [("DE", 2), ("FR", 1), (None, 2)] == [(one["author.country"], one["n"]) for one in found]
    assert found[2]["first"] is None
    assert 3 == len([one for one in await ask(project.operator, **body) if one["author.country"]])
    named = await ask(project.anonymous, group_by=[{"field": "author.country", "as": "country"}], having="country == 'DE'")
    assert [{"country": "DE"}] == named


async def test_every_gate_on_a_path_holds(project: ProjectUnderTest) -> None:
    """The relation's own `read`, the list rule of each record entered, the `read` of the field at the end: two hops of each."""
    user = await project.user()
    mine = "record.owner == auth.id"
    owner = {"name": "owner", "type": "relation", "to": "users"}
    name = {"name": "name", "type": "text", "read": mine}
    await project.collection(
        "lands", [owner, name, {"name": "code", "type": "text"}], OPEN | {"list": f"{mine} || record.code == 'open'"}
    )
    await project.collection(
        "towns", [owner, {"name": "land", "type": "relation", "to": "lands", "read": mine}], OPEN | {"list": mine}
    )
    await project.collection("trips", [{"name": "town", "type": "relation", "to": "towns"}, {"name": "n", "type": "int"}], OPEN)
    operator, me = project.operator, user.id
    lands = [
        (await operator.create("lands", body))["id"]
        for body in ({"owner": me, "name": "a", "code": "a"}, {"name": "b", "code": "open"}, {"name": "c", "code": "c"})
    ]
    for number, body in enumerate([*({"owner": me, "land": land} for land in lands), {"land": lands[0]}]):
        town = (await operator.create("towns", body))["id"]
        await operator.create("trips", {"town": town, "n": 10**number})
    select = {"s": "sum(n)"}
    found = await ask(user, "trips", group_by=["town.land.code"], select=select)
    assert [("a", 1), ("open", 10), (None, 1100)] == [(one["town.land.code"], one["s"]) for one in found]
    found = await ask(user, "trips", group_by=["town.land.name", "town.land.code"], select=select)
    assert [("a", "a", 1), (None, "open", 10), (None, None, 1100)] == [tuple(one.values()) for one in found]
    assert 4 == len(await ask(operator, "trips", group_by=["town.id", "town.land.name"], select=select))
    stranger = await project.user()
    found = await ask(stranger, "trips", group_by=["town.land.name", "town.land.code", "town.id"], select=select)
    assert [(None, None, None, 1111)] == [tuple(one.values()) for one in found]


async def test_what_a_caller_cannot_see_does_not_exist(project: ProjectUnderTest) -> None:
    """Hidden fields and locked collections answer exactly as names that never were."""
    await orders(project, [{"secret": "x"}])
    absent = await refused(project.anonymous, select={"n": "count(secreX)"})
    hidden = await refused(project.anonymous, select={"n": "count(secret)"})
    for one in (absent, hidden):
        one.pop("request_id")
    assert str(absent).replace("secreX", "secret") == str(hidden)
    assert "bad_aggregate" == hidden["code"]
    assert {"pointer": "/select/n", "code": "unknown_field", "position": 6} == {
        key: hidden["errors"][0][key] for key in ("pointer", "code", "position")
    }
    for body in ({"group_by": ["author.hidden_age"]}, {"group_by": ["secret"]}, {"select": {"n": "max(author.hidden_age)"}}):
        assert "unknown_field" == (await refused(project.anonymous, **body))["errors"][0]["code"]
        await ask(project.operator, **body)
    await project.operator.patch("collections/people", json={"rules": {"list": None}})
    assert "unknown_field" == (await refused(project.anonymous, group_by=["author.country"]))["errors"][0]["code"]


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({}, "/select", "required"),
    ({"select": {"n": "cout()"}}, "/select/n", "unknown_function"),
    ({"select": {"n": "sum(title)"}}, "/select/n", "type_mismatch"),
    ({"select": {"n": "sum()"}}, "/select/n", "syntax"),
    ({"select": {"n": "count(distinct title)"}}, "/select/n", "syntax"),
    ({"select": {"n": "count(*)"}}, "/select/n", "unknown_field"),
    ({"select": {"n": "count() from x"}}, "/select/n", "syntax"),
    ({"select": {"n": "sum(price) filter (where true)"}}, "/select/n", "syntax"),
    ({"select": {"n": "count_distinct(tags)"}}, "/select/n", "type_mismatch"),
    ({"select": {"n": "count(title.x)"}}, "/select/n", "unknown_field"),
    ({"select": {"n": "count(a.b.c.d.e)"}}, "/select/n", "unknown_field"),
    ({"select": {"n": "count(" + "a." * 200 + "b)"}}, "/select/n", "syntax"),
    ({"select": {"__proto__": "count()"}}, "/select/__proto__", "bad_name"),
    ({"select": {'"': "count()"}}, '/select/"', "bad_name"),
    ({"select": {"a/b~": "count()"}}, "/select/a~1b~0", "bad_name"),
    ({"select": {"": "count()"}}, "/select/", "bad_name"),
    ({"select": {"a" * 64: "count()"}}, f"/select/{'a' * 64}", "bad_name"),
    ({"select": {"é": "count()"}}, "/select/é", "bad_name"),
    ({"select": {"auth": "count()"}}, "/select/auth", "reserved_name"),
    ({"select": {f"n{at}": "count()" for at in range(21)}}, "/select", "too_many"),
    ({"group_by": ["title", "title"]}, "/group_by", "duplicate"),
    ({"group_by": ["title"], "select": {"title": "count()"}}, "/select/title", "duplicate"),
    ({"group_by": ["data"]}, "/group_by/0", "type_mismatch"),
    ({"group_by": ["tags"]}, "/group_by/0", "type_mismatch"),
    ({"group_by": ["title:month"]}, "/group_by/0", "type_mismatch"),
    ({"group_by": ["day:hour"]}, "/group_by/0", "type_mismatch"),
    ({"group_by": ["at:mnth"]}, "/group_by/0", "not_allowed"),
    ({"group_by": ["at:"]}, "/group_by/0", "not_allowed"),
    ({"group_by": [""]}, "/group_by/0", "unknown_field"),
    ({"group_by": ["."]}, "/group_by/0", "unknown_field"),
    ({"group_by": [{"by": "day"}]}, "/group_by/0/field", "required"),
    ({"group_by": [{"field": "at", "by": "day", "as": "constructor "}]}, "/group_by/0/as", "bad_name"),
    ({"group_by": [{"field": "at", "x": "y"}]}, "/group_by/0/x", "unknown_key"),
    ({"group_by": ["status", "title", "price", "free", "amount", "weight", "paid", "day", "at"]}, "/group_by", "too_many"),
    ({"select": {"n": "count()"}, "sort": "m"}, "/sort/0", "unknown_field"),
    ({"select": {"n": "count()"}, "sort": "n,-n"}, "/sort/1", "duplicate"),
    ({"select": {"n": "count()"}, "having": "m > 1"}, "/having", "unknown_field"),
    ({"select": {"n": "count()"}, "having": "title == 'a'"}, "/having", "unknown_field"),
    ({"select": {"n": "count()"}, "having": "n"}, "/having", "type_mismatch"),
    ({"select": {"n": "count()"}, "having": "n > 'a'"}, "/having", "type_mismatch"),
    ({"select": {"n": "count()"}, "having": "n ) or true --"}, "/having", "syntax"),
    ({"select": {"n": "count()"}, "having": "rows('orders').exists(o, true)"}, "/having", "not_allowed"),
]


@pytest.mark.parametrize(("body", "pointer", "code"), WRONG, ids=lambda one: str(one)[:40])
async def test_faults_have_a_place(wrong_project: ProjectUnderTest, body: dict[str, Any], pointer: str, code: str) -> None:
    found = await refused(wrong_project.anonymous, **body)
    assert (400, "bad_aggregate") == (found["status"], found["code"]), found
    assert (pointer, code) in [(one["pointer"], one["code"]) for one in found["errors"]], found


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"group_by": 5}, "/group_by"),
        ({"group_by": [["title"]]}, "/group_by/0"),
        ({"select": ["count()"]}, "/select"),
        ({"select": {"n": 5}}, "/select/n"),
        ({"select": {"n": "count()"}, "limit": 1001}, "/limit"),
        ({"select": {"n": "count()"}, "limit": True}, "/limit"),
        ({"select": {"n": "count()"}, "limit": 0}, "/limit"),
        ({"select": {"n": "count()"}, "sort": {}}, "/sort"),
        ({"select": {"n": "count()"}, "vars": []}, "/vars"),
        ({"select": {"n": "count()"}, "nope": 1}, "/nope"),
        ({"select": {"n": "count()"}, "having": "true || " * 300 + "true"}, "/having"),
        ({"group_by": ["at:day"], "time_zone": "Mars/Olympus"}, "/time_zone"),
        ({"group_by": ["at:day"], "time_zone": "+02:00"}, "/time_zone"),
        ({"group_by": ["at:day"], "time_zone": "../../etc/passwd"}, "/time_zone"),
        ({"group_by": ["at:day"], "time_zone": "x" * 10_000}, "/time_zone"),
    ],
    ids=lambda one: str(one)[:40],
)
async def test_wrong_shapes_are_refused(wrong_project: ProjectUnderTest, body: dict[str, Any], pointer: str) -> None:
    found = await refused(wrong_project.anonymous, **body)
    assert 422 == found["status"], found
    assert pointer in [one["pointer"] for one in found["errors"]], found


async def test_vars_belong_to_filter_and_having(wrong_project: ProjectUnderTest) -> None:
    for body in (
        {"having": "n > $x"},
        {"having": "n > 1", "vars": {"x": 1}},
        {"filter": "amount > $x", "having": "n > $y", "vars": {"x": 1}},
    ):
        found = await refused(wrong_project.anonymous, select={"n": "count()"}, **body)
        assert (400, "bad_filter") == (found["status"], found["code"])
    for value in (None, 2**53, 1e300, "9007199254740993"):
        await ask(wrong_project.anonymous, select={"n": "count()"}, having="n == $x", vars={"x": value})
    for value in (True, "a", [1], {"a": 1}):
        found = await refused(wrong_project.anonymous, select={"n": "count()"}, having="n == $x", vars={"x": value})
        assert ("bad_filter", 5) == (found["code"], found["position"])


async def test_names_that_postgresql_would_cut_are_refused(project: ProjectUnderTest) -> None:
    long = "f" * 40
    await project.collection("targets", [{"name": long, "type": "text"}], OPEN)
    await project.collection("orders", [{"name": "r" * 40, "type": "relation", "to": "targets"}], OPEN)
    path = f"{'r' * 40}.{long}"
    found = await refused(project.anonymous, group_by=[path])
    assert "too_long" == found["errors"][0]["code"]
    assert "as" in found["errors"][0]["hint"]
    await ask(project.anonymous, group_by=[{"field": path, "as": "t"}])


@pytest.fixture
async def wrong_project(project: ProjectUnderTest) -> ProjectUnderTest:
    await orders(project, [{"title": "a"}])
    return project
