"""Definitions of collections in the project's own schema: `_collections` and the version beside them."""

import json
from collections.abc import Mapping

import msgspec

from baas.engines.schema import manifest
from baas.engines.schema.collection import Collection
from baas.infra.db.pool import Queries
from baas.infra.db.sql import ident, sql

_LOCK_TIMEOUT_MS = "2000"


async def lock(tx: Queries, schema: str) -> None:
    """One change of a project's schema at a time. Waits two seconds, here and for every table; then Unavailable (`busy`)."""
    await tx.execute(sql("select set_config('lock_timeout', {}, true)", _LOCK_TIMEOUT_MS))
    await tx.execute(sql("select pg_advisory_xact_lock(hashtextextended({}, 0))", f"baas schema {schema}"))


async def held(tx: Queries, schema: str) -> Mapping[str, Collection]:
    """Every collection of the project as stored, which nobody changes until the transaction ends.

    Whoever stores rules over them must hold them: rules judged by older definitions would be stored unfit. Raises as `lock`.
    """
    await lock(tx, schema)
    return await read(tx, schema)


async def read(db: Queries, schema: str) -> Mapping[str, Collection]:
    """Every collection of the project as stored, by name in order; all of them carry the version of the project's schema."""
    rows = await db.fetch(
        sql(
            "select c.name, c.definition, s.version from {} s left join {} c on true order by c.name",
            ident(schema, "_schema"),
            ident(schema, "_collections"),
        )
    )
    return {
        row["name"]: manifest.stored(json.loads(row["definition"]), schema=schema, version=row["version"])
        for row in rows
        if row["name"] is not None
    }


async def write(tx: Queries, collection: Collection) -> None:
    """Store a new or changed definition."""
    definition = msgspec.json.encode(manifest.as_json(collection)).decode()
    await tx.execute(
        sql(
            "insert into {} as c (name, definition) values ({}, {}::jsonb)"
            " on conflict (name) do update set definition = excluded.definition, updated_at = now()",
            ident(collection.schema, "_collections"),
            collection.name,
            definition,
        )
    )


async def remove(tx: Queries, collection: Collection) -> None:
    """Forget a definition."""
    await tx.execute(sql("delete from {} where name = {}", ident(collection.schema, "_collections"), collection.name))


async def next_version(tx: Queries, schema: str) -> int:
    """Count a change of the project's schema; the new version."""
    version: int = await tx.fetch_value(sql("update {} set version = version + 1 returning version", ident(schema, "_schema")))
    return version
