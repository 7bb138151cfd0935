"""Lists in order of what relations lead to, of fields that not everybody may read, with nulls first or last; and their pages."""

import asyncio
import random
from contextlib import suppress
from functools import cmp_to_key
from typing import Any

from tests.support.callers import Caller, ProjectUnderTest

OPEN = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")
POSTS = "collections/posts/records"
KEYS = (
    "author.name",
    "author.team.name",
    "author.team.open",
    "author.boss.wage",
    "author.wage",
    "author",
    "author.id",
    "author.team",
    "editor.name",
    "editor",
    "note",
    "title",
    "n",
    "created_at",
)


def relation(name: str, to: str, **options: Any) -> dict[str, Any]:
    return {"name": name, "type": "relation", "to": to, **options}


async def world(project: ProjectUnderTest, draw: random.Random) -> None:
    """Posts of people in teams, of which a caller under rules sees some."""
    text = {"name": "name", "type": "text"}
    await project.collection("teams", [text, {"name": "open", "type": "bool"}], OPEN | {"list": "record.open"})
    people = [text, relation("team", "teams"), relation("boss", "people", inverse="staff")]
    wage = {"name": "wage", "type": "int", "read": "record.name != 'p1'"}
    await project.collection("people", [*people, wage], OPEN | {"list": "record.name != 'p2'", "view": "false"})
    fields = [
        {"name": "title", "type": "text"},
        {"name": "n", "type": "int", "required": True},
        {"name": "note", "type": "decimal", "read": "record.n != 1"},
        relation("author", "people", inverse="posts"),
        relation("editor", "people", read="record.title != 'kept'"),
        relation("tags", "people", many=True, inverse="tagged"),
        {"name": "meta", "type": "json"},
    ]
    await project.collection("posts", fields, OPEN)

    async def some(collection: str, bodies: list[dict[str, Any]]) -> list[str]:
        made = await project.operator.post(f"collections/{collection}/records", json=bodies)
        assert made.status_code == 201, made.text
        return [one["id"] for one in made.json()["items"]]

    teams = await some("teams", [{"name": draw.choice(["é", "Z", "a", None]), "open": n % 3 > 0} for n in range(6)])
    names = [*(f"p{n}" for n in range(6)), None]
    heads = await some("people", [{"name": name, "wage": draw.choice([None, -1, 5])} for name in names])
    people_ids = await some(
        "people",
        [
            {"name": name, "team": draw.choice([None, *teams]), "boss": draw.choice(heads), "wage": draw.randint(0, 2)}
            for name in names
        ],
    )
    anyone = [None, *heads, *people_ids]
    await some(
        "posts",
        [
            {
                "title": draw.choice(["kept", "A", None, ""]),
                "n": draw.randint(0, 2),
                "note": draw.choice([None, "1.50", "-3"]),
                "author": draw.choice(anyone),
                "editor": draw.choice(anyone),
            }
            for _ in range(50)
        ],
    )


async def rows_of(project: ProjectUnderTest, name: str) -> dict[str, dict[str, Any]]:
    return {one["id"]: one for one in await project.operator.list(name, limit=500)}


class Model:
    """What a caller under rules is sorted by, worked out from everything that is stored."""

    def __init__(self, posts: Any, people: Any, teams: Any, *, privileged: bool) -> None:
        self.posts, self.people, self.teams, self.privileged = posts, people, teams, privileged

    def value(self, post: dict[str, Any], path: str) -> Any:
        row, sort = post, "posts"
        names = path.split(".")
        for name in names[:-1]:
            if not self.readable(sort, row, name) or row[name] is None:
                return None
            sort = "teams" if name == "team" else "people"
            row = (self.teams if sort == "teams" else self.people)[row[name]]
            if not self.listed(sort, row):
                return None
        found = row[names[-1]] if self.readable(sort, row, names[-1]) else None
        return float(found) if names[-1] == "note" and found is not None else found

    def listed(self, sort: str, row: dict[str, Any]) -> bool:
        if self.privileged:
            return True
        return row["open"] is True if sort == "teams" else row["name"] != "p2"

    def readable(self, sort: str, row: dict[str, Any], name: str) -> bool:
        if self.privileged:
            return True
        hidden = {("people", "wage"): row.get("name") == "p1", ("posts", "note"): row.get("n") == 1}
        return not hidden.get((sort, name), (sort, name) == ("posts", "editor") and row["title"] == "kept")

    def ordered(self, keys: list[tuple[str, bool, bool]]) -> list[str]:
        def compare(left: dict[str, Any], right: dict[str, Any]) -> int:
            for path, descending, nulls_first in keys:
                a, b = self.value(left, path), self.value(right, path)
                if a is None or b is None:
                    if a is not b:
                        return -1 if (a is None) == nulls_first else 1
                elif a != b:
                    return (1 if a > b else -1) * (-1 if descending else 1)
            down = keys[-1][1] if keys else False
            return ((left["id"] > right["id"]) - (left["id"] < right["id"])) * (-1 if down else 1)

        return [one["id"] for one in sorted(self.posts.values(), key=cmp_to_key(compare))]


