"""Operators in a merge-patch, conditional changes, and collections that demand a condition."""

import asyncio
import uuid
from collections import Counter
from typing import Any

import httpx2
import pytest

from tests.support.callers import ProjectUnderTest

OPEN = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")
LABELS = [f"l{at}" for at in range(8)]
FIELDS: list[dict[str, Any]] = [
    {"name": "title", "type": "text"},
    {"name": "stock", "type": "int", "min": 0, "max": 100},
    {"name": "count", "type": "int"},
    {"name": "ratio", "type": "float", "max": 10},
    {"name": "price", "type": "decimal", "precision": 6, "scale": 2},
    {"name": "exact", "type": "decimal"},
    {"name": "seen", "type": "datetime"},
    {"name": "day", "type": "date"},
    {"name": "labels", "type": "select", "values": LABELS, "max": 3},
    {"name": "doc", "type": "json", "max_bytes": 200},
    {"name": "friends", "type": "relation", "to": "things", "many": True, "max": 3},
    {"name": "open", "type": "bool"},
    {"name": "must", "type": "int", "required": True, "default": 1},
]


def faults(answer: httpx2.Response) -> list[tuple[str, str]]:
    assert answer.status_code == 422, answer.text
    return [(fault["pointer"], fault["code"]) for fault in answer.json()["errors"]]


async def things(project: ProjectUnderTest, **rules: str) -> Any:
    await project.collection("things", FIELDS, {**OPEN, **rules})
    return await project.user()


