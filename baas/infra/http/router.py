"""One table of endpoints: finds the one that answers a method and a path, and holds its policy before it runs.

Built on Starlette's path language, not on its router: the edge must know the endpoint before it reads, queues or times the
request, a path known by another method must name all of them, and a fixed segment always wins over a parameter.
"""

import re
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from starlette.convertors import PathConvertor, StringConvertor
from starlette.requests import Request
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from baas.base.errors import BadRequest, MethodNotAllowed, NotFound
from baas.infra.http.body import refuse_body
from baas.infra.http.context import Context
from baas.infra.http.etags import condition
from baas.infra.http.once import Once, key_of
from baas.infra.http.params import Query, read_query
from baas.infra.http.routes import BOTH, Endpoint, Handler

_PARAMETER = re.compile(r"\{([a-z][a-z0-9_]*)(:[a-z]+)?\}")
_PROJECT_PREFIX = "/v1/projects/{project}"
_ANY = "{}"
_NOTHING: Mapping[str, str] = MappingProxyType({})
_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_CONDITIONS = {name.lower().encode(): name for name in (*BOTH, "If-Unmodified-Since")}
_KEPT_QUERIES, _LONGEST_KEPT = 1000, 1000  # query strings; bytes of one


class Found(NamedTuple):
    """What answers a request: the endpoint, its callable and the values in the path. `bare` is a HEAD answered by its GET."""

    endpoint: Endpoint
    app: ASGIApp
    path_params: Mapping[str, Any]
    bare: bool = False


class _Path:
    """All endpoints of one path, by method."""

    __slots__ = ("apps", "convertors", "endpoints", "is_text", "pattern", "template")

    def __init__(self, template: str) -> None:
        self.template = template
        self.pattern, _, self.convertors = compile_path(template)
        self.is_text = all(isinstance(one, StringConvertor | PathConvertor) for one in self.convertors.values())
        self.endpoints: dict[str, Endpoint] = {}
        self.apps: dict[str, ASGIApp] = {}

    def add(self, endpoint: Endpoint) -> None:
        """Raises ValueError when the method is taken: of two answers nobody could say which is meant."""
        if endpoint.method in self.endpoints:
            raise ValueError(f"two endpoints for {endpoint.method} {endpoint.path}")
        self.endpoints[endpoint.method] = endpoint
        app = endpoint.app or _Handled(endpoint.handle)
        self.apps[endpoint.method] = _Bodiless(app) if endpoint.changes and endpoint.request is None else app

    def params(self, path: str) -> dict[str, Any] | None:
        match = self.pattern.match(path)
        if match is None:
            return None
        found: dict[str, Any] = match.groupdict()
        return found if self.is_text else {name: self.convertors[name].convert(value) for name, value in found.items()}

    @property
    def methods(self) -> set[str]:
        allowed = set(self.endpoints) | {"OPTIONS"}
        if "GET" in allowed and not self.endpoints["GET"].streams:
            allowed.add("HEAD")
        return allowed


