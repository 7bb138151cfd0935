"""Which connection a cheap statement takes, which writes share a commit, and what happens when it is not answered.

Whatever is not certain to be quick is not for here: a statement that runs longer than `LIMIT_S` or waits for a lock is ended by
PostgreSQL, and asked again on the ordinary pool, which has patience. What an error ends has done nothing, so that is always safe.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

import asyncpg

from baas.base.errors import BaasError, Unavailable
from baas.base.tasks import end
from baas.infra.db.errors import ConnectionLost
from baas.infra.db.pipeline.link import Link, Question, Row, Spilled, Unit
from baas.infra.db.pipeline.values import Unfit, encode
from baas.infra.db.sql import Statement

LIMIT_S = 0.2
"""Longest statement on these connections; the ordinary pool has the server's own limit."""
LOCK_LIMIT_S = 0.1
READERS, WRITERS = 2, 2
CONNECTIONS = READERS + WRITERS
MOST_SHARING = 32
"""Writes in one transaction at most: when one fails, all of them are done again."""
MOST_TOGETHER = 16
"""Reads sent at once at most; who comes later waits where he can still turn elsewhere."""
_MOST_WAITING = 1000
_STALLED_S = 0.1
_STUCK_S = 15.0
_LOOK_S = 0.025
_IDLE_S = 10.0
_RETRY_S = 1.0
_SHORTEST_PENALTY_S, _LONGEST_PENALTY_S = 2.0, 120.0
_KEPT_PENALTIES = 1000
_SLOW = "57014"
_PATIENCE = frozenset((_SLOW, "55P03", "40P01", "40001"))  # ended for what a statement with more time may well live through
_STALE = frozenset(("26000", "0A000"))  # no such prepared statement; its plan no longer fits the schema


@dataclass(slots=True)
class Figures:
    """What went this way so far. `spilled` of the statements `taken` were asked once more on the pool; `together` of the writes
    shared their commit, `again` of them had to be sent alone after that.
    """

    taken: int = 0
    spilled: int = 0
    together: int = 0
    again: int = 0
    lost: int = 0


Connect = Callable[[], Awaitable[Any]]


