"""Readiness: may this process be given work? Each part is asked at most once a second, under its own time limit."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

Check = Callable[[], Awaitable[bool]]
"""True when the part can work; False or any error when it cannot."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """`parts` says for each part `ok`, `failing` or `slow`; `server` is `ok` or `draining`. No reasons: those are in the log."""

    ready: bool
    parts: Mapping[str, str]


class Health:
    """Asks the parts. Many callers at once share one round of questions, and its answer is kept for `keep_s`."""

    def __init__(
        self,
        checks: Mapping[str, Check],
        *,
        draining: Callable[[], bool],
        limit_s: float = 2.0,
        keep_s: float = 1.0,
    ) -> None:
        self._checks = dict(checks)
        self._draining = draining
        self._limit_s = limit_s
        self._keep_s = keep_s
        self._asked = asyncio.Lock()
        self._known: dict[str, str] = {}
        self._known_at = float("-inf")

    async def readiness(self) -> Readiness:
        """The state of every part; never raises, never takes longer than `limit_s` and a little."""
        async with self._asked:
            if time.monotonic() - self._known_at > self._keep_s:
                answers = await asyncio.gather(*(self._ask(check) for check in self._checks.values()))
                self._known = dict(zip(self._checks, answers, strict=True))
                self._known_at = time.monotonic()
        parts = {**self._known, "server": "draining" if self._draining() else "ok"}
        return Readiness(all(state == "ok" for state in parts.values()), parts)

    async def _ask(self, check: Check) -> str:
        try:
            async with asyncio.timeout(self._limit_s):
                return "ok" if await check() else "failing"
        except TimeoutError:
            return "slow"
        except Exception:  # whatever a part throws, it is not ready; the part logs its own reasons
            return "failing"