def written(keys: list[tuple[str, bool, bool]], draw: random.Random) -> str:
    ends = {True: ":nulls_first", False: draw.choice(["", ":nulls_last"])}
    return ",".join(f"{'-' if down else ''}{path}{ends[first]}" for path, down, first in keys)


async def pages(caller: Caller, limit: int, sort: str) -> list[str]:
    items: list[str] = []
    params = {"sort": sort, "limit": limit, "fields": "id"}
    while True:
        answer = await caller.get(POSTS, params=params)
        assert answer.status_code == 200, answer.text
        items += [one["id"] for one in answer.json()["items"]]
        if answer.json()["next_cursor"] is None:
            return items
        params = params | {"cursor": answer.json()["next_cursor"]}
        assert len(items) < 500


async def test_every_order_is_the_models_and_its_pages_make_up_the_list(project: ProjectUnderTest) -> None:
    """Random keys, directions and nulls: of related records out of sight, of fields that cannot be read, the value is null."""
    seed = 4
    draw = random.Random(seed)
    await world(project, draw)
    stored = [await rows_of(project, name) for name in ("posts", "people", "teams")]
    orders = 0
    for caller, privileged in ((project.anonymous, False), (await project.user(), False), (project.operator, True)):
        model = Model(*stored, privileged=privileged)
        for _ in range(30):
            keys = [(path, draw.random() < 0.5, draw.random() < 0.5) for path in draw.sample(KEYS, draw.randint(1, 3))]
            sort = written(keys, draw)
            whole = [one["id"] for one in await caller.list("posts", sort=sort, limit=100)]
            assert whole == model.ordered(keys), (seed, sort)
            assert await pages(caller, draw.choice([1, 3, 7]), sort) == whole, (seed, sort)
            orders += 1
    print(f"seed {seed}: {orders} orders")
    assert orders == 90


async def test_nulls_stand_where_they_are_asked_to(project: ProjectUnderTest) -> None:
    await project.collection("posts", [{"name": "due", "type": "date"}], OPEN)
    for due in ("2026-01-02", None, "2026-01-01"):
        await project.operator.create("posts", {"due": due})

    async def dues(sort: str) -> list[str | None]:
        return [one["due"] and one["due"][-1] for one in await project.anonymous.list("posts", sort=sort)]

    assert await dues("due") == await dues("due:nulls_last") == ["1", "2", None]
    assert await dues("due:nulls_first") == [None, "1", "2"]
    assert await dues("-due") == await dues("-due:nulls_last") == ["2", "1", None]
    assert await dues("-due:nulls_first") == [None, "2", "1"]


async def test_a_cursor_belongs_to_the_path_and_the_place_of_nulls(project: ProjectUnderTest) -> None:
    draw = random.Random(1)
    await world(project, draw)
    query = {"sort": "author.name", "limit": 5}
    cursor = (await project.anonymous.get(POSTS, params=query)).json()["next_cursor"]
    for sort in (
        "author.name:nulls_first",
        "-author.name",
        "author.boss.name",
        "editor.name",
        "author.name,id,n",
        "author",
        "title",
    ):
        answer = await project.anonymous.get(POSTS, params=query | {"sort": sort, "cursor": cursor})
        expected = 200 if sort == "author.name,id,n" else 400  # what follows id changes nothing
        assert answer.status_code == expected, (sort, answer.text)
    wider = query | {"sort": "author.name:nulls_last", "limit": 9, "fields": "id", "expand": "author", "cursor": cursor}
    same = await project.anonymous.get(POSTS, params=wider)
    assert (same.status_code, len(same.json()["items"])) == (200, 9), "what is shown of a record may change on the way"
    assert all(one["expand"] == {"author": None} for one in same.json()["items"])
    assert (await project.operator.get(POSTS, params=query | {"cursor": cursor})).json()["code"] == "bad_cursor"


