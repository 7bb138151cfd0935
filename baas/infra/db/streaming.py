"""The rows of one statement in pieces: a server-side cursor in a read-only transaction, which shows one moment to its end."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from baas.base.errors import Unavailable
from baas.infra.db.restricted import become
from baas.infra.db.sql import Statement

_FIRST_ROWS = 50
_MOST_ROWS = 200
_WANTED_CHARS = 128 * 1024  # of a piece


class TextRows:
    """A statement of one text column. A piece holds about 128 thousand characters, and at most 200 rows."""

    def __init__(self, cursor: Any, ends: float) -> None:
        self._cursor = cursor
        self._ends = ends
        self._count = _FIRST_ROWS

    async def next(self) -> list[str]:
        """The next rows, none at the end. Raises Unavailable (`query_timeout`) when the time of the whole is over."""
        try:
            async with asyncio.timeout(self._ends - time.monotonic()):
                rows = [row[0] for row in await self._cursor.fetch(self._count)]
        except TimeoutError:
            raise Unavailable("The time for these rows is over.", code="query_timeout") from None
        if rows:
            average = sum(map(len, rows)) // len(rows) + 1
            self._count = max(1, min(_MOST_ROWS, _WANTED_CHARS // average))
        return rows


@asynccontextmanager
async def text_rows(connection: Any, statement: Statement, *, total_s: float, idle_s: float) -> AsyncIterator[TextRows]:
    """Open the cursor. PostgreSQL itself ends the transaction when nobody asks for the next piece for twice `idle_s`, or when a
    piece takes longer than `total_s`.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(
            "select set_config('statement_timeout', $1, true), set_config('idle_in_transaction_session_timeout', $2, true)",
            str(int(total_s * 1000)),
            str(int(idle_s * 2000)),
        )
        if statement.role is not None:
            await connection.execute(become(statement))
        cursor = await connection.cursor(statement.text, *statement.args)
        yield TextRows(cursor, time.monotonic() + total_s)
