"""What a query may cost, who is told what it cost, and what the log says of slow ones."""

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from baas.infra.db.pool import Database
from baas.infra.db.sql import ident, sql
from baas.infra.observe.log import Log
from baas.server import Server, open_server
from tests.conftest import ORIGIN
from tests.support.callers import Caller, ProjectUnderTest
from tests.support.settings import settings_for_tests

OPEN = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")
LIST = "collections/things/records"
COUNT = {"select": {"n": "count()"}}


async def things(project: ProjectUnderTest, db: Database, count: int = 0) -> None:
    fields = [{"name": "title", "type": "text"}, {"name": "int", "type": "int"}]
    await project.collection("things", fields, OPEN | {"list": "record.int != 7 || auth != null"})
    insert = (
        "insert into {} (id, created_at, updated_at, title, int) select gen_random_uuid(), now(), now(), 't' || n, n"
        " from generate_series(1, {}::int) n"
    )
    async with db.transaction(statement_timeout_s=60) as tx:
        await tx.execute(sql(insert, ident(project.schema, "things"), count))
        await tx.execute(sql("analyze {}", ident(project.schema, "things")))


@contextlib.asynccontextmanager
async def locked(project: ProjectUnderTest, db: Database) -> AsyncIterator[None]:
    """Nobody reads the records meanwhile: the surest slow query."""
    async with db.transaction() as tx:
        await tx.execute(sql("lock table {} in access exclusive mode", ident(project.schema, "things")))
        yield


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("statement_timeout_ms", 49, "out_of_range"),
        ("statement_timeout_ms", 5001, "out_of_range"),
        ("list_timeout_ms", 0, "out_of_range"),
        ("list_timeout_ms", "1000", "wrong_type"),
        ("anonymous_cost", -1, "out_of_range"),
        ("anonymous_cost", True, "wrong_type"),
        ("anonymous_cost", 10**13, "out_of_range"),
    ],
)
async def test_limits_are_checked(project: ProjectUnderTest, name: str, value: object, code: str) -> None:
    answer = await project.operator.patch("settings", json={"limits": {name: value}})
    assert 422 == answer.status_code
    assert [(f"/limits/{name}", code)] == [(one["pointer"], one["code"]) for one in answer.json()["errors"]]


async def test_a_query_that_takes_too_long_is_ended(project: ProjectUnderTest, db: Database) -> None:
    """What the caller asked for is his to change (422); a plain page that cannot be had is not (503)."""
    await things(project, db)
    await project.settings(limits={"list_timeout_ms": 60})
    async with locked(project, db):
        for answer in (
            await project.anonymous.get(LIST, params={"filter": "int == 1"}),
            await project.anonymous.post(f"{LIST}/query", json={"sort": "-int"}),
            await project.anonymous.get(LIST, params={"count": "exact"}),
            await project.anonymous.post(f"{LIST}/aggregate", json=COUNT),
        ):
            assert (422, "query_too_slow", 60) == (answer.status_code, answer.json()["code"], answer.json()["limit_ms"])
        plain = await project.anonymous.get(LIST)
        assert (503, "query_timeout") == (plain.status_code, plain.json()["code"])
        assert plain.headers["retry-after"]
    assert 200 == (await project.anonymous.get(LIST)).status_code


async def test_the_limit_of_lists_is_for_callers_under_rules(project: ProjectUnderTest, db: Database) -> None:
    await things(project, db)
    await project.settings(limits={"list_timeout_ms": 50})
    async with locked(project, db):
        waiting = asyncio.create_task(project.operator.get(LIST, params={"filter": "int == 1"}))
        await asyncio.sleep(0.4)
        assert not waiting.done()
    assert 200 == (await waiting).status_code


async def test_every_statement_on_records_has_the_projects_limit(project: ProjectUnderTest, db: Database) -> None:
    await things(project, db)
    made = await project.operator.create("things", {"int": 1})
    await project.settings(limits={"statement_timeout_ms": 60})
    async with locked(project, db):
        for answer in (
            await project.operator.get(f"{LIST}/{made['id']}"),
            await project.operator.post(LIST, json={"int": 2}),
            await project.operator.post(LIST, json=[{"int": 2}]),
            await project.operator.patch(f"{LIST}/{made['id']}", json={"int": 2}),
            await project.operator.put(f"{LIST}/{made['id']}", json={"int": 2}),
            await project.operator.delete(f"{LIST}/{made['id']}"),
        ):
            assert (503, "query_timeout") == (answer.status_code, answer.json()["code"])
    assert 1 == len(await project.operator.list("things")), "what was ended wrote nothing"


async def test_connections_live_on_after_an_ended_statement(project: ProjectUnderTest, db: Database) -> None:
    """Many at once, more than the pool has: afterwards every connection answers, and with the right answer."""
    await things(project, db, 5)
    await project.settings(limits={"list_timeout_ms": 80})
    asked = [{"filter": f"int == {n % 5 + 1}"} for n in range(30)]
    async with locked(project, db):
        answers = await asyncio.gather(*(project.anonymous.get(LIST, params=one) for one in asked))
        assert {422} <= {one.status_code for one in answers} <= {422, 503}
    answers = await asyncio.gather(*(project.anonymous.get(LIST, params=one) for one in asked))
    assert [[n % 5 + 1] for n in range(30)] == [[item["int"] for item in one.json()["items"]] for one in answers]


