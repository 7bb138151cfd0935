"""One project's changes on this server: read once, kept for a while, and taken by each stream at its own pace.

A stream has no queue of its own: it has a place, and takes the next changes when its client has taken those before. What is held
for slow clients is therefore held once, and what is not held any more is read again.
"""

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from baas.base.errors import BaasError, Gone, NotFound, Unauthenticated
from baas.base.principal import Principal
from baas.base.project import Project
from baas.base.tasks import going_on
from baas.engines.changes.log import Cursor
from baas.engines.changes.reader import Feed, Reach, Waiter, gone
from baas.engines.schema.catalog import Catalog
from baas.features.projects.service import Projects
from baas.features.realtime.batch import Batch
from baas.features.realtime.model import Place

READ = 500
_KEPT_CHANGES, _KEPT_BYTES = 2_000, 8 << 20
_KEPT_OLDER = 16
_REACH = 3 * READ
"""Less than is kept, so that what comes next does not push it out at once."""
_TICK_S = 0.5
_CHECK_S = 2.0  # two more seconds for what the check itself goes by; promised are five
_WAIT_S = 0.25
_PAUSE_S = 0.5
_TAKING_S = (0.002, 0.005, 0.01, 0.02, 0.03, 0.04)

_LOG = logging.getLogger("baas.realtime")

Authenticate = Callable[[str, Project | None], Awaitable[Principal]]


class Follower(Protocol):
    """A stream, as its hub knows it."""

    credential: str | None
    interest: frozenset[str]
    principal: Principal

    def wake(self) -> None: ...
    def arrived(self, batch: Batch) -> None:
        """Changes have been read."""

    def takes(self, pos: int) -> bool:
        """Whether it has yet to take what is before the position, and is not waiting for its client."""

    def look(self, now: float) -> None:
        """Called twice a second: what is due?"""

    def checked(self, at: float) -> None:
        """The subscriber may follow, as of this moment of the monotonic clock."""

    def renew(self, principal: Principal) -> None:
        """What the subscriber's credential says of him by now."""

    def end(self, error: BaasError) -> None:
        """The subscriber may follow no longer."""

    def drain(self) -> None: ...


