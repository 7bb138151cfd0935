"""When a call is sent again, and after how long. Pure: the clock and the dice are the caller's.

That a repeated call does no more than the first is the transport's business: a write has one Idempotency-Key on every attempt.
"""

from collections.abc import Callable

from baas_sdk.errors import APIError, BaasError, ConnectionFailed

SOON_S = 30.0
LONGEST_WAIT_S = 60.0
"""A server that asks for a longer pause gets none: the caller hears of it at once."""


def wait_s(error: BaasError, *, attempt: int, dice: Callable[[], float]) -> float | None:
    """Seconds until the next attempt, or None when there must be none. `attempt` counts from 0; `dice` gives 0 ≤ x < 1.

    Full jitter under 0.5 s doubling to 8 s; a `Retry-After` is kept to the second, and a tenth more so that waiters spread.
    """
    if not _passing(error):
        return None
    asked = error.retry_after if isinstance(error, APIError) else None
    if asked is None:
        return dice() * min(8.0, 0.5 * float(1 << min(attempt, 10)))
    return asked * (1 + 0.1 * dice()) if asked <= LONGEST_WAIT_S else None


def renewal_in_s(left_s: float) -> float:
    """Seconds until the token of a line that lasts should be replaced, when the present one ends in `left_s`."""
    return max(0.5, left_s - SOON_S if left_s > 2 * SOON_S else left_s / 2)


def _passing(error: BaasError) -> bool:
    """Whether the trouble may be gone the next time."""
    if isinstance(error, APIError):
        return error.status in (408, 429, 502, 503, 504) or error.code == "idempotency_in_progress"
    return isinstance(error, ConnectionFailed)
