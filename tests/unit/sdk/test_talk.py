"""The state of a channel without a line: what a server says when it ends one, and when a token is renewed."""

import json

import pytest
from baas_sdk.errors import APIError, NotAuthenticated
from baas_sdk.retry import renewal_in_s
from baas_sdk.talk import Hearing


def test_a_server_that_stops_says_how_long_to_stay_away() -> None:
    hearing = Hearing("lobby")
    hearing.take(json.dumps({"type": "reconnect", "cursor": "x", "after_ms": 1500}))
    assert hearing.pause_s == 1.5


@pytest.mark.parametrize(("status", "kind"), [(401, NotAuthenticated), (422, APIError)])
def test_an_end_is_the_problem_that_it_says(status: int, kind: type[APIError]) -> None:
    said = {"type": "closed", "status": status, "code": "some_code", "title": "t", "detail": "d", "request_id": "r"}
    with pytest.raises(kind) as caught:
        Hearing("lobby").take(json.dumps(said))
    assert (caught.value.status, caught.value.code, caught.value.request_id) == (status, "some_code", "r")


@pytest.mark.parametrize(("left_s", "wait_s"), [(900, 870), (61, 31), (30, 15), (4, 2), (0, 0.5), (-5, 0.5)])
def test_a_token_is_renewed_before_it_ends(left_s: float, wait_s: float) -> None:
    """Half a minute before, or halfway when it does not live that long; never without a pause."""
    assert renewal_in_s(left_s) == wait_s
