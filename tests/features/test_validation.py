"""Validation of fields by expression: at every way of writing, for every writer, with every fault at once."""

import asyncio
from typing import Any

import httpx2
import pytest

from baas.infra.db.pool import Database
from baas.infra.db.sql import ident, sql
from tests.support.callers import ProjectUnderTest

OPEN = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")
FIELDS: list[dict[str, Any]] = [
    {"name": "slug", "type": "text", "validate": 'value.matches("^[a-z0-9-]+$")', "validate_message": "Small letters only."},
    {"name": "starts", "type": "int", "required": True, "validate": "value >= 0"},
    {"name": "ends", "type": "int", "validate": "value > next.starts"},
    {"name": "version", "type": "int", "validate": "record.version == null || value == record.version + 1"},
]


def faults(answer: httpx2.Response) -> list[tuple[str, str]]:
    assert answer.status_code == 422, answer.text
    return [(fault["pointer"], fault["code"]) for fault in answer.json()["errors"]]


FAILED = "validation_failed"


async def test_every_way_of_writing_asks(project: ProjectUnderTest) -> None:
    """Create of one and of many, patch, put over a record and put of a new one; and nothing is written."""
    await project.collection("events", FIELDS, OPEN)
    user = await project.user()
    good = {"slug": "a-1", "starts": 1, "ends": 2}
    bad = {"slug": "A", "starts": 3, "ends": 2}
    made = (await user.post("collections/events/records", json=good)).json()
    path = f"collections/events/records/{made['id']}"
    expected = [("/slug", FAILED), ("/ends", FAILED)]

    assert expected == faults(await user.post("collections/events/records", json=bad))
    assert [("/1/slug", FAILED), ("/1/ends", FAILED), ("/2/starts", FAILED)] == faults(
        await user.post("collections/events/records", json=[good, bad, {"starts": -1}])
    )
    assert expected == faults(await user.patch(path, json=bad))
    assert expected == faults(await user.put(path, json=bad))
    new = f"collections/events/records/{made['id'][:-4]}ffff"
    assert expected == faults(await user.put(new, json=bad))
    assert expected == faults(await user.put(new, json=bad, headers={"If-None-Match": "*"}))
    stored = (await user.get("collections/events/records")).json()["items"]
    assert [(made["id"], "a-1", 1)] == [(one["id"], one["slug"], one["rev"]) for one in stored]
    assert 200 == (await user.patch(path, json={"slug": "b"})).status_code
    assert 200 == (await user.put(path, json={**good, "slug": "c"})).status_code
    assert 201 == (await user.put(new, json=good)).status_code


async def test_operators_and_keys_are_asked_too_and_shown_the_expression(project: ProjectUnderTest) -> None:
    """They pass rules and flags, not validation; callers under rules are told no expression."""
    await project.collection("events", FIELDS, OPEN)
    for caller in (project.operator, await project.key("*")):
        answer = await caller.post("collections/events/records", json={"slug": "A", "starts": -1})

        assert [("/slug", FAILED), ("/starts", FAILED)] == faults(answer)
        assert ["Small letters only.", "Must satisfy: value >= 0"] == [one["message"] for one in answer.json()["errors"]]
    answer = await project.anonymous.post("collections/events/records", json={"slug": "A", "starts": -1})
    assert [("/slug", FAILED), ("/starts", FAILED)] == faults(answer)
    assert "value >= 0" not in answer.text


async def test_a_change_asks_what_names_a_field_that_it_writes(project: ProjectUnderTest, db: Database) -> None:
    """A record from before its validation stays as it is until somebody writes what the validation is about."""
    await project.collection("events", FIELDS, OPEN)
    made = (await project.operator.post("collections/events/records", json={"starts": 5, "ends": 7})).json()
    path = f"collections/events/records/{made['id']}"
    await db.execute(sql("update {} set slug = 'OLD'", ident(project.schema, "events")))

    assert 200 == (await project.operator.patch(path, json={"version": 3})).status_code
    assert [("/ends", FAILED)] == faults(await project.operator.patch(path, json={"starts": 9}))
    assert [("/slug", FAILED)] == faults(await project.operator.patch(path, json={"slug": "OLD"}))
    assert 200 == (await project.operator.patch(path, json={"starts": 9, "ends": 10})).status_code


async def test_the_stored_record_is_null_before_there_is_one(project: ProjectUnderTest) -> None:
    await project.collection("events", FIELDS, OPEN)
    made = (await project.anonymous.post("collections/events/records", json={"starts": 5, "version": 7})).json()
    path = f"collections/events/records/{made['id']}"

    assert [("/version", FAILED)] == faults(await project.anonymous.patch(path, json={"version": 9}))
    assert 200 == (await project.anonymous.patch(path, json={"version": 8})).status_code


