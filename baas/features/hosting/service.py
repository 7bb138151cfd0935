"""Static sites: releases that never change once they are ready, and one pointer a site that says which of them it shows."""

import asyncio
import hashlib
import re
import shutil
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from baas.base.errors import BadRequest, Conflict, Fault, Invalid, NotFound, Unavailable
from baas.base.ids import short_id, uuid7
from baas.base.project import Project
from baas.base.settings import Settings
from baas.features.hosting import store
from baas.features.hosting.archive import Archive, Limits, Member, open_archive
from baas.features.hosting.model import Deployed, Release, Shown, Site, SiteOptions, Unpacked, Wanted
from baas.features.hosting.shown import KIND, ShownSites
from baas.features.projects.service import Projects
from baas.infra.blobs.base import BlobStore
from baas.infra.blobs.thread import to_the_end
from baas.infra.db.errors import UniqueViolated
from baas.infra.db.listen import Invalidations, announce
from baas.infra.db.pool import Database, Transaction
from baas.infra.http.conditions import ANY, Condition, etag_of

OptionsChange = Callable[[SiteOptions], SiteOptions]
_SHA256 = re.compile(r"[0-9a-f]{64}")
_UNUSED = timedelta(hours=24)
_PUTS_AT_ONCE = 8
_SWEEP_BATCH = 500


