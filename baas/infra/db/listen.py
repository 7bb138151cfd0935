"""How servers tell each other that something cached has changed: a row, a notification, and a poll as the net below it."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from baas.base.errors import BaasError
from baas.base.tasks import end
from baas.infra.db.connect import connect
from baas.infra.db.errors import ConnectionLost
from baas.infra.db.pool import Database, Queries, Transaction
from baas.infra.db.sql import sql

_CHANNEL = "baas_invalidations"
_POLL_S = 1.0
_RETRY_S = 0.5
_ANSWER_S = 2.0
_SWEEP_ROUNDS = 300
# A row becomes visible at commit, so a poll looks back further than the longest transaction that writes one.
_LOOK_BACK = timedelta(seconds=40)
_KEEP = timedelta(minutes=10)
T = TypeVar("T")


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
        self._task: asyncio.Task[None] | None = None
        self._listens = False
        self._asked: list[tuple[Callable[[Queries], Awaitable[Any]], asyncio.Future[Any]]] = []

    def on(self, kind: str, forget: Callable[[str], None]) -> None:
        """Register before `start`; `forget(key)` must be quick and must not raise."""
        self._callbacks.setdefault(kind, []).append(forget)

    async def start(self) -> None:
        """Read from now on; what came before this server started it has never cached."""
        for row in await self._db.fetch(
            sql("select seq from baas.invalidations where at > clock_timestamp() - {}::interval", _LOOK_BACK)
        ):
            self._seen[row["seq"]] = None
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        await end(self._task)

    async def catch_up(self) -> None:
        """Read the announcements now; a server does so after its own change, so that its next request sees it.

        Within a joined transaction that is when it has committed: read before, an announcement would never be seen again.
        """
        await self._db.when_committed(partial(self._read, self._db))

    async def ask(self, question: Callable[[Queries], Awaitable[T]]) -> T:
        """The answer to a question on the connection that listens, for who must not wait for one of the pool; the pool must do
        while there is no such connection. Raises ConnectionLost.
        """
        if not self._listens:
            return await question(self._db)
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._asked.append((question, answer))
        self._wake.set()
        return await answer

    async def _read(self, db: Queries) -> None:
        rows = await db.fetch(
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

    async def _follow(self) -> None:
        """Read at every notification and every second, on a connection outside the pool: however long requests wait for one,
        what this server holds is not older than promised. While there is no such connection, the pool must do.
        """
        while True:
            # Whatever it was: a server that stopped listening would apply old rules for ever, and nobody would see it.
            with contextlib.suppress(Exception):
                async with self._listening() as connection:
                    await self._read_on(connection)
            # While the database is away nothing can be announced; the look-back covers what is announced when it returns.
            with contextlib.suppress(BaasError):
                await self.catch_up()
            await asyncio.sleep(_RETRY_S)

    @contextlib.asynccontextmanager
    async def _listening(self) -> AsyncIterator[Transaction]:
        connection = await connect(self._url, timeout=5, server_settings={"application_name": "baas listen"})
        try:
            await connection.add_listener(_CHANNEL, lambda *_: self._wake.set())
            connection.add_termination_listener(lambda _: self._wake.set())
            self._listens = True
            yield Transaction(connection)
        finally:
            self._listens = False
            for _, answer in self._asked:
                if not answer.done():
                    answer.set_exception(ConnectionLost("The database is not reachable."))
            self._asked.clear()
            with contextlib.suppress(Exception):
                await connection.close(timeout=1)

    async def _read_on(self, connection: Transaction) -> None:
        for rounds in itertools.count(1):
            async with asyncio.timeout(_ANSWER_S):
                await self._read(connection)
                await self._answer_on(connection)
                if rounds % _SWEEP_ROUNDS == 0:
                    await connection.execute(
                        sql("delete from baas.invalidations where at < clock_timestamp() - {}::interval", _KEEP)
                    )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S):
                    await self._wake.wait()
            self._wake.clear()

    async def _answer_on(self, connection: Transaction) -> None:
        while self._asked:
            question, answer = self._asked[0]  # it stays until it is answered: whatever ends this tells all that are left
            try:
                found = await question(connection)
            except BaasError as error:
                if not answer.done():
                    answer.set_exception(error)
            else:
                if not answer.done():
                    answer.set_result(found)
            del self._asked[0]
