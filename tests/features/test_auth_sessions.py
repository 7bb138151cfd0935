"""Sessions: refreshing, ending, and how soon access is over."""

import asyncio
import base64
import io

import httpx2
import pytest

from baas.base.ids import short_id
from baas.infra.db.sql import ident, sql
from baas.infra.observe.log import Log
from baas.server import open_server
from tests.support.callers import PASSWORD, Caller


def sessions(project):
    return ident(project.schema, "_sessions")


async def refresh(caller, token):
    return await caller.post("auth/refresh", json={"refresh_token": token})


def holder(project, session):
    """Whoever holds these tokens."""
    return Caller(project.anonymous.http, project.anonymous.base, session["access_token"])


# Refreshing.


async def test_a_refresh_gives_new_tokens_for_the_same_session(project):
    user = await project.user()
    answer = await refresh(project.anonymous, user.session["refresh_token"])
    session = answer.json()

    assert answer.status_code == 200
    assert session["session_id"] == user.session["session_id"]
    assert session["user"] == user.session["user"]
    assert session["refresh_token"] != user.session["refresh_token"]
    assert (await holder(project, session).get("auth/me")).status_code == 200


async def test_twenty_refreshes_at_once_have_one_successor(project, db):
    """I5: tabs and retries that race all get the same next token, and it works."""
    user = await project.user()
    answers = await asyncio.gather(*(refresh(project.anonymous, user.session["refresh_token"]) for _ in range(20)))
    successors = {answer.json()["refresh_token"] for answer in answers if answer.status_code == 200}
    print("refreshes:", [answer.status_code for answer in answers].count(200), "successors:", len(successors))

    assert {200} == {answer.status_code for answer in answers}
    assert len(successors) == 1
    assert await db.fetch_value(sql("select generation from {}", sessions(project))) == 1
    assert (await refresh(project.anonymous, successors.pop())).status_code == 200


async def test_the_predecessor_works_until_its_successor_is_used_and_its_later_use_ends_the_family(project):
    """I5: first an honest retry, then a theft."""
    user = await project.user()
    first = user.session["refresh_token"]
    second = (await refresh(project.anonymous, first)).json()["refresh_token"]
    again = await refresh(project.anonymous, first)
    assert (again.status_code, again.json()["refresh_token"]) == (200, second)
    third = (await refresh(project.anonymous, second)).json()
    stolen = await refresh(project.anonymous, first)

    assert (stolen.status_code, stolen.json()["code"]) == (401, "bad_token")
    assert (await refresh(project.anonymous, third["refresh_token"])).status_code == 401
    assert (await holder(project, third).get("auth/me")).status_code == 401
    assert (await user.get("auth/me")).status_code == 401


async def test_the_predecessor_works_for_ten_seconds(project, db):
    user = await project.user()
    first = user.session["refresh_token"]
    second = (await refresh(project.anonymous, first)).json()["refresh_token"]
    await db.execute(sql("update {} set rotated_at = rotated_at - interval '9 seconds'", sessions(project)))
    assert (await refresh(project.anonymous, first)).status_code == 200
    await db.execute(sql("update {} set rotated_at = rotated_at - interval '2 seconds'", sessions(project)))

    assert (await refresh(project.anonymous, first)).status_code == 401
    assert (await refresh(project.anonymous, second)).status_code == 401


async def test_a_damaged_refresh_token_is_refused_and_harms_nobody(project):
    """A stranger who knows a session's id, which is no secret, cannot end it: only a token of ours is judged."""
    user = await project.user()
    token = user.session["refresh_token"]
    raw = base64.urlsafe_b64decode(token.removeprefix("rt_") + "==")
    damaged = ["rt_", "x", "rt_" + "A" * 70, token + "A", token[:-2], token.removeprefix("rt_"), "rt_" + "é" * 70, user.token]
    for position in range(len(raw)):
        changed = bytearray(raw)
        changed[position] ^= 0x10
        damaged.append("rt_" + base64.urlsafe_b64encode(changed).decode().rstrip("="))
    answers = [await refresh(project.anonymous, one) for one in damaged]
    accepted = sum(answer.status_code == 200 for answer in answers)
    print("damaged:", len(damaged), "accepted:", accepted)

    assert accepted == 0
    assert {401, 422} >= {answer.status_code for answer in answers}
    assert (await refresh(project.anonymous, token)).status_code == 200


