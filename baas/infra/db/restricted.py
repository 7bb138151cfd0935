"""Statements over SQL that a person wrote: as a role that may read one project's collections, in a transaction that ends undone.

Functions in a view run with the rights of whoever runs the statement, so the role of its owner alone would not do.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import asyncpg

from baas.base.errors import Unavailable
from baas.infra.db.errors import LOST, condition_of, translate_restricted
from baas.infra.db.sql import Statement, ident, sql

Ask = Callable[..., Awaitable[Any]]
# What tells whether something exists that the role may not see: one answer for all of them.
_OUT_OF_REACH = ("42501", "42P01", "3F000", "42704")


class SqlRefused(Exception):
    """PostgreSQL refused a person's statement. `position` counts characters of the whole statement from 1, None when unknown."""

    def __init__(self, condition: str, message: str, position: int | None, *, out_of_reach: bool) -> None:
        super().__init__(message)
        self.condition = condition
        self.message = message
        self.position = position
        self.out_of_reach = out_of_reach


class Turns:
    """At most `number` at once; the others wait `wait_s` for a turn. Raises Unavailable (`busy`)."""

    def __init__(self, number: int, wait_s: float) -> None:
        self._free = asyncio.Semaphore(number)
        self._wait_s = wait_s

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._wait_s):
                await self._free.acquire()
        except TimeoutError:
            raise Unavailable("All connections for views are busy.", code="busy") from None
        try:
            yield
        finally:
            self._free.release()


async def ask(connection: Any, question: Ask, statement: Statement, limit_s: float | None = None) -> Any:
    """One statement in a transaction of its own. It is rolled back: so is whatever a function may have set for the session.

    `limit_s` is the most it may take, the session's own limit when None.
    """
    limit = "" if limit_s is None else f"; set local statement_timeout = {max(1, int(limit_s * 1000))}"
    try:
        await connection.execute(f"begin read only; {become(statement)}{limit}")
        answer = await question(connection, statement.text, *statement.args)
    except asyncio.CancelledError:
        raise  # the connection is closed by its lender
    except BaseException as error:
        await _roll_back(connection)
        _raise_ours(error)
        raise
    await _roll_back(connection)
    return answer


@contextmanager
def translated() -> Iterator[None]:
    """Driver errors of statements that run as a reader leave the block as ours."""
    try:
        yield
    except Exception as error:
        _raise_ours(error)
        raise


async def ask_inside(connection: Any, question: Ask, statement: Statement) -> Any:
    """The same inside a transaction that is open already, which goes on as the server; after an error it is aborted anyway."""
    try:
        await connection.execute(become(statement))
        answer = await question(connection, statement.text, *statement.args)
        await connection.execute("set local role none")
    except asyncpg.PostgresError as error:
        _raise_ours(error)
        raise
    return answer


def refuse_written(error: asyncpg.PostgresError) -> None:
    """Raise SqlRefused for what is wrong with the statement itself. The words of PostgreSQL are for its author, but for those
    that would tell what there is beyond his project, or that hold a value.
    """
    state = error.sqlstate or ""
    if state.startswith(("08", "40", "53", "57", "55")):
        raise translate_restricted(error) or error from error
    out_of_reach = state in _OUT_OF_REACH
    message = "It names something that does not exist, or that a view may not use." if out_of_reach else str(error.args[0])
    if not state.startswith("42") and state != "0A000":
        message = f"PostgreSQL refuses it: {condition_of(error).replace('_', ' ')}."
    place = str(getattr(error, "position", None) or "")
    raise SqlRefused(condition_of(error), message, int(place) if place.isdigit() else None, out_of_reach=out_of_reach) from error


def become(statement: Statement) -> str:
    """What makes an open transaction run as the role of the statement, until it is told otherwise."""
    return sql("set local role {}", ident(statement.role or "")).render().text


async def _roll_back(connection: Any) -> None:
    with suppress(*LOST):
        await connection.execute("rollback")


def _raise_ours(error: BaseException) -> None:
    ours = translate_restricted(error)
    if ours is not None and ours is not error:
        raise ours from error
