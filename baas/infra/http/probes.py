"""`/healthz`, `/readyz`, `/metrics`: for the machines that watch this one."""

import hmac

from starlette.requests import Request
from starlette.responses import Response

from baas.base.errors import BaasError, Unauthenticated, Unavailable
from baas.base.settings import Settings
from baas.infra.http.answers import json_response
from baas.infra.http.arrival import is_loopback
from baas.infra.http.context import Context
from baas.infra.http.routes import ANYONE, Authenticate, Body, Endpoint
from baas.infra.observe.health import Health
from baas.infra.observe.metrics import Metrics

_STATE = {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]}
_PARTS = {"type": "object", "additionalProperties": {"enum": ["ok", "failing", "slow", "draining"]}}
_READY = {
    "type": "object",
    "properties": {"status": {"const": "ready"}, "parts": _PARTS},
    "required": ["status", "parts"],
}


class Probes:
    """The three endpoints; all are served even when the server is full."""

    def __init__(self, health: Health, metrics: Metrics, settings: Settings, authenticate: Authenticate) -> None:
        self._health = health
        self._metrics = metrics
        self._token = settings.metrics_token.reveal() if settings.metrics_token else ""
        self._authenticate = authenticate

    def routes(self) -> tuple[Endpoint, ...]:
        prometheus = Body({"type": "string"}, content_type="text/plain")
        return (
            Endpoint("GET", "/healthz", ANYONE, "Whether the process runs", self.alive, tag="server", vital=True,
                     responses={200: Body(_STATE)}),
            Endpoint("GET", "/readyz", ANYONE, "Whether the server can work", self.ready, tag="server", vital=True,
                     responses={200: Body(_READY), 503: None}),
            Endpoint("GET", "/metrics", ANYONE, "Figures for Prometheus (loopback, metrics token or operator)", self.metrics,
                     tag="server", vital=True, responses={200: prometheus, 401: None}),
        )  # fmt: skip

    async def alive(self, _request: Request) -> Response:
        """The process answers; asks no other part, so that a database that is away does not get it killed."""
        return json_response(b'{"status":"ok"}')

    async def ready(self, _request: Request) -> Response:
        state = await self._health.readiness()
        if not state.ready:
            error = Unavailable("The server is not ready.", code="not_ready", retry_after_s=1)
            error.facts["parts"] = state.parts
            raise error
        return json_response({"status": "ready", "parts": state.parts})

    async def metrics(self, request: Request) -> Response:
        await self._check_reader(request)
        return Response(self._metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _check_reader(self, request: Request) -> None:
        """Raises Unauthenticated unless the reader sits on this machine or brings the token, or is an operator.

        The true client's address decides; behind a proxy that nobody named, everyone seems to sit here, so its trace takes
        the privilege away.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme:
            if self._token and hmac.compare_digest(token.encode(), self._token.encode()):
                return
            if await self._is_operator(token):
                return
            raise Unauthenticated("This token may not read the metrics.", code="bad_token")
        context = Context.of(request)
        if context.forwarded or not is_loopback(context.address):
            raise Unauthenticated("The metrics need the metrics token or an operator's.")

    async def _is_operator(self, token: str) -> bool:
        try:
            return (await self._authenticate(token, None)).kind == "operator"
        except BaasError:
            return False
