"""Which tests run on which PostgreSQL."""

import os
from pathlib import Path

import pytest

from tests.support.engines import ENGINES, ONE_ENGINE, engine_names, engines_of

ROOT = Path(__file__).parents[2]


def test_every_module_on_one_engine_is_there() -> None:
    """A renamed file would run on every engine again, and nobody would know why."""
    assert [] == [path for path in sorted(ONE_ENGINE) if not (ROOT / path).is_file()]


def test_what_depends_on_sql_runs_everywhere() -> None:
    """New files too; the contracts of the rules and of the database above all."""
    modules = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests" / "contract").glob("test_*.py")]
    assert modules
    assert all(ENGINES == engines_of(one) for one in [*modules, "tests/features/test_new.py"])


def test_what_runs_once_runs_on_the_older_one() -> None:
    """The system's, where there is one: a feature that only the embedded one has would be seen there."""
    if ("embedded", "system") == ENGINES and not os.environ.get("BAAS_TEST_ENGINES"):
        assert {("system",)} == {engines_of(one) for one in ONE_ENGINE}


def test_no_engine_is_dropped_in_silence() -> None:
    """Without the system's PostgreSQL the half of a run would be missing; where everything must be there, that is an error."""
    system = [Path("/usr/lib/postgresql/15/bin/postgres")]
    assert ("embedded", "system") == engine_names({"BAAS_TEST_STRICT": "1"}, system)
    assert ("embedded",) == engine_names({}, [])
    assert ("embedded",) == engine_names({"BAAS_TEST_STRICT": "1", "BAAS_TEST_ENGINES": "embedded"}, [])
    assert ("given",) == engine_names({"BAAS_TEST_STRICT": "1", "BAAS_TEST_DATABASE_URL": "postgresql://x"}, [])
    with pytest.raises(pytest.UsageError, match="there is none"):
        engine_names({"BAAS_TEST_STRICT": "1"}, [])
