"""`auth.claims`: what operators say of users, who may say it, and how soon it holds."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import httpx2
import jwt
import pytest

from baas.base.settings import Settings
from baas.infra.db.pool import Database
from baas.infra.db.sql import ident, sql
from baas.server import open_server
from tests.conftest import ORIGIN
from tests.support.callers import PASSWORD, Caller, ProjectUnderTest
from tests.support.stream import follow

ADMIN = 'auth.claims.role == "admin"'
OPEN = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")
ADMINS = dict.fromkeys(OPEN, ADMIN)
WAIT_S = 30.0
There = Callable[[Caller], Caller]


@pytest.fixture
async def there(settings: Settings, database_url: str) -> AsyncIterator[There]:
    """The same caller at a second server."""
    async with open_server(settings, database_url) as second:
        transport = httpx2.ASGITransport(second.app, client=("127.0.0.1", 40001), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url=ORIGIN) as http:
            yield lambda caller: replace(caller, http=http)


async def say(project: ProjectUnderTest, user: Caller, claims: dict[str, Any] | None) -> dict[str, Any]:
    answer = await project.operator.patch(f"users/{user.id}", json={"claims": claims})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def until(ask: Callable[[], Any], reached: Callable[[Any], bool]) -> float:
    """Seconds until it is so: promised are five, on a machine that has nothing else to do."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while not reached(found := await ask()):
        assert loop.time() - begun < WAIT_S, getattr(found, "text", found)
        await asyncio.sleep(0.05)
    return loop.time() - begun


def pointers(answer: httpx2.Response) -> list[tuple[str, str]]:
    return [(fault["pointer"], fault["code"]) for fault in answer.json()["errors"]]


async def test_a_rule_over_claims_allows_and_denies(project: ProjectUnderTest) -> None:
    """In lists, views, writes, aggregates, filters and files; at once on the server that was told, with the old token."""
    note = (await project.collection("notes", rules=ADMINS)) and await project.operator.create("notes", {"title": "x"})
    made = await project.operator.post("buckets", json={"name": "b", "rules": ADMINS})
    assert made.status_code == 201, made.text
    put = await project.operator.put("buckets/b/files/a", content=b"x", headers={"content-type": "text/plain"})
    assert put.status_code == 201, put.text
    user, other = await project.user(), await project.user()
    one = f"collections/notes/records/{note['id']}"

    async def statuses(caller: Caller) -> list[int]:
        text = {"headers": {"content-type": "text/plain"}, "content": b"y"}
        return [
            (await caller.get("collections/notes/records")).status_code,
            (await caller.get(one)).status_code,
            (await caller.patch(one, json={"title": "y"})).status_code,
            (await caller.post("collections/notes/records", json={"title": "z"})).status_code,
            (await caller.post("collections/notes/records/aggregate", json={"select": {"n": "count()"}})).status_code,
            (await caller.get("buckets/b/files/a")).status_code,
            (await caller.put("buckets/b/files/mine", **text)).status_code in (200, 201),
        ]

    denied, allowed = [403, 404, 404, 403, 403, 404, False], [200, 200, 200, 201, 200, 200, True]
    assert await statuses(user) == denied
    await say(project, user, {"role": "admin"})
    assert await statuses(user) == allowed
    assert await statuses(other) == denied
    await say(project, user, {"role": "reader"})
    assert await statuses(user) == denied
    await say(project, user, {"role": "admin", "more": 1})
    assert await statuses(user) == allowed
    await say(project, user, None)
    assert await statuses(user) == denied


async def test_claims_are_what_they_were_sent_as(project: ProjectUnderTest) -> None:
    """Any JSON: in answers, in tokens, and in rules by value; decimals keep their digits."""
    claims = {"n": 0.1, "big": 2**60, "l": ["a", {"b": None}], "t": 'é😀"', "yes": True, "o": {"a.b": "c"}}
    rule = (
        'auth.claims.n == 0.1 && auth.claims.big == 1152921504606846976 && "a" in auth.claims.l && auth.claims.yes == true'
        ' && auth.claims.o.`a.b` == "c" && record.title != null && record.title == auth.claims.t'
    )
    await project.collection("notes", rules=OPEN | {"list": rule})
    await project.operator.create("notes", {"title": claims["t"]})
    await project.operator.create("notes", {"title": "other"})
    user = await project.user()
    shown = await say(project, user, claims)

    assert shown["claims"] == claims
    assert (await user.get("auth/me")).json()["claims"] == claims
    assert (await project.operator.get(f"users/{user.id}")).json()["claims"] == claims
    (listed,) = [one for one in (await project.operator.get("users")).json()["items"] if one["id"] == user.id]
    assert listed == shown
    assert [claims["t"]] == [one["title"] for one in await user.list("notes")]
    again = await signed_in(project, user)
    assert jwt.decode(again.token, options={"verify_signature": False})["claims"] == claims
    assert [claims["t"]] == [one["title"] for one in await again.list("notes")]
    renewed = await project.anonymous.post("auth/refresh", json={"refresh_token": user.session["refresh_token"]})
    assert jwt.decode(renewed.json()["access_token"], options={"verify_signature": False})["claims"] == claims
    assert renewed.json()["user"]["claims"] == claims
    plain = await project.user()
    assert (await plain.get("auth/me")).json()["claims"] == {}
    assert "claims" not in jwt.decode(plain.token, options={"verify_signature": False})


