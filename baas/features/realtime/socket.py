"""A WebSocket: the same subscriptions as a stream of events, and channels. One JSON object a message, both ways.

The first message is `{"type": "auth", "token": …, "since": …}`, both optional; the same type later renews the token in place.
Every message may have a `ref`, which its answer (`ok` or `error`) repeats. What the subscriptions show has the place behind it as
`cursor`, because `id` is a record's. The `request_id` by which a rule's refusal is explained is one of the message's own, because
the connection goes on. Closed with 4000 + the status of the problem, 1012 when the server restarts.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping

from starlette.types import Message, Receive, Scope, Send

from baas.base.errors import BaasError, BadRequest, Fault, Forbidden, Invalid, RequestTimeout, TooManyRequests
from baas.base.principal import ANONYMOUS
from baas.base.strict_json import loads
from baas.base.tasks import end
from baas.features.realtime.asked import subscriptions
from baas.features.realtime.channels import Channels, Member
from baas.features.realtime.model import MAX_SUBSCRIPTIONS
from baas.features.realtime.service import Realtime
from baas.features.realtime.stream import Stream
from baas.infra.http.answers import encode
from baas.infra.http.context import Context
from baas.infra.http.middleware import Denied
from baas.infra.http.problem import document
from baas.infra.http.sse import Event

_FIRST_S = 10.0
_PER_S, _BURST = 50.0, 100.0
_RESTART = 1012
_LONGEST_ID = 50
_KEYS: Mapping[str, frozenset[str]] = {
    "ping": frozenset(),
    "auth": frozenset({"token"}),
    "subscribe": frozenset({"subscriptions"}),
    "unsubscribe": frozenset({"id"}),
    "join": frozenset({"channel"}),
    "leave": frozenset({"channel"}),
    "send": frozenset({"channel", "event", "data"}),
    "track": frozenset({"channel", "state"}),
}
"""What each type of message may have beside `type` and `ref`."""
_PLACED = ("ready", "bookmark")


class _Left(Exception):
    """The client has closed the connection."""


class SocketApp:
    """One conversation for each connection."""

    def __init__(self, realtime: Realtime, channels: Channels, denied: Denied) -> None:
        self._realtime, self._channels, self._denied = realtime, channels, denied

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        talk = _Talk(self._realtime, self._channels, self._denied, Context.of(scope), receive, send)
        with contextlib.suppress(_Left):
            try:
                await talk.run()
            except BaasError as error:
                await talk.say({"type": "closed", **talk.problem(error)})
                await talk.close(4000 + error.status, error.code)


class _Talk:
    def __init__(  # noqa: PLR0917  what it is made of
        self, realtime: Realtime, channels: Channels, denied: Denied, context: Context, receive: Receive, send: Send
    ) -> None:
        self._realtime, self._channels, self._denied, self._context = realtime, channels, denied, context
        self._refusals = 0
        self._receive, self._send = receive, send
        self._is_over = False
        self._tokens, self._refilled = _BURST, time.monotonic()

    async def run(self) -> None:
        """Raises BaasError for what ends the conversation."""
        project = self._context.project
        try:
            async with asyncio.timeout(_FIRST_S):
                first = await self._next()
        except TimeoutError:
            raise RequestTimeout("The first message did not come in time.", code="slow_auth") from None
        if first.get("type") != "auth":
            raise BadRequest('The first message is {"type": "auth", "token": …}.', code="bad_message")
        _refuse_strangers(first, _KEYS["auth"] | {"since"})
        token, since = _maybe_text(first, "token"), _maybe_text(first, "since")
        principal = ANONYMOUS if token is None else await self._realtime.principal(token, project)
        async with self._realtime.open(project, principal, token, (), since) as stream:
            member = self._channels.enter(project, lambda: stream.principal, stream.cut, lambda: stream.trusted)
            stream.on_renewed = self._channels.look_soon
            tasks = [
                asyncio.ensure_future(one)
                for one in (self._tell(stream), self._listen(stream, member), self._pass_on(stream, member))
            ]
            try:
                await self._answer(first, {})
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                _raise_from(done)
            finally:
                await end(*tasks)
                await self._channels.leave_all(member)

    # Out.

    async def say(self, message: Mapping[str, object]) -> None:
        await self._put({"type": "websocket.send", "text": encode(message).decode()})

    async def close(self, code: int, reason: str) -> None:
        """The last that is sent."""
        await self._put({"type": "websocket.close", "code": code, "reason": reason})

    async def _put(self, message: Message) -> None:
        """Send, but nothing after the end: others may have more to say while that is on its way. Raises _Left."""
        if self._is_over:
            return
        self._is_over = message["type"] == "websocket.close"
        try:
            await self._send(message)
        except OSError:  # how a server says that the client is gone
            raise _Left from None

    def problem(self, error: BaasError) -> Mapping[str, object]:
        """The problem document, but for what only an answer of its own has."""
        found = document(error, request_id=self._context.request_id, instance="")
        return {name: value for name, value in found.items() if name not in ("type", "instance")}

    async def _tell(self, stream: Stream) -> None:
        """What the subscriptions show, until the stream ends."""
        async for events in stream.events():
            for event in events:
                await self._put({"type": "websocket.send", "text": self._text(event)})
                if event.name in ("reconnect", "closed"):
                    code = _RESTART if event.name == "reconnect" else 4401
                    await self.close(code, event.name)

    def _text(self, event: Event) -> str:
        """The event as a message. No key stands in it twice: the data of some has the place already."""
        more = {} if event.name in _PLACED else {"cursor": event.id}
        if event.name == "closed":
            more["request_id"] = self._context.request_id
        head, rest = encode({"type": event.name, **more}), event.data[1:]
        return (head[:-1] + (b"," if rest != b"}" else b"") + rest).decode()

    async def _pass_on(self, stream: Stream, member: Member) -> None:
        """What is said in the channels."""
        while True:
            text = await member.next()
            member.sending_since = time.monotonic()
            await self._put({"type": "websocket.send", "text": text})
            member.sending_since = None

    # In.

    async def _listen(self, stream: Stream, member: Member) -> None:
        while True:
            message: Mapping[str, object] = {}
            try:
                message = await self._next()
                self._count()
                answer = await self._do(message, stream, member)
                if message.get("type") == "join":  # behind what was said before it, so that who is there is told in order
                    await member.answer(encode({"type": "ok", **_ref(message), **answer}).decode())
                else:
                    await self._answer(message, answer)
            except BaasError as error:
                await self.say({"type": "error", **_ref(message), **self.problem(error), **self._noted(error)})

    def _noted(self, error: BaasError) -> Mapping[str, object]:
        """Has what a rule refused kept under an id of its own; what the answer says of that."""
        if error.denial is None:
            return {}
        self._refusals += 1
        request_id = f"{self._context.request_id[:_LONGEST_ID]}.{self._refusals}"
        self._denied(self._context.project, error.denial.principal or ANONYMOUS, request_id, error)
        return {"request_id": request_id}

    async def _do(self, message: Mapping[str, object], stream: Stream, member: Member) -> Mapping[str, object]:
        kind = message.get("type")
        if isinstance(kind, str) and kind in _KEYS:
            _refuse_strangers(message, _KEYS[kind])
        match kind:
            case "ping":
                return {}
            case "auth":
                await self._renew(message, stream)
                return {}
            case "subscribe":
                wanted = subscriptions(message.get("subscriptions"), "/subscriptions")
                if len(stream.subscriptions | {one.id for one in wanted}) > MAX_SUBSCRIPTIONS:
                    raise Invalid(f"One connection follows at most {MAX_SUBSCRIPTIONS} lists.", code="limit_exceeded")
                await stream.add_more(wanted)
                return {}
            case "unsubscribe":
                stream.remove(_text_of(message, "id"))
                return {}
            case "join":
                return {"presence": await self._channels.join(member, _text_of(message, "channel"))}
            case "leave":
                await self._channels.leave(member, _text_of(message, "channel"))
                return {}
            case "send":
                event = _maybe_text(message, "event") or "message"
                await self._channels.send(member, _text_of(message, "channel"), event, message.get("data"))
                return {}
            case "track":
                await self._channels.track(member, _text_of(message, "channel"), message.get("state"))
                return {}
        raise BadRequest("There is no such type of message.", code="bad_message")

    async def _renew(self, message: Mapping[str, object], stream: Stream) -> None:
        """Another token of the same account takes the place of the one before."""
        token = _text_of(message, "token")
        principal = await self._realtime.principal(token, self._context.project)
        if (principal.kind, principal.id) != (stream.principal.kind, stream.principal.id):
            raise Forbidden("The token is of another account; open another connection.", code="other_account")
        stream.use(token)
        stream.renew(principal)

    async def _answer(self, message: Mapping[str, object], more: Mapping[str, object]) -> None:
        ref = _ref(message)
        if ref or more:
            await self.say({"type": "ok", **ref, **more})

    async def _next(self) -> Mapping[str, object]:
        """Raises BadRequest for what is no JSON object; the connection stays."""
        arrived = await self._receive()
        if arrived["type"] == "websocket.disconnect":
            self._is_over = True
            raise _Left
        text = arrived.get("text")
        if text is None:
            raise BadRequest("Messages are text.", code="bad_message")
        value = loads(text.encode("utf-8", "surrogatepass"))
        if not isinstance(value, dict):
            raise BadRequest("A message is a JSON object.", code="bad_message")
        return value

    def _count(self) -> None:
        now = time.monotonic()
        self._tokens = min(_BURST, self._tokens + (now - self._refilled) * _PER_S)
        self._refilled = now
        if self._tokens < 1:
            raise TooManyRequests("Too many messages.", retry_after_s=1)
        self._tokens -= 1


def _raise_from(done: Iterable[asyncio.Task[None]]) -> None:
    """What ended the conversation, if anything did but a cut: that the client has left, before what came of his leaving."""
    errors = [error for task in done if not task.cancelled() and (error := task.exception()) is not None]
    for error in sorted(errors, key=lambda one: not isinstance(one, _Left)):
        raise error


def _ref(message: Mapping[str, object]) -> Mapping[str, object]:
    return {"ref": message["ref"]} if "ref" in message else {}


def _refuse_strangers(message: Mapping[str, object], known: frozenset[str]) -> None:
    strangers = [name for name in message if name not in known and name not in ("type", "ref")]
    if strangers:
        faults = [Fault(f"/{name[:100]}", "unknown_key", "There is no such key here.") for name in strangers]
        raise Invalid("The message is wrong.", errors=faults)


def _text_of(message: Mapping[str, object], name: str) -> str:
    found = _maybe_text(message, name)
    if found is None:
        raise Invalid("The message is wrong.", errors=[Fault(f"/{name}", "required", "Must be a text.")])
    return found


def _maybe_text(message: Mapping[str, object], name: str) -> str | None:
    found = message.get(name)
    if found is not None and not isinstance(found, str):
        raise Invalid("The message is wrong.", errors=[Fault(f"/{name}", "wrong_type", "Must be a text.")])
    return found
