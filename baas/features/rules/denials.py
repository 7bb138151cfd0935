"""Remembers refused calls: noted in memory when they are answered, written in batches a moment later, never waited for."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Sequence
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
    kept, rows, wanted = _kept(denial, collection)
    principal = denial.principal or noted.principal
    return Refusal(
        request_id=noted.request_id,
        at=noted.at,
        status=noted.status,
        code=noted.code,
        collection=denial.collection if denial.bucket is None else None,
        bucket=denial.bucket,
        action=denial.action,  # type: ignore[arg-type]  # a room's own word
        record=_text(denial.record),
        principal_kind=principal.kind,
        principal_id=principal.id or None,
        schema_version=collection.version if collection is not None else denial.version,
        input=kept if len(json.dumps(kept, default=str)) <= MAX_DENIED_BYTES else None,
        input_rows=rows,
        filter=_text(wanted),
        call=denial.call,
        via=denial.via,
        claims=dict(principal.claims) or None,
    )


def _text(given: str | None) -> str | None:
    """A caller's text as PostgreSQL can hold it: it was refused before anybody looked at it."""
    return given.replace("\0", "").encode("utf-8", "replace").decode()[:_MOST_TEXT] if given else None


def _kept(denial: Denial, collection: Collection | None) -> tuple[object, int | None, str | None]:
    """What may be stored of what was sent, how many records it was, and its filter."""
    sent, wanted = denial.sent, denial.filter
    asked = sent.get("filter") if isinstance(sent, dict) else None
    if denial.bucket is not None:
        return sent, None, wanted
    if denial.call == "bulk":
        patch = sent.get("patch") if isinstance(sent, dict) else None
        return _shown(patch, collection), None, asked if isinstance(asked, str) else None
    if denial.action == "list":
        return None, None, asked if isinstance(asked, str) else wanted
    if denial.call == "upsert":
        key, items = (sent.get("key"), sent.get("items")) if isinstance(sent, dict) else (None, None)
        if not isinstance(key, list) or not isinstance(items, list):
            return None, None, wanted
        known = _open_names(collection)
        return (
            {"key": [name for name in key if isinstance(name, str) and name in known], "items": _all_shown(items, collection)},
            len(items),
            wanted,
        )
    if isinstance(sent, list):
        return _all_shown(sent, collection), len(sent), wanted
    return _shown(sent, collection), None, wanted


def _all_shown(bodies: Sequence[object], collection: Collection | None) -> list[object]:
    return [_shown(one, collection) for one in bodies]


def _shown(body: object, collection: Collection | None) -> dict[str, object] | None:
    """The members of a body that the collection shows."""
    known = _open_names(collection)
    return {name: value for name, value in body.items() if name in known} if isinstance(body, dict) else None


def _open_names(collection: Collection | None) -> frozenset[str]:
    return frozenset() if collection is None else frozenset({"id", *(one.name for one in collection.fields if not one.hidden)})
