"""The edge: what every request passes before a room sees it, in running order, and what every answer takes along.

    id · head limits · Host · true address │ own host: pages and health │ API (also on a site's host): rate · project · CORS ·
    route · principal · place at work · policy and handler │ a site's host: the site

Plain ASGI, one object per request; the data path pays a few microseconds. Errors become problems here, whoever raised them.
"""

import asyncio
import contextlib
import itertools
import math
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from baas.base.errors import (
    BaasError,
    Forbidden,
    Misdirected,
    NotFound,
    RequestTimeout,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
)
from baas.base.principal import ANONYMOUS, Principal
from baas.base.project import Project
from baas.base.settings import Settings
from baas.infra.http.admission import AddressRate, Gate, Place
from baas.infra.http.arrival import ARRIVED, CUT, Head, HeadLimits, Proxies, own_hosts, read_head
from baas.infra.http.body import BodyLimits
from baas.infra.http.browser import Headers, SecurityHeaders, allowed_origin, cors_headers, preflight_headers
from baas.infra.http.context import Context
from baas.infra.http.deadlines import Deadline, Deadlines
from baas.infra.http.once import key_of
from baas.infra.http.problem import as_ours, send_problem, shown_path
from baas.infra.http.router import Found, Router
from baas.infra.http.routes import Authenticate, Endpoint, Resolve
from baas.infra.observe.log import Log
from baas.infra.observe.metrics import Metrics
from baas.infra.observe.requests import REQUEST_ID
from baas.infra.observe.timing import TIMINGS, Timings

SiteOfHost = Callable[[str], Awaitable[tuple[Project, str | None] | None]]
"""Project and site of a Host name that is not the server's own, from memory; None when nobody claims it."""

Denied = Callable[[Project, Principal, str, BaasError], None]
"""Told of every refusal by a rule, with the request's id, at once and without waiting."""

Written = Callable[[Project], None]
"""Told after every call that may have changed something in a project, at once and without waiting."""

_API = "/v1/"
_PROJECTS = "/v1/projects/"
_STREAMS_PER_PLACE = 4  # a stream mostly waits for its client, so more of them fit than of requests at work


