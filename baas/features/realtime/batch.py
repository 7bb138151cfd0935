"""Changes of a project as they were read together: taken apart once, for all who follow."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from baas.engines.changes.log import Change
from baas.engines.query.compile import Compiler
from baas.engines.query.images import Picture, packed, picture
from baas.engines.query.table import Table
from baas.features.realtime.model import Told
from baas.infra.db.pool import Database


class Step(NamedTuple):
    """A change, and where its images are among those of its collection; None where there is none."""

    change: Change
    before: int | None
    after: int | None


class Batch:
    """Changes behind position `after`, in order. `size` is the bytes of their images."""

    def __init__(self, after: int, changes: Sequence[Change]) -> None:
        self.after = after
        self.last = changes[-1].pos
        self.changes = tuple(changes)
        self.collections = frozenset(change.collection for change in changes)
        self.memory: dict[object, tuple[Told, ...]] = {}
        """What subscriptions that judge and show alike were told."""
        self._steps: dict[str, tuple[Step, ...]] = {}
        self._texts: dict[str, list[str]] = {}
        self._pictures: dict[object, asyncio.Task[Sequence[Picture]]] = {}
        for change in changes:
            self._add(change)
        self.size = sum(len(text) for texts in self._texts.values() for text in texts)

    def steps(self, collection: str) -> tuple[Step, ...]:
        """The changes of one collection."""
        return self._steps.get(collection, ())

    def texts(self, collection: str) -> Sequence[str]:
        """All images of a collection."""
        return self._texts.get(collection, ())

    def records(self, collection: str) -> frozenset[str]:
        """Whose records changed."""
        return frozenset(step.change.record for step in self.steps(collection))

    async def pictures(self, db: Database, compiler: Compiler, table: Table) -> Sequence[Picture]:
        """All images of a collection; read once, however many ask."""
        task = self._pictures.get(table.key)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._pictures[table.key] = asyncio.create_task(self._read(db, compiler, table))
        return await asyncio.shield(task)

    async def _read(self, db: Database, compiler: Compiler, table: Table) -> Sequence[Picture]:
        rows = await db.fetch(compiler.pictures(table, self._texts[table.name]))
        return [picture(table, row) for row in sorted(rows, key=lambda row: row["n"])]

    def _add(self, change: Change) -> None:
        texts = self._texts.setdefault(change.collection, [])
        before = self._put(texts, change.before)
        after = self._put(texts, change.after)
        self._steps[change.collection] = (*self._steps.get(change.collection, ()), Step(change, before, after))

    @staticmethod
    def _put(texts: list[str], image: Mapping[str, object] | None) -> int | None:
        if image is None:
            return None
        texts.append(packed(image))
        return len(texts) - 1
