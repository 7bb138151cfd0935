"""The edge through its front door, in this process."""

import asyncio
import re
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from baas.base.errors import BaasError, Fault, Invalid
from baas.infra.http.answers import json_response, send_json
from baas.infra.http.body import read_bytes, stream_body
from baas.infra.http.problem import document
from baas.infra.http.routes import ANYONE, Body, Endpoint
from tests.unit.infra.http.small_app import small_app

WHO = "/v1/projects/app/who"
ECHO = "/v1/projects/app/echo"
EVIL, GOOD = "https://evil.example", "https://good.example"


def problem_of(answer: Any, status: int, code: str) -> dict[str, Any]:
    """The problem document, after checking that it is a whole one."""
    assert (status, code) == (answer.status_code, answer.json()["code"]), answer.text
    body: dict[str, Any] = answer.json()
    assert "application/problem+json" == answer.headers["content-type"]
    assert {"type", "title", "status", "code", "detail", "instance", "request_id"} <= set(body)
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["status"] == answer.status_code
    assert "nosniff" == answer.headers["x-content-type-options"]
    assert "no-store" == answer.headers["cache-control"]
    return body


# ── identity ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_project_and_the_principal_come_from_path_and_credential() -> None:
    """No credential is anonymous; a good one is whoever it names."""
    async with small_app() as app:
        nobody = (await app.http.get(WHO)).json()
        user = (await app.http.get(WHO, headers={"Authorization": "bearer user-token"})).json()
        server = (await app.http.get("/v1/who", headers={"Authorization": "Bearer operator-token"})).json()

    assert ("anonymous", "app") == (nobody["principal"], nobody["project"])
    assert ("user", "app") == (user["principal"], user["project"])
    assert ("operator", None) == (server["principal"], server["project"])


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer wrong",
        "Basic dXNlcjp4",
        "Bearer",
        "Bearer ",
        "user-token",
        "Token user-token",
        "",
        " ",
        "Bearer user-token x",
        "Bearer ü",
    ],
)
async def test_a_bad_credential_is_never_anonymous(authorization: str) -> None:
    """401 with the challenge, whatever is wrong with it."""
    async with small_app() as app:
        answer = await app.http.get(WHO, headers={"Authorization": authorization.encode("utf-8")})

    problem_of(answer, 401, "bad_token")
    assert "Bearer" == answer.headers["www-authenticate"]


async def test_two_credentials_are_none() -> None:
    """Nobody could say which one counts."""
    async with small_app() as app:
        answer = await app.http.get(WHO, headers=[("Authorization", "Bearer user-token"), ("Authorization", "Bearer key-token")])

    problem_of(answer, 400, "bad_header")


async def test_a_token_of_one_project_is_nothing_in_another() -> None:
    """401, as for a damaged one; an unknown project is 404 for everyone, before any credential is looked at."""
    async with small_app() as app:
        problem_of(await app.http.get("/v1/projects/open/who", headers={"Authorization": "Bearer user-token"}), 401, "bad_token")
        answers = [
            await app.http.get("/v1/projects/none/who", headers=headers)
            for headers in ({}, {"Authorization": "Bearer operator-token"}, {"Authorization": "Bearer wrong"})
        ]

    assert ["no_project"] * 3 == [problem_of(answer, 404, "no_project")["code"] for answer in answers]
    assert 1 == len({(answer.json()["detail"], answer.json()["title"]) for answer in answers})


async def test_each_policy_admits_its_own_and_nobody_else() -> None:
    """Anonymous callers hear 401, known ones 403; a key must hold the scope."""
    expected = {
        ("/v1/projects/app/mine", None): 401,
        ("/v1/projects/app/mine", "user-token"): 200,
        ("/v1/projects/app/mine", "key-token"): 403,
        ("/v1/projects/app/schema", None): 401,
        ("/v1/projects/app/schema", "user-token"): 403,
        ("/v1/projects/app/schema", "key-token"): 403,
        ("/v1/projects/app/schema", "operator-token"): 200,
        ("/v1/projects/app/things", "key-token"): 200,
        ("/v1/projects/app/things", "operator-token"): 200,
        ("/v1/projects", None): 401,
        ("/v1/projects", "operator-token"): 200,
    }
    async with small_app() as app:
        seen = {}
        for path, token in expected:
            answer = await app.http.get(path, headers={"Authorization": f"Bearer {token}"} if token else {})
            seen[path, token] = answer.status_code

    assert expected == seen


