"""What must hold between answers, whatever the data: negation, order, pages, and the agreement of list and get.

`BAAS_TEST_SEED` moves the run; a failure prints the seed and the question.
"""

import asyncio
import os
import random

import pytest

from tests.support.callers import Caller, ProjectUnderTest
from tests.support.sight import FIELDS, Questions, make_world

SEED = int(os.environ.get("BAAS_TEST_SEED", "20261120"))
TRIES = 60


async def ids(caller: Caller, name: str, wanted: str) -> set[str] | None:
    """The records a filter finds; None when it is refused."""
    body = {"filter": wanted, "limit": 500, "fields": ["id"]}
    answer = await caller.post(f"collections/{name}/records/query", json=body)
    assert answer.status_code in (200, 400), answer.text
    return {one["id"] for one in answer.json()["items"]} if answer.status_code == 200 else None


async def test_a_filter_its_negation_and_its_failures_divide_the_list(project: ProjectUnderTest) -> None:
    """Every visible record is in exactly one of the three; De Morgan and double negation hold."""
    pick = random.Random(SEED)
    world = await make_world(project, pick, rows=8)
    questions, asked, failing = Questions(pick), 0, 0
    while asked < TRIES:
        name, caller = pick.choice(tuple(FIELDS)), world.callers[asked % 3]
        p, q = questions.condition(name, "", 1), questions.condition(name, "", 1)
        true, false = await ids(caller, name, p), await ids(caller, name, f"!({p})")
        both = await ids(caller, name, f"({p}) && ({q})")
        if true is None or false is None or both is None:
            continue
        asked += 1
        every = {one["id"] for one in await caller.list(name, limit=500, fields="id")}
        decided = await ids(caller, name, f"({p}) || !({p})")
        told = f"seed {SEED}: {name} {p}"
        assert not true & false, told
        assert (true | false) <= every, told
        # A question that enters twice as often may be refused; what is answered must agree.
        assert decided in (None, true | false), told
        assert await ids(caller, name, f"!(!({p}))") == true, told
        assert await ids(caller, name, f"({p}) && ({p})") in (None, true), told
        failing += len(every - true - false)
        either = await ids(caller, name, f"!({p}) || !({q})")
        assert await ids(caller, name, f"!(({p}) && ({q}))") in (None, either), f"{told} and {q}"
        other = await ids(caller, name, q)
        assert both == true & (other or set()), f"{told} and {q}"
    assert failing > 0, "failures must be among what is divided"


async def test_a_list_shows_what_get_allows(project: ProjectUnderTest) -> None:
    """For every caller and collection, record by record."""
    world = await make_world(project, random.Random(SEED + 1))
    compared = 0

    for caller in world.callers:
        for name, held in world.ids.items():
            listed = {one["id"]: one for one in await caller.list(name, limit=500)}
            for record in held:
                answer = await caller.get(f"collections/{name}/records/{record}")
                assert (answer.status_code == 200) is (record in listed), (name, record)
                assert answer.status_code == 404 or answer.json() == listed[record]
                compared += 1
    print(f"seed {SEED}: {compared} records compared")


@pytest.mark.parametrize("sort", ["-created_at", "points,-title", "-points", "price", "title,-price,done"])
async def test_pages_make_up_the_whole_list_while_others_write(project: ProjectUnderTest, sort: str) -> None:
    """What was there before the first page comes exactly once and in order; what comes meanwhile does not disturb it."""
    pick = random.Random(SEED + 2)
    world = await make_world(project, pick, rows=20)
    caller = project.operator
    before = [one["id"] for one in await caller.list("cards", limit=500, sort=sort)]
    done = asyncio.Event()

    async def write() -> None:
        while not done.is_set():
            body = {"title": pick.choice("abcx"), "points": pick.randrange(4), "open": True}
            answer = await caller.post("collections/cards/records", json=body)
            assert answer.status_code == 201, answer.text

    writing = asyncio.create_task(write())
    read, cursor = [], None
    try:
        for _ in range(200):
            params = {"limit": 3, "sort": sort} | ({"cursor": cursor} if cursor else {})
            page = (await caller.get("collections/cards/records", params=params)).json()
            read += [one["id"] for one in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None or set(before) <= set(read):
                break
    finally:
        done.set()
        await writing
    assert [one for one in read if one in set(before)] == before
    assert len(set(read)) == len(read)
    assert len(before) == len(world.ids["cards"])
