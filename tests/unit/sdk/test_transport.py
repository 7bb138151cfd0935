"""What the client does about trouble on the way, on real sockets, in both kinds."""

import asyncio
import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from baas_sdk import (
    APIError,
    AsyncClient,
    ConfigError,
    Conflict,
    ConnectionFailed,
    F,
    FileStore,
    MemoryStore,
    NotAuthenticated,
    NotFound,
    PreconditionFailed,
    RateLimited,
    Record,
    ServerError,
    Session,
    TimedOut,
    User,
    inc,
)

CUT = {"cut": True}


def reply(status: int = 200, body: Any = None, **more: Any) -> Any:
    from tests.unit.sdk.conftest import Reply

    return Reply(status, body, **more)


def problem(status: int, code: str, **more: Any) -> Any:
    headers = more.pop("headers", {})
    return reply(status, {"status": status, "code": code, "detail": code, **more}, headers=headers)


def echo(seen: Any) -> Any:
    """What the server stores: what was sent, with a revision."""
    return reply(201, {**seen.json, "rev": 1})


async def test_a_write_whose_answer_is_lost_relies_on_its_key(twin, scripted) -> None:
    """The server answers a key that it knows with what it answered first: the same request again, and nothing is read back."""
    client = twin.client(scripted.url)
    todos = client.collection("todos")
    for act in (
        lambda: todos.create(title="a"),
        lambda: todos.create(id="own", title="a"),
        lambda: todos.create_many([{"n": 1}, {"n": 2}]),
        lambda: todos.update("1", n=inc(2)),
        lambda: todos.update(RECORD, n=2),
        lambda: todos.put(RECORD, n=2),
        lambda: todos.delete(RECORD),
        lambda: todos.update_many({"n": 1}, filter=F.n > 1, max_affected=5),
        lambda: todos.delete_many(filter="n > $n", vars={"n": 1}, max_affected=5),
        lambda: todos.upsert([{"code": "a"}], key="code"),
        lambda: client.collections.create(name="a"),
        lambda: client.collections.delete("a"),
        lambda: client.buckets.create("b"),
        lambda: client.bucket("b").create(b"x", key="f"),
        lambda: client.bucket("b").delete("f"),
        lambda: client.users.create("a@example.com"),
        lambda: client.settings.update({}),
        lambda: client.request("POST", "/v1/x", headers={"idempotency-key": "own"}),
    ):
        scripted.seen.clear()
        answer = {"id": "1", "affected": 3, "items": [], "created": 0, "updated": 1}
        scripted.script = [reply(cut=True), problem(409, "idempotency_in_progress"), reply(200, answer)]
        await twin(act)

        assert 3 == len(scripted.seen)
        assert 1 == len({(seen.method, seen.target, seen.body) for seen in scripted.seen})
        assert 1 == len({seen.headers["idempotency-key"] for seen in scripted.seen})


@pytest.mark.parametrize(
    ("status", "expected"), [(409, Conflict), (412, PreconditionFailed), (404, NotFound)], ids=["conflict", "stale", "gone"]
)
async def test_a_refusal_is_a_refusal_whatever_came_before(twin, scripted, status: int, expected: type[APIError]) -> None:
    scripted.script = [reply(cut=True), problem(status, "refused")]
    with pytest.raises(expected):
        await twin(lambda: twin.client(scripted.url).collection("todos").update(RECORD, n=2))

    assert 2 == len(scripted.seen)
    assert '"4"' == scripted.seen[0].headers["if-match"]


SESSION = {
    "access_token": "a",
    "refresh_token": "r",
    "token_type": "Bearer",
    "expires_in": 600,
    "session_id": "s",
    "user": {"id": "u"},
}


@pytest.mark.parametrize(
    ("act", "answer"),
    [
        (lambda client: client.auth.sign_up("a@example.com", "pw"), reply(201, SESSION)),
        (lambda client: client.auth.sign_in("a@example.com", "pw"), reply(200, SESSION)),
        (lambda client: client.auth.change_password("a", "b"), reply(204)),
        (lambda client: client.auth.delete_me(), reply(204)),
        (lambda client: client.keys.create("k"), reply(201, {"id": "1"})),
        (lambda client: client.projects.create("p2"), reply(201, {"id": "1"})),
        (lambda client: client.projects.delete("p2"), reply(204)),
        (lambda client: client.request("POST", "/v1/x"), reply(200, {})),
    ],
)
async def test_whatever_changes_something_has_one_key_on_every_attempt(twin, scripted, act, answer) -> None:
    """So a lost answer loses nothing: the second attempt is answered as the first was."""
    scripted.script = [reply(cut=True), answer]
    await twin(lambda: act(twin.client(scripted.url)))

    assert 2 == len(scripted.seen)
    assert 1 == len({seen.headers["idempotency-key"] for seen in scripted.seen})


