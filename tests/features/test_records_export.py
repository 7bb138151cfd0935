"""Exports: whole files of what a caller may list, sent in pieces; cut ones are told from whole ones."""

import asyncio
import csv
import io
import json
import tracemalloc
from typing import Any

import httpx2
import pytest

from baas.infra.db.pool import Database
from baas.infra.db.sql import ident, sql
from baas.server import Server
from tests.support.callers import ProjectUnderTest

OPEN = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")
PATH = "collections/things/records/export"
FIELDS = [
    {"name": "text", "type": "text"},
    {"name": "int", "type": "int"},
    {"name": "float", "type": "float"},
    {"name": "decimal", "type": "decimal"},
    {"name": "bool", "type": "bool"},
    {"name": "date", "type": "date"},
    {"name": "datetime", "type": "datetime"},
    {"name": "tags", "type": "select", "values": ["a", 'b,"c'], "many": True},
    {"name": "json", "type": "json"},
]
ROWS: list[dict[str, Any]] = [
    {},
    {"text": "", "int": 0, "float": 0.1, "decimal": "0", "bool": False, "tags": [], "json": {}},
    {"text": 'a "quoted", line\r\nand = another\n', "int": str(2**63 - 1), "float": 1e300, "decimal": "1.50", "bool": True},
    {
        "text": "null",
        "date": "2026-02-28",
        "datetime": "2026-11-20T10:31:07.104233Z",
        "tags": ['b,"c', "a"],
        "json": [1, "é\n\u2028", None],
    },
    {"text": "=1+1", "json": "text"},
]


async def things(project: ProjectUnderTest, rows: list[dict[str, Any]] = ROWS, **more: Any) -> None:
    await project.collection("things", FIELDS, OPEN, **more)
    answer = await project.operator.post("collections/things/records", json=rows)
    assert answer.status_code == 201, answer.text


async def many(project: ProjectUnderTest, db: Database, count: int, *, width: int = 100) -> None:
    """Records by the thousand, past the API."""
    await things(project, [])
    table = ident(project.schema, "things")
    async with db.transaction(statement_timeout_s=60) as tx:
        await tx.execute(
            sql(
                "insert into {} (id, created_at, updated_at, text, int) select gen_random_uuid(), now(), now(),"
                " repeat('x', {}::int), n from generate_series(1, {}::int) n",
                table,
                width,
                count,
            )
        )


async def test_lines_of_json_are_the_records_of_the_list(project: ProjectUnderTest) -> None:
    await things(project)
    answer = await project.anonymous.get(PATH)
    assert 200 == answer.status_code, answer.text
    assert "application/x-ndjson" == answer.headers["content-type"]
    assert 'attachment; filename="things.ndjson"' == answer.headers["content-disposition"]
    assert "nosniff" == answer.headers["x-content-type-options"]
    assert "no-store" == answer.headers["cache-control"]
    assert answer.content.endswith(b"\n")
    assert await project.anonymous.list("things") == [json.loads(line) for line in answer.text.removesuffix("\n").split("\n")]


async def test_csv_is_by_rfc_4180_and_tells_null_from_nothing(project: ProjectUnderTest) -> None:
    await things(project)
    answer = await project.anonymous.get(
        PATH, params={"format": "csv", "fields": "text,int,float,decimal,bool,date,datetime,tags,json"}
    )
    assert "text/csv; charset=utf-8; header=present" == answer.headers["content-type"]
    assert 'attachment; filename="things.csv"' == answer.headers["content-disposition"]
    lines = answer.content.decode().split("\r\n")
    assert "text,int,float,decimal,bool,date,datetime,tags,json" == lines[0]
    assert ",,,,,,,," == lines[1]
    assert '"",0,0.1,0,false,,,"[]","{}"' == lines[2]
    read = list(csv.DictReader(io.StringIO(answer.content.decode(), newline="")))
    for row, sent in zip(read, ROWS, strict=True):
        for name, value in sent.items():
            match value:
                case bool():
                    assert row[name] == str(value).lower()
                case list() | dict():
                    assert json.loads(row[name]) == value
                case str() if name == "json":
                    assert json.loads(row[name]) == value
                case float():
                    assert float(row[name]) == value
                case _:
                    assert row[name] == str(value)


