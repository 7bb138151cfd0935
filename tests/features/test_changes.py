"""The change log: every change of every record is in it once, in order, and who asks behind a cursor misses none."""

import asyncio
from typing import Any

import pytest

from baas.base.errors import BadRequest, Gone
from baas.base.project import Project
from baas.engines.changes.log import Change, Cursor, new_epoch
from baas.engines.changes.reader import Feed
from baas.engines.changes.sequencer import settle
from baas.infra.db.pool import Database
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
    assert created.before is None and deleted.after is None
    assert created.after is not None and created.after["title"] == "a"
    assert changed.before == created.after
    assert changed.after is not None and (changed.after["title"], changed.after["secret"]) == ("b", "s")
    assert deleted.before == changed.after
    assert (f"user:{alice.id}", "req-one") == (created.principal, created.request_id)
    assert changed.principal.startswith("operator:")
    assert deleted.principal == "anonymous"
    assert [start.pos + 1, start.pos + 2, start.pos + 3] == [created.pos, changed.pos, deleted.pos]
