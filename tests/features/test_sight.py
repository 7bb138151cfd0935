"""What is out of a caller's sight changes no answer he gets, whatever he asks (threat model A1 to A3).

`BAAS_TEST_SEED` and `BAAS_TEST_QUESTIONS` widen the run; a failure prints the seed and the question.
"""

import os
import random
from collections import Counter
from typing import Any

import pytest

from baas.engines.query.rows import EnteredTable
from baas.infra.db.pool import Database
from tests.support.callers import Caller, ProjectUnderTest
from tests.support.sight import Questions, World, disturb, make_world

SEED = int(os.environ.get("BAAS_TEST_SEED", "20261120"))
QUESTIONS = int(os.environ.get("BAAS_TEST_QUESTIONS", "300"))
ROUNDS = 8

Asked = tuple[str, str, dict[str, Any]]


def questions(seed: int, count: int) -> list[Asked]:
    """Three queries to one aggregate."""
    stream = Questions(random.Random(seed))
    asked: list[Asked] = []
    for number in range(count):
        name, body = stream.aggregate() if number % 4 == 3 else stream.one()
        asked.append((name, "aggregate" if number % 4 == 3 else "query", body))
    return asked


async def answers(caller: Caller, asked: list[Asked]) -> list[tuple[int, Any]]:
    """Status and content; cursors are sealed, so only that there is one."""
    found = []
    for name, door, body in asked:
        answer = await caller.post(f"collections/{name}/records/{door}", json=body)
        content = answer.json()
        assert answer.status_code < 500, (name, door, body, answer.text)
        for changing in ("request_id", "instance"):
            content.pop(changing, None)
        if "next_cursor" in content:
            content["next_cursor"] = content["next_cursor"] is not None
        found.append((answer.status_code, content))
    return found


async def differing(db: Database, world: World, caller: Caller, asked: list[Asked], pick: random.Random) -> list[str]:
    """The questions whose answer changes when only what is out of sight does."""
    before = await answers(caller, asked)
    assert await disturb(db, world, caller, pick) > 50
    after = await answers(caller, asked)
    told = Counter(status for status, _ in before)
    print(f"seed {SEED}: {len(asked)} questions, statuses {dict(told)}")
    assert told[200] > len(asked) / 2, "most questions must be good ones"
    pairs = zip(asked, before, after, strict=True)
    return [f"seed {SEED}: {one}\n  before {old}\n  after  {new}" for one, old, new in pairs if old != new]


async def test_what_is_out_of_sight_changes_no_answer(db: Database, project: ProjectUnderTest) -> None:
    """Filters, sorts, expansions, counts and aggregates, for two users and a guest."""
    pick = random.Random(SEED)
    world = await make_world(project, pick)

    for number, caller in enumerate(world.callers):
        found = await differing(db, world, caller, questions(SEED + number, QUESTIONS // 3), pick)
        assert not found, f"{len(found)} answers changed, the first:\n{found[0]}"


@pytest.mark.parametrize("guard", ["visible", "readable"])
async def test_the_questions_find_a_missing_guard(
    db: Database, project: ProjectUnderTest, monkeypatch: pytest.MonkeyPatch, guard: str
) -> None:
    """Without the condition on entered rows, or on fields, the same questions tell what is out of sight."""
    pick = random.Random(SEED)
    world = await make_world(project, pick)
    monkeypatch.setattr(EnteredTable, guard, True if guard == "visible" else lambda _self, _name: True)

    for round_ in range(ROUNDS):
        if await differing(db, world, world.callers[round_ % 2], questions(SEED + round_, 120), pick):
            return
    pytest.fail(f"seed {SEED}: nothing was told without {guard}")
