"""The two commands of a fresh checkout, on a machine that lacks something: one line says what, and nothing is left half made."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.process import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None or os.name == "nt", reason="needs make and a shell")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """As much of one as the set-up reads, and a folder for programs."""
    for name in ("Makefile", "pyproject.toml", "requirements-dev.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "sdk").mkdir()
    shutil.copy(ROOT / "sdk" / "pyproject.toml", tmp_path / "sdk" / "pyproject.toml")
    (tmp_path / "bin").mkdir()
    return tmp_path


def make(checkout: Path, *arguments: str, **environ: str) -> tuple[int, str]:
    """`make dev` with no other programs than those of the shell and of `bin`: its code, and what it says."""
    for name in ("touch", "rm", "mkdir", "chmod"):
        program = shutil.which(name)
        assert program
        (checkout / "bin" / name).symlink_to(program)
    done = subprocess.run(
        [str(shutil.which("make")), "dev", *arguments],
        cwd=checkout,
        env={"PATH": str(checkout / "bin"), "HOME": str(checkout), **environ},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert not (checkout / ".venv" / ".ready").exists()
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def python(checkout: Path, *, lacks: str = "", version: str = "") -> None:
    """A `python3` on the path: this one, but for what it lacks."""
    hide = f"import sys; sys.modules.update(dict.fromkeys({lacks.split()!r})); " if lacks else ""
    hide += f"import sys; sys.version_info = {version}; " if version else ""
    program = checkout / "bin" / "python3"
    program.write_text(
        f'#!/bin/sh\nif [ "$1" = -c ]; then shift; code=$1; shift; exec {sys.executable} -c "{hide}$code" "$@"; fi\n'
        f'exec {sys.executable} "$@"\n'
    )
    program.chmod(0o755)


def test_a_missing_python_is_said(checkout: Path) -> None:
    code, said = make(checkout)

    assert code != 0
    assert said.startswith("baas needs Python 3.11 or newer, and none was found. Install it, or run: make PYTHON=")


def test_an_old_python_is_said(checkout: Path) -> None:
    """One that is found is passed over; one that was named is told of."""
    python(checkout, version="(3, 9)")
    code, said = make(checkout)
    assert code != 0
    assert "baas needs Python 3.11 or newer, and none was found" in said

    shutil.rmtree(checkout / "bin")
    (checkout / "bin").mkdir()
    python(checkout, version="(3, 9)")
    code, said = make(checkout, f"PYTHON={checkout / 'bin' / 'python3'}")
    assert code != 0
    assert said.startswith(f"{checkout / 'bin' / 'python3'} is no Python 3.11 or newer.")


def test_a_python_without_venv_is_said(checkout: Path) -> None:
    """As Debian's is, without python3-venv."""
    python(checkout, lacks="ensurepip")
    code, said = make(checkout)

    assert code != 0
    assert "comes without venv. On Debian or Ubuntu: apt install python3-venv" in said
    assert not (checkout / ".venv").exists()


def test_a_missing_index_is_said(checkout: Path) -> None:
    """pip's own words, and then what to look at. To make an environment takes long, so it gets this one's Python and pip."""
    python(checkout)
    program = checkout / "bin" / "python3"
    inside = (
        f'mkdir -p "$3/bin"; printf \'#!/bin/sh\\nexec {sys.executable} "$@"\\n\' >"$3/bin/python"; chmod 755 "$3/bin/python"'
    )
    program.write_text(program.read_text().replace("#!/bin/sh\n", f'#!/bin/sh\nif [ "$2" = venv ]; then {inside}; exit 0; fi\n'))
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
    elsewhere = {"PIP_IGNORE_INSTALLED": "1", "PIP_TARGET": str(checkout / "packages")}
    code, said = make(checkout, **nowhere, **elsewhere)

    assert code != 0
    assert "The packages could not be installed: is a package index reachable from here?\n" in said