async def changed(user: Any, record: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    answer = await user.patch(f"collections/things/records/{record['id']}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("field", "stored", "operation", "result"),
    [
        ("stock", 5, {"$inc": 3}, 8),
        ("stock", 5, {"$inc": -5}, 0),
        ("stock", None, {"$inc": 3}, 3),
        ("count", 2**60, {"$inc": 1}, str(2**60 + 1)),
        ("count", 5, {"$min": 3}, 3),
        ("count", 5, {"$max": 3}, 5),
        ("count", None, {"$max": 3}, 3),
        ("ratio", 1.5, {"$inc": 0.25}, 1.75),
        ("ratio", None, {"$inc": 2}, 2.0),
        ("price", "9.50", {"$inc": "0.5"}, "10.00"),
        ("price", "9.50", {"$min": 1}, "1.00"),
        ("exact", None, {"$inc": "1.25"}, "1.25"),
        ("exact", "0.1", {"$inc": "0.2"}, "0.3"),
        ("day", "2026-05-01", {"$min": "2026-01-01"}, "2026-01-01"),
        ("seen", "2026-05-01T00:00:00Z", {"$max": "2027-01-01T00:00:00Z"}, "2027-01-01T00:00:00.000000Z"),
        ("labels", ["l1"], {"$append": ["l0"]}, ["l1", "l0"]),
        ("labels", None, {"$append": ["l0"]}, ["l0"]),
        ("labels", ["l1", "l2"], {"$add": ["l2", "l0"]}, ["l1", "l2", "l0"]),
        ("labels", None, {"$add": []}, []),
        ("labels", ["l1", "l2"], {"$remove": ["l1", "l7"]}, ["l2"]),
        ("labels", ["l1"], {"$remove": ["l1"]}, []),
        ("labels", None, {"$remove": ["l1"]}, None),
        ("doc", [1, {"a": 1}], {"$append": [1, None]}, [1, {"a": 1}, 1, None]),
        ("doc", [1, {"a": 1}, None], {"$add": [None, {"a": 1}, 2, 2, [1]]}, [1, {"a": 1}, None, 2, [1]]),
        ("doc", [1, {"a": 1}, 1], {"$remove": [1, 3]}, [{"a": 1}]),
        ("doc", None, {"$append": ["x"]}, ["x"]),
        ("doc", None, {"$remove": ["x"]}, None),
        ("doc", {"a": 1}, {"$unset": True}, None),
        ("doc", 1, {"$set": 1}, {"$set": 1}),
        ("doc", 1, {"$inc": 1, "b": 2}, {"$inc": 1, "b": 2}),
        ("title", "a", {"$unset": True}, None),
        ("open", True, {"$unset": True}, None),
    ],
)
async def test_what_an_operator_makes_of_a_value(
    project: ProjectUnderTest, field: str, stored: object, operation: dict[str, object], result: object
) -> None:
    user = await things(project)
    record = await user.create("things", {field: stored})

    after = await changed(user, record, {field: operation})

    assert result == after[field]
    assert 2 == after["rev"]


async def test_now_is_the_moment_of_the_change(project: ProjectUnderTest) -> None:
    user = await things(project)
    record = await user.create("things", {})

    after = await changed(user, record, {"seen": {"$now": True}, "day": {"$now": True}})

    assert after["updated_at"] == after["seen"]
    assert after["updated_at"][:10] == after["day"]


@pytest.mark.parametrize(
    ("field", "stored", "operation", "code"),
    [
        ("stock", 99, {"$inc": 2}, "out_of_range"),
        ("stock", 1, {"$inc": -2}, "out_of_range"),
        ("count", 2**62, {"$inc": str(2**62)}, "out_of_range"),
        ("count", -(2**62), {"$inc": str(-(2**63))}, "out_of_range"),
        ("ratio", 9, {"$inc": 1.5}, "out_of_range"),
        ("price", "9999.99", {"$inc": "0.01"}, "out_of_range"),
        ("price", "-9999", {"$inc": "-9999"}, "out_of_range"),
        ("exact", "9" * 400, {"$inc": 1}, "out_of_range"),
        ("exact", "9" * 300, {"$inc": "0." + "1" * 200}, "out_of_range"),
        ("labels", ["l0", "l1"], {"$append": ["l2", "l3"]}, "too_many"),
        ("labels", ["l0", "l1"], {"$add": ["l1", "l2", "l3"]}, "too_many"),
        ("labels", ["l0", "l1"], {"$append": ["l1"]}, "duplicate"),
        ("doc", {"a": 1}, {"$append": [1]}, "wrong_type"),
        ("doc", "text", {"$add": [1]}, "wrong_type"),
        ("doc", 1, {"$remove": [1]}, "wrong_type"),
        ("doc", ["x" * 150], {"$append": ["y" * 100]}, "too_long"),
    ],
)
async def test_a_result_that_the_field_does_not_take_writes_nothing(
    project: ProjectUnderTest, field: str, stored: object, operation: dict[str, object], code: str
) -> None:
    user = await things(project)
    record = await user.create("things", {field: stored, "title": "before"})
    path = f"collections/things/records/{record['id']}"

    answer = await user.patch(path, json={field: operation, "title": "after"})

    assert [(f"/{field}", code)] == faults(answer)
    assert record == (await user.get(path)).json()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"stock": {"$incr": 1}}, ("/stock", "unknown_operator")),
        ({"stock": {"$" + "x" * 5000: 1}}, ("/stock", "unknown_operator")),
        ({"stock": {"$inc": 1, "$max": 2}}, ("/stock", "several_operators")),
        ({"stock": {"$inc": 1, "x": 2}}, ("/stock", "several_operators")),
        ({"stock": {"inc": 1}}, ("/stock", "wrong_type")),
        ({"stock": {}}, ("/stock", "wrong_type")),
        ({"stock": {"$inc": 1.5}}, ("/stock/$inc", "wrong_type")),
        ({"stock": {"$inc": 2**63}}, ("/stock/$inc", "number_out_of_range")),
        ({"stock": {"$inc": None}}, ("/stock/$inc", "wrong_type")),
        ({"stock": {"$inc": {"$inc": 1}}}, ("/stock/$inc", "wrong_type")),
        ({"stock": {"$min": -1}}, ("/stock/$min", "out_of_range")),
        ({"stock": {"$append": [1]}}, ("/stock", "operator_not_allowed")),
        ({"ratio": {"$inc": 10**400}}, ("/ratio/$inc", "number_out_of_range")),
        ({"price": {"$inc": "0.001"}}, ("/price/$inc", "too_precise")),
        ({"title": {"$append": ["x"]}}, ("/title", "operator_not_allowed")),
        ({"title": {"$inc": 1}}, ("/title", "operator_not_allowed")),
        ({"doc": {"$inc": 1}}, ("/doc", "operator_not_allowed")),
        ({"doc": {"$append": 1}}, ("/doc/$append", "wrong_type")),
        ({"seen": {"$now": False}}, ("/seen/$now", "wrong_type")),
        ({"must": {"$unset": True}}, ("/must", "required")),
        ({"title": {"$unset": 1}}, ("/title/$unset", "wrong_type")),
        ({"labels": {"$add": "l1"}}, ("/labels/$add", "wrong_type")),
        ({"labels": {"$add": ["nope"]}}, ("/labels/$add/0", "not_allowed")),
        ({"labels": {"$add": [None]}}, ("/labels/$add/0", "wrong_type")),
        ({"labels": {"$add": ["l1"] * 2000}}, ("/labels/$add", "too_many")),
        ({"friends": {"$add": ["x"]}}, ("/friends/$add/0", "bad_id")),
        ({"id": {"$inc": 1}}, ("/id", "system_field")),
        ({"rev": {"$inc": 1}}, ("/rev", "system_field")),
        ({"x" * 63: {"$inc": 1}}, ("/" + "x" * 63, "unknown_field")),
    ],
)
async def test_what_is_no_operation_is_refused_with_its_place(
    project: ProjectUnderTest, body: dict[str, object], expected: tuple[str, str]
) -> None:
    user = await things(project)
    record = await user.create("things", {"stock": 5, "labels": ["l0"]})
    path = f"collections/things/records/{record['id']}"

    assert [expected] == faults(await user.patch(path, json=body))
    assert record == (await user.get(path)).json()


