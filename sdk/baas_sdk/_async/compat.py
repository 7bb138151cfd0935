"""The few things that cannot be made from one text. `_sync/compat.py` has the same names; both are written by hand."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, ParamSpec, TypeVar

from baas_sdk.errors import ConfigError, ConnectionFailed

P = ParamSpec("P")
T = TypeVar("T")


async def sleep(seconds: float) -> None:
    """Waits without stopping the others."""
    await asyncio.sleep(seconds)


async def blocking(act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs what waits for a disk, in a thread."""
    return await asyncio.to_thread(act, *args, **kwargs)


class SingleFlight:
    """Runs an act once for all who ask meanwhile. Who stops waiting does not stop it: half a renewal loses the session."""

    def __init__(self) -> None:
        self._flight: asyncio.Task[None] | None = None

    async def run(self, act: Callable[[], Awaitable[None]]) -> None:
        """Starts the act or joins it.

        Raises: whatever the act raises, in everybody who waits.
        """
        if self._flight is None or self._flight.done():
            self._flight = asyncio.create_task(self._fly(act))
            self._flight.add_done_callback(_look)
        await asyncio.shield(self._flight)

    @staticmethod
    async def _fly(act: Callable[[], Awaitable[None]]) -> None:
        await act()


def _look(flight: "asyncio.Task[None]") -> None:
    """Marks the outcome as seen; those who waited got it, and without them nobody would have asked."""
    with contextlib.suppress(asyncio.CancelledError):
        flight.exception()


class AsyncLine:
    """A WebSocket of texts. Needs the package `websockets`: `pip install baas-sdk[ws]`."""

    def __init__(self) -> None:
        self._socket: Any = None

    async def open(self, address: str, timeout_s: float) -> None:
        """Connects.

        Raises:
            ConnectionFailed: nobody answers, or no WebSocket. ConfigError: the package is missing.
        """
        try:
            from websockets.asyncio.client import connect
        except ImportError as error:
            raise ConfigError("Channels need the package websockets: pip install 'baas-sdk[ws]'.") from error
        with _broken():
            self._socket = await connect(address, open_timeout=timeout_s)

    async def send(self, text: str) -> None:
        """One text."""
        with _broken():
            await self._socket.send(text)

    async def receive(self, timeout_s: float | None = None) -> str | None:
        """The next text; waits for it, and when it does not come within `timeout_s` there is None."""
        with _broken():
            try:
                async with asyncio.timeout(timeout_s):
                    return str(await self._socket.recv())
            except TimeoutError:
                return None

    async def aclose(self) -> None:
        """Ends it."""
        with contextlib.suppress(ConnectionFailed), _broken():
            await self._socket.close()


@contextlib.contextmanager
def _broken() -> Iterator[None]:
    """The errors of a line as ours."""
    from websockets.exceptions import WebSocketException

    try:
        yield
    except (WebSocketException, OSError, EOFError) as error:
        raise ConnectionFailed(f"The line is broken: {error}") from error