RECORD = Record({"id": "1", "rev": 4, "n": 1})


async def test_a_busy_server_is_asked_again_and_no_more_than_twice(twin, scripted) -> None:
    scripted.script = [problem(503, "busy", headers={"Retry-After": "0"}), reply(200, {"id": "1"})]
    await twin(lambda: twin.client(scripted.url).collection("todos").get("1"))
    scripted.script = [problem(503, "busy")]
    with pytest.raises(ServerError):
        await twin(lambda: twin.client(scripted.url).collection("todos").get("1"))

    assert 2 + 3 == len(scripted.seen)


async def test_a_write_that_was_turned_away_is_repeated(twin, scripted) -> None:
    """429 is said before anything is done, so even what cannot be recognised may be sent again."""
    scripted.script = [problem(429, "too_many_requests", headers={"Retry-After": "0"}), reply(200, {"id": "1"})]
    await twin(lambda: twin.client(scripted.url).collection("todos").update("1", n=2))

    assert 2 == len(scripted.seen)


async def test_a_long_pause_is_the_callers_to_decide(twin, scripted) -> None:
    scripted.script = [problem(429, "too_many_requests", headers={"Retry-After": "61"})]
    with pytest.raises(RateLimited) as caught:
        await twin(lambda: twin.client(scripted.url).collection("todos").get("1"))

    assert 61 == caught.value.retry_after
    assert 1 == len(scripted.seen)


async def test_retries_can_be_turned_off(twin, scripted) -> None:
    scripted.script = [problem(503, "busy")]
    client = twin.client(scripted.url).with_options(max_retries=0, headers={"X-Extra": "1"})
    with pytest.raises(ServerError):
        await twin(lambda: client.collection("todos").get("1"))

    assert ["1"] == [seen.headers["x-extra"] for seen in scripted.seen]


async def test_a_server_that_is_not_there_is_unreachable(twin) -> None:
    with pytest.raises(ConnectionFailed, match=r"127\.0\.0\.1:1 cannot be reached") as caught:
        await twin(lambda: twin.client("http://127.0.0.1:1").collection("todos").create(a=1))

    assert not caught.value.sent


async def test_a_server_that_does_not_answer_times_out(twin, scripted) -> None:
    scripted.script = [reply(200, {}, delay_s=1)]
    with pytest.raises(TimedOut):
        await twin(lambda: twin.client(scripted.url, timeout=0.05, max_retries=0).collection("todos").get("1"))


async def test_an_answer_of_something_else_is_no_answer(twin, scripted) -> None:
    """A captive portal or a proxy's page."""
    scripted.script = [reply(200, b"<html>")]
    with pytest.raises(ConnectionFailed, match="no JSON"):
        await twin(lambda: twin.client(scripted.url).collection("todos").get("1"))


async def test_a_redirect_is_not_followed(twin, scripted) -> None:
    """The credential would go wherever the answer points."""
    scripted.script = [reply(302, None, headers={"Location": "http://elsewhere.example/"})]
    with pytest.raises(APIError, match="elsewhere"):
        await twin(lambda: twin.client(scripted.url, key="sk_x").collection("todos").get("1"))


@pytest.mark.parametrize("path", ["v1/x", "//evil.example/v1", "http://evil.example/"])
async def test_the_escape_hatch_stays_on_the_server(twin, scripted, path: str) -> None:
    with pytest.raises(ConfigError):
        await twin(lambda: twin.client(scripted.url, key="sk_x").request("GET", path))

    assert [] == scripted.seen


async def test_a_long_filter_goes_into_the_body(twin, scripted) -> None:
    scripted.script = [reply(200, {"items": [], "next_cursor": None})]
    client = twin.client(scripted.url)
    await twin(lambda: client.collection("todos").list(filter="a == $a", vars={"a": "x"}, limit=5))
    await twin(lambda: client.collection("todos").list(filter="a == $a", vars={"a": "x" * 3000}, limit=5))

    assert ["GET", "POST"] == [seen.method for seen in scripted.seen]
    assert scripted.seen[1].target.endswith("/records/query")
    assert {"filter": "a == $a", "vars": {"a": "x" * 3000}, "limit": 5} == scripted.seen[1].json


