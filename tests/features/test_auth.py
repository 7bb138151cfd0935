"""Accounts: signing up and in, the own account, administration, and what strangers learn."""

import asyncio
import json
import statistics
import time
from urllib.parse import quote

import httpx2
import pytest

from baas.base.ids import short_id, uuid7
from baas.infra.db.sql import ident, sql
from baas.infra.db.throttle import address_key
from baas.server import open_server
from tests.support.callers import PASSWORD, Caller
from tests.support.settings import settings_for_tests

EMAIL = {"name": "email", "type": "email", "required": True, "unique": True}


@pytest.fixture
async def open_project(project):
    """A project where people sign up by themselves."""
    await project.settings(auth={"sign_up": True})
    return project


def pointers(answer):
    return sorted((fault["pointer"], fault["code"]) for fault in answer.json()["errors"])


def told(answer):
    """All that an answer tells, but for the id of the request."""
    body = {key: value for key, value in answer.json().items() if key != "request_id"}
    return answer.status_code, body, {key: value for key, value in answer.headers.items() if key != "x-request-id"}


async def with_own_fields(project):
    """`users` with fields of the project's own."""
    fields = (await project.operator.get("collections/users")).json()["fields"]
    more = [
        {"name": "nick", "type": "text", "max": 20, "unique": True},
        {"name": "plan", "type": "text", "readonly": True, "default": "free"},
        {"name": "notes", "type": "text", "hidden": True},
        {"name": "born", "type": "date", "immutable": True},
    ]
    answer = await project.operator.patch("collections/users", json={"fields": [*fields, *more]})
    assert answer.status_code == 200, answer.text


# Signing up.


async def test_nobody_signs_up_as_somebody_who_was(open_project):
    """What a deleted user left behind is known by his id alone, so the server chooses the ids of accounts made by strangers."""
    rules = dict.fromkeys(("list", "view", "create", "update", "delete"), "record.owner == auth.id")
    made = await open_project.operator.post("buckets", json={"name": "b", "rules": rules | {"create": "next.owner == auth.id"}})
    assert made.status_code == 201, made.text
    user = await open_project.user()
    kept = await user.put("buckets/b/files/a", content=b"private", headers={"content-type": "text/plain"})
    assert kept.status_code == 201, kept.text
    assert (await user.delete("auth/me")).status_code == 204

    body = {"id": user.id, "email": "mallory@example.com", "password": PASSWORD}
    answer = await open_project.anonymous.post("auth/sign-up", json=body)

    assert (answer.status_code, pointers(answer)) == (422, [("/id", "system_field")])
    assert (await open_project.operator.post("users", json=body)).status_code == 201


async def test_sign_up_makes_an_account_and_a_session(open_project):
    answer = await open_project.anonymous.post("auth/sign-up", json={"email": "Ada@Example.com", "password": PASSWORD})
    session = answer.json()

    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    assert set(session) == {"access_token", "token_type", "expires_in", "refresh_token", "session_id", "user"}
    assert (session["token_type"], session["expires_in"], session["user"]["email"]) == ("Bearer", 900, "ada@example.com")
    ada = Caller(open_project.anonymous.http, open_project.anonymous.base, session["access_token"])
    assert (await ada.get("auth/me")).json() == session["user"]


async def test_sign_up_is_off_until_the_project_enables_it(project):
    answer = await project.anonymous.post("auth/sign-up", json={"email": "a@example.com", "password": PASSWORD})

    assert (answer.status_code, answer.json()["code"]) == (403, "sign_up_disabled")


async def test_sign_up_for_an_address_that_has_an_account_is_refused_and_changes_nothing(open_project):
    await open_project.user("ada@example.com")
    taken = await open_project.anonymous.post("auth/sign-up", json={"email": "ADA@example.com", "password": "another one"})

    assert (taken.status_code, taken.json()["code"], pointers(taken)) == (409, "already_exists", [("/email", "already_exists")])
    for password, status in ((PASSWORD, 200), ("another one", 401)):
        answer = await open_project.anonymous.post("auth/sign-in", json={"email": "ada@example.com", "password": password})
        assert answer.status_code == status


