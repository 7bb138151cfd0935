"""Remembers refused calls: noted in memory when they are answered, written in batches a moment later, never waited for."""

import asyncio
import contextlib
import json
from collections import deque
from dataclasses import dataclass
from datetime import datetime

from baas.base.clock import Clock
from baas.base.denial import MAX_DENIED_BYTES, Denial
from baas.base.errors import BaasError
from baas.base.principal import Principal
from baas.base.project import Project
from baas.base.tasks import end
from baas.engines.schema.catalog import Catalog
from baas.engines.schema.collection import Collection
from baas.features.rules import store
from baas.features.rules.model import Refusal
from baas.infra.db.pool import Database

_EVERY_S = 0.5
_MOST_WAITING = 2_000
_MOST_TEXT = 2_048
_TRIM_AFTER = 2_000  # refusals of one project written since its table was last cut


@dataclass(frozen=True, slots=True)
class _Noted:
    """A refusal before it is known what of its input may be kept."""

    project: Project
    principal: Principal
    request_id: str
    at: datetime
    status: int
    code: str
    denial: Denial


class Denials:
    """The refusals of this process. When more come than can be written the oldest are dropped, and counted in `dropped`."""

    def __init__(self, db: Database, catalog: Catalog, clock: Clock) -> None:
        self._db = db
        self._catalog = catalog
        self._clock = clock
        self._waiting: deque[_Noted] = deque()
        self._written: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._flushing = asyncio.Lock()
        self.dropped = 0

    def note(self, project: Project, principal: Principal, request_id: str, error: BaasError) -> None:
        """Remember a call that was refused; at once, and never in the way."""
        if error.denial is None:
            return
        if len(self._waiting) >= _MOST_WAITING:
            self._waiting.popleft()
            self.dropped += 1
        now = self._clock.now()
        self._waiting.append(_Noted(project, principal, request_id, now, error.status, error.code, error.denial))

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Write what is left."""
        await end(self._task)
        await self.flush()

    async def flush(self) -> None:
        """Write what waits; what cannot be written is dropped and counted."""
        async with self._flushing:
            by_schema: dict[str, list[_Noted]] = {}
            while self._waiting:
                one = self._waiting.popleft()
                by_schema.setdefault(one.project.schema, []).append(one)
            for noted in by_schema.values():
                try:
                    await self._write(noted)
                except BaasError:  # the project is gone, or the database is not there just now
                    self.dropped += len(noted)

    async def find(self, project: Project, request_id: str) -> Refusal | None:
        """The newest refusal with this request id, those just answered included."""
        await self.flush()
        return await store.find_refusal(self._db, project.schema, request_id)

    async def sweep(self, project: Project) -> int:
        """Delete what is older than a day or beyond ten thousand; how many."""
        return await store.sweep_refusals(self._db, project.schema)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            if self._waiting:
                await self.flush()

    async def _write(self, noted: list[_Noted]) -> None:
        project = noted[0].project
        collections = await self._catalog.collections(project)
        await store.write_refusals(
            self._db, project.schema, [_refusal(one, collections.get(one.denial.collection)) for one in noted]
        )
        self._written[project.schema] = self._written.get(project.schema, 0) + len(noted)
        if self._written[project.schema] >= _TRIM_AFTER:
            del self._written[project.schema]
            with contextlib.suppress(BaasError):
                await self.sweep(project)


def _refusal(noted: _Noted, collection: Collection | None) -> Refusal:
    denial = noted.denial
    sent, rows, wanted = denial.sent, None, denial.filter
    if denial.action == "list":
        asked = sent.get("filter") if isinstance(sent, dict) else None
        sent, wanted = None, asked if isinstance(asked, str) else wanted
    elif isinstance(sent, list):
        rows = len(sent)
        sent = sent[0] if sent else None
    return Refusal(
        request_id=noted.request_id,
        at=noted.at,
        status=noted.status,
        code=noted.code,
        collection=denial.collection if denial.bucket is None else None,
        bucket=denial.bucket,
        action=denial.action,  # type: ignore[arg-type]  # a room's own word
        record=_text(denial.record),
        principal_kind=noted.principal.kind,
        principal_id=noted.principal.id or None,
        schema_version=collection.version if collection is not None else denial.version,
        input=_kept(sent, collection) if denial.bucket is None else sent,  # type: ignore[arg-type]  # the room's own words
        input_rows=rows,
        filter=_text(wanted),
    )


def _text(given: str | None) -> str | None:
    """A caller's text as PostgreSQL can hold it: it was refused before anybody looked at it."""
    return given.replace("\0", "").encode("utf-8", "replace").decode()[:_MOST_TEXT] if given else None


def _kept(body: object, collection: Collection | None) -> dict[str, object] | None:
    """What may be stored of an input: the fields that the collection shows, unless they are very long."""
    if not isinstance(body, dict) or collection is None:
        return None
    shown = {one.name for one in collection.fields if not one.hidden} | {"id"}
    kept = {name: value for name, value in body.items() if name in shown}
    return kept if len(json.dumps(kept, default=str)) <= MAX_DENIED_BYTES else None
