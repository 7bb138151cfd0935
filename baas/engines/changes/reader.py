"""Reads a project's changes behind a cursor, and wakes those who wait for more.

Three things wake a reader, each a net under the one before: an event in this process, a notification from another server while it
knows that somebody here listens, and a look every quarter of a second.
"""

import asyncio
import json
import logging
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from typing import NamedTuple

from baas.base.errors import Gone
from baas.base.ids import short_id
from baas.base.project import Project
from baas.base.tasks import end, going_on
from baas.engines.changes import sequencer
from baas.engines.changes.log import Change, Cursor
from baas.infra.db.pool import Database, Row
from baas.infra.db.signals import Signals
from baas.infra.db.sql import ident, sql

_LOG = logging.getLogger("baas.changes")
POLL_S = 0.25
KEEP = timedelta(days=7)
KEEP_MOST = 1_000_000
_CHUNK = 5_000
_SETTLE_S = 5.0
_MOST_BYTES = 4 << 20  # as stored, which is often compressed
_WATCH, _WRITTEN = "watch", "written"
_WATCH_EVERY_S, _WATCHED_S = 10.0, 30.0
_WATCHED_MOST = 10_000


class Reach(NamedTuple):
    """What of the log can be followed: cursors from behind `floor` up to `head`."""

    head: Cursor
    floor: int

    def holds(self, place: Cursor) -> bool:
        """Whether everything behind the place is still kept."""
        return place.epoch == self.head.epoch and self.floor <= place.pos <= self.head.pos


