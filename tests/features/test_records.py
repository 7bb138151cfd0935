"""Records through HTTP: create, read, change, replace, delete; what each answers and what it leaves behind."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from baas.infra.db.pool import Database, Transaction
from baas.infra.db.sql import Statement, ident, sql
from baas.infra.observe.requests import REQUEST_ID
from tests.support.callers import Caller, ProjectUnderTest

TITLE = [{"name": "title", "type": "text", "required": True}, {"name": "note", "type": "text"}]
OPEN = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")
EVERY_TYPE = [
    {"name": "text", "type": "text"},
    {"name": "email", "type": "email"},
    {"name": "url", "type": "url"},
    {"name": "int", "type": "int"},
    {"name": "float", "type": "float"},
    {"name": "decimal", "type": "decimal"},
    {"name": "bool", "type": "bool"},
    {"name": "date", "type": "date"},
    {"name": "datetime", "type": "datetime"},
    {"name": "select", "type": "select", "values": ["a", "b"]},
    {"name": "selects", "type": "select", "values": ["a", 'b"\\,{}'], "many": True},
    {"name": "json", "type": "json"},
    {"name": "link", "type": "relation", "to": "users"},
    {"name": "links", "type": "relation", "to": "users", "many": True},
]
NOWHERE = "0190a6e0-0000-7000-8000-000000000000"


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[Statement]:
    """Every statement that a call sends to the database, in order, but the look at ended sessions every two seconds. What runs
    beside the calls (polls, the sequencer) knows no request. It looks on and changes nothing.
    """
    seen: list[Statement] = []

    def watched(run: Any) -> Any:
        async def watching(self: Database | Transaction, method: Any, query: Any, *limit: Any) -> Any:
            statement = query if isinstance(query, Statement) else query.render()
            if REQUEST_ID.get() and "_sessions" not in statement.text:
                seen.append(statement)
            return await run(self, method, query, *limit)

        return watching

    monkeypatch.setattr(Transaction, "_run", watched(Transaction._run))
    monkeypatch.setattr(Database, "_once", watched(Database._once))
    return seen


def every_value(user: str) -> dict[str, Any]:
    return {
        "text": "é😀 \\ ' \" %_",
        "email": "a@example.com",
        "url": "https://example.com/?a=1",
        "int": 2**53,
        "float": 0.1,
        "decimal": "9.50",
        "bool": False,
        "date": "2026-02-28",
        "datetime": "2026-11-20T10:31:07.104233Z",
        "select": "b",
        "selects": ['b"\\,{}', "a"],
        "json": {"a": [1, None, {"b": "c"}]},
        "link": user,
        "links": [user],
    }


def problem(answer: Any) -> dict[str, Any]:
    """The problem without what differs from call to call."""
    assert answer.headers["content-type"] == "application/problem+json"
    return {name: value for name, value in answer.json().items() if name not in ("instance", "request_id")}


def pointers(answer: Any) -> list[tuple[str, str]]:
    return [(one["pointer"], one["code"]) for one in answer.json().get("errors", [])]


async def test_a_created_record_comes_back_with_its_system_fields_and_place(project: ProjectUnderTest) -> None:
    await project.collection("posts", TITLE)
    answer = await project.operator.post("collections/posts/records", json={"title": "One"})
    record = answer.json()

    assert answer.status_code == 201
    assert record == {
        "id": record["id"],
        "rev": 1,
        "created_at": record["created_at"],
        "updated_at": record["created_at"],
        "title": "One",
        "note": None,
    }
    assert answer.headers["etag"] == '"1"'
    assert answer.headers["location"] == f"/v1/projects/{project.name}/collections/posts/records/{record['id']}"
    assert answer.headers["cache-control"] == "no-store"
    assert (await project.operator.get(answer.headers["location"])).json() == record


async def test_every_field_type_comes_back_as_it_was_sent(project: ProjectUnderTest) -> None:
    """By create, by a create of many, by get and by list: four ways out, one value."""
    await project.collection("things", EVERY_TYPE)
    user = await project.user()
    values = every_value(user.id)
    made = await project.operator.create("things", values)
    many = await project.operator.post("collections/things/records", json=[values, {}])
    got = await project.operator.get(f"collections/things/records/{made['id']}")
    listed = await project.operator.list("things", sort="id")

    assert {name: made[name] for name in values} == values
    assert {name: many.json()["items"][0][name] for name in values} == values
    assert {name: many.json()["items"][1][name] for name in values} == dict.fromkeys(values)
    assert got.json() == made
    assert listed == [made, *many.json()["items"]]


async def test_integers_beyond_the_safe_range_are_strings(project: ProjectUnderTest) -> None:
    await project.collection("things", [{"name": "n", "type": "int"}])
    made = await project.operator.create("things", {"n": 2**63 - 1})

    assert made["n"] == "9223372036854775807"


async def test_a_known_etag_is_answered_without_the_record(project: ProjectUnderTest) -> None:
    await project.collection("posts", TITLE)
    place = f"collections/posts/records/{(await project.operator.create('posts', {'title': 'One'}))['id']}"
    for etag in ('"1"', 'W/"1"', '"7", "1"', "*"):
        answer = await project.operator.get(place, headers={"if-none-match": etag})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", '"1"')
    await project.operator.patch(place, json={"note": "x"})

    assert (await project.operator.get(place, headers={"if-none-match": '"1"'})).status_code == 200


async def test_what_is_no_id_names_no_record(project: ProjectUnderTest) -> None:
    """The same answer as for an id that nobody has."""
    await project.collection("posts", TITLE, OPEN)
    nobody = await project.anonymous.get(f"collections/posts/records/{NOWHERE}")
    for wrong in ("1", "a" * 36, NOWHERE[:-1], "{" + NOWHERE + "}", NOWHERE.replace("-", ""), "é", "%"):
        for method in ("GET", "PATCH", "PUT", "DELETE"):
            body = {} if method in ("GET", "DELETE") else {"json": {"title": "x"}}
            answer = await project.anonymous.request(method, f"collections/posts/records/{wrong}", **body)
            assert problem(answer) == problem(nobody), (method, wrong)
    assert nobody.status_code == 404


async def test_a_client_may_name_the_id_once(project: ProjectUnderTest) -> None:
    await project.collection("posts", TITLE)
    made = await project.operator.create("posts", {"id": NOWHERE.upper(), "title": "One"})
    again = await project.operator.post("collections/posts/records", json={"id": NOWHERE, "title": "Two"})

    assert made["id"] == NOWHERE
    assert (again.status_code, again.json()["code"], pointers(again)) == (409, "already_exists", [("/id", "already_exists")])


async def test_all_faults_of_a_body_are_named_at_once(project: ProjectUnderTest) -> None:
    await project.collection("posts", [*TITLE, {"name": "n", "type": "int"}])
    answer = await project.operator.post("collections/posts/records", json={"n": "1", "rev": 5, "nope": 1, "created_at": None})

    assert answer.status_code == 422
    assert sorted(pointers(answer)) == [
        ("/created_at", "system_field"),
        ("/n", "wrong_type"),
        ("/nope", "unknown_field"),
        ("/rev", "system_field"),
        ("/title", "required"),
    ]


@pytest.mark.parametrize("body", ["1", "null", '"x"', "true"])
async def test_a_body_must_be_an_object(project: ProjectUnderTest, body: str) -> None:
    await project.collection("posts", TITLE)
    record = await project.operator.create("posts", {"title": "One"})
    for method, path in (("POST", ""), ("PATCH", f"/{record['id']}"), ("PUT", f"/{record['id']}"), ("POST", "/query")):
        answer = await project.operator.request(
            method, f"collections/posts/records{path}", content=body, headers={"content-type": "application/json"}
        )
        assert (answer.status_code, answer.json()["code"]) == (422, "not_an_object")


async def test_many_records_are_created_in_order(project: ProjectUnderTest) -> None:
    await project.collection("posts", TITLE)
    answer = await project.operator.post("collections/posts/records", json=[{"title": str(n)} for n in range(1000)])

    assert answer.status_code == 201
    assert [one["title"] for one in answer.json()["items"]] == [str(n) for n in range(1000)]
    assert (await project.operator.post("collections/posts/records", json=[])).json() == {"items": []}


async def test_many_records_are_all_created_or_none(project: ProjectUnderTest) -> None:
    """Whatever is wrong with one of them: its form, its rule, its target, a value that is taken."""
    user = await project.user()
    fields = [
        {"name": "title", "type": "text", "required": True, "unique": True},
        {"name": "to", "type": "relation", "to": "users"},
    ]
    await project.collection("posts", fields, OPEN | {"create": 'next.title != "denied"'})
    first = {"title": "first"}
    for second, status, code in (
        ({}, 422, "invalid"),
        ("x", 422, "invalid"),
        ({"title": "denied"}, 403, "rule_denied"),
        ({"title": "a", "to": NOWHERE}, 422, "bad_reference"),
        ({"title": "first"}, 409, "already_exists"),
    ):
        answer = await user.post("collections/posts/records", json=[first, second])
        assert (answer.status_code, answer.json()["code"]) == (status, code), second
    wrong = await user.post("collections/posts/records", json=[first, {"title": 1}, "x"])

    assert pointers(wrong) == [("/1/title", "wrong_type"), ("/2", "not_an_object")]
    assert await project.operator.list("posts") == []


async def test_more_than_a_thousand_at_once_are_refused(project: ProjectUnderTest) -> None:
    await project.collection("posts", TITLE)
    answer = await project.operator.post("collections/posts/records", json=[{"title": "x"}] * 1001)

    assert (answer.status_code, answer.json()["code"]) == (422, "limit_exceeded")
    assert await project.operator.list("posts") == []


async def test_a_body_beyond_the_limit_is_too_large(project: ProjectUnderTest) -> None:
    await project.collection("posts", TITLE)
    answer = await project.operator.post("collections/posts/records", json={"title": "x" * (1 << 20)})

    assert answer.status_code == 413


async def test_a_patch_changes_what_it_names(project: ProjectUnderTest) -> None:
    await project.collection("posts", TITLE)
    made = await project.operator.create("posts", {"title": "One", "note": "n"})
    place = f"collections/posts/records/{made['id']}"
    changed = await project.operator.patch(place, json={"note": None})
    after = changed.json()

    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    assert after == made | {"note": None, "rev": 2, "updated_at": after["updated_at"]}
    assert after["updated_at"] > made["updated_at"]
    assert (await project.operator.get(place)).json() == after
    assert (await project.operator.patch(place, json={"title": None})).status_code == 422


async def test_a_change_made_for_another_revision_is_refused(project: ProjectUnderTest) -> None:
    await project.collection("posts", TITLE)
    made = await project.operator.create("posts", {"title": "One"})
    place = f"collections/posts/records/{made['id']}"
    for etag in ('"2"', 'W/"1"', '"x"', '"' + "9" * 19 + '"', '"3", "2"', '"0"'):
        for method in ("PATCH", "PUT", "DELETE"):
            body = {} if method == "DELETE" else {"json": {"title": "Two"}}
            answer = await project.operator.request(method, place, headers={"if-match": etag}, **body)
            assert (answer.status_code, answer.json()["code"]) == (412, "precondition_failed"), (method, etag)

    assert (await project.operator.get(place)).json() == made
    for rev, etag in ((2, '"1"'), (3, "*")):
        assert (await project.operator.patch(place, json={"note": "x"}, headers={"if-match": etag})).json()["rev"] == rev
    assert (await project.operator.delete(place, headers={"if-match": '"3"'})).status_code == 204


async def test_of_changes_made_for_one_revision_one_wins(project: ProjectUnderTest) -> None:
    await project.collection("posts", TITLE)
    made = await project.operator.create("posts", {"title": "One"})
    place = f"collections/posts/records/{made['id']}"

    async def change(number: int) -> int:
        answer = await project.operator.patch(place, json={"note": str(number)}, headers={"if-match": '"1"'})
        return answer.status_code

    assert sorted(await asyncio.gather(*map(change, range(8)))) == [200, *[412] * 7]
    assert (await project.operator.get(place)).json()["rev"] == 2


async def test_no_change_is_lost_when_clients_read_and_repeat(project: ProjectUnderTest) -> None:
    """Ten clients each add one by reading, changing and repeating after a 412."""
    await project.collection("counts", [{"name": "n", "type": "int"}])
    place = f"collections/counts/records/{(await project.operator.create('counts', {'n': 0}))['id']}"

    async def add() -> None:
        status = 0
        while status != 200:
            stored = await project.operator.get(place)
            body = {"n": stored.json()["n"] + 1}
            status = (await project.operator.patch(place, json=body, headers={"if-match": stored.headers["etag"]})).status_code

    await asyncio.gather(*(add() for _ in range(10)))

    assert (await project.operator.get(place)).json()["n"] == 10


async def test_a_put_creates_and_then_replaces(project: ProjectUnderTest) -> None:
    await project.collection("posts", [*TITLE, {"name": "n", "type": "int", "default": 7}])
    place = f"collections/posts/records/{NOWHERE}"
    made = await project.operator.put(place, json={"title": "One", "note": "n", "n": 1})
    replaced = await project.operator.put(place, json={"id": NOWHERE, "title": "Two"})

    assert (made.status_code, made.json()["rev"], made.headers["etag"]) == (201, 1, '"1"')
    assert made.headers["location"].endswith(NOWHERE)
    assert (replaced.status_code, replaced.headers["etag"]) == (200, '"2"')
    assert replaced.json() == made.json() | {
        "title": "Two",
        "note": None,
        "n": 7,
        "rev": 2,
        "updated_at": replaced.json()["updated_at"],
    }


async def test_a_put_keeps_its_conditions(project: ProjectUnderTest) -> None:
    await project.collection("posts", TITLE)
    place = f"collections/posts/records/{NOWHERE}"
    body = {"json": {"title": "One"}}

    assert (await project.operator.put(place, headers={"if-match": "*"}, **body)).status_code == 412
    assert (await project.operator.put(place, headers={"if-match": '"1"'}, **body)).status_code == 412
    assert (await project.operator.put(place, headers={"if-none-match": '"1"'}, **body)).status_code == 400
    assert (await project.operator.put(place, headers={"if-none-match": "*"}, **body)).status_code == 201
    assert (await project.operator.put(place, headers={"if-none-match": "*"}, **body)).status_code == 412
    assert (await project.operator.put(place, headers={"if-match": '"2"'}, **body)).status_code == 412
    assert (await project.operator.put(place, headers={"if-match": '"1"'}, **body)).json()["rev"] == 2
    assert (await project.operator.put(place, headers={"if-match": "*"}, **body)).json()["rev"] == 3
    other = await project.operator.put(place, json={"id": str(uuid4()), "title": "x"})
    assert (other.status_code, pointers(other)) == (422, [("/id", "other_id")])


async def test_puts_at_once_make_one_record(project: ProjectUnderTest) -> None:
    """The one that meets the other's new record replaces it: nobody gets an error, every revision is one of them."""
    await project.collection("posts", TITLE)
    place = f"collections/posts/records/{NOWHERE}"
    answers = await asyncio.gather(*(project.operator.put(place, json={"title": str(n)}) for n in range(8)))
    only_new = await asyncio.gather(
        *(
            project.operator.put(
                f"collections/posts/records/{NOWHERE[:-1]}1", json={"title": "x"}, headers={"if-none-match": "*"}
            )
            for _ in range(8)
        )
    )

    assert sorted(one.status_code for one in answers) == [*[200] * 7, 201]
    assert sorted(one.json()["rev"] for one in answers) == list(range(1, 9))
    assert sorted(one.status_code for one in only_new) == [201, *[412] * 7]