# ── hosts ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "localhost", "LOCALHOST:1", "localhost.", "[::1]:8000", "api.example", "extra.example"]
)
async def test_the_servers_own_names_are_answered(host: str) -> None:
    """Loopback, the public address, and what the operator added; case, port and a final dot do not matter."""
    async with small_app(public_url="https://api.example", hosts=("Extra.Example",)) as app:
        assert 200 == (await app.http.get(WHO, headers={"Host": host})).status_code


@pytest.mark.parametrize(
    ("host", "status", "code"),
    [
        ("evil.example", 421, "wrong_host"),
        ("localhost.evil.example", 421, "wrong_host"),
        ("127.0.0.1.nip.io", 421, "wrong_host"),
        ("192.168.0.1", 421, "wrong_host"),
        ("nobody.localhost", 421, "wrong_host"),
        ("app.localhost.evil.example", 421, "wrong_host"),
        ("", 400, "bad_host"),
        ("localhost/x", 400, "bad_host"),
        ("localhost@evil.example", 400, "bad_host"),
        ("a b", 400, "bad_host"),
        ("localhost,evil.example", 400, "bad_host"),
        ("localhost:port", 400, "bad_host"),
        ("[::1", 400, "bad_host"),
        ("localhost:8000:8000", 400, "bad_host"),
        ("löcalhost", 400, "bad_host"),
    ],
)
async def test_any_other_host_is_refused(host: str, status: int, code: str) -> None:
    """421 for names that are not ours, 400 for what is no name; for pages and health as for the API."""
    async with small_app() as app:
        for path in (WHO, "/docs", "/healthz", "/"):
            problem_of(await app.http.get(path, headers={"Host": host.encode("utf-8")}), status, code)


async def test_exactly_one_host_is_needed() -> None:
    """Two, even equal ones, and none at all are 400 (threat model W1)."""
    async with small_app() as app:
        two = await app.http.get(WHO, headers=[("Host", "localhost"), ("Host", "localhost")])
        status = await _raw_status(app.edge, [])

    problem_of(two, 400, "bad_host")
    assert 400 == status


async def _raw_status(edge: Any, headers: list[tuple[bytes, bytes]], **more: Any) -> int:
    seen: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        seen.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": WHO,
        "raw_path": WHO.encode(),
        "query_string": b"",
        "headers": headers,
        "client": ("192.0.2.7", 1),
        "scheme": "http",
        **more,
    }
    await edge(scope, receive, send)
    return int(seen[0]["status"])


async def test_a_sites_host_serves_the_site_and_its_own_projects_api_only() -> None:
    """`/v1/…` is the project's; another project, the list of projects, the console and health are not there."""
    async with small_app() as app:
        on_site = {"Host": "app.localhost:8000"}

        async def ask(path: str, **headers: str) -> Any:
            return await app.http.get(path, headers={**on_site, **headers})

        short, long = await ask("/v1/who"), await ask(WHO)
        own_user = await ask("/v1/who", Authorization="Bearer user-token")
        refused = [
            await ask(path) for path in ("/v1/projects/open/who", "/v1/projects", "/v1/projects/", "/v1/projects/appx/who")
        ]
        pages = [await ask(path) for path in ("/", "/docs", "/healthz", "/_/setup", "/v1")]

    for answer in (short, long):
        assert ("app", "main", 200) == (answer.json()["project"], answer.json()["site"], answer.status_code)
    assert "user" == own_user.json()["principal"]
    for answer in refused:
        problem_of(answer, 404, "no_project")
    assert {"site main of app"} == {answer.text for answer in pages}


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_head_of_a_request_is_bounded() -> None:
    """414 for the address, 431 for size and number of headers; just below is fine."""
    async with small_app() as app:
        problem_of(await app.http.get(f"{WHO}?q={'x' * 8192}"), 414, "uri_too_long")
        problem_of(await app.http.get(f"/v1/{'x' * 9000}"), 414, "uri_too_long")
        problem_of(await app.http.get(WHO, headers={"X-Long": "x" * 33_000}), 431, "headers_too_large")
        problem_of(await app.http.get(WHO, headers=[(f"X-{number}", "1") for number in range(101)]), 431, "headers_too_large")
        fine = await app.http.get(f"{WHO}?q={'x' * 8000}", headers={"X-Long": "x" * 30_000})

    assert 200 == fine.status_code


