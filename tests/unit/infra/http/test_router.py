"""The table of endpoints: what answers a method and a path."""

from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from baas.base.errors import BadRequest, MethodNotAllowed, NotFound
from baas.base.principal import ANONYMOUS
from baas.infra.http import params
from baas.infra.http.context import Context
from baas.infra.http.router import Router
from baas.infra.http.routes import ANYONE, Endpoint, Policy, scope


async def nothing(_request: Request) -> Response:
    return Response()


async def plain(_scope: Any, _receive: Any, _send: Any) -> None:
    return


def endpoint(method: Any, path: str, **more: Any) -> Endpoint:
    return Endpoint(method, path, ANYONE, "", nothing, **more)


RECORDS = "/v1/projects/{project}/collections/{collection}/records"
ROUTER = Router(
    [
        endpoint("GET", f"{RECORDS}/{{id}}"),
        endpoint("DELETE", f"{RECORDS}/{{id}}"),
        endpoint("POST", f"{RECORDS}/query"),
        endpoint("GET", f"{RECORDS}/export", streams=True),
        endpoint("GET", RECORDS),
        endpoint("GET", "/v1/projects/{project}/buckets/{bucket}/files/{path:path}", streams=True),
        endpoint("HEAD", "/v1/projects/{project}/buckets/{bucket}/files/{path:path}", streams=True),
        endpoint("GET", "/v1/projects/{project}/events", streams=True),
        endpoint("GET", "/healthz"),
    ]
)


def found(method: str, path: str) -> tuple[str, dict[str, Any], bool]:
    match = ROUTER.find(method, path)
    return f"{match.endpoint.method} {match.endpoint.path.rpartition('/')[2]}", dict(match.path_params), match.bare


def test_a_path_finds_its_endpoint_and_its_values() -> None:
    """Values are what stands in the path."""
    at = "/v1/projects/app/collections/posts/records"

    assert ("GET {id}", {"project": "app", "collection": "posts", "id": "7"}, False) == found("GET", f"{at}/7")
    assert ("GET records", {"project": "app", "collection": "posts"}, False) == found("GET", at)
    assert {"project": "app", "bucket": "b", "path": "a/b c.txt"} == found("GET", "/v1/projects/app/buckets/b/files/a/b c.txt")[1]


def test_a_fixed_segment_wins_whatever_the_method() -> None:
    """…/query is the query and …/export the export; neither is a record with that id."""
    at = "/v1/projects/app/collections/posts/records/query"

    assert "POST query" == found("POST", at)[0]
    assert "GET export" == found("GET", at.replace("query", "export"))[0]
    for method, path, allowed in (
        ("GET", at, "OPTIONS, POST"),
        ("DELETE", at, "OPTIONS, POST"),
        ("HEAD", at.replace("query", "export"), "GET, OPTIONS"),
    ):
        with pytest.raises(MethodNotAllowed) as wrong:
            ROUTER.find(method, path)
        assert allowed == wrong.value.headers["Allow"]
        assert set(allowed.split(", ")) == ROUTER.methods(path)


def test_head_is_answered_by_get_but_not_by_streams() -> None:
    """An endless stream has no head to show; a room may declare HEAD itself."""
    assert ("GET {id}", True) == found("HEAD", "/v1/projects/a/collections/c/records/1")[::2]
    assert ("HEAD {path:path}", False) == found("HEAD", "/v1/projects/a/buckets/b/files/x")[::2]
    with pytest.raises(MethodNotAllowed):
        ROUTER.find("HEAD", "/v1/projects/a/events")


async def test_a_head_has_the_headers_of_the_get_and_no_body() -> None:
    """Whatever the server underneath would do with the bytes."""

    async def page(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"page"})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "HEAD", "path": "/page", "query_string": b"", "baas.context": Context("r", ANONYMOUS, "")}
    await Router([Endpoint("GET", "/page", ANYONE, "", app=page)])(scope, None, send)  # type: ignore[arg-type]

    assert [(b"content-length", b"4")] == sent[0]["headers"]
    assert b"" == sent[1]["body"]


def test_unknown_paths_and_methods_are_told_apart() -> None:
    """405 names every method of the path."""
    with pytest.raises(NotFound) as missing:
        ROUTER.find("GET", "/v1/projects/app/collectionz")
    with pytest.raises(MethodNotAllowed) as wrong:
        ROUTER.find("PUT", "/v1/projects/a/collections/c/records/7")

    assert "no_route" == missing.value.code
    assert "DELETE, GET, HEAD, OPTIONS" == wrong.value.headers["Allow"]
    for path in ("/healthz/", "//healthz", "/HEALTHZ", "/healthz\n", "/v1/projects//collections/c/records"):
        with pytest.raises(NotFound):
            ROUTER.find("GET", path)


async def test_a_query_has_what_its_endpoint_declares_and_nothing_else() -> None:
    """Whatever the endpoint does with it; a page's query is nobody's business but its script's."""
    seen: list[params.Query] = []

    async def note(request: Request) -> Response:
        seen.append(params.query(request))
        return Response()

    router = Router(
        [
            Endpoint("GET", "/v1/known", ANYONE, "", note, query={"limit": {"type": "integer"}}),
            Endpoint("GET", "/v1/none", ANYONE, "", note),
            Endpoint("GET", "/page", ANYONE, "", note, page=True),
        ]
    )

    async def ask(path: str, raw: bytes) -> None:
        async def send(_message: Any) -> None:
            return

        scope = {"type": "http", "method": "GET", "path": path, "query_string": raw}
        await router(scope | {"baas.context": Context("r", ANONYMOUS, "")}, plain, send)  # type: ignore[arg-type]

    await ask("/v1/known", b"limit=3")
    await ask("/v1/none", b"")
    await ask("/page", b"utm=1")
    for path, raw in (("/v1/known", b"limits=3"), ("/v1/known", b"limit=1&limit=2"), ("/v1/none", b"limit=3")):
        with pytest.raises(BadRequest, match="query parameter"):
            await ask(path, raw)
    assert [{"limit": "3"}, {}, {}] == seen


def test_a_table_that_does_not_say_one_thing_does_not_start() -> None:
    """Twice the same, two names for one path, the project elsewhere, no policy, two callables."""
    with pytest.raises(ValueError, match="two endpoints"):
        Router([endpoint("GET", RECORDS), endpoint("GET", RECORDS)])
    with pytest.raises(ValueError, match="two names"):
        Router([endpoint("GET", f"{RECORDS}/{{id}}"), endpoint("PATCH", f"{RECORDS}/{{record}}")])
    for path in ("/v1/x/{project}", "/v1/projects/{project}/copy/{project}"):
        with pytest.raises(ValueError, match="project"):
            Router([endpoint("GET", path)])
    with pytest.raises(TypeError):
        Endpoint("GET", "/x", summary="no policy", handle=nothing)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="policy"):
        Endpoint("GET", "/x", None, "", nothing)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="exactly one"):
        Endpoint("GET", "/x", ANYONE, "", nothing, plain)
    with pytest.raises(ValueError, match="exactly one"):
        Endpoint("GET", "/x", ANYONE, "")
    for policy in (lambda: Policy("scope"), lambda: Policy("operator", "records"), lambda: scope("")):
        with pytest.raises(ValueError, match="scope"):
            policy()
