"""`Idempotency-Key` on every call that changes something: those that answer with secrets, and those beyond a project, too."""

import asyncio
import hashlib
import io
import re
import tarfile
from typing import Any

import httpx2
import pytest

from baas.base.ids import short_id, uuid7
from baas.infra.crypto.passwords import Passwords
from baas.infra.db import answers
from baas.infra.db.joined import Joined
from baas.infra.db.pool import Database
from baas.infra.db.sql import ident, sql
from baas.server import Server
from tests.support.callers import PASSWORD, Caller, ProjectUnderTest

OPEN = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")
NEW = {"email": "eve@example.com", "password": PASSWORD}


def keyed(key: str, **more: str) -> dict[str, Any]:
    return {"headers": {"idempotency-key": key, **more}}


def replayed(answer: httpx2.Response) -> bool:
    return answer.headers.get("idempotent-replayed") == "true"


def archive(text: bytes = b"<p>hello") -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as packed:
        member = tarfile.TarInfo("index.html")
        member.size = len(text)
        packed.addfile(member, io.BytesIO(text))
    return whole.getvalue()


@pytest.fixture
async def open_project(project: ProjectUnderTest) -> ProjectUnderTest:
    await project.settings(auth={"sign_up": True})
    return project


async def accounts(project: ProjectUnderTest) -> int:
    return len((await project.operator.get("users")).json()["items"])


# Sessions and secrets ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_repeated_sign_up_is_one_account_and_the_same_tokens(open_project: ProjectUnderTest) -> None:
    anyone = open_project.anonymous

    first, again = [await anyone.post("auth/sign-up", json=NEW, **keyed("k")) for _ in range(2)]
    other = await anyone.post("auth/sign-up", json={**NEW, "password": "another horse battery"}, **keyed("k"))

    assert (first.status_code, replayed(first)) == (201, False), first.text
    assert (again.status_code, replayed(again)) == (201, True), again.text
    assert first.content == again.content
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert "access_token" not in other.text
    assert await accounts(open_project) == 1
    ada = Caller(anyone.http, anyone.base, again.json()["access_token"])
    assert len((await ada.get("auth/sessions")).json()["items"]) == 1


async def test_many_sign_ups_at_once_with_one_key_are_one(open_project: ProjectUnderTest) -> None:
    got = await asyncio.gather(*[open_project.anonymous.post("auth/sign-up", json=NEW, **keyed("k")) for _ in range(6)])

    assert {one.status_code for one in got} == {201}
    assert len({one.content for one in got}) == 1
    assert sum(not replayed(one) for one in got) == 1
    assert await accounts(open_project) == 1


