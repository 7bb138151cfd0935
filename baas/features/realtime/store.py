"""All SQL of the room: tickets."""

from datetime import timedelta

from baas.infra.db.pool import Queries
from baas.infra.db.sql import Sql, ident, sql


def _tickets(schema: str) -> Sql:
    return ident(schema, "_tickets")


async def keep_ticket(db: Queries, schema: str, digest: bytes, sealed: bytes, life: timedelta) -> None:
    """Keep what a ticket stands for; those that nobody used in time go."""
    await db.execute(
        sql(
            "with gone as (delete from {} where expires_at < clock_timestamp())"
            " insert into {} (digest, sealed, expires_at) values ({}, {}, clock_timestamp() + {}::interval)",
            _tickets(schema),
            _tickets(schema),
            digest,
            sealed,
            life,
        )
    )


async def use_ticket(db: Queries, schema: str, digest: bytes) -> bytes | None:
    """What the ticket stands for, once: of many who bring it at the same time one gets it."""
    found: bytes | None = await db.fetch_value(
        sql("delete from {} where digest = {} and expires_at > clock_timestamp() returning sealed", _tickets(schema), digest)
    )
    return found
