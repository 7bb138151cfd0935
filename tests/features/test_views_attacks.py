"""What an operator of one project can write into a view to get out of it, and that each of two walls holds without the other.

The first wall judges the stored view before it is planned; the second is the reader, as which every statement over a view runs.
"""

import asyncio
from typing import Any

import pytest

from baas.base.ids import short_id
from baas.infra.db.errors import ViewFailed
from baas.infra.db.pool import Database
from baas.infra.db.readers import reader
from baas.infra.db.sql import as_role, sql, written
from tests.support.callers import ProjectUnderTest

OTHER_TABLES = (
    "select id from {other}.secrets",
    "select s.id from posts p, lateral (select * from {other}.secrets) s",
    "select id, (select max(word) from {other}.secrets) as w from posts",
    "with s as materialized (select * from {other}.secrets) select id from s",
    "with recursive s as (select id, word from {other}.secrets union all select id, word from s) select id from s",
    "select id from posts union all select id from {other}.secrets",
    "select id from posts order by (select count(*) from {other}.secrets)",
    "select id from posts limit (select count(*) from {other}.secrets)",
    "select id from posts where exists (table {other}.secrets)",
    "select id, null::{other}.secrets as row from posts",
    "select id, (jsonb_populate_record(null::{other}.secrets, '{{}}')).word from posts",
    'select "user" as id, password_hash from _credentials',
    'select "user" as id, password_hash from {mine}._credentials',
    "select gen.id from posts p join {mine}._sessions gen on true",
    "select md5(id)::uuid as id, private_key from _token_keys",
    "select md5(name)::uuid as id, definition from _collections",
    "select id, email, password_hash from baas.operators",
    "select id, key_hash from baas.api_keys",
    "select operator as id from baas.operator_sessions",
    "select id, settings from baas.projects",
    "select md5(relname)::uuid as id, relname::text from pg_class",
    "select md5(relname)::uuid as id, n_live_tup from pg_stat_user_tables",
    "select md5(rolname)::uuid as id, rolname::text from pg_roles",
    "select md5(rolname)::uuid as id, rolpassword from pg_authid",
    "select md5(query)::uuid as id, query from pg_stat_activity",
    "select md5(attname)::uuid as id, most_common_vals::text as v from pg_stats",
    "select md5(table_name)::uuid as id from information_schema.tables",
    "select md5(name)::uuid as id, setting from pg_settings",
    "select md5(datname)::uuid as id from pg_database",
    "select md5(line_number::text)::uuid as id from pg_hba_file_rules",
    "select id from no_such_table",
)
"""Tables of others and of ours; nothing that tells whether one is there."""