async def test_of_twenty_sign_ups_at_once_for_one_address_one_wins(open_project):
    body = {"email": "race@example.com", "password": PASSWORD}
    answers = await asyncio.gather(*(open_project.anonymous.post("auth/sign-up", json=body) for _ in range(20)))

    assert [201] + [409] * 19 == sorted(answer.status_code for answer in answers)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, [("/email", "required"), ("/password", "required")]),
        ({"email": "a@example.com"}, [("/password", "required")]),
        ({"email": "nonsense", "password": "1234567", "extra": 1},
         [("/email", "bad_email"), ("/extra", "unknown_field"), ("/password", "too_short")]),
        ({"email": "a@example.com", "password": "password123"}, [("/password", "too_common")]),
        ({"email": "a.b.c.d@example.com", "password": "a.b.c.d@example.com"}, [("/password", "too_common")]),
        ({"email": "a@example.com", "password": "x" * 257}, [("/password", "too_common")]),
        ({"email": "a@example.com", "password": 12345678}, [("/password", "wrong_type")]),
        ({"email": ["a@example.com"], "password": PASSWORD}, [("/email", "wrong_type")]),
        ({"email": "a@example.com", "password": PASSWORD, "email_verified": True}, [("/email_verified", "readonly")]),
        ({"email": "a@example.com", "password": PASSWORD, "disabled": False}, [("/disabled", "readonly")]),
        ({"email": "a@example.com", "password": PASSWORD, "rev": 7}, [("/rev", "system_field")]),
    ],
)  # fmt: skip
async def test_sign_up_names_every_fault(open_project, body, expected):
    answer = await open_project.anonymous.post("auth/sign-up", json=body)
    if len(str(body.get("password", ""))) > 256:
        expected = [("/password", "too_long")]

    assert answer.status_code == 422, answer.text
    assert pointers(answer) == expected


async def test_own_fields_are_accepted_at_sign_up_unless_they_are_not_the_users_to_write(open_project):
    await with_own_fields(open_project)
    base = {"email": "own@example.com", "password": PASSWORD, "nick": "own", "born": "1815-12-10"}
    for field in ("plan", "notes"):
        answer = await open_project.anonymous.post("auth/sign-up", json=base | {field: "x"})
        assert answer.status_code == 422
        assert pointers(answer) == [(f"/{field}", "readonly" if field == "plan" else "unknown_field")]
    user = (await open_project.anonymous.post("auth/sign-up", json=base)).json()["user"]

    assert (user["nick"], user["born"], user["plan"]) == ("own", "1815-12-10", "free")
    assert "notes" not in user
    again = await open_project.anonymous.post("auth/sign-up", json=base | {"email": "other@example.com"})
    assert (again.status_code, pointers(again)) == (409, [("/nick", "already_exists")])


# Signing in.


async def test_known_and_unknown_accounts_get_the_same_answer(project, db):
    """I12: wrong password, no account, an account without a password, what is no address: status, body and headers."""
    await project.user("known@example.com")
    await project.operator.post("users", json={"email": "bare@example.com"})
    answers = []
    for email in ("known@example.com", "unknown@example.com", "bare@example.com", "no address", "x" * 300):
        answers.append(await project.anonymous.post("auth/sign-in", json={"email": email, "password": "not this one"}))

    assert all(told(answer) == told(answers[0]) for answer in answers)
    assert (answers[0].status_code, answers[0].json()["code"]) == (401, "wrong_credentials")


async def test_known_and_unknown_accounts_take_the_same_time(project, server, settings, database_url, tmp_path):
    """I12, with the shipped cost of a hash. What is held is the processor's time, which a busy machine does not change: without
    the hash of nobody an unknown account would cost a twentieth. The clock's figures are printed.
    """
    slow = settings_for_tests(tmp_path, argon2_memory_kib=19456, argon2_time=2, sign_in_per_account=1_000_000)
    async with open_server(slow, database_url) as other:
        caller = at(other, project)
        known = f"{short_id()}@example.com"
        admin = Caller(caller.http, caller.base, project.operator.token)
        assert (await admin.post("users", json={"email": known, "password": PASSWORD})).status_code == 201
        times = {known: [], f"{short_id()}@example.com": []}
        for _ in range(25):
            for email, taken in times.items():
                begun, worked = time.perf_counter(), time.process_time()
                await caller.post("auth/sign-in", json={"email": email, "password": "not this one"})
                taken.append((time.perf_counter() - begun, time.process_time() - worked))
    clock, work = ([statistics.median(one[at] for one in taken) * 1000 for taken in times.values()] for at in (0, 1))
    print("medians (ms):", [round(one, 1) for one in clock], "gap:", round(abs(clock[0] - clock[1]), 2), "work:", work)

    assert 0.5 < work[0] / work[1] < 2


