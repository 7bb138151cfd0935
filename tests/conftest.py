"""One PostgreSQL of each kind per run, one database per worker, one project per test."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import astuple
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx2
import pytest
import uvicorn

from baas.base.ids import short_id
from baas.base.settings import Settings
from baas.infra.db.embedded.extensions import give_extensions
from baas.infra.db.embedded.rights import settle_rights
from baas.infra.db.pool import Database
from baas.infra.db.sql import sql
from baas.server import Server, open_server
from tests.support.callers import Caller, ProjectUnderTest
from tests.support.engines import Engine, engines_of, start_engines
from tests.support.settings import settings_for_tests
from tests.support.tasks import none_left

STRICT = bool(os.environ.get("BAAS_TEST_STRICT"))
"""Set in CI: what a test needs and does not find is a failure there, a loud skip elsewhere."""

ORIGIN = "http://127.0.0.1:8000"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", help="Repeat a test of faults with the seed that it printed.")


def pytest_configure(config: pytest.Config) -> None:
    """The process that starts the run starts the engines; the workers are told of them."""
    if hasattr(config, "workerinput"):
        config.engines = {name: Engine(*values) for name, values in config.workerinput["engines"].items()}
    elif not config.option.collectonly:
        config.running = contextlib.ExitStack()
        config.engines = config.running.enter_context(start_engines())


def pytest_configure_node(node: Any) -> None:
    node.workerinput["engines"] = {name: astuple(one) for name, one in node.config.engines.items()}


def pytest_unconfigure(config: pytest.Config) -> None:
    if hasattr(config, "running"):
        config.running.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "engine" in metafunc.fixturenames:
        module = metafunc.definition.path.relative_to(Path(__file__).parents[1]).as_posix()
        metafunc.parametrize("engine", engines_of(module), indirect=True, scope="session")


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> Engine:
    """The engine in turn, of those that the module runs on: the embedded one, and the system's PostgreSQL where there is one."""
    return request.config.engines[request.param]


@contextlib.asynccontextmanager
async def empty_database(engine: Engine) -> AsyncIterator[str]:
    """A database of its own, for the server's login, dropped at the end."""
    name = await _make_database(engine)
    try:
        yield engine.url(name)
    finally:
        await _drop_database(engine, name)


async def _make_database(engine: Engine) -> str:
    name = f"test_{short_id()}"
    login = str(urlsplit(engine.url(name)).username)
    await _as_admin(engine, f'create database {name} owner "{login}"')
    if engine.admin_url != engine.server:
        await _settle(engine.admin_url.rpartition("/")[0] + f"/{name}", login)
    return name


async def _drop_database(engine: Engine, name: str) -> None:
    await _as_admin(engine, f"drop database {name} with (force)")


async def _as_admin(engine: Engine, statement: str) -> None:
    """Not through our own pool: making a database may take longer than any request may."""
    connection = await asyncpg.connect(engine.admin_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _settle(url: str, login: str) -> None:
    """What an embedded PostgreSQL does in the server's database at its start."""
    connection = await asyncpg.connect(url)
    try:
        await settle_rights(connection, login)
        await give_extensions(connection, login)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
async def database_url(engine: Engine) -> AsyncIterator[str]:
    """The database of this worker. It goes with its engine: to drop its thousands of tables takes half a minute."""
    name = await _make_database(engine)
    yield engine.url(name)
    if engine.given:
        await _drop_database(engine, name)


@pytest.fixture
async def empty_url(engine: Engine) -> AsyncIterator[str]:
    """A database that no server has seen."""
    async with empty_database(engine) as url:
        yield url


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_for_tests(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
async def server(database_url: str, settings: Settings) -> AsyncIterator[Server]:
    """Every part of the server, assembled as in production."""
    async with open_server(settings, database_url) as server:
        yield server


@pytest.fixture(scope="session")
def db(server: Server) -> Database:
    """The server's own pool on its migrated database, for what only SQL can show."""
    return server.db


@pytest.fixture(scope="session")
async def http(server: Server) -> AsyncIterator[httpx2.AsyncClient]:
    """A client on the server's application in this process, as from an address of its own."""
    transport = httpx2.ASGITransport(server.app, client=("127.0.0.1", 40000), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url=ORIGIN) as client:
        yield client


@pytest.fixture(scope="session")
async def server_url(server: Server) -> AsyncIterator[str]:
    """The same application behind a real socket on loopback, for the SDK, the CLI and browsers."""
    listener = socket.create_server(("127.0.0.1", 0))
    # asyncio sets this itself only on sockets that it made; without it every second small answer waits 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    uvicorn_server = uvicorn.Server(uvicorn.Config(server.app, lifespan="off", log_config=None, timeout_graceful_shutdown=1))
    serving = asyncio.create_task(uvicorn_server.serve(sockets=[listener]))
    while not uvicorn_server.started:
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    uvicorn_server.should_exit = True
    await serving


@pytest.fixture(scope="session")
async def operator(server: Server, http: httpx2.AsyncClient) -> Caller:
    """The operator of this worker's installation."""
    email = "operator@example.com"
    await server.operators.create(email, "operator password")
    answer = await http.post("/v1/operators/sign-in", json={"email": email, "password": "operator password"})
    assert answer.status_code == 200, answer.text
    return Caller(http, "/v1", answer.json()["token"], email=email)


@pytest.fixture
async def project(operator: Caller, db: Database) -> AsyncIterator[ProjectUnderTest]:
    """A project that no other test knows. What a failed test left at work on it is ended."""
    name = f"t-{short_id()}"
    answer = await operator.post("projects", json={"name": name})
    assert answer.status_code == 201, answer.text
    schema = await db.fetch_value(sql("select schema from baas.projects where name = {}", name))
    base = f"/v1/projects/{name}"
    async with none_left():
        yield ProjectUnderTest(
            name, answer.json()["id"], schema, Caller(operator.http, base, operator.token), Caller(operator.http, base)
        )


@pytest.fixture(scope="session")
def conformance_cases() -> Path:
    """The common expression language's own cases, kept beside the checkout."""
    path = Path(__file__).parents[2] / "shared" / "data" / "cel-conformance.json"
    if not path.exists():
        missing("the conformance cases (cel-conformance.json)")
    return path


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium to drive."""
    path = os.environ.get("BAAS_TEST_CHROMIUM", "/usr/bin/chromium")
    if not Path(path).exists():
        missing("Chromium (on Debian: apt install chromium; elsewhere set BAAS_TEST_CHROMIUM)")
    return path


def missing(what: str) -> None:
    """Skip for want of a tool, or fail where everything is supposed to be there."""
    (pytest.fail if STRICT else pytest.skip)(f"needs {what}")
