"""What the client reads beyond a page: records inside records, conditions on them, figures of groups, whole exports."""

import asyncio
import csv
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import pytest
from baas_sdk import AsyncCollection, BadRequest, ConfigError, Expanded, F, NotAuthenticated, Record

from tests.features.test_sdk import OPEN, Twin, twin  # noqa: F401  fixtures
from tests.support.callers import ProjectUnderTest


@pytest.fixture
async def blog(twin: Twin, project: ProjectUnderTest) -> Any:  # noqa: F811  the fixture
    """Ann wrote `one` with comments of 1, 2 and 3 likes, Bob `two` without any; the client is a guest's."""
    await project.collection("people", [{"name": "name", "type": "text"}], OPEN)
    await project.collection(
        "posts",
        [
            {"name": "title", "type": "text"},
            {"name": "price", "type": "decimal"},
            {"name": "tags", "type": "select", "values": ["red", "blue"], "many": True},
            {"name": "place", "type": "geo_point"},
            {"name": "author", "type": "relation", "to": "people", "inverse": "posts"},
        ],
        OPEN,
    )
    post = {"name": "post", "type": "relation", "to": "posts", "inverse": "comments"}
    await project.collection("comments", [{"name": "text", "type": "text"}, {"name": "likes", "type": "int"}, post], OPEN)
    client = twin.client()
    ann, bob = await twin(lambda: client.collection("people").create_many([{"name": "Ann"}, {"name": "Bob"}]))
    berlin = {"lat": 52.52, "lon": 13.405}
    one, _ = await twin(
        lambda: client.collection("posts").create_many(
            [
                {"title": "one", "author": ann.id, "price": "1.50", "tags": ["red", "blue"], "place": berlin},
                {"title": "two", "author": bob.id, "price": "2.25", "tags": ["blue"]},
            ]
        )
    )
    comments = [{"text": f"c{n}", "likes": n, "post": one.id} for n in (1, 2, 3)]
    await twin(lambda: client.collection("comments").create_many(comments))
    return client


async def test_expanded_records_are_records(twin: Twin, blog: Any) -> None:  # noqa: F811  the fixture
    posts = blog.collection("posts")
    wish: Any = {
        "author": {"fields": "name"},
        "comments": {"filter": F.likes >= 2, "sort": "-likes", "limit": 1, "expand": {"post": {"fields": ["title"]}}},
    }
    (one, two) = await twin(lambda: posts.list(expand=wish, sort="title"))

    assert isinstance(one.expand, Expanded)
    assert "Ann" == one.expand.author.name == one.expand.one("author").name
    (best,) = one.expand.many("comments")
    assert isinstance(best, Record)
    assert (3, 1, "one") == (best.likes, best.rev, best.expand.post.title)
    assert ["comments"] == one.expand_more
    assert [] == two.expand.many("comments")
    with pytest.raises(TypeError):
        one.expand.one("comments")
    with pytest.raises(TypeError):
        one.expand.many("author")
    with pytest.raises(KeyError):
        one.expand.one("nobody")
    with pytest.raises(AttributeError):
        (await twin(lambda: posts.get(one.id))).expand  # noqa: B018  nothing was asked for
    assert {"comments": [{"text": "c1"}]} == (await twin(lambda: posts.get(one.id, expand=CUT))).dict()["expand"]


CUT: Any = {"comments": {"filter": "likes < $n", "vars": {"n": 2}, "fields": "text"}}


async def test_what_was_expanded_can_be_changed(twin: Twin, blog: Any) -> None:  # noqa: F811  the fixture
    """It has its own revision, and only its own fields are sent."""
    one = await twin(lambda: blog.collection("posts").first(filter=F.title == "one", expand="comments"))
    comment = one.expand.comments[0]
    changed = await twin(lambda: blog.collection("comments").update(comment, text="new"))

    assert (comment.id, 2, "new") == (changed.id, changed.rev, changed.text)


async def test_a_wrong_expansion_is_told_with_its_place(twin: Twin, blog: Any) -> None:  # noqa: F811  the fixture
    with pytest.raises(BadRequest) as caught:
        await twin(lambda: blog.collection("posts").list(expand=["author", "coments"]))

    assert "bad_expand" == caught.value.code
    with pytest.raises(ConfigError):
        await twin(lambda: blog.collection("posts").list(expand={"comments": {"filter": F.likes > 1, "vars": {"n": 1}}}))


@dataclass(frozen=True)
class Comment:
    text: str
    likes: int


@dataclass(frozen=True)
class Person:
    name: str


@dataclass(frozen=True)
class Inside:
    author: Person | None = None
    comments: list[Comment] | None = None


@dataclass(frozen=True)
class Post:
    __collection__: ClassVar[str] = "posts"
    title: str
    price: Decimal
    created_at: datetime
    expand: Inside | None = None


async def test_expanded_records_become_classes_of_ones_own(twin: Twin, blog: Any) -> None:  # noqa: F811  the fixture
    post = await twin(lambda: blog.collection(Post).first(sort="title", expand="author,comments"))
    bare = await twin(lambda: blog.collection(Post).first(sort="title"))

    assert Inside(Person("Ann"), [Comment("c1", 1), Comment("c2", 2), Comment("c3", 3)]) == post.expand
    assert (None, Decimal("1.50")) == (bare.expand, bare.price)


