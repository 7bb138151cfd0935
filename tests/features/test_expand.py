"""Records inside records: relations to one and to many, back-relations, each path with its own wishes, under the rules."""

import json
import random
from itertools import product
from typing import Any
from uuid import uuid4

import pytest

from baas.infra.db.pool import Database
from baas.infra.db.sql import ident
from tests.support.callers import Caller, ProjectUnderTest

OPEN = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")
POSTS = "collections/posts/records"
NAME = {"name": "name", "type": "text"}
SECRET = "zq7planted"


def relation(name: str, to: str, **options: Any) -> dict[str, Any]:
    return {"name": name, "type": "relation", "to": to, **options}


async def blog(project: ProjectUnderTest, **rules: dict[str, str | None]) -> None:
    """teams <- people <- posts <- comments -> people, and tags, of which a post has a list. `rules` replace those of OPEN."""

    async def make(name: str, *fields: dict[str, Any]) -> None:
        await project.collection(name, list(fields), OPEN | rules.get(name, {}))

    await make("teams", NAME, {"name": "open", "type": "bool"})
    await make(
        "people",
        NAME,
        relation("team", "teams", inverse="members"),
        relation("boss", "people", inverse="staff"),
        {"name": "secret", "type": "text", "hidden": True},
        {"name": "wage", "type": "int", "read": "record.name == 'ann'"},
    )
    await make("tags", NAME)
    await make(
        "posts",
        {"name": "title", "type": "text"},
        relation("author", "people", inverse="posts"),
        relation("tags", "tags", many=True, inverse="tagged"),
        relation("shadow", "people", inverse="shadows", hidden=True),
        relation("editor", "people", inverse="edited", read="record.title != 'kept'"),
    )
    await make(
        "comments",
        {"name": "text", "type": "text"},
        {"name": "n", "type": "int"},
        relation("post", "posts", inverse="comments"),
        relation("author", "people", inverse="remarks"),
    )


async def make(project: ProjectUnderTest, collection: str, **values: Any) -> str:
    return str((await project.operator.create(collection, values))["id"])


