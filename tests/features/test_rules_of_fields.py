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


@pytest.mark.parametrize(
    ("action", "sent", "unfit"),
    [
        ("create", {"grade": 3}, []),
        ("create", {"grade": 10}, ["/grade"]),
        ("create", {"grade": 10, "step": 1, "until": 3}, ["/grade", "/step"]),
        ("create", {"boss": NOBODY}, ["/boss"]),
        ("create", {"boss": NOBODY, "grade": 10}, ["/boss", "/grade"]),
        ("update", {"grade": 5}, []),
        ("update", {"grade": 4}, ["/grade"]),
        ("update", {"grade": {"$inc": 9}}, ["/grade"]),
        ("update", {"boss": NOBODY, "grade": 5}, ["/boss"]),
        ("update", {"grade": 5, "until": 9, "step": 0}, ["/until", "/step"]),
    ],
)
async def test_a_write_that_the_rule_allows_and_a_validation_refuses_is_answered_so(
    people: ProjectUnderTest, action: str, sent: dict[str, Any], unfit: list[str]
) -> None:
    """The rule's verdict, and the answer of the write itself with all that does not fit."""
    ada = await people.user()
    one = await people.operator.create("people", {"name": "x", "grade": 4})
    body = {"name": "n", **sent} if action == "create" else sent
    said = await explained(
        people.operator, "people", action, as_=ada.id, input=body, **({} if action == "create" else {"id": one["id"]})
    )
    method, path = ("POST", "") if action == "create" else ("PATCH", f"/{one['id']}")
    answer = await ada.request(method, f"collections/people/records{path}", json=body)

    assert said["verdict"] == "allow"
    assert (said["answer"]["status"], said["answer"]["code"]) == (answer.status_code, answer.json().get("code")), answer.text
    expected = [(fault["pointer"], fault["code"]) for fault in answer.json().get("errors", [])]
    assert [(fault["pointer"], fault["code"]) for fault in said["answer"].get("errors", [])] == expected
    assert [pointer for pointer, _ in expected] == unfit
    assert all(pointer[1:] in said["hint"] for pointer in unfit)


async def test_a_case_meets_the_validations_and_is_of_a_field(people: ProjectUnderTest) -> None:
    """A validation is neither allow nor deny: `deny` says that the rule refuses. With `field` its own expression is asked."""
    rows = {
        "users": [{"id": "ada"}, {"id": "bob"}],
        "teams": [{"id": "t", "lead": "bob"}],
        "people": [{"id": "p", "name": "x", "grade": 4, "boss": "ada", "team": "t"}],
    }
    new, change = {"collection": "people", "action": "create"}, {"collection": "people", "action": "update", "id": "p"}
    pay = {"collection": "people", "action": "view", "id": "p", "field": "pay"}
    cases: list[tuple[dict[str, Any], bool]] = [
        ({**new, "input": {"name": "n", "grade": 3}, "expect": "allow"}, True),
        ({**new, "input": {"name": "n", "grade": 10}, "expect": "allow"}, False),
        ({**new, "input": {"name": "n", "grade": 10}, "expect": "deny"}, False),
        ({**new, "input": {"name": "n", "grade": 10}, "expect": "invalid"}, True),
        ({**new, "input": {"name": "n", "grade": 10, "step": 0}, "expect": {"invalid": ["step", "grade"]}}, True),
        ({**new, "input": {"name": "n", "grade": 10}, "expect": {"invalid": ["step"]}}, False),
        ({**new, "input": {"name": "n", "grade": "x"}, "expect": "invalid"}, False),
        ({**change, "input": {"grade": 4}, "expect": {"invalid": ["grade"]}}, True),
        ({**change, "input": {"grade": 5}, "expect": "allow"}, True),
        ({**pay, "auth": "ada", "expect": "allow"}, True),
        ({**pay, "auth": "bob", "expect": "allow"}, True),
        ({**pay, "expect": "deny"}, True),
        ({**pay, "field": "pin", "expect": "deny"}, True),
        ({**change, "field": "grade", "input": {"grade": 5}, "expect": "allow"}, True),
        ({**change, "field": "grade", "input": {"grade": 3}, "expect": "deny"}, True),
        ({**new, "field": "until", "input": {"name": "n", "grade": 3, "until": 3}, "expect": "deny"}, True),
        ({**pay, "field": "nothing", "expect": "deny"}, False),
    ]
    answer = await people.operator.post("rules/test", json={"rows": rows, "cases": [case for case, _ in cases]})

    assert answer.status_code == 200, answer.text
    report = answer.json()
    assert [one["passed"] for one in report["cases"]] == [passes for _, passes in cases], report["cases"]
    assert report["cases"][1]["got"] == {"invalid": ["grade"]}
    assert "/grade" in report["cases"][1]["reason"]
    assert {"people.pay", "people.grade", "people.until"} <= {one["collection"] for one in report["coverage"]}


