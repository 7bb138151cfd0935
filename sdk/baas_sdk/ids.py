"""Ids made on this side, so that a repeated create is recognised as the same one."""

import os
import time
import uuid


def uuid7() -> str:
    """A time-ordered UUID (RFC 9562, section 5.7): 48 bits of Unix milliseconds, then 74 random bits."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    return str(uuid.UUID(int=value))
