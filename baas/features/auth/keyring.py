"""The signing keys of each project: made with it, sealed at rest, several at a time so that they can be exchanged."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from baas.base.errors import Conflict, Internal, NotFound
from baas.base.ids import short_id
from baas.base.project import Project
from baas.features.auth import store
from baas.features.auth.model import SigningKey
from baas.features.auth.tokens import ALGORITHM
from baas.infra.crypto.secretbox import SecretBox
from baas.infra.db.listen import Invalidations, announce
from baas.infra.db.pool import Database, Transaction

KIND = "signing-keys"
"""What is announced, with the id of the project, when its keys are other ones."""
MOST_PER_PROJECT = 10
# Until every server signs with the new key, and for clocks that differ.
_SPARE_S = 60
_KEEP_S = 60.0
# A token may name a key that another server has just made; strangers naming keys that never were must not cost a query each.
_REREAD_AFTER_S = 0.1
_KEEP_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Ring:
    """A project's keys that have not retired. `jwks` is what is published. Without a key to sign with, others may verify."""

    signing: tuple[str, Any] | None
    public_keys: Mapping[str, Any]
    jwks: Mapping[str, object]
    read_at: float


class Keyring:
    """Finds the key to sign with and the keys to verify with, from memory except once a minute; exchanges keys.

    `life_s` is the life of an access token: so long a key that signs no more goes on verifying. `changes` counts what has been
    announced: who keeps something that a key has proven looks whether it has grown meanwhile.
    """

    def __init__(self, db: Database, box: SecretBox, invalidations: Invalidations, *, life_s: int) -> None:
        self._db = db
        self._box = box
        self._invalidations = invalidations
        self._overlap_s = life_s + _SPARE_S
        self._rings: dict[str, Ring] = {}
        self._asked_anew: dict[UUID, float] = {}
        self.changes = 0
        invalidations.on(KIND, self._forget)

    async def found(self, tx: Transaction, project: Project) -> None:
        """Give a new project its tables' finishing touch and its first key, in the transaction that makes it."""
        await store.watch_users(tx, project.schema)
        await self._make(tx, project)

    async def keys(self, project: Project) -> list[SigningKey]:
        """The keys that have not retired, newest first, without their secrets."""
        return await store.signing_keys(self._db, project.schema)

    async def rotate(self, project: Project) -> SigningKey:
        """A new key that signs from now on, on other servers within two seconds. Those before it verify until no access token
        of theirs can live. Raises Conflict (`too_many_signing_keys`).
        """
        async with self._db.transaction() as tx:
            await store.lock_token_keys(tx, project.schema)
            await store.retire_token_keys(tx, project.schema, after_s=self._overlap_s)
            if len(await store.token_keys(tx, project.schema)) >= MOST_PER_PROJECT:
                raise Conflict(
                    f"A project has at most {MOST_PER_PROJECT} signing keys; drop one, or wait until one has retired.",
                    code="too_many_signing_keys",
                )
            key_id = await self._make(tx, project)
            made = next(key for key in await store.signing_keys(tx, project.schema) if key.id == key_id)
            await announce(tx, KIND, project.key)
        await self._invalidations.catch_up()
        return made

    async def drop(self, project: Project, key_id: str) -> None:
        """Delete a key: what it has signed is nothing here now and within two seconds elsewhere. When it was the one that signs,
        a new one takes its place: one that is about to retire would sign what outlives it. Raises NotFound.
        """
        async with self._db.transaction() as tx:
            await store.lock_token_keys(tx, project.schema)
            if not await store.delete_token_key(tx, project.schema, key_id):
                raise NotFound("No such signing key.")
            if not any(key.signs for key in await store.signing_keys(tx, project.schema)):
                await self._make(tx, project)
            await announce(tx, KIND, project.key)
        await self._invalidations.catch_up()

    async def _make(self, tx: Transaction, project: Project) -> str:
        from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
        from jwt.algorithms import ECAlgorithm

        private, key_id = generate_private_key(SECP256R1()), short_id(16)
        public = ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
        published = {"kid": key_id, "alg": ALGORITHM, "use": "sig", **{name: public[name] for name in ("kty", "crv", "x", "y")}}
        der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        sealed = self._box.seal(der, purpose=_place(project, key_id))
        await store.insert_token_key(tx, project.schema, key_id, published, sealed)
        return key_id

    async def signing(self, project: Project) -> tuple[str, Any]:
        """Key id and private key."""
        ring = await self._ring(project)
        if ring.signing is None:
            raise Internal(f"Project {project.id} has no key to sign with.")
        return ring.signing

    async def verifying(self, project: Project, key_id: str) -> Any | None:
        """The public key with this id, or None."""
        ring = await self._ring(project)
        now = time.monotonic()
        if key_id not in ring.public_keys and self._asked_anew.get(project.id, 0.0) < now - _REREAD_AFTER_S:
            self._asked_anew[project.id] = now
            ring = await self._read(project)
        return ring.public_keys.get(key_id)

    async def jwks(self, project: Project) -> Mapping[str, object]:
        """The public keys as a JWK set (RFC 7517)."""
        return (await self._ring(project)).jwks

    async def _ring(self, project: Project) -> Ring:
        ring = self._rings.get(project.key)
        if ring is None or ring.read_at < time.monotonic() - _KEEP_S:
            ring = await self._read(project)
        return ring

    async def _read(self, project: Project) -> Ring:
        from cryptography.hazmat.primitives.serialization import load_der_private_key
        from jwt.algorithms import ECAlgorithm

        changes = self.changes
        keys = await store.token_keys(self._db, project.schema)
        signing = next((key for key in keys if key["signs"]), None)
        private = self._box.open(signing["private_key"], purpose=_place(project, signing["id"])) if signing else b""
        published = {key["id"]: store.public_key_of(key) for key in keys}
        ring = Ring(
            (signing["id"], load_der_private_key(private, password=None)) if signing else None,
            {key_id: ECAlgorithm.from_jwk(dict(jwk)) for key_id, jwk in published.items()},
            {"keys": list(published.values())},
            time.monotonic(),
        )
        if len(self._rings) >= _KEEP_MOST:
            self._rings.clear()
            self._asked_anew.clear()
        if changes == self.changes:
            self._rings[project.key] = ring
        return ring

    def _forget(self, project_id: str) -> None:
        self.changes += 1
        self._rings.pop(project_id, None)


def _place(project: Project, key_id: str) -> str:
    return f"token key {project.id} {key_id}"
