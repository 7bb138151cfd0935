"""One process that serves: the application on a listening socket, until a signal, with a drain at the end."""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any

import uvicorn

from baas.base.settings import Settings
from baas.infra.http.arrival import HeadLimits
from baas.infra.http.protocol import MAX_MESSAGE, Protocol
from baas.infra.observe.lifecycle import Lifecycle
from baas.infra.observe.log import Log

FAILED = 1
BACKLOG = 2048
STOPPING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGBREAK") if hasattr(signal, name))
"""The signals that ask a server to stop: by a service manager, by Ctrl-C, and on Windows by Ctrl-Break or a parent."""


@dataclass(frozen=True, slots=True)
class Running:
    """What a command may tell once the server answers. `database` says which PostgreSQL it is."""

    settings: Settings
    database_url: str
    database: str


class Failure:
    """Something ended that the server cannot be without; told from any thread, read by whoever runs the server."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.happened = threading.Event()
        self._tell: Callable[[], object] = self.happened.set

    def tell(self, error: Exception) -> None:
        self.error = error
        self.happened.set()
        self._tell()

    def calls(self, tell: Callable[[], object]) -> None:
        """What to do when it happens; at once if it has happened already."""
        self._tell = tell
        if self.error is not None:
            tell()


async def serve_here(
    settings: Settings,
    url: str,
    listener: socket.socket,
    *,
    log: Log,
    failure: Failure | None = None,
    ready: Callable[[], None] = lambda: None,
    check: Callable[[], None] = lambda: None,
    alone: asyncio.Event | None = None,
) -> int:
    """Serve on the listener until a signal, `alone` or a failure, which is raised; the exit code.

    The first signal drains: no new connections, streams are told to end, requests get `drain_timeout_s`. The second ends at once.
    `check` is called when signals are heard here, and raises when one came before.
    """
    from baas.server import open_server

    task = asyncio.current_task()
    assert task is not None  # noqa: S101  we are a coroutine
    loop, lifecycle = asyncio.get_running_loop(), Lifecycle()
    server: _Server | None = None

    def drain() -> None:
        if server is None or lifecycle.is_draining():
            task.cancel()
        else:
            server.should_exit = True
        lifecycle.begin_draining()

    with _signals_to(drain):
        check()
        if failure is not None:
            failure.calls(lambda: loop.call_soon_threadsafe(drain))
        watch = asyncio.create_task(_when(alone, drain))
        try:
            async with open_server(settings, url, lifecycle=lifecycle, log=log) as parts:
                server = _Server(_uvicorn(settings, parts.app), ready)
                _spare_the_collector()
                await server.serve([listener])
        except asyncio.CancelledError:
            if not lifecycle.is_draining():
                raise
        finally:
            watch.cancel()
            log.flush()
    if failure is not None and failure.error is not None:
        raise failure.error
    return 0


def run_in_loop(work: Coroutine[Any, Any, int]) -> int:
    """Run on the fast event loop where there is one."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


def open_log(settings: Settings) -> Log:
    """The log of this process, which takes the lines of the libraries too, but for uvicorn's small talk."""
    log = Log(sys.stderr, level=settings.log_level, shape=settings.log_format)  # type: ignore[arg-type]
    log.adopt_standard_logging()
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    return log


def _spare_the_collector() -> None:
    """What stands now stands to the end; requests make little that only the collector could free, so it may come seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handling, which raises the signal again after the drain and spoils the exit code."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain; then let requests that were cut off run their clean-up while the parts still stand."""
        await super().shutdown(sockets)
        cut_off = list(self.server_state.tasks)
        if cut_off:
            await asyncio.wait(cut_off, timeout=1)


def _uvicorn(settings: Settings, app: Any) -> uvicorn.Config:
    limits = HeadLimits(settings.max_url_bytes, settings.max_header_bytes, settings.max_header_count)
    return uvicorn.Config(
        app,
        http=partial(Protocol, limits=limits, header_timeout_s=settings.header_timeout_s),  # type: ignore[arg-type]
        ws="baas.infra.http.websocket:WebSocketProtocol",  # by name: imported when the server starts, not with the command
        ws_max_size=MAX_MESSAGE,
        ws_per_message_deflate=False,  # a window for each connection costs more memory than the connection
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=int(settings.keep_alive_s),
        timeout_graceful_shutdown=int(settings.drain_timeout_s),
    )


@contextmanager
def _signals_to(drain: Callable[[], None]) -> Iterator[None]:
    """Not by the loop's own way to hear signals, which it does not have on Windows; this one works on every loop and system."""
    loop = asyncio.get_running_loop()

    def heard(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(drain)

    for one in STOPPING:
        signal.signal(one, heard)
    try:
        yield
    finally:
        for one in STOPPING:
            signal.signal(one, signal.SIG_IGN)  # the drain is done; what remains is short and must not be torn


async def _when(event: asyncio.Event | None, act: Callable[[], None]) -> None:
    if event is not None:
        await event.wait()
        act()