async def test_absent_values_are_asked_about_only_by_what_speaks_of_null(project: ProjectUnderTest) -> None:
    fields = [
        {"name": "a", "type": "int", "validate": "value > 0"},
        {"name": "b", "type": "int", "validate": "value != null || next.a == 1"},
        {"name": "c", "type": "int", "validate": "has(next.c) || next.a == 1"},
    ]
    await project.collection("things", fields, OPEN)

    assert [("/b", FAILED), ("/c", FAILED)] == faults(await project.anonymous.post("collections/things/records", json={}))
    assert 201 == (await project.anonymous.post("collections/things/records", json={"a": 1})).status_code


async def test_what_is_neither_true_nor_false_does_not_pass(project: ProjectUnderTest) -> None:
    """A division by zero, a guest's auth, a null in an order."""
    fields = [
        {"name": "n", "type": "int", "validate": "10 / value > 0"},
        {"name": "owner", "type": "text", "validate": "value == auth.id"},
        {"name": "m", "type": "int", "validate": "value > next.n"},
    ]
    await project.collection("things", fields, OPEN)
    user = await project.user()

    assert [("/n", FAILED)] == faults(await user.post("collections/things/records", json={"n": 0}))
    assert [("/m", FAILED)] == faults(await user.post("collections/things/records", json={"m": 1}))
    assert [("/owner", FAILED)] == faults(await project.anonymous.post("collections/things/records", json={"owner": user.id}))
    assert [("/owner", FAILED)] == faults(await project.operator.post("collections/things/records", json={"owner": user.id}))
    assert 201 == (await user.post("collections/things/records", json={"owner": user.id})).status_code


async def test_validations_come_with_the_other_faults_of_a_body(project: ProjectUnderTest) -> None:
    """As far as they can be judged: not those that read a faulty value; not where the rule refuses the write anyway."""
    await project.collection("events", FIELDS, OPEN | {"update": 'record.slug == "mine"'})
    send = project.anonymous
    bad = {"slug": "A", "starts": "x", "ends": 1, "else": 1}
    one = (await send.post("collections/events/records", json={"slug": "mine", "starts": 1})).json()["id"]
    other = (await send.post("collections/events/records", json={"slug": "other", "starts": 1})).json()["id"]

    assert {("/else", "unknown_field"), ("/starts", "wrong_type"), ("/slug", FAILED)} == set(
        faults(await send.post("collections/events/records", json=bad))
    )
    assert {("/starts", "wrong_type"), ("/slug", FAILED)} == set(
        faults(await send.patch(f"collections/events/records/{one}", json={"starts": "x", "slug": "A", "ends": 0}))
    )
    assert [("/starts", "wrong_type")] == faults(
        await send.patch(f"collections/events/records/{other}", json={"starts": "x", "slug": "A"})
    )


async def test_bad_references_and_validations_come_together(project: ProjectUnderTest) -> None:
    fields = [{"name": "n", "type": "int", "validate": "value > 0"}, {"name": "friend", "type": "relation", "to": "users"}]
    await project.collection("things", fields, OPEN)
    user = await project.user()
    nobody = "00000000-0000-7000-8000-000000000000"

    answer = await user.post("collections/things/records", json={"n": 0, "friend": nobody})

    assert {("/friend", "bad_reference"), ("/n", FAILED)} == set(faults(answer))


async def test_the_rule_comes_first(project: ProjectUnderTest) -> None:
    """Whoever may not write learns nothing of validation, nor of a record that he cannot see."""
    rules = {"list": "true", "view": "false", "create": "auth != null", "update": "false", "delete": None}
    await project.collection("events", FIELDS, rules)
    made = (await project.operator.post("collections/events/records", json={"starts": 1})).json()

    denied = await project.anonymous.post("collections/events/records", json={"starts": -1})
    absent = await project.anonymous.patch(f"collections/events/records/{made['id']}", json={"starts": -1})

    assert (403, "rule_denied") == (denied.status_code, denied.json()["code"])
    assert 404 == absent.status_code


async def test_a_hidden_field_that_fails_is_not_named(project: ProjectUnderTest) -> None:
    fields = [
        {"name": "n", "type": "int"},
        {"name": "secret", "type": "int", "hidden": True, "default": 5, "validate": "value > next.n"},
    ]
    await project.collection("things", fields, OPEN)

    answer = await project.anonymous.post("collections/things/records", json={"n": 7})

    assert [("", FAILED)] == faults(answer)
    assert "secret" not in answer.text
    assert [("/secret", FAILED)] == faults(await project.operator.post("collections/things/records", json={"n": 7}))


async def test_users_are_asked_at_sign_up_and_at_their_own_changes(project: ProjectUnderTest) -> None:
    await project.settings(auth={"sign_up": True})
    fields = [{"name": "nick", "type": "text", "validate": 'value.matches("^[a-z]{2,10}$")'}]
    assert 200 == (await project.operator.patch("collections/users", json={"fields": fields})).status_code
    body = {"email": "ann@example.com", "password": "correct horse battery"}

    assert [("/nick", FAILED)] == faults(await project.anonymous.post("auth/sign-up", json={**body, "nick": "A"}))
    assert [("/nick", FAILED)] == faults(await project.operator.post("users", json={**body, "nick": "A"}))
    user = await project.user()
    assert [("/nick", FAILED)] == faults(await user.patch("auth/me", json={"nick": "A"}))
    assert 200 == (await user.patch("auth/me", json={"nick": "ann"})).status_code


