"""Collections over HTTP: made, changed and deleted as real tables, with nothing lost unasked."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from baas.base.ids import short_id, uuid7
from baas.base.principal import Principal
from baas.engines.query.asking import Asking
from baas.engines.query.compile import Compiler
from baas.engines.query.tree import List, ordered
from baas.engines.schema import store
from baas.infra.db.extensions import is_ready
from baas.infra.db.pool import Database
from baas.infra.db.sql import Sql, Statement, ident, join, literal, sql
from tests.support.callers import Caller, ProjectUnderTest

TITLE = {"name": "title", "type": "text"}
NUMBER = {"name": "n", "type": "int"}
OWNER = {"name": "owner", "type": "relation", "to": "users"}


def faults(answer: Any) -> list[tuple[str, str]]:
    """Pointers and codes of a problem."""
    return [(fault["pointer"], fault["code"]) for fault in answer.json().get("errors", [])]


async def fill(db: Database, project: ProjectUnderTest, table: str, *rows: dict[str, Sql]) -> None:
    """Rows straight into the table; values are constants."""
    for row in rows:
        names = [ident(name) for name in ("id", *row)]
        values = [sql("{}::uuid", literal(str(uuid7()))), *row.values()]
        await db.execute(
            sql("insert into {} ({}) values ({})", ident(project.schema, table), join(", ", names), join(", ", values))
        )


async def columns(db: Database, project: ProjectUnderTest, table: str) -> dict[str, str]:
    """Name -> type, as PostgreSQL has them."""
    rows = await db.fetch(
        sql(
            "select attname::text as n,"
            " format_type(atttypid, atttypmod) || case when attnotnull then ' not null' else '' end as t"
            " from pg_attribute where attrelid = {}::regclass and attnum > 0 and not attisdropped order by attnum",
            f'"{project.schema}"."{table}"',
        )
    )
    return {row["n"]: row["t"] for row in rows}


async def pieces(db: Database, project: ProjectUnderTest, table: str) -> set[str]:
    """Names of all constraints and indexes of a table."""
    rows = await db.fetch(
        sql(
            "select conname::text as n from pg_constraint where conrelid = {}::regclass and contype <> 'n'"
            " union select indexrelid::regclass::text from pg_index where indrelid = {}::regclass",
            f'"{project.schema}"."{table}"',
            f'"{project.schema}"."{table}"',
        )
    )
    return {row["n"].rpartition(".")[2].strip('"') for row in rows}


async def change(project: ProjectUnderTest, collection: str, confirm: str | None = None, /, **body: Any) -> Any:
    params = {"confirm": confirm} if confirm else {}
    return await project.operator.patch(f"collections/{collection}", json=body, params=params)


async def test_what_stands_inside_a_text_is_found_by_an_index(project: ProjectUnderTest, db: Database) -> None:
    """Declared as `trigram`; then `contains` in a list rule has nothing to warn of, and PostgreSQL uses the index."""
    if not await is_ready(db, "pg_trgm"):
        pytest.skip("needs PostgreSQL's extension pg_trgm")
    rules = {"list": "record.title.contains('need%le') || record.title.endsWith('hay')", "view": "true"}
    plain = await project.operator.post("collections", json={"name": "posts", "fields": [TITLE], "rules": rules})
    made = await change(project, "posts", indexes=[{"fields": ["title"], "using": "trigram"}])
    for title in ("a need%le in it", "a needle", "hay", "x" * 20_000):
        await project.operator.create("posts", {"title": title})

    assert "R014" in {one["code"] for one in plain.json()["warnings"]}
    assert "R014" not in {one["code"] for one in made.json().get("warnings", ())}
    assert made.json()["indexes"] == [{"fields": ["title"], "unique": False, "where": None, "using": "trigram"}]
    assert {"a need%le in it", "hay"} == {one["title"] for one in await project.anonymous.list("posts")}
    table = Compiler().table(await store.read(db, project.schema), "posts")
    assert table is not None
    principal = Principal("anonymous", "", project.id)
    page = Compiler().list(table, List(ordered(()), 30), Asking(principal, now=datetime.now(UTC), auth=None))
    async with db.transaction() as tx:
        await tx.execute(sql("set local enable_seqscan = off"))
        await tx.execute(sql("set local enable_indexscan = off"))
        plan = "\n".join(row["QUERY PLAN"] for row in await tx.fetch(Statement(f"explain {page.text}", page.args)))
    assert plan.count("Bitmap Index Scan") == 2, plan
    again = await change(project, "posts", indexes=[])
    assert (again.status_code, again.json()["indexes"]) == (200, [])


async def test_an_index_over_a_list_finds_what_it_holds(project: ProjectUnderTest, db: Database) -> None:
    """One list alone, never unique; the manifest says which kind it is."""
    tags = {"name": "tags", "type": "select", "values": ["a", "b"], "many": True}
    made = await project.collection("posts", [TITLE, tags, OWNER], indexes=[{"fields": ["tags"]}])
    await project.operator.create("posts", {"tags": ["a", "b"]})

    query = sql("select indexdef from pg_indexes where schemaname = {} and indexdef like '%gin%'", project.schema)
    assert made["indexes"] == [{"fields": ["tags"], "unique": False, "where": None, "using": "gin"}]
    assert (await db.fetch_value(query)).endswith("USING gin (tags)")
    assert len(await project.operator.list("posts", filter='"a" in tags')) == 1
    for wrong in ({"fields": ["tags"], "unique": True}, {"fields": ["tags", "title"]}, {"fields": ["-tags"]}):
        answer = await change(project, "posts", indexes=[wrong])
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "not_indexable"), wrong


async def test_a_collection_is_a_table_an_operator_would_have_written(project: ProjectUnderTest, db: Database) -> None:
    """Real columns, NOT NULL, a foreign key with its index, unique and ordered indexes."""
    await project.collection(
        "posts",
        [
            {**TITLE, "required": True, "max": 200, "unique": True},
            {"name": "price", "type": "decimal", "precision": 9, "scale": 2},
            {**OWNER, "on_delete": "cascade"},
            {"name": "tags", "type": "select", "values": ["a", "b"], "many": True},
        ],
        indexes=[{"fields": ["owner", "-created_at"]}],
    )

    assert {
        "id": "uuid not null",
        "rev": "bigint not null",
        "created_at": "timestamp with time zone not null",
        "updated_at": "timestamp with time zone not null",
        "title": "text not null",
        "price": "numeric(9,2)",
        "owner": "uuid",
        "tags": "text[]",
    } == await columns(db, project, "posts")
    assert {
        "posts$pkey", "posts$title$key", "posts$title$check", "posts$owner$fkey", "posts$owner$fkey_idx", "posts$tags$check",
    } == {name for name in await pieces(db, project, "posts") if "$idx_" not in name}  # fmt: skip


async def test_what_is_shown_is_what_was_sent_with_defaults_written_out(project: ProjectUnderTest) -> None:
    """GET, the list, the schema and the answer to POST agree, and POST takes its own answer."""
    rules: dict[str, str | None] = {"list": "true", "view": "true"}
    made = await project.collection("posts", [TITLE, OWNER], rules, options={"description": "Words"})
    one = await project.operator.get("collections/posts")
    listed = await project.operator.get("collections")
    schema = await project.operator.get("schema")

    assert made == one.json() == listed.json()["items"][0] == schema.json()["collections"][0]
    assert ["posts", "users"] == [item["name"] for item in listed.json()["items"]]
    assert {**rules, "create": None, "update": None, "delete": None} == made["rules"]
    assert {
        "name": "owner", "type": "relation", "required": False, "unique": False, "hidden": False, "immutable": False,
        "readonly": False, "default": None, "read": None, "validate": None, "validate_message": None,
        "to": "users", "many": False, "on_delete": "restrict",
    } == made["fields"][1]  # fmt: skip
    again = await project.operator.post("collections", json={**made, "name": "copies"})
    assert again.status_code == 201
    assert again.headers["location"].endswith("/collections/copies")
    assert {**again.json(), "name": "posts"} == made


async def test_only_operators_and_keys_with_the_scope_come_in(project: ProjectUnderTest) -> None:
    """On every endpoint."""
    user, wrong, right = await project.user(), await project.key("records"), await project.key("schema")
    calls = [("GET", "collections"), ("GET", "schema"), ("GET", "collections/users"), ("PATCH", "collections/users")]
    calls += [("POST", "collections"), ("DELETE", "collections/users")]
    for method, path in calls:
        assert 401 == (await project.anonymous.request(method, path, json={})).status_code
        assert 403 == (await user.request(method, path, json={})).status_code
        assert "scope_missing" == (await wrong.request(method, path, json={})).json()["code"]
    assert 200 == (await right.get("collections")).status_code


async def test_every_fault_of_a_manifest_is_named_at_once(project: ProjectUnderTest) -> None:
    """Names, types, relations, rules: one answer; and nothing was made."""
    body = {
        "name": "Posts",
        "fields": [{"name": "owner", "type": "relation", "to": "user"}, {"name": "id", "type": "int"}],
        "rules": {"list": 5},
        "else": 1,
    }
    answer = await project.operator.post("collections", json=body)

    assert answer.status_code == 422
    assert {
        ("/else", "unknown_key"), ("/name", "bad_name"), ("/fields/0/to", "unknown_collection"),
        ("/fields/1/name", "reserved_name"), ("/rules/list", "wrong_type"),
    } == set(faults(answer))  # fmt: skip
    assert "Did you mean 'users'?" in answer.text


async def test_a_wrong_rule_is_refused_with_its_place(project: ProjectUnderTest) -> None:
    """Pointer, line, column, the spot itself, and what was probably meant."""
    body = {"name": "posts", "fields": [TITLE, OWNER], "rules": {"update": "record.owmer == auth.id"}}
    answer = await project.operator.post("collections", json=body)
    fault = answer.json()["errors"][0]

    assert answer.status_code == 422
    assert ("/rules/update", "unknown_field", 1) == (fault["pointer"], fault["code"], fault["line"])
    assert "owner" in fault["hint"]
    assert "^" in fault["snippet"]
    assert 404 == (await project.operator.get("collections/posts")).status_code


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"rules": {"list": "record.title == 1"}}, "/rules/list"),
        ({"rules": {"create": "record.title == 'x'"}}, "/rules/create"),
        ({"rules": {"list": "1"}}, "/rules/list"),
        ({"fields": [{**TITLE, "read": "record.nothing"}]}, "/fields/0/read"),
        ({"indexes": [{"fields": ["title"], "where": "gone > 1"}]}, "/indexes/0/where"),
        ({"indexes": [{"fields": ["title"], "where": "auth.id == record.title"}]}, "/indexes/0/where"),
        ({"indexes": [{"fields": ["title"], "where": "created_at < now"}]}, "/indexes/0/where"),
    ],
)
async def test_every_expression_is_checked_before_it_is_stored(
    project: ProjectUnderTest, body: dict[str, Any], pointer: str
) -> None:
    """Rules, `read` and conditions of indexes alike; an index knows neither the caller nor the time."""
    answer = await project.operator.post("collections", json={"name": "posts", "fields": [TITLE], **body})

    assert answer.status_code == 422, answer.text
    assert [pointer] == [at for at, _ in faults(answer)]


async def test_a_name_is_taken_once(project: ProjectUnderTest) -> None:
    """Also when eight create it at the same time: one is made, seven conflict."""
    answers = await asyncio.gather(
        *(project.operator.post("collections", json={"name": "posts", "fields": [TITLE]}) for _ in range(8))
    )

    assert [201] + [409] * 7 == sorted(answer.status_code for answer in answers)
    assert {"already_exists"} == {answer.json()["code"] for answer in answers if answer.status_code == 409}


async def test_fields_are_added_renamed_and_dropped_without_touching_the_rest(project: ProjectUnderTest, db: Database) -> None:
    """Values move with a new name, old records take a default, limits and constraint names follow."""
    await project.collection("posts", [{**TITLE, "max": 9, "unique": True}, NUMBER, OWNER], indexes=[{"fields": ["n"]}])
    await fill(db, project, "posts", {"title": literal("a"), "n": literal(1)}, {"title": literal("b"), "n": literal(2)})
    fields = [
        {"name": "head", "type": "text", "max": 20, "unique": True, "renamed_from": "title"},
        {**NUMBER, "required": True, "min": 0},
        {"name": "state", "type": "select", "values": ["new"], "default": "new", "required": True},
    ]
    answer = await change(project, "posts", fields=fields, indexes=[{"fields": ["head", "-n"], "unique": True}])
    rows = await db.fetch(sql("select head, n, state from {} order by n", ident(project.schema, "posts")))

    assert answer.status_code == 200, answer.text
    assert [("a", 1, "new"), ("b", 2, "new")] == [tuple(row.values()) for row in rows]
    assert ["head", "n", "state"] == list(await columns(db, project, "posts"))[4:]
    assert {
        "posts$pkey", "posts$head$key", "posts$head$check", "posts$n$check", "posts$state$check",
    } == {name for name in await pieces(db, project, "posts") if "$idx_" not in name}  # fmt: skip
    assert "renamed_from" not in answer.text


async def test_two_fields_change_places(project: ProjectUnderTest, db: Database) -> None:
    """Columns, unique constraints and foreign keys, in one request."""
    pair = [{**OWNER, "name": "a", "unique": True}, {**OWNER, "name": "b", "on_delete": "cascade"}, {**TITLE, "name": "c"}]
    await project.collection("pairs", pair)
    before = await pieces(db, project, "pairs")
    fields = [
        {**OWNER, "name": "b", "unique": True, "renamed_from": "a"},
        {**OWNER, "name": "a", "on_delete": "cascade", "renamed_from": "b"},
    ]
    answer = await change(project, "pairs", fields=fields)

    assert answer.status_code == 200, answer.text
    assert before == {"pairs$pkey", "pairs$a$key", "pairs$a$fkey", "pairs$b$fkey", "pairs$b$fkey_idx"}
    assert {"pairs$pkey", "pairs$b$key", "pairs$b$fkey", "pairs$a$fkey", "pairs$a$fkey_idx"} == await pieces(db, project, "pairs")


async def test_a_field_may_take_the_name_of_one_that_goes(project: ProjectUnderTest, db: Database) -> None:
    """The old holder of the name loses its values, and only with consent."""
    await project.collection("posts", [TITLE, {**TITLE, "name": "draft"}])
    await fill(db, project, "posts", {"title": literal("old"), "draft": literal("new")})
    fields = [{**TITLE, "renamed_from": "draft"}]
    refused = await change(project, "posts", fields=fields)
    done = await change(project, "posts", "data-loss", fields=fields)

    assert ("confirm_required", {"title": 1}) == (refused.json()["code"], refused.json()["fields"])
    assert done.status_code == 200, done.text
    assert "new" == await db.fetch_value(sql("select title from {}", ident(project.schema, "posts")))


async def test_values_are_lost_only_with_consent(project: ProjectUnderTest, db: Database) -> None:
    """Dropping a field counts its values, dropping a collection its records; empty ones go without asking."""
    await project.collection("posts", [TITLE, NUMBER])
    await fill(db, project, "posts", {"n": literal(1)}, {"n": literal(2)}, {})
    empty = await change(project, "posts", fields=[NUMBER])
    field = await change(project, "posts", fields=[])
    table = await project.operator.delete("collections/posts")
    odd = await project.operator.delete("collections/posts", params={"confirm": "yes"})

    assert empty.status_code == 200
    assert (409, "confirm_required", {"n": 2}) == (field.status_code, field.json()["code"], field.json()["fields"])
    assert (409, "confirm_required", 3) == (table.status_code, table.json()["code"], table.json()["records"])
    assert (400, "bad_parameter") == (odd.status_code, odd.json()["code"])
    assert 3 == await db.fetch_value(sql("select count(*) from {} where n > 0 or n is null", ident(project.schema, "posts")))
    assert 200 == (await change(project, "posts", "data-loss", fields=[])).status_code
    assert 204 == (await project.operator.delete("collections/posts", params={"confirm": "data-loss"})).status_code
    assert 404 == (await project.operator.delete("collections/posts")).status_code
    assert await db.fetch_value(sql("select to_regclass({}) is null", f"{project.schema}.posts"))


@pytest.mark.parametrize(
    ("field", "code", "count"),
    [
        ({**NUMBER, "required": True}, "missing_values", 1),
        ({**NUMBER, "min": 2}, "outside_limits", 2),
        ({**NUMBER, "unique": True}, "not_unique", 1),
        ({"name": "x", "type": "int", "required": True}, "missing_values", 4),
    ],
)
async def test_a_change_that_stored_records_contradict_is_refused_with_counts(
    project: ProjectUnderTest, db: Database, field: dict[str, Any], code: str, count: int
) -> None:
    """n is 1, 1, 2 and null. Nothing has changed after the refusal."""
    await project.collection("posts", [TITLE, NUMBER])
    await fill(db, project, "posts", {"n": literal(1)}, {"n": literal(1)}, {"n": literal(2)}, {})
    before = await columns(db, project, "posts")
    fields = [TITLE, field] if field["name"] == "n" else [TITLE, NUMBER, field]
    answer = await change(project, "posts", fields=fields)

    assert (409, "does_not_fit") == (answer.status_code, answer.json()["code"])
    assert [(f"/fields/{len(fields) - 1}", code)] == faults(answer)
    assert count == answer.json()["errors"][0]["count"]
    assert before == await columns(db, project, "posts")


async def test_unique_indexes_are_counted_before_they_are_made(project: ProjectUnderTest, db: Database) -> None:
    """Over two fields, and over part of the records."""
    await project.collection("posts", [TITLE, NUMBER])
    await fill(db, project, "posts", *({"n": literal(n), "title": literal("a")} for n in (1, 1, 2, 2)))
    both = await change(project, "posts", indexes=[{"fields": ["n", "title"], "unique": True}])
    some = await change(project, "posts", indexes=[{"fields": ["n"], "unique": True, "where": "n > 1"}])
    none = await change(project, "posts", indexes=[{"fields": ["n"], "unique": True, "where": "n > 2"}])

    assert (409, 2) == (both.status_code, both.json()["errors"][0]["count"])
    assert (409, 1) == (some.status_code, some.json()["errors"][0]["count"])
    assert none.status_code == 200, none.text


async def test_a_condition_over_a_field_that_comes_is_judged_by_the_index_itself(project: ProjectUnderTest, db: Database) -> None:
    """It cannot be counted before the field exists; the refusal is the same, without a count."""
    await project.collection("posts", [NUMBER])
    await fill(db, project, "posts", {"n": literal(1)}, {"n": literal(1)})
    state = {"name": "state", "type": "text", "default": "new"}
    unique = {"fields": ["n"], "unique": True, "where": "state == 'new'"}
    answer = await change(project, "posts", fields=[NUMBER, state], indexes=[unique])
    other = await change(project, "posts", fields=[NUMBER, state], indexes=[{**unique, "where": "state == 'old'"}])

    assert (409, "does_not_fit") == (answer.status_code, answer.json()["code"])
    assert other.status_code == 200, other.text


async def test_a_condition_speaks_of_the_fields_as_they_are_now_named(project: ProjectUnderTest, db: Database) -> None:
    """When two fields change places its words stay and mean the other column, so the index is made anew."""
    a, b = {"name": "a", "type": "int"}, {"name": "b", "type": "int"}
    await project.collection("posts", [TITLE, a, b], indexes=[{"fields": ["title"], "where": "a > 1"}])
    answer = await change(project, "posts", fields=[TITLE, {**b, "renamed_from": "a"}, {**a, "renamed_from": "b"}])
    shown = await db.fetch_value(
        sql("select indexdef from pg_indexes where schemaname = {} and indexname like {}", project.schema, "posts$title$idx%")
    )

    assert answer.status_code == 200, answer.text
    assert "(a > " in shown


async def test_a_condition_with_text_and_times_becomes_a_real_partial_index(project: ProjectUnderTest, db: Database) -> None:
    """Constants are written into the index; quotes and backslashes stay what they are."""
    where = r"""title in ["it's", "a\\b", "{}", "$1"] && n != null && created_at > timestamp("2020-01-01T00:00:00Z") || n < 2.5"""
    answer = await project.operator.post(
        "collections", json={"name": "posts", "fields": [TITLE, NUMBER], "indexes": [{"fields": ["n"], "where": where}]}
    )
    shown = await db.fetch_value(
        sql("select indexdef from pg_indexes where schemaname = {} and indexname like {}", project.schema, "posts$n$idx%")
    )

    assert answer.status_code == 201, answer.text
    assert "it''s" in shown
    assert "2020-01-01" in shown


async def test_texts_too_long_for_an_index_are_found_first(project: ProjectUnderTest, db: Database) -> None:
    """PostgreSQL would fail with an error about its own pages."""
    await project.collection("posts", [TITLE])
    await fill(db, project, "posts", {"title": literal("".join(short_id() for _ in range(400)))})
    answer = await change(project, "posts", fields=[{**TITLE, "unique": True}])

    assert (409, [("/fields/0", "too_long")]) == (answer.status_code, faults(answer))


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        ({"type": "email"}, {"type": "text"}, 200),
        ({"type": "url"}, {"type": "text"}, 200),
        ({"type": "decimal", "precision": 5, "scale": 2}, {"type": "decimal", "precision": 9, "scale": 4}, 200),
        ({"type": "decimal", "precision": 5, "scale": 2}, {"type": "decimal"}, 200),
        ({"type": "select", "values": ["a"]}, {"type": "select", "values": ["b", "a"]}, 200),
        ({"type": "relation", "to": "users"}, {"type": "relation", "to": "users", "on_delete": "cascade"}, 200),
        ({"type": "text"}, {"type": "email"}, 422),
        ({"type": "int"}, {"type": "text"}, 422),
        ({"type": "decimal", "precision": 9, "scale": 2}, {"type": "decimal", "precision": 9, "scale": 4}, 422),
        ({"type": "decimal"}, {"type": "decimal", "precision": 9}, 422),
        ({"type": "select", "values": ["a"]}, {"type": "select", "values": ["a"], "many": True}, 422),
        ({"type": "relation", "to": "users"}, {"type": "relation", "to": "posts"}, 422),
        ({"type": "relation", "to": "users"}, {"type": "relation", "to": "users", "many": True}, 422),
    ],
)
async def test_a_field_can_become_wider_and_nothing_else(
    project: ProjectUnderTest, old: dict[str, Any], new: dict[str, Any], status: int
) -> None:
    """A change that could lose or reject a stored value needs a new field."""
    await project.collection("posts", [{"name": "f", **old}])
    answer = await change(project, "posts", fields=[{"name": "f", **new}])

    assert status == answer.status_code, answer.text
    assert ([("/fields/0", "type_change")] if status == 422 else []) == faults(answer)


async def test_a_change_that_breaks_expressions_is_refused_with_the_list(project: ProjectUnderTest) -> None:
    """Of this collection and of any other; changed in the same request, they are no obstacle."""
    await change(project, "users", fields=[{"name": "role", "type": "text"}])
    await project.collection(
        "posts", [TITLE, NUMBER], {"list": "auth.role != null && auth.role == record.title", "view": "record.n > 1"}
    )
    here = await change(project, "posts", fields=[TITLE])
    there = await change(project, "users", fields=[])
    both = await change(project, "posts", fields=[TITLE], rules={"view": None})

    assert (409, "breaks_rules") == (here.status_code, here.json()["code"])
    assert [("posts", "/rules/view", 1)] == [(b["collection"], b["place"], b["line"]) for b in here.json()["broken"]]
    assert [("posts", "/rules/list")] == [(b["collection"], b["place"]) for b in there.json()["broken"]]
    assert both.status_code == 200, both.text


async def test_a_collection_others_relate_to_stays(project: ProjectUnderTest) -> None:
    """Their names are told; it goes once they have gone. One that relates to itself is no obstacle."""
    await project.collection("teams", [TITLE, {"name": "parent", "type": "relation", "to": "teams"}])
    await project.collection("cards", [{"name": "team", "type": "relation", "to": "teams"}])
    await project.collection("lists", [{"name": "teams", "type": "relation", "to": "teams", "many": True}])
    answer = await project.operator.delete("collections/teams", params={"confirm": "data-loss"})

    assert (409, "in_use", ["cards", "lists"]) == (answer.status_code, answer.json()["code"], answer.json()["collections"])
    assert 204 == (await project.operator.delete("collections/cards")).status_code
    assert 204 == (await project.operator.delete("collections/lists")).status_code
    assert 204 == (await project.operator.delete("collections/teams")).status_code


async def test_users_are_there_from_the_start_and_stay(project: ProjectUnderTest) -> None:
    """Own fields and rules may be added; the platform's fields may not be touched, and the collection not deleted."""
    users = (await project.operator.get("collections/users")).json()
    wider = await change(project, "users", fields=[*users["fields"], {"name": "nick", "type": "text", "unique": True}])
    other = await change(project, "users", fields=[{"name": "email", "type": "text"}])
    gone = await project.operator.delete("collections/users", params={"confirm": "data-loss"})

    assert ["email", "email_verified", "disabled"] == [field["name"] for field in users["fields"] if field["system"]]
    assert {"list": "record.id == auth.id", "view": "record.id == auth.id"} == {k: v for k, v in users["rules"].items() if v}
    assert wider.status_code == 200, wider.text
    assert [("/fields/0/type", "system_field")] == faults(other)
    assert (409, "system_collection") == (gone.status_code, gone.json()["code"])


