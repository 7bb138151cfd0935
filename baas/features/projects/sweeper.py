"""Gives back what nothing holds any more: uploads and deploys cut short, contents of removed releases, sessions long over."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

from baas.base.errors import BaasError
from baas.base.project import Project
from baas.base.tasks import end
from baas.features.projects.service import Projects
from baas.infra.blobs.base import BlobStore

_EVERY_S = 3600.0
_UNFINISHED = timedelta(hours=24)
_PROJECTS_AT_ONCE = 100

Sweep = Callable[[Project], Awaitable[int]]
"""A room's clean-up of one project: the number of things removed. Doing it twice does no harm."""


class Sweeper:
    """Goes through all projects once an hour; several servers may do so at once. `sweeps` are what the rooms clean up."""

    def __init__(self, blobs: BlobStore, projects: Projects, sweeps: Sequence[Sweep]) -> None:
        self._blobs = blobs
        self._projects = projects
        self._sweeps = tuple(sweeps)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        await end(self._task)

    async def sweep(self) -> int:
        """One round; the number of things removed. A project that cannot be swept now is swept in the next one."""
        removed = await self._blobs.sweep_unfinished(before=datetime.now(UTC) - _UNFINISHED)
        after = ""
        while entries := await self._projects.list(after=after, limit=_PROJECTS_AT_ONCE):
            for entry in entries:
                after = entry.name
                with contextlib.suppress(BaasError):
                    if (project := await self._projects.find(entry.name)) is not None:
                        for sweep in self._sweeps:
                            removed += await sweep(project)
        return removed

    async def _run(self) -> None:
        while True:
            # Spread, so that the servers of one installation do not read the same folders in the same minute.
            await asyncio.sleep(_EVERY_S * random.uniform(0.5, 1.5))  # noqa: S311  spread, not a secret
            with contextlib.suppress(BaasError):
                await self.sweep()
