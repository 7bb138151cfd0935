"""All SQL of the auth room, in the project's own schema. Rows of `users` are written and shown by the query compiler instead."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from baas.engines.query.table import Table
from baas.features.auth.claims import NONE, Claims
from baas.features.auth.model import Account, Device, Family, SessionEntry, SigningKey
from baas.infra.db.pool import Queries, Row
from baas.infra.db.sql import Sql, ident, join, sql

_FAMILY = sql('id, "user", salt, generation')
# Ended sessions are kept until no access token of theirs can live (a day at most), so that every server hears of them.
_KEEP_ENDED = sql("interval '2 days'")


def throttle(schema: str) -> Sql:
    """The table of the project's own token buckets."""
    return ident(schema, "_throttle")


# Signing keys ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def watch_users(tx: Queries, schema: str) -> None:
    """End an account's sessions whoever deletes or disables it or changes its address, through whatever door."""
    users, function = ident(schema, "users"), ident(schema, "_end_sessions")
    await tx.execute(
        sql("create trigger _end_sessions_of_deleted after delete on {} for each row execute function {}()", users, function)
    )
    await tx.execute(
        sql(
            "create trigger _end_sessions_of_changed after update of email, disabled on {} for each row"
            " when (new.email is distinct from old.email or (new.disabled and old.disabled is not true))"
            " execute function {}()",
            users,
            function,
        )
    )


async def insert_token_key(tx: Queries, schema: str, key_id: str, public: Mapping[str, object], sealed: bytes) -> None:
    await tx.execute(
        sql(
            "insert into {} (id, public_key, private_key) values ({}, {}::jsonb, {})",
            ident(schema, "_token_keys"), key_id, json.dumps(public), sealed,
        )
    )  # fmt: skip


async def lock_token_keys(tx: Queries, schema: str) -> None:
    """Nobody else changes the keys until the transaction ends; they are read as before."""
    await tx.execute(sql("lock table {} in share row exclusive mode", ident(schema, "_token_keys")))


async def retire_token_keys(tx: Queries, schema: str, *, after_s: int) -> None:
    """Let the keys that sign verify for so many seconds more, and delete those that have retired."""
    table = ident(schema, "_token_keys")
    await tx.execute(sql("delete from {} where retires_at <= now()", table))
    await tx.execute(
        sql("update {} set retires_at = now() + {}::int * interval '1 second' where retires_at is null", table, after_s)
    )


async def delete_token_key(tx: Queries, schema: str, key_id: str) -> bool:
    return bool(await tx.execute(sql("delete from {} where id = {}", ident(schema, "_token_keys"), key_id)))


async def token_keys(db: Queries, schema: str) -> list[Row]:
    """Keys that have not retired, newest first; the first that `signs` is the one that does."""
    return await db.fetch(
        sql(
            "select id, public_key, private_key, created_at, retires_at, retires_at is null and signs_from <= now() as signs"
            " from {} where retires_at is null or retires_at > now() order by signs_from desc, id",
            ident(schema, "_token_keys"),
        )
    )


async def signing_keys(db: Queries, schema: str) -> list[SigningKey]:
    """The same without secrets; one of them signs."""
    rows = await token_keys(db, schema)
    signing = next((row["id"] for row in rows if row["signs"]), None)
    return [SigningKey(row["id"], row["id"] == signing, row["created_at"], row["retires_at"]) for row in rows]


def public_key_of(row: Row) -> Mapping[str, object]:
    jwk: Mapping[str, object] = json.loads(row["public_key"])
    return jwk


# Accounts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def account_by_email(db: Queries, schema: str, email: str) -> Account | None:
    return await _account(db, schema, sql("u.email = {}", email))


async def account_by_id(db: Queries, schema: str, user_id: UUID) -> Account | None:
    return await _account(db, schema, sql("u.id = {}", user_id))


async def save_password(tx: Queries, schema: str, user_id: UUID, password_hash: str) -> None:
    await tx.execute(
        sql(
            'insert into {} ("user", password_hash) values ({}, {})'
            ' on conflict ("user") do update set password_hash = excluded.password_hash, changed_at = now()',
            ident(schema, "_credentials"), user_id, password_hash,
        )
    )  # fmt: skip