@pytest.mark.parametrize(
    "body", [{"fields": 5}, {"fields": [[]]}, {"indexes": {}}, {"rules": []}, {"options": "x"}, {"name": "other"}, {"x": 1}]
)
async def test_a_body_of_another_shape_is_a_422(project: ProjectUnderTest, body: dict[str, Any]) -> None:
    """Never a 500."""
    await project.collection("posts", [TITLE])
    answer = await change(project, "posts", **body)

    assert answer.status_code == 422
    assert faults(answer)


@pytest.mark.parametrize("name", ["nothing", "_collections", "pg_class", "po%00sts", "%F0%9F%98%80", "users;--", "x" * 300])
async def test_an_unknown_name_is_a_404(project: ProjectUnderTest, name: str) -> None:
    """Our own tables among them (A4)."""
    for method in ("GET", "PATCH", "DELETE"):
        answer = await project.operator.request(method, f"collections/{name}", json={})
        assert answer.status_code in (400, 404), answer.text


async def test_a_change_of_rules_alone_waits_for_no_reader(project: ProjectUnderTest, db: Database) -> None:
    """It does not touch the table, so a long read is no obstacle."""
    await project.collection("posts", [TITLE])
    async with db.transaction() as tx:
        await tx.execute(sql("lock table {} in access exclusive mode", ident(project.schema, "posts")))
        answer = await change(project, "posts", rules={"list": "true"})

    assert answer.status_code == 200


