"""`read` and `validate` of fields explained: why a field is missing from an answer, why a value was refused."""

from typing import Any

import pytest

from tests.features.test_cli import Terminal, baas, here  # noqa: F401  fixtures
from tests.features.test_rules import NOBODY, explained, texts
from tests.support.callers import ProjectUnderTest

PEOPLE: dict[str, Any] = {
    "name": "people",
    "fields": [
        {"name": "name", "type": "text", "required": True},
        {"name": "boss", "type": "relation", "to": "users"},
        {"name": "team", "type": "relation", "to": "teams"},
        {"name": "pay", "type": "int", "read": "record.boss == auth.id || record.team.lead == auth.id"},
        {"name": "grade", "type": "int", "validate": "value >= 1 && value <= 9 && (next.rev == 1 || value > record.grade)"},
        {"name": "until", "type": "int", "validate": "value == null || next.grade > value"},
        {"name": "step", "type": "int", "validate": "value > 1"},
        {"name": "pin", "type": "text", "hidden": True},
    ],
    "rules": {"list": "auth.id != null", "view": "record.name != 'secret'", "create": "true", "update": "true"},
}


@pytest.fixture
async def people(project: ProjectUnderTest) -> ProjectUnderTest:
    await project.collection("teams", fields=[{"name": "lead", "type": "relation", "to": "users"}])
    await project.collection(**PEOPLE)
    return project


async def test_a_missing_field_is_explained(people: ProjectUnderTest) -> None:
    """The explanation beside the answer: the field is in it exactly when its expression is true."""
    ada, bob, eve = await people.user(), await people.user(), await people.user()
    team = await people.operator.create("teams", {"lead": eve.id})
    one = await people.operator.create("people", {"name": "x", "boss": ada.id, "team": team["id"], "pay": 7})
    for caller, shown in ((ada, True), (bob, False), (eve, True), (people.anonymous, False)):
        for action in ("view", "list") if caller.id else ("view",):
            said = await explained(people.operator, "people", action, id=one["id"], as_=caller.id or None, field="pay")
            answer = (await caller.get(f"collections/people/records/{one['id']}")).json()
            assert shown is ("pay" in answer) is (said["verdict"] == "allow"), (caller.id, said["hint"])
            assert (said["memory"], said["field"], said["answer"]["status"]) == ("agrees", "pay", 200)
    said = await explained(people.operator, "people", "view", id=one["id"], as_=bob.id, field="pay")
    assert texts(said["tree"])["record.team.lead"]["value"] == eve.id
    assert said["rule"] == PEOPLE["fields"][3]["read"]


async def test_a_field_of_a_record_out_of_sight_is_not_shown(people: ProjectUnderTest) -> None:
    ada = await people.user()
    one = await people.operator.create("people", {"name": "secret", "boss": ada.id, "pay": 7})

    said = await explained(people.operator, "people", "view", id=one["id"], as_=ada.id, field="pay")
    absent = await explained(people.operator, "people", "view", id=NOBODY, as_=ada.id, field="pay")
    guest = await explained(people.operator, "people", "view", field="pay")
    depends = await explained(people.operator, "people", "view", as_=ada.id, field="pay")
    free = await explained(people.operator, "people", "view", id=one["id"], field="name")
    hidden = await explained(people.operator, "people", "view", id=one["id"], field="pin")

    assert (said["verdict"], said["answer"]["status"]) == ("deny", 404)
    assert said["hint"].startswith("The rule does not show the record at all.")
    assert (absent["verdict"], absent["answer"]["status"]) == ("deny", 404)
    assert (guest["verdict"], depends["verdict"]) == ("deny", "depends")
    assert (free["verdict"], free["tree"], hidden["verdict"]) == ("allow", None, "deny")