async def one(caller: Caller, record: str, **params: Any) -> dict[str, Any]:
    answer = await caller.get(f"{POSTS}/{record}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def problem(answer: Any) -> dict[str, Any]:
    return {name: value for name, value in answer.json().items() if name not in ("instance", "request_id")}


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_relations_lead_to_records_both_ways(project: ProjectUnderTest) -> None:
    """To one: the record or null. To many: in the order of the ids. Back: by id. Without expand nothing of it is there."""
    await blog(project)
    ann, bob = [await make(project, "people", name=name) for name in ("ann", "bob")]
    tags = [await make(project, "tags", name=name) for name in "abc"]
    post = await make(project, "posts", title="t", author=ann, tags=[tags[2], tags[0]])
    lonely = await make(project, "posts", title="u")
    texts = [await make(project, "comments", text=str(n), post=post, author=(ann, bob)[n % 2]) for n in range(3)]
    anyone = project.anonymous

    plain = await one(anyone, post)
    whole = await one(anyone, post, expand="author,tags,comments,editor")
    person = (await anyone.get(f"collections/people/records/{ann}")).json()
    assert "expand" not in plain
    assert {name: value for name, value in whole.items() if name != "expand"} == plain
    assert list(whole["expand"]) == ["author", "tags", "comments", "editor"]
    assert whole["expand"]["author"] == person
    assert [tag["name"] for tag in whole["expand"]["tags"]] == ["c", "a"]
    assert [comment["id"] for comment in whole["expand"]["comments"]] == sorted(texts)
    assert whole["expand"]["editor"] is None
    assert (await one(anyone, lonely, expand="author,tags,comments"))["expand"] == {"author": None, "tags": [], "comments": []}

    listed = await anyone.list("posts", expand="author,tags,comments,editor", sort="title")
    assert listed[0] == whole
    told = await anyone.post(f"{POSTS}/query", json={"expand": ["author", "tags", "comments", "editor"], "sort": "title"})
    assert told.json()["items"] == listed
    gone = await project.operator.delete(f"collections/tags/records/{tags[2]}")
    assert gone.status_code == 204
    assert [tag["name"] for tag in (await one(anyone, post, expand="tags"))["expand"]["tags"]] == ["a"]
    assert [one["title"] for one in (await anyone.list("tags", expand="tagged"))[0]["expand"]["tagged"]] == ["t"]


async def test_expansions_nest_and_come_back_to_where_they_began(project: ProjectUnderTest) -> None:
    await blog(project)
    team = await make(project, "teams", name="red")
    ann = await make(project, "people", name="ann", team=team)
    post = await make(project, "posts", title="t", author=ann)
    await make(project, "comments", text="c", post=post, author=ann)
    boss = await make(project, "people", name="boss", team=team)
    await project.operator.patch(f"collections/people/records/{ann}", json={"boss": boss})

    found = await one(project.anonymous, post, expand="author.posts.author,comments.author.team,author.team.members")
    author = found["expand"]["author"]
    assert author["expand"]["posts"][0]["expand"]["author"]["name"] == "ann"
    assert {one["name"] for one in author["expand"]["team"]["expand"]["members"]} == {"ann", "boss"}
    assert found["expand"]["comments"][0]["expand"]["author"]["expand"]["team"]["name"] == "red"
    people = await project.anonymous.list("people", expand="staff.boss.staff,boss.staff.boss", filter="name == 'boss'")
    assert people[0]["expand"]["staff"][0]["expand"]["boss"]["expand"]["staff"][0]["name"] == "ann"


async def test_an_answer_with_expansions_is_one_round_trip(project: ProjectUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many records and paths: one statement. The caller's own record, where a rule needs it, was fetched before."""
    await blog(project)
    for number in range(12):
        person = await make(project, "people", name=str(number))
        await make(project, "comments", post=await make(project, "posts", title=str(number), author=person), author=person)
    posts = ident(project.schema, "posts").render().text
    asked: list[str] = []
    fetch_row = Database.fetch_row

    async def counted(self: Database, statement: Any, *more: Any, **options: Any) -> Any:
        if posts in statement.text:  # this project's table: other work of the server goes on meanwhile
            asked.append(statement.text)
        return await fetch_row(self, statement, *more, **options)

    monkeypatch.setattr(Database, "fetch_row", counted)
    items = await project.anonymous.list("posts", expand="author.posts,comments.author.remarks,tags", sort="-author.name")

    assert len(items) == 12
    assert len(asked) == 1


async def test_each_path_has_wishes_of_its_own(project: ProjectUnderTest) -> None:
    await blog(project)
    ann, bob = [await make(project, "people", name=name) for name in ("ann", "bob")]
    post, other = [await make(project, "posts", title=name) for name in "tu"]
    for n in range(8):
        await make(project, "comments", text="ab"[n % 2], n=n, post=post, author=(ann, bob)[n // 4])
    wishes = {
        "comments": {
            "filter": "n >= $low && author.name != $who",
            "vars": {"low": 1, "who": "zoe"},
            "sort": ["-author.name", "text:nulls_first", "-n"],
            "limit": 5,
            "fields": "n,author.name",
        }
    }
    query = {"filter": "title == $who", "vars": {"who": "t"}, "expand": wishes, "fields": ["title"]}
    told = await project.anonymous.post(f"{POSTS}/query", json=query)
    asked = await project.anonymous.get(
        POSTS,
        params={"filter": "title == $who", "vars": '{"who":"t"}', "expand": json.dumps(wishes), "fields": "title"},
    )

    assert told.status_code == 200, told.text
    assert asked.json() == told.json()
    (item,) = told.json()["items"]
    assert set(item) == {"title", "expand", "expand_more"}
    assert item["expand_more"] == ["comments"]
    assert item["expand"]["comments"][0] == {"n": 6, "expand": {"author": {"name": "bob"}}}
    assert [comment["n"] for comment in item["expand"]["comments"]] == [6, 4, 7, 5, 2]
    empty = await one(project.anonymous, other, expand=json.dumps(wishes))
    assert empty["expand"] == {"comments": []}
    only = await one(project.anonymous, post, expand='{"author":{"filter":"name == \'bob\'"}}')
    assert only["expand"] == {"author": None}
    deep = {"comments": {"limit": 1, "expand": {"author": {"fields": ["name"], "expand": "team,remarks"}}}}
    nested = (await one(project.anonymous, post, expand=json.dumps(deep)))["expand"]["comments"][0]["expand"]["author"]
    assert nested["name"] == "ann"
    assert set(nested) == {"name", "expand"}
    assert len(nested["expand"]["remarks"]) == 4


async def test_no_two_wishes_share_an_answer(project: ProjectUnderTest) -> None:
    """Statements are kept by what they depend on: every order, filter, value, limit and choice of fields is its own."""
    await blog(project)
    people = [await make(project, "people", name=name) for name in ("ann", "bob", "eve")]
    post = await make(project, "posts", title="t")
    draw = random.Random(8)
    for n in range(12):
        await make(project, "comments", n=n, text=draw.choice(["a", "b", "c"]), post=post, author=people[n % 3])
    rows = await project.operator.list("comments", limit=100)
    names = dict(zip(people, ("ann", "bob", "eve"), strict=True))
    sorts: dict[str, Any] = {
        "n": lambda one: one["n"],
        "-n": lambda one: -one["n"],
        "text,n": lambda one: (one["text"], one["n"]),
        "-text,-n": lambda one: (-ord(one["text"]), -one["n"]),
        "author.name,n": lambda one: (names[one["author"]], one["n"]),
        "-author.name,n": lambda one: (-ord(names[one["author"]][0]), one["n"]),
    }
    filters: dict[str, Any] = {
        "n >= $v": lambda one, v: one["n"] >= v,
        "n < $v": lambda one, v: one["n"] < v,
        "n != $v": lambda one, v: one["n"] != v,
    }
    asked = 0
    for sort, wanted, value, limit, field in product(sorts, filters, (3, 7), (2, 20), ("n", "text")):
        wish = {"comments": {"sort": sort, "filter": wanted, "vars": {"v": value}, "limit": limit, "fields": field}}
        found = await one(project.anonymous, post, expand=json.dumps(wish), fields="title")
        expected = [row[field] for row in sorted(rows, key=sorts[sort]) if filters[wanted](row, value)]
        assert [row[field] for row in found["expand"]["comments"]] == expected[:limit], wish
        assert ("expand_more" in found) == (len(expected) > limit)
        asked += 1
    assert asked == 144


async def test_a_list_that_was_cut_says_so(project: ProjectUnderTest) -> None:
    """`expand_more` is there exactly when there is more than is shown; thirty without a limit."""
    await blog(project)
    ann = await make(project, "people", name="ann")
    for count in (29, 30, 31):
        post = await make(project, "posts", title=str(count), author=ann)
        made = await project.operator.post("collections/comments/records", json=[{"post": post, "n": n} for n in range(count)])
        assert made.status_code == 201
    for item, count in zip(await project.anonymous.list("posts", expand="comments", sort="title"), (29, 30, 31), strict=True):
        assert len(item["expand"]["comments"]) == min(count, 30)
        assert item.get("expand_more") == (["comments"] if count > 30 else None)
    for limit, cut in ((None, [True] * 3), (30, [False, False, True]), (31, [False] * 3)):
        wish = {"posts": {"expand": {"comments": {} if limit is None else {"limit": limit}}}}
        deep = (await project.anonymous.list("people", expand=json.dumps(wish)))[0]
        assert "expand_more" not in deep
        assert [one.get("expand_more") == ["comments"] for one in deep["expand"]["posts"]] == cut
        assert len(deep["expand"]["posts"][0]["expand"]["comments"]) == ((limit and 29) or 10), "ten in a list inside a list"
    wide = {"comments": {"limit": 31}, "tags": {}}
    assert not any("expand_more" in one for one in await project.anonymous.list("posts", expand=json.dumps(wide)))
    both = {"posts": {"limit": 2, "fields": []}, "remarks": {"limit": 1}}
    refused = await project.anonymous.get("collections/people/records", params={"expand": json.dumps(both)})
    assert code(refused) == (400, "bad_fields"), "no names is no wish"


async def test_fields_reach_through_relations(project: ProjectUnderTest) -> None:
    """`author.name` is the expansion of author with the name alone; what only lies on the way shows nothing else."""
    await blog(project)
    team = await make(project, "teams", name="red")
    ann = await make(project, "people", name="ann", team=team)
    post = await make(project, "posts", title="t", author=ann)
    await make(project, "comments", text="c", post=post, author=ann)

    async def shown(**params: str) -> dict[str, Any]:
        listed = await project.anonymous.list("posts", **params)
        assert listed == [await one(project.anonymous, post, **params)]
        told = await project.anonymous.post(f"{POSTS}/query", json={k: v.split(",") for k, v in params.items()})
        assert told.json()["items"] == listed
        return listed[0]

    assert await shown(fields="id,title,author.name") == {"id": post, "title": "t", "expand": {"author": {"name": "ann"}}}
    assert await shown(fields="author.name,author.id,author.name") == {"expand": {"author": {"name": "ann", "id": ann}}}
    assert await shown(fields="author,author.name") == {"author": ann, "expand": {"author": {"name": "ann"}}}
    assert await shown(fields="title,author.team.name") == {
        "title": "t",
        "expand": {"author": {"expand": {"team": {"name": "red"}}}},
    }
    assert await shown(fields="title,comments.author.name") == {
        "title": "t",
        "expand": {"comments": [{"expand": {"author": {"name": "ann"}}}]},
    }
    assert await shown(fields="title,author.name", expand="author") == await shown(fields="title,author.name")
    both = await shown(fields="title,author.team.name", expand="author")
    assert set(both["expand"]["author"]) > {"id", "name", "expand"}, (
        "expand asks for the whole of author, fields for less of team"
    )
    assert both["expand"]["author"]["expand"] == {"team": {"name": "red"}}
    assert set((await shown(fields="title", expand="author.team"))["expand"]["author"]["expand"]["team"]) > {"id", "name"}


async def test_who_is_not_seen_is_not_there(project: ProjectUnderTest) -> None:
    """The view rule of each collection, at every depth: null, or left out of the list, and never a reason for `expand_more`."""
    await blog(
        project,
        people={"view": "record.name != 'zoe'"},
        comments={"view": "record.n > 0"},
        teams={"view": "auth != null && record.open"},
    )
    closed, opened = await make(project, "teams", name="c", open=False), await make(project, "teams", name="o", open=True)
    ann = await make(project, "people", name="ann", team=closed)
    zoe = await make(project, "people", name="zoe", team=opened)
    first, second = await make(project, "posts", title="1", author=ann), await make(project, "posts", title="2", author=zoe)
    for n in range(31):
        await make(project, "comments", n=n, post=first, author=zoe)
    user = await project.user()
    for caller in (project.anonymous, user):
        items = await caller.list("posts", expand="author.team,comments.author", sort="title")
        assert [item["expand"]["author"] and item["expand"]["author"]["name"] for item in items] == ["ann", None]
        assert items[0]["expand"]["author"]["expand"] == {"team": None}
        assert {one["n"] for one in items[0]["expand"]["comments"]} == set(range(1, 31))
        assert "expand_more" not in items[0], "the one that is out of sight is not counted"
        assert all(one["expand"] == {"author": None} for one in items[0]["expand"]["comments"])
    await project.operator.patch(f"{POSTS}/{second}", json={"author": ann})
    await project.operator.patch(f"collections/people/records/{ann}", json={"team": opened})
    assert (await one(user, second, expand="author.team"))["expand"]["author"]["expand"]["team"]["name"] == "o"
    assert (await one(project.anonymous, second, expand="author.team"))["expand"]["author"]["expand"] == {"team": None}
    assert (await one(project.operator, first, expand="comments"))["expand_more"] == ["comments"]


async def test_fields_with_read_expressions_inside_expansions(project: ProjectUnderTest) -> None:
    """A field that cannot be read is left out of the record inside; a relation that cannot be read leads nowhere, both ways."""
    await blog(project)
    ann, bob = [await make(project, "people", name=name, wage=n) for n, name in enumerate(("ann", "bob"))]
    shown = await make(project, "posts", title="shown", author=bob, editor=ann)
    kept = await make(project, "posts", title="kept", author=ann, editor=ann)
    caller = project.anonymous

    assert "wage" not in (await one(caller, shown, expand="author"))["expand"]["author"]
    assert (await one(caller, kept, expand="author"))["expand"]["author"]["wage"] == 0
    assert (await one(caller, shown, fields="author.wage"))["expand"]["author"] == {}
    assert (await one(caller, shown, fields="author.wage,author.team.name"))["expand"]["author"] == {"expand": {"team": None}}
    assert (await one(caller, shown, expand="editor"))["expand"]["editor"]["name"] == "ann"
    assert (await one(caller, kept, expand="editor"))["expand"] == {"editor": None}
    edited = (await caller.list("people", expand="edited", filter="name == 'ann'"))[0]["expand"]["edited"]
    assert [post["title"] for post in edited] == ["shown"]
    assert len((await project.operator.list("people", expand="edited", filter="name == 'ann'"))[0]["expand"]["edited"]) == 2
    wish = json.dumps({"comments": {"sort": "-author.wage", "filter": "author.wage >= 0"}})
    for n, who in enumerate((ann, bob)):
        await make(project, "comments", n=n, post=shown, author=who)
    assert [one["n"] for one in (await one(caller, shown, expand=wish))["expand"]["comments"]] == [0]


async def test_a_rule_that_needs_the_callers_own_record_has_it(project: ProjectUnderTest) -> None:
    """Only the view rule of what is expanded, or the list rule of what is sorted by, looks at the user's fields."""
    fields = [*(await project.operator.get("collections/users")).json()["fields"], {"name": "team", "type": "text"}]
    assert (await project.operator.patch("collections/users", json={"fields": fields})).status_code == 200
    own = "auth.team != null && record.name == auth.team"
    await blog(project, teams={"view": own, "list": own})
    red, blue = await make(project, "teams", name="red"), await make(project, "teams", name="blue")
    posts = []
    for team in (red, blue):
        person = await make(project, "people", name="p", team=team)
        posts.append(await make(project, "posts", title=team, author=person))
    user = await project.user()
    await project.operator.patch(f"collections/users/records/{user.id}", json={"team": "red"})
    for params in (
        {"expand": "author.team"},
        {"fields": "author.team.name"},
        {"expand": "author.team", "filter": "title != auth.team"},
    ):
        items = await user.list("posts", sort="created_at", **params)
        teams = [item["expand"]["author"]["expand"]["team"] for item in items]
        assert [team and team["name"] for team in teams] == ["red", None], params
    assert (await one(user, posts[0], expand="author.team"))["expand"]["author"]["expand"]["team"]["name"] == "red"
    assert [item["id"] for item in await user.list("posts", sort="-author.team.name")] == posts, (
        "by id, backwards, if all were null"
    )
    inside = json.dumps({"posts": {"sort": "-author.team.name:nulls_first", "filter": "author.team.name != auth.team || true"}})
    assert [len(item["expand"]["posts"]) for item in await user.list("people", expand=inside)] == [1, 1]


async def test_a_key_sees_inside_what_its_scopes_reach(project: ProjectUnderTest) -> None:
    """`users` is a scope of its own, also behind a relation: who may read posts may not read everybody's address there."""
    await project.collection("posts", [relation("owner", "users", inverse="posts")], OPEN)
    owners = [(await project.user(email)).id for email in ("b@example.com", "a@example.com")]
    posts = [await make(project, "posts", owner=owner) for owner in owners]
    records, users, both = await project.key("records"), await project.key("users"), await project.key("records", "users")

    assert [one["expand"] for one in await records.list("posts", expand="owner")] == [{"owner": None}] * 2
    assert (await one(records, posts[0], fields="owner.email"))["expand"] == {"owner": None}
    assert [one["expand"] for one in await users.list("users", expand="posts.owner")] == [{"posts": []}] * 2
    assert [one["id"] for one in await records.list("posts", sort="owner.email")] == sorted(posts)
    assert (await one(both, posts[0], fields="owner.email"))["expand"] == {"owner": {"email": "b@example.com"}}
    assert [one["id"] for one in await both.list("posts", sort="owner.email")] == posts[::-1]
    assert [len(one["expand"]["posts"]) for one in await both.list("users", expand="posts")] == [1, 1]


async def test_what_does_not_exist_for_a_caller_answers_like_what_never_did(project: ProjectUnderTest) -> None:
    """Hidden fields and relations, locked collections, at every depth, in expand, fields, sort and filter: 0 bits."""
    await blog(project, tags={"view": None, "list": None})
    ann = await make(project, "people", name="ann", secret=SECRET)
    tag = await make(project, "tags", name=SECRET)
    post = await make(project, "posts", title="t", author=ann, shadow=ann, tags=[tag])
    await make(project, "comments", post=post, author=ann)
    # What is named, in whose place, and where: NAME stands for it.
    relations = [
        (name, where)
        for names, wheres in (
            (("shadow", "tags"), ("NAME", "comments.post.NAME", "author.posts.NAME", "comments,NAME")),
            (("shadows",), ("author.NAME", "comments.author.NAME", "editor.NAME.author")),
        )
        for name in names
        for where in wheres
    ]
    attempts = 0
    callers = [project.anonymous, await project.user()]
    for caller in callers:
        for name, where in relations:
            for make_params in (
                lambda path: {"expand": path},
                lambda path: {"fields": ",".join(f"{one}.id" for one in path.split(","))},
                lambda path: {"sort": f"-{path.split(',')[-1]}.name"},
                lambda path: {"expand": json.dumps(nested(path.split(",")[-1]))},
            ):
                answers = [await caller.get(POSTS, params=make_params(where.replace("NAME", one))) for one in (name, "nosuch")]
                same(answers, name)
                attempts += 1
        for where in (
            {"fields": "author.NAME"},
            {"fields": "comments.author.NAME"},
            {"sort": "author.NAME"},
            {"expand": '{"author":{"fields":["NAME"]}}'},
            {"expand": '{"author":{"filter":"NAME == null"}}'},
            {"expand": '{"comments":{"filter":"author.NAME != \'x\'"}}'},
            {"expand": '{"comments":{"sort":"author.NAME"}}'},
            {"expand": '{"comments":{"expand":{"author":{"filter":"has(record.NAME)"}}}}'},
        ):
            answers = [
                await caller.get(POSTS, params={key: value.replace("NAME", one) for key, value in where.items()})
                for one in ("secret", "nosuch")
            ]
            same(answers, "secret")
            attempts += 1
        for params in ({"expand": "author,comments.author"}, {"expand": "author.posts.author"}):
            assert SECRET not in (await caller.get(POSTS, params=params)).text
    print(f"{attempts} attempts, 0 bits")

    assert attempts > 90
    assert SECRET in (await project.operator.get(POSTS, params={"expand": "author,tags,shadow"})).text
    assert (await one(project.operator, post, expand="shadow.shadows"))["expand"]["shadow"]["expand"]["shadows"]


def nested(path: str) -> dict[str, Any]:
    """The path as nested objects."""
    first, _, rest = path.partition(".")
    return {first: {"expand": nested(rest)} if rest else {}}


def same(answers: list[Any], name: str) -> None:
    texts = [json.dumps(problem(answer)).replace(known, "NAME") for answer, known in zip(answers, (name, "nosuch"), strict=True)]
    assert [answer.status_code for answer in answers] == [400, 400], (name, texts)
    assert texts[0] == texts[1]


async def test_a_view_leads_out_and_nothing_into_it(project: ProjectUnderTest) -> None:
    """Its SQL is a person's: what enters it would run as a role that may not read the rest of the statement."""
    await blog(project)
    ann = await make(project, "people", name="ann")
    await make(project, "posts", title="t", author=ann)
    body = {"name": "shown", "view": {"sql": "select id, author from posts"}, "rules": {"list": "true", "view": "true"}}
    made = await project.operator.post("collections", json={**body, "fields": [relation("author", "people", inverse="seen")]})
    if made.status_code == 422:  # a relation of a view has no inverse
        made = await project.operator.post("collections", json={**body, "fields": [relation("author", "people")]})
    assert made.status_code == 201, made.text
    for caller in (project.anonymous, project.operator):
        (shown,) = await caller.list("shown", fields="author.name,author.posts.title", sort="author.name")
        assert shown == {"expand": {"author": {"name": "ann", "expand": {"posts": [{"title": "t"}]}}}}
        for params, expected in (({"expand": "seen"}, "bad_expand"), ({"fields": "seen.id"}, "bad_fields")):
            assert code(await caller.get("collections/people/records", params=params)) == (400, expected)


async def test_a_wrong_name_is_shown_with_its_place(project: ProjectUnderTest) -> None:
    await blog(project)
    for params, expected, path, position in (
        ({"expand": "autor"}, "bad_expand", "autor", 0),
        ({"expand": " author , comments.autor"}, "bad_expand", "comments.autor", 19),
        ({"expand": '{"comments":{"expand":"autor"}}'}, "bad_expand", "comments.autor", None),
        ({"expand": "title"}, "bad_expand", "title", 0),
        ({"fields": "autor.name"}, "bad_fields", "autor", None),
        ({"fields": "author.nmae"}, "bad_fields", "author.nmae", None),
        ({"sort": "author.nmae"}, "bad_sort", "author.nmae", None),
        ({"expand": '{"comments":{"sort":"auhtor.name"}}'}, "bad_sort", "comments.auhtor", None),
        ({"expand": '{"comments":{"filter":"txet == 1"}}'}, "bad_filter", "comments", 0),
    ):
        answer = await project.anonymous.get(POSTS, params=params)
        body = answer.json()
        assert (code(answer), body["path"], body.get("position")) == ((400, expected), path, position), body
        if expected != "bad_expand" or path != "title":
            assert body["hint"].startswith("Did you mean"), body


async def test_what_expand_refuses(project: ProjectUnderTest) -> None:
    await blog(project)
    for wish, status, expected in (
        ("author.posts.author.posts", 422, "limit_exceeded"),
        ("a.b.c.d.e", 422, "limit_exceeded"),
        (".".join(["author"] * 1000), 422, "limit_exceeded"),
        ("a" * 7000, 400, "bad_expand"),
        (",".join(f"author.posts.p{n}" for n in range(11)), 422, "limit_exceeded"),
        ("", 400, "bad_expand"),
        (",", 400, "bad_expand"),
        ("author..team", 400, "bad_expand"),
        (".", 400, "bad_expand"),
        ("id", 400, "bad_expand"),
        ("expand", 400, "bad_expand"),
        ("{", 400, "bad_parameter"),
        ('{"author":{},"author":{}}', 400, "bad_parameter"),
        ({"author": 1}, 400, "bad_expand"),
        ({"author": {"x": 1}}, 400, "bad_expand"),
        ({"author": {"limit": 3}}, 400, "bad_expand"),
        ({"author": {"sort": "name"}}, 400, "bad_expand"),
        ({"comments": {"limit": 0}}, 400, "bad_expand"),
        ({"comments": {"limit": True}}, 400, "bad_expand"),
        ({"comments": {"limit": 501}}, 422, "limit_exceeded"),
        ({"comments": {"filter": ""}}, 400, "bad_filter"),
        ({"comments": {"filter": "n == $x"}}, 400, "bad_filter"),
        ({"comments": {"filter": "n == 1", "vars": {"x": 1}}}, 400, "bad_filter"),
        ({"comments": {"vars": {"x": 1}}}, 400, "bad_filter"),
        ({"comments": {"filter": "x" * 2049}}, 422, "limit_exceeded"),
        ({"comments": {"filter": "post.author.team.name == 'x'"}}, 400, "bad_filter"),
        ({"comments": {"sort": "n,n"}}, 400, "bad_sort"),
        ({"comments": {"sort": ",".join("abcdefghi")}}, 422, "limit_exceeded"),
        ({"comments.author": {}}, 400, "bad_expand"),
        ({"": {}}, 400, "bad_expand"),
        ({"comments": {"expand": {"author": {"expand": {"posts": {"expand": "author"}}}}}}, 422, "limit_exceeded"),
        ({"comments": {"expand": {"author": {"expand": {"posts": {"expand": 1}}}}}}, 400, "bad_expand"),
    ):
        text = wish if isinstance(wish, str) else json.dumps(wish)
        answer = await project.anonymous.get(POSTS, params={"expand": text})
        assert code(answer) == (status, expected), (text[:100], answer.text)
        assert len(answer.content) < 2000
        if isinstance(wish, dict):
            told = await project.anonymous.post(f"{POSTS}/query", json={"expand": wish})
            assert code(told) in ((status, expected), (422, "invalid")), (text[:100], told.text)
    many = await project.anonymous.get(POSTS, params={"limit": 500, "expand": "comments.author.remarks"})
    assert code(many) == (422, "limit_exceeded")
    body = {"comments": {"limit": "3", "x": 1, "expand": {"author": {"fields": {}}}}, "author": []}
    told = await project.anonymous.post(f"{POSTS}/query", json={"expand": body})
    assert told.status_code == 422
    pointers = {one["pointer"] for one in told.json()["errors"]}
    assert pointers == {"/expand/comments/limit", "/expand/comments/x", "/expand/author"}
    ten = await project.anonymous.get(
        POSTS,
        params={
            "expand": ",".join(
                [*(f"author.{name}" for name in LINKS["people"]), "comments.author", "comments.post", "tags", "editor"]
            )
        },
    )
    assert ten.status_code == 200, ten.text
    for path in ("collections/posts/records", f"{POSTS}/{uuid4()}"):
        assert (await project.anonymous.post(path, params={"expand": "author"}, json={})).status_code in (400, 405)


async def test_a_statement_of_too_many_rules_is_refused(project: ProjectUnderTest) -> None:
    """Each path brings its rule; together they stay within what PostgreSQL plans in reasonable time."""
    names = [f"r{n}" for n in range(10)]
    fields = [{"name": name, "type": "int"} for name in ("a", "b", "c")]
    await project.collection("nodes", fields, OPEN)
    choice = "(a == 1 ? b : c) < (b == 2 ? a : c)"
    links = [*fields, *(relation(name, "nodes") for name in names)]
    rules = {"view": " || ".join(f"has(record.{name}) && {choice}" for name in "abc" * 5)}
    changed = await project.operator.patch("collections/nodes", json={"fields": links, "rules": rules})
    assert changed.status_code == 200, changed.text
    node = await make(project, "nodes", a=1)
    await project.operator.patch(f"collections/nodes/records/{node}", json={"r0": node})

    few = await project.anonymous.get("collections/nodes/records", params={"expand": "r0.r1,r2"})
    many = ",".join(f"{name}.{name}.{name}" for name in names)
    refused = await project.anonymous.get("collections/nodes/records", params={"expand": many})
    assert few.status_code == 200, few.text
    assert code(refused) == (422, "limit_exceeded"), refused.text[:300]


async def test_one_record_with_expansions_has_no_etag(project: ProjectUnderTest) -> None:
    """The revision of the record says nothing about the records that stand beside it."""
    await blog(project)
    ann = await make(project, "people", name="ann")
    post = await make(project, "posts", author=ann)
    place = f"{POSTS}/{post}"
    etag = (await project.anonymous.get(place)).headers["etag"]
    first = await project.anonymous.get(place, params={"expand": "author"}, headers={"if-none-match": etag})
    await project.operator.patch(f"collections/people/records/{ann}", json={"name": "eve"})
    second = await project.anonymous.get(place, params={"fields": "author.name"}, headers={"if-none-match": etag})

    assert (first.status_code, second.status_code) == (200, 200)
    assert "etag" not in first.headers
    assert second.json() == {"expand": {"author": {"name": "eve"}}}
    assert (await project.anonymous.get(place, headers={"if-none-match": etag})).status_code == 304


RULES = {
    "teams": "record.open || record.members.exists(m, m.name == 'p1')",
    "people": "record.team == null || record.team.open || record.boss.team.open || auth != null && record.name == 'p2'",
    "posts": "record.author.name != 'p3' && !record.comments.exists(c, c.n == 7) "
    " || record.title != null && rows('teams').exists(t, t.name == record.title)",
    "comments": "record.n != 5 && (record.post.author.team.open || record.author.boss == record.author.id || record.n > 2)",
    "tags": "record.tagged.exists(p, p.author != null)",
}


async def world(project: ProjectUnderTest, draw: random.Random) -> None:
    """A random blog under rules that themselves go through relations."""
    await blog(project)
    for name, rule in RULES.items():  # once all are there, since rules go through relations that lead back
        changed = await project.operator.patch(f"collections/{name}", json={"rules": {"list": rule, "view": rule}})
        assert changed.status_code == 200, changed.text

    async def some(collection: str, bodies: list[dict[str, Any]]) -> list[str]:
        made = await project.operator.post(f"collections/{collection}/records", json=bodies)
        assert made.status_code == 201, made.text
        return [one["id"] for one in made.json()["items"]]

    teams = await some("teams", [{"name": f"t{n}", "open": n % 2 == 0} for n in range(4)])
    people = await some("people", [{"name": f"p{n}", "team": draw.choice([None, *teams])} for n in range(8)])
    for person in people:
        await project.operator.patch(f"collections/people/records/{person}", json={"boss": draw.choice([None, *people])})
    tags = await some("tags", [{"name": f"g{n}"} for n in range(4)])
    posts = await some(
        "posts",
        [
            {
                "title": draw.choice(["t1", "x", None]),
                "author": draw.choice([None, *people]),
                "editor": draw.choice([None, *people]),
                "tags": draw.sample(tags, draw.randint(0, 4)),
            }
            for _ in range(14)
        ],
    )
    await some(
        "comments",
        [
            {"n": draw.randint(0, 9), "text": draw.choice("ab"), "post": draw.choice(posts), "author": draw.choice(people)}
            for _ in range(40)
        ],
    )


LINKS: dict[str, dict[str, tuple[str, str]]] = {
    "posts": {
        "author": ("one", "people"),
        "editor": ("one", "people"),
        "tags": ("many", "tags"),
        "comments": ("post", "comments"),
    },
    "people": {
        "team": ("one", "teams"),
        "boss": ("one", "people"),
        "staff": ("boss", "people"),
        "posts": ("author", "posts"),
        "remarks": ("author", "comments"),
        "edited": ("editor", "posts"),
    },
    "comments": {"post": ("one", "posts"), "author": ("one", "people")},
    "teams": {"members": ("team", "people")},
    "tags": {"tagged": ("tags", "posts")},
}


def random_tree(draw: random.Random, collection: str, depth: int) -> dict[str, Any]:
    names = draw.sample(sorted(LINKS[collection]), min(len(LINKS[collection]), draw.randint(1, 2)))
    return {name: random_tree(draw, LINKS[collection][name][1], depth - 1) if depth > 1 else {} for name in names}


def asked(tree: dict[str, Any]) -> dict[str, Any]:
    return {name: {"expand": asked(below)} if below else {} for name, below in tree.items()}


async def test_expansions_agree_with_asking_for_every_record_alone(project: ProjectUnderTest) -> None:
    """Random trees under rules with relations of their own: what stands inside is what a list gives to the same caller."""
    seed = 11
    draw = random.Random(seed)
    await world(project, draw)
    compared = 0
    for caller in (project.anonymous, await project.user(), project.operator):
        seen = {name: {one["id"]: one for one in await caller.list(name, limit=200)} for name in LINKS}

        def model(
            collection: str, record: dict[str, Any], tree: dict[str, Any], lists: int = 0, seen: Any = seen
        ) -> dict[str, Any]:
            nonlocal compared
            compared += 1
            if not tree:
                return record
            inside: dict[str, Any] = {}
            cut: list[str] = []
            for name, below in tree.items():
                kind, target = LINKS[collection][name]
                if kind == "one":
                    found = seen[target].get(record.get(name))
                    inside[name] = found and model(target, found, below, lists)
                    continue
                rows = seen[target].values()
                if kind == "many":
                    rows = [seen[target][one] for one in record[name] if one in seen[target]]
                elif kind == "tags":
                    rows = [one for one in rows if record["id"] in one["tags"]]
                else:
                    rows = [one for one in rows if one.get(kind) == record["id"]]
                most = (30, 10, 5)[lists]
                inside[name] = [model(target, one, below, lists + 1) for one in list(rows)[:most]]
                if len(list(rows)) > most:
                    cut.append(name)
            return record | {"expand": inside} | ({"expand_more": cut} if cut else {})

        for _ in range(25):
            collection = draw.choice(["posts", "people", "comments"])
            tree = random_tree(draw, collection, draw.randint(1, 3))
            answer = await caller.post(f"collections/{collection}/records/query", json={"expand": asked(tree), "limit": 15})
            assert answer.status_code == 200, answer.text
            items = answer.json()["items"]
            assert items == [model(collection, seen[collection][one["id"]], tree) for one in items], (seed, tree)
    print(f"seed {seed}: {compared} records compared")
    assert compared > 1000


HOSTILE = [
    "", " ", "'", '"', "\\", "''; drop table posts; --", "$1", "{}", "{0}", "%s", "{", "}", "[", "\u0000", "\ud800", "😀",
    "é" * 80,
    "a" * 9000, "author." * 300, "." * 50, "..", "author.", ".author", "author.author", "author.id", "author.posts.author.posts",
    "expand", "expand_more", "id", "rev", "r", "rx0", "rx0x0", "_one", "_position", "p", "xmin", "ctid", "users", "users.email",
    "author.secret", "shadow", "author.shadows", "comments.comments", "tags.tagged.tags", "*", "author.*", "author:nulls_first",
    "-author.name", "--author.name", "-author.name:nulls_first:nulls_last", "name:nulls_first", "null", "true", "1", "0x", "1e9",
    "author,author,author", ",".join(["author"] * 50), ",".join(f"x{n}" for n in range(500)), "\r\n", "//", "(delete 1)",
    "AUTHOR",
    '{"author":{}}', '{"author":null}', '{"author":[]}', '{"comments":{"filter":"\'"}}', '{"comments":{"sort":"\'"}}',
    '{"comments":{"filter":"n == $v","vars":{"v":1e400}}}', '{"comments":{"filter":"n == $v","vars":{"v":99999999999999999999}}}',
    '{"comments":{"filter":"post.title == post.author.name && author.team.open"}}',
    '{"comments":{"filter":"rows(\'users\').exists(u, true)"}}',
    '{"comments":{"limit":-1}}', '{"comments":{"limit":1e3}}', '{"comments":{"limit":9223372036854775808}}',
    '{"comments":{"fields":"*"}}', '{"comments":{"fields":"n","expand":{"author":{"fields":"name","expand":"team"}}}}',
    '{"a":' * 40 + "{}" + "}" * 40,
]  # fmt: skip


async def test_hostile_expansions_never_break_the_server(project: ProjectUnderTest) -> None:
    """Every place takes every hostile text: 4xx or 2xx, short problem documents, never a 5xx, and no SQL in an answer."""
    draw = random.Random(5)
    await world(project, draw)
    record = (await project.operator.list("posts", limit=1))[0]["id"]
    inputs, broken = 0, []
    for text in HOSTILE:
        other = draw.choice(HOSTILE)
        sendable = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")[:6000]
        bodies: list[Any] = [
            {"expand": text},
            {"expand": [text, other]},
            {"expand": {text: {}}},
            {"expand": {"comments": {"expand": {text: {"expand": other}}}}},
            {"expand": {"comments": {"filter": text}}},
            {"expand": {"comments": {"filter": "text == $v || n == $v", "vars": {"v": text}}}},
            {"expand": {"comments": {"filter": "n == $v", "vars": {text: other}}}},
            {"expand": {"comments": {"sort": text}}},
            {"expand": {"comments": {"sort": [f"author.{text}", f"-{other}"]}}},
            {"expand": {"comments": {"fields": [text]}}},
            {"expand": {"comments": {"fields": [f"author.{text}", f"author.team.{other}"]}}},
            {"expand": {"comments": {"limit": text}}},
            {"expand": {"comments": {text: text}}},
            {"expand": {"comments": text}},
            {"fields": [text, f"author.{text}", f"{text}.name"]},
            {"sort": [f"author.{text}"]},
            {"sort": [f"{text}.name:{other}"]},
            {"sort": [f"author.name:{text}", f"-author.team.{text}"]},
        ]
        calls: list[tuple[str, str, dict[str, Any]]] = [
            *(("GET", POSTS, {"params": {name: sendable}}) for name in ("expand", "fields", "sort")),
            *(("GET", f"{POSTS}/{record}", {"params": {name: sendable}}) for name in ("expand", "fields")),
            *(("GET", POSTS, {"params": {name: f"author.{sendable}"}}) for name in ("expand", "fields", "sort")),
            *(("POST", f"{POSTS}/query", {"content": json.dumps(body), "headers": JSON}) for body in bodies),
        ]
        for method, path, options in calls:
            answer = await project.anonymous.request(method, path, **options)
            inputs += 1
            lowered = answer.text.lower()
            told = any(word in lowered for word in ("select ", "pg_", "asyncpg", "lateral"))
            if answer.status_code >= 500 or (answer.status_code >= 400 and (told or len(lowered) > 4000)):
                broken.append((method, path, str(options)[:200], answer.status_code, answer.text[:200]))
    print(f"{inputs} inputs, {len(broken)} broken")

    assert broken == []
    assert inputs > 1500


JSON = {"content-type": "application/json"}


async def test_rows_out_of_sight_change_nothing(project: ProjectUnderTest) -> None:
    """Change only what the caller may not see: no answer with expansions, related sorts or filters inside changes by a byte."""
    await blog(
        project,
        people={"list": "record.name < 'm'", "view": "record.name < 'm'"},
        comments={"list": "record.n < 5", "view": "record.n < 5"},
    )
    seen = [await make(project, "people", name=name) for name in "ab"]
    unseen = [await make(project, "people", name=name) for name in "yz"]
    draw = random.Random(3)
    posts = [await make(project, "posts", title=str(n), author=draw.choice(seen + unseen)) for n in range(8)]
    for n in range(20):
        await make(project, "comments", n=n % 10, post=draw.choice(posts), author=draw.choice(seen + unseen))

    async def everything() -> list[str]:
        texts = []
        for params in QUERIES:
            answer = await project.anonymous.get(POSTS, params=params)
            assert answer.status_code == 200, answer.text
            texts.append(answer.text)
        return texts

    before = await everything()
    for number, person in enumerate(unseen):
        change = {"name": f"n{number}", "secret": "s", "wage": 9, "boss": seen[0]}
        assert (await project.operator.patch(f"collections/people/records/{person}", json=change)).status_code == 200
    for comment in await project.operator.list("comments", filter="n >= 5", limit=100):
        change = {"text": "other", "n": 9 - comment["n"] % 2, "author": draw.choice(seen), "post": draw.choice(posts)}
        assert (await project.operator.patch(f"collections/comments/records/{comment['id']}", json=change)).status_code == 200
    await make(project, "comments", n=7, post=posts[0], author=seen[0])
    await make(project, "people", name="zz", boss=seen[0])

    assert before == await everything()


QUERIES: list[dict[str, str]] = [
    {"expand": expand, "sort": sort}
    for expand in (
        "author",
        "comments.author",
        "author.staff.posts",
        "author.remarks,comments",
        '{"comments":{"sort":"-author.name,n","limit":2}}',
        '{"comments":{"filter":"author.name != \'b\'"}}',
        '{"comments":{"filter":"!(author.name == \'b\')","limit":1}}',
        '{"author":{"filter":"size(record.staff) > 0"}}',
        '{"comments":{"filter":"author.remarks.exists(c, c.n > 3)"}}',
    )
    for sort in ("id", "author.name,id", "-author.name", "author.boss.name:nulls_first,-title", "-author.wage:nulls_first,title")
]
