"""Refused calls of more than one record, asked again by their request id: each explanation beside what happened."""

from typing import Any

import pytest

from tests.support.callers import Caller, ProjectUnderTest

NOBODY = "00000000-0000-4000-8000-000000000000"
CARDS: dict[str, Any] = {
    "name": "cards",
    "fields": [
        {"name": "slug", "type": "text", "unique": True, "max": 50},
        {"name": "title", "type": "text"},
        {"name": "owner", "type": "relation", "to": "users", "required": True},
        {"name": "born", "type": "text", "immutable": True},
        {"name": "pin", "type": "text", "hidden": True},
    ],
    "rules": {
        "list": "auth.id != null && record.title != 'unseen'",
        "view": "record.title != 'unseen'",
        "create": "next.owner == auth.id",
        "update": "record.owner == auth.id && next.title != null",
        "delete": "auth.claims.role == 'janitor'",
    },
}
RECORDS = "collections/cards/records"


@pytest.fixture
async def cards(project: ProjectUnderTest) -> ProjectUnderTest:
    await project.collection(**CARDS)
    return project


async def refused_and_explained(cards: ProjectUnderTest, caller: Caller, method: str, path: str, body: Any) -> tuple[Any, Any]:
    """The answer of a call, and the explanation of it."""
    answer = await caller.request(method, path, json=body)
    found = await cards.operator.post("rules/explain", json={"request": answer.headers["x-request-id"]})
    assert found.status_code == 200, (answer.text, found.text)
    return answer, found.json()


def agrees(answer: Any, said: Any) -> None:
    assert said["verdict"] == "deny"
    assert (said["answer"]["status"], said["answer"]["code"]) == (answer.status_code, answer.json()["code"])
    assert said["denial"]["status"] == answer.status_code


async def test_of_many_new_records_the_refused_one_is_named(cards: ProjectUnderTest) -> None:
    """The first is the caller's own and would be allowed; the second is what the call was refused for."""
    ada, bob = await cards.user(), await cards.user()
    rows = [{"owner": ada.id, "title": "mine"}, {"owner": bob.id, "title": "his", "pin": "x"}, {"owner": ada.id}]
    del rows[1]["pin"]

    answer, said = await refused_and_explained(cards, ada, "POST", RECORDS, rows)

    assert answer.status_code == 403
    agrees(answer, said)
    assert said["row"] == 1
    assert bob.id in said["hint"]
    assert said["denial"]["input"] == rows
    assert (said["denial"]["input_rows"], said["denial"]["call"]) == (3, "many")


async def test_what_was_sent_of_many_is_kept_without_hidden_fields_and_only_while_it_is_short(cards: ProjectUnderTest) -> None:
    ada, bob = await cards.user(), await cards.user()
    assert (await cards.operator.patch("collections/cards", json={"rules": {"create": None}})).is_success
    _, locked = await refused_and_explained(cards, ada, "POST", RECORDS, [{"owner": ada.id, "pin": "secret"}, 3])
    _, empty = await refused_and_explained(cards, ada, "POST", RECORDS, [])
    assert (await cards.operator.patch("collections/cards", json={"rules": {"create": "false"}})).is_success
    long = await ada.post(RECORDS, json=[{"owner": bob.id, "title": "x" * 9_000}] * 2)
    found = await cards.operator.post("rules/explain", json={"request": long.headers["x-request-id"]})

    assert locked["denial"]["input"] == [{"owner": ada.id}, None]
    assert (locked["verdict"], empty["verdict"]) == ("deny", "deny")
    assert long.status_code == 403
    assert (found.status_code, found.json()["errors"][0]["code"]) == (422, "input_not_kept")


