"""The WebSocket: the same subscriptions, tokens renewed in place, and channels."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from baas.infra.db.pool import Database
from baas.infra.db.sql import ident, sql
from tests.support.callers import Caller, ProjectUnderTest

NOTES = [{"name": "title", "type": "text"}, {"name": "owner", "type": "relation", "to": "users"}]
OWN = {**dict.fromkeys(("list", "view", "update", "delete"), "record.owner == auth.id"), "create": "true"}
OPEN = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")


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
                one = json.loads(await self.socket.recv())
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
        assert change["id"]
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
    assert json.loads(refused.value.response.body or b"")["code"] == "bad_origin"
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
        place = (await socket.until("change"))["id"]
    third = await project.operator.create("notes", {"title": "open"})
    async with talk(server_url, project.name, ada, since=place) as socket:
        await socket.say("subscribe", subscriptions=notes)
        change = await socket.until(lambda one: one["type"] in ("change", "snapshot"))
        assert (change["type"], change["record"]["id"]) == ("change", third["id"])
        place = change["id"]

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
