"""How servers tell each other that something cached has changed: a row, a notification, and a poll as the net below it."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import timedelta

import asyncpg

from baas.base.errors import BaasError
from baas.infra.db.pool import Database, Queries
from baas.infra.db.sql import sql

_CHANNEL = "baas_invalidations"
_POLL_S = 1.0
# A row becomes visible at commit, so a poll looks back further than the longest transaction that writes one.
_LOOK_BACK = timedelta(seconds=40)
_KEEP = timedelta(minutes=10)


async def announce(tx: Queries, kind: str, key: str) -> None:
    """Tell every server, when this transaction commits, to forget what it holds under `(kind, key)`. For rare changes only:
    a notification takes a global lock at commit.
    """
    await tx.execute(sql("insert into baas.invalidations (kind, key) values ({}, {})", kind, key))
    await tx.execute(sql("select pg_notify('baas_invalidations', '')"))


class Invalidations:
    """Calls back for every announcement, its own server's included, within two seconds and at least once."""

    def __init__(self, db: Database, url: str) -> None:
        self._db = db
        self._url = url
        self._callbacks: dict[str, list[Callable[[str], None]]] = {}
        self._seen: dict[int, None] = {}
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def on(self, kind: str, forget: Callable[[str], None]) -> None:
        """Register before `start`; `forget(key)` must be quick and must not raise."""
        self._callbacks.setdefault(kind, []).append(forget)

    async def start(self) -> None:
        """Read from now on; what came before this server started it has never cached."""
        for row in await self._db.fetch(
            sql("select seq from baas.invalidations where at > clock_timestamp() - {}::interval", _LOOK_BACK)
        ):
            self._seen[row["seq"]] = None
        self._tasks = [asyncio.create_task(self._poll()), asyncio.create_task(self._listen())]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def catch_up(self) -> None:
        """Read the announcements now; a server does so after its own change, so that its next request sees it."""
        rows = await self._db.fetch(
            sql(
                "select seq, kind, key from baas.invalidations where at > clock_timestamp() - {}::interval order by seq",
                _LOOK_BACK,
            )
        )
        for row in rows:
            if row["seq"] not in self._seen:
                self._seen[row["seq"]] = None
                for forget in self._callbacks.get(row["kind"], ()):
                    forget(row["key"])
        while len(self._seen) > len(rows) + 1000:
            del self._seen[next(iter(self._seen))]

    async def _poll(self) -> None:
        rounds = 0
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), _POLL_S)
            self._wake.clear()
            # While the database is away nothing can be announced; the look-back covers what is announced when it returns.
            with contextlib.suppress(BaasError):
                await self.catch_up()
                rounds += 1
                if rounds % 300 == 0:
                    await self._db.execute(
                        sql("delete from baas.invalidations where at < clock_timestamp() - {}::interval", _KEEP)
                    )

    async def _listen(self) -> None:
        while True:
            with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection = await asyncpg.connect(self._url, timeout=5, server_settings={"application_name": "baas listen"})
                try:
                    await connection.add_listener(_CHANNEL, lambda *_: self._wake.set())
                    while not connection.is_closed():  # noqa: ASYNC110  the driver offers no event for it
                        await asyncio.sleep(1)
                finally:
                    with contextlib.suppress(Exception):
                        await connection.close(timeout=1)
            await asyncio.sleep(1)
