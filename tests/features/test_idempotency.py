"""`Idempotency-Key`: one effect and one answer, however often and however many at once ask (threat model P1, P2)."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx2
import pytest

from baas.base.errors import Conflict
from baas.base.ids import short_id, uuid7
from baas.base.principal import Principal
from baas.base.project import Project, ProjectSettings
from baas.infra.db.pool import Database
from baas.infra.db.sql import ident, sql
from baas.infra.http.context import Context
from baas.infra.http.once import Once
from baas.infra.http.router import Found
from baas.infra.http.routes import ANYONE, Endpoint
from tests.support.callers import Caller, ProjectUnderTest

RULES = {"list": "true", "view": "true", "create": "true", "update": "true", "delete": "true"}
TASKS = "collections/tasks/records"


@pytest.fixture
async def tasks(project: ProjectUnderTest) -> ProjectUnderTest:
    fields: list[dict[str, Any]] = [
        {"name": "title", "type": "text", "required": True},
        {"name": "slug", "type": "text", "unique": True},
        {"name": "n", "type": "int"},
    ]
    await project.collection("tasks", fields, RULES)
    return project


def keyed(key: str, **more: str) -> dict[str, Any]:
    return {"headers": {"idempotency-key": key, **more}}


def replayed(answer: httpx2.Response) -> bool:
    return answer.headers.get("idempotent-replayed") == "true"


async def kept(db: Database, project: ProjectUnderTest) -> int:
    return int(await db.fetch_value(sql("select count(*) from {}", ident(project.schema, "_idempotency"))))


async def test_a_repeated_create_is_one_record_and_one_answer(tasks: ProjectUnderTest) -> None:
    ada = await tasks.user()

    first = await ada.post(TASKS, json={"title": "a"}, **keyed("k1"))
    again = await ada.post(TASKS, json={"title": "a"}, **keyed("k1"))

    assert first.status_code == again.status_code == 201
    assert not replayed(first)
    assert replayed(again)
    assert first.content == again.content
    for name in ("etag", "location", "content-type", "cache-control"):
        assert first.headers[name] == again.headers[name]
    assert first.headers["x-request-id"] != again.headers["x-request-id"]
    assert len(await ada.list("tasks")) == 1


@pytest.mark.parametrize("who", ["user", "key", "operator", "anonymous"])
async def test_every_way_to_write_is_repeatable(tasks: ProjectUnderTest, who: str) -> None:
    callers = {"user": tasks.user, "key": tasks.key}
    caller = await callers[who]() if who in callers else getattr(tasks, who)
    one = (await caller.create("tasks", {"title": "a", "n": 1}))["id"]
    other = uuid7()

    calls: list[tuple[str, str, Any, int]] = [
        ("POST", TASKS, [{"title": "b"}, {"title": "c"}], 201),
        ("PATCH", f"{TASKS}/{one}", {"n": 2}, 200),
        ("PUT", f"{TASKS}/{other}", {"title": "d"}, 201),
        ("PUT", f"{TASKS}/{one}", {"title": "e"}, 200),
        ("DELETE", f"{TASKS}/{one}", None, 204),
    ]
    for at, (method, path, body, status) in enumerate(calls):
        options = {"json": body} if body is not None else {}
        answers = [await caller.request(method, path, **options, **keyed(f"k{at}")) for _ in range(3)]

        assert [one.status_code for one in answers] == [status] * 3, (method, answers[1].text)
        assert len({one.content for one in answers}) == 1
        assert [replayed(one) for one in answers] == [False, True, True]
    assert {one["title"]: one["rev"] for one in await caller.list("tasks")} == {"b": 1, "c": 1, "d": 1}


async def test_another_content_under_the_same_key_is_refused(tasks: ProjectUnderTest) -> None:
    ada = await tasks.user()
    one = (await ada.create("tasks", {"title": "a"}))["id"]
    assert (await ada.post(TASKS, json={"title": "a"}, **keyed("k"))).status_code == 201

    others = [
        await ada.post(TASKS, json={"title": "b"}, **keyed("k")),
        await ada.put(f"{TASKS}/{uuid7()}", json={"title": "a"}, **keyed("k")),
        await ada.patch(f"{TASKS}/{one}", json={"title": "a"}, **keyed("k")),
        await ada.delete(f"{TASKS}/{one}", **keyed("k")),
        await ada.post(TASKS, content=b'{"title": "a" }', **keyed("k", **{"content-type": "application/json"})),
    ]

    assert [(one.status_code, one.json()["code"]) for one in others] == [(422, "idempotency_mismatch")] * len(others)
    assert len(await ada.list("tasks")) == 2


async def test_a_key_belongs_to_who_used_it(tasks: ProjectUnderTest) -> None:
    """The answer of one caller is never given to another, whatever he guesses."""
    ada, bob = await tasks.user(), await tasks.user()
    mine = await ada.post(TASKS, json={"title": "a"}, **keyed("k"))

    for other in (bob, tasks.anonymous, tasks.operator, await tasks.key()):
        answer = await other.post(TASKS, json={"title": "a"}, **keyed("k"))
        assert answer.status_code == 201
        assert not replayed(answer)
        assert answer.json()["id"] != mine.json()["id"]


async def test_a_key_belongs_to_its_project(tasks: ProjectUnderTest, operator: Caller) -> None:
    name = f"t-{short_id()}"
    assert (await operator.post("projects", json={"name": name})).status_code == 201
    other = Caller(operator.http, f"/v1/projects/{name}", operator.token)
    body = {"name": "tasks", "fields": [{"name": "title", "type": "text"}]}
    assert (await other.post("collections", json=body)).status_code == 201

    answers = [await one.post(TASKS, json={"title": "a"}, **keyed("k")) for one in (tasks.operator, other)]

    assert [replayed(one) for one in answers] == [False, False]


async def test_refusals_of_known_callers_are_answered_again(tasks: ProjectUnderTest) -> None:
    ada = await tasks.user()
    one = await ada.create("tasks", {"title": "a", "slug": "s"})
    calls: list[tuple[str, str, dict[str, Any], int]] = [
        ("POST", TASKS, {"json": {}}, 422),
        ("POST", TASKS, {"json": {"title": "b", "slug": "s"}}, 409),
        ("PATCH", f"{TASKS}/{one['id']}", {"json": {"n": 1}, "headers": {"if-match": '"7"'}}, 412),
        ("PATCH", f"{TASKS}/{uuid7()}", {"json": {"n": 1}}, 404),
        ("POST", TASKS, {"content": b"{", "headers": {"content-type": "application/json"}}, 400),
    ]
    for at, (method, path, options, status) in enumerate(calls):
        options["headers"] = {**options.get("headers", {}), "idempotency-key": f"k{at}"}
        first, again = [await ada.request(method, path, **options) for _ in range(2)]

        assert (first.status_code, replayed(first)) == (status, False), first.text
        assert (again.status_code, replayed(again)) == (status, True)
        assert first.content == again.content
        assert again.headers["content-type"] == "application/problem+json"


async def test_refusing_strangers_keeps_nothing(tasks: ProjectUnderTest, db: Database) -> None:
    """Or anybody could fill the disk with calls that are refused."""
    for at in range(3):
        assert (await tasks.anonymous.post(TASKS, json={}, **keyed(f"k{at}"))).status_code == 422

    assert await kept(db, tasks) == 0


async def test_a_bad_credential_gets_no_kept_answer(tasks: ProjectUnderTest) -> None:
    ada = await tasks.user()
    assert (await ada.post(TASKS, json={"title": "a"}, **keyed("k"))).status_code == 201
    ended = await ada.post("auth/sign-out")
    assert ended.status_code == 204

    answer = await ada.post(TASKS, json={"title": "a"}, **keyed("k"))

    assert answer.status_code == 401


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "a\tb", "ü"])
async def test_a_key_that_is_none_is_refused(tasks: ProjectUnderTest, key: str) -> None:
    headers = [(b"idempotency-key", key.encode("latin-1"))]

    answer = await tasks.operator.http.post(
        f"{tasks.operator.base}/{TASKS}",
        json={"title": "a"},
        headers=[*headers, (b"authorization", f"Bearer {tasks.operator.token}".encode())],
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_header"), answer.text
    assert await tasks.operator.list("tasks") == []


async def test_the_longest_key_is_one(tasks: ProjectUnderTest) -> None:
    answers = [await tasks.operator.post(TASKS, json={"title": "a"}, **keyed("~" * 255)) for _ in range(2)]

    assert [replayed(one) for one in answers] == [False, True]


async def test_questions_need_no_key_and_keep_nothing(tasks: ProjectUnderTest, db: Database) -> None:
    await tasks.operator.create("tasks", {"title": "a"})

    answers = [await tasks.operator.post(f"{TASKS}/query", json={}, **keyed("k")) for _ in range(2)]

    assert [one.status_code for one in answers] == [200, 200]
    assert not any(replayed(one) for one in answers)
    assert await kept(db, tasks) == 0


async def test_many_at_once_with_one_key_are_one(tasks: ProjectUnderTest) -> None:
    ada = await tasks.user()

    answers = await asyncio.gather(*[ada.post(TASKS, json={"title": "a"}, **keyed("k")) for _ in range(40)])

    assert {one.status_code for one in answers} == {201}
    assert len({one.content for one in answers}) == 1
    assert sum(not replayed(one) for one in answers) == 1
    assert len(await ada.list("tasks")) == 1


async def test_while_the_first_runs_elsewhere_the_second_is_told_so(tasks: ProjectUnderTest, db: Database) -> None:
    """Another server has the key: its transaction is open on a connection that is not this one's."""
    ada = await tasks.user()
    table = ident(tasks.schema, "_idempotency")
    async with db.transaction() as elsewhere:
        await elsewhere.execute(
            sql("insert into {} (principal, key, fingerprint) values ({}, 'k', {})", table, f"user:{ada.id}", b"x")
        )
        answer = await ada.post(TASKS, json={"title": "a"}, **keyed("k"))
        await elsewhere.execute(sql("delete from {}", table))

    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_in_progress")
    assert answer.headers["retry-after"] == "1"
    assert (await ada.post(TASKS, json={"title": "a"}, **keyed("k"))).status_code == 201


