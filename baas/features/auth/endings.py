"""Which sessions have ended while access tokens of theirs still live: known here at once, on other servers within seconds."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from baas.base.project import Project
from baas.features.auth import store
from baas.infra.db.pool import Database

# Promised is five seconds: two for the age of what is known, the rest for the query and the request that runs meanwhile.
_REREAD_S = 2.0
# An ending becomes visible at commit, so every reading looks back further than a transaction may take.
_LOOK_BACK_S = 40
_KEEP_MOST = 10_000


@dataclass(slots=True)
class _Known:
    """Ended sessions of one project -> until when to remember them; `read_at` 0 means never read."""

    until: dict[str, float] = field(default_factory=dict)
    read_at: float = 0.0
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)


class Endings:
    """`life_s` is the life of an access token: a session that ended longer ago has no living one."""

    def __init__(self, db: Database, *, life_s: int) -> None:
        self._db = db
        self._keep_s = life_s + 60
        self._known: dict[UUID, _Known] = {}

    async def has(self, project: Project, session_id: str) -> bool:
        """Whether the session has ended. One query for everybody every two seconds, only while somebody asks.

        Raises Unavailable when the database cannot say: a token whose session may have ended admits nobody.
        """
        known = self._known.get(project.id) or self._begin(project)
        if known.read_at < time.monotonic() - _REREAD_S:
            async with known.reading:
                if known.read_at < time.monotonic() - _REREAD_S:
                    await self._read(project, known)
        return session_id in known.until

    def add(self, project: Project, sessions: Iterable[UUID]) -> None:
        """Sessions that this server has just ended."""
        known = self._known.get(project.id) or self._begin(project)
        until = time.monotonic() + self._keep_s
        known.until.update((str(one), until) for one in sessions)

    def reread(self, project: Project) -> None:
        """Have the next question read anew: something that this server has just committed may have ended sessions."""
        known = self._known.get(project.id)
        if known is not None:
            known.read_at = min(known.read_at, time.monotonic() - _REREAD_S)

    def _begin(self, project: Project) -> _Known:
        if len(self._known) >= _KEEP_MOST:
            del self._known[next(iter(self._known))]
        return self._known.setdefault(project.id, _Known())

    async def _read(self, project: Project, known: _Known) -> None:
        now = time.monotonic()
        look_back_s = _LOOK_BACK_S if known.read_at > now - _LOOK_BACK_S / 2 else self._keep_s
        ended = await store.ended_sessions(self._db, project.schema, look_back_s)
        known.until = {one: until for one, until in known.until.items() if until > now}
        known.until.update((str(one), now + self._keep_s) for one in ended)
        known.read_at = now
