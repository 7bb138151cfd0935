"""How long the database took for one request, for those who may know: operators and secret keys."""

import time
from contextvars import ContextVar


class Timings:
    """What one request spent in statements."""

    __slots__ = ("_started", "db_s", "statements")

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.db_s = 0.0
        self.statements = 0

    def header(self) -> str:
        """A `Server-Timing` value in milliseconds: the database, and everything else."""
        app_s = max(0.0, time.perf_counter() - self._started - self.db_s)
        return f'db;dur={self.db_s * 1000:.3f};desc="statements: {self.statements}", app;dur={app_s * 1000:.3f}'


TIMINGS: ContextVar[Timings | None] = ContextVar("timings", default=None)
"""Those of the request that runs here; None where nobody asks."""
