"""Numbered migrations, forward only, one server at a time.

`migrations/control/NNNN_what.sql` build the schema `baas`; `migrations/project/NNNN_what.sql` build every project's own schema
and write its name as `{schema}`. Each file runs in one transaction together with the row that records it, under one advisory
lock, so a server killed midway leaves nothing half done, and of two servers starting at once one migrates and one waits.
"""

import asyncio
import re
from importlib.resources import files
from typing import NamedTuple

from baas.base.errors import BaasError, Unavailable
from baas.infra.db.pool import Database, Queries, Transaction
from baas.infra.db.sql import ident, sql

_LOCK = 0x62616173  # "baas"; the one advisory lock that migrations take
_WAIT_S = 60.0
_FILE = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")


class Migration(NamedTuple):
    number: int
    name: str
    text: str


class SchemaTooNew(BaasError):
    """The database was migrated by a newer server; this one must not touch it."""

    default_code = "schema_too_new"


def migrations(kind: str) -> tuple[Migration, ...]:
    """The files of `control` or `project` in order. Raises ValueError for a gap or a stray name."""
    found = []
    for entry in sorted(files("baas.infra.db").joinpath("migrations", kind).iterdir(), key=lambda entry: entry.name):
        match = _FILE.match(entry.name)
        if not match:
            raise ValueError(f"not a migration: {entry.name}")
        found.append(Migration(int(match[1]), entry.name.removesuffix(".sql"), entry.read_text("utf-8")))
    if [one.number for one in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"the {kind} migrations are not numbered 1..{len(found)}")
    return tuple(found)


async def migrate(db: Database) -> None:
    """Bring the control schema and every project's schema to this version.

    Waits up to 60 s for another server that is migrating. Raises SchemaTooNew, before it changes anything, when the
    control schema or any project's is ahead of this server.
    """
    async with _exclusive(db) as tx:
        await _refuse_newer(tx)
        await tx.execute(sql("create schema if not exists baas"))
        await tx.execute(
            sql(
                "create table if not exists baas._migrations"
                " (number int primary key, name text not null, applied_at timestamptz not null default now())"
            )
        )
    for step in migrations("control"):
        async with _exclusive(db) as tx:
            done = await tx.fetch_value(sql("select true from baas._migrations where number = {}", step.number))
            if not done:
                await tx.execute_script(step.text)
                await tx.execute(sql("insert into baas._migrations (number, name) values ({}, {})", step.number, step.name))
    newest = len(migrations("project"))
    for row in await db.fetch(sql("select schema from baas.projects where schema_version < {} order by created_at", newest)):
        async with _exclusive(db) as tx:
            await migrate_project(tx, row["schema"])


async def migrate_project(tx: Transaction, schema: str) -> None:
    """Run what the project's schema lacks, in the caller's transaction; also how a new project gets its tables."""
    version = await tx.fetch_value(sql("select schema_version from baas.projects where schema = {} for update", schema))
    steps = migrations("project")
    if version > len(steps):
        raise SchemaTooNew(f"Project schema {schema} has version {version}; this server knows {len(steps)}.")
    quoted = ident(schema).render().text
    for step in steps[version:]:
        await tx.execute_script(step.text.replace("{schema}", quoted))
    await tx.execute(sql("update baas.projects set schema_version = {} where schema = {}", len(steps), schema))


async def is_current(db: Queries) -> bool:
    """Whether every migration of this server has been applied; readiness asks this."""
    newest = await db.fetch_value(sql("select max(number) from baas._migrations"))
    return bool(newest == len(migrations("control")))


async def _refuse_newer(tx: Transaction) -> None:
    for kind, table, newest in (
        ("control", "baas._migrations", sql("select max(number) from baas._migrations")),
        ("project", "baas.projects", sql("select max(schema_version) from baas.projects")),
    ):
        known = len(migrations(kind))
        exists = await tx.fetch_value(sql("select to_regclass({}) is not null", table))
        if exists and (found := await tx.fetch_value(newest) or 0) > known:
            raise SchemaTooNew(
                f"The {kind} schema was migrated to version {found} by a newer server; this one knows {known}.",
                hint="Start the newer version, or restore a backup taken before the upgrade.",
            )


class _exclusive:  # noqa: N801  reads as a word at its use
    """A transaction that holds the migration lock to its end; it polls, because a blocking wait would keep a snapshot open."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def __aenter__(self) -> Transaction:
        deadline = asyncio.get_running_loop().time() + _WAIT_S
        while True:
            self._block = self._db.changing_schema(statement_timeout_s=0)
            tx = await self._block.__aenter__()
            if await tx.fetch_value(sql("select pg_try_advisory_xact_lock({}::bigint)", _LOCK)):
                return tx
            await self._block.__aexit__(None, None, None)
            if asyncio.get_running_loop().time() > deadline:
                raise Unavailable("Another server has been migrating this database for over a minute.", code="migrating")
            await asyncio.sleep(0.1)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        await self._block.__aexit__(kind, error, trace)  # type: ignore[arg-type]
