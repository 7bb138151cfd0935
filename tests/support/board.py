"""Somebody with a browser of his own at the kanban example."""

from playwright.async_api import Browser, Locator, Page, ViewportSize

WINDOW: ViewportSize = {"width": 1300, "height": 760}
PHONE: ViewportSize = {"width": 390, "height": 844}


class Person:
    """`trouble` holds what the page complained of, but for refusals, which the browser reports by itself."""

    def __init__(self, page: Page, email: str) -> None:
        self.page, self.email = page, email
        self.trouble: list[str] = []
        self.loads = 0
        page.on("pageerror", lambda error: self.trouble.append(str(error)))
        page.on("console", lambda line: self._note(line.text) if line.type in ("error", "warning") else None)
        page.on("load", lambda _: self._loaded())

    @classmethod
    async def arrive(cls, browser: Browser, site: str, email: str, **context: object) -> "Person":
        opened = await browser.new_context(**{"viewport": WINDOW, **context})  # type: ignore[arg-type]
        opened.set_default_timeout(20_000)
        person = cls(await opened.new_page(), email)
        await person.page.goto(site)
        return person

    async def enter(self, button: str, password: str) -> None:
        await self.page.get_by_label("E-mail").fill(self.email)
        await self.page.get_by_label("Password").fill(password)
        await self.page.get_by_role("button", name=button).click()

    async def live(self) -> None:
        await self.page.locator(".status", has_text="Live").wait_for()

    def column(self, title: str) -> Locator:
        return self.page.locator(".column").filter(has=self.page.locator("h2 .name", has_text=title))

    def card(self, title: str, column: str | None = None) -> Locator:
        within = self.page if column is None else self.column(column)
        return within.locator(".card:not(.ghost)").filter(has=self.page.locator(".title", has_text=title))

    async def cards(self, column: str) -> list[str]:
        return await self.column(column).locator(".card .title").all_text_contents()

    async def add(self, title: str, column: str) -> None:
        await self.column(column).get_by_label("Add a card").fill(title)
        await self.page.keyboard.press("Enter")

    async def carry(self, title: str, column: str) -> None:
        """Pick the card up and hold it above the column, before its first card."""
        await self.page.evaluate("Promise.all(document.getAnimations().map(one => one.finished.catch(() => {})))")
        card = await self.card(title).bounding_box()
        place = await self.column(column).locator(".cards").bounding_box()
        assert card is not None
        assert place is not None
        await self.page.mouse.move(card["x"] + 50, card["y"] + 14)
        await self.page.mouse.down()
        await self.page.mouse.move(card["x"] + 70, card["y"] + 24, steps=3)
        await self.page.mouse.move(place["x"] + 90, place["y"] + 8, steps=6)
        await self.page.locator(".ghost").wait_for()

    async def put_down(self) -> None:
        await self.page.mouse.up()

    async def move(self, title: str, column: str) -> None:
        await self.carry(title, column)
        await self.put_down()

    def _note(self, text: str) -> None:
        if "the server responded with a status of 4" not in text:
            self.trouble.append(text)

    def _loaded(self) -> None:
        self.loads += 1
