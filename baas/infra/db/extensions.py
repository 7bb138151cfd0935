"""Extensions of PostgreSQL that are used where they are there, in a schema of their own so that every statement can name them."""

import asyncpg

from baas.infra.db.pool import Database
from baas.infra.db.sql import ident, sql

SCHEMA = "baas_ext"
_LOCK = 0x62616174


def missing(name: str) -> str:
    """What to do about an extension that is not there."""
    return (
        f"PostgreSQL's extension {name} is not available to this server. Install it there; then an administrator of the database"
        f" says: create extension {name} schema {SCHEMA}; (where it is already: alter extension {name} set schema {SCHEMA};)"
    )


async def is_ready(db: Database, name: str) -> bool:
    """Whether the extension is there for our statements; made now when it is not and the login may make it.

    False where the server has no such extension, where only an administrator may make it, and where it stands in another schema.
    """
    if (there := await _is_made(db, name)) is not None:
        return there
    if not await db.fetch_value(sql("select true from pg_available_extensions where name = {}", name)):
        return False
    try:
        async with db.transaction() as tx:
            # `if not exists` does not keep two from making it at the same time.
            await tx.execute(sql("select pg_advisory_xact_lock({}::bigint)", _LOCK))
            await tx.execute(sql("create extension if not exists {} with schema {}", ident(name), ident(SCHEMA)))
    except (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedFileError, asyncpg.FeatureNotSupportedError):
        return False
    return await _is_made(db, name) is True


async def _is_made(db: Database, name: str) -> bool | None:
    """None when it is not made; False when it stands where our statements do not look."""
    place = await db.fetch_value(sql("select extnamespace::regnamespace::text from pg_extension where extname = {}", name))
    return None if place is None else place == SCHEMA