async def test_decimals_in_a_token_keep_their_digits(project: ProjectUnderTest) -> None:
    """A double would not hold them; the token is read as the record would be."""
    digits = "0.12345678901234567890123"
    number = {"name": "n", "type": "decimal", "precision": 30, "scale": 25, "required": True}
    await project.collection("notes", [number], OPEN | {"list": "record.n == auth.claims.n"})
    await project.operator.create("notes", {"n": digits})
    user = await project.user()
    body = b'{"claims": {"n": %b}}' % digits.encode()
    answer = await project.operator.patch(f"users/{user.id}", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200, answer.text

    assert Decimal(digits) == json.loads(answer.text, parse_float=Decimal)["claims"]["n"]
    for caller in (user, await signed_in(project, user)):
        assert len(await caller.list("notes")) == 1


async def test_nobody_writes_his_own_claims(project: ProjectUnderTest) -> None:
    """Not at sign-up, not as himself, not as a record of `users`, whatever its rules; and a key needs its scope."""
    await project.settings(auth={"sign_up": True})
    assert (await project.operator.patch("collections/users", json={"rules": OPEN})).status_code == 200
    user, claims = await project.user(), {"role": "admin"}
    body = {"email": "new@example.com", "password": PASSWORD, "claims": claims}

    refused = await project.anonymous.post("auth/sign-up", json=body)
    assert (refused.status_code, pointers(refused)) == (422, [("/claims", "readonly")])
    refused = await user.patch("auth/me", json={"claims": claims})
    assert (refused.status_code, pointers(refused)) == (422, [("/claims", "readonly")])
    for caller in (user, await project.key(), project.operator):
        answer = await caller.patch(f"collections/users/records/{user.id}", json={"claims": claims})
        assert (answer.status_code, pointers(answer)) == (422, [("/claims", "unknown_field")])
    assert (await user.patch(f"users/{user.id}", json={"claims": claims})).status_code == 403
    assert (await project.anonymous.patch(f"users/{user.id}", json={"claims": claims})).status_code == 401
    for scope in ("records", "schema", "settings", "keys", "files"):
        answer = await (await project.key(scope)).patch(f"users/{user.id}", json={"claims": claims})
        assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")
    assert (await user.get("auth/me")).json()["claims"] == {}

    answer = await (await project.key("users")).patch(f"users/{user.id}", json={"claims": claims})
    assert (answer.status_code, answer.json()["claims"]) == (200, claims)
    made = await (await project.key("users")).post("users", json=body)
    assert (made.status_code, made.json()["claims"]) == (201, claims)


async def test_claims_are_not_seen_by_other_users(project: ProjectUnderTest) -> None:
    """Whatever the rules of `users`: no list, filter, sort or change of it has them, also not for operators."""
    assert (await project.operator.patch("collections/users", json={"rules": OPEN})).status_code == 200
    user, other = await project.user(), await project.user()
    await say(project, user, {"role": "very secret word"})

    for caller in (other, project.operator):
        for query in ({}, {"fields": "id,claims"}, {"filter": "claims.role == 'x'"}, {"sort": "claims"}):
            answer = await caller.get("collections/users/records", params=query)
            assert answer.status_code == (200 if not query else 400), answer.text
            assert "secret" not in answer.text
    assert "secret" not in (await project.operator.get("collections/users/changes")).text


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ("admin", "wrong_type"), (["admin"], "wrong_type"), (1, "wrong_type"), (False, "wrong_type"),
        ({"a": "x" * 1015}, None), ({"a": "x" * 1017}, "too_long"), ({"a": "é" * 509}, "too_long"),
        ({"a": {"b": {"c": [1]}}}, None), ({"a": {"b": {"c": [[1]]}}}, "too_deep"),
        ({"a": 1e308}, None), ({"": {"": ""}}, None),
    ],
)  # fmt: skip
async def test_claims_are_small_objects(project: ProjectUnderTest, claims: Any, code: str | None) -> None:
    """And those that are taken fit into a token that is taken."""
    user = await project.user()
    answer = await project.operator.patch(f"users/{user.id}", json={"claims": claims})

    if code is not None:
        assert (answer.status_code, pointers(answer)) == (422, [("/claims", code)])
        assert (await user.get("auth/me")).json()["claims"] == {}
        return
    assert (answer.status_code, answer.json()["claims"]) == (200, claims)
    again = await signed_in(project, user)
    assert (await again.get("auth/me")).json()["claims"] == claims