async def test_iterating_walks_the_cursors(twin, scripted) -> None:
    scripted.script = [
        reply(200, {"items": [{"n": 1}, {"n": 2}], "next_cursor": "c2"}),
        reply(200, {"items": [], "next_cursor": "c3"}),
        reply(200, {"items": [{"n": 3}], "next_cursor": None}),
    ]
    records = await twin(lambda: twin.client(scripted.url).collection("todos").iter(page_size=2))

    assert [1, 2, 3] == [record.n for record in records]
    assert ["limit=2", "limit=2&cursor=c2", "limit=2&cursor=c3"] == [seen.target.partition("?")[2] for seen in scripted.seen]


# Sessions


def session(name: str, life_s: float = 900) -> Session:
    ends = datetime.now(UTC) + timedelta(seconds=life_s)
    return Session(f"access-{name}", f"refresh-{name}", ends, "s1", User({"id": "u1"}))


def fresh(name: str) -> Any:
    body = {"access_token": f"access-{name}", "refresh_token": f"refresh-{name}", "expires_in": 900, "session_id": "s1"}
    return reply(200, {**body, "token_type": "Bearer", "user": {"id": "u1"}})


def signed_in(twin: Any, url: str, held: Session, **options: Any) -> Any:
    store = MemoryStore()
    store.save(f"{url}/v1/projects/p", held)
    return twin.client(url, store=store, **options)


async def test_a_session_is_renewed_before_it_ends(twin, scripted) -> None:
    client = signed_in(twin, scripted.url, session("old", life_s=29))
    told: list[Session | None] = []
    client.auth.on_change(told.append)
    scripted.script = [fresh("new"), reply(200, {"id": "u1"})]
    await twin(client.auth.me)

    assert ["/v1/projects/p/auth/refresh", "/v1/projects/p/auth/me"] == [seen.target for seen in scripted.seen]
    assert "authorization" not in scripted.seen[0].headers
    assert "Bearer access-new" == scripted.seen[1].headers["authorization"]
    assert ["access-new"] == [one.access_token if one else None for one in told]


async def test_a_session_is_renewed_once_after_a_401(twin, scripted) -> None:
    client = signed_in(twin, scripted.url, session("old"))
    scripted.script = [problem(401, "bad_token"), fresh("new"), reply(200, {"id": "u1"})]
    await twin(client.auth.me)
    scripted.script = [problem(401, "bad_token"), fresh("newer"), problem(401, "bad_token")]
    with pytest.raises(NotAuthenticated):
        await twin(client.auth.me)

    assert 6 == len(scripted.seen)


async def test_many_calls_renew_once(twin, scripted) -> None:
    """Eight calls at once on an ended token: one refresh, eight answers. A second one would be taken for a stolen token."""
    client = signed_in(twin, scripted.url, session("old"))

    def answer(seen: Any) -> Any:
        if seen.target.endswith("/refresh"):
            made = fresh("new")
            made.delay_s = 0.05
            return made
        good = seen.headers.get("authorization") == "Bearer access-new"
        return reply(200, {"id": "u1"}) if good else problem(401, "bad_token")

    scripted.script = [answer]
    await asyncio.gather(*(twin(client.auth.me) for _ in range(8)))

    assert 1 == sum(seen.target.endswith("/refresh") for seen in scripted.seen)


async def test_a_caller_who_leaves_does_not_lose_the_session(scripted) -> None:
    """The server has rotated the token; the task that asked for it is cancelled; the new pair must be kept all the same."""
    store = MemoryStore()
    store.save(f"{scripted.url}/v1/projects/p", session("old", life_s=5))
    made = fresh("new")
    made.delay_s = 0.1
    scripted.script = [made, reply(200, {"id": "u1"})]
    async with AsyncClient(scripted.url, project="p", store=store) as client:
        asking = asyncio.create_task(client.auth.me())
        await asyncio.sleep(0.05)
        asking.cancel()
        await asyncio.sleep(0.15)

        assert "access-new" == store.load(f"{scripted.url}/v1/projects/p").access_token