async def test_filter_sort_and_fields(project: ProjectUnderTest) -> None:
    await things(project, [{"int": n, "text": "ab"[n % 2]} for n in range(10)])
    params = {"filter": "int > $n", "vars": '{"n": 4}', "sort": "text,-int", "fields": "int"}
    answer = await project.anonymous.get(PATH, params=params)
    assert [8, 6, 9, 7, 5] == [json.loads(line)["int"] for line in answer.text.splitlines()]
    answer = await project.anonymous.get(PATH, params=params | {"format": "csv"})
    assert "int\r\n8\r\n6\r\n9\r\n7\r\n5\r\n" == answer.text


async def test_nothing_is_an_empty_file(project: ProjectUnderTest) -> None:
    await things(project, [])
    assert b"" == (await project.anonymous.get(PATH)).content
    assert b"int\r\n" == (await project.anonymous.get(PATH, params={"format": "csv", "fields": "int"})).content


async def test_rules_and_gates_hold(project: ProjectUnderTest) -> None:
    user = await project.user()
    await project.collection(
        "things",
        [
            {"name": "owner", "type": "relation", "to": "users"},
            {"name": "wage", "type": "int", "read": "record.owner == auth.id"},
            {"name": "never", "type": "int", "read": "auth != null && auth.collection == 'robots'"},
            {"name": "secret", "type": "text", "hidden": True},
            {"name": "public", "type": "bool"},
        ],
        OPEN | {"list": "record.owner == auth.id || record.public"},
    )
    rows = [
        {"owner": user.id, "wage": 1, "never": 1, "secret": "s"},
        {"public": True, "wage": 2, "never": 2, "secret": "s"},
        {"wage": 3, "never": 3, "secret": "s"},
    ]
    await project.operator.post("collections/things/records", json=rows)
    answer = await user.get(PATH)
    assert await user.list("things") == [json.loads(line) for line in answer.text.splitlines()]
    answer = await user.get(PATH, params={"format": "csv"})
    read = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [("1", ""), ("", "")] == [(one["wage"], one["never"]) for one in read]
    assert "secret" not in read[0]
    whole = list(csv.DictReader(io.StringIO((await project.operator.get(PATH, params={"format": "csv"})).text, newline="")))
    assert [("1", "1", "s"), ("2", "2", "s"), ("3", "3", "s")] == [(one["wage"], one["never"], one["secret"]) for one in whole]


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({"format": "xml"}, 400, "bad_parameter"),
        ({"filter": "nope == 1"}, 400, "bad_filter"),
        ({"fields": "nope"}, 400, "bad_fields"),
        ({"fields": "owner.email"}, 400, "bad_fields"),
        ({"sort": "nope"}, 400, "bad_sort"),
        ({"limit": "5"}, 400, "bad_parameter"),
        ({"expand": "owner"}, 400, "bad_parameter"),
        ({"filter": "int == $n"}, 400, "bad_filter"),
    ],
)
async def test_what_is_wrong_is_said_before_the_file_begins(
    project: ProjectUnderTest, params: dict[str, str], status: int, code: str
) -> None:
    await things(project, [])
    answer = await project.anonymous.get(PATH, params=params)
    assert (status, code) == (answer.status_code, answer.json()["code"])
    assert "content-disposition" not in answer.headers


async def test_a_locked_list_is_answered_as_by_list(project: ProjectUnderTest) -> None:
    await things(project, [])
    await project.operator.patch("collections/things", json={"rules": {"list": None}})
    denied = await project.anonymous.get(PATH)
    assert 403 == denied.status_code
    explained = await project.operator.post("rules/explain", json={"request": denied.json()["request_id"]})
    assert 200 == explained.status_code, explained.text
    assert 200 == (await project.operator.get(PATH)).status_code


