"""The one door to PostgreSQL: fetch, transaction, time limits. Only this folder imports asyncpg."""

import asyncio
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, suppress
from math import inf
from time import perf_counter
from typing import Any, Protocol

import asyncpg

from baas.base.errors import BaasError
from baas.infra.db import restricted
from baas.infra.db.connect import connect
from baas.infra.db.errors import LOST, ConnectionLost, StatementTimedOut, raise_ours
from baas.infra.db.joined import Begin, Joined, Then, begin_here, delayed
from baas.infra.db.lending import Lending
from baas.infra.db.pipeline.link import Spilled
from baas.infra.db.pipeline.pipeline import LIMIT_S, LOCK_LIMIT_S, Pipeline
from baas.infra.db.plans import generic_plan
from baas.infra.db.restricted import refuse_written
from baas.infra.db.sql import Sql, Statement
from baas.infra.db.streaming import TextRows, text_rows
from baas.infra.observe.timing import TIMINGS

Row = Mapping[str, Any]
"""One row, by column name; the driver gives more, nobody needs it."""
Ask = Callable[..., Awaitable[Any]]
"""A method of the driver's connection that takes the text of a statement and its values."""
_FETCH: Ask = asyncpg.Connection.fetch
_FETCH_ROW: Ask = asyncpg.Connection.fetchrow
_FETCH_VALUE: Ask = asyncpg.Connection.fetchval
_EXECUTE: Ask = asyncpg.Connection.execute

