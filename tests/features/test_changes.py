"""The change log: every change of every record is in it once, in order, and who asks behind a cursor misses none."""

import asyncio

import pytest

from baas.base.errors import BadRequest, Gone
from baas.base.project import Project
from baas.engines.changes.log import Change, Cursor, new_epoch
from baas.engines.changes.reader import Feed
from baas.infra.db.pool import Database
from baas.infra.db.signals import Signals
from baas.infra.db.sql import ident, sql
from baas.server import Server
from tests.support.callers import ProjectUnderTest

OPEN = {"list": "true", "view": "true", "create": "true", "update": "true", "delete": "true"}
TEXT = {"name": "title", "type": "text"}


async def project_of(server: Server, project: ProjectUnderTest) -> Project:
    found = await server.projects.find(project.name)
    assert found is not None
    return found


async def everything(feed: Feed, project: Project, after: Cursor) -> list[Change]:
    """All changes behind the cursor, read in small steps."""
    found: list[Change] = []
    while changes := await feed.read(project, after, 7):
        found += changes
        after = Cursor(after.epoch, changes[-1].pos)
    return found


async def test_create_change_and_delete_are_in_the_feed_with_both_images(project: ProjectUnderTest, server: Server) -> None:
    """Old image, new image, action, revision, who and in which request."""
    here, feed = await project_of(server, project), server.feed
    await project.collection("posts", fields=[TEXT, {"name": "secret", "type": "text", "hidden": True}], rules=OPEN)
    alice = await project.user()
    start = await feed.head(here)
    made = (await alice.post("collections/posts/records", json={"title": "a"}, headers={"x-request-id": "req-one"})).json()
    path = f"collections/posts/records/{made['id']}"
    await project.operator.patch(path, json={"title": "b", "secret": "s"})
    await project.anonymous.delete(path)

    created, changed, deleted = await everything(feed, here, start)

    assert ["create", "update", "delete"] == [created.action, changed.action, deleted.action]
    assert {("posts", made["id"])} == {(one.collection, one.record) for one in (created, changed, deleted)}
    assert [1, 2, 2] == [created.rev, changed.rev, deleted.rev]
    assert created.before is None
    assert deleted.after is None
    assert created.after is not None
    assert created.after["title"] == "a"
    assert changed.before == created.after
    assert changed.after is not None
    assert (changed.after["title"], changed.after["secret"]) == ("b", "s")
    assert deleted.before == changed.after
    assert (f"user:{alice.id}", "req-one") == (created.principal, created.request_id)
    assert changed.principal.startswith("operator:")
    assert deleted.principal == "anonymous"
    assert [start.pos + 1, start.pos + 2, start.pos + 3] == [created.pos, changed.pos, deleted.pos]


async def test_cascades_are_in_the_feed_and_count_as_revisions(project: ProjectUnderTest, server: Server) -> None:
    """What a foreign key deletes or sets to null is a change like any other, by whoever caused it."""
    here, feed = await project_of(server, project), server.feed
    await project.collection("teams", fields=[TEXT], rules=OPEN)
    to_team = {"type": "relation", "to": "teams"}
    await project.collection("members", fields=[{**to_team, "name": "team", "on_delete": "cascade"}], rules=OPEN)
    await project.collection("boards", fields=[{**to_team, "name": "team", "on_delete": "set_null"}, TEXT], rules=OPEN)
    alice = await project.user()
    team = await alice.create("teams", {"title": "t"})
    member = await alice.create("members", {"team": team["id"]})
    board = await alice.create("boards", {"team": team["id"], "title": "b"})
    start = await feed.head(here)
    answer = await alice.delete(f"collections/teams/records/{team['id']}", headers={"x-request-id": "the-cause"})
    assert answer.status_code == 204

    changes = {one.collection: one for one in await everything(feed, here, start)}

    assert {"teams": "delete", "members": "delete", "boards": "update"} == {name: one.action for name, one in changes.items()}
    assert member["id"] == changes["members"].record
    assert {(f"user:{alice.id}", "the-cause")} == {(one.principal, one.request_id) for one in changes.values()}
    before, after = changes["boards"].before, changes["boards"].after
    assert before is not None
    assert after is not None
    assert (before["team"], after["team"], after["title"]) == (team["id"], None, "b")
    assert (before["rev"], after["rev"], changes["boards"].rev) == (1, 2, 2)
    stored = (await alice.get(f"collections/boards/records/{board['id']}")).json()
    assert (stored["rev"], stored["team"]) == (2, None)