async def test_a_large_file_takes_little_memory(project: ProjectUnderTest, db: Database, server: Server) -> None:
    """200,000 records, 50 MB: the server never holds more than a few pieces of them."""
    await many(project, db, 200_000)
    sizes: list[int] = []
    scope = _scope(project, "format=ndjson")

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            sizes.append(len(message.get("body", b"")))

    tracemalloc.start()
    try:
        await server.app(scope, _never, send)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(sizes) > 40_000_000
    assert len(sizes) > 500
    assert max(sizes) < 1_000_000
    assert peak < 10_000_000, peak


async def test_a_file_shows_one_moment(project: ProjectUnderTest, db: Database, server_url: str) -> None:
    """Records that change or go while the file is sent are in it as they were."""
    await many(project, db, 20_000)
    table = ident(project.schema, "things")
    count = 0
    url = f"{server_url}{project.anonymous.base}/{PATH}"
    async with httpx2.AsyncClient() as client, client.stream("GET", url, params={"fields": "int"}) as answer:
        lines = answer.aiter_lines()
        await anext(lines)
        await db.execute(sql("delete from {} where int % 2 = 0", table))
        await db.execute(sql("update {} set int = -1", table))
        async for line in lines:
            count += 1
            assert json.loads(line)["int"] > 0
    assert 19_999 == count


async def test_only_so_many_at_once_and_a_lost_client_makes_room(
    project: ProjectUnderTest, db: Database, server: Server, server_url: str
) -> None:
    """Two are under way, the third hears 503; when one client goes, its place and its connection are free at once."""
    await many(project, db, 30_000, width=2000)
    url = f"{server_url}{project.anonymous.base}/{PATH}"
    async with httpx2.AsyncClient() as client:
        requests = [client.build_request("GET", url) for _ in range(2)]
        answers = [await client.send(one, stream=True) for one in requests]
        assert [200, 200] == [one.status_code for one in answers]
        third = await project.anonymous.get(PATH)
        assert (503, "too_many_exports") == (third.status_code, third.json()["code"])
        assert third.headers["retry-after"]
        await _until(db, 2)  # between two portions; while one is fetched its transaction is not idle
        await answers[0].aclose()
        await _until(db, 1)
        async with asyncio.timeout(20):  # PostgreSQL knows of the end a moment before the server does
            while (await project.anonymous.get(PATH, params={"filter": "int < 0"})).status_code != 200:
                await asyncio.sleep(0.01)
        await answers[1].aclose()
        await _until(db, 0)


async def test_a_client_that_takes_nothing_is_cut(project: ProjectUnderTest, db: Database, server: Server) -> None:
    await many(project, db, 2_000)
    exports = next(one.app.__self__ for one in server.app.endpoints if one.path.endswith("/export"))  # type: ignore[attr-defined]
    before, exports._idle_s = exports._idle_s, 0.2
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)
        if len(messages) == 3:
            await asyncio.sleep(60)

    try:
        async with asyncio.timeout(30):
            await server.app(_scope(project), _never, send)
    finally:
        exports._idle_s = before
    assert 3 == len(messages)
    assert messages[-1]["more_body"] is True, "a cut file has no last piece"
    assert 0 == await _open_exports(db)


async def _open_exports(db: Database) -> int:
    query = "select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'"
    return int(await db.fetch_value(sql(query)))


async def _until(db: Database, count: int) -> None:
    async with asyncio.timeout(30):
        while await _open_exports(db) != count:
            await asyncio.sleep(0.02)


async def _never() -> Any:
    await asyncio.sleep(3600)


def _scope(project: ProjectUnderTest, query: str = "") -> dict[str, Any]:
    path = f"{project.anonymous.base}/{PATH}"
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1:8000")],
        "client": ("127.0.0.1", 40001),
        "server": ("127.0.0.1", 8000),
    }
