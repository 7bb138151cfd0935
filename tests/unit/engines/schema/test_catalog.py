"""Definitions in memory: read once, shared by those who wait, dropped everywhere when they change."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from baas.base.errors import NotFound
from baas.base.ids import short_id, uuid7
from baas.base.project import Project, ProjectSettings
from baas.engines.schema import manifest, store
from baas.engines.schema.catalog import KIND, Catalog
from baas.engines.schema.collection import Collection
from baas.infra.db.listen import Invalidations, announce
from baas.infra.db.migrate import migrate_project
from baas.infra.db.pool import Database, Row
from baas.infra.db.sql import Sql, Statement, ident, sql


class Counting:
    """The database with a count of the questions and, when wanted, a wait before each answer."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.asked = 0
        self.go = asyncio.Event()
        self.go.set()

    async def fetch(self, query: Sql | Statement) -> list[Row]:
        self.asked += 1
        rows = await self._db.fetch(query)
        await self.go.wait()
        return rows


@pytest.fixture
async def blog(db: Database) -> Project:
    """A project with nothing but its users."""
    project = Project(uuid7(), f"t-{short_id()}", f"p_{short_id()}", ProjectSettings())
    async with db.transaction() as tx:
        await tx.execute(
            sql("insert into baas.projects (id, name, schema) values ({}, {}, {})", project.id, project.name, project.schema)
        )
        await tx.execute(sql("create schema {}", ident(project.schema)))
        await migrate_project(tx, project.schema)
        await store.write(tx, manifest.users(project.schema))
    return project


@pytest.fixture
async def invalidations(db: Database, database_url: str) -> AsyncIterator[Invalidations]:
    """Of a second server on the same database; a test starts it once its parts have registered."""
    made = Invalidations(db, database_url)
    yield made
    await made.stop()


async def add(db: Database, project: Project, name: str) -> None:
    async with db.transaction() as tx:
        await store.write(tx, Collection(name, project.schema, ()))
        await store.next_version(tx, project.schema)
        await announce(tx, KIND, str(project.id))


async def test_many_who_ask_at_once_share_one_query(db: Database, blog: Project, invalidations: Invalidations) -> None:
    """Also when the first of them is cancelled while waiting; and later ones need none."""
    counting = Counting(db)
    counting.go.clear()
    catalog = Catalog(counting, invalidations)
    first, *others = [asyncio.create_task(catalog.collections(blog)) for _ in range(50)]
    await asyncio.sleep(0.01)
    first.cancel()
    counting.go.set()
    answers = await asyncio.gather(*others)
    await catalog.get(blog, "users")

    assert 1 == counting.asked
    assert {("users",)} == {tuple(answer) for answer in answers}


async def test_another_server_sees_a_change(db: Database, blog: Project, invalidations: Invalidations) -> None:
    """By the announcement alone: nobody asks for the new name."""
    catalog = Catalog(db, invalidations)
    await invalidations.start()
    before = await catalog.collections(blog)
    started = time.monotonic()
    await add(db, blog, "posts")
    while "posts" not in (after := await catalog.collections(blog)):
        assert time.monotonic() - started < 20
        await asyncio.sleep(0.01)

    assert ["users"] == list(before)
    assert before["users"].version < after["users"].version == after["posts"].version


async def test_what_was_read_before_a_change_is_not_kept_after_it(
    db: Database, blog: Project, invalidations: Invalidations
) -> None:
    """The announcement arrives while the old definitions are on their way."""
    counting = Counting(db)
    counting.go.clear()
    catalog = Catalog(counting, invalidations)
    old = asyncio.create_task(catalog.collections(blog))
    await asyncio.sleep(0.05)
    await add(db, blog, "posts")
    catalog.forget(str(blog.id))
    counting.go.set()

    assert ["users"] == list(await old)
    assert ["posts", "users"] == list(await catalog.collections(blog))


async def test_a_new_name_is_found_before_its_announcement(db: Database, blog: Project, invalidations: Invalidations) -> None:
    """A client may create at one server and write at another at once; but unknown names do not become a query each."""
    counting = Counting(db)
    catalog = Catalog(counting, invalidations)
    await catalog.collections(blog)
    await add(db, blog, "posts")
    await asyncio.sleep(0.3)

    assert "posts" == (await catalog.get(blog, "posts")).name
    for _ in range(100):
        with pytest.raises(NotFound):
            await catalog.get(blog, "nothing")
    assert 2 == counting.asked