class Hosting:
    """Makes sites, takes releases, switches between them, and knows which site a host name means.

    `scratch` is a folder of our own for archives being read; what a crash leaves in it is removed by `sweep`.
    """

    def __init__(
        self,
        db: Database,
        blobs: BlobStore,
        projects: Projects,
        invalidations: Invalidations,
        *,
        settings: Settings,
        scratch: Path,
    ) -> None:
        self._db = db
        self._blobs = blobs
        self._projects = projects
        self._invalidations = invalidations
        self._shown = ShownSites(db, invalidations)
        self._scratch = scratch
        self._domain = f".{settings.sites_domain.lower().strip('.')}"
        self._limits = Limits(settings.max_archive_open_bytes, settings.max_archive_files)
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)

    # Sites ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def sites(self, project: Project) -> list[Site]:
        """All sites of the project by name."""
        return await store.sites(self._db, project.schema)

    async def site(self, project: Project, name: str) -> Site:
        """Raises NotFound."""
        return _found(await store.site(self._db, project.schema, name), name)

    async def create(self, project: Project, name: str, options: SiteOptions) -> Site:
        """Make an empty site. Raises Conflict when there is one of this name."""
        try:
            return await store.make_site(self._db, project.schema, uuid7(), name, options)
        except UniqueViolated:
            message = f"There is a site named {name!r}."
            raise Conflict(message, code="already_exists", errors=[Fault("/name", "already_exists", message)]) from None

    async def change(self, project: Project, name: str, change: OptionsChange, only: Condition = ANY) -> Site:
        """Give the site other options, at once for its active release too. Raises NotFound, PreconditionFailed, and what
        `change` raises.
        """
        async with self._db.transaction() as tx:
            site = _found(await store.lock_site(tx, project.schema, name), name)
            only.check(etag_of(site.as_json()))
            changed = _found(await store.change_site(tx, project.schema, site.id, change(site.options)), name)
            await _announce(tx, project, name)
        await self._invalidations.catch_up()
        return changed

    async def delete(self, project: Project, name: str, only: Condition = ANY) -> None:
        """Remove the site with its releases; their contents are swept when nothing else holds them. Raises NotFound, and
        PreconditionFailed.
        """
        async with self._db.transaction() as tx:
            if only != ANY:
                only.check(etag_of(_found(await store.lock_site(tx, project.schema, name), name).as_json()))
            if not await store.drop_site(tx, project.schema, name):
                raise _no_site(name)
            await _announce(tx, project, name)
        await self._invalidations.catch_up()

    # Releases ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def releases(self, project: Project, name: str, *, before: UUID | None, limit: int) -> list[Release]:
        """The newest first, those made `before` one of them. Raises NotFound."""
        site = await self.site(project, name)
        return await store.releases(self._db, project.schema, site.id, before=before, limit=limit)

    async def release(self, project: Project, name: str, release_id: UUID) -> Release:
        """Raises NotFound."""
        site = await self.site(project, name)
        return await self._release(project, site, release_id)

    @asynccontextmanager
    async def unpacked(self, project: Project, name: str, packed: AsyncIterable[bytes]) -> AsyncIterator[Unpacked]:
        """The contents of a `tar.gz` or `zip` file, durable, to `deploy` within the block.

        Contents come first, then all rows and the switch in one transaction: cut anywhere, the site shows what it showed.
        Raises NotFound, and what `open_archive` refuses.
        """
        site = await self.site(project, name)
        async with self._opened(packed) as (archive, digest):
            await self._store_missing(project, archive)
            files = [Wanted(member.path, member.sha256, member.size) for member in archive.members]
            yield Unpacked(site, files, archive.ignored, digest)

    async def deploy(self, project: Project, unpacked: Unpacked, *, activate: bool, message: str | None) -> Deployed:
        """Make a release of what was unpacked, and show it at once when `activate`. Raises NotFound."""
        site, files, release_id = unpacked.site, unpacked.files, uuid7()
        async with self._db.transaction() as tx:
            _found(await store.lock_site(tx, project.schema, site.name), site.name)
            await store.make_release(tx, project.schema, site.id, release_id, message=message, files=files, ready=True)
            await store.add_files(tx, project.schema, release_id, files)
            if activate:
                await self._switch(tx, project, site, release_id)
        await self._invalidations.catch_up()
        return Deployed(await self._release(project, site, release_id), unpacked.ignored)

    async def begin(
        self, project: Project, name: str, files: Sequence[Wanted], *, message: str | None
    ) -> tuple[Release, list[str]]:
        """Note a release that is to hold these files; also the contents that must be uploaded before it can be ready."""
        site = await self.site(project, name)
        if len(files) > self._limits.files or sum(one.size for one in files) > self._limits.open_bytes:
            most = f"{self._limits.files} files of {self._limits.open_bytes} bytes together"
            raise Invalid(f"A release may hold {most}.", code="release_too_large")
        release_id = uuid7()
        await store.make_release(self._db, project.schema, site.id, release_id, message=message, files=files, ready=False)
        missing = await self._missing(self._db, project, files)
        return await self._release(project, site, release_id), missing

    async def upload(self, project: Project, name: str, sha256: str, content: AsyncIterable[bytes]) -> None:
        """Store a content under its SHA-256, durable at return. Raises Invalid (`digest_mismatch`) when it has another."""
        await self.site(project, name)
        if not _SHA256.fullmatch(sha256):
            raise BadRequest("A content is named by its SHA-256 in 64 lower-case hexadecimal digits.", code="bad_sha256")
        blob = await self._blobs.put(_new_key(project), content)
        if blob.sha256 != sha256:
            await self._blobs.delete(blob.key)
            raise Invalid(f"The content's SHA-256 is {blob.sha256}.", code="digest_mismatch")
        if not await store.add_blob(self._db, project.schema, blob):
            await self._blobs.delete(blob.key)

    async def finalize(self, project: Project, name: str, release_id: UUID) -> Release:
        """Make a begun release ready; a ready one stays so. Raises NotFound, and Conflict (`files_missing`) naming contents."""
        async with self._db.transaction() as tx:
            site = _found(await store.lock_site(tx, project.schema, name), name)
            files = await store.wanted(tx, project.schema, site.id, release_id)
            if files is not None:
                if missing := await self._missing(tx, project, files):
                    raise Conflict(f"{len(missing)} contents are not uploaded.", code="files_missing", missing=missing)
                await store.add_files(tx, project.schema, release_id, files)
                await store.make_ready(tx, project.schema, release_id)
        return await self._release(project, site, release_id)

    async def activate(self, project: Project, name: str, release_id: UUID) -> Release:
        """Show this release from now on, be it newer or older. Raises NotFound, and Conflict when it is not ready."""
        async with self._db.transaction() as tx:
            site = _found(await store.lock_site(tx, project.schema, name), name)
            release = await store.release(tx, project.schema, site.id, release_id)
            if release is None:
                raise no_release()
            if not release.ready:
                raise Conflict("The release is not ready: finalize it first.", code="release_not_ready")
            await self._switch(tx, project, site, release_id)
        await self._invalidations.catch_up()
        return await self._release(project, site, release_id)

    # Showing ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def shown(self, project: Project, name: str) -> Shown | None:
        """What the site shows now, as one release; from memory except the first time."""
        return await self._shown.get(project, name)

    async def site_of_host(self, host: str) -> tuple[Project, str | None] | None:
        """`p.localhost` -> (project p, None: its default site), `s.p.localhost` -> (project p, s); None for other hosts."""
        if not host.endswith(self._domain):
            return None
        site, _, project_name = host.removesuffix(self._domain).rpartition(".")
        if "." in site:
            return None
        project = await self._projects.find(project_name)
        return (project, site or None) if project else None

    # Clean-up ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def sweep(self, project: Project) -> int:
        """Remove contents that nothing has held for a day, and what a crash has left of deploys; the number of them."""
        before = datetime.now(UTC) - _UNUSED
        unused = await store.drop_unused(self._db, project.schema, after=_UNUSED)
        stray = [key async for key in self._blobs.keys(_prefix(project), before=before)]
        for start in range(0, len(stray), _SWEEP_BATCH):
            batch = stray[start : start + _SWEEP_BATCH]
            known = await store.known_blobs(self._db, project.schema, batch)
            unused += [key for key in batch if key not in known and key not in unused]
        for key in unused:
            await self._blobs.delete(key)
        return len(unused) + await to_the_end(partial(_remove_older, self._scratch, before))

    async def forget_project(self, project: Project) -> None:
        """Remove the contents of a project that was deleted."""
        self._shown.forget_project(project.schema)
        await self._blobs.delete_all(_prefix(project))

    # Inside ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def _opened(self, packed: AsyncIterable[bytes]) -> AsyncIterator[tuple[Archive, bytes]]:
        """The body on disk, checked, and its SHA-256; nothing of it is left behind."""
        folder = self._scratch / short_id(20)
        opened = ExitStack()
        try:
            await to_the_end(folder.mkdir)
            digest = await _spool(folder / "packed", packed)
            archive = open_archive(folder / "packed", folder / "opened", self._limits)
            yield await to_the_end(partial(opened.enter_context, archive)), digest
        finally:
            opened.close()
            await to_the_end(partial(shutil.rmtree, folder, ignore_errors=True))

    async def _store_missing(self, project: Project, archive: Archive) -> None:
        """Make every content of the archive durable, each once."""
        contents = {member.sha256: member for member in archive.members}
        have = await store.stored(self._db, project.schema, list(contents))
        places = asyncio.Semaphore(_PUTS_AT_ONCE)
        missing = [member for sha256, member in contents.items() if sha256 not in have]
        try:
            async with asyncio.TaskGroup() as tasks:
                for member in missing:
                    tasks.create_task(self._store(project, archive, member, places))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _store(self, project: Project, archive: Archive, member: Member, places: asyncio.Semaphore) -> None:
        async with places:
            blob = await self._blobs.put(_new_key(project), _in_threads(archive.read(member)))
            if blob.sha256 != member.sha256:
                await self._blobs.delete(blob.key)
                raise Unavailable("The archive changed while it was read.", code="storage_unavailable")
            if not await store.add_blob(self._db, project.schema, blob):
                await self._blobs.delete(blob.key)

    async def _missing(self, db: Database | Transaction, project: Project, files: Sequence[Wanted]) -> list[str]:
        """Contents that are not stored; raises Invalid for one whose stated size is not the stored one's."""
        have = await store.stored(db, project.schema, sorted({one.sha256 for one in files}))
        for one in files:
            if have.get(one.sha256, one.size) != one.size:
                raise Invalid(f"The content of {one.path!r} has {have[one.sha256]} bytes.", code="size_mismatch")
        return sorted({one.sha256 for one in files} - have.keys())

    async def _switch(self, tx: Transaction, project: Project, site: Site, release_id: UUID) -> None:
        await store.activate(tx, project.schema, site.id, release_id)
        await _announce(tx, project, site.name)

    async def _release(self, project: Project, site: Site, release_id: UUID) -> Release:
        release = await store.release(self._db, project.schema, site.id, release_id)
        if release is None:
            raise no_release()
        return release