async def test_an_address_has_one_account_however_it_is_written(project):
    await project.user("Grace.Hopper@Example.COM")
    answer = await project.anonymous.post("auth/sign-in", json={"email": " grace.hopper@EXAMPLE.com ", "password": PASSWORD})

    assert answer.status_code == 200


async def test_a_disabled_account_says_so_to_its_owner_alone(project):
    user = await project.user()
    await project.operator.patch(f"users/{user.id}", json={"disabled": True})
    owner = await project.anonymous.post("auth/sign-in", json={"email": user.email, "password": PASSWORD})
    stranger = await project.anonymous.post("auth/sign-in", json={"email": user.email, "password": "not this one"})

    assert (owner.status_code, owner.json()["code"]) == (403, "account_disabled")
    assert (stranger.status_code, stranger.json()["code"]) == (401, "wrong_credentials")
    await project.operator.patch(f"users/{user.id}", json={"disabled": False})
    again = await project.anonymous.post("auth/sign-in", json={"email": user.email, "password": PASSWORD})
    assert again.status_code == 200


@pytest.mark.parametrize(
    "body",
    [[], 1, "x", {"email": "a@b.c"}, {"email": 1, "password": 2}, {"email": "a@example.com", "password": "x" * 257},
     {"email": "a@example.com", "password": PASSWORD, "remember": True}],
)  # fmt: skip
async def test_bodies_of_sign_in_are_typed(project, body):
    answer = await project.anonymous.post("auth/sign-in", json=body)

    assert answer.status_code == 422


# Slowing down.


async def test_wrong_passwords_slow_an_account_down_and_the_same_for_one_that_does_not_exist(project, db):
    """I10: five a minute; the wait is named; afterwards the right password works."""
    user = await project.user()
    seen = {}
    for email in (user.email, f"{short_id()}@example.com"):
        seen[email] = [
            await project.anonymous.post(
                "auth/sign-in", json={"email": email.upper() if n % 2 else email, "password": "not this one"},
                headers={"x-forwarded-for": f"10.1.1.{n}", "forwarded": f"for=10.1.1.{n}", "x-real-ip": f"10.1.1.{n}"},
            )
            for n in range(7)
        ]  # fmt: skip
    known, unknown = seen.values()

    assert [401] * 5 + [429] * 2 == [answer.status_code for answer in unknown]
    refused = unknown[-1]
    assert refused.json()["code"] == "rate_limited"
    assert 1 <= int(refused.headers["retry-after"]) <= 12
    assert refused.headers["ratelimit-policy"] == '"sign-in-account";q=5;w=60'
    # The known account was signed in from this address before, so the address has five attempts of its own besides.
    assert {401, 429} >= {answer.status_code for answer in known}
    for _ in range(6):
        await project.anonymous.post("auth/sign-in", json={"email": user.email, "password": "not this one"})
    locked = await project.anonymous.post("auth/sign-in", json={"email": user.email, "password": PASSWORD})
    assert locked.status_code == 429
    await db.execute(sql("update {} set updated_at = updated_at - interval '13 seconds'", ident(project.schema, "_throttle")))
    good = await project.anonymous.post("auth/sign-in", json={"email": user.email, "password": PASSWORD})
    assert good.status_code == 200


async def test_strangers_cannot_lock_the_owner_out(project, server):
    """Somebody else's attempts use up the account's own, and the owner still gets in from where he was before."""
    user = await project.user()
    stranger = at(server, project, address="192.0.2.77")
    tries = [await stranger.post("auth/sign-in", json={"email": user.email, "password": "not this one"}) for _ in range(8)]
    owner = await project.anonymous.post("auth/sign-in", json={"email": user.email, "password": PASSWORD})

    assert [401] * 5 + [429] * 3 == [answer.status_code for answer in tries]
    assert owner.status_code == 200