FUNCTIONS = (
    "set_config('role', '{server}', false)",
    "set_config('session_authorization', 'baas', false)",
    "set_config('search_path', '{other}', false)",
    "set_config('statement_timeout', '0', false)",
    "current_setting('baas.secret', true)",
    "query_to_xml('select * from baas.operators', true, false, '')::text",
    "query_to_xml('select set_config(''role'', ''{server}'', false)', true, false, '')::text",
    "table_to_xml('baas.operators', true, false, '')::text",
    "table_to_xml('posts', true, false, '')::text",
    "schema_to_xml('{other}', true, false, '')::text",
    "database_to_xml(true, false, '')::text",
    "cursor_to_xml('c', 1, true, false, '')::text",
    "(select count(*) from ts_stat('select to_tsvector(email) from baas.operators'))",
    "ts_rewrite('a'::tsquery, 'select to_tsquery(email), to_tsquery(email) from baas.operators')::text",
    "pg_sleep(1)::text",
    "pg_sleep_for('1 second')::text",
    "pg_advisory_lock(1)::text",
    "pg_advisory_xact_lock(hashtextextended('baas schema {other}', 0))::text",
    "pg_try_advisory_lock(1)",
    "pg_notify('baas_invalidations', '')::text",
    "pg_terminate_backend(1)",
    "pg_cancel_backend(1)",
    "pg_backend_pid()",
    "pg_read_file('/etc/passwd')",
    "pg_read_binary_file('/etc/passwd')",
    "pg_ls_dir('/')",
    "pg_stat_file('/etc/passwd')::text",
    "pg_current_logfile()",
    "pg_logical_emit_message(true, 'a', 'b')::text",
    "lo_import('/etc/passwd')::text",
    "lo_from_bytea(0, 'a')::text",
    "lo_get(1)::text",
    "nextval('s')",
    "txid_current()",
    "pg_current_xact_id()::text",
    "random()",
    "gen_random_uuid()::text",
    "clock_timestamp()",
    "version()",
    "inet_server_addr()::text",
    "pg_get_viewdef('posts'::regclass)",
    "pg_get_userbyid(10)::text",
    "has_table_privilege('{server}', 'baas.operators', 'select')",
    "has_schema_privilege('{other}', 'usage')",
    "to_regclass('baas.operators')::text",
    "to_regnamespace('{other}')::text",
    "to_regrole('{server}')::text",
    "pg_relation_size('{other}.secrets')",
    "pg_table_is_visible(1259)",
    "pg_stat_get_live_tuples(1259)",
    "obj_description(1259)",
    "col_description(1259, 1)",
    "format_type(23, 1)",
    "pg_describe_object(1259, 1259, 0)",
    "satisfies_hash_partition(1259, 1, 0, 'a'::text)",
    "pg_partition_root('posts')::text",
    "'baas.operators'::regclass::text",
    "'posts'::regclass::text",
    "'{other}'::regnamespace::text",
    "16400::oid::regclass::text",
    "10::oid::regrole::text",
    "title::regclass::text",
    "title::xml::text",
    "(xpath('/a', '<a/>'))[1]::text",
    "posts.tableoid::int8",
    "posts.xmin::text",
    "posts.ctid::text",
    "{mine}._end_sessions()::text",
    "baas_admin.make_reader('p_zzz')::text",
    "makeaclitem(10, 10, 'SELECT', true)::text",
    "pg_event_trigger_ddl_commands()::text",
    "binary_upgrade_set_next_pg_type_oid(1)::text",
    "pg_export_snapshot()",
    "pg_switch_wal()::text",
    "pg_reload_conf()",
    "pg_promote()",
    "pg_create_logical_replication_slot('a', 'pgoutput')::text",
    "currtid2('posts', '(0,1)')::text",
    "dblink('dbname=postgres', 'select 1')::text",
    "row_security_active('posts')",
    "getdatabaseencoding()::text",
    "convert_from(pg_read_binary_file('/etc/passwd'), 'utf8')",
)
"""Calls that would leave the reader, change the session, wait, lock, look at the catalogue or the machine."""

PLACES = (
    "select id from posts where {call} is not null",
    "select id from posts order by {call}",
    "select id from posts limit case when {call} is null then 1 end",
    "select id from posts group by id having max({call}) is not null",
    "select distinct on ({call}) id from posts",
    "select id, count(*) filter (where {call} is not null) over () as n from posts",
    "select id, sum(1) over (partition by {call}) as n from posts",
    "select id, sum(1) over (order by {call}) as n from posts",
    "select id, max({call}) over () as n from posts",
    "select id from posts join (select {call} as c) x on true",
    "select id from posts join users using (id) where coalesce(null, {call}) is null",
    "select id from posts, {call} c",
    "select id from posts, lateral {call} c",
    "select id from posts, rows from ({call}, generate_series(1, 2)) c",
    "with c as materialized (select {call}) select id from posts, c",
    "select id from posts where id = any (array(select id from posts where {call} is not null))",
    "select id from posts where (1, {call}) > (1, 'a')",
    "select id, case when true then {call} end as c from posts",
    "select id, array[{call}] as c from posts",
    "select id, (array['a', 'b'])[length({call})] as c from posts",
    "select id, nullif({call}, '') as c from posts",
    "select id, greatest({call}, '') as c from posts",
    "select id, json_build_object('a', {call}) as c from posts",
    "select id, row_to_json(row({call})) as c from posts",
    "select id, string_agg(title, {call}) as c from posts group by id",
    "select id, percentile_disc(0.5) within group (order by {call}) as c from posts group by id",
    "select id from posts intersect select id from posts where {call} is not null",
    "select (values (md5({call})::uuid)) as id",
    "select id from (select * from posts where {call} is not null offset 0) s",
    "select id, {call} is distinct from 'a' as c from posts",
    "select id, {call} in ('a', 'b') as c from posts",
    'select id, {call} collate "C" as c from posts',
    "select id, ({call})::varchar as c from posts",
    "select id, ({call})::jsonb -> 'a' as c from posts",
    "select id, overlay(title placing {call} from 1) as c from posts",
    "select id from posts group by grouping sets ((id), (id, {call}))",
)
"""Everywhere an expression can stand, with one that must not."""