async def _announce(tx: Transaction, project: Project, site: str) -> None:
    await announce(tx, KIND, f"{project.schema}/{site}")


async def _spool(target: Path, packed: AsyncIterable[bytes]) -> bytes:
    """Write it down; its SHA-256."""
    digest = hashlib.sha256()
    with await to_the_end(partial(_create, target), undo=lambda file: file.close()) as file:
        async for chunk in packed:
            digest.update(chunk)
            await to_the_end(partial(file.write, chunk))
    return digest.digest()


def _create(target: Path) -> BinaryIO:
    return target.open("xb")


async def _in_threads(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (chunk := await to_the_end(partial(next, chunks, None))) is not None:
        yield chunk


def _remove_older(scratch: Path, before: datetime) -> int:
    old = [path for path in scratch.iterdir() if path.stat().st_mtime < before.timestamp()]
    for path in old:
        shutil.rmtree(path, ignore_errors=True)
    return len(old)


def _prefix(project: Project) -> str:
    return f"{project.schema}/sites"


def _new_key(project: Project) -> str:
    return f"{_prefix(project)}/{uuid7().hex}"


def _found(site: Site | None, name: str) -> Site:
    if site is None:
        raise _no_site(name)
    return site


def _no_site(name: str) -> NotFound:
    return NotFound(f"There is no site named {name[:100]!r}.", code="no_site")


def no_release() -> NotFound:
    return NotFound("There is no such release of this site.", code="no_release")
