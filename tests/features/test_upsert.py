"""Records created or changed by a unique key: under both rules, all or nothing, and telling nothing of invisible ones."""

import asyncio
from collections import Counter
from typing import Any

import httpx2
import pytest

from tests.support.callers import ProjectUnderTest

OPEN = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")
FIELDS: list[dict[str, Any]] = [
    {"name": "email", "type": "email", "unique": True},
    {"name": "name", "type": "text", "validate": 'value != "bad"'},
    {"name": "stars", "type": "int", "default": 3},
    {"name": "born", "type": "text", "immutable": True},
    {"name": "code", "type": "text", "unique": True, "hidden": True},
    {"name": "badge", "type": "text", "unique": True, "read": "record.owner == auth.id"},
    {"name": "owner", "type": "relation", "to": "users"},
    {"name": "parent", "type": "relation", "to": "people"},
    {"name": "a", "type": "int"},
    {"name": "b", "type": "int"},
]
INDEXES = [{"fields": ["a", "-b"], "unique": True}, {"fields": ["name"], "unique": True, "where": "stars > 100"}]
PATH = "collections/people/records/upsert"
NOBODY = "01a1fa0b-205d-7c76-b42c-51f02d3ed34a"


def faults(answer: httpx2.Response) -> list[tuple[str, str]]:
    assert answer.status_code == 422, answer.text
    return [(fault["pointer"], fault["code"]) for fault in answer.json()["errors"]]


async def people(project: ProjectUnderTest, **rules: str | None) -> Any:
    await project.collection("people", FIELDS, {**OPEN, **rules}, indexes=INDEXES)
    return await project.user()


async def upsert(user: Any, items: list[Any], *key: str) -> httpx2.Response:
    return await user.post(PATH, json={"key": list(key or ("email",)), "items": items})  # type: ignore[no-any-return]


async def test_new_ones_are_created_and_stored_ones_changed(project: ProjectUnderTest) -> None:
    user = await people(project)
    stored = await user.create("people", {"email": "b@x.org", "name": "Bob", "stars": 9, "born": "x"})

    answer = await upsert(user, [{"email": f"{name}@x.org", "name": name.upper()} for name in "abc"])

    assert 200 == answer.status_code, answer.text
    body = answer.json()
    assert (2, 1) == (body["created"], body["updated"])
    assert [("A", 3, 1), ("B", 9, 2), ("C", 3, 1)] == [(one["name"], one["stars"], one["rev"]) for one in body["items"]]
    assert (stored["id"], "x") == (body["items"][1]["id"], body["items"][1]["born"])
    again = (await upsert(user, [{"email": f"{name}@x.org", "name": "n"} for name in "abc"])).json()
    assert (0, 3) == (again["created"], again["updated"])
    assert {"items": [], "created": 0, "updated": 0} == (await upsert(user, [])).json()


async def test_keys_are_ids_and_unique_indexes_too(project: ProjectUnderTest) -> None:
    user = await people(project)

    first = (await upsert(user, [{"a": 1, "b": 2, "name": "x"}], "b", "a")).json()
    again = (await upsert(user, [{"a": 1, "b": 2, "name": "y"}, {"a": 1, "b": 3, "name": "z"}], "a", "b")).json()
    by_id = (await upsert(user, [{"id": NOBODY, "stars": 1}, {"id": first["items"][0]["id"], "stars": 2}], "id")).json()

    assert (1, 0, 1, 1, 1, 1) == tuple(one[name] for one in (first, again, by_id) for name in ("created", "updated"))
    assert [first["items"][0]["id"], "y"] == [again["items"][0][name] for name in ("id", "name")]
    assert [NOBODY, first["items"][0]["id"]] == [one["id"] for one in by_id["items"]]


