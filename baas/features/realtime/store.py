"""All SQL of the room: tickets, the rules of channels, and who is there."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from baas.features.realtime.model import CHANNEL_ACTIONS, ChannelRules, Pattern, Present
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


async def channel_rules(db: Queries, schema: str) -> list[ChannelRules]:
    """All patterns of a project."""
    rows = await db.fetch(sql("select pattern, rules::text as rules from {} order by pattern", ident(schema, "_channels")))
    return [ChannelRules(Pattern(row["pattern"]), json.loads(row["rules"])) for row in rows]


async def save_channel_rules(tx: Queries, schema: str, rules: ChannelRules) -> None:
    """Put a pattern, or other rules for it."""
    text = json.dumps({action: rules.rules.get(action) for action in CHANNEL_ACTIONS})
    await tx.execute(
        sql(
            "insert into {} (pattern, rules) values ({}, {}::text::jsonb)"
            " on conflict (pattern) do update set rules = excluded.rules",
            ident(schema, "_channels"),
            rules.pattern.text,
            text,
        )
    )


async def drop_channel_rules(tx: Queries, schema: str, pattern: str) -> bool:
    """Whether there was such a pattern."""
    return await tx.execute(sql("delete from {} where pattern = {}", ident(schema, "_channels"), pattern)) > 0


async def keep_present(db: Queries, schema: str, channel: str, present: Present, lease_s: float) -> None:
    """Somebody is there, until the lease runs out. Leases that ran out go."""
    table, lease = ident(schema, "_present"), timedelta(seconds=lease_s)
    await db.execute(
        sql(
            "with gone as (delete from {} where expires_at < clock_timestamp() - interval '1 minute')"
            " insert into {} (channel, connection, who, state, expires_at)"
            " values ({}, {}, {}, {}::text::jsonb, clock_timestamp() + {}::interval)"
            " on conflict (channel, connection) do update set state = excluded.state, expires_at = excluded.expires_at",
            table,
            table,
            channel,
            present.connection,
            present.who,
            present.state,
            lease,
        )
    )


async def renew_present(db: Queries, schema: str, there: Sequence[tuple[str, Present]], lease_s: float) -> None:
    """Let these, by channel, be there for another lease. Those that the database has lost are there again; a state that stands
    there is left alone, because it may be a newer one.
    """
    await db.execute(
        sql(
            "insert into {} (channel, connection, who, state, expires_at)"
            " select channel, connection, who, state::jsonb, clock_timestamp() + {}::interval"
            " from unnest({}::text[], {}::uuid[], {}::text[], {}::text[]) as t(channel, connection, who, state)"
            " on conflict (channel, connection) do update set expires_at = excluded.expires_at",
            ident(schema, "_present"),
            timedelta(seconds=lease_s),
            [channel for channel, _ in there],
            [one.connection for _, one in there],
            [one.who for _, one in there],
            [one.state for _, one in there],
        )
    )


async def forget_present(db: Queries, schema: str, connection: UUID, channel: str) -> None:
    """The connection is there no more."""
    await db.execute(sql("delete from {} where connection = {} and channel = {}", ident(schema, "_present"), connection, channel))


async def present(db: Queries, schema: str, channels: Sequence[str]) -> Mapping[str, Mapping[UUID, Present]]:
    """Who is there now, by channel and connection."""
    rows = await db.fetch(
        sql(
            "select channel, connection, who, state::text as state from {}"
            " where channel = any({}::text[]) and expires_at > clock_timestamp() order by connection",
            ident(schema, "_present"),
            list(channels),
        )
    )
    found: dict[str, dict[UUID, Present]] = {}
    for row in rows:
        one = Present(UUID(str(row["connection"])), row["who"], row["state"])
        found.setdefault(row["channel"], {})[one.connection] = one
    return found