async def replace_hash(db: Queries, schema: str, user_id: UUID, *, old: str, new: str) -> None:
    """The same password under new work factors; nothing when it was changed meanwhile."""
    await db.execute(
        sql(
            'update {} set password_hash = {} where "user" = {} and password_hash = {}',
            ident(schema, "_credentials"), new, user_id, old,
        )
    )  # fmt: skip


async def enabled_user(db: Queries, table: Table, user_id: UUID) -> Row | None:
    """The columns of an account that is not disabled, as rules compute with them."""
    shown = (sql("{} as {}", column.in_rules(column.of("r")), ident(name)) for name, column in table.columns.items())
    return await db.fetch_row(
        sql("select {} from {} r where r.id = {} and not r.disabled", join(", ", shown), table.sql, user_id)
    )


async def _account(db: Queries, schema: str, condition: Sql) -> Account | None:
    row = await db.fetch_row(
        sql(
            'select u.id, u.disabled, c.password_hash from {} u left join {} c on c."user" = u.id where {}',
            ident(schema, "users"),
            ident(schema, "_credentials"),
            condition,
        )
    )
    return Account(row["id"], row["disabled"], row["password_hash"]) if row else None


# Claims ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def claims_of(db: Queries, schema: str, user_id: UUID) -> Claims:
    row = await db.fetch_row(sql('select claims::text, version from {} where "user" = {}', ident(schema, "_claims"), user_id))
    return Claims(row["claims"], row["version"]) if row else NONE


async def claims_of_many(db: Queries, schema: str, users: Sequence[UUID]) -> Mapping[UUID, Claims]:
    """Those of whom something was said."""
    rows = await db.fetch(
        sql('select "user", claims::text, version from {} where "user" = any({}::uuid[])', ident(schema, "_claims"), list(users))
    )
    return {row["user"]: Claims(row["claims"], row["version"]) for row in rows}


async def save_claims(tx: Queries, schema: str, user_id: UUID, text: str) -> None:
    """Say this of a user and nothing else. His row is locked by the caller, so none is left behind by one who is deleted."""
    await tx.execute(
        sql(
            'insert into {} as c ("user", claims) values ({}, {}::json) on conflict ("user") do update'
            " set claims = excluded.claims, version = c.version + 1, changed_at = now()"
            " where c.claims::text <> excluded.claims::text",
            ident(schema, "_claims"), user_id, text,
        )
    )  # fmt: skip


# Sessions ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def open_session(
    tx: Queries, schema: str, family: Family, device: Device, *, idle_s: int, absolute_s: int, verified: str | None
) -> bool:
    """Store a session; False when the account is gone or disabled, or its password is no longer the one `verified`.

    The row locks make a change that happens meanwhile come wholly before (and refuse) or wholly after (and end the session).
    """
    still = sql("true") if verified is None else sql('c."user" = u.id and c.password_hash = {}', verified)
    others = sql("") if verified is None else sql(", {} c", ident(schema, "_credentials"))
    made = await tx.execute(
        sql(
            'insert into {} (id, "user", salt, ends_at, expires_at, address, user_agent)'
            " select {}, u.id, {}, now() + least({}::int, {}::int) * interval '1 second',"
            " now() + {}::int * interval '1 second', {}, {}"
            " from {} u{} where u.id = {} and not u.disabled and {} for share",
            ident(schema, "_sessions"), family.id, family.salt, idle_s, absolute_s, absolute_s, device.address, device.user_agent,
            ident(schema, "users"), others, family.user_id, still,
        )
    )  # fmt: skip
    return bool(made)


async def salt_of(db: Queries, schema: str, session_id: UUID) -> bytes | None:
    found: bytes | None = await db.fetch_value(
        sql("select salt from {} where id = {} and ended_at is null and ends_at > now()", ident(schema, "_sessions"), session_id)
    )
    return found