async def test_a_case_has_a_present_and_a_door(project: ProjectUnderTest) -> None:
    fields = [{"name": "opens", "type": "datetime"}, {"name": "closes", "type": "datetime"}]
    rules = {"view": "record.opens <= now && now < record.closes", "create": "request.via == 'import'"}
    await project.collection("polls", fields, rules)
    rows = {"polls": [{"id": "p", "opens": "2026-05-01T09:00:00Z", "closes": "2026-05-01T10:00:00Z"}]}
    see, make = {"collection": "polls", "action": "view", "id": "p"}, {"collection": "polls", "action": "create", "input": {}}
    cases = [
        {**see, "now": "2026-05-01T08:59:59.999Z", "expect": "deny"},
        {**see, "now": "2026-05-01T11:00:00+02:00", "expect": "allow"},
        {**see, "now": "2026-05-01T10:00:00Z", "expect": "deny"},
        {**make, "expect": "deny"},
        {**make, "via": "import", "expect": "allow"},
    ]
    report = (await project.operator.post("rules/test", json={"rows": rows, "cases": cases})).json()

    assert [one["passed"] for one in report["cases"]] == [True] * 5, report


async def test_a_case_is_of_a_bucket(project: ProjectUnderTest) -> None:
    """A bucket's rules over files that are only spoken of; another collection that they look at is there too."""
    await project.collection("teams", fields=[{"name": "lead", "type": "relation", "to": "users"}])
    assert (await project.operator.post("buckets", json={"name": "open", "public": True})).is_success
    await project.collection("posts", [{"name": "pic", "type": "file", "bucket": "open"}], {"create": "true"})
    own = "record.owner == auth.id"
    rules = {
        "list": own,
        "view": f"{own} || rows('teams').exists(t, t.lead == auth.id)",
        "update": own,
        "delete": f"{own} && !has(record.metadata.kept)",
    }
    rules["create"] = "next.size <= 1000 && next.content_type.startsWith('image/') && auth.id != null"
    assert (await project.operator.post("buckets", json={"name": "pics", "rules": rules})).is_success
    rows: dict[str, Any] = {
        "users": [{"id": "ada"}, {"id": "bob"}, {"id": "eve"}],
        "teams": [{"lead": "eve"}],
        "buckets/pics": [{"path": "a/1.png", "owner": "ada"}, {"path": "a/2.png", "owner": "ada", "metadata": {"kept": True}}],
        "buckets/open": [{"path": "x"}],
    }
    of, image = {"bucket": "pics", "path": "a/1.png"}, {"content_type": "image/png", "size": 10}
    cases: list[tuple[dict[str, Any], bool]] = [
        ({**of, "action": "view", "auth": "ada", "expect": "allow"}, True),
        ({**of, "action": "view", "auth": "bob", "expect": "deny"}, True),
        ({**of, "action": "view", "auth": "eve", "expect": "allow"}, True),
        ({**of, "action": "list", "auth": "eve", "expect": "deny"}, True),
        ({**of, "action": "view", "expect": "allow"}, False),
        ({**of, "action": "create", "auth": "bob", "path": "new.png", "input": image, "expect": "allow"}, True),
        ({**of, "action": "create", "auth": "bob", "path": "n.png", "input": {**image, "size": 1001}, "expect": "deny"}, True),
        ({**of, "action": "create", "auth": "bob", "path": "n.png", "input": {}, "expect": "deny"}, False),
        ({**of, "action": "update", "auth": "ada", "input": {"metadata": {"a": 1}}, "expect": "allow"}, True),
        ({**of, "action": "update", "auth": "bob", "input": image, "expect": "deny"}, True),
        ({**of, "action": "delete", "auth": "ada", "expect": "allow"}, True),
        ({**of, "action": "delete", "auth": "ada", "path": "a/2.png", "expect": "deny"}, True),
        ({**of, "action": "delete", "auth": "ada", "path": "gone", "expect": "deny"}, True),
        ({**of, "action": "view", "auth": "bob", "path": "b", "expect": "allow",
          "rows": {"buckets/pics": [{"path": "b", "owner": "bob"}]}}, True),
        ({"bucket": "open", "path": "x", "action": "view", "expect": "allow"}, True),
        ({"bucket": "open", "path": "x", "action": "delete", "expect": "deny"}, True),
    ]  # fmt: skip
    for pic, expect in (("x", "allow"), ("y", {"invalid": ["pic"]})):
        cases.append(({"collection": "posts", "action": "create", "input": {"pic": pic}, "expect": expect}, True))
    answer = await project.operator.post("rules/test", json={"rows": rows, "cases": [case for case, _ in cases]})

    assert answer.status_code == 200, answer.text
    report = answer.json()
    assert [one["passed"] for one in report["cases"]] == [passes for _, passes in cases], report["cases"]
    assert (await project.operator.get("buckets/pics/files")).json()["items"] == []
    assert {"buckets/pics", "posts"} == {one["collection"] for one in report["coverage"]}
    assert report["untested"] == []


