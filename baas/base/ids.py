"""Identifiers and random tokens."""

import hashlib
import os
import secrets
import time
import uuid
import zlib

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


def uuid7() -> uuid.UUID:
    """A time-ordered UUID (RFC 9562, section 5.7): 48 bits of Unix milliseconds, then 74 random bits."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    return uuid.UUID(int=value)


def short_id(length: int = 10) -> str:
    """A random name of lower-case letters and digits, about 5 bits a character; for schema and blob names."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def new_token(prefix: str) -> str:
    """A 256-bit secret as `<prefix>_<43 characters><6 hex digits of CRC-32>`: scanners know it, typos show early."""
    body = secrets.token_urlsafe(32)
    return f"{prefix}_{body}{_checksum(body)}"


def is_token(text: str, prefix: str) -> bool:
    """Whether `text` has the shape and the checksum of a token with this prefix; says nothing about its validity."""
    head, _, body = text.partition("_")
    return head == prefix and len(body) == 49 and _checksum(body[:-6]) == body[-6:]


def token_hash(token: str) -> bytes:
    """SHA-256 of a random token, which is how it is stored; a 256-bit secret needs no slow hash."""
    return hashlib.sha256(token.encode()).digest()


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()) & 0xFFFFFF:06x}"