class Pipeline:
    """Takes cheap statements; `ask` gives None when there is no connection for one now. `connect` opens a connection of the
    driver's, with the limits above; `wait_s` is the longest wait before a statement is sent.
    """

    def __init__(self, connect: Connect, *, wait_s: float) -> None:
        self._connect = connect
        self._wait_s = wait_s
        self._reads: deque[Question] = deque()
        self._creates: deque[Question] = deque()
        self._changes: deque[Question] = deque()
        self._queues = {"read": self._reads, "create": self._creates, "change": self._changes}
        self._readers = [_Place() for _ in range(READERS)]
        self._writers = [_Place() for _ in range(WRITERS)]
        self._penalties: OrderedDict[str, tuple[float, float]] = OrderedDict()  # text -> until when, for how long
        self._pumping: asyncio.Handle | None = None
        self._look: asyncio.TimerHandle | None = None
        self._opening: set[asyncio.Task[None]] = set()
        self._used = 0.0
        self._off = False
        self.figures = Figures()

    def ask(self, statement: Statement) -> "asyncio.Future[list[Row]] | None":
        """The rows to come, or None: ask the ordinary pool. What the future may raise: Spilled (the same), what PostgreSQL
        raises, ConnectionLost (of a write: its outcome is unknown). Cancelling it leaves a sent write unknown too.
        """
        kind = statement.cheap
        if self._off or kind is None or not self._ready(kind):
            return None
        if self._penalties and self._is_slow(statement.text):
            return None
        queue = self._queues[kind]
        if len(queue) >= _MOST_WAITING:
            raise _busy()
        try:
            values = encode(statement.args)
        except (Unfit, UnicodeEncodeError):
            return None  # the driver knows it, or knows how to refuse it
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Row]] = loop.create_future()
        queue.append(Question(statement.text, values, answer, write=kind != "read"))
        self.figures.taken += 1
        self._pump_soon()
        return answer

    @property
    def connections(self) -> int:
        """How many are open now."""
        return sum(place.link is not None for place in self._places())

    async def close(self) -> None:
        """Take no more; give what is under way five seconds."""
        self._off = True
        await end(*self._opening)
        links = [place.link for place in self._places() if place.link is not None]
        waiting = [question.answer for queue in self._queues.values() for question in queue]
        waiting += [question.answer for link in links for question in link.waiting()]
        if waiting:
            await asyncio.wait(waiting, timeout=5)
        for link in links:
            link.close()
        ends = [asyncio.ensure_future(link.ended.wait()) for link in links]
        if ends:
            await asyncio.wait(ends, timeout=1)
        for link in links:
            link.abort()
        for timer in (self._look, self._pumping):
            if timer is not None:
                timer.cancel()

    def _places(self) -> "list[_Place]":
        return [*self._readers, *self._writers]

    # Opening and resting: connections are there while they are used.

    def _ready(self, kind: str) -> bool:
        """Whether there is a connection for such a statement; the missing ones are opened meanwhile."""
        places = self._readers if kind == "read" else self._writers if kind == "create" else self._writers[:1]
        self._used = now = monotonic()
        ready = False
        for place in places:
            if place.link is not None:
                ready = True
            elif not place.opening and now >= place.not_before:
                place.opening = True
                task = asyncio.get_running_loop().create_task(self._open(place))
                self._opening.add(task)
                task.add_done_callback(self._opening.discard)
        return ready

    async def _open(self, place: "_Place") -> None:
        connection = None
        try:
            connection = await self._connect()
            # A pooler between us and PostgreSQL gives a connection to others between two transactions, and our prepared
            # statements with it. Its word for the process is not PostgreSQL's.
            if await connection.fetchval("select pg_backend_pid()") != connection.get_server_pid():
                self._off = True
            if self._off:
                await connection.close(timeout=1)
                return
            place.link = Link(connection, failed=self._failed, lost=self._lost, freed=self._pump_soon)
            self._look_later()
        except (BaasError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            place.not_before = monotonic() + _RETRY_S
            if connection is not None:
                connection.terminate()
        except asyncio.CancelledError:
            if connection is not None:
                connection.terminate()
            raise
        finally:
            place.opening = False

    # Sending.

    def _pump_soon(self) -> None:
        if self._pumping is None and (self._reads or self._creates or self._changes):
            self._pumping = asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = None
        # What comes while a connection is at work leaves together when it is done: one waking for many, on both sides.
        for place in self._readers:
            if place.link is not None and not place.link.load and not place.link.paused:
                self._send_reads(place.link)
        for number, place in enumerate(self._writers):
            # Changes hold locks on rows until their commit: on one connection, one after another, they cannot wait for each
            # other in a circle.
            queues = (self._changes, self._creates) if number == 0 else (self._creates,)
            if place.link is not None and not place.link.load and not place.link.paused:
                self._send_writes(place.link, queues)

    def _send_reads(self, link: Link) -> None:
        together: list[Question] = []
        while self._reads and len(together) < MOST_TOGETHER:
            question = self._reads.popleft()
            if not question.answer.done():
                together.append(question)
        if together:
            link.add(together)
            link.flush()

    def _send_writes(self, link: Link, queues: "tuple[deque[Question], ...]") -> None:
        """All that wait at this moment share a commit; the next ones wait for its end, and will be more."""
        shared: list[Question] = []
        for queue in queues:
            while queue and len(shared) < MOST_SHARING:
                question = queue.popleft()
                if question.answer.done():
                    continue  # given up before it was sent: it never will be
                if question.alone:
                    link.add([question])
                else:
                    shared.append(question)
        if shared:
            self.figures.together += len(shared) if len(shared) > 1 else 0
            link.add(shared)
        link.flush()

    # When it does not go well.

    def _failed(self, link: Link, unit: Unit, error: Exception) -> None:
        """PostgreSQL refused one question of the unit: of writes nothing was done, and what was read before it is answered."""
        state = getattr(error, "sqlstate", None)
        stale = state in _STALE
        if stale:
            link.forget({question.text for question in unit.questions})
        refused = unit.questions[min(unit.at, len(unit.questions) - 1)]  # beyond the last one: at the commit
        if state == _SLOW:
            self._punish(refused.text)
        shared = len(unit.questions) > 1
        for question in reversed(unit.questions):
            if question.answer.done():
                continue
            if question is refused and not (shared and question.write) and (question.again or not stale):
                question.answer.set_exception(Spilled() if stale or state in _PATIENCE else error)
                continue
            question.alone = question.write
            self.figures.again += shared and question.write
            question.again = question.again or (stale and question is refused)
            self._queue_of(question).appendleft(question)
        self._pump_soon()

    def _queue_of(self, question: Question) -> "deque[Question]":
        return self._changes if question.write else self._reads

    def _lost(self, link: Link, lost: list[Question]) -> None:
        """The connection is gone: what was read can be read again; what was written may or may not have been."""
        for place in self._places():
            if place.link is link:
                place.link = None
                place.not_before = monotonic() + (_RETRY_S if lost else 0)
        self.figures.lost += len(lost)
        for question in lost:
            gone = ConnectionLost("The database is not reachable.") if question.write else Spilled()
            question.answer.set_exception(gone)
        self._spill_unsendable(monotonic())

    def _spill_unsendable(self, now: float) -> None:
        """What was not sent, and has no connection that would soon take it, goes to the pool."""
        readers = any(_takes(place.link, now) for place in self._readers)
        writers = [_takes(place.link, now) for place in self._writers]
        for queue, there in ((self._reads, readers), (self._changes, writers[0]), (self._creates, any(writers))):
            if not there:
                _spill(queue)

    def _look_later(self) -> None:
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(_LOOK_S, self._watch)

    def _watch(self) -> None:
        """Every now and then while there are connections: what is stalled must not hold up what is behind it."""
        self._look = None
        now = monotonic()
        for place in self._readers:
            if place.link is not None and _is_stalled(place.link, now):
                _unstall(place.link)
        for place in self._places():
            if place.link is not None and place.link.load and now - place.link.front_since > _STUCK_S:
                place.link.abort()
        for queue in self._queues.values():
            while queue and now - queue[0].since > self._wait_s:
                question = queue.popleft()
                if not question.answer.done():
                    question.answer.set_exception(_busy())
        self._spill_unsendable(now)
        if now - self._used > _IDLE_S:
            for place in self._places():
                if place.link is not None and not place.link.load:
                    place.link.close()
        if any(place.link is not None for place in self._places()):
            self._look_later()

    # What was slow goes to the pool for a while, and for longer each time.

    def _punish(self, text: str) -> None:
        _, last_s = self._penalties.pop(text, (0.0, 0.0))
        for_s = min(max(_SHORTEST_PENALTY_S, last_s * 4), _LONGEST_PENALTY_S)
        self._penalties[text] = monotonic() + for_s, for_s
        if len(self._penalties) > _KEPT_PENALTIES:
            self._penalties.popitem(last=False)

    def _is_slow(self, text: str) -> bool:
        until = self._penalties.get(text)
        return until is not None and monotonic() < until[0]


class _Place:
    """Where a connection is, is being opened, or was lost."""

    __slots__ = ("link", "not_before", "opening")

    def __init__(self) -> None:
        self.link: Link | None = None
        self.opening = False
        self.not_before = 0.0


def _takes(link: Link | None, now: float) -> bool:
    return link is not None and not _is_stalled(link, now)


def _is_stalled(link: Link, now: float) -> bool:
    """Whether the first in line has been at work for too long for what is behind it."""
    return link.load > 0 and now - link.front_since > _STALLED_S


def _unstall(link: Link) -> None:
    """Of a connection for reads: what waits beside the slow one is asked elsewhere, and so is that one, since PostgreSQL sends
    what it has when all is done. One alone goes on to its limit; where nobody waits for it any more, it is given up.
    """
    if link.load > 1:
        for question in link.waiting():
            question.answer.set_exception(Spilled())
    elif not link.waiting():
        link.abort()


def _spill(queue: "deque[Question]") -> None:
    while queue:
        question = queue.popleft()
        if not question.answer.done():
            question.answer.set_exception(Spilled())


def _busy() -> Unavailable:
    return Unavailable("All database connections are busy.", code="busy")
