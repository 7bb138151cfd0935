"""All SQL of the projects room. It works on the control schema, and makes and drops projects' own schemas."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from baas.features.projects.model import ApiKey, Operator, ProjectEntry
from baas.infra.db import readers
from baas.infra.db.migrate import migrate_project
from baas.infra.db.pool import Queries, Row, Transaction
from baas.infra.db.sql import ident, sql

THROTTLE = ident("baas", "throttle")
_PROJECT = sql("id, name, schema, settings, created_at")
_KEY = sql("id, name, hint, scopes, created_at, expires_at")


# Projects ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def project_by_name(db: Queries, name: str) -> Row | None:
    return await db.fetch_row(sql("select {} from baas.projects where name = {}", _PROJECT, name))


async def project_by_id(db: Queries, project_id: UUID) -> Row | None:
    return await db.fetch_row(sql("select {} from baas.projects where id = {}", _PROJECT, project_id))


async def projects(db: Queries, *, after: str, limit: int) -> list[ProjectEntry]:
    """Entries by name, those behind `after`."""
    rows = await db.fetch(sql("select {} from baas.projects where name > {} order by name limit {}", _PROJECT, after, limit))
    return [entry_of(row) for row in rows]


async def make_project(tx: Transaction, project_id: UUID, name: str, schema: str) -> Row:
    """The row, the schema and its tables. A second maker of the same name waits for the first: raises UniqueViolated."""
    await tx.execute(sql("select set_config('lock_timeout', '20000', true)"))
    row = await tx.fetch_row(
        sql("insert into baas.projects (id, name, schema) values ({}, {}, {}) returning {}", project_id, name, schema, _PROJECT)
    )
    assert row is not None  # noqa: S101  an insert without `on conflict` returns its row
    await tx.execute(sql("create schema {}", ident(schema)))
    await migrate_project(tx, schema)
    return row


async def rename_project(tx: Queries, project_id: UUID, name: str) -> ProjectEntry | None:
    row = await tx.fetch_row(sql("update baas.projects set name = {} where id = {} returning {}", name, project_id, _PROJECT))
    return entry_of(row) if row else None


async def lock_project(tx: Queries, project_id: UUID) -> ProjectEntry | None:
    """The project, held until the transaction ends."""
    row = await tx.fetch_row(sql("select {} from baas.projects where id = {} for update", _PROJECT, project_id))
    return entry_of(row) if row else None


async def drop_project(tx: Transaction, project_id: UUID) -> bool:
    """The row, the keys, the schema with everything in it and its reader; whether there was one."""
    schema = await tx.fetch_value(sql("delete from baas.projects where id = {} returning schema", project_id))
    if schema is None:
        return False
    await tx.execute(sql("drop schema {} cascade", ident(schema)))
    await readers.drop(tx, schema)
    return True


async def lock_settings(tx: Queries, project_id: UUID) -> Mapping[str, Mapping[str, object]] | None:
    """The stored settings, held until the transaction ends so that two patches do not lose one."""
    text = await tx.fetch_value(sql("select settings from baas.projects where id = {} for update", project_id))
    return settings_of(text) if text is not None else None


async def save_settings(tx: Queries, project_id: UUID, settings: Mapping[str, object]) -> None:
    await tx.execute(sql("update baas.projects set settings = {}::jsonb where id = {}", json.dumps(settings), project_id))


def entry_of(row: Row) -> ProjectEntry:
    return ProjectEntry(row["id"], row["name"], row["schema"], row["created_at"])


def settings_of(text: str) -> Mapping[str, Mapping[str, object]]:
    stored: Mapping[str, Mapping[str, object]] = json.loads(text)
    return stored


# Keys ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def insert_key(
    tx: Queries,
    project_id: UUID,
    *,
    key_id: UUID,
    name: str,
    digest: bytes,
    hint: str,
    scopes: Sequence[str],
    life: timedelta | None,
) -> ApiKey:
    row = await tx.fetch_row(
        sql(
            "insert into baas.api_keys (id, project, name, key_hash, hint, scopes, expires_at)"
            " values ({}, {}, {}, {}, {}, {}, now() + {}::interval) returning {}",
            key_id, project_id, name, digest, hint, list(scopes), life, _KEY,
        )
    )  # fmt: skip
    assert row is not None  # noqa: S101  an insert without `on conflict` returns its row
    return _key_of(row)


async def count_keys(tx: Queries, project_id: UUID) -> int:
    count: int = await tx.fetch_value(sql("select count(*) from baas.api_keys where project = {}", project_id))
    return count


async def keys(db: Queries, project_id: UUID) -> list[ApiKey]:
    rows = await db.fetch(sql("select {} from baas.api_keys where project = {} order by created_at, id", _KEY, project_id))
    return [_key_of(row) for row in rows]


async def key(db: Queries, project_id: UUID, key_id: UUID) -> ApiKey | None:
    row = await db.fetch_row(sql("select {} from baas.api_keys where project = {} and id = {}", _KEY, project_id, key_id))
    return _key_of(row) if row else None


async def delete_key(tx: Queries, project_id: UUID, key_id: UUID) -> bool:
    return bool(await tx.execute(sql("delete from baas.api_keys where project = {} and id = {}", project_id, key_id)))


async def key_by_digest(db: Queries, digest: bytes) -> Row | None:
    """id, project, scopes, and `life`, the seconds it has left (null: no end); None when unknown or expired."""
    return await db.fetch_row(
        sql(
            "select id, project, scopes, extract(epoch from expires_at - now())::float8 as life from baas.api_keys"
            " where key_hash = {} and (expires_at is null or expires_at > now())",
            digest,
        )
    )


def _key_of(row: Row) -> ApiKey:
    return ApiKey(row["id"], row["name"], row["hint"], tuple(row["scopes"]), row["created_at"], row["expires_at"])


# Operators ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def has_operators(db: Queries) -> bool:
    return bool(await db.fetch_value(sql("select exists (select from baas.operators)")))


async def insert_operator(tx: Queries, operator_id: UUID, email: str, password_hash: str) -> Operator:
    """Raises UniqueViolated for an address that an operator has. Set-up links end with the first operator."""
    row = await tx.fetch_row(
        sql(
            "insert into baas.operators (id, email, password_hash) values ({}, {}, {}) returning id, email, created_at",
            operator_id, email, password_hash,
        )
    )  # fmt: skip
    await tx.execute(sql("delete from baas.setup_tokens"))
    assert row is not None  # noqa: S101  an insert without `on conflict` returns its row
    return Operator(row["id"], row["email"], row["created_at"])


async def operator_by_email(db: Queries, email: str) -> tuple[Operator, str] | None:
    """The operator and the password hash."""
    row = await db.fetch_row(sql("select id, email, created_at, password_hash from baas.operators where email = {}", email))
    return (Operator(row["id"], row["email"], row["created_at"]), row["password_hash"]) if row else None


async def operator_by_id(db: Queries, operator_id: UUID) -> Operator | None:
    row = await db.fetch_row(sql("select id, email, created_at from baas.operators where id = {}", operator_id))
    return Operator(row["id"], row["email"], row["created_at"]) if row else None


async def operators(db: Queries) -> list[Operator]:
    rows = await db.fetch(sql("select id, email, created_at from baas.operators order by created_at, id"))
    return [Operator(row["id"], row["email"], row["created_at"]) for row in rows]


async def save_operator_password(tx: Queries, operator_id: UUID, password_hash: str) -> None:
    await tx.execute(sql("update baas.operators set password_hash = {} where id = {}", password_hash, operator_id))


async def insert_operator_session(tx: Queries, operator_id: UUID, digest: bytes, life: timedelta) -> datetime:
    """When the session expires unless it is used; sessions past their end are swept by the way."""
    await tx.execute(sql("delete from baas.operator_sessions where expires_at < now()"))
    expires_at: datetime = await tx.fetch_value(
        sql(
            "insert into baas.operator_sessions (token_hash, operator, expires_at) values ({}, {}, now() + {}::interval)"
            " returning expires_at",
            digest, operator_id, life,
        )
    )  # fmt: skip
    return expires_at


async def touch_operator_session(db: Queries, digest: bytes, life: timedelta) -> UUID | None:
    """Move the end of a living session on; whose it is."""
    found: UUID | None = await db.fetch_value(
        sql(
            "update baas.operator_sessions set expires_at = now() + {}::interval"
            " where token_hash = {} and expires_at > now() returning operator",
            life, digest,
        )
    )  # fmt: skip
    return found


async def delete_operator_session(tx: Queries, digest: bytes) -> UUID | None:
    found: UUID | None = await tx.fetch_value(
        sql("delete from baas.operator_sessions where token_hash = {} returning operator", digest)
    )
    return found


# Installation ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def lock_installation(tx: Queries) -> None:
    """One set-up at a time: the others wait here until this transaction ends."""
    await tx.execute(sql("select id from baas.installation for update"))


async def insert_setup_token(tx: Queries, digest: bytes, life: timedelta) -> None:
    await tx.execute(sql("delete from baas.setup_tokens where expires_at < now()"))
    await tx.execute(
        sql("insert into baas.setup_tokens (token_hash, expires_at) values ({}, now() + {}::interval)", digest, life)
    )


async def has_setup_token(db: Queries, digest: bytes) -> bool:
    return bool(
        await db.fetch_value(
            sql("select exists (select from baas.setup_tokens where token_hash = {} and expires_at > now())", digest)
        )
    )


async def take_setup_token(tx: Queries, digest: bytes) -> bool:
    """Use it up, by one statement that says whether it was still there."""
    return bool(await tx.execute(sql("delete from baas.setup_tokens where token_hash = {} and expires_at > now()", digest)))


async def installation_id(db: Queries) -> UUID:
    found: UUID = await db.fetch_value(sql("select id from baas.installation"))
    return found


async def place(db: Queries) -> str | None:
    """The cluster, the timeline of its log, and the database in it. A restored dump is in another database or cluster; a cluster
    that was restored to a moment, or promoted from a standby, has begun another timeline. None where PostgreSQL does not say.
    """
    if not await db.fetch_value(sql("select has_function_privilege('pg_control_system()', 'execute')")):
        return None
    found: str = await db.fetch_value(
        sql(
            "select concat_ws(' ', (select system_identifier from pg_control_system()),"
            " left(pg_walfile_name(pg_current_wal_lsn()), 8),"
            " (select oid from pg_database where datname = current_database()))"
        )
    )
    return found


async def lock_place(tx: Queries) -> str | None:
    """Where the last server found itself, None before the first one. Others wait here until this transaction ends."""
    found: str | None = await tx.fetch_value(sql("select place from baas.installation for update"))
    return found


async def save_place(tx: Queries, found: str) -> None:
    await tx.execute(sql("update baas.installation set place = {}", found))


async def schemas(db: Queries) -> list[str]:
    """Of every project."""
    return [row["schema"] for row in await db.fetch(sql("select schema from baas.projects order by schema"))]


async def first_key_check(tx: Queries, check: bytes) -> bytes:
    """The digest of the secret key that this database was first used with; `check` becomes it when there is none."""
    await tx.execute(sql("update baas.installation set secret_key_check = {} where secret_key_check is null", check))
    found: bytes = await tx.fetch_value(sql("select secret_key_check from baas.installation"))
    return found