async def test_sign_ups_at_two_servers_with_one_key_are_one(
    open_project: ProjectUnderTest, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another server has done it while this one hashed: its answer is given, and nothing is written a second time."""
    anyone = open_project.anonymous
    first = await anyone.post("auth/sign-up", json=NEW, **keyed("k"))

    async def not_yet(*_: object) -> None:
        return None

    monkeypatch.setattr(answers, "known", not_yet)
    again = await anyone.post("auth/sign-up", json=NEW, **keyed("k"))

    assert replayed(again), again.text
    assert first.content == again.content
    assert await accounts(open_project) == 1


async def test_a_repeated_sign_in_opens_one_session(project: ProjectUnderTest) -> None:
    ada = await project.user("ada@example.com")
    body = {"email": "ada@example.com", "password": PASSWORD}

    first, again = [await project.anonymous.post("auth/sign-in", json=body, **keyed("k")) for _ in range(2)]
    wrong = [await project.anonymous.post("auth/sign-in", json={**body, "password": "x"}, **keyed("w")) for _ in range(2)]

    assert (first.status_code, replayed(first), replayed(again)) == (200, False, True)
    assert first.content == again.content
    assert [(one.status_code, replayed(one)) for one in wrong] == [(401, False)] * 2
    assert len((await ada.get("auth/sessions")).json()["items"]) == 2


async def test_wrong_passwords_under_one_key_are_counted(project: ProjectUnderTest) -> None:
    await project.user("ada@example.com")
    body = {"email": "ada@example.com", "password": "x"}

    got = [(await project.anonymous.post("auth/sign-in", json=body, **keyed("k"))).status_code for _ in range(20)]

    assert got[-1] == 429


async def test_a_repeated_refresh_gives_the_same_pair_and_is_no_theft(project: ProjectUnderTest, db: Database) -> None:
    ada = await project.user()
    body = {"refresh_token": ada.session["refresh_token"]}
    first = await project.anonymous.post("auth/refresh", json=body, **keyed("k"))
    # Long after the grace of a used token, and after its successor was used.
    following = await project.anonymous.post("auth/refresh", json={"refresh_token": first.json()["refresh_token"]})
    await db.execute(sql("update {} set rotated_at = rotated_at - interval '1 hour'", ident(project.schema, "_sessions")))

    again = await project.anonymous.post("auth/refresh", json=body, **keyed("k"))

    assert (first.status_code, following.status_code) == (200, 200)
    assert (again.status_code, replayed(again)) == (200, True), again.text
    assert first.content == again.content
    newest = {"refresh_token": following.json()["refresh_token"]}
    assert (await project.anonymous.post("auth/refresh", json=newest)).status_code == 200


async def test_a_stolen_refresh_token_ends_the_session_with_a_key_too(project: ProjectUnderTest, db: Database) -> None:
    """What a refusal undoes is not what the refusal is about."""
    ada = await project.user()
    body = {"refresh_token": ada.session["refresh_token"]}
    following = (await project.anonymous.post("auth/refresh", json=body)).json()
    await db.execute(sql("update {} set rotated_at = rotated_at - interval '1 hour'", ident(project.schema, "_sessions")))

    stolen = await project.anonymous.post("auth/refresh", json=body, **keyed("k"))

    assert stolen.status_code == 401
    owner = await project.anonymous.post("auth/refresh", json={"refresh_token": following["refresh_token"]})
    assert owner.status_code == 401


async def test_a_repeated_key_creation_is_one_key_with_the_same_secret(project: ProjectUnderTest) -> None:
    body = {"name": "k", "scopes": ["users"]}

    first, again = [await project.operator.post("keys", json=body, **keyed("k")) for _ in range(2)]

    assert (first.status_code, replayed(first), replayed(again)) == (201, False, True), again.text
    assert first.json()["key"] == again.json()["key"]
    assert len((await project.operator.get("keys")).json()["items"]) == 1


async def test_what_is_kept_tells_no_secret(open_project: ProjectUnderTest, db: Database) -> None:
    session = (await open_project.anonymous.post("auth/sign-up", json=NEW, **keyed("a"))).json()
    secret = (await open_project.operator.post("keys", json={"name": "k", "scopes": ["*"]}, **keyed("b"))).json()["key"]

    rows = await db.fetch(sql("select * from {}", ident(open_project.schema, "_idempotency")))

    assert len(rows) == 2
    kept = b"".join(repr(dict(row)).encode() + row["body"] for row in rows)
    for word in (session["access_token"], session["refresh_token"], secret, "eve@example.com", PASSWORD):
        assert word.encode() not in kept


async def test_a_kept_answer_opens_at_its_own_place_only(open_project: ProjectUnderTest, db: Database) -> None:
    """Who can write into the table cannot have another's answer shown to himself."""
    anyone, table = open_project.anonymous, ident(open_project.schema, "_idempotency")
    first = await anyone.post("auth/sign-up", json=NEW, **keyed("hers"))
    await db.execute(sql("update {} set key = 'mine'", table))

    moved = await anyone.post("auth/sign-up", json=NEW, **keyed("mine"))

    assert moved.status_code == 500
    assert first.json()["access_token"] not in moved.text


async def test_a_password_is_changed_once(project: ProjectUnderTest) -> None:
    ada = await project.user("ada@example.com")
    body = {"current": PASSWORD, "password": "another horse battery"}

    answers_ = [await ada.post("auth/password-change", json=body, **keyed("k")) for _ in range(2)]

    assert [(one.status_code, replayed(one)) for one in answers_] == [(204, False), (204, True)]


async def test_no_password_waits_for_a_processor_with_a_connection(
    open_project: ProjectUnderTest, operator: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few sign-ins in the queue of the hasher would hold the whole pool."""
    held: list[bool] = []
    run = Passwords._run

    async def seen(self: Passwords, work: Any) -> Any:
        held.append(Joined.here() is not None)
        return await run(self, work)

    monkeypatch.setattr(Passwords, "_run", seen)
    ada = await open_project.user("ada@example.com")
    held.clear()
    sign_in = {"email": "ada@example.com", "password": PASSWORD}
    calls: list[tuple[Caller, str, str, dict[str, str]]] = [
        (open_project.anonymous, "POST", "auth/sign-up", NEW),
        (open_project.anonymous, "POST", "auth/sign-in", sign_in),
        (open_project.operator, "POST", "users", {"email": "bob@example.com", "password": PASSWORD}),
        (open_project.operator, "PATCH", f"users/{ada.id}", {"password": "another horse battery"}),
        (operator, "POST", "operators/sign-in", {"email": "operator@example.com", "password": "operator password"}),
    ]
    for caller, method, path, body in calls:
        answer = await caller.request(method, path, json=body, **keyed(path))
        assert answer.status_code < 300, (path, answer.text)
    body = {**sign_in, "password": "another horse battery"}
    session = (await open_project.anonymous.post("auth/sign-in", json=body)).json()
    again = Caller(ada.http, ada.base, session["access_token"])
    change = {"current": "another horse battery", "password": "a third horse battery"}
    assert (await again.post("auth/password-change", json=change, **keyed("k"))).status_code == 204

    assert len(held) >= 8
    assert not any(held)


# Beyond a project ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_project_is_made_renamed_and_deleted_once(operator: Caller, db: Database) -> None:
    name, other = f"t-{short_id()}", f"t-{short_id()}"
    calls = [
        ("POST", "projects", {"json": {"name": name}}, 201),
        ("PATCH", f"projects/{name}", {"json": {"name": other}}, 200),
        ("DELETE", f"projects/{other}", {"params": {"confirm": other}}, 204),
    ]
    for method, path, options, status in calls:
        first, again = [await operator.request(method, path, **options, **keyed(f"{name} {method}")) for _ in range(2)]
        without = await operator.request(method, path, **options)

        assert (first.status_code, replayed(first)) == (status, False), (method, first.text)
        assert (again.status_code, replayed(again)) == (status, True), (method, again.text)
        assert first.content == again.content
        assert without.status_code in (404, 409)
    assert (await operator.request("DELETE", "projects/t-nowhere", **keyed(f"{name} x"))).status_code == 404


async def test_many_projects_at_once_with_one_key_are_one(operator: Caller) -> None:
    name = f"t-{short_id()}"

    got = await asyncio.gather(*[operator.post("projects", json={"name": name}, **keyed(name)) for _ in range(4)])

    assert {one.status_code for one in got} == {201}
    assert sum(not replayed(one) for one in got) == 1


async def test_an_operator_signs_in_once(operator: Caller, db: Database) -> None:
    body = {"email": "operator@example.com", "password": "operator password"}
    stranger = Caller(operator.http, "/v1")
    key = short_id()

    first, again = [await stranger.post("operators/sign-in", json=body, **keyed(key)) for _ in range(2)]

    assert (first.status_code, replayed(first), replayed(again)) == (200, False, True)
    assert first.content == again.content
    kept = await db.fetch_value(sql("select body from baas._idempotency where key = {}", key))
    assert first.json()["token"].encode() not in kept


async def test_the_installations_answers_are_swept_too(server: Server, operator: Caller, db: Database) -> None:
    name = f"t-{short_id()}"
    assert (await operator.post("projects", json={"name": name}, **keyed(name))).status_code == 201
    await db.execute(sql("update baas._idempotency set created_at = created_at - interval '25 hours' where key = {}", name))

    assert await answers.sweep(db, "baas") >= 1
    assert await db.fetch_value(sql("select count(*) from baas._idempotency where key = {}", name)) == 0


# Releases ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_repeated_deploy_is_one_release(project: ProjectUnderTest) -> None:
    assert (await project.operator.post("sites", json={"name": "s"})).status_code == 201
    path, body = "sites/s/releases/archive", archive()

    first, again = [await project.operator.post(path, content=body, **keyed("k")) for _ in range(2)]
    other = await project.operator.post(path, content=archive(b"<p>other"), **keyed("k"))

    assert (first.status_code, replayed(first), replayed(again)) == (201, False, True), again.text
    assert first.content == again.content
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert len((await project.operator.get("sites/s/releases")).json()["items"]) == 1


# Every door ──────────────────────────────────────────────────────────────────────────────────────────────────────────

# A credential that has ended shows nothing, not even the answer to its own end; for the rest see the words.
NOT_REPLAYED = {
    ("POST", "auth/sign-out"): "ends the credential that asks",
    ("DELETE", "auth/me"): "ends the credential that asks",
    ("DELETE", "auth/sessions"): "ends the credential that asks",
    ("POST", "/v1/operators/sign-out"): "ends the credential that asks",
    ("POST", "/v1/operators/setup"): "there is an operator here; see tests/features/test_operators.py",
    ("POST", "collections/{collection}/records/import"): "replayed by the thousand, see tests/features/test_import.py",
    ("PUT", "sites/{site}/blobs/{sha256}"): "the address is the content's digest: the same effect and answer anyway",
}


async def test_every_call_that_changes_something_is_replayed(server: Server, open_project: ProjectUnderTest) -> None:
    """Made from the route table: who adds an endpoint adds it here, or says why it cannot be."""
    project, root = open_project, open_project.operator
    await project.collection("tasks", [{"name": "title", "type": "text", "unique": True}], OPEN)
    assert (await root.post("buckets", json={"name": "b", "rules": OPEN})).status_code == 201
    assert (await root.post("sites", json={"name": "s"})).status_code == 201
    assert (await root.put("buckets/b/files/old.txt", content=b"x", headers={"content-type": "text/plain"})).status_code == 201
    ada = await project.user("ada@example.com")
    second = (await project.anonymous.post("auth/sign-in", json={"email": "ada@example.com", "password": PASSWORD})).json()
    refresh = {"refresh_token": second["refresh_token"]}
    bob = (await root.post("users", json={"email": "bob@example.com"})).json()["id"]
    key = (await root.post("keys", json={"name": "k"})).json()["id"]
    signing = (await root.get("auth/signing-keys")).json()["items"][0]["id"]
    one = (await root.create("tasks", {"title": "a"}))["id"]
    empty = {"files": {"index.html": {"sha256": hashlib.sha256(b"").hexdigest(), "size": 0}}}
    assert (await root.put(f"sites/s/blobs/{hashlib.sha256(b'').hexdigest()}", content=b"")).status_code == 204
    release = (await root.post("sites/s/releases", json=empty)).json()["id"]
    text = {"content-type": "text/plain"}
    everything: list[tuple[Caller, str, str, dict[str, str], dict[str, Any]]] = [
        (root, "POST", "collections", {}, {"json": {"name": "more", "fields": [{"name": "n", "type": "int"}]}}),
        (root, "PATCH", "collections/{collection}", {"collection": "more"}, {"json": {"rules": OPEN}}),
        (root, "DELETE", "collections/{collection}", {"collection": "more"}, {"params": {"confirm": "data-loss"}}),
        (root, "POST", "collections/{collection}/records", {}, {"json": {"title": "b"}}),
        (root, "PUT", "collections/{collection}/records/{id}", {"id": str(uuid7())}, {"json": {"title": "c"}}),
        (root, "PATCH", "collections/{collection}/records/{id}", {"id": one}, {"json": {"title": "d"}}),
        (root, "POST", "collections/{collection}/records/upsert", {}, {"json": {"key": ["title"], "items": [{"title": "e"}]}}),
        (root, "POST", "collections/{collection}/records/bulk-update", {},
         {"json": {"filter": "title == 'x'", "patch": {"title": "y"}, "max_affected": 5}}),
        (root, "POST", "collections/{collection}/records/bulk-delete", {},
         {"json": {"filter": "title == 'x'", "max_affected": 5}}),
        (root, "DELETE", "collections/{collection}/records/{id}", {"id": one}, {}),
        (root, "POST", "batch", {},
         {"json": {"operations": [{"method": "POST", "path": "/collections/tasks/records", "body": {"title": "z"}}]}}),
        (root, "POST", "buckets", {}, {"json": {"name": "c"}}),
        (root, "PATCH", "buckets/{bucket}", {"bucket": "c"}, {"json": {"rules": OPEN}}),
        (root, "DELETE", "buckets/{bucket}", {"bucket": "c"}, {"params": {"confirm": "data-loss"}}),
        (root, "PUT", "buckets/{bucket}/files/{path:path}", {"path": "new.txt"}, {"content": b"x", "headers": text}),
        (root, "PATCH", "buckets/{bucket}/files/{path:path}", {"path": "old.txt"}, {"json": {"metadata": {"a": 1}}}),
        (root, "DELETE", "buckets/{bucket}/files/{path:path}", {"path": "old.txt"}, {}),
        (root, "POST", "sites", {}, {"json": {"name": "t"}}),
        (root, "PATCH", "sites/{site}", {"site": "t"}, {"json": {"spa": True}}),
        (root, "DELETE", "sites/{site}", {"site": "t"}, {}),
        (root, "POST", "sites/{site}/releases", {}, {"json": empty}),
        (root, "POST", "sites/{site}/releases/archive", {}, {"content": archive()}),
        (root, "POST", "sites/{site}/releases/{release}/finalize", {"release": release}, {}),
        (root, "POST", "sites/{site}/releases/{release}/activate", {"release": release}, {}),
        (root, "PUT", "channels/{pattern}", {"pattern": "room-1"}, {"json": {"rules": {}}}),
        (root, "DELETE", "channels/{pattern}", {"pattern": "room-1"}, {}),
        (ada, "POST", "realtime/ticket", {}, {}),
        (root, "PATCH", "settings", {}, {"json": {"auth": {"sign_up": True}}}),
        (root, "POST", "keys", {}, {"json": {"name": "l"}}),
        (root, "DELETE", "keys/{key}", {"key": key}, {}),
        (root, "POST", "users", {}, {"json": {"email": "cy@example.com", "password": PASSWORD}}),
        (root, "PATCH", "users/{user}", {"user": bob}, {"json": {"password": "another horse battery"}}),
        (root, "DELETE", "users/{user}/sessions", {"user": bob}, {}),
        (root, "DELETE", "users/{user}", {"user": bob}, {}),
        (project.anonymous, "POST", "auth/sign-up", {}, {"json": NEW}),
        (project.anonymous, "POST", "auth/sign-in", {}, {"json": NEW}),
        (project.anonymous, "POST", "auth/refresh", {}, {"json": refresh}),
        (ada, "PATCH", "auth/me", {}, {"json": {}}),
        (ada, "DELETE", "auth/sessions/{session}", {"session": second["session_id"]}, {}),
        (ada, "POST", "auth/password-change", {}, {"json": {"current": PASSWORD, "password": "another horse battery"}}),
        (root, "POST", "auth/signing-keys", {}, {}),
        (root, "DELETE", "auth/signing-keys/{key}", {"key": signing}, {}),
        (root, "POST", "/v1/operators/sign-in", {},
         {"json": {"email": "operator@example.com", "password": "operator password"}}),
        (root, "POST", "/v1/projects", {}, {"json": {"name": f"t-{short_id()}"}}),
    ]  # fmt: skip
    usual = {"collection": "tasks", "bucket": "b", "site": "s"}
    for at, (caller, method, path, names, options) in enumerate(everything):
        address = path
        for name, value in {**usual, **names}.items():
            address = re.sub(rf"\{{{name}(:path)?\}}", value, address)
        headers = {**options.pop("headers", {}), "idempotency-key": f"{project.name} {at}"}
        got = [await caller.request(method, address, **options, headers=headers) for _ in range(2)]

        assert got[0].status_code < 300, (method, path, got[0].text)
        assert got[0].content == got[1].content, (method, path, got[1].text)
        assert [replayed(one) for one in got] == [False, True], (method, path)
    beyond = {("PATCH", ""), ("DELETE", "")}  # test_a_project_is_made_renamed_and_deleted_once
    tried = {(method, path) for _, method, path, _, _ in everything} | beyond | NOT_REPLAYED.keys()
    base = "/v1/projects/{project}"
    table = {
        (one.method, one.path.removeprefix(base).lstrip("/") if one.path.startswith(base) else one.path)
        for one in server.app.endpoints  # type: ignore[attr-defined]
        if one.changes
    }
    assert tried == table
