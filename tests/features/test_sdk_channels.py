"""Channels with the client, against the real application: words, who is there, and a line that breaks."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from baas_sdk import AsyncChannel, Forbidden, NotAuthenticated

from baas.base.settings import Settings
from tests.features.test_realtime_servers import serving
from tests.features.test_realtime_socket import talk
from tests.features.test_sdk import Twin, twin  # noqa: F401  fixtures
from tests.support.callers import PASSWORD, ProjectUnderTest
from tests.support.proxy import Proxy


@asynccontextmanager
async def joined(channel: Any) -> AsyncIterator[Callable[..., Any]]:
    """In the channel; a function that runs a method of it, or waits for the next message (`None`)."""
    if isinstance(channel, AsyncChannel):
        async with channel:

            async def act(name: str | None, *args: Any, **options: Any) -> Any:
                doing = anext(channel) if name is None else getattr(channel, name)(*args, **options)
                return await asyncio.wait_for(doing, 30)

            yield act
        return

    async def act_in_thread(name: str | None, *args: Any, **options: Any) -> Any:
        doing = (lambda: next(channel)) if name is None else (lambda: getattr(channel, name)(*args, **options))
        return await asyncio.wait_for(asyncio.to_thread(doing), 30)

    await asyncio.to_thread(channel.__enter__)
    try:
        yield act_in_thread
    finally:
        await asyncio.to_thread(channel.close)


@pytest.fixture
async def lobby(project: ProjectUnderTest) -> ProjectUnderTest:
    for name in ("lobby", "mine:{owner}"):
        rule = "true" if name == "lobby" else "auth.id == owner"
        await project.operator.put(f"channels/{name}", json={"rules": dict.fromkeys(("join", "send", "track"), rule)})
    return project


async def test_words_and_who_is_there(twin: Twin, lobby: ProjectUnderTest) -> None:  # noqa: F811  the fixture
    first, second = await lobby.user(), await lobby.user()
    ada, bob = twin.client(token=first.token).channel("lobby"), twin.client(token=second.token).channel("lobby")
    async with joined(ada) as by_ada, joined(bob) as by_bob:
        await by_ada("send", {"x": 1.5}, event="cursor")
        heard = await by_bob(None)
        assert ("message", "cursor", {"x": 1.5}, f"user:{first.id}") == (heard.kind, heard.event, heard.data, heard.who)
        await by_bob("track", {"name": "Bob"})
        came = await by_ada(None)
        assert ("joined", {"name": "Bob"}, [{"name": "Bob"}]) == (came.kind, came.data, ada.present)
        await by_bob("aclose" if isinstance(bob, AsyncChannel) else "close")
        went = await by_ada(None)
        assert ("left", []) == (went.kind, ada.present)


async def test_a_rule_decides_who_joins(twin: Twin, lobby: ProjectUnderTest) -> None:  # noqa: F811  the fixture
    ada, bob = await lobby.user(), await lobby.user()
    async with joined(twin.client(token=ada.token).channel(f"mine:{ada.id}")):
        pass
    with pytest.raises(Forbidden):
        async with joined(twin.client(token=bob.token).channel(f"mine:{ada.id}")):
            pass


async def test_a_line_that_breaks_is_made_again(
    twin: Twin,  # noqa: F811  the fixture
    lobby: ProjectUnderTest,
    server_url: str,
) -> None:
    user, target = await lobby.user(), urlsplit(server_url)
    async with Proxy((str(target.hostname), int(target.port or 80))) as proxy:
        behind = twin.client(f"http://127.0.0.1:{proxy.port}", token=user.token).channel("lobby")
        async with joined(behind) as act, joined(twin.client(token=user.token).channel("lobby")) as other:
            await act("track", {"at": "door"})
            assert "joined" == (await other(None)).kind
            proxy.cut_all()
            hearing = asyncio.ensure_future(act(None))
            for _ in range(20):
                if hearing.done():
                    break
                await other("send", "again")
                await asyncio.wait({hearing}, timeout=0.3)
            found = await hearing
            assert found.kind in ("message", "joined", "left")


async def test_a_channel_outlives_the_access_token(
    twin: Twin,  # noqa: F811  the fixture
    lobby: ProjectUnderTest,
    database_url: str,
    settings: Settings,
) -> None:
    """The session is renewed on the same line while messages are read; where nobody read in time, the channel is joined again."""
    user = await lobby.user()
    async with serving(replace(settings, access_token_s=5), database_url) as other:
        client = twin.client(other.url)
        await twin(lambda: client.auth.sign_in(user.email, PASSWORD))
        async with talk(other.url, lobby.name, lobby.operator) as his, joined(client.channel("lobby")) as act:
            await his.say("join", channel="lobby")
            hearing = asyncio.create_task(act(None))
            await asyncio.sleep(8)
            assert not hearing.done()
            await his.say("send", channel="lobby", data="same line")
            assert (await hearing).data == "same line"
            await asyncio.sleep(8)
            hearing = asyncio.create_task(act(None))
            while not hearing.done():
                await his.say("send", channel="lobby", data="joined again")
                await asyncio.wait({hearing}, timeout=0.3)
            assert (await hearing).data == "joined again"


async def test_whose_session_is_gone_does_not_go_on_as_nobody(twin: Twin, lobby: ProjectUnderTest) -> None:  # noqa: F811  the fixture
    """When the time has come to renew it, on whatever is done then."""
    user, client = await lobby.user(), twin.client()
    await twin(lambda: client.auth.sign_in(user.email, PASSWORD))
    channel = client.channel("lobby")
    async with joined(channel) as act:
        await twin(client.auth._credentials.forget)
        channel._renew_at = 0.0
        with pytest.raises(NotAuthenticated):
            await act("send", "word")
