"""What many subscribers ask of the database about the same changes is asked by one statement.

A question waits for its turn, and whoever comes meanwhile with the same rule joins it. It is not kept: who comes later asks
again, as of then.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence

from baas.engines.query.crowd import Asker, Crowd
from baas.engines.query.text import Kept
from baas.features.realtime.batch import Batch
from baas.infra.db.errors import StatementTimedOut
from baas.infra.db.pool import Database, Row

MOST_ASKERS = 500
_MOST_PAIRS = 20_000
"""Of an asker and an image, in one statement; with bodies a tenth of it, because each pair may be an answer."""
_AT_ONCE = 4
"""Statements; more would take the connections of everybody else."""
_SLOW_S = 0.5

Seen = Mapping[int, bytes]
"""Place of an image -> the record as it is shown, empty where bodies were not asked for. What is not in it is not seen."""


class _Round:
    """A question that is still open."""

    def __init__(self) -> None:
        self.askers: dict[Asker, int] = {}
        self.images: set[int] = set()
        self.answer: asyncio.Task[Sequence[Seen]] | None = None


class Together:
    """One for a server."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._open: dict[tuple[Batch, object], _Round] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._pairs: Kept[list[int]] = Kept(500)  # of rules that are slow, how many pairs go into one statement

    async def ask(self, batch: Batch, collection: str, crowd: Crowd, asker: Asker, images: Sequence[int]) -> Seen:
        """Which of these images of the batch the asker sees as of now, perhaps among others. Raises what the database raises."""
        key = (batch, crowd.key)
        open_ = self._open.get(key)
        if open_ is None:
            open_ = self._open[key] = _Round()
            open_.answer = asyncio.create_task(self._put(open_, batch, collection, crowd))
            open_.answer.add_done_callback(_told)
        assert open_.answer is not None  # noqa: S101  just made
        place = open_.askers.setdefault(asker, len(open_.askers))
        open_.images.update(images)
        return (await asyncio.shield(open_.answer))[place]

    async def _put(self, open_: _Round, batch: Batch, collection: str, crowd: Crowd) -> Sequence[Seen]:
        async with self._turns:
            await asyncio.sleep(0)  # all who were woken together
            del self._open[batch, crowd.key]
            images, texts = sorted(open_.images), batch.texts(collection)
            askers, seen = list(open_.askers), [dict[int, bytes]() for _ in open_.askers]
            done = 0
            while done < len(askers):
                some = askers[done : done + self._most(crowd, len(images))]
                rows = await self._rows(crowd, some, [texts[at] for at in images])
                if rows is None:
                    continue  # fewer at once
                for row in rows:
                    seen[done + row["asker"]][images[row["n"] - 1]] = (row["body"] or "").encode()
                done += len(some)
            return seen

    async def _rows(self, crowd: Crowd, askers: Sequence[Asker], images: Sequence[str]) -> Sequence[Row] | None:
        """None: it took too long for so many, and will be less the next time."""
        started, pairs = time.monotonic(), len(askers) * len(images)
        try:
            return await self._db.fetch(crowd.statement(askers, images))
        except StatementTimedOut:
            if len(askers) == 1:
                raise
            self._slow(crowd, pairs // 8)
            return None
        finally:
            if time.monotonic() - started > _SLOW_S:
                self._slow(crowd, pairs // 2)

    def _most(self, crowd: Crowd, images: int) -> int:
        most = _MOST_PAIRS // 10 if crowd.bodies else _MOST_PAIRS
        if crowd.key in self._pairs:
            most = min(most, *self._pairs.get(crowd.key, list))
        return max(1, min(MOST_ASKERS, most // max(images, 1)))

    def _slow(self, crowd: Crowd, pairs: int) -> None:
        known = self._pairs.get(crowd.key, lambda: [pairs])
        known[0] = min(known[0], pairs)


def _told(task: "asyncio.Task[Sequence[Seen]]") -> None:
    """Whoever asked may be gone before the answer; those who are not are told what went wrong."""
    if not task.cancelled():
        task.exception()
