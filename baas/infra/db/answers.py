"""Answers kept for whoever asks the same again: the rows of `_idempotency` in a project's schema."""

import json
from typing import NamedTuple

from baas.infra.db.pool import Database, Queries, Row
from baas.infra.db.sql import ident, sql

_AT_ONCE = 10_000
_LIFE = sql("interval '24 hours'")

Headers = tuple[tuple[bytes, bytes], ...]


class Kept(NamedTuple):
    """An answer, and the fingerprint of what it was the answer to."""

    fingerprint: bytes
    status: int
    headers: Headers
    body: bytes


async def claim(tx: Queries, schema: str, principal: str, key: str, fingerprint: bytes) -> Kept | None:
    """None when the key is this transaction's now, else what it was used for within a day.

    Waits for another transaction that has it; raises Unavailable (`busy`) after the session's limit for locks.
    """
    table = ident(schema, "_idempotency")
    mine = await tx.fetch_value(
        sql(
            "insert into {} as k (principal, key, fingerprint) values ({}, {}, {}) on conflict (principal, key)"
            " do update set fingerprint = excluded.fingerprint, created_at = now() where k.created_at < now() - {}"
            " returning true",
            table,
            principal,
            key,
            fingerprint,
            _LIFE,
        )
    )
    if mine:
        return None
    row = await tx.fetch_row(
        sql("select fingerprint, status, headers, body from {} where principal = {} and key = {}", table, principal, key)
    )
    if row is None:
        raise AssertionError("the row that stood in the way is locked")
    return _kept(row)


async def known(db: Queries, schema: str, principal: str, key: str) -> Kept | None:
    """What was answered to the key within a day, without claiming it."""
    row = await db.fetch_row(
        sql(
            "select fingerprint, status, headers, body from {} where principal = {} and key = {} and created_at >= now() - {}",
            ident(schema, "_idempotency"),
            principal,
            key,
            _LIFE,
        )
    )
    return None if row is None else _kept(row)


async def keep(tx: Queries, schema: str, principal: str, key: str, kept: Kept) -> None:
    """Write down the answer to a key that this transaction has claimed."""
    headers = json.dumps([(name.decode("latin-1"), value.decode("latin-1")) for name, value in kept.headers])
    await tx.execute(
        sql(
            "update {} set status = {}, headers = {}::jsonb, body = {} where principal = {} and key = {}",
            ident(schema, "_idempotency"),
            kept.status,
            headers,
            kept.body,
            principal,
            key,
        )
    )


async def sweep(db: Database, schema: str) -> int:
    """Forget what is older than a day; how many answers."""
    table = ident(schema, "_idempotency")
    removed = 0
    while True:
        gone = await db.execute(
            sql(
                "delete from {} where ctid = any(array(select ctid from {} where created_at < now() - {} limit {}))",
                table,
                table,
                _LIFE,
                _AT_ONCE,
            )
        )
        removed += gone
        if gone < _AT_ONCE:
            return removed


def _kept(row: Row) -> Kept:
    headers = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in json.loads(row["headers"]))
    return Kept(row["fingerprint"], row["status"], headers, row["body"])