@pytest.mark.parametrize(
    ("items", "row", "status", "action"),
    [
        ([("mine", "me", "x"), ("new", "him", "x")], 1, 403, "create"),
        ([("mine", "me", "x"), ("his", "him", "x")], 1, 403, "update"),
        ([("hers", "me", "x"), ("mine", "me", "x")], 0, 409, "update"),
        ([("hers", "him", "x"), ("mine", "me", "x")], 0, 403, "update"),
        ([("his", "him", "x"), ("new", "him", "x")], 1, 403, "create"),
        ([("hers", "me", "x"), ("his", "him", "x")], 1, 403, "update"),
        ([("mine", "me", None)], 0, 403, "update"),
    ],
    ids=["new", "seen", "unseen", "unseen and not his", "new before stored", "seen before unseen", "the value that it makes"],
)
async def test_of_an_upsert_the_refusal_that_wins_is_explained(
    cards: ProjectUnderTest, items: list[tuple[str, str, str | None]], row: int, status: int, action: str
) -> None:
    """Items are changes of stored records or new ones; the answer is that of the call. What is only taken (409) is no refusal."""
    me, him = await cards.user(), await cards.user()
    names = {"me": me.id, "him": him.id}
    for slug, owner, title in (("mine", me, "a"), ("his", him, "a"), ("hers", him, "unseen")):
        await cards.operator.create("cards", {"slug": slug, "owner": owner.id, "title": title})
    sent = {"key": ["slug"], "items": [{"slug": slug, "owner": names[owner], "title": title} for slug, owner, title in items]}
    answer = await me.post(f"{RECORDS}/upsert", json=sent)
    found = await cards.operator.post("rules/explain", json={"request": answer.headers["x-request-id"]})

    assert answer.status_code == status, answer.text
    if status == 409:
        assert found.json()["code"] == "refusal_not_found"
        return
    said = found.json()
    agrees(answer, said)
    assert (said["row"], said["action"], said["denial"]["call"]) == (row, action, "upsert")
    assert said["denial"]["input"] == sent


async def test_a_bulk_change_is_explained_by_the_rule_that_closed_it(cards: ProjectUnderTest) -> None:
    """No record is named, so a refusal is of the list or of the action as a whole, and never an absent record."""
    ada = await cards.user()
    change = {"filter": "title == 'x'", "patch": {"title": "y"}, "max_affected": 5}
    remove = {"filter": "title == 'x'", "max_affected": 5}

    guest, of_list = await refused_and_explained(cards, cards.anonymous, "POST", f"{RECORDS}/bulk-update", change)
    user, of_delete = await refused_and_explained(cards, ada, "POST", f"{RECORDS}/bulk-delete", remove)
    assert (await cards.operator.patch("collections/cards", json={"rules": {"update": None, "list": "false"}})).is_success
    locked, of_locked = await refused_and_explained(cards, ada, "POST", f"{RECORDS}/bulk-update", change)
    closed, of_closed = await refused_and_explained(cards, ada, "POST", f"{RECORDS}/bulk-delete", remove)

    assert [one.status_code for one in (guest, user, locked, closed)] == [401, 403, 403, 403]
    for answer, said, action in (
        (guest, of_list, "list"), (user, of_delete, "delete"), (locked, of_locked, "update"), (closed, of_closed, "list"),
    ):  # fmt: skip
        agrees(answer, said)
        assert (said["action"], said["denial"]["call"], said["row"]) == (action, "bulk", None)
    assert of_list["denial"]["filter"] == "title == 'x'"
    assert of_list["denial"]["input"] == {"title": "y"}


async def test_a_put_is_explained_with_what_it_leaves_out(cards: ProjectUnderTest) -> None:
    """A field that the body lacks becomes null, which is what the rule refused."""
    ada = await cards.user()
    card = await cards.operator.create("cards", {"slug": "a", "owner": ada.id, "title": "One", "born": "x"})

    answer, said = await refused_and_explained(
        cards, ada, "PUT", f"{RECORDS}/{card['id']}", {"slug": "a", "owner": ada.id, "born": "x"}
    )
    made, of_made = await refused_and_explained(cards, ada, "PUT", f"{RECORDS}/{NOBODY}", {"owner": card["id"]})

    for one, explained in ((answer, said), (made, of_made)):
        assert one.status_code == 403
        agrees(one, explained)
    assert "next.title" in said["hint"]
    assert (said["action"], of_made["action"]) == ("update", "create")


async def test_an_operation_of_a_batch_is_asked_again_as_one(cards: ProjectUnderTest) -> None:
    """By the door that the rule reads, and with the claims of the token."""
    ada = await cards.user()
    rule = "request.via != 'batch' && next.owner == auth.id"
    assert (await cards.operator.patch("collections/cards", json={"rules": {"create": rule}})).is_success
    own = {"method": "POST", "path": f"/{RECORDS}", "body": {"owner": ada.id}}

    answer, said = await refused_and_explained(cards, ada, "POST", "batch", {"operations": [own]})
    rest = await cards.operator.post(
        "rules/explain", json={"collection": "cards", "action": "create", "as": ada.id, "input": {"owner": ada.id}}
    )
    batch = await cards.operator.post(
        "rules/explain",
        json={"collection": "cards", "action": "create", "as": ada.id, "input": {"owner": ada.id}, "via": "batch"},
    )

    agrees(answer, said)
    assert said["denial"]["via"] == "batch"
    assert (rest.json()["verdict"], batch.json()["verdict"]) == ("allow", "deny")
