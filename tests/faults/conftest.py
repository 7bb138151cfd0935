"""One server with its own PostgreSQL for each way to it, shared by the tests of a run: they kill it, and it comes back."""

import random
import sys
from collections.abc import Iterator

import pytest

from tests.support.rig import WAYS, Rig, rig


@pytest.fixture(scope="session", params=WAYS)
def killable(request: pytest.FixtureRequest) -> Iterator[Rig]:
    if sys.platform != "linux":
        pytest.skip("looks into /proc")
    with rig(request.param) as made:
        yield made


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """`--seed N` repeats a run as far as chance is ours; without it, a new one each time."""
    given = request.config.getoption("--seed")
    found = int(given) if given else random.SystemRandom().randrange(10**6)
    print(f"seed {found}")
    return found
