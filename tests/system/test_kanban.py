"""The kanban example over the death of its server: two people, two browsers, one `kill -9`, no reload."""

import asyncio
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from baas_cli.demo import people
from playwright.async_api import Browser, async_playwright, expect

from tests.support.board import Person
from tests.support.process import free_port, open_folder, running, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as path:
        yield path


@pytest.mark.timeout(240)
async def test_a_killed_server_comes_back_to_open_pages(folder: Path, chromium: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Cards that are moved and made while it is away are kept and sent; both see all of it when it is back, on the same page."""
    port = free_port()
    arguments = ["dev", "--demo", "--port", str(port)]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        with running(arguments, folder) as server:
            await asyncio.to_thread(wait_for, lambda: "Ctrl-C stops everything" in server.output, 90)
            ada, bob = [await _signed_in(browser, port, **one) for one in people("kanban")]
            places: list[str | None] = []
            ada.page.on(
                "request", lambda sent: places.append(sent.headers.get("last-event-id")) if "realtime" in sent.url else None
            )
            await ada.move("Write the tutorial", "Doing")
            await bob.card("Write the tutorial", "Doing").wait_for()
            await asyncio.to_thread(server.stop, signal.SIGKILL)
        for person in (ada, bob):
            await person.page.locator(".status", has_text="Reconnecting").wait_for()
        await ada.move("Draw the icon", "Done")
        await bob.add("Thought of meanwhile", "Ideas")
        await ada.page.locator(".waiting", has_text="Draw the icon").wait_for()
        await bob.page.locator(".waiting", has_text="Thought of meanwhile").wait_for()

        with running(arguments, folder) as server:
            await asyncio.to_thread(server.wait_until_ready, f"http://127.0.0.1:{port}")
            back = time.monotonic()
            for person in (ada, bob):
                await person.live()
                await person.card("Draw the icon", "Done").wait_for(timeout=60_000)
                await person.card("Thought of meanwhile", "Ideas").wait_for(timeout=60_000)
                await expect(person.page.locator(".waiting")).to_have_count(0)
            with capsys.disabled():
                print(f"\nfrom ready to both boards alike: {time.monotonic() - back:.2f} s")
            await bob.move("Write the tutorial", "Done")
            await ada.card("Write the tutorial", "Done").wait_for()

            for column in ("Ideas", "Next", "Doing", "Done"):
                assert await ada.cards(column) == await bob.cards(column)
            assert places
            assert None not in places  # gone on from where it was
            assert (1, 1) == (ada.loads, bob.loads)
            assert 0 == await ada.page.locator("#notices .conflict").count()
            await browser.close()


async def _signed_in(browser: Browser, port: int, *, email: str, password: str) -> Person:
    person = await Person.arrive(browser, f"http://kanban.localhost:{port}/", email)
    await person.enter("Sign in", password)
    await person.live()
    await person.card("Write the tutorial").wait_for()
    return person