async def test_an_address_is_slowed_down_over_all_accounts_and_sign_ups(open_project, database_url, tmp_path):
    """I11: ten a minute whatever accounts are tried and whatever headers say; another address is not concerned."""
    async with open_server(settings_for_tests(tmp_path, sign_in_per_address=10), database_url) as other:
        caller = at(other, open_project, address="198.51.100.9")
        for path, status in (("auth/sign-in", 401), ("auth/sign-up", 201)):
            answers = [
                await caller.post(
                    path,
                    json={"email": f"{short_id()}@example.com", "password": PASSWORD},
                    headers={"x-forwarded-for": f"10.0.0.{n}"},
                )
                for n in range(13)
            ]
            assert [status] * 10 + [429] * 3 == [answer.status_code for answer in answers]
        elsewhere = await at(other, open_project, address="198.51.100.10").post(
            "auth/sign-in", json={"email": "a@example.com", "password": PASSWORD}
        )
        assert elsewhere.status_code == 401


async def test_right_passwords_are_not_counted(project):
    user = await project.user()
    answers = [await project.anonymous.post("auth/sign-in", json={"email": user.email, "password": PASSWORD}) for _ in range(12)]

    assert {200} == {answer.status_code for answer in answers}


async def test_of_many_attempts_at_once_no_more_pass_than_in_a_row(project):
    email = f"{short_id()}@example.com"
    body = {"email": email, "password": "not this one"}
    answers = await asyncio.gather(*(project.anonymous.post("auth/sign-in", json=body) for _ in range(30)))

    assert sum(answer.status_code == 401 for answer in answers) == 5
    assert {401, 429} == {answer.status_code for answer in answers}


def test_one_customer_of_ipv6_is_one_address():
    same = {address_key("x", f"2001:db8:1:2::{n:x}") for n in range(20)}

    assert len(same) == 1
    assert address_key("x", "2001:db8:1:3::1") not in same
    assert address_key("x", "::ffff:192.0.2.1") == address_key("x", "192.0.2.1")


async def test_hashing_that_is_overloaded_says_so(project, database_url, tmp_path):
    """P10: one thread, a queue of one; of twelve at once some are sent away with a time to come back, none fails otherwise."""
    slow = settings_for_tests(tmp_path, argon2_memory_kib=65536, hash_threads=1, hash_queue=1, sign_in_per_account=1_000_000)
    async with open_server(slow, database_url) as other:
        caller = at(other, project)
        body = {"email": "a@example.com", "password": PASSWORD}
        answers = await asyncio.gather(*(caller.post("auth/sign-in", json=body) for _ in range(12)))
    busy = [answer for answer in answers if answer.status_code == 503]

    assert {401, 503} == {answer.status_code for answer in answers}
    assert {("busy", "1")} == {(answer.json()["code"], answer.headers["retry-after"]) for answer in busy}


# The own account.


async def test_the_own_record_is_shown_and_changed_within_bounds(project):
    await with_own_fields(project)
    user = await project.user(nick="before", born="1906-12-09")
    changed = await user.patch("auth/me", json={"nick": "after"})

    assert changed.status_code == 200
    assert changed.json()["nick"] == "after"
    assert changed.headers["etag"] == f'"{changed.json()["rev"]}"'
    assert (await user.get("auth/me")).json() == changed.json()
    assert "notes" not in changed.json()
    wrong = await user.patch(
        "auth/me",
        json={"email": "x@example.com", "email_verified": True, "disabled": False, "password": "y", "plan": "gold",
              "notes": "z", "born": "2000-01-01", "id": user.id, "nick": 5},
    )  # fmt: skip
    assert wrong.status_code == 422
    assert pointers(wrong) == [
        ("/born", "immutable"),
        ("/disabled", "readonly"),
        ("/email", "readonly"),
        ("/email_verified", "readonly"),
        ("/id", "system_field"),
        ("/nick", "wrong_type"),
        ("/notes", "unknown_field"),
        ("/password", "unknown_field"),
        ("/plan", "readonly"),
    ]
    assert (await user.get("auth/me")).json() == changed.json()