async def test_a_body_is_bounded_and_must_be_json() -> None:
    """413 by its length and by its bytes, 415 for other types, 422 for other values, 400 for no JSON."""

    async def pieces() -> Any:
        for _ in range(20):
            yield b'"' + b"x" * 100

    json_type = {"Content-Type": "application/json"}
    async with small_app() as app:
        post = app.http.post
        problem_of(await post(ECHO, content=b"x" * 1001, headers=json_type), 413, "too_large")
        problem_of(await post(ECHO, content=pieces(), headers=json_type), 413, "too_large")
        for content_type in (
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/jsonp",
            "",
        ):
            answer = await post(ECHO, content=b"{}", headers={"Content-Type": content_type})
            problem_of(answer, 415, "unsupported_media_type")
        problem_of(await post(ECHO, content=b"{}"), 415, "unsupported_media_type")
        latin = {"Content-Type": "application/json; charset=latin-1"}
        problem_of(await post(ECHO, content=b"{}", headers=latin), 415, "unsupported_media_type")
        zipped = {**json_type, "Content-Encoding": "gzip"}
        problem_of(await post(ECHO, content=b"{}", headers=zipped), 415, "unsupported_media_type")
        for value in (b"[]", b"1", b"null", b'"x"'):
            problem_of(await post(ECHO, content=value, headers=json_type), 422, "not_an_object")
        for broken in (b"", b"{", b'{"a":NaN}'):
            problem_of(await post(ECHO, content=broken, headers=json_type), 400, "bad_json")
        problem_of(await post(ECHO, content=b'{"a":1,"a":1}', headers=json_type), 400, "duplicate_key")
        deep = problem_of(await post(ECHO, content=b'{"a":' * 40 + b"1" + b"}" * 40, headers=json_type), 422, "too_deep")
        null = problem_of(await post(ECHO, content=b'{"a":"\\u0000"}', headers=json_type), 422, "nul")
        for content_type in (
            "application/json",
            "application/json; charset=utf-8",
            "application/merge-patch+json",
            "Application/JSON",
        ):
            answer = await post(ECHO, content=b'{"a":1}', headers={"Content-Type": content_type})
            assert {"a": 1} == answer.json()

    assert "" == deep["errors"][0]["pointer"]
    assert "/a" == null["errors"][0]["pointer"]


async def test_a_path_that_is_no_text_is_refused() -> None:
    """Control characters and broken UTF-8 name nothing; other writing systems do."""
    things = Endpoint("GET", "/v1/projects/{project}/named/{name}", ANYONE, "", _param)
    async with small_app([things]) as app:
        for bad in ("%00", "%0d%0a", "%7f", "%ff", "%ed%a0%80"):
            problem_of(await app.http.get(f"/v1/projects/app/named/{bad}"), 400, "bad_path")
        fine = await app.http.get("/v1/projects/app/named/%E7%8C%AB%F0%9F%91%A9%E2%80%8D%F0%9F%9A%80")

    assert "猫👩‍🚀" == fine.json()


async def _param(request: Request) -> Response:
    return json_response(request.path_params["name"])


async def test_one_address_may_send_so_many_requests_and_others_go_on() -> None:
    """429 with the rate headers; the count is of the true address, which no header can change, and not of health or pages."""
    async with small_app(api_per_address=5) as app:
        statuses = [
            (
                await app.http.get(WHO, headers={"X-Forwarded-For": f"198.51.100.{number}", "X-Real-IP": f"198.51.100.{number}"})
            ).status_code
            for number in range(6)
        ]
        answer = await app.http.get("/v1/unknown")
        health = await app.http.get("/healthz")
        other = await _raw_status(app.edge, [(b"host", b"localhost")], client=("192.0.2.8", 1))
        same_network = [
            await _raw_status(app.edge, [(b"host", b"localhost")], client=(f"2001:db8::{number}", 1)) for number in range(1, 8)
        ]

    assert [200] * 5 + [429] == statuses
    problem_of(answer, 429, "rate_limited")
    assert {"retry-after", "ratelimit", "ratelimit-policy"} <= set(answer.headers)
    assert '"api";q=5;w=10' == answer.headers["ratelimit-policy"]
    assert (200, 200) == (health.status_code, other)
    assert [200] * 5 + [429] * 2 == same_network


