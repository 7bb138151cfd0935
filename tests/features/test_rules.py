"""Rules explained, linted and tested, over HTTP; refused calls found again by their request id."""

from typing import Any

import pytest

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
