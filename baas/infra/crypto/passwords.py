"""Passwords: what is acceptable, and argon2id in a bounded pool of threads.

Hashing is slow and takes tens of megabytes on purpose, so the pool and the queue before it are small: a flood of sign-ins is
answered 503 instead of filling the memory.
"""

import asyncio
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

from baas.base.errors import Unavailable

MIN_CHARS = 8
MAX_CHARS = 256
T = TypeVar("T")


class Passwords:
    """argon2id (RFC 9106) with the work factors of the settings.

    Raises Unavailable (`busy`) from every call when `threads` are at work and `queue` callers wait.
    """

    def __init__(self, *, memory_kib: int = 19456, time_cost: int = 2, threads: int = 2, queue: int = 32) -> None:
        self._hasher = _argon2(memory_kib, time_cost)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="password")
        self._places = threading.BoundedSemaphore(threads + queue)
        self._dummy: str | None = None

    async def hash(self, password: str) -> str:
        """The PHC string to store."""
        return await self._run(lambda: str(self._hasher.hash(_normal(password))))

    async def verify(self, password: str, stored: str | None) -> bool:
        """Whether the password is the one stored; with None for `stored` the same work is done and the answer is no."""
        return await self._run(lambda: self._verify(password, stored))

    def is_outdated(self, stored: str) -> bool:
        """Whether the hash was made with other work factors than today's and should be made anew at the next sign-in."""
        return bool(self._hasher.needs_update(stored))

    def close(self) -> None:
        """Finish what runs, drop what waits."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _verify(self, password: str, stored: str | None) -> bool:
        matches = bool(self._hasher.verify(_normal(password), stored or self._dummy_hash()))
        return matches and stored is not None

    def _dummy_hash(self) -> str:
        # Two threads may both make it at first use; either result serves.
        if self._dummy is None:
            self._dummy = str(self._hasher.hash("no account has this password"))
        return self._dummy

    async def _run(self, work: Callable[[], T]) -> T:
        if not self._places.acquire(blocking=False):
            raise Unavailable("Too many sign-ins at once; try again in a moment.", code="busy")
        future: Future[T] = self._pool.submit(work)
        # Released when the thread is done, not when the caller goes away: a cancelled request still holds its memory.
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)


def fault_of(password: str, *, email: str = "") -> tuple[str, str] | None:
    """Why a new password is refused, as (code, message), or None: its length, a place in every attacker's list, the address."""
    if len(password) < MIN_CHARS:
        return "too_short", f"A password has at least {MIN_CHARS} characters."
    if len(password) > MAX_CHARS:
        return "too_long", f"A password has at most {MAX_CHARS} characters."
    folded = _normal(password).casefold()
    if folded in _common() or len(set(folded)) == 1:
        return "too_common", "This password is among the first that anyone would try."
    if email and folded in (email.casefold(), email.partition("@")[0].casefold()):
        return "too_common", "The password must not be the e-mail address."
    return None


def _normal(password: str) -> str:
    """NFKC, so that the same keys give the same password on every keyboard and system (NIST SP 800-63B, 5.1.1.2)."""
    return unicodedata.normalize("NFKC", password)


@cache
def _common() -> frozenset[str]:
    text = files("baas.infra.crypto").joinpath("common_passwords.txt").read_text("utf-8")
    return frozenset(line.strip() for line in text.splitlines() if line and not line.startswith("#"))


def _argon2(memory_kib: int, time_cost: int) -> Any:
    """The hasher of libpass, which imports as `passlib`. Raises RuntimeError when the abandoned passlib has overwritten it."""
    import passlib
    from passlib.hash import argon2

    if passlib.__version__.startswith("1.7"):
        raise RuntimeError(
            "The package 'passlib' has overwritten 'libpass', which this server needs. "
            "Run: pip uninstall -y passlib && pip install --force-reinstall libpass"
        )
    # Loaded now, in one thread: left to the first two hashes at once, passlib's lazy loading fails one of them.
    argon2.set_backend("argon2_cffi")
    return argon2.using(type="ID", memory_cost=memory_kib, time_cost=time_cost, parallelism=1)
