"""The codes of the lints as those who save rules meet them: in the answer of the save and in `rules/lint`."""

import json
from typing import Any

import pytest

from tests.support.callers import ProjectUnderTest
from tests.unit.engines.query.test_advice import CARD_FIELDS, CASES, MEMBERS, TEAMS, USERS_OWN, listed, rules

# What is told only together with indexes, listeners or null: their own tests.
ELSEWHERE = ("R003", "R008", "R011")
CIRCLE = {"list": "rows('cards').exists(c, c.board == record.id && c.owner == auth.id)"}
# The first rule of each code that earns it, and its neighbour that does not.
PAIRS = {code: (bad, good) for code, bad, good in reversed(CASES) if code not in ELSEWHERE}
# As a save takes it: two nulls would meet (R003).
PAIRS["R012"] = (rules(delete="record.pin != null && record.pin == auth.code"), rules(delete="record.title == auth.code"))
PAIRS["R015"] = (listed("record.board.owner == auth.id"), listed("record.owner == auth.id"))


@pytest.fixture
async def cards(project: ProjectUnderTest) -> ProjectUnderTest:
    await project.collection(**TEAMS)
    answer = await project.operator.patch("collections/users", json={"fields": USERS_OWN})
    assert answer.status_code == 200, answer.text
    await project.collection(**MEMBERS)
    await project.collection("cards", CARD_FIELDS, {})
    return project


def test_every_code_is_here_or_has_a_test_of_its_own() -> None:
    assert sorted((*PAIRS, *ELSEWHERE)) == [f"R{number:03}" for number in range(1, 16)]


async def test_each_code_is_raised_by_a_save_and_listed_afterwards(cards: ProjectUnderTest) -> None:
    """And by its neighbour by neither, so that it says something about the rule."""
    for code, (bad, good) in sorted(PAIRS.items()):
        if code == "R015":  # takes two collections that look at each other
            assert (await cards.operator.patch("collections/teams", json={"rules": CIRCLE})).is_success
        for manifest, earned in ((bad, True), (good, False)):
            closed: dict[str, Any] = dict.fromkeys(("list", "view", "create", "update", "delete"))
            body = {**manifest, "rules": {**closed, **manifest["rules"]}}
            saved = await cards.operator.patch("collections/cards", json=body)
            assert saved.status_code == 200, (code, saved.text)
            found = await cards.operator.get("rules/lint", params={"collection": "cards"})
            for told in (saved.json().get("warnings", []), found.json()["items"]):
                mine = [one for one in told if one["code"] == code]
                assert bool(mine) is earned, (code, json.dumps(told))
                assert all(one["pointer"].startswith("/rules/") and one["message"] for one in mine)
