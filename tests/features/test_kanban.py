"""The kanban example on the platform's own hosting, in a real browser, with two people who have browsers of their own."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from baas_cli.demo import example_folder, seed
from playwright.async_api import Browser, Route, async_playwright, expect

from baas.base.ids import short_id
from tests.features.test_cli import Terminal, baas, here  # noqa: F401  fixtures
from tests.support.board import PHONE, Person
from tests.support.callers import PASSWORD, Caller, ProjectUnderTest

MARKUP = "<img src=x onerror='document.title=\"pwned\"'><b>bold</b>"
COLUMNS = ("To do", "Doing", "Done")
EXAMPLE = example_folder("kanban")


@pytest.fixture
async def site(server_url: str, operator: Caller, monkeypatch: pytest.MonkeyPatch) -> str:
    """The example's address on the port that the tests' server has."""
    for name in ("BAAS_URL", "BAAS_PROJECT", "BAAS_KEY"):
        monkeypatch.delenv(name, raising=False)
    address = await asyncio.to_thread(seed, server_url, operator.token or "", "kanban")
    return f"http://{urlsplit(address).hostname}:{urlsplit(server_url).port}/"


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        await browser.close()


@dataclass
class Pair:
    """Two members of one board, both looking at it; `api` is the first one's door to the same records."""

    ada: Person
    bob: Person
    api: Caller
    board: str


@pytest.fixture
async def pair(browser: Browser, site: str, operator: Caller) -> AsyncIterator[Pair]:
    """A fresh board with three columns, and "Tea" and "Bread" in the first."""
    base = "/v1/projects/kanban"
    found = ProjectUnderTest("kanban", "", "", Caller(operator.http, base, operator.token), Caller(operator.http, base))
    users = [await found.user(f"{name}-{short_id()}@example.com") for name in ("ada", "bob")]
    api, other = users
    board = await api.create("boards", {"name": "Home", "code": f"{short_id()}-at-least-twenty", "owner": api.id})
    await api.create("members", {"board": board["id"], "user": api.id, "name": "Ada"})
    await other.create(
        "members", {"board": board["id"], "user": other.id, "name": "Bob", "code": (await _code(api, board["id"]))}
    )
    for at, title in enumerate(COLUMNS):
        column = await api.create("columns", {"board": board["id"], "title": title, "position": "KUe"[at]})
        if at == 0:
            for place, card in (("K", "Tea"), ("U", "Bread")):
                made = {"title": card, "position": place, "changed_by": api.id}
                await api.create("cards", {"board": board["id"], "column": column["id"], **made})
    ada, bob = [await Person.arrive(browser, site, user.email) for user in users]
    for person in (ada, bob):
        await person.enter("Sign in", PASSWORD)
        await person.live()
        await person.card("Bread", "To do").wait_for()
    yield Pair(ada, bob, api, board["id"])
    assert [] == ada.trouble + bob.trouble
    assert (1, 1) == (ada.loads, bob.loads)


async def _code(owner: Caller, board: str) -> str:
    return str((await owner.get(f"collections/boards/records/{board}")).json()["code"])