async def test_all_faults_are_named_at_once_and_nothing_is_changed(project: ProjectUnderTest) -> None:
    user = await project.user()
    answer = await project.operator.patch(f"users/{user.id}", json={"claims": 1, "email": "nonsense", "password": "x"})

    assert {"/claims", "/email", "/password"} == {pointer for pointer, _ in pointers(answer)}
    assert (await user.get("auth/me")).status_code == 200


async def test_claims_are_a_revision_of_the_account(project: ProjectUnderTest) -> None:
    """They are replaced as a whole; who holds an older revision is told, and who names none of them changes none."""
    user = await project.user()
    first = (await user.get("auth/me")).headers["etag"]
    await say(project, user, {"role": "admin", "team": "a"})
    changed = await say(project, user, {"role": "admin"})

    assert changed["claims"] == {"role": "admin"}
    assert (await user.get("auth/me", headers={"if-none-match": first})).status_code == 200
    stale = await project.operator.patch(f"users/{user.id}", json={"claims": {}}, headers={"if-match": first})
    assert stale.status_code == 412
    answer = await project.operator.patch(f"users/{user.id}", json={"email_verified": True})
    assert answer.json()["claims"] == {"role": "admin"}
    missing = await project.operator.patch("users/01890000-0000-7000-8000-000000000000", json={"claims": {"a": 1}})
    assert missing.status_code == 404


async def test_other_claims_hold_within_five_seconds_everywhere(project: ProjectUnderTest, there: There) -> None:
    """I6: given and taken away, at a server that knows the token by heart and has not been told; the session lives on."""
    await project.collection("notes", rules=ADMINS)
    user = await project.user()
    away = there(user)

    async def lists() -> httpx2.Response:
        return await away.get("collections/notes/records")

    assert (await lists()).status_code == 403
    await say(project, user, {"role": "admin"})
    took = [await until(lists, lambda answer: answer.status_code == 200)]
    holder = there(await signed_in(project, user))  # with a token that says so itself
    assert (await holder.get("collections/notes/records")).status_code == 200
    await say(project, user, {})
    took.append(await until(lists, lambda answer: answer.status_code == 403))
    assert (await holder.get("collections/notes/records")).status_code == 403
    assert (await away.get("auth/me")).status_code == 200
    print("seconds until the other server knew:", took)


async def test_a_token_is_never_older_than_what_the_server_has_heard(project: ProjectUnderTest, there: There) -> None:
    """A fresh token says more than a server that has yet to read the news."""
    await project.collection("notes", rules=ADMINS)
    user = await project.user()
    await say(project, user, {"role": "reader"})
    assert (await there(user).get("collections/notes/records")).status_code == 403
    await say(project, user, {"role": "admin"})

    fresh = there(await signed_in(project, user))
    assert (await fresh.get("collections/notes/records")).status_code == 200


async def test_nothing_is_left_of_a_user_who_is_deleted(project: ProjectUnderTest, db: Database) -> None:
    """Who is made under the id of one who was has none of his claims."""
    await project.collection("notes", rules=ADMINS)
    user = await project.user()
    await say(project, user, {"role": "admin"})
    assert (await project.operator.delete(f"users/{user.id}")).status_code == 204
    assert await db.fetch_value(sql("select count(*) from {}", ident(project.schema, "_claims"))) == 0

    made = await project.operator.post("users", json={"id": user.id, "email": "x@example.com", "password": PASSWORD})
    assert (made.status_code, made.json()["claims"]) == (201, {})
    again = await signed_in(project, replace(user, email="x@example.com"))
    assert (await again.get("collections/notes/records")).status_code == 403