async def test_a_cursor_shows_no_value_that_its_holder_could_not_read(project: ProjectUnderTest) -> None:
    """It can be read by whoever holds it: what stands in it is null where the page's value was."""
    import base64

    people = [{"name": "name", "type": "text"}]
    await project.collection("people", people, {"list": "record.name == 'seen'", "view": None})
    await project.collection("posts", [{"name": "n", "type": "int", "read": "false"}, relation("author", "people")], OPEN)
    secret = (await project.operator.create("people", {"name": "zq7planted"}))["id"]
    for _ in range(3):
        await project.operator.create("posts", {"author": secret, "n": 987654321})
    for sort in ("author.name", "-author.name:nulls_first", "n", "-n,author.name"):
        for at in range(2):
            page = (await project.anonymous.get(POSTS, params={"sort": sort, "limit": at + 1})).json()
            raw = base64.urlsafe_b64decode(page["next_cursor"] + "==")
            assert b"null" in raw
            assert b"zq7" not in raw
            assert b"987654321" not in raw


async def test_pages_by_related_values_stay_whole_while_others_write(project: ProjectUnderTest) -> None:
    """Posts there from beginning to end appear exactly once, whatever is put before and after them meanwhile."""
    draw = random.Random(2)
    await world(project, draw)
    kept = set(await rows_of(project, "posts"))
    people = list(await rows_of(project, "people"))
    written = 0

    async def disturb() -> None:
        nonlocal written
        while True:
            body = {"n": draw.randint(0, 2), "author": draw.choice([None, *people]), "title": draw.choice(["A", None])}
            made = await project.operator.create("posts", body)
            written += 1
            if written % 2:
                await project.operator.delete(f"{POSTS}/{made['id']}")

    task = asyncio.create_task(disturb())
    try:
        while written <= 20 and not task.done():
            for sort in ("author.name", "-author.team.name:nulls_first,title", "-note,author.wage", "editor.name:nulls_first,-n"):
                for caller in (project.anonymous, project.operator):
                    seen = await pages(caller, 4, sort)
                    assert len(seen) == len(set(seen)), sort
                    assert kept <= set(seen), sort
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    print(f"{written} writes meanwhile")


async def test_what_an_order_refuses(project: ProjectUnderTest) -> None:
    """Lists, documents and back-relations have no order; two relations are the most; a key stands once."""
    await world(project, random.Random(6))
    for sort, expected in (
        ("author.team.id.x", "bad_sort"),
        ("author.boss.boss.boss.name", "bad_sort"),
        ("author.boss.boss.name", "bad_sort"),
        ("tags", "bad_sort"),
        ("tags.name", "bad_sort"),
        ("meta", "bad_sort"),
        ("author.posts.title", "bad_sort"),
        ("author.name,-author.name", "bad_sort"),
        ("author.name,author.name:nulls_first", "bad_sort"),
        ("author.nosuch", "bad_sort"),
        ("nosuch.name", "bad_sort"),
        ("title.name", "bad_sort"),
        ("author.", "bad_sort"),
        (".name", "bad_sort"),
        ("title:", "bad_sort"),
        ("title:first", "bad_sort"),
        ("title:nulls_first:nulls_last", "bad_sort"),
    ):
        for caller in (project.anonymous, project.operator):
            answer = await caller.get(POSTS, params={"sort": sort})
            assert (answer.status_code, answer.json()["code"]) == (400, expected), (sort, answer.text)
    for params, said in (
        ({"sort": "meta.a"}, "'meta' holds JSON, which is taken as a whole: no path goes into it."),
        ({"fields": "meta.a"}, "'meta' holds JSON, which is taken as a whole: no path goes into it."),
        ({"expand": "title"}, "'title' is a field and no relation: no path goes through it."),
        ({"sort": "tags.name"}, "'tags' is a list of records; a path goes through relations to one."),
        ({"sort": "author.posts.title"}, "'posts' is a list of records; a path goes through relations to one."),
        ({"sort": "author.posts"}, "'posts' is a list of records, not a field."),
        ({"sort": "meta"}, "'meta' holds JSON documents, which have no order."),
        ({"sort": "tags"}, "'tags' holds lists, which have no order."),
    ):
        assert said == (await project.anonymous.get(POSTS, params=params)).json()["detail"], params
    grouped = await project.anonymous.post(
        "collections/posts/records/aggregate", json={"group_by": ["meta.a"], "select": {"n": "count()"}}
    )
    assert "'meta' holds JSON, which is taken as a whole: no path goes into it." == grouped.json()["errors"][0]["message"]
    await project.operator.patch("collections/people", json={"rules": {"list": None}})
    silent = [await project.anonymous.get(POSTS, params={"sort": f"{name}.title"}) for name in ("author", "autor")]
    assert "There is no 'author' here." == silent[0].json()["detail"] == silent[1].json()["detail"].replace("autor", "author")
    locked = await project.anonymous.get(POSTS, params={"sort": "author.name"})
    assert (locked.status_code, locked.json()["code"]) == (400, "bad_sort")
    assert (await project.operator.get(POSTS, params={"sort": "author.name"})).status_code == 200
