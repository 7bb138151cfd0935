"""Histories: every version of a record, and a collection as it was, under the rules of today."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from baas.base.project import Project, ProjectSettings
from baas.engines.changes.reader import Feed
from baas.infra.db.pool import Database
from baas.infra.db.sql import ident, sql
from baas.server import Server
from tests.features.test_changes import OPEN
from tests.support.callers import Caller, ProjectUnderTest

KEPT = {"history": True}
FIELDS = [
    {"name": "title", "type": "text"},
    {"name": "public", "type": "bool"},
    {"name": "note", "type": "text", "hidden": True},
    {"name": "pay", "type": "decimal", "read": "auth.id == record.owner"},
    {"name": "owner", "type": "relation", "to": "users"},
]
PUBLIC = "record.public || record.owner == auth.id"


async def posts(project: ProjectUnderTest, **more: Any) -> None:
    await project.collection("posts", fields=FIELDS, rules={**OPEN, "view": PUBLIC, "list": PUBLIC}, options=KEPT, **more)


async def history(caller: Caller, record: str, **params: Any) -> dict[str, Any]:
    answer = await caller.get(f"collections/posts/records/{record}/history", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def now(db: Database) -> str:
    """A moment between two calls, by the clock of the database."""
    await asyncio.sleep(0.002)
    found = (await db.fetch_value(sql("select clock_timestamp()"))).astimezone(UTC).isoformat()
    await asyncio.sleep(0.002)
    return found


async def test_every_version_is_there_newest_first_in_pages(project: ProjectUnderTest) -> None:
    await posts(project)
    key = await project.key("records")
    made = await key.create("posts", {"title": "v1", "public": True, "note": "n"})
    path = f"collections/posts/records/{made['id']}"
    for number in range(2, 6):
        await key.patch(path, json={"title": f"v{number}"})
    assert 204 == (await key.delete(path)).status_code

    first = await history(key, made["id"], limit=4)
    rest = await history(key, made["id"], limit=4, cursor=first["next_cursor"])
    found = [*first["items"], *rest["items"]]

    assert rest["next_cursor"] is None
    assert ["delete", *["update"] * 4, "create"] == [one["action"] for one in found]
    assert ["v5", "v5", "v4", "v3", "v2", "v1"] == [one["record"]["title"] for one in found]
    assert [5, 5, 4, 3, 2, 1] == [one["rev"] for one in found]
    assert {f"key:{key.id}"} == {one["principal"] for one in found}
    assert all(one["request_id"] for one in found)
    assert made == found[-1]["record"]
    bad = await key.get(f"{path}/history", params={"cursor": first["next_cursor"] + "x"})
    assert (400, "bad_cursor") == (bad.status_code, bad.json()["code"])


async def test_versions_are_shown_by_the_rule_of_today_and_without_closed_fields(project: ProjectUnderTest) -> None:
    """A version that the rule hides is left out; hidden and gated fields are in none; who wrote is for operators."""
    await posts(project)
    alice, bob = await project.user(), await project.user()
    made = await alice.create("posts", {"title": "draft", "public": False, "owner": alice.id, "pay": "9.50"})
    path = f"collections/posts/records/{made['id']}"
    await project.operator.patch(path, json={"title": "out", "public": True, "note": "for operators"})

    seen_by_bob = (await history(bob, made["id"]))["items"]
    seen_by_alice = (await history(alice, made["id"]))["items"]

    assert [("update", "out")] == [(one["action"], one["record"]["title"]) for one in seen_by_bob]
    assert ["out", "draft"] == [one["record"]["title"] for one in seen_by_alice]
    assert {"action", "rev", "at", "record"} == set(seen_by_bob[0])
    assert "pay" not in seen_by_bob[0]["record"]
    assert ["9.50", "9.50"] == [one["record"]["pay"].rstrip("0") + "0" for one in seen_by_alice]
    assert not any("note" in one["record"] for one in (*seen_by_bob, *seen_by_alice))


async def test_what_is_taken_out_of_sight_takes_its_past_along(project: ProjectUnderTest, db: Database) -> None:
    """Public yesterday, private today: the old version is as invisible as the record, also when that is deleted afterwards."""
    await posts(project)
    made = await project.operator.create("posts", {"title": "was public", "public": True})
    moment = await now(db)
    path = f"collections/posts/records/{made['id']}"
    await project.operator.patch(path, json={"public": False})

    async def answers() -> list[int]:
        anonymous = project.anonymous
        asked = (f"{path}/history", f"{path}?as_of=1", f"{path}?as_of={moment.replace('+', '%2B')}")
        return [(await anonymous.get(one)).status_code for one in asked]

    assert [404] * 3 == await answers()
    assert [] == await project.anonymous.list("posts", as_of=moment)
    assert ["was public"] == [one["title"] for one in await project.operator.list("posts", as_of=moment)]
    await project.operator.delete(path)
    assert [404] * 3 == await answers()
    assert [] == await project.anonymous.list("posts", as_of=moment)


async def test_a_record_as_of_a_moment_or_a_revision(project: ProjectUnderTest, db: Database) -> None:
    await posts(project)
    before = await now(db)
    made = await project.operator.create("posts", {"title": "one", "public": True})
    path, moments = f"collections/posts/records/{made['id']}", [await now(db)]
    for title in ("two", "three"):
        await project.operator.patch(path, json={"title": title})
        moments.append(await now(db))
    await project.operator.delete(path)
    after = await now(db)

    async def title_of(as_of: str) -> str:
        answer = await project.anonymous.get(path, params={"as_of": as_of})
        return answer.json()["title"] if answer.status_code == 200 else str(answer.status_code)

    assert ["one", "two", "three"] == [await title_of(one) for one in moments]
    assert ["one", "two", "three", "404"] == [await title_of(rev) for rev in ("1", "2", "3", "4")]
    assert ["404", "404"] == [await title_of(before), await title_of(after)]
    assert ["400", "400", "400"] == [await title_of(wrong) for wrong in ("yesterday", "-1", "2026-11-20T10:00:00")]
    old = await project.operator.get(path, params={"as_of": "1"})
    assert made == old.json()
    assert "etag" not in old.headers
    # To restore is an ordinary write.
    assert 201 == (await project.operator.put(path, json={"title": old.json()["title"], "public": True})).status_code
    assert "one" == (await project.anonymous.get(path)).json()["title"]


async def test_a_list_as_of_a_moment_is_the_list_of_then(project: ProjectUnderTest, server: Server, db: Database) -> None:
    """At every moment, sequenced or not, filtered, sorted, in pages: what the list answered then."""
    await posts(project)
    anonymous, moments, lists = project.anonymous, [], []
    records: list[str] = []
    for step in range(9):
        if step % 4 == 3:
            await project.operator.delete(f"collections/posts/records/{records.pop(0)}")
        elif step % 3 == 2:
            await project.operator.patch(f"collections/posts/records/{records[0]}", json={"title": f"changed {step}"})
        else:
            records.append((await project.operator.create("posts", {"title": f"new {step}", "public": True}))["id"])
        moments.append(await now(db))
        lists.append(await anonymous.list("posts", sort="-title", filter='title != "new 0"'))
        if step == 4:
            project_of = await server.projects.find(project.name)
            assert project_of is not None
            await server.feed.sweep(project_of)

    for moment, then in zip(moments, lists, strict=True):
        assert then == await anonymous.list("posts", sort="-title", filter='title != "new 0"', as_of=moment)
    asked = {"as_of": moments[-1], "limit": 1, "sort": "title"}
    page = (await anonymous.post("collections/posts/records/query", json=asked)).json()
    following = (await anonymous.post("collections/posts/records/query", json={**asked, "cursor": page["next_cursor"]})).json()
    assert sorted(one["title"] for one in lists[-1])[:2] == [one["title"] for one in (*page["items"], *following["items"])]
    today = {"limit": 1, "sort": "title", "cursor": page["next_cursor"]}
    other = await anonymous.post("collections/posts/records/query", json=today)
    assert (400, "bad_cursor") == (other.status_code, other.json()["code"])


@pytest.mark.parametrize("mixed", [{"expand": "owner"}, {"count": "exact"}, {"sort": "owner.email"}])
async def test_the_past_is_not_mixed_with_the_present(project: ProjectUnderTest, mixed: dict[str, str]) -> None:
    await posts(project)
    answer = await project.operator.get("collections/posts/records", params={**mixed, "as_of": "2099-01-01T00:00:00Z"})

    assert (400, "bad_parameter", next(iter(mixed))) == (
        answer.status_code,
        *(answer.json()[key] for key in ("code", "parameter")),
    )


async def test_a_collection_keeps_a_history_only_when_it_says_so(project: ProjectUnderTest, db: Database) -> None:
    """Off, on, off: nothing before it began can be asked for, and nothing is left behind."""
    await project.collection("posts", fields=FIELDS, rules=OPEN)
    made = await project.operator.create("posts", {"title": "a"})
    path = f"collections/posts/records/{made['id']}"
    early = await now(db)
    off = await project.operator.get(f"{path}/history")
    assert (400, "history_off") == (off.status_code, off.json()["code"])

    changed = await project.operator.patch("collections/posts", json={"options": {"history": True}})
    assert {"history": True} == changed.json()["options"]
    await project.operator.patch(path, json={"title": "b"})
    assert "b" == (await history(project.operator, made["id"]))["items"][0]["record"]["title"]
    assert "a" == (await project.operator.get(path, params={"as_of": "1"})).json()["title"]
    answer = await project.operator.get("collections/posts/records", params={"as_of": early})
    assert (400, "before_history") == (answer.status_code, answer.json()["code"])

    await project.operator.patch("collections/posts", json={"options": {"history": False}})
    assert 400 == (await project.operator.get(f"{path}/history")).status_code
    assert 0 == await db.fetch_value(sql("select count(*) from {}", ident(project.schema, "_history")))


async def test_old_images_follow_their_fields_and_lose_those_that_end(project: ProjectUnderTest, db: Database) -> None:
    """A field that takes the name of one that ended shows nothing of it, whatever its type; a renamed one keeps its values."""
    await posts(project)
    made = await project.operator.create("posts", {"title": "words", "note": "secret", "public": True})
    path = f"collections/posts/records/{made['id']}"
    await project.operator.patch(path, json={"note": "more secret"})
    rules = {"list": "true", "view": "true"}
    named = [{"name": "headline", "type": "text", "renamed_from": "title"}, FIELDS[1]]
    answer = await project.operator.patch("collections/posts?confirm=data-loss", json={"fields": named, "rules": rules})
    assert 200 == answer.status_code, answer.text
    again = [{"name": "headline", "type": "text"}, FIELDS[1], {"name": "note", "type": "int"}]
    assert 200 == (await project.operator.patch("collections/posts", json={"fields": again})).status_code

    items = (await history(project.operator, made["id"]))["items"]
    assert [("words", None)] * 2 == [(one["record"]["headline"], one["record"]["note"]) for one in items]


async def test_history_of_the_past_survives_the_log(project: ProjectUnderTest, server: Server, db: Database) -> None:
    """What the feed no longer keeps, the history does."""
    await posts(project)
    made = await project.operator.create("posts", {"title": "a", "public": True})
    here = await server.projects.find(project.name)
    assert here is not None
    await server.feed.sweep(here)
    await db.execute(sql("update {} set at = now() - interval '9 days'", ident(here.schema, "_change_log")))
    assert await server.feed.sweep(here)

    assert ["a"] == [one["record"]["title"] for one in (await history(project.anonymous, made["id"]))["items"]]


async def test_versions_older_than_is_kept_go_and_the_past_since_then_stays(
    project: ProjectUnderTest, db: Database, server: Server
) -> None:
    """The floor of a history goes up with what is removed; nothing after it is told otherwise than before."""
    await posts(project)
    key = await project.key("records")
    made = await key.create("posts", {"title": "v1", "public": True})
    path = f"collections/posts/records/{made['id']}"
    await key.patch(path, json={"title": "v2"})
    here = Project(UUID(project.id), project.name, project.schema, ProjectSettings())
    await server.feed.sweep(here)
    for table, column in (("_history", "at"), ("_histories", "since")):
        place = ident(project.schema, table)
        await db.execute(sql("update {} set {} = {} - interval '40 days'", place, ident(column), ident(column)))
    between = await now(db)
    await key.patch(path, json={"title": "v3"})

    assert await Feed(db).sweep(here) == 0, "for ever, when nobody says otherwise"
    assert 3 == len((await history(key, made["id"]))["items"])
    assert await Feed(db, keep_history=timedelta(days=30)).sweep(here) == 2

    assert ["v3"] == [one["record"]["title"] for one in (await history(key, made["id"]))["items"]]
    assert "v2" == (await key.get(path, params={"as_of": between})).json()["title"]
    long_ago = (datetime.now(UTC) - timedelta(days=35)).isoformat()
    early = await key.get(path, params={"as_of": long_ago})
    assert (400, "before_history") == (early.status_code, early.json()["code"])