async def test_a_put_that_meets_a_record_just_made_replaces_it(project: ProjectUnderTest, db: Database) -> None:
    """The put sees no record and inserts; another's insert of the same id commits first; then it is a replacement."""
    await project.collection("posts", TITLE)
    table = ident(project.schema, "posts")
    async with db.transaction() as tx:
        await tx.execute(sql("insert into {} (id, title) values ({}::uuid, 'first')", table, NOWHERE))
        put = asyncio.create_task(project.operator.put(f"collections/posts/records/{NOWHERE}", json={"title": "second"}))
        await asyncio.sleep(0.5)
        assert not put.done(), "it waits for the other's transaction"
    answer = await put

    assert (answer.status_code, answer.json()["title"], answer.json()["rev"]) == (200, "second", 2)


async def test_a_deleted_record_is_gone(project: ProjectUnderTest) -> None:
    await project.collection("posts", TITLE)
    place = f"collections/posts/records/{(await project.operator.create('posts', {'title': 'One'}))['id']}"
    answer = await project.operator.delete(place)

    assert (answer.status_code, answer.content) == (204, b"")
    assert (await project.operator.delete(place)).status_code == 404
    assert (await project.operator.get(place)).status_code == 404
    assert (await project.operator.patch(place, json={"note": "x"})).status_code == 404


