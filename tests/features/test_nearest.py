"""The nearest places by an index: the same pages as without one, wherever on the globe, whoever asks; and the index is used."""

import asyncio
import io
import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from baas.infra.db.pool import Database
from baas.infra.db.sql import ident, sql
from baas.infra.observe.log import Log
from baas.server import open_server
from tests.conftest import ORIGIN
from tests.features.test_near import PLACE
from tests.support.callers import Caller, ProjectUnderTest
from tests.support.settings import settings_for_tests

CENTRES = [(52.52, 13.405), (0, 179.99), (-18, -179.9), (89.9, 10), (-90, 0), (0, 0), (64, -21.9)]
FIELDS = [{"name": "n", "type": "int"}, PLACE]
RULES = {"list": "record.n % 3 != 0 || auth != null", "view": "true"}


async def two_alike(project: ProjectUnderTest, count: int = 300) -> None:
    """One collection with the index and one without, the same places in both: crowded ones, far ones, twins and none."""
    random.seed(count)
    rows: list[dict[str, Any]] = [{"n": 0}, {"n": 1}]
    for n in range(count):
        lat, lon = random.choice(CENTRES)
        spread = random.choice((0.01, 1, 40))
        lat = max(-90.0, min(90.0, lat + random.uniform(-spread, spread)))
        lon = (lon + random.uniform(-spread, spread) + 180) % 360 - 180
        rows += [{"n": n, "place": {"lat": lat, "lon": lon}}] * random.choice((1, 1, 1, 2))
    for name in ("plain", "indexed"):
        indexes = [{"fields": ["place"]}] if name == "indexed" else []
        await project.collection(name, fields=FIELDS, rules=RULES, indexes=indexes)
        for start in range(0, len(rows), 500):
            answer = await project.operator.post(f"collections/{name}/records", json=rows[start : start + 500])
            assert answer.status_code == 201, answer.text


async def pages(caller: Caller, collection: str, centre: tuple[float, float], **params: Any) -> list[list[tuple[Any, ...]]]:
    """Every page, each record by its distance and number: ids differ between the two."""
    around = {"field": "place", "lat": centre[0], "lon": centre[1]}
    found: list[list[tuple[Any, ...]]] = []
    asked = {"near": json.dumps(around), **params}
    while True:
        answer = await caller.get(f"collections/{collection}/records", params=asked)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found.append([(one["_distance"], one["n"]) for one in page["items"]])
        if page.get("next_cursor") is None:
            return found
        asked["cursor"] = page["next_cursor"]


@pytest.mark.parametrize("centre", CENTRES)
async def test_pages_are_the_same_with_and_without_the_index(project: ProjectUnderTest, centre: tuple[float, float]) -> None:
    await two_alike(project, 120)
    for caller, params in (
        (project.operator, {"limit": 7}),
        (project.anonymous, {"limit": 20, "filter": "n < 100"}),
        (project.anonymous, {"limit": 200}),
        (project.anonymous, {"limit": 1, "filter": "n < 20"}),
    ):
        plain, indexed = [await pages(caller, name, centre, **params) for name in ("plain", "indexed")]
        # Twins at one distance stand in the order of their ids, which each collection has its own of.
        assert [[one[0] for one in page] for page in plain] == [[one[0] for one in page] for page in indexed]
        assert sorted(one for page in plain for one in page) == sorted(one for page in indexed for one in page)
        assert [len(page) for page in plain[:-1]] == [params["limit"]] * (len(plain) - 1)


async def test_the_index_is_used(project: ProjectUnderTest, db: Database) -> None:
    """Of many places few are measured: those that the ring was found by, and those in it."""
    await many(project, db, indexes=[{"fields": ["place"]}])

    async def scanned() -> tuple[int, int]:
        row = await db.fetch_row(
            sql(
                "select coalesce(pg_stat_get_tuples_returned({}::text::regclass), 0) as whole,"
                " (select coalesce(sum(pg_stat_get_tuples_returned(indexrelid)), 0)::int8 from pg_index"
                " where indrelid = {}::text::regclass) as found",
                f"{project.schema}.indexed",
                f"{project.schema}.indexed",
            )
        )
        assert row is not None
        return row["whole"], row["found"]

    page = (await first_page(project.anonymous))["items"]

    assert 10 == len(page)
    assert sorted(one["_distance"] for one in page) == [one["_distance"] for one in page]
    before = await settled(scanned)
    await first_page(project.anonymous)
    after = await settled(scanned, past=before)
    assert after[0] == before[0], "no scan of the whole table"
    assert 0 < after[1] - before[1] < 2_000


async def test_the_log_names_the_index_that_is_missing(
    project: ProjectUnderTest, db: Database, database_url: str, tmp_path: Path
) -> None:
    await many(project, db, indexes=[])
    stream = io.StringIO()
    settings = settings_for_tests(tmp_path, slow_query_ms=1)
    async with open_server(settings, database_url, log=Log(stream, level="warning")) as server:
        transport = httpx2.ASGITransport(server.app, client=("127.0.0.1", 40000))
        async with httpx2.AsyncClient(transport=transport, base_url=ORIGIN) as http:
            await first_page(Caller(http, project.anonymous.base))
            async with asyncio.timeout(30):
                while "suggested_index" not in stream.getvalue():
                    await asyncio.sleep(0.02)
    (line,) = [one for one in map(json.loads, stream.getvalue().splitlines()) if one.get("collection")]

    assert {"fields": ["place"]} == line["suggested_index"]


async def many(project: ProjectUnderTest, db: Database, indexes: list[dict[str, Any]]) -> None:
    await project.collection("indexed", fields=FIELDS, rules={"list": "true"}, indexes=indexes)
    table = ident(project.schema, "indexed")
    insert = (
        "insert into {} (id, created_at, updated_at, n, place) select gen_random_uuid(), now(), now(), n,"
        " baas_rt.geo(((n * 7919) % 17000) / 100.0 - 85, ((n * 104729) % 35900) / 100.0 - 179)"
        " from generate_series(1, 20000) n"
    )
    async with db.transaction(statement_timeout_s=60) as tx:
        await tx.execute(sql(insert, table))
        await tx.execute(sql("analyze {}", table))


async def first_page(caller: Caller) -> Any:
    around = {"field": "place", "lat": 52.5, "lon": 13.4}
    answer = await caller.get("collections/indexed/records", params={"near": json.dumps(around), "limit": 10})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def settled(scanned: Callable[[], Awaitable[Any]], past: Any = None) -> Any:
    """The figures of PostgreSQL come a moment later."""
    seen = None
    for _ in range(60):
        now = await scanned()
        if now == seen and now != past:
            return now
        seen = now
        await asyncio.sleep(0.3)
    return seen
