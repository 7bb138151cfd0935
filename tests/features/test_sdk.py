"""The client against the real application, behind a real socket, in both kinds."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import pytest
from baas_cli.demo import seed
from baas_sdk import (
    APIError,
    AsyncClient,
    BadRequest,
    Client,
    Conflict,
    F,
    FileStore,
    Forbidden,
    Invalid,
    NotAuthenticated,
    NotFound,
    PreconditionFailed,
    Record,
    TooLarge,
)

from baas.base.ids import short_id
from tests.support.callers import Caller, ProjectUnderTest

FIELDS = [
    {"name": "title", "type": "text", "required": True},
    {"name": "n", "type": "int"},
    {"name": "price", "type": "decimal"},
    {"name": "due", "type": "datetime"},
    {"name": "day", "type": "date"},
    {"name": "done", "type": "bool", "default": False},
    {"name": "code", "type": "text", "unique": True},
    {"name": "owner", "type": "relation", "to": "users"},
]
OPEN = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")
OWN = {
    "list": "record.owner == auth.id",
    "view": "record.owner == auth.id",
    "create": "next.owner == auth.id",
    "update": "record.owner == auth.id",
    "delete": "record.owner == auth.id",
}


class Twin:
    """One project and both kinds of client: `await twin(client.auth.me)` runs a call of either."""

    def __init__(self, kind: str, url: str, project: ProjectUnderTest) -> None:
        self._kind = AsyncClient if kind == "async" else Client
        self._url = url
        self._project = project
        self._clients: list[Any] = []
        self.operator = self.client(token=project.operator.token)

    def client(self, url: str | None = None, **options: Any) -> Any:
        made = self._kind(url or self._url, **{"project": self._project.name, **options})
        self._clients.append(made)
        return made

    async def __call__(self, act: Callable[[], Any]) -> Any:
        if self._kind is Client:
            return await asyncio.to_thread(lambda: _listed(act()))
        result = act()
        if isinstance(result, AsyncIterator):
            return [one async for one in result]
        return await result if isinstance(result, Awaitable) else result

    async def close(self) -> None:
        for client in self._clients:
            await self(client.close if self._kind is Client else client.aclose)


def _listed(result: Any) -> Any:
    return list(result) if isinstance(result, Iterator) else result


@pytest.fixture(params=["sync", "async"])
async def twin(
    request: pytest.FixtureRequest, server_url: str, project: ProjectUnderTest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Twin]:
    for name in ("BAAS_URL", "BAAS_PROJECT", "BAAS_KEY"):
        monkeypatch.delenv(name, raising=False)
    made = Twin(request.param, server_url, project)
    yield made
    await made.close()


@pytest.fixture
async def todos(twin: Twin) -> Any:
    await twin(lambda: twin.operator.collections.create(name="todos", fields=FIELDS, rules=OPEN))
    return twin.operator.collection("todos")


async def test_a_record_is_made_read_changed_and_deleted(twin: Twin, todos: Any) -> None:
    due = datetime.now(UTC)
    made = await twin(lambda: todos.create(title="Ship", due=due, price=Decimal("9.50")))
    read = await twin(lambda: todos.get(made.id))

    assert isinstance(made, Record)
    assert made == read
    assert (1, "Ship", False, "9.50") == (made.rev, made.title, made.done, made.price)
    assert timedelta() <= made.created_at - due < timedelta(minutes=1)

    changed = await twin(lambda: todos.update(made, done=True))
    assert (2, True) == (changed.rev, changed.done)
    put = await twin(lambda: todos.put(changed, title="New"))
    assert (3, "New", False) == (put.rev, put.title, put.done)
    await twin(lambda: todos.delete(put))
    with pytest.raises(NotFound):
        await twin(lambda: todos.get(made.id))


async def test_a_record_read_before_is_not_overwritten(twin: Twin, todos: Any) -> None:
    made = await twin(lambda: todos.create(title="a"))
    await twin(lambda: todos.update(made.id, title="b"))

    for act in (lambda: todos.update(made, title="c"), lambda: todos.put(made, title="c"), lambda: todos.delete(made)):
        with pytest.raises(PreconditionFailed):
            await twin(act)
    assert "b" == (await twin(lambda: todos.get(made.id))).title


async def test_many_are_made_at_once_or_not_at_all(twin: Twin, todos: Any) -> None:
    made = await twin(lambda: todos.create_many([{"title": str(n), "n": n} for n in range(5)]))
    with pytest.raises(Invalid) as caught:
        await twin(lambda: todos.create_many([{"title": "x"}, {"n": "y"}]))

    assert [0, 1, 2, 3, 4] == [record.n for record in made]
    assert {"1.title", "1.n"} == set(caught.value.fields)
    assert 5 == await twin(todos.count)
    assert [] == await twin(lambda: todos.create_many([]))


async def test_a_list_is_filtered_sorted_paged_and_counted(twin: Twin, todos: Any) -> None:
    await twin(lambda: todos.create_many([{"title": f"t{n}", "n": n, "done": n % 2 == 0} for n in range(7)]))
    page = await twin(lambda: todos.list(filter=(F.done == True) & (F.n > 0), sort="-n", limit=2, count=True))  # noqa: E712
    walked = await twin(lambda: todos.iter(filter="n >= $n", vars={"n": 2}, sort=["n"], page_size=2))

    assert ([6, 4], 3) == ([record.n for record in page], page.total)
    assert [2, 3, 4, 5, 6] == [record.n for record in walked]
    assert 3 == (await twin(lambda: todos.first(filter=F.title == "t3"))).n
    assert await twin(lambda: todos.first(filter=F.title == "none")) is None
    assert 4 == await twin(lambda: todos.count(filter=F.done == True))  # noqa: E712
    assert ["n"] == list((await twin(lambda: todos.list(fields=["n"], limit=1))).items[0])


async def test_records_come_with_those_they_lead_to(twin: Twin, project: ProjectUnderTest) -> None:
    await project.collection("people", fields=[{"name": "name", "type": "text"}], rules=OPEN)
    author = {"name": "author", "type": "relation", "to": "people", "inverse": "books"}
    await project.collection("books", fields=[{"name": "title", "type": "text"}, author], rules=OPEN)
    people, books = (twin.client().collection(name) for name in ("people", "books"))
    ann = await twin(lambda: people.create(name="Ann"))
    await twin(lambda: books.create_many([{"title": title, "author": ann.id} for title in "abc"]))

    for wish in ("author.books", ["author", "author.books"], {"author": {"expand": "books"}}):
        page = await twin(lambda wish=wish: books.list(expand=wish, sort="title"))
        inside = page.items[0].expand["author"]
        assert ("Ann", 3) == (inside["name"], len(inside["expand"]["books"]))
        same = await twin(lambda wish=wish, first=page.items[0].id: books.get(first, expand=wish))
        assert inside == same.expand["author"]
    many = " || ".join(f"title == '{n}{'x' * 60}'" for n in range(20))
    long = {"books": {"filter": f"title != 'a' || {many}", "sort": "-title", "limit": 1}}  # too long for an address
    found = await twin(lambda: people.first(expand=long))
    assert ["c"] == [book["title"] for book in found.expand["books"]]
    assert ["books"] == found.expand_more
    walked = await twin(lambda: books.iter(fields=["author.name"], expand="author", page_size=2))
    assert [{"author": {"name": "Ann"}}] * 3 == [dict(record)["expand"] for record in walked]


async def test_a_list_is_searched_and_measured(twin: Twin, project: ProjectUnderTest) -> None:
    fields = [{"name": "name", "type": "text", "search": True}, {"name": "place", "type": "geo_point"}]
    await project.collection("towns", fields=fields, rules=OPEN)
    towns = twin.client().collection("towns")
    for name, lat in (("north town", 60), ("south town", -60), ("middle town", 1)):
        await twin(lambda name=name, lat=lat: towns.create({"name": name, "place": {"lat": lat, "lon": 0}}))
    near = {"field": "place", "lat": 0, "lon": 0}

    assert ["south town"] == [one.name for one in await twin(lambda: towns.list(search="sou"))]
    found = await twin(lambda: towns.iter(search="town -north", near=near, page_size=1))
    assert ["middle town", "south town"] == [one.name for one in found]
    assert 111195 == round(found[0]["_distance"])
    assert 1 == len((await twin(lambda: towns.list(near={**near, "within": 200_000}))).items)


NOW = datetime(2026, 11, 20, 10, 30, 0, 123456, tzinfo=UTC)


EXPRESSIONS = [
    (F.title == "a", ["a"]),
    (F.title != "a", ["b"]),
    (F.title.in_(["a", "x"]), ["a"]),
    (F.title.in_([]), []),
    (F.title.contains("b"), ["b"]),
    (F.title.startswith("a"), ["a"]),
    (F.title.endswith("b"), ["b"]),
    (F.n.is_null(), ["b"]),
    (F.n != None, ["a"]),  # noqa: E711
    (F.due == NOW, ["a"]),
    (F.due < NOW + timedelta(microseconds=1), ["a"]),
    (F.day == NOW.date(), ["a"]),
    (F.price == Decimal("0.10"), ["a"]),
    (F.price < Decimal("0.2"), ["a"]),
    (F.price == 0.1, ["a"]),
    (F.n.in_([1, 2]), ["a"]),
    (F.done, ["a"]),
    (~F.done, ["b"]),
    (F.done | (F.title == "b"), ["a", "b"]),
    (~(F.done & (F.title == "a")), ["b"]),
    (F.created_at > datetime(2020, 1, 1, tzinfo=UTC), ["a", "b"]),
]


async def test_every_expression_means_the_same_on_the_server(twin: Twin, todos: Any) -> None:
    first = {"title": "a", "n": 1, "due": NOW, "day": NOW.date(), "price": Decimal("0.1"), "done": True}
    await twin(lambda: todos.create_many([first, {"title": "b"}]))
    for expression, expected in EXPRESSIONS:
        found = await twin(lambda expression=expression: todos.iter(filter=expression, sort="title"))

        assert expected == [record.title for record in found], expression


async def test_a_long_filter_is_asked_by_a_body(twin: Twin, todos: Any) -> None:
    await twin(lambda: todos.create(title="é" * 900))

    assert 1 == await twin(lambda: todos.count(filter=F.title == "é" * 900))


async def test_what_is_wrong_is_told_by_type_field_and_place(twin: Twin, todos: Any) -> None:
    with pytest.raises(Invalid) as invalid:
        await twin(lambda: todos.create(n="x", unknown=1))
    with pytest.raises(BadRequest) as bad:
        await twin(lambda: todos.list(filter="titel == $t", vars={"t": "x"}))
    await twin(lambda: todos.create(title="a", code="c"))
    with pytest.raises(Conflict) as taken:
        await twin(lambda: todos.create(title="b", code="c"))

    assert {"title", "n", "unknown"} == set(invalid.value.fields)
    assert invalid.value.request_id
    assert f"(request {invalid.value.request_id})" in str(invalid.value)
    assert "bad_filter" == bad.value.code
    assert isinstance(bad.value.facts["position"], int)
    assert "already_exists" == taken.value.code


@dataclass(frozen=True)
class Todo:
    __collection__: ClassVar[str] = "todos"
    id: str
    rev: int
    created_at: datetime
    title: str
    price: Decimal | None = None


async def test_a_class_of_ones_own_is_read_and_written(twin: Twin, todos: Any) -> None:
    typed = twin.operator.collection(Todo)
    made = await twin(lambda: typed.create(title="a", price=Decimal("1.5")))
    changed = await twin(lambda: typed.update(made, title="b"))

    assert isinstance(changed, Todo)
    assert ("b", Decimal("1.5"), 2) == (changed.title, changed.price, changed.rev)
    assert [changed] == await twin(typed.iter)
    with pytest.raises(PreconditionFailed):
        await twin(lambda: typed.update(made, title="c"))


async def test_users_sign_up_and_see_their_own(twin: Twin, tmp_path: Path) -> None:
    """The whole way of an app: two users, one collection, owner rules."""
    await twin(lambda: twin.operator.settings.update({"auth": {"sign_up": True}}))
    await twin(lambda: twin.operator.collections.create(name="todos", fields=FIELDS, rules=OWN))
    ada, bob, guest = twin.client(store=FileStore(tmp_path / "ada.json")), twin.client(), twin.client()
    told: list[Any] = []
    ada.auth.on_change(told.append)
    session = await twin(lambda: ada.auth.sign_up("ada@example.com", "correct horse"))
    other = await twin(lambda: bob.auth.sign_up("bob@example.com", "correct horse"))
    mine = await twin(lambda: ada.collection("todos").create(title="Mine", owner=session.user.id))

    assert [mine] == await twin(ada.collection("todos").iter)
    assert [] == await twin(bob.collection("todos").iter)
    with pytest.raises(NotFound):
        await twin(lambda: bob.collection("todos").get(mine.id))
    with pytest.raises(Forbidden):
        await twin(lambda: bob.collection("todos").create(title="x", owner=session.user.id))
    with pytest.raises(NotAuthenticated):
        await twin(guest.collection("todos").list)
    assert "ada@example.com" == (await twin(ada.auth.me)).email
    assert other.session_id in [one.id for one in await twin(bob.auth.sessions)]

    again = twin.client(store=FileStore(tmp_path / "ada.json"))
    assert [mine] == await twin(again.collection("todos").iter)
    renewed = await twin(again.auth.refresh)
    assert renewed.access_token != session.access_token
    await twin(again.auth.sign_out)
    assert await twin(twin.client(store=FileStore(tmp_path / "ada.json")).auth.session) is None
    assert [session] == told


async def test_sign_in_says_nothing_about_which_was_wrong(twin: Twin, project: ProjectUnderTest) -> None:
    user = await project.user()
    for email, password in ((user.email, "wrong password"), ("nobody@example.com", "wrong password")):
        with pytest.raises(NotAuthenticated) as caught:
            await twin(lambda email=email, password=password: twin.client().auth.sign_in(email, password))
        assert "(request " in str(caught.value)


async def test_sign_up_is_off_until_the_project_says_so(twin: Twin) -> None:
    with pytest.raises(Forbidden) as caught:
        await twin(lambda: twin.client().auth.sign_up("ada@example.com", "correct horse"))

    assert "sign_up_disabled" == caught.value.code


async def test_a_user_changes_own_things_and_leaves(twin: Twin, project: ProjectUnderTest) -> None:
    user = await project.user("ada@example.com")
    client = twin.client()
    await twin(lambda: client.auth.sign_in("ada@example.com", "correct horse battery"))
    await twin(lambda: client.auth.change_password("correct horse battery", "another password"))
    with pytest.raises(Invalid):
        await twin(lambda: client.auth.update_me(email_verified=True))
    await twin(client.auth.end_other_sessions)
    assert [True] == [one.current for one in await twin(client.auth.sessions)]
    await twin(client.auth.delete_me)

    assert await twin(client.auth.session) is None
    with pytest.raises(NotFound):
        await twin(lambda: twin.operator.users.get(user.id))


async def test_an_operator_manages_users(twin: Twin) -> None:
    users = twin.operator.users
    made = await twin(lambda: users.create("ada@example.com", "correct horse"))
    await twin(lambda: users.create("bob@example.com"))
    changed = await twin(lambda: users.update(made, disabled=True))

    assert changed.disabled
    assert ["ada@example.com", "bob@example.com"] == [user.email for user in await twin(lambda: users.iter(page_size=1))]
    assert [made.id] == [user.id for user in await twin(lambda: users.list(email="ada@example.com"))]
    with pytest.raises(Forbidden):
        await twin(lambda: twin.client().auth.sign_in("ada@example.com", "correct horse"))
    await twin(lambda: users.delete(made))
    with pytest.raises(NotFound):
        await twin(lambda: users.get(made.id))


async def test_a_key_is_told_once_and_ends(twin: Twin, todos: Any) -> None:
    key = await twin(lambda: twin.operator.keys.create("app", scopes=["records"]))
    client = twin.client(key=key.key)
    await twin(lambda: client.collection("todos").create(title="a"))

    assert "key" not in (await twin(twin.operator.keys.list))[0]
    with pytest.raises(Forbidden):
        await twin(client.collections.list)
    await twin(lambda: twin.operator.keys.revoke(key))
    with pytest.raises(NotAuthenticated):
        await twin(lambda: client.collection("todos").create(title="b"))


async def test_collections_are_managed(twin: Twin, todos: Any) -> None:
    collections = twin.operator.collections
    await twin(lambda: todos.create(title="a"))
    await twin(lambda: collections.update("todos", fields=[*FIELDS, {"name": "more", "type": "text"}]))

    assert "more" in [field["name"] for field in (await twin(lambda: collections.get("todos"))).fields]
    assert {"todos", "users"} == {one.name for one in await twin(collections.list)}
    assert "todos" in str(await twin(collections.schema))
    with pytest.raises(Invalid) as caught:
        await twin(lambda: collections.create(name="bad", fields=[{"name": "x", "type": "txt"}]))
    assert "fields.0.type" in caught.value.fields
    with pytest.raises(Conflict):
        await twin(lambda: collections.delete("todos"))
    await twin(lambda: collections.delete("todos", confirm="data-loss"))
    with pytest.raises(NotFound):
        await twin(lambda: collections.get("todos"))


async def test_projects_are_managed(twin: Twin, operator: Caller) -> None:
    client = twin.operator
    name = f"{client.project}-two"
    await twin(lambda: client.projects.create(name))
    with pytest.raises(Conflict):
        await twin(lambda: client.projects.create(name))
    with pytest.raises(Invalid):
        await twin(lambda: client.projects.create("Not A Name"))

    assert name in [project.name for project in await twin(lambda: client.projects.iter(page_size=2))]
    assert {"users"} == {one.name for one in await twin(client.in_project(name).collections.list)}
    await twin(lambda: client.projects.rename(name, f"{name}2"))
    await twin(lambda: client.projects.delete(f"{name}2"))
    with pytest.raises(NotFound):
        await twin(lambda: client.projects.get(f"{name}2"))


async def test_an_operator_signs_in_and_out(twin: Twin, operator: Caller) -> None:
    client = twin.client()
    signed_in = await twin(lambda: client.operators.sign_in(operator.email, "operator password"))

    assert signed_in.token.startswith("opt_")
    assert operator.email == (await twin(client.operators.me)).email
    await twin(client.operators.sign_out)
    with pytest.raises(NotAuthenticated):
        await twin(client.operators.me)


async def test_a_folder_becomes_a_site(twin: Twin, tmp_path: Path) -> None:
    sites = twin.operator.sites
    (tmp_path / "a").mkdir()
    (tmp_path / "index.html").write_text("<h1>One</h1>")
    (tmp_path / "a" / "b.css").write_text("p {}")
    (tmp_path / ".env").write_text("SECRET=1")
    await twin(lambda: sites.create("default", spa=True))
    first = await twin(lambda: sites.deploy(tmp_path, message="one"))
    (tmp_path / "index.html").write_text("<h1>Two</h1>")
    second = await twin(lambda: sites.deploy(tmp_path))

    assert f"://{twin.operator.project}.localhost" in second.url
    assert [second.id, first.id] == [release.id for release in await twin(sites.releases)]
    assert second.id == (await twin(lambda: sites.get("default"))).active_release
    await twin(lambda: sites.activate(first))
    assert first.id == (await twin(lambda: sites.get("default"))).active_release
    assert [] == [name for name in first.ignored if "env" in name], "dot files were sent"


async def test_a_settings_patch_keeps_the_rest(twin: Twin) -> None:
    settings = twin.operator.settings
    await twin(lambda: settings.update({"auth": {"sign_up": True}}))
    await twin(lambda: settings.update({"cors": {"origins": ["https://a.example"]}}))

    assert (await twin(settings.get))["auth"]["sign_up"]
    with pytest.raises(Invalid) as caught:
        await twin(lambda: settings.update({"auth": {"sign_upp": True}}))
    assert ["auth.sign_upp"] == list(caught.value.fields)


async def test_the_escape_hatch_reaches_everything(twin: Twin) -> None:
    answer = await twin(lambda: twin.operator.request("GET", f"/v1/projects/{twin.operator.project}/settings"))

    assert 200 == answer.status_code
    assert answer.headers["x-request-id"]


CONTENT = bytes(range(256)) * 2048


async def test_a_file_goes_up_and_comes_down(twin: Twin, tmp_path: Path) -> None:
    await twin(lambda: twin.operator.buckets.create("photos", max_size=1_000_000, types=["image/*", "text/plain"]))
    photos = twin.operator.bucket("photos")
    source = tmp_path / "a b.png"
    source.write_bytes(CONTENT)
    told: list[Any] = []
    stored = await twin(lambda: photos.upload(source, on_progress=told.append))

    assert ("a b.png", len(CONTENT), "image/png") == (stored.path, stored.size, stored.content_type)
    assert hashlib.sha256(CONTENT).hexdigest() == stored.sha256
    assert [(len(CONTENT), len(CONTENT))] == [(last.sent, last.total) for last in told[-1:]]
    copy = await twin(lambda: photos.download("a b.png", to=tmp_path / "copy.png"))
    assert CONTENT == copy.read_bytes() == await twin(lambda: photos.read("a b.png"))
    assert stored.sha256 == (await twin(lambda: photos.metadata("a b.png"))).sha256
    with pytest.raises(NotFound):
        await twin(lambda: photos.metadata("a b"))
    with pytest.raises(NotFound):
        await twin(lambda: photos.download("a", to=tmp_path / "none"))
    assert {"a b.png", "copy.png"} == {path.name for path in tmp_path.iterdir()}


async def test_files_are_listed_replaced_and_deleted(twin: Twin) -> None:
    await twin(lambda: twin.operator.buckets.create("notes"))
    notes = twin.operator.bucket("notes")
    for key in ("a/1.txt", "a/2.txt", "b/?#%&=ä.txt"):
        await twin(lambda key=key: notes.upload(key.encode(), key=key))
    with pytest.raises(PreconditionFailed):
        await twin(lambda: notes.create(b"x", key="a/1.txt"))
    await twin(lambda: notes.upload(iter([b"n", b"ew"]), key="a/1.txt", content_type="text/plain"))

    assert b"new" == await twin(lambda: notes.read("a/1.txt"))
    assert "b/?#%&=ä.txt".encode() == await twin(lambda: notes.read("b/?#%&=ä.txt"))
    assert ["a/1.txt", "a/2.txt"] == [file.path for file in await twin(lambda: notes.iter(prefix="a/", page_size=1))]
    await twin(lambda: notes.delete("a/1.txt"))
    assert {"a/2.txt", "b/?#%&=ä.txt"} == {file.path for file in await twin(notes.list)}
    with pytest.raises(NotFound):
        await twin(lambda: notes.read("a/1.txt"))


async def test_what_a_bucket_does_not_take_is_told(twin: Twin) -> None:
    await twin(lambda: twin.operator.buckets.create("small", max_size=10, types=["text/plain"]))
    small = twin.operator.bucket("small")
    with pytest.raises(TooLarge):
        await twin(lambda: small.upload(b"x" * 11, key="a.txt"))
    with pytest.raises(TooLarge):
        await twin(lambda: small.upload(iter([b"x" * 11]), key="a.txt"))
    with pytest.raises(APIError) as caught:
        await twin(lambda: small.upload(b"x", key="a.png"))

    assert caught.value.status in (415, 422)
    assert [] == list(await twin(small.list))
    await twin(lambda: twin.operator.buckets.update("small", max_size=20))
    await twin(lambda: small.upload(b"x" * 11, key="a.txt"))
    assert 20 == (await twin(lambda: twin.operator.buckets.get("small"))).max_size
    with pytest.raises(Conflict):
        await twin(lambda: twin.operator.buckets.delete("small"))
    await twin(lambda: twin.operator.buckets.delete("small", confirm="data-loss"))
    assert [] == await twin(twin.operator.buckets.list)


class Lossy:
    """A connection between client and server that delivers a request, and loses the first answer to each one that is counted."""

    def __init__(self, server_url: str) -> None:
        self._port = int(server_url.rpartition(":")[2])
        self.url = ""
        self.lose = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._port)
        asking = asyncio.create_task(self._pass_on(reader, up_writer))
        try:
            while answer := await up_reader.read(1 << 16):
                if self.lose:
                    self.lose -= 1
                    break
                writer.write(answer)
        except ConnectionError:
            pass
        finally:
            asking.cancel()
            writer.close()
            up_writer.close()

    @staticmethod
    async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()


@pytest.fixture
async def lossy(server_url: str) -> AsyncIterator[Lossy]:
    made = Lossy(server_url)
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    yield made
    listening.close()


@pytest.mark.parametrize("rules", [OPEN, {**OPEN, "view": "false", "list": None}], ids=["seen", "hidden"])
async def test_a_lost_answer_neither_loses_nor_doubles_a_write(
    twin: Twin, lossy: Lossy, project: ProjectUnderTest, rules: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server stores, the answer is lost, the client repeats: one record, one change, and the caller hears of it."""
    monkeypatch.setattr("random.random", lambda: 0.0)
    await twin(lambda: twin.operator.collections.create(name="todos", fields=FIELDS, rules=rules))
    user = await project.user()
    all_records = twin.operator.collection("todos")
    client = type(twin.operator)(lossy.url, project=project.name, token=user.token)
    todos = client.collection("todos")
    lossy.lose = 1
    made = await twin(lambda: todos.create(title="a", code="unique"))
    lossy.lose = 1
    many = await twin(lambda: todos.create_many([{"title": "b"}, {"title": "c"}]))
    stored = await twin(lambda: all_records.get(made.id))

    assert 0 == lossy.lose
    assert {made.id, *(one.id for one in many)} == {one.id for one in await twin(all_records.iter)}
    assert (made == stored) == (rules is OPEN)
    if rules is OPEN:
        lossy.lose = 1
        changed = await twin(lambda: todos.update(made, title="d", price="1.5"))
        assert (2, "d") == (changed.rev, changed.title)
        lossy.lose = 1
        await twin(lambda: todos.delete(changed))
        assert 2 == await twin(all_records.count)
    await twin(client.close if isinstance(client, Client) else client.aclose)


README = Path(__file__).parents[2] / "sdk" / "README.md"


async def test_the_readme_works_as_it_is_printed(
    server_url: str, operator: Caller, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its two programs, on the demo project, with this server's address and addresses of their own."""
    await asyncio.to_thread(seed, server_url, operator.token or "", "todo")
    blocks = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), flags=re.S)
    for block in blocks:
        program = block.replace("http://127.0.0.1:8000", server_url).replace("@example.com", f"-{short_id()}@example.com")
        await asyncio.to_thread(exec, compile(program, "README.md", "exec"), {"__name__": "readme"})
    out = capsys.readouterr().out

    assert 2 == len(blocks)
    assert "1 ['Ship it']" in out
    assert "'title': " in out
    assert "'colour': " in out
