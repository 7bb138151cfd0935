"""Hints between servers that lose nothing when they are lost: notifications on one connection of their own, a few a second.

A notification takes a global lock at commit, so it never stands in a transaction that matters, and many of one kind are one.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import asyncpg

from baas.base.tasks import end
from baas.infra.db.connect import connect

_CHANNEL = "baas_signals"
_EVERY_S = 0.02
_RETRY_S = 0.5
_ANSWER_S = 2.0
_IDLE_S = 30.0
_MOST = 200  # texts of one round; PostgreSQL takes 8,000 bytes a notification, and more than this nobody needs within 20 ms


class Signals:
    """Sends short texts to every server of this database, the own one included, and calls back for each that arrives.

    The same text within 20 ms is sent once. While the connection is away nothing is sent or heard.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._callbacks: list[Callable[[str], None]] = []
        self._waiting: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def on_signal(self, callback: Callable[[str], None]) -> None:
        """`callback(text)` must be quick and must not raise."""
        self._callbacks.append(callback)

    def send(self, text: str) -> None:
        """Send it soon; at once for the caller."""
        if len(self._waiting) < _MOST:
            self._waiting[text] = None
            self._wake.set()

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        await end(self._task)

    async def _run(self) -> None:
        while True:
            # Whatever it was: a server that hears no hints is late by a poll, one that stopped for good always is.
            with contextlib.suppress(Exception):
                async with self._connected() as connection:
                    while not connection.is_closed():
                        await self._send_on(connection)
            await asyncio.sleep(_RETRY_S)

    @contextlib.asynccontextmanager
    async def _connected(self) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
        connection = await connect(
            self._url, timeout=5, statement_cache_size=0, server_settings={"application_name": "baas signals"}
        )
        try:
            await connection.add_listener(_CHANNEL, self._heard)
            connection.add_termination_listener(lambda _: self._wake.set())
            yield connection
        finally:
            with contextlib.suppress(Exception):
                await connection.close(timeout=1)

    async def _send_on(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        try:
            async with asyncio.timeout(_IDLE_S):
                await self._wake.wait()
        except TimeoutError:
            await connection.execute("select 1", timeout=_ANSWER_S)  # a connection that died in silence is found out here
            return
        self._wake.clear()
        texts, self._waiting = list(self._waiting), {}
        if texts:
            query = "select pg_notify($1, x) from unnest($2::text[]) x"
            await connection.execute(query, _CHANNEL, texts, timeout=_ANSWER_S)
        await asyncio.sleep(_EVERY_S)

    def _heard(self, *arrived: object) -> None:
        for callback in self._callbacks:
            callback(str(arrived[-1]))
