"""How many requests may be at work: some, a few more wait for a moment, the rest hear 503 at once (promise P10)."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from baas.base.errors import TooManyRequests, Unavailable

_WINDOW_S = 10.0
_MOST_ADDRESSES = 50_000
T = TypeVar("T")


class Gate:
    """`size` places, a queue of `queue` that waits at most `wait_s`.

    While more than one project wants places, none may hold more than half of them; one alone may have them all.
    """

    def __init__(self, size: int, *, queue: int, wait_s: float) -> None:
        self._size = size
        self._share = max(1, size // 2)
        self._queue = queue
        self._wait_s = wait_s
        self._held: dict[str, int] = {}
        self._waiting: deque[tuple[str, asyncio.Future[None]]] = deque()
        self.at_work = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def try_enter(self, key: str) -> bool:
        """Take a place for the project `key` if there is one for it now; the caller must `leave`.

        Nobody is overtaken: while a place is free, those who wait are waiting for their own share.
        """
        if not self._has_place(key):
            return False
        self._take(key)
        return True

    async def enter(self, key: str) -> None:
        """Wait for a place. Raises Unavailable (`busy`) when the queue is full or the wait too long."""
        if self.try_enter(key):
            return
        if len(self._waiting) >= self._queue:
            raise _busy()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (key, turn)
        self._waiting.append(entry)
        self._admit_waiting()  # a queue held up by another project's share does not hold up this one
        try:
            async with asyncio.timeout(self._wait_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.leave(key)  # the place came in the same moment as the end
            else:
                self._waiting.remove(entry)
                self._admit_waiting()  # this project may have been what made the others' shares count
            if isinstance(error, TimeoutError):
                raise _busy() from None
            raise

    def leave(self, key: str) -> None:
        """Give the place back; the first who may have it goes in."""
        self.at_work -= 1
        left = self._held[key] - 1
        if left:
            self._held[key] = left
        else:
            del self._held[key]
        if self._waiting:
            self._admit_waiting()

    def _has_place(self, key: str) -> bool:
        if self.at_work >= self._size:
            return False
        held = self._held.get(key, 0)
        return held < self._share or not self._is_contended(key)

    def _is_contended(self, key: str) -> bool:
        """Whether any other project has work or waits for it."""
        return len(self._held) > (key in self._held) or any(other != key for other, _ in self._waiting)

    def _take(self, key: str) -> None:
        self.at_work += 1
        self._held[key] = self._held.get(key, 0) + 1

    def _admit_waiting(self) -> None:
        for entry in tuple(self._waiting):
            if self.at_work >= self._size:
                return
            key, turn = entry
            if not turn.done() and self._has_place(key):
                self._waiting.remove(entry)
                self._take(key)
                turn.set_result(None)


class Place:
    """A place at work, which is given up while the client is waited for: whoever sends slowly holds up nobody but himself.

    `bodies` bounds how many may wait so. `held` says whether the place is taken now; the one who took it first leaves it last.
    """

    def __init__(self, work: Gate, bodies: Gate, key: str) -> None:
        self._work = work
        self._bodies = bodies
        self._key = key
        self.held = True

    async def without(self, wait: Callable[[], Awaitable[T]]) -> T:
        """Wait outside, then take a place again. Raises Unavailable (`busy`) when too many wait, or none is free in time."""
        if not self._bodies.try_enter(self._key):
            raise _busy()
        self.held = False
        self._work.leave(self._key)
        try:
            found = await wait()
        finally:
            self._bodies.leave(self._key)
        await self._work.enter(self._key)
        self.held = True
        return found


class AddressRate:
    """What each client address does in a sliding ten seconds, or another time, in the memory of this process.

    An IPv6 client is its /64, because it owns all of it. `name` stands in the headers of an answer, `said` in its text.
    """

    def __init__(
        self, limit: int, *, window_s: float = _WINDOW_S, name: str = "api", said: str = "One address may send {} requests"
    ) -> None:
        self._limit = limit
        self._window_s = window_s
        self._name = name
        self._said = said.format(limit)
        self._number = 0
        self._before: dict[str, int] = {}
        self._now: dict[str, int] = {}

    def take(self, address: str, at: float, calls: int = 1) -> None:
        """Count so many calls at the monotonic time `at`. Raises TooManyRequests with the rate headers."""
        number = int(at / self._window_s)
        if number != self._number:
            self._before = self._now if number == self._number + 1 else {}
            self._now = {}
            self._number = number
        key = _network(address) if ":" in address else address
        count = self._now.get(key, 0) + calls
        weight = 1 - (at / self._window_s - number)
        if count + self._before.get(key, 0) * weight > self._limit:
            raise self._too_many(at)
        if len(self._now) >= _MOST_ADDRESSES:
            self._before, self._now = self._now, {}  # memory has an end; the count of the last moments is kept
        self._now[key] = count

    def _too_many(self, at: float) -> TooManyRequests:
        wait_s = max(1, round(self._window_s - at % self._window_s))
        error = TooManyRequests(
            f"{self._said} in {self._window_s:g} seconds.",
            retry_after_s=wait_s,
            code="rate_limited",
        )
        error.headers["RateLimit-Policy"] = f'"{self._name}";q={self._limit};w={self._window_s:g}'
        error.headers["RateLimit"] = f'"{self._name}";r=0;t={wait_s}'
        return error


def _network(address: str) -> str:
    """The /64 of an IPv6 address."""
    import ipaddress

    try:
        return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))
    except ValueError:
        return address


def _busy() -> Unavailable:
    return Unavailable("The server is busy; try again in a moment.", code="busy", retry_after_s=1)
