"""Every fault has a pointer from the beginning of the body that was sent to what is wrong."""

import json
from typing import Any

import httpx2
import pytest

from tests.support.callers import ProjectUnderTest

OPEN = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")
NOBODY = "01a1fa0b-205d-7c76-b42c-51f02d3ed34a"
PATH = "collections/posts/records"
FIELDS: list[dict[str, Any]] = [
    {"name": "title", "type": "text"},
    {"name": "pub", "type": "text", "unique": True},
    {"name": "k", "type": "int"},
    {"name": "l", "type": "int"},
    {"name": "body", "type": "text", "max": 5},
    {"name": "author", "type": "relation", "to": "people"},
    {"name": "friends", "type": "relation", "to": "people", "many": True},
    {"name": "parent", "type": "relation", "to": "posts"},
]
INDEXES = [{"fields": ["k", "-l"], "unique": True}, {"fields": ["title"], "unique": True, "where": "k > 100"}]


@pytest.fixture
async def posts(project: ProjectUnderTest) -> ProjectUnderTest:
    await project.collection("people", [{"name": "open", "type": "bool"}], {**OPEN, "view": "record.open == true"})
    await project.collection("posts", FIELDS, OPEN, indexes=INDEXES)
    return project


def pointers(answer: httpx2.Response, status: int = 422) -> list[str]:
    assert answer.status_code == status, answer.text
    return [fault["pointer"] for fault in answer.json().get("errors", [])]


async def test_a_missing_target_is_named_in_each_record(posts: ProjectUnderTest) -> None:
    """Missing and invisible ones alike; for operators by the foreign key, which names none."""
    user = await posts.user()
    seen = (await posts.operator.create("people", {"open": True}))["id"]
    unseen = (await posts.operator.create("people", {"open": False}))["id"]
    many = [{"author": seen}, {"author": unseen}, {"author": NOBODY}, {"friends": [seen, NOBODY, unseen]}]

    assert ["/1/author", "/2/author", "/3/friends/1", "/3/friends/2"] == pointers(await user.post(PATH, json=many))
    assert ["/1/author", "/2/author"] == pointers(
        await posts.operator.post(PATH, json=[{"author": seen}, {"author": NOBODY}, {"author": NOBODY}])
    )
    own = {"id": NOBODY, "title": "itself"}
    assert ["/2/parent"] == pointers(await posts.operator.post(PATH, json=[own, {"parent": NOBODY}, {"parent": unseen}]))


async def test_a_missing_target_is_named_in_a_list(posts: ProjectUnderTest) -> None:
    """By create, change and put; what an operator adds has another place than in the stored list."""
    user = await posts.user()
    seen = (await posts.operator.create("people", {"open": True}))["id"]
    post = await user.create("posts", {"friends": [seen]})
    place, wrong = f"{PATH}/{post['id']}", {"friends": [seen, NOBODY]}

    assert ["/friends/1"] == pointers(await user.post(PATH, json=wrong))
    assert ["/friends/1"] == pointers(await user.patch(place, json=wrong))
    assert ["/friends/1"] == pointers(await user.put(place, json=wrong))
    assert ["/friends"] == pointers(await user.patch(place, json={"friends": {"$append": [NOBODY]}}))


TAKEN: list[tuple[list[dict[str, Any]], list[str]]] = [
    ([{"pub": "fresh"}, {"pub": "p"}], ["/1/pub"]),
    ([{"pub": "p"}, {"pub": "x"}, {"pub": "p"}, {"pub": None}, {"pub": None}], ["/0/pub", "/2/pub"]),
    ([{"pub": "x"}, {"pub": "y"}, {"pub": "x"}], ["/2/pub"]),
    ([{"id": NOBODY}, {"id": NOBODY}], ["/1/id"]),
    ([{"k": 1}, {"k": 1, "l": 3}, {"k": 1, "l": 2}], ["/2/k", "/2/l"]),
    ([{"k": 101, "title": "x"}, {"k": 102, "title": "x"}], []),  # an index over some records does not tell which
]


@pytest.mark.parametrize(("many", "expected"), TAKEN)
async def test_a_value_that_is_taken_is_named_in_its_record(
    posts: ProjectUnderTest, many: list[dict[str, Any]], expected: list[str]
) -> None:
    user = await posts.user()
    await user.create("posts", {"pub": "p", "k": 1, "l": 2})

    answer = await user.post(PATH, json=many, headers={"Idempotency-Key": "again"})

    assert expected == pointers(answer, 409)
    assert "already_exists" == answer.json()["code"]
    assert 1 == len(await user.list("posts"))


async def test_where_only_some_records_must_differ_no_record_is_named(project: ProjectUnderTest) -> None:
    """Not even where another index, which demands nothing, is over the same fields of all records."""
    await project.collection("posts", FIELDS[:1] + FIELDS[2:3], OPEN, indexes=[INDEXES[1], {"fields": ["title"]}])
    many = [{"title": "t", "k": k} for k in (1, 2, 101, 102)]

    assert [] == pointers(await project.operator.post(PATH, json=many), 409)


async def test_an_upsert_names_the_item(posts: ProjectUnderTest) -> None:
    """The stored record with the same key is the one that changes, and takes nothing from itself."""
    user = await posts.user()
    await user.create("posts", {"pub": "p", "k": 1, "l": 2})
    items = [{"pub": "p", "k": 1, "l": 2}, {"pub": "q", "k": 1, "l": 2}]

    answer = await user.post(f"{PATH}/upsert", json={"key": ["pub"], "items": items})

    assert ["/items/1/k", "/items/1/l"] == pointers(answer, 409)


async def test_an_import_names_the_lines(posts: ProjectUnderTest) -> None:
    user = await posts.user()
    await user.create("posts", {"pub": "p"})
    lines = "\n".join(json.dumps(one) for one in ({"pub": "a"}, {"pub": "p"}, {"pub": "a"}, {"friends": [NOBODY]}))

    answer = await user.post(f"{PATH}/import?on_error=skip", content=lines, headers={"Content-Type": "application/x-ndjson"})

    assert (200, 1) == (answer.status_code, answer.json()["created"]), answer.text
    assert [(2, "/pub"), (3, "/pub"), (4, "/friends/0")] == sorted(
        (one["line"], one["pointer"]) for one in answer.json()["errors"]
    )


async def test_a_batch_points_into_its_operations(posts: ProjectUnderTest) -> None:
    """To the text that refers to nothing; and into a body whose fields are called like parts of an operation."""
    user = await posts.user()

    async def of(*operations: dict[str, Any], status: int = 422) -> list[str]:
        return pointers(await user.post("batch", json={"operations": list(operations)}), status)

    post = {"method": "POST", "path": f"/{PATH}"}
    assert ["/operations/0/body/title"] == await of({**post, "body": {"title": "@{zz.id}"}})
    assert ["/operations/0/body/1/a~1b"] == await of({**post, "body": [{}, {"a/b": "@{zz.id}"}]})
    assert ["/operations/0/path"] == await of({"method": "GET", "path": f"/{PATH}/@{{zz.id}}"})
    change = {"method": "PATCH", "path": f"/{PATH}/{NOBODY}", "body": {}}
    assert ["/operations/0/if_match"] == await of({**change, "if_match": '"@{zz.rev}"'})
    assert ["/operations/0/body/body"] == await of({**post, "body": {"body": "too long"}})
    assert ["/operations/0/body/1/pub"] == await of({**post, "body": [{"pub": "x"}, {"pub": "x"}]}, status=409)