async def test_who_has_no_user_token_has_no_own_account(project):
    key = await project.key()
    for method, path in (("GET", "auth/me"), ("PATCH", "auth/me"), ("DELETE", "auth/me"), ("GET", "auth/sessions"),
                         ("DELETE", "auth/sessions"), ("POST", "auth/sign-out"), ("POST", "auth/password-change")):  # fmt: skip
        assert (await project.anonymous.request(method, path, json={})).status_code == 401
        assert (await key.request(method, path, json={})).status_code == 403
        assert (await project.operator.request(method, path, json={})).status_code == 403


async def test_deleting_the_own_account_takes_everything_along(project, db):
    user = await project.user()
    assert (await user.delete("auth/me")).status_code == 204

    assert (await user.get("auth/me")).status_code == 401
    refreshed = await project.anonymous.post("auth/refresh", json={"refresh_token": user.session["refresh_token"]})
    assert refreshed.status_code == 401
    signed_in = await project.anonymous.post("auth/sign-in", json={"email": user.email, "password": PASSWORD})
    assert signed_in.status_code == 401
    for table, column in (("users", "id"), ("_credentials", "user")):
        left = await db.fetch_value(
            sql("select count(*) from {} where {} = {}::uuid", ident(project.schema, table), ident(column), user.id)
        )
        assert left == 0
    assert (await project.operator.post("users", json={"email": user.email})).status_code == 201


async def test_another_password_ends_other_sessions_and_needs_the_present_one(project):
    user = await project.user()
    other = (await project.anonymous.post("auth/sign-in", json={"email": user.email, "password": PASSWORD})).json()
    wrong = await user.post("auth/password-change", json={"current": "not this one", "password": "a new password"})
    weak = await user.post("auth/password-change", json={"current": PASSWORD, "password": "password123"})
    right = await user.post("auth/password-change", json={"current": PASSWORD, "password": "a new password"})

    assert (wrong.status_code, wrong.json()["code"]) == (403, "wrong_password")
    assert (weak.status_code, pointers(weak)) == (422, [("/password", "too_common")])
    assert right.status_code == 204
    assert (await user.get("auth/me")).status_code == 200
    there = Caller(user.http, user.base, other["access_token"])
    assert (await there.get("auth/me")).status_code == 401
    for password, status in ((PASSWORD, 401), ("a new password", 200)):
        answer = await project.anonymous.post("auth/sign-in", json={"email": user.email, "password": password})
        assert answer.status_code == status


async def test_guessing_the_present_password_with_a_stolen_token_is_slowed_down(project):
    user = await project.user()
    body = {"current": "not this one", "password": "a new password"}
    answers = [await user.post("auth/password-change", json=body) for _ in range(7)]

    assert [403] * 5 + [429] * 2 == [answer.status_code for answer in answers]


# Administration.


async def test_users_are_made_found_listed_changed_and_deleted(project):
    admin = await project.key("users")
    made = await admin.post("users", json={"email": "New@example.com", "email_verified": True})
    user = made.json()
    more = [(await admin.post("users", json={"email": f"u{n}@example.com"})).json()["id"] for n in range(4)]
    found, cursor = [], None
    while True:
        page = (await admin.get("users", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))).json()
        found += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert made.status_code == 201
    assert made.headers["location"] == f"/v1/projects/{project.name}/users/{user['id']}"
    assert user["email_verified"] is True
    assert found == [user["id"], *more]
    assert (await admin.get("users", params={"email": "NEW@example.com"})).json()["items"] == [user]
    assert (await admin.get(f"users/{user['id']}")).json() == user
    changed = (await admin.patch(f"users/{user['id']}", json={"email": "newer@example.com", "password": PASSWORD})).json()
    assert changed == user | {"email": "newer@example.com", "rev": 2, "updated_at": changed["updated_at"]}
    signed_in = await project.anonymous.post("auth/sign-in", json={"email": "newer@example.com", "password": PASSWORD})
    assert signed_in.status_code == 200
    assert (await admin.patch(f"users/{user['id']}", json={"email": "u1@example.com"})).status_code == 409
    assert (await admin.delete(f"users/{user['id']}")).status_code == 204
    for answer in (
        await admin.get(f"users/{user['id']}"),
        await admin.delete(f"users/{user['id']}"),
        await admin.patch(f"users/{user['id']}", json={"password": PASSWORD}),
        await admin.get(f"users/{user['id']}/sessions"),
        await admin.get("users/none"),
    ):
        assert answer.status_code == 404


