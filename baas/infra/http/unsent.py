"""Clients who do not read: what they leave unsent is memory of ours, so a connection that takes nothing for too long is cut."""

import asyncio
from collections.abc import Callable

_LOOK_S = 30.0
_SLOWEST_BYTES_PER_S = 1024
_NEVER = float("inf")


class Unsent:
    """Looks at what one connection has yet to send, while there is something.

    It is cut when its client took less than a KiB a second since the last look and nothing more was written meanwhile: while
    writing is `paused`, or when `rests` says that nobody writes.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, rests: Callable[[], bool]) -> None:
        self._loop = loop
        self._transport = transport
        self._rests = rests
        self._timer: asyncio.TimerHandle | None = None
        self._before = _NEVER
        self.paused = False

    def watch(self) -> None:
        """Begin to look, if there is anything unsent."""
        if self._timer is None and self._transport.get_write_buffer_size():
            self._arm()

    def pause(self) -> None:
        """Writing has stopped, for the client is behind."""
        self.paused = True
        self.watch()

    def resume(self) -> None:
        """The client has caught up, which is progress whatever is written next."""
        self.paused = False
        self._before = _NEVER

    def end(self) -> None:
        """The connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        judged = self.paused or self._rests()
        self._before = self._transport.get_write_buffer_size() if judged else _NEVER
        self._timer = self._loop.call_later(_LOOK_S, self._look)

    def _look(self) -> None:
        self._timer = None
        left = self._transport.get_write_buffer_size()
        if not left:
            return
        if self._before - left < _LOOK_S * _SLOWEST_BYTES_PER_S:
            self._transport.abort()
        else:
            self._arm()
