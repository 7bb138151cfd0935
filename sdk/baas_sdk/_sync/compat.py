"""The few things that cannot be made from one text. `_async/compat.py` has the same names; both are written by hand."""

import threading
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

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