class Waiter:
    """Wakes when the project may have changes that were not there at the wait before."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def wake(self) -> None:
        self._event.set()

    async def wait(self, timeout_s: float = POLL_S) -> bool:
        """Return at a hint of changes or after `timeout_s`, but never later than the poll; whether there was a hint.

        Read after it, whatever it says: a hint may be lost.
        """
        try:
            async with asyncio.timeout(min(timeout_s, POLL_S)):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


class Feed:
    """The changes of projects. At least once, in order for each record, nothing lost within retention, one change a position.

    `signals` None: one server alone. Changes of views and of anything but records are not in it.
    """

    def __init__(
        self,
        db: Database,
        signals: Signals | None = None,
        *,
        keep: timedelta = KEEP,
        keep_most: int = KEEP_MOST,
        keep_history: timedelta | None = None,
    ) -> None:
        self._db = db
        self._signals = signals
        self._keep_history = keep_history
        self._keep, self._keep_most = keep, keep_most
        self._waiters: dict[str, list[Waiter]] = {}
        self._watched: dict[str, float] = {}  # by other servers, until then
        self._unsettled: dict[str, Project] = {}
        self._settling: asyncio.Task[None] | None = None
        self._name = short_id()  # among the servers: what this one says it need not hear
        if signals is not None:
            signals.on_signal(self._heard)

    async def start(self) -> None:
        """Settle what is written here every few seconds, so that whoever begins to follow a project finds no hour of changes to
        move first, and a cursor of a list has little before it.
        """
        self._settling = asyncio.create_task(self._settle())

    async def stop(self) -> None:
        await end(self._settling)

    async def head(self, project: Project) -> Cursor:
        """Behind every change that was committed before this call."""
        return (await self.reach(project)).head

    async def reach(self, project: Project) -> Reach:
        """The same as its head, and how far back cursors are good."""
        await sequencer.settle(self._db, project.schema)
        row = await self._db.fetch_row(sql("select epoch, last_pos, floor_pos from {}", ident(project.schema, "_feed")))
        return Reach(_cursor(row), 0 if row is None else row["floor_pos"])

    async def read(self, project: Project, after: Cursor, limit: int = 500) -> Sequence[Change]:
        """The next changes, at most `limit` and some megabytes of them, in order of position; none: there are none yet.

        Raises Gone (`feed_gone`, with a fresh `cursor`) when the cursor is of another epoch, from the future, or older than
        what is kept: read what you follow anew, then go on from the fresh one.
        """
        await sequencer.settle(self._db, project.schema)
        rows = await self._db.fetch(
            sql(
                "select f.epoch, f.last_pos, f.floor_pos, l.* from {} f left join lateral"
                " (select * from (select p.*, sum(coalesce(pg_column_size(p.before), 0) + coalesce(pg_column_size(p.after), 0))"
                " over (order by p.pos) as size from (select * from {} l where l.pos > {} and f.epoch = {}::uuid"
                " order by l.pos limit {}) p) s where s.size <= {} or s.pos = {}::int8 + 1) l on true order by l.pos",
                ident(project.schema, "_feed"),
                ident(project.schema, "_change_log"),
                after.pos,
                after.epoch,
                limit,
                _MOST_BYTES,
                after.pos,
            )
        )
        first = rows[0]
        if str(first["epoch"]) != after.epoch or not first["floor_pos"] <= after.pos <= first["last_pos"]:
            raise gone(_cursor(first))
        changes = [_change(row) for row in rows if row["pos"] is not None]
        if changes and len(changes) < limit and changes[-1].pos < first["last_pos"]:
            self._wake(project.key)  # there is more, which would have been too much at once
        return changes

    @asynccontextmanager
    async def watching(self, project: Project) -> AsyncIterator[Waiter]:
        """Inside, this project's changes wake the waiter, on whichever server they are made."""
        waiter, key = Waiter(), project.key
        self._waiters.setdefault(key, []).append(waiter)
        announcing = asyncio.create_task(self._announce(key)) if self._signals is not None else None
        try:
            yield waiter
        finally:
            self._waiters[key].remove(waiter)
            if not self._waiters[key]:
                del self._waiters[key]
            await end(announcing)

    def written(self, project: Project) -> None:
        """Changes of this project have just been committed. Cheap, waits for nothing; may be forgotten, because of the poll."""
        self._unsettled[project.key] = project
        self._wake(project.key)
        if self._signals is not None and self._watched.get(project.key, 0.0) > time.monotonic():
            self._signals.send(f"{_WRITTEN} {self._name} {project.key}")

    async def sweep(self, project: Project) -> int:
        """Put what is pending into the log, and give back what is older or more than is kept, versions of records too; how many
        that were.
        """
        await sequencer.settle(self._db, project.schema)
        removed = 0
        for remove in (self._remove_chunk, self._remove_history):
            gone_now = _CHUNK
            while gone_now == _CHUNK:
                gone_now = await remove(project.schema)
                removed += gone_now
        return removed

    async def _settle(self) -> None:
        while True:
            # Spread, so that the servers of one installation do not come for the same rows at once.
            await asyncio.sleep(_SETTLE_S * random.uniform(0.5, 1.5))  # noqa: S311  spread, not a secret
            written, self._unsettled = self._unsettled, {}
            for project in written.values():
                with going_on(_LOG, "Changes could not be settled."):
                    await sequencer.settle(self._db, project.schema)

    async def _remove_chunk(self, schema: str) -> int:
        """Floor and log change together: a reader sees either what was there or that it is gone, never a hole."""
        log, feed = ident(schema, "_change_log"), ident(schema, "_feed")
        async with self._db.transaction() as tx:
            # An epoch that ended leaves its changes below the floor.
            until = await tx.fetch_value(
                sql(
                    "select max(o.pos) from {} f, lateral (select pos, at from {} order by pos limit {}) o"
                    " where o.at < now() - {}::interval or o.pos <= f.last_pos - {} or o.pos <= f.floor_pos",
                    feed,
                    log,
                    _CHUNK,
                    self._keep,
                    self._keep_most,
                )
            )
            if until is None:
                return 0
            await tx.execute(sql("update {} set floor_pos = greatest(floor_pos, {})", feed, until))
            return await tx.execute(sql("delete from {} where pos <= {}", log, until))

    async def _remove_history(self, schema: str) -> int:
        """A history is whole from its `since` on, which goes up with what is removed. The past is read from what stood before a
        later change, so nothing after that moment needs what goes.
        """
        if self._keep_history is None:
            return 0
        histories = ident(schema, "_histories")
        old = sql("now() - {}::interval", self._keep_history)
        async with self._db.transaction() as tx:
            await tx.execute(sql("update {} set since = {} where since < {}", histories, old, old))
            return await tx.execute(
                sql(
                    "delete from {} where seq = any(array(select o.seq from {} c, lateral (select seq from {} h"
                    " where h.collection = c.collection and h.at < {} order by h.at limit {}) o limit {}))",
                    ident(schema, "_history"),
                    histories,
                    ident(schema, "_history"),
                    old,
                    _CHUNK,
                    _CHUNK,
                )
            )

    async def _announce(self, key: str) -> None:
        """Tell the other servers, again and again, that somebody here listens: one that starts later hears of it too."""
        assert self._signals is not None  # noqa: S101  started only then
        while True:
            self._signals.send(f"{_WATCH} {self._name} {key}")
            await asyncio.sleep(_WATCH_EVERY_S)

    def _heard(self, text: str) -> None:
        what, _, rest = text.partition(" ")
        who, _, key = rest.partition(" ")
        if who == self._name:
            return
        if what == _WRITTEN:
            self._wake(key)
        elif what == _WATCH:
            if len(self._watched) >= _WATCHED_MOST:
                self._watched.clear()  # they tell again within ten seconds
            self._watched[key] = time.monotonic() + _WATCHED_S

    def _wake(self, key: str) -> None:
        for waiter in self._waiters.get(key, ()):
            waiter.wake()


def gone(fresh: Cursor) -> Gone:
    """What follows a cursor that cannot be followed any more."""
    detail = "The changes behind this cursor are no longer kept, or it is of another time of the database."
    hint = "Read the lists you follow again, then go on from the cursor given here."
    return Gone(detail, code="feed_gone", hint=hint, cursor=str(fresh))


def _cursor(row: Row | None) -> Cursor:
    if row is None:
        raise AssertionError("every project has one row in _feed")
    return Cursor(str(row["epoch"]), row["last_pos"])


def _change(row: Row) -> Change:
    return Change(
        row["pos"],
        row["seq"],
        row["collection"],
        str(row["record"]),
        row["action"],
        row["rev"],
        _image(row["before"]),
        _image(row["after"]),
        row["principal"],
        row["request_id"],
        row["at"],
    )


def _image(text: str | None) -> dict[str, object] | None:
    return None if text is None else json.loads(text, parse_float=Decimal)
