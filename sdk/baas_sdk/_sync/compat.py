"""The few things that cannot be made from one text. `_async/compat.py` has the same names; both are written by hand."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

from baas_sdk.errors import ConfigError, ConnectionFailed

P = ParamSpec("P")
T = TypeVar("T")


def sleep(seconds: float) -> None:
    """Waits."""
    time.sleep(seconds)


def blocking(act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs what waits for a disk, here."""
    return act(*args, **kwargs)


class SingleFlight:
    """Runs an act for one thread at a time; the act itself sees whether the one before it left nothing to do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def run(self, act: Callable[[], None]) -> None:
        """Runs the act when no other thread does."""
        with self._lock:
            act()


class Line:
    """A WebSocket of texts. Needs the package `websockets`: `pip install baas-sdk[ws]`."""

    def __init__(self) -> None:
        self._socket: Any = None
        self._held = contextlib.ExitStack()

    def open(self, address: str, timeout_s: float) -> None:
        """Connects.

        Raises:
            ConnectionFailed: nobody answers, or no WebSocket. ConfigError: the package is missing.
        """
        try:
            from websockets.sync.client import connect
        except ImportError as error:
            raise ConfigError("Channels need the package websockets: pip install 'baas-sdk[ws]'.") from error
        with _broken():
            self._socket = self._held.enter_context(connect(address, open_timeout=timeout_s))

    def send(self, text: str) -> None:
        """One text."""
        with _broken():
            self._socket.send(text)

    def receive(self, timeout_s: float | None = None) -> str | None:
        """The next text; waits for it, and when it does not come within `timeout_s` there is None."""
        with _broken():
            try:
                return str(self._socket.recv(timeout_s))
            except TimeoutError:
                return None

    def close(self) -> None:
        """Ends it."""
        with contextlib.suppress(ConnectionFailed), _broken():
            self._held.close()


@contextlib.contextmanager
def _broken() -> Iterator[None]:
    """The errors of a line as ours."""
    from websockets.exceptions import WebSocketException

    try:
        yield
    except (WebSocketException, OSError, EOFError) as error:
        raise ConnectionFailed(f"The line is broken: {error}") from error
