"""Subscriptions: what a list shows, kept true by the server as records change."""

import logging
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from types import TracebackType
from typing import Any, Generic, Self

import httpx2

from baas_sdk._async.compat import sleep
from baas_sdk._async.transport import AsyncTransport, Call, translated
from baas_sdk.errors import APIError, BaasError, ConnectionFailed
from baas_sdk.events import NAME, Event, Follower
from baas_sdk.models import M
from baas_sdk.retry import wait_s
from baas_sdk.wire import encode

_log = logging.getLogger("baas_sdk")
_SILENCE_S = 75.0
"""The server says something every 30 seconds; a line that is silent for longer is dead."""
_QUICK_S = 0.05


class AsyncSubscription(Generic[M]):
    """Made by `collection.subscribe(...)`: `async with` connects, `async for` gives the events, for as long as the block lasts.

    A connection that breaks is made again and taken up where it broke: every event once or, when it broke in the middle of
    one, again. Only when the server has forgotten the place does a new `snapshot` come instead.
    """

    def __init__(
        self,
        transport: AsyncTransport,
        wanted: Mapping[str, object],
        read: Callable[[Mapping[str, Any]], M],
        since: str | None,
    ) -> None:
        self._transport = transport
        self._wanted = wanted
        self._follower = Follower(read, since)
        self._connection = AsyncExitStack()
        self._messages: AsyncIterator[httpx2.ServerSentEvent] | None = None
        self._attempt = 0

    @property
    def cursor(self) -> str | None:
        """The place behind the last event: `subscribe(since=…)` goes on from there, also in another process."""
        return self._follower.cursor

    async def __aenter__(self) -> Self:
        try:
            await self._connect()
        except APIError as error:
            if not self._forgotten(error):
                raise
            await self._connect()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Ends it."""
        self._messages = None
        await self._connection.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event[M]:
        """The next event; waits for it, also while the server is away.

        Raises:
            Ended: a rule or a change of the collection ended it. NotAuthenticated: the session ended.
            Others: as a list, when the server refuses to go on.
        """
        while True:
            try:
                if self._messages is None:
                    await self._connect()
                event = await self._next()
                self._attempt = 0
                if event is not None:
                    return event
            except (ConnectionFailed, APIError) as error:
                await self._pause(error)

    async def _next(self) -> Event[M] | None:
        """The next message's event; None when it makes none, or the stream has ended in order."""
        assert self._messages is not None  # noqa: S101  # the caller has connected
        with translated(self._transport.options.url):
            message = await anext(self._messages, None)
        if message is not None:
            return self._follower.take(message.event, message.id, message.data)
        pause = self._follower.pause_s
        await self.aclose()
        await sleep(_QUICK_S * random.random() if pause is None else pause)  # noqa: S311  # spread, not a secret
        return None

    async def _pause(self, error: BaasError) -> None:
        """Waits before the next attempt. Raises the error when no attempt would help."""
        await self.aclose()
        if self._forgotten(error):
            return
        pause = wait_s(error, attempt=self._attempt, dice=random.random)
        if pause is None:
            raise error
        self._attempt += 1
        _log.info("The stream broke; again in %.2f s: %s", pause, error)
        await sleep(pause)

    def _forgotten(self, error: BaasError) -> bool:
        """Whether the server has forgotten the place. Then everything is asked for: what was missed cannot be told otherwise."""
        if not isinstance(error, APIError) or error.status != 410 or self._follower.cursor is None:
            return False
        _log.info("The server has forgotten %s; beginning anew.", self._follower.cursor)
        self._follower.cursor = None
        self._wanted = {**self._wanted, "initial": True}
        return True

    async def _connect(self) -> None:
        """Raises: what the list would be refused with; ConnectionFailed after the usual attempts."""
        await self.aclose()
        self._follower.connected()
        place = {} if self._follower.cursor is None else {"Last-Event-ID": self._follower.cursor}
        call = Call(
            "POST",
            self._transport.options.path_of("realtime"),
            content=encode([{"id": NAME, **self._wanted}]),
            headers={"Accept": "text/event-stream", "Content-Type": "application/json", **place},
            asks=True,
            silence_s=_SILENCE_S,
        )
        response = await self._connection.enter_async_context(self._transport.stream(call))
        messages: Any = aiter(httpx2.EventSource(response, max_event_size=None))
        self._messages = await self._connection.enter_async_context(aclosing(messages))
