"""Full-text search through the API: what is found, in which order, for whom, and that nothing typed breaks it."""

import json
import random
from typing import Any

import pytest

from baas.engines.schema.search import LANGUAGES
from baas.infra.db.pool import Database
from baas.infra.db.sql import sql
from tests.support.callers import Caller, ProjectUnderTest

TITLE = {"name": "title", "type": "text", "search": "A"}
BODY = {"name": "body", "type": "text", "search": True}
OPEN = {"list": "true", "view": "true"}
ARTICLES = [
    {"title": "PostgreSQL", "body": "The relational database that keeps what it acknowledged."},
    {"title": "Search engines", "body": "PostgreSQL has one inside; a postgresql index is enough for many."},
    {"title": "Cooking with rice", "body": "Wash it first. Databases are of no use here."},
    {"title": "Ein Märchen", "body": "Die Prinzessin aß 'Brot' & Käse | trank (Milch) :*"},
]


async def articles(project: ProjectUnderTest, fields: list[dict[str, Any]] | None = None, **manifest: Any) -> Caller:
    """The collection with its records, and who reads it."""
    await project.collection("articles", fields=fields or [TITLE, BODY], rules=OPEN, **manifest)
    for one in ARTICLES:
        answer = await project.operator.post("collections/articles/records", json=one)
        assert answer.status_code == 201, answer.text
    return project.anonymous


async def found(caller: Caller, search: str, **params: Any) -> list[str]:
    """The titles, in order."""
    answer = await caller.get("collections/articles/records", params={"search": search, **params})
    assert answer.status_code == 200, answer.text
    return [one["title"] for one in answer.json()["items"]]


async def test_words_phrases_exclusions_and_beginnings(project: ProjectUnderTest) -> None:
    """Every word must be there, -words must not, the last one may be a beginning, and so may one with a star."""
    caller = await articles(project, options={"search": {"typos": False}})

    assert ["PostgreSQL"] == await found(caller, "postgresql relational")
    assert ["PostgreSQL"] == await found(caller, "postgresql -index")
    assert ["PostgreSQL", "Search engines"] == await found(caller, "postgr")
    assert ["PostgreSQL"] == await found(caller, "rela* keeps")
    assert ["Search engines"] == await found(caller, '"postgresql has one"')
    assert [] == await found(caller, '"has postgresql one"')
    assert ["Cooking with rice"] == await found(caller, 'rice -"relational database"')
    assert ["Ein Märchen"] == await found(caller, "märch")
    assert [] == await found(caller, "or")
    assert [] == await found(caller, "rela keeps", sort="title")


async def test_the_better_weight_comes_first_and_sort_overrules(project: ProjectUnderTest) -> None:
    """A word in the title weighs more than two in the body; with `sort` a search only filters."""
    caller = await articles(project)

    assert ["PostgreSQL", "Search engines"] == await found(caller, "postgresql")
    assert ["Search engines", "PostgreSQL"] == await found(caller, "postgresql", sort="-title")
    answer = await project.operator.patch(
        "collections/articles", json={"fields": [{"name": "title", "type": "text", "search": "D"}, {**BODY, "search": "A"}]}
    )
    assert answer.status_code == 200, answer.text
    assert ["Search engines", "PostgreSQL"] == await found(caller, "postgresql")


