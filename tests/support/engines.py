"""The PostgreSQL servers a run is tested on: the embedded one, and the system's where it is installed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

ENGINES = ("given",) if os.environ.get("BAAS_TEST_DATABASE_URL") else ("embedded",)


@contextmanager
def start_engines() -> Iterator[dict[str, str]]:
    yield {"given": os.environ["BAAS_TEST_DATABASE_URL"]} if ENGINES == ("given",) else {}
