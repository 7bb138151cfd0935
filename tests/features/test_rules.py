"""Rules explained, linted and tested, over HTTP; refused calls found again by their request id."""

from typing import Any

import pytest

from baas.base.denial import Denial
from baas.base.errors import NotFound
from baas.base.principal import Principal
from baas.infra.db.pool import Database
from baas.infra.db.sql import ident, sql
from baas.server import Server
from tests.support.callers import Caller, ProjectUnderTest

NOBODY = "00000000-0000-4000-8000-000000000000"
TEAMS: dict[str, Any] = {
    "name": "teams",
    "fields": [
        {"name": "owner", "type": "relation", "to": "users", "required": True},
        {"name": "parent", "type": "relation", "to": "teams"},
    ],
}
CARDS: dict[str, Any] = {
    "name": "cards",
    "fields": [
        {"name": "title", "type": "text", "required": True},
        {"name": "owner", "type": "relation", "to": "users", "required": True},
        {"name": "team", "type": "relation", "to": "teams", "inverse": "cards"},
        {"name": "tags", "type": "select", "values": ["a", "b", "c"], "many": True},
        {"name": "meta", "type": "json"},
        {"name": "pin", "type": "text", "hidden": True},
        {"name": "stars", "type": "int"},
    ],
    "rules": {
        "list": "record.owner == auth.id || record.team.owner == auth.id",
        "view": "record.owner == auth.id || record.team.owner == auth.id",
        "create": "next.owner == auth.id && next.title != ''",
        "update": "record.owner == auth.id && next.owner == record.owner",
    },
}


@pytest.fixture
async def cards(project: ProjectUnderTest) -> ProjectUnderTest:
    await project.collection(**TEAMS)
    await project.collection(**CARDS)
    return project


