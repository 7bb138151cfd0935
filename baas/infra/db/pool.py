"""The one door to PostgreSQL: fetch, transaction, time limits. Only this folder imports asyncpg."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol, TypeVar

import asyncpg

from baas.base.errors import Unavailable
from baas.infra.db.errors import LOST, translate
from baas.infra.db.sql import Sql, Statement

Row = Mapping[str, Any]
"""One row, by column name; the driver gives more, nobody needs it."""
T = TypeVar("T")

_CONNECT_TIMEOUT_S = 5
# Given at connection, so that no statement of ours has to set session state and a reset at release is not needed.
_SESSION = {
    "timezone": "UTC",
    "statement_timeout": "5000",
    "lock_timeout": "3000",
    "idle_in_transaction_session_timeout": "10000",
    "default_transaction_isolation": "read committed",
    "application_name": "baas",
    "jit": "off",
}


class Queries(Protocol):
    """What both the database and an open transaction can be asked."""

    async def fetch(self, query: Sql | Statement) -> list[Row]:
        """All rows."""

    async def fetch_row(self, query: Sql | Statement) -> Row | None:
        """The first row, or None."""

    async def fetch_value(self, query: Sql | Statement) -> Any:
        """The first column of the first row, or None."""

    async def execute(self, query: Sql | Statement) -> int:
        """Run a statement for its effect; the number of rows it touched."""


class Transaction:
    """An open transaction; commits when its block ends, rolls back when the block raises."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def fetch(self, query: Sql | Statement) -> list[Row]:
        return await self._run(self._connection.fetch, query)

    async def fetch_row(self, query: Sql | Statement) -> Row | None:
        return await self._run(self._connection.fetchrow, query)

    async def fetch_value(self, query: Sql | Statement) -> Any:
        return await self._run(self._connection.fetchval, query)

    async def execute(self, query: Sql | Statement) -> int:
        return _touched(await self._run(self._connection.execute, query))

    async def execute_script(self, text: str) -> None:
        """Run several statements of our own migrations, which take no parameters."""
        with _translated():
            await self._connection.execute(text)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A block that can fail alone: what it did is undone, the transaction goes on."""
        async with self._connection.transaction():
            yield

    async def _run(self, method: Callable[..., Awaitable[T]], query: Sql | Statement) -> T:
        statement = query.render() if isinstance(query, Sql) else query
        with _translated():
            return await method(statement.text, *statement.args)


class Database:
    """A bounded pool. Every wait has a limit: two seconds for a connection, the session's own for a statement.

    Raises Unavailable when no connection is free in time, ConnectionLost when the server is gone, else what `errors.py` lists.
    """

    def __init__(self, pool: Any, *, size: int, wait_s: float) -> None:
        self._pool = pool
        self._free = asyncio.Semaphore(size)
        self._wait_s = wait_s

    @classmethod
    async def connect(cls, url: str, *, size: int = 10, wait_s: float = 2.0) -> "Database":
        """Open a pool of at most `size` connections; raises ConnectionLost when the server cannot be reached."""
        with _translated():
            pool = await asyncpg.create_pool(
                url,
                min_size=1,
                max_size=size,
                reset=_keep,
                init=_prepare,
                timeout=_CONNECT_TIMEOUT_S,
                command_timeout=None,
                max_inactive_connection_lifetime=300,
                statement_cache_size=1024,
                max_cached_statement_lifetime=0,
                max_cacheable_statement_size=64 * 1024,
                server_settings=_SESSION,
            )
        return cls(pool, size=size, wait_s=wait_s)

    async def close(self) -> None:
        """Wait up to five seconds for work in progress, then cut it."""
        try:
            await asyncio.wait_for(self._pool.close(), 5)
        except TimeoutError:
            self._pool.terminate()

    async def fetch(self, query: Sql | Statement) -> list[Row]:
        async with self._acquire() as connection:
            return await Transaction(connection).fetch(query)

    async def fetch_row(self, query: Sql | Statement) -> Row | None:
        async with self._acquire() as connection:
            return await Transaction(connection).fetch_row(query)

    async def fetch_value(self, query: Sql | Statement) -> Any:
        async with self._acquire() as connection:
            return await Transaction(connection).fetch_value(query)

    async def execute(self, query: Sql | Statement) -> int:
        async with self._acquire() as connection:
            return await Transaction(connection).execute(query)

    @asynccontextmanager
    async def transaction(self, *, statement_timeout_s: float | None = None) -> AsyncIterator[Transaction]:
        """One transaction on one connection; a longer statement limit may be asked for (schema changes)."""
        async with self._acquire() as connection:
            block = connection.transaction()
            with _translated():
                await block.start()
            try:
                if statement_timeout_s is not None:
                    limit_ms = str(int(statement_timeout_s * 1000))
                    await connection.execute("select set_config('statement_timeout', $1, true)", limit_ms)
                yield Transaction(connection)
            except BaseException:
                with suppress(*LOST):
                    await block.rollback()
                raise
            with _translated():
                await block.commit()

    @asynccontextmanager
    async def _acquire(self) -> AsyncIterator[Any]:
        """A connection of our own count: the driver's own waiting with a limit would cost a task for every request."""
        if self._free.locked():
            await self._wait()
        else:
            await self._free.acquire()
        try:
            with _translated():
                connection = await self._pool.acquire()
            try:
                yield connection
            finally:
                await self._pool.release(connection)
        finally:
            self._free.release()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._wait_s):
                await self._free.acquire()
        except TimeoutError:
            raise Unavailable("All database connections are busy.", code="busy") from None


class _translated:  # noqa: N801  reads as a word at its use
    """Driver errors leave the block as ours; anything else passes untouched."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        ours = translate(error)
        if ours is not None and ours is not error:
            raise ours from error


async def _keep(_connection: Any) -> None:
    """No reset at release: nothing of ours sets session state (a test holds that), and it would cost a round trip a request."""


async def _prepare(connection: Any) -> None:
    """JSON travels as text in both directions: what is only forwarded is never decoded."""
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, schema="pg_catalog", encoder=str, decoder=str, format="text")


def _touched(tag: str) -> int:
    last = tag.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0