async def test_a_slow_handler_ends_in_503_and_a_slow_body_in_408() -> None:
    """The request has its time; who used it up decides the answer."""

    async def sleep(_request: Request) -> Response:
        await asyncio.sleep(30)
        return Response()

    async def never() -> Any:
        yield b'{"a"'
        await asyncio.sleep(30)

    slow = Endpoint("GET", "/v1/slow", ANYONE, "", sleep)
    async with small_app([slow], request_timeout_s=0.2) as app:
        answer = await app.http.get("/v1/slow")
        problem_of(answer, 503, "timed_out")
        assert "1" == answer.headers["retry-after"]
        body = await app.http.post(ECHO, content=never(), headers={"Content-Type": "application/json"})
        problem_of(body, 408, "request_timeout")
    async with small_app([slow], body_idle_timeout_s=0.1) as app:
        idle = await app.http.post(ECHO, content=never(), headers={"Content-Type": "application/json"})

    problem_of(idle, 408, "request_timeout")
    assert "close" == idle.headers["connection"]


async def test_the_end_of_a_requests_time_is_the_end_of_that_request_only() -> None:
    """A handler that swallows its cancellation is answered for all the same, and the task goes on uncancelled."""
    after: list[int] = []

    async def stubborn(_request: Request) -> Response:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            return json_response("late")
        return Response()

    async def client_task() -> int:
        status = await _raw_status(app.edge, [(b"host", b"localhost")], path="/v1/stubborn", raw_path=b"/v1/stubborn")
        task = asyncio.current_task()
        after.append(task.cancelling() if task else -1)
        await asyncio.sleep(0)
        return status

    async with small_app([Endpoint("GET", "/v1/stubborn", ANYONE, "", stubborn)], request_timeout_s=0.1) as app:
        assert 200 == await asyncio.ensure_future(client_task())
        cut = asyncio.ensure_future(client_task())
        await asyncio.sleep(0.01)
        cut.cancel()
        assert 200 == await cut, "the handler's own answer, its cancellation came from outside"

    assert [0, 1] == after


async def test_an_upload_has_more_time_and_its_own_size() -> None:
    """A streaming endpoint goes past the request's time, not past the upload's."""

    async def upload(request: Request) -> Response:
        total = 0
        async for chunk in stream_body(request, limit=10_000):
            total += len(chunk)
        return json_response(total)

    async def slowly() -> Any:
        for _ in range(4):
            yield b"x" * 1000
            await asyncio.sleep(0.1)

    endpoint = Endpoint("PUT", "/v1/projects/{project}/upload", ANYONE, "", upload, streams=True, request=Body({}))
    async with small_app([endpoint], request_timeout_s=0.2, upload_timeout_s=5) as app:
        answer = await app.http.put("/v1/projects/app/upload", content=slowly())
        problem_of(await app.http.put("/v1/projects/app/upload", content=b"x" * 10_001), 413, "too_large")
    async with small_app([endpoint], request_timeout_s=0.1, upload_timeout_s=0.2) as app:
        cut = await app.http.put("/v1/projects/app/upload", content=slowly())

    assert 4000 == answer.json()
    problem_of(cut, 408, "request_timeout")


async def test_what_is_too_much_work_is_shed_and_health_still_answers() -> None:
    """Two at work, one waiting: the fourth hears 503 at once, the third after its wait; vital calls pass."""
    release = asyncio.Event()

    async def hold(_request: Request) -> Response:
        await release.wait()
        return Response()

    slow = Endpoint("GET", "/v1/projects/{project}/hold", ANYONE, "", hold)
    async with small_app([slow], max_concurrent=2, max_queue=1, queue_wait_s=0.2) as app:
        held = [asyncio.ensure_future(app.http.get("/v1/projects/app/hold")) for _ in range(2)]
        await asyncio.sleep(0.05)
        waiting = asyncio.ensure_future(app.http.get(WHO))
        await asyncio.sleep(0.05)
        answer = await app.http.get(WHO)
        problem_of(answer, 503, "busy")
        assert "1" == answer.headers["retry-after"]
        assert 200 == (await app.http.get("/healthz")).status_code
        problem_of(await waiting, 503, "busy")
        release.set()
        assert [200, 200] == [(await one).status_code for one in held]
        assert 200 == (await app.http.get(WHO)).status_code
        assert b'baas_refused_total{reason="busy",worker="' in app.metrics.render()


