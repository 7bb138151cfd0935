"""Which tests run on which PostgreSQL."""

from pathlib import Path

from tests.support.engines import ENGINES, ONE_ENGINE, engines_of

ROOT = Path(__file__).parents[2]


def test_every_module_on_one_engine_is_there() -> None:
    """A renamed file would run on every engine again, and nobody would know why."""
    assert [] == [path for path in sorted(ONE_ENGINE) if not (ROOT / path).is_file()]


def test_what_depends_on_sql_runs_everywhere() -> None:
    """New files too; the contracts of the rules and of the database above all."""
    modules = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests" / "contract").glob("test_*.py")]
    assert modules
    assert all(ENGINES == engines_of(one) for one in [*modules, "tests/features/test_new.py"])
