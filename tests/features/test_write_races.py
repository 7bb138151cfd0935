"""Writes at once under rules that count, or that look at other records, over real connections."""

import asyncio
from collections import Counter
from typing import Any

from baas.infra.db.pool import Database
from baas.infra.db.sql import ident, sql
from tests.support.callers import ProjectUnderTest

OPEN = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")
OWNER = {"name": "owner", "type": "relation", "to": "users"}


def statuses(answers: list[Any]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


async def test_a_quota_of_ten_stores_ten(project: ProjectUnderTest) -> None:
    """60 creates at once, one by one and in pairs; the rule counts what the others have stored, not what was there before."""
    for name, quota in (("notes", "size(rows('notes').filter(n, n.owner == auth.id)) < 10"), ("pairs", "true")):
        rule = quota if name == "notes" else "size(rows('pairs').filter(n, n.owner == auth.id)) < 9"
        await project.collection(name, [OWNER], {**OPEN, "create": f"next.owner == auth.id && {rule}"})
    user = await project.user()

    ones = await asyncio.gather(*(user.post("collections/notes/records", json={"owner": user.id}) for _ in range(60)))
    pair = [{"owner": user.id}] * 2
    pairs = await asyncio.gather(*(user.post("collections/pairs/records", json=pair) for _ in range(20)))

    assert Counter({201: 10, 403: 50}) == statuses(ones)
    assert 10 == len(await user.list("notes", limit=100))
    assert Counter({201: 5, 403: 15}) == statuses(pairs)
    assert 10 == len(await user.list("pairs", limit=100))


async def test_there_is_one_where_the_rule_says_that_there_is_none(project: ProjectUnderTest) -> None:
    """`!exists` over other records: no row can be locked, so the writes wait for each other."""
    slots = [{"name": "room", "type": "text"}]
    await project.collection("bookings", slots, {**OPEN, "create": '!rows("bookings").exists(b, b.room == next.room)'})
    user = await project.user()

    answers = await asyncio.gather(*(user.post("collections/bookings/records", json={"room": "a"}) for _ in range(30)))

    assert Counter({201: 1, 403: 29}) == statuses(answers)


async def test_a_record_that_the_rule_reads_holds_still(project: ProjectUnderTest, db: Database) -> None:
    """A team that is locked by a transaction which the write waits for: the write sees it locked. By a path and by rows()."""
    await project.collection("teams", [{"name": "locked", "type": "bool"}], OPEN)
    team = {"name": "team", "type": "relation", "to": "teams"}
    paths = ("record.team.locked == false", "!record.team.locked")
    rows = ('rows("teams").exists(t, t.id == record.team && t.locked == false)',)
    for at, rule in enumerate((*paths, *rows)):
        await project.collection(f"posts{at}", [team, {"name": "title", "type": "text"}], {**OPEN, "update": rule})
        user = await project.user()
        made = await user.create("teams", {"locked": False})
        post = await user.create(f"posts{at}", {"team": made["id"]})
        path = f"collections/posts{at}/records/{post['id']}"
        assert 200 == (await user.patch(path, json={"title": "before"})).status_code

        async with db.transaction() as tx:
            table = ident(project.schema, "teams")
            await tx.execute(sql("update {} set locked = true where id = {}::uuid", table, made["id"]))
            waiting = asyncio.create_task(user.patch(path, json={"title": "after"}))
            await asyncio.sleep(0.3)
            assert not waiting.done()
        answer = await waiting

        assert (403, "rule_denied") == (answer.status_code, answer.json()["code"]), rule
        assert "before" == (await user.get(path)).json()["title"]


async def test_a_write_that_loses_a_deadlock_is_run_again(project: ProjectUnderTest, db: Database) -> None:
    """A foreign transaction holds the post and wants the team; the write holds the team and wants the post."""
    await project.collection("teams", [{"name": "locked", "type": "bool"}], OPEN)
    fields = [{"name": "team", "type": "relation", "to": "teams"}, {"name": "title", "type": "text"}]
    await project.collection("posts", fields, {**OPEN, "update": "record.team.locked == false"})
    user = await project.user()
    team = await user.create("teams", {"locked": False})
    post = await user.create("posts", {"team": team["id"]})
    path = f"collections/posts/records/{post['id']}"

    async with db.transaction() as tx:
        for name, record in (("posts", post), ("teams", team)):
            table = ident(project.schema, name)
            await tx.execute(sql("update {} set rev = rev + 1 where id = {}::uuid", table, record["id"]))
            if name == "posts":
                waiting = asyncio.create_task(user.patch(path, json={"title": "after"}))
                await asyncio.sleep(0.3)
    answer = await waiting

    assert 200 == answer.status_code, answer.text
    assert (3, "after") == (answer.json()["rev"], answer.json()["title"])