async def test_pages_follow_the_rank(project: ProjectUnderTest) -> None:
    """The pages of one concatenate to the whole, each record once, by GET and by POST, and the count is of what is found."""
    await project.collection("articles", fields=[TITLE, BODY], rules=OPEN)
    bodies = [{"title": f"t{n:03}", "body": "word " * (n % 5 + 1) + "filler " * (n % 3)} for n in range(60)]
    assert (await project.operator.post("collections/articles/records", json=bodies)).status_code == 201
    whole = await found(project.anonymous, "word", limit="500")
    assert len(whole) == 60

    for way in ("get", "post"):
        seen, cursor = [], None
        while True:
            asked: dict[str, Any] = {"search": "word", "limit": 7, "count": "exact"} | ({"cursor": cursor} if cursor else {})
            if way == "get":
                answer = await project.anonymous.get("collections/articles/records", params=asked)
            else:
                answer = await project.anonymous.post("collections/articles/records/query", json=asked)
            page = answer.json()
            assert page["total"] == 60
            seen += [one["title"] for one in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert whole == seen
    first = (await project.anonymous.get("collections/articles/records", params={"search": "word", "limit": 7})).json()
    other = await project.anonymous.get(
        "collections/articles/records", params={"search": "filler", "limit": 7, "cursor": first["next_cursor"]}
    )
    assert (other.status_code, other.json()["code"]) == (400, "bad_cursor")


async def test_the_language_forms_the_words(project: ProjectUnderTest) -> None:
    """`english` knows plurals and endings, `simple` takes words as they are; a change of language is a change of the index."""
    caller = await articles(project, options={"search": {"language": "english", "typos": False}})

    assert ["Search engines"] == await found(caller, "engine searching indexes")
    answer = await project.operator.patch("collections/articles", json={"options": {"search": {"typos": False}}})
    assert answer.json()["options"]["search"] == {"language": "simple", "typos": False}
    for typos in (True, False):
        await project.operator.patch("collections/articles", json={"options": {"search": {"typos": typos}}})
        answer = await project.operator.patch("collections/articles", json={"options": {"description": f"with typos {typos}"}})
        assert answer.status_code == 200, answer.text
        assert answer.json()["options"]["search"]["typos"] is typos
    assert [] == await found(caller, "engine searching indexes")


async def test_a_search_sees_what_the_list_rule_shows(project: ProjectUnderTest) -> None:
    """A word that only hidden records have finds nothing and counts nothing."""
    await project.collection(
        "articles",
        fields=[TITLE, BODY, {"name": "public", "type": "bool", "required": True, "default": False}],
        rules={"list": "record.public", "view": "record.public"},
    )
    for title, public in (("shown secret", True), ("hidden secret", False)):
        await project.operator.post("collections/articles/records", json={"title": title, "public": public})

    assert ["shown secret"] == await found(project.anonymous, "secret")
    for word in ("hidden", "hiddne"):
        answer = await project.anonymous.get("collections/articles/records", params={"search": word, "count": "exact"})
        assert answer.json() == {"items": [], "next_cursor": None, "total": 0}
    assert ["hidden secret"] == await found(project.operator, "hidden")


@pytest.mark.parametrize("flag", [{"hidden": True}, {"read": "auth != null"}])
async def test_what_not_everybody_reads_is_not_searched(project: ProjectUnderTest, flag: dict[str, Any]) -> None:
    """A search would tell the words of the field."""
    answer = await project.operator.post("collections", json={"name": "articles", "fields": [{**TITLE, **flag}]})

    assert answer.status_code == 422
    assert [(one["pointer"], one["code"]) for one in answer.json()["errors"]] == [("/fields/0/search", "not_searchable")]


async def test_without_searchable_fields_a_search_is_refused(project: ProjectUnderTest) -> None:
    """Not an empty page, which would look like no match; and so is one without text or too long a one."""
    await project.collection("articles", fields=[{"name": "title", "type": "text", "search": False}], rules=OPEN)
    answer = await project.anonymous.get("collections/articles/records", params={"search": "x"})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_search")
    answer = await project.operator.patch("collections/articles", json={"fields": [TITLE]})
    assert answer.status_code == 200, answer.text
    for text, status, code in ((" ", 400, "bad_search"), ("x" * 1001, 422, "limit_exceeded")):
        answer = await project.anonymous.get("collections/articles/records", params={"search": text})
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    answer = await project.anonymous.post("collections/articles/records/query", json={"search": 5})
    assert answer.json()["errors"][0]["pointer"] == "/search"


@pytest.mark.parametrize(
    ("field", "options", "pointer", "code"),
    [
        ({"search": "E"}, {}, "/fields/0/search", "wrong_type"),
        ({"search": 1}, {}, "/fields/0/search", "wrong_type"),
        ({"type": "int", "search": True}, {}, "/fields/0/search", "unknown_key"),
        ({}, {"search": "english"}, "/options/search", "wrong_type"),
        ({}, {"search": {"language": "englisch"}}, "/options/search/language", "not_allowed"),
        ({}, {"search": {"language": ["english"]}}, "/options/search/language", "not_allowed"),
        ({}, {"search": {"typos": 1}}, "/options/search/typos", "wrong_type"),
        ({}, {"search": {"lang": "english"}}, "/options/search/lang", "unknown_key"),
    ],
)
async def test_wrong_options_are_told(
    project: ProjectUnderTest, field: dict[str, Any], options: dict[str, Any], pointer: str, code: str
) -> None:
    """With a pointer each."""
    body = {"name": "articles", "fields": [{"name": "title", "type": "text", **field}], "options": options}
    answer = await project.operator.post("collections", json=body)

    assert answer.status_code == 422
    assert [(one["pointer"], one["code"]) for one in answer.json()["errors"]] == [(pointer, code)]


async def test_every_language_is_one_of_postgresql(db: Database) -> None:
    """And each can be used in a generated column."""
    known = {row["cfgname"] for row in await db.fetch(sql("select cfgname from pg_catalog.pg_ts_config"))}

    assert set(LANGUAGES) <= known


async def test_every_kind_of_text_is_searched(project: ProjectUnderTest) -> None:
    """Mail addresses, URLs, chosen words and the strings of documents, not their keys or numbers."""
    fields = [
        {"name": "title", "type": "text"},
        {"name": "mail", "type": "email", "search": True},
        {"name": "link", "type": "url", "search": True},
        {"name": "color", "type": "select", "values": ["sea green", "red"], "search": "B"},
        {"name": "tags", "type": "select", "many": True, "values": ["crimson", "teal"], "search": "C"},
        {"name": "data", "type": "json", "search": True},
    ]
    await project.collection("articles", fields=fields, rules=OPEN)
    record = {
        "title": "one", "mail": "ann@example.org", "link": "https://example.net/about", "color": "sea green",
        "tags": ["teal", "crimson"], "data": {"keyword": ["deep", {"x": "deeper still"}], "n": 77},
    }  # fmt: skip
    for body in (record, {"title": "two"}):
        assert (await project.operator.post("collections/articles/records", json=body)).status_code == 201

    for text in ("ann@example.org", "example.net", "sea", "crimson teal", "deeper", '"deeper still"'):
        assert ["one"] == await found(project.anonymous, text), text
    for text in ("keyword", "77", "one", "two"):
        assert [] == await found(project.anonymous, text, sort="title"), text


async def test_the_column_follows_every_change(project: ProjectUnderTest, db: Database) -> None:
    """Added, renamed, dropped and reweighted fields; records written before and after; and the end of the last of them."""
    caller = await articles(project, [{**TITLE, "search": False}, {**BODY, "search": False}])

    async def change(fields: list[dict[str, Any]], **more: Any) -> None:
        answer = await project.operator.patch("collections/articles?confirm=data-loss", json={"fields": fields, **more})
        assert answer.status_code == 200, answer.text

    await change([TITLE, {**BODY, "search": False}])
    assert [] == await found(caller, "relational")
    await change([TITLE, BODY])
    assert ["PostgreSQL"] == await found(caller, "relational")
    await change([TITLE, {**BODY, "name": "text", "renamed_from": "body"}])
    assert ["PostgreSQL"] == await found(caller, "relational")
    await change([TITLE, {"name": "text", "type": "text", "search": "B"}, {"name": "more", "type": "text", "search": True}])
    await project.operator.post("collections/articles/records", json={"title": "new", "text": "x", "more": "relational too"})
    assert ["PostgreSQL", "new"] == await found(caller, "relational")
    # Two change names and a third goes: all in one step.
    await change([{**TITLE}, {"name": "more", "type": "text", "search": True, "renamed_from": "text"}])
    assert ["PostgreSQL"] == await found(caller, "relational")
    await change([TITLE])
    assert ["PostgreSQL"] == await found(caller, "postgresql")
    await change([{**TITLE, "search": False}])
    columns = await db.fetch(
        sql(
            "select column_name from information_schema.columns where table_schema = {} and table_name = 'articles'",
            project.schema,
        )
    )
    assert "_search" not in {row["column_name"] for row in columns}


async def test_a_view_may_search_and_stops_a_change_of_what_it_searches(project: ProjectUnderTest) -> None:
    """A SELECT names the column like any other; a change that would write it anew says which view reads it."""
    await articles(project)
    text = "select id, title from articles where _search @@ plainto_tsquery('simple', 'relational')"
    made = await project.operator.post("collections", json={"name": "found", "view": {"sql": text}, "rules": OPEN})
    assert made.status_code == 201, made.text
    assert [one["title"] for one in await project.anonymous.list("found")] == ["PostgreSQL"]
    for change in ({"options": {"search": {"language": "english"}}}, {"fields": [{**TITLE, "search": False}, BODY]}):
        answer = await project.operator.patch("collections/articles", json=change)
        assert (answer.status_code, answer.json()["code"]) == (409, "breaks_views"), answer.text
    assert (
        await project.operator.patch("collections/articles", json={"options": {"search": {"typos": False}}})
    ).status_code == 200


async def test_psql_shows_what_a_person_would_have_written(project: ProjectUnderTest, db: Database) -> None:
    """A stored generated column, weights, an index."""
    await articles(project, options={"search": {"language": "english", "typos": False}})
    expression = await db.fetch_value(
        sql(
            "select generation_expression from information_schema.columns where table_schema = {} and column_name = '_search'",
            project.schema,
        )
    )
    indexes = await db.fetch(
        sql("select indexname, indexdef from pg_indexes where schemaname = {} and tablename = 'articles'", project.schema)
    )

    assert "setweight(to_tsvector('english'::regconfig" in expression
    assert "articles$_search$idx" in {row["indexname"] for row in indexes if "USING gin (_search)" in row["indexdef"]}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("postgersql", "PostgreSQL"), ("cokoing", "Cooking with rice"), ("engnies", "Search engines"), ("Marchen", "Ein Märchen"),
     ("serch enginse", "Search engines"), ("Coking wiht", "Cooking with rice"), ("retional", "PostgreSQL")],
)  # fmt: skip
async def test_a_search_that_finds_nothing_forgives_typos(project: ProjectUnderTest, typed: str, meant: str) -> None:
    """What is most like it comes first, and its pages go on like those of any list."""
    caller = await articles(project)

    assert meant in await found(caller, typed)
    assert meant in await found(caller, typed, sort="title", count="exact")
    answer = await project.operator.patch("collections/articles", json={"options": {"search": {"typos": False}}})
    assert answer.status_code == 200, answer.text
    assert [] == await found(caller, typed)


