"""What must be stored and read back (signing keys, later webhook and provider secrets): AES-256-GCM under the server's key.

Every use has its own key, derived by HKDF-SHA256 (RFC 5869), so a value sealed for one purpose opens for no other.
"""

import hashlib
import hmac
import os

from baas.base.errors import Internal

_VERSION = b"\x01"
_KEY_ID_BYTES = 4
_NONCE_BYTES = 12
MIN_KEY_BYTES = 32


class SealBroken(Internal):
    """Sealed under another server key, for another purpose, or altered."""

    default_code = "seal_broken"


class SecretBox:
    """Seals and opens bytes, and makes keyed digests.

    `key` seals; `older` keys only open, which is how the server's key can be changed without losing anything.
    Raises ValueError for a key under 32 bytes.
    """

    def __init__(self, key: bytes, *older: bytes) -> None:
        if any(len(one) < MIN_KEY_BYTES for one in (key, *older)):
            raise ValueError(f"a secret key has at least {MIN_KEY_BYTES} bytes")
        self._key = key
        self._by_id = {_key_id(one): one for one in (*older, key)}

    def seal(self, plain: bytes, *, purpose: str) -> bytes:
        """version 1 · key id 4 · nonce 12 · ciphertext and tag; `purpose` names the place it is kept in, and binds it there."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        head = _VERSION + _key_id(self._key)
        nonce = os.urandom(_NONCE_BYTES)
        return head + nonce + AESGCM(_derive(self._key, "seal")).encrypt(nonce, plain, head + purpose.encode())

    def open(self, sealed: bytes, *, purpose: str) -> bytes:
        """What was sealed for this purpose. Raises SealBroken."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        head, rest = sealed[: 1 + _KEY_ID_BYTES], sealed[1 + _KEY_ID_BYTES :]
        key = self._by_id.get(head[1:])
        if head[:1] != _VERSION or key is None or len(rest) < _NONCE_BYTES:
            raise SealBroken("A stored secret was sealed under another secret key.")
        nonce, sealed_text = rest[:_NONCE_BYTES], rest[_NONCE_BYTES:]
        try:
            return AESGCM(_derive(key, "seal")).decrypt(nonce, sealed_text, head + purpose.encode())
        except InvalidTag:
            raise SealBroken("A stored secret does not open: altered, or moved from another place.") from None

    def digest(self, message: bytes, *, purpose: str) -> bytes:
        """32 bytes that only a holder of the server's key can make (HMAC-SHA256)."""
        return hmac.digest(_derive(self._key, f"digest {purpose}"), message, "sha256")


def _derive(key: bytes, use: str) -> bytes:
    """One HKDF block: extract with a fixed salt, expand to 32 bytes (RFC 5869, section 2, with L = 32 and SHA-256)."""
    extracted = hmac.digest(b"baas", key, "sha256")
    return hmac.digest(extracted, use.encode() + b"\x01", "sha256")


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(_derive(key, "key id")).digest()[:_KEY_ID_BYTES]
