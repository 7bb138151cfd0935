"""Projects: making, finding, renaming and dropping them, and their settings."""

import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from baas.base.errors import Conflict, Fault, Invalid, NotFound
from baas.base.ids import short_id, uuid7
from baas.base.project import LimitSettings, Project, ProjectSettings
from baas.features.projects import store
from baas.features.projects.model import ProjectEntry
from baas.features.projects.settings import as_json, effective, merged
from baas.infra.db.errors import UniqueViolated
from baas.infra.db.listen import Invalidations, announce
from baas.infra.db.pool import Database, Row, Transaction
from baas.infra.http.conditions import ANY, Condition, etag_of

_NAME = re.compile(r"[a-z][a-z0-9-]{1,40}")
# A project's name is a host label below the sites' domain; these would pass for the server itself.
_RESERVED = frozenset({"api", "admin", "console", "docs", "localhost", "mail", "www"})
_DDL_TIMEOUT_S = 60
# The net below announcements: a server cut off from the database for long may have missed one.
_KEEP_S = 60.0
_KEEP_ABSENT_S = 1.0
_KEEP_MOST = 10_000

Founder = Callable[[Transaction, Project], Awaitable[None]]
"""What another room puts into a new project's schema, inside the transaction that makes the project."""
Dropped = Callable[[Project], Awaitable[None]]
"""What is left to remove once a project is gone; it may be called for a project that has nothing left."""


class _Held(NamedTuple):
    project: Project | None
    until: float


class Projects:
    """Knows every project by name, from memory; changes reach every server within two seconds, the own one at once.

    `founders` run in the transaction that makes a project; `on_dropped` is a list that rooms add to. The caller may still add to
    `founders` while it puts the server together: some of them need this object first.
    `ceilings` are the server's own limits, which no project's settings exceed.
    """

    def __init__(
        self,
        db: Database,
        invalidations: Invalidations,
        *,
        founders: Sequence[Founder] = (),
        ceilings: LimitSettings | None = None,
    ) -> None:
        self._db = db
        self._invalidations = invalidations
        self._founders = founders
        self._ceilings = ceilings or LimitSettings()
        self._by_name: dict[str, _Held] = {}
        self._changes = 0
        self.on_dropped: list[Dropped] = []
        invalidations.on("project", self._forget)

    async def find(self, name: str) -> Project | None:
        """The project with this name, or None; from memory except the first time. Absence is remembered for a second."""
        held = self._by_name.get(name)
        if held is not None and held.until > time.monotonic():
            return held.project
        if not _NAME.fullmatch(name):
            return None
        changes = self._changes
        row = await store.project_by_name(self._db, name)
        project = self._project_of(row) if row else None
        # What was read before an announcement that arrived meanwhile may be old: good for this request, not for keeping.
        if changes == self._changes:
            self._keep(name, project)
        return project

    async def by_id(self, project_id: UUID) -> Project | None:
        """The project with this id as stored now, or None."""
        row = await store.project_by_id(self._db, project_id)
        return self._project_of(row) if row else None

    async def list(self, *, after: str = "", limit: int = 100) -> list[ProjectEntry]:
        """Entries in order of name, those behind the name `after`."""
        return await store.projects(self._db, after=after, limit=limit)

    async def entry(self, project: Project) -> ProjectEntry:
        """The project as operators see it. Raises NotFound when it is gone."""
        row = await store.project_by_id(self._db, project.id)
        if row is None:
            raise NotFound("No such project.")
        return store.entry_of(row)

    async def create(self, name: str) -> ProjectEntry:
        """Make a project with its schema, its tables and what the founders add, in one transaction.

        Raises Invalid for a name that cannot be a project's, Conflict (`already_exists`) when it is taken.
        """
        _check_name(name)
        try:
            async with self._db.changing_schema(statement_timeout_s=_DDL_TIMEOUT_S) as tx:
                row = await store.make_project(tx, uuid7(), name, f"p_{short_id()}")
                project = self._project_of(row)
                for found in self._founders:
                    await found(tx, project)
                await announce(tx, "project", str(project.id))
        except UniqueViolated:
            raise _taken(name) from None
        await self._invalidations.catch_up()
        return store.entry_of(row)

    async def rename(self, project: Project, name: str) -> ProjectEntry:
        """Give the project another name; its schema, ids and credentials stay. Raises like `create`, and NotFound."""
        _check_name(name)
        try:
            async with self._db.transaction() as tx:
                entry = await store.rename_project(tx, project.id, name)
                await announce(tx, "project", str(project.id))
        except UniqueViolated:
            raise _taken(name) from None
        await self._invalidations.catch_up()
        if entry is None:
            raise NotFound("No such project.")
        return entry

    async def drop(self, project: Project, *, confirm: str | None) -> None:
        """Delete the project and everything in its schema in one transaction, then what rooms keep outside of it.

        Raises Invalid (`confirmation_missing`) unless `confirm` is the project's name, NotFound when it is gone.
        """
        if confirm != project.name:
            raise Invalid(
                f"Deleting a project deletes all its data. Confirm with ?confirm={project.name}.", code="confirmation_missing"
            )
        async with self._db.changing_schema(statement_timeout_s=_DDL_TIMEOUT_S) as tx:
            dropped = await store.drop_project(tx, project.id)
            await announce(tx, "project", str(project.id))
        await self._invalidations.catch_up()
        if not dropped:
            raise NotFound("No such project.")

        async def clean_up() -> None:
            for dropped_by in self.on_dropped:
                await dropped_by(project)

        await self._db.when_committed(clean_up)

    async def change_settings(self, project: Project, patch: Mapping[str, object], only: Condition = ANY) -> ProjectSettings:
        """Apply a merge patch (RFC 7396) and return the settings in force. Raises Invalid with every fault, NotFound, and
        PreconditionFailed when those in force before are not what `only` demands.
        """
        async with self._db.transaction() as tx:
            stored = await store.lock_settings(tx, project.id)
            if stored is None:
                raise NotFound("No such project.")
            only.check(etag_of(as_json(effective(stored, self._ceilings))))
            changed = merged(stored, patch, self._ceilings)
            await store.save_settings(tx, project.id, changed)
            await announce(tx, "project", str(project.id))
        await self._invalidations.catch_up()
        return effective(changed, self._ceilings)

    def _project_of(self, row: Row) -> Project:
        settings = effective(store.settings_of(row["settings"]), self._ceilings)
        return Project(row["id"], row["name"], row["schema"], settings)

    def _keep(self, name: str, project: Project | None) -> None:
        if len(self._by_name) >= _KEEP_MOST:
            self._by_name.clear()
        self._by_name[name] = _Held(project, time.monotonic() + (_KEEP_S if project else _KEEP_ABSENT_S))

    def _forget(self, key: str) -> None:
        self._changes += 1
        # An absent name may be the new or renamed project's.
        for name, held in list(self._by_name.items()):
            if held.project is None or str(held.project.id) == key:
                del self._by_name[name]


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        message = "A project's name is 2 to 41 lower-case letters, digits and dashes, and begins with a letter."
        raise Invalid(message, errors=[Fault("/name", "bad_name", message)])
    if name in _RESERVED or name.startswith("xn--"):
        message = f"The name {name!r} is reserved: as a host it would pass for the server's own."
        raise Invalid(message, errors=[Fault("/name", "reserved_name", message)])


def _taken(name: str) -> Conflict:
    message = f"There is a project named {name!r}."
    return Conflict(message, code="already_exists", errors=[Fault("/name", "already_exists", message)])