async def test_pages_of_a_forgiving_search(project: ProjectUnderTest) -> None:
    """The cursor says by itself that it is one; what is found as typed is never mixed with what was perhaps meant."""
    await project.collection("articles", fields=[TITLE], rules=OPEN)
    titles = [{"title": f"encyclopedia {n}"} for n in range(9)]
    assert (await project.operator.post("collections/articles/records", json=titles)).status_code == 201
    seen, cursor = [], None
    for _ in range(3):
        params = {"search": "encylcopedia", "limit": 4} | ({"cursor": cursor} if cursor else {})
        page = (await project.anonymous.get("collections/articles/records", params=params)).json()
        seen += [one["title"] for one in page["items"]]
        cursor = page["next_cursor"]
    assert cursor is None
    assert sorted(seen) == sorted(one["title"] for one in titles)

    await project.operator.post("collections/articles/records", json={"title": "encylcopedia"})
    assert ["encylcopedia"] == await found(project.anonymous, "encylcopedia")
    assert [] == await found(project.anonymous, "xqz")


HOSTILE = [
    "\0", "a\0b", "'", "''", "\\", "\\'", "'\\", '"', '""', '"a', 'a"b', "-", "--", '-"', "*", "**", "a*b*", "-*", "-a*", ":*",
    "a:*", "a:B", "&", "|", "!", "!!", "(", ")", "(a", "a)", "<->", "a <-> b", "<2>", "a & ", "or", "and", "not", "-or", "OR OR",
    "'a':*", "' & 'b", "%", "_", "$1", "{}", "\ud83d", "\uffff", "😀", "é", "İ", "a-b-c-d", "http://x.y/z?a=b&c", "a@b.c",
    "1e400", "-1", "../../etc/passwd", "\u202e", "\t\n\r", "\u00a0", "\x01\x1f", "the", "a", "-the", "x" * 1000,
    "a " * 500, "-a " * 300,
    '"' * 1000, "'" * 1000, "\\" * 1000, "x" * 199 + "*", "😀" * 250, "ab" * 400 + "*", "a*" * 300,
]  # fmt: skip