@pytest.mark.parametrize("trouble", ["cut", 500, 503, 429, 408])
async def test_trouble_never_signs_out(twin, scripted, trouble: int | str) -> None:
    client = signed_in(twin, scripted.url, session("old", life_s=-1), max_retries=0)
    told: list[Session | None] = []
    client.auth.on_change(told.append)
    scripted.script = [reply(cut=True) if trouble == "cut" else problem(int(trouble), "x")]
    with pytest.raises((ConnectionFailed, APIError)):
        await twin(client.auth.me)

    assert [] == told
    assert "access-old" == (await twin(client.auth.session)).access_token


async def test_a_token_that_still_lives_is_used_when_renewal_fails(twin, scripted) -> None:
    client = signed_in(twin, scripted.url, session("old", life_s=20), max_retries=0)
    scripted.script = [problem(503, "busy"), reply(200, {"id": "u1"})]
    await twin(client.auth.me)

    assert "Bearer access-old" == scripted.seen[1].headers["authorization"]


@pytest.mark.parametrize("status", [400, 401, 403, 422])
async def test_a_refusal_to_renew_ends_the_session(twin, scripted, status: int) -> None:
    client = signed_in(twin, scripted.url, session("old", life_s=-1))
    told: list[Session | None] = []
    client.auth.on_change(told.append)
    scripted.script = [problem(status, "session_ended")]
    with pytest.raises(NotAuthenticated, match="session_ended"):
        await twin(client.auth.me)

    assert [None] == told
    assert await twin(client.auth.session) is None


async def test_a_renewal_by_another_process_is_taken_over(twin, scripted, tmp_path: Path) -> None:
    """Two programs on one file: the second finds the pair of the first instead of using up the dead one."""
    scope = f"{scripted.url}/v1/projects/p"
    store = FileStore(tmp_path / "session.json")
    store.save(scope, session("old", life_s=5))
    client = twin.client(scripted.url, store=store)
    await twin(client.auth.session)
    FileStore(tmp_path / "session.json").save(scope, session("theirs"))
    scripted.script = [reply(200, {"id": "u1"})]
    await twin(client.auth.me)

    assert ["Bearer access-theirs"] == [seen.headers["authorization"] for seen in scripted.seen]


async def test_a_client_with_a_key_stays_that_caller(twin, scripted) -> None:
    """A server that checks its users' passwords must not become one of them."""
    client = twin.client(scripted.url, key="sk_x")
    scripted.script = [fresh("user"), reply(200, {"id": "1"})]
    await twin(lambda: client.auth.sign_in("a@example.com", "pw"))
    await twin(lambda: client.collection("todos").get("1"))

    assert "Bearer sk_x" == scripted.seen[1].headers["authorization"]
    assert await twin(client.auth.session) is None


async def test_a_clone_shares_nothing_but_the_connections(twin, scripted) -> None:
    client = signed_in(twin, scripted.url, session("ada"))
    scripted.script = [reply(200, {"id": "u1"})]
    await twin(client.as_user("access-bob").auth.me)
    await twin(lambda: client.in_project("q").collection("c").get("1"))
    await twin(client.auth.me)

    sent = [(seen.target.split("/")[3], seen.headers.get("authorization")) for seen in scripted.seen]
    assert [("p", "Bearer access-bob"), ("q", None), ("p", "Bearer access-ada")] == sent


async def test_a_sign_out_that_did_not_arrive_keeps_the_session(twin, scripted) -> None:
    client = signed_in(twin, scripted.url, session("ada"), max_retries=0)
    scripted.script = [reply(cut=True)]
    with pytest.raises(ConnectionFailed):
        await twin(client.auth.sign_out)
    assert await twin(client.auth.session) is not None

    scripted.script = [reply(204)]
    await twin(client.auth.sign_out)
    assert await twin(client.auth.session) is None


async def test_no_log_line_holds_a_secret(twin, scripted, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="baas_sdk")
    client = signed_in(twin, scripted.url, session("old", life_s=5))
    scripted.script = [fresh("new"), reply(200, {"id": "u1"})]
    await twin(client.auth.me)

    text = "\n".join(record.getMessage() for record in caplog.records if record.name == "baas_sdk")
    assert "/auth/me -> 200" in text
    assert "access-" not in text
    assert "refresh-" not in text