class Router:
    """The endpoints of all rooms as one ASGI application.

    `once` keeps the answers of calls that have an Idempotency-Key.

    Raises ValueError for two endpoints on one method and path, and for a path whose `{project}` is not where the edge reads it.
    """

    def __init__(self, endpoints: Iterable[Endpoint], *, once: Once | None = None) -> None:
        self.endpoints = tuple(endpoints)
        self._once = once
        # Clients ask the same again and again. What is refused is not kept.
        self._read = lru_cache(_KEPT_QUERIES)(_read)
        self._fixed: dict[str, _Path] = {}
        by_template: dict[str, _Path] = {}
        for endpoint in self.endpoints:
            _check_project(endpoint.path)
            # Two paths that differ only in the names of their parameters are one path, and must agree on the names.
            path = by_template.setdefault(_PARAMETER.sub(r"{\2}", endpoint.path), _Path(endpoint.path))
            if path.template != endpoint.path:
                raise ValueError(f"{endpoint.path} and {path.template} are one path under two names")
            path.add(endpoint)
        open_paths = []
        for path in by_template.values():
            if "{" in path.template:
                open_paths.append(path)
            else:
                self._fixed[path.template] = path
        self._any_length = sorted((path for path in open_paths if ":path}" in path.template), key=_specificity)
        self._by_shape = _by_shape(path for path in open_paths if ":path}" not in path.template)

    def find(self, method: str, path: str) -> Found:
        """What answers; raises NotFound (`no_route`) and MethodNotAllowed with every method the path knows.

        The most specific template is the path, whatever methods it has: `HEAD …/records/export` asks nothing of a record.
        """
        candidate, params = self._path(path)
        endpoint = candidate.endpoints.get(method)
        if endpoint is not None:
            return Found(endpoint, candidate.apps[method], params)
        if method == "HEAD" and "HEAD" in candidate.methods:
            return Found(candidate.endpoints["GET"], candidate.apps["GET"], params, bare=True)
        names = ", ".join(sorted(candidate.methods))
        raise MethodNotAllowed(f"This path answers {names}.", headers={"Allow": names})

    def outlives(self, method: str, path: str) -> bool:
        """Whether this call is answered again though the project in its path is gone."""
        try:
            endpoint = self._path(path)[0].endpoints.get(method)
        except NotFound:
            return False
        return endpoint is not None and endpoint.beyond

    def methods(self, path: str) -> set[str]:
        """Every method that the path answers; raises NotFound when there is none."""
        return self._path(path)[0].methods

    def _path(self, path: str) -> tuple[_Path, dict[str, Any]]:
        for candidate in self._candidates(path):
            params = candidate.params(path)
            if params is not None:
                return candidate, params
        raise NotFound("There is nothing at this path.", code="no_route")

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Find, check the policy, read the query, run. The edge may have found already (`baas.found`).

        Raises at the call, BadRequest (`bad_parameter`) for a query parameter that the endpoint does not declare.
        """
        found: Found = scope.get("baas.found") or self.find(scope["method"], scope["path"])
        scope["path_params"] = found.path_params
        found.endpoint.policy.admit(Context.of(scope).principal)
        asked: bytes = scope["query_string"]
        scope["baas.query"] = (self._read if len(asked) <= _LONGEST_KEPT else _read)(found.endpoint, asked)
        if found.endpoint.changes:
            _refuse_unheeded(found.endpoint, scope)
        if found.endpoint.method in _UNSAFE and self._once is not None:
            key = key_of(scope)
            if key is not None and found.endpoint.changes and found.endpoint.once in ("whole", "late"):
                return self._once.run(key, found, scope, receive, send)
        return found.app(scope, receive, _without_body(send) if found.bare else send)

    def _candidates(self, path: str) -> Sequence[_Path]:
        fixed = self._fixed.get(path)
        length = path.count("/")
        open_paths = self._by_shape.get((length, path.rpartition("/")[2])) or self._by_shape.get((length, _ANY), [])
        if fixed is None and not self._any_length:
            return open_paths
        return [*([fixed] if fixed else []), *open_paths, *self._any_length]


def _read(endpoint: Endpoint, asked: bytes) -> Query:
    # Whatever stands in the address of a page is its script's business.
    return read_query(asked, endpoint.query) if asked and not endpoint.page else _NOTHING


def _refuse_unheeded(endpoint: Endpoint, scope: Scope) -> None:
    """A condition that nobody judges would be broken in silence, and a part be taken for the whole (RFC 9110, 14.5).

    Raises BadRequest (`unsupported_condition`, `bad_header`).
    """
    for name, _ in scope["headers"]:
        said = _CONDITIONS.get(name)
        if name == b"content-range":
            detail = "A part of a body is not taken: send the whole, without Content-Range."
            raise BadRequest(detail, code="bad_header", parameter="Content-Range")
        if said in endpoint.conditions:
            condition(scope["headers"], said)
        elif said is not None:
            known = " and ".join(endpoint.conditions)
            hint = f"It takes {known}." if known else "It takes no condition."
            raise BadRequest(f"This call does not judge {said}.", code="unsupported_condition", hint=hint, parameter=said)


class _Handled:
    """A handler of Request and Response as an ASGI callable."""

    __slots__ = ("_handle",)

    def __init__(self, handle: Handler | None) -> None:
        assert handle is not None  # noqa: S101  Endpoint holds exactly one of handle and app
        self._handle = handle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._handle(Request(scope, receive, send))
        await response(scope, receive, send)


class _Bodiless:
    """A call that takes no body."""

    __slots__ = ("_app",)

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await refuse_body(scope, receive)
        await self._app(scope, receive, send)


def _without_body(send: Send) -> Send:
    async def send_headers_only(message: Any) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return send_headers_only


def _by_shape(paths: Iterable[_Path]) -> dict[tuple[int, str], list[_Path]]:
    """Which of these can match, the most specific first: by the number of segments and the last one, where a template fixes it.

    Every other last segment is `_ANY`. Most templates of a length differ there, so that few patterns are tried.
    """
    shapes = {path: (path.template.count("/"), _last(path.template)) for path in sorted(paths, key=_specificity)}
    return {
        (length, end): [path for path, (number, last) in shapes.items() if number == length and last in (_ANY, end)]
        for length, end in set(shapes.values())
    }


def _last(template: str) -> str:
    segment = template.rpartition("/")[2]
    return _ANY if "{" in segment else segment


def _specificity(path: _Path) -> tuple[int, ...]:
    """Fixed segments before parameters, from the left; `{x:path}` last."""
    return tuple(_rank(segment) for segment in path.template.split("/"))


def _rank(segment: str) -> int:
    if "{" not in segment:
        return 0
    return 2 if ":path}" in segment else 1


def _check_project(path: str) -> None:
    """The edge reads the project from the third segment, so no route may have it elsewhere (threat model W1)."""
    if "{project}" in path.replace(_PROJECT_PREFIX, "", 1) or ("{project}" in path and not path.startswith(_PROJECT_PREFIX)):
        raise ValueError(f"{path}: the project belongs into {_PROJECT_PREFIX}")
