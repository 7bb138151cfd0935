"""Problems say the same thing in the same way, whichever room they come from."""

import io
import zipfile
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from tests.support.callers import ProjectUnderTest

OPEN = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")
NOBODY = "01a1fa0b-205d-7c76-b42c-51f02d3ed34a"


def said(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def faults(answer: httpx2.Response) -> list[tuple[str, str]]:
    return [(one["pointer"], one["code"]) for one in answer.json()["errors"]]


@pytest.fixture
async def made(project: ProjectUnderTest) -> ProjectUnderTest:
    await project.collection("notes", [{"name": "title", "type": "text"}], OPEN)
    assert (await project.operator.post("buckets", json={"name": "b", "rules": OPEN})).status_code == 201
    assert (await project.operator.post("buckets", json={"name": "shut", "rules": {**OPEN, "list": "false"}})).status_code == 201
    assert (await project.operator.post("sites", json={"name": "s"})).status_code == 201
    return project


async def test_what_is_taken_is_named(made: ProjectUnderTest) -> None:
    for path in ("buckets", "sites"):
        answer = await made.operator.post(path, json={"name": "b" if path == "buckets" else "s"})
        assert (said(answer), faults(answer)) == ((409, "already_exists"), [("/name", "already_exists")]), path
    first = await made.operator.post("users", json={"email": "a@example.com"})
    again = await made.operator.post("users", json={"email": "a@example.com"})
    assert first.status_code == 201
    assert (said(again), faults(again)) == ((409, "already_exists"), [("/email", "already_exists")])


async def test_what_is_unknown_is_an_unknown_key(made: ProjectUnderTest) -> None:
    await made.operator.put("buckets/b/files/f", content=b"x")
    for method, path in (
        ("POST", "buckets"),
        ("PATCH", "buckets/b"),
        ("PATCH", "buckets/b/files/f"),
        ("POST", "sites"),
        ("PATCH", "sites/s"),
        ("POST", "sites/s/releases"),
        ("POST", "collections"),
        ("PATCH", "settings"),
        ("POST", "keys"),
        ("POST", "batch"),
        ("POST", "collections/notes/records/upsert"),
    ):
        answer = await made.operator.request(method, path, json={"nope": 1})
        assert answer.status_code == 422, (path, answer.text)
        assert ("/nope", "unknown_key") in faults(answer), (path, answer.text)


async def test_a_422_always_has_errors(made: ProjectUnderTest) -> None:
    """Also where it is about the whole, or about the query."""
    records = "collections/notes/records"
    key, digest = {"idempotency-key": "k"}, {"content-digest": f"sha-256=:{'A' * 43}=:"}
    assert (await made.operator.post(records, json={"title": "a"}, headers=key)).status_code == 201
    calls: list[tuple[str, str, dict[str, Any], str]] = [
        ("POST", records, {"json": {"title": "b"}, "headers": key}, "idempotency_mismatch"),
        ("POST", records, {"json": [{}] * 1001}, "limit_exceeded"),
        ("POST", "batch", {"json": {"operations": [{}] * 51}}, "limit_exceeded"),
        ("GET", records, {"params": {"sort": ",".join(f"f{at}" for at in range(9))}}, "limit_exceeded"),
        ("GET", records, {"params": {"expand": "a.b.c.d"}}, "limit_exceeded"),
        ("GET", records, {"params": {"filter": "x" * 5000}}, "limit_exceeded"),
        ("PUT", "buckets/b/files/f", {"content": b"x", "headers": digest}, "digest_mismatch"),
    ]
    for method, path, more, code in calls:
        answer = await made.operator.request(method, path, **more)
        assert said(answer) == (422, code), answer.text
        assert faults(answer)[0][1] == code


async def test_a_page_over_the_limit_is_refused_in_one_way(made: ProjectUnderTest) -> None:
    for path, most in (
        ("collections/notes/records", 500),
        ("users", 500),
        ("buckets/b/files", 500),
        ("sites/s/releases", 100),
        ("/v1/projects", 500),
    ):
        answer = await made.operator.get(path, params={"limit": most + 1})
        assert (said(answer), answer.json()["limit"]) == ((422, "limit_exceeded"), most), path
        assert said(await made.operator.get(path, params={"limit": 0})) == (400, "bad_parameter"), path


async def test_what_is_no_id_names_nothing(made: ProjectUnderTest) -> None:
    for path in ("sites/s/releases/zz", "users/zz", "keys/zz", "collections/notes/records/zz", "sites/" + "x" * 101):
        assert (await made.operator.get(path)).status_code == 404, path
    for method in ("GET", "DELETE"):
        assert (await made.operator.request(method, f"users/{NOBODY}/sessions")).status_code == 404, method
    new = await made.operator.post("keys", json={"name": "k"})
    shown = await made.operator.get(new.headers["location"])
    assert (shown.status_code, shown.json()) == (200, {name: value for name, value in new.json().items() if name != "key"})


async def test_statuses_are_those_of_the_contract(made: ProjectUnderTest) -> None:
    assert said(await made.anonymous.get("buckets/shut/files")) == (401, "unauthenticated")
    assert (await made.operator.put("buckets/b/files/f", content=b"x")).status_code == 201
    large = await made.operator.patch("buckets/b/files/f", json={"metadata": {"a": "x" * (64 << 10)}})
    assert (said(large), large.json()["limit"], faults(large)) == ((413, "too_large"), 64 << 10, [("/metadata", "too_large")])
    assert said(await made.operator.delete(f"/v1/projects/{made.name}")) == (409, "confirm_required")
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as packed:
        packed.writestr("../x", "x")
    refused = await made.operator.post("sites/s/releases/archive", content=whole.getvalue())
    assert (said(refused), faults(refused)) == ((422, "bad_path"), [("", "bad_path")])


@pytest.mark.parametrize("name", ["ä b", "a%b", 'q"<>', "x" * 900, "ü" * 300])
async def test_the_instance_is_a_uri_reference(made: ProjectUnderTest, name: str) -> None:
    """RFC 9457, 3.1.5."""
    answer = await made.operator.get(f"users/{quote(name, safe='')}")

    instance = answer.json()["instance"]
    assert instance.isascii()
    assert len(instance) <= 500
    path = f"/v1/projects/{made.name}/users/{quote(name)}"
    assert path.startswith(instance)
    assert instance == path or len(instance) >= 497
