"""The WebSocket: the same subscriptions, tokens renewed in place, and channels."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx2
import pytest
from asyncpg.exceptions import InsufficientPrivilegeError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from baas.base.project import Project
from baas.engines.changes.reader import Feed
from baas.features.auth.service import Auth
from baas.features.realtime import channels, store, stream
from baas.features.realtime.channels import Channels, Member
from baas.features.realtime.hub import Hub
from baas.infra.db.pool import Database
from baas.infra.db.sql import ident, sql
from tests.support.callers import PASSWORD, Caller, ProjectUnderTest
from tests.support.stream import follow

NOTES = [{"name": "title", "type": "text"}, {"name": "owner", "type": "relation", "to": "users"}]
OWN = {**dict.fromkeys(("list", "view", "update", "delete"), "record.owner == auth.id"), "create": "true"}
OPEN = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which no key stands twice: of two every parser would drop one."""
    made = dict(pairs)
    assert len(made) == len(pairs), pairs
    return made


class Talk:
    """One connection; `until` skips what is not waited for."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self._refs = 0

    async def say(self, type_: str, **message: Any) -> dict[str, Any]:
        self._refs += 1
        await self.socket.send(json.dumps({"type": type_, "ref": self._refs, **message}))
        return await self.until(lambda one: one.get("ref") == self._refs)

    async def until(self, wanted: Any, timeout_s: float = 30.0) -> dict[str, Any]:
        if isinstance(wanted, str):
            name = wanted
            wanted = lambda one: one["type"] == name  # noqa: E731
        async with asyncio.timeout(timeout_s):
            while True:
                one = json.loads(await self.socket.recv(), object_pairs_hook=once)
                if wanted(one):
                    return one


@contextlib.asynccontextmanager
async def talk(
    url: str, project: str, caller: Caller | None = None, *, origin: str | None = None, since: str | None = None
) -> AsyncIterator[Talk]:
    address = f"{url.replace('http', 'ws', 1)}/v1/projects/{project}/realtime/socket"
    async with connect(address, origin=origin) as socket:  # type: ignore[arg-type]
        made = Talk(socket)
        token = {"token": caller.token} if caller and caller.token else {}
        answer = await made.say("auth", **token, **({"since": since} if since else {}))
        assert answer["type"] == "ok", answer
        yield made


async def test_subscriptions_come_and_go(server_url: str, project: ProjectUnderTest) -> None:
    await project.collection("notes", NOTES, OWN)
    ada = await project.user()
    await project.operator.create("notes", {"title": "one", "owner": ada.id})

    async with talk(server_url, project.name, ada) as socket:
        await socket.socket.send(
            json.dumps({"type": "subscribe", "subscriptions": [{"id": "a", "collection": "notes", "initial": True}]})
        )
        snapshot = await socket.until("snapshot")
        assert [one["title"] for one in snapshot["items"]] == ["one"]
        await project.operator.create("notes", {"title": "two", "owner": ada.id})
        change = await socket.until("change")
        assert (change["subscription"], change["action"], change["record"]["title"]) == ("a", "create", "two")
        assert change["cursor"]
        assert (await socket.say("unsubscribe", id="a"))["type"] == "ok"
        refused = await socket.say("subscribe", subscriptions=[{"id": "b", "collection": "nope"}])
        assert (refused["type"], refused["code"], refused["subscription"]) == ("error", "collection_not_found", "b")


async def test_a_token_is_renewed_in_place_and_no_other_account_takes_over(server_url: str, project: ProjectUnderTest) -> None:
    await project.collection("notes", NOTES, OWN)
    ada, bob = await project.user(), await project.user()
    again = await project.anonymous.post("auth/refresh", json={"refresh_token": ada.session["refresh_token"]})

    async with talk(server_url, project.name, ada) as socket:
        assert (await socket.say("auth", token=again.json()["access_token"]))["type"] == "ok"
        assert (await socket.say("auth", token=bob.token))["code"] == "other_account"
        assert (await socket.say("auth", token="nonsense"))["code"] == "bad_token"
        await ada.post("auth/sign-out")
        assert (await socket.until("closed", 10))["code"] == "bad_token"
        with contextlib.suppress(ConnectionClosed):
            await socket.socket.recv()
        assert socket.socket.close_code == 4401


async def test_the_end_of_the_token_before_does_not_end_who_has_renewed_it(
    server_url: str, project: ProjectUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even when the check of it was under way."""
    ada = await project.user()
    again = (await project.anonymous.post("auth/sign-in", json={"email": ada.email, "password": PASSWORD})).json()
    asked, renewed, judged = asyncio.Event(), asyncio.Event(), asyncio.Event()
    who = Hub._who

    async def slow(hub: Hub, credential: str) -> Any:
        if credential != ada.token:
            return await who(hub, credential)
        asked.set()
        await renewed.wait()
        judged.set()
        return await who(hub, credential)

    monkeypatch.setattr(Hub, "_who", slow)
    async with talk(server_url, project.name, ada) as socket, asyncio.timeout(30):
        await asked.wait()
        await ada.post("auth/sign-out")
        await socket.say("auth", token=again["access_token"])
        renewed.set()
        await judged.wait()
        await asyncio.sleep(0.5)
        assert (await socket.say("ping"))["type"] == "ok"


