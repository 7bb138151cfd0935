"""The signing keys of each project: made with it, sealed at rest, several at a time so that they can be exchanged."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from baas.base.errors import Internal
from baas.base.ids import short_id
from baas.base.project import Project
from baas.features.auth import store
from baas.features.auth.tokens import ALGORITHM
from baas.infra.crypto.secretbox import SecretBox
from baas.infra.db.pool import Database, Transaction

_KEEP_S = 60.0
# A token may name a key that another server has just made; strangers naming keys that never were must not cost a query each.
_REREAD_AFTER_S = 0.1
_KEEP_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Ring:
    """A project's keys that have not retired. `jwks` is what is published."""

    signing_id: str
    signing_key: Any
    public_keys: Mapping[str, Any]
    jwks: Mapping[str, object]
    read_at: float


class Keyring:
    """Finds the key to sign with and the keys to verify with, from memory except once a minute."""

    def __init__(self, db: Database, box: SecretBox) -> None:
        self._db = db
        self._box = box
        self._rings: dict[UUID, Ring] = {}
        self._asked_anew: dict[UUID, float] = {}

    async def found(self, tx: Transaction, project: Project) -> None:
        """Give a new project its tables' finishing touch and its first key, in the transaction that makes it."""
        await store.watch_users(tx, project.schema)
        await self.add(tx, project)

    async def add(self, tx: Transaction, project: Project) -> None:
        """Make a key that signs from now on; those before it go on verifying. Other servers follow within a minute."""
        from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
        from jwt.algorithms import ECAlgorithm

        private, key_id = generate_private_key(SECP256R1()), short_id(16)
        public = ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
        published = {"kid": key_id, "alg": ALGORITHM, "use": "sig", **{name: public[name] for name in ("kty", "crv", "x", "y")}}
        der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        sealed = self._box.seal(der, purpose=_place(project, key_id))
        await store.insert_token_key(tx, project.schema, key_id, published, sealed)

    async def signing(self, project: Project) -> tuple[str, Any]:
        """Key id and private key."""
        ring = await self._ring(project)
        return ring.signing_id, ring.signing_key

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
        ring = self._rings.get(project.id)
        if ring is None or ring.read_at < time.monotonic() - _KEEP_S:
            ring = await self._read(project)
        return ring

    async def _read(self, project: Project) -> Ring:
        from cryptography.hazmat.primitives.serialization import load_der_private_key
        from jwt.algorithms import ECAlgorithm

        keys = await store.token_keys(self._db, project.schema)
        signing = next((key for key in keys if key["signs"]), None)
        if signing is None:
            raise Internal(f"Project {project.id} has no key to sign with.")
        private = self._box.open(signing["private_key"], purpose=_place(project, signing["id"]))
        published = {key["id"]: store.public_key_of(key) for key in keys}
        ring = Ring(
            signing["id"],
            load_der_private_key(private, password=None),
            {key_id: ECAlgorithm.from_jwk(dict(jwk)) for key_id, jwk in published.items()},
            {"keys": list(published.values())},
            time.monotonic(),
        )
        if len(self._rings) >= _KEEP_MOST:
            self._rings.clear()
            self._asked_anew.clear()
        self._rings[project.id] = ring
        return ring


def _place(project: Project, key_id: str) -> str:
    return f"token key {project.id} {key_id}"