async def test_accounts_are_in_the_feed(project: ProjectUnderTest, server: Server) -> None:
    """Users are records: what auth writes is logged as what anybody writes."""
    here, feed = await project_of(server, project), server.feed
    await project.operator.patch("settings", json={"auth": {"sign_up": True}})
    start = await feed.head(here)
    body = {"email": "a@example.com", "password": "correct horse battery"}
    made = (await project.anonymous.post("auth/sign-up", json=body)).json()["user"]
    await project.operator.patch(f"users/{made['id']}", json={"email_verified": True})
    await project.operator.delete(f"users/{made['id']}")

    changes = await everything(feed, here, start)

    assert [("users", made["id"])] * 3 == [(one.collection, one.record) for one in changes]
    assert ["create", "update", "delete"] == [one.action for one in changes]
    assert ["anonymous", "operator", "operator"] == [one.principal.partition(":")[0] for one in changes]
    assert all("password" not in (one.after or {}) for one in changes)


async def test_what_is_refused_is_not_in_the_feed(project: ProjectUnderTest, server: Server) -> None:
    """A 4xx changed nothing, so nobody hears of it."""
    here, feed = await project_of(server, project), server.feed
    await project.collection("posts", fields=[{**TEXT, "unique": True}], rules={**OPEN, "update": "false"})
    made = await project.anonymous.create("posts", {"title": "a"})
    start = await feed.head(here)
    path = f"collections/posts/records/{made['id']}"

    assert 403 == (await project.anonymous.patch(path, json={"title": "b"})).status_code
    assert 409 == (await project.anonymous.post("collections/posts/records", json={"title": "a"})).status_code
    assert 412 == (await project.operator.patch(path, json={"title": "c"}, headers={"if-match": '"7"'})).status_code
    assert 409 == (await project.anonymous.post("collections/posts/records", json=[{"title": "x"}, {"title": "a"}])).status_code
    assert [] == await everything(feed, here, start)


async def test_cursors_of_another_time_are_gone(project: ProjectUnderTest, server: Server, db: Database) -> None:
    """Another epoch, a position that is to come, one that is no longer kept: 410 with a cursor that is good."""
    here, feed = await project_of(server, project), server.feed
    await project.collection("posts", fields=[TEXT], rules=OPEN)
    for title in "abc":
        await project.anonymous.create("posts", {"title": title})
    head = await feed.head(here)
    small = Feed(db, keep_most=2)
    assert await feed.read(here, Cursor(head.epoch, head.pos - 3))
    assert 1 == await small.sweep(here)

    for wrong in (
        Cursor("00000000-0000-4000-8000-000000000000", head.pos),
        Cursor(head.epoch, head.pos + 1),
        Cursor(head.epoch, head.pos - 3),
    ):
        with pytest.raises(Gone) as caught:
            await feed.read(here, wrong)
        assert ("feed_gone", str(head)) == (caught.value.code, caught.value.facts["cursor"])
    assert ["b", "c"] == [(one.after or {})["title"] for one in await feed.read(here, Cursor(head.epoch, head.pos - 2))]

    await new_epoch(db, here.schema)
    with pytest.raises(Gone):
        await feed.read(here, head)
    fresh = await feed.head(here)
    await project.anonymous.create("posts", {"title": "d"})
    assert [fresh.pos + 1] == [one.pos for one in await feed.read(here, fresh)]