async def test_a_validation_follows_relations_and_asks_other_collections(project: ProjectUnderTest) -> None:
    await project.collection("teams", [{"name": "size", "type": "int", "required": True}], OPEN)
    fields = [
        {"name": "team", "type": "relation", "to": "teams"},
        {
            "name": "seat",
            "type": "int",
            "validate": "value <= next.team.size && !rows('seats').exists(s, s.seat == value && s.id != next.id)",
        },
    ]
    await project.collection("seats", fields, OPEN)
    team = (await project.operator.post("collections/teams/records", json={"size": 2})).json()["id"]
    send = project.anonymous

    assert 201 == (await send.post("collections/seats/records", json={"team": team, "seat": 2})).status_code
    assert [("/seat", FAILED)] == faults(await send.post("collections/seats/records", json={"team": team, "seat": 3}))
    assert [("/seat", FAILED)] == faults(await send.post("collections/seats/records", json={"team": team, "seat": 2}))
    assert [("/seat", FAILED)] == faults(await send.post("collections/seats/records", json={"seat": 1}))


async def test_a_change_is_judged_on_the_record_as_it_is_then(project: ProjectUnderTest) -> None:
    """Two changes that each fit what both have read: the second one is judged on what the first has written."""
    fields = [
        {"name": "a", "type": "int", "validate": "value + next.b <= 10"},
        {"name": "b", "type": "int", "validate": "value + next.a <= 10"},
    ]
    await project.collection("things", fields, OPEN)
    made = (await project.anonymous.post("collections/things/records", json={"a": 1, "b": 1})).json()
    path = f"collections/things/records/{made['id']}"

    for _ in range(10):
        await project.anonymous.put(path, json={"a": 1, "b": 1})
        answers = await asyncio.gather(project.anonymous.patch(path, json={"a": 9}), project.anonymous.patch(path, json={"b": 9}))
        assert [200, 422] == sorted(answer.status_code for answer in answers)


@pytest.mark.parametrize(
    ("validate", "code"),
    [
        ("value.matches('[')", "bad_pattern"),
        ("value > 3", "type_mismatch"),
        ("next.nothing == 1", "unknown_field"),
        ("value == $x", "not_allowed"),
        ("value.size()", "type_mismatch"),
        ("next.x / 0 == 1", "no_value"),
        ("", "empty"),
        (5, "wrong_type"),
    ],
)
async def test_a_wrong_validation_is_not_saved(project: ProjectUnderTest, validate: object, code: str) -> None:
    body = {"name": "things", "fields": [{"name": "x", "type": "int"}, {"name": "s", "type": "text", "validate": validate}]}

    assert [("/fields/1/validate", code)] == faults(await project.operator.post("collections", json=body))


async def test_a_message_belongs_to_a_validation(project: ProjectUnderTest) -> None:
    for field in (
        {"validate_message": "x"},
        {"validate": "true", "validate_message": ""},
        {"validate": "true", "validate_message": 1},
    ):
        body = {"name": "things", "fields": [{"name": "s", "type": "text", **field}]}
        assert ["/fields/0/validate_message"] == [at for at, _ in faults(await project.operator.post("collections", json=body))]


async def test_a_change_of_fields_that_breaks_a_validation_is_refused(project: ProjectUnderTest) -> None:
    """Also one of another collection."""
    await project.collection("teams", [{"name": "size", "type": "int"}], OPEN)
    fields = [
        {"name": "team", "type": "relation", "to": "teams"},
        {"name": "n", "type": "int", "validate": "value < next.team.size"},
    ]
    made = await project.collection("seats", fields, OPEN)

    gone = await project.operator.patch("collections/teams", json={"fields": []}, params={"confirm": "data-loss"})
    mine = await project.operator.patch("collections/seats", json={"fields": made["fields"][1:]})

    assert "value < next.team.size" == made["fields"][1]["validate"]
    assert (409, "breaks_rules") == (gone.status_code, gone.json()["code"])
    assert [("seats", "/fields/1/validate")] == [(one["collection"], one["place"]) for one in gone.json()["broken"]]
    assert [("/fields/0/validate", "unknown_field")] == faults(mine)


async def test_the_api_document_says_that_values_are_checked(project: ProjectUnderTest) -> None:
    await project.collection("events", FIELDS, OPEN)
    document = (await project.operator.get("openapi.json")).json()
    written = [
        schema["properties"]["slug"]
        for schema in document["components"]["schemas"].values()
        if "slug" in schema.get("properties", {}) and "description" in schema["properties"]["slug"]
    ]

    assert written
    assert all("Small letters only." in one["description"] for one in written)