Slow = Callable[[Statement, float], None]
"""Told of a statement and the seconds it took."""
STATEMENT_S = 5.0
_SILENT_S = 2.0  # beyond the limit at which PostgreSQL itself ends a statement: who says nothing then is not there
_CONNECT_TIMEOUT_S = 5
# Each costs PostgreSQL memory: 50 KiB for a plain list of an eight-column table (measured on 15). Filters are made by callers,
# so a full cache is to be expected: 13 MiB a connection, 130 MiB for ten. The driver drops the one used longest ago.
_KEPT_STATEMENTS = 256
# Given at connection, so that no statement of ours has to set session state and nothing has to be reset at return: that would
# cost a round trip a request. A test holds that a returned connection carries nothing.
_SESSION = {
    "timezone": "UTC",
    "lock_timeout": "3000",
    "idle_in_transaction_session_timeout": "10000",
    "default_transaction_isolation": "read committed",
    "application_name": "baas",
    "jit": "off",
    # Requests are many and small: workers for one of them start in milliseconds and take the processors of the others.
    "max_parallel_workers_per_gather": "0",
    # Of extensions, and without effect where they are not: a word with one letter wrong is still like itself, and an index of
    # vectors goes on looking, in order, until a rule has let enough of them through.
    "pg_trgm.strict_word_similarity_threshold": "0.4",
    "hnsw.iterative_scan": "strict_order",
    "hnsw.ef_search": "100",
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
        rows: list[Row] = await self._run(_FETCH, query)
        return rows

    async def fetch_row(self, query: Sql | Statement) -> Row | None:
        row: Row | None = await self._run(_FETCH_ROW, query)
        return row

    async def fetch_value(self, query: Sql | Statement) -> Any:
        return await self._run(_FETCH_VALUE, query)

    async def execute(self, query: Sql | Statement) -> int:
        return _touched(await self._run(_EXECUTE, query))

    async def execute_script(self, text: str) -> None:
        """Run several statements of our own migrations, which take no parameters."""
        with _translated():
            await self._connection.execute(text)

    async def execute_written(self, query: Sql) -> None:
        """Run one statement that holds a person's SQL. The driver prepares it, and PostgreSQL prepares no second statement
        behind a semicolon. Raises SqlRefused.
        """
        statement = query.render()
        try:
            await self._connection.fetch(statement.text)
        except asyncpg.PostgresError as error:
            refuse_written(error)
            raise

    async def _run(self, ask: Ask, query: Sql | Statement) -> Any:
        statement = query.render() if isinstance(query, Sql) else query
        if statement.role is not None:
            return await restricted.ask_inside(self._connection, ask, statement)
        with _translated():
            return await ask(self._connection, statement.text, *statement.args)


class Database:
    """A bounded pool. Every wait has a limit: two seconds for a connection, the session's own for a statement.

    Raises Unavailable when no connection is free in time, ConnectionLost when the server is gone, else what `errors.py` lists.

    The driver's own pool spends three times as long on lending a connection as the driver on a statement: a task to shield the
    return, another to limit the wait, a proxy. Lending is a list and a count here (`lending.py`), and a connection whose
    borrower was cancelled is not lent again but closed.

    `pipelined`: statements marked `cheap` go to connections beside the pool, many at once on each (`pipeline/`).
    """

    def __init__(self, url: str, *, size: int, wait_s: float, limit_s: float = STATEMENT_S, pipelined: bool = False) -> None:
        self._url = url
        self._limit_s = limit_s
        self._slow_s = inf
        self._on_slow: Slow | None = None
        self._lending = Lending(self._connect, size=size, wait_s=wait_s)
        self._open: weakref.WeakSet[Any] = weakref.WeakSet()
        self._pipeline = Pipeline(self._connect_pipelined, wait_s=wait_s) if pipelined else None
        # A person's SQL may be slow: it never holds more than half of the connections.
        self._readers = restricted.Turns(max(1, size // 2), wait_s)

    @classmethod
    async def connect(
        cls, url: str, *, size: int = 10, wait_s: float = 2.0, limit_s: float = STATEMENT_S, pipelined: bool = False
    ) -> "Database":
        """A pool of at most `size` connections, one of them opened now; raises ConnectionLost when there is no server.

        `limit_s` ends every statement that takes longer.
        """
        database = cls(url, size=size, wait_s=wait_s, limit_s=limit_s, pipelined=pipelined)
        async with database._acquire():
            return database

    @property
    def pipeline(self) -> Pipeline | None:
        """The connections for cheap statements, for those who look after the server."""
        return self._pipeline

    async def close(self) -> None:
        """Close every connection; a statement still at work gets five seconds together with its connection."""
        if self._pipeline is not None:
            await self._pipeline.close()
        still_open = tuple(self._open)
        self._lending.close()
        for connection in still_open:
            try:
                await connection.close(timeout=5)
            except (*LOST, TimeoutError):
                connection.terminate()

    # Each is one statement of its own, which is its own transaction. They hand on the coroutine: every `async def` between a
    # request and the driver costs twice, when it is entered and when the answer comes.

    def fetch(self, query: Sql | Statement) -> Coroutine[Any, Any, list[Row]]:
        return self._once(_FETCH, query)

    def fetch_row(self, query: Sql | Statement, *, limit_s: float | None = None) -> Coroutine[Any, Any, Row | None]:
        """`limit_s`: raises StatementTimedOut after this time, where that is less than the session's own limit."""
        return self._once(_FETCH_ROW, query, limit_s)

    def fetch_value(self, query: Sql | Statement) -> Coroutine[Any, Any, Any]:
        return self._once(_FETCH_VALUE, query)

    async def execute(self, query: Sql | Statement) -> int:
        return _touched(await self._once(_EXECUTE, query))

    @asynccontextmanager
    async def transaction(self, *, statement_timeout_s: float | None = None) -> AsyncIterator[Transaction]:
        """One transaction on one connection; a longer statement limit may be asked for."""
        joined = Joined.here()
        async with self._acquire() if joined is None else joined.lent() as connection, _committed(connection):
            if statement_timeout_s is not None:
                limit_ms = str(int(statement_timeout_s * 1000))
                await connection.execute("select set_config('statement_timeout', $1, true)", limit_ms)
            yield Transaction(connection)

    @asynccontextmanager
    async def changing_schema(self, *, statement_timeout_s: float) -> AsyncIterator[Transaction]:
        """A transaction that makes tables or alters them. Its connection is closed soon after: PostgreSQL keeps what such a one
        saw of the catalogue, 20 MiB after a demo was made, as long as it lives.
        """
        async with self.transaction(statement_timeout_s=statement_timeout_s) as tx:
            self._lending.retire(tx._connection)
            yield tx

    @asynccontextmanager
    async def joined(self, *, in_parts: bool = True) -> AsyncIterator[tuple[Transaction, Joined]]:
        """Whatever this task asks of the database until the block ends is one transaction, transactions of its own included.

        The first of the two asks without a mark of its own: when that fails, so does the whole. Not `in_parts` nothing has one,
        which saves a round trip for each statement: what fails leaves the whole `broken`, to be done again in parts.
        """
        if (around := Joined.here()) is not None:
            async with self.transaction() as tx:
                yield tx, around
            return
        async with self._acquire() as connection:
            joined = Joined(connection, in_parts=in_parts)
            async with _committed(connection), joined.entered():
                yield Transaction(connection), joined
        for then in joined.afterwards:
            # Committed is committed: what goes wrong here is for the polls and the sweeps.
            with suppress(BaasError):
                await then()

    def delayed(self, begin: Begin) -> AbstractContextManager[None]:
        """Within the block `begin` is called where the room says so (`begin`), and not before."""
        return delayed(begin)

    async def begin(self) -> None:
        """Whatever this task asks from here on may be one transaction, if its caller wants one (`delayed`).

        For rooms that hash passwords or count attempts first: no connection is held while a password waits for a processor, and
        what was counted stays counted when the rest is undone.
        """
        await begin_here()

    async def when_committed(self, then: Then) -> None:
        """Do this once what the task has written is committed: now, or at the end of the transaction it is in (`joined`).

        For caches and for files: what they forget or lose may not depend on a transaction that is still undone.
        """
        if (joined := Joined.here()) is None:
            await then()
        else:
            joined.afterwards.append(then)

    @asynccontextmanager
    async def text_rows(self, query: Sql | Statement, *, total_s: float, idle_s: float) -> AsyncIterator[TextRows]:
        """The rows of a statement of one text column, in pieces and of one moment; the connection is held meanwhile."""
        statement = query.render() if isinstance(query, Sql) else query
        async with AsyncExitStack() as stack:
            if statement.role is not None:
                await stack.enter_async_context(self._readers.turn())
            connection = await stack.enter_async_context(self._acquire())
            with _translated() if statement.role is None else restricted.translated():
                yield await stack.enter_async_context(text_rows(connection, statement, total_s=total_s, idle_s=idle_s))

    async def plan(self, statement: Statement) -> str:
        """How PostgreSQL would go about the statement, whatever its values: EXPLAIN's JSON. It is not run."""
        async with self._acquire() as connection:
            with _translated():
                return await generic_plan(connection, statement)

    async def _once(self, ask: Ask, query: Sql | Statement, limit_s: float | None = None) -> Any:
        statement = query.render() if isinstance(query, Sql) else query
        if (joined := Joined.here()) is not None:
            started = perf_counter()
            try:
                return await joined.ask(ask, statement, limit_s)
            finally:
                self._took(statement, perf_counter() - started)
        if statement.role is not None:
            async with self._readers.turn(), self._acquire() as connection:
                started = perf_counter()
                try:
                    return await restricted.ask(connection, ask, statement, min(limit_s or self._limit_s, self._limit_s))
                finally:
                    self._took(statement, perf_counter() - started)
        if self._pipeline is not None and statement.cheap is not None and (limit_s is None or limit_s >= LIMIT_S):
            answer = self._pipeline.ask(statement)
            if answer is not None:
                try:
                    return await self._answered(ask, statement, answer)
                except Spilled:
                    self._pipeline.figures.spilled += 1
        connection = self._lending.try_take() or await self._lending.take()
        shorter = limit_s is not None and limit_s < self._limit_s
        patience_s = limit_s if shorter else self._limit_s + _SILENT_S
        started = perf_counter()
        try:
            return await ask(connection, statement.text, *statement.args, timeout=patience_s)
        except TimeoutError:
            if shorter:
                raise StatementTimedOut("The query took too long.") from None
            connection.terminate()
            raise ConnectionLost("The database does not answer.") from None
        except asyncio.CancelledError:
            # The statement may still run; PostgreSQL ends it at the statement limit at the latest.
            connection.terminate()
            raise
        except Exception as error:
            raise_ours(error)
            raise
        finally:
            self._lending.give_back(connection)
            self._took(statement, perf_counter() - started)

    async def _answered(self, ask: Ask, statement: Statement, answer: Awaitable[Sequence[Row]]) -> Any:
        started = perf_counter()
        try:
            rows = await answer
        except asyncpg.PostgresError as error:
            raise_ours(error)
            raise
        finally:
            self._took(statement, perf_counter() - started)
        return list(rows) if ask is _FETCH else _first(rows, ask)

    def _took(self, statement: Statement, seconds: float) -> None:
        timings = TIMINGS.get()
        if timings is not None:
            timings.db_s += seconds
            timings.statements += 1
        if seconds > self._slow_s and self._on_slow is not None:
            self._on_slow(statement, seconds)

    def tell_of_slow(self, tell: Slow, threshold_s: float) -> None:
        """Call `tell` after each statement outside of transactions that took longer; it must not raise."""
        self._on_slow, self._slow_s = tell, threshold_s

    @asynccontextmanager
    async def _acquire(self) -> AsyncIterator[Any]:
        connection = await self._lending.take()
        try:
            yield connection
        except asyncio.CancelledError:
            connection.terminate()
            raise
        finally:
            self._lending.give_back(connection)

    async def _connect(self) -> Any:
        with _translated():
            connection = await connect(
                self._url,
                timeout=_CONNECT_TIMEOUT_S,
                statement_cache_size=_KEPT_STATEMENTS,
                max_cached_statement_lifetime=0,
                max_cacheable_statement_size=64 * 1024,
                server_settings=_SESSION | {"statement_timeout": str(int(self._limit_s * 1000))},
            )
            # Before the driver looks at types it turns `jit` off by set_config, which has no switch and which readers may not
            # call. It is off already.
            connection._server_caps = connection._server_caps._replace(jit=False)
            await _prepare(connection)
        self._open.add(connection)
        return connection

    async def _connect_pipelined(self) -> Any:
        # One of the driver's, like the others: it alone knows the forms of a URL, hosts, passwords and certificates.
        limits = {"statement_timeout": str(int(LIMIT_S * 1000)), "lock_timeout": str(int(LOCK_LIMIT_S * 1000))}
        with _translated():
            return await connect(self._url, timeout=_CONNECT_TIMEOUT_S, statement_cache_size=0, server_settings=_SESSION | limits)


class _translated:  # noqa: N801  reads as a word at its use
    """Driver errors leave the block as ours; anything else passes untouched."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            raise_ours(error)


@asynccontextmanager
async def _committed(connection: Any) -> AsyncIterator[None]:
    """A transaction that commits at the end of the block, and rolls back when the block raises."""
    block = connection.transaction()
    with _translated():
        await block.start()
    try:
        yield
    except BaseException:
        with suppress(*LOST, asyncpg.PostgresError):
            await block.rollback()
        raise
    with _translated():
        await block.commit()


async def _prepare(connection: Any) -> None:
    """JSON travels as text in both directions: what is only forwarded is never decoded."""
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, schema="pg_catalog", encoder=str, decoder=str, format="text")


def _first(rows: Sequence[Row], ask: Ask) -> Any:
    if not rows:
        return None
    return rows[0] if ask is _FETCH_ROW else next(iter(rows[0].values()), None)


def _touched(tag: str) -> int:
    last = tag.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0
