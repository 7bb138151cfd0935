"""Views: an operator's SELECT as a collection that is only read, and what it can never reach."""

from typing import Any

import pytest

from baas.base.ids import uuid7
from baas.infra.db.pool import Database
from baas.infra.db.sql import ident, sql
from tests.support.callers import Caller, ProjectUnderTest

COUNTS = "select a.id, a.name, count(p.id)::int as posts, max(p.score) as best from authors a left join posts p on p.author = a.id group by a.id"


async def blog(project: ProjectUnderTest) -> dict[str, Any]:
    """Two authors, three posts."""
    await project.collection("authors", [{"name": "name", "type": "text"}, {"name": "phone", "type": "text", "hidden": True}])
    await project.collection(
        "posts",
        [
            {"name": "title", "type": "text"},
            {"name": "score", "type": "decimal"},
            {"name": "public", "type": "bool"},
            {"name": "author", "type": "relation", "to": "authors"},
        ],
        {"list": "true", "view": "true"},
    )
    ann = await project.operator.create("authors", {"name": "Ann", "phone": "1"})
    bob = await project.operator.create("authors", {"name": "Bob"})
    for title, score, author in (("A", "1.5", ann), ("B", "9.50", ann), ("C", "3", bob)):
        await project.operator.create("posts", {"title": title, "score": score, "author": author["id"], "public": title != "C"})
    return {"ann": ann["id"], "bob": bob["id"]}


async def view(project: ProjectUnderTest, name: str, text: str, **more: Any) -> Any:
    return await project.operator.post("collections", json={"name": name, "view": {"sql": text}, **more})


async def made(project: ProjectUnderTest, name: str, text: str, **more: Any) -> dict[str, Any]:
    answer = await view(project, name, text, **more)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_a_view_is_listed_like_a_collection(project: ProjectUnderTest) -> None:
    """Fields come from its columns; filter, sort, fields, count and cursors work as anywhere."""
    ids = await blog(project)
    shown = await made(project, "totals", COUNTS, rules={"list": "true", "view": "true"})

    assert [(field["name"], field["type"]) for field in shown["fields"]] == [
        ("name", "text"),
        ("posts", "int"),
        ("best", "decimal"),
    ]
    assert shown["view"] == {"sql": COUNTS, "system_fields": ["id"]}
    assert await project.anonymous.list("totals", sort="name") == [
        {"id": ids["ann"], "name": "Ann", "posts": 2, "best": "9.50"},
        {"id": ids["bob"], "name": "Bob", "posts": 1, "best": "3"},
    ]
    assert [row["name"] for row in await project.anonymous.list("totals", filter="posts > 1")] == ["Ann"]
    first = (
        await project.anonymous.get("collections/totals/records", params={"limit": 1, "sort": "-posts", "count": "exact"})
    ).json()
    assert (first["total"], first["items"][0]["name"]) == (2, "Ann")
    second = await project.anonymous.list("totals", limit=1, sort="-posts", cursor=first["next_cursor"], count="exact")
    assert [row["name"] for row in second] == ["Bob"]
