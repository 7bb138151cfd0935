"""SQL and memory agree whatever language the database speaks and whatever the clock of the session: C.UTF-8 and English by
ICU, UTC and New York.

The long run is `pytest -m long tests/contract/test_rule_locales.py`; `BAAS_TEST_SEED` and `BAAS_TEST_EXPRESSIONS` change it.
"""

import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from baas.base.ids import short_id
from baas.infra.db.migrate import migrate
from baas.infra.db.pool import Database
from baas.infra.db.sql import Sql, Statement, sql
from tests.support.engines import Engine
from tests.support.rule_questions import questions
from tests.support.rule_world import differences, make_world

SEED = int(os.environ.get("BAAS_TEST_SEED", "20261120"))
EXPRESSIONS = 600
LONG_RUN = int(os.environ.get("BAAS_TEST_EXPRESSIONS", "20000"))
LOCALES = {
    "C.UTF-8": "template template0 encoding 'UTF8' locale 'C.UTF-8'",
    "en-US": "template template0 encoding 'UTF8' locale 'C.UTF-8' locale_provider icu icu_locale 'en-US'",
}
ZONES = ("UTC", "America/New_York")


class _Session:
    """One connection with a time zone of its own, which the server's pool would not give."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def fetch(self, query: Sql | Statement) -> Sequence[Any]:
        statement = query.render() if isinstance(query, Sql) else query
        return [dict(row) for row in await self._connection.fetch(statement.text, *statement.args)]


@contextlib.asynccontextmanager
async def database(engine: Engine, locale: str) -> AsyncIterator[str]:
    """A migrated database of this locale."""
    name = f"test_{short_id()}"
    admin = await asyncpg.connect(engine.admin_url)
    try:
        has_icu = await admin.fetchval("select exists (select from pg_collation where collname = 'und-x-icu')")
        if locale == "en-US" and not has_icu:
            pytest.skip("this PostgreSQL has no ICU, as the embedded one")
        owner = urlsplit(engine.url(name)).username
        await admin.execute(f'create database {name} owner "{owner}" {LOCALES[locale]}')
        try:
            yield engine.url(name)
        finally:
            await admin.execute(f"drop database {name} with (force)")
    finally:
        await admin.close()


async def _agree(engine: Engine, locale: str, zone: str, seed: int, count: int) -> None:
    async with database(engine, locale) as url:
        db = await Database.connect(url, size=2)
        try:
            await migrate(db)
            world = await make_world(db, seed, "rules")
            collation = await db.fetch_value(sql("select 'a' < 'B'"))
            assert collation is (locale == "en-US"), "the database does not sort as its locale says"
        finally:
            await db.close()
        connection = await asyncpg.connect(url, server_settings={"timezone": zone, "jit": "off"}, command_timeout=60)
        try:
            session: Any = _Session(connection)
            assert zone == await connection.fetchval("show timezone")
            for kind in ("rule", "filter"):
                asked = questions(kind, seed, count // 2)
                print(f"seed {seed}: {len(asked)} {kind}s, {locale}, {zone}")
                found = await differences(session, world, asked)
                assert not found, f"seed {seed}: {len(found)} disagreements, the first:\n{found[0]}"
        finally:
            await connection.close()


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("locale", LOCALES)
async def test_sql_and_memory_agree(engine: Engine, locale: str, zone: str) -> None:
    """Text is compared by code point and time is an instant, wherever the server stands."""
    await _agree(engine, locale, zone, SEED + ZONES.index(zone), EXPRESSIONS // 4)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("locale", LOCALES)
async def test_sql_and_memory_agree_at_length(engine: Engine, locale: str, zone: str) -> None:
    """The same for twenty thousand expressions, a quarter each."""
    seed = SEED + 100 * (1 + 2 * list(LOCALES).index(locale) + ZONES.index(zone))
    await _agree(engine, locale, zone, seed, LONG_RUN // 4)