async def test_one_address_cannot_take_every_stream() -> None:
    """Two of its downloads under way: the third hears 503, another address is served; afterwards nothing is counted any more."""
    release = asyncio.Event()

    async def hold(_request: Request) -> Response:
        await release.wait()
        return Response()

    slow = Endpoint("GET", "/v1/projects/{project}/hold", ANYONE, "", hold, streams=True)
    async with small_app([slow], client="10.0.0.1", trusted_proxies=("10.0.0.1",), max_concurrent=2) as app:

        def download(address: str) -> "asyncio.Future[Any]":
            return asyncio.ensure_future(app.http.get("/v1/projects/app/hold", headers={"X-Forwarded-For": address}))

        held = [download("198.51.100.1") for _ in range(2)]
        await asyncio.sleep(0.05)
        problem_of(await download("198.51.100.1"), 503, "busy")
        other = download("198.51.100.2")
        await asyncio.sleep(0.05)
        release.set()
        assert [200] * 4 == [(await one).status_code for one in (*held, other, download("198.51.100.1"))]


async def test_a_problem_is_not_as_long_as_what_caused_it() -> None:
    """Texts of a caller's in an error are cut, and of very many faults a hundred are listed."""
    shown: Any = document(
        Invalid("x" * 5000, hint="y" * 5000, errors=[Fault("/a", "bad", "z" * 5000)] * 150), request_id="1", instance="/"
    )

    assert (1000, 1000) == (len(shown["detail"]), len(shown["hint"]))
    assert (100, 50, 1000) == (len(shown["errors"]), shown["errors_left_out"], len(shown["errors"][0]["message"]))


async def test_who_sends_slowly_holds_no_place_at_work() -> None:
    """However many bodies are on their way, the others are served; and a body that comes at last is, too."""
    go = asyncio.Event()

    async def slowly() -> Any:
        yield b'{"a":'
        await go.wait()
        yield b"1}"

    sent = {"Content-Type": "application/json"}
    async with small_app(max_concurrent=2, max_queue=1, queue_wait_s=0.2) as app:
        slow = [asyncio.ensure_future(app.http.post(ECHO, content=slowly(), headers=sent)) for _ in range(8)]
        await asyncio.sleep(0.05)
        assert [200] * 3 == [(await app.http.get(WHO)).status_code for _ in range(3)]
        crowd = await app.http.post(ECHO, content=slowly(), headers=sent)
        problem_of(crowd, 503, "busy")  # as many as streams are: four a place
        go.set()
        statuses = [(await one).status_code for one in slow]
        assert set(statuses) <= {200, 503}
        assert 2 <= statuses.count(200)
        assert 200 == (await app.http.post(ECHO, content=b"{}", headers=sent)).status_code
        figures = app.metrics.render().decode()
    held = [line for line in figures.splitlines() if line.startswith(("baas_requests_at_work{", "baas_bodies_awaited{"))]
    assert ["0.0", "0.0"] == [line.rpartition(" ")[2] for line in held]


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_fault_of_ours_says_nothing_and_is_logged_with_its_stack() -> None:
    """500 with a request id; message, class and path of the code are in the log alone, and there without credentials."""

    async def broken(_request: Request) -> Response:
        raise RuntimeError("relation p_x.posts does not exist password='hunter2'")

    async with small_app([Endpoint("GET", "/v1/broken", ANYONE, "", broken)]) as app:
        answer = await app.http.get("/v1/broken")
        body = problem_of(answer, 500, "internal")
        log = app.logged()

    for secret in ("relation", "RuntimeError", ".py", "hunter2"):
        assert secret not in answer.text
    assert "relation p_x.posts" in log
    assert "test_middleware.py" in log
    assert body["request_id"] in log
    assert "hunter2" not in log


async def test_a_fault_of_ours_with_words_says_nothing_either() -> None:
    """Errors of our own tree with status 500 are written for the log: every 500 is the same."""

    async def broken(_request: Request) -> Response:
        raise BaasError("The file /data/x is gone.", code="blob_missing", hint="Look into /data.", path="/data/x")

    async with small_app([Endpoint("GET", "/v1/broken", ANYONE, "", broken)]) as app:
        answer = await app.http.get("/v1/broken")
        problem_of(answer, 500, "internal")
        log = app.logged()

    assert "/data" not in answer.text
    assert "The file /data/x is gone." in log


async def test_an_answer_cut_short_stays_cut_short() -> None:
    """After the head is out nothing may be glued behind it."""

    async def half(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("lost the rest")

    async with small_app([Endpoint("GET", "/v1/half", ANYONE, "", app=half)]) as app:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "GET",
            "path": "/v1/half",
            "query_string": b"",
            "headers": [(b"host", b"localhost")],
            "client": ("192.0.2.7", 1),
            "scheme": "http",
        }
        await app.edge(scope, None, send)
        log = app.logged()

    assert ["http.response.start", "http.response.body"] == [message["type"] for message in sent]
    assert "lost the rest" in log