class Hub:
    """Runs while somebody follows the project. `cursor` is behind the last change that was read."""

    def __init__(self, project: Project, feed: Feed, projects: Projects, catalog: Catalog, authenticate: Authenticate) -> None:
        self.project = project
        self.followers: set[Follower] = set()
        self.generation = 0
        """Counts what makes everything that was shown uncertain: other definitions, another time of the database."""
        self.definitions = ""
        self._feed, self._projects, self._catalog, self._authenticate = feed, projects, catalog, authenticate
        self._cursor: Cursor | None = None
        self._kept: deque[Batch] = deque()
        self._older: OrderedDict[int, asyncio.Task[Batch | None]] = OrderedDict()
        self._heading: asyncio.Task[Reach] | None = None
        self._reaching: asyncio.Task[None] | None = None
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    async def start(self) -> None:
        """Raises what the database raises."""
        self.definitions = await self._catalog.stamp(self.project)
        self._cursor = await self._feed.head(self.project)
        self._tasks = tuple(asyncio.create_task(one) for one in (self._follow(), self._watch_over(), self._check_over()))

    async def stop(self) -> None:
        for task in (*self._tasks, *self._older.values(), self._reaching, self._heading):
            if task is not None:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def cursor(self) -> Cursor:
        assert self._cursor is not None  # noqa: S101  it has been started
        return self._cursor

    async def head(self) -> Cursor:
        """Behind every change that was committed before this call; one look for all who ask at once."""
        return (await self._reach()).head

    async def place(self) -> Place:
        """The same as a place under the definitions of before it."""
        definitions = self.definitions
        return Place(await self.head(), definitions)

    async def _reach(self) -> Reach:
        running = self._heading
        if running is not None and not running.done():
            with contextlib.suppress(BaasError):
                await asyncio.shield(running)
        if self._heading is None or self._heading.done():
            self._heading = asyncio.create_task(self._feed.reach(self.project))
        return await asyncio.shield(self._heading)

    def held(self, pos: int) -> Batch | None:
        """The changes behind a position, when they are held."""
        if self._kept and self._kept[0].after <= pos < self.cursor.pos:
            found = None
            for batch in reversed(self._kept):  # most are near the end
                if batch.last <= pos:
                    break
                found = batch
            return found
        return None

    async def older(self, pos: int) -> Batch | None:
        """The same, read again where they are not held; None when there are none. Raises Gone."""
        if pos >= self.cursor.pos:
            return None
        await self._reach_back(pos)
        found = self.held(pos)
        if found is not None:
            return found
        task = self._older.get(pos)
        if task is None or task.done():
            task = self._older[pos] = asyncio.create_task(self._read_again(pos))
            while len(self._older) > _KEPT_OLDER:
                self._older.popitem(last=False)
        return await asyncio.shield(task)

    async def check(self, place: Cursor) -> None:
        """Raises Gone for a cursor that cannot be followed any more. No query where the changes behind it are held, and one for
        all who come at once where they are not.
        """
        if place.epoch == self.cursor.epoch and self._begins_at() <= place.pos <= self.cursor.pos:
            return
        reach = await self._reach()
        if not reach.holds(place):
            raise gone(reach.head)

    def behind(self, pos: int, interest: frozenset[str]) -> tuple[int, int]:
        """How many held changes, and bytes of them, a stream at this position has yet to take."""
        late = [batch for batch in self._kept if batch.last > pos and batch.collections & interest]
        return sum(len(batch.changes) for batch in late), sum(batch.size for batch in late)

    def _begins_at(self) -> int:
        """The first position behind which everything is held."""
        return self._kept[0].after if self._kept else self.cursor.pos

    async def _reach_back(self, pos: int) -> None:
        """Hold what was last before this hub began, once: after a restart everybody comes back from a place a little before."""
        begins = self._begins_at()
        if not begins - _REACH <= pos < begins:
            return
        task = self._reaching
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._reaching = asyncio.create_task(self._hold_before())
        await asyncio.shield(task)

    async def _hold_before(self) -> None:
        begins, epoch, found = self._begins_at(), self.cursor.epoch, deque[Batch]()
        after = max((await self._reach()).floor, begins - _REACH)
        while after < begins:
            changes = await self._feed.read(self.project, Cursor(epoch, after), min(READ, begins - after))
            if not changes or changes[-1].pos > begins:
                return
            found.append(Batch(after, changes))
            after = changes[-1].pos
            while sum(one.size for one in found) > _KEPT_BYTES:
                found.popleft()
        if begins == self._begins_at() and epoch == self.cursor.epoch:
            self._kept.extendleft(reversed(found))

    async def _read_again(self, pos: int) -> Batch | None:
        changes = await self._feed.read(self.project, Cursor(self.cursor.epoch, pos), READ)
        return Batch(pos, changes) if changes else None

    async def _follow(self) -> None:
        async with self._feed.watching(self.project) as waiter:
            while True:
                try:
                    await self._read_on(waiter)
                except BaasError:
                    await asyncio.sleep(_PAUSE_S)  # the database is away, or the project is gone, which the other task finds
                except Exception:
                    _LOG.exception("The changes of project %s could not be read; again.", self.project.name)
                    await asyncio.sleep(_PAUSE_S)

    async def _read_on(self, waiter: Waiter) -> None:
        try:
            changes = await self._feed.read(self.project, self.cursor, READ)
        except Gone:
            await self._begin_anew()
            return
        if changes:
            self._keep(Batch(self.cursor.pos, changes))
            await self._let_them_take()
        if len(changes) < READ:
            await waiter.wait(_WAIT_S)

    async def _let_them_take(self) -> None:
        """Wait a little until most have taken what was read. What is written meanwhile is read and judged together, so that many
        followers cost less the more there is to tell them; nobody waits for a client that is slow.
        """
        for pause_s in _TAKING_S:
            if 10 * sum(one.takes(self.cursor.pos) for one in self.followers) <= len(self.followers):
                return
            await asyncio.sleep(pause_s)

    def _keep(self, batch: Batch) -> None:
        self._kept.append(batch)
        self._cursor = Cursor(self.cursor.epoch, batch.last)
        while len(self._kept) > 1 and (
            sum(len(one.changes) for one in self._kept) > _KEPT_CHANGES or sum(one.size for one in self._kept) > _KEPT_BYTES
        ):
            self._kept.popleft()
        for follower in self.followers:
            follower.arrived(batch)

    async def _begin_anew(self) -> None:
        """The log has another beginning: everybody is shown everything again."""
        cursor = await self._feed.head(self.project)
        self.definitions = await self._catalog.stamp(self.project)
        self._cursor = cursor
        self._kept.clear()
        self._older.clear()
        self._unsettle()

    def _unsettle(self) -> None:
        self.generation += 1
        for follower in self.followers:
            follower.wake()

    async def _watch_over(self) -> None:
        """Asks nobody anything, so that it goes on while the database is silent."""
        while True:
            await asyncio.sleep(_TICK_S)
            now = time.monotonic()
            for follower in tuple(self.followers):
                with going_on(_LOG, "A look at a stream failed."):
                    follower.look(now)

    async def _check_over(self) -> None:
        """Whatever fails must not end this task: the promise of five seconds hangs on it. Who could not be checked is not taken
        for one who may, see `Stream.trusted`.
        """
        checked = time.monotonic()
        while True:
            await asyncio.sleep(_TICK_S)
            with going_on(_LOG, "A look at the definitions failed."):
                await self.look_at_definitions()
            if (now := time.monotonic()) - checked >= _CHECK_S:
                checked = now
                with going_on(_LOG, "A check of who may follow failed."):
                    await self._check_access(now)

    async def look_at_definitions(self) -> None:
        """Let everybody begin anew when rules or fields are other ones by now."""
        found = await self._catalog.stamp(self.project)
        if found != self.definitions:
            self.definitions = found
            self._unsettle()

    async def _check_access(self, now: float) -> None:
        """End the streams of those who may not follow any longer, and judge by what is said of the others now. Each is judged
        by himself.
        """
        project = await self._projects.by_id(self.project.id)
        if project is None:
            for follower in tuple(self.followers):
                follower.end(NotFound("The project is gone.", code="no_project"))
            return
        self.project = project
        found: dict[str, Principal | Unauthenticated | None] = {}
        for follower in tuple(self.followers):
            credential = follower.credential
            if credential is None:
                follower.checked(now)
                continue
            if credential not in found:
                found[credential] = await self._who(credential)
            who = found[credential]
            if follower.credential != credential:
                continue  # renewed meanwhile; the next look is at the other one
            if isinstance(who, Unauthenticated):
                follower.end(who)
            elif who is not None:
                follower.renew(who)
                follower.checked(now)

    async def _who(self, credential: str) -> Principal | Unauthenticated | None:
        """Whose it is as of now; None when that cannot be found out."""
        try:
            with going_on(_LOG, "A credential could not be checked.", but=Unauthenticated):
                return await self._authenticate(credential, self.project)
        except Unauthenticated as error:
            return error
        return None
