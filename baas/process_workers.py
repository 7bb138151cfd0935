"""Several server processes on one port: started, watched and stopped by the process that keeps the port and PostgreSQL.

A worker is a new interpreter, not a fork: the parent has threads. It gets the listening socket and one end of a pair; the
settings, secrets included, come through the pair, never through arguments or the environment. When the pair closes, because the
parent is gone, the worker drains and ends.
"""

import asyncio
import contextlib
import json
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import FrameType

from baas.base.errors import BaasError
from baas.base.settings import Secret, Settings, load_settings
from baas.infra.observe.log import Log
from baas.process_server import FAILED, STOPPING, Failure, Running, open_log, run_in_loop, serve_here

_READY = b"ready\n"
_START_S = 60
_CRASHES, _WITHIN_S = 5, 60
_LINGER_S = 5
_WATCH_S = 0.2


class _Worker:
    """One child process and our end of the pair."""

    def __init__(self, running: Running, listener: socket.socket) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [
                sys.executable,
                "-c",
                "from baas.process_workers import work; work()",
                str(listener.fileno()),
                str(theirs.fileno()),
            ]
            keep = (listener.fileno(), theirs.fileno())
            # A session of its own: Ctrl-C goes to the parent alone, who passes it on once.
            self.process = subprocess.Popen(command, pass_fds=keep, stdin=subprocess.DEVNULL, start_new_session=True)
        self.pair = ours
        self.pair.sendall(_written(running) + b"\n")

    def is_ready(self) -> bool:
        """Whether it has said so; raises RuntimeError when it ended instead."""
        if not select.select([self.pair], [], [], 0)[0]:
            return False
        if self.pair.recv(len(_READY)) != _READY:
            raise RuntimeError
        return True

    def close(self) -> None:
        self.pair.close()


def run_workers(  # noqa: PLR0917  # the parts of one process, handed on by the one that starts it
    running: Running,
    listener: socket.socket,
    log: Log,
    failure: Failure,
    ready: Callable[[Running], None],
    check: Callable[[], None],
) -> int:
    """Start the workers, keep their number, stop them on a signal or a failure, which is raised; the exit code.

    `check` as in `serve_here`.
    """
    stops: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        stops.append(number)
        failure.happened.set()

    for one in STOPPING:
        signal.signal(one, stop)
    check()
    workers: list[_Worker] = []
    try:
        code = _start(workers, running, listener, log, failure)
        if code == 0 and not failure.happened.is_set():
            ready(running)
            code = _watch(workers, running, listener, log, failure)
    finally:
        listener.close()
        _stop(workers, stops, running.settings)
    if failure.error is not None:
        raise failure.error
    return code


def work() -> None:
    """The child: settings from the pair, then an ordinary server until a signal or the parent's end."""
    listener, pair = socket.socket(fileno=int(sys.argv[1])), socket.socket(fileno=int(sys.argv[2]))
    # Signals may come before the loop listens for them; the parent's second one, or its end, reaches us either way.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with pair, listener:
        settings, url = _read(pair)
        code = run_in_loop(_work(settings, url, listener, pair))
    sys.exit(code)


async def _work(settings: Settings, url: str, listener: socket.socket, pair: socket.socket) -> int:
    pair.setblocking(False)
    alone = asyncio.Event()
    asyncio.get_running_loop().add_reader(pair.fileno(), alone.set)
    log = open_log(settings)
    try:
        return await serve_here(settings, url, listener, log=log, ready=lambda: pair.sendall(_READY), alone=alone)
    except BaasError as error:  # in words, as where one process serves; the parent sees that we ended
        log.announce("ended", f"{error} {error.hint or ''}".strip(), level="error", code=error.code)
        return FAILED


def _start(workers: list[_Worker], running: Running, listener: socket.socket, log: Log, failure: Failure) -> int:
    """All of them, until each is ready; a worker that ends in its start would end again, so that is a failure."""
    workers += [_Worker(running, listener) for _ in range(running.settings.workers)]
    waiting, deadline = list(workers), time.monotonic() + _START_S
    while waiting and not failure.happened.wait(0.02):
        try:
            waiting = [one for one in waiting if not one.is_ready()]
        except (RuntimeError, OSError):
            return FAILED  # the worker has said why
        if time.monotonic() > deadline:
            log.announce("workers_not_ready", f"The workers are not ready after {_START_S} seconds.", level="error")
            return FAILED
    return 0


def _watch(workers: list[_Worker], running: Running, listener: socket.socket, log: Log, failure: Failure) -> int:
    """Replace workers that end, unless they end so often that something else is wrong."""
    ends: deque[float] = deque(maxlen=_CRASHES)
    while not failure.happened.wait(_WATCH_S):
        for index, one in enumerate(workers):
            if one.process.poll() is None:
                continue
            ends.append(time.monotonic())
            if len(ends) == _CRASHES and ends[-1] - ends[0] < _WITHIN_S:
                words = f"Workers ended {_CRASHES} times within {_WITHIN_S} seconds; giving up."
                log.announce("workers_end", words, level="error")
                return FAILED
            words = f"worker {one.process.pid} ended unexpectedly ({one.process.returncode}); starting another"
            log.announce("worker_ended", words, level="warning", pid=one.process.pid, exit_code=one.process.returncode)
            one.close()
            workers[index] = _Worker(running, listener)
    return 0


def _stop(workers: list[_Worker], stops: list[int], settings: Settings) -> None:
    """Drain all at once; a second signal to us is passed on. Past their time they are killed: no promise depends on them."""
    for one in workers:
        with contextlib.suppress(ProcessLookupError):
            one.process.terminate()
    deadline, passed_on = time.monotonic() + settings.drain_timeout_s + _LINGER_S, False
    while any(one.process.poll() is None for one in workers):
        if time.monotonic() > deadline:
            for one in workers:
                one.process.kill()
        if len(stops) > 1 and not passed_on:
            passed_on = True
            for one in workers:
                one.process.terminate()
        time.sleep(0.02)
    for one in workers:
        one.close()


def _written(running: Running) -> bytes:
    values: dict[str, object] = {}
    for one in fields(Settings):
        value = getattr(running.settings, one.name)
        values[one.name] = value.reveal() if isinstance(value, Secret) else str(value) if isinstance(value, Path) else value
    return json.dumps({"url": running.database_url, "settings": values}).encode()


def _read(pair: socket.socket) -> tuple[Settings, str]:
    text = b""
    while not text.endswith(b"\n"):
        piece = pair.recv(65_536)
        if not piece:
            sys.exit(FAILED)
        text += piece
    given = json.loads(text)
    return load_settings(given["settings"], {}, None, read=str).settings, given["url"]
