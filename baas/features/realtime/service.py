"""Realtime: who may follow what, how many at once, and where each begins."""

import asyncio
import hashlib
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from baas.base.clock import Clock
from baas.base.errors import BaasError, Gone, TooManyRequests, Unauthenticated
from baas.base.principal import ANONYMOUS, Principal
from baas.base.project import Project
from baas.base.settings import Settings
from baas.engines.changes.reader import Feed
from baas.engines.query.compile import Compiler
from baas.engines.schema.catalog import Catalog
from baas.features.auth.service import Auth
from baas.features.projects.service import Projects
from baas.features.realtime import store
from baas.features.realtime.hub import Authenticate, Hub
from baas.features.realtime.model import TICKET_S, Place, Subscription
from baas.features.realtime.stream import Stream
from baas.features.realtime.together import Together
from baas.features.realtime.watch import Parts
from baas.features.records.service import Records
from baas.infra.crypto.secretbox import SecretBox
from baas.infra.db.pool import Database
from baas.infra.observe.lifecycle import Lifecycle

_AT_ONCE = 16
"""Streams that begin at the same time: after a restart all come back together."""
_LINGER_S = 5.0
_PURPOSE = "realtime ticket"


class Realtime:
    """Opens streams. `authenticate` tells whose a credential is, again and again while a stream lasts."""

    def __init__(  # noqa: PLR0917  the parts of the server, made once
        self,
        db: Database,
        feed: Feed,
        projects: Projects,
        catalog: Catalog,
        compiler: Compiler,
        auth: Auth,
        records: Records,
        box: SecretBox,
        clock: Clock,
        settings: Settings,
        authenticate: Authenticate,
        lifecycle: Lifecycle,
    ) -> None:
        self._db, self._feed, self._projects, self._catalog = db, feed, projects, catalog
        self._auth, self._box, self._authenticate = auth, box, authenticate
        self._parts = Parts(db, compiler, records.through("realtime"), clock, Together(db))
        self._draining = lifecycle.draining
        self._per_project, self._per_user = settings.realtime_per_project, settings.realtime_per_user
        self._hubs: dict[str, Hub] = {}
        self._starting: dict[str, asyncio.Task[Hub]] = {}
        self._stopping: dict[str, asyncio.TimerHandle] = {}
        self._count: Counter[str] = Counter()
        self._beginning = asyncio.Semaphore(_AT_ONCE)
        self._closing: set[asyncio.Task[None]] = set()
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._watching = asyncio.create_task(self._drain())

    async def stop(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
        for timer in self._stopping.values():
            timer.cancel()
        hubs = list(self._hubs.values())
        self._hubs.clear()
        await asyncio.gather(*(hub.stop() for hub in hubs), *self._closing, return_exceptions=True)

    @property
    def connections(self) -> int:
        """How many clients follow anything on this server."""
        return sum(len(hub.followers) for hub in self._hubs.values())

    async def principal(self, credential: str, project: Project) -> Principal:
        """Whose credential it is. Raises Unauthenticated."""
        return await self._authenticate(credential, project)

    # Tickets.

    async def ticket(self, project: Project, credential: str) -> str:
        """A word that stands for the credential once, within a minute."""
        made = f"tk_{secrets.token_urlsafe(32)}"
        sealed = self._box.seal(credential.encode(), purpose=f"{_PURPOSE} {project.key}")
        await store.keep_ticket(self._db, project.schema, _digest(made), sealed, timedelta(seconds=TICKET_S))
        return made

    async def redeem(self, project: Project, ticket: str) -> tuple[Principal, str]:
        """Whose ticket it is, and the credential it stood for. Raises Unauthenticated (`bad_ticket`, `bad_token`)."""
        sealed = await store.use_ticket(self._db, project.schema, _digest(ticket))
        if sealed is None:
            raise Unauthenticated("The ticket is unknown, used, or older than a minute; ask for another.", code="bad_ticket")
        credential = self._box.open(sealed, purpose=f"{_PURPOSE} {project.key}").decode()
        return await self._authenticate(credential, project), credential

    # Streams.

    @asynccontextmanager
    async def open(
        self,
        project: Project,
        principal: Principal,
        credential: str | None,
        subscriptions: Sequence[Subscription],
        since: str | None,
    ) -> AsyncIterator[Stream]:
        """A stream of what the subscriptions show, from `since` on or from now.

        Raises TooManyRequests (`too_many_connections`), Gone (`feed_gone`) with a fresh cursor, BadRequest (`bad_cursor`), and
        what the lists would be refused with, each with the `subscription` that it is about.
        """
        place = None if since is None else Place.parse(since)
        with _Admitted(self._count, self._keys(project, principal)):
            hub = await self._hub(project)
            stream = None
            try:
                async with self._beginning:
                    stream = await self._begin(hub, principal, credential, subscriptions, place)
                hub.followers.add(stream)
                if self._draining.is_set():
                    stream.drain()
                yield stream
            finally:
                if stream is not None:
                    hub.followers.discard(stream)
                self._leave(hub)

    async def _begin(
        self, hub: Hub, principal: Principal, credential: str | None, subscriptions: Sequence[Subscription], place: Place | None
    ) -> Stream:
        if place is not None:
            try:
                await hub.check(place.cursor)
            except Gone as error:
                error.facts["cursor"] = str(await hub.place())
                raise
            if place.owed and subscriptions and all(one.initial for one in subscriptions):
                place = None  # all begin anew, with what is there now
        stream = Stream(
            hub, self._parts, self._auth, principal, credential, place or await hub.place(), resumed=place is not None
        )
        for one in subscriptions:
            try:
                await stream.add(one)
            except BaasError as error:
                raise one.blamed(error) from None
        return stream

    def _keys(self, project: Project, principal: Principal) -> dict[str, int]:
        keys = {project.key: self._per_project}
        if principal != ANONYMOUS:
            keys[f"{project.key} {principal.kind} {principal.id}"] = self._per_user
        return keys

    async def _hub(self, project: Project) -> Hub:
        timer = self._stopping.pop(project.key, None)
        if timer is not None:
            timer.cancel()
        hub = self._hubs.get(project.key)
        if hub is not None:
            return hub
        task = self._starting.get(project.key)
        if task is None:
            task = self._starting[project.key] = asyncio.create_task(self._start_hub(project))
            task.add_done_callback(lambda _: self._starting.pop(project.key, None))
        return await asyncio.shield(task)

    async def _start_hub(self, project: Project) -> Hub:
        hub = Hub(project, self._feed, self._projects, self._catalog, self._authenticate)
        await hub.start()
        self._hubs[project.key] = hub
        return hub

    def _leave(self, hub: Hub) -> None:
        """The last one out: the hub goes a little later, because who was cut off comes back soon."""
        key = hub.project.key
        if self._count[key] <= 1 and self._hubs.get(key) is hub and key not in self._stopping:
            self._stopping[key] = asyncio.get_running_loop().call_later(_LINGER_S, self._retire, key)

    def _retire(self, key: str) -> None:
        self._stopping.pop(key, None)
        hub = self._hubs.get(key)
        if hub is None or self._count[key]:
            return
        del self._hubs[key]
        task = asyncio.get_running_loop().create_task(hub.stop())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _drain(self) -> None:
        await self._draining.wait()
        for hub in self._hubs.values():
            for follower in hub.followers:
                follower.drain()


class _Admitted:
    """One more of each key, and one less afterwards. Raises TooManyRequests where that would be too many."""

    def __init__(self, count: "Counter[str]", most: dict[str, int]) -> None:
        self._count, self._most = count, most

    def __enter__(self) -> None:
        for key, most in self._most.items():
            if self._count[key] >= most:
                what = "account" if " " in key else "project"
                raise TooManyRequests(
                    f"At most {most} connections of one {what} may follow changes on this server.",
                    code="too_many_connections",
                    retry_after_s=5,
                )
        self._count.update(self._most.keys())

    def __exit__(self, *_: object) -> None:
        for key in self._most:
            self._count[key] -= 1
            if not self._count[key]:
                del self._count[key]


def _digest(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode("utf-8", "surrogatepass")).digest()
