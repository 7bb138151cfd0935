"""Token buckets in a table, so that every server counts the same attempts. Times are the database's own."""

import hashlib
import ipaddress
import math
from dataclasses import dataclass

from baas.base.errors import TooManyRequests
from baas.infra.db.pool import Queries
from baas.infra.db.sql import Sql, sql


@dataclass(frozen=True, slots=True)
class Limit:
    """`per_minute` attempts in the long run, `burst` at once; `name` is what the RateLimit headers call it."""

    name: str
    per_minute: int
    burst: int


async def take(db: Queries, table: Sql, key: str, limit: Limit) -> None:
    """Count one attempt under `key`. Raises TooManyRequests with the wait in seconds; a refused attempt costs nothing more.

    One statement: of many attempts at once exactly as many pass as the bucket holds.
    """
    rate = limit.per_minute / 60
    row = await db.fetch_row(
        sql(
            "insert into {} as b (key, tokens, allowed, updated_at) values ({}, {}::float8 - 1, true, statement_timestamp())"
            " on conflict (key) do update set (tokens, allowed, updated_at) ="
            " (select case when filled >= 1 then filled - 1 else filled end, filled >= 1,"
            " greatest(b.updated_at, statement_timestamp()) from"
            " (select least({}::float8, b.tokens + {}::float8 *"
            " greatest(0, extract(epoch from statement_timestamp() - b.updated_at))) as filled) as now_)"
            " returning tokens, allowed",
            table, key, limit.burst, limit.burst, rate,
        )
    )  # fmt: skip
    if row is None or row["allowed"]:
        return
    wait_s = max(1, math.ceil((1 - row["tokens"]) / rate))
    refusal = TooManyRequests("Too many attempts; wait a moment.", retry_after_s=wait_s, code="rate_limited")
    # draft-ietf-httpapi-ratelimit-headers: remaining quota and seconds until there is some again; quota and its window.
    refusal.headers["RateLimit"] = f'"{limit.name}";r=0;t={wait_s}'
    refusal.headers["RateLimit-Policy"] = f'"{limit.name}";q={limit.per_minute};w=60'
    raise refusal


async def give_back(db: Queries, table: Sql, key: str, limit: Limit) -> None:
    """Uncount an attempt that proved good: only failures add up."""
    await db.execute(sql("update {} set tokens = least({}::float8, tokens + 1) where key = {}", table, limit.burst, key))


async def sweep(db: Queries, table: Sql) -> int:
    """Forget buckets that have long been full again, a thousand at a time; the number forgotten."""
    return await db.execute(
        sql(
            "delete from {} where key in (select key from {} where updated_at < now() - interval '1 hour' limit 1000)",
            table, table,
        )
    )  # fmt: skip


def address_key(action: str, address: str) -> str:
    """The bucket of an action from an address; of IPv6 the /64 counts, because one customer has all of it."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return f"{action} address {address[:64]}"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return f"{action} address {parsed.ipv4_mapped}"
        return f"{action} address {ipaddress.ip_network((parsed, 64), strict=False)}"
    return f"{action} address {parsed}"


def account_key(action: str, account: str) -> str:
    """The bucket of an action on an account; hashed, because unknown addresses of strangers are counted too."""
    return f"{action} account {hashlib.sha256(account.encode()).hexdigest()}"