async def test_a_value_that_is_taken_is_named_by_its_field(project: ProjectUnderTest) -> None:
    fields = [
        {"name": "slug", "type": "text", "unique": True},
        {"name": "a", "type": "int"},
        {"name": "b", "type": "int"},
    ]
    await project.collection("posts", fields, OPEN, indexes=[{"fields": ["a", "b"], "unique": True}])
    await project.operator.create("posts", {"slug": "x", "a": 1, "b": 2})
    other = await project.operator.create("posts", {"slug": "y"})
    for body, wrong in (({"slug": "x"}, ["/slug"]), ({"a": 1, "b": 2}, ["/a", "/b"])):
        created = await project.anonymous.post("collections/posts/records", json=body)
        changed = await project.anonymous.patch(f"collections/posts/records/{other['id']}", json=body)
        for answer in (created, changed):
            assert (answer.status_code, answer.json()["code"]) == (409, "already_exists")
            assert [one["pointer"] for one in answer.json()["errors"]] == wrong


async def test_a_target_that_is_not_there_is_a_fault_of_the_field(project: ProjectUnderTest) -> None:
    """For operators too, in a single relation as in a list of them, on create as on change."""
    fields = [
        {"name": "one", "type": "relation", "to": "users"},
        {"name": "some", "type": "relation", "to": "users", "many": True},
    ]
    await project.collection("posts", fields)
    user = await project.user()
    made = await project.operator.create("posts", {"one": user.id, "some": [user.id]})
    for body, pointer in (({"one": NOWHERE}, "/one"), ({"some": [user.id, NOWHERE]}, "/some/1")):
        for answer, wrong in (
            (await project.operator.post("collections/posts/records", json=body), [pointer]),
            (await project.operator.post("collections/posts/records", json=[body, body]), [f"/0{pointer}", f"/1{pointer}"]),
            (await project.operator.patch(f"collections/posts/records/{made['id']}", json=body), [pointer]),
            (await project.operator.put(f"collections/posts/records/{made['id']}", json=body), [pointer]),
        ):
            assert (answer.status_code, answer.json()["code"]) == (422, "bad_reference")
            assert pointers(answer) == [(one, "bad_reference") for one in wrong]


