"""Pages for people and the API document; decides nothing. Everything is served from memory and works without a network."""

import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import NamedTuple
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from baas import __version__
from baas.base.errors import NotFound
from baas.engines.schema.catalog import Catalog
from baas.engines.schema.collection import Collection
from baas.features.console.live import live_endpoints, live_schemas
from baas.infra.http.answers import encode, json_response, not_modified
from baas.infra.http.context import Context
from baas.infra.http.etags import matches
from baas.infra.http.openapi import document
from baas.infra.http.routes import ANYONE, Body, Endpoint

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_PROJECT = "/v1/projects/{project}"
_KEPT_PROJECTS = 64
_NAME_HERE = "{project}"  # no project can have this name
_DOCUMENT = Body({"type": "object"}, description="An OpenAPI 3.1 document.")


class _File(NamedTuple):
    body: bytes
    content_type: str
    etag: str


class _Kept(NamedTuple):
    """A project's document and the definitions it was made from; other definitions make another document."""

    collections: Mapping[str, Collection]
    name: str
    body: bytes


class ConsoleApi:
    """`/`, `/docs`, `/_/setup`, `/_/static/…` and the two `openapi.json`.

    `endpoints` are those of all other rooms; this room adds its own to the document. Who may not see a project's schema gets
    the project's document with the general record endpoints, which tell nothing about its collections.
    """

    def __init__(self, catalog: Catalog, endpoints: Sequence[Endpoint], *, public_url: str) -> None:
        self._catalog = catalog
        self._url = public_url
        self._files = _load_static()
        self._endpoints = (*endpoints, *self.routes())
        self._server_body = encode(self._server_document())
        self._general_body = encode(self._project_document(_NAME_HERE, None))
        self._kept: dict[UUID, _Kept] = {}

    def routes(self) -> tuple[Endpoint, ...]:
        """Pages are marked as such; their links to scripts and styles go to `/_/static/`."""
        openapi = {200: _DOCUMENT, 304: None}
        return (
            Endpoint("GET", "/", ANYONE, "What this is", self.home, page=True, vital=True),
            Endpoint("GET", "/_/", ANYONE, "The same", self.home, page=True, vital=True),
            Endpoint("GET", "/docs", ANYONE, "The API, to read", self.docs, page=True, vital=True),
            Endpoint("GET", "/_/setup", ANYONE, "Make the first operator", self.setup, page=True, vital=True),
            Endpoint("GET", "/_/static/{name}", ANYONE, "Scripts and styles", self.static, page=True, vital=True),
            Endpoint("GET", "/v1/openapi.json", ANYONE, "The whole API as OpenAPI 3.1", self.server_openapi, tag="server",
                     responses=openapi),
            Endpoint("GET", f"{_PROJECT}/openapi.json", ANYONE,
                     "A project's API as OpenAPI 3.1, with its collections for those who may see its schema",
                     self.project_openapi, tag="server", responses=openapi),
        )  # fmt: skip

    async def home(self, request: Request) -> Response:
        """The landing page."""
        return self._send_file(request, "home.html")

    async def docs(self, request: Request) -> Response:
        """The browsable document; `?project=` and the section are read by its script."""
        return self._send_file(request, "docs.html")

    async def setup(self, request: Request) -> Response:
        """The form for the first operator; the token is in the fragment, which browsers do not send."""
        return self._send_file(request, "setup.html")

    async def static(self, request: Request) -> Response:
        """One file of this room."""
        name = request.path_params["name"]
        if name not in self._files or name.endswith(".html"):
            raise NotFound("There is nothing at this path.", code="no_route")
        return self._send_file(request, name)

    async def server_openapi(self, request: Request) -> Response:
        """The document of the whole server."""
        return _document_answer(request, self._server_body)

    async def project_openapi(self, request: Request) -> Response:
        """The document of one project, as of its definitions now."""
        context = Context.of(request)
        project = context.project
        if not context.principal.may("schema"):
            return _document_answer(request, self._general_body.replace(_NAME_HERE.encode(), project.name.encode()))
        collections = await self._catalog.collections(project)
        kept = self._kept.get(project.id)
        if kept is None or kept.collections is not collections or kept.name != project.name:
            kept = _Kept(collections, project.name, encode(self._project_document(project.name, collections)))
            self._kept.pop(project.id, None)
            while len(self._kept) >= _KEPT_PROJECTS:
                del self._kept[next(iter(self._kept))]
            self._kept[project.id] = kept
        return _document_answer(request, kept.body)

    def _server_document(self) -> dict[str, object]:
        return document(
            self._endpoints,
            title="baas",
            version=__version__,
            server_url=self._url,
            description="Every endpoint of this server. The document of a project also knows its collections.",
        )

    def _project_document(self, name: str, collections: Mapping[str, Collection] | None) -> dict[str, object]:
        own = [endpoint for endpoint in self._endpoints if endpoint.path.startswith(f"{_PROJECT}/")]
        shown = own if collections is None else list(live_endpoints(own, collections.values()))
        return document(
            shown,
            title=name,
            version=__version__,
            server_url=f"{self._url}/v1/projects/{name}",
            description=f"The project {name}. Paths are relative to it; on the host of one of its sites they begin with /v1.",
            base_path=_PROJECT,
            schemas=live_schemas(collections.values()) if collections is not None else None,
        )

    def _send_file(self, request: Request, name: str) -> Response:
        found = self._files[name]
        headers = {"ETag": found.etag}
        if _knows(request, found.etag):
            return not_modified(headers)
        return Response(found.body, headers={**headers, "Content-Type": found.content_type})


def _load_static() -> dict[str, _File]:
    found = {}
    for entry in files("baas.features.console").joinpath("static").iterdir():
        suffix = entry.name[entry.name.rfind(".") :]
        if suffix in _TYPES:
            body = entry.read_bytes()
            found[entry.name] = _File(body, _TYPES[suffix], _etag(body))
    return found


def _document_answer(request: Request, body: bytes) -> Response:
    """The document depends on who asks, so shared caches must not keep it; the reader's own may, and asks every time."""
    headers = {"ETag": _etag(body), "Cache-Control": "private, no-cache", "Vary": "Authorization"}
    if _knows(request, headers["ETag"]):
        return not_modified(headers)
    return json_response(body, headers=headers)


def _etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _knows(request: Request, etag: str) -> bool:
    return matches(", ".join(request.headers.getlist("if-none-match")), etag.strip('"'), weak=True)
