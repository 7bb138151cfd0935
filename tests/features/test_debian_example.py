"""The loader of the Debian package index, on three packages."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.callers import Caller

SCRIPT = Path(__file__).parents[2] / "docs" / "examples" / "debian" / "load.py"
INDEX = """\
Package: chess
Version: 1.0-2
Installed-Size: 20
Maintainer: Somebody <somebody@example.com>
Depends: libboard1 (>= 1.0), virtual-player | chess-engine
Description: a board game
Description-md5: 1
Section: games
Size: 2000

Package: chess-engine
Version: 3
Depends: libboard1
Description: a player
 It thinks
 .
 for long.
Section: games
Size: 9000000

Package: libboard1
Version: 1.1
Description: boards
Section: libs
Size: 100
"""


async def test_the_package_index_is_loaded_and_asked(server_url: str, operator: Caller, tmp_path: Path) -> None:
    """Each package once, each alternative of a dependency an edge; loading again changes nothing; no address is kept."""
    (tmp_path / "deb_Packages").write_text(INDEX)
    (tmp_path / "deb_Translation-en").write_text(
        "Package: chess\nDescription-md5: 1\nDescription-en: a board game\n For PostgreSQL users.\n"
    )
    options = ["--url", server_url, "--project", "packages", "--lists", tmp_path, "--package", "libboard1", "--search", "player"]
    options += ["--page", "1", "--server-pid", str(os.getpid())]
    for _ in range(2):
        command = [sys.executable, SCRIPT, *options]
        done = await asyncio.to_thread(
            subprocess.run, command, env={"BAAS_TOKEN": operator.token or ""}, capture_output=True, text=True, check=False
        )
        assert 0 == done.returncode, done.stderr

    assert "3 packages, 4 dependency edges" in done.stdout
    assert "chess-engine 9 MB, chess 0 MB" in done.stdout
    assert "2 packages: chess, chess-engine" in done.stdout, "both of them, although a page holds one"
    assert re.search(r"memory of the server now: [1-9]\d* MiB, and \d+ MiB of its PostgreSQL", done.stdout)
    assert "1 packages: chess" in done.stdout
    assert "4. The best for 'player':\n" in done.stdout
    assert done.stdout.partition("4. The best")[2].splitlines()[2].strip() == "chess-engine"
    counted = await operator.get("/v1/projects/packages/collections/dependencies/records", params={"count": "exact"})
    assert 4 == counted.json()["total"]
    assert "somebody@" not in (await operator.get("/v1/projects/packages/collections/packages/records")).text