async def test_after_a_day_a_key_is_new(tasks: ProjectUnderTest, db: Database) -> None:
    ada = await tasks.user()
    first = await ada.post(TASKS, json={"title": "a"}, **keyed("k"))
    table = ident(tasks.schema, "_idempotency")
    await db.execute(sql("update {} set created_at = created_at - {}::interval", table, timedelta(hours=24, seconds=1)))

    again = await ada.post(TASKS, json={"title": "b"}, **keyed("k"))

    assert again.status_code == 201
    assert again.json()["id"] != first.json()["id"]
    assert replayed(await ada.post(TASKS, json={"title": "b"}, **keyed("k")))


async def test_the_sweeper_forgets_what_is_older_than_a_day(tasks: ProjectUnderTest, db: Database) -> None:
    for at in range(3):
        assert (await tasks.operator.post(TASKS, json={"title": "a"}, **keyed(f"k{at}"))).status_code == 201
    table = ident(tasks.schema, "_idempotency")
    old = timedelta(hours=25)
    await db.execute(sql("update {} set created_at = created_at - {}::interval where key <> 'k0'", table, old))
    project = Project(UUID(tasks.id), tasks.name, tasks.schema, ProjectSettings())

    assert await Once(db, b"s" * 32).sweep(project) == 2
    assert await kept(db, tasks) == 1


