"""Streams of events: what a list shows, kept true as records change."""

import asyncio
import contextlib
import json
import random
import re
import socket
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from baas.base.errors import BaasError
from baas.base.project import Project
from baas.engines.changes.reader import Feed
from baas.features.realtime.stream import Stream
from baas.features.realtime.watch import Watch
from baas.infra.db.pool import Database
from baas.infra.db.sql import ident, sql
from tests.support.callers import Caller, ProjectUnderTest
from tests.support.clocks import ends_within
from tests.support.stream import Following, follow

OWN = "record.owner == auth.id"
NOTES = [{"name": "title", "type": "text"}, {"name": "owner", "type": "relation", "to": "users"}]
RULES = {**dict.fromkeys(("list", "view", "update", "delete"), OWN), "create": "true"}
OPEN = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")


def sub(collection: str, **more: Any) -> dict[str, Any]:
    return {"id": "a", "collection": collection, **more}


async def test_a_stream_begins_with_the_list_and_tells_every_change(server_url: str, project: ProjectUnderTest) -> None:
    await project.collection("notes", NOTES, OPEN)
    first = await project.anonymous.create("notes", {"title": "one"})

    async with follow(server_url, project.name, [sub("notes", initial=True)]) as stream:
        snapshot = await stream.until_named("snapshot")
        assert [one["id"] for one in snapshot.data["items"]] == [first["id"]]
        second = await project.anonymous.create("notes", {"title": "two"})
        await project.anonymous.patch(f"collections/notes/records/{first['id']}", json={"title": "uno"})
        await project.anonymous.delete(f"collections/notes/records/{second['id']}")
        await stream.until_named("change", 3)

    made, changed, removed = (one.data for one in stream.named("change"))
    assert (made["action"], made["record"]["title"], made["rev"]) == ("create", "two", 1)
    assert (changed["action"], changed["record"]["title"], changed["rev"]) == ("update", "uno", 2)
    assert removed == {"subscription": "a", "action": "delete", "id": second["id"], "rev": 1}
    assert len({one.id for one in stream.named("change")}) == 3


async def test_a_post_says_the_same_with_a_body(server_url: str, project: ProjectUnderTest) -> None:
    await project.collection("notes", NOTES, OPEN)

    async with follow(server_url, project.name, [sub("notes")], by_body=True) as stream:
        await project.anonymous.create("notes", {"title": "two"})
        assert (await stream.until_named("change")).data["record"]["title"] == "two"


async def test_records_come_and_go_with_the_rule_and_the_filter(server_url: str, project: ProjectUnderTest) -> None:
    await project.collection("notes", NOTES, RULES)
    ada, bob = await project.user(), await project.user()

    async with (
        follow(server_url, project.name, [sub("notes")], token=ada.token) as hers,
        follow(server_url, project.name, [sub("notes", filter="title == $t", vars={"t": "x"})], token=bob.token) as his,
    ):
        note = await project.operator.create("notes", {"title": "a", "owner": ada.id})
        place = f"collections/notes/records/{note['id']}"
        await project.operator.patch(place, json={"owner": bob.id})
        await project.operator.patch(place, json={"title": "x"})
        await project.operator.patch(place, json={"title": "secret"})
        await project.operator.patch(place, json={"owner": ada.id, "title": "b"})
        await hers.until_named("change", 3)
        await his.until_named("change", 2)

    assert hers.actions == ["create", "leave", "enter"]
    assert his.actions == ["enter", "leave"]
    assert hers.named("change")[1].data == {"subscription": "a", "action": "leave", "id": note["id"], "rev": 2}
    assert "secret" not in str([one.data for one in (*his.events, *hers.events)])