async def test_a_record_that_others_need_stays(project: ProjectUnderTest) -> None:
    await project.collection("teams", TITLE)
    await project.collection("posts", [{"name": "team", "type": "relation", "to": "teams", "on_delete": "restrict"}])
    team = await project.operator.create("teams", {"title": "T"})
    await project.operator.create("posts", {"team": team["id"]})
    answer = await project.operator.delete(f"collections/teams/records/{team['id']}")

    assert (answer.status_code, answer.json()["code"]) == (409, "still_referenced")


async def test_what_a_call_does_not_know_it_refuses(project: ProjectUnderTest) -> None:
    await project.collection("posts", TITLE)
    place = f"collections/posts/records/{(await project.operator.create('posts', {'title': 'One'}))['id']}"
    for method, path, name in (
        ("GET", "collections/posts/records", "page"),
        ("GET", "collections/posts/records", "offset"),
        ("POST", "collections/posts/records", "fields"),
        ("GET", place, "filter"),
        ("PATCH", place, "filter"),
        ("PUT", place, "where"),
        ("PUT", place, "x"),
        ("DELETE", place, "x"),
        ("POST", "collections/posts/records/query", "limit"),
    ):
        body = {"json": {"title": "x"}} if method in ("POST", "PUT", "PATCH") else {}
        answer = await project.operator.request(method, path, params={name: "1"}, **body)
        assert (answer.status_code, answer.json()["code"], answer.json()["parameter"]) == (400, "bad_parameter", name)
    operators = await project.operator.patch(place, json={"title": {"$inc": 1}})
    assert (operators.status_code, pointers(operators)) == (422, [("/title", "operator_not_allowed")])