async def test_users_are_administered_by_operators_and_keys_with_the_scope_alone(project):
    user, other = await project.user(), await project.key("records")
    calls = [("GET", "users"), ("POST", "users"), *((method, f"users/{user.id}{rest}") for method, rest in
             (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/sessions"), ("DELETE", "/sessions")))]  # fmt: skip
    for method, path in calls:
        assert (await project.anonymous.request(method, path, json={})).status_code == 401
        assert (await user.request(method, path, json={})).status_code == 403
        assert (await other.request(method, path, json={})).status_code == 403
    assert (await project.operator.get("users")).status_code == 200


@pytest.mark.parametrize("cursor", ["x", "%00", "bm90IGEgdXVpZA", "é", "a" * 2000])
async def test_a_cursor_that_is_none_is_refused(project, cursor):
    answer = await project.operator.get("users", params={"cursor": cursor})

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor")


# Hostile input.

HOSTILE = (
    "", " ", "\x00", "a\x00b@example.com", "\ud800", "a@\ud800.com", "a@b", "@", "a@@b.c", "'; drop table users; --",
    "a@xn--a.com", "a@xn--" + "9" * 60 + ".com", "a@" + "b." * 120 + "com", "x" * 70 + "@example.com", "ﷺ@example.com",
    "a@ﷺ.com", "a@[127.0.0.1]", "a@\u202eexample.com", "\r\nBcc: x@example.com", "a@example.com\r\n", "%00", "../../etc/passwd",
    "a" * 100_000, True, False, 0, -1, 2**63, 10**400, 1e308, 0.1, None, [], {}, [[]], {"$gt": ""}, {"a": {"b": {}}},
    ["a@example.com"],
)  # fmt: skip


async def test_no_input_ends_in_a_fault_of_the_server(open_project):
    """D3, D7: every hostile value in every member of every body, path and query of this room: never a 5xx, never a success."""
    await with_own_fields(open_project)
    user = await open_project.user()
    anonymous, operator = open_project.anonymous, open_project.operator
    calls = (
        (anonymous, "POST", "auth/sign-up", {"email": "ok@example.com", "password": PASSWORD, "nick": "x", "born": "2000-01-01"}),
        (anonymous, "POST", "auth/sign-in", {"email": "ok@example.com", "password": PASSWORD}),
        (anonymous, "POST", "auth/refresh", {"refresh_token": "rt_x"}),
        (user, "PATCH", "auth/me", {"email": "x@example.com", "disabled": True, "born": "2000-01-01"}),
        (user, "POST", "auth/password-change", {"current": PASSWORD, "password": PASSWORD}),
        (operator, "POST", "users", {"id": "x", "email": "", "password": "", "disabled": 3, "born": 3}),
        (operator, "PATCH", f"users/{user.id}", {"email": "", "password": "", "disabled": 3, "born": 3}),
        (anonymous, "POST", "/v1/operators/sign-in", {"email": "ok@example.com", "password": PASSWORD}),
        (anonymous, "POST", "/v1/operators/setup", {"token": "set_x", "email": "ok@example.com", "password": PASSWORD}),
        (operator, "POST", "/v1/projects", {"name": "x"}),
        (operator, "POST", "keys", {"name": "x", "scopes": ["*"], "expires_in": 60}),
        (operator, "PATCH", "settings", {"auth": {}, "cors": {}, "limits": {}}),
    )
    asked, faults = 0, []
    for caller, method, path, body in calls:
        for member in body:
            for value in HOSTILE:
                text = json.dumps(body | {member: value})
                answer = await caller.request(method, path, content=text, headers={"content-type": "application/json"})
                asked += 1
                if answer.status_code >= 500:
                    faults.append((path, member, value, answer.status_code, answer.text))
    for value in (str(one) for one in HOSTILE):
        quoted = quote(value.encode("utf-8", "surrogatepass")[:4000], safe="")
        for caller, method, path in (
            (user, "DELETE", f"auth/sessions/{quoted}"),
            (user, "DELETE", f"auth/sessions?except={quoted}"),
            (operator, "GET", f"users/{quoted}"),
            (operator, "GET", f"users?email={quoted}"),
            (operator, "GET", f"users?cursor={quoted}"),
            (operator, "GET", f"users?limit={quoted}"),
            (operator, "DELETE", f"keys/{quoted}"),
            (operator, "GET", f"/v1/projects/{quoted}"),
            (operator, "GET", f"/v1/projects?cursor={quoted}"),
        ):
            answer = await caller.request(method, path)
            asked += 1
            if answer.status_code >= 500:
                faults.append((path, value, answer.status_code, answer.text))
    print("hostile inputs:", asked, "5xx:", len(faults))

    assert faults == []
    assert (await user.get("auth/me")).status_code == 200


async def test_what_an_account_refers_to_must_be_there_and_visible(open_project):
    """A3: own fields are under the rules of what they point to, at sign-up and at a change; operators are not."""
    await open_project.collection("teams", [{"name": "name", "type": "text"}], {"view": "name == 'open'"})
    fields = (await open_project.operator.get("collections/users")).json()["fields"]
    answer = await open_project.operator.patch(
        "collections/users", json={"fields": [*fields, {"name": "team", "type": "relation", "to": "teams"}]}
    )
    assert answer.status_code == 200, answer.text
    teams = {name: (await open_project.operator.create("teams", {"name": name}))["id"] for name in ("open", "closed")}
    absent, user = str(uuid7()), await open_project.user()
    base = {"email": f"{short_id()}@example.com", "password": PASSWORD}
    refused = [
        *[await open_project.anonymous.post("auth/sign-up", json=base | {"team": one}) for one in (teams["closed"], absent)],
        *[await user.patch("auth/me", json={"team": one}) for one in (teams["closed"], absent)],
        await open_project.operator.patch(f"users/{user.id}", json={"team": absent}),
    ]

    assert [422] * 5 == [answer.status_code for answer in refused]
    assert {"/team"} == {answer.json()["errors"][0]["pointer"] for answer in refused}
    assert told(refused[2])[:2] == told(refused[3])[:2]
    signed_up = await open_project.anonymous.post("auth/sign-up", json=base | {"team": teams["open"]})
    assert signed_up.status_code == 201
    assert signed_up.json()["user"]["team"] == teams["open"]
    assert (await user.patch("auth/me", json={"team": teams["open"]})).json()["team"] == teams["open"]
    assert (await open_project.operator.patch(f"users/{user.id}", json={"team": teams["closed"]})).status_code == 200


async def test_an_account_that_records_need_is_not_deleted(project):
    await project.collection(
        "posts", [{"name": "owner", "type": "relation", "to": "users", "on_delete": "restrict"}], {"create": "true"}
    )
    user = await project.user()
    await project.operator.create("posts", {"owner": user.id})
    answer = await user.delete("auth/me")

    assert (answer.status_code, answer.json()["code"]) == (409, "reference_violated")
    assert (await user.get("auth/me")).status_code == 200


async def test_a_field_that_only_some_users_may_read_is_shown_to_those(project):
    """`read` expressions hold in the own record too."""
    fields = (await project.operator.get("collections/users")).json()["fields"]
    more = [
        {"name": "score", "type": "int", "read": "record.score > 10"},
        {"name": "level", "type": "int", "read": "auth.level == 3"},
    ]
    answer = await project.operator.patch("collections/users", json={"fields": [*fields, *more]})
    assert answer.status_code == 200, answer.text
    low, high = await project.user(score=5, level=1), await project.user(score=50, level=3)
    shown = [set((await user.get("auth/me")).json()) & {"score", "level"} for user in (low, high)]

    assert shown == [set(), {"score", "level"}]


def at(server, project, *, address="127.0.0.1"):
    """An anonymous caller of the project on another server, or from another address."""
    transport = httpx2.ASGITransport(server.app, client=(address, 1), raise_app_exceptions=False)
    return Caller(httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000"), project.anonymous.base)
