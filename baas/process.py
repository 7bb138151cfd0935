"""The process: settings -> PostgreSQL -> the server -> drain -> stop. The one place that reads the environment.

With one worker everything runs here (process_server.py). With several, this process keeps PostgreSQL and the port, and
process_workers.py runs the servers as its children. What prevents a start is said in plain words, with an exit code, and never
as a traceback.
"""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from baas.base.errors import BaasError
from baas.base.settings import BadSettings, Loaded, Secret, Settings, load_settings
from baas.infra.db.embedded.cluster import Cluster
from baas.infra.db.embedded.faults import ClusterFault, InUse
from baas.infra.db.embedded.layout import kept_secret
from baas.infra.db.migrate import migrate
from baas.infra.db.pool import Database
from baas.infra.db.suitable import Unsuitable, refuse_unsuitable
from baas.infra.observe.log import Log
from baas.process_server import BACKLOG, FAILED, STOPPING, Failure, Running, run_in_loop, serve_here

USAGE, UNREACHABLE, INTERRUPTED = 2, 7, 130
_MOST_FILES = 65_536
_PORTS_TRIED = 20
_CONNECTIONS_BESIDES = 20  # LISTEN, health, upkeep, a person with psql
T = TypeVar("T")


class CannotStart(Exception):
    """Why the server does not run, in words for the person who started it."""

    def __init__(self, text: str, exit_code: int = FAILED, *, code: str = "cannot_start") -> None:
        super().__init__(text)
        self.exit_code = exit_code
        self.code = code


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
        if self.requested:
            work.close()  # never begun: Python would complain of that, with a traceback
            raise _Stopped
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
            f"The settings file {path} cannot be read: {getattr(error, 'strerror', None) or error}.", USAGE, code="bad_settings"
        ) from None
    given = {"data_dir": default_data_dir(), **(defaults or {})}
    try:
        return load_settings(flags, os.environ, text, read=lambda name: Path(name).read_text("utf-8"), defaults=given)
    except BadSettings as error:
        raise CannotStart(str(error), USAGE, code="bad_settings") from None


def serve(
    settings: Settings,
    log: Log,
    *,
    prepare: Prepare | None = None,
    ready: Callable[[Running], None] | None = None,
    next_free_port: bool = False,
) -> int:
    """Run the server until it is told to stop; the exit code. Raises `STARTING`, also when PostgreSQL is given up later."""
    try:
        with signals_while_starting() as stop:
            return _serve(settings, log, stop, prepare or _nothing, ready or (lambda _: None), next_free_port)
    except _Stopped:
        return 0


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


def _serve(  # noqa: PLR0917  # what `serve` was given, in its order
    settings: Settings, log: Log, stop: _Stop, prepare: Prepare, ready: Callable[[Running], None], next_free_port: bool
) -> int:
    failure = Failure()
    if settings.workers > 1 and os.name == "nt":
        raise CannotStart("On Windows a port cannot be handed on to other processes: run one worker.", USAGE)
    with ExitStack() as stack:
        listener = stack.enter_context(_listen(settings, log, next_free_port))
        settings = replace(settings, port=listener.getsockname()[1])
        settings, url, database = _open(
            settings, stack, stop, tell=lambda text: log.info("postgres", message=text), gave_up=failure.tell
        )
        stop.run(_after_migration(settings, url, prepare))
        running = Running(settings, url, database)
        _allow_many_files()
        if settings.workers > 1:
            from baas.process_workers import run_workers

            return run_workers(running, listener, log, failure, ready, stop.check)
        serving = serve_here(settings, url, listener, log=log, failure=failure, ready=lambda: ready(running), check=stop.check)
        return run_in_loop(serving)


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
            connections=settings.workers * (settings.db_pool_size + 6) + _CONNECTIONS_BESIDES,
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


def _listen(settings: Settings, log: Log, next_free: bool) -> socket.socket:
    """The listening socket, from the very start: a taken port is known at once, and who connects meanwhile waits."""
    last = min(settings.port + _PORTS_TRIED, 65_535) if next_free and settings.port else settings.port
    for port in range(settings.port, last + 1):
        try:
            family = socket.getaddrinfo(settings.host, port, type=socket.SOCK_STREAM)[0][0]
            listener = socket.create_server((settings.host, port), family=family, backlog=BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and port < last:
                continue
            raise CannotStart(_why_not_listening(settings.host, port, error), code="cannot_listen") from None
        if port != settings.port and settings.port:
            log.announce("port_in_use", f"port {settings.port} is in use, taking {port}", port=port)
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
        resource = import_module("resource")  # not on Windows, which has no such limit
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextmanager
def signals_while_starting() -> Iterator[_Stop]:
    """What the start, or another long work of this process, asks whether it shall stop."""
    stop = _Stop()
    before = {one: signal.signal(one, stop) for one in STOPPING}
    try:
        yield stop
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
