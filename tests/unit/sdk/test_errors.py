"""What an answer of 400 and more becomes."""

import json

import pytest
from baas_sdk import APIError, BadRequest, Conflict, Forbidden, Invalid, NotAuthenticated, NotFound, ServerError
from baas_sdk.errors import PreconditionFailed, RateLimited, TooLarge, error_of


def of(status: int, headers: dict[str, str] | None = None, **problem: object) -> APIError:
    return error_of(status, headers or {}, json.dumps(problem).encode())


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequest),
        (401, NotAuthenticated),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (412, PreconditionFailed),
        (413, TooLarge),
        (418, APIError),
        (422, Invalid),
        (429, RateLimited),
        (500, ServerError),
        (507, ServerError),
    ],
)
def test_the_status_chooses_the_class(status: int, kind: type[APIError]) -> None:
    assert type(of(status, code="x")) is kind


def test_the_text_says_what_where_and_which_request() -> None:
    error = of(
        422,
        code="invalid",
        detail="Two faults.",
        request_id="0199",
        errors=[{"pointer": "/title", "code": "required", "message": "Say one."}],
    )

    assert "422 invalid: Two faults.\n  /title: Say one. (request 0199)" == str(error)


def test_faults_are_found_by_field() -> None:
    errors = [
        {"pointer": "/title", "code": "required", "message": ""},
        {"pointer": "/items/0/a~1b", "code": "c", "message": ""},
        {"pointer": "", "code": "whole", "message": ""},
    ]
    error = of(422, code="invalid", errors=errors)

    assert isinstance(error, Invalid)
    assert {"title": "required", "items.0.a/b": "c", "": "whole"} == {name: found[0].code for name, found in error.fields.items()}


def test_facts_beyond_the_standard_are_kept() -> None:
    assert 7 == of(400, code="bad_filter", position=7).facts["position"]


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[1]", b'"x"', b"\xff", b'{"code": 3, "errors": 5}', b'{"errors": [1, {"pointer": 2}]}']
)
def test_an_answer_that_is_no_problem_still_makes_an_error(body: bytes) -> None:
    error = error_of(502, {"X-Request-Id": "r1"}, body)

    assert (502, "http_502", "r1") == (error.status, error.code, error.request_id)


@pytest.mark.parametrize(
    ("header", "seconds"), [("3", 3.0), ("-1", None), ("Fri, 20 Nov 2026 10:00:00 GMT", None), ("1e9", None)]
)
def test_retry_after_is_read_in_seconds(header: str, seconds: float | None) -> None:
    assert seconds == of(429, {"Retry-After": header}).retry_after


def test_the_problem_comes_back_as_it_was_sent() -> None:
    problem = {"title": "T", "status": 409, "code": "c", "detail": "d", "request_id": "r", "broken": ["x"]}

    assert problem == error_of(409, {}, json.dumps(problem).encode()).problem()