STATEMENTS = (
    "select id from posts; drop table posts",
    "select id from posts; select 1",
    "select id from posts);drop table posts;--",
    "select id from posts); drop schema baas cascade; select (1",
    "select id from posts); reset role; truncate posts; commit; select (1",
    "select id from posts) q; reset role; drop schema baas cascade --",
    "drop table posts",
    "delete from posts returning id",
    "insert into posts (id) values (gen_random_uuid()) returning id",
    "update posts set title = 'x' returning id",
    "merge into posts p using users u on true when matched then delete",
    "with gone as (delete from posts returning id) select id from gone",
    "with made as (insert into posts (id) select md5('a')::uuid returning id) select id from made",
    "with changed as (update posts set title = '' returning id) select id from changed",
    "select id into stolen from posts",
    "create table stolen as select id from posts",
    "copy posts to stdout",
    "copy (select id from posts) to program 'id'",
    "do $$ begin perform 1; end $$",
    "call something()",
    "explain select id from posts",
    "show server_version",
    "set role none",
    "reset role",
    "begin",
    "commit",
    "listen baas_invalidations",
    "grant select on posts to public",
    "execute something",
    "declare c cursor for select id from posts",
    "fetch all from c",
    "lock table posts",
    "vacuum",
    "select id from posts for update",
    "select id from posts for key share",
    "select id from (select id from posts for share) s",
    "select id from posts tablesample system (10)",
    "select id from posts where title = $1",
    "select x.id from xmltable('/a' passing '<a/>' columns id uuid path '.') x",
    'select id, x.* from posts, json_to_record(\'{{"a": "baas.operators"}}\') as x(a regclass, b int)',
    'select id, x.b from posts, json_to_record(\'{{"a": "baas.operators"}}\') as x(a regclass, b int)',
    "select id, xmlelement(name a)::text as c from posts",
    "select id from posts where current_user::regrole is not null",
    "select id, title operator(pg_catalog.~~) any (array(select nspname::text from pg_namespace)) as c from posts",
    "select id from v",
    "select id from posts --",
    "select id from posts /*",
    "select id from posts where title = 'open",
    'select id, "open from posts',
    "select id from posts where title = $$open",
    "(",
    ")",
    ";",
    "--",
    "\\\\",
)
"""What is no single SELECT over collections."""
FINE = ("select id from posts --",)


@pytest.fixture
async def other(operator: Any, db: Database) -> str:
    """The schema of another project with a secret in it."""
    name = f"o-{short_id()}"
    assert (await operator.post("projects", json={"name": name})).status_code == 201
    base = f"/v1/projects/{name}"
    fields = [{"name": "word", "type": "text"}]
    assert (await operator.post(f"{base}/collections", json={"name": "secrets", "fields": fields})).status_code == 201
    secret = await operator.post(f"{base}/collections/secrets/records", json={"word": "top secret"})
    assert secret.status_code == 201
    schema: str = await db.fetch_value(sql("select schema from baas.projects where name = {}", name))
    return schema


async def victim(project: ProjectUnderTest, db: Database, other: str) -> dict[str, str]:
    await project.collection("posts", [{"name": "title", "type": "text"}])
    await project.operator.create("posts", {"title": "A"})
    return {"other": other, "mine": project.schema, "server": await db.fetch_value(sql("select current_user::text"))}


async def attempt(project: ProjectUnderTest, text: str) -> tuple[int, str]:
    answer = await project.operator.post("collections", json={"name": "v", "view": {"sql": text}, "rules": {"list": "true"}})
    return answer.status_code, answer.text


async def test_no_view_names_what_is_not_a_collection(project: ProjectUnderTest, db: Database, other: str) -> None:
    """Of another project, of the control plane, of our own tables, of the catalogue: the same answer as for what never was."""
    names = await victim(project, db, other)
    for template in OTHER_TABLES:
        status, text = await attempt(project, template.format(**names))
        assert status == 422, template
        assert "top secret" not in text
        assert "not_allowed_in_view" in text, template
    absent = (await attempt(project, "select id from p_0000000000.secrets"))[1].partition('"errors"')[2]
    present = (await attempt(project, f"select id from {other}.secrets"))[1].partition('"errors"')[2]
    assert absent == present
    beside = (await attempt(project, f"select id from {other}.no_secret"))[1].partition('"errors"')[2]
    assert beside == present