async def test_nothing_typed_breaks_a_search(project: ProjectUnderTest) -> None:
    """Operators, quotes, NUL, halves of pairs, and random mixtures of them; with every language's stop words, too."""
    pick = random.Random(4711)
    caller = await articles(project, options={"search": {"language": "english"}})
    atoms = [one for one in HOSTILE if len(one) < 20]
    typed = HOSTILE + [
        "".join(pick.choice(atoms) + pick.choice(["", " "]) for _ in range(pick.randrange(1, 30))) for _ in range(150)
    ]
    for text in typed:
        # As JSON escapes: what no encoder of a client would send.
        content = '{"search": ' + json.dumps(text[:1000]) + "}"
        answer = await caller.post(
            "collections/articles/records/query", content=content.encode(), headers={"content-type": "application/json"}
        )
        bad = "\0" in text or "\ud83d" in text or not text.strip()
        assert answer.status_code in ((400, 422, 200) if bad else (200,)), (text, answer.text)
        if "\ud83d" not in text:
            answer = await caller.get("collections/articles/records", params={"search": text[:1000]})
            assert answer.status_code in ((400, 422, 200) if bad else (200,)), (text, answer.text)


async def test_a_text_of_any_words_can_be_stored(project: ProjectUnderTest) -> None:
    """A tsvector has an end; a long text is searched by its beginning, and storing it does not fail."""
    await project.collection("articles", fields=[TITLE, BODY], rules=OPEN, options={"search": {"typos": False}})
    words = " ".join(f"w{n:x}" for n in range(90_000))
    answer = await project.operator.post("collections/articles/records", json={"title": "long", "body": words})
    assert answer.status_code == 201, answer.text[:300]

    assert ["long"] == await found(project.anonymous, "w3e7 w1")
    assert [] == await found(project.anonymous, "w15f8f w1")
