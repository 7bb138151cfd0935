"""Definitions of collections in memory: one look-up on the hot path, the same on every server within two seconds."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from baas.base.errors import NotFound
from baas.base.project import Project
from baas.engines.schema import store
from baas.engines.schema.collection import Collection
from baas.infra.db.errors import SchemaChanged
from baas.infra.db.listen import Invalidations
from baas.infra.db.pool import Database

KIND = "catalog"
"""The kind of announcement that drops a project's definitions; its key is the project's id."""
_MAX_PROJECTS = 5000
# A collection made by another server a moment ago may be asked for here before its announcement arrives.
_RECHECK_AFTER_S = 0.25
_REPEATS = 3

Given = ParamSpec("Given")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class _Entry:
    collections: Mapping[str, Collection]
    loaded_at: float
    stamp: str


class Catalog:
    """Reads a project's definitions once and keeps them until somebody announces that they changed."""

    def __init__(self, db: Database, invalidations: Invalidations) -> None:
        self._db = db
        self._entries: dict[str, _Entry] = {}
        self._loading: dict[str, asyncio.Task[_Entry]] = {}
        invalidations.on(KIND, self.forget)

    async def collections(self, project: Project) -> Mapping[str, Collection]:
        """Every collection of the project by name."""
        entry = self._entries.get(project.key)
        return (entry or await self._load(project)).collections

    async def stamp(self, project: Project) -> str:
        """Eight digits that are others after any change of the definitions."""
        return (self._entries.get(project.key) or await self._load(project)).stamp

    async def get(self, project: Project, name: str) -> Collection:
        """One collection. Raises NotFound."""
        key = project.key
        entry = self._entries.get(key) or await self._load(project)
        found = entry.collections.get(name)
        if found is None and time.monotonic() - entry.loaded_at > _RECHECK_AFTER_S:
            self.forget(key)
            found = (await self._load(project)).collections.get(name)
        if found is None:
            raise NotFound("No such collection.", code="collection_not_found")
        return found

    def forget(self, key: str) -> None:
        """Drop what is held of the project with this id; a load under way will serve those who wait for it and nobody else."""
        self._entries.pop(key, None)
        self._loading.pop(key, None)

    async def _load(self, project: Project) -> _Entry:
        """One query, however many ask; a waiter that is cancelled does not take the others with it."""
        key = project.key
        task = self._loading.get(key)
        if task is None:
            task = self._loading[key] = asyncio.create_task(self._read(project, key))
        return await asyncio.shield(task)

    async def _read(self, project: Project, key: str) -> _Entry:
        task = asyncio.current_task()
        try:
            collections = await store.read(self._db, project.schema)
            entry = _Entry(collections, time.monotonic(), _stamp(collections))
            if self._loading.get(key) is task:
                while len(self._entries) >= _MAX_PROJECTS:
                    del self._entries[next(iter(self._entries))]
                self._entries[key] = entry
            return entry
        finally:
            if self._loading.get(key) is task:
                del self._loading[key]


def _stamp(collections: Mapping[str, Collection]) -> str:
    text = ",".join(f"{name}:{one.version}" for name, one in sorted(collections.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


class _HasCatalog(Protocol):
    _catalog: Catalog


Part = TypeVar("Part", bound=_HasCatalog)
Method = Callable[Concatenate[Part, Project, Given], Awaitable[Answer]]


def on_fresh_definitions(method: Method[Part, Given, Answer]) -> Method[Part, Given, Answer]:
    """Run a method `(self, project, …)` again when its statement was made before a change of the schema.

    Up to three times, since changes may follow each other as fast as definitions are read. For methods whose statements are
    transactions of their own: the one that failed has written nothing.
    """

    @wraps(method)
    async def run(self: Part, project: Project, /, *args: Given.args, **options: Given.kwargs) -> Answer:
        for _ in range(_REPEATS):
            try:
                return await method(self, project, *args, **options)
            except SchemaChanged:
                self._catalog.forget(project.key)
        return await method(self, project, *args, **options)

    return run
