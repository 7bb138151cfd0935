"""What a feed is held to: the table that its changes make, and a reader that follows it through faults."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any
from uuid import UUID

from baas.base.errors import BaasError
from baas.base.project import Project, ProjectSettings
from baas.engines.changes.log import Change, Cursor
from baas.engines.changes.reader import Feed
from baas.infra.db.embedded.faults import ClusterFault
from baas.infra.db.pool import Database
from baas.infra.db.sql import ident, sql
from tests.support.rig import Rig

Rows = dict[tuple[str, str], Any]
"""Collection and record -> image."""


def replay(changes: Sequence[Change], onto: Rows | None = None) -> Rows:
    """The table that these changes make; fails at a hole, at disorder and at an image that is not the one before."""
    rows = {} if onto is None else onto
    for change in changes:
        key = (change.collection, change.record)
        assert rows.get(key) == change.before, f"position {change.pos} does not follow what came before"
        if change.after is None:
            del rows[key]
        else:
            rows[key] = change.after
    return rows


async def stored(db: Database, project: Project, *collections: str) -> Rows:
    """The tables themselves, as images."""
    found: Rows = {}
    for name in collections:
        rows = await db.fetch(sql("select r.id, to_jsonb(r) - '_search' as image from {} r", ident(project.schema, name)))
        found |= {(name, str(row["id"])): json.loads(row["image"], parse_float=Decimal) for row in rows}
    return found


async def beginning(rig: Rig, *collections: str) -> tuple[Project, Cursor, Rows]:
    """The rig's project, the cursor of now, and what is in the tables; nothing is pending."""
    db = await Database.connect(rig.database_url(), size=2)
    try:
        row = await db.fetch_row(sql("select id, schema from baas.projects where name = 'bank'"))
        assert row is not None
        project = Project(UUID(str(row["id"])), "bank", row["schema"], ProjectSettings())
        return project, await Feed(db).head(project), await stored(db, project, *collections)
    finally:
        await db.close()


class Reader:
    """Follows with a connection of its own, which it makes anew when it breaks, as another server would."""

    def __init__(self, rig: Rig, project: Project, after: Cursor, nap_s: float, step: int) -> None:
        self._nap_s, self._step = nap_s, step
        self._rig, self._project, self._after = rig, project, after
        self._done = threading.Event()
        self.changes: list[Change] = []
        self.longest_silence_s = 0.0
        """Between two batches, with writers at work."""

    def finish(self) -> None:
        """Read until nothing is left, then stop."""
        self._done.set()

    async def run(self) -> None:
        while True:
            try:
                db = await Database.connect(self._rig.database_url(), size=2)
            except (BaasError, ClusterFault, OSError):
                await asyncio.sleep(0.05)
                continue
            try:
                await self._follow(Feed(db))
                return
            except BaasError:
                await asyncio.sleep(0.05)
            finally:
                await db.close()

    async def _follow(self, feed: Feed) -> None:
        heard = time.monotonic()
        while True:
            done = self._done.is_set()
            found = await feed.read(self._project, self._after, self._step)
            if found:
                self.changes += found
                self._after = Cursor(self._after.epoch, found[-1].pos)
                self.longest_silence_s = max(self.longest_silence_s, round(time.monotonic() - heard, 3))
                heard = time.monotonic()
                await asyncio.sleep(self._nap_s)
            elif done:
                return
            else:
                await asyncio.sleep(0.02)


@contextmanager
def follow_through_faults(rig: Rig, project: Project, after: Cursor, *, nap_s: float = 0, step: int = 50) -> Iterator[Reader]:
    """A reader beside the block, in a thread of its own; at the end it has read everything. It naps after each `step`."""
    reader = Reader(rig, project, after, nap_s, step)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(reader.run())
        except BaseException as error:  # told in the test's own thread
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield reader
    finally:
        reader.finish()
        thread.join(60)
    assert not thread.is_alive()
    assert not failed, failed