async def test_a_handler_that_answers_nothing_is_a_fault() -> None:
    """The client hears 500, not silence."""

    async def mute(_scope: Any, _receive: Any, _send: Any) -> None:
        return

    async with small_app([Endpoint("GET", "/v1/mute", ANYONE, "", app=mute)]) as app:
        problem_of(await app.http.get("/v1/mute"), 500, "internal")


async def test_unknown_routes_and_methods_are_problems() -> None:
    """404 and 405 with Allow, on the API and beside it."""
    async with small_app() as app:
        for path in ("/v1/nothing", "/v1/projects/app/nothing", "/nothing", "/", "/v1", "/v1/projects/app/"):
            assert path == problem_of(await app.http.get(path), 404, "no_route")["instance"]
        for method in ("PUT", "TRACE", "CONNECT", "BREW"):
            answer = await app.http.request(method, WHO)
            problem_of(answer, 405, "method_not_allowed")
            assert "GET, HEAD, OPTIONS" == answer.headers["allow"]
        problem_of(await app.http.post("/healthz"), 405, "method_not_allowed")
        head = await app.http.head(WHO)
        options = await app.http.request("OPTIONS", WHO)

    assert (200, b"") == (head.status_code, head.content)
    assert (204, "GET, HEAD, OPTIONS") == (options.status_code, options.headers["allow"])


async def test_every_fault_of_a_body_is_named() -> None:
    """`errors` has pointer, code and message of each; a header from an error holds no line break."""

    async def faulty(_request: Request) -> Response:
        raise Invalid(
            "Two faults.",
            errors=[Fault("/a", "required", "Missing."), Fault("/b/0", "too_long", "Long.")],
            hint="Try again.",
            headers={"X-Note": "a\r\nSet-Cookie: b=c"},
            limit=3,
            status="no",
        )

    async with small_app([Endpoint("GET", "/v1/faulty", ANYONE, "", faulty)]) as app:
        answer = await app.http.get("/v1/faulty")
        body = problem_of(answer, 422, "invalid")

    assert [("/a", "required", "Missing."), ("/b/0", "too_long", "Long.")] == [tuple(one.values()) for one in body["errors"]]
    assert ("Try again.", 3, "urn:baas:problem:invalid") == (body["hint"], body["limit"], body["type"])
    assert "set-cookie" not in answer.headers
    assert "a  Set-Cookie: b=c" == answer.headers["x-note"]


async def test_the_request_id_is_the_clients_if_it_is_a_plain_one() -> None:
    """Otherwise ours, and every request has another."""
    async with small_app() as app:
        kept = await app.http.get(WHO, headers={"X-Request-Id": "abc-DEF_1.2"})
        made = [await app.http.get(WHO, headers={"X-Request-Id": bad}) for bad in ("a b", "x" * 65, '"', "a;b", "")]
        refused = await app.http.get(WHO, headers={"X-Request-Id": "mine", "Host": "evil.example"})

    assert "abc-DEF_1.2" == kept.headers["x-request-id"] == kept.json()["request_id"]
    assert 5 == len({answer.headers["x-request-id"] for answer in made})
    assert all(re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]+", answer.headers["x-request-id"]) for answer in made)
    assert "mine" == problem_of(refused, 421, "wrong_host")["request_id"]


# ── proxies ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

_SPOOFED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.example",
    "X-Real-IP": "203.0.113.9",
    "Forwarded": "for=203.0.113.9;proto=https;host=evil.example",
    "X-Client-IP": "203.0.113.9",
    "CF-Connecting-IP": "203.0.113.9",
    "True-Client-IP": "203.0.113.9",
}


@pytest.mark.parametrize("client", ["192.0.2.7", "127.0.0.1", "::1", "10.0.0.9"])
async def test_no_forwarding_header_counts_from_who_is_not_named(client: str) -> None:
    """Loopback and private addresses are nothing special (threat model W3)."""
    async with small_app(client=client, trusted_proxies=("10.0.0.1",)) as app:
        seen = (await app.http.get(WHO, headers=_SPOOFED)).json()

    assert (client, "http") == (seen["address"], seen["scheme"])


