"""Many subscribers whose rule looks at other records: asked about by one statement, and told what each of them may see."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from baas.features.realtime import service
from baas.infra.db.errors import StatementTimedOut
from baas.infra.db.pool import Database
from baas.infra.db.sql import Sql, Statement
from tests.support.callers import Caller, ProjectUnderTest
from tests.support.stream import Following, follow

MEMBER = 'auth != null && record.team != null && rows("members").exists(m, m.team == record.team && m.user == auth.id)'
MEMBERS = [{"name": "team", "type": "relation", "to": "teams"}, {"name": "user", "type": "relation", "to": "users"}]
CARDS = [
    {"name": "title", "type": "text"},
    {"name": "team", "type": "relation", "to": "teams"},
    {"name": "secret", "type": "text", "read": "auth != null && record.team.lead == auth.id"},
]


async def _world(project: ProjectUnderTest, users: int, **more: Any) -> tuple[list[Caller], list[str]]:
    """Users and two teams: everybody is in the first, the even ones in the second too, which the first user leads."""
    callers: list[Caller] = []
    while len(callers) < users:  # the server hashes few passwords at once
        callers += await asyncio.gather(*(project.user() for _ in range(min(8, users - len(callers)))))
    await project.collection("teams", [{"name": "lead", "type": "relation", "to": "users"}], {"list": "true", "view": "true"})
    await project.collection("members", MEMBERS)
    await project.collection("cards", CARDS, {"list": MEMBER, "view": MEMBER}, **more)
    teams = [(await project.operator.create("teams", {"lead": callers[0].id}))["id"] for _ in range(2)]
    of = [{"team": teams[0], "user": one.id} for one in callers] + [{"team": teams[1], "user": one.id} for one in callers[::2]]
    answer = await project.operator.post("collections/members/records", json=of)
    assert answer.status_code == 201, answer.text
    return callers, teams


@contextlib.asynccontextmanager
async def _all_follow(url: str, project: ProjectUnderTest, callers: Sequence[Caller], **asked: Any) -> Any:
    subscribe = [{"id": "a", "collection": "cards", "initial": True, **asked}]
    async with contextlib.AsyncExitStack() as stack:
        opening = [follow(url, project.name, subscribe, token=one.token, by_body=True) for one in callers]
        streams: list[Following] = [await stack.enter_async_context(one) for one in opening]
        for stream in streams:
            await stream.until_named("snapshot")
        yield streams


@contextlib.contextmanager
def _statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The texts of what the server asks the database meanwhile."""
    texts: list[str] = []

    def counted(ask: Callable[..., Any]) -> Callable[..., Any]:
        async def asked(self: Database, query: Sql | Statement, *more: Any, **named: Any) -> Any:
            texts.append((query.render() if isinstance(query, Sql) else query).text)
            return await ask(self, query, *more, **named)

        return asked

    with monkeypatch.context() as patch:
        for name in ("fetch", "fetch_row", "fetch_value", "execute"):
            patch.setattr(Database, name, counted(getattr(Database, name)))
        yield texts