async def test_each_call_is_one_statement(project: ProjectUnderTest, statements: list[Statement]) -> None:
    """One round trip on the way of success, rule and all; a refusal may take a second one."""
    rules = dict.fromkeys(("list", "view", "update", "delete"), "record.owner == auth.id") | {"create": "next.owner == auth.id"}
    await project.collection("posts", rules=rules)
    user = await project.user()
    mine = {"title": "Mine", "owner": user.id}
    made = await user.create("posts", mine)
    place = f"collections/posts/records/{made['id']}"

    async def count(caller: Caller, method: str, path: str, **more: Any) -> int:
        statements.clear()
        answer = await caller.request(method, path, **more)
        assert answer.status_code < 300, answer.text
        return len(statements)

    await count(user, "GET", place)
    assert await count(user, "GET", place) == 1
    assert await count(user, "GET", "collections/posts/records", params={"filter": 'title == "Mine"', "count": "exact"}) == 1
    assert await count(user, "POST", "collections/posts/records", json=mine) == 1
    assert await count(user, "POST", "collections/posts/records", json=[mine] * 50) == 1
    assert await count(user, "PATCH", place, json={"title": "New"}, headers={"if-match": '"1"'}) == 1
    assert await count(user, "PUT", place, json=mine) == 1
    assert await count(user, "PUT", f"collections/posts/records/{uuid4()}", json=mine) == 1
    assert await count(user, "DELETE", place) == 1


