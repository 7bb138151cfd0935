"""The process: settings -> PostgreSQL -> the server -> drain -> stop. The one place that reads the environment.

With one worker everything runs here. With several, this process keeps PostgreSQL and the port, and process_workers.py runs the
servers as its children. What prevents a start is said in plain words, with an exit code, and never as a traceback.
"""

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import uvicorn

from baas.base.errors import BaasError
from baas.base.settings import BadSettings, Loaded, Secret, Settings, load_settings
from baas.infra.db.embedded.cluster import Cluster
from baas.infra.db.embedded.faults import ClusterFault, InUse
from baas.infra.db.embedded.layout import kept_secret
from baas.infra.db.migrate import migrate
from baas.infra.db.pool import Database
from baas.infra.db.suitable import Unsuitable, refuse_unsuitable
from baas.infra.http.arrival import HeadLimits
from baas.infra.http.protocol import Protocol
from baas.infra.observe.lifecycle import Lifecycle
from baas.infra.observe.log import Log

FAILED, USAGE, UNREACHABLE = 1, 2, 7
_BACKLOG = 2048
_MOST_FILES = 65_536
_PORTS_TRIED = 20
_CONNECTIONS_BESIDES = 20  # LISTEN, health, upkeep, a person with psql
T = TypeVar("T")


class CannotStart(Exception):
    """Why the server does not run, in words for the person who started it."""

    def __init__(self, text: str, exit_code: int = FAILED) -> None:
        super().__init__(text)
        self.exit_code = exit_code


STARTING = (CannotStart, ClusterFault, Unsuitable, BaasError)
"""What keeps a server from starting, each with words for a person."""


class _Stopped(Exception):
    """SIGTERM or SIGINT while starting."""


class _Stop:
    """Handles the signals to stop until the server has its own handling. It raises nothing out of the blue: an exception in the
    middle of starting a program would leave that program behind. The start asks between its steps, and interrupts the long ones.
    """

    def __init__(self) -> None:
        self.requested = False
        self.interrupt: Callable[[], object] = lambda: None

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
        self.interrupt()

    def check(self) -> None:
        if self.requested:
            raise _Stopped

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end or to a signal. Raises _Stopped."""
        self.check()
        with asyncio.Runner() as runner:
            task = runner.get_loop().create_task(work)
            self.interrupt = partial(runner.get_loop().call_soon_threadsafe, task.cancel)
            try:
                return runner.run(_result_of(task))
            except asyncio.CancelledError:
                raise _Stopped from None
            finally:
                self.interrupt = lambda: None


async def _result_of(task: "asyncio.Task[T]") -> T:
    return await task


@dataclass(frozen=True, slots=True)
class Running:
    """What a command may tell once the server answers. `database` says which PostgreSQL it is."""

    settings: Settings
    database_url: str
    database: str


Prepare = Callable[[Settings, str], Awaitable[None]]
"""Called once, in the first process, when the database is migrated and nobody is served yet."""


def default_data_dir() -> Path:
    """Where a server keeps its files unless told: the system's place for root, the user's own otherwise."""
    import platformdirs

    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return Path("/var/lib/baas") if is_root else platformdirs.user_data_path("baas", appauthor=False)


def load(flags: Mapping[str, object], *, config: Path | None = None, defaults: Mapping[str, object] | None = None) -> Loaded:
    """The settings of this process. The file is `config`, else what BAAS_CONFIG names, else none.

    Raises CannotStart with every fault at once.
    """
    path = config or (Path(os.environ["BAAS_CONFIG"]) if os.environ.get("BAAS_CONFIG") else None)
    try:
        text = path.read_text("utf-8") if path else None
    except (OSError, UnicodeDecodeError) as error:
        raise CannotStart(
            f"The settings file {path} cannot be read: {getattr(error, 'strerror', None) or error}.", USAGE
        ) from None
    given = {"data_dir": default_data_dir(), **(defaults or {})}
    try:
        return load_settings(flags, os.environ, text, read=lambda name: Path(name).read_text("utf-8"), defaults=given)
    except BadSettings as error:
        raise CannotStart(str(error), USAGE) from None


def serve(
    settings: Settings,
    *,
    prepare: Prepare | None = None,
    ready: Callable[[Running], None] | None = None,
    next_free_port: bool = False,
) -> int:
    """Run the server until it is told to stop; the exit code. What goes wrong is written to the standard error stream."""
    try:
        with _signals_while_starting() as stop:
            return _serve(settings, stop, prepare or _nothing, ready or (lambda _: None), next_free_port)
    except _Stopped:
        return 0
    except STARTING as error:
        say(in_words(error))
        return exit_code_of(error)


def run_with_database(settings: Settings, work: Callable[[Settings, str], Coroutine[Any, Any, T]]) -> T:
    """Do something with the migrated database while no server runs, or beside servers when the database is not embedded.

    Raises CannotStart, ClusterFault, Unsuitable.
    """
    with ExitStack() as stack:
        try:
            settings, url, _ = _open(settings, stack, _Stop())
        except InUse:
            url = Cluster.of_running_server(settings.data_dir).url()
        return asyncio.run(_after_migration(settings, url, work))


def exit_code_of(error: Exception) -> int:
    if isinstance(error, CannotStart):
        return error.exit_code
    unreachable = isinstance(error, Unsuitable) and error.unreachable
    return UNREACHABLE if unreachable else FAILED


def say(text: str) -> None:
    """A line for the person at the terminal, or the log of a service manager."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"baas: {text}\n")
        sys.stderr.flush()


