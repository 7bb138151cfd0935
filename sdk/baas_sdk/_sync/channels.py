# Made from _async/channels.py by sdk/unasync.py; change that one.
"""Channels: what clients say to each other, and who is there. Nothing of it is kept."""

import json
import random
import time
from types import TracebackType
from typing import Any, Self

from baas_sdk._sync.compat import Line, sleep
from baas_sdk._sync.transport import Transport
from baas_sdk.errors import APIError, ConnectionFailed, NotAuthenticated
from baas_sdk.models import utc_now
from baas_sdk.retry import renewal_in_s, wait_s
from baas_sdk.talk import Hearing, Message


class Channel:
    """Made by `client.channel(name)`: `with` joins, `for` gives what others say and who comes and goes.

    A line that breaks is made again, and the state that was tracked is told again; what was said meanwhile is lost. A session is
    renewed before its token ends, on the same line, as long as messages are read or sent.
    """

    def __init__(self, transport: Transport, name: str) -> None:
        self.name = name
        self._transport = transport
        self._hearing = Hearing(name)
        self._line: Line | None = None
        self._state: Any = None
        self._renew_at: float | None = None
        self._was_known = False

    @property
    def present(self) -> list[Any]:
        """The states that those who are there track."""
        return [one.get("state") for one in self._hearing.present.values()]

    def __enter__(self) -> Self:
        self._join()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Leaves."""
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def send(self, data: object, *, event: str = "message") -> None:
        """Says something to everybody else who has joined. A refusal by the rule is raised where messages are read.

        Raises:
            ConnectionFailed: the line is broken; reading mends it.
        """
        self._say({"type": "send", "channel": self.name, "event": event, "data": data})

    def track(self, state: object) -> None:
        """Is there, with this state, until the block ends.

        Raises: as `send`.
        """
        self._state = state
        self._say({"type": "track", "channel": self.name, "state": state})

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message:
        """The next message; waits for it, also while the server is away.

        Raises:
            APIError: what was said is refused, or the channel is closed to this caller. NotAuthenticated: the session ended.
        """
        attempt = 0
        while not self._hearing.waiting:
            try:
                if self._line is None:
                    self._join()
                else:
                    self._keep_up()
                    self._hear(self._line)
                attempt = 0
            except ConnectionFailed as error:
                self.close()
                asked, self._hearing.pause_s = self._hearing.pause_s, None
                pause = wait_s(error, attempt=attempt, dice=random.random) or 0
                sleep(pause if asked is None else asked * (1 + 0.1 * random.random()))  # noqa: S311  # spread, not a secret
                attempt += 1
        return self._hearing.waiting.pop(0)

    def _hear(self, line: Line) -> None:
        left_s = None if self._renew_at is None else max(0.0, self._renew_at - time.monotonic())
        text = line.receive(left_s)
        try:
            if text is not None:
                self._hearing.take(text)
        except APIError as error:
            if error.code != "bad_token":
                raise
            self.close()  # joining again renews the session, or is refused for good

    def _keep_up(self) -> None:
        """Tells the server the next token of the session before the one it knows ends."""
        if self._line is None or self._renew_at is None or time.monotonic() < self._renew_at:
            return
        self._line.send(json.dumps({"type": "auth", "token": self._token()}))
        self._plan()

    def _plan(self) -> None:
        credentials = self._transport.credentials
        session = None if credentials.fixed is not None else credentials.session()
        left = None if session is None else (session.expires_at - utc_now()).total_seconds()
        self._renew_at = None if left is None else time.monotonic() + renewal_in_s(left)

    def _join(self) -> None:
        """Raises: Forbidden, NotAuthenticated by the rule of the channel; ConnectionFailed; ConfigError without `websockets`."""
        token = self._token()
        try:
            self._join_with(token)
        except APIError as error:
            if error.code != "bad_token" or token is None or not self._transport.renew(token):
                raise
            self._join_with(self._transport.token())
        self._plan()
        if self._state is not None:
            self.track(self._state)

    def _token(self) -> str | None:
        """Raises: NotAuthenticated when the session of who has joined is gone: he must not go on as nobody."""
        token = self._transport.token()
        if token is None and self._was_known:
            raise NotAuthenticated(401, code="bad_token", detail="The session has ended.")
        self._was_known = token is not None
        return token

    def _join_with(self, token: str | None) -> None:
        options = self._transport.options
        line = Line()
        line.open(options.url.replace("http", "ws", 1) + options.path_of("realtime/socket"), options.timeout_s)
        try:
            line.send(json.dumps({"type": "auth", **({} if token is None else {"token": token})}))
            line.send(json.dumps({"type": "join", "channel": self.name, "ref": 1}))
            while (said := self._hearing.take(line.receive() or "{}")).get("ref") != 1:
                pass
        except BaseException:
            line.close()
            raise
        self._hearing.arrive(said.get("presence", []))
        self._line = line

    def _say(self, message: dict[str, object]) -> None:
        if self._line is None:
            raise ConnectionFailed("The line of the channel is broken; it is made again where messages are read.", sent=False)
        self._keep_up()
        self._line.send(json.dumps(message))
