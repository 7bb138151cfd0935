"""Lint, format and types are part of passing the tests."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


COMMANDS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    # Each system has modules of its own; what they have in common is looked at once.
    ("mypy", "--platform", "win32", "--cache-dir", ".mypy_cache/win32", "baas/infra/db/embedded"),
    ("mypy", "--platform", "darwin", "--cache-dir", ".mypy_cache/darwin", "baas/infra/db/embedded"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_tool_finds_nothing(command: tuple[str, ...]) -> None:
    program = shutil.which(command[0], path=str(Path(sys.executable).parent))
    assert program, f"{command[0]} is not installed beside this Python"

    done = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stdout + done.stderr
