"""Two servers on one database: what changes at one is so at the other within two seconds, and nobody meets it as a fault."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from io import BytesIO
from itertools import count
from typing import Any
from zipfile import ZipFile

import httpx2
import jwt
import pytest

from baas.base.ids import short_id, uuid7
from baas.base.settings import Settings
from baas.server import Server, open_server
from tests.conftest import ORIGIN
from tests.support.callers import PASSWORD, Caller, ProjectUnderTest

PROMISED_S = 2.0
EVERYONE = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")
There = Callable[[Caller], Caller]
Call = Callable[[], Awaitable[httpx2.Response]]


@pytest.fixture
async def second(settings: Settings, database_url: str) -> AsyncIterator[Server]:
    async with open_server(settings, database_url) as server:
        yield server


@pytest.fixture
async def there(second: Server) -> AsyncIterator[There]:
    """The same caller at a second server."""
    transport = httpx2.ASGITransport(second.app, client=("127.0.0.1", 40001), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url=ORIGIN) as http:
        yield lambda caller: replace(caller, http=http)


async def seconds_until(call: Call, wanted: int, seen: set[int]) -> float:
    """How long the old answers went on; `seen` are those that may come before. Fails after the promised time."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while (answer := await call()).status_code != wanted:
        assert answer.status_code in seen, answer.text
        assert loop.time() - begun < PROMISED_S, answer.text
        await asyncio.sleep(0.01)
    return loop.time() - begun


@asynccontextmanager
async def traffic(*calls: Call) -> AsyncIterator[Counter[tuple[int, str]]]:
    """Each call again and again while the block runs; the statuses and codes of all answers."""
    seen: Counter[tuple[int, str]] = Counter()
    over = asyncio.Event()

    async def repeat(call: Call) -> None:
        while not over.is_set():
            answer = await call()
            good = answer.status_code < 300
            seen[answer.status_code, "" if good else answer.text] += 1
            await asyncio.sleep(0.002)  # a call that is refused before the database is asked would never let go

    async with asyncio.TaskGroup() as tasks:
        for call in calls:
            tasks.create_task(repeat(call))
        try:
            yield seen
        finally:
            over.set()


def faults(seen: Counter[tuple[int, str]]) -> dict[tuple[int, str], int]:
    return {answer: number for answer, number in seen.items() if answer[0] >= 500}


def field(name: str, kind: str = "text", **options: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **options}


async def changed(project: ProjectUnderTest, name: str, **change: Any) -> None:
    answer = await project.operator.patch(f"collections/{name}", params={"confirm": "data-loss"}, json=change)
    assert answer.status_code == 200, answer.text


async def test_a_rule_closed_here_is_closed_there(project: ProjectUnderTest, there: There) -> None:
    """For reads and for writes; and opened again."""
    await project.collection("posts", rules=EVERYONE)
    guest = there(project.anonymous)
    post = await guest.create("posts", {"title": "a"})
    path = f"collections/posts/records/{post['id']}"
    reads: Call = lambda: guest.get(path)  # noqa: E731
    writes: Call = lambda: guest.patch(path, json={"title": "b"})  # noqa: E731
    assert (await reads()).status_code == (await writes()).status_code == 200

    await changed(project, "posts", rules={"view": "title == 'nobody'", "update": None})
    took = [await seconds_until(reads, 404, {200}), await seconds_until(writes, 403, {200})]
    await changed(project, "posts", rules=EVERYONE)
    took += [await seconds_until(reads, 200, {404}), await seconds_until(writes, 200, {403, 404})]
    print("seconds until the other server knew:", took)


