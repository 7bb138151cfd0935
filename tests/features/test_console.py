"""The pages of the server's own host: they work offline, under a strict policy, in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.async_api import Browser, Page, async_playwright

from tests.support.callers import ProjectUnderTest

STATIC = Path(__file__).parents[2] / "baas" / "features" / "console" / "static"
PAGES = ("/", "/_/", "/docs", "/_/setup")


def _links(html: str) -> Iterator[str]:
    yield from re.findall(r'(?:href|src)="([^"#]+)"', html)


async def test_pages_need_nothing_from_elsewhere(http: httpx2.AsyncClient) -> None:
    """Every script, style and link is a path of this server that answers; no file names another host or holds inline code."""
    seen = set()
    for page in PAGES:
        answer = await http.get(page)
        assert (200, "text/html; charset=utf-8") == (answer.status_code, answer.headers["content-type"])
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert not re.search(r"<script(?![^>]* src=)|<style| style=| on[a-z]+=", answer.text)
        seen |= set(_links(answer.text))
    for link in seen:
        assert link.startswith("/"), link
        assert (await http.get(link)).status_code in (200, 503), link
    for file in STATIC.iterdir():
        elsewhere = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]+", file.read_text("utf-8"))) - {"http://www.w3.org"}
        assert not elsewhere, file
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", file.read_text("utf-8")), file


async def test_static_files_have_their_types_and_tags_and_nothing_else_is_served(http: httpx2.AsyncClient) -> None:
    """Known names only; a page is not there twice; a kept copy is confirmed."""
    script = await http.get("/_/static/docs.js")
    kept = await http.get("/_/static/docs.js", headers={"If-None-Match": script.headers["etag"]})

    assert "text/javascript; charset=utf-8" == script.headers["content-type"]
    assert 304 == kept.status_code
    for name in ("docs.html", "nothing.js", "..%2fapi.py", "%2e%2e", ".."):
        assert 404 == (await http.get(f"/_/static/{name}")).status_code


async def test_the_console_is_never_on_a_sites_host(http: httpx2.AsyncClient, project: ProjectUnderTest) -> None:
    """Not one of our pages, whatever the site answers."""
    for page in (*PAGES, "/_/static/docs.js", "/healthz", "/metrics"):
        answer = await http.get(page, headers={"Host": f"{project.name}.localhost"})
        assert "/_/static/" not in answer.text
        assert answer.status_code in (404, 421)


@pytest.fixture
async def page(chromium: str) -> Iterator[Page]:
    """A page of a browser that can reach nothing but loopback, and that fails the test for any error on its console."""
    async with async_playwright() as playwright:
        browser: Browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = await browser.new_page()
        errors: list[str] = []
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: errors.append(request.url) if "//127.0.0.1" not in request.url else None)
        yield page
        await browser.close()
        assert [] == [error for error in errors if "status of 4" not in error]


async def test_the_api_can_be_read_in_a_browser(page: Page, server_url: str, project: ProjectUnderTest) -> None:
    """Open, filter, unfold with the keyboard; a project's collections with a token; markup in a description is text."""
    await project.collection(
        "goods", fields=[{"name": "title", "type": "text"}], options={"description": "<img src=x onerror=alert(1)>"}
    )
    await page.goto(f"{server_url}/docs")
    await page.wait_for_selector("details.call")
    await page.fill("#find", "sign-in")
    shown = await page.locator("#contents li:visible").count()
    await page.locator("#contents li:visible a").first.focus()
    await page.keyboard.press("Enter")
    await page.wait_for_selector("details.call[open] pre")

    assert 1 <= shown < 12
    await page.goto(f"{server_url}/docs?project={project.name}")
    await page.wait_for_selector("text=Without a token")
    assert 0 == await page.get_by_text("/collections/goods/records").count()
    await page.fill("#token", str(project.operator.token))
    await page.click("text=Show")
    await page.wait_for_selector("#contents >> text=goods")
    for call in (0, 1):  # to list, to create
        await page.locator("details.call", has_text="/collections/goods/records").nth(call).locator("summary").click()
    assert 0 == await page.locator("img").count()
    for name in ("?filter", "Idempotency-Key:"):  # what is of the query, and what a header
        await page.locator("details.call[open]").get_by_text(name, exact=True).first.wait_for()


async def test_the_first_operator_is_made_by_the_link_of_the_log(page: Page, server_url: str) -> None:
    """The token leaves the address bar, faults stand beside their fields, a used or damaged link says so."""
    await page.goto(f"{server_url}/_/setup")
    assert "not complete" in await page.inner_text("#message")
    await page.goto("about:blank")
    await page.goto(f"{server_url}/_/setup#token=set_wrong")
    assert page.url == f"{server_url}/_/setup"
    await page.fill("#email", "ada@example.com")
    await page.fill("#password", "short")
    await page.click("#submit")
    assert "8 characters" in await page.inner_text("#password-fault")
    await page.fill("#password", "long enough password")
    await page.fill("#again", "long enough password")
    await page.click("#submit")
    await page.wait_for_selector("#message .bad")
    assert await page.locator("#form").is_visible()
