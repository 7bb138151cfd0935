"""Operators: the first one, signing in and out, and what strangers learn."""

import asyncio
import contextlib
from collections import Counter

import httpx2
import pytest

from baas.base.errors import BaasError, Unauthenticated
from baas.base.ids import new_token, short_id
from baas.features.projects.installation import WrongSecretKey, verify_secret_key
from baas.infra.db.sql import sql
from baas.server import open_server
from tests.support.settings import settings_for_tests

PASSWORD = "operator password"


@pytest.fixture
async def new_server(empty_url, tmp_path):
    """A server nobody has set up."""
    async with open_server(settings_for_tests(tmp_path), empty_url) as server:
        yield server


@pytest.fixture
async def new_http(new_server):
    transport = httpx2.ASGITransport(new_server.app, client=("127.0.0.1", 1), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        yield client


def setup_body(token, email="first@example.com", password=PASSWORD):
    return {"token": token, "email": email, "password": password}


async def test_of_fifty_set_ups_at_once_one_wins(new_server, new_http):
    """S1: half with one token, half with another, because every server of an installation prints its own."""
    tokens = [await new_server.operators.setup_token() for _ in range(2)]
    answers = await asyncio.gather(
        *(new_http.post("/v1/operators/setup", json=setup_body(tokens[n % 2], f"o{n}@example.com")) for n in range(50))
    )
    statuses = Counter(answer.status_code for answer in answers)
    print("set-ups:", dict(statuses))

    assert statuses[201] == 1
    assert set(statuses) <= {201, 403, 410, 503}
    assert await new_server.db.fetch_value(sql("select count(*) from baas.operators")) == 1
    winner = next(answer.json() for answer in answers if answer.status_code == 201)
    me = await new_http.get("/v1/operators/me", headers={"authorization": f"Bearer {winner['token']}"})
    assert me.json()["email"] == winner["operator"]["email"]


async def test_set_up_is_gone_once_there_is_an_operator(new_server, new_http):
    token = await new_server.operators.setup_token()
    await new_server.operators.create("cli@example.com", PASSWORD)
    answer = await new_http.post("/v1/operators/setup", json=setup_body(token))

    assert (answer.status_code, answer.json()["code"]) == (410, "setup_done")
    assert await new_server.operators.setup_token() is None


async def test_the_first_visitor_gets_nothing_without_the_token(new_server, new_http):
    await new_server.operators.setup_token()
    for token in (new_token("set"), "set_x", "", "opt_x"):
        answer = await new_http.post("/v1/operators/setup", json=setup_body(token))

        assert answer.status_code in (403, 422), answer.text
    assert await new_server.db.fetch_value(sql("select count(*) from baas.operators")) == 0


async def test_a_set_up_token_expires(new_server, new_http):
    token = await new_server.operators.setup_token()
    await new_server.db.execute(sql("update baas.setup_tokens set expires_at = now() - interval '1 second'"))

    assert (await new_http.post("/v1/operators/setup", json=setup_body(token))).status_code == 403


async def test_a_refused_password_leaves_the_set_up_token_good(new_server, new_http):
    token = await new_server.operators.setup_token()
    refused = await new_http.post("/v1/operators/setup", json=setup_body(token, "nonsense", "password123"))

    assert refused.status_code == 422
    assert [("/email", "bad_email"), ("/password", "too_common")] == [
        (fault["pointer"], fault["code"]) for fault in refused.json()["errors"]
    ]
    assert (await new_http.post("/v1/operators/setup", json=setup_body(token))).status_code == 201


async def test_a_repeated_setup_gives_the_same_session(new_server, new_http) -> None:
    """Its token is used up by then: only the Idempotency-Key tells the second attempt from a stranger's."""
    token = await new_server.operators.setup_token()
    headers = {"idempotency-key": "k"}
    first, again = [await new_http.post("/v1/operators/setup", json=setup_body(token), headers=headers) for _ in range(2)]

    assert (first.status_code, again.status_code) == (201, 201), again.text
    assert again.headers["idempotent-replayed"] == "true"
    assert first.content == again.content


async def test_credentials_are_kept_as_hashes_only(new_server, new_http):
    """S6: neither the password nor any token is anywhere in the control schema."""
    token = await new_server.operators.setup_token()
    stored_setup = await new_server.db.fetch_value(sql("select string_agg(t::text, '') from baas.setup_tokens t"))
    session = (await new_http.post("/v1/operators/setup", json=setup_body(token, password="a canary password"))).json()
    stored = await new_server.db.fetch_value(
        sql("select string_agg(o::text || s::text, '') from baas.operators o join baas.operator_sessions s on s.operator = o.id")
    )
    hexed = token.encode().hex(), session["token"].encode().hex()

    assert token not in stored_setup
    assert "$argon2id$" in stored
    assert not [secret for secret in ("canary", session["token"], *hexed) if secret in stored + stored_setup]


async def test_known_and_unknown_operators_get_the_same_answer(operator):
    answers = [
        await operator.http.post("/v1/operators/sign-in", json={"email": email, "password": "not this one"})
        for email in (operator.email, f"{short_id()}@example.com", "no address at all")
    ]
    told = [
        ({key: value for key, value in answer.json().items() if key != "request_id"},
         {key: value for key, value in answer.headers.items() if key != "x-request-id"}, answer.status_code)
        for answer in answers
    ]  # fmt: skip

    assert told[0] == told[1] == told[2]
    assert told[0][2] == 401
    assert answers[0].headers["www-authenticate"].startswith("Bearer")


async def test_wrong_passwords_are_slowed_down_and_the_owner_is_not_locked_out_for_good(new_server, new_http):
    """I10: five tries, then 429 with the wait; when the wait is over the right password works."""
    await new_server.operators.create("slow@example.com", PASSWORD)
    wrong = {"email": "Slow@example.com", "password": "wrong"}
    tries = [await new_http.post("/v1/operators/sign-in", json=wrong) for _ in range(8)]

    assert [401] * 5 + [429] * 3 == [answer.status_code for answer in tries]
    refused = tries[-1]
    assert refused.json()["code"] == "rate_limited"
    assert 1 <= int(refused.headers["retry-after"]) <= 12
    assert refused.headers["ratelimit"].startswith('"sign-in-account";r=0;t=')
    assert refused.headers["ratelimit-policy"] == '"sign-in-account";q=5;w=60'
    await new_server.db.execute(sql("update baas.throttle set updated_at = updated_at - interval '13 seconds'"))
    good = await new_http.post("/v1/operators/sign-in", json={"email": "slow@example.com", "password": PASSWORD})
    assert good.status_code == 200


async def test_right_passwords_are_not_counted(new_server, new_http):
    await new_server.operators.create("often@example.com", PASSWORD)
    answers = [
        await new_http.post("/v1/operators/sign-in", json={"email": "often@example.com", "password": PASSWORD}) for _ in range(12)
    ]

    assert {200} == {answer.status_code for answer in answers}


async def test_signing_out_ends_the_session_on_every_server(new_server, empty_url, new_http, tmp_path):
    """Here at once, on a second server within two seconds."""
    await new_server.operators.create("leaver@example.com", PASSWORD)
    session = (await new_http.post("/v1/operators/sign-in", json={"email": "leaver@example.com", "password": PASSWORD})).json()
    headers = {"authorization": f"Bearer {session['token']}"}
    async with open_server(settings_for_tests(tmp_path), empty_url) as second:
        await second.operators.principal(session["token"])
        assert (await new_http.post("/v1/operators/sign-out", headers=headers)).status_code == 204
        assert (await new_http.get("/v1/operators/me", headers=headers)).status_code == 401
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with contextlib.suppress(Unauthenticated):
            while loop.time() < begun + 5:
                await second.operators.principal(session["token"])
                await asyncio.sleep(0.02)
        print("sign-out reached the second server after", round(loop.time() - begun, 2), "s")
        assert loop.time() - begun < 2.5


async def test_a_token_that_is_not_used_for_twelve_hours_is_dead(new_server, new_http):
    await new_server.operators.create("idle@example.com", PASSWORD)
    session = (await new_http.post("/v1/operators/sign-in", json={"email": "idle@example.com", "password": PASSWORD})).json()
    await new_server.db.execute(sql("update baas.operator_sessions set expires_at = now() - interval '1 second'"))
    answer = await new_http.get("/v1/operators/me", headers={"authorization": f"Bearer {session['token']}"})

    assert answer.status_code == 401


async def test_using_a_token_moves_its_end_on(new_server, new_http):
    await new_server.operators.create("busy@example.com", PASSWORD)
    session = (await new_http.post("/v1/operators/sign-in", json={"email": "busy@example.com", "password": PASSWORD})).json()
    await new_server.db.execute(sql("update baas.operator_sessions set expires_at = now() + interval '1 hour'"))
    await new_http.get("/v1/operators/me", headers={"authorization": f"Bearer {session['token']}"})
    left = await new_server.db.fetch_value(sql("select expires_at - now() > interval '11 hours' from baas.operator_sessions"))

    assert left


async def test_two_operators_cannot_have_one_address(new_server):
    await new_server.operators.create("one@example.com", PASSWORD)

    with pytest.raises(BaasError) as refused:
        await new_server.operators.create("ONE@example.com", PASSWORD)
    assert refused.value.code == "already_exists"


@pytest.mark.parametrize(
    "token", ["opt_", "opt_x", "opt_" + "a" * 49, new_token("opt")], ids=["empty", "short", "no checksum", "unknown"]
)
async def test_damaged_and_unknown_tokens_are_refused(operator, token):
    answer = await operator.http.get("/v1/operators/me", headers={"authorization": f"Bearer {token}"})

    assert (answer.status_code, answer.json()["code"]) == (401, "bad_token")


async def test_servers_on_one_database_must_share_the_secret_key(new_server):
    await verify_secret_key(new_server.db, b"test-key-of-at-least-thirty-two-bytes")

    with pytest.raises(WrongSecretKey, match="another secret key"):
        await verify_secret_key(new_server.db, b"another-key-of-at-least-thirty-two-bytes")
