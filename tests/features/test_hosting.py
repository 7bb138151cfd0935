"""Static sites: releases through the API, pages through their own hosts."""

import asyncio
import gzip
import hashlib
import io
import tarfile
import time
import zipfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from baas.base.errors import OutOfSpace
from baas.base.project import Project
from baas.base.settings import Settings
from baas.features.files.service import Files
from baas.features.hosting import store
from baas.features.hosting.service import Hosting
from baas.features.projects.sweeper import Sweeper
from baas.infra.blobs.disk import DiskStore
from baas.infra.db.pool import Database
from baas.infra.db.sql import ident, sql
from baas.server import Server
from tests.support.callers import Caller, ProjectUnderTest

SITE = {
    "index.html": b"<h1>home</h1>",
    "about.html": b"<h1>about</h1>",
    "docs/index.html": b"<h1>docs</h1>",
    "app.js": b"export let a = 1",
    "404.html": b"<h1>lost</h1>",
}
PAGE = {"accept": "text/html,application/xhtml+xml"}


def packed(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


class Visitor:
    """A browser's place before one site: its host in every request."""

    def __init__(self, http: httpx2.AsyncClient, host: str) -> None:
        self._http = http
        self._host = host

    async def get(self, path: str, method: str = "GET", **headers: str) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self._http.request(method, path, headers={"host": self._host, **named})


@pytest.fixture
async def site(project: ProjectUnderTest) -> str:
    answer = await project.operator.post("sites", json={"name": "default"})
    assert answer.status_code == 201, answer.text
    return "default"


@pytest.fixture
def visitor(http: httpx2.AsyncClient, project: ProjectUnderTest) -> Visitor:
    return Visitor(http, f"{project.name}.localhost")


async def deploy(caller: Caller, files: Mapping[str, bytes], site: str = "default", query: str = "") -> dict[str, Any]:
    answer = await caller.post(f"sites/{site}/releases/archive{query}", content=packed(files))
    assert answer.status_code == 201, answer.text
    return answer.json()


async def options(caller: Caller, **changes: object) -> None:
    answer = await caller.patch("sites/default", json=changes)
    assert answer.status_code == 200, answer.text


# Sites ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_site_is_made_read_changed_and_deleted(project: ProjectUnderTest) -> None:
    made = await project.operator.post("sites", json={"name": "blog", "spa": True})
    assert (201, f"/v1/projects/{project.name}/sites/blog") == (made.status_code, made.headers["location"])
    assert f"http://blog.{project.name}.localhost:8000/" == made.json()["url"]
    assert made.json() == (await project.operator.get("sites/blog")).json()
    assert ["blog"] == [one["name"] for one in (await project.operator.get("sites")).json()["items"]]

    changed = await project.operator.patch("sites/blog", json={"clean_urls": True})
    assert (True, True) == (changed.json()["spa"], changed.json()["clean_urls"])

    assert 409 == (await project.operator.post("sites", json={"name": "blog"})).status_code
    assert 204 == (await project.operator.delete("sites/blog")).status_code
    assert 404 == (await project.operator.get("sites/blog")).status_code
    assert 404 == (await project.operator.delete("sites/blog")).status_code


async def test_only_operators_and_keys_with_the_scope_touch_sites(project: ProjectUnderTest, site: str) -> None:
    user, good, bad = await project.user(), await project.key("sites"), await project.key("records")

    for path in ("sites", "sites/default", "sites/default/releases"):
        statuses = [(await caller.get(path)).status_code for caller in (project.anonymous, user, bad, good)]
        assert [401, 403, 403, 200] == statuses
    archive = packed(SITE)
    for caller, expected in ((project.anonymous, 401), (user, 403), (bad, 403), (good, 201)):
        assert expected == (await caller.post("sites/default/releases/archive", content=archive)).status_code


async def test_every_fault_of_a_manifest_is_named_at_once(project: ProjectUnderTest) -> None:
    answer = await project.operator.post(
        "sites",
        json={
            "name": "Bad_Name",
            "spa": "yes",
            "colour": "red",
            "headers": [{"path": "x", "headers": {"Set-Cookie": "a=b", "X-Ok": "a\nb", "bad name": "x"}}, 3],
            "redirects": [{"from": "/a", "to": "//evil.example"}, {"from": "/b", "to": "/c", "status": 200}, {"from": "/*/a"}],
        },
    )

    assert 422 == answer.status_code
    assert {
        "/name": "bad_name",
        "/spa": "wrong_type",
        "/colour": "unknown_key",
        "/headers/0/path": "bad_path",
        "/headers/0/headers/Set-Cookie": "bad_header",
        "/headers/0/headers/X-Ok": "bad_header",
        "/headers/0/headers": "bad_header",
        "/headers/1": "wrong_type",
        "/redirects/0/to": "bad_redirect",
        "/redirects/1/status": "out_of_range",
        "/redirects/2/from": "bad_path",
        "/redirects/2/to": "bad_redirect",
    } == {fault["pointer"]: fault["code"] for fault in answer.json()["errors"]}


# Showing ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_deployed_site_is_shown_on_its_host(project: ProjectUnderTest, site: str, visitor: Visitor) -> None:
    assert 404 == (await visitor.get("/")).status_code

    release = await deploy(project.operator, SITE, query="?message=first")
    assert (True, True, "first", 5, []) == tuple(release[key] for key in ("ready", "active", "message", "files", "ignored"))
    home = await visitor.get("/")
    assert (200, SITE["index.html"]) == (home.status_code, home.content)
    assert "text/html; charset=utf-8" == home.headers["content-type"]
    assert "nosniff" == home.headers["x-content-type-options"]
    assert "no-cache" == home.headers["cache-control"]
    assert "set-cookie" not in home.headers
    script = await visitor.get("/app.js")
    assert ("text/javascript; charset=utf-8", SITE["app.js"]) == (script.headers["content-type"], script.content)


async def test_a_deleted_site_is_gone_at_once(project: ProjectUnderTest, site: str, visitor: Visitor) -> None:
    await deploy(project.operator, SITE)
    assert 200 == (await visitor.get("/")).status_code

    await project.operator.delete("sites/default")

    answer = await visitor.get("/")
    assert (404, False) == (answer.status_code, SITE["404.html"] in answer.content)


async def test_folders_and_what_is_missing(project: ProjectUnderTest, site: str, visitor: Visitor) -> None:
    await deploy(project.operator, SITE)

    assert SITE["docs/index.html"] == (await visitor.get("/docs/")).content
    moved = await visitor.get("/docs?a=b")
    assert (302, "/docs/?a=b") == (moved.status_code, moved.headers["location"])
    for path in ("/nothing", "/docs/nothing", "/about", "/docs//app.js", "/docs//", "/%2e%2e/app.js", "/..%2fapp.js", "/app.js/"):
        lost = await visitor.get(path)
        assert (404, SITE["404.html"]) == (lost.status_code, lost.content), path


async def test_ranges_and_conditions(project: ProjectUnderTest, site: str, visitor: Visitor) -> None:
    await deploy(project.operator, SITE)
    script = await visitor.get("/app.js")
    etag = script.headers["etag"]

    assert f'"{hashlib.sha256(SITE["app.js"]).hexdigest()}"' == etag
    same = await visitor.get("/app.js", if_none_match=etag)
    assert (304, b"", etag) == (same.status_code, same.content, same.headers["etag"])
    part = await visitor.get("/app.js", range="bytes=7-9")
    assert (206, b"let", "bytes 7-9/16") == (part.status_code, part.content, part.headers["content-range"])
    outside = await visitor.get("/app.js", range="bytes=100-")
    assert (416, "bytes */16") == (outside.status_code, outside.headers["content-range"])
    head = await visitor.get("/app.js", "HEAD")
    assert (200, b"", "16") == (head.status_code, head.content, head.headers["content-length"])


async def test_other_methods_are_refused(project: ProjectUnderTest, site: str, visitor: Visitor) -> None:
    await deploy(project.operator, SITE)

    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
        answer = await visitor.get("/", method)
        assert (405, "GET, HEAD") == (answer.status_code, answer.headers["allow"]), method


async def test_clean_urls(project: ProjectUnderTest, site: str, visitor: Visitor) -> None:
    await deploy(project.operator, SITE)
    await options(project.operator, clean_urls=True)

    assert SITE["about.html"] == (await visitor.get("/about")).content
    moves = {"/about.html": "/about", "/about/": "/about", "/index.html": "/", "/docs/index.html": "/docs/"}
    for path, location in moves.items():
        assert location == (await visitor.get(path)).headers["location"]
    assert 404 == (await visitor.get("/index")).status_code


async def test_a_spa_answers_pages_and_nothing_else(project: ProjectUnderTest, site: str, visitor: Visitor) -> None:
    """A script that is missing must not be answered with HTML, or a stale page breaks in odd ways."""
    await deploy(project.operator, SITE)
    await options(project.operator, spa=True)

    assert SITE["index.html"] == (await visitor.get("/board/7", **PAGE)).content
    assert SITE["index.html"] == (await visitor.get("/board/7", sec_fetch_mode="navigate")).content
    assert 404 == (await visitor.get("/board/7.js", **PAGE)).status_code
    assert 404 == (await visitor.get("/board/7", accept="application/json")).status_code
    assert 404 == (await visitor.get("/board/7", sec_fetch_mode="cors", accept="*/*")).status_code
    assert 404 == (await visitor.get("/.env", **PAGE)).status_code


async def test_redirects_and_headers_of_the_owner(project: ProjectUnderTest, site: str, visitor: Visitor) -> None:
    await deploy(project.operator, SITE)
    await options(
        project.operator,
        redirects=[
            {"from": "/old/*", "to": "/docs/*", "status": 301},
            {"from": "/any/*", "to": "/*"},
            {"from": "/out", "to": "https://example.com/x"},
        ],
        headers=[
            {"path": "/*", "headers": {"X-Frame-Options": "DENY"}},
            {"path": "/app.js", "headers": {"cache-control": "max-age=9"}},
        ],
    )

    old = await visitor.get("/old/a%20b?q=1")
    assert (301, "/docs/a%20b?q=1") == (old.status_code, old.headers["location"])
    assert "https://example.com/x" == (await visitor.get("/out")).headers["location"]
    assert "/evil.example" == (await visitor.get("/any///evil.example")).headers["location"]
    script = await visitor.get("/app.js")
    assert ("DENY", "max-age=9") == (script.headers["x-frame-options"], script.headers["cache-control"])


async def test_dot_files_are_never_served(project: ProjectUnderTest, site: str, visitor: Visitor) -> None:
    dots = {".env": b"SECRET", ".git/config": b"SECRET", "a/.htpasswd": b"SECRET", ".well-known/security.txt": b"Contact: x"}

    release = await deploy(project.operator, {**SITE, **dots})

    assert [".env", ".git/config", "a/.htpasswd"] == sorted(release["ignored"])
    for path in ("/.env", "/.git/config", "/a/.htpasswd", "/%2eenv"):
        answer = await visitor.get(path)
        assert (404, False) == (answer.status_code, b"SECRET" in answer.content)
    assert b"Contact: x" == (await visitor.get("/.well-known/security.txt")).content


async def test_sites_have_hosts_of_their_own(project: ProjectUnderTest, site: str, http: httpx2.AsyncClient) -> None:
    await project.operator.post("sites", json={"name": "blog"})
    await deploy(project.operator, {"index.html": b"default"})
    await deploy(project.operator, {"index.html": b"blog"}, "blog")

    hosts = {project.name: b"default", f"blog.{project.name}": b"blog", f"default.{project.name}": b"default"}
    for host, expected in hosts.items():
        assert expected == (await Visitor(http, f"{host}.localhost:8000").get("/")).content
        assert expected == (await Visitor(http, f"{host.upper()}.LOCALHOST").get("/")).content


async def test_an_unknown_host_is_misdirected(project: ProjectUnderTest, site: str, http: httpx2.AsyncClient) -> None:
    await deploy(project.operator, SITE)

    for host in ("nothing.localhost", f"{project.name}.example.com", f"a.b.{project.name}.localhost", "evil.example"):
        answer = await Visitor(http, host).get("/")
        assert (421, "wrong_host") == (answer.status_code, answer.json()["code"]), host
    assert 404 == (await Visitor(http, f"nothing.{project.name}.localhost").get("/")).status_code


async def test_a_site_is_never_on_the_api_origin(project: ProjectUnderTest, site: str, http: httpx2.AsyncClient) -> None:
    await deploy(project.operator, SITE)

    for path in ("/about.html", "/app.js", f"/{project.name}/index.html"):
        assert 404 == (await http.get(path)).status_code


async def test_the_short_api_on_a_sites_host_means_its_project(project: ProjectUnderTest, site: str, visitor: Visitor) -> None:
    await deploy(project.operator, {**SITE, "v1/sites": b"not the API"})

    answer = await visitor.get("/v1/sites", authorization=f"Bearer {project.operator.token}")

    assert ["default"] == [one["name"] for one in answer.json()["items"]]


# Releases ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_going_back_to_an_older_release(project: ProjectUnderTest, site: str, visitor: Visitor) -> None:
    first = await deploy(project.operator, {"index.html": b"one", "only-one.txt": b"1"})
    second = await deploy(project.operator, {"index.html": b"two"})
    assert b"two" == (await visitor.get("/")).content
    listed = (await project.operator.get("sites/default/releases")).json()["items"]
    assert [(second["id"], True), (first["id"], False)] == [(one["id"], one["active"]) for one in listed]

    back = await project.operator.post(f"sites/default/releases/{first['id']}/activate")

    assert (200, True) == (back.status_code, back.json()["active"])
    assert [b"one", b"1"] == [(await visitor.get(path)).content for path in ("/", "/only-one.txt")]
    shown = (await project.operator.get(f"sites/default/releases/{first['id']}")).json()
    assert back.json() == {**shown, "url": f"http://{project.name}.localhost:8000/"}


async def test_a_release_can_wait_for_its_activation(project: ProjectUnderTest, site: str, visitor: Visitor) -> None:
    await deploy(project.operator, {"index.html": b"one"})
    second = await deploy(project.operator, {"index.html": b"two"}, query="?activate=false")

    assert (False, b"one") == (second["active"], (await visitor.get("/")).content)
    await project.operator.post(f"sites/default/releases/{second['id']}/activate")
    assert b"two" == (await visitor.get("/")).content


async def test_contents_are_stored_once(project: ProjectUnderTest, site: str, db: Database) -> None:
    await deploy(project.operator, {"a": b"same", "b": b"same", "c": b"other"})
    await deploy(project.operator, {"d": b"same"})

    assert 2 == await db.fetch_value(sql("select count(*) from {}", ident(project.schema, "_site_blobs")))


async def test_a_release_by_manifest_uploads_only_what_is_missing(project: ProjectUnderTest, site: str, visitor: Visitor) -> None:
    await deploy(project.operator, {"index.html": b"old", "logo.svg": b"<svg/>"})
    files = {"index.html": b"new", "logo.svg": b"<svg/>"}
    hashes = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    manifest = {path: {"sha256": hashes[path], "size": len(data)} for path, data in files.items()}

    begun = await project.operator.post("sites/default/releases", json={"files": manifest, "message": "by hand"})
    assert (201, [hashes["index.html"]], False) == (begun.status_code, begun.json()["missing"], begun.json()["ready"])
    release = f"sites/default/releases/{begun.json()['id']}"
    early = await project.operator.post(f"{release}/finalize")
    assert (409, "files_missing", [hashes["index.html"]]) == (early.status_code, early.json()["code"], early.json()["missing"])
    assert "release_not_ready" == (await project.operator.post(f"{release}/activate")).json()["code"]

    wrong = await project.operator.put(f"sites/default/blobs/{hashes['index.html']}", content=b"other")
    assert (422, "digest_mismatch") == (wrong.status_code, wrong.json()["code"])
    assert 204 == (await project.operator.put(f"sites/default/blobs/{hashes['index.html']}", content=b"new")).status_code
    assert [200, 200] == [(await project.operator.post(f"{release}/finalize")).status_code for _ in range(2)]
    assert b"old" == (await visitor.get("/")).content
    assert 200 == (await project.operator.post(f"{release}/activate")).status_code
    assert [b"new", b"<svg/>"] == [(await visitor.get(path)).content for path in ("/", "/logo.svg")]


async def test_a_manifests_faults(project: ProjectUnderTest, site: str) -> None:
    good = {"sha256": "0" * 64, "size": 1}
    files = {"../x": good, ".env": good, "a": {"sha256": "x", "size": -1}, "b": 3, "c": {**good, "mode": 1}}

    answer = await project.operator.post("sites/default/releases", json={"files": files, "config": {}})

    assert 422 == answer.status_code
    assert {
        "/config": "unknown_key",
        "/files/..~1x": "bad_path",
        "/files/.env": "bad_path",
        "/files/a/sha256": "bad_sha256",
        "/files/a/size": "out_of_range",
        "/files/b": "wrong_type",
        "/files/c": "wrong_type",
    } == {fault["pointer"]: fault["code"] for fault in answer.json()["errors"]}


async def test_a_release_of_ten_thousand_files_by_manifest(project: ProjectUnderTest, site: str) -> None:
    files = {f"f{number}.txt": {"sha256": f"{number:064x}", "size": 1} for number in range(10_001)}

    too_many = await project.operator.post("sites/default/releases", json={"files": files})
    assert (422, "release_too_large") == (too_many.status_code, too_many.json()["code"])
    files.popitem()
    answer = await project.operator.post("sites/default/releases", json={"files": files})
    assert (201, 10_000) == (answer.status_code, len(answer.json()["missing"]))


async def test_refused_archives_change_nothing(
    project: ProjectUnderTest, site: str, visitor: Visitor, settings: Settings, db: Database
) -> None:
    await deploy(project.operator, SITE)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("index.html", "evil")
        archive.writestr("../../evil.html", "evil")
    cut = packed({"index.html": b"evil" * 10_000})[:-20]

    for data, status, code in (
        (out.getvalue(), 422, "bad_path"),
        (cut, 422, "bad_archive"),
        (b"", 415, "unknown_archive"),
        (gzip.compress(b"\0" * (64 << 20)), 413, "archive_ratio"),
    ):
        answer = await project.operator.post("sites/default/releases/archive", content=data)
        assert (status, code) == (answer.status_code, answer.json()["code"])
    assert SITE["index.html"] == (await visitor.get("/")).content
    assert 1 == await db.fetch_value(sql("select count(*) from {}", ident(project.schema, "_releases")))
    assert [] == list((settings.data_dir / "scratch").iterdir())


async def test_too_large_an_archive_is_refused_before_it_is_read(project: ProjectUnderTest, site: str) -> None:
    answer = await project.operator.post(
        "sites/default/releases/archive", content=b"x", headers={"content-length": str(201 << 20)}
    )

    assert (413, "too_large") == (answer.status_code, answer.json()["code"])


async def test_what_names_nothing_is_404(project: ProjectUnderTest, site: str) -> None:
    nothing = "01890000-0000-7000-8000-000000000000"

    for method, path in (
        ("GET", "sites/none"),
        ("PATCH", "sites/none"),
        ("GET", "sites/none/releases"),
        ("POST", "sites/none/releases/archive"),
        ("GET", f"sites/default/releases/{nothing}"),
        ("POST", f"sites/default/releases/{nothing}/activate"),
        ("POST", f"sites/default/releases/{nothing}/finalize"),
    ):
        body = {"json": {}} if method == "PATCH" else {}
        answer = await project.operator.request(method, path, **body)
        assert 404 == answer.status_code, path
    assert 404 == (await project.operator.get("sites/default/releases/xyz")).status_code


async def test_a_release_of_another_site_is_none_of_this(project: ProjectUnderTest, site: str) -> None:
    await project.operator.post("sites", json={"name": "other"})
    release = await deploy(project.operator, SITE, "other")

    assert 404 == (await project.operator.post(f"sites/default/releases/{release['id']}/activate")).status_code


# One release, old or new ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_readers_never_see_a_mix(project: ProjectUnderTest, site: str, visitor: Visitor) -> None:
    """While releases are switched back and forth, a page and what it loads after it never go from new to old."""
    names = [f"file-{number}" for number in range(5)]
    releases = []
    for build in range(4):
        files = {name: f"{build}".encode() for name in ["index.html", *names]}
        releases.append((await deploy(project.operator, files, query="?activate=false"))["id"])
    await project.operator.post(f"sites/default/releases/{releases[0]}/activate")
    reads, mixed, done = 0, 0, asyncio.Event()

    async def read() -> None:
        nonlocal reads, mixed
        while not done.is_set():
            seen = [int((await visitor.get(path)).content) for path in ("/", *(f"/{name}" for name in names))]
            reads += 1
            mixed += seen != sorted(seen)

    readers = [asyncio.create_task(read()) for _ in range(8)]
    for release in releases[1:]:
        await asyncio.sleep(0.15)
        assert 200 == (await project.operator.post(f"sites/default/releases/{release}/activate")).status_code
    await asyncio.sleep(0.1)
    done.set()
    await asyncio.gather(*readers)

    print(f"reads={reads} mixed={mixed}")
    assert (0, True) == (mixed, reads > 20)


async def test_what_was_read_before_a_switch_is_not_kept_after_it(
    project: ProjectUnderTest, site: str, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deploy(project.operator, {"index.html": b"one"})
    read = store.shown

    async def read_then_deploy(*args: Any) -> Any:
        found = await read(*args)
        monkeypatch.undo()
        await deploy(project.operator, {"index.html": b"two"})
        return found

    monkeypatch.setattr(store, "shown", read_then_deploy)
    await visitor.get("/")

    assert b"two" == (await visitor.get("/")).content


async def test_another_server_follows_within_two_seconds(
    project: ProjectUnderTest, site: str, server: Server, db: Database, database_url: str, settings: Settings, tmp_path: Path
) -> None:
    from baas.infra.db.listen import Invalidations

    await deploy(project.operator, {"index.html": b"one"})
    other_invalidations = Invalidations(db, database_url)
    other = Hosting(
        db, DiskStore(tmp_path), server.projects, other_invalidations, settings=settings, scratch=tmp_path / "scratch"
    )
    await other_invalidations.start()
    found = await server.projects.find(project.name)
    assert found is not None
    before = await other.shown(found, "default")
    second = await deploy(project.operator, {"index.html": b"two"})
    started = time.monotonic()
    while (shown := await other.shown(found, "default")) is None or shown is before:
        assert time.monotonic() - started < 20
        await asyncio.sleep(0.02)
    await other_invalidations.stop()

    assert second["id"] == str(shown.release)


STEPS = ("stored", "add_blob", "lock_site", "make_release", "add_files", "activate")


@pytest.mark.parametrize("step", [*STEPS, "put", "announce"])
async def test_a_deploy_cut_at_any_step_leaves_the_old_site(
    project: ProjectUnderTest, site: str, visitor: Visitor, monkeypatch: pytest.MonkeyPatch, step: str, settings: Settings
) -> None:
    await deploy(project.operator, {"index.html": b"old"})

    async def fail(*args: object, **more: object) -> None:
        raise OutOfSpace("cut here")

    with monkeypatch.context() as patch:
        if step == "put":
            patch.setattr(DiskStore, "put", fail)
        elif step == "announce":
            patch.setattr("baas.features.hosting.service.announce", fail)
        else:
            patch.setattr(store, step, fail)
        answer = await project.operator.post("sites/default/releases/archive", content=packed({"index.html": b"new", "x": b"x"}))
        assert 507 == answer.status_code
    assert b"old" == (await visitor.get("/")).content
    assert 1 == len((await project.operator.get("sites/default/releases")).json()["items"])
    assert [] == list((settings.data_dir / "scratch").iterdir())
    await deploy(project.operator, {"index.html": b"new", "x": b"x"})
    assert b"new" == (await visitor.get("/")).content


async def test_a_deploy_cut_by_its_client_leaves_the_old_site(
    project: ProjectUnderTest, site: str, visitor: Visitor, server: Server, settings: Settings
) -> None:
    """Cut after 1 byte, half of it and all but the last byte."""
    await deploy(project.operator, {"index.html": b"old"})
    data = packed({"index.html": b"new", "big": bytes(range(256)) * 4000})

    for cut in (1, len(data) // 2, len(data) - 1):
        messages = [{"type": "http.request", "body": data[:cut], "more_body": True}, {"type": "http.disconnect"}]
        await send_raw(server, project, "POST", "sites/default/releases/archive", messages)
    assert b"old" == (await visitor.get("/")).content
    assert [] == list((settings.data_dir / "scratch").iterdir())


async def send_raw(server: Server, project: ProjectUnderTest, method: str, path: str, messages: list[dict[str, Any]]) -> None:
    """A request whose body ends as the messages say, as only a broken connection makes it."""
    waiting = iter(messages)

    async def receive() -> Any:
        return next(waiting)

    async def send(message: Any) -> None:
        pass

    whole = f"{project.operator.base}/{path}"
    headers = [(b"host", b"127.0.0.1:8000"), (b"authorization", f"Bearer {project.operator.token}".encode())]
    scope = {"type": "http", "method": method, "path": whole, "raw_path": whole.encode(), "query_string": b"", "headers": headers}
    await server.app({**scope, "client": ("127.0.0.1", 1), "scheme": "http", "http_version": "1.1"}, receive, send)


# Clean-up ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def hosting(server: Server, settings: Settings, tmp_path: Path) -> tuple[Hosting, DiskStore]:
    """The room on a store of its own, for what has no door yet."""
    blobs = DiskStore(tmp_path / "files")
    parts = (server.db, blobs, server.projects, server.invalidations)
    return Hosting(*parts, settings=settings, scratch=tmp_path / "scratch"), blobs


async def archive_of(files: Mapping[str, bytes]) -> AsyncIterator[bytes]:
    yield packed(files)


def stored_files(blobs: DiskStore, tmp_path: Path) -> int:
    return sum(path.is_file() for path in (tmp_path / "files").rglob("*"))


async def test_the_sweep_removes_what_nothing_holds_and_nothing_else(
    project: ProjectUnderTest, site: str, server: Server, hosting: tuple[Hosting, DiskStore], db: Database, tmp_path: Path
) -> None:
    import os

    room, blobs = hosting
    found: Project | None = await server.projects.find(project.name)
    assert found is not None
    async with room.unpacked(found, "default", archive_of({"a": b"kept"})) as unpacked:
        await room.deploy(found, unpacked, activate=True, message=None)
    await room.upload(found, "default", hashlib.sha256(b"unused").hexdigest(), archive_bytes(b"unused"))
    await blobs.put(f"{project.schema}/sites/stray", archive_bytes(b"stray"))
    (tmp_path / "scratch" / "left").mkdir()
    assert 0 == await room.sweep(found)

    for path in (tmp_path / "files").rglob("*"):
        os.utime(path, (0, 0))
    os.utime(tmp_path / "scratch" / "left", (0, 0))
    await db.execute(sql("update {} set used_at = now() - interval '25 hours'", ident(project.schema, "_site_blobs")))

    assert 3 == await room.sweep(found)
    assert 1 == stored_files(blobs, tmp_path)
    shown = await room.shown(found, "default")
    assert shown is not None
    async with blobs.open(shown.files["a"].blob) as pieces:
        assert b"kept" == b"".join([piece async for piece in pieces])


async def archive_bytes(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def test_a_dropped_project_leaves_no_bytes(
    project: ProjectUnderTest, site: str, visitor: Visitor, settings: Settings
) -> None:
    await deploy(project.operator, SITE)
    folder = settings.data_dir / "files" / "blobs" / project.schema
    assert folder.is_dir()

    answer = await project.operator.delete(f"/v1/projects/{project.name}?confirm={project.name}")

    assert 204 == answer.status_code
    assert not (folder / "sites").exists()
    assert 421 == (await visitor.get("/")).status_code


async def test_one_round_sweeps_every_project(
    project: ProjectUnderTest, site: str, server: Server, settings: Settings, tmp_path: Path
) -> None:
    """Strays of files and sites and an unfinished upload, all a day old; what is younger stays."""
    import os

    blobs = DiskStore(tmp_path / "files")
    files = Files(server.db, blobs, None, None, None, server.invalidations, None, settings)  # type: ignore[arg-type]
    room = Hosting(server.db, blobs, server.projects, server.invalidations, settings=settings, scratch=tmp_path / "scratch")
    sweeper = Sweeper(blobs, server.projects, (files.sweep, room.sweep))
    for room_name in ("files", "sites"):
        for age in ("old", "new"):
            await blobs.put(f"{project.schema}/{room_name}/{age}", archive_bytes(b"x"))
    (tmp_path / "files" / "unfinished" / "old").write_bytes(b"x")
    for path in (tmp_path / "files").rglob("old"):
        os.utime(path, (0, 0))

    assert (3, 2) == (await sweeper.sweep(), stored_files(blobs, tmp_path))
    await sweeper.start()
    await sweeper.stop()