def _serve(settings: Settings, stop: _Stop, prepare: Prepare, ready: Callable[[Running], None], next_free_port: bool) -> int:
    failure = Failure()
    with ExitStack() as stack:
        listener = stack.enter_context(_listen(settings, next_free_port))
        settings = replace(settings, port=listener.getsockname()[1])
        log = open_log(settings)
        settings, url, database = _open(
            settings, stack, stop, tell=lambda text: log.info("postgres", message=text), gave_up=failure.tell
        )
        stop.run(_after_migration(settings, url, prepare))
        running = Running(settings, url, database)
        _allow_many_files()
        if settings.workers > 1:
            from baas.process_workers import run_workers

            return run_workers(running, listener, failure, ready, stop.check)
        serving = serve_here(settings, url, listener, failure=failure, ready=lambda: ready(running), check=stop.check)
        return run_in_loop(serving)


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
    failure: Failure | None = None,
    ready: Callable[[], None] = lambda: None,
    check: Callable[[], None] = lambda: None,
    alone: asyncio.Event | None = None,
) -> int:
    """Serve on the listener until a signal, `alone` or a failure; the exit code.

    The first signal drains: no new connections, streams are told to end, requests get `drain_timeout_s`. The second ends at once.
    `check` is called when signals are heard here, and raises when one came before.
    """
    from baas.server import open_server

    task = asyncio.current_task()
    assert task is not None  # noqa: S101  we are a coroutine
    loop, lifecycle, log = asyncio.get_running_loop(), Lifecycle(), open_log(settings)
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
                await server.serve([listener])
        except asyncio.CancelledError:
            if not lifecycle.is_draining():
                raise
        finally:
            watch.cancel()
            log.flush()
    if failure is not None and failure.error is not None:
        say(in_words(failure.error))
        return FAILED
    return 0


def open_log(settings: Settings) -> Log:
    """The log of this process, which takes the lines of the libraries too, but for uvicorn's small talk."""
    log = Log(sys.stderr, level=settings.log_level, shape=settings.log_format)  # type: ignore[arg-type]
    log.adopt_standard_logging()
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    return log