@pytest.mark.parametrize(
    ("sort", "index"), [("-due", ["owner", "-due"]), ("-created_at", ["owner", "-created_at"]), ("due", ["owner", "due"])]
)
async def test_a_list_by_rule_and_order_is_read_from_its_index(
    project: ProjectUnderTest, db: Database, statements: list[Statement], sort: str, index: list[str]
) -> None:
    """Of 3,000 records of many owners a page reads one owner's, in order, also from the middle and where values may be null."""
    fields = [{"name": "owner", "type": "relation", "to": "users"}, {"name": "due", "type": "int"}]
    await project.collection("posts", fields, {"list": "record.owner == auth.id"}, indexes=[{"fields": index}])
    user = await project.user()
    table = ident(project.schema, "posts")
    other = (await project.user()).id
    owner = sql("case when n % 3 = 0 then {}::uuid else {}::uuid end", user.id, other)
    row = sql("gen_random_uuid(), {}, nullif(n % 500, 0), now() - n * interval '1 second'", owner)
    await db.execute(sql("insert into {} (id, owner, due, created_at) select {} from generate_series(1, 3000) n", table, row))
    await db.execute(sql("analyze {}", table))
    cursor = None
    for _ in range(2):
        statements.clear()
        page = await user.get(
            "collections/posts/records", params={"sort": sort, "limit": 10} | ({"cursor": cursor} if cursor else {})
        )
        cursor = page.json()["next_cursor"]
        plan = await db.fetch(Statement("explain " + statements[0].text, statements[0].args))
        text = "\n".join(row["QUERY PLAN"] for row in plan)
        assert "Seq Scan on posts" not in text, text
        assert "Incremental Sort" in text, "only ties are sorted, by id"


async def test_a_change_of_nothing_is_no_change(project: ProjectUnderTest) -> None:
    """By PATCH, by filter and by key: judged like any other, and then neither a revision nor an entry of the change log."""
    fields = [{"name": "title", "type": "text"}, {"name": "slug", "type": "text", "unique": True}]
    rules = {**dict.fromkeys(("list", "view", "create", "delete"), "true"), "update": "record.title == 'a'"}
    await project.collection("posts", fields, rules, options={"history": True})
    user = await project.user()
    made, closed = [await user.create("posts", {"title": one, "slug": one}) for one in "ab"]
    place, records = f"collections/posts/records/{made['id']}", "collections/posts/records"
    before = (await user.get(records)).headers["x-feed-cursor"]

    same = await user.patch(place, json={}, headers={"if-match": '"1"', "idempotency-key": "k"})
    bulk = await user.post(f"{records}/bulk-update", json={"filter": "title == 'a'", "patch": {}, "max_affected": 5})
    upsert = await user.post(f"{records}/upsert", json={"key": ["slug"], "items": [{"slug": "a"}]})

    assert (same.status_code, same.json(), same.headers["etag"]) == (200, made, '"1"')
    assert (bulk.status_code, bulk.json()) == (200, {"affected": 0})
    assert (upsert.status_code, upsert.json()["items"]) == (200, [made])
    assert (await user.get(records)).headers["x-feed-cursor"] == before
    assert len((await user.get(f"{place}/history")).json()["items"]) == 1
    refused = [
        await user.patch(f"{records}/{closed['id']}", json={}),
        await user.patch(place, json={}, headers={"if-match": '"2"'}),
        await user.patch(place, json={}, params={"where": "title == 'b'"}),
        await user.patch(f"{records}/{uuid4()}", json={}),
    ]
    assert [one.status_code for one in refused] == [403, 412, 412, 404]
