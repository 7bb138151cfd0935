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
# Each costs PostgreSQL memory: 50 KiB for a plain list of an eight-column table (measured on 15). Filters are made by callers,
# so a full cache is to be expected: 13 MiB a connection, 130 MiB for ten. The driver drops the one used longest ago.
_KEPT_STATEMENTS = 256
# Given at connection, so that no statement of ours has to set session state and nothing has to be reset at return: that would
# cost a round trip a request. A test holds that a returned connection carries nothing.
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

    async def _run(self, method: Callable[..., Awaitable[T]], query: Sql | Statement) -> T:
        statement = query.render() if isinstance(query, Sql) else query
        with _translated():
            return await method(statement.text, *statement.args)


class Database:
    """A bounded pool. Every wait has a limit: two seconds for a connection, the session's own for a statement.

    Raises Unavailable when no connection is free in time, ConnectionLost when the server is gone, else what `errors.py` lists.

    The driver's own pool spends three times as long on lending a connection as the driver on a statement: a task to shield the
    return, another to limit the wait, a proxy. Lending is a list and a count here, and a connection whose borrower was
    cancelled is not lent again but closed.
    """

    def __init__(self, url: str, *, size: int, wait_s: float) -> None:
        self._url = url
        self._wait_s = wait_s
        self._free = asyncio.Semaphore(size)
        self._idle: list[Any] = []
        self._open: set[Any] = set()

    @classmethod
    async def connect(cls, url: str, *, size: int = 10, wait_s: float = 2.0) -> "Database":
        """A pool of at most `size` connections, one of them opened now; raises ConnectionLost when there is no server."""
        database = cls(url, size=size, wait_s=wait_s)
        async with database._acquire():
            return database

    async def close(self) -> None:
        """Close every connection; a statement still at work gets five seconds together with its connection."""
        self._idle.clear()
        for connection in tuple(self._open):
            try:
                await connection.close(timeout=5)
            except (*LOST, TimeoutError):
                connection.terminate()
        self._open.clear()

    async def fetch(self, query: Sql | Statement) -> list[Row]:
        return await self._once(Transaction.fetch, query)

    async def fetch_row(self, query: Sql | Statement) -> Row | None:
        return await self._once(Transaction.fetch_row, query)

    async def fetch_value(self, query: Sql | Statement) -> Any:
        return await self._once(Transaction.fetch_value, query)

    async def execute(self, query: Sql | Statement) -> int:
        return await self._once(Transaction.execute, query)

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

    async def _once(self, ask: Callable[[Transaction, Sql | Statement], Awaitable[T]], query: Sql | Statement) -> T:
        """One statement of its own, which is its own transaction."""
        connection = await self._borrow()
        try:
            return await ask(Transaction(connection), query)
        except asyncio.CancelledError:
            # The statement may still run; PostgreSQL ends it at the statement limit at the latest.
            connection.terminate()
            raise
        finally:
            self._give_back(connection)

    @asynccontextmanager
    async def _acquire(self) -> AsyncIterator[Any]:
        connection = await self._borrow()
        try:
            yield connection
        except asyncio.CancelledError:
            connection.terminate()
            raise
        finally:
            self._give_back(connection)

    async def _borrow(self) -> Any:
        if self._free.locked():
            await self._wait()
        else:
            await self._free.acquire()
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            self._open.discard(connection)
        try:
            return await self._connect()
        except BaseException:
            self._free.release()
            raise

    def _give_back(self, connection: Any) -> None:
        if connection.is_closed():
            self._open.discard(connection)
        else:
            self._idle.append(connection)
        self._free.release()

    async def _connect(self) -> Any:
        with _translated():
            connection = await asyncpg.connect(
                self._url,
                timeout=_CONNECT_TIMEOUT_S,
                statement_cache_size=_KEPT_STATEMENTS,
                max_cached_statement_lifetime=0,
                max_cacheable_statement_size=64 * 1024,
                server_settings=_SESSION,
            )
            await _prepare(connection)
        self._open.add(connection)
        return connection

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


async def _prepare(connection: Any) -> None:
    """JSON travels as text in both directions: what is only forwarded is never decoded."""
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, schema="pg_catalog", encoder=str, decoder=str, format="text")


def _touched(tag: str) -> int:
    last = tag.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0