async def test_effect_and_answer_are_one_transaction(tasks: ProjectUnderTest, db: Database) -> None:
    """An answer that cannot be kept undoes the effect: here a trigger refuses it, as a full disk would."""
    ada = await tasks.user()
    schema = ident(tasks.schema)
    table, refuse = sql("{}._idempotency", schema), sql("{}._refuse()", schema)
    body = sql(
        "create function {} returns trigger language plpgsql as 'begin raise exception using errcode = ''53100''; end'", refuse
    )
    await db.execute(body)
    await db.execute(sql("create trigger refuse before update on {} for each row execute function {}", table, refuse))

    answer = await ada.post(TASKS, json={"title": "a"}, **keyed("k"))

    assert answer.status_code == 507, answer.text
    assert await ada.list("tasks") == []
    await db.execute(sql("drop trigger refuse on {}", table))
    assert (await ada.post(TASKS, json={"title": "a"}, **keyed("k"))).status_code == 201


async def test_accounts_and_descriptions_of_files_are_repeatable_too(project: ProjectUnderTest, db: Database) -> None:
    ada = (await project.operator.post("users", json={"email": "ada@example.com"})).json()["id"]
    assert (await project.operator.post("buckets", json={"name": "b"})).status_code == 201
    sent = await project.operator.put("buckets/b/files/f.txt", content=b"x", headers={"content-type": "text/plain"})
    assert sent.status_code == 201
    calls: list[tuple[str, str, Any, int]] = [
        ("POST", "users", {"email": "bob@example.com", "password": "correct horse battery"}, 201),
        ("POST", "users", {"email": "ada@example.com"}, 409),
        ("PATCH", f"users/{ada}", {"password": "another horse battery"}, 200),
        ("PATCH", "buckets/b/files/f.txt", {"metadata": {"a": 1}}, 200),
        ("DELETE", f"users/{ada}", None, 204),
    ]
    for at, (method, path, body, status) in enumerate(calls):
        options = {"json": body} if body is not None else {}
        first, again = [await project.operator.request(method, path, **options, **keyed(f"k{at}")) for _ in range(2)]

        assert (first.status_code, replayed(first)) == (status, False), (path, first.text)
        assert (again.status_code, replayed(again)) == (status, True), (path, again.text)
        assert first.content == again.content
    prints = await db.fetch(sql("select fingerprint from {}", ident(project.schema, "_idempotency")))
    assert len({row["fingerprint"] for row in prints}) == len(calls)


