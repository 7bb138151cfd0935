"""A batch is one transaction: all of it or nothing, each operation under the rules of the single call (threat model P3, I11)."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from baas.base.ids import uuid7
from baas.server import Server, open_server
from tests.support.callers import Caller, ProjectUnderTest
from tests.support.settings import settings_for_tests

OPEN = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")


@pytest.fixture
async def shop(project: ProjectUnderTest) -> ProjectUnderTest:
    await project.collection(
        "orders",
        [{"name": "title", "type": "text", "required": True}, {"name": "n", "type": "int"}, {"name": "doc", "type": "json"}],
        OPEN,
    )
    await project.collection(
        "lines",
        [
            {"name": "order", "type": "relation", "to": "orders"},
            {"name": "price", "type": "decimal"},
            {"name": "note", "type": "text"},
        ],
        OPEN,
    )
    return project


async def batch(caller: Caller, *operations: dict[str, Any], **options: Any) -> httpx2.Response:
    return await caller.post("batch", json={"operations": list(operations)}, **options)


def op(method: str, path: str, body: Any = None, **more: Any) -> dict[str, Any]:
    return {"method": method, "path": f"/collections/{path}", **({} if body is None else {"body": body}), **more}


async def test_operations_do_what_single_calls_do(shop: ProjectUnderTest) -> None:
    ada = await shop.user()
    old, new = await ada.create("orders", {"title": "old"}), uuid7()

    answer = await batch(
        ada,
        op("POST", "orders/records", {"title": "a"}, id="a"),
        op("POST", "orders/records", [{"title": "b"}, {"title": "c"}], id="many"),
        op("PUT", f"orders/records/{new}", {"title": "d"}),
        op("PATCH", f"orders/records/{old['id']}", {"n": 1}, if_match='"1"'),
        op("GET", f"orders/records/{old['id']}?fields=n", id="seen"),
        op("DELETE", f"orders/records/{old['id']}"),
    )

    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert [one["status"] for one in results] == [201, 201, 201, 200, 200, 204]
    assert [one["id"] for one in results] == ["a", "many", None, None, "seen", None]
    assert results[4]["body"] == {"n": 1}
    assert results[5]["body"] is None
    assert sorted(one["title"] for one in await ada.list("orders")) == ["a", "b", "c", "d"]


async def test_later_operations_use_what_earlier_ones_answered(shop: ProjectUnderTest) -> None:
    answer = await batch(
        shop.operator,
        op("POST", "orders/records", {"title": "a", "n": 7, "doc": {"x": [1, {"y": "z"}]}}, id="a"),
        op(
            "POST",
            "lines/records",
            {"order": "@{a.id}", "price": "1.10", "note": "@{a.title}-@{a.n}-@{a.doc.x.1.y} @@{a.id}"},
            id="l",
        ),
        op("PATCH", "orders/records/@{a.id}", {"n": "@{a.rev}", "doc": ["@{l.price}", "@{a.doc}"]}, if_match='"@{a.rev}"'),
    )

    assert answer.status_code == 200, answer.text
    order, line, changed = [one["body"] for one in answer.json()["results"]]
    assert (line["order"], line["note"], line["price"]) == (order["id"], "a-7-z @{a.id}", "1.10")
    assert (changed["n"], changed["doc"]) == (1, ["1.10", {"x": [1, {"y": "z"}]}])


FAILING: list[tuple[dict[str, Any], int, str, list[str]]] = [
    (op("POST", "orders/records", {}), 422, "invalid", ["/operations/1/body/title"]),
    (
        op("POST", "orders/records", [{"title": "x"}, {"n": "x"}]),
        422,
        "invalid",
        ["/operations/1/body/1/title", "/operations/1/body/1/n"],
    ),
    (op("POST", "lines/records", {"order": "00000000-0000-7000-8000-000000000000"}), 422, "bad_reference", []),
    (op("PATCH", "orders/records/@{a.id}", {"n": 1}, if_match='"9"'), 412, "precondition_failed", []),
    (op("PATCH", "orders/records/00000000-0000-7000-8000-000000000000", {"n": 1}), 404, "record_not_found", []),
    (op("GET", "orders/records"), 404, "no_route", []),
    (op("GET", "orders/records/export"), 404, "record_not_found", []),
    (op("POST", "orders/records/query", {}), 404, "no_route", []),
    (op("POST", "nope/records", {}), 404, "collection_not_found", []),
    ({"method": "POST", "path": "/batch", "body": {}}, 404, "no_route", []),
    ({"method": "POST", "path": "/users", "body": {}}, 404, "no_route", []),
    ({"method": "GET", "path": "/../../operators/me"}, 404, "no_route", []),
    (op("DELETE", "orders/records"), 405, "method_not_allowed", []),
    (op("PATCH", "orders/records/@{a.id}?nope=1", {"n": 1}), 400, "bad_parameter", []),
    (op("PATCH", "orders/records/@{a.title}", {"n": 1}), 404, "no_route", []),
    (op("PATCH", "orders/records/@{a.nope}", {"n": 1}), 422, "invalid", ["/operations/1/path"]),
    (op("POST", "lines/records", {"note": "@{a.doc}-"}), 422, "invalid", ["/operations/1/body/note"]),
]


@pytest.mark.parametrize(("wrong", "status", "code", "pointers"), FAILING)
async def test_when_one_fails_nothing_has_happened(
    shop: ProjectUnderTest, server: Server, wrong: dict[str, Any], status: int, code: str, pointers: list[str]
) -> None:
    ada = await shop.user()
    first = op("POST", "orders/records", {"title": "../../x", "doc": {}}, id="a")
    last = op("POST", "orders/records", {"title": "z"})

    answer = await batch(ada, first, {**wrong, "id": "wrong"}, last)

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), answer.text
    assert (problem["failed_operation"], problem["failed_index"]) == ("wrong", 1)
    if pointers:
        assert sorted(one["pointer"] for one in problem["errors"]) == sorted(pointers)
    assert answer.headers["content-type"] == "application/problem+json"
    assert await ada.list("orders") == []
    assert await ada.list("lines") == []


UNREADABLE: list[tuple[Any, list[str]]] = [
    ({}, ["/operations"]),
    ({"operations": []}, ["/operations"]),
    ({"operations": {}}, ["/operations"]),
    ({"operations": [1], "x": 1}, ["/operations/0", "/x"]),
    (
        {"operations": [{"method": "HEAD", "path": "x", "y": 1}]},
        ["/operations/0/method", "/operations/0/path", "/operations/0/y"],
    ),
    ({"operations": [{"method": "POST", "path": "/x"}]}, ["/operations/0/body"]),
    ({"operations": [{"method": "DELETE", "path": "/x", "body": 1}]}, ["/operations/0/body"]),
    (
        {"operations": [{"method": "DELETE", "path": "/x", "if_match": 1, "id": ""}]},
        ["/operations/0/id", "/operations/0/if_match"],
    ),
    (
        {"operations": [{"method": "DELETE", "path": "/x", "id": 1}, {"method": [], "path": {}, "id": {}}]},
        ["/operations/0/id", "/operations/1/id", "/operations/1/method", "/operations/1/path"],
    ),
    (
        {"operations": [{"method": "DELETE", "path": "/@{a.id}"}, {"method": "DELETE", "path": "/x", "id": "a"}]},
        ["/operations/0/path"],
    ),
    (
        {"operations": [{"method": "DELETE", "path": "/x", "id": "a"}, {"method": "DELETE", "path": "/x", "id": "a"}]},
        ["/operations/1/id"],
    ),
]


@pytest.mark.parametrize(("body", "pointers"), UNREADABLE)
async def test_what_is_no_batch_is_said_at_once(shop: ProjectUnderTest, body: Any, pointers: list[str]) -> None:
    answer = await shop.operator.post("batch", json=body)

    assert answer.status_code == 422, answer.text
    assert sorted(one["pointer"] for one in answer.json()["errors"]) == sorted(pointers)


async def test_there_are_fifty_at_most(shop: ProjectUnderTest) -> None:
    operations = [op("POST", "orders/records", {"title": "a"}) for _ in range(51)]

    refused = await batch(shop.operator, *operations)
    taken = await batch(shop.operator, *operations[1:])

    assert (refused.status_code, refused.json()["code"], refused.json()["limit"]) == (422, "limit_exceeded", 50)
    assert taken.status_code == 200
    assert len(await shop.operator.list("orders", limit=100)) == 50


async def test_every_operation_is_under_the_rules_and_sees_those_before_it(project: ProjectUnderTest) -> None:
    rules = {**OPEN, "create": "next.owner == auth.id && request.via == 'batch'", "update": "record.owner == auth.id"}
    fields = [
        {"name": "owner", "type": "relation", "to": "users"},
        {"name": "n", "type": "int"},
        {"name": "s", "type": "text", "hidden": True},
    ]
    await project.collection("notes", fields, rules)
    ada, bob = await project.user(), await project.user()
    mine, his = op("POST", "notes/records", {"owner": ada.id}, id="a"), op("POST", "notes/records", {"owner": bob.id}, id="b")

    allowed = await batch(ada, mine, op("PATCH", "notes/records/@{a.id}", {"n": 2}))
    denied = await batch(ada, mine, his)
    alone = await ada.post("collections/notes/records", json={"owner": ada.id})
    hidden = await batch(ada, mine, op("PATCH", "notes/records/@{a.id}", {"n": "@{a.s}"}))

    assert allowed.status_code == 200, allowed.text
    assert (denied.status_code, denied.json()["code"], denied.json()["failed_operation"]) == (403, "rule_denied", "b")
    assert alone.status_code == 403
    assert hidden.status_code == 422
    assert len(await ada.list("notes")) == 1


async def test_a_key_makes_a_batch_repeatable(shop: ProjectUnderTest) -> None:
    ada = await shop.user()
    operations = [op("POST", "orders/records", {"title": "a"}, id="a"), op("POST", "lines/records", {"order": "@{a.id}"})]
    keyed = {"headers": {"idempotency-key": "k"}}

    answers = await asyncio.gather(*[batch(ada, *operations, **keyed) for _ in range(8)])
    failing = [
        await batch(ada, operations[0], op("POST", "orders/records", {}), headers={"idempotency-key": "f"}) for _ in range(2)
    ]

    assert {one.status_code for one in answers} == {200}
    assert len({one.content for one in answers}) == 1
    assert [one.headers.get("idempotent-replayed") for one in failing] == [None, "true"]
    assert failing[0].content == failing[1].content
    assert len(await ada.list("orders")) == len(await ada.list("lines")) == 1


async def test_a_batch_that_fails_inside_is_undone_to_its_last_part(shop: ProjectUnderTest) -> None:
    """A unique value that is taken is found by PostgreSQL, within the transaction."""
    await shop.collection("slugs", [{"name": "slug", "type": "text", "unique": True}], OPEN)
    await shop.operator.create("slugs", {"slug": "x"})

    answer = await batch(
        shop.operator,
        op("POST", "slugs/records", {"slug": "y"}),
        op("POST", "slugs/records", {"slug": "x"}),
        headers={"idempotency-key": "k"},
    )

    assert (answer.status_code, answer.json()["code"]) == (409, "already_exists")
    assert [one["slug"] for one in await shop.operator.list("slugs")] == ["x"]


async def test_batches_that_lock_each_other_both_end(shop: ProjectUnderTest) -> None:
    """Two records in opposite orders: PostgreSQL ends one, which is run again; what is told to try again has done nothing."""
    one, two = [(await shop.operator.create("orders", {"title": "a", "n": 0}))["id"] for _ in range(2)]

    async def both(first: str, second: str) -> int:
        done = tries = 0
        while done < 4 and tries < 20:
            tries += 1
            changes = [op("PATCH", f"orders/records/{record}", {"n": tries}) for record in (first, second)]
            answer = await batch(shop.operator, *changes)
            assert answer.status_code == 200 or answer.json()["code"] == "busy", answer.text
            done += answer.status_code == 200
        return done

    assert await asyncio.gather(both(one, two), both(two, one)) == [4, 4]
    assert {record["rev"] for record in await shop.operator.list("orders")} == {9}


async def test_a_bank_keeps_its_sum(shop: ProjectUnderTest) -> None:
    """Transfers by batch, each conditional on what was read: the sum is the same in every answer."""
    accounts = [(await shop.operator.create("orders", {"title": str(at), "n": 100}))["id"] for at in range(4)]
    sums, done = set(), 0

    async def transfer(seed: int) -> int:
        moved = 0
        for at in range(6):
            there = {one["id"]: one for one in await shop.operator.list("orders")}
            sums.add(sum(one["n"] for one in there.values()))
            first, second = there[accounts[(seed + at) % 4]], there[accounts[(seed + at + 1) % 4]]
            answer = await batch(
                shop.operator,
                op("PATCH", f"orders/records/{first['id']}", {"n": first["n"] - 5}, if_match=f'"{first["rev"]}"'),
                op("PATCH", f"orders/records/{second['id']}", {"n": second["n"] + 5}, if_match=f'"{second["rev"]}"'),
            )
            assert answer.status_code in (200, 412), answer.text
            moved += answer.status_code == 200
        return moved

    done = sum(await asyncio.gather(*[transfer(seed) for seed in range(4)]))

    sums.add(sum(one["n"] for one in await shop.operator.list("orders")))
    assert sums == {400}
    assert done > 0


async def test_changes_of_a_batch_are_in_the_log_together(shop: ProjectUnderTest, server: Server) -> None:
    project = await server.projects.find(shop.name)
    assert project is not None
    before = await server.feed.head(project)

    await batch(shop.operator, op("POST", "orders/records", {"title": "a"}), op("POST", "orders/records", {}))
    answer = await batch(
        shop.operator, op("POST", "orders/records", {"title": "b"}), op("POST", "orders/records", {"title": "c"})
    )

    changes = await server.feed.read(project, before)
    assert [one.after["title"] for one in changes if one.after] == ["b", "c"]
    assert {one.request_id for one in changes} == {answer.headers["x-request-id"]}


async def test_operations_count_as_calls(empty_url: str, tmp_path: Path) -> None:
    """Or a batch would be a way around the rate limit (threat model I11)."""
    async with open_server(settings_for_tests(tmp_path, api_per_address=60), empty_url) as server:
        await server.operators.create("operator@example.com", "operator password")
        transport = httpx2.ASGITransport(server.app, client=("127.0.0.1", 40000), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:
            body = {"email": "operator@example.com", "password": "operator password"}
            token = (await http.post("/v1/operators/sign-in", json=body)).json()["token"]
            caller = Caller(http, "/v1/projects/shop", token)
            assert (await caller.post("/v1/projects", json={"name": "shop"})).status_code == 201
            fields = [{"name": "title", "type": "text"}]
            assert (await caller.post("collections", json={"name": "orders", "fields": fields})).status_code == 201
            answers = [await batch(caller, *[op("POST", "orders/records", {})] * 40) for _ in range(2)]

    assert [one.status_code for one in answers] == [200, 429]
    assert answers[1].json()["code"] == "rate_limited"
