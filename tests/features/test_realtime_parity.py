"""A stream folded onto an empty set is the list, whenever both are quiet: for random data, rules, filters and callers.

And wherever it is cut: what was folded up to any event, and what comes after one comes back with its id.
"""

import asyncio
import contextlib
import json
import random
from typing import Any

import pytest

from tests.support.callers import ProjectUnderTest
from tests.support.sight import FIELDS, TO_ONE, WORDS, World, make_world
from tests.support.stream import Following, follow

RULES = (
    "record.open || record.author == auth.id",
    "record.board.owner == auth.id || record.open",
    "record.board.team.public || auth.level > 1",
    "record.assignees.exists(u, u.level > 1) || (record.points != null && record.points == auth.level)",
    'rows("teams").exists(t, t.public && t.lead == auth.id) && record.done',
)
FILTERS = (
    None,
    "points > 1",
    "title != 'a' || done",
    "board.rank > 1",
    "note != null",
    "!(author.name == 'a')",
    "assignees.exists(u, u.level > 0)",
)
ROUNDS = 3


@pytest.mark.timeout(300)  # some hundred connections
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_folded_stream_is_the_list(server_url: str, project: ProjectUnderTest, seed: int) -> None:
    pick = random.Random(seed)
    world = await make_world(project, pick, rows=8)
    rule = pick.choice(RULES)
    answer = await project.operator.patch("collections/cards", json={"rules": {"list": rule, "view": rule}})
    assert answer.status_code == 200, answer.text
    questions = [_question(pick, at) for at in range(6)]
    async with contextlib.AsyncExitStack() as stack:
        streams = []
        for caller in world.callers:
            stream = await stack.enter_async_context(
                follow(server_url, project.name, questions, token=caller.token, by_body=True)
            )
            if stream.status == 200:
                streams.append((caller, stream))
        for round_ in range(ROUNDS):
            for _ in range(12):
                await _change(world, pick)
            for caller, stream in streams:
                for question in questions:
                    await _agree(caller, stream, question, f"seed {seed}, round {round_}, rule {rule}")
    assert sum(len(stream.actions) for _, stream in streams) > 10
    turns = asyncio.Semaphore(4)  # an account has at most twenty connections
    lists = {caller.id: [await _listed(caller, question) for question in questions] for caller, _ in streams}

    async def cut_behind(caller: Any, stream: Following, at: int) -> None:
        held = Following()
        for event in stream.events[: at + 1]:
            held.take(event)
        async with (
            turns,
            follow(server_url, project.name, questions, token=caller.token, since=held.last_id, by_body=True, into=held),
        ):
            for question, listed in zip(questions, lists[caller.id], strict=True):
                await _equal(held, question, listed, f"seed {seed}, rule {rule}, cut behind {at} of {len(stream.events)}")

    async with asyncio.TaskGroup() as group:
        for caller, stream in streams:
            for at in _ends(stream):
                group.create_task(cut_behind(caller, stream, at))


def _ends(stream: Following) -> list[int]:
    """The last of the events with the same id, for every id."""
    return list({event.id: at for at, event in enumerate(stream.events)}.values())


def _question(pick: random.Random, at: int) -> dict[str, Any]:
    asked: dict[str, Any] = {"id": f"q{at}", "collection": pick.choice(("cards", "cards", "boards")), "initial": True}
    wanted = pick.choice(FILTERS) if asked["collection"] == "cards" else pick.choice((None, "rank > 1", "team.size > 1"))
    if wanted is not None:
        asked["filter"] = wanted
    if pick.random() < 0.3:
        asked["fields"] = ["title", "points"] if asked["collection"] == "cards" else ["name"]
    if pick.random() < 0.3:
        asked["expand"] = "author" if asked["collection"] == "cards" else "team"
    return asked


async def _agree(caller: Any, stream: Following, question: dict[str, Any], what: str) -> None:
    await _equal(stream, question, await _listed(caller, question), what)


async def _listed(caller: Any, question: dict[str, Any]) -> dict[str, Any]:
    params: dict[str, Any] = {"limit": 500}
    params |= {name: question[name] for name in ("filter", "expand") if name in question}
    if "fields" in question:
        params["fields"] = ",".join([*question["fields"], "id", "rev"])
    return {one["id"]: one for one in await caller.list(question["collection"], **params)}


async def _equal(stream: Following, question: dict[str, Any], listed: dict[str, Any], what: str) -> None:
    try:
        await stream.until(lambda: stream.held[question["id"]] == listed)
    except AssertionError:
        held = stream.held[question["id"]]
        missing, extra = listed.keys() - held.keys(), held.keys() - listed.keys()
        other = [(held[one], listed[one]) for one in held.keys() & listed.keys() if held[one] != listed[one]]
        raise AssertionError(f"{what}: {json.dumps(question)}: missing {missing}, too many {extra}, other {other[:2]}") from None


async def _change(world: World, pick: random.Random) -> None:
    """Anything about anything, deciding fields included: cards, boards, teams, users."""
    name = pick.choice(("cards", "cards", "cards", "boards", "teams", "users"))
    ids = world.ids[name]
    operator = world.project.operator
    one = pick.choice(ids)
    if name == "cards" and pick.random() < 0.2:
        answer = await operator.delete(f"collections/cards/records/{one}")
        if answer.status_code == 204:
            ids.remove(one)
        return
    if name == "cards" and pick.random() < 0.3:
        body = {"title": pick.choice(WORDS), "points": pick.randrange(4), "open": pick.random() < 0.5}
        ids.append((await operator.create("cards", body | {"author": pick.choice(world.ids["users"])}))["id"])
        return
    body = {}
    for field, kind in FIELDS[name].items():
        if pick.random() < 0.5:
            drawn: dict[str, Any] = {"string": pick.choice(WORDS), "int": pick.randrange(4), "decimal": "1.5", "bool": True}
            body[field] = drawn[kind]
    for field, to in TO_ONE[name].items():
        if pick.random() < 0.5:
            body[field] = pick.choice([None, *world.ids[to]])
    flags = {"users": "shown", "teams": "public", "boards": "shared", "cards": "open"}
    body[flags[name]] = pick.random() < 0.5
    answer = await operator.patch(f"collections/{name}/records/{one}", json=body)
    assert answer.status_code == 200, answer.text
    await asyncio.sleep(0)