async def explained(caller: Caller, collection: str, action: str, **more: Any) -> Any:
    more = {name.rstrip("_"): value for name, value in more.items()}
    answer = await caller.post("rules/explain", json={"collection": collection, "action": action, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def texts(node: Any) -> dict[str, Any]:
    """Every part by its text."""
    found = {node["text"]: node}
    for child in node["children"]:
        found |= texts(child)
    return found


async def test_every_part_of_a_rule_is_shown_with_its_value(cards: ProjectUnderTest) -> None:
    ada, bob = await cards.user(), await cards.user()
    card = await cards.operator.create("cards", {"title": "One", "owner": ada.id})

    said = await explained(cards.operator, "cards", "update", id=card["id"], as_=bob.id, input={"title": "Two"})

    assert said["verdict"] == "deny"
    assert said["memory"] == "agrees"
    assert said["hint"] == f'`record.owner == auth.id` is false: "{ada.id}" ≠ "{bob.id}".'
    assert said["answer"] == {"status": 404, "code": "record_not_found"}
    parts = texts(said["tree"])
    assert parts["record.owner"]["value"] == ada.id
    assert parts["auth.id"]["value"] == bob.id
    assert parts["record.owner == auth.id"]["value"] is False
    assert parts["next.owner == record.owner"]["value"] is True
    assert '"r"."owner"' in said["sql"]["text"]
    assert said["sql"]["args"] == [bob.id]


async def test_what_is_explained_is_what_happens(cards: ProjectUnderTest) -> None:
    """The verdict and the answer of an explanation, beside the call itself."""
    ada, bob, eve = await cards.user(), await cards.user(), await cards.user()
    team = await cards.operator.create("teams", {"owner": bob.id})
    card = await cards.operator.create("cards", {"title": "One", "owner": ada.id, "team": team["id"]})
    path = f"collections/cards/records/{card['id']}"

    for caller in (ada, bob, eve, cards.anonymous):
        user = caller.id or None
        for action, method, body in (("view", "GET", None), ("update", "PATCH", {"title": "x"}), ("delete", "DELETE", None)):
            given = {} if body is None else {"input": body}
            said = await explained(cards.operator, "cards", action, id=card["id"], as_=user, **given)
            answer = await caller.request(method, path, **({} if body is None else {"json": body}))
            assert said["answer"]["status"] == answer.status_code, (action, user, said["hint"])
            assert said["answer"]["code"] == (answer.json()["code"] if answer.status_code >= 400 else None)
        listed = [one["id"] for one in await caller.list("cards")] if user else []
        said = await explained(cards.operator, "cards", "list", id=card["id"], as_=user)
        assert (said["verdict"] == "allow") is (card["id"] in listed)
        new = {"title": "New", "owner": ada.id}
        said = await explained(cards.operator, "cards", "create", as_=user, input=new)
        assert said["answer"]["status"] == (await caller.post("collections/cards/records", json=new)).status_code


@pytest.mark.parametrize(
    ("rule", "hint"),
    [
        ("record.team.owner == auth.id", "`record.team.owner == auth.id` has no value: record.team is null."),
        ("record.owner == auth.id", "`record.owner == auth.id` has no value: nobody is signed in."),
        ("record.stars > 3", "`record.stars > 3` has no value: record.stars is null."),
        ("record.meta.level == 1", "`record.meta.level == 1` has no value: record.meta is null."),
        ("!(record.stars < 3)", "`record.stars < 3` has no value: record.stars is null."),
        (
            "record.title == 'x' || record.stars == 7",
            "`record.title == 'x'` is false: record.title is \"One\"; `record.stars == 7` is false: record.stars is null.",
        ),
        ("'a' in record.tags", "`'a' in record.tags` is false: record.tags is [\"b\"]."),
        ("record.team.parent.owner == auth.id", "`record.team.parent.owner == auth.id` has no value: record.team is null."),
        ("auth.email_verified", "`auth.email_verified` has no value: nobody is signed in."),
        ("false", "`false` is false."),
        ("true", "`true` is true."),
    ],
)
async def test_a_hint_says_in_words_what_decided(cards: ProjectUnderTest, rule: str, hint: str) -> None:
    ada = await cards.user()
    answer = await cards.operator.patch("collections/cards", json={"rules": {"delete": rule}})
    assert answer.status_code == 200, answer.text
    card = await cards.operator.create("cards", {"title": "One", "owner": ada.id, "tags": ["b"]})

    said = await explained(cards.operator, "cards", "delete", id=card["id"])

    assert said["hint"] == hint
    assert said["memory"] == "agrees"


async def test_a_path_is_shown_hop_by_hop_and_a_loop_by_its_elements(cards: ProjectUnderTest) -> None:
    ada, bob = await cards.user(), await cards.user()
    rule = "record.team.parent.owner == auth.id || record.team.cards.exists(c, c.stars > 2)"
    assert (await cards.operator.patch("collections/cards", json={"rules": {"delete": rule}})).status_code == 200
    top = await cards.operator.create("teams", {"owner": ada.id})
    team = await cards.operator.create("teams", {"owner": bob.id, "parent": top["id"]})
    for stars in (1, 2, None):
        await cards.operator.create("cards", {"title": "x", "owner": ada.id, "team": team["id"], "stars": stars})
    card = await cards.operator.create("cards", {"title": "y", "owner": ada.id, "team": team["id"], "stars": 0})

    said = await explained(cards.operator, "cards", "delete", id=card["id"], as_=bob.id)

    parts = texts(said["tree"])
    assert parts["record.team"]["value"] == team["id"]
    assert parts["record.team.parent"]["value"] == top["id"]
    assert parts["record.team.parent.owner"]["value"] == ada.id
    loop = parts["record.team.cards.exists(c, c.stars > 2)"]
    assert loop["elements"] == {"true": 0, "false": 3, "error": 1}
    assert "value" not in loop
    assert (said["verdict"], said["memory"]) == ("deny", "agrees")


async def test_without_a_record_only_the_caller_is_judged(cards: ProjectUnderTest) -> None:
    ada = await cards.user()
    assert (await cards.operator.patch("collections/cards", json={"rules": {"delete": "auth.id == record.owner"}})).is_success

    depends = await explained(cards.operator, "cards", "delete", as_=ada.id)
    guest = await explained(cards.operator, "cards", "delete")
    listed = await explained(cards.operator, "cards", "list")
    absent = await explained(cards.operator, "cards", "delete", as_=ada.id, id=NOBODY)
    locked = await explained(cards.operator, "teams", "view", id=NOBODY)
    await cards.operator.patch("collections/cards", json={"rules": {"delete": "record.stars > 1 && record.owner == auth.id"}})
    both = await explained(cards.operator, "cards", "delete")

    assert both["hint"] == "`record.owner == auth.id` has no value: nobody is signed in."
    assert depends["verdict"] == "depends"
    assert (guest["verdict"], guest["answer"]["status"]) == ("deny", 404)
    assert guest["hint"] == "`auth.id == record.owner` has no value: nobody is signed in."
    assert "`record.owner == auth.id` has no value: nobody is signed in" in listed["hint"]
    assert (listed["verdict"], listed["answer"]) == ("deny", {"status": 401, "code": "unauthenticated"})
    assert (absent["verdict"], absent["hint"]) == ("deny", "There is no record with this id.")
    assert (locked["verdict"], locked["tree"], locked["answer"]["code"]) == ("deny", None, "rule_denied")


async def test_the_input_is_checked_as_a_write_checks_it(cards: ProjectUnderTest) -> None:
    ada = await cards.user()
    bad = {"collection": "cards", "action": "create", "as": ada.id, "input": {"title": 3, "pin": "x", "stars": 2**70}}
    answer = await cards.operator.post("rules/explain", json=bad)
    direct = await ada.post("collections/cards/records", json=bad["input"])

    assert answer.status_code == direct.status_code == 422
    assert [(one["pointer"], one["code"]) for one in answer.json().get("errors", [])] == [
        (f"/input{one['pointer']}" if one["pointer"] else one["pointer"], one["code"]) for one in direct.json().get("errors", [])
    ]


async def test_what_a_write_points_to_is_explained_as_the_write_answers(project: ProjectUnderTest) -> None:
    """What is there and seen is no fault; what is not is told at the same place, in a list the item. Cases judge the same."""
    await project.collection("boxes", [], {"view": "record.rev == 1"})
    parts: dict[str, Any] = {"type": "relation", "to": "boxes"}
    fields = [{"name": "box", **parts}, {"name": "more", **parts, "many": True}]
    await project.collection("labels", fields, {"create": "auth != null", "update": "auth != null", "view": "true"})
    ada, box = await project.user(), (await project.operator.create("boxes", {}))["id"]
    label = (await ada.create("labels", {"box": box, "more": [box]}))["id"]

    for input_, lost in (
        ({"box": box, "more": [box]}, []),
        ({"box": NOBODY}, ["/box"]),
        ({"more": [box, NOBODY]}, ["/more/1"]),
        ({"box": NOBODY, "more": [NOBODY, box]}, ["/box", "/more/0"]),
        ({"more": {"$append": [NOBODY]}}, ["/more"]),
    ):
        created = await ada.post("collections/labels/records", json=input_)
        changed = await ada.patch(f"collections/labels/records/{label}", json=input_)
        asked = [("update", {"id": label}, changed)] + [("create", {}, created)] * ("$append" not in str(input_))
        for action, more, direct in asked:
            told = (await explained(project.operator, "labels", action, as_=ada.id, input=input_, **more))["answer"]
            assert direct.status_code == told["status"] or (direct.is_success and told["status"] in (200, 201)), told
            assert lost == [one["pointer"] for one in told.get("errors", [])], (input_, told)
            assert lost == [one["pointer"] for one in direct.json().get("errors", [])], (input_, direct.text)

    case = {"collection": "labels", "action": "create", "auth": "ada"}
    rows = {"users": [{"id": "ada"}], "boxes": [{"id": "b"}]}
    cases = [
        {**case, "input": {"box": "b", "more": ["b"]}, "expect": "allow"},
        {**case, "input": {"more": ["b", NOBODY]}, "expect": {"invalid": ["more"]}},
    ]
    report = (await project.operator.post("rules/test", json={"rows": rows, "cases": cases})).json()
    assert [True, True] == [one["passed"] for one in report["cases"]], report


# Refused calls


async def test_a_refused_call_is_explained_by_its_request_id(cards: ProjectUnderTest) -> None:
    """403 and 404 of every door, by the id of the answer; the caller himself learns no more than before."""
    ada, bob, eve = await cards.user(), await cards.user(), await cards.user()
    team = await cards.operator.create("teams", {"owner": eve.id})
    card = await cards.operator.create("cards", {"title": "One", "owner": ada.id, "team": team["id"]})
    path = f"collections/cards/records/{card['id']}"
    calls = [
        (bob, "GET", path, None, "view", 404),
        (bob, "PATCH", path, {"title": "Two"}, "update", 404),
        (bob, "DELETE", path, None, "delete", 403),
        (eve, "PUT", path, {"title": "Two", "owner": ada.id, "id": card["id"]}, "update", 403),
        (bob, "POST", "collections/cards/records", {"title": "x", "owner": ada.id}, "create", 403),
        (cards.anonymous, "GET", "collections/cards/records?filter=stars%20>%203", None, "list", 401),
    ]
    for caller, method, where, body, action, status in calls:
        answer = await caller.request(method, where, **({} if body is None else {"json": body}))
        assert answer.status_code == status, answer.text
        assert "denial" not in answer.text
        found = await cards.operator.post("rules/explain", json={"request": answer.headers["x-request-id"]})
        assert found.status_code == 200, found.text
        said = found.json()
        assert (said["action"], said["as"], said["verdict"]) == (action, caller.id or None, "deny")
        assert said["denial"]["input"] == body
        assert said["denial"]["status"] == status == said["answer"]["status"]
    assert said["denial"]["filter"] == "stars > 3"


async def test_a_refusal_is_known_to_those_who_may_ask_and_in_its_own_project_alone(
    cards: ProjectUnderTest, operator: Caller
) -> None:
    bob = await cards.user()
    answer = await bob.get(f"collections/cards/records/{NOBODY}")
    question = {"request": answer.headers["x-request-id"]}
    other = await operator.post("projects", json={"name": f"{cards.name}-b"})
    assert other.status_code == 201

    assert 404 == (await operator.post(f"projects/{cards.name}-b/rules/explain", json=question)).status_code
    assert "refusal_not_found" == (await cards.operator.post("rules/explain", json={"request": "no such"})).json()["code"]
    for caller, status in ((bob, 403), (cards.anonymous, 401), (await cards.key("records"), 403)):
        for method, path in (("POST", "rules/explain"), ("POST", "rules/test"), ("GET", "rules/lint")):
            body = {"json": question} if method == "POST" else {}
            assert status == (await caller.request(method, path, **body)).status_code
    assert 200 == (await (await cards.key("schema")).post("rules/explain", json=question)).status_code
    assert 401 == (await operator.request("POST", f"projects/{cards.name}-b/rules/explain", headers={
        "authorization": f"Bearer {(await cards.key('schema')).token}"}, json=question)).status_code  # fmt: skip


async def test_a_key_that_may_not_read_records_sees_no_values(cards: ProjectUnderTest) -> None:
    """Neither of the record nor of the account nor of what a refused caller sent."""
    ada, bob = await cards.user(), await cards.user()
    card = await cards.operator.create("cards", {"title": "secret title", "owner": ada.id, "meta": {"k": "secret meta"}})
    rule = "record.title == 'x' || record.meta.k in ['a'] || auth.email == record.title"
    assert (await cards.operator.patch("collections/cards", json={"rules": {"update": rule}})).status_code == 200
    refused = await bob.patch(f"collections/cards/records/{card['id']}", json={"title": "sent title"})
    key, open_key = await cards.key("schema"), await cards.key("schema", "records", "users")
    question = {"request": refused.headers["x-request-id"]}

    closed, opened = [await one.post("rules/explain", json=question) for one in (key, open_key)]

    for secret in ("secret title", "secret meta", "sent title", bob.email):
        assert secret in opened.text
        assert secret not in closed.text
    assert closed.json()["verdict"] == "deny"
    assert closed.json()["values"] == "withheld"


async def test_refusals_are_bounded_and_swept(cards: ProjectUnderTest, db: Database, server: Server) -> None:
    """Hidden fields are not kept, nor what is long; a day later all is gone."""
    bob = await cards.user()
    long = {"title": "x", "owner": NOBODY, "meta": {"k": "y" * 20_000}}
    answer = await bob.post("collections/cards/records", json=long, headers={"x-request-id": "mine"})
    assert answer.status_code == 403
    first = await cards.operator.post("rules/explain", json={"request": answer.headers["x-request-id"]})
    assert first.status_code == 422, "the input was too long to keep, so it cannot be asked again"
    table = ident(cards.schema, "_denials")
    stored = await db.fetch_row(sql("select * from {}", table))
    assert stored is not None
    assert stored["input"] is None
    assert (
        await db.fetch_value(
            sql("select relpersistence::text from pg_class where oid = {}::regclass", f"{cards.schema}._denials")
        )
        == "u"
    )
    await db.execute(sql("update {} set at = now() - interval '25 hours'", table))
    await server.denials.sweep(await server.projects.find(cards.name))  # type: ignore[arg-type]
    assert await db.fetch_value(sql("select count(*) from {}", table)) == 0


HOSTILE = [
    {"request": "a\u0000b"}, {"request": 3}, {"request": "x", "action": "view"}, {"request": "' or 1=1 --"}, {},
    {"collection": "cards"}, {"collection": "cards", "action": "drop"}, {"collection": "cards; drop", "action": "view"},
    {"collection": "cards", "action": "view", "id": "x"}, {"collection": "cards", "action": "view", "id": "x" * 5000},
    {"collection": "cards", "action": "view", "as": "x"}, {"collection": "cards", "action": "view", "as": NOBODY},
    {"collection": "cards", "action": "view", "as": {"a": 1}}, {"collection": "cards", "action": "view", "claims": {"a": 1}},
    {"collection": "cards", "action": "view", "input": {}}, {"collection": "cards", "action": "create", "input": [1]},
    {"collection": "a\u0000b", "action": "view"}, {"collection": "_denials", "action": "view", "id": NOBODY},
    {"collection": "cards", "action": "create", "input": {"title": "a" * 900_000, "owner": NOBODY, "zz": 1}},
    {"collection": "cards", "action": "view", "id": NOBODY, "more": 1},
]  # fmt: skip


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
async def test_a_bad_question_is_the_askers_fault(cards: ProjectUnderTest, body: dict[str, Any]) -> None:
    answer = await cards.operator.post("rules/explain", json=body)

    assert 400 <= answer.status_code < 500, answer.text
    assert len(answer.text) < 5_000


# Lints


async def test_saves_answer_with_warnings_and_r003_stops_them(cards: ProjectUnderTest) -> None:
    warned = await cards.operator.patch("collections/cards", json={"rules": {"update": "record.owner == auth.id"}})
    again = await cards.operator.patch("collections/cards", json=warned.json())
    fields = [{"name": "team", "type": "relation", "to": "teams"}]
    users = await cards.operator.get("collections/users")
    assert (await cards.operator.patch("collections/users", json={"fields": [*users.json()["fields"], *fields]})).is_success
    refused = await cards.operator.patch("collections/cards", json={"rules": {"view": "record.team == auth.team"}})
    narrowed = "record.team != null && record.team == auth.team"
    accepted = await cards.operator.patch("collections/cards", json={"rules": {"view": narrowed}})
    listed = await cards.operator.get("rules/lint", params={"collection": "cards"})

    assert [("R006", "/rules/update")] == [
        (one["code"], one["pointer"]) for one in warned.json()["warnings"] if one["code"] == "R006"
    ]
    assert again.status_code == 200, "an answer can be sent back as it came"
    assert (422, "R003", "/rules/view") == (
        refused.status_code, refused.json()["errors"][0]["code"], refused.json()["errors"][0]["pointer"],
    )  # fmt: skip
    assert accepted.status_code == 200
    assert {"R006", "R007", "R009"} <= {one["code"] for one in listed.json()["items"]}
    assert 404 == (await cards.operator.get("rules/lint", params={"collection": "none"})).status_code


@pytest.mark.parametrize(
    "rule", ["record.team in [auth.team]", "record.team == [auth.team][0]", "record.team in [null, auth.team]"]
)
async def test_two_nulls_do_not_meet_in_a_list_either(cards: ProjectUnderTest, rule: str) -> None:
    """Whoever has no team must not see the cards of no team, however the rule compares the two."""
    users = (await cards.operator.get("collections/users")).json()["fields"]
    team = {"name": "team", "type": "relation", "to": "teams"}
    assert (await cards.operator.patch("collections/users", json={"fields": [*users, team]})).is_success
    ada = await cards.user()
    await cards.operator.create("cards", {"title": "One", "owner": ada.id})

    refused = await cards.operator.patch("collections/cards", json={"rules": {"list": rule}})
    narrowed = await cards.operator.patch("collections/cards", json={"rules": {"list": f"record.team != null && {rule}"}})
    listed = await ada.get("collections/cards/records")

    assert (422, "R003") == (refused.status_code, refused.json()["errors"][0]["code"])
    assert 200 == narrowed.status_code
    assert [] == listed.json()["items"]


@pytest.mark.parametrize("rule", ["record.stars in {auth.level: true}", "record.stars in {auth.conf.x: true}"])
async def test_what_is_no_key_of_a_map_is_none_for_a_null_either(cards: ProjectUnderTest, rule: str) -> None:
    """A card without stars is not found under the level that a caller does not have; a list as a key breaks nothing."""
    users = (await cards.operator.get("collections/users")).json()["fields"]
    more = [{"name": "level", "type": "int"}, {"name": "conf", "type": "json"}]
    assert (await cards.operator.patch("collections/users", json={"fields": [*users, *more]})).is_success
    ada = await cards.user()
    await cards.operator.patch(f"collections/users/records/{ada.id}", json={"conf": {"x": [None]}})
    await cards.operator.create("cards", {"title": "One", "owner": ada.id})
    saved = await cards.operator.patch("collections/cards", json={"rules": {"list": rule}})
    listed = await ada.get("collections/cards/records")

    assert 200 == saved.status_code
    assert (403, "rule_denied") == (listed.status_code, listed.json()["code"]), listed.text


async def test_what_can_never_have_a_value_is_refused_wherever_it_is_written(cards: ProjectUnderTest) -> None:
    """A rule, a read, the condition of an index, a filter: each says what is wrong, and how to write it."""
    wrong = "created_at > timestamp('2026-01-02')"
    fields = (await cards.operator.get("collections/cards")).json()["fields"]
    meant = 'A time has a zone: timestamp("2026-01-02T00:00:00Z").'

    for body, pointer in (
        ({"rules": {"list": wrong}}, "/rules/list"),
        ({"fields": [*fields, {"name": "cost", "type": "int", "read": wrong}]}, f"/fields/{len(fields)}/read"),
        ({"indexes": [{"fields": ["title"], "where": wrong}]}, "/indexes/0/where"),
    ):
        answer = await cards.operator.patch("collections/cards", json=body)
        (fault,) = answer.json()["errors"]
        assert (pointer, "no_value", meant) == (fault["pointer"], fault["code"], fault["hint"])
    answer = await cards.operator.get("collections/cards/records", params={"filter": wrong})
    assert (400, "bad_filter", "no_value", 23) == (
        answer.status_code, answer.json()["code"], answer.json()["fault"], answer.json()["position"],
    )  # fmt: skip


async def store_unchecked(project: ProjectUnderTest, db: Database, path: str, text: str) -> None:
    """Into the definition of `old`, as an older version of the platform did."""
    await db.execute(
        sql(
            "update {} set definition = jsonb_set(definition, {}::text::text[], to_jsonb({}::text)) where name = 'old'",
            ident(project.schema, "_collections"), "{" + path + "}", text,
        )
    )  # fmt: skip


async def test_a_stored_rule_that_could_not_be_saved_any_more_goes_on_to_mean_what_it_meant(
    project: ProjectUnderTest, db: Database
) -> None:
    """It stems from an older version: reads and writes are answered, and the condition in it has no value."""
    fields = [{"name": "n", "type": "int", "read": "true", "validate": "true"}]
    await project.collection("old", fields, {"list": "true", "view": "true", "create": "true"})
    wrong = "record.n == 1 || record.created_at > timestamp('2026-01-02')"
    values = {"rules,list": wrong, "rules,view": wrong, "fields,0,read": wrong, "fields,0,validate": wrong}
    for path, text in values.items():
        await store_unchecked(project, db, path, text)
    await project.operator.patch("collections/users", json={"rules": {"list": None}})

    assert (await project.operator.get("collections/old")).json()["rules"]["list"] == wrong
    path = "collections/old/records"
    assert 422 == (await project.anonymous.post(path, json={"n": 1})).status_code
    found = await project.anonymous.get(path)
    assert (200, []) == (found.status_code, found.json().get("items")), found.text


async def test_a_change_answers_for_what_it_breaks_alone(project: ProjectUnderTest, db: Database) -> None:
    """Stored rules that could not be saved any more refuse it only if it sends them or takes a name from them."""
    fields = [{"name": "n", "type": "int"}, {"name": "owner", "type": "relation", "to": "users"}]
    users = (await project.operator.get("collections/users")).json()["fields"]
    boss = {"name": "boss", "type": "relation", "to": "users"}
    assert (await project.operator.patch("collections/users", json={"fields": [*users, boss]})).is_success
    await project.collection("old", fields, dict.fromkeys(("list", "view", "create"), "true"))
    await store_unchecked(project, db, "rules,list", "record.n == 1 || record.created_at > timestamp('2026-01-02')")
    await store_unchecked(project, db, "rules,view", "record.owner == auth.boss && record.n == 1")

    made = await project.operator.post("collections", json={"name": "other", "fields": [{"name": "n", "type": "int"}]})
    dropped = await project.operator.delete("collections/other")
    own = await project.operator.patch("collections/old", json={"fields": [*fields, {"name": "more", "type": "int"}]})
    assert (201, 204, 200) == (made.status_code, dropped.status_code, own.status_code), made.text + dropped.text + own.text
    sent = await project.operator.patch("collections/old", json={"rules": {"view": "record.owner == auth.boss"}})
    assert ["R003"] == [one["code"] for one in sent.json()["errors"]]

    without = await project.operator.patch("collections/old", json={"fields": fields[1:]}, params={"confirm": "data-loss"})
    assert (409, "breaks_rules") == (without.status_code, without.json()["code"]), without.text
    assert [("/rules/list", "unknown_field"), ("/rules/view", "unknown_field")] == [
        (one["place"], one["code"]) for one in without.json()["broken"]
    ]


async def test_a_field_that_may_be_null_from_now_on_does_not_open_a_rule(cards: ProjectUnderTest) -> None:
    """R003 is looked for in every rule that a change of fields touches."""
    team = {"name": "team", "type": "relation", "to": "teams", "required": True}
    users = (await cards.operator.get("collections/users")).json()["fields"]
    assert (await cards.operator.patch("collections/users", json={"fields": [*users, {**team, "required": False}]})).is_success
    await cards.operator.post(
        "collections", json={"name": "docs", "fields": [team], "rules": {"view": "record.team == auth.team"}}
    )
    answer = await cards.operator.patch("collections/docs", json={"fields": [{**team, "required": False}]})

    assert (409, "breaks_rules") == (answer.status_code, answer.json()["code"])
    assert ["R003"] == [one["code"] for one in answer.json()["broken"]]


async def test_time_in_a_list_rule_is_warned_of(project: ProjectUnderTest) -> None:
    """R011: every list can be followed, and nobody is told when time lets a record in."""
    fields = [{"name": "opens", "type": "datetime", "required": True}]
    made = await project.operator.post(
        "collections", json={"name": "doors", "fields": fields, "rules": {"list": "record.opens <= now"}}
    )
    view = {"name": "v", "view": {"sql": "select id, opens from doors"}, "rules": {"list": "record.opens <= now"}}
    seen = await project.operator.post("collections", json=view)

    assert "R011" in {one["code"] for one in made.json()["warnings"]}
    assert "R011" not in {one["code"] for one in seen.json()["warnings"]}


# Tests


def suite(*cases: dict[str, Any], **rows: Any) -> dict[str, Any]:
    base = {"users": [{"id": "ada"}, {"id": "bob"}], "cards": [{"id": "c1", "title": "One", "owner": "ada"}]}
    return {"rows": {**base, **rows}, "cases": list(cases)}


async def test_cases_run_on_rows_of_their_own(cards: ProjectUnderTest, db: Database) -> None:
    """Labels for ids, in any order and in circles; nothing is stored; what was not seen is told."""
    rows = {
        "teams": [{"id": "sub", "owner": "bob", "parent": "top"}, {"id": "top", "owner": "ada", "parent": "sub"}],
        "cards": [{"id": "c1", "title": "One", "owner": "ada", "team": "sub"}, {"id": "c2", "title": "Two", "owner": "bob"}],
    }
    change = {"collection": "cards", "action": "update", "id": "c1"}
    answer = await cards.operator.post("rules/test", json=suite(
        {**change, "name": "own", "auth": "ada", "input": {"title": "x"}, "expect": "allow"},
        {**change, "name": "given away", "auth": "ada", "input": {"owner": "bob"}, "expect": "deny"},
        {**change, "name": "wrong on purpose", "auth": "bob", "input": {}, "expect": "allow"},
        {"collection": "cards", "action": "list", "auth": "bob", "expect": {"rows": ["c2", "c1"]}},
        {"collection": "cards", "action": "list", "auth": "ada", "id": "c2", "expect": "deny"},
        {"collection": "cards", "action": "list", "expect": {"rows": []}},
        {"collection": "cards", "action": "create", "auth": "ada", "input": {"title": "", "owner": "ada"}, "expect": "deny"},
        {"collection": "cards", "action": "delete", "auth": "ada", "id": "c1", "expect": "deny"},
        {"collection": "cards", "action": "view", "auth": "bob", "id": "c3", "expect": "allow",
         "rows": {"cards": [{"id": "c3", "title": "x", "owner": "bob"}]}},
        {"collection": "cards", "action": "view", "auth": "bob", "id": "c3", "expect": "deny"},
        {"collection": "cards", "action": "create", "auth": "ada", "input": {"pin": "x"}, "expect": "deny"},
        **rows,
    ))  # fmt: skip
    assert answer.status_code == 200, answer.text
    report = answer.json()

    assert [one["passed"] for one in report["cases"]] == [True, True, False, *[True] * 7, False]
    assert "is false" in report["cases"][2]["reason"]
    assert "/pin" in report["cases"][-1]["reason"]
    assert (report["passed"], report["failed"]) == (9, 2)
    update = next(one for one in report["coverage"] if one["action"] == "update")
    seen = {one["text"]: (one["true"], one["false"], one["error"]) for one in update["branches"]}
    assert seen["record.owner == auth.id"] == (2, 1, 0)
    assert seen["next.owner == record.owner"] == (2, 1, 0)
    assert report["untested"] == []
    assert await db.fetch_value(sql("select count(*) from {}", ident(cards.schema, "cards"))) == 0
    assert await db.fetch_value(sql("select count(*) from pg_namespace where nspname like 't\\_%'")) == 0


BAD_SUITES = [
    {}, {"cases": []}, {"cases": "x"}, {"cases": [3]}, {"cases": [{}]}, {"rows": [], "cases": [{}]},
    {"cases": [{"collection": "none", "action": "list", "expect": {"rows": []}}]},
    {"cases": [{"collection": "cards", "action": "view", "expect": "allow"}]},
    {"cases": [{"collection": "cards", "action": "list", "expect": "allow"}]},
    {"cases": [{"collection": "cards", "action": "view", "id": "c", "expect": {"rows": []}}]},
    {"cases": [{"collection": "cards", "action": "view", "id": "c", "expect": "maybe"}]},
    {"cases": [{"collection": "cards", "action": "view", "id": "c", "input": {}, "expect": "deny"}]},
    {"cases": [{"collection": "cards", "action": "view", "id": "c", "expect": "deny"}] * 501},
    {"rows": {"none": [{}]}, "cases": [{"collection": "cards", "action": "view", "id": "c", "expect": "deny"}]},
    {"rows": {"cards": [{"title": 3}]}, "cases": [{"collection": "cards", "action": "view", "id": "c", "expect": "deny"}]},
    {"rows": {"cards": [{"title": "a", "owner": NOBODY}]},
     "cases": [{"collection": "cards", "action": "view", "id": "c", "expect": "deny"}]},
    {"rows": {"users": [{"email": "a@b.example"}] * 2},
     "cases": [{"collection": "cards", "action": "view", "id": "c", "expect": "deny"}]},
    {"rows": {"users": [{}] * 1001}, "cases": [{"collection": "cards", "action": "view", "id": "c", "expect": "deny"}]},
    {"rows": {"users": [{"id": "a\u0000"}]}, "cases": [{"collection": "cards", "action": "view", "id": "c", "expect": "deny"}]},
    {"rows": {"users": [{"id": "'; drop schema public"}]},
     "cases": [{"collection": "cards", "action": "view", "id": {"a": 1}, "expect": "deny"}]},
]  # fmt: skip


@pytest.mark.parametrize("body", BAD_SUITES, ids=range(len(BAD_SUITES)))
async def test_bad_cases_are_refused_with_their_place(cards: ProjectUnderTest, body: dict[str, Any]) -> None:
    answer = await cards.operator.post("rules/test", json=body)

    assert answer.status_code == 422, answer.text
    assert answer.json().get("errors") or answer.json()["code"] == "nul"


async def test_a_label_may_be_any_text(cards: ProjectUnderTest) -> None:
    strange = "'; drop table users; --"
    case = {"collection": "cards", "action": "view", "auth": strange, "id": "c", "expect": "allow"}
    rows = {"users": [{"id": strange, "email": "a@b.example"}], "cards": [{"id": "c", "title": "x", "owner": strange}]}
    answer = await cards.operator.post("rules/test", json={"rows": rows, "cases": [case]})

    assert answer.json()["passed"] == 1, answer.text


async def test_too_many_other_records_leave_the_verdict_to_the_database(cards: ProjectUnderTest) -> None:
    """Memory says that it was not asked, instead of a verdict on half of them."""
    ada = await cards.user()
    rule = "!record.team.cards.exists(c, c.title == 'the last') && record.title == 'One'"
    assert (await cards.operator.patch("collections/cards", json={"rules": {"delete": rule}})).is_success
    team = await cards.operator.create("teams", {"owner": ada.id})
    card = await cards.operator.create("cards", {"title": "One", "owner": ada.id, "team": team["id"]})
    for title, count in (("x", 1_000), ("the last", 1)):
        many = [{"title": title, "owner": ada.id, "team": team["id"]}] * count
        assert (await cards.operator.post("collections/cards/records", json=many)).status_code == 201

    said = await explained(cards.operator, "cards", "delete", id=card["id"])

    assert (said["verdict"], said["memory"], said["disagreements"]) == ("deny", "not_run", [])
    loop = texts(said["tree"])["record.team.cards.exists(c, c.title == 'the last')"]
    assert loop["value"] is True
    assert "elements" not in loop


async def test_a_flood_of_refusals_drops_the_oldest_and_counts_them(
    cards: ProjectUnderTest, server: Server, db: Database
) -> None:
    project = await server.projects.find(cards.name)
    assert project is not None
    await server.denials.flush()
    error, before = NotFound(), server.denials.dropped
    error.denial = Denial("cards", "view", NOBODY, filter="\0\ud800")
    for number in range(2_005):
        server.denials.note(project, Principal(), f"r{number}", error)
    await server.denials.flush()

    assert server.denials.dropped == before + 5
    kept = await db.fetch(sql("select request_id from {} order by id limit 1", ident(cards.schema, "_denials")))
    assert [row["request_id"] for row in kept] == ["r5"]
    metrics = await cards.operator.get("/metrics", headers={"host": "127.0.0.1:8000"})
    (line,) = [one for one in metrics.text.splitlines() if one.startswith("baas_denials_dropped")]
    assert float(line.rpartition(" ")[2]) == before + 5