async def test_definitions_are_repeatable_too(project: ProjectUnderTest, db: Database) -> None:
    """Collections, buckets, channels, sites, settings: the answer stays, and what is defined is there at once."""
    ada = await project.user()
    notes = {"name": "notes", "fields": [{"name": "title", "type": "text"}], "rules": RULES}
    calls: list[tuple[str, str, Any, int]] = [
        ("POST", "collections", notes, 201),
        ("POST", "collections", {**notes, "fields": [{"name": "X", "type": "nonsense"}]}, 422),
        ("PATCH", "collections/notes", {"fields": [*notes["fields"], {"name": "n", "type": "int"}]}, 200),
        ("POST", "collections", {"name": "seen", "view": {"sql": "select id, title from notes"}}, 201),
        ("DELETE", "collections/seen", None, 204),
        ("POST", "buckets", {"name": "b"}, 201),
        ("PATCH", "buckets/b", {"public": True}, 200),
        ("DELETE", "buckets/b", None, 204),
        ("PUT", "channels/room:{id}", {"rules": {"join": "true"}}, 200),
        ("DELETE", "channels/room:{id}", None, 204),
        ("POST", "sites", {"name": "web"}, 201),
        ("DELETE", "sites/web", None, 204),
        ("PATCH", "settings", {"auth": {"sign_up": True}}, 200),
        ("DELETE", f"users/{ada.id}/sessions", None, 204),
    ]
    for at, (method, path, body, status) in enumerate(calls):
        options = {"json": body} if body is not None else {}
        first, again = [await project.operator.request(method, path, **options, **keyed(f"k{at}")) for _ in range(2)]
        assert (first.status_code, replayed(first)) == (status, False), (method, path, first.text)
        assert (again.status_code, replayed(again)) == (status, True), (method, path, again.text)
        assert first.content == again.content
        other = await project.operator.request(method, path, json={"name": "other"}, **keyed(f"k{at}"))
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch"), (method, path)
        if path == "collections" and status == 201 and body is notes:
            assert (await ada.post("collections/notes/records", json={"title": "a"})).status_code == 201, "known at once"

    assert (await ada.get("auth/me")).status_code == 401, "the sessions have ended at once"
    assert (await project.operator.get("settings")).json()["auth"]["sign_up"] is True
    assert [one["name"] for one in (await project.operator.get("collections")).json()["items"]] == ["notes", "users"]


