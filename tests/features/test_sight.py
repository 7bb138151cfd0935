"""What is out of a caller's sight changes no answer he gets, whatever he asks (threat model A1 to A3).

`BAAS_TEST_SEED` and `BAAS_TEST_QUESTIONS` widen the run; a failure prints the seed and the question. The long twin asks 3,000.
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
LONG = 3_000
ROUNDS = 8
DOORS = ("query", "query", "query", "aggregate", "query", "aggregate", "export", "past")

Asked = tuple[str, str, dict[str, Any]]


def questions(seed: int, count: int, made_at: str) -> list[Asked]:
    """Queries, aggregates, exports and lists of the past, one door after the other."""
    stream = Questions(random.Random(seed), made_at)
    made = {"query": stream.one, "aggregate": stream.aggregate, "export": stream.export, "past": stream.past}
    return [(name, door, body) for door in (DOORS[at % len(DOORS)] for at in range(count)) for name, body in (made[door](),)]


def kinds(asked: list[Asked]) -> Counter[str]:
    """How many of the questions have what."""
    return Counter(kind for _, door, body in asked for kind in (door, *(f"{door} {name}" for name in body)))


async def answers(caller: Caller, asked: list[Asked]) -> list[tuple[int, Any]]:
    """Status and content; cursors are sealed, so only that there is one."""
    found: list[tuple[int, Any]] = []
    for name, door, body in asked:
        place = f"collections/{name}/records"
        if door in ("export", "past"):
            answer = await caller.get(f"{place}/export" if door == "export" else place, params=body)
        else:
            answer = await caller.post(f"{place}/{door}", json=body)
        assert answer.status_code < 500, (name, door, body, answer.text)
        content = {"text": answer.text} if door == "export" and answer.status_code == 200 else answer.json()
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
    good = {door for (_, door, _), (status, _) in zip(asked, before, strict=True) if status == 200}
    assert good == set(DOORS), "every door must be answered"
    pairs = zip(asked, before, after, strict=True)
    return [f"seed {SEED}: {one}\n  before {old}\n  after  {new}" for one, old, new in pairs if old != new]


async def nothing_changes(db: Database, project: ProjectUnderTest, count: int) -> Counter[str]:
    """Ask so many questions as two users and a guest; what was asked, by kind."""
    pick = random.Random(SEED)
    world = await make_world(project, pick)
    asked: Counter[str] = Counter()
    for number, caller in enumerate(world.callers):
        mine = questions(SEED + number, count // 3, world.made_at)
        found = await differing(db, world, caller, mine, pick)
        assert not found, f"{len(found)} answers changed, the first:\n{found[0]}"
        asked += kinds(mine)
    print(f"{count} questions, changed answers 0, by kind {dict(sorted(asked.items()))}")
    return asked


async def test_what_is_out_of_sight_changes_no_answer(db: Database, project: ProjectUnderTest) -> None:
    """Filters, sorts, expansions, fields through relations, words, places, counts, aggregates and `having`, exports, the past."""
    asked = await nothing_changes(db, project, QUESTIONS)

    wanted = {"query expand", "query fields", "query search", "query near", "aggregate having", "export near", "past as_of"}
    assert wanted <= asked.keys(), wanted - asked.keys()


@pytest.mark.long
@pytest.mark.timeout(3_600)
async def test_three_thousand_questions_tell_nothing(db: Database, project: ProjectUnderTest) -> None:
    """The same at the length that the issue names."""
    await nothing_changes(db, project, max(LONG, QUESTIONS))


@pytest.mark.parametrize("guard", ["visible", "readable"])
async def test_the_questions_find_a_missing_guard(
    db: Database, project: ProjectUnderTest, monkeypatch: pytest.MonkeyPatch, guard: str
) -> None:
    """Without the condition on entered rows, or on fields, the same questions tell what is out of sight."""
    pick = random.Random(SEED)
    world = await make_world(project, pick)
    monkeypatch.setattr(EnteredTable, guard, True if guard == "visible" else lambda _self, _name: True)

    for round_ in range(ROUNDS):
        if await differing(db, world, world.callers[round_ % 2], questions(SEED + round_, 120, world.made_at), pick):
            return
    pytest.fail(f"seed {SEED}: nothing was told without {guard}")