@pytest.mark.parametrize(
    ("forwarded_for", "expected"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("203.0.113.9:5555", "203.0.113.9"),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, unknown", "10.0.0.1"),
        ("203.0.113.9, 127.0.0.1", "127.0.0.1"),
        ("", "10.0.0.1"),
        ("10.9.9.9, 10.8.8.8", "10.9.9.9"),
    ],
)
async def test_of_named_proxies_the_first_unnamed_address_from_the_right_counts(forwarded_for: str, expected: str) -> None:
    """What stands left of it the client may have invented."""
    async with small_app(client="10.0.0.1", trusted_proxies=("10.0.0.0/8",)) as app:
        headers = {"X-Forwarded-For": forwarded_for, "X-Forwarded-Proto": "https"}
        seen = (await app.http.get(WHO, headers=headers)).json()

    assert (expected, "https") == (seen["address"], seen["scheme"])


async def test_several_lines_of_a_forwarding_header_are_one_list() -> None:
    """A client's own line comes first, the proxy's last."""
    async with small_app(client="10.0.0.1", trusted_proxies=("10.0.0.1",)) as app:
        seen = await app.http.get(WHO, headers=[("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "203.0.113.9")])

    assert "203.0.113.9" == seen.json()["address"]


# ── browsers ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_only_listed_origins_may_read() -> None:
    """Exactly as listed; others get an answer that their page cannot see. Cookies are never allowed."""
    async with small_app() as app:
        good = await app.http.get(WHO, headers={"Origin": GOOD})
        others = [
            await app.http.get(WHO, headers={"Origin": origin})
            for origin in (
                EVIL,
                "https://good.example.evil.example",
                "http://good.example",
                "https://good.example:444",
                "null",
                "https://GOOD.example",
                "https://xgood.example",
                "*",
                "https://app.localhost",
            )
        ]
        shut = await app.http.get("/v1/projects/shut/who", headers={"Origin": GOOD})
        server = await app.http.get("/v1/who", headers={"Origin": GOOD})
        error = await app.http.get("/v1/projects/app/nothing", headers={"Origin": GOOD})
        wrong_token = await app.http.get(WHO, headers={"Origin": GOOD, "Authorization": "Bearer wrong"})

    assert GOOD == good.headers["access-control-allow-origin"]
    assert "x-request-id" in good.headers["access-control-expose-headers"].lower()
    for answer in (*others, shut, server):
        assert "access-control-allow-origin" not in answer.headers
    for answer in (error, wrong_token):
        assert GOOD == answer.headers["access-control-allow-origin"]
    for answer in (good, *others, shut, error):
        assert "Origin" in answer.headers["vary"]
        assert "access-control-allow-credentials" not in answer.headers


async def test_a_wildcard_is_a_wildcard_and_never_meets_credentials() -> None:
    """`*` allows any page to ask as nobody's browser: no cookie is sent or accepted (threat model W4)."""
    async with small_app() as app:
        answer = await app.http.get("/v1/projects/open/who", headers={"Origin": EVIL})
        preflight = await app.http.request(
            "OPTIONS", "/v1/projects/open/who", headers={"Origin": EVIL, "Access-Control-Request-Method": "GET"}
        )

    for one in (answer, preflight):
        assert "*" == one.headers["access-control-allow-origin"]
        assert "access-control-allow-credentials" not in one.headers


async def test_a_preflight_needs_no_credential_and_grants_nothing_to_strangers() -> None:
    """204 either way; only the listed origin hears what is allowed."""
    ask = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization, content-type, if-match"}
    async with small_app() as app:
        good = await app.http.request("OPTIONS", WHO, headers={"Origin": GOOD, **ask})
        evil = await app.http.request("OPTIONS", WHO, headers={"Origin": EVIL, **ask})
        server = await app.http.request("OPTIONS", "/v1/projects", headers={"Origin": GOOD, **ask})

        plain = await app.http.request("OPTIONS", WHO, headers={"Origin": EVIL})

    assert (204, GOOD) == (good.status_code, good.headers["access-control-allow-origin"])
    assert (204, "GET, HEAD, OPTIONS") == (plain.status_code, plain.headers["allow"]), "no preflight without a method asked for"
    assert "PATCH" in good.headers["access-control-allow-methods"]
    assert {"authorization", "content-type", "if-match"} <= set(good.headers["access-control-allow-headers"].lower().split(", "))
    for answer in (evil, server):
        assert 204 == answer.status_code
        assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_headers_fit_the_kind_of_route() -> None:
    """Data may run nothing and is not kept; our pages run only our own scripts in no frame; a site decides for itself."""
    async with small_app(public_url="https://api.example") as app:
        data, page = await app.http.get(WHO), await app.http.get("/docs")
        site = await app.http.get("/", headers={"Host": "app.localhost"})
    async with small_app() as app:
        plain = await app.http.get(WHO)

    assert "default-src 'none'; frame-ancestors 'none'" == data.headers["content-security-policy"]
    assert "no-store" == data.headers["cache-control"]
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert ("DENY", "same-origin") == (page.headers["x-frame-options"], page.headers["cross-origin-opener-policy"])
    assert "content-security-policy" not in site.headers
    for answer in (data, page, site):
        assert "nosniff" == answer.headers["x-content-type-options"]
        assert "max-age=31536000" == answer.headers["strict-transport-security"]
    assert "strict-transport-security" not in plain.headers


async def test_a_room_may_set_its_own_header_and_gets_it_once() -> None:
    """A file's cache-control is not doubled by ours."""

    async def cached(_scope: Any, _receive: Any, send: Any) -> None:
        await send_json(send, b"{}", headers=((b"cache-control", b"max-age=60"), (b"content-security-policy", b"sandbox")))

    async with small_app([Endpoint("GET", "/v1/cached", ANYONE, "", app=cached)]) as app:
        answer = await app.http.get("/v1/cached")

    assert ["max-age=60"] == answer.headers.get_list("cache-control")
    assert ["sandbox"] == answer.headers.get_list("content-security-policy")


async def test_a_socket_is_refused_before_it_opens() -> None:
    """What a request would be refused for is answered in place of the upgrade (threat model W6)."""
    async with small_app() as app:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "websocket",
            "scheme": "ws",
            "path": "/v1/projects/app/realtime/socket",
            "query_string": b"",
            "headers": [],
        }
        await app.edge(scope, receive, send)

    assert ["websocket.http.response.start", "websocket.http.response.body"] == [message["type"] for message in sent]
    assert 400 == sent[0]["status"]


# ── the log ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

_CANARY = "c4n4ry5ecretvalue"


async def test_no_credential_reaches_the_log_by_any_way_in() -> None:
    """Canaries in headers, query, path, body, origin and an exception; not one line has one (threat model S3)."""

    async def broken(request: Request) -> Response:
        body = await read_bytes(request.scope, request.receive, limit=10_000)
        raise RuntimeError(
            f"cannot do {body.decode()} with {request.headers!r} and {request.scope['headers']!r} at {request.url}"
        )

    canary_token = f"sk_{_CANARY}{'A' * 30}"
    known: dict[str, Any] = {name: {} for name in ("token", "code", "password")}
    async with small_app(
        [Endpoint("POST", "/v1/projects/{project}/broken", ANYONE, "", broken, query=known, request=Body({}))]
    ) as app:
        await app.http.post(
            f"/v1/projects/app/broken?token={_CANARY}&code={_CANARY}&password={_CANARY}",
            json={"password": _CANARY, "nested": {"refresh_token": f"rt_{_CANARY}{'B' * 30}", "client_secret": _CANARY}},
            headers={"Cookie": f"session={_CANARY}", "X-Api-Key": _CANARY, "Proxy-Authorization": f"Basic {_CANARY}"},
        )
        await app.http.post("/v1/projects/app/broken", json={}, headers={"Authorization": f"Bearer {_CANARY}"})
        await app.http.get(
            f"/v1/{canary_token}", headers={"X-Request-Id": canary_token, "Authorization": f"Bearer {canary_token}"}
        )
        await app.http.get(f"/v1/who?access_token={_CANARY}")
        log = app.logged()

    assert 4 == log.count('"event":"request"')
    assert 1 == log.count('"event":"request_failed"')
    assert "cannot do" in log
    assert _CANARY not in log


async def test_the_access_line_says_who_asked_what() -> None:
    """Without the query; bad answers are always there, good ones as sampled."""
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"Authorization": "Bearer user-token", "X-Request-Id": "r-1", "Traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    async with small_app(access_log_sample=0.0) as app:
        await app.http.get(WHO)
        await app.http.get("/v1/projects/app/nothing?q=1", headers=headers)
        lines = app.logged().splitlines()

    assert 1 == len(lines)
    for part in (
        '"status":404',
        '"request_id":"r-1"',
        '"project":"app"',
        '"address":"192.0.2.7"',
        '"path":"/v1/projects/app/nothing"',
    ):
        assert part in lines[0]
    assert f'"trace_id":"{trace}"' in lines[0]
    assert "q=1" not in lines[0]