async def test_a_card_that_one_moves_is_seen_to_move_by_the_other(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    """A drag in one browser; the other one shows it without being asked to. Both clocks are this machine's."""
    ada, bob = pair.ada, pair.bob
    seen = asyncio.ensure_future(
        bob.page.evaluate(
            """() => new Promise(done => {
              const look = () => {
                const there = [...document.querySelectorAll(".column")][1].querySelector(".card .title");
                if (there?.textContent === "Tea") { watch.disconnect(); done(Date.now()); }
              };
              const watch = new MutationObserver(look);
              watch.observe(document.querySelector(".board"), { childList: true, subtree: true });
            })"""
        )
    )
    await ada.carry("Tea", "Doing")
    await ada.page.evaluate("addEventListener('pointerup', () => (window.letGo = Date.now()), { capture: true, once: true })")
    await ada.put_down()
    at = await asyncio.wait_for(seen, 20)
    took_ms = at - await ada.page.evaluate("letGo")
    with capsys.disabled():
        print(f"\nfrom the drop in one browser to the card in the other: {took_ms} ms")

    assert ["Tea"] == await bob.cards("Doing") == await ada.cards("Doing")
    assert ["Bread"] == await bob.cards("To do")


async def test_who_drops_a_card_second_is_told_and_sees_where_it_is(pair: Pair) -> None:
    """Both have it in their hands; the second one's move is refused, the card goes where the first one put it."""
    ada, bob = pair.ada, pair.bob
    await ada.carry("Tea", "Doing")
    await bob.move("Tea", "Done")
    await bob.card("Tea", "Done").wait_for()
    await _stored(pair, "Tea", "Done")
    await ada.put_down()
    await ada.page.get_by_text("Bob moved “Tea” to Done just before you did").wait_for()

    await ada.card("Tea", "Done").wait_for()
    assert [] == await ada.cards("Doing")
    assert ["Tea"] == await bob.cards("Done")
    assert 0 == await bob.page.locator("#notices .conflict").count()


async def test_of_two_moves_at_the_same_moment_one_wins_and_both_see_it(pair: Pair) -> None:
    """Both requests are under way before either is let through: exactly one of the two is refused and reconciled."""
    together = asyncio.Barrier(2)

    async def hold(route: Route) -> None:
        if route.request.method == "PATCH":
            await together.wait()
        await route.continue_()

    people = (pair.ada, pair.bob)
    for person in people:
        await person.page.route("**/collections/cards/records/*", hold)
    await asyncio.gather(pair.ada.move("Tea", "Doing"), pair.bob.move("Tea", "Done"))
    await asyncio.wait(
        [asyncio.ensure_future(person.page.locator("#notices .conflict").wait_for()) for person in people],
        return_when=asyncio.FIRST_COMPLETED,
    )
    at_last = [card for card in await pair.api.list("cards", filter=f"board == '{pair.board}'") if card["title"] == "Tea"]
    [column] = [one for one in await pair.api.list("columns") if one["id"] == at_last[0]["column"]]

    for person in people:
        await person.card("Tea", column["title"]).wait_for()
        assert 1 == await person.card("Tea").count()
    assert 1 == sum([await person.page.locator("#notices .conflict").count() for person in people])


async def test_a_move_and_a_new_title_do_not_stand_against_each_other(pair: Pair) -> None:
    """Ada holds the card while Bob renames it: her move is repeated on top of his change, and nobody is bothered."""
    await pair.ada.carry("Tea", "Doing")
    await pair.bob.card("Tea").get_by_role("button").click()
    await pair.bob.page.get_by_label("Title").fill("Green tea")
    await pair.bob.page.get_by_role("button", name="Save").click()
    await _stored(pair, "Green tea", "To do")
    await pair.ada.put_down()

    for person in (pair.ada, pair.bob):
        await person.card("Green tea", "Doing").wait_for()
        assert 0 == await person.page.locator("#notices .conflict").count()


async def test_cards_move_by_keys(pair: Pair) -> None:
    """Shift and arrows, with the focus staying on the card; the other one sees each of them."""
    face = pair.ada.card("Bread").get_by_role("button")
    await face.focus()
    await pair.ada.page.keyboard.press("Shift+ArrowUp")
    await expect(pair.bob.column("To do").locator(".card .title")).to_have_text(["Bread", "Tea"])
    await pair.ada.page.keyboard.press("Shift+ArrowRight")
    await pair.ada.page.keyboard.press("Shift+ArrowRight")
    await pair.bob.card("Bread", "Done").wait_for()

    assert await face.evaluate("face => face === document.activeElement")
    await pair.ada.page.get_by_text("Bread: Done, 1 of 1").wait_for(state="attached")


async def test_a_finger_carries_a_card_to_a_column_that_is_out_of_sight(browser: Browser, site: str, pair: Pair) -> None:
    """A phone opens at the first column; a card held still at the edge brings the next one, and there the board stays."""
    phone = await Person.arrive(browser, site, pair.ada.email, viewport=PHONE, has_touch=True, is_mobile=True)
    await phone.enter("Sign in", PASSWORD)
    await phone.live()
    await phone.card("Tea", "To do").wait_for()
    assert 0 == await phone.page.evaluate("document.querySelector('.board').scrollLeft")
    finger = await phone.page.context.new_cdp_session(phone.page)

    async def touch(what: str, *at: float) -> None:
        points = [{"x": at[0], "y": at[1]}] if at else []
        await finger.send("Input.dispatchTouchEvent", {"type": what, "touchPoints": points})

    grip = await phone.card("Tea").locator(".grip").bounding_box()
    assert grip is not None
    await touch("touchStart", grip["x"] + 16, grip["y"] + 16)
    for x, y in ((300, grip["y"] + 40), (388, grip["y"] + 30)):
        await touch("touchMove", x, y)
    await expect(phone.column("Doing")).to_be_in_viewport(ratio=0.6)
    await touch("touchMove", 195, grip["y"] + 30)
    await phone.column("Doing").locator(".gap").wait_for()
    await touch("touchEnd")

    await pair.bob.card("Tea", "Doing").wait_for()
    await expect(phone.column("Doing")).to_be_in_viewport(ratio=0.99)
    assert [] == phone.trouble


async def test_markup_in_a_title_is_text_for_everybody(pair: Pair) -> None:
    """Cards, columns, boards and names: what was typed is what is read."""
    await pair.ada.add(MARKUP, "To do")
    await pair.ada.page.get_by_label("New column").fill(MARKUP[:60])
    await pair.ada.page.keyboard.press("Enter")
    await pair.bob.page.locator(".column h2", has_text="<img").wait_for()
    await pair.bob.card("<img").wait_for()
    board = await pair.api.get(f"collections/boards/records/{pair.board}")
    await pair.api.patch(
        f"collections/boards/records/{pair.board}", json={"name": MARKUP[:60]}, headers={"if-match": board.headers["etag"]}
    )
    await pair.bob.page.locator("option", has_text="<img").wait_for(state="attached")

    for person in (pair.ada, pair.bob):
        assert MARKUP in await person.cards("To do")
        assert 0 == await person.page.locator(".app b, .app img").count()
        assert "pwned" != await person.page.title()


async def test_people_join_by_a_link_and_leave_without_a_reload(browser: Browser, site: str) -> None:
    """A new person makes a board, another follows her link, and is removed again; each sees it happen."""
    eve, mallory = [await Person.arrive(browser, site, f"{name}-{short_id()}@example.com") for name in ("eve", "mallory")]
    await eve.enter("Create account", PASSWORD)
    await eve.page.get_by_label("Name of the new board").fill("Garden @{a.b}")
    await eve.page.get_by_role("button", name="Create board").click()
    await eve.column("Doing").wait_for()
    await eve.add("Beans", "Doing")
    await eve.page.get_by_role("button", name="Invite").click()
    link = await eve.page.get_by_label("Invitation").input_value()

    await mallory.page.goto(link.replace("#join=", "#join=x"))
    await mallory.page.reload()
    await mallory.enter("Create account", PASSWORD)
    await mallory.page.get_by_role("button", name="Join board").last.wait_for()
    dialog = mallory.page.get_by_role("dialog")
    await dialog.get_by_label("Invitation").fill(link[:-6] + "zzzzzz")
    await dialog.get_by_role("button", name="Join board").click()
    await mallory.page.get_by_text("This code opens no board").wait_for()
    assert 0 == await mallory.page.get_by_text("Garden").count()
    await dialog.get_by_label("Invitation").fill(link)
    await dialog.get_by_role("button", name="Join board").click()
    await mallory.card("Beans", "Doing").wait_for()
    await eve.page.get_by_role("button", name="Remove Mallory").click()
    await mallory.page.get_by_role("heading", name="No board yet").wait_for()

    assert 0 == await mallory.page.get_by_text("Beans").count()
    assert [] == eve.trouble + mallory.trouble


async def test_places_between_places_are_always_to_be_had(browser: Browser, site: str) -> None:
    """Ten thousand texts put between neighbours, at the ends, always in one gap and anywhere: in order and not too long."""
    page = await browser.new_page()
    await page.goto(site)
    longest = await page.evaluate(
        """async () => {
          const { between } = await import("/order.js");
          let longest = 0;
          const wheres = [() => 0, n => n, n => Math.min(3, n), n => Math.floor(Math.random() * (n + 1))];
          for (let round = 0; round < 40; round++) {
            const keys = [];
            for (let i = 0; i < 250; i++) {
              const at = wheres[round % 4](keys.length);
              const [low, high] = [keys[at - 1] ?? null, keys[at] ?? null];
              const key = between(low, high);
              if ((low !== null && key <= low) || (high !== null && key >= high)) throw new Error(`${low} ${key} ${high}`);
              keys.splice(at, 0, key);
              longest = Math.max(longest, key.length);
            }
          }
          return longest;
        }"""
    )

    assert longest < 100


async def test_the_rules_of_the_example_keep_their_cases(
    here: Terminal,  # noqa: F811
    project: ProjectUnderTest,
) -> None:
    """Made as the demo makes them. Two warnings stand: boards and members list each other, and cards are counted."""
    backend = json.loads((EXAMPLE / "backend.json").read_text("utf-8"))
    for one in backend["collections"]:
        fields = [{key: value for key, value in field.items() if key != "read"} for field in one["fields"]]
        await project.collection(one["name"], fields)
    codes = set()
    for one in backend["collections"]:
        answer = await project.operator.patch(f"collections/{one['name']}", json={k: v for k, v in one.items() if k != "name"})
        assert answer.is_success, answer.text
        codes |= {warning["code"] for warning in answer.json().get("warnings", [])}

    done = await here("rules", "test", str(EXAMPLE / "rules.yaml"))

    assert {"R013", "R015"} == codes
    assert (0, "") == (done.code, done.out), done.out + done.err
    assert "✓ 48 passed, 0 failed" in done.err


async def _stored(pair: Pair, title: str, column: str) -> None:
    """Until the server has it so."""
    async with asyncio.timeout(20):
        while True:
            columns = {one["id"]: one["title"] for one in await pair.api.list("columns", filter=f"board == '{pair.board}'")}
            cards = await pair.api.list("cards", filter=f"board == '{pair.board}'")
            if (title, column) in {(one["title"], columns[one["column"]]) for one in cards}:
                return
            await asyncio.sleep(0.02)