@pytest.mark.parametrize(
    "case",
    [
        {"collection": "people", "action": "view", "id": "p", "path": "x", "expect": "deny"},
        {"bucket": "b", "action": "view", "expect": "deny"},
        {"bucket": "none", "path": "x", "action": "view", "expect": "deny"},
        {"bucket": "b", "path": "x", "collection": "people", "action": "view", "expect": "deny"},
        {"bucket": "b", "path": "x", "field": "size", "action": "view", "expect": "deny"},
        {"bucket": "b", "path": "x", "action": "view", "expect": "invalid"},
        {"collection": "people", "action": "view", "id": "p", "expect": "invalid"},
        {"collection": "people", "action": "delete", "id": "p", "field": "pay", "expect": "deny"},
        {"collection": "people", "action": "list", "field": "pay", "expect": "deny"},
        {"collection": "people", "action": "view", "id": "p", "via": "post", "expect": "deny"},
        {"collection": "people", "action": "view", "id": "p", "now": "2026-05-01T09:00:00", "expect": "deny"},
        {"collection": "people", "action": "view", "id": "p", "now": "soon", "expect": "deny"},
        {"collection": "people", "action": "create", "expect": {"invalid": [3]}},
        {"bucket": "b", "path": "x", "action": "view", "expect": "deny", "rows": {"buckets/b": [{"path": ""}]}},
        {"bucket": "b", "path": "x", "action": "view", "expect": "deny", "rows": {"buckets/b": [{"path": "a", "owner": "no"}]}},
        {"bucket": "b", "path": "x", "action": "view", "expect": "deny", "rows": {"buckets/b": [{"path": "a"}, {"path": "a"}]}},
        {"bucket": "b", "path": "x", "action": "view", "expect": "deny", "rows": {"buckets/none": [{"path": "a"}]}},
    ],
)
async def test_a_case_that_cannot_be_is_refused_with_its_place(people: ProjectUnderTest, case: dict[str, Any]) -> None:
    assert (await people.operator.post("buckets", json={"name": "b", "rules": {"view": "true"}})).is_success
    answer = await people.operator.post("rules/test", json={"cases": [case]})

    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"]
