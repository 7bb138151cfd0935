"""Buckets and files through HTTP: who may do what, what stays when an upload is cut, what a browser is told."""

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from baas.base.errors import OutOfSpace
from baas.base.settings import Settings
from baas.features.files import store
from baas.features.files.service import Files
from baas.infra.blobs.disk import DiskStore
from baas.infra.db.pool import Database
from baas.infra.db.sql import ident, sql
from baas.server import Server
from tests.support.callers import Caller, ProjectUnderTest

OPEN = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")
OWN = {
    "list": "record.owner == auth.id",
    "view": "record.owner == auth.id",
    "create": "next.owner == auth.id",
    "update": "record.owner == auth.id",
    "delete": "record.owner == auth.id",
}
DATA = bytes(range(256)) * 1000


async def bucket(project: ProjectUnderTest, name: str = "b", **manifest: Any) -> dict[str, Any]:
    answer = await project.operator.post("buckets", json={"name": name, **manifest})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def put(caller: Caller, path: str, data: bytes = b"x", kind: str = "text/plain", **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await caller.put(f"buckets/b/files/{path}", content=data, headers={"content-type": kind, **named})


async def get(caller: Caller, path: str, method: str = "GET", **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await caller.request(method, f"buckets/b/files/{path}", headers=named)


async def listed(caller: Caller, **params: Any) -> list[str]:
    answer = await caller.get("buckets/b/files", params=params)
    assert answer.status_code == 200, answer.text
    return [file["path"] for file in answer.json()["items"]]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digest_of(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def outcome(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def blobs_of(project: ProjectUnderTest, settings: Settings) -> int:
    """Files on the disk of this project, and unfinished ones of anybody."""
    root = settings.data_dir / "files"
    folders = (root / "blobs" / project.schema / "files", root / "unfinished")
    return sum(path.is_file() for folder in folders for path in folder.rglob("*"))


# Buckets ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_bucket_is_made_read_changed_and_deleted(project: ProjectUnderTest) -> None:
    made = await bucket(project, "photos", types=["image/*"], max_size=1000, rules={"view": "true"})
    assert made == (await project.operator.get("buckets/photos")).json()
    assert {"list": None, "view": "true", "create": None, "update": None, "delete": None} == made["rules"]
    assert ["photos"] == [one["name"] for one in (await project.operator.get("buckets")).json()["items"]]

    changed = await project.operator.patch("buckets/photos", json={"max_size": None, "rules": {"list": "true"}})
    assert (None, "true", "true") == (changed.json()["max_size"], *(changed.json()["rules"][one] for one in ("list", "view")))

    assert (409, "already_exists") == outcome(await project.operator.post("buckets", json={"name": "photos"}))
    assert 204 == (await project.operator.delete("buckets/photos")).status_code
    assert (404, "bucket_not_found") == outcome(await project.operator.get("buckets/photos"))


async def test_a_bucket_with_files_goes_only_when_that_is_confirmed(project: ProjectUnderTest) -> None:
    await bucket(project)
    await put(project.operator, "a")

    refused = await project.operator.delete("buckets/b")
    assert (409, "confirm_required", 1) == (*outcome(refused), refused.json()["files"])
    assert 204 == (await project.operator.delete("buckets/b?confirm=data-loss")).status_code
    assert (404, "bucket_not_found") == outcome(await get(project.operator, "a"))


async def test_only_operators_and_keys_with_the_scope_touch_buckets(project: ProjectUnderTest) -> None:
    await bucket(project)
    callers = (project.anonymous, await project.user(), await project.key("files"), await project.key("schema"))

    for path in ("buckets", "buckets/b"):
        assert [401, 403, 403, 200] == [(await caller.get(path)).status_code for caller in callers]
    assert [401, 403, 403, 422] == [(await caller.post("buckets", json={})).status_code for caller in callers]


async def test_every_fault_of_a_bucket_is_named_at_once(project: ProjectUnderTest) -> None:
    answer = await project.operator.post(
        "buckets",
        json={
            "name": "Bad Name",
            "max_size": 0,
            "types": ["image/*", "nonsense", 3],
            "thumbnails": ["320x320"],
            "rules": {"view": "record.owmer == auth.id", "create": "record.owner == auth.id", "peek": "true", "list": 1},
        },
    )

    assert 422 == answer.status_code
    faults = {fault["pointer"]: fault for fault in answer.json()["errors"]}
    assert {
        "/name": "bad_name",
        "/max_size": "out_of_range",
        "/types/1": "bad_type",
        "/types/2": "bad_type",
        "/thumbnails": "unknown_key",
        "/rules/view": "unknown_field",
        "/rules/create": "unknown_name",
        "/rules/peek": "unknown_key",
        "/rules/list": "wrong_type",
    } == {pointer: fault["code"] for pointer, fault in faults.items()}
    assert (7, "owner" in faults["/rules/view"]["hint"]) == (faults["/rules/view"]["position"], True)


async def test_a_public_bucket_has_no_view_rule_of_its_own(project: ProjectUnderTest) -> None:
    answer = await project.operator.post("buckets", json={"name": "x", "public": True, "rules": {"view": "false"}})

    assert [("/public", "contradiction")] == [(fault["pointer"], fault["code"]) for fault in answer.json()["errors"]]


# Upload and download ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("data", [b"", b"hello", DATA * 10], ids=["empty", "small", "large"])
async def test_what_is_uploaded_is_downloaded(project: ProjectUnderTest, data: bytes) -> None:
    await bucket(project)

    made = await put(project.operator, "a/b/c.txt", data)
    assert (201, f"/v1/projects/{project.name}/buckets/b/files/a/b/c.txt") == (made.status_code, made.headers["location"])
    body = made.json()
    assert ("c.txt", "a/b", len(data), "text/plain", sha256(data), None, {}) == tuple(
        body[name] for name in ("name", "folder", "size", "content_type", "sha256", "owner", "metadata")
    )
    assert f'"{sha256(data)}"' == made.headers["etag"]
    again = await get(project.operator, "a/b/c.txt")
    assert (200, data, made.headers["etag"]) == (again.status_code, again.content, again.headers["etag"])
    assert "text/plain; charset=utf-8" == again.headers["content-type"]
    head = await get(project.operator, "a/b/c.txt", "HEAD")
    assert (200, b"", str(len(data))) == (head.status_code, head.content, head.headers["content-length"])


async def test_an_upload_replaces_and_the_old_bytes_go(project: ProjectUnderTest, settings: Settings) -> None:
    await bucket(project)
    first = await put(project.operator, "a", b"one")
    second = await put(project.operator, "a", b"three")

    assert (201, 200) == (first.status_code, second.status_code)
    assert (first.json()["created_at"], 5) == (second.json()["created_at"], second.json()["size"])
    assert b"three" == (await get(project.operator, "a")).content
    assert 1 == blobs_of(project, settings)
    assert 204 == (await get(project.operator, "a", "DELETE")).status_code
    assert (404, "file_not_found") == outcome(await get(project.operator, "a"))
    assert (404, "file_not_found") == outcome(await get(project.operator, "a", "DELETE"))
    assert 0 == blobs_of(project, settings)


async def test_a_reader_of_a_replaced_file_reads_it_to_its_end(project: ProjectUnderTest) -> None:
    await bucket(project)
    await put(project.operator, "a", DATA * 20)

    before, after = ([get(project.operator, "a") for _ in range(5)] for _ in range(2))
    reads = await asyncio.gather(*before, put(project.operator, "a", b"new"), *after)

    assert {sha256(DATA * 20), sha256(b"new")} >= {sha256(one.content) for one in reads if one.request.method == "GET"}
    assert {200} == {one.status_code for one in reads}


async def test_a_file_replaced_between_its_row_and_its_bytes_is_looked_up_again(
    project: ProjectUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bucket(project)
    await put(project.operator, "a", b"old")
    read = store.file

    async def read_then_replace(*args: Any) -> Any:
        found = await read(*args)
        monkeypatch.undo()
        await put(project.operator, "a", b"newer")
        return found

    monkeypatch.setattr(store, "file", read_then_replace)
    answer = await get(project.operator, "a")

    assert (200, b"newer", f'"{sha256(b"newer")}"') == (answer.status_code, answer.content, answer.headers["etag"])


async def test_preconditions_of_an_upload(project: ProjectUnderTest) -> None:
    await bucket(project)
    etag = (await put(project.operator, "a", b"one")).headers["etag"]

    assert (412, "precondition_failed") == outcome(await put(project.operator, "a", b"two", if_none_match="*"))
    assert 201 == (await put(project.operator, "new", b"two", if_none_match="*")).status_code
    assert 412 == (await put(project.operator, "a", b"two", if_match='"other"')).status_code
    assert 412 == (await put(project.operator, "none", b"two", if_match="*")).status_code
    assert 412 == (await get(project.operator, "a", "DELETE", if_match='"other"')).status_code
    assert b"one" == (await get(project.operator, "a")).content
    assert 200 == (await put(project.operator, "a", b"two", if_match=etag)).status_code
    assert 412 == (await put(project.operator, "a", b"three", if_match=etag)).status_code
    assert (400, "bad_header") == outcome(await put(project.operator, "a", b"x", if_none_match=etag))


async def test_twenty_creations_of_one_path_make_one_file(project: ProjectUnderTest, settings: Settings) -> None:
    await bucket(project)

    answers = await asyncio.gather(*(put(project.operator, "a", str(n).encode(), if_none_match="*") for n in range(20)))

    assert [201, *[412] * 19] == sorted(one.status_code for one in answers)
    assert 1 == blobs_of(project, settings)


async def test_a_wrong_digest_is_refused(project: ProjectUnderTest, settings: Settings) -> None:
    await bucket(project)

    assert 201 == (await put(project.operator, "a", b"one", content_digest=digest_of(b"one"))).status_code
    right = f"sha-512=:{base64.b64encode(hashlib.sha512(b'one').digest()).decode()}:"
    assert 200 == (await put(project.operator, "a", b"one", content_digest=right)).status_code
    assert 200 == (await put(project.operator, "a", b"one", content_digest=f"md5=:AAAA:, {right}")).status_code
    for digest in (digest_of(b"one"), right, f"{digest_of(b'two')}, {right}"):
        assert (422, "digest_mismatch") == outcome(await put(project.operator, "a", b"two", content_digest=digest)), digest
    unread = ("sha-512=:AAAA:", "md5=:AAAA:", "nonsense", "", f"{right}, nonsense")
    for bad in ("sha-256=abc", "sha-256=:abc:", "sha-256=:####:", "sha-256=", *unread):
        assert (400, "bad_header") == outcome(await put(project.operator, "a", b"x", content_digest=bad)), bad
    assert b"one" == (await get(project.operator, "a")).content
    assert 1 == blobs_of(project, settings)


async def test_sizes_are_limited(project: ProjectUnderTest, settings: Settings) -> None:
    await bucket(project, max_size=100)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"0123456789"

    assert 201 == (await put(project.operator, "a", b"x" * 100)).status_code
    refused = await put(project.operator, "b", b"x" * 101)
    assert (413, "too_large", 100) == (*outcome(refused), refused.json()["limit"])
    streamed = await project.operator.put("buckets/b/files/c", content=chunks())
    assert (413, "too_large") == outcome(streamed)
    await project.settings(limits={"max_file_bytes": 50})
    assert (413, "too_large") == outcome(await put(project.operator, "d", b"x" * 51))
    assert 1 == blobs_of(project, settings)


async def test_types_are_limited(project: ProjectUnderTest) -> None:
    await bucket(project, types=["image/*", "text/plain"])

    assert [201, 201, 201] == [
        (await put(project.operator, f"f{n}", kind=kind)).status_code
        for n, kind in enumerate(("image/png", "Text/Plain; charset=x", "image/svg+xml"))
    ]
    refused = await put(project.operator, "x", kind="text/html")
    assert (415, "unsupported_media_type", ["image/*", "text/plain"]) == (*outcome(refused), refused.json()["types"])
    assert 415 == (await project.operator.put("buckets/b/files/x", content=b"x")).status_code
    assert (400, "bad_header") == outcome(await put(project.operator, "x", kind="nonsense"))
    assert 415 == (await project.operator.patch("buckets/b/files/f0", json={"content_type": "text/html"})).status_code


DOTS = ["%2e%2e/x", "a/%2e%2e/x", "a%2f%2e%2e%2fx", "a//b", "a/%2e/b", "%2Fetc/passwd", "a/"]


@pytest.mark.parametrize("path", [*DOTS, "a%5Cb", "a%0Ab", "a%00b", "x" * 1025, "%ff", "a%7f", "%C2%85"])
async def test_no_path_escapes(project: ProjectUnderTest, settings: Settings, path: str) -> None:
    await bucket(project)

    for method in ("PUT", "GET", "DELETE"):
        answer = await project.operator.request(method, f"buckets/b/files/{path}", content=b"x" if method == "PUT" else None)
        assert (400, "bad_path") == outcome(answer), method
    assert 0 == blobs_of(project, settings)


ODD = ["%2e%2e%2e", "a b", "é/😀.png", "%25", "a%3Fb%23c", ".env", "con", "a:b", '"quoted".txt', "x" * 1024]


@pytest.mark.parametrize("path", ODD)
async def test_odd_names_are_only_labels(project: ProjectUnderTest, path: str) -> None:
    from urllib.parse import unquote

    await bucket(project)

    made = await put(project.operator, path, b"odd")
    assert (201, unquote(path)) == (made.status_code, made.json()["path"])
    found = await project.operator.get(made.headers["location"])
    assert b"odd" == found.content
    assert found.headers["content-disposition"].isascii()
    assert [unquote(path)] == await listed(project.operator)


async def test_ranges_and_conditions(project: ProjectUnderTest) -> None:
    await bucket(project)
    etag = (await put(project.operator, "a", DATA)).headers["etag"]
    modified = (await get(project.operator, "a")).headers["last-modified"]

    part = await get(project.operator, "a", range="bytes=1000-1999")
    assert (206, DATA[1000:2000], "bytes 1000-1999/256000") == (part.status_code, part.content, part.headers["content-range"])
    assert (206, DATA[-10:]) == ((last := await get(project.operator, "a", range="bytes=-10")).status_code, last.content)
    whole = await get(project.operator, "a", range="bytes=0-1,5-9")
    assert (200, DATA) == (whole.status_code, whole.content)
    outside = await get(project.operator, "a", range="bytes=256000-")
    assert (416, "range_not_satisfiable", "bytes */256000") == (*outcome(outside), outside.headers["content-range"])
    assert 206 == (await get(project.operator, "a", range="bytes=0-9", if_range=etag)).status_code
    assert 200 == (await get(project.operator, "a", range="bytes=0-9", if_range='"old"')).status_code
    for condition in ({"if_none_match": etag}, {"if_modified_since": modified}):
        assert (304, b"") == ((same := await get(project.operator, "a", **condition)).status_code, same.content)
    assert 412 == (await get(project.operator, "a", if_match='"old"')).status_code


async def test_unknown_parameters_are_refused(project: ProjectUnderTest) -> None:
    await bucket(project)
    await put(project.operator, "a")

    for method, path in (("GET", "files/a?thumb=1x1"), ("PUT", "files/a?x=1"), ("GET", "files?sort=x")):
        assert (400, "bad_parameter") == outcome(await project.operator.request(method, f"buckets/b/{path}"))


# Metadata ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_metadata_is_a_merge_patch(project: ProjectUnderTest) -> None:
    await bucket(project)
    await put(project.operator, "a", kind="image/png")

    first = await project.operator.patch("buckets/b/files/a", json={"metadata": {"title": "Cat", "n": {"a": 1, "b": 2}}})
    second = await project.operator.patch("buckets/b/files/a", json={"metadata": {"n": {"b": None}, "x": [None]}})

    assert {"title": "Cat", "n": {"a": 1, "b": 2}} == first.json()["metadata"]
    assert {"title": "Cat", "n": {"a": 1}, "x": [None]} == second.json()["metadata"]
    assert "image/png" == second.json()["content_type"]
    replaced = await put(project.operator, "a", b"new")
    assert second.json()["metadata"] == replaced.json()["metadata"]
    faults = await project.operator.patch("buckets/b/files/a", json={"metadata": 3, "size": 1, "content_type": "x"})
    assert ["unknown_key", "wrong_type", "bad_type"] == [fault["code"] for fault in faults.json()["errors"]]
    assert (404, "file_not_found") == outcome(await project.operator.patch("buckets/b/files/none", json={"metadata": {}}))


async def test_numbers_in_metadata_keep_their_digits(project: ProjectUnderTest) -> None:
    await bucket(project)
    await put(project.operator, "a")
    body = b'{"metadata": {"pi": 3.14159265358979323846, "big": 9007199254740993}}'

    await project.operator.patch("buckets/b/files/a", content=body, headers={"content-type": "application/json"})
    text = (await project.operator.patch("buckets/b/files/a", json={"metadata": {"x": 1}})).text

    assert "3.14159265358979323846" in text
    assert "9007199254740993" in text


# Lists ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

TREE = ("a.txt", "a/1", "a/2", "a/b/3", "a0", "b", "c/d/e/4", "é/5", "z")


async def test_lists_by_prefix_and_page(project: ProjectUnderTest) -> None:
    await bucket(project)
    for path in TREE:
        await put(project.operator, path)

    assert [*TREE[:7], "z", "é/5"] == await listed(project.operator)
    assert ["a/1", "a/2", "a/b/3"] == await listed(project.operator, prefix="a/")
    assert ["a.txt", "a/1", "a/2", "a/b/3", "a0"] == await listed(project.operator, prefix="a")
    assert [] == await listed(project.operator, prefix="nothing")
    seen, params = [], {"limit": 2}
    while True:
        page = (await project.operator.get("buckets/b/files", params=params)).json()
        seen += [file["path"] for file in page["items"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert seen == await listed(project.operator)


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_folders_are_listed_instead_of_what_is_in_them(project: ProjectUnderTest, limit: int) -> None:
    await bucket(project)
    for path in TREE:
        await put(project.operator, path)

    async def walk(prefix: str) -> tuple[list[str], list[str]]:
        files, folders, params = [], [], {"prefix": prefix, "delimiter": "/", "limit": limit}
        while True:
            page = (await project.operator.get("buckets/b/files", params=params)).json()
            assert len(page["items"]) + len(page["folders"]) <= limit
            files += [file["path"] for file in page["items"]]
            folders += page["folders"]
            if page["next_cursor"] is None:
                return files, folders
            params["cursor"] = page["next_cursor"]

    assert (["a.txt", "a0", "b", "z"], ["a/", "c/", "é/"]) == await walk("")
    assert (["a/1", "a/2"], ["a/b/"]) == await walk("a/")
    assert ([], ["c/d/e/"]) == await walk("c/d/")
    assert ([], ["é/"]) == await walk("é")
    assert ([], []) == await walk("none/")


async def test_a_cursor_belongs_to_its_list(project: ProjectUnderTest) -> None:
    await bucket(project)
    await put(project.operator, "a/1")
    await put(project.operator, "a/2")
    cursor = (await project.operator.get("buckets/b/files?prefix=a/&limit=1")).json()["next_cursor"]

    for params in ({"prefix": ""}, {"prefix": "a/", "delimiter": "/"}, {"prefix": "a/", "cursor": "!!"}):
        answer = await project.operator.get("buckets/b/files", params={"cursor": cursor, **params})
        assert (400, "bad_cursor") == outcome(answer)


async def test_a_folder_list_shows_no_folder_of_hidden_files(project: ProjectUnderTest) -> None:
    """A folder's name is the beginning of somebody's path: it is shown to those who may list a file in it."""
    await bucket(project, rules=OWN)
    alice, bob = await project.user(), await project.user()
    await put(alice, "secret/1")
    await put(alice, "shared/1")
    await put(bob, "shared/2")

    page = (await bob.get("buckets/b/files?delimiter=/")).json()

    assert ([], ["shared/"]) == (page["items"], page["folders"])


# Rules ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("rules", [{}, OPEN], ids=["locked", "open"])
async def test_a_key_touches_files_only_with_their_scope(project: ProjectUnderTest, rules: dict[str, str]) -> None:
    """Every call × every other scope: 403, and the file stays as it is."""
    await bucket(project, rules=rules)
    await put(project.operator, "a")
    place = "buckets/b/files/a"
    for scope in ("schema", "records", "users", "sites", "settings", "keys"):
        key = await project.key(scope)
        answers = [
            await put(key, "a", b"other"),
            await put(key, "new"),
            await get(key, "a"),
            await key.get("buckets/b/files"),
            await key.patch(place, json={"metadata": {"x": 1}}),
            await key.delete(place),
        ]
        assert [(403, "scope_missing")] * 6 == [(one.status_code, one.json()["code"]) for one in answers], scope
        assert 403 == (await get(key, "a", "HEAD")).status_code
    key = await project.key("files")

    assert ["a"] == await listed(key)
    assert b"x" == (await get(key, "a")).content
    assert 204 == (await key.delete(place)).status_code


async def test_a_bucket_without_rules_is_for_operators_and_keys(project: ProjectUnderTest) -> None:
    await bucket(project)
    await put(project.operator, "a")

    for caller in (project.anonymous, await project.user()):
        for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH"):
            body = {"json": {}} if method == "PATCH" else {}
            answer = await caller.request(method, "buckets/b/files/a", **body)
            assert 403 == answer.status_code, method
        assert 403 == (await caller.get("buckets/b/files")).status_code
    assert ["a"] == await listed(await project.key("files"))


async def test_two_users_see_and_touch_only_their_own(project: ProjectUnderTest, settings: Settings) -> None:
    await bucket(project, rules=OWN)
    alice, bob = await project.user(), await project.user()
    made = await put(alice, "a", b"hers")
    assert (201, alice.id) == (made.status_code, made.json()["owner"])

    assert (["a"], []) == (await listed(alice), await listed(bob))
    assert b"hers" == (await get(alice, "a")).content
    assert (404, "file_not_found") == outcome(await get(bob, "a"))
    assert 404 == (await get(bob, "a", "HEAD")).status_code
    assert (404, "file_not_found") == outcome(await get(bob, "a", range="bytes=0-1"))
    assert (404, "file_not_found") == outcome(await get(bob, "a", "DELETE"))
    assert (404, "file_not_found") == outcome(await bob.patch("buckets/b/files/a", json={"metadata": {"x": 1}}))
    assert (409, "already_exists") == outcome(await put(bob, "a", b"his"))
    assert (401, "unauthenticated") == outcome(await project.anonymous.get("buckets/b/files"))
    assert (404, "file_not_found") == outcome(await get(project.anonymous, "a"))
    assert (403, "rule_denied") == outcome(await put(project.anonymous, "a"))
    assert (403, "rule_denied") == outcome(await put(project.anonymous, "new"))
    assert b"hers" == (await get(alice, "a")).content
    assert 1 == blobs_of(project, settings)


async def test_a_version_cannot_be_guessed_by_those_who_cannot_see_it(project: ProjectUnderTest) -> None:
    await bucket(project, rules=OWN)
    alice, bob = await project.user(), await project.user()
    etag = (await put(alice, "a", b"secret")).headers["etag"]

    for guess in (etag, '"wrong"', "*"):
        assert 409 == (await put(bob, "a", b"x", if_match=guess)).status_code
        assert 404 == (await get(bob, "a", "DELETE", if_match=guess)).status_code
        assert 404 == (await get(bob, "a", if_none_match=guess)).status_code
        assert 404 == (await bob.patch("buckets/b/files/a", json={}, headers={"if-match": guess})).status_code


async def test_who_may_not_create_learns_nothing_of_what_is_there(project: ProjectUnderTest) -> None:
    await bucket(project, rules={**OWN, "create": "next.owner == auth.id && next.folder == auth.id"})
    alice, bob = await project.user(), await project.user()
    await put(alice, f"{alice.id}/a", b"secret")

    answers = [await put(bob, f"{alice.id}/{name}", **more) for name in ("a", "none") for more in ({}, {"if_none_match": "*"})]

    assert {(403, "rule_denied")} == {outcome(one) for one in answers}


async def test_what_is_seen_but_not_changed_is_403(project: ProjectUnderTest) -> None:
    await bucket(project, rules={**OWN, "view": "true", "list": "true"})
    alice, bob = await project.user(), await project.user()
    await put(alice, "a", b"hers")

    assert b"hers" == (await get(bob, "a")).content
    for method in ("PUT", "DELETE", "PATCH"):
        body = {"json": {"metadata": {}}} if method == "PATCH" else {}
        answer = await bob.request(method, "buckets/b/files/a", **body)
        assert (403, "rule_denied") == outcome(answer), method
    assert b"hers" == (await get(project.anonymous, "a")).content


async def test_rules_see_the_file_as_it_will_be(project: ProjectUnderTest) -> None:
    rules = {
        **OPEN,
        "create": 'next.size < 10 && next.name.endsWith(".txt") && next.content_type == "text/plain" && next.folder == "f"',
        "update": "next.size > record.size && next.sha256 != record.sha256 && next.owner == record.owner",
    }
    await bucket(project, rules=rules)
    user = await project.user()

    assert 403 == (await put(user, "f/a.txt", b"x" * 10)).status_code
    assert 403 == (await put(user, "f/a.bin", b"x")).status_code
    assert 403 == (await put(user, "g/a.txt", b"x")).status_code
    assert 403 == (await put(user, "f/a.txt", b"x", kind="image/png")).status_code
    assert 201 == (await put(user, "f/a.txt", b"xx")).status_code
    assert 403 == (await put(user, "f/a.txt", b"x")).status_code
    assert 403 == (await put(user, "f/a.txt", b"yy")).status_code
    assert 200 == (await put(user, "f/a.txt", b"xxx")).status_code


async def test_rules_look_at_metadata_and_the_users_own_record(project: ProjectUnderTest) -> None:
    await project.operator.patch(
        "collections/users", json={"fields": [*await fields_of(project), {"name": "level", "type": "int", "readonly": True}]}
    )
    rule = "record.metadata.level <= auth.level"
    await bucket(project, rules={**OPEN, "view": rule, "list": rule})
    low, high = await project.user(level=1), await project.user(level=5)
    for level in (1, 3):
        await put(project.operator, f"l{level}")
        await project.operator.patch(f"buckets/b/files/l{level}", json={"metadata": {"level": level}})
    await put(project.operator, "none")

    assert (["l1"], ["l1", "l3"]) == (await listed(low), await listed(high))
    asked = ((low, "l3"), (high, "l3"), (high, "none"))
    assert [404, 200, 404] == [(await get(caller, path)).status_code for caller, path in asked]


async def fields_of(project: ProjectUnderTest) -> list[dict[str, Any]]:
    return (await project.operator.get("collections/users")).json()["fields"]


async def test_a_denied_upload_is_refused_before_its_body_is_read(project: ProjectUnderTest, server: Server) -> None:
    """Not a byte is taken from a caller whom the rule refuses whatever the bytes are; nor of one whose file is too large."""
    await bucket(project, rules=OWN, max_size=1000)
    user = await project.user()

    assert ("403", 0) == await send_slowly(server, project, None, [(b"content-length", b"500")])
    assert ("413", 0) == await send_slowly(server, project, user, [(b"content-length", b"5000")])


async def send_slowly(
    server: Server, project: ProjectUnderTest, caller: Caller | None, headers: list[tuple[bytes, bytes]]
) -> tuple[str, int]:
    """Status of an upload and how often its body was asked for."""
    asked, status = 0, ""

    async def receive() -> Any:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message: Any) -> None:
        nonlocal status
        status = str(message.get("status", status))

    await server.app(raw_scope(project, caller, "b/files/a", headers), receive, send)
    return status, asked


def raw_scope(project: ProjectUnderTest, caller: Caller | None, path: str, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    whole = f"{project.operator.base}/buckets/{path}"
    token = [(b"authorization", f"Bearer {caller.token}".encode())] if caller else []
    scope = {"type": "http", "method": "PUT", "path": whole, "raw_path": whole.encode(), "query_string": b""}
    return {
        **scope,
        "headers": [(b"host", b"127.0.0.1:8000"), *token, *headers],
        "client": ("127.0.0.1", 1),
        "scheme": "http",
        "http_version": "1.1",
    }


async def test_a_create_answer_shows_no_more_than_the_view_rule(project: ProjectUnderTest) -> None:
    await bucket(project, rules={"create": "true"})

    made = await put(project.anonymous, "drop/a")

    assert (201, {"path": "drop/a"}, False) == (made.status_code, made.json(), "etag" in made.headers)


async def test_a_public_bucket_is_downloaded_by_anyone_and_listed_by_rule(project: ProjectUnderTest) -> None:
    await bucket(project, public=True)
    await put(project.operator, "a.png", b"x", "image/png")

    found = await get(project.anonymous, "a.png")
    assert (200, "public, max-age=60", "cross-origin") == (
        found.status_code,
        found.headers["cache-control"],
        found.headers["cross-origin-resource-policy"],
    )
    assert 403 == (await project.anonymous.get("buckets/b/files")).status_code
    assert 403 == (await put(project.anonymous, "b.png")).status_code


async def test_a_changed_rule_holds_at_once(project: ProjectUnderTest) -> None:
    await bucket(project, rules=OPEN)
    await put(project.operator, "a")
    assert 200 == (await get(project.anonymous, "a")).status_code

    await project.operator.patch("buckets/b", json={"rules": {"view": None}})

    assert 403 == (await get(project.anonymous, "a")).status_code


async def test_a_bucket_made_anew_has_nothing_of_the_old_one(project: ProjectUnderTest) -> None:
    """The same name and the same version, other rules: those of the deleted bucket must not be remembered."""
    await bucket(project, rules=OPEN)
    await put(project.operator, "a")
    assert 200 == (await get(project.anonymous, "a")).status_code
    await project.operator.delete("buckets/b", params={"confirm": "data-loss"})

    await bucket(project, rules=dict.fromkeys(OPEN, "false"))
    await put(project.operator, "a")

    assert 404 == (await get(project.anonymous, "a")).status_code
    assert 401 == (await project.anonymous.get("buckets/b/files")).status_code
    assert 403 == (await put(project.anonymous, "b")).status_code


async def test_a_bucket_of_another_project_is_none_of_this(project: ProjectUnderTest, operator: Caller) -> None:
    await bucket(project, rules=OPEN)
    await put(project.operator, "a", b"mine")
    other = f"{project.name}-2"
    await operator.post("projects", json={"name": other})

    assert 404 == (await operator.get(f"projects/{other}/buckets/b/files/a")).status_code
    user = await project.user()
    answer = await user.get(f"/v1/projects/{other}/buckets/b/files/a")
    assert 401 == answer.status_code


# What a browser is told ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "served", "shown"),
    [
        ("image/png", "image/png", True),
        ("video/mp4", "video/mp4", True),
        ("text/plain", "text/plain; charset=utf-8", True),
        ("text/html", "application/octet-stream", False),
        ("image/svg+xml", "application/octet-stream", False),
        ("application/xhtml+xml", "application/octet-stream", False),
        ("text/xml", "application/octet-stream", False),
        ("text/javascript", "application/octet-stream", False),
        ("application/x-anything", "application/octet-stream", False),
        ("application/pdf", "application/pdf", False),
        ("application/json", "application/json", False),
    ],
)
@pytest.mark.parametrize("public", [False, True])
async def test_no_file_runs_on_our_origin(project: ProjectUnderTest, kind: str, served: str, shown: bool, public: bool) -> None:
    await bucket(project, public=public)
    await put(project.operator, "a.html", b"<script>alert(1)</script>", kind)

    for headers in ((await get(project.operator, "a.html")).headers, (await get(project.operator, "a.html", "HEAD")).headers):
        assert served == headers["content-type"]
        assert ("inline" if shown else "attachment") == headers["content-disposition"].partition(";")[0]
        assert "nosniff" == headers["x-content-type-options"]
        assert "sandbox; default-src 'none'" == headers["content-security-policy"]
        assert public == headers["cache-control"].startswith("public")
    part = await get(project.operator, "a.html", range="bytes=0-5")
    assert (206, served, "sandbox; default-src 'none'") == (
        part.status_code,
        part.headers["content-type"],
        part.headers["content-security-policy"],
    )


async def test_a_download_is_named(project: ProjectUnderTest) -> None:
    await bucket(project)
    await put(project.operator, "f/Fu%C3%9F%20%22ball%22.png", b"x", "image/png")

    answer = await get(project.operator, "f/Fu%C3%9F%20%22ball%22.png?download=1")

    expected = "attachment; filename=\"Fu_ _ball_.png\"; filename*=UTF-8''Fu%C3%9F%20%22ball%22.png"
    assert expected == answer.headers["content-disposition"]


# Cut, full and killed ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99, 0.999999])
async def test_an_upload_cut_by_its_client_leaves_nothing(
    project: ProjectUnderTest, server: Server, settings: Settings, share: float
) -> None:
    await bucket(project)
    await put(project.operator, "a", b"old")
    data = DATA * 10
    cut = data[: min(int(len(data) * share), len(data) - 1)]
    messages = iter(({"type": "http.request", "body": cut, "more_body": True}, {"type": "http.disconnect"}))

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        pass

    for path in ("a", "new"):
        messages = iter(({"type": "http.request", "body": cut, "more_body": True}, {"type": "http.disconnect"}))
        headers = [(b"content-length", str(len(data)).encode())]
        await server.app(raw_scope(project, project.operator, f"b/files/{path}", headers), receive, send)

    assert b"old" == (await get(project.operator, "a")).content
    assert 404 == (await get(project.operator, "new")).status_code
    assert 1 == blobs_of(project, settings)


@pytest.mark.parametrize("step", ["prospects", "lock", "insert", "replace"])
@pytest.mark.parametrize("path", ["old", "new"])
async def test_an_upload_that_fails_at_any_step_leaves_the_old_state(
    project: ProjectUnderTest, settings: Settings, monkeypatch: pytest.MonkeyPatch, step: str, path: str
) -> None:
    await bucket(project)
    await put(project.operator, "old", b"old")

    async def fail(*args: object, **more: object) -> None:
        raise OutOfSpace("cut here")

    with monkeypatch.context() as patch:
        patch.setattr(store, step, fail)
        answer = await put(project.operator, path, b"new")
    untouched = (step, path) in (("insert", "old"), ("replace", "new"))
    assert (507 if not untouched else 201 if path == "new" else 200) == answer.status_code
    if not untouched:
        assert ["old"] == await listed(project.operator)
        assert b"old" == (await get(project.operator, "old")).content


async def test_a_full_disk_is_507_and_reading_goes_on(
    project: ProjectUnderTest, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    await bucket(project)
    await put(project.operator, "a", b"old")

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("baas.infra.blobs.disk.Steps.write", full)
        answer = await put(project.operator, "a", b"new")
        assert (507, "out_of_space") == outcome(answer)
        assert str(settings.data_dir) not in answer.text
        assert b"old" == (await get(project.operator, "a")).content
    assert 200 == (await put(project.operator, "a", b"new")).status_code
    assert 1 == blobs_of(project, settings)


async def test_the_sweep_removes_what_no_file_has_and_nothing_else(
    project: ProjectUnderTest, server: Server, settings: Settings, tmp_path: Path
) -> None:
    await bucket(project)
    await put(project.operator, "kept", b"kept")
    blobs = DiskStore(settings.data_dir / "files")

    async def stray() -> AsyncIterator[bytes]:
        yield b"stray"

    await blobs.put(f"{project.schema}/files/{'0' * 32}", stray())
    room = Files(server.db, blobs, None, None, None, server.invalidations, None, settings)  # type: ignore[arg-type]
    found = await server.projects.find(project.name)
    assert found is not None
    assert (0, 2) == (await room.sweep(found), blobs_of(project, settings))

    for path in (settings.data_dir / "files" / "blobs" / project.schema).rglob("*"):
        os.utime(path, (0, 0))

    assert (1, 1) == (await room.sweep(found), blobs_of(project, settings))
    assert b"kept" == (await get(project.operator, "kept")).content


async def test_a_dropped_project_leaves_no_files(project: ProjectUnderTest, settings: Settings) -> None:
    await bucket(project)
    await put(project.operator, "a")
    assert 1 == blobs_of(project, settings)

    await project.operator.delete(f"/v1/projects/{project.name}?confirm={project.name}")

    assert 0 == blobs_of(project, settings)


async def test_lost_bytes_are_our_fault_and_say_nothing(project: ProjectUnderTest, db: Database, settings: Settings) -> None:
    await bucket(project)
    await put(project.operator, "a")
    blob = await db.fetch_value(sql("select blob from {}", ident(project.schema, "_files")))
    await DiskStore(settings.data_dir / "files").delete(blob)

    answer = await get(project.operator, "a")

    assert (500, False) == (answer.status_code, blob in answer.text)