async def test_each_gets_the_fields_that_he_may_read_and_asked_for(server_url: str, project: ProjectUnderTest) -> None:
    fields = [
        {"name": "title", "type": "text"},
        {"name": "owner", "type": "relation", "to": "users"},
        {"name": "note", "type": "text", "read": OWN},
        {"name": "hush", "type": "text", "hidden": True},
    ]
    await project.collection("notes", fields, OPEN)
    ada, bob = await project.user(), await project.user()

    async with (
        follow(server_url, project.name, [sub("notes")], token=ada.token) as hers,
        follow(server_url, project.name, [sub("notes")], token=bob.token) as his,
        follow(server_url, project.name, [sub("notes", fields="title")], token=ada.token) as short,
        follow(server_url, project.name, [sub("notes")], token=project.operator.token) as all_,
        follow(server_url, project.name, [sub("notes", expand="owner", fields="title")], token=ada.token) as wide,
    ):
        body = {"title": "t", "owner": ada.id, "note": "n", "hush": "h"}
        await project.operator.create("notes", body)
        records = [(await one.until_named("change")).data["record"] for one in (hers, his, short, all_, wide)]

    assert records[0]["note"] == "n"
    assert "note" not in records[1]
    assert [name for name in records if "hush" in name] == [records[3]]
    assert set(records[2]) == {"title", "id", "rev"}
    assert records[4]["expand"]["owner"]["id"] == ada.id


async def test_who_comes_back_with_the_last_id_has_missed_nothing(server_url: str, project: ProjectUnderTest) -> None:
    await project.collection("notes", NOTES, OPEN)
    stream = Following()
    for times in range(4):
        since = stream.last_id if stream.events else None
        subs = [sub("notes", initial=True)]
        async with follow(server_url, project.name, subs, since=since, into=stream):
            await project.anonymous.create("notes", {"title": "there"})
            await stream.until(lambda least=2 * times: len(stream.held["a"]) >= least)
        await project.anonymous.create("notes", {"title": "away"})
    async with follow(server_url, project.name, [sub("notes", initial=True)], since=stream.last_id, into=stream):
        await stream.until(lambda: len(stream.held["a"]) == 8)

    assert len(stream.named("snapshot")) == 1


async def test_a_list_gives_the_place_to_go_on_from(server_url: str, project: ProjectUnderTest) -> None:
    await project.collection("notes", NOTES, OPEN)
    answer = await project.anonymous.get("collections/notes/records")
    await project.anonymous.create("notes", {"title": "between"})

    async with follow(server_url, project.name, [sub("notes")], since=answer.headers["x-feed-cursor"]) as stream:
        assert (await stream.until_named("change")).data["record"]["title"] == "between"


async def test_a_cursor_behind_which_changes_were_removed_is_gone(
    server_url: str, project: ProjectUnderTest, db: Database
) -> None:
    """As after retention: the floor of the log is above it."""
    await project.collection("notes", NOTES, OPEN)
    since = (await project.anonymous.get("collections/notes/records")).headers["x-feed-cursor"]
    for _ in range(3):
        await project.anonymous.create("notes", {"title": "x"})
    await project.anonymous.get("collections/notes/records")
    async with follow(server_url, project.name, [sub("notes")]):
        pass  # what was written has a position now
    await db.execute(sql("delete from {}", ident(project.schema, "_change_log")))
    await db.execute(sql("update {} set floor_pos = last_pos", ident(project.schema, "_feed")))

    async with follow(server_url, project.name, [sub("notes")], since=since) as refused:
        assert (refused.status, refused.problem["code"]) == (410, "feed_gone")


async def test_a_cursor_that_is_too_old_is_gone(server_url: str, project: ProjectUnderTest) -> None:
    await project.collection("notes", NOTES, OPEN)
    old = "00000000-0000-0000-0000-000000000000.7"

    async with follow(server_url, project.name, [sub("notes")], since=old) as refused:
        assert (refused.status, refused.problem["code"]) == (410, "feed_gone")
    async with follow(server_url, project.name, [sub("notes")], since=refused.problem["cursor"]) as stream:
        await project.anonymous.create("notes", {"title": "x"})
        await stream.until_named("change")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"id": "a", "collection": "nope"}, 404, "collection_not_found"),
        ({"id": "a", "collection": "notes", "filter": "nope == 1"}, 400, "bad_filter"),
        ({"id": "a", "collection": "notes", "fields": "nope"}, 400, "bad_fields"),
        ({"id": "a", "collection": "locked"}, 403, "rule_denied"),
        ({"id": "a", "collection": "own"}, 401, "unauthenticated"),
        ({"id": "a b", "collection": "notes"}, 422, "invalid"),
        ({"id": "a", "collection": "notes", "sort": "id"}, 422, "invalid"),
    ],
)
async def test_what_cannot_be_listed_cannot_be_followed(
    server_url: str, project: ProjectUnderTest, body: dict[str, Any], status: int, code: str
) -> None:
    await project.collection("notes", NOTES, OPEN)
    await project.collection("locked", NOTES, {})
    await project.collection("own", NOTES, {**RULES, "list": "auth != null"})

    async with follow(server_url, project.name, [body]) as refused:
        assert (refused.status, refused.problem["code"]) == (status, code)


