"""The edge in front of the whole server: the same refusals, by the doors that are really there."""

import re

import httpx2
import pytest

from baas.server import Server
from tests.support.callers import ProjectUnderTest

PROBLEM = {"type", "title", "status", "code", "detail", "instance", "request_id"}


async def test_health_readiness_and_figures(http: httpx2.AsyncClient) -> None:
    """The process, its parts, its counters; the figures have templates for routes, not paths."""
    alive, ready = await http.get("/healthz"), await http.get("/readyz")
    figures = await http.get("/metrics")

    assert {"status": "ok"} == alive.json()
    assert ("ready", {"ok"}) == (ready.json()["status"], set(ready.json()["parts"].values()))
    assert 'baas_requests_total{method="GET",route="/healthz",status="200"' in figures.text
    assert "/v1/projects/t-" not in figures.text


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
        {"Via": "1.1 proxy"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic eDp5"},
    ],
)
async def test_figures_are_not_for_everyone(http: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    """Behind a proxy that nobody named everyone seems to sit on this machine, so a trace of one takes the privilege away."""
    answer = await http.get("/metrics", headers=headers)

    assert 401 == answer.status_code
    assert "baas_requests" not in answer.text


async def test_figures_from_elsewhere_need_an_operator(server: Server, operator_token: str) -> None:
    """Another address gets 401, an operator's token opens."""
    transport = httpx2.ASGITransport(server.app, client=("192.0.2.9", 1))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as elsewhere:
        refused = await elsewhere.get("/metrics")
        spoofed = await elsewhere.get("/metrics", headers={"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1"})
        shown = await elsewhere.get("/metrics", headers={"Authorization": f"Bearer {operator_token}"})

    assert (401, 401, 200) == (refused.status_code, spoofed.status_code, shown.status_code)


@pytest.fixture
def operator_token(operator: object) -> str:
    return str(operator.token)  # type: ignore[attr-defined]


async def test_every_endpoint_refuses_strangers_with_a_problem(
    server: Server, http: httpx2.AsyncClient, project: ProjectUnderTest
) -> None:
    """Made from the route table: with a damaged credential nothing answers, not even what `anyone` may call; without one, what
    asks for one does not (threat model A1, A8).
    """
    damaged = bare = 0
    for endpoint in server.app.endpoints:  # type: ignore[attr-defined]
        if not endpoint.path.startswith("/v1"):
            continue
        path = re.sub(r"\{[a-z][a-z0-9_]*(:[a-z]+)?\}", "x", endpoint.path.replace("{project}", project.name))
        for headers in [{"Authorization": "Bearer wrong"}, *([] if endpoint.policy.who == "anyone" else [{}])]:
            answer = await http.request(endpoint.method, path, headers=headers)
            assert answer.status_code == 401, (endpoint.method, path, headers, answer.text)
            assert answer.headers["www-authenticate"].startswith("Bearer")
            if endpoint.method != "HEAD":
                assert set(answer.json()) >= PROBLEM
            damaged, bare = damaged + bool(headers), bare + (not headers)
    print({"with a damaged credential": damaged, "without one": bare})
    assert damaged > 80
    assert bare > 40


async def test_every_endpoint_of_a_project_holds_its_policy(server: Server, project: ProjectUnderTest) -> None:
    """The parity of routes and policies: guests and users hear 401 and 403 wherever the policy says so, never 5xx."""
    user = await project.user()
    cells = 0
    for endpoint in server.app.endpoints:  # type: ignore[attr-defined]
        if "{project}" not in endpoint.path or endpoint.policy.who not in ("scope", "operator"):
            continue
        path = re.sub(r"\{[a-z][a-z0-9_]*(:[a-z]+)?\}", "x", endpoint.path.replace("{project}", project.name))
        for caller, status in ((project.anonymous, 401), (user, 403)):
            answer = await caller.request(endpoint.method, path)
            assert answer.status_code == status, (endpoint.method, path, answer.status_code, answer.text)
            cells += 1
    assert cells > 20


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "bad_json"),
        (b"{", 400, "bad_json"),
        (b'{"title":NaN}', 400, "bad_json"),
        (b"\xff", 400, "bad_json"),
        (b'{"title":"a","title":"b"}', 400, "duplicate_key"),
        (b'{"title":"\\u0000"}', 422, "nul"),
        (b'{"title":"\\ud800"}', 422, "lone_surrogate"),
        (b'{"n":9223372036854775808}', 422, "number_out_of_range"),
        (b'{"n":1e131072}', 422, "number_out_of_range"),
        (b'{"title":' + b"[" * 50_000, 422, "too_deep"),
        (b'"text"', 422, None),
        (b'{"title":"' + b"x" * 1_100_000 + b'"}', 413, "too_large"),
    ],
)
async def test_what_no_database_can_keep_never_reaches_it(
    project: ProjectUnderTest, body: bytes, status: int, code: str | None
) -> None:
    """Through the records' own door: nothing is written, the code names the fault."""
    await project.collection("notes", fields=[{"name": "title", "type": "text"}, {"name": "n", "type": "int"}])
    answer = await project.operator.post("collections/notes/records", content=body, headers={"Content-Type": "application/json"})

    assert status == answer.status_code, answer.text
    assert code in (None, answer.json()["code"])
    assert [] == await project.operator.list("notes")
