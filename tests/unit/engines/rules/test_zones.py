"""Named time zones where the system has no database of them: Windows, slim containers."""

import os
import subprocess
import sys

SCRIPT = """
from datetime import UTC, datetime
from baas.engines.rules.values import local, zone
print(local(datetime(2024, 7, 1, 12, tzinfo=UTC), "Europe/Berlin").hour, zone("Nowhere/Land"))
"""


def test_named_zones_are_known_without_those_of_the_system() -> None:
    """PostgreSQL brings its own, and memory must give the same answer: an unknown zone would be an error there alone."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env={**os.environ, "PYTHONTZPATH": ""}, capture_output=True, text=True, check=False
    )

    assert ("14 None\n", 0) == (done.stdout, done.returncode), done.stderr