class _Exchange:
    """One request and its answer: what the log and the headers of the answer need to know."""

    __slots__ = (
        "_send",
        "address",
        "changes",
        "complete",
        "cors",
        "deadline",
        "head",
        "kind",
        "place",
        "principal",
        "project",
        "reading",
        "receive_from",
        "request_id",
        "route",
        "status",
        "timings",
    )

    def __init__(self, receive: Receive, send: Send, request_id: str, kind: Headers) -> None:
        self._send = send
        self.receive_from = receive
        self.head = Head()
        self.request_id = request_id
        self.kind = kind
        self.cors: Headers = ()
        self.address = ""
        self.project: Project | None = None
        self.principal: Principal = ANONYMOUS
        self.route = "unmatched"
        self.status = 0
        self.timings: Timings | None = None  # of those who may know
        self.reading = False
        self.complete = False
        self.changes = False
        self.deadline: Deadline | None = None
        self.place: Place | None = None  # held while the body has yet to come

    async def receive(self) -> Message:
        self.reading = True
        message = await (self.place.without(self.receive_from) if self.place else self.receive_from())
        self.reading = False
        return message

    def send(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = self._dressed(message.get("headers", ()))
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self.complete = True
        return self._send(message)

    def _dressed(self, headers: Any) -> list[tuple[bytes, bytes]]:
        """The answer's own headers, and of ours those it does not set itself."""
        present = [name for name, _ in headers]
        own = [pair for pair in self.kind if pair[0] not in present]
        if self.timings is not None:
            own.append((b"server-timing", self.timings.header().encode("ascii")))
        return [*headers, (b"x-request-id", self.request_id.encode("ascii")), *own, *self.cors]


class Edge:
    """The whole HTTP application: limits and identity around the router of all rooms, and the sites beside it.

    `resolve` finds a project by name, `authenticate` a principal by bearer credential, `site_of_host` a site by Host name; all
    three answer from memory nearly always. `hosting` serves a site; it finds project and site in the Context. `draining`: the
    server stops, so a request whose task is cancelled has been cut off.
    """

    def __init__(
        self,
        router: Router,
        *,
        settings: Settings,
        resolve: Resolve,
        authenticate: Authenticate,
        site_of_host: SiteOfHost,
        hosting: ASGIApp,
        log: Log,
        metrics: Metrics,
        denied: Denied | None = None,
        written: Written | None = None,
        rate: AddressRate | None = None,
        draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self._router = router
        self._settings = settings
        self._resolve = resolve
        self._authenticate = authenticate
        self._site_of_host = site_of_host
        self._hosting = hosting
        self._log = log
        self._metrics = metrics
        self._denied = denied
        self._written = written
        self._draining = draining
        self._own_hosts = own_hosts(settings)
        self._proxies = Proxies(settings.trusted_proxies)
        self._headers = SecurityHeaders(settings.url)
        self._head_limits = HeadLimits(settings.max_url_bytes, settings.max_header_bytes, settings.max_header_count)
        self._body_limits = BodyLimits(settings.body_idle_timeout_s, settings.max_json_depth, settings.max_json_keys)
        self._rate = rate or AddressRate(settings.api_per_address)
        self._work = Gate(settings.max_concurrent, queue=settings.max_queue, wait_s=settings.queue_wait_s)
        self._streams = Gate(settings.max_concurrent * _STREAMS_PER_PLACE, queue=0, wait_s=0)
        self._bodies = Gate(settings.max_concurrent * _STREAMS_PER_PLACE, queue=0, wait_s=0)
        self._deadlines = Deadlines()
        # One address gets a part of them only: its slow clients must not keep everybody else from files and sites.
        self._streams_of: Counter[str] = Counter()
        self._id_prefix, self._id_number = os.urandom(6).hex(), itertools.count(1)
        metrics.gauge("requests_at_work", "Requests being served now.", lambda: self._work.at_work)
        metrics.gauge("requests_waiting", "Requests waiting for their turn.", lambda: self._work.waiting)
        metrics.gauge("bodies_awaited", "Requests whose body is still coming.", lambda: self._bodies.at_work)
        metrics.gauge("streams_at_work", "Uploads, downloads and site requests being served now.", lambda: self._streams.at_work)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The whole table, for tests that go through every door."""
        return self._router.endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._socket(scope, receive, send)
            return
        started = time.perf_counter()
        exchange = _Exchange(receive, send, f"{self._id_prefix}-{next(self._id_number):x}", self._headers.api)
        error: Exception | None = None
        deadline = exchange.deadline = self._deadlines.begin(self._settings.request_timeout_s)
        try:
            await self._serve(scope, exchange)
            if not exchange.status:
                error = RuntimeError("the handler answered nothing")
        except asyncio.CancelledError:
            if deadline.expired:
                error = _out_of_time(exchange)
            elif self._draining():
                error = self._cut_off(scope, exchange, deadline)
            else:
                raise
        except ClientDisconnect:
            exchange.status = exchange.status or 499  # nobody is there to be answered; the log says so in nginx's word
        except Exception as caught:
            error = caught
        finally:
            self._deadlines.end(deadline)
        if error is not None:
            await self._answer_error(scope, exchange, error)
        elif exchange.changes and exchange.project is not None and self._written is not None:
            self._written(exchange.project)
        self._record(scope, exchange, time.perf_counter() - started)

    # ── in running order ─────────────────────────────────────────────────────────────────────────────────────────────

    # Where nothing is waited for, the coroutine of the next step is handed back: one `async def` less to enter and to wake.

    def _serve(self, scope: Scope, exchange: _Exchange) -> Awaitable[None]:
        head = exchange.head
        exchange.address = scope["client"][0] if scope.get("client") else ""
        try:
            read_head(scope, self._head_limits, head)
        finally:
            exchange.request_id = head.request_id or exchange.request_id
        exchange.address, scope["scheme"] = self._proxies.client(scope, head)
        scope["baas.limits"] = self._body_limits
        path: str = scope["path"]
        if head.host in self._own_hosts:
            return self._api(scope, exchange, None) if path.startswith(_API) else self._page(scope, exchange)
        return self._foreign(scope, exchange)

    async def _foreign(self, scope: Scope, exchange: _Exchange) -> None:
        """Under a host name that is not the server's own."""
        bound = await self._site_of_host(exchange.head.host)
        if bound is None:
            raise Misdirected("This server does not answer for that host name.")
        project, site = bound
        if scope["path"].startswith(_API):
            await self._api(_on_project(scope, project), exchange, bound)
        else:
            await self._site(scope, exchange, project, site)

    def _page(self, scope: Scope, exchange: _Exchange) -> Awaitable[None]:
        """Health, documentation and console: no project, no credential in the sense of the API, no page in a frame."""
        found = self._router.find(scope["method"], scope["path"])
        exchange.route = found.endpoint.path
        if found.endpoint.page:
            exchange.kind = self._headers.pages
        return self._run(scope, exchange, found, None)

    async def _site(self, scope: Scope, exchange: _Exchange, project: Project, site: str | None) -> None:
        exchange.kind, exchange.route, exchange.project = self._headers.site, "site", project
        scope["baas.context"] = Context(exchange.request_id, ANONYMOUS, exchange.address, project, site)
        await self._stream(project.key, self._hosting, scope, exchange)

    async def _api(self, scope: Scope, exchange: _Exchange, bound: tuple[Project, str | None] | None) -> None:
        try:
            self._rate.take(exchange.address, time.monotonic())
        except TooManyRequests:
            self._metrics.refused("rate")
            raise
        project = exchange.project = bound[0] if bound else await self._project_of(scope)
        origin = exchange.head.found.get(b"origin", b"")
        allowed = allowed_origin(project, origin) if project is not None else b""
        if project is not None:
            exchange.cors = cors_headers(allowed)
        if scope["method"] == "OPTIONS":
            await self._options(scope, exchange, allowed)
            return
        found = self._router.find(scope["method"], scope["path"])
        exchange.route = found.endpoint.path
        authorization = exchange.head.found.get(b"authorization")
        if authorization is not None:
            exchange.principal = await self._authenticate(_bearer(authorization), project)
            if exchange.principal.privileged:
                exchange.timings = Timings()
                TIMINGS.set(exchange.timings)
        await self._run(scope, exchange, found, bound[1] if bound else None)

    async def _options(self, scope: Scope, exchange: _Exchange, allowed: bytes) -> None:
        """A preflight carries no credential and needs none: it asks what is allowed, not for anything."""
        asked = exchange.head.found.get(b"access-control-request-method")
        if asked is not None and exchange.head.found.get(b"origin"):
            exchange.route, exchange.cors = "preflight", preflight_headers(allowed)
            await exchange.send({"type": "http.response.start", "status": 204, "headers": []})
        else:
            allow = ", ".join(sorted(self._router.methods(scope["path"]))).encode("ascii")
            await exchange.send({"type": "http.response.start", "status": 204, "headers": [(b"allow", allow)]})
        await exchange.send({"type": "http.response.body", "body": b""})

    def _run(self, scope: Scope, exchange: _Exchange, found: Found, site: str | None) -> Awaitable[None]:
        project, endpoint = exchange.project, found.endpoint
        REQUEST_ID.set(exchange.request_id)
        exchange.changes = endpoint.changes
        scope["baas.context"] = Context(
            exchange.request_id, exchange.principal, exchange.address, project, site, exchange.head.forwarded
        )
        scope["baas.found"] = found
        key = project.key if project is not None else ""
        if endpoint.vital:
            return self._router(scope, exchange.receive, exchange.send)
        if endpoint.lasting:
            if exchange.deadline is not None:
                exchange.deadline.at = math.inf
            return self._router(scope, exchange.receive, exchange.send)
        if endpoint.streams:
            return self._stream(key, self._router, scope, exchange)
        return self._work_on(key, scope, exchange)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket: the same steps, until it is accepted. What refuses it before is a problem, as for a request."""
        await receive()
        scope["method"] = "GET"
        exchange = _Exchange(receive, _before_upgrade(send), f"{self._id_prefix}-{next(self._id_number):x}", self._headers.api)
        try:
            app = await self._socket_app(scope, exchange)
        except Exception as error:
            await self._answer_error(scope, exchange, error)
            return
        self._metrics.served(exchange.route, "GET", 101, 0.0)
        try:
            await app(scope, receive, _named(send, exchange.request_id))
        except asyncio.CancelledError:
            if not self._draining():
                raise
        except Exception as error:
            self._log.error("socket_failed", error=error, request_id=exchange.request_id, path=scope["path"])
            with contextlib.suppress(Exception):
                await send({"type": "websocket.close", "code": 1011, "reason": "internal"})

    async def _socket_app(self, scope: Scope, exchange: _Exchange) -> ASGIApp:
        head = exchange.head
        read_head(scope, self._head_limits, head)
        exchange.request_id = head.request_id or exchange.request_id
        exchange.address = scope["client"][0] if scope.get("client") else ""
        exchange.address, _ = self._proxies.client({**scope, "scheme": scope["scheme"].replace("ws", "http")}, head)
        site = None
        if head.host not in self._own_hosts:
            bound = await self._site_of_host(head.host)
            if bound is None:
                raise Misdirected("This server does not answer for that host name.")
            exchange.project, site = bound
            scope = _on_project(scope, exchange.project)
        self._rate.take(exchange.address, time.monotonic())
        exchange.project = exchange.project or await self._project_of(scope)
        found = self._router.find("GET", scope["path"])
        if exchange.project is None or found.endpoint.socket is None:
            raise NotFound("There is nothing at this path.", code="no_route")
        exchange.route = f"{found.endpoint.path} (socket)"
        _check_origin(head, exchange.project)
        context = Context(exchange.request_id, ANONYMOUS, exchange.address, exchange.project, site, head.forwarded)
        socket = found.endpoint.socket

        async def app(inner: Scope, receive: Receive, send: Send) -> None:
            await socket({**inner, "baas.context": context}, receive, send)

        return app

    async def _work_on(self, key: str, scope: Scope, exchange: _Exchange) -> None:
        if not self._work.try_enter(key):
            await self._wait_for(self._work, key)
        place = exchange.place = None if scope.get(ARRIVED) else Place(self._work, self._bodies, key)
        try:
            await self._router(scope, exchange.receive, exchange.send)
        finally:
            if place is None or place.held:
                self._work.leave(key)

    async def _stream(self, key: str, app: ASGIApp, scope: Scope, exchange: _Exchange) -> None:
        """Uploads, downloads and sites: a longer time, and places of their own, so that slow clients cannot fill the others."""
        if exchange.deadline is not None:
            exchange.deadline.at = asyncio.get_running_loop().time() + self._settings.upload_timeout_s
        if self._streams_of[exchange.address] >= self._settings.max_concurrent:
            self._metrics.refused("busy")
            raise Unavailable("Too many uploads and downloads of this address are under way.", code="busy")
        if not self._streams.try_enter(key):
            await self._wait_for(self._streams, key)
        self._streams_of[exchange.address] += 1
        try:
            await app(scope, exchange.receive, exchange.send)
        finally:
            self._streams.leave(key)
            self._streams_of[exchange.address] -= 1
            if not self._streams_of[exchange.address]:
                del self._streams_of[exchange.address]

    async def _wait_for(self, gate: Gate, key: str) -> None:
        try:
            await gate.enter(key)
        except Unavailable:
            self._metrics.refused("busy")
            raise

    async def _project_of(self, scope: Scope) -> Project | None:
        """The project that the path names; None where it names none, and where a call with a key may have ended what it names.

        Raises the same NotFound for everyone.
        """
        path: str = scope["path"]
        if not path.startswith(_PROJECTS):
            return None
        name = path[len(_PROJECTS) :].partition("/")[0]
        project = await self._resolve(name) if name else None
        if project is None and not (key_of(scope) and self._router.outlives(scope["method"], path)):
            raise NotFound("No such project.", code="no_project")
        return project

    # ── afterwards ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _answer_error(self, scope: Scope, exchange: _Exchange, error: Exception) -> None:
        """Write the problem. When the answer has begun nothing more can be said: returning makes the server cut the line."""
        if as_ours(error).status == 500 or exchange.status:
            self._log.error(
                "request_failed", error=error, request_id=exchange.request_id, method=scope["method"], path=scope["path"]
            )
        if exchange.status:
            return
        if isinstance(error, BaasError) and error.denial is not None and self._denied is not None and exchange.project:
            self._denied(exchange.project, exchange.principal, exchange.request_id, error)
        await send_problem(exchange.send, error, request_id=exchange.request_id, instance=shown_path(scope))

    def _cut_off(self, scope: Scope, exchange: _Exchange, deadline: Deadline) -> Exception | None:
        """The drain's time is up, which is nobody's fault: an answer that has not begun is a 503, else the line is cut."""
        deadline.task.uncancel()
        self._log.warning("request_cut_off", request_id=exchange.request_id, method=scope["method"], path=scope["path"])
        if not exchange.status:
            return Unavailable("The server is stopping.", code="stopping")
        scope[CUT] = True
        return None

    def _record(self, scope: Scope, exchange: _Exchange, seconds: float) -> None:
        self._metrics.served(exchange.route, _known_method(scope["method"]), exchange.status, seconds)
        sample = self._settings.access_log_sample
        if exchange.status < 400 and sample < 1 and random.random() >= sample:  # noqa: S311  a sample, not a secret
            return
        principal, project = exchange.principal, exchange.project
        self._log.access(
            {
                "method": scope["method"],
                "path": scope["path"],
                "route": exchange.route,
                "status": exchange.status,
                "ms": round(seconds * 1000, 3),
                "request_id": exchange.request_id,
                "trace_id": exchange.head.trace_id if b"traceparent" in exchange.head.found else None,
                "address": exchange.address,
                "host": exchange.head.host,
                "project": project.name if project is not None else None,
                "principal": f"{principal.kind}:{principal.id}" if principal.id else principal.kind,
            }
        )


def _before_upgrade(send: Send) -> Send:
    """An ordinary answer in place of the upgrade."""

    async def answer(message: Message) -> None:
        await send({**message, "type": message["type"].replace("http.", "websocket.http.", 1)})

    return answer


def _named(send: Send, request_id: str) -> Send:
    """The answer that accepts a WebSocket says which request it was."""

    async def named(message: Message) -> None:
        if message["type"] == "websocket.accept":
            message = {**message, "headers": [*message.get("headers", ()), (b"x-request-id", request_id.encode("ascii"))]}
        await send(message)

    return named


def _check_origin(head: Head, project: Project) -> None:
    """Browsers open sockets to anywhere: a page may open one where it came from, and where the project lists it (W6)."""
    origin = head.found.get(b"origin")
    if origin is None or allowed_origin(project, origin):
        return
    if origin.partition(b"://")[2].lower() != head.found.get(b"host", b"").lower():
        raise Forbidden("Pages of this origin may not connect; list it in the project's settings.", code="bad_origin")


def _on_project(scope: Scope, project: Project) -> Scope:
    """The API on a site's host: `/v1/…` means the site's project; the long form may name that one project and no other."""
    path: str = scope["path"]
    own = f"{_PROJECTS}{project.name}"
    if path == own or path.startswith(f"{own}/"):
        return scope
    if path.startswith(_PROJECTS) or path == _PROJECTS.rstrip("/"):
        raise NotFound("No such project.", code="no_project")
    return {**scope, "path": f"{own}/{path.removeprefix(_API)}"}


def _bearer(authorization: bytes) -> str:
    """The credential of an Authorization header. Raises Unauthenticated for any other scheme: a bad one is never anonymous."""
    scheme, _, token = authorization.partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer" or not token or not token.isascii():
        raise Unauthenticated("Credentials are sent as `Authorization: Bearer <token>`.", code="bad_token")
    return token.decode("ascii")


def _out_of_time(exchange: _Exchange) -> Exception:
    if exchange.reading and not exchange.status:
        return RequestTimeout("The request's body did not arrive in time.", headers={"Connection": "close"})
    return Unavailable("The request took longer than it may.", code="timed_out", retry_after_s=1)


def _known_method(method: str) -> str:
    """Methods are a client's words; the metrics keep only those that mean something."""
    return method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "other"