async def test_a_session_ends_when_unused_and_however_used(project, db):
    """Idle and absolute: using it moves the first end on, never beyond the second."""
    user = await project.user()
    await db.execute(
        sql("update {} set ends_at = now() + interval '1 hour', expires_at = now() + interval '20 days'", sessions(project))
    )
    session = (await refresh(project.anonymous, user.session["refresh_token"])).json()
    assert await db.fetch_value(sql("select ends_at = expires_at from {}", sessions(project)))
    await db.execute(sql("update {} set expires_at = now() + interval '80 days'", sessions(project)))
    session = (await refresh(project.anonymous, session["refresh_token"])).json()
    days = await db.fetch_value(sql("select extract(epoch from ends_at - now())::float8 / 86400 from {}", sessions(project)))
    assert 29.9 < days <= 30
    await db.execute(sql("update {} set ends_at = now()", sessions(project)))

    assert (await refresh(project.anonymous, session["refresh_token"])).status_code == 401


async def test_refresh_tokens_are_nowhere_in_the_database(project, db):
    user = await project.user()
    session = (await refresh(project.anonymous, user.session["refresh_token"])).json()
    stored = await db.fetch_value(sql("select string_agg(s::text, '') from {} s", sessions(project)))

    for token in (user.session["refresh_token"], session["refresh_token"]):
        digest = base64.urlsafe_b64decode(token.removeprefix("rt_") + "==")[20:]
        assert token not in stored
        assert digest.hex() not in stored


# Looking at them and ending them.


async def test_sessions_are_listed_and_ended_one_by_one_and_all_but_this(project):
    user = await project.user()
    others = []
    for agent in ("phone", "tablet", "old\tlaptop"):
        answer = await project.anonymous.post(
            "auth/sign-in", json={"email": user.email, "password": PASSWORD}, headers={"user-agent": agent}
        )
        others.append(answer.json())
    listed = (await user.get("auth/sessions")).json()["items"]

    assert [entry["id"] for entry in listed] == [*(one["session_id"] for one in reversed(others)), user.session["session_id"]]
    assert [entry["current"] for entry in listed] == [False, False, False, True]
    assert [entry["user_agent"] for entry in listed[:3]] == ["oldlaptop", "tablet", "phone"]
    assert listed[0]["address"] == "127.0.0.1"
    assert (await user.delete(f"auth/sessions/{others[0]['session_id']}")).status_code == 204
    assert (await user.delete(f"auth/sessions/{others[0]['session_id']}")).status_code == 404
    assert (await holder(project, others[0]).get("auth/me")).status_code == 401
    assert (await user.delete("auth/sessions", params={"except": "current"})).status_code == 204
    assert [True] == [entry["current"] for entry in (await user.get("auth/sessions")).json()["items"]]
    assert (await user.delete("auth/sessions", params={"except": "mine"})).status_code == 400
    assert (await user.delete("auth/sessions")).status_code == 204
    assert (await user.get("auth/me")).status_code == 401


async def test_nobody_ends_the_sessions_of_others(project):
    user, stranger = await project.user(), await project.user()

    assert (await stranger.delete(f"auth/sessions/{user.session['session_id']}")).status_code == 404
    assert (await stranger.delete("auth/sessions/none")).status_code == 404
    assert (await user.get("auth/me")).status_code == 200


async def test_the_administration_sees_and_ends_sessions(project):
    user = await project.user()
    (entry,) = (await project.operator.get(f"users/{user.id}/sessions")).json()["items"]

    assert (entry["id"], entry["current"]) == (user.session["session_id"], False)
    assert (await project.operator.delete(f"users/{user.id}/sessions")).status_code == 204
    assert (await user.get("auth/me")).status_code == 401
    assert (await project.operator.get(f"users/{user.id}/sessions")).json()["items"] == []