async def test_the_log_shows_what_was_sent_but_no_credential(twin, scripted, caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG headers and bodies; dots for credentials by name, and for what looks like a token wherever it stands."""
    caplog.set_level(logging.DEBUG, logger="baas_sdk")
    secret = "c4n4ry" * 8
    client = twin.client(scripted.url, key=f"sk_{secret}")
    answer = {"key": f"sk_{secret}", "deep": [{"password": "c4n4ry", "n": 3}], "said": f"Bearer opt_{secret}"}
    scripted.script = [reply(200, answer, headers={"Set-Cookie": "a=c4n4ry"})]
    body, params = {"password": "c4n4ry", "title": "Lamp"}, {"ticket": "c4n4ry", "a": "1"}
    await twin(lambda: client.request("POST", "/v1/x", params=params, body=body))

    text = "\n".join(record.getMessage() for record in caplog.records if record.name == "baas_sdk")
    assert "POST /v1/x?ticket=•••&a=1 -> 200 in " in text
    assert '> {"password": "•••", "title": "Lamp"}' in text
    assert '"deep": [{"password": "•••", "n": 3}], "said": "Bearer •••"' in text
    assert "c4n4ry" not in text


async def test_the_environment_turns_the_log_on(twin, scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAAS_LOG", "loud")
    with pytest.raises(ConfigError, match="BAAS_LOG is 'loud', but must be one of debug, info, warning, error"):
        twin.client(scripted.url)
    monkeypatch.setenv("BAAS_LOG", "debug")
    monkeypatch.setattr(logging.getLogger("baas_sdk"), "level", logging.NOTSET)
    twin.client(scripted.url)

    assert logging.DEBUG == logging.getLogger("baas_sdk").level


async def test_the_raw_answer_has_its_headers(twin, scripted) -> None:
    """With the same arguments as the call itself, and its errors."""
    todos = twin.client(scripted.url, project="app").collection("todos")
    page = reply(200, {"items": [], "next_cursor": None}, headers={"X-Feed-Cursor": "c1"})
    scripted.script = [page, reply(200, {"id": "a"}), reply(404)]
    listed = await twin(lambda: todos.raw.list(filter=F.n > 1, limit=5))
    made = await twin(lambda: todos.raw.create(title="Lamp"))

    assert ("c1", []) == (listed.headers["X-Feed-Cursor"], listed.json()["items"])
    assert "limit=5" in scripted.seen[0].target
    assert ("Lamp", {"id": "a"}) == (scripted.seen[1].json["title"], made.json())
    with pytest.raises(NotFound):
        await twin(lambda: todos.raw.get("a"))


async def test_a_stored_file_is_what_a_file_field_takes(twin, scripted) -> None:
    client = twin.client(scripted.url, project="app")
    scripted.script = [reply(201, {"path": "a/b.png", "name": "b.png"}), reply(201, {"id": "a"})]
    photo = await twin(lambda: client.bucket("photos").upload(b"x", key="a/b.png"))
    await twin(lambda: client.collection("items").create(photo=photo, more=[photo]))

    assert "a/b.png" == photo.key
    assert ("a/b.png", ["a/b.png"]) == (scripted.seen[1].json["photo"], scripted.seen[1].json["more"])
    with pytest.raises(ConfigError, match="upload it"):
        await twin(lambda: client.collection("items").create(photo=Path("b.png")))


# Files

CONTENT = bytes(range(256)) * 4096


async def test_a_download_that_breaks_is_taken_up_where_it_broke(twin, scripted, tmp_path: Path) -> None:
    def rest(seen: Any) -> Any:
        start = int(seen.headers["range"].removeprefix("bytes=").removesuffix("-"))
        return reply(206, CONTENT[start:], headers={"ETag": '"e1"'})

    scripted.script = [reply(200, CONTENT, headers={"ETag": '"e1"'}, cut_after=700_000), rest]
    written = await twin(lambda: twin.client(scripted.url).bucket("b").download("a/x.bin", to=tmp_path))

    assert CONTENT == written.read_bytes()
    assert [tmp_path / "x.bin"] == list(tmp_path.iterdir())
    assert '"e1"' == scripted.seen[1].headers["if-range"]
    assert "bytes=0-" != scripted.seen[1].headers["range"]


async def test_a_file_that_changed_meanwhile_is_fetched_anew(twin, scripted, tmp_path: Path) -> None:
    scripted.script = [
        reply(200, CONTENT, headers={"ETag": '"e1"'}, cut_after=700_000),
        reply(200, b"new", headers={"ETag": '"e2"'}),
    ]
    written = await twin(lambda: twin.client(scripted.url).bucket("b").download("x", to=tmp_path / "y"))

    assert b"new" == written.read_bytes()


async def test_a_download_that_fails_leaves_nothing(twin, scripted, tmp_path: Path) -> None:
    (tmp_path / "y").write_bytes(b"before")
    scripted.script = [reply(200, CONTENT, cut_after=10)]
    with pytest.raises(ConnectionFailed):
        await twin(lambda: twin.client(scripted.url).bucket("b").download("x", to=tmp_path / "y"))

    assert [(tmp_path / "y")] == list(tmp_path.iterdir())
    assert b"before" == (tmp_path / "y").read_bytes()


async def test_an_upload_is_sent_again_from_its_start(twin, scripted, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(CONTENT)
    scripted.script = [problem(503, "busy"), reply(201, {"path": "photo.png"})]
    told: list[Any] = []
    await twin(lambda: twin.client(scripted.url).bucket("b").upload(path, on_progress=told.append))

    assert [CONTENT, CONTENT] == [seen.body for seen in scripted.seen]
    assert ("image/png", str(len(CONTENT))) == (
        scripted.seen[1].headers["content-type"],
        scripted.seen[1].headers["content-length"],
    )
    assert (len(CONTENT), len(CONTENT)) == (told[-1].sent, told[-1].total)


async def test_pieces_that_can_be_read_once_are_sent_once(twin, scripted) -> None:
    scripted.script = [problem(503, "busy"), reply(201, {})]
    with pytest.raises(ServerError):
        await twin(lambda: twin.client(scripted.url).bucket("b").upload(iter([b"a", b"b"]), key="x"))

    assert [b"ab"] == [seen.body for seen in scripted.seen]


async def test_an_open_file_is_sent_from_where_it_stands(twin, scripted, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"skip me, send this")
    scripted.script = [problem(503, "busy"), reply(201, {})]
    with path.open("rb") as file:
        file.seek(9)
        await twin(lambda: twin.client(scripted.url).bucket("b").upload(file))

    assert [b"send this"] * 2 == [seen.body for seen in scripted.seen]
    assert scripted.seen[0].target.endswith("/files/a.txt")


async def test_a_text_file_is_refused_before_it_is_garbled(twin, scripted, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("é")
    with path.open() as file, pytest.raises(ConfigError, match="'rb'"):
        await twin(lambda: twin.client(scripted.url).bucket("b").upload(file))


# Making a client


@pytest.mark.parametrize("url", [None, "", "example.com", "ftp://x", "http://", "http://u:p@x", "http://x/?a=1"])
def test_an_address_that_is_none_is_refused(twin, url: str | None) -> None:
    with pytest.raises(ConfigError):
        twin.client(url)


def test_the_environment_fills_in_what_is_not_said(twin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAAS_URL", "http://env.example/")
    monkeypatch.setenv("BAAS_PROJECT", "env")
    client = twin.client(None, project=None)

    assert ("http://env.example", "env") == (client.url, client.project)
    assert "said" == twin.client(None, project="said").project


@pytest.mark.parametrize(
    "options", [{"key": "a", "token": "b"}, {"key": "a b"}, {"token": "a\nb"}, {"key": "ä"}, {"max_retries": -1}]
)
def test_an_option_that_cannot_be_is_refused(twin, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        twin.client("http://x", **options)


async def test_a_pool_that_is_somebody_elses_stays_open(scripted) -> None:
    scripted.script = [reply(200, {"id": "1"})]
    async with httpx2.AsyncClient() as pool:
        async with AsyncClient(scripted.url, project="p", http_client=pool) as client:
            await client.collection("c").get("1")
        assert not pool.is_closed
    async with AsyncClient(scripted.url, project="p") as client:
        await client.with_options(timeout=1).aclose()
        await client.collection("c").get("1")


async def test_without_a_project_the_short_paths_are_used(twin, scripted) -> None:
    """On a host of a project, `/v1/…` means that project; on any other, the error says what is missing."""
    scripted.script = [reply(200, {"id": "1"}), problem(404, "not_found")]
    client = twin.client(scripted.url, project=None)
    await twin(lambda: client.collection("todos").get("1"))
    with pytest.raises(NotFound, match="No project was named"):
        await twin(lambda: client.collection("todos").get("1"))

    assert "/v1/collections/todos/records/1" == scripted.seen[0].target


def test_json_of_a_problem_is_what_the_tool_prints() -> None:
    assert json.dumps(APIError(404, code="x").problem())