async def test_a_collection_is_altered_while_another_server_uses_it(project: ProjectUnderTest, there: There) -> None:
    """Fields come, go, change their names and types: its callers there get answers of the old or the new kind, never a 5xx."""
    old = [field("title"), field("n", "int", default=1), field("note")]
    await project.collection("posts", old, rules=EVERYONE)
    guest = there(project.anonymous)
    post = await guest.create("posts", {"title": "a", "n": 2})
    base, number = "collections/posts/records", count()

    steps: list[list[dict[str, Any]]] = [
        [*old, field("more", "date")],
        [field("title"), field("n", "int"), field("remark", renamed_from="note")],
        [field("title"), field("remark")],
        [field("title"), field("n"), field("remark", hidden=True)],
        [field("title")],
        [field("title"), field("n", "select", values=["1", "2"]), field("note", "json", required=True, default={})],
        [field("title")],
        old,
    ]
    async with traffic(
        lambda: guest.get(base, params={"filter": "n > 1", "sort": "-n"}),
        lambda: guest.get(base, params={"filter": "note == $n", "vars": '{"n":"x"}', "fields": "title,note"}),
        lambda: guest.get(f"{base}/{post['id']}"),
        lambda: guest.patch(f"{base}/{post['id']}", json={"n": next(number) % 5, "note": "x"}),
        lambda: guest.put(f"{base}/{post['id']}", json={"title": "b", "note": "y"}),
        lambda: guest.post(base, json=[{"title": "c", "n": 3}, {"title": "d", "note": "z"}]),
        lambda: guest.post(base, json={"title": "e", "n": "4"}),
    ) as seen:
        for fields in steps:
            await changed(project, "posts", fields=fields)
            await asyncio.sleep(0.2)

    assert {} == faults(seen)
    assert {200, 201, 400, 422} <= {status for status, _ in seen}
    await seconds_until(lambda: guest.patch(f"{base}/{post['id']}", json={"n": 7, "note": "x"}), 200, {422, 400})


async def test_a_collection_is_replaced_while_another_server_uses_it(project: ProjectUnderTest, there: There) -> None:
    """Deleted, and made again under the same name with other fields and closed rules: the open ones do not come back."""
    guest, base = there(project.anonymous), "collections/posts/records"
    await project.collection("posts", [field("title"), field("secret")], rules=EVERYONE)
    calls: list[Call] = [
        lambda: guest.get(base, params={"filter": "secret == 'x'"}),
        lambda: guest.post(base, json={"title": "a", "secret": "x"}),
        lambda: guest.get(base),
    ]
    async with traffic(*calls) as seen:
        await asyncio.sleep(0.2)
        answer = await project.operator.delete("collections/posts", params={"confirm": "data-loss"})
        assert answer.status_code == 204, answer.text
        await seconds_until(calls[0], 404, {200})
        await project.collection("posts", [field("title", "int"), field("secret", "bool")], rules={"list": None})
        for call in calls:
            await seconds_until(call, 403, {404, 400, 422})
        await asyncio.sleep(PROMISED_S / 2)

    assert {} == faults(seen)


async def test_users_are_altered_while_others_use_them(project: ProjectUnderTest, there: There) -> None:
    """At both servers."""
    user = await _with_users_everywhere(project)
    calls = [*_calls_about_users(user, project.operator), *_calls_about_users(there(user), there(project.operator))]
    async with traffic(*calls) as seen:
        for extra in ([], [field("extra", "int")], [], [field("other")], [], [field("extra", "json")], [], [EXTRA]):
            await changed(project, "users", fields=[NICK, *extra])
            await asyncio.sleep(0.2)

    assert {} == faults(seen)
    assert {200, 201} <= {status for status, _ in seen}


@pytest.mark.parametrize("now", [field("extra", "int"), field("extra", "json"), field("more", "bool")], ids=str)
async def test_a_server_that_has_not_heard_yet_does_not_fail(
    project: ProjectUnderTest, second: Server, there: There, now: dict[str, Any]
) -> None:
    """The two seconds at their longest: every call meets tables that are not what its server believes."""
    user = await _with_users_everywhere(project)
    calls = _calls_about_users(there(user), there(project.operator))
    for call in calls:
        assert (answer := await call()).status_code < 300, answer.text
    await second.invalidations.stop()

    answers = []
    for call in calls:
        for fields in ([NICK, now], [NICK, EXTRA]):
            await changed(project, "users", fields=[NICK])
            await changed(project, "users", fields=fields)
            answers.append(await call())
    assert [] == [answer.text for answer in answers if answer.status_code >= 500]