async def test_no_view_calls_what_does_more_than_compute(project: ProjectUnderTest, db: Database, other: str) -> None:
    """Each call is refused before it is run or even planned."""
    names = await victim(project, db, other)
    for call in FUNCTIONS:
        status, text = await attempt(project, f"select id, {call.format(**names)} as c from posts")
        assert status == 422, call
        assert "not_allowed_in_view" in text or "undefined_function" in text or "bad_view" in text, call
    assert await db.fetch_value(sql("select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()")) == 0


async def test_no_place_in_a_select_hides_a_call(project: ProjectUnderTest, db: Database, other: str) -> None:
    """The judgement finds `set_config` wherever an expression can stand, and lets a harmless function pass there."""
    await victim(project, db, other)
    for place in PLACES:
        status, text = await attempt(project, place.format(call="set_config('a.b', 'c', true)"))
        assert status == 422, place
        assert "function set_config" in text, f"{place}: {text}"
        status, text = await attempt(project, place.format(call="upper('{}')"))
        assert status == 201 or "bad_view" in text or "unknown_type" in text, f"{place}: {text}"
        if status == 201:
            assert (await project.operator.delete("collections/v")).status_code == 204


async def test_only_a_single_select_is_a_view(project: ProjectUnderTest, db: Database, other: str) -> None:
    """No second statement, no change of anything, no lock, no parameter."""
    names = await victim(project, db, other)
    for template in STATEMENTS:
        status, text = await attempt(project, template.format(**names) if "{{" in template else template)
        assert status == (201 if template in FINE else 422), f"{template}: {text}"
        if status == 201:
            assert (await project.operator.delete("collections/v")).status_code == 204
    assert [row["title"] for row in await project.operator.list("posts")] == ["A"]
    assert await db.fetch_value(sql("select count(*) from pg_tables where schemaname = {}", "baas")) > 0
    assert await db.fetch_value(sql("select to_regclass({}) is null", f"{names['mine']}.stolen"))


async def test_the_reader_cannot_leave_its_project_by_itself(project: ProjectUnderTest, db: Database, other: str) -> None:
    """The second wall alone: as the reader, without any judgement of the statement."""
    names = await victim(project, db, other)
    assert (await attempt(project, "select id, title from posts"))[0] == 201
    role = reader(project.schema)

    async def run(text: str) -> Any:
        return await db.fetch_value(as_role(role, written(text)))

    assert await run("select current_user::text") == role
    assert await run(f"select title from {project.schema}.posts") == "A"
    assert await run(f"select title from {project.schema}.v") == "A"
    refused = [
        f"select word from {other}.secrets",
        "select email from baas.operators",
        f"select password_hash from {project.schema}._credentials",
        f"select * from {project.schema}._token_keys",
        f"select * from {project.schema}._sessions",
        f"select * from {project.schema}._files",
        f"delete from {project.schema}.posts",
        f"insert into {project.schema}.v (id) values (null)",
        f"create table {project.schema}.t ()",
        "create temp table t ()",
        f"select set_config('role', '{names['server']}', false)",
        f"select set_config('role', '{reader(other)}', false)",
        f"update pg_settings set setting = '{names['server']}' where name = 'role'",
        "select query_to_xml('select * from baas.operators', true, false, '')",
        "select query_to_xml('select set_config(''role'', ''none'', false)', true, false, '')",
        "select pg_advisory_lock(1)",
        "select pg_advisory_xact_lock(1)",
        "select pg_sleep(0.01)",
        "select pg_terminate_backend(pg_backend_pid())",
        "select pg_notify('baas_invalidations', '')",
        "select lo_create(0)",
        "select pg_read_file('/etc/passwd')",
        "select nextval('baas.invalidations_seq_seq')",
        "select baas_admin.make_reader('p_zzz')",
        "select rolpassword from pg_authid",
    ]
    for text in refused:
        with pytest.raises(ViewFailed):
            await run(text)
    files = sql(
        "select has_function_privilege('lo_import(text)', 'execute') or has_function_privilege('pg_read_file(text)', 'execute')"
    )
    assert not await db.fetch_value(files)  # the server has got no more than it had
    names_left = [row["name"] for row in await db.fetch(sql("select nspname::text as name from pg_namespace"))]
    assert "baas" in names_left


