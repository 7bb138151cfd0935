"""What every site shows, kept in memory: one release each, replaced as a whole."""

import asyncio
from collections import OrderedDict
from weakref import WeakValueDictionary

from baas.base.project import Project
from baas.features.hosting import store
from baas.features.hosting.model import Shown
from baas.infra.db.listen import Invalidations
from baas.infra.db.pool import Database

KIND = "site"
_MOST_FILES = 200_000
_Key = tuple[str, str]


class ShownSites:
    """Reads a site once and keeps it until it is announced as changed; the least used go when too many files are held."""

    def __init__(self, db: Database, invalidations: Invalidations) -> None:
        self._db = db
        self._held: OrderedDict[_Key, Shown | None] = OrderedDict()
        self._files = 0
        self._changes = 0
        self._locks: WeakValueDictionary[_Key, asyncio.Lock] = WeakValueDictionary()
        invalidations.on(KIND, self._forget)

    async def get(self, project: Project, site: str) -> Shown | None:
        """What the site shows now; None when there is no such site or it has no release. Many askers cause one reading."""
        key = (project.schema, site)
        if key not in self._held:
            async with self._locks.setdefault(key, asyncio.Lock()):
                if key not in self._held:
                    return await self._read(key)
        self._held.move_to_end(key)
        return self._held[key]

    def forget_project(self, schema: str) -> None:
        """Drop all sites of a project."""
        for key in [key for key in self._held if key[0] == schema]:
            self._drop(key)

    async def _read(self, key: _Key) -> Shown | None:
        changes = self._changes
        shown = await store.shown(self._db, *key)
        # What was read before an announcement that came meanwhile may be old: good for this answer, not for keeping.
        if changes == self._changes:
            self._held[key] = shown
            self._files += _weight(shown)
            while self._files > _MOST_FILES and len(self._held) > 1:
                self._drop(next(iter(self._held)))
        return shown

    def _forget(self, announced: str) -> None:
        self._changes += 1
        schema, _, site = announced.partition("/")
        self._drop((schema, site))

    def _drop(self, key: _Key) -> None:
        if key in self._held:
            self._files -= _weight(self._held.pop(key))


def _weight(shown: Shown | None) -> int:
    """Absence is held too, or a host that anyone can make up would cost a query each time."""
    return 20 + len(shown.files) if shown else 1