async def test_only_a_patch_knows_operators(project: ProjectUnderTest) -> None:
    user = await things(project)

    assert [("/stock", "wrong_type")] == faults(await user.post("collections/things/records", json={"stock": {"$inc": 1}}))
    put = await user.put(f"collections/things/records/{uuid.uuid4()}", json={"doc": {"$inc": 1}})
    assert {"$inc": 1} == put.json()["doc"]
    unknown = (await user.patch(f"collections/things/records/{put.json()['id']}", json={"stock": {"$incr": 1}})).json()
    assert "Did you mean '$inc'?" in unknown["errors"][0]["message"]


async def test_targets_that_an_operator_adds_are_looked_for(project: ProjectUnderTest) -> None:
    """A missing target, and one that the caller may not see, get the same answer; what stands there already is not asked."""
    user = await things(project, view='record.title != "secret"')
    gone, seen, other = [await user.create("things", {}) for _ in range(3)]
    secret = await project.operator.create("things", {"title": "secret"})
    record = await user.create("things", {"friends": [gone["id"]]})
    assert 204 == (await user.delete(f"collections/things/records/{gone['id']}")).status_code
    path = f"collections/things/records/{record['id']}"

    for operator in ("$add", "$append"):
        for target in (secret["id"], str(uuid.uuid4())):
            assert [("/friends", "bad_reference")] == faults(await user.patch(path, json={"friends": {operator: [target]}}))
    assert [gone["id"], seen["id"]] == (await changed(user, record, {"friends": {"$add": [seen["id"]]}}))["friends"]
    assert [gone["id"], seen["id"], other["id"]] == (await changed(user, record, {"friends": {"$append": [other["id"]]}}))[
        "friends"
    ]
    assert [("/friends", "too_many")] == faults(await user.patch(path, json={"friends": {"$add": [record["id"]]}}))
    assert [seen["id"]] == (await changed(user, record, {"friends": {"$remove": [gone["id"], other["id"]]}}))["friends"]


async def test_rules_and_validations_see_the_result(project: ProjectUnderTest) -> None:
    fields = [
        {"name": "stock", "type": "int"},
        {"name": "sold", "type": "int", "validate": "value <= 10"},
        {"name": "owner", "type": "relation", "to": "users", "immutable": True},
    ]
    rules = {**OPEN, "update": "next.stock >= 0 && next.stock != record.stock"}
    await project.collection("things", fields, rules)
    user = await project.user()
    record = await user.create("things", {"stock": 5, "sold": 9})
    path = f"collections/things/records/{record['id']}"

    assert "rule_denied" == (await user.patch(path, json={"stock": {"$inc": -6}})).json()["code"]
    assert "rule_denied" == (await user.patch(path, json={"stock": {"$inc": 0}})).json()["code"]
    assert [("/sold", "validation_failed")] == faults(await user.patch(path, json={"stock": 1, "sold": {"$inc": 2}}))
    assert [("/owner", "immutable")] == faults(await user.patch(path, json={"owner": {"$unset": True}}))
    assert 0 == (await changed(user, record, {"stock": {"$inc": -5}, "sold": {"$inc": 1}}))["stock"]