async def test_a_definition_that_cannot_be_kept_is_not_seen_by_anybody(project: ProjectUnderTest, db: Database) -> None:
    """What caches hold may not come from a transaction that is undone."""
    schema = ident(project.schema)
    table, refuse = sql("{}._idempotency", schema), sql("{}._refuse()", schema)
    body = sql(
        "create function {} returns trigger language plpgsql as 'begin raise exception using errcode = ''53100''; end'", refuse
    )
    await db.execute(body)
    await db.execute(sql("create trigger refuse before update on {} for each row execute function {}", table, refuse))

    lost = [
        await project.operator.post("collections", json={"name": "notes"}, **keyed("a")),
        await project.operator.post("buckets", json={"name": "b"}, **keyed("b")),
    ]

    assert [one.status_code for one in lost] == [507, 507]
    assert (await project.operator.get("collections/notes")).status_code == 404
    assert (await project.operator.get("buckets/b")).status_code == 404


async def test_many_definitions_at_once_with_one_key_are_one(project: ProjectUnderTest) -> None:
    body = {"name": "notes", "fields": [{"name": "title", "type": "text"}]}

    answers = await asyncio.gather(*[project.operator.post("collections", json=body, **keyed("k")) for _ in range(8)])

    assert {one.status_code for one in answers} == {201}
    assert len({one.content for one in answers}) == 1
    assert sum(not replayed(one) for one in answers) == 1


@pytest.fixture
async def bucket(project: ProjectUnderTest) -> ProjectUnderTest:
    rules = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")
    assert (await project.operator.post("buckets", json={"name": "b", "rules": rules})).status_code == 201
    return project


FILE = "buckets/b/files/f.txt"


async def test_an_upload_is_repeatable(bucket: ProjectUnderTest) -> None:
    """Though it is one that may only create: the second attempt is the first one, and not a conflict with it."""
    ada = await bucket.user()
    sent = keyed("k", **{"content-type": "text/plain", "if-none-match": "*"})

    first, again = [await ada.put(FILE, content=b"one", **sent) for _ in range(2)]
    others = [
        await ada.put(FILE, content=b"two", **sent),
        await ada.put("buckets/b/files/g.txt", content=b"one", **sent),
        await ada.put(FILE, content=b"one", **keyed("k", **{"content-type": "text/plain"})),
    ]

    assert (first.status_code, replayed(first)) == (201, False), first.text
    assert (again.status_code, replayed(again)) == (201, True), again.text
    assert first.content == again.content
    for name in ("etag", "location", "content-type", "content-length"):
        assert first.headers.get_list(name) == again.headers.get_list(name)
    assert [(one.status_code, one.json()["code"]) for one in others] == [(422, "idempotency_mismatch")] * 3
    assert (await ada.get(FILE)).content == b"one"
    assert (await bucket.operator.get("buckets/b/files")).json()["items"][0]["path"] == "f.txt"


async def test_a_repeated_upload_does_not_bring_back_what_came_after_it(bucket: ProjectUnderTest) -> None:
    ada = await bucket.user()
    old = keyed("old", **{"content-type": "text/plain"})
    assert (await ada.put(FILE, content=b"old", **old)).status_code == 201
    assert (await ada.put(FILE, content=b"new", **keyed("new", **{"content-type": "text/plain"}))).status_code == 200

    again = await ada.put(FILE, content=b"old", **old)

    assert replayed(again)
    assert (await ada.get(FILE)).content == b"new"


