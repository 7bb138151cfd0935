"""Uploaded files opened in a real browser, on the very origin of a project's site: none of their scripts runs."""

import contextlib
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Error, async_playwright

from tests.features.test_hosting import deploy
from tests.support.callers import ProjectUnderTest

SCRIPT = "fetch('/ran-' + TAG); try {{ parent.ran = TAG }} catch {{}} ; document.cookie = 'ran=1'"
PAGE = f"""<!doctype html><title>evil</title><script>const TAG = '{{tag}}'; {SCRIPT}</script>
<img src=x onerror="fetch('/ran-{{tag}}-img')">"""
SVG = f"""<svg xmlns='http://www.w3.org/2000/svg' onload="fetch('/ran-{{tag}}')">
<script>const TAG = '{{tag}}'; {SCRIPT}</script></svg>"""
XHTML = f"<html xmlns='http://www.w3.org/1999/xhtml'><script>const TAG = '{{tag}}'; {SCRIPT}</script></html>"
EMBEDS = "<iframe src='{0}'></iframe><object data='{0}'></object><embed src='{0}'><img src='{0}'><script src='{0}'></script>"
EVIL = (
    ("page.html", "text/html", PAGE),
    ("page.txt", "text/plain", PAGE),
    ("page.png", "image/png", PAGE),
    ("page", "application/octet-stream", PAGE),
    ("page.pdf", "application/pdf", PAGE),
    ("page.json", "application/json", PAGE),
    ("pic.svg", "image/svg+xml", SVG),
    ("pic.xml", "text/xml", SVG),
    ("page.xhtml", "application/xhtml+xml", XHTML),
    ("code.js", "text/javascript", "const TAG = '{tag}'; " + SCRIPT),
)


@pytest.mark.parametrize("public", [False, True])
async def test_no_uploaded_script_runs(project: ProjectUnderTest, server_url: str, chromium: str, public: bool) -> None:
    """As a page, a frame, an object, a picture and a script, under every type; the site's own page shows that we would see it."""
    rules = dict.fromkeys(("list", "view"), "true")
    made = await project.operator.post("buckets", json={"name": "b", "public": public, "rules": rules})
    assert made.status_code == 201, made.text
    for name, kind, text in EVIL:
        data = text.format(tag=name).encode()
        answer = await project.operator.put(f"buckets/b/files/{name}", content=data, headers={"content-type": kind})
        assert answer.status_code == 201, answer.text
    urls = [f"/v1/buckets/b/files/{name}" for name, *_ in EVIL]
    index = "<!doctype html><title>site</title>" + "".join(EMBEDS.format(url) for url in urls)
    await project.operator.post("sites", json={"name": "default"})
    await deploy(project.operator, {"index.html": index.encode(), "own.html": PAGE.format(tag="own").encode()})
    origin = f"http://{project.name}.localhost:{urlsplit(server_url).port}"

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = await browser.new_context(accept_downloads=False)
        page = await context.new_page()
        asked: list[str] = []
        context.on("request", lambda request: asked.append(urlsplit(request.url).path))
        await page.goto(f"{origin}/own.html")
        await page.wait_for_timeout(300)
        assert {"/ran-own", "/ran-own-img"} <= set(asked), "a script that may run is seen to run"
        await context.clear_cookies()
        del asked[:]
        await page.goto(f"{origin}/")
        await page.wait_for_timeout(500)
        assert await page.evaluate("window.ran") is None
        for url in urls:
            with contextlib.suppress(Error):  # a file that is saved, not shown, ends the visit
                await page.goto(origin + url)
                await page.wait_for_timeout(100)
        cookies = await context.cookies()
        await browser.close()

    print(f"files={len(EVIL)} openings={len(asked)}")
    assert set(urls) <= set(asked)
    assert [] == [path for path in asked if path.startswith("/ran")]
    assert [] == cookies