@pytest.mark.parametrize(
    "now", [field("n", "text"), field("n", "select", values=["1"]), field("m", required=True, default="x")], ids=str
)
async def test_records_at_a_server_that_has_not_heard_yet(
    project: ProjectUnderTest, second: Server, there: There, now: dict[str, Any]
) -> None:
    """Every call is either as it was or as it is now; of a write that was refused nothing is stored."""
    was = field("n", "int", default=1)
    await project.collection("posts", [field("title"), was], rules=EVERYONE)
    guest, base = there(project.anonymous), "collections/posts/records"
    post = await guest.create("posts", {"title": "a"})
    await second.invalidations.stop()

    calls: list[Call] = [
        lambda: guest.get(base, params={"filter": "n > 0", "sort": "n"}),
        lambda: guest.get(f"{base}/{post['id']}", params={"fields": "n"}),
        lambda: guest.post(base, json={"title": "b", "n": 2}),
        lambda: guest.post(base, json=[{"title": "b", "n": 2}]),
        lambda: guest.patch(f"{base}/{post['id']}", json={"n": 2}),
        lambda: guest.put(f"{base}/{post['id']}", json={"title": "b", "n": 2}),
        lambda: guest.delete(f"{base}/{uuid7()}"),
    ]
    answers, stored = [], 1
    for call in calls:
        for field_now in (now, was):
            await changed(project, "posts", fields=[field("title")])
            await changed(project, "posts", fields=[field("title"), field_now])
            answers.append(await call())
            stored += answers[-1].status_code == 201
    assert [] == [answer.text for answer in answers if answer.status_code >= 500]
    page = await project.operator.get(base, params={"count": "exact"})
    assert stored == page.json()["total"]


NICK = field("nick", default="x")
EXTRA = field("extra")


async def _with_users_everywhere(project: ProjectUnderTest) -> Caller:
    """A user, and everything that looks at accounts: rules of a collection and of a bucket that name a field of theirs."""
    await changed(project, "users", fields=[NICK, EXTRA])
    rule = "auth.nick != 'nobody'"
    await project.collection("posts", rules=dict.fromkeys(EVERYONE, rule))
    bucket = {"name": "pics", "rules": dict.fromkeys(EVERYONE, rule)}
    assert (await project.operator.post("buckets", json=bucket)).status_code == 201
    await project.settings(auth={"sign_up": True})
    return await project.user()


def _calls_about_users(user: Caller, operator: Caller) -> list[Call]:
    def new() -> dict[str, str]:
        return {"email": f"{short_id()}@example.com", "password": PASSWORD}

    guest = replace(user, token=None)
    text = {"content-type": "text/plain"}
    return [
        lambda: user.get("auth/me"),
        lambda: user.patch("auth/me", json={"nick": short_id()}),
        lambda: guest.post("auth/sign-up", json=new()),
        lambda: guest.post("auth/sign-in", json={"email": user.email, "password": PASSWORD}),
        lambda: operator.get("users"),
        lambda: operator.get(f"users/{user.id}"),
        lambda: operator.patch(f"users/{user.id}", json={"nick": short_id()}),
        lambda: operator.post("users", json=new()),
        lambda: operator.get("collections/users/records", params={"sort": "-nick"}),
        lambda: operator.patch(f"collections/users/records/{user.id}", json={"nick": short_id()}),
        lambda: user.get("collections/posts/records"),
        lambda: user.post("collections/posts/records", json={"title": "a", "owner": user.id}),
        lambda: user.put("buckets/pics/files/a.txt", content=b"a", headers=text),
        lambda: user.get("buckets/pics/files/a.txt"),
        lambda: user.get("buckets/pics/files"),
    ]