async def test_nothing_of_a_view_stays_on_the_connection(project: ProjectUnderTest, db: Database, other: str) -> None:
    """The role, the search path and every setting are the server's own again, after success and after failure."""
    await victim(project, db, other)
    assert (await attempt(project, "select id, title::int as n from posts"))[0] == 201
    before = await db.fetch_row(sql("select current_user::text as who, current_setting('search_path') as path"))

    for _ in range(12):
        answer = await project.anonymous.get("collections/v/records")
        assert (answer.status_code, answer.json()["code"]) == (409, "view_failed")
        assert await db.fetch_row(sql("select current_user::text as who, current_setting('search_path') as path")) == before
    role = as_role(reader(project.schema), sql(""))
    await db.fetch_value(sql("{}select 1", role))
    assert await db.fetch_value(sql("select current_user::text")) == before["who"]
    async with db.transaction() as tx:
        assert await tx.fetch_value(sql("{}select current_user::text", role)) == reader(project.schema)
        assert await tx.fetch_value(sql("select current_user::text")) == before["who"]


async def test_a_slow_view_leaves_connections_to_others(project: ProjectUnderTest, db: Database, other: str) -> None:
    """A view that computes for seconds ends at the statement limit; meanwhile other requests are answered."""
    await victim(project, db, other)
    slow = "select p.id, (select count(*) from generate_series(1, 2000000000)) as n from posts p"
    assert (await attempt(project, slow))[0] == 201

    views = [asyncio.create_task(project.operator.get("collections/v/records")) for _ in range(12)]
    await asyncio.sleep(0.3)
    for _ in range(5):
        assert len(await asyncio.wait_for(project.operator.list("posts"), 20)) == 1
    answers = await asyncio.gather(*views)
    assert {answer.status_code for answer in answers} == {503}
    assert {answer.json()["code"] for answer in answers} == {"query_timeout", "busy"}


async def test_a_key_without_the_scope_makes_no_view(project: ProjectUnderTest, db: Database, other: str) -> None:
    """Views are for operators and keys with the scope `schema`."""
    await victim(project, db, other)
    user, key = await project.user(), await project.key("records")

    for caller in (project.anonymous, user, key):
        answer = await caller.post("collections", json={"name": "v", "view": {"sql": "select id from posts"}})
        assert answer.status_code in (401, 403)
    allowed = await (await project.key("schema")).post("collections", json={"name": "v", "view": {"sql": "select id from posts"}})
    assert allowed.status_code == 201


async def test_tables_that_views_may_read_are_collections_only(project: ProjectUnderTest, db: Database, other: str) -> None:
    """The reader's rights, from PostgreSQL's own lists: SELECT on collections and views, USAGE on the schema, no more."""
    await victim(project, db, other)
    assert (await attempt(project, "select id from posts"))[0] == 201
    rows = await db.fetch(
        sql(
            "select n.nspname || '.' || c.relname as name from pg_class c"
            " join pg_namespace n on n.oid = c.relnamespace where n.nspname !~ '^(pg_|information_schema)' and "
            "c.relkind in ('r', 'v')"
            " and has_schema_privilege({}::name, n.oid, 'usage') and has_table_privilege({}::name, c.oid, 'select') order by 1",
            reader(project.schema),
            reader(project.schema),
        )
    )

    assert [row["name"] for row in rows] == [f"{project.schema}.{name}" for name in ("posts", "users", "v")]
    writes = sql(
        "select c.relname::text as name from pg_class c"
        " where has_table_privilege({}::name, c.oid, 'insert, update, delete, truncate') order by 1",
        reader(project.schema),
    )
    # Its own view, whose tables it may not write; and what everyone may update, by set_config.
    assert [row["name"] for row in await db.fetch(writes)] == ["pg_settings", "v"]
    creates = "select count(*) from pg_namespace n where has_schema_privilege({}::name, n.oid, 'create')"
    assert await db.fetch_value(sql(creates, reader(project.schema))) == 0