async def test_a_ticket_opens_one_stream(server_url: str, project: ProjectUnderTest) -> None:
    await project.collection("notes", NOTES, RULES)
    ada = await project.user()
    answer = await ada.post("realtime/ticket")
    assert answer.status_code == 201
    ticket = answer.json()["ticket"]

    async def use() -> int:
        async with follow(server_url, project.name, [sub("notes")], ticket=ticket) as stream:
            return stream.status

    answers = await asyncio.gather(*(use() for _ in range(50)))

    assert sorted(answers) == [200] + [401] * 49
    assert (await project.anonymous.post("realtime/ticket")).status_code == 401


async def test_a_ticket_stands_for_its_user(server_url: str, project: ProjectUnderTest) -> None:
    await project.collection("notes", NOTES, RULES)
    ada = await project.user()
    ticket = (await ada.post("realtime/ticket")).json()["ticket"]

    async with follow(server_url, project.name, [sub("notes")], ticket=ticket) as stream:
        await project.operator.create("notes", {"title": "mine", "owner": ada.id})
        await stream.until_named("change")
        await ada.post("auth/sign-out")
        assert (await stream.until_named("closed")).data["code"] == "bad_token"


@pytest.mark.parametrize("how", ["sign_out", "ban", "delete", "key", "project"])
async def test_access_ends_within_five_seconds(server_url: str, project: ProjectUnderTest, how: str) -> None:
    await project.collection("notes", NOTES, RULES)
    caller = await project.key() if how == "key" else await project.user()

    async with follow(server_url, project.name, [sub("notes")], token=caller.token) as stream:
        match how:
            case "sign_out":
                await caller.post("auth/sign-out")
            case "ban":
                await project.operator.patch(f"users/{caller.id}", json={"disabled": True})
            case "delete":
                await project.operator.delete(f"users/{caller.id}")
            case "key":
                keys = (await project.operator.get("keys")).json()["items"]
                for key in keys:
                    await project.operator.delete(f"keys/{key['id']}")
            case "project":
                await project.operator.delete(f"/v1/projects/{project.name}", params={"confirm": project.name})
        async with ends_within(5.0, how):
            await stream.until_named("closed", timeout_s=30)
        await stream.until(lambda: stream.over)