async def test_a_change_gives_up_after_some_seconds_of_waiting(project: ProjectUnderTest, db: Database) -> None:
    """A table somebody holds makes 503 with Retry-After, and leaves no half of a change."""
    await project.collection("posts", [TITLE])
    before = await columns(db, project, "posts")
    async with db.transaction() as tx:
        await tx.execute(sql("lock table {} in access share mode", ident(project.schema, "posts")))
        started = time.monotonic()
        answer = await change(project, "posts", fields=[TITLE, NUMBER])
        waited_s = time.monotonic() - started

    assert (503, "busy") == (answer.status_code, answer.json()["code"])
    assert waited_s > 1.5
    assert "retry-after" in answer.headers
    assert before == await columns(db, project, "posts")
    assert ["title"] == [field["name"] for field in (await project.operator.get("collections/posts")).json()["fields"]]


async def test_readers_are_not_disturbed_by_changes(project: ProjectUnderTest, db: Database) -> None:
    """Twenty changes while eight readers read the same columns without a pause: every read answers."""
    await project.collection("posts", [TITLE, NUMBER])
    await fill(db, project, "posts", *({"title": literal("a"), "n": literal(n)} for n in range(100)))
    done = False
    reads = 0

    async def read() -> None:
        nonlocal reads
        while not done:
            rows = await db.fetch(sql("select id, title, n from {} where n >= {}", ident(project.schema, "posts"), 0))
            assert len(rows) == 100
            reads += 1

    async def alter() -> None:
        nonlocal done
        for number in range(10):
            extra = {"name": f"x{number}", "type": "text", "default": "v", "required": True}
            assert (await change(project, "posts", fields=[TITLE, NUMBER, extra], indexes=[{"fields": ["n"]}])).status_code == 200
            assert (await change(project, "posts", "data-loss", fields=[TITLE, NUMBER], indexes=[])).status_code == 200
        done = True

    await asyncio.gather(alter(), *(read() for _ in range(6)))

    assert reads > 20


