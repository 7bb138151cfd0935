"""Realtime over HTTP: streams of events, and tickets for clients that cannot send headers."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from baas.base.errors import BadRequest, Fault, Invalid, Unauthenticated
from baas.base.principal import Principal
from baas.features.realtime.asked import subscriptions_by_body, subscriptions_by_text
from baas.features.realtime.channels import Channels
from baas.features.realtime.model import CHANNEL_ACTIONS, MAX_SUBSCRIPTIONS, TICKET_S, ChannelRules, Pattern, Subscription
from baas.features.realtime.service import Realtime
from baas.features.realtime.socket import SocketApp
from baas.features.realtime.stream import Stream
from baas.infra.http import params
from baas.infra.http.answers import json_response, no_content
from baas.infra.http.body import read_json_body, read_object
from baas.infra.http.context import Context
from baas.infra.http.middleware import Denied
from baas.infra.http.routes import ANYONE, Body, Endpoint
from baas.infra.http.routes import scope as scope_policy
from baas.infra.http.sse import send_events

_PATH = "/v1/projects/{project}/realtime"
_CHANNELS = "/v1/projects/{project}/channels"
_MANAGE = scope_policy("schema")
_MAX_BODY = 64 * 1024


class RealtimeApi:
    """The table of the room's endpoints, and each of them."""

    def __init__(self, realtime: Realtime, channels: Channels, denied: Denied) -> None:
        self._realtime, self._channels, self._denied = realtime, channels, denied

    @property
    def connections(self) -> int:
        """How many clients follow anything on this server."""
        return self._realtime.connections

    def routes(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint(
                "GET",
                _PATH,
                ANYONE,
                "Follow lists as a stream of events",
                app=self.follow,
                tag="realtime",
                query={**_SUBSCRIBE, **_WHERE},
                responses={200: _EVENTS},
                streams=True,
                lasting=True,
            ),
            Endpoint(
                "POST",
                _PATH,
                ANYONE,
                "Follow lists, asked by a body",
                app=self.follow_by_body,
                tag="realtime",
                query=_WHERE,
                request=_SUBSCRIPTIONS,
                responses={200: _EVENTS},
                streams=True,
                lasting=True,
                asks=True,
            ),
            Endpoint(
                "POST",
                f"{_PATH}/ticket",
                ANYONE,
                "A ticket to follow with once, in place of a credential",
                self.ticket,
                tag="realtime",
                responses={201: _TICKET},
            ),
            Endpoint(
                "GET",
                f"{_PATH}/socket",
                ANYONE,
                "Follow lists and join channels by a WebSocket",
                self.no_socket,
                tag="realtime",
                responses={101: None},
                socket=SocketApp(self._realtime, self._channels, self._denied),
            ),
            Endpoint(
                "GET", _CHANNELS, _MANAGE, "List the rules of channels", self.channels, tag="realtime", responses={200: _ALL}
            ),
            Endpoint(
                "PUT",
                _CHANNELS + "/{pattern}",
                _MANAGE,
                "Set the rules of the channels of a pattern",
                self.define,
                tag="realtime",
                request=_RULES,
                responses={200: _CHANNEL},
            ),
            Endpoint(
                "DELETE",
                _CHANNELS + "/{pattern}",
                _MANAGE,
                "Remove the rules of a pattern",
                self.undefine,
                tag="realtime",
                responses={204: None},
            ),
        )

    async def follow(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises as `Realtime.open`, before the answer has begun."""
        subscriptions = subscriptions_by_text(params.query(scope).get("subscribe"))
        await self._stream(scope, receive, send, subscriptions)

    async def follow_by_body(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The same, and what a body may be refused with."""
        subscriptions = subscriptions_by_body(await read_json_body(scope, receive, limit=_MAX_BODY))
        await self._stream(scope, receive, send, subscriptions)

    async def ticket(self, request: Request) -> Response:
        """Raises Unauthenticated: who sends no credential needs no ticket."""
        context, credential = Context.of(request), _credential(request.scope)
        if credential is None:
            raise Unauthenticated("A ticket stands for a credential; anonymous callers need none.")
        ticket = await self._realtime.ticket(context.project, credential)
        return json_response({"ticket": ticket, "expires_in": TICKET_S}, 201)

    async def no_socket(self, request: Request) -> Response:
        """Raises BadRequest: what asks for a WebSocket does not come here."""
        raise BadRequest("This address is a WebSocket; connect with ws:// or wss://.", code="not_a_websocket")

    async def channels(self, request: Request) -> Response:
        """Every pattern of the project with its rules."""
        found = await self._channels.definitions(Context.of(request).project)
        return json_response({"items": [_shown(one) for one in found]})

    async def define(self, request: Request) -> Response:
        """Raises Invalid with every fault of the pattern and the rules."""
        text, body = request.path_params["pattern"], await read_object(request, limit=_MAX_BODY)
        faults = (
            [] if Pattern.is_pattern(text) else [Fault("/pattern", "bad_name", "Parts are words or {names}, with : between.")]
        )
        faults += [Fault(f"/{name[:100]}", "unknown_key", "There is no such member here.") for name in body if name != "rules"]
        rules = body.get("rules")
        if not isinstance(rules, dict):
            raise Invalid("The channel is not right.", errors=[*faults, Fault("/rules", "required", "This must be an object.")])
        for name, value in rules.items():
            if name not in CHANNEL_ACTIONS:
                faults.append(Fault(f"/rules/{name[:100]}", "unknown_key", "There is no such key here."))
            elif value is not None and not isinstance(value, str):
                faults.append(Fault(f"/rules/{name}", "wrong_type", "Must be an expression or null."))
        if faults:
            raise Invalid("The channel is not right.", errors=faults)
        made = ChannelRules(Pattern(text), {name: rules.get(name) for name in CHANNEL_ACTIONS})
        warnings = [one.as_json() for one in await self._channels.define(Context.of(request).project, made)]
        return json_response({**_shown(made), **({"warnings": warnings} if warnings else {})})

    async def undefine(self, request: Request) -> Response:
        """Raises NotFound."""
        await self._channels.undefine(Context.of(request).project, request.path_params["pattern"])
        return no_content()

    async def _stream(self, scope: Scope, receive: Receive, send: Send, subscriptions: Sequence[Subscription]) -> None:
        context = Context.of(scope)
        principal, credential = await self._who(scope, context)
        async with self._realtime.open(context.project, principal, credential, subscriptions, _since(scope)) as stream:
            await _until_gone(stream, receive, send)

    async def _who(self, scope: Scope, context: Context) -> tuple[Principal, str | None]:
        ticket, credential = params.query(scope).get("ticket"), _credential(scope)
        if ticket is None:
            return context.principal, credential
        if credential is not None:
            raise BadRequest("Give a ticket or a credential, not both.", code="bad_parameter", parameter="ticket")
        return await self._realtime.redeem(context.project, ticket)


def _shown(rules: ChannelRules) -> Mapping[str, object]:
    return {"pattern": rules.pattern.text, "rules": rules.rules}


async def _until_gone(stream: Stream, receive: Receive, send: Send) -> None:
    """Send until the stream ends or the client is gone. One that is cut off has no proper end, so its line is cut too."""
    sending = asyncio.ensure_future(send_events(send, stream.events()))
    leaving = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done() and not stream.cut_off:
            sending.result()
    finally:
        for task in (sending, leaving):
            task.cancel()
        with contextlib.suppress(BaseException):
            await sending


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _since(scope: Scope) -> str | None:
    """The header wins: a browser that connects again sends it beside the address of the first time."""
    return _header(scope, b"last-event-id") or params.query(scope).get("since")


def _credential(scope: Scope) -> str | None:
    authorization = _header(scope, b"authorization")
    return None if authorization is None else authorization.partition(" ")[2].strip()


def _header(scope: Scope, name: bytes) -> str | None:
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return None


_RULE = {"type": ["string", "null"], "description": "Over `auth`, the named parts and `name`; null is nobody."}
_THREE = {"type": "object", "additionalProperties": False, "properties": dict.fromkeys(CHANNEL_ACTIONS, _RULE)}
_RULES = Body({"type": "object", "additionalProperties": False, "properties": {"rules": _THREE}})
_ONE_CHANNEL = {
    "type": "object",
    "required": ["pattern", "rules"],
    "properties": {"pattern": {"type": "string"}, "rules": _THREE},
}
_WARNINGS = {"type": "array", "items": {"type": "object"}, "readOnly": True, "description": "What lints say of the rules."}
_CHANNEL = Body({**_ONE_CHANNEL, "properties": {"pattern": {"type": "string"}, "rules": _THREE, "warnings": _WARNINGS}})
_ALL = Body({"type": "object", "required": ["items"], "properties": {"items": {"type": "array", "items": _ONE_CHANNEL}}})
_WHERE: Mapping[str, Mapping[str, object]] = {
    "since": {"type": "string", "description": "The `id` of the last event, or the `X-Feed-Cursor` of a list: go on from there."},
    "ticket": {"type": "string", "description": "In place of a credential, for clients that cannot send headers."},
}
_SUBSCRIBE: Mapping[str, Mapping[str, object]] = {
    "subscribe": {"type": "string", "description": "What to follow: the JSON list that the POST takes as its body."},
}
_ONE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["id", "collection"],
    "properties": {
        "id": {"type": "string", "maxLength": 64, "description": "Your name for it; every event of it has it."},
        "collection": {"type": "string"},
        "filter": {"type": "string"},
        "vars": {"type": "object"},
        "fields": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        "expand": {"type": ["string", "array", "object"]},
        "initial": {"type": "boolean", "default": False, "description": "Begin with what the list shows now."},
    },
}
_LIST = {"type": "array", "maxItems": MAX_SUBSCRIPTIONS, "items": _ONE}
_SUBSCRIPTIONS = Body(
    {
        "anyOf": [
            _LIST,
            {"type": "object", "additionalProperties": False, "required": ["subscribe"], "properties": {"subscribe": _LIST}},
        ]
    }
)
_EVENTS = Body(
    {"type": "string"},
    "text/event-stream",
    "Events ready, snapshot, change, bookmark, ended, closed, reconnect; each with its id.",
)
_TICKET = Body(
    {
        "type": "object",
        "required": ["ticket", "expires_in"],
        "properties": {"ticket": {"type": "string"}, "expires_in": {"type": "integer"}},
    }
)
