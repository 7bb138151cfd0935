"""The time of a request has an end. All are looked at four times a second: a timer for each would cost several microseconds."""

import asyncio

_LOOK_S = 0.25


class Deadline:
    """When a request must end, in the loop's time; it may be moved. `expired` says that its task was cancelled for it."""

    __slots__ = ("at", "expired", "task")

    def __init__(self, task: asyncio.Task[object], at: float) -> None:
        self.task = task
        self.at = at
        self.expired = False


class Deadlines:
    """Cancels the tasks that outlive their deadline, up to a quarter of a second late."""

    def __init__(self) -> None:
        self._running: set[Deadline] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, seconds: float) -> Deadline:
        """Watch the current task from now on; the caller must `end`."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  a coroutine runs in a task
        loop = task.get_loop()
        deadline = Deadline(task, loop.time() + seconds)
        self._running.add(deadline)
        if self._timer is None:
            self._timer = loop.call_later(_LOOK_S, self._look)
        return deadline

    def end(self, deadline: Deadline) -> None:
        """Watch no more. Takes back a cancellation of ours, whether or not the work let itself be cancelled."""
        self._running.discard(deadline)
        if deadline.expired:
            deadline.task.uncancel()

    def _look(self) -> None:
        self._timer = None
        if not self._running:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        for deadline in self._running:
            if now >= deadline.at and not deadline.expired:
                deadline.expired = True
                deadline.task.cancel()
        self._timer = loop.call_later(_LOOK_S, self._look)
