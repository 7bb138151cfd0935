"""When a call is sent again."""

import pytest
from baas_sdk import APIError, ConfigError, ConnectionFailed, TimedOut
from baas_sdk.retry import wait_s

REFUSED = ConnectionFailed("", sent=False)
CUT = ConnectionFailed("")


def status(code: int, retry_after: float | None = None) -> APIError:
    return APIError(code, code="x", retry_after=retry_after)


@pytest.mark.parametrize("error", [REFUSED, TimedOut("", sent=False), status(408), status(429)])
def test_what_had_no_effect_is_repeated(error: ConnectionFailed | APIError) -> None:
    assert wait_s(error, attempt=0, dice=lambda: 0.5) is not None


@pytest.mark.parametrize("error", [CUT, TimedOut(""), status(502), status(503), status(504)])
def test_what_may_have_had_an_effect_is_repeated_under_its_key(error: ConnectionFailed | APIError) -> None:
    assert wait_s(error, attempt=0, dice=lambda: 0.5) is not None


@pytest.mark.parametrize("error", [status(code) for code in (400, 401, 403, 404, 409, 412, 422, 500, 501, 507)])
def test_what_would_fail_again_is_not_repeated(error: APIError) -> None:
    assert wait_s(error, attempt=0, dice=lambda: 0.5) is None


def test_nothing_is_repeated_that_was_never_sendable() -> None:
    assert wait_s(ConfigError("x"), attempt=0, dice=lambda: 0.5) is None


def test_the_pause_doubles_to_eight_seconds_under_full_jitter() -> None:
    longest = [wait_s(CUT, attempt=n, dice=lambda: 1.0) for n in (0, 1, 2, 3, 4, 5, 60)]

    assert [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0] == longest
    assert 0.0 == wait_s(CUT, attempt=3, dice=lambda: 0.0)


def test_retry_after_is_kept_up_to_a_minute() -> None:
    assert 3.0 == wait_s(status(429, 3), attempt=0, dice=lambda: 0.0)
    assert 60.0 == wait_s(status(503, 60), attempt=0, dice=lambda: 0.0)
    assert wait_s(status(429, 61), attempt=0, dice=lambda: 0.0) is None
