"""Both distributions as a user gets them: built, checked, and installed into an empty environment."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.process import free_port, get, open_folder, running

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=600, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("dist")
    for source in (ROOT / "sdk", ROOT):
        run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source)
    run(sys.executable, "-m", "twine", "check", "--strict", *folder.iterdir())
    run(Path(sys.executable).parent / "check-wheel-contents", *folder.glob("*.whl"))
    return sorted(folder.glob("*.whl"))


@pytest.mark.timeout(300)
def test_the_wheels_hold_what_they_need_and_nothing_else(wheels: list[Path]) -> None:
    held = {wheel.name.partition("-")[0]: set(zipfile.ZipFile(wheel).namelist()) for wheel in wheels}

    assert {"baas_platform", "baas_sdk"} == set(held)
    tops = {name: {entry.partition("/")[0] for entry in entries if ".dist-info" not in entry} for name, entries in held.items()}
    assert {"baas_platform": {"baas", "baas_cli"}, "baas_sdk": {"baas_sdk"}} == tops
    assert {"baas/py.typed", "baas_cli/py.typed", "baas/infra/db/migrations/control/0001_control.sql"} <= held["baas_platform"]
    for example in ("kanban", "todo"):
        folder = f"baas_cli/examples/{example}"
        assert {f"{folder}/backend.json", f"{folder}/web/index.html"} <= held["baas_platform"]
    assert "baas_sdk/py.typed" in held["baas_sdk"]


@pytest.mark.timeout(900)
def test_an_empty_environment_gets_a_working_command(wheels: list[Path], tmp_path: Path) -> None:
    """`pip install` of the two wheels, then the command answers, and a server made of nothing else runs and stops."""
    run(sys.executable, "-m", "venv", tmp_path / "empty")
    python = tmp_path / "empty" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", *wheels)
    baas = python.with_name("baas")

    assert "0.1.0" in run(baas, "version", cwd=tmp_path)
    assert "serve" in run(baas, "--help", cwd=tmp_path)
    with open_folder() as folder:
        port = free_port()
        serve = ["serve", "--port", str(port), "--data-dir", str(folder / "data")]
        with running(serve, folder / "here", environ={"PYTHONPATH": ""}, python=str(python)) as server:
            server.wait_until_ready(f"http://127.0.0.1:{port}")
            status, page = get(f"http://127.0.0.1:{port}/docs")

            assert 200 == status
            assert b"<title>" in page
            assert 0 == server.stop(), server.output
            assert str(ROOT) not in server.output