def run_in_loop(work: Coroutine[Any, Any, int]) -> int:
    """Run on the fast event loop where there is one."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


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
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=int(settings.keep_alive_s),
        timeout_graceful_shutdown=int(settings.drain_timeout_s),
    )


def _open(
    settings: Settings,
    stack: ExitStack,
    stop: _Stop,
    *,
    tell: Callable[[str], None] = lambda _: None,
    gave_up: Callable[[Exception], None] = lambda _: None,
) -> tuple[Settings, str, str]:
    """The data folder, the secret key and the database: settings made complete, its address, and what it is."""
    if settings.database_url is None:
        cluster = Cluster(
            settings.data_dir,
            pg_bin=settings.pg_bin,
            connections=settings.workers * (settings.db_pool_size + 2) + _CONNECTIONS_BESIDES,
            say=tell,
            gave_up=gave_up,
        )
        stack.callback(cluster.stop)
        stop.interrupt = cluster.interrupt
        try:
            cluster.start()
        except ClusterFault:
            stop.check()  # it was interrupted: no fault
            raise
        url, database = cluster.url(), f"embedded {cluster.engine}"
    else:
        _make_writable(settings.data_dir)
        url, database = settings.database_url.reveal(), "the given PostgreSQL"
    if not settings.secret_key:
        settings = replace(settings, secret_key=Secret(kept_secret(settings.data_dir / "secret", "server_key")))
    return settings, url, database


async def _after_migration(settings: Settings, url: str, work: Callable[[Settings, str], Awaitable[T]]) -> T:
    await refuse_unsuitable(url)
    db = await Database.connect(url, size=2)
    try:
        await migrate(db)
    finally:
        await db.close()
    return await work(settings, url)


async def _nothing(_settings: Settings, _url: str) -> None:
    return None


def _make_writable(folder: Path) -> None:
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True)
            folder.chmod(0o700)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise CannotStart(
            f"The data folder {folder} cannot be written: {error.strerror}. Choose another with --data-dir."
        ) from None


def _listen(settings: Settings, next_free: bool) -> socket.socket:
    """The listening socket, from the very start: a taken port is known at once, and who connects meanwhile waits."""
    last = min(settings.port + _PORTS_TRIED, 65_535) if next_free and settings.port else settings.port
    for port in range(settings.port, last + 1):
        try:
            family = socket.getaddrinfo(settings.host, port, type=socket.SOCK_STREAM)[0][0]
            listener = socket.create_server((settings.host, port), family=family, backlog=_BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and port < last:
                continue
            raise CannotStart(_why_not_listening(settings.host, port, error)) from None
        if port != settings.port and settings.port:
            say(f"port {settings.port} is in use, taking {port}")
        return listener
    raise AssertionError("the range is never empty")


def _why_not_listening(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} of {host} is in use. Stop what uses it, or choose another with --port."
    if error.errno == errno.EACCES:
        return f"Port {port} needs rights that this user does not have. Choose one above 1023 with --port."
    return f"{host!r} is no address of this machine to listen on: {error.strerror}. Choose another with --host."


def _allow_many_files() -> None:
    """Every connection is an open file; the usual limit of 1024 is for programs that still use select()."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextmanager
def _signals_while_starting() -> Iterator[_Stop]:
    stop = _Stop()
    before = {one: signal.signal(one, stop) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@contextmanager
def _signals_to(drain: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, drain)
    try:
        yield
    finally:
        for one in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(one)
            signal.signal(one, signal.SIG_IGN)  # the drain is done; what remains is short and must not be torn


async def _when(event: asyncio.Event | None, act: Callable[[], None]) -> None:
    if event is not None:
        await event.wait()
        act()


def in_words(error: Exception) -> str:
    """What is wrong, each fault of it, and the way out."""
    faults = [f"{one.pointer.lstrip('/')}: {one.message}" for one in getattr(error, "errors", ())]
    return " ".join(filter(None, (str(error), *faults, getattr(error, "hint", None))))
