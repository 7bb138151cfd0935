"""Views: an operator's SELECT as a collection that is only read, and what it can never reach."""

from typing import Any

from baas.infra.db.pool import Database
from baas.infra.db.sql import ident, sql, written
from tests.support.callers import ProjectUnderTest

COUNTS = (
    "select a.id, a.name, count(p.id)::int as posts, max(p.score) as best"
    " from authors a left join posts p on p.author = a.id group by a.id"
)


async def blog(project: ProjectUnderTest) -> dict[str, Any]:
    """Two authors, three posts."""
    await project.collection("authors", [{"name": "name", "type": "text"}, {"name": "phone", "type": "text", "hidden": True}])
    await project.collection(
        "posts",
        [
            {"name": "title", "type": "text"},
            {"name": "score", "type": "decimal", "precision": 5, "scale": 2},
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
        {"id": ids["bob"], "name": "Bob", "posts": 1, "best": "3.00"},
    ]
    assert [row["name"] for row in await project.anonymous.list("totals", filter="posts > 1")] == ["Ann"]
    asked = {"limit": 1, "sort": "-posts", "count": "exact"}
    first = (await project.anonymous.get("collections/totals/records", params=asked)).json()
    assert (first["total"], first["items"][0]["name"]) == (2, "Ann")
    second = await project.anonymous.list("totals", **asked, cursor=first["next_cursor"])
    assert [row["name"] for row in second] == ["Bob"]


async def test_rules_and_fields_hold_over_its_rows(project: ProjectUnderTest) -> None:
    """A view has list and view rules of its own, `hidden` and `read`, and relations that its author declares."""
    ids = await blog(project)
    user = await project.user()
    await made(
        project,
        "open",
        "select id, title, score, author, public from posts",
        fields=[
            {"name": "author", "type": "relation", "to": "authors"},
            {"name": "score", "type": "decimal", "hidden": True},
            {"name": "title", "type": "text", "read": "auth != null"},
        ],
        rules={"list": "record.public", "view": "record.public"},
    )

    rows = await project.anonymous.list("open")
    assert [sorted(row) for row in rows] == [["author", "id", "public"]] * 2
    assert {row["author"] for row in rows} == {ids["ann"]}
    assert sorted(row["title"] for row in await user.list("open")) == ["A", "B"]
    assert len(await project.operator.list("open")) == 3
    hidden = next(row["id"] for row in await project.operator.list("open") if not row["public"])
    assert (await project.anonymous.get(f"collections/open/records/{hidden}")).status_code == 404
    assert (await project.anonymous.get(f"collections/open/records/{rows[0]['id']}")).json() == rows[0]
    bad = await project.anonymous.get("collections/open/records", params={"filter": "score > 1"})
    assert (bad.status_code, bad.json()["code"]) == (400, "bad_filter")


async def test_a_filter_goes_through_a_views_relation(project: ProjectUnderTest) -> None:
    """From a row of a view into a collection, under that collection's list rule."""
    await blog(project)
    fields = [{"name": "author", "type": "relation", "to": "authors"}]
    await made(project, "open", "select id, title, author from posts", fields=fields, rules={"list": "true"})

    assert len(await project.operator.list("open", filter='author.name == "Ann"')) == 2
    refused = await project.anonymous.get("collections/open/records", params={"filter": 'author.name == "Ann"'})
    assert refused.status_code == 400


async def test_only_what_the_select_gives_is_there(project: ProjectUnderTest) -> None:
    """Without `rev` there is no ETag; with it, it is as of a record."""
    await blog(project)
    await made(project, "bare", "select id, title from posts")
    await made(project, "full", "select id, rev, created_at, updated_at, title from posts")

    bare, full = (await project.operator.list("bare"))[0], (await project.operator.list("full"))[0]
    assert sorted(bare) == ["id", "title"]
    assert sorted(full) == ["created_at", "id", "rev", "title", "updated_at"]
    one = await project.operator.get(f"collections/bare/records/{bare['id']}")
    assert (one.status_code, "etag" in one.headers) == (200, False)
    other = await project.operator.get(f"collections/full/records/{full['id']}")
    assert other.headers["etag"] == '"1"'
    newest = await project.operator.list("full", sort="-created_at", limit=1, filter="record.rev == 1")
    assert len(newest) == 1


async def test_lists_of_values_reach_a_filter_on_a_view(project: ProjectUnderTest) -> None:
    """The driver looks up types of arrays on a fresh connection, as the reader."""
    await blog(project)
    await made(project, "totals", COUNTS, rules={"list": "true"})
    asked = {"filter": "posts in $posts && best in $best && name in $names", "sort": ["name"]}
    given = {"posts": [1, 2], "best": [9.5, 3], "names": ["Ann", "Bob"]}

    answers = [await project.anonymous.post("collections/totals/records/query", json={**asked, "vars": given}) for _ in range(3)]
    assert [[row["name"] for row in answer.json()["items"]] for answer in answers] == [["Ann", "Bob"]] * 3


async def test_a_view_is_never_written(project: ProjectUnderTest) -> None:
    """Every way of writing answers 405, and PostgreSQL's own updatable views do not help either."""
    await blog(project)
    await made(
        project, "open", "select id, rev, created_at, updated_at, title from posts", rules={"list": "true", "view": "true"}
    )
    user, row = await project.user(), (await project.operator.list("open"))[0]["id"]

    for caller in (project.operator, user, project.anonymous):
        answers = [
            await caller.post("collections/open/records", json={"title": "x"}),
            await caller.post("collections/open/records", json=[{"title": "x"}]),
            await caller.patch(f"collections/open/records/{row}", json={"title": "x"}),
            await caller.put(f"collections/open/records/{row}", json={"title": "x"}),
            await caller.delete(f"collections/open/records/{row}"),
        ]
        assert [(one.status_code, one.json()["code"]) for one in answers] == [(405, "read_only")] * 5
        assert {one.headers["allow"] for one in answers} == {"GET"}
    assert sorted(one["title"] for one in await project.operator.list("posts")) == ["A", "B", "C"]


async def test_a_definition_says_what_is_wrong_with_it(project: ProjectUnderTest) -> None:
    """A view has no indexes, no write rules, no constraints; columns need names and types of ours."""
    await blog(project)

    async def faults(text: str, **more: Any) -> dict[str, str]:
        answer = await view(project, "v", text, **more)
        assert answer.status_code == 422, answer.text
        return {fault["pointer"]: fault["code"] for fault in answer.json()["errors"]}

    ok = "select id, title, author from posts"
    relation = {"name": "author", "type": "relation", "to": "authors"}
    assert await faults(ok, fields=[relation], rules={"create": "true"}) == {"/rules/create": "not_allowed"}
    assert await faults(ok, fields=[relation], indexes=[{"fields": ["author"]}]) == {"/indexes": "not_allowed"}
    assert await faults(ok, fields=[{**relation, "required": True}]) == {"/fields/0/required": "not_allowed"}
    assert await faults(ok, fields=[{"name": "author", "type": "int"}]) == {"/fields/0/type": "wrong_column_type"}
    assert await faults(ok, fields=[relation, {"name": "no", "type": "int"}]) == {"/fields/1/name": "unknown_column"}
    assert await faults(ok) == {"/view/sql": "unknown_type"}
    assert await faults("select title from posts") == {"/view/sql": "no_id"}
    assert await faults("select id::text as id from posts") == {"/view/sql": "no_id"}
    assert await faults("select id, 1 + 1 from posts") == {"/view/sql": "bad_name"}
    assert await faults('select id, title as "Title" from posts') == {"/view/sql": "bad_name"}
    assert await faults("select id, now()::time as t from posts") == {"/view/sql": "unknown_type"}
    assert await faults("select id, titel from posts") == {"/view/sql": "bad_view"}
    assert await faults("select id, 1 / 0 as n from posts") == {"/view/sql": "bad_view"}
    many = ", ".join(f"1 as c{number}" for number in range(201))
    assert await faults(f"select id, {many} from posts") == {"/view/sql": "too_many"}
    assert await faults("") == {"/view/sql": "wrong_type"}
    assert await faults(ok, fields=[relation], rules={"list": "record.nothing"}) == {"/rules/list": "unknown_field"}
    typo = (await view(project, "v", "select id,\n  titel from posts")).json()["errors"][0]
    assert (typo["line"], typo["position"]) == (2, 13)
    assert [one["name"] for one in (await project.operator.get("collections")).json()["items"]] == ["authors", "posts", "users"]


async def test_every_type_of_column_becomes_a_field(project: ProjectUnderTest) -> None:
    """And what is answered is what that type of field always is."""
    await made(
        project,
        "kinds",
        "select md5('x')::uuid as id, 'a'::varchar(9) as vc, 'b' as t, 1::int2 as i2, 2::bigint as i8, 1.5::float4 as f4,"
        " 2.50::numeric as n, true as b, date '2024-02-29' as d, timestamp '2024-02-29 10:00' as ts,"
        " timestamptz '2024-02-29 10:00+02' as tz, json_build_object('a', 1) as j, array[1, 2] as ints, array['x'] as words,"
        " null::text as nothing, current_date = date '2000-01-01' as old",
        fields=[{"name": "words", "type": "select", "values": ["x", "y"], "many": True}],
        rules={"list": "true"},
    )

    assert await project.anonymous.list("kinds", filter='vc == "a" && i8 == 2 && n > 2 && "x" in words', sort="t,f4,tz") == [
        {
            "id": "9dd4e461-268c-8034-f5c8-564e155c67a6",
            "vc": "a",
            "t": "b",
            "i2": 1,
            "i8": 2,
            "f4": 1.5,
            "n": "2.50",
            "b": True,
            "d": "2024-02-29",
            "ts": "2024-02-29T10:00:00.000000Z",
            "tz": "2024-02-29T08:00:00.000000Z",
            "j": {"a": 1},
            "ints": [1, 2],
            "words": ["x"],
            "nothing": None,
            "old": False,
        }
    ]


async def test_a_definition_can_be_sent_back(project: ProjectUnderTest) -> None:
    """What GET shows makes the same view in another project, and changes nothing as a PATCH."""
    await blog(project)
    rules = {"list": "true", "view": "true"}
    shown = await made(project, "totals", COUNTS, rules=rules, options={"description": "Per author"})

    assert (await project.operator.get("collections/totals")).json() == shown
    again = await project.operator.patch("collections/totals", json=shown)
    assert (again.status_code, again.json()) == (200, shown)
    manifest = (await project.operator.get("schema")).json()["collections"]
    assert shown in manifest
    assert (await project.operator.delete("collections/totals")).status_code == 204
    assert (await project.operator.post("collections", json=shown)).json() == shown


async def test_the_sql_of_a_view_can_be_changed(project: ProjectUnderTest) -> None:
    """Fields follow the columns; what was said of one counts on while its type does."""
    await blog(project)
    fields = [{"name": "title", "type": "text", "hidden": True}]
    await made(project, "v", "select id, title, public from posts", fields=fields, rules={"list": "true"})

    changed = await project.operator.patch(
        "collections/v", json={"view": {"sql": "select id, title, score as public from posts"}}
    )
    assert changed.status_code == 200, changed.text
    assert [(one["name"], one["type"], one["hidden"]) for one in changed.json()["fields"]] == [
        ("title", "text", True),
        ("public", "decimal", False),
    ]
    assert {row["public"] for row in await project.anonymous.list("v")} == {"1.50", "9.50", "3.00"}
    broken = await project.operator.patch("collections/v", json={"rules": {"list": "record.public > 2"}})
    assert broken.status_code == 200, broken.text
    refused = await project.operator.patch("collections/v", json={"view": {"sql": "select id, title from posts"}})
    assert (refused.status_code, refused.json()["code"]) == (409, "breaks_rules")
    assert len(await project.anonymous.list("v")) == 2
    table = await project.operator.patch("collections/posts", json={"view": {"sql": "select id from authors"}})
    assert table.status_code == 422


async def test_what_a_view_reads_cannot_go_from_under_it(project: ProjectUnderTest) -> None:
    """Dropping, renaming or retyping a column, and deleting a collection, are refused with the names of the views."""
    await blog(project)
    await made(project, "totals", COUNTS)
    await made(project, "best", "select id, best from totals")
    posts = (await project.operator.get("collections/posts")).json()

    async def refused(change: Any) -> dict[str, Any]:
        fields = [one for field in posts["fields"] if (one := change(dict(field)))]
        answer = await project.operator.patch("collections/posts", json={"fields": fields}, params={"confirm": "data-loss"})
        assert (answer.status_code, answer.json()["code"]) == (409, "breaks_views"), answer.text
        return answer.json()["views"]

    def renamed(field: dict[str, Any]) -> dict[str, Any]:
        return {**field, "name": "points", "renamed_from": "score"} if field["name"] == "score" else field

    def retyped(field: dict[str, Any]) -> dict[str, Any]:
        return {**field, "precision": 8} if field["name"] == "score" else field

    assert await refused(lambda field: field if field["name"] != "score" else None) == {"totals": ["score"]}
    assert await refused(renamed) == {"totals": ["score"]}
    assert await refused(retyped) == {"totals": ["score"]}
    kept = [field for field in posts["fields"] if field["name"] != "title"]
    free = await project.operator.patch("collections/posts", json={"fields": kept}, params={"confirm": "data-loss"})
    assert free.status_code == 200, free.text
    for name, users in (("posts", ["totals"]), ("totals", ["best"])):
        answer = await project.operator.delete(f"collections/{name}", params={"confirm": "data-loss"})
        assert (answer.status_code, answer.json()["code"], answer.json()["collections"]) == (409, "in_use", users)
    changed = await project.operator.patch("collections/totals", json={"view": {"sql": "select id from posts"}})
    assert (changed.status_code, changed.json()["code"]) == (409, "in_use")
    relation = [{"name": "total", "type": "relation", "to": "totals"}]
    to_view = await project.operator.post("collections", json={"name": "notes", "fields": relation})
    assert [(one["pointer"], one["code"]) for one in to_view.json()["errors"]] == [("/fields/0/to", "not_allowed")]
    for name in ("best", "totals", "posts"):
        answer = await project.operator.delete(f"collections/{name}", params={"confirm": "data-loss"})
        assert answer.status_code == 204, answer.text


async def test_sql_that_fails_while_it_runs_is_no_fault_of_ours(project: ProjectUnderTest) -> None:
    """A row that breaks it gives 409 with the kind of error; no value of the row is in it."""
    await project.collection("words", [{"name": "word", "type": "text"}], {"list": "true"})
    await made(project, "numbers", "select id, word::int as n from words", rules={"list": "true", "view": "true"})
    await made(project, "one", "select id, (select 1 from words) as n from words", rules={"list": "true"})
    await project.operator.create("words", {"word": "7"})
    assert [row["n"] for row in await project.anonymous.list("numbers")] == [7]
    bad = await project.operator.create("words", {"word": "secret word"})

    for caller in (project.anonymous, project.operator):
        for path in ("numbers/records", f"numbers/records/{bad['id']}", "one/records"):
            answer = await caller.get(f"collections/{path}")
            assert (answer.status_code, answer.json()["code"]) == (409, "view_failed"), answer.text
            assert "secret" not in answer.text
    assert answer.json()["condition"] == "cardinality_violation"
    assert len(await project.anonymous.list("words")) == 2


async def test_a_new_collection_can_be_entered_from_a_view(project: ProjectUnderTest) -> None:
    """The reader of a project reads also what is made after its first view."""
    await made(project, "v", "select id from users")
    await project.collection("teams", [{"name": "name", "type": "text"}])
    team = await project.operator.create("teams", {"name": "Red"})
    await project.collection("members", [{"name": "team", "type": "relation", "to": "teams"}])
    await project.operator.create("members", {"team": team["id"]})
    relation = [{"name": "team", "type": "relation", "to": "teams"}]
    rules = {"list": 'record.team.name == "Red"'}
    await made(project, "w", "select id, team from members", fields=relation, rules=rules)

    assert len(await project.anonymous.list("w")) == 1
    assert await project.operator.list("v") == []


async def test_the_reader_goes_with_its_project(project: ProjectUnderTest, db: Database) -> None:
    """Made with the first view, dropped with the project."""

    async def exists() -> bool:
        return bool(await db.fetch_value(sql("select true from pg_roles where rolname = {}", f"{project.schema}_reader")))

    assert not await exists()
    await made(project, "v", "select id from users")
    assert await exists()
    gone = await project.operator.delete(project.operator.base, params={"confirm": project.name})
    assert gone.status_code == 204, gone.text
    assert not await exists()


async def test_aggregates_export_and_expand_work_on_a_view(project: ProjectUnderTest) -> None:
    """Every door that reads records reads a view, under its rules and as its reader."""
    ids = await blog(project)
    fields = [{"name": "author", "type": "relation", "to": "authors"}]
    rules = {"list": "record.public", "view": "record.public"}
    await made(project, "open", "select id, title, score, author, public from posts", fields=fields, rules=rules)
    await project.operator.patch("collections/authors", json={"rules": {"list": "true", "view": "true"}})

    asked = {"group_by": ["author"], "select": {"n": "count()", "total": "sum(score)"}}
    groups = await project.anonymous.post("collections/open/records/aggregate", json=asked)
    assert groups.json()["items"] == [{"author": ids["ann"], "n": 2, "total": "11.00"}]
    whole = await project.operator.post("collections/open/records/aggregate", json={"select": {"n": "count()"}})
    assert whole.json()["items"] == [{"n": 3}]
    wanted = {"format": "csv", "fields": "title", "sort": "title"}
    export = await project.anonymous.get("collections/open/records/export", params=wanted)
    assert export.text.replace('"', "").split() == ["title", "A", "B"]
    rows = await project.anonymous.list("open", expand="author", sort="title", limit=1)
    assert rows[0]["expand"]["author"]["name"] == "Ann"
    sorted_by_author = await project.operator.list("open", sort="author.name,-title")
    assert [row["title"] for row in sorted_by_author] == ["B", "A", "C"]


async def test_an_export_of_a_view_that_fails_is_a_409(project: ProjectUnderTest) -> None:
    """Before anything is sent, as a list is."""
    await project.collection("words", [{"name": "word", "type": "text"}])
    await made(project, "numbers", "select id, word::int as n from words", rules={"list": "true"})
    await project.operator.create("words", {"word": "secret word"})

    for path in ("export", "aggregate"):
        body = {"select": {"n": "sum(n)"}}
        asked = {"json": body} if path == "aggregate" else {"params": {"format": "ndjson"}}
        method = "POST" if path == "aggregate" else "GET"
        answer = await project.anonymous.request(method, f"collections/numbers/records/{path}", **asked)
        assert (answer.status_code, answer.json()["code"]) == (409, "view_failed"), answer.text
        assert "secret" not in answer.text


async def test_the_api_document_shows_a_view_as_read_only(project: ProjectUnderTest) -> None:
    """No writing of it, no bodies for writing; its fields, and of the four system fields those it has."""
    await blog(project)
    await made(project, "totals", COUNTS)
    document = (await project.operator.get("openapi.json")).json()

    mine = {path: item for path, item in document["paths"].items() if "/collections/totals/records" in path}
    verbs = {"get", "post", "put", "patch", "delete"}
    methods = {path.partition("/records")[2]: sorted(set(item) & verbs) for path, item in mine.items()}
    assert methods.pop("") == ["get"]
    assert methods.pop("/query") == ["post"]
    assert methods.pop("/{id}") == ["get"]
    assert not {method for rest, found in methods.items() for method in found if rest not in ("/aggregate",)} - {"get"}
    schemas = document["components"]["schemas"]
    assert sorted(schemas["totals"]["properties"]) == ["best", "id", "name", "posts"]
    assert "totals.create" not in schemas
    assert "posts.create" in schemas


async def test_a_rule_that_names_a_view_is_told_that_it_is_one(project: ProjectUnderTest) -> None:
    await project.collection("posts", [{"name": "title", "type": "text"}], {"list": "true", "view": "true"})
    await project.operator.post("collections", json={"name": "shown", "view": {"sql": "select id, title from posts"}})
    rule = "rows('shown').exists(x, x.title == record.title)"

    answer = await project.operator.patch("collections/posts", json={"rules": {"list": rule}})
    channel = await project.operator.put("channels/lobby", json={"rules": {"join": "rows('posts').exists(x, true)"}})

    assert ("not_allowed", "'shown' is a view, which rules do not enter.") == (
        answer.json()["errors"][0]["code"], answer.json()["errors"][0]["message"],
    )  # fmt: skip
    assert "enters no collection" in channel.json()["errors"][0]["message"]


async def test_rules_over_a_view_can_be_explained(project: ProjectUnderTest) -> None:
    """The probe of a row reads it as the reader too."""
    await blog(project)
    await made(project, "open", "select id, title, public from posts", rules={"list": "record.public", "view": "record.public"})
    row = next(one for one in await project.operator.list("open") if not one["public"])

    asked = {"collection": "open", "action": "view", "id": row["id"], "as": None}
    answer = await project.operator.post("rules/explain", json=asked)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["verdict"], answer.json()["memory"]) == ("deny", "agrees")