async def test_one_statement_asks_for_all_subscribers(
    server_url: str, project: ProjectUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What other records decide is one question an event, however many there are to be told."""
    callers, teams = await _world(project, 24)
    async with _all_follow(server_url, project, callers) as streams:
        with _statements(monkeypatch) as texts:
            for at in range(6):
                await project.operator.create("cards", {"title": f"{at}", "team": teams[1]})
                for stream in streams[::2]:
                    await stream.until(lambda stream=stream, at=at: len(stream.held["a"]) == at + 1)
            asked = [text for text in texts if '"asker"' in text]
        assert all(stream.actions == [] for stream in streams[1::2])
        assert 6 <= len(asked) <= 12


async def test_random_members_and_cards_are_told_right(server_url: str, project: ProjectUnderTest) -> None:
    """Folded streams of many who see different things equal their lists; a field that another record opens is in them."""
    pick = random.Random(7)
    callers, teams = await _world(project, 10)
    operator, cards = project.operator, list[str]()
    members = [one["id"] for one in await operator.list("members", limit=500)]
    async with _all_follow(server_url, project, callers, filter="title != 'c'") as streams:
        for _ in range(3):
            for _ in range(15):
                body = {"title": pick.choice("abc"), "team": pick.choice([*teams, None]), "secret": "x"}
                match pick.randrange(5):
                    case 0:
                        cards.append((await operator.create("cards", body))["id"])
                    case 1 if cards:
                        await operator.delete(f"collections/cards/records/{cards.pop(pick.randrange(len(cards)))}")
                    case 2 | 3 if cards:
                        await operator.patch(f"collections/cards/records/{pick.choice(cards)}", json=body)
                    case 4:
                        moved = {"team": pick.choice(teams), "user": pick.choice(callers).id}
                        await operator.patch(f"collections/members/records/{pick.choice(members)}", json=moved)
            for caller, stream in zip(callers, streams, strict=True):
                listed = {one["id"]: one for one in await caller.list("cards", limit=500, filter="title != 'c'")}
                await stream.until(lambda stream=stream, listed=listed: stream.held["a"] == listed)
    assert any("secret" in record for record in streams[0].held["a"].values())
    assert not any("secret" in record for stream in streams[1:] for record in stream.held["a"].values())


VALUES: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "text": ("text", "board.x == $v", {"x": 'a"b\\c,{}'}),
    "list": ("text", "board.x in $v", {"x": 'a"b\\c,{}', "v": ['a"b\\c,{}', "NULL", ""]}),
    "int": ("int", "board.x == $v", {"x": 2**52 + 1}),
    "ints": ("int", "board.x in $v", {"x": -7, "v": [1, -7]}),
    "double": ("float", "board.x == $v", {"x": 0.1}),
    "decimal": ("decimal", "board.x == decimal($v)", {"x": "12345678901234567890.123456789"}),
    "moment": ("datetime", "board.x <= timestamp($v)", {"x": "2024-02-29T12:00:00.000001Z"}),
    "place": ("geo_point", "distance(board.x, geo($lat, $lon)) < 1000", {"x": {"lat": 1.5, "lon": 2.5}}),
    "empty": ("text", "board.x == $v", {"x": ""}),
    "answered decimal": ("decimal", "board.x == $v", {"x": "4.50"}),
    "answered moment": ("datetime", "board.x in $v", {"x": "2024-02-29T12:00:00Z", "v": ["2024-02-29T12:00:00Z"]}),
    "answered place": ("geo_point", "board.x == $v", {"x": {"lat": 1.5, "lon": 2.5}}),
}


@pytest.mark.parametrize("name", VALUES)
async def test_values_of_every_type_reach_the_shared_question(
    server_url: str, project: ProjectUnderTest, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values of filters travel as text; what they match is what the list matches, for two at once who ask for different ones."""
    kind, text, held = VALUES[name]
    rules = dict.fromkeys(("list", "view"), "true")
    await project.collection("boards", [{"name": "x", "type": kind}], rules)
    await project.collection("cards", [{"name": "board", "type": "relation", "to": "boards"}], rules)
    board = (await project.operator.create("boards", {"x": held["x"]}))["id"]
    values = held["x"] if name == "place" else {"v": held.get("v", held["x"])}
    other = {"lat": 50.0, "lon": 50.0} if name == "place" else {"v": OTHER.get(name, "none of it")}
    async with contextlib.AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(
                follow(
                    server_url,
                    project.name,
                    [{"id": "a", "collection": "cards", "filter": text, "vars": one, "initial": True}],
                    by_body=True,
                )
            )
            for one in (values, other)
        ]
        assert [stream.status for stream in streams] == [200, 200], [stream.problem for stream in streams]
        for stream in streams:
            await stream.until_named("snapshot")
        with _statements(monkeypatch) as texts:
            card = (await project.operator.create("cards", {"board": board}))["id"]
            await streams[0].until(lambda: set(streams[0].held["a"]) == {card})
            await asyncio.sleep(0.1)
        assert streams[1].held["a"] == {}
        assert any('"asker"' in one for one in texts)


OTHER: dict[str, Any] = {
    "list": ["x"],
    "int": 1,
    "ints": [2],
    "double": 0.2,
    "decimal": "1",
    "moment": "2020-01-01T00:00:00Z",
    "answered decimal": "1",
    "answered moment": ["2020-01-01"],
    "answered place": {"lat": 50.0, "lon": 50.0},
}


async def test_a_question_that_is_too_slow_is_asked_for_fewer(
    server_url: str, project: ProjectUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When all at once take too long for PostgreSQL, everybody is told in the end."""
    callers, teams = await _world(project, 10)
    sizes: list[int] = []
    fetch = Database.fetch

    async def fetched(self: Database, query: Sql | Statement, **named: Any) -> Any:
        if isinstance(query, Statement) and '"asker"' in query.text:
            sizes.append(len(next(one for one in query.args if isinstance(one, list) and one and one[0] == 0)))
            if sizes[-1] > 2:
                raise StatementTimedOut("Too slow.")
        return await fetch(self, query, **named)

    async with _all_follow(server_url, project, callers) as streams:
        monkeypatch.setattr(Database, "fetch", fetched)
        await project.operator.create("cards", {"title": "a", "team": teams[0]})
        for stream in streams:
            await stream.until(lambda stream=stream: len(stream.held["a"]) == 1)
    assert max(sizes) > 2 >= sizes[-1]


async def test_everybody_comes_back_by_a_few_statements(
    server_url: str, project: ProjectUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart the changes before it are read once for all who go on from there, and their cursors are looked at once."""
    monkeypatch.setattr(service, "_LINGER_S", 0.0)  # a hub that begins anew, as after a restart
    rules = dict.fromkeys(("list", "view", "create"), "true")
    await project.collection("cards", [{"name": "title", "type": "text"}], rules)
    subscribe = [{"id": "a", "collection": "cards", "initial": True}]
    last: list[Following] = []
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(60):
            last.append(await stack.enter_async_context(follow(server_url, project.name, subscribe)))
        for at, stream in enumerate(last):
            await stream.until_named("snapshot")
            if at % 20 == 0:  # their places differ
                await project.anonymous.create("cards", {"title": f"{at}"})
        await last[0].until(lambda: len(last[0].held["a"]) == 3)
    await asyncio.sleep(0.3)
    await project.anonymous.create("cards", {"title": "meanwhile"})
    with _statements(monkeypatch) as texts:
        async with contextlib.AsyncExitStack() as stack:
            again = [follow(server_url, project.name, subscribe, since=one.last_id, into=one) for one in last]
            await asyncio.gather(*(stack.enter_async_context(one) for one in again))
            for stream in last:
                await stream.until(lambda stream=stream: len(stream.held["a"]) == 4)
            asked = len(texts)
    assert asked < 60, texts
