"""The pages a newcomer follows, to the letter: every block of shell and Python of the README and the quickstart is run."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.support.process import ROOT, clean_environ, free_port, open_folder, running, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs a POSIX shell")
BY_HAND = ("make dev", "make dist", "make test")
"""Blocks that set up what this test has already."""


@pytest.fixture(scope="module")
def newcomer() -> Iterator[tuple[Path, int]]:
    """A folder with `baas dev --demo` at work in it, and its port."""
    port = free_port()
    with open_folder() as folder, running(["dev", "--demo", "--port", str(port)], folder) as server:
        server.wait_until_ready(f"http://127.0.0.1:{port}")
        wait_for(lambda: "Ctrl-C stops everything" in server.output)
        yield folder, port


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """Language and text of each block that a reader runs."""
    for language, text in re.findall(r"^```(sh|python)\n(.*?)^```$", (ROOT / page).read_text("utf-8"), flags=re.S | re.M):
        if not text.startswith(BY_HAND):
            yield language, text


def follow(page: str, folder: Path, port: int) -> str:
    """Runs the blocks of a page in one shell, as they are but for the port; all that they print."""
    parts = [_in_python(text) if language == "python" else text for language, text in blocks(page)]
    return run("\n".join(parts), folder, port)


def follow_in_one_python(page: str, folder: Path, port: int) -> str:
    """The same for a page whose Python goes on from block to block; its shell comes first."""
    found = list(blocks(page))
    shell = [text for language, text in found if language == "sh"]
    python = "\n".join(text for language, text in found if language == "python")
    return run("\n".join([*shell, _in_python(python)]), folder, port)


def _in_python(text: str) -> str:
    return f"python - <<'THE_END'\n{text}THE_END\n"


def run(script: str, folder: Path, port: int) -> str:
    done = subprocess.run(
        ["/bin/sh", "-c", script.replace("8000", str(port))],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        cwd=folder,
        env=clean_environ(folder, {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}),
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_readme_can_be_followed(newcomer: tuple[Path, int]) -> None:
    said = follow("README.md", *newcomer)

    assert 1 == said.count('{"items":[{"id":'), said
    assert '"price":"19.90"' in said
    assert said.endswith("Ship it\n")
    assert "✗" not in said


def test_the_quickstart_can_be_followed(newcomer: tuple[Path, int]) -> None:
    """Its one mistake is refused as it says, its output is the one it shows, its page is served."""
    page = (ROOT / "docs" / "quickstart.md").read_text("utf-8")
    (shown,) = re.findall(r"^```text\n(.*?)^```$", page, flags=re.S | re.M)
    said = follow("docs/quickstart.md", *newcomer)

    assert shown in said
    assert 1 == said.count("✗")
    assert "Did you mean 'shared'?" in said
    assert "For everybody" in said
    assert '"access_token"' in said
    assert "<h1>Shared notes</h1>" in of_site("notes", newcomer[1], "/")
    assert "For everybody" in of_site("notes", newcomer[1], "/v1/collections/notes/records?sort=-created_at")


def test_the_guide_to_the_client_can_be_followed(newcomer: tuple[Path, int]) -> None:
    said = follow_in_one_python("docs/guides/sdk.md", *newcomer)

    assert "1 ['Buy a lamp']\n" in said
    assert "Buy a lamp by ada@example.com\n4 Comment 4\n3 Comment 3\nmore\n" in said
    assert "Buy a lamp 10\n" in said
    assert "Buy a lamp 5 10\n" in said
    assert "Must be true or false" in said
    assert "Sold\nNone left\nSend the lamp 1\n1 [(2, '/title')]\n" in said
    assert "create 1 None\n" in said
    assert "now 2\ncreate Lovely\nleave True\n" in said
    assert "Traceback" not in said


def of_site(project: str, port: int, path: str) -> str:
    """What a project's own host answers."""
    try:
        with urlopen(
            Request(f"http://127.0.0.1:{port}{path}", headers={"Host": f"{project}.localhost:{port}"}), timeout=10
        ) as answer:
            return answer.read().decode()
    except HTTPError as error:
        with error:
            return f"{error.code} {error.read().decode()}"
