"""Streams that break: who comes back with the id of the last event that he got has missed nothing, wherever the line was cut."""

import asyncio
from typing import Any, NamedTuple

import pytest

from baas.features.realtime import watch
from tests.support.callers import Caller, ProjectUnderTest
from tests.support.stream import Following, follow

OPEN = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")
NOTES = [{"name": "title", "type": "text"}, {"name": "n", "type": "int"}]
MINE = "record.open == true || record.team.members.exists(m, m.user == auth.id)"


def sub(collection: str, **more: Any) -> dict[str, Any]:
    return {"id": "a", "collection": collection, **more}


class Team(NamedTuple):
    """Ada sees `secret` as a member, `public` as everybody does."""

    ada: Caller
    team: str
    member: str
    secret: str
    public: str


async def make_team(project: ProjectUnderTest) -> Team:
    await project.collection("teams", [{"name": "name", "type": "text"}], OPEN)
    members = [
        {"name": "team", "type": "relation", "to": "teams", "on_delete": "cascade", "inverse": "members"},
        {"name": "user", "type": "relation", "to": "users", "on_delete": "cascade"},
    ]
    await project.collection("members", members, OPEN)
    cards = [
        {"name": "title", "type": "text"},
        {"name": "open", "type": "bool"},
        {"name": "team", "type": "relation", "to": "teams"},
    ]
    await project.collection("cards", cards, {**OPEN, "list": MINE, "view": MINE})
    ada, operator = await project.user(), project.operator
    team = (await operator.create("teams", {"name": "t"}))["id"]
    member = (await operator.create("members", {"team": team, "user": ada.id}))["id"]
    secret = (await operator.create("cards", {"title": "secret", "team": team}))["id"]
    return Team(ada, team, member, secret, (await operator.create("cards", {"title": "public", "open": True}))["id"])


def cut(stream: Following, behind: int) -> Following:
    """What a client holds that was cut off behind an event."""
    held = Following()
    for event in stream.events[: behind + 1]:
        held.take(event)
    return held


async def test_what_is_taken_away_is_told_after_a_cut_before_it(server_url: str, project: ProjectUnderTest) -> None:
    """One batch ends a membership and changes a card that all see. Cut behind the card's event, before the comparison is out, a
    client still loses the other card when it comes back.
    """
    team = await make_team(project)
    asked = [sub("cards", initial=True)]
    async with follow(server_url, project.name, asked, token=team.ada.token) as stream:
        await stream.until(lambda: set(stream.held["a"]) == {team.secret, team.public})
        operations = [
            {"id": "x", "method": "DELETE", "path": f"/collections/members/records/{team.member}"},
            {
                "id": "y",
                "method": "PATCH",
                "path": f"/collections/cards/records/{team.public}",
                "body": {"title": "public 2"},
            },
        ]
        answer = await project.operator.post("batch", json={"operations": operations})
        assert answer.status_code == 200, answer.text
        await stream.until(lambda: stream.actions == ["update", "leave"])
    at = next(at for at, one in enumerate(stream.events) if one.data.get("action") == "update")

    held = cut(stream, at)
    assert set(held.held["a"]) == {team.secret, team.public}
    async with follow(server_url, project.name, asked, token=team.ada.token, since=held.last_id, into=held):
        await held.until(lambda: set(held.held["a"]) == {team.public}, 10)
    assert held.held["a"][team.public]["title"] == "public 2"


@pytest.mark.parametrize("rule", ["true", MINE])
async def test_a_stream_without_a_snapshot_goes_on_from_its_first_id(
    server_url: str, project: ProjectUnderTest, rule: str
) -> None:
    """Whether its rule looks elsewhere or not: what happened between two connections is told."""
    team = await make_team(project)
    await project.operator.patch("collections/cards", json={"rules": {"list": rule}})
    async with follow(server_url, project.name, [sub("cards")], token=team.ada.token) as stream:
        await asyncio.sleep(0.3)
    assert [one.name for one in stream.events] == ["ready"]
    made = await project.operator.create("cards", {"title": "meanwhile", "open": True})
    async with follow(server_url, project.name, [sub("cards")], token=team.ada.token, since=stream.last_id, into=stream):
        await stream.until(lambda: made["id"] in stream.held["a"], 10)


