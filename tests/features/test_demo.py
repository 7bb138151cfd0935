"""The example app on the platform's own hosting, in a real browser, with two people."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from baas_cli.demo import EXAMPLES, example_folder, seed
from playwright.async_api import Browser, Page, ViewportSize, async_playwright

from tests.support.callers import Caller

WINDOW: ViewportSize = {"width": 1000, "height": 700}
MARKUP = "<img src=x onerror='document.title=\"pwned\"'><b>bold</b>"
PASSWORD = "correct horse battery"


@pytest.fixture
async def site(server_url: str, operator: Caller, monkeypatch: pytest.MonkeyPatch) -> str:
    """The demo's address on the port that the tests' server has."""
    for name in ("BAAS_URL", "BAAS_PROJECT", "BAAS_KEY"):
        monkeypatch.delenv(name, raising=False)
    address = await asyncio.to_thread(seed, server_url, operator.token or "", "todo")
    return f"http://{urlsplit(address).hostname}:{urlsplit(server_url).port}/"


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium)
        yield browser
        await browser.close()


class Person:
    """Somebody with a browser of their own."""

    def __init__(self, page: Page, email: str) -> None:
        self.page = page
        self.email = email
        self.trouble: list[str] = []
        page.on("pageerror", lambda error: self.trouble.append(str(error)))
        page.on("console", lambda line: self.trouble.append(line.text) if line.type in ("error", "warning") else None)

    @classmethod
    async def arrive(cls, browser: Browser, site: str, email: str) -> "Person":
        context = await browser.new_context(viewport=WINDOW)
        context.set_default_timeout(10_000)
        person = cls(await context.new_page(), email)
        await person.page.goto(site)
        return person

    async def enter(self, button: str, password: str = PASSWORD) -> None:
        await self.page.get_by_label("E-mail").fill(self.email)
        await self.page.get_by_label("Password").fill(password)
        await self.page.get_by_role("button", name=button).click()

    async def add(self, title: str) -> None:
        await self.page.get_by_label("What is to be done?").fill(title)
        await self.page.keyboard.press("Enter")
        await self.page.locator(".todos .title", has_text=title).wait_for()

    async def titles(self) -> list[str]:
        return await self.page.locator(".todos .title").all_text_contents()

    async def at(self, heading: str) -> None:
        await self.page.get_by_role("heading", name=heading).wait_for()
        await self.page.get_by_text("Loading…").wait_for(state="detached")


async def test_two_people_keep_their_todos_to_themselves(browser: Browser, site: str, tmp_path: Path) -> None:
    """Neither sees the other's; a reload keeps them; markup stays text; photos, lists and the session work."""
    ada, bob = [await Person.arrive(browser, site, f"{name}@example.com") for name in ("ada", "bob")]
    for person in (ada, bob):
        await person.enter("Create account")
        await person.at("Inbox")
    await ada.add("Buy tea")
    await ada.add(MARKUP)
    await bob.add("Bob's own")
    await ada.page.get_by_label("Buy tea", exact=True).check()
    await ada.page.locator("li.done", has_text="Buy tea").wait_for()
    for person in (ada, bob):
        await person.page.reload()
        await person.at("Inbox")

    assert [MARKUP, "Buy tea"] == await ada.titles()
    assert ["Bob's own"] == await bob.titles()
    assert await ada.page.get_by_label("Buy tea", exact=True).is_checked()
    assert "Todo" == await ada.page.title()
    assert 0 == await ada.page.locator(".todos b, .todos .title img").count()

    await ada.page.get_by_label("New list").fill("Garden")
    await ada.page.get_by_role("button", name="Add list").click()
    await ada.at("Garden")
    await ada.add("Plant beans")
    await ada.page.screenshot(path=tmp_path / "photo.png")
    async with ada.page.expect_file_chooser() as chooser:
        await ada.page.get_by_role("button", name="Attach a photo to Plant beans").click()
    await (await chooser.value).set_files(tmp_path / "photo.png")
    await ada.page.get_by_role("img", name="Photo for Plant beans").wait_for()
    await ada.page.reload()
    await ada.page.get_by_role("button", name="Garden").click()
    photo = ada.page.get_by_role("img", name="Photo for Plant beans")
    await photo.wait_for()
    await ada.page.wait_for_timeout(300)
    assert WINDOW["width"] == await photo.evaluate("image => image.naturalWidth")

    await ada.page.get_by_role("button", name="Delete Plant beans").click()
    await ada.page.get_by_text("Nothing to do").wait_for()
    await ada.page.get_by_role("button", name="Sign out").click()
    await ada.page.get_by_role("button", name="Sign in").wait_for()
    await ada.enter("Sign in")
    await ada.at("Inbox")
    assert [MARKUP, "Buy tea"] == await ada.titles()
    assert [] == ada.trouble + bob.trouble


async def test_a_todo_changed_elsewhere_is_not_overwritten(browser: Browser, site: str) -> None:
    """Two tabs of one person: the second, which shows an old state, is told and shows the new one."""
    first = await Person.arrive(browser, site, "eve@example.com")
    await first.enter("Create account")
    await first.at("Inbox")
    await first.add("Shared")
    second = Person(await first.page.context.new_page(), first.email)
    await second.page.goto(site)
    await second.at("Inbox")
    await first.page.get_by_label("Shared", exact=True).check()
    await first.page.locator("li.done").wait_for()
    await second.page.get_by_label("Shared", exact=True).check()
    await second.page.get_by_text("changed in another window").wait_for()

    assert await second.page.get_by_label("Shared", exact=True).is_checked()


async def test_a_session_that_has_ended_is_renewed_unseen(browser: Browser, site: str) -> None:
    """The access token is spoiled; the next click renews it and works. Spoil the refresh token too, and the door is shown."""
    person = await Person.arrive(browser, site, "grace@example.com")
    await person.enter("Create account")
    await person.at("Inbox")
    spoil = """name => localStorage.setItem("session",
        JSON.stringify({ ...JSON.parse(localStorage.getItem("session")), [name]: "spoiled" }))"""
    await person.page.evaluate(spoil, "access_token")
    await person.add("After renewal")
    await person.page.evaluate(spoil, "access_token")
    await person.page.evaluate(spoil, "refresh_token")
    await person.page.get_by_label("After renewal", exact=True).click()

    await person.page.get_by_role("button", name="Sign in").wait_for()


async def test_a_wrong_password_is_told_in_words(browser: Browser, site: str) -> None:
    person = await Person.arrive(browser, site, "nobody@example.com")
    await person.enter("Sign in", "wrong password")
    await person.page.get_by_role("alert").filter(has_text=" ").wait_for()

    await person.page.get_by_role("button", name="Sign in", disabled=False).wait_for()


async def test_seeding_again_changes_nothing(server_url: str, operator: Caller, site: str) -> None:
    """What somebody made of the demo stays, and the live release is not replaced by the same files."""
    demo = Caller(operator.http, "/v1/projects/demo", operator.token)
    await demo.patch("settings", json={"auth": {"sign_up": False}})
    before = (await demo.get("sites/default/releases")).json()
    await asyncio.to_thread(seed, server_url, operator.token or "", "todo")

    assert before == (await demo.get("sites/default/releases")).json()
    assert not (await demo.get("settings")).json()["auth"]["sign_up"]
    await demo.patch("settings", json={"auth": {"sign_up": True}})


def test_the_examples_are_found() -> None:
    for example in EXAMPLES:
        assert {"backend.json", "web", "README.md"} <= {path.name for path in example_folder(example).iterdir()}