async def test_values_that_no_record_can_have_are_null(project: ProjectUnderTest) -> None:
    """A SELECT can compute infinity and the year 5000 BC; rules, filters and answers never meet them."""
    text = (
        "select md5(n::text)::uuid as id, n, f, ts, ts as created_at, d, num from (values"
        " (1, 'NaN'::float8, 'infinity'::timestamptz, 'infinity'::date, 'NaN'::numeric),"
        " (2, 'Infinity', '-infinity', '-infinity', 'Infinity'),"
        " (3, '-Infinity', '4713-01-01 BC', '4713-01-01 BC', ('1' || repeat('0', 600))::numeric),"
        " (4, 1e308, '9999-12-31 23:59:59.999999+00', '9999-12-31', 1)) v(n, f, ts, d, num)"
    )
    await made(project, "odd", text, rules={"list": "true"})

    nulls = {"f": None, "ts": None, "created_at": None, "d": None, "num": None}
    rows = await project.anonymous.list("odd", sort="n", fields="n,f,ts,created_at,d,num")
    last = {
        "n": 4,
        "f": 1e308,
        "ts": "9999-12-31T23:59:59.999999Z",
        "created_at": "9999-12-31T23:59:59.999999Z",
        "d": "9999-12-31",
        "num": "1",
    }
    assert rows == [{"n": number, **nulls} for number in (1, 2, 3)] + [last]
    for wanted in (
        "int(ts) > 1",
        "ts.getFullYear() > 1",
        "d > now",
        "f * f > 1.0",
        "int(f) > 1",
        "int(num) > 0",
        "created_at > now",
    ):
        answer = await project.anonymous.get("collections/odd/records", params={"filter": wanted})
        assert answer.status_code == 200, f"{wanted}: {answer.text}"
    for key in ("f", "-f", "ts", "-ts", "created_at", "-created_at", "num"):
        seen, cursor = [], None
        while not seen or cursor:
            params = {"sort": key, "limit": 1, **({"cursor": cursor} if cursor else {})}
            page = (await project.anonymous.get("collections/odd/records", params=params)).json()
            seen.append(page["items"][0]["n"])
            cursor = page["next_cursor"]
        assert sorted(seen) == [1, 2, 3, 4], key


async def test_a_stored_column_keeps_its_index_in_a_view(project: ProjectUnderTest, db: Database) -> None:
    """It is shown as it is: no cast, nothing around it that would keep an index from serving."""
    fields = [{"name": "at", "type": "datetime"}, {"name": "n", "type": "float"}]
    await project.collection("logs", fields, indexes=[{"fields": ["at"]}, {"fields": ["n"]}])
    await made(project, "v", "select id, at, n, at + interval '1 day' as later from logs")

    where = {"id": "'9dd4e461-268c-8034-f5c8-564e155c67a6'", "at": "now()", "n": "1.5::float8"}
    for name, value in where.items():
        table = ident(project.schema, "v")
        plan = await db.fetch(sql("explain select * from {} r where {} = {}", table, ident("r", name), written(value)))
        assert "Seq Scan" not in str([row["QUERY PLAN"] for row in plan]), plan