async def test_beside_a_snapshot_that_is_owed_the_others_go_on(server_url: str, project: ProjectUnderTest) -> None:
    """Of two subscriptions one has yet to get its snapshot when the line breaks; the other one misses nothing by that."""
    await project.collection("notes", NOTES, OPEN)
    await project.anonymous.create("notes", {"title": "before"})
    asked = [{"id": "a", "collection": "notes", "initial": True}, {"id": "b", "collection": "notes"}]
    async with follow(server_url, project.name, asked) as stream:
        await stream.until_named("snapshot")
    held = cut(stream, 0)
    assert held.last_id.endswith(".0")
    made = await project.anonymous.create("notes", {"title": "meanwhile"})
    async with follow(server_url, project.name, asked, since=held.last_id, into=held):
        await held.until(lambda: len(held.held["a"]) == 2 and set(held.held["b"]) == {made["id"]}, 10)


async def test_another_rule_between_the_list_and_the_stream_is_seen(server_url: str, project: ProjectUnderTest) -> None:
    """The cursor of a list knows by which rules it was read."""
    await project.collection("notes", NOTES, OPEN)
    await project.anonymous.create("notes", {"title": "x"})
    answer = await project.anonymous.get("collections/notes/records")
    stream = Following()
    stream.held["a"] = {one["id"]: one for one in answer.json()["items"]}
    await project.operator.patch("collections/notes", json={"rules": {**OPEN, "list": 'record.title == "y"'}})
    async with follow(server_url, project.name, [sub("notes")], since=answer.headers["x-feed-cursor"], into=stream):
        await stream.until(lambda: not stream.held["a"], 10)


@pytest.mark.parametrize("initial", [True, False])
async def test_a_cut_while_other_rules_are_shown_loses_nothing(server_url: str, project: ProjectUnderTest, initial: bool) -> None:
    """Two lists are shown again after a change of rules; cut between them, the second one is shown after the break."""
    await project.collection("notes", NOTES, OPEN)
    note = await project.anonymous.create("notes", {"title": "x", "n": 1})
    asked = [{"id": name, "collection": "notes", "initial": initial} for name in "ab"]
    async with follow(server_url, project.name, asked) as stream:
        await project.anonymous.patch(f"collections/notes/records/{note['id']}", json={"n": 2})
        await stream.until(lambda: all(stream.held[name].get(note["id"], {}).get("n") == 2 for name in "ab"))
        shown = len(stream.events)
        await project.operator.patch("collections/notes", json={"rules": {**OPEN, "list": 'record.title == "y"'}})
        await stream.until(lambda: not stream.held["a"] and not stream.held["b"])
    for at in range(shown - 1, len(stream.events)):
        held = cut(stream, at)
        async with follow(server_url, project.name, asked, since=held.last_id, into=held):
            await held.until(lambda held=held: not held.held["a"] and not held.held["b"], 10)


async def test_too_many_records_to_compare_end_the_subscription_alone(
    server_url: str, project: ProjectUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What decides changes, and there is more than can be compared: `ended` says so, and the other subscription goes on."""
    monkeypatch.setattr(watch, "MAX_SNAPSHOT", 500)
    team = await make_team(project)
    for _ in range(2):
        answer = await project.operator.post("collections/cards/records", json=[{"title": "t", "open": True}] * 600)
        assert answer.status_code == 201
    asked = [sub("cards"), {"id": "b", "collection": "teams"}]
    async with follow(server_url, project.name, asked, token=team.ada.token) as stream:
        await project.operator.delete(f"collections/members/records/{team.member}")
        ended = await stream.until_named("ended", timeout_s=10)
        made = await project.operator.create("teams", {"name": "later"})
        await stream.until(lambda: made["id"] in stream.held["b"], 10)
        assert not stream.over
    assert (ended.data["subscription"], ended.data["code"]) == ("a", "snapshot_too_large")
    assert ended.data["hint"]
