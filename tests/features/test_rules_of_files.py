"""Refused calls about files, found again by their request id, and the rules of buckets explained part by part."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from baas.engines.schema import store as definitions
from baas.features.files import service
from baas.infra.db.pool import Database
from baas.infra.db.sql import ident, sql
from tests.features.test_cli import Terminal, baas, here  # noqa: F401  fixtures
from tests.features.test_files import OWN, bucket, put, sha256
from tests.features.test_rules import texts
from tests.support.callers import Caller, ProjectUnderTest

RULES = {
    **OWN,
    "view": "record.owner == auth.id || record.metadata.open == true",
    "create": "next.owner == auth.id && next.size < 10 && next.content_type == 'text/plain'",
    "update": "record.owner == auth.id && next.size <= record.size && next.metadata == record.metadata",
    "delete": "record.owner == auth.id",
}


@pytest.fixture
async def files(project: ProjectUnderTest) -> ProjectUnderTest:
    await bucket(project, rules=RULES)
    return project


async def explained(caller: Caller, **question: Any) -> Any:
    body = {name.rstrip("_"): value for name, value in question.items()}
    answer = await caller.post("rules/explain", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_refused_call_about_a_file_is_explained_by_its_request_id(files: ProjectUnderTest) -> None:
    """Every act on a file; the caller learns no more than before."""
    ada, bob = await files.user(), await files.user()
    assert (await put(ada, "a/one.txt", b"12345")).status_code == 201
    assert (await put(ada, "shown.txt")).status_code == 201
    shown = {"metadata": {"open": True}}
    assert (await files.operator.patch("buckets/b/files/shown.txt", json=shown)).status_code == 200
    base, text = "buckets/b/files", {"content-type": "text/plain"}
    calls: list[tuple[Caller, str, str, dict[str, Any], str, int, str | None]] = [
        (bob, "GET", f"{base}/a/one.txt", {}, "view", 404, "a/one.txt"),
        (bob, "HEAD", f"{base}/a/one.txt", {}, "view", 404, "a/one.txt"),
        (bob, "GET", f"{base}/nothing", {}, "view", 404, "nothing"),
        (files.anonymous, "GET", base, {}, "list", 401, None),
        (bob, "PUT", f"{base}/b.txt", {"content": b"x" * 20, "headers": text}, "create", 403, "b.txt"),
        (bob, "PUT", f"{base}/shown.txt", {"content": b"x", "headers": text}, "update", 403, "shown.txt"),
        (ada, "PUT", f"{base}/a/one.txt", {"content": b"123456", "headers": text}, "update", 403, "a/one.txt"),
        (bob, "PATCH", f"{base}/a/one.txt", {"json": {"metadata": {"x": 1}}}, "update", 404, "a/one.txt"),
        (ada, "PATCH", f"{base}/a/one.txt", {"json": {"metadata": {"x": 1}}}, "update", 403, "a/one.txt"),
        (bob, "DELETE", f"{base}/a/one.txt", {}, "delete", 404, "a/one.txt"),
        (bob, "DELETE", f"{base}/shown.txt", {}, "delete", 403, "shown.txt"),
    ]
    for caller, method, path, more, action, status, name in calls:
        answer = await caller.request(method, path, **more)
        assert answer.status_code == status, (method, path, answer.text)
        assert "denial" not in answer.text
        said = await explained(files.operator, request=answer.headers["x-request-id"])
        assert (said["bucket"], said["path"], said["action"]) == ("b", name, action), (method, path)
        assert (said["verdict"], said["as"], said["memory"] in ("agrees", "not_run")) == ("deny", caller.id or None, True)
        assert said["answer"]["status"] == status == said["denial"]["status"], (method, path, said["hint"])
        assert said["answer"]["code"] == said["denial"]["code"] or method == "GET"
        assert said["denial"]["bucket"] == "b"
        assert said["disagreements"] == []


async def test_the_parts_of_a_buckets_rule_have_the_values_of_the_file(files: ProjectUnderTest) -> None:
    ada, bob = await files.user(), await files.user()
    await put(ada, "one.txt", b"12345")
    big = await put(bob, "two.txt", b"x" * 20)

    viewed = await explained(files.operator, bucket="b", action="view", path="one.txt", as_=bob.id)
    refused = await explained(files.operator, request=big.headers["x-request-id"])
    replaced = await explained(
        files.operator, bucket="b", action="update", path="one.txt", as_=ada.id, input={"size": 9, "sha256": "0" * 64}
    )
    described = await explained(
        files.operator, bucket="b", action="update", path="one.txt", as_=ada.id, input={"metadata": {"k": "v"}}
    )
    allowed = await explained(files.operator, bucket="b", action="delete", path="one.txt", as_=ada.id)

    parts = texts(viewed["tree"])
    assert parts["record.owner"]["value"] == ada.id
    assert "error" in parts["record.metadata.open == true"]
    assert refused["denial"]["input"]["size"] == 20
    assert refused["hint"] == "`next.size < 10` is false."
    assert texts(refused["tree"])["next.size"]["value"] == 20
    parts = texts(replaced["tree"])
    assert (parts["next.size"]["value"], parts["record.size"]["value"]) == (9, 5)
    parts = texts(described["tree"])
    assert (parts["next.metadata"]["value"], parts["record.metadata"]["value"]) == ({"k": "v"}, {})
    assert parts["next.size <= record.size"]["value"] is True
    assert (allowed["verdict"], allowed["answer"]) == ("allow", {"status": 204, "code": None})
    assert {"agrees"} == {one["memory"] for one in (viewed, refused, replaced, described, allowed)}
    assert '"r"."owner" = $' in viewed["sql"]["text"]


async def test_what_was_said_of_a_file_is_kept_as_far_as_it_was_known(files: ProjectUnderTest) -> None:
    """Of a body without a length the size is what came, not what was said; long metadata is not kept."""
    ada = await files.user()
    await put(ada, "one.txt", b"12345")

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"xxxxx"

    text = {"content-type": "text/plain"}
    streamed = await ada.put("buckets/b/files/two.txt", content=pieces(), headers=text)
    long = await ada.patch("buckets/b/files/one.txt", json={"metadata": {"k": "y" * 20_000}})

    assert (403, 403) == (streamed.status_code, long.status_code)
    said = await explained(files.operator, request=streamed.headers["x-request-id"])
    assert (said["denial"]["input"]["size"], said["memory"]) == (20, "agrees")
    assert said["denial"]["input"]["sha256"] == sha256(b"x" * 20)
    said = await explained(files.operator, request=long.headers["x-request-id"])
    assert said["denial"]["input"] is None


async def test_what_needs_no_file_is_said_without_one(files: ProjectUnderTest) -> None:
    """Public buckets, locked rules, rules that a change of users broke, and questions that name no path."""
    ada = await files.user()
    await bucket(files, "open", public=True)
    await bucket(files, "closed")
    await put(ada, "one.txt")

    public = await explained(files.operator, bucket="open", action="view", path="x")
    locked = await explained(files.operator, bucket="closed", action="view", path="x", as_=ada.id)
    depends = await explained(files.operator, bucket="b", action="view", as_=ada.id)
    guest = await explained(files.operator, bucket="b", action="list")
    listed = await explained(files.operator, bucket="b", action="list", path="one.txt", as_=ada.id)

    assert (public["verdict"], public["tree"]) == ("allow", None)
    assert (locked["verdict"], locked["answer"]) == ("deny", {"status": 403, "code": "rule_denied"})
    assert depends["verdict"] == "depends"
    assert '"r"."owner"' in depends["sql"]["text"]
    assert (guest["verdict"], guest["answer"]) == ("deny", {"status": 401, "code": "unauthenticated"})
    assert listed["verdict"] == "allow"


async def test_a_rule_over_records_is_followed_from_a_file(files: ProjectUnderTest) -> None:
    ada = await files.user()
    await files.collection("members", fields=[{"name": "user", "type": "relation", "to": "users", "required": True}])
    rule = "rows('members').exists(m, m.user == auth.id && auth.email_verified == false)"
    assert (await files.operator.patch("buckets/b", json={"rules": {"view": rule}})).status_code == 200
    await put(ada, "one.txt")

    before = await explained(files.operator, bucket="b", action="view", path="one.txt", as_=ada.id)
    await files.operator.create("members", {"user": ada.id})
    after = await explained(files.operator, bucket="b", action="view", path="one.txt", as_=ada.id)

    assert (before["verdict"], before["memory"]) == ("deny", "agrees")
    assert (after["verdict"], after["memory"]) == ("allow", "agrees")
    assert texts(after["tree"])[rule]["elements"]["true"] == 1


async def test_a_key_without_values_sees_none_of_a_file(files: ProjectUnderTest) -> None:
    ada, bob = await files.user(), await files.user()
    await put(ada, "one.txt")
    rule = "record.metadata.word == 'x'"
    assert (await files.operator.patch("buckets/b", json={"rules": {"view": rule}})).status_code == 200
    secret = {"metadata": {"word": "a secret word"}}
    assert (await files.operator.patch("buckets/b/files/one.txt", json=secret)).status_code == 200
    refused = await bob.get("buckets/b/files/one.txt")
    question = {"request": refused.headers["x-request-id"]}
    key = await files.key("schema")
    opened = await files.key("schema", "records", "users")

    closed, shown = [await one.post("rules/explain", json=question) for one in (key, opened)]

    assert "a secret word" in shown.text
    assert "a secret word" not in closed.text
    assert (closed.json()["verdict"], closed.json()["values"]) == ("deny", "withheld")


async def test_what_privileged_callers_miss_is_no_refusal(files: ProjectUnderTest, db: Database) -> None:
    """Neither operators nor keys are judged by rules; nothing is kept of them, nor of errors that no rule caused."""
    ada = await files.user()
    await put(ada, "one.txt")
    for caller, name in ((files.operator, "none"), (await files.key("files"), "none")):
        answer = await caller.get(f"buckets/b/files/{name}")
        assert 404 == answer.status_code
        found = await files.operator.post("rules/explain", json={"request": answer.headers["x-request-id"]})
        assert 404 == found.status_code
    missing = await ada.get("buckets/none/files/x")
    assert 404 == (await files.operator.post("rules/explain", json={"request": missing.headers["x-request-id"]})).status_code
    assert 0 == await db.fetch_value(sql("select count(*) from {}", ident(files.schema, "_denials")))


HOSTILE = [
    {"bucket": "b", "action": "view", "path": "a\x00b"}, {"bucket": "b", "action": "view", "path": "../x"},
    {"bucket": "none", "action": "view", "path": "x"}, {"bucket": "b\x00", "action": "view", "path": "x"},
    {"bucket": "b", "collection": "users", "action": "view"}, {"bucket": "b", "action": "view", "id": "x"},
    {"bucket": "b", "action": "view", "path": "x", "field": "size"}, {"collection": "users", "action": "view", "path": "x"},
    {"bucket": "b", "action": "create", "path": "x"}, {"bucket": "b", "action": "create", "path": "x", "input": {"size": 2**70}},
    {"bucket": "b", "action": "create", "path": "x", "input": {"size": -1, "sha256": "zz", "content_type": 3, "more": 1}},
    {"bucket": "b", "action": "create", "path": "x", "input": {"size": True}},
    {"bucket": "b", "action": "update", "path": "x", "input": {"size": 1, "metadata": {}}},
    {"bucket": "b", "action": "update", "path": "x", "input": {"metadata": [1]}},
    {"bucket": "b", "action": "view", "path": "x" * 3000}, {"bucket": 3, "action": "view"},
    {"bucket": "b", "action": "view", "path": "x", "input": {}},
]  # fmt: skip


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
async def test_a_bad_question_about_a_file_is_the_askers_fault(files: ProjectUnderTest, body: dict[str, Any]) -> None:
    answer = await files.operator.post("rules/explain", json=body)

    assert 400 <= answer.status_code < 500, answer.text


async def test_a_locked_bucket_keeps_any_path_that_was_asked_for(project: ProjectUnderTest) -> None:
    """A path is looked at after the rule: what is kept of it is a text that PostgreSQL can hold."""
    await bucket(project)
    ada = await project.user()
    for path in ("a%00b", "%ff%fe", "x" * 2000, "..%2F..%2Fx"):
        answer = await ada.get(f"buckets/b/files/{path}")
        assert answer.status_code in (400, 403, 404), answer.text
        if answer.status_code == 403:
            said = await explained(project.operator, request=answer.headers["x-request-id"])
            assert said["verdict"] == "deny"


async def test_a_denial_of_a_file_is_told_to_people(here: Terminal, project: ProjectUnderTest) -> None:  # noqa: F811
    await bucket(project, rules=RULES)
    ada, bob = await project.user(), await project.user()
    await put(ada, "a/one.txt")
    refused = await bob.get("buckets/b/files/a/one.txt")

    told = await here("explain", "view", "b/a/one.txt", "--file", "--as", bob.email)
    again = await here("explain", "--request", refused.headers["x-request-id"])

    assert 0 == told.code, told.err
    lines = told.out.splitlines()
    assert lines[0] == f"DENY  b.view  {RULES['view']}"
    assert "answer: 404 file_not_found" in lines
    assert again.out.splitlines()[0] == lines[0]
    assert f"by user {bob.id}, answered 404 file_not_found" in again.out
    assert 0 == (await here("explain", "view", "b", "--file")).code
    assert 2 == (await here("explain", "view", "b", "--file", "--field", "x")).code


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_others_are_served_while_a_bucket_is_judged(
    files: ProjectUnderTest, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """What lints say of its rules is asked when it is stored, and holds up nobody."""
    asked, let_go = threading.Event(), threading.Event()

    def slow(*_: Any) -> list[Any]:
        asked.set()
        assert let_go.wait(20)
        return []

    monkeypatch.setattr(service, "advise_beside", slow)
    path, body = ("buckets", {"name": "n", "public": True}) if method == "POST" else ("buckets/b", {"max_size": 7})
    saving = asyncio.create_task(files.operator.request(method, path, json=body))
    try:
        assert await asyncio.to_thread(asked.wait, 20)
        found = {one["name"]: one for one in (await files.operator.get("buckets")).json()["items"]}
        assert found["n"]["public"] if method == "POST" else found["b"]["max_size"] == 7
        changed = await files.operator.post("collections", json={"name": "others", "fields": []})
        assert changed.status_code == 201, changed.text
    finally:
        let_go.set()
    assert (await saving).status_code in (200, 201)


async def test_a_bucket_without_shape_locks_nothing(files: ProjectUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of its faults are named all the same, those of its rules included."""
    monkeypatch.setattr(definitions, "held", None)
    body = {"name": "N", "max_size": 0, "rules": {"view": "record.nothing == 1"}}
    refused = await files.operator.post("buckets", json=body)
    assert refused.status_code == 422
    assert {"/name", "/max_size", "/rules/view"} == {one["pointer"] for one in refused.json()["errors"]}