async def test_who_does_not_say_who_he_is_is_let_go(server_url: str, project: ProjectUnderTest) -> None:
    address = f"{server_url.replace('http', 'ws', 1)}/v1/projects/{project.name}/realtime/socket"
    async with connect(address) as socket:
        await socket.send(json.dumps({"type": "auth", "token": "nonsense"}))
        assert json.loads(await socket.recv())["code"] == "bad_token"
        with contextlib.suppress(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 4401
    async with connect(address) as socket:
        await socket.send("[1]")
        assert json.loads(await socket.recv())["code"] == "bad_message"


async def test_pages_of_other_origins_may_not_connect(server_url: str, project: ProjectUnderTest) -> None:
    """Threat model W6."""
    with pytest.raises(InvalidStatus) as refused:
        async with talk(server_url, project.name, origin="https://app.example"):
            pass
    assert refused.value.response.status_code == 403
    assert json.loads(refused.value.response.body or b"")["code"] == "origin_not_allowed"
    await project.settings(cors={"origins": ["https://app.example"]})
    for origin in (server_url, "https://app.example"):
        async with talk(server_url, project.name, origin=origin):
            pass


@pytest.mark.parametrize("path", ["/v1/realtime/socket", "/v1/projects/{}/realtime/socket"])
async def test_a_page_opens_a_socket_on_its_own_origin(server_url: str, project: ProjectUnderTest, path: str) -> None:
    """On a site's host the short path means the site's project, as for every other call."""
    port = urlsplit(server_url).port
    site = f"{project.name}.localhost:{port}"
    address = f"ws://{site}{path.format(project.name)}"
    async with connect(address, host="127.0.0.1", port=port, origin=f"http://{site}") as socket:  # type: ignore[arg-type]
        made = Talk(socket)
        assert (await made.say("auth"))["type"] == "ok"
        assert (await made.say("ping"))["type"] == "ok"


async def test_an_address_without_a_socket_answers_as_http(server_url: str, project: ProjectUnderTest) -> None:
    for path, status in ((f"/v1/projects/{project.name}", 404), ("/v1/projects/nope/realtime/socket", 404)):
        with pytest.raises(InvalidStatus) as refused:
            async with connect(server_url.replace("http", "ws", 1) + path):
                pass
        assert refused.value.response.status_code == status
    async with httpx2.AsyncClient() as http:
        answer = await http.get(f"{server_url}/v1/projects/{project.name}/realtime/socket")
    assert (answer.status_code, answer.json()["code"]) == (400, "not_a_websocket")


@pytest.mark.parametrize("what", ["rule", "claims"])
async def test_who_comes_back_to_other_rules_or_claims_is_shown_everything(
    server_url: str, project: ProjectUnderTest, what: str
) -> None:
    """Also when he takes his time before he says what he follows; who comes back to the same goes on from there."""
    rule = 'auth.claims.role == "admin" || record.title == "open"'
    await project.collection("notes", NOTES, OPEN | {"list": rule})
    ada = await project.user()
    first = await project.operator.create("notes", {"title": "open"})
    second = await project.operator.create("notes", {"title": "closed"})
    notes = [{"id": "a", "collection": "notes"}]

    async with talk(server_url, project.name, ada) as socket:
        await socket.say("subscribe", subscriptions=notes)
        await project.operator.patch(f"collections/notes/records/{first['id']}", json={"title": "open"})
        place = (await socket.until("change"))["cursor"]
    third = await project.operator.create("notes", {"title": "open"})
    async with talk(server_url, project.name, ada, since=place) as socket:
        await socket.say("subscribe", subscriptions=notes)
        change = await socket.until(lambda one: one["type"] in ("change", "snapshot"))
        assert (change["type"], change["record"]["id"]) == ("change", third["id"])
        place = change["cursor"]

    if what == "rule":
        await project.operator.patch("collections/notes", json={"rules": OPEN})
    else:
        await project.operator.patch(f"users/{ada.id}", json={"claims": {"role": "admin"}})
    async with talk(server_url, project.name, ada, since=place) as socket:
        await asyncio.sleep(1)
        await socket.say("subscribe", subscriptions=notes)
        snapshot = await socket.until("snapshot")
        assert {one["id"] for one in snapshot["items"]} == {first["id"], second["id"], third["id"]}


async def test_a_channel_follows_the_claims_of_who_is_in_it(server_url: str, project: ProjectUnderTest) -> None:
    """What they gave is taken away: he hears no more, and is there no more."""
    staff = dict.fromkeys(("join", "send", "track"), 'auth.claims.role == "staff"')
    await project.operator.put("channels/staff", json={"rules": staff})
    ada, bob = await project.user(), await project.user()
    for user in (ada, bob):
        answer = await project.operator.patch(f"users/{user.id}", json={"claims": {"role": "staff"}})
        assert answer.status_code == 200, answer.text

    async with talk(server_url, project.name, ada) as hers, talk(server_url, project.name, bob) as his:
        for one in (hers, his):
            assert (await one.say("join", channel="staff"))["type"] == "ok"
        await project.operator.patch(f"users/{ada.id}", json={"claims": {}})
        begun = asyncio.get_running_loop().time()
        left = await hers.until("left")
        print("seconds until she was out:", asyncio.get_running_loop().time() - begun)
        assert (left["channel"], left["code"]) == ("staff", "rule_denied")
        assert (await hers.say("join", channel="staff"))["code"] == "rule_denied"
        assert (await his.say("send", channel="staff", data=1))["type"] == "ok"
        await project.operator.patch(f"users/{ada.id}", json={"claims": {"role": "staff"}})
        while (await hers.say("join", channel="staff"))["type"] != "ok":
            await asyncio.sleep(0.1)


async def test_channels_carry_words_under_their_rules(server_url: str, project: ProjectUnderTest) -> None:
    ada, bob = await project.user(), await project.user()
    rules = {"join": "auth != null", "send": "auth.id == owner", "track": None}
    assert (await project.operator.put("channels/room:{owner}", json={"rules": rules})).status_code == 200
    bad = await project.operator.put("channels/room:{owner}", json={"rules": {"join": "nope == 1"}})
    assert (bad.status_code, bad.json()["errors"][0]["pointer"]) == (422, "/rules/join")
    assert (await bob.put("channels/x", json={"rules": rules})).status_code == 403
    channel = f"room:{ada.id}"

    async with talk(server_url, project.name, ada) as hers, talk(server_url, project.name, bob) as his:
        assert (await his.say("send", channel=channel, data=1))["code"] == "rule_denied"
        assert (await hers.say("send", channel=channel, data=1))["code"] == "not_joined"
        for one in (hers, his):
            assert (await one.say("join", channel=channel))["presence"] == []
        assert (await hers.say("send", channel=channel, event="hi", data={"n": 1.5}))["type"] == "ok"
        heard = await his.until("message")
        assert heard == {
            "type": "message",
            "channel": channel,
            "event": "hi",
            "data": {"n": 1.5},
            "from": f"user:{ada.id}",
        }
        assert (await his.say("track", channel=channel, state={}))["code"] == "rule_denied"
        assert (await his.say("join", channel="other:1"))["code"] == "rule_denied"
        await project.operator.put("channels/room:{owner}", json={"rules": {**rules, "join": "auth.id == owner"}})
        assert (await his.until("left"))["channel"] == channel
    async with talk(server_url, project.name) as guest:
        assert (await guest.say("join", channel=channel))["code"] == "unauthenticated"


async def test_who_is_there_is_known_and_forgotten(server_url: str, project: ProjectUnderTest) -> None:
    await project.operator.put("channels/lobby", json={"rules": dict.fromkeys(("join", "send", "track"), "true")})
    ada = await project.user()

    async with talk(server_url, project.name) as watching:
        await watching.say("join", channel="lobby")
        async with talk(server_url, project.name, ada) as there:
            await there.say("join", channel="lobby")
            await there.say("track", channel="lobby", state={"at": "door"})
            came = await watching.until("presence")
            assert [(one["who"], one["state"]) for one in came["joined"]] == [(f"user:{ada.id}", {"at": "door"})]
            async with talk(server_url, project.name) as later:
                assert len((await later.say("join", channel="lobby"))["presence"]) == 1
        gone = await watching.until("presence")
        assert [one["who"] for one in gone["left"]] == [f"user:{ada.id}"]


async def test_a_lease_that_nobody_renews_runs_out(server_url: str, project: ProjectUnderTest, db: Database) -> None:
    """What a server leaves behind that died."""
    await project.operator.put("channels/lobby", json={"rules": dict.fromkeys(("join", "send", "track"), "true")})
    async with talk(server_url, project.name) as watching:
        await watching.say("join", channel="lobby")
        await db.execute(
            sql(
                "insert into {} values ('lobby', gen_random_uuid(), 'user:x', '1', clock_timestamp() + interval '3 seconds')",
                ident(project.schema, "_present"),
            )
        )
        assert (await watching.until("presence"))["joined"][0]["who"] == "user:x"
        assert (await watching.until("presence"))["left"][0]["who"] == "user:x"


async def test_every_event_has_its_place_beside_the_id_of_a_record(
    server_url: str, project: ProjectUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each type of message that subscriptions make has `cursor`, and a client comes back with that of a `delete` or a `leave`."""
    monkeypatch.setattr(stream, "BOOKMARK_S", 0.5)
    await project.collection("notes", NOTES, OWN)
    ada = await project.user()
    subscriptions = [{"id": "a", "collection": "notes", "initial": True}]
    seen: dict[str, dict[str, Any]] = {}
    async with talk(server_url, project.name, ada) as socket:

        async def until(name: str) -> dict[str, Any]:
            found = await socket.until(lambda one: name in (one["type"], one.get("action")))
            seen[name] = found
            return found

        await until("ready")
        await socket.socket.send(json.dumps({"type": "subscribe", "subscriptions": subscriptions}))
        await until("snapshot")
        for name in ("create", "update", "leave", "enter", "delete"):
            place = "collections/notes/records"
            match name:
                case "create":
                    note = await project.operator.create("notes", {"title": "one", "owner": ada.id})
                case "update":
                    await project.operator.patch(f"{place}/{note['id']}", json={"title": "two"})
                case "leave":
                    await project.operator.patch(f"{place}/{note['id']}", json={"owner": None})
                case "enter":
                    await project.operator.patch(f"{place}/{note['id']}", json={"owner": ada.id})
                case "delete":
                    await project.operator.delete(f"{place}/{note['id']}")
            await until(name)
        await until("bookmark")
        await project.operator.patch("collections/notes", json={"rules": {**OWN, "list": None}})
        await until("ended")
        await ada.post("auth/sign-out")
        closed = await until("closed")
    assert all(one["cursor"].count(".") >= 2 for one in seen.values())
    assert seen["leave"]["id"] == seen["delete"]["id"] == note["id"]
    assert (closed["status"], closed["code"], closed["title"]) == (401, "bad_token", "Not authenticated")
    assert closed["request_id"]
    await project.operator.patch("collections/notes", json={"rules": OWN})
    async with talk(server_url, project.name, await project.user(), since=seen["delete"]["cursor"]) as socket:
        assert (await socket.say("subscribe", subscriptions=subscriptions))["type"] == "ok"


async def test_what_is_refused_says_what_and_where(server_url: str, project: ProjectUnderTest) -> None:
    """Refusals in a socket are problems, with the place in the message; keys that mean nothing are refused, not dropped."""
    await project.collection("notes", NOTES, OPEN)
    async with talk(server_url, project.name) as socket:
        good, wrong = {"id": "a", "collection": "notes"}, {"id": "b", "collection": "notes", "filter": 5}
        refused = await socket.say("subscribe", subscriptions=[good, wrong])
        assert (refused["title"], refused["status"], refused["subscription"]) == ("Invalid content", 422, "b")
        assert [one["pointer"] for one in refused["errors"]] == ["/subscriptions/1/filter"]
        assert refused["request_id"]
        for kind in ("auth", "subscribe", "unsubscribe", "join", "leave", "send", "track", "ping"):
            refused = await socket.say(kind, zzz=1)
            assert [(one["pointer"], one["code"]) for one in refused["errors"]] == [("/zzz", "unknown_key")], kind
    for by_body, pointer in ((False, "/1/filter"), (True, "/subscribe/1/filter")):
        async with follow(server_url, project.name, [good, wrong], by_body=by_body) as stream_:
            assert [one["pointer"] for one in stream_.problem["errors"]] == [pointer]
    ada = await project.user()
    answer = await ada.post("realtime/ticket", json={"zzz": 1})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/zzz")
    assert (await ada.post("realtime/ticket", json={})).status_code == 201
    address = f"{server_url.replace('http', 'ws', 1)}/v1/projects/{project.name}/realtime/socket"
    async with connect(address) as raw:
        await raw.send(json.dumps({"type": "auth", "zzz": 1}))
        closed = json.loads(await raw.recv(), object_pairs_hook=once)
        assert (closed["type"], closed["title"], closed["errors"][0]["pointer"]) == ("closed", "Invalid content", "/zzz")
        with contextlib.suppress(ConnectionClosed):
            await raw.recv()
        assert raw.close_code == 4422


async def test_fifty_messages_a_second_and_no_more(server_url: str, project: ProjectUnderTest) -> None:
    """Above a burst of a hundred, those that are too many are refused, and the conversation goes on."""
    async with talk(server_url, project.name) as socket:
        for number in range(400):
            await socket.socket.send(json.dumps({"type": "ping", "ref": f"p{number}"}))
        answers = [await socket.until(lambda one: str(one.get("ref")).startswith("p")) for _ in range(400)]
        refused = [one["code"] for one in answers if one["type"] == "error"]
        assert 0 < len(refused) <= 300
        assert set(refused) == {"too_many_requests"}
        await asyncio.sleep(1)
        assert (await socket.say("ping"))["type"] == "ok"


async def test_who_joins_takes_nobodys_arrival_from_the_others(server_url: str, project: ProjectUnderTest) -> None:
    """One comes to be there while another joins: whoever was in the channel hears of him all the same."""
    await project.operator.put("channels/room:{room}", json={"rules": dict.fromkeys(("join", "send", "track"), "true")})
    async with talk(server_url, project.name) as a, talk(server_url, project.name) as b, talk(server_url, project.name) as c:
        for number in range(12):
            channel = f"room:{number}"
            await a.say("join", channel=channel)
            await b.say("join", channel=channel)
            await asyncio.gather(b.say("track", channel=channel, state={"n": number}), c.say("join", channel=channel))
            came = await a.until(lambda one: one["type"] == "presence" and bool(one["joined"]), 10)
            assert [one["state"] for one in came["joined"]] == [{"n": number}]


async def test_who_is_there_is_written_again_when_the_database_has_forgotten(
    server_url: str, project: ProjectUnderTest, db: Database
) -> None:
    """A crash of PostgreSQL empties what it does not log."""
    await project.operator.put("channels/lobby", json={"rules": dict.fromkeys(("join", "send", "track"), "true")})
    async with talk(server_url, project.name) as watching, talk(server_url, project.name) as there:
        await watching.say("join", channel="lobby")
        await there.say("join", channel="lobby")
        await there.say("track", channel="lobby", state={"at": "door"})
        assert (await watching.until("presence"))["joined"][0]["state"] == {"at": "door"}
        await db.execute(sql("truncate {}", ident(project.schema, "_present")))
        async with talk(server_url, project.name) as later:
            async with asyncio.timeout(10):
                while not (present := (await later.say("join", channel="lobby"))["presence"]):
                    await asyncio.sleep(0.2)
        assert [one["state"] for one in present] == [{"at": "door"}]


async def test_an_error_that_nobody_expected_ends_nothing(
    server_url: str, project: ProjectUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL says once what no code of ours knows: streams and presence go on."""
    await project.collection("notes", NOTES, OPEN)
    await project.operator.put("channels/lobby", json={"rules": dict.fromkeys(("join", "send", "track"), "true")})
    failed: set[str] = set()

    def failing(name: str, ask: Any) -> Any:
        async def asked(*args: Any, **named: Any) -> Any:
            if name not in failed and any(project.name in (one, getattr(one, "name", None)) for one in args):
                failed.add(name)
                raise InsufficientPrivilegeError("permission denied")
            return await ask(*args, **named)

        return asked

    def failing_once(name: str, ask: Any) -> Any:
        async def asked(db: Any, schema: str, *more: Any) -> Any:
            if name not in failed and schema == project.schema:
                failed.add(name)
                raise InsufficientPrivilegeError("permission denied")
            return await ask(db, schema, *more)

        return asked

    async with talk(server_url, project.name) as here, talk(server_url, project.name) as there:
        await here.say("subscribe", subscriptions=[{"id": "a", "collection": "notes"}])
        await here.say("join", channel="lobby")
        await there.say("join", channel="lobby")
        monkeypatch.setattr(Feed, "read", failing("read", Feed.read))
        monkeypatch.setattr(store, "present", failing_once("present", store.present))
        async with asyncio.timeout(20):
            while failed != {"read", "present"}:
                await asyncio.sleep(0.1)
        await project.anonymous.create("notes", {"title": "x"})
        await here.until("change", 10)
        await there.say("track", channel="lobby", state={"n": 1})
        await here.until("presence", 10)


async def test_a_user_is_read_once_for_all_his_channels(
    server_url: str, project: ProjectUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many he is in, on however many connections: a look at thousands of members must not take long."""
    await project.operator.put("channels/{room}", json={"rules": {"join": 'auth != null && auth.email != ""'}})
    ada, looks, reads = await project.user(), list[Member](), list[str]()
    look, read = Channels._check_access, Auth.record

    async def looked(self: Channels, member: Member, *more: Any) -> None:
        if member.principal.id == ada.id:
            looks.append(member)
        await look(self, member, *more)

    async def counted(self: Auth, of: Project, user: UUID) -> Any:
        if str(user) == ada.id:
            reads.append(ada.id)
        return await read(self, of, user)

    async with talk(server_url, project.name, ada) as here, talk(server_url, project.name, ada) as there:
        for at in range(5):
            await here.say("join", channel=f"room{at}")
            await there.say("join", channel=f"room{at}")
        monkeypatch.setattr(channels, "_LOOK_S", 0.2)
        monkeypatch.setattr(Channels, "_check_access", looked)
        monkeypatch.setattr(Auth, "record", counted)
        async with asyncio.timeout(20):
            while len(looks) < 6:
                await asyncio.sleep(0.1)
        assert len(looks) / 2 - 1 <= len(reads) <= len(looks) / 2 + 1
