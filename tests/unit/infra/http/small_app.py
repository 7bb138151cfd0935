"""A small application behind the real edge: endpoints of the test's own, a project `app`, a site of it, tokens by name."""

import io
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx2
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from baas.base.errors import Unauthenticated
from baas.base.principal import ANONYMOUS, Principal
from baas.base.project import CorsSettings, Project, ProjectSettings
from baas.base.settings import Settings
from baas.infra.http.answers import json_response
from baas.infra.http.body import read_object
from baas.infra.http.context import Context
from baas.infra.http.middleware import Edge
from baas.infra.http.router import Router
from baas.infra.http.routes import ANYONE, OPERATOR, USER, Body, Endpoint, scope
from baas.infra.observe.log import Log
from baas.infra.observe.metrics import Metrics

BASE = "/v1/projects/app"
APP = Project(UUID(int=1), "app", "p_app", ProjectSettings(cors=CorsSettings(("https://good.example", "http://localhost:3000"))))
OPEN = Project(UUID(int=2), "open", "p_open", ProjectSettings(cors=CorsSettings(("*",))))
SHUT = Project(UUID(int=3), "shut", "p_shut", ProjectSettings())
PROJECTS = {project.name: project for project in (APP, OPEN, SHUT)}
PRINCIPALS = {
    "user-token": Principal("user", "u1", str(APP.id)),
    "key-token": Principal("key", "k1", str(APP.id), scopes=frozenset({"records"})),
    "operator-token": Principal("operator", "o1"),
}


async def _resolve(name: str) -> Project | None:
    return PROJECTS.get(name)


async def _authenticate(token: str, project: Project | None) -> Principal:
    found = PRINCIPALS.get(token, ANONYMOUS)
    if found is ANONYMOUS or (found.project_id and (project is None or found.project_id != str(project.id))):
        raise Unauthenticated("This token is not good.", code="bad_token")
    return found


async def _site_of_host(host: str) -> tuple[Project, str | None] | None:
    return {"app.localhost": (APP, "main"), "open.localhost": (OPEN, "main")}.get(host)


async def _hosting(asgi_scope: Any, receive: Any, send: Any) -> None:
    context = Context.of(asgi_scope)
    await PlainTextResponse(f"site {context.site} of {context.project.name}")(asgi_scope, receive, send)


async def who(request: Request) -> Response:
    """What the edge found out."""
    context = Context.of(request)
    return json_response(
        {
            "principal": context.principal.kind,
            "project": context.maybe_project.name if context.maybe_project else None,
            "address": context.address,
            "site": context.site,
            "scheme": request.url.scheme,
            "request_id": context.request_id,
            "params": dict(request.path_params),
        }
    )


async def echo(request: Request) -> Response:
    """The JSON body again."""
    return json_response(await read_object(request, limit=1000))


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("GET", f"{BASE.replace('app', '{project}')}/who", ANYONE, "Who asks", who, query={"q": {}}),
    Endpoint("POST", f"{BASE.replace('app', '{project}')}/echo", ANYONE, "Say it again", echo, request=Body({})),
    Endpoint("GET", "/v1/projects/{project}/mine", USER, "For users", who),
    Endpoint("GET", "/v1/projects/{project}/schema", scope("schema"), "For the scope", who),
    Endpoint("GET", "/v1/projects/{project}/things", scope("records"), "For another scope", who),
    Endpoint("GET", "/v1/projects", OPERATOR, "Projects", who),
    Endpoint("GET", "/v1/who", ANYONE, "Who asks the server", who),
    Endpoint("GET", "/docs", ANYONE, "A page", who, page=True),
    Endpoint("GET", "/healthz", ANYONE, "Health", who, vital=True),
)


@dataclass
class SmallApp:
    """The edge, a client on it, and what it logged."""

    edge: Edge
    http: httpx2.AsyncClient
    metrics: Metrics
    log: Log
    stream: io.StringIO = field(default_factory=io.StringIO)

    def logged(self) -> str:
        self.log.flush()
        return self.stream.getvalue()


def build(
    endpoints: Sequence[Endpoint] = (), *, hosting: Callable[..., Any] = _hosting, **settings: Any
) -> tuple[Edge, Metrics, Log, io.StringIO]:
    """The real edge around the common endpoints and the given ones."""
    stream = io.StringIO()
    log, metrics = Log(stream), Metrics()
    settings = {"api_per_address": 10_000, **settings}
    edge = Edge(
        Router((*ENDPOINTS, *endpoints)),
        settings=Settings(**settings),
        resolve=_resolve,
        authenticate=_authenticate,
        site_of_host=_site_of_host,
        hosting=hosting,
        log=log,
        metrics=metrics,
    )
    return edge, metrics, log, stream


@asynccontextmanager
async def small_app(endpoints: Sequence[Endpoint] = (), *, client: str = "192.0.2.7", **settings: Any) -> Any:
    """A SmallApp that a client at the address `client` talks to, in this process."""
    edge, metrics, log, stream = build(endpoints, **settings)
    transport = httpx2.ASGITransport(edge, client=(client, 4000), raise_app_exceptions=True)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:
        yield SmallApp(edge, http, metrics, log, stream)
