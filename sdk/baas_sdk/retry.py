"""When a call may be sent again, and after how long. Pure: the clock and the dice are the caller's."""

from collections.abc import Callable
from enum import Enum

from baas_sdk.errors import APIError, BaasError, ConnectionFailed

LONGEST_WAIT_S = 60.0
"""A server that asks for a longer pause gets none: the caller hears of it at once."""


class Repeat(Enum):
    """What a call's repetition can do.

    KEYED: nothing: every attempt has the same Idempotency-Key, and the server answers what it answered first.
    SAFE: nothing more than the first one, without a key: reads, and what is the same when done twice.
    UNSENT: harm, if the first one arrived. Repeated only when it certainly had no effect. What the server takes no key for.
    """

    KEYED = "keyed"
    SAFE = "safe"
    UNSENT = "unsent"


def uncertain(error: BaasError) -> bool:
    """Whether the call may have taken effect although it failed: no answer, or one of 5xx. A 4xx changed nothing."""
    if isinstance(error, APIError):
        return error.status >= 500
    return isinstance(error, ConnectionFailed) and error.sent


def wait_s(error: BaasError, *, attempt: int, repeat: Repeat, dice: Callable[[], float]) -> float | None:
    """Seconds until the next attempt, or None when there must be none. `attempt` counts from 0; `dice` gives 0 ≤ x < 1.

    Full jitter under 0.5 s doubling to 8 s; a `Retry-After` is kept to the second, and a tenth more so that waiters spread.
    """
    if not _passing(error) or (repeat is Repeat.UNSENT and uncertain(error)):
        return None
    asked = error.retry_after if isinstance(error, APIError) else None
    if asked is None:
        return dice() * min(8.0, 0.5 * float(1 << min(attempt, 10)))
    return asked * (1 + 0.1 * dice()) if asked <= LONGEST_WAIT_S else None


def _passing(error: BaasError) -> bool:
    """Whether the trouble may be gone the next time."""
    if isinstance(error, APIError):
        return error.status in (408, 429, 502, 503, 504) or error.code == "idempotency_in_progress"
    return isinstance(error, ConnectionFailed)
