"""Channels: what clients say to each other, and who is there. Nothing of it is kept."""

import json
import random
from types import TracebackType
from typing import Any, Self

from baas_sdk._async.compat import AsyncLine, sleep
from baas_sdk._async.transport import AsyncTransport
from baas_sdk.errors import ConnectionFailed
from baas_sdk.retry import wait_s
from baas_sdk.talk import Hearing, Message


class AsyncChannel:
    """Made by `client.channel(name)`: `async with` joins, `async for` gives what others say and who comes and goes.

    A line that breaks is made again, and the state that was tracked is told again; what was said meanwhile is lost.
    """

    def __init__(self, transport: AsyncTransport, name: str) -> None:
        self.name = name
        self._transport = transport
        self._hearing = Hearing(name)
        self._line: AsyncLine | None = None
        self._state: Any = None

    @property
    def present(self) -> list[Any]:
        """The states that those who are there track."""
        return [one.get("state") for one in self._hearing.present.values()]

    async def __aenter__(self) -> Self:
        await self._join()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Leaves."""
        line, self._line = self._line, None
        if line is not None:
            await line.aclose()

    async def send(self, data: object, *, event: str = "message") -> None:
        """Says something to everybody else who has joined. A refusal by the rule is raised where messages are read.

        Raises:
            ConnectionFailed: the line is broken; reading mends it.
        """
        await self._say({"type": "send", "channel": self.name, "event": event, "data": data})

    async def track(self, state: object) -> None:
        """Is there, with this state, until the block ends.

        Raises: as `send`.
        """
        self._state = state
        await self._say({"type": "track", "channel": self.name, "state": state})

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        """The next message; waits for it, also while the server is away.

        Raises:
            APIError: what was said is refused, or the channel is closed to this caller.
        """
        attempt = 0
        while not self._hearing.waiting:
            try:
                if self._line is None:
                    await self._join()
                else:
                    self._hearing.take(await self._line.receive())
                attempt = 0
            except ConnectionFailed as error:
                await self.aclose()
                await sleep(wait_s(error, attempt=attempt, dice=random.random) or 0)
                attempt += 1
        return self._hearing.waiting.pop(0)

    async def _join(self) -> None:
        """Raises: Forbidden, NotAuthenticated by the rule of the channel; ConnectionFailed; ConfigError without `websockets`."""
        options = self._transport.options
        token = await self._transport.token()
        line = AsyncLine()
        await line.open(options.url.replace("http", "ws", 1) + options.path_of("realtime/socket"), options.timeout_s)
        try:
            await line.send(json.dumps({"type": "auth", **({} if token is None else {"token": token})}))
            await line.send(json.dumps({"type": "join", "channel": self.name, "ref": 1}))
            while (said := self._hearing.take(await line.receive())).get("ref") != 1:
                pass
        except BaseException:
            await line.aclose()
            raise
        self._hearing.arrive(said.get("presence", []))
        self._line = line
        if self._state is not None:
            await self.track(self._state)

    async def _say(self, message: dict[str, object]) -> None:
        if self._line is None:
            raise ConnectionFailed("The line of the channel is broken; it is made again where messages are read.", sent=False)
        await self._line.send(json.dumps(message))