async def test_a_buckets_rules_and_end_reach_the_other_server(project: ProjectUnderTest, there: There) -> None:
    bucket = {"name": "pics", "public": True, "rules": {"create": "true"}}
    assert (await project.operator.post("buckets", json=bucket)).status_code == 201
    guest = there(project.anonymous)
    text = {"content-type": "text/plain"}
    number = count()
    puts: Call = lambda: guest.put(f"buckets/pics/files/{next(number)}.txt", content=b"a", headers=text)  # noqa: E731
    reads: Call = lambda: guest.get("buckets/pics/files/0.txt")  # noqa: E731
    assert (await puts()).status_code == 201
    assert (await reads()).status_code == 200

    async with traffic(puts, reads) as seen:
        await project.operator.patch("buckets/pics", json={"public": False, "rules": {"create": None}})
        await seconds_until(puts, 403, {201})
        await seconds_until(reads, 403, {200})
        await project.operator.delete("buckets/pics", params={"confirm": "data-loss"})
        await seconds_until(puts, 404, {403})

    assert {} == faults(seen)


async def test_a_release_reaches_the_other_server(project: ProjectUnderTest, there: There) -> None:
    """Activated, and rolled back: the other server shows one release or the other, whole."""
    guest = replace(there(project.anonymous), base=f"http://{project.name}.localhost:8000")
    assert (await project.operator.post("sites", json={"name": "default"})).status_code == 201
    releases = {text: await _deploy(project, text) for text in ("one", "two")}

    async def shows(text: str) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while (page := await guest.get("")).text != text:
            assert page.text in ("one", "two"), page.text
            assert loop.time() - begun < PROMISED_S
            await asyncio.sleep(0.01)

    await shows("two")
    for text in ("one", "two"):
        assert (await project.operator.post(f"sites/default/releases/{releases[text]}/activate")).status_code == 200
        await shows(text)


async def test_a_dropped_project_is_gone_at_the_other_server(project: ProjectUnderTest, there: There) -> None:
    """While it is in use there: every answer is of the project as it was, or that there is none, or to ask again."""
    await project.collection("posts", rules=EVERYONE)
    user = there(await project.user())
    calls: tuple[Call, ...] = (
        lambda: user.get("collections/posts/records"),
        lambda: user.post("collections/posts/records", json={"title": "a"}),
        lambda: user.get("auth/me"),
    )
    async with traffic(*calls) as seen:
        await asyncio.sleep(0.1)
        answer = await project.operator.delete(f"/v1/projects/{project.name}", params={"confirm": project.name})
        assert answer.status_code == 204, answer.text
        await seconds_until(calls[0], 404, {200, 503})

    assert {"schema_changed"} >= {json.loads(text)["code"] for _, text in faults(seen)}
    assert [404, 404, 404] == [(await call()).status_code for call in calls]


async def _deploy(project: ProjectUnderTest, text: str) -> str:
    """A release of one page; its id."""
    packed = BytesIO()
    with ZipFile(packed, "w") as archive:
        archive.writestr("index.html", text)
    answer = await project.operator.post("sites/default/releases/archive", content=packed.getvalue())
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def test_a_signing_key_dropped_here_is_nothing_there(project: ProjectUnderTest, there: There) -> None:
    """Nor are the tokens that the other server knows by heart; it signs with the new key as soon."""
    user = await project.user()
    away, (old,) = there(user), (await project.operator.get("auth/signing-keys")).json()["items"]
    assert (await away.get("auth/me")).status_code == 200
    new = (await project.operator.post("auth/signing-keys")).json()["id"]

    async def signs() -> httpx2.Response:
        """204 when the other server signs with the new key."""
        answer = await there(project.anonymous).post("auth/sign-in", json={"email": user.email, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        signed = jwt.get_unverified_header(answer.json()["access_token"])["kid"] == new
        return httpx2.Response(204 if signed else 200)

    took = [await seconds_until(signs, 204, {200})]
    assert (await away.get("auth/me")).status_code == 200
    assert (await project.operator.delete(f"auth/signing-keys/{old['id']}")).status_code == 204
    took.append(await seconds_until(lambda: away.get("auth/me"), 401, {200}))
    print("seconds until the other server knew:", took)
