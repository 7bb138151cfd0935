"""Who has a connection: the one used last is lent first, and who finds none stands in line, not for ever."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from baas.base.errors import Unavailable

_LOOK_S = 10.0


class Lending:
    """At most `size` connections, each with one borrower. `connect` opens one more, `wait_s` is the longest wait for one.

    A connection that comes back goes straight to whoever waits longest. One timer watches the whole line, because one for each
    who waits costs as much as the rest of the lending. What nobody needed for ten seconds is closed, all but one: PostgreSQL
    keeps megabytes for each. What has grown beyond that is closed after ten seconds whoever needs it (`retire`).
    """

    def __init__(self, connect: Callable[[], Awaitable[Any]], *, size: int, wait_s: float) -> None:
        self._connect = connect
        self._wait_s = wait_s
        self._places = size  # for connections that may yet be opened
        self._idle: list[Any] = []
        self._unneeded = 0  # at the bottom of `_idle`, since the last look
        self._line: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._line_timer: asyncio.TimerHandle | None = None
        self._look_timer: asyncio.TimerHandle | None = None
        self._retiring: dict[Any, asyncio.TimerHandle] = {}
        self._retired: set[Any] = set()  # lent when their time came

    def try_take(self) -> Any | None:
        """A connection that lies idle, None when there is none; the borrower must `give_back`."""
        while self._idle:
            connection = self._idle.pop()
            self._unneeded = min(self._unneeded, len(self._idle))
            if not connection.is_closed():
                return connection
            self._places += 1
        return None

    async def take(self) -> Any:
        """The same, opened or waited for where needed. Raises Unavailable (`busy`) and what `connect` raises."""
        connection = self.try_take()
        if connection is None and self._places:
            self._places -= 1
        elif connection is None:
            connection = await self._stand_in_line()
        if connection is not None:
            return connection
        try:
            return await self._connect()
        except BaseException:
            self._pass_on(None)
            raise

    def retire(self, connection: Any) -> None:
        """Close this one in ten seconds, or when it comes back after that. Not at once: who makes one table makes more."""
        if connection not in self._retiring:
            self._retiring[connection] = asyncio.get_running_loop().call_later(_LOOK_S, self._end, connection)

    def give_back(self, connection: Any) -> None:
        """Lent no more. A closed one makes place for another."""
        if connection in self._retired:
            self._retired.discard(connection)
            connection.terminate()
        self._pass_on(None if connection.is_closed() else connection)

    def close(self) -> None:
        """Forget what lies idle, and the timers."""
        self._idle.clear()
        for timer in (self._line_timer, self._look_timer, *self._retiring.values()):
            if timer is not None:
                timer.cancel()

    def _end(self, connection: Any) -> None:
        del self._retiring[connection]
        if connection in self._idle:
            at = self._idle.index(connection)
            del self._idle[at]
            self._unneeded -= at < self._unneeded
            self._places += 1
            connection.terminate()
        elif not connection.is_closed():
            self._retired.add(connection)

    def _pass_on(self, connection: Any | None) -> None:
        """A connection, or (None) the place for one, to the first who still waits; else it is kept."""
        while self._line:
            turn, _ = self._line.popleft()
            if not turn.done():
                turn.set_result(connection)
                return
        if connection is None:
            self._places += 1
            return
        self._idle.append(connection)
        if self._look_timer is None and len(self._idle) > 1:
            self._look_timer = asyncio.get_running_loop().call_later(_LOOK_S, self._close_unneeded)

    async def _stand_in_line(self) -> Any | None:
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[Any] = loop.create_future()
        self._line.append((turn, loop.time() + self._wait_s))
        if self._line_timer is None:
            self._line_timer = loop.call_later(self._wait_s, self._end_waits)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._pass_on(turn.result())  # it came in the same moment as the end
            raise

    def _end_waits(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._line and (self._line[0][1] <= now or self._line[0][0].done()):
            turn, _ = self._line.popleft()
            if not turn.done():
                turn.set_exception(Unavailable("All database connections are busy.", code="busy"))
        self._line_timer = loop.call_at(self._line[0][1], self._end_waits) if self._line else None

    def _close_unneeded(self) -> None:
        unneeded = min(self._unneeded, len(self._idle) - 1)
        for connection in self._idle[:unneeded]:
            connection.terminate()
            self._places += 1
        del self._idle[: max(0, unneeded)]
        self._unneeded = len(self._idle)
        self._look_timer = None
        if len(self._idle) > 1:
            self._look_timer = asyncio.get_running_loop().call_later(_LOOK_S, self._close_unneeded)