async def rotate(
    db: Queries, schema: str, session_id: UUID, generation: int, *, idle_s: int, grace_s: int
) -> tuple[Family, bool] | None:
    """Judge a proven refresh token of this generation, and change the session accordingly, in one statement.

    The present generation makes the next one. The one before it, for `grace_s` seconds, changes nothing. Anything older ends
    the session: somebody uses a token twice. The family and whether it lives; None when it had ended before.
    """
    present = sql("generation = {}::int", generation)
    forgiven = sql("(generation = {}::int + 1 and rotated_at > now() - {}::int * interval '1 second')", generation, grace_s)
    row = await db.fetch_row(
        sql(
            "update {} set generation = generation + case when {} then 1 else 0 end,"
            " rotated_at = case when {} then now() else rotated_at end,"
            " ends_at = case when {} then least(now() + {}::int * interval '1 second', expires_at)"
            " when {} then ends_at else now() end,"
            " ended_at = case when {} or {} then null else now() end"
            " where id = {} and ended_at is null and ends_at > now() returning {}, ended_at is null as lives",
            ident(schema, "_sessions"), present, present, present, idle_s, forgiven, present, forgiven, session_id, _FAMILY,
        )
    )  # fmt: skip
    return (_family(row), row["lives"]) if row else None


async def end_sessions(
    tx: Queries, schema: str, user_id: UUID, *, only: UUID | None = None, but: UUID | None = None
) -> list[UUID]:
    """End the user's living sessions: all, `only` one, or all `but` one. Those that were ended."""
    which = sql("and id = {}", only) if only else sql("and id <> {}", but) if but else sql("")
    rows = await tx.fetch(
        sql(
            'update {} set ended_at = now(), ends_at = now() where "user" = {} and ended_at is null {} returning id',
            ident(schema, "_sessions"), user_id, which,
        )
    )  # fmt: skip
    return [row["id"] for row in rows]


async def sessions(db: Queries, schema: str, user_id: UUID) -> list[SessionEntry]:
    """The user's living sessions, newest first, two hundred at most."""
    rows = await db.fetch(
        sql(
            "select id, created_at, rotated_at, expires_at, address, user_agent from {}"
            ' where "user" = {} and ended_at is null and ends_at > now() order by created_at desc, id desc limit 200',
            ident(schema, "_sessions"), user_id,
        )
    )  # fmt: skip
    return [
        SessionEntry(
            row["id"], row["created_at"], row["rotated_at"], row["expires_at"], Device(row["address"], row["user_agent"])
        )
        for row in rows
    ]


async def news(db: Queries, schema: str, look_back_s: int) -> tuple[list[UUID], list[tuple[UUID, int]]]:
    """Sessions that ended within the last so many seconds, and users whose claims changed, with the version of these."""
    rows = await db.fetch(
        sql(
            "select id, null::bigint as version from {} where ended_at > now() - {}::int * interval '1 second'"
            ' union all select "user", version from {} where changed_at > now() - {}::int * interval \'1 second\'',
            ident(schema, "_sessions"), look_back_s, ident(schema, "_claims"), look_back_s,
        )
    )  # fmt: skip
    ended = [row["id"] for row in rows if row["version"] is None]
    return ended, [(row["id"], row["version"]) for row in rows if row["version"] is not None]


async def knows_address(db: Queries, schema: str, email: str, address: str) -> bool:
    """Whether the account of this e-mail address has been signed in from this network address."""
    return bool(
        await db.fetch_value(
            sql(
                'select exists (select from {} s join {} u on u.id = s."user" where u.email = {} and s.address = {})',
                ident(schema, "_sessions"), ident(schema, "users"), email, address,
            )
        )
    )  # fmt: skip


async def sweep_sessions(db: Queries, schema: str) -> int:
    """Delete sessions that are long over, a thousand at a time; how many."""
    table = ident(schema, "_sessions")
    return await db.execute(
        sql("delete from {} where id in (select id from {} where ends_at < now() - {} limit 1000)", table, table, _KEEP_ENDED)
    )


def _family(row: Row) -> Family:
    fields: tuple[Any, ...] = (row["id"], row["user"], row["salt"], row["generation"])
    return Family(*fields)


async def lock_user(tx: Queries, schema: str, user_id: UUID) -> int | None:
    """The revision of a user, who stays so until the transaction ends; None when there is none of this id."""
    rev: int | None = await tx.fetch_value(sql("select rev from {} where id = {} for update", ident(schema, "users"), user_id))
    return rev
