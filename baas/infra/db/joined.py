"""All that one task asks of the database as one transaction, without the rooms in between knowing of it.

What would be a statement or a transaction of its own becomes a part that is undone by itself when it fails, so that a room may
catch the error and go on, as it does outside.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from baas.base.errors import BaasError
from baas.infra.db import restricted
from baas.infra.db.errors import StatementTimedOut, raise_ours
from baas.infra.db.sql import Statement

Ask = Callable[..., Awaitable[Any]]
Then = Callable[[], Awaitable[object]]
"""What is to be done once a change is certain."""
Begin = Callable[[], Awaitable[object]]
"""Opens the transaction of the task; more than once does no more."""


class Joined:
    """The transaction of the task that made it; other tasks, its own children too, stay outside."""

    __slots__ = ("_connection", "_in_parts", "_marked", "_task", "_until", "afterwards", "broken")

    def __init__(self, connection: Any, *, in_parts: bool = True) -> None:
        self._connection = connection
        self._in_parts = in_parts
        self._task = asyncio.current_task()
        self._marked = [False]  # whether there is a mark: in the transaction, in the one within it, and so on
        self._until: float | None = None
        self.afterwards: list[Then] = []
        self.broken = False
        """A statement failed, and with it everything. What a room says after that is worth nothing."""

    @staticmethod
    def here() -> "Joined | None":
        """That of the running task, if it is in one."""
        joined = _HERE.get()
        return joined if joined is not None and joined._task is asyncio.current_task() else None

    @asynccontextmanager
    async def entered(self) -> AsyncIterator[None]:
        """What the task asks inside of the block is part of the transaction."""
        before = _HERE.set(self)
        try:
            yield
        finally:
            _HERE.reset(before)

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """All statements of the block together may take so long; after that they raise StatementTimedOut."""
        before, self._until = self._until, asyncio.get_running_loop().time() + seconds
        try:
            yield
        finally:
            self._until = before

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[Any]:
        """The connection, for a transaction within the transaction."""
        await self._mark()
        self._marked.append(False)
        try:
            yield self._connection
        finally:
            self._marked.pop()

    async def ask(self, ask: Ask, statement: Statement, limit_s: float | None) -> Any:
        """One statement. When it fails it alone is undone."""
        limit_s = self._left(limit_s)
        await self._mark()
        try:
            if statement.role is not None:
                return await restricted.ask_inside(self._connection, ask, statement)
            return await ask(self._connection, statement.text, *statement.args, timeout=limit_s)
        except asyncio.CancelledError:
            raise  # the connection is closed by its lender
        except BaseException as error:
            self.broken = not self._in_parts
            if self._in_parts:
                with suppress(BaasError):
                    await self._say(f"rollback to savepoint part{len(self._marked)}")
            if isinstance(error, TimeoutError):
                raise StatementTimedOut("The query took too long.") from None
            raise_ours(error)
            raise

    async def undo(self) -> None:
        """Everything asked since the block was entered never was; the transaction itself goes on."""
        if self._marked[0]:
            await self._say("rollback to savepoint begun")

    def _left(self, limit_s: float | None) -> float | None:
        if self._until is None:
            return limit_s
        left = self._until - asyncio.get_running_loop().time()
        if left <= 0:
            raise StatementTimedOut("The queries took too long together.")
        return left if limit_s is None else min(left, limit_s)

    async def _mark(self) -> None:
        if not self._in_parts:
            return
        # One mark at a time: PostgreSQL slows down for everybody when a transaction holds more than 64.
        depth = len(self._marked)
        if self._marked[-1]:
            await self._say(f"release savepoint part{depth}; savepoint part{depth}")
            return
        await self._say(("savepoint begun; " if depth == 1 else "") + f"savepoint part{depth}")
        self._marked[-1] = True

    async def _say(self, text: str) -> None:
        """Between two statements the connection may be gone too."""
        try:
            await self._connection.execute(text)
        except Exception as error:
            raise_ours(error)
            raise


@contextmanager
def delayed(begin: Begin) -> Iterator[None]:
    """Who runs in the block says himself where its transaction is to begin (`begin_here`)."""
    before = _BEGIN.set((asyncio.current_task(), begin))
    try:
        yield
    finally:
        _BEGIN.reset(before)


async def begin_here() -> None:
    """Begin the transaction that waits for the running task, if there is one."""
    task, begin = _BEGIN.get()
    if begin is not None and task is asyncio.current_task():
        await begin()


_HERE: ContextVar[Joined | None] = ContextVar("joined", default=None)
_BEGIN: ContextVar[tuple[asyncio.Task[Any] | None, Begin | None]] = ContextVar("begin", default=(None, None))