async def test_callers_read_on_while_fields_come_and_go(project: ProjectUnderTest) -> None:
    """Through the API, where statements are made from definitions in memory: every list answers, with old or new fields."""
    await project.collection("posts", [TITLE, NUMBER], {"list": "n >= 0"})
    for number in range(5):
        await project.operator.create("posts", {"title": "a", "n": number})
    statuses: list[int] = []
    done = False

    async def read() -> None:
        while not done:
            answer = await project.anonymous.get("collections/posts/records")
            statuses.append(answer.status_code if answer.status_code != 200 or len(answer.json()["items"]) == 5 else 0)

    async def alter() -> None:
        nonlocal done
        for number in range(8):
            fields = [TITLE, NUMBER, {"name": f"x{number % 2}", "type": "text", "default": "v"}]
            assert (await change(project, "posts", "data-loss", fields=fields)).status_code == 200
        done = True

    await asyncio.gather(alter(), *(read() for _ in range(4)))

    assert {200} == set(statuses)
    assert len(statuses) > 20


async def test_changes_of_one_project_follow_each_other(project: ProjectUnderTest) -> None:
    """Eight at once, each adding a collection that relates to the one before: all are there, none lost another's work."""
    await project.collection("posts", [TITLE])
    bodies = [{"rules": {action: "true"}} for action in ("list", "view", "create", "update", "delete")]
    answers = await asyncio.gather(*(project.operator.patch("collections/posts", json=body) for body in bodies))
    shown = (await project.operator.get("collections/posts")).json()

    assert [200] * 5 == [answer.status_code for answer in answers]
    assert {"true"} == set(shown["rules"].values())


async def test_unknown_query_parameters_are_refused(project: ProjectUnderTest) -> None:
    """On every endpoint."""
    caller: Caller = project.operator
    for method, path in (("GET", "collections"), ("GET", "schema"), ("GET", "collections/users"), ("PATCH", "collections/users")):
        answer = await caller.request(method, path, json={}, params={"force": "1"})
        assert (400, "bad_parameter") == (answer.status_code, answer.json()["code"])


async def test_a_table_that_has_used_up_its_columns_says_so(project: ProjectUnderTest) -> None:
    """PostgreSQL counts dropped columns for ever, up to 1,600."""
    await project.collection("wide", [TITLE])
    many = [{"name": f"f{number}", "type": "bool"} for number in range(199)]
    codes = []
    for _ in range(9):
        answer = await change(project, "wide", fields=[TITLE, *many])
        codes.append(answer.json().get("code"))
        await change(project, "wide", fields=[TITLE])

    assert [None] * 8 + ["too_many_columns"] == codes
