"""Secret API keys of a project."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from baas.base.errors import Conflict, Forbidden, NotFound, Unauthenticated
from baas.base.ids import is_token, new_token, token_hash, uuid7
from baas.base.principal import Principal
from baas.base.project import Project
from baas.features.projects import store
from baas.features.projects.model import SCOPES, ApiKey
from baas.infra.db.errors import ReferenceViolated
from baas.infra.db.listen import Invalidations, announce
from baas.infra.db.pool import Database

PREFIX = "sk"
MOST_PER_PROJECT = 200
_HINT_CHARS = 9
_KEEP_S = 60.0
_KEEP_MOST = 10_000


class _Held(NamedTuple):
    principal: Principal
    until: float


class Keys:
    """Makes, lists and revokes keys, and knows whose a key is; a revoked key is nothing within two seconds everywhere."""

    def __init__(self, db: Database, invalidations: Invalidations) -> None:
        self._db = db
        self._invalidations = invalidations
        self._held: dict[bytes, _Held] = {}
        self._changes = 0
        invalidations.on("key", self._forget)
        invalidations.on("project", self._forget_project)

    async def create(
        self, project: Project, maker: Principal, *, name: str, scopes: tuple[str, ...], life: timedelta | None
    ) -> tuple[ApiKey, str]:
        """A new key and its secret, which is stored as a hash only and cannot be shown again.

        Raises Forbidden (`scope_missing`) when `maker` is a key without a scope it wants to give, Conflict (`too_many_keys`).
        """
        for scope in scopes if "*" not in scopes else SCOPES:
            if not maker.may(scope):
                raise Forbidden(f"A key without the scope {scope!r} cannot give it.", code="scope_missing", scope=scope)
        secret = new_token(PREFIX)
        async with self._db.transaction() as tx:
            if await store.count_keys(tx, project.id) >= MOST_PER_PROJECT:
                raise Conflict(f"A project has at most {MOST_PER_PROJECT} keys; delete one first.", code="too_many_api_keys")
            try:
                key = await store.insert_key(
                    tx,
                    project.id,
                    key_id=uuid7(),
                    name=name,
                    digest=token_hash(secret),
                    hint=secret[:_HINT_CHARS],
                    scopes=scopes,
                    life=life,
                )
            except ReferenceViolated:
                raise NotFound("No such project.") from None
        return key, secret

    async def list(self, project: Project) -> list[ApiKey]:
        """All keys of the project, oldest first, without their secrets."""
        return await store.keys(self._db, project.id)

    async def get(self, project: Project, key_id: UUID) -> ApiKey:
        """One key, without its secret. Raises NotFound."""
        key = await store.key(self._db, project.id, key_id)
        if key is None:
            raise NotFound("No such key.")
        return key

    async def revoke(self, project: Project, key_id: UUID) -> None:
        """Delete a key. Raises NotFound."""
        async with self._db.transaction() as tx:
            found = await store.delete_key(tx, project.id, key_id)
            await announce(tx, "key", str(key_id))
        await self._invalidations.catch_up()
        if not found:
            raise NotFound("No such key.")

    async def principal(self, token: str, project: Project | None) -> Principal:
        """Whose key this is, from memory except the first time in a minute. Raises Unauthenticated (`bad_token`).

        A key is good in its own project only; outside of any project it is known, and its routes refuse it.
        """
        if not is_token(token, PREFIX):
            raise bad_token()
        digest = token_hash(token)
        held = self._held.get(digest)
        principal = held.principal if held and held.until > time.monotonic() else await self._read(digest)
        if project is not None and principal.project_id != project.key:
            raise bad_token()
        return principal

    async def _read(self, digest: bytes) -> Principal:
        changes = self._changes
        row = await store.key_by_digest(self._db, digest)
        if row is None:
            self._held.pop(digest, None)
            raise bad_token()
        principal = Principal("key", str(row["id"]), str(row["project"]), scopes=frozenset(row["scopes"]))
        if changes == self._changes:
            if len(self._held) >= _KEEP_MOST:
                self._held.clear()
            life = _KEEP_S if row["life"] is None else min(_KEEP_S, row["life"])
            self._held[digest] = _Held(principal, time.monotonic() + life)
        return principal

    def _forget(self, key_id: str) -> None:
        self._drop(lambda principal: principal.id == key_id)

    def _forget_project(self, project_id: str) -> None:
        self._drop(lambda principal: principal.project_id == project_id)

    def _drop(self, unwanted: Callable[[Principal], bool]) -> None:
        self._changes += 1
        self._held = {digest: held for digest, held in self._held.items() if not unwanted(held.principal)}


def bad_token() -> Unauthenticated:
    """One answer for damaged, unknown, expired, revoked and foreign credentials."""
    return Unauthenticated("The credential is damaged, expired, or not for this project.", code="bad_token")