async def test_many_uploads_at_once_with_one_key_are_one(bucket: ProjectUnderTest) -> None:
    ada = await bucket.user()
    sent = keyed("k", **{"content-type": "text/plain", "if-none-match": "*"})

    answers = await asyncio.gather(*[ada.put(FILE, content=b"x" * 100_000, **sent) for _ in range(8)])

    assert {one.status_code for one in answers} == {201}
    assert len({one.content for one in answers}) == 1
    assert sum(not replayed(one) for one in answers) == 1


async def test_a_refused_upload_is_judged_anew(bucket: ProjectUnderTest, db: Database) -> None:
    """Nothing was stored, so there is nothing to repeat; and a body is not kept to tell that it is the same."""
    ada = await bucket.user()
    sent = keyed("k", **{"content-type": "text/plain", "if-match": '"00"'})

    answers = [await ada.put(FILE, content=b"x", **sent) for _ in range(2)]

    assert [one.status_code for one in answers] == [412, 412]
    assert await kept(db, bucket) == 0


async def test_a_repeated_deletion_leaves_a_file_that_came_after_it(bucket: ProjectUnderTest) -> None:
    ada = await bucket.user()
    text = {"content-type": "text/plain"}
    assert (await ada.put(FILE, content=b"one", headers=text)).status_code == 201
    assert (await ada.delete(FILE, **keyed("k"))).status_code == 204
    assert (await ada.get(FILE)).status_code == 404
    assert (await ada.put(FILE, content=b"two", headers=text)).status_code == 201

    again = await ada.delete(FILE, **keyed("k"))

    assert (again.status_code, replayed(again)) == (204, True)
    assert (await ada.get(FILE)).content == b"two"


async def test_bulk_changes_are_repeatable_alone_and_in_a_batch(tasks: ProjectUnderTest) -> None:
    for at in range(3):
        await tasks.operator.create("tasks", {"title": "a", "n": at})
    body = {"filter": "n >= 1", "patch": {"n": {"$inc": 1}}, "max_affected": 5}
    operation = {"method": "POST", "path": f"/{TASKS}/bulk-update", "body": body}

    alone = [await tasks.operator.post(f"{TASKS}/bulk-update", json=body, **keyed("k")) for _ in range(2)]
    batched = [await tasks.operator.post("batch", json={"operations": [operation] * 2}, **keyed("b")) for _ in range(2)]

    assert [one.json() for one in alone] == [{"affected": 2}] * 2
    assert batched[0].status_code == 200, batched[0].text
    assert batched[0].content == batched[1].content
    assert sorted(one["n"] for one in await tasks.operator.list("tasks")) == [0, 4, 5]


async def test_what_a_refused_call_wrote_before_is_undone(tasks: ProjectUnderTest, db: Database) -> None:
    """Whatever a room does in which order: a 4xx has changed nothing, though its answer is kept."""
    table = ident(tasks.schema, "_throttle_of_this_test")
    await db.execute(sql("create table {} (n int)", table))
    project = Project(UUID(tasks.id), tasks.name, tasks.schema, ProjectSettings())
    context = Context("r", Principal("operator", "o"), "127.0.0.1", project)
    scope = {"type": "http", "method": "POST", "path": "/x", "query_string": b"", "headers": [], "baas.context": context}

    async def app(*_: object) -> None:
        await db.execute(sql("insert into {} values (1)", table))
        async with db.transaction() as tx:
            await tx.execute(sql("insert into {} values (2)", table))
            await db.execute(sql("insert into {} values (3)", table))
        raise Conflict("No.")

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b""}

    async def send(_: object) -> None:
        raise AssertionError("the error goes up")

    with pytest.raises(Conflict):
        await Once(db, b"s" * 32).run("k", Found(Endpoint("POST", "/x", ANYONE, "x", app=app), app, {}), scope, receive, send)

    assert await db.fetch_value(sql("select count(*) from {}", table)) == 0
    assert await kept(db, tasks) == 1
