"""Sessions: opening, refreshing and ending them, and whose an access token is."""

import os
from dataclasses import replace
from typing import NamedTuple
from uuid import UUID

from baas.base.clock import Clock
from baas.base.errors import Unauthenticated
from baas.base.ids import uuid7
from baas.base.principal import Principal
from baas.base.project import Project
from baas.features.auth import store
from baas.features.auth.claims import NONE, Claims
from baas.features.auth.keyring import KIND, Keyring
from baas.features.auth.model import Device, Family, SessionEntry
from baas.features.auth.news import News
from baas.features.auth.tokens import AccessTokens, audience_of, key_id_of, proves, read_refresh_token, refresh_token
from baas.features.projects.service import Projects
from baas.infra.crypto.secretbox import SecretBox
from baas.infra.db.listen import Invalidations
from baas.infra.db.pool import Database, Queries

GRACE_S = 10
_KEEP_MOST = 20_000


class _Verified(NamedTuple):
    principal: Principal
    expires_at: int
    version: int
    """Of the claims."""


class Sessions:
    """`idle_s` and `absolute_s`: how long a session lives unused, and altogether."""

    def __init__(  # noqa: PLR0917  what it is made of
        self,
        db: Database,
        projects: Projects,
        keyring: Keyring,
        box: SecretBox,
        clock: Clock,
        invalidations: Invalidations,
        *,
        tokens: AccessTokens,
        idle_s: int,
        absolute_s: int,
    ) -> None:
        self._db = db
        self._projects = projects
        self._keyring = keyring
        self._box = box
        self._clock = clock
        self._tokens = tokens
        self._idle_s = idle_s
        self._absolute_s = absolute_s
        self._news = News(db, life_s=tokens.life_s)
        self._verified: dict[str, _Verified] = {}
        invalidations.on(KIND, self._forget)

    @property
    def access_token_s(self) -> int:
        return self._tokens.life_s

    async def open(
        self, tx: Queries, project: Project, user_id: UUID, device: Device, *, verified: str | None = None
    ) -> Family | None:
        """A new session, always under a new id; None when the account is gone, disabled, or has another password than
        the one whose hash was `verified`.
        """
        family = Family(uuid7(), user_id, os.urandom(32), 0)
        opened = await store.open_session(
            tx, project.schema, family, device, idle_s=self._idle_s, absolute_s=self._absolute_s, verified=verified
        )
        return family if opened else None

    async def pair(self, project: Project, family: Family, claims: Claims) -> tuple[str, str]:
        """An access token with these claims and the refresh token of the present generation."""
        key_id, private_key = await self._keyring.signing(project)
        access = self._tokens.write(project, family, claims, key_id=key_id, private_key=private_key, now=self._clock.now())
        return access, refresh_token(self._box, project, family)

    async def refresh(self, project: Project, token: str) -> Family:
        """The session in its next generation. The token before works on for ten seconds, giving the same successor, until
        that is used; any later use of a used token ends the session. Raises Unauthenticated (`bad_token`).
        """
        named = read_refresh_token(token)
        salt = await store.salt_of(self._db, project.schema, named[0]) if named else None
        if named is None or salt is None or not proves(self._box, project, salt, token):
            raise _bad_refresh_token()
        session_id, generation = named
        judged = await store.rotate(self._db, project.schema, session_id, generation, idle_s=self._idle_s, grace_s=GRACE_S)
        if judged is None:
            raise _bad_refresh_token()
        family, lives = judged
        if not lives:
            self._news.add_ended(project, [session_id])
            raise _bad_refresh_token()
        return family

    async def list(self, project: Project, user_id: UUID) -> list[SessionEntry]:
        """The user's living sessions, newest first."""
        return await store.sessions(self._db, project.schema, user_id)

    async def end(self, project: Project, user_id: UUID, *, only: UUID | None = None, but: UUID | None = None) -> int:
        """End the user's sessions: all, `only` one, or all `but` one. Their access tokens die here now, elsewhere within
        five seconds. How many there were.
        """
        ended = await store.end_sessions(self._db, project.schema, user_id, only=only, but=but)

        async def tell() -> None:
            self._news.add_ended(project, ended)

        await self._db.when_committed(tell)
        return len(ended)

    async def end_within(self, tx: Queries, project: Project, user_id: UUID, *, but: UUID | None = None) -> None:
        """The same as a part of the caller's transaction, which calls `have_changed` once it has committed."""
        await store.end_sessions(tx, project.schema, user_id, but=but)

    async def have_changed(self, project: Project) -> None:
        """A transaction of this server has ended sessions or changed claims: let it be seen at once, or as soon as it has
        committed.
        """

        async def tell() -> None:
            self._news.reread(project)

        await self._db.when_committed(tell)

    async def principal(self, token: str, project: Project | None) -> Principal:
        """Whose access token this is. Verified once, then known by its text until it expires; whether its session has ended or
        its claims have changed is looked up each time. Raises Unauthenticated (`bad_token`).
        """
        verified = self._verified.get(token)
        if verified is None:
            project = project or await self._audience(token)
            verified = await self._verify(token, project)
        elif project is None:
            project = await self._projects.by_id(UUID(verified.principal.project_id))
        principal = verified.principal
        if project is None or principal.project_id != project.key or verified.expires_at <= self._clock.now().timestamp():
            self._verified.pop(token, None)
            raise _bad_token()
        news = await self._news.of(project)
        if principal.session_id in news.ended:
            raise _bad_token()
        changed = news.claims.get(principal.id)
        if changed is not None and changed[0] > verified.version:
            return await self._with_new_claims(project, token, verified, changed[0])
        return principal

    async def _with_new_claims(self, project: Project, token: str, verified: _Verified, version: int) -> Principal:
        """The same caller with the claims of now in place of those that his token says."""
        claims = await store.claims_of(self._db, project.schema, UUID(verified.principal.id))
        principal = replace(verified.principal, claims=claims.as_rules_see_them())
        if self._verified.get(token) is verified:
            # The account may be gone, and its claims with it: then there is nothing newer to wait for either.
            self._verified[token] = verified._replace(principal=principal, version=max(version, claims.version))
        return principal

    async def _audience(self, token: str) -> Project:
        """Outside of a project a token is still known as what it is, and its routes refuse it as such."""
        named = audience_of(token)
        project = await self._projects.by_id(named) if named else None
        if project is None:
            raise _bad_token()
        return project

    async def _verify(self, token: str, project: Project) -> _Verified:
        key_id, changes = key_id_of(token), self._keyring.changes
        public_key = await self._keyring.verifying(project, key_id) if key_id else None
        claims = self._tokens.read(project, token, public_key=public_key) if public_key else None
        if claims is None:
            raise _bad_token()
        principal = Principal("user", claims.user_id, project.key, claims.session_id)
        if claims.claims != NONE:
            principal = replace(principal, claims=claims.claims.as_rules_see_them())
        verified = _Verified(principal, claims.expires_at, claims.claims.version)
        if changes != self._keyring.changes:
            return verified  # its key may have been dropped meanwhile: the next request asks again
        if len(self._verified) >= _KEEP_MOST:
            # The oldest went in first, and tokens are all given the same life.
            del self._verified[next(iter(self._verified))]
        self._verified[token] = verified
        return verified

    def _forget(self, project_id: str) -> None:
        """The project has other keys. Which one proved a token is not kept: all of them are proven again, once."""
        self._verified = {token: one for token, one in self._verified.items() if one.principal.project_id != project_id}


def _bad_token() -> Unauthenticated:
    return Unauthenticated("The credential is damaged, expired, or not for this project.", code="bad_token")


def _bad_refresh_token() -> Unauthenticated:
    return Unauthenticated("The refresh token is damaged, expired or used; sign in again.", code="bad_token")