@pytest.mark.parametrize(
    "key", [["name"], ["a"], ["stars"], ["code"], ["badge"], ["never"], ["x" * 63], ["email", "a"], ["rev"], ['e"; drop']]
)
async def test_a_key_is_unique_and_readable(project: ProjectUnderTest, key: list[str]) -> None:
    user = await people(project)

    assert [("/key", "no_unique_key")] == faults(await upsert(user, [dict.fromkeys(key, "x")], *key))


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([{"email": "a@x.org"}, {"email": "b@x.org", "stars": "x"}], [("/items/1", "other_keys")]),
        ([{"email": "a@x.org", "stars": 1}, {"email": "b@x.org", "stars": "x"}], [("/items/1/stars", "wrong_type")]),
        ([{"email": None}], [("/items/0/email", "required")]),
        ([{"name": "x"}], [("/items/0/email", "required")]),
        ([{"email": "a@x.org", "id": NOBODY}], [("/items/0/id", "not_allowed")]),
        ([{"email": "a@x.org"}, {"email": "a@x.org"}], [("/items/1", "duplicate")]),
        ([{"email": "a@x.org", "code": "x"}], [("/items/0/code", "unknown_field")]),
        ([{"email": "a@x.org", "stars": {"$inc": 1}}], [("/items/0/stars", "wrong_type")]),
        ([1, {"email": "a@x.org"}], [("/items/0", "not_an_object")]),
        ([{"email": "a@x.org", "parent": NOBODY}], [("/items/0/parent", "bad_reference")]),
        (
            [{"email": "new@x.org", "name": "bad"}, {"email": "b@x.org", "name": "bad"}],
            [("/items/0/name", "validation_failed"), ("/items/1/name", "validation_failed")],
        ),
        ([{"email": "new@x.org", "born": "y"}, {"email": "b@x.org", "born": "y"}], [("/items/1/born", "immutable")]),
    ],
)
async def test_one_that_does_not_fit_stops_all(
    project: ProjectUnderTest, items: list[Any], expected: list[tuple[str, str]]
) -> None:
    user = await people(project)
    stored = await user.create("people", {"email": "b@x.org", "born": "x", "stars": 1})

    answer = await upsert(user, items)

    assert expected == faults(answer)
    assert [stored] == await user.list("people")


async def test_too_many_are_refused(project: ProjectUnderTest) -> None:
    user = await people(project)

    answer = await upsert(user, [{"email": f"u{at}@x.org"} for at in range(1001)])

    assert (422, "limit_exceeded") == (answer.status_code, answer.json()["code"])


async def test_new_ones_need_the_create_rule_and_stored_ones_the_update_rule(project: ProjectUnderTest) -> None:
    own = "record.owner == auth.id"
    user = await people(project, update=own, create="next.owner == auth.id", view=own, list=own)
    other = await project.user()
    await project.operator.create("people", {"email": "mine@x.org", "owner": user.id})
    await project.operator.create("people", {"email": "theirs@x.org", "owner": other.id})

    def item(email: str, owner: str = user.id) -> dict[str, Any]:
        return {"email": email, "owner": owner, "name": "n"}

    ok = await upsert(user, [item("mine@x.org"), item("new@x.org")])
    assert (200, 1, 1) == (ok.status_code, ok.json()["created"], ok.json()["updated"])
    # What he may neither see nor change: as a create says it, which one by one it is.
    taken, made = (
        await upsert(user, [item("theirs@x.org")]),
        await user.post("collections/people/records", json=item("theirs@x.org")),
    )
    assert (409, "already_exists") == (taken.status_code, taken.json()["code"])
    assert (taken.status_code, taken.json()["code"]) == (made.status_code, made.json()["code"])
    denied = [await upsert(user, [item(email, other.id)]) for email in ("theirs@x.org", "nobody@x.org")]
    assert [(403, "rule_denied")] * 2 == [(one.status_code, one.json()["code"]) for one in denied]
    assert denied[0].json()["detail"] == denied[1].json()["detail"]
    assert (409, 2) == (
        (await upsert(user, [item("new2@x.org"), item("theirs@x.org")])).status_code,
        len(await user.list("people")),
    )


async def test_what_is_visible_and_not_his_is_denied(project: ProjectUnderTest) -> None:
    user = await people(project, update="record.owner == auth.id")
    await project.operator.create("people", {"email": "theirs@x.org"})

    answer = await upsert(user, [{"email": "new@x.org"}, {"email": "theirs@x.org"}])

    assert (403, "rule_denied") == (answer.status_code, answer.json()["code"])
    assert 1 == len(await user.list("people"))
    for closed in ("create", "update"):
        await project.operator.patch("collections/people", json={"rules": {closed: None}})
        assert 403 == (await upsert(user, [])).status_code


async def test_at_once_each_key_is_created_once(project: ProjectUnderTest) -> None:
    """Ten callers, the same five keys, in two orders: five records, each changed by every other call."""
    user = await people(project)
    items = [{"email": f"u{at}@x.org", "name": "n"} for at in range(5)]

    answers = await asyncio.gather(*(upsert(user, items if at % 2 else items[::-1]) for at in range(10)))

    assert Counter({200: 10}) == Counter(answer.status_code for answer in answers), [one.text for one in answers]
    assert 5 == sum(answer.json()["created"] for answer in answers)
    assert [10] * 5 == [one["rev"] for one in await user.list("people")]


async def test_a_collection_that_demands_conditions_takes_none(project: ProjectUnderTest) -> None:
    user = await people(project)
    await project.operator.patch("collections/people", json={"options": {"require_if_match": True}})

    assert 428 == (await upsert(user, [{"email": "a@x.org"}])).status_code
