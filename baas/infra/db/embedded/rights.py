"""What the superuser gives and takes in the server's database at every start: it may make readers; others call nothing risky.

The server's login makes no roles: with CREATEROLE it could, on PostgreSQL 15, make itself one that runs programs. It calls two
functions instead, which make and drop exactly the readers of its projects.
"""

from typing import Any

# Not for everyone, but for the server: what changes a session, runs SQL from a text, waits, locks, signals or tells others.
# A reader has none of them, so that even SQL that got past every check could not leave its role.
_RISKY = (
    "set_config", "query_to_xml", "query_to_xmlschema", "query_to_xml_and_xmlschema", "cursor_to_xml", "cursor_to_xmlschema",
    "table_to_xml", "table_to_xmlschema", "table_to_xml_and_xmlschema", "schema_to_xml", "schema_to_xmlschema",
    "schema_to_xml_and_xmlschema", "database_to_xml", "database_to_xmlschema", "database_to_xml_and_xmlschema", "ts_stat",
    "pg_sleep", "pg_sleep_for", "pg_sleep_until", "pg_notify", "pg_terminate_backend", "pg_cancel_backend",
    "pg_advisory_lock", "pg_advisory_lock_shared", "pg_advisory_xact_lock", "pg_advisory_xact_lock_shared",
    "pg_try_advisory_lock", "pg_try_advisory_lock_shared", "pg_try_advisory_xact_lock", "pg_try_advisory_xact_lock_shared",
    "lo_creat", "lo_create", "lo_from_bytea", "lo_import", "lo_export", "lo_open", "lo_put", "lo_unlink", "lowrite",
)  # fmt: skip

_FUNCTIONS = """
create schema if not exists baas_admin;
revoke all on schema baas_admin from public;
grant usage on schema baas_admin to {login};

create or replace function baas_admin.make_reader(project text) returns void
security definer set search_path = pg_catalog, pg_temp language plpgsql as $$
begin
    if project !~ '^p_[a-z0-9]{{1,40}}$' then
        raise exception 'not the schema of a project';
    end if;
    execute format('create role %I nologin noinherit', project || '_reader');
    execute format('grant %I to {login}', project || '_reader');
end
$$;
create or replace function baas_admin.drop_reader(project text) returns void
security definer set search_path = pg_catalog, pg_temp language plpgsql as $$
begin
    if project !~ '^p_[a-z0-9]{{1,40}}$' then
        raise exception 'not the schema of a project';
    end if;
    execute format('drop role %I', project || '_reader');
end
$$;
revoke all on function baas_admin.make_reader(text), baas_admin.drop_reader(text) from public;
grant execute on function baas_admin.make_reader(text), baas_admin.drop_reader(text) to {login};
"""

_GIVE_AND_TAKE = """
do $$
declare risky regprocedure;
begin
    for risky in select oid from pg_proc where pronamespace = 'pg_catalog'::regnamespace and proname = any ('{{{names}}}')
        and has_function_privilege('public', oid, 'execute')  -- what is the superuser's alone stays so
    loop
        execute format('grant execute on function %s to {login}', risky);
        execute format('revoke execute on function %s from public', risky);
    end loop;
end
$$;
"""


async def settle_rights(superuser: Any, login: str) -> None:
    """Give and take in the database of this connection. `login` is the server's, a plain name."""
    await superuser.execute(_FUNCTIONS.format(login=login))
    await superuser.execute(_GIVE_AND_TAKE.format(login=login, names=",".join(_RISKY)))
