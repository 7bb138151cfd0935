"""Refused calls of more than one record, asked again by their request id: each explanation beside what happened."""

from typing import Any

import pytest

from tests.features.test_realtime_socket import talk
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


async def test_an_upsert_by_a_field_that_is_gone_cannot_be_asked_again(cards: ProjectUnderTest) -> None:
    ada = await cards.user()
    sent = {"key": ["slug"], "items": [{"slug": "a", "owner": NOBODY}]}
    answer = await ada.post(f"{RECORDS}/upsert", json=sent)
    fields = [one for one in CARDS["fields"] if one["name"] != "slug"]
    changed = await cards.operator.patch("collections/cards?confirm=data-loss", json={"fields": fields})
    found = await cards.operator.post("rules/explain", json={"request": answer.headers["x-request-id"]})

    assert (answer.status_code, changed.status_code) == (403, 200), changed.text
    assert (found.status_code, found.json()["errors"][0]["code"]) == (422, "no_unique_key"), found.text


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


# Every door


BODY: dict[str, Any] = {"json": {"title": "x"}}
NARROW: dict[str, Any] = {"filter": "title == 'x'", "max_affected": 1}
# What is asked of each door that rules guard; `{collection}` and `{bucket}` are closed to the caller.
ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "GET records": ("list", {}),
    "POST records": ("create", BODY),
    "POST records/query": ("list", {"json": {"filter": "title == 'x'"}}),
    "POST records/aggregate": ("list", {"json": {"select": {"n": "count()"}}}),
    "GET records/export": ("list", {}),
    "POST records/upsert": ("create", {"json": {"key": ["id"], "items": [{"id": NOBODY, "title": "x"}]}}),
    "POST records/bulk-update": ("update", {"json": {**NARROW, "patch": {"title": "y"}}}),
    "POST records/bulk-delete": ("delete", {"json": NARROW}),
    "GET records/{id}": ("view", {}),
    "GET records/{id}/history": ("view", {}),
    "PATCH records/{id}": ("update", BODY),
    "PUT records/{id}": ("update", BODY),
    "DELETE records/{id}": ("delete", {}),
    "GET files": ("list", {}),
    "GET files/{path}": ("view", {}),
    "PUT files/{path}": ("update", {"content": b"x"}),
    "PATCH files/{path}": ("update", {"json": {"metadata": {"a": 1}}}),
    "DELETE files/{path}": ("delete", {}),
    "GET realtime": ("list", {"params": {"subscribe": '[{"id": "s", "collection": "shut"}]'}}),
    "POST realtime": ("list", {"json": [{"id": "s", "collection": "shut"}]}),
    "POST batch": ("create", {"json": {"operations": [{"method": "POST", "path": "/collections/shut/records", "body": {}}]}}),
}
# An import answers 200 with a report of the refused lines, a HEAD has its GET, a ticket and the address of a socket open nothing.
UNASKED = {"POST records/import", "HEAD files/{path}", "POST realtime/ticket", "GET realtime/socket"}


def guarded(document: Any) -> dict[str, str]:
    """The doors of the route table behind which rules decide, by a short name."""
    verbs = ("get", "head", "post", "put", "patch", "delete")
    found = {}
    for path in document["paths"]:
        short = path.removeprefix("/v1/projects/{project}/").removeprefix("collections/{collection}/")
        short = short.removeprefix("buckets/{bucket}/")
        if short.split("/")[0] in ("records", "files", "realtime", "batch"):
            found |= {f"{verb.upper()} {short}": path for verb in verbs if verb in document["paths"][path]}
    return found


async def test_a_refusal_of_every_door_is_found_again(project: ProjectUnderTest) -> None:
    """Made from the route table: a door that rules guard and that is not asked here fails. Users and guests, by a rule that no
    caller meets and by a locked one; the explanation has the answer of the call, or of a file the same kind.
    """
    never = dict.fromkeys(("list", "view", "create", "update", "delete"), "auth.id == 'nobody'")
    await project.collection("shut", [{"name": "title", "type": "text"}], never, options={"history": True})
    assert (await project.operator.post("buckets", json={"name": "shut", "rules": never})).is_success
    await project.operator.put("buckets/shut/files/f.txt", content=b"x", headers={"content-type": "text/plain"})
    card = await project.operator.create("shut", {"title": "x"})
    values = {"project": project.name, "collection": "shut", "bucket": "shut", "id": card["id"], "path": "f.txt"}
    doors = guarded((await project.operator.get("/v1/openapi.json")).json())
    assert doors.keys() - UNASKED == ASKED.keys()
    asked = 0
    for rules in (never, dict.fromkeys(never)):
        assert (await project.operator.patch("collections/shut", json={"rules": rules})).is_success
        assert (await project.operator.patch("buckets/shut", json={"rules": rules})).is_success
        for caller in (await project.user(), project.anonymous):
            for door, (action, options) in ASKED.items():
                answer = await caller.request(door.split(" ")[0], doors[door].format(**values), **options)
                assert answer.status_code in (401, 403, 404), (door, answer.text)
                found = await project.operator.post("rules/explain", json={"request": answer.headers["x-request-id"]})
                assert found.status_code == 200, (door, rules, found.text)
                said = found.json()
                agrees(answer, said)
                assert said["denial"]["principal"]["id"] == (caller.id or None), door
                assert said["denial"]["action"] in (action, "list", "create"), door
                asked += 1
    print(f"{asked} refusals of {len(ASKED)} doors, all found")


async def test_a_stream_opened_with_a_ticket_was_refused_its_owner(cards: ProjectUnderTest) -> None:
    """The call itself is a guest's; who asks is the one whom the ticket stands for. Rules read the door of the stream."""
    ada = await cards.user()
    rule = "auth.id != null && request.via != 'realtime'"
    assert (await cards.operator.patch("collections/cards", json={"rules": {"list": rule}})).is_success
    ticket = (await ada.post("realtime/ticket")).json()["ticket"]
    wanted = [{"id": "s", "collection": "cards", "filter": "title == 'x'"}]
    answer = await cards.anonymous.post("realtime", params={"ticket": ticket}, json=wanted)
    found = await cards.operator.post("rules/explain", json={"request": answer.headers["x-request-id"]})

    assert (answer.status_code, answer.json()["code"]) == (403, "rule_denied")
    agrees(answer, found.json())
    denial = found.json()["denial"]
    assert (denial["principal"], denial["via"], denial["filter"]) == ({"kind": "user", "id": ada.id}, "realtime", "title == 'x'")
    assert (await ada.get(RECORDS)).status_code == 200


async def test_a_refusal_in_a_socket_has_an_id_of_its_own(server_url: str, cards: ProjectUnderTest) -> None:
    ada = await cards.user()
    assert (await cards.operator.patch("collections/cards", json={"rules": {"list": "auth.id == 'x'"}})).is_success
    async with talk(server_url, cards.name, ada) as socket:
        first, second = [await socket.say("subscribe", subscriptions=[{"id": "s", "collection": "cards"}]) for _ in range(2)]
        other = await socket.say("subscribe", subscriptions=[{"id": "s", "collection": "nope"}])

    assert (first["type"], first["code"], first["status"]) == ("error", "rule_denied", 403)
    assert first["request_id"] != second["request_id"]
    assert other["request_id"] not in (first["request_id"], second["request_id"]), "it is the connection's"
    for refused in (first, second):
        found = await cards.operator.post("rules/explain", json={"request": refused["request_id"]})
        assert (found.status_code, found.json()["denial"]["principal"]["id"]) == (200, ada.id)
