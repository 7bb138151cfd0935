"""Two servers on one database: words, presence and changes go between them, and one that stops sends its clients to the other."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import NamedTuple

import httpx2
import pytest
import uvicorn
from websockets.exceptions import ConnectionClosed

from baas.base.settings import Settings
from baas.features.realtime import channels
from baas.infra.observe.lifecycle import Lifecycle
from baas.server import open_server
from tests.features.test_realtime_socket import NOTES, OPEN, Talk, talk
from tests.support.callers import PASSWORD, Caller, ProjectUnderTest
from tests.support.clocks import ends_within
from tests.support.proxy import Proxy, target_of, through

ALL = dict.fromkeys(("join", "send", "track"), "true")


class Other(NamedTuple):
    """The second server."""

    url: str
    lifecycle: Lifecycle


@asynccontextmanager
async def serving(settings: Settings, database_url: str) -> AsyncIterator[Other]:
    """One more server on the database."""
    lifecycle = Lifecycle()
    async with open_server(settings, database_url, lifecycle=lifecycle) as server:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        running = uvicorn.Server(uvicorn.Config(server.app, lifespan="off", log_config=None, timeout_graceful_shutdown=1))
        task = asyncio.create_task(running.serve(sockets=[listener]))
        while not running.started:
            await asyncio.sleep(0.01)
        try:
            yield Other(f"http://127.0.0.1:{listener.getsockname()[1]}", lifecycle)
        finally:
            running.should_exit = True
            await task


@pytest.fixture
async def other(server_url: str, database_url: str, settings: Settings) -> AsyncIterator[Other]:
    async with serving(settings, database_url) as made:
        yield made


async def test_words_and_presence_go_from_server_to_server(server_url: str, other: Other, project: ProjectUnderTest) -> None:
    """Who joined on one server hears what is said on the other, once, and sees who is there and who has gone."""
    await project.operator.put("channels/lobby", json={"rules": ALL})
    ada, bob = await project.user(), await project.user()

    async with talk(other.url, project.name, bob) as there:
        await there.say("join", channel="lobby")
        async with talk(server_url, project.name, ada) as here:
            await here.say("join", channel="lobby")
            for number in range(3):
                assert (await here.say("send", channel="lobby", event="hi", data=number))["type"] == "ok"
            heard = [await there.until("message") for _ in range(3)]
            assert [(one["data"], one["from"]) for one in heard] == [(number, f"user:{ada.id}") for number in range(3)]
            await there.say("send", channel="lobby", data="back")
            assert (await here.until("message"))["data"] == "back"
            await here.say("track", channel="lobby", state={"at": 1})
            came = await there.until("presence")
            assert [(one["who"], one["state"]) for one in came["joined"]] == [(f"user:{ada.id}", {"at": 1})]
            async with talk(other.url, project.name) as later:
                assert [one["who"] for one in (await later.say("join", channel="lobby"))["presence"]] == [f"user:{ada.id}"]
        gone = await there.until(lambda one: one["type"] == "presence" and bool(one["left"]))
        assert [one["who"] for one in gone["left"]] == [f"user:{ada.id}"]


async def test_a_server_that_drains_sends_its_sockets_away_with_a_place(
    server_url: str, other: Other, project: ProjectUnderTest
) -> None:
    """`reconnect` with a wait of at most five seconds and 1012; who goes on at another server has missed nothing."""
    await project.collection("notes", NOTES, OPEN)
    subscription = {"id": "a", "collection": "notes"}

    async with talk(other.url, project.name) as there:
        await there.say("subscribe", subscriptions=[subscription])
        await project.anonymous.create("notes", {"title": "before"})  # on the first server
        assert (await there.until("change"))["record"]["title"] == "before"
        other.lifecycle.begin_draining()
        last = await there.until("reconnect")
        with pytest.raises(ConnectionClosed) as closed:
            await there.until("change")
    assert 0 <= last["after_ms"] < 5_000
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    await project.anonymous.create("notes", {"title": "meanwhile"})
    async with talk(server_url, project.name, since=last["cursor"]) as here:
        await here.say("subscribe", subscriptions=[subscription])
        change = await here.until("change")
    assert (change["action"], change["record"]["title"]) == ("create", "meanwhile")


async def signed_in(url: str, project: ProjectUnderTest) -> Caller:
    """A user with a token of that server's making."""
    user = await project.user()
    async with httpx2.AsyncClient() as http:
        body = {"email": user.email, "password": PASSWORD}
        answer = await http.post(f"{url}/v1/projects/{project.name}/auth/sign-in", json=body)
    return replace(user, token=answer.json()["access_token"])


async def test_access_ends_while_the_database_is_silent(
    server_url: str, database_url: str, settings: Settings, project: ProjectUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token's end is known without asking. Nobody whose access has not been checked for a while says or hears a word."""
    monkeypatch.setattr(channels, "UNCHECKED_S", 5.0)
    await project.operator.put("channels/lobby", json={"rules": {**ALL, "join": "auth != null"}})
    async with (
        Proxy(target_of(database_url)) as proxy,
        serving(replace(settings, access_token_s=8), through(database_url, proxy.port)) as other,
    ):
        ada = await signed_in(other.url, project)
        async with talk(other.url, project.name, ada) as hers, talk(other.url, project.name, project.operator) as his:
            assert (await hers.say("join", channel="lobby"))["type"] == "ok"
            assert (await his.say("join", channel="lobby"))["type"] == "ok"
            proxy.stall()
            try:
                assert (await hers.until("closed", 20))["code"] == "bad_token"
                async with asyncio.timeout(20):
                    while (said := await his.say("send", channel="lobby", data=1))["type"] == "ok":
                        await asyncio.sleep(0.2)
                assert said["code"] == "unavailable"
            finally:
                proxy.let_be()
            async with asyncio.timeout(30):
                while (await his.say("send", channel="lobby", data=1))["type"] != "ok":
                    await asyncio.sleep(0.2)


async def test_no_word_is_heard_after_a_sign_out_on_another_server(
    server_url: str, other: Other, project: ProjectUnderTest
) -> None:
    """Within five seconds, by the time that the machine had for it."""
    await project.operator.put("channels/lobby", json={"rules": ALL})
    ada = await project.user()
    async with talk(other.url, project.name, ada) as hers, talk(other.url, project.name, project.operator) as his:
        await hers.say("join", channel="lobby")
        await his.say("join", channel="lobby")
        async with ends_within(5.0, "a word on another server"):
            assert (await ada.post("auth/sign-out")).status_code < 300
            speaking = asyncio.create_task(_speak(his))
            try:
                assert (await hers.until("closed", 30))["code"] == "bad_token"
            finally:
                speaking.cancel()


async def _speak(his: Talk) -> None:
    while True:
        await his.say("send", channel="lobby", data="word")
        await asyncio.sleep(0.1)