async def end_by_sql(project, user, db):
    await db.execute(sql("update {} set disabled = true where id = {}::uuid", ident(project.schema, "users"), user.id))


ENDINGS = {
    "sign-out": lambda project, user, db: user.post("auth/sign-out"),
    "session ended by the user": lambda project, user, db: user.delete(f"auth/sessions/{user.session['session_id']}"),
    "all sessions ended by the user": lambda project, user, db: user.delete("auth/sessions"),
    "sessions ended by the operator": lambda project, user, db: project.operator.delete(f"users/{user.id}/sessions"),
    "disabled": lambda project, user, db: project.operator.patch(f"users/{user.id}", json={"disabled": True}),
    "another address": lambda project, user, db: project.operator.patch(
        f"users/{user.id}", json={"email": f"{short_id()}@example.com"}
    ),
    "another password": lambda project, user, db: project.operator.patch(f"users/{user.id}", json={"password": "another one"}),
    "deleted by the operator": lambda project, user, db: project.operator.delete(f"users/{user.id}"),
    "deleted by the user": lambda project, user, db: user.delete("auth/me"),
    "disabled in SQL": end_by_sql,
}


async def test_access_ends_within_five_seconds_on_every_server(project, db, settings, database_url):
    """I6: ten ways to end access; on this server at once (behind the back of the server within five seconds), on a second
    server that has verified the token before within five seconds, and nobody refreshes it back.
    """
    loop = asyncio.get_running_loop()
    async with open_server(settings, database_url) as second:
        transport = httpx2.ASGITransport(second.app, client=("127.0.0.1", 1), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:

            async def seconds_to_end(end):
                user = await project.user()
                there = Caller(http, user.base, user.token)
                assert (await there.get("auth/me")).status_code == 200
                begun = loop.time()
                answer = await end(project, user, db)
                assert answer is None or answer.status_code < 300, answer.text
                if answer is not None:
                    assert (await user.get("auth/me")).status_code == 401
                while {401} != {(await caller.get("auth/me")).status_code for caller in (user, there)}:
                    assert loop.time() - begun < 6
                    await asyncio.sleep(0.05)
                took = loop.time() - begun
                assert (await refresh(project.anonymous, user.session["refresh_token"])).status_code == 401
                return took

            took = dict(zip(ENDINGS, await asyncio.gather(*map(seconds_to_end, ENDINGS.values())), strict=True))
    print("seconds until access was over:", {name: round(one, 2) for name, one in took.items()})

    assert max(took.values()) < 5


async def test_an_account_that_is_disabled_while_it_signs_in_gets_no_session(project, db):
    """Whichever comes first, no living session of a disabled account remains."""
    for _ in range(5):
        user = await project.user()
        await asyncio.gather(
            *(project.anonymous.post("auth/sign-in", json={"email": user.email, "password": PASSWORD}) for _ in range(4)),
            project.operator.patch(f"users/{user.id}", json={"disabled": True}),
        )
        living = await db.fetch_value(
            sql('select count(*) from {} where "user" = {}::uuid and ended_at is null', sessions(project), user.id)
        )
        assert living == 0


async def test_while_the_database_cannot_say_who_has_signed_out_nobody_is_let_in(project, settings, database_url):
    """A server that has lost its database refuses a known token with 503 instead of trusting its memory."""
    user = await project.user()
    async with open_server(settings, database_url) as second:
        transport = httpx2.ASGITransport(second.app, client=("127.0.0.1", 1), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:
            there = Caller(http, user.base, user.token)
            # Its answer is in memory too, so only the question whether the session has ended needs the database.
            assert (await there.get(".well-known/jwks.json")).status_code == 200
            second.db._url = "postgresql://nobody@127.0.0.1:1/nothing"
            await second.db.close()
            await asyncio.sleep(2.1)
            answer = await there.get(".well-known/jwks.json")

    assert answer.status_code == 503


async def test_old_sessions_and_counters_are_swept_by_the_way(project, db, settings, database_url):
    """A sign-in on a server that has not swept lately leaves what is of use and nothing else."""
    user = await project.user()
    throttle = ident(project.schema, "_throttle")
    await db.execute(sql("update {} set ends_at = now() - interval '3 days'", sessions(project)))
    await db.execute(sql("insert into {} values ('old', 0, false, now() - interval '2 hours')", throttle))
    async with open_server(settings, database_url) as second:
        transport = httpx2.ASGITransport(second.app, client=("127.0.0.1", 1), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:
            caller = Caller(http, user.base)
            answer = await caller.post("auth/sign-in", json={"email": user.email, "password": PASSWORD})
    left = [row["id"] for row in await db.fetch(sql("select id::text from {}", sessions(project)))]

    assert left == [answer.json()["session_id"]]
    assert await db.fetch_value(sql("select count(*) from {} where key = 'old'", throttle)) == 0


# Secrets.


async def test_passwords_and_tokens_are_in_no_log_and_no_table(project, db, settings, database_url):
    """S3, S6: canaries through every input of this room; every table of both schemas and the whole log are searched."""
    canary = "canary-7c1f9e-password"
    out = io.StringIO()
    log = Log(out, level="debug")
    secrets = {canary, "canary-other-password"}
    async with open_server(settings, database_url, log=log) as server:
        transport = httpx2.ASGITransport(server.app, client=("127.0.0.1", 1), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:
            await project.settings(auth={"sign_up": True})
            anonymous = Caller(http, project.anonymous.base)
            operator = Caller(http, project.anonymous.base, project.operator.token)
            email = f"{short_id()}@example.com"
            signed_up = await until(lambda: anonymous.post("auth/sign-up", json={"email": email, "password": canary}), 201)
            session = signed_up.json()
            user = Caller(http, anonymous.base, session["access_token"])
            key = (await operator.post("keys", json={"name": "k"})).json()["key"]
            again = (await refresh(anonymous, session["refresh_token"])).json()
            secrets |= {session["access_token"], session["refresh_token"], again["refresh_token"], key, project.operator.token}
            await anonymous.post("auth/sign-in", json={"email": email, "password": canary + "x"})
            await anonymous.post("auth/sign-in", json={"email": canary, "password": canary})
            await anonymous.post(f"auth/sign-in?password={canary}", json={"email": canary, "password": canary})
            broken, json_type = f'{{"password": "{canary}",', {"content-type": "application/json"}
            await anonymous.post("auth/sign-in", content=broken, headers=json_type)
            await user.post("auth/password-change", json={"current": canary, "password": "canary-other-password"})
            await operator.post("users", json={"email": f"{short_id()}@example.com", "password": canary})
            await operator.post("users", json={"email": "nonsense", "password": canary})
            await http.post("/v1/operators/sign-in", json={"email": "a@example.com", "password": canary})
            await Caller(http, anonymous.base, key).get("users")
            await Caller(http, anonymous.base, key + "x").get("users")
            log.flush()
    logged = out.getvalue()
    tables = await db.fetch(
        sql("select schemaname, tablename from pg_tables where schemaname = 'baas' or schemaname = {}", project.schema)
    )
    stored = ""
    for table in tables:
        stored += await db.fetch_value(
            sql("select coalesce(string_agg(t::text, ' '), '') from {} t", ident(table["schemaname"], table["tablename"]))
        )
    spellings = {one for secret in secrets for one in (secret, secret.encode().hex())}
    print("log bytes:", len(logged), "tables:", len(tables), "bytes stored:", len(stored))

    assert [one for one in spellings if one in logged] == []
    assert [one for one in spellings if one in stored] == []
    assert len(tables) > 10
    assert len(logged) > 100


async def until(ask, status):
    for _ in range(100):
        answer = await ask()
        if answer.status_code == status:
            return answer
        await asyncio.sleep(0.03)
    pytest.fail(f"{answer.status_code} {answer.text}")