@pytest.mark.parametrize(
    ("action", "field", "sent", "verdict"),
    [
        ("create", "grade", {"grade": 3}, "allow"),
        ("create", "grade", {"grade": 10}, "deny"),
        ("create", "grade", {}, "allow"),
        ("create", "until", {"grade": 3, "until": 3}, "deny"),
        ("create", "until", {"grade": 3, "until": 2}, "allow"),
        ("create", "until", {"until": 2}, "deny"),
        ("update", "grade", {"grade": 5}, "allow"),
        ("update", "grade", {"grade": 4}, "deny"),
        ("update", "grade", {"grade": {"$inc": 1}}, "allow"),
        ("update", "grade", {"grade": {"$inc": 9}}, "deny"),
        ("update", "step", {"grade": 5}, "allow"),
        ("update", "step", {"grade": 5, "step": 1}, "deny"),
        ("update", "until", {"grade": 9}, "allow"),
    ],
)
async def test_a_refused_value_is_explained(
    people: ProjectUnderTest, action: str, field: str, sent: dict[str, Any], verdict: str
) -> None:
    """The explanation beside the write itself."""
    ada = await people.user()
    one = await people.operator.create("people", {"name": "x", "grade": 4})
    body = {"name": "n", **sent} if action == "create" else sent
    place = {} if action == "create" else {"id": one["id"]}

    said = await explained(people.operator, "people", action, as_=ada.id, input=body, field=field, **place)
    method, path = ("POST", "") if action == "create" else ("PATCH", f"/{one['id']}")
    answer = await ada.request(method, f"collections/people/records{path}", json=body)

    faults = [fault["pointer"] for fault in answer.json().get("errors", [])]
    assert verdict == said["verdict"] == ("deny" if f"/{field}" in faults else "allow"), (said["hint"], answer.text)
    assert said["answer"]["status"] == answer.status_code, answer.text
    assert said["answer"]["code"] == answer.json().get("code")
    assert said["memory"] == "agrees"


async def test_values_of_a_validation_are_shown_to_those_who_may_see_them(people: ProjectUnderTest) -> None:
    one = await people.operator.create("people", {"name": "x", "grade": 4})
    key = await people.key("schema")
    asked = {"id": one["id"], "input": {"grade": 3}, "field": "grade"}

    said = await explained(people.operator, "people", "update", **asked)
    closed = await explained(key, "people", "update", **asked)

    parts = texts(said["tree"])
    assert (parts["value"]["value"], parts["record.grade"]["value"]) == (3, 4)
    assert "record.grade" in said["hint"] or "value" in said["hint"]
    assert "value" not in texts(closed["tree"])["record.grade"]
    assert (closed["verdict"], closed["values"]) == ("deny", "withheld")


@pytest.mark.parametrize(
    "more",
    [
        {"action": "view", "field": "nothing"},
        {"action": "view", "field": "id"},
        {"action": "delete", "field": "pay"},
        {"action": "view", "field": 3},
        {"action": "view", "field": "pay\x00"},
        {"action": "create", "field": "grade", "input": {"grade": "x"}},
        {"action": "update", "field": "grade", "input": {"pin": "x"}, "id": NOBODY},
    ],
)
async def test_a_bad_question_about_a_field_is_the_askers_fault(people: ProjectUnderTest, more: dict[str, Any]) -> None:
    answer = await people.operator.post("rules/explain", json={"collection": "people", **more})

    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"]


async def test_a_field_is_explained_to_people(here: Terminal, project: ProjectUnderTest) -> None:  # noqa: F811
    await project.collection("teams", fields=[{"name": "lead", "type": "relation", "to": "users"}])
    await project.collection(**PEOPLE)
    one = await project.operator.create("people", {"name": "x", "pay": 7})

    told = await here("explain", "view", f"people/{one['id']}", "--field", "pay")
    free = await here("explain", "view", f"people/{one['id']}", "--field", "name")

    assert 0 == told.code, told.err
    assert told.out.splitlines()[0] == f"DENY  people.view pay  {PEOPLE['fields'][3]['read']}"
    assert "answer: 200" in told.out
    assert free.out.splitlines()[0] == "ALLOW  people.view name  (none)"