@pytest.mark.parametrize(
    "text", ["", "1", "x.1", "00000000-0000-4000-8000-000000000000", "00000000-0000-4000-8000-000000000000.-1"]
)
def test_what_is_no_cursor_is_said_to_be_none(text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        Cursor.parse(text)

    assert "bad_cursor" == caught.value.code


async def test_old_changes_are_swept_in_chunks_and_the_floor_rises(
    project: ProjectUnderTest, server: Server, db: Database
) -> None:
    """After retention the log is empty, positions go on, and who is up to date stays so."""
    here, feed = await project_of(server, project), server.feed
    await project.collection("posts", fields=[TEXT], rules=OPEN)
    await project.anonymous.post("collections/posts/records", json=[{"title": str(n)} for n in range(20)])
    head = await feed.head(here)
    await db.execute(sql("update {} set at = now() - interval '8 days'", ident(here.schema, "_change_log")))

    assert await feed.sweep(here) >= 20
    assert 0 == await db.fetch_value(sql("select count(*) from {}", ident(here.schema, "_change_log")))
    assert [] == await feed.read(here, head)
    await project.anonymous.create("posts", {"title": "new"})
    assert [head.pos + 1] == [one.pos for one in await feed.read(here, head)]


async def test_a_list_carries_a_cursor_of_its_own_moment(project: ProjectUnderTest, server: Server) -> None:
    """What the list does not show comes behind its cursor, by GET and by query."""
    here, feed = await project_of(server, project), server.feed
    await project.collection("posts", fields=[TEXT], rules=OPEN)
    await project.anonymous.create("posts", {"title": "a"})
    head = await feed.head(here)
    first = await project.anonymous.get("collections/posts/records")
    asked = await project.anonymous.post("collections/posts/records/query", json={})
    late = await project.anonymous.create("posts", {"title": "b"})

    place, _, definitions = first.headers["x-feed-cursor"].rpartition(".")
    assert f"{head}.{definitions}" == first.headers["x-feed-cursor"] == asked.headers["x-feed-cursor"]
    behind = await feed.read(here, Cursor.parse(place))
    assert [late["id"]] == [one.record for one in behind]


async def test_a_dropped_collection_leaves_nothing_to_one_of_its_name(project: ProjectUnderTest, server: Server) -> None:
    """Old images under a new collection's rules would show what was never meant to be seen."""
    here, feed = await project_of(server, project), server.feed
    await project.collection("posts", fields=[TEXT])
    before = await feed.head(here)
    await project.operator.create("posts", {"title": "secret"})
    await project.operator.delete("collections/posts?confirm=data-loss")
    await project.collection("posts", fields=[TEXT], rules=OPEN)

    with pytest.raises(Gone):
        await feed.read(here, before)
    assert [] == await feed.read(here, await feed.head(here))
    after = await feed.head(here)
    made = await project.anonymous.create("posts", {"title": "open"})
    assert [made["id"]] == [one.record for one in await feed.read(here, after)]


async def test_a_waiter_wakes_at_a_write_long_before_the_poll(project: ProjectUnderTest, server: Server) -> None:
    here, feed = await project_of(server, project), server.feed
    await project.collection("posts", fields=[TEXT], rules=OPEN)
    async with feed.watching(here) as waiter:
        assert not await waiter.wait(0.01)
        await project.anonymous.create("posts", {"title": "a"})
        assert await waiter.wait(0.05)
        await project.anonymous.get("collections/posts/records")
        await project.anonymous.post("collections/posts/records/query", json={})
        assert not await waiter.wait(0.01), "reading wakes nobody"


async def test_another_server_wakes_by_a_signal(project: ProjectUnderTest, server: Server, database_url: str) -> None:
    """A write on one server reaches a waiter on another within the time of a notification, not of a poll."""
    here = await project_of(server, project)
    await project.collection("posts", fields=[TEXT], rules=OPEN)
    signals = Signals(database_url)
    other = Feed(server.db, signals)
    await signals.start()
    try:
        async with other.watching(here) as waiter:
            for _ in range(40):  # until the first server knows that somebody listens
                await asyncio.sleep(0.05)
                await project.anonymous.create("posts", {"title": "a"})
                if woken := await waiter.wait(0.2):
                    break
            assert woken
    finally:
        await signals.stop()