async def test_fields_that_he_may_not_see_take_no_operators(project: ProjectUnderTest) -> None:
    """A hidden field never was; of one that cannot be read, whether a result fits would tell the value."""
    fields = [
        {"name": "secret", "type": "int", "hidden": True},
        {"name": "balance", "type": "int", "min": 0, "read": "record.owner == auth.id"},
        {"name": "fixed", "type": "int", "readonly": True},
        {"name": "owner", "type": "relation", "to": "users"},
    ]
    await project.collection("accounts", fields, OPEN)
    mine, other = await project.user(), await project.user()
    record = await project.operator.create("accounts", {"secret": 1, "balance": 7, "fixed": 3, "owner": mine.id})
    path = f"collections/accounts/records/{record['id']}"

    hidden, never = [await other.patch(path, json={name: {"$inc": 1}}) for name in ("secret", "never")]
    assert [("/secret", "unknown_field")] == faults(hidden)
    assert hidden.text.replace("secret", "never").split("instance")[0] == never.text.split("instance")[0]
    assert [("/fixed", "readonly")] == faults(await other.patch(path, json={"fixed": {"$inc": 1}}))
    fits, breaks = [await other.patch(path, json={"balance": {"$inc": by}}) for by in (-7, -8)]
    assert [("/balance", "operator_not_allowed")] == faults(fits) == faults(breaks)
    assert 0 == (await mine.patch(path, json={"balance": {"$inc": -7}})).json()["balance"]
    assert 9 == (await project.operator.patch(path, json={"secret": {"$inc": 8}})).json()["secret"]


async def test_concurrent_increments_are_exact(project: ProjectUnderTest) -> None:
    """200 at once take 3 of 50: 16 are granted, by the rule or by the bound of the field."""
    fields = [{"name": "stock", "type": "int"}, {"name": "bounded", "type": "int", "min": 0}]
    await project.collection("things", fields, {**OPEN, "update": "next.stock >= 0"})
    user = await project.user()
    record = await user.create("things", {"stock": 50, "bounded": 50})
    path = f"collections/things/records/{record['id']}"

    for field, refused in (("stock", 403), ("bounded", 422)):
        answers = await asyncio.gather(*(user.patch(path, json={field: {"$inc": -3}}) for _ in range(200)))
        counted = Counter(answer.status_code for answer in answers)
        assert counted[200] == 16, counted
        assert counted[refused] + counted[503] + counted[429] == 184, counted
        assert 2 == (await user.get(path)).json()[field]


# Conditions


async def test_where_makes_a_change_conditional(project: ProjectUnderTest) -> None:
    user = await things(project)
    record = await user.create("things", {"stock": 5, "title": "a"})
    path = f"collections/things/records/{record['id']}"

    async def patch(where: str, values: str | None = None, title: str = "b") -> httpx2.Response:
        params = {"where": where} | ({} if values is None else {"vars": values})
        return await user.patch(path, json={"title": title}, params=params)  # type: ignore[no-any-return]

    refused = await patch('title == "x"')
    assert (412, "precondition_failed") == (refused.status_code, refused.json()["code"])
    assert record == (await user.get(path)).json()
    assert 200 == (await patch("title == $t && stock > 4", '{"t": "a"}')).status_code
    assert 412 == (await patch("title == $t", '{"t": "a"}')).status_code
    assert 412 == (await user.patch(path, json={"title": "c"}, params={"where": "true"}, headers={"If-Match": '"1"'})).status_code
    assert 412 == (await user.delete(path, params={"where": "stock == 0"})).status_code
    assert 412 == (await user.patch(path, json={"stock": {"$inc": -1}}, params={"where": "false"})).status_code
    for wrong, code in (
        ({"where": "nope == 1"}, "bad_filter"),
        ({"where": "stock =="}, "bad_filter"),
        ({"where": " "}, "bad_filter"),
        ({"where": "stock == $n"}, "bad_filter"),
        ({"where": "stock == 5", "vars": '{"n": 1}'}, "bad_filter"),
        ({"vars": "{}"}, "bad_filter"),
        ({"where": "true", "vars": "[]"}, "bad_parameter"),
        ({"wehre": "true"}, "bad_parameter"),
        ({"where": 'next.title == "b"'}, "bad_filter"),
    ):
        answer = await user.patch(path, json={"title": "z"}, params=wrong)
        assert (400, code) == (answer.status_code, answer.json()["code"]), answer.text
    assert 404 == (await user.patch(path[:-4] + "ffff", json={}, params={"where": "true"})).status_code
    assert 204 == (await user.delete(path, params={"where": "stock == 5"})).status_code