@pytest.mark.parametrize("when", ["begins", "shows again"])
async def test_nothing_is_read_for_whose_access_has_ended(
    server_url: str, project: ProjectUnderTest, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """A stream that shows much looks before each list; what was read by then may go out."""
    await project.collection("notes", NOTES, OPEN)
    ada, read, over = await project.user(), list[str](), asyncio.Event()
    everything, end = Watch.everything, Stream.end

    def ended(stream: Stream, error: BaasError) -> None:
        end(stream, error)
        over.set()

    async def slow(watch: Watch) -> Any:
        read.append(watch.subscription.id)
        if len(read) == 1:
            await ada.post("auth/sign-out")
            await over.wait()
        return await everything(watch)

    monkeypatch.setattr(Stream, "end", ended)
    if when == "begins":
        monkeypatch.setattr(Watch, "everything", slow)
    lists = [sub("notes", initial=True), {**sub("notes", initial=True), "id": "b"}]
    async with follow(server_url, project.name, lists, token=ada.token) as stream:
        if when != "begins":
            await stream.until_named("snapshot", 2)
            monkeypatch.setattr(Watch, "everything", slow)
            await project.operator.patch("collections/notes", json={"rules": {**OPEN, "list": 'record.title == "y"'}})
        assert (await stream.until_named("closed")).data["code"] == "bad_token"
    assert len(read) == 1


async def test_another_rule_changes_what_is_shown(server_url: str, project: ProjectUnderTest) -> None:
    await project.collection("notes", NOTES, OPEN)
    note = await project.anonymous.create("notes", {"title": "x"})

    async with follow(server_url, project.name, [sub("notes", initial=True)]) as stream:
        await stream.until(lambda: note["id"] in stream.held["a"])
        await project.operator.patch("collections/notes", json={"rules": {**OPEN, "list": 'record.title == "y"'}})
        await stream.until(lambda: not stream.held["a"])
        await project.anonymous.patch(f"collections/notes/records/{note['id']}", json={"title": "y"})
        await stream.until(lambda: note["id"] in stream.held["a"])
        await project.operator.patch("collections/notes", json={"rules": {**OPEN, "list": None}})
        await stream.until_named("ended")
        assert not stream.held["a"]
        count = len(stream.events)
        await project.operator.create("notes", {"title": "hidden"})
        await asyncio.sleep(0.6)
    assert len(stream.events) == count


async def test_a_rule_over_relations_takes_access_away(server_url: str, project: ProjectUnderTest) -> None:
    await project.collection("teams", [{"name": "name", "type": "text"}], OPEN)
    members = [
        {"name": "team", "type": "relation", "to": "teams", "on_delete": "cascade", "inverse": "members"},
        {"name": "user", "type": "relation", "to": "users", "on_delete": "cascade"},
    ]
    await project.collection("members", members, OPEN)
    cards = [{"name": "title", "type": "text"}, {"name": "team", "type": "relation", "to": "teams"}]
    rule = "record.team.members.exists(m, m.user == auth.id)"
    await project.collection("cards", cards, {**OPEN, "list": rule, "view": rule})
    ada = await project.user()
    team = await project.operator.create("teams", {"name": "t"})
    card = await project.operator.create("cards", {"title": "c", "team": team["id"]})

    async with follow(server_url, project.name, [sub("cards", initial=True)], token=ada.token) as stream:
        await stream.until_named("snapshot")
        assert not stream.held["a"]
        member = await project.operator.create("members", {"team": team["id"], "user": ada.id})
        await stream.until(lambda: card["id"] in stream.held["a"])
        await project.operator.patch(f"collections/cards/records/{card['id']}", json={"title": "d"})
        await stream.until(lambda: stream.held["a"][card["id"]]["title"] == "d")
        await project.operator.delete(f"collections/members/records/{member['id']}")
        await stream.until(lambda: not stream.held["a"])
        count = len(stream.events)
        await project.operator.patch(f"collections/cards/records/{card['id']}", json={"title": "secret"})
        await asyncio.sleep(0.6)

    assert stream.actions == ["enter", "update", "leave"]
    assert len(stream.events) == count


async def every_note(project: ProjectUnderTest, wanted: str) -> dict[str, Any]:
    """All pages of the list: a quick machine writes more than one holds."""
    found: dict[str, Any] = {}
    params = {"filter": wanted, "limit": "500"}
    while True:
        page = (await project.anonymous.get("collections/notes/records", params=params)).json()
        found |= {one["id"]: one for one in page["items"]}
        if page["next_cursor"] is None:
            return found
        params["cursor"] = page["next_cursor"]


async def test_the_snapshot_and_the_stream_leave_no_hole(server_url: str, project: ProjectUnderTest) -> None:
    """Writers at work while streams open: each holds in the end exactly what the list shows."""
    await project.collection("notes", [{"name": "n", "type": "int"}], OPEN)
    stop = asyncio.Event()

    async def write(seed: int) -> None:
        pick, mine = random.Random(seed), []
        while not stop.is_set():
            if not mine or pick.random() < 0.5:
                mine.append((await project.anonymous.create("notes", {"n": pick.randrange(10)}))["id"])
            elif pick.random() < 0.6:
                place = f"collections/notes/records/{pick.choice(mine)}"
                await project.anonymous.patch(place, json={"n": pick.randrange(10)})
            else:
                await project.anonymous.delete(f"collections/notes/records/{mine.pop(pick.randrange(len(mine)))}")

    async def one(delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        async with follow(server_url, project.name, [sub("notes", initial=True, filter="n < 7")]) as stream:
            opened.append(stream)
            await stopped.wait()
            listed = await every_note(project, "n < 7")
            await stream.until(lambda: stream.held["a"] == listed, 30)

    stopped, opened = asyncio.Event(), list[Following]()
    writers = [asyncio.create_task(write(seed)) for seed in range(8)]
    streams = [asyncio.create_task(one(at * 0.1)) for at in range(12)]
    async with asyncio.timeout(120):
        while len(opened) < len(streams) or sum(len(one.actions) for one in opened) <= 100:
            await asyncio.sleep(0.1)
    stop.set()
    await asyncio.gather(*writers)
    stopped.set()
    await asyncio.gather(*streams)


async def test_limits_of_connections_and_subscriptions(server_url: str, project: ProjectUnderTest) -> None:
    await project.collection("notes", NOTES, OPEN)
    ada: Caller = await project.user()
    many = [{"id": str(at), "collection": "notes"} for at in range(101)]
    async with follow(server_url, project.name, many, by_body=True) as refused:
        assert (refused.status, refused.problem["code"]) == (422, "limit_exceeded")
    async with follow(server_url, project.name, many[:100], by_body=True) as stream:
        assert stream.status == 200

    async with asyncio.TaskGroup() as group:
        leave = asyncio.Event()
        held = asyncio.Semaphore(0)

        async def hold() -> None:
            async with follow(server_url, project.name, [sub("notes")], token=ada.token):
                held.release()
                await leave.wait()

        for _ in range(20):
            group.create_task(hold())
        for _ in range(20):
            await held.acquire()
        async with follow(server_url, project.name, [sub("notes")], token=ada.token) as refused:
            assert (refused.status, refused.problem["code"]) == (429, "too_many_connections")
        leave.set()


async def test_a_client_that_takes_nothing_costs_only_itself(server_url: str, project: ProjectUnderTest) -> None:
    """It is cut off when too much waits for it, and comes back with its last id; the others hear everything at once."""
    await project.collection("notes", NOTES, OPEN)
    asked = quote(json.dumps([sub("notes")]))
    place, before = urlsplit(server_url), await _streams(project)
    with socket.create_connection((place.hostname, place.port)) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        head = f"GET /v1/projects/{project.name}/realtime?subscribe={asked} HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n"
        deaf.sendall(head.encode())
        loop = asyncio.get_running_loop()
        deaf.setblocking(False)
        heard = bytearray()
        while b"event: ready" not in heard:
            heard += await loop.sock_recv(deaf, 4096)
        async with follow(server_url, project.name, [sub("notes")]) as stream:
            long = "x" * 180_000
            for _ in range(20):
                made = [{"title": long} for _ in range(5)]
                assert (await project.anonymous.post("collections/notes/records", json=made)).status_code == 201
                await asyncio.sleep(0.1)
            await stream.until(lambda: len(stream.held["a"]) == 100, 20)
        await asyncio.sleep(1)
        assert await _streams(project) == before
        with contextlib.suppress(ConnectionResetError, TimeoutError):
            async with asyncio.timeout(2):
                while piece := await loop.sock_recv(deaf, 1 << 20):
                    heard += piece
    whole = re.findall(rb"id: (\S+)\nevent: (ready|change)\ndata: [^\n]*\n\n", heard)
    since, told = whole[-1][0].decode(), sum(1 for _, name in whole if name == b"change")
    assert told < 100
    async with follow(server_url, project.name, [sub("notes")], since=since) as stream:
        await stream.until(lambda: len(stream.held["a"]) >= 100 - told, 20)


async def _streams(project: ProjectUnderTest) -> float:
    """How many streams the server says are open."""
    text = (await project.operator.get("/metrics")).text
    found = re.search(r"^baas_streams_open\{.*\} (\S+)$", text, re.MULTILINE)
    assert found is not None
    return float(found[1])


async def test_many_idle_clients_and_some_writers(
    server_url: str, project: ProjectUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The short form of 2,000 and 50: the log is read once for all of them."""
    await project.collection("notes", NOTES, OPEN)
    clients, writers, each = 150, 10, 5
    reads, read = 0, Feed.read

    async def counted(self: Feed, of: Project, *more: Any) -> Any:
        nonlocal reads
        reads += of.name == project.name
        return await read(self, of, *more)

    async with contextlib.AsyncExitStack() as stack:
        streams: list[Following] = []
        for _ in range(0, clients, 50):
            opening = [follow(server_url, project.name, [sub("notes")]) for _ in range(50)]
            streams += await asyncio.gather(*(stack.enter_async_context(one) for one in opening))

        async def write() -> None:
            for _ in range(each):
                await project.anonymous.create("notes", {"title": "x"})

        monkeypatch.setattr(Feed, "read", counted)
        await asyncio.gather(*(write() for _ in range(writers)))
        for stream in streams:
            await stream.until(lambda stream=stream: len(stream.held["a"]) == writers * each, 60)
    assert 0 < reads < clients
