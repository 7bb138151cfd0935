"""How many records one address may create without a sign-in: through every door, and nobody else is counted."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from baas.base.ids import short_id, uuid7
from baas.server import Server, open_server
from tests.support.callers import Caller
from tests.support.settings import settings_for_tests

LIMIT = 3
NOTES = "collections/notes/records"
addresses = itertools.count(1)


@pytest.fixture(scope="module")
async def limited(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server where strangers may create three records in five seconds."""
    settings = settings_for_tests(tmp_path_factory.mktemp("limited"), anonymous_creates_per_address=LIMIT)
    async with open_server(settings, database_url) as server:
        yield server


@pytest.fixture(scope="module")
async def notes(limited: Server, operator: Caller) -> str:
    """A project with notes that everybody may write; where its calls begin."""
    base = f"/v1/projects/creates-{short_id()}"
    whoever = Caller(caller(limited, base).http, base, operator.token)
    assert (await whoever.post("/v1/projects", json={"name": base.rpartition("/")[2]})).status_code == 201
    fields = [{"name": "text", "type": "text", "unique": True}, {"name": "many", "type": "json"}]
    rules = dict.fromkeys(("list", "view", "create", "update"), "true")
    made = await whoever.post("collections", json={"name": "notes", "fields": fields, "rules": rules})
    assert made.status_code == 201, made.text
    return base


def caller(server: Server, base: str, token: str | None = None) -> Caller:
    """Somebody at an address of his own."""
    transport = httpx2.ASGITransport(server.app, client=(f"192.0.2.{next(addresses)}", 40000), raise_app_exceptions=False)
    return Caller(httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000"), base, token)


def note() -> dict[str, str]:
    return {"text": str(uuid7())}


def batch(*operations: tuple[str, str, Any]) -> dict[str, Any]:
    return {
        "operations": [
            {"id": f"o{at}", "method": method, "path": path, "body": body} for at, (method, path, body) in enumerate(operations)
        ]
    }


ONE_BY_ONE = {
    "post": lambda: ("POST", NOTES, {"json": note()}),
    "put": lambda: ("PUT", f"{NOTES}/{uuid7()}", {"json": note()}),
    "what is wrong": lambda: ("POST", NOTES, {"json": {"nothing": 1}}),
}


@pytest.mark.parametrize("door", ONE_BY_ONE)
async def test_a_stranger_is_stopped_for_a_moment(limited: Server, notes: str, door: str) -> None:
    """429 with how long to wait and which rate it is; what does not create goes on, and so does another address."""
    stranger = caller(limited, notes)
    answers = []
    while not answers or answers[-1].status_code != 429:
        assert len(answers) < 50
        method, path, sent = ONE_BY_ONE[door]()
        answers.append(await stranger.request(method, path, **sent))

    answer = answers[-1]
    assert len(answers) > LIMIT
    assert answer.json()["code"] == "rate_limited"
    assert answer.json()["detail"] == "One address may create 3 records without a sign-in in 5 seconds."
    assert answer.headers["ratelimit-policy"] == '"creates";q=3;w=5'
    assert 1 <= int(answer.headers["retry-after"]) <= 5
    assert (await stranger.get(NOTES)).status_code == 200
    assert (await caller(limited, notes).post(NOTES, json=note())).status_code == 201


def many(count: int) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Ways to create so many at once."""
    lines = "\n".join(f'{{"text": "{uuid7()}"}}' for _ in range(count))
    listed = [note() for _ in range(count)]
    return {
        "list": ("POST", NOTES, {"json": listed}),
        "upsert": ("POST", f"{NOTES}/upsert", {"json": {"key": ["text"], "items": [note() for _ in range(count)]}}),
        "import": ("POST", f"{NOTES}/import", {"content": lines, "headers": {"content-type": "application/x-ndjson"}}),
        "batch": ("POST", "batch", {"json": batch(*[("POST", f"/{NOTES}", note()) for _ in range(count)])}),
        "batch of lists": ("POST", "batch", {"json": batch(("POST", f"/{NOTES}", [note() for _ in range(count)]))}),
        "batch in other letters": ("POST", "batch", {"json": batch(("POST", "/collections/notes/%72ecords", listed))}),
        "batch by reference": (
            "POST",
            "batch",
            {"json": batch(("POST", f"/{NOTES}", {"many": listed[1:]}), ("POST", f"/{NOTES}", "@{o0.many}"))},
        ),
    }


@pytest.mark.parametrize("door", many(1))
async def test_what_comes_together_counts_one_by_one(limited: Server, notes: str, door: str) -> None:
    """Or a list, a batch, a file would be a way around (threat model I11). Refused, none of them is written, but of a file
    those before."""
    method, path, sent = many(LIMIT)[door]
    assert (await caller(limited, notes).request(method, path, **sent)).status_code in (200, 201)
    before = (await caller(limited, notes).get(NOTES, params={"count": "exact", "limit": "1"})).json()["total"]
    method, path, sent = many(LIMIT + 1)[door]
    answer = await caller(limited, notes).request(method, path, **sent)

    after = (await caller(limited, notes).get(NOTES, params={"count": "exact", "limit": "1"})).json()["total"]
    if door == "import":
        assert (429, "rate_limited") == (answer.status_code, answer.json()["code"])
        assert (LIMIT, LIMIT + 1) == (after - before, answer.json()["report"]["resume"])
    else:
        assert (422, "limit_exceeded") == (answer.status_code, answer.json()["code"])
        assert answer.json()["errors"]
        assert "retry-after" not in answer.headers
        assert before == after


async def test_an_import_gets_through_in_time(limited: Server, notes: str) -> None:
    """Sent again under its key, what was written before is not counted; nor is what is only tried."""
    method, path, sent = many(LIMIT + 1)["import"]
    for _ in range(2):
        tried = await caller(limited, notes).request(method, path, params={"dry_run": "true"}, **sent)
        assert (200, LIMIT + 1) == (tried.status_code, tried.json()["created"])

    sent["headers"]["idempotency-key"] = short_id()
    stranger, answers = caller(limited, notes), []
    async with asyncio.timeout(30):
        while not answers or answers[-1].status_code == 429:
            answers.append(await stranger.request(method, path, **sent))
            await asyncio.sleep(1)
    assert (200, LIMIT + 1) == (answers[-1].status_code, answers[-1].json()["created"])


async def test_who_is_known_is_not_counted(limited: Server, notes: str, operator: Caller) -> None:
    """A user has a name to be held to, and limits of his own project's making."""
    one = caller(limited, notes, operator.token)
    email, password = "known@example.com", "correct horse battery"
    assert (await one.post("users", json={"email": email, "password": password})).status_code == 201
    session = (await caller(limited, notes).post("auth/sign-in", json={"email": email, "password": password})).json()
    user = caller(limited, notes, session["access_token"])

    assert [201] * 6 == [(await user.post(NOTES, json=note())).status_code for _ in range(6)]
