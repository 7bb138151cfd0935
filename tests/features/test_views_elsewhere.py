"""Views on a PostgreSQL that is not embedded: with a login that may make roles, and with one that may not."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx2
import pytest

from baas.base.ids import short_id
from baas.infra.db.sql import sql
from baas.server import Server, open_server
from tests.support.callers import Caller
from tests.support.engines import Engine
from tests.support.settings import settings_for_tests


@asynccontextmanager
async def installation(engine: Engine, folder: Path, rights: str) -> AsyncIterator[tuple[Server, Caller]]:
    """A server whose login owns its database and has these rights, and its operator at a project `app`."""
    name = f"elsewhere_{short_id()}"
    admin = await asyncpg.connect(engine.admin_url)
    await admin.execute(f"create role {name} login nosuperuser {rights} password 'x'")
    await admin.execute(f"create database {name} owner {name}")
    parts = urlsplit(engine.url(name))
    url = parts._replace(netloc=f"{name}:x@{parts.netloc.rpartition('@')[2]}").geturl()
    try:
        async with open_server(settings_for_tests(folder), url) as server:
            await server.operators.create("a@example.com", "operator password")
            transport = httpx2.ASGITransport(server.app, client=("127.0.0.1", 1))
            async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:
                known = {"email": "a@example.com", "password": "operator password"}
                signed = await http.post("/v1/operators/sign-in", json=known)
                operator = Caller(http, "/v1/projects/app", signed.json()["token"])
                assert (await operator.post("/v1/projects", json={"name": "app"})).status_code == 201
                yield server, operator
    finally:
        await admin.execute(f"drop database {name} with (force)")
        await admin.execute(f"drop role {name}")
        await admin.close()


VIEW = {"name": "v", "view": {"sql": "select id, email from users"}, "rules": {"list": "true"}}


@pytest.mark.parametrize("rights", ["createrole"])
async def test_a_login_that_makes_roles_has_views(engine: Engine, tmp_path: Path, rights: str) -> None:
    """On any PostgreSQL since 15; the reader goes with the project."""
    async with installation(engine, tmp_path, rights) as (server, operator):
        made = await operator.post("collections", json=VIEW)
        assert made.status_code == 201, made.text
        await operator.post("users", json={"email": "u@example.com", "password": "a long password"})
        assert [row["email"] for row in await operator.list("v")] == ["u@example.com"]
        stolen = {"name": "w", "view": {"sql": "select id, set_config('role', current_user, false) as r from users"}}
        assert (await operator.post("collections", json=stolen)).status_code == 422
        schema = await server.db.fetch_value(sql("select schema from baas.projects"))
        assert (await operator.delete("/v1/projects/app", params={"confirm": "app"})).status_code == 204
        assert not await server.db.fetch_value(sql("select true from pg_roles where rolname = {}", f"{schema}_reader"))


async def test_a_login_that_makes_no_roles_has_everything_else(engine: Engine, tmp_path: Path) -> None:
    """A view is refused in plain words; collections, records and the end of a project are as ever."""
    async with installation(engine, tmp_path, "nocreaterole") as (_, operator):
        refused = await operator.post("collections", json=VIEW)
        assert (refused.status_code, refused.json()["code"]) == (409, "views_unavailable")
        assert "createrole" in refused.json()["hint"]
        fields = [{"name": "title", "type": "text"}]
        assert (await operator.post("collections", json={"name": "posts", "fields": fields})).status_code == 201
        await operator.create("posts", {"title": "A"})
        assert (await operator.delete("/v1/projects/app", params={"confirm": "app"})).status_code == 204