CONDITIONS = [
    (F.author.name == "Ann", ["one"]),
    (F.comments.exists(lambda c: c.likes > 2), ["one"]),
    (F.comments.exists(lambda c: (c.likes > 2) & (c.text == "c1")), []),
    (~F.comments.exists(lambda c: c.likes > 2), ["two"]),
    (F.comments.all(lambda c: c.likes >= 1), ["one", "two"]),
    (F.comments.size() == 3, ["one"]),
    (F.comments.size(lambda c: c.likes >= 2) == 2, ["one"]),
    (F.tags.exists(lambda tag: tag == "red"), ["one"]),
    (F.tags.all(lambda tag: tag == "blue"), ["two"]),
    (F.tags.size() < 2, ["two"]),
    (F.author.posts.exists(lambda p: p.title == "one"), ["one"]),
    (F.place.distance(52.5, 13.4) < 3000, ["one"]),
    (F.place.distance(52.5, 13.4) < 100, []),
]


async def test_conditions_reach_lists_and_what_leads_back(twin: Twin, blog: Any) -> None:  # noqa: F811  the fixture
    for condition, expected in CONDITIONS:
        found = await twin(lambda condition=condition: blog.collection("posts").iter(filter=condition, sort="title"))

        assert expected == [post.title for post in found], condition


async def test_figures_of_groups(twin: Twin, blog: Any) -> None:  # noqa: F811  the fixture
    comments, posts = blog.collection("comments"), blog.collection("posts")
    best = await twin(
        lambda: comments.aggregate(
            {"n": "count()", "most": "max(likes)"}, group_by=["post.title", "created_at:year"], filter=F.likes > 1, sort="-n"
        )
    )
    year = f"{datetime.now(UTC).year}-01-01"

    assert [{"post.title": "one", "created_at:year": year, "n": 2, "most": 3}] == [row.dict() for row in best]
    assert not best.more
    total = await twin(lambda: posts.aggregate({"total": "sum(price)"}))
    assert ("3.75", 1) == (total.items[0].total, len(total))
    names = {"field": "author.name", "as": "who"}
    shared = await twin(
        lambda: posts.aggregate({"n": "count()"}, group_by=[names], filter="price < $v1", having=F.who == "Ann", vars={"v1": 3})
    )
    assert [("Ann", 1)] == [(row.who, row.n) for row in shared]
    cut = await twin(lambda: posts.aggregate({"n": "count()"}, group_by="author", limit=1))
    assert (1, True) == (len(cut), cut.more)
    with pytest.raises(BadRequest) as caught:
        await twin(lambda: posts.aggregate({"n": "summ(price)"}))
    assert "bad_aggregate" == caught.value.code


async def exported(collection: Any, *args: Any, raw: bool = False, **wishes: Any) -> list[Any]:
    """All that an export gives, of either kind of client."""
    if isinstance(collection, AsyncCollection):
        async with collection.export(*args, **wishes) as found:
            return [one async for one in (found.iter_bytes() if raw else found)]

    def walk() -> list[Any]:
        with collection.export(*args, **wishes) as found:
            return list(found.iter_bytes() if raw else found)

    return await asyncio.to_thread(walk)


async def test_an_export_is_read_record_by_record(twin: Twin, blog: Any) -> None:  # noqa: F811  the fixture
    comments = blog.collection("comments")
    await twin(lambda: comments.create(text="line\u2028separator\u0085and\x1cmore", likes=9))
    found = await exported(comments, filter=F.likes > 1, sort="-likes", fields=["text", "likes"])

    assert [9, 3, 2] == [comment.likes for comment in found]
    assert "line\u2028separator\u0085and\x1cmore" == found[0].text
    rows = list(csv.DictReader(b"".join(await exported(comments, "csv", raw=True, sort="likes")).decode().splitlines()))
    assert ["1", "2", "3", "9"] == [row["likes"] for row in rows]
    with pytest.raises(ConfigError):
        await exported(comments, "csv")


async def test_an_export_lands_whole(twin: Twin, blog: Any, tmp_path: Path) -> None:  # noqa: F811  the fixture
    posts = blog.collection("posts")
    lines, table = tmp_path / "posts.jsonl", tmp_path / "posts.csv"
    await twin(lambda: posts.export_to(lines, fields=["title"]))
    await twin(lambda: posts.export_to(table, fields=["title"], filter="title == $t", vars={"t": "one"}))

    assert 2 == len(lines.read_text().splitlines())
    assert [{"title": "one"}] == list(csv.DictReader(table.read_text().splitlines()))
    with pytest.raises(BadRequest):
        await twin(lambda: posts.export_to(lines, filter="nonsense"))
    assert {"posts.jsonl", "posts.csv"} == {path.name for path in tmp_path.iterdir()}
    assert 2 == len(lines.read_text().splitlines())


async def test_rules_hold_for_figures_and_exports(twin: Twin, project: ProjectUnderTest) -> None:  # noqa: F811  the fixture
    await project.collection("secrets", [{"name": "n", "type": "int"}], {"list": "auth.id != null"})
    guest, user = twin.client(), twin.client(token=(await project.user()).token)
    with pytest.raises(NotAuthenticated):
        await twin(lambda: guest.collection("secrets").aggregate({"n": "count()"}))
    with pytest.raises(NotAuthenticated):
        await exported(guest.collection("secrets"))

    assert [0] == [row.n for row in await twin(lambda: user.collection("secrets").aggregate({"n": "count()"}))]
