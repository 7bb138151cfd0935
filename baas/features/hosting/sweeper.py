"""Gives back the space of what nothing holds: uploads and deploys cut short, contents of removed releases and buckets."""

import asyncio
import contextlib
import random
from datetime import UTC, datetime, timedelta

from baas.base.errors import BaasError
from baas.features.files.service import Files
from baas.features.hosting.service import Hosting
from baas.features.projects.service import Projects
from baas.infra.blobs.base import BlobStore

_EVERY_S = 3600.0
_UNFINISHED = timedelta(hours=24)
_PROJECTS_AT_ONCE = 100


class Sweeper:
    """Goes through all projects once an hour. Several servers may do so at once: removing twice does no harm."""

    def __init__(self, blobs: BlobStore, projects: Projects, files: Files, hosting: Hosting) -> None:
        self._blobs = blobs
        self._projects = projects
        self._files = files
        self._hosting = hosting
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def sweep(self) -> int:
        """One round; the number of things removed. A project that cannot be swept now is swept in the next round."""
        removed = await self._blobs.sweep_unfinished(before=datetime.now(UTC) - _UNFINISHED)
        after = ""
        while entries := await self._projects.list(after=after, limit=_PROJECTS_AT_ONCE):
            for entry in entries:
                after = entry.name
                with contextlib.suppress(BaasError):
                    if (project := await self._projects.find(entry.name)) is not None:
                        removed += await self._files.sweep(project) + await self._hosting.sweep(project)
        return removed

    async def _run(self) -> None:
        while True:
            # Spread, so that the servers of one installation do not read the same folders in the same minute.
            await asyncio.sleep(_EVERY_S * random.uniform(0.5, 1.5))  # noqa: S311  spread, not a secret
            with contextlib.suppress(BaasError):
                await self.sweep()
