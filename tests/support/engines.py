"""The PostgreSQL servers a run is tested on: the embedded one, and the system's where it is installed."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from baas.infra.db.embedded.cluster import Cluster

_SYSTEM = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
_GIVEN = os.environ.get("BAAS_TEST_DATABASE_URL")
_DATABASE = "DATABASE"


@dataclass(frozen=True)
class Engine:
    """Two logins on one server: `admin_url` may make databases; `server` is the server's own, which is no superuser."""

    admin_url: str
    server: str

    def url(self, database: str) -> str:
        """The server's URL of a database."""
        return self.server.replace(_DATABASE, database)


def engine_names() -> tuple[str, ...]:
    """`BAAS_TEST_ENGINES` picks some of them; `BAAS_TEST_DATABASE_URL` replaces them all by one that runs already."""
    if _GIVEN:
        return ("given",)
    found = ("embedded", "system") if _SYSTEM else ("embedded",)
    wanted = os.environ.get("BAAS_TEST_ENGINES", "").split(",")
    return tuple(name for name in found if name in wanted) or found


ENGINES = engine_names()


@contextmanager
def start_engines() -> Iterator[dict[str, Engine]]:
    """Run the engines of this run."""
    if _GIVEN:
        yield {"given": Engine(_GIVEN, _GIVEN.rpartition("/")[0] + "/" + _DATABASE)}
        return
    with ExitStack() as running:
        engines = {}
        for name in ENGINES:
            folder = Path(
                running.enter_context(tempfile.TemporaryDirectory(prefix=f"baas-test-{name}-", ignore_cleanup_errors=True))
            )
            folder.chmod(0o755)
            cluster = running.enter_context(
                Cluster(
                    folder,
                    pg_bin=_SYSTEM[-1].parent if name == "system" else None,
                    connections=200,
                )
            )
            engines[name] = Engine(cluster.superuser_url(), cluster.url(_DATABASE))
        yield engines