async def test_where_tells_nothing_of_what_the_caller_may_not_see(project: ProjectUnderTest) -> None:
    fields = [
        {"name": "title", "type": "text"},
        {"name": "secret", "type": "int", "hidden": True},
        {"name": "note", "type": "int", "read": "record.owner == auth.id"},
        {"name": "owner", "type": "relation", "to": "users"},
    ]
    rules = {**OPEN, "view": "record.owner == auth.id || record.title == 'open'"}
    await project.collection("accounts", fields, rules)
    mine, other = await project.user(), await project.user()
    closed = await project.operator.create("accounts", {"title": "closed", "secret": 1, "note": 7, "owner": mine.id})
    shown = await project.operator.create("accounts", {"title": "open", "secret": 1, "note": 7, "owner": mine.id})

    async def asked(record: dict[str, Any], where: str) -> int:
        answer = await other.patch(f"collections/accounts/records/{record['id']}", json={"note": 7}, params={"where": where})
        return answer.status_code  # type: ignore[no-any-return]

    assert [404, 404] == [await asked(closed, where) for where in ("title == 'closed'", "title == 'open'")]
    assert [412, 412] == [await asked(shown, where) for where in ("note == 7", "note != 7")]
    assert [400, 400] == [await asked(shown, where) for where in ("secret == 1", "never == 1")]
    assert 200 == await asked(shown, "title == 'open'")
    assert (
        200
        == (await mine.patch(f"collections/accounts/records/{closed['id']}", json={}, params={"where": "note == 7"})).status_code
    )


async def test_one_of_many_conditional_changes_wins(project: ProjectUnderTest) -> None:
    user = await things(project)
    record = await user.create("things", {"title": "free"})
    path = f"collections/things/records/{record['id']}"

    answers = await asyncio.gather(
        *(user.patch(path, json={"title": f"taken {at}"}, params={"where": 'title == "free"'}) for at in range(20))
    )

    assert Counter({412: 19, 200: 1}) == Counter(answer.status_code for answer in answers)


async def test_a_collection_may_demand_a_condition(project: ProjectUnderTest) -> None:
    await project.collection("things", FIELDS, OPEN, options={"require_if_match": True})
    user = await project.user()
    record = await user.create("things", {"title": "a"})
    path = f"collections/things/records/{record['id']}"

    for caller in (user, project.operator):
        for method in ("PATCH", "PUT", "DELETE"):
            bare = await caller.request(method, path, **({} if method == "DELETE" else {"json": {"title": "b"}}))
            assert (428, "precondition_required") == (bare.status_code, bare.json()["code"])
    assert 200 == (await user.patch(path, json={"title": "b"}, headers={"If-Match": '"1"'})).status_code
    assert 412 == (await user.patch(path, json={"title": "b"}, headers={"If-Match": '"1"'})).status_code
    assert 200 == (await user.patch(path, json={"title": "c"}, params={"where": "title == 'b'"})).status_code
    assert 200 == (await user.put(path, json={"title": "d"}, headers={"If-Match": "*"})).status_code
    assert 201 == (await user.put(f"{path[:-4]}ffff", json={}, headers={"If-None-Match": "*"})).status_code
    assert 204 == (await user.delete(path, headers={"If-Match": '"4"'})).status_code
    bad = await project.operator.patch("collections/things", json={"options": {"require_if_match": "yes"}})
    assert [("/options/require_if_match", "wrong_type")] == faults(bad)
    off = await project.operator.patch("collections/things", json={"options": {"require_if_match": False}})
    assert {} == off.json()["options"]
    assert 200 == (await user.patch(f"{path[:-4]}ffff", json={"title": "e"})).status_code


async def test_a_users_own_record_takes_operators_too(project: ProjectUnderTest) -> None:
    users = (await project.operator.get("collections/users")).json()
    fields = [{"name": "points", "type": "int", "max": 10}]
    answer = await project.operator.patch("collections/users", json={"fields": [*users["fields"], *fields]})
    assert answer.status_code == 200, answer.text
    user = await project.user()

    assert 4 == (await user.patch("auth/me", json={"points": {"$inc": 4}})).json()["points"]
    assert [("/points", "out_of_range")] == faults(await user.patch("auth/me", json={"points": {"$inc": 7}}))
    assert 5 == (await project.operator.patch(f"users/{user.id}", json={"points": {"$inc": 1}})).json()["points"]


async def test_an_explanation_knows_operators(project: ProjectUnderTest) -> None:
    user = await things(project, update="next.stock >= 0")
    record = await user.create("things", {"stock": 2})
    question = {"collection": "things", "action": "update", "id": record["id"], "as": user.id}

    said = [
        (await project.operator.post("rules/explain", json={**question, "input": {"stock": {"$inc": by}}})).json()["verdict"]
        for by in (-2, -3)
    ]

    assert ["allow", "deny"] == said