async def test_fields_that_claims_decide_are_seen_in_the_own_account(project: ProjectUnderTest) -> None:
    """`read` and `validate` of fields of `users` are judged by them too."""
    more = [
        {"name": "salary", "type": "int", "read": 'auth.claims.role == "staff"'},
        {"name": "grade", "type": "int", "validate": 'auth.claims.role == "staff"'},
    ]
    fields = (await project.operator.get("collections/users")).json()["fields"]
    assert (await project.operator.patch("collections/users", json={"fields": [*fields, *more]})).status_code == 200
    user = await project.user()
    await project.operator.patch(f"users/{user.id}", json={"salary": 7})
    assert "salary" not in (await user.get("auth/me")).json()
    assert (await user.patch("auth/me", json={"grade": 1})).status_code == 422
    await say(project, user, {"role": "staff"})

    assert (await user.get("auth/me")).json()["salary"] == 7
    assert (await user.patch("auth/me", json={"grade": 1})).status_code == 200
    assert (await signed_in(project, user)).session["user"]["salary"] == 7


async def test_an_explanation_is_about_the_claims_of_the_user(project: ProjectUnderTest) -> None:
    """Unless the question brings others."""
    await project.collection("notes", rules=ADMINS)
    user = await project.user()
    await say(project, user, {"role": "admin"})
    question = {"collection": "notes", "action": "list", "as": user.id}

    verdicts = [
        (await project.operator.post("rules/explain", json=question | more)).json()["verdict"]
        for more in ({}, {"claims": {}}, {"claims": {"role": "admin"}}, {"claims": {"role": "x"}})
    ]
    assert ["allow", "deny", "allow", "deny"] == verdicts


async def test_a_stream_follows_the_claims_of_its_user(server_url: str, project: ProjectUnderTest) -> None:
    """What they give is shown and what they take away is taken away, over a rule and over a filter, under the same token."""
    rule = f'{ADMIN} || record.title == "public"'
    await project.collection("notes", rules=OPEN | {"list": rule})
    public = await project.operator.create("notes", {"title": "public"})
    secret = await project.operator.create("notes", {"title": "secret"})
    user, loop = await project.user(), asyncio.get_running_loop()
    lists = [
        {"id": "a", "collection": "notes", "initial": True},
        {"id": "b", "collection": "notes", "initial": True, "filter": 'auth.claims.level > 1 && record.title != "x"'},
    ]

    async with follow(server_url, project.name, lists, token=user.token) as stream:
        await stream.until(lambda: len(stream.named("snapshot")) == 2)
        assert (set(stream.held["a"]), set(stream.held["b"])) == ({public["id"]}, set())
        begun = loop.time()
        await say(project, user, {"role": "admin", "level": 2})
        await stream.until(lambda: set(stream.held["a"]) == set(stream.held["b"]) == {public["id"], secret["id"]})
        took = [loop.time() - begun]
        more = await project.operator.create("notes", {"title": "more"})
        await stream.until(lambda: more["id"] in stream.held["a"] and more["id"] in stream.held["b"])
        begun = loop.time()
        await say(project, user, {"level": 1})
        await stream.until(lambda: set(stream.held["a"]) == {public["id"]} and not stream.held["b"])
        took.append(loop.time() - begun)
        await project.operator.create("notes", {"title": "never"})
        seen = await project.operator.create("notes", {"title": "public"})
        await stream.until(lambda: seen["id"] in stream.held["a"])
        last = stream.last_id
    assert "never" not in str([one.data for one in stream.events])
    print("seconds until the stream knew:", took)

    # Who comes back is shown what has come and gone with claims that changed while he was away.
    await say(project, user, {"role": "admin"})
    begun = loop.time()
    lists = [{"id": "a", "collection": "notes"}]
    async with follow(server_url, project.name, lists, token=user.token, since=last, into=stream) as stream:
        await stream.until(lambda: secret["id"] in stream.held["a"])
        assert stream.named("ended") == []


async def test_a_stream_that_claims_do_not_touch_goes_on(server_url: str, project: ProjectUnderTest) -> None:
    """It is not shown everything again."""
    await project.collection("notes", rules=OPEN)
    user = await project.user()

    async with follow(
        server_url, project.name, [{"id": "a", "collection": "notes", "initial": True}], token=user.token
    ) as stream:
        await stream.until_named("snapshot")
        await say(project, user, {"role": "admin"})
        await asyncio.sleep(5)
        made = await project.operator.create("notes", {"title": "x"})
        await stream.until(lambda: made["id"] in stream.held["a"])
    assert ["snapshot", "change"] == [one.name for one in stream.events if one.name not in ("ready", "bookmark")]


async def signed_in(project: ProjectUnderTest, user: Caller) -> Caller:
    """The same user in another session."""
    answer = await project.anonymous.post("auth/sign-in", json={"email": user.email, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return replace(user, token=answer.json()["access_token"], session=answer.json())
