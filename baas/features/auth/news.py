"""What living access tokens do not say: sessions that have ended, and claims that have changed. Known here at once, on other
servers within seconds.
"""

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
# A change becomes visible at commit, so every reading looks back further than a transaction may take.
_LOOK_BACK_S = 40
_KEEP_MOST = 10_000


@dataclass(slots=True)
class Known:
    """Of one project: sessions that have ended -> until when to remember them; users whose claims have changed -> the version of
    these, and until when. `read_at` 0 means never read; `asked` counts what a reading under way may have missed.
    """

    ended: dict[str, float] = field(default_factory=dict)
    claims: dict[str, tuple[int, float]] = field(default_factory=dict)
    read_at: float = 0.0
    asked: int = 0
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)


class News:
    """`life_s` is the life of an access token: of what happened longer ago every living one knows."""

    def __init__(self, db: Database, *, life_s: int) -> None:
        self._db = db
        self._keep_s = life_s + 60
        self._known: dict[UUID, Known] = {}

    async def of(self, project: Project) -> Known:
        """What is known now. One query for everybody every two seconds, only while somebody asks.

        Raises Unavailable when the database cannot say: a token whose session may have ended admits nobody.
        """
        known = self._known.get(project.id) or self._begin(project)
        if known.read_at < time.monotonic() - _REREAD_S:
            async with known.reading:
                if known.read_at < time.monotonic() - _REREAD_S:
                    await self._read(project, known)
        return known

    def add_ended(self, project: Project, sessions: Iterable[UUID]) -> None:
        """Sessions that this server has just ended."""
        known = self._known.get(project.id) or self._begin(project)
        until = time.monotonic() + self._keep_s
        known.ended.update((str(one), until) for one in sessions)

    def reread(self, project: Project) -> None:
        """Have the next question read anew: this server has just committed something that may be news."""
        known = self._known.get(project.id)
        if known is not None:
            known.asked += 1
            known.read_at = min(known.read_at, time.monotonic() - _REREAD_S)

    def _begin(self, project: Project) -> Known:
        if len(self._known) >= _KEEP_MOST:
            del self._known[next(iter(self._known))]
        return self._known.setdefault(project.id, Known())

    async def _read(self, project: Project, known: Known) -> None:
        now, asked = time.monotonic(), known.asked
        look_back_s = _LOOK_BACK_S if known.read_at > now - _LOOK_BACK_S / 2 else self._keep_s
        ended, changed = await store.news(self._db, project.schema, look_back_s)
        known.ended = {one: until for one, until in known.ended.items() if until > now}
        known.claims = {one: held for one, held in known.claims.items() if held[1] > now}
        known.ended.update((str(one), now + self._keep_s) for one in ended)
        known.claims.update((str(user), (version, now + self._keep_s)) for user, version in changed)
        known.read_at = now if asked == known.asked else now - _REREAD_S
