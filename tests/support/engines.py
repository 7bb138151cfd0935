"""The PostgreSQL servers a run is tested on: the embedded one, and the system's where it is installed; which test on which.

A module's database tests run on every engine unless `ONE_ENGINE` names it: who forgets it loses time, not coverage. Those it
names run on the system's, which is the older one: what works there works on the embedded one, rather than the other way round.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from baas.infra.db.embedded.cluster import Cluster

_SYSTEM = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
_GIVEN = os.environ.get("BAAS_TEST_DATABASE_URL")
_ALL = bool(os.environ.get("BAAS_TEST_ENGINES"))
_DATABASE = "DATABASE"

ONE_ENGINE = frozenset(
    f"tests/{module}.py"
    for module in (
        # Cut lines, the client's patience and the commands: what PostgreSQL answers is the same and asked elsewhere.
        "faults/test_cuts",
        "features/test_cli",
        "features/test_cli_records",
        "features/test_rules_cli",
        "features/test_sdk",
        "features/test_sdk_channels",
        "features/test_sdk_reading",
        "features/test_sdk_subscribe",
        "features/test_sdk_writing",
        # The edge of HTTP, its documents, and pages in a browser.
        "features/test_console",
        "features/test_debian_example",
        "features/test_demo",
        "features/test_edge",
        "features/test_files_browser",
        "features/test_hosting",
        "features/test_kanban",
        "features/test_openapi",
        # Accounts, files and settings: plain rows by key. The statements of records, rules and changes are not among them.
        "features/test_auth",
        "features/test_auth_sessions",
        "features/test_auth_tokens",
        "features/test_claims",
        "features/test_files",
        "features/test_operators",
        "features/test_projects",
        # What the server remembers and passes on; what a stream may show is held against lists in test_realtime_parity.
        "features/test_coherence",
        "features/test_realtime",
        "features/test_realtime_socket",
    )
)
"""Whose results do not depend on the SQL we send. With `BAAS_TEST_ENGINES` set they run on every engine that it names."""


@dataclass(frozen=True)
class Engine:
    """Two logins on one server: `admin_url` may make databases; `server` is the server's own, which is no superuser. One that was
    `given` stays when the run is over.
    """

    admin_url: str
    server: str
    given: bool = False

    def url(self, database: str) -> str:
        """The server's URL of a database."""
        return self.server.replace(_DATABASE, database)


def engine_names(environ: Mapping[str, str], system: Sequence[Path]) -> tuple[str, ...]:
    """`BAAS_TEST_ENGINES` picks some of them; `BAAS_TEST_DATABASE_URL` replaces them all by one that runs already.

    Raises UsageError where everything must be there (`BAAS_TEST_STRICT`) and the system has no PostgreSQL.
    """
    if environ.get("BAAS_TEST_DATABASE_URL"):
        return ("given",)
    found = ("embedded", "system") if system else ("embedded",)
    wanted = environ.get("BAAS_TEST_ENGINES", "").split(",")
    picked = tuple(name for name in found if name in wanted)
    if not (system or picked) and environ.get("BAAS_TEST_STRICT"):
        raise pytest.UsageError(
            "The tests also run on the system's PostgreSQL, and there is none. On Debian: apt install postgresql; "
            "or run them on the embedded one alone, with BAAS_TEST_ENGINES=embedded."
        )
    return picked or found


ENGINES = engine_names(os.environ, _SYSTEM)


def engines_of(module: str) -> tuple[str, ...]:
    """The engines for the database tests of a module, given by its path in the checkout."""
    return ENGINES[-1:] if module in ONE_ENGINE and not _ALL else ENGINES


@contextmanager
def start_engines() -> Iterator[dict[str, Engine]]:
    """Run the engines of this run."""
    if _GIVEN:
        yield {"given": Engine(_GIVEN, _GIVEN.rpartition("/")[0] + "/" + _DATABASE, given=True)}
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
                    # A third of the time. Nobody pulls the plug here; tests of loss start servers of their own, as shipped.
                    settings={"fsync": "off"},
                )
            )
            engines[name] = Engine(cluster.superuser_url(), cluster.url(_DATABASE))
        yield engines