async def test_costly_queries_are_not_for_anonymous_callers(
    project: ProjectUnderTest, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the plan alone, before it is run; known texts cost no second question."""
    await things(project, db, 5000)
    user = await project.user()
    plans = []
    plan = db.plan

    async def counted(statement: Any) -> str:
        plans.append(statement.text)
        return await plan(statement)

    monkeypatch.setattr(db, "plan", counted)
    costly = {"filter": "title.contains('x')", "sort": "title"}
    for _ in range(3):
        assert 200 == (await project.anonymous.get(LIST, params=costly)).status_code, "the default is generous"
    assert 200 == (await project.anonymous.get(LIST, params=costly | {"filter": "title.contains('y')"})).status_code
    assert 1 == len(plans)
    await project.settings(limits={"anonymous_cost": 50})
    for answer in (
        await project.anonymous.get(LIST, params=costly),
        await project.anonymous.post(f"{LIST}/query", json=costly),
        await project.anonymous.post(f"{LIST}/aggregate", json=COUNT),
        await project.anonymous.get(f"{LIST}/export"),
    ):
        assert (422, "query_too_expensive") == (answer.status_code, answer.json()["code"])
        assert not [key for key in answer.json() if key in ("cost", "limit")], "the estimate knows of hidden records"
    assert 200 == (await project.anonymous.get(LIST, params={"limit": 1})).status_code
    assert 200 == (await user.get(LIST, params=costly)).status_code
    assert 200 == (await project.operator.get(LIST, params=costly)).status_code
    await project.settings(limits={"anonymous_cost": 0})
    assert 200 == (await project.anonymous.get(LIST, params=costly)).status_code


async def test_a_plan_leaves_nothing_behind(project: ProjectUnderTest, db: Database) -> None:
    """Statements that cannot be planned neither; the next plan on the same connection is as the first."""
    await things(project, db, 10)
    await project.settings(limits={"anonymous_cost": 10**6})
    for n in range(1, 20):
        answer = await project.anonymous.get(LIST, params={"filter": " && ".join(["int == 1"] * n), "limit": n})
        assert 200 == answer.status_code, answer.text
    assert 0 == await db.fetch_value(sql("select count(*) from pg_prepared_statements where name = 'baas_plan'"))
    assert "auto" == await db.fetch_value(sql("select current_setting('plan_cache_mode')"))


async def test_only_those_who_run_it_learn_how_long_it_took(project: ProjectUnderTest, db: Database) -> None:
    await things(project, db)
    await project.operator.list("things")  # from here the definitions are known
    for caller in (project.operator, await project.key("records")):
        timing = (await caller.get(LIST)).headers["server-timing"]
        parts = dict(one.strip().split(";", 1) for one in timing.split(","))
        assert {"db", "app"} == set(parts)
        assert 0 < float(parts["db"].split(";")[0].removeprefix("dur=")) < 5000
        assert 'desc="statements: 1"' in parts["db"]
    for caller in (project.anonymous, await project.user()):
        assert "server-timing" not in (await caller.get(LIST)).headers


async def test_slow_queries_are_in_the_log_with_their_plan(
    project: ProjectUnderTest, db: Database, database_url: str, tmp_path: Path, operator: Caller
) -> None:
    """Collection, rule, plan and the index that is missing; nothing that a caller sent; each statement once."""
    await things(project, db, 20_000)
    stream = io.StringIO()
    settings = settings_for_tests(tmp_path, slow_query_ms=1)
    async with open_server(settings, database_url, log=Log(stream, level="warning")) as server:
        transport = httpx2.ASGITransport(server.app, client=("127.0.0.1", 40000))
        async with httpx2.AsyncClient(transport=transport, base_url=ORIGIN) as http:
            caller = Caller(http, project.anonymous.base)
            for value in range(5):
                params = {"filter": "title == $t", "vars": json.dumps({"t": f"needle{value}"}), "sort": "-int"}
                answer = await caller.get(LIST, params=params)
                assert 200 == answer.status_code, answer.text
            async with asyncio.timeout(30):
                while "suggested_index" not in stream.getvalue():
                    await asyncio.sleep(0.02)
            metrics = await http.get("/metrics", headers={"authorization": f"Bearer {operator.token}"})
    (line,) = [one for one in map(json.loads, stream.getvalue().splitlines()) if one.get("collection")]
    assert "slow_query" == line["event"]
    assert ("things", "list", "record.int != 7 || auth != null") == (line["collection"], line["action"], line["rule"])
    assert {"fields": ["title", "-int"]} == line["suggested_index"]
    assert "Seq Scan on things" in line["plan"]
    assert line["ms"] > 1
    assert "needle" not in stream.getvalue()
    count = next(one for one in metrics.text.splitlines() if one.startswith("baas_slow_queries_total"))
    assert float(count.rpartition(" ")[2]) >= 1
    await project.operator.patch("collections/things", json={"indexes": [line["suggested_index"]]})
    assert 200 == (await project.anonymous.get(LIST, params={"filter": "title == 'a'"})).status_code


async def test_the_server_ends_statements_at_its_own_limit(
    project: ProjectUnderTest, db: Database, database_url: str, tmp_path: Path
) -> None:
    """`statement_timeout_s` is PostgreSQL's own limit, and the ceiling of what projects set."""
    await things(project, db)
    async with open_server(settings_for_tests(tmp_path, statement_timeout_s=0.2), database_url) as server:
        await _ends_after(server, project, db)


async def _ends_after(server: Server, project: ProjectUnderTest, db: Database) -> None:
    transport = httpx2.ASGITransport(server.app, client=("127.0.0.1", 40000))
    async with httpx2.AsyncClient(transport=transport, base_url=ORIGIN) as http:
        caller = Caller(http, project.operator.base, project.operator.token)
        limits = (await caller.get("settings")).json()["limits"]
        assert (200, 200) == (limits["statement_timeout_ms"], limits["list_timeout_ms"])
        async with locked(project, db):
            answer = await caller.get(LIST)
            assert (503, "query_timeout") == (answer.status_code, answer.json()["code"])
