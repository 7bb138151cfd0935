"""Who may see and do what: every answer that rules give, and every place where a hidden value could show."""

from itertools import product
from typing import Any
from uuid import uuid4

import pytest

from tests.support.callers import Caller, ProjectUnderTest

ACTIONS = ("list", "view", "create", "update", "delete")
TEXTS = [{"name": "title", "type": "text"}, {"name": "owner", "type": "relation", "to": "users"}]
OWN = dict.fromkeys(("list", "view", "update", "delete"), "record.owner == auth.id") | {"create": "next.owner == auth.id"}
OPEN = dict.fromkeys(ACTIONS, "true")
SECRET = "zq7planted"


def problem(answer: Any) -> dict[str, Any]:
    return {name: value for name, value in answer.json().items() if name not in ("instance", "request_id")}


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def every_action(caller: Caller, collection: str, record: str) -> dict[str, Any]:
    base = f"collections/{collection}/records"
    return {
        "list": await caller.get(base),
        "view": await caller.get(f"{base}/{record}"),
        "create": await caller.post(base, json={"title": "x"}),
        "update": await caller.patch(f"{base}/{record}", json={"title": "x"}),
        "delete": await caller.delete(f"{base}/{record}"),
    }


async def test_a_collection_without_rules_is_for_operators_and_keys_alone(project: ProjectUnderTest) -> None:
    await project.collection("posts", TEXTS)
    record = await project.operator.create("posts", {"title": "x"})
    for caller in (project.anonymous, await project.user()):
        for answer in (await every_action(caller, "posts", record["id"])).values():
            assert code(answer) == (403, "rule_denied")
        assert code(await caller.put(f"collections/posts/records/{record['id']}", json={})) == (403, "rule_denied")
        assert code(await caller.post("collections/posts/records", json=[{}])) == (403, "rule_denied")
    key = await project.key("records")

    assert [one["id"] for one in await key.list("posts")] == [record["id"]]
    assert (await project.operator.get(f"collections/posts/records/{record['id']}")).json() == record


async def test_a_key_needs_the_scope(project: ProjectUnderTest) -> None:
    """`users` is a scope of its own: who may read posts may not read everybody's address."""
    await project.collection("posts", TEXTS, OPEN)
    files, records, users = await project.key("files"), await project.key("records"), await project.key("users")

    assert code(await files.get("collections/posts/records")) == (403, "scope_missing")
    assert code(await records.get("collections/users/records")) == (403, "scope_missing")
    assert code(await users.get("collections/posts/records")) == (403, "scope_missing")
    assert (await users.get("collections/users/records")).status_code == 200
    assert (await records.get("collections/posts/records")).status_code == 200


async def test_a_list_that_can_show_nothing_says_so(project: ProjectUnderTest) -> None:
    await project.collection("posts", TEXTS, {"list": "record.owner == auth.id"})
    await project.collection("closed", TEXTS, {"list": 'auth.id == "nobody"'})
    user = await project.user()

    assert code(await project.anonymous.get("collections/posts/records")) == (401, "unauthenticated")
    assert code(await project.anonymous.get("collections/posts/records?filter=nope == 1")) == (401, "unauthenticated")
    assert code(await user.get("collections/closed/records")) == (403, "rule_denied")
    assert await user.list("posts") == []


async def test_each_user_sees_and_changes_only_his_own(project: ProjectUnderTest) -> None:
    await project.collection("posts", TEXTS, OWN)
    alice, bob = await project.user(), await project.user()
    hers = await alice.create("posts", {"title": "Hers", "owner": alice.id})
    his = await bob.create("posts", {"title": "His", "owner": bob.id})

    assert await alice.list("posts") == [hers]
    assert await bob.list("posts") == [his]
    assert (await bob.get("collections/posts/records", params={"count": "exact"})).json()["total"] == 1
    assert await bob.list("posts", filter='title == "Hers" || true') == [his]
    nobody = await bob.get(f"collections/posts/records/{uuid4()}")
    for action, answer in (await every_action(bob, "posts", hers["id"])).items():
        if action in ("view", "update", "delete"):
            assert problem(answer) == problem(nobody), action
    assert (await alice.get(f"collections/posts/records/{hers['id']}")).json() == hers


async def test_a_record_that_can_be_seen_but_not_changed_answers_403(project: ProjectUnderTest) -> None:
    await project.collection("posts", TEXTS, OWN | {"view": "true", "list": "true"})
    alice, bob = await project.user(), await project.user()
    place = f"collections/posts/records/{(await alice.create('posts', {'title': 'Hers', 'owner': alice.id}))['id']}"
    before = (await alice.get(place)).json()

    assert code(await bob.patch(place, json={"title": "x"})) == (403, "rule_denied")
    assert code(await bob.patch(place, json={"title": "x"}, headers={"if-match": '"7"'})) == (403, "rule_denied")
    assert code(await bob.put(place, json={"title": "x", "owner": bob.id})) == (403, "rule_denied")
    assert code(await bob.delete(place)) == (403, "rule_denied")
    assert (await alice.get(place)).json() == before


async def test_a_create_that_the_rule_refuses_stores_nothing(project: ProjectUnderTest) -> None:
    """Also by put, and also before a value that is taken could tell what is stored."""
    fields = [*TEXTS, {"name": "slug", "type": "text", "unique": True}]
    await project.collection("posts", fields, OWN | {"create": 'auth != null && next.title != "denied"'})
    alice, bob = await project.user(), await project.user()
    hers = await alice.create("posts", {"owner": alice.id, "slug": "taken"})
    body = {"title": "denied", "slug": "taken"}
    invisible = await bob.put(f"collections/posts/records/{hers['id']}", json=body)
    absent = await bob.put(f"collections/posts/records/{uuid4()}", json=body)

    assert problem(invisible) == problem(absent), "an id that is taken invisibly is not told from a free one"

    assert code(await bob.post("collections/posts/records", json=body)) == (403, "rule_denied")
    assert code(await bob.post("collections/posts/records", json=[body])) == (403, "rule_denied")
    assert code(await bob.put(f"collections/posts/records/{uuid4()}", json=body)) == (403, "rule_denied")
    assert code(await project.anonymous.post("collections/posts/records", json=body)) == (403, "rule_denied")
    assert len(await project.operator.list("posts")) == 1


async def test_who_may_not_view_what_he_writes_gets_its_id_alone(project: ProjectUnderTest) -> None:
    """The view rule is judged on the record as it is after the write."""
    rules = {"create": "true", "update": "true", "view": 'record.title == "public"', "list": None, "delete": None}
    await project.collection("posts", TEXTS, rules)
    hidden = await project.anonymous.post("collections/posts/records", json={"title": "draft"})
    shown = await project.anonymous.post("collections/posts/records", json={"title": "public"})
    many = await project.anonymous.post("collections/posts/records", json=[{"title": "draft"}, {"title": "public"}])
    place = f"collections/posts/records/{shown.json()['id']}"
    left = await project.anonymous.patch(place, json={"title": "draft"})
    put = await project.anonymous.put(place, json={"title": "draft"})

    assert set(hidden.json()) == {"id"}
    assert "etag" not in hidden.headers
    assert shown.json()["title"] == "public"
    assert [set(one) == {"id"} for one in many.json()["items"]] == [True, False]
    assert left.json() == put.json() == {"id": shown.json()["id"]}


async def test_rules_see_the_record_before_and_after(project: ProjectUnderTest) -> None:
    """Nobody gives a record away, and what the rule calls fixed stays fixed."""
    rules = OWN | {"update": "record.owner == auth.id && next.owner == record.owner && next.rev == record.rev + 1"}
    await project.collection("posts", TEXTS, rules)
    alice, bob = await project.user(), await project.user()
    place = f"collections/posts/records/{(await alice.create('posts', {'title': 'Hers', 'owner': alice.id}))['id']}"

    assert (await alice.patch(place, json={"title": "New"})).status_code == 200
    assert (await alice.patch(place, json={"owner": alice.id})).status_code == 200
    assert code(await alice.patch(place, json={"owner": None})) == (403, "rule_denied")
    assert (await alice.patch(place, json={"owner": bob.id})).status_code in (403, 422)
    assert (await alice.get(place)).json()["owner"] == alice.id


async def test_rules_see_defaults_and_what_was_sent(project: ProjectUnderTest) -> None:
    fields = [{"name": "state", "type": "text", "default": "draft"}, {"name": "role", "type": "text"}]
    rules = OPEN | {"create": 'next.state == "draft" && !has(input.role)', "update": '!changed("state")'}
    await project.collection("posts", fields, rules)
    made = await project.anonymous.create("posts", {})

    assert made["state"] == "draft"
    assert code(await project.anonymous.post("collections/posts/records", json={"state": "live"})) == (403, "rule_denied")
    assert code(await project.anonymous.post("collections/posts/records", json={"role": None})) == (403, "rule_denied")
    assert code(await project.anonymous.post("collections/posts/records", json=[{"role": "x"}] * 2)) == (403, "rule_denied")
    mixed = await project.anonymous.post("collections/posts/records", json=[{}, {"role": "admin"}])
    assert (mixed.status_code, mixed.json()["errors"][0]["code"]) == (422, "other_keys")
    place = f"collections/posts/records/{made['id']}"
    assert (await project.anonymous.patch(place, json={"state": "draft", "role": "x"})).status_code == 200
    assert code(await project.anonymous.patch(place, json={"state": "live"})) == (403, "rule_denied")


async def test_rules_see_the_users_own_record_as_it_is_now(project: ProjectUnderTest) -> None:
    added = {"fields": [*(await project.operator.get("collections/users")).json()["fields"], {"name": "team", "type": "text"}]}
    changed = await project.operator.patch("collections/users", json=added)
    assert changed.status_code == 200, changed.text
    rule = "auth.team != null && record.title == auth.team"
    await project.collection("posts", TEXTS, dict.fromkeys(("list", "view", "update", "delete"), rule))
    await project.collection("shared", TEXTS, {"list": "true"})
    for title in ("red", "blue"):
        await project.operator.create("posts", {"title": title})
        await project.operator.create("shared", {"title": title})
    user = await project.user()

    assert code(await user.get("collections/posts/records")) == (403, "rule_denied"), "no team, so no record can be his"
    for team in ("red", "blue"):
        answer = await project.operator.patch(f"collections/users/records/{user.id}", json={"team": team})
        assert answer.status_code == 200, answer.text
        assert [one["title"] for one in await user.list("posts")] == [team]
        # Where the rule does not need the user's record, a filter may.
        assert [one["title"] for one in await user.list("shared", filter="title == auth.team")] == [team]


async def test_a_target_that_cannot_be_seen_is_as_good_as_absent(project: ProjectUnderTest) -> None:
    """The same answer for both, in a single relation and in a list; what was stored before may stay."""
    fields = [
        {"name": "title", "type": "text"},
        {"name": "one", "type": "relation", "to": "teams"},
        {"name": "some", "type": "relation", "to": "teams", "many": True},
    ]
    await project.collection("teams", TEXTS, {"view": "record.owner == auth.id"})
    await project.collection("posts", fields, OPEN)
    alice = await project.user()
    hers = (await project.operator.create("teams", {"owner": alice.id}))["id"]
    foreign = (await project.operator.create("teams", {}))["id"]
    nowhere = str(uuid4())
    base = "collections/posts/records"
    for good, bad in (({"one": hers}, lambda id_: {"one": id_}), ({"some": [hers]}, lambda id_: {"some": [hers, id_]})):
        place = f"{base}/{(await alice.create('posts', good))['id']}"
        for method, path, many in (("POST", base, False), ("POST", base, True), ("PATCH", place, False), ("PUT", place, False)):
            answers = []
            for target in (foreign, nowhere):
                body = bad(target)
                answers.append(await alice.request(method, path, json=[good, body] if many else body))
            assert code(answers[0]) == (422, "bad_reference"), (method, many, answers[0].text)
            assert problem(answers[0]) == problem(answers[1])
    stored = await project.operator.create("posts", {"one": foreign, "some": [foreign]})
    kept = await alice.patch(f"{base}/{stored['id']}", json={"one": foreign, "some": [foreign, hers], "title": "x"})

    assert (kept.status_code, kept.json()["some"]) == (200, [foreign, hers])
    assert len(await project.operator.list("posts")) == 3


async def test_a_file_that_is_named_must_be_there_and_not_be_somebody_elses(project: ProjectUnderTest) -> None:
    """Own uploads and files of public buckets; a private file of another answers as one that is not there."""
    rules = dict.fromkeys(ACTIONS, "auth != null")
    for name, public in (("private", False), ("public", True)):
        own = rules | {"view": None} if public else rules
        made = await project.operator.post("buckets", json={"name": name, "public": public, "rules": own})
        assert made.status_code == 201, made.text
    alice, bob = await project.user(), await project.user()
    for caller, bucket, path in ((alice, "private", "hers.txt"), (bob, "private", "his.txt"), (bob, "public", "his.txt")):
        put = await caller.put(f"buckets/{bucket}/files/{path}", content=b"x", headers={"content-type": "text/plain"})
        assert put.status_code == 201, put.text
    fields = [
        {"name": "one", "type": "file", "bucket": "private"},
        {"name": "some", "type": "file", "bucket": "private", "many": True},
        {"name": "open", "type": "file", "bucket": "public"},
    ]
    await project.collection("posts", fields, OPEN)
    whole = {"one": "hers.txt", "some": ["hers.txt"], "open": "his.txt"}
    post = await alice.create("posts", whole)
    place = f"collections/posts/records/{post['id']}"
    for field, foreign, absent in (
        ("one", "his.txt", "nosuch.txt"),
        ("some", ["hers.txt", "his.txt"], ["hers.txt", "nosuch.txt"]),
    ):
        for method, path in (("POST", "collections/posts/records"), ("PATCH", place), ("PUT", place)):
            answers = [await alice.request(method, path, json={field: value}) for value in (foreign, absent)]
            assert code(answers[0]) == (422, "bad_reference")
            assert problem(answers[0]) == problem(answers[1])
    nobody = await project.anonymous.post("collections/posts/records", json={"one": "hers.txt"})

    assert {name: post[name] for name in whole} == whole
    assert code(nobody) == (422, "bad_reference")
    assert (await project.operator.patch(place, json={"one": "his.txt"})).status_code == 200
    assert (await alice.patch(place, json={"one": "his.txt"})).status_code == 200, "what is stored may stay"
    assert code(await project.operator.patch(place, json={"one": "nosuch.txt"})) == (422, "bad_reference")


HIDDEN_FIELDS = [
    {"name": "title", "type": "text"},
    {"name": "secret", "type": "text", "hidden": True, "unique": True},
    {"name": "locked", "type": "text", "readonly": True},
    {"name": "fixed", "type": "text", "immutable": True},
]


async def test_a_hidden_field_does_not_exist_for_callers_under_rules(project: ProjectUnderTest) -> None:
    """In every place where a name fits it answers exactly as a name that nobody ever used: 0 bits."""
    await project.collection("posts", HIDDEN_FIELDS, OPEN)
    record = await project.operator.create("posts", {"title": "x", "secret": SECRET})
    base, attempts = "collections/posts/records", 0
    place = f"{base}/{record['id']}"
    callers = [project.anonymous, await project.user()]
    for caller in callers:
        everything = [
            await caller.get(base),
            await caller.get(place),
            await caller.post(base + "/query", json={}),
            await caller.patch(place, json={"title": "y"}),
            await caller.put(place, json={"title": "z"}),
            await caller.post(base, json={"title": "n"}),
            await caller.post(base, json=[{"title": "n"}]),
        ]
        for answer in everything:
            assert answer.status_code < 300
            assert SECRET not in answer.text
            assert "secret" not in answer.text
    for caller, (make) in product(callers, PROBES):
        answers = []
        for name in ("secret", "nosuch"):
            answer = await make(caller, base, place, name)
            text = answer.text.replace(answer.json().get("request_id", "-"), "").replace(answer.json().get("instance", "-"), "")
            answers.append((answer.status_code, text.replace(name, "NAME")))
            assert 400 <= answer.status_code < 500, text
            attempts += 1
        assert answers[0] == answers[1]
    stored = (await project.operator.get(place)).json()

    assert attempts == len(PROBES) * 4
    assert stored["secret"] == SECRET, "a put under rules leaves alone what it cannot name"


def _probe(method: str, on: str = "base", **options: Any) -> Any:
    """A request with NAME in it replaced by the field's name, everywhere."""

    def fill(value: Any, name: str) -> Any:
        if isinstance(value, str):
            return value.replace("NAME", name)
        if isinstance(value, dict):
            return {fill(key, name): fill(one, name) for key, one in value.items()}
        return [fill(one, name) for one in value] if isinstance(value, list) else value

    async def send(caller: Caller, base: str, place: str, name: str) -> Any:
        path = {"base": base, "query": f"{base}/query", "place": place}[on]
        return await caller.request(method, path, **fill(options, name))

    return send


PROBES = [
    *(
        _probe("GET", params={"filter": text})
        for text in (
            f'NAME == "{SECRET}"',
            'NAME < "m"',
            "NAME != null",
            'NAME.startsWith("z")',
            "record.NAME == title",
            "has(record.NAME)",
            f'title == "x" && NAME == "{SECRET}"',
            f'true || NAME == "{SECRET}"',
            "!(NAME == null)",
            "size(NAME) > 1",
            '(NAME == "x") ? true : false',
            'NAME in ["a"]',
        )
    ),
    _probe("GET", params={"sort": "NAME"}),
    _probe("GET", params={"sort": "-NAME,title"}),
    _probe("GET", params={"fields": "id,NAME"}),
    _probe("GET", params={"count": "exact", "filter": f'NAME == "{SECRET}"'}),
    _probe("GET", "place", params={"fields": "NAME"}),
    _probe("POST", "query", json={"filter": f'NAME == "{SECRET}"'}),
    _probe("POST", "query", json={"sort": ["NAME"]}),
    _probe("POST", "query", json={"fields": ["NAME"]}),
    _probe("POST", json={"NAME": "x"}),
    _probe("POST", json={"NAME": SECRET}),
    _probe("POST", json={"NAME": 1}),
    _probe("POST", json=[{"NAME": SECRET}]),
    _probe("PATCH", "place", json={"NAME": SECRET}),
    _probe("PATCH", "place", json={"NAME": None}),
    _probe("PUT", "place", json={"NAME": SECRET}),
]


async def test_a_value_taken_in_a_field_that_cannot_be_read_is_not_named(project: ProjectUnderTest) -> None:
    fields = [
        {"name": "title", "type": "text", "unique": True},
        {"name": "code", "type": "text", "unique": True, "default": "same", "hidden": True},
    ]
    await project.collection("posts", fields, OPEN)
    await project.operator.create("posts", {"title": "a"})
    answer = await project.anonymous.post("collections/posts/records", json={"title": "b"})

    assert code(answer) == (409, "already_exists")
    assert "errors" not in answer.json()
    assert "code" not in answer.text.replace('"code":"already_exists"', "")


async def test_field_flags_hold_under_rules_and_not_for_operators(project: ProjectUnderTest) -> None:
    await project.collection("posts", HIDDEN_FIELDS, OPEN)
    whole = {"title": "x", "secret": "s", "locked": "l", "fixed": "f"}
    record = await project.operator.create("posts", whole)
    place = f"collections/posts/records/{record['id']}"
    for body, fault in (({"locked": "x"}, "readonly"), ({"fixed": "x"}, "immutable")):
        answer = await project.anonymous.patch(place, json=body)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, fault)
    moved = await project.anonymous.put(place, json={"title": "p", "fixed": "other"})
    same = await project.anonymous.put(place, json={"title": "p", "fixed": "f"})
    left_out = await project.anonymous.put(place, json={"title": "q"})

    assert (moved.status_code, moved.json()["errors"][0]["pointer"], moved.json()["errors"][0]["code"]) == (
        422,
        "/fixed",
        "immutable",
    )
    assert (same.status_code, left_out.status_code) == (200, 200)
    after = (await project.operator.get(place)).json()
    assert {name: after[name] for name in whole} == whole | {"title": "q"}
    assert (await project.operator.patch(place, json={"locked": "m", "fixed": "g", "secret": "t"})).status_code == 200
    assert (await project.operator.list("posts", filter='secret == "t"', sort="secret", fields="secret")) == [{"secret": "t"}]


async def test_a_field_with_a_read_rule_is_left_out_where_it_is_false(project: ProjectUnderTest) -> None:
    """Record by record in answers; in a filter, what cannot be read is neither true nor false."""
    fields = [*TEXTS, {"name": "salary", "type": "int", "read": "record.owner == auth.id"}]
    await project.collection("people", fields, OPEN)
    alice, bob = await project.user(), await project.user()
    for number, user in enumerate((alice, bob)):
        await project.operator.create("people", {"title": str(number), "owner": user.id, "salary": 1000 + number})

    assert ["salary" in one for one in await alice.list("people", sort="title")] == [True, False]
    assert ["salary" in one for one in await project.anonymous.list("people", sort="title")] == [False, False]
    assert await bob.list("people", sort="title", fields="salary") == [{}, {"salary": 1001}]
    for wanted in ("salary > 0", "!(salary > 5000)", "salary != null", "!(salary == null)", "salary in [1000, 1001]"):
        assert [one["title"] for one in await alice.list("people", filter=wanted)] == ["0"], wanted
        assert await project.anonymous.list("people", filter=wanted) == [], wanted
    assert len(await project.operator.list("people", filter="salary > 1000", sort="salary")) == 1


async def test_a_read_rule_that_no_record_decides_opens_the_field_or_closes_it(project: ProjectUnderTest) -> None:
    fields = [*TEXTS, {"name": "note", "type": "text", "read": "auth != null"}]
    await project.collection("people", fields, OPEN)
    await project.operator.create("people", {"title": "t", "note": "n"})
    user = await project.user()

    assert [one["note"] for one in await user.list("people", filter='note == "n"', sort="note")] == ["n"]
    assert "note" not in (await project.anonymous.list("people"))[0]
    assert "note" not in (await project.anonymous.list("people", sort="-note"))[0], "sorted by what is null to him"


async def test_sign_in_data_of_users_is_not_written_under_rules(project: ProjectUnderTest) -> None:
    changed = await project.operator.patch("collections/users", json={"rules": OPEN})
    assert changed.status_code == 200, changed.text
    user = await project.user()
    place = f"collections/users/records/{user.id}"
    before = (await project.operator.get(place)).json()
    for body in ({"email": "new@example.com"}, {"email_verified": True}, {"disabled": True}, {"password": "long enough words"}):
        assert (await user.patch(place, json=body)).status_code == 422, body
        assert (await user.put(place, json=body)).status_code == 422, body
        assert (
            await project.anonymous.post("collections/users/records", json={"email": "x@example.com"} | body)
        ).status_code == 422

    assert (await project.operator.get(place)).json() == before
    assert (await project.operator.patch(place, json={"email": "moved@example.com"})).status_code == 200
    assert "password" not in (await project.operator.get(place)).text


async def test_nothing_of_another_project_is_seen(project: ProjectUnderTest, operator: Caller, db: Any) -> None:
    """Two projects with the same names: each credential is good in its own, and finds its own rows alone."""
    await project.collection("posts", TEXTS, OWN | {"list": "true", "view": "true"})
    user, key = await project.user(), await project.key()
    record = await user.create("posts", {"title": "Mine", "owner": user.id})
    name = project.name + "-b"
    assert (await operator.post("projects", json={"name": name})).status_code == 201
    other = ProjectUnderTest(
        name, "", "", Caller(operator.http, f"/v1/projects/{name}", operator.token), Caller(operator.http, f"/v1/projects/{name}")
    )
    await other.collection("posts", TEXTS, OPEN)
    foreign = await other.operator.create("posts", {"title": "Theirs"})
    for caller in (user, key):
        abroad = Caller(caller.http, f"/v1/projects/{name}", caller.token)
        for answer in (await every_action(abroad, "posts", foreign["id"])).values():
            assert answer.status_code == 401
    assert (await other.anonymous.get(f"collections/posts/records/{record['id']}")).status_code == 404
    assert [one["title"] for one in await other.anonymous.list("posts")] == ["Theirs"]
    assert [one["title"] for one in await project.anonymous.list("posts")] == ["Mine"]


@pytest.mark.parametrize("name", ["nosuch", "_files", "_collections", "pg_class", "users; drop table", "%22", "posts "])
async def test_what_is_no_collection_is_not_found(project: ProjectUnderTest, name: str) -> None:
    """System tables cannot be named from outside."""
    await project.collection("posts", TEXTS, OPEN)
    for caller in (project.operator, project.anonymous):
        answer = await caller.get(f"collections/{name}/records")
        assert code(answer) == (404, "collection_not_found")


async def test_the_own_account_has_no_hidden_fields_in_a_filter(project: ProjectUnderTest) -> None:
    """`auth.…` in a filter means what its caller may read of himself; in a rule, which others wrote, all of it: 0 bits."""
    users = (await project.operator.get("collections/users")).json()["fields"]
    more = [
        {"name": "flag", "type": "text", "hidden": True},
        {"name": "note", "type": "text", "read": 'record.nick == "open"'},
        {"name": "nick", "type": "text"},
    ]
    assert (await project.operator.patch("collections/users", json={"fields": [*users, *more]})).status_code == 200
    await project.collection("posts", TEXTS, OPEN | {"view": f'auth.flag == "{SECRET}"'})
    await project.operator.create("posts", {"title": "x"})
    user = await project.user()
    await project.operator.patch(f"users/{user.id}", json={"flag": SECRET, "note": SECRET, "nick": "closed"})
    base, filters = "collections/posts/records", ('auth.{} == "zq7planted"', "auth.{} != null", 'auth.{} < "zz" || true')
    # Known to a privileged caller first: what was checked for him must not serve others.
    for text in filters:
        assert 200 == (await project.operator.get(base, params={"filter": text.format("flag")})).status_code

    for caller, text, name in product((user, project.anonymous), filters, ("flag", "note")):
        answers = [await caller.get(base, params={"filter": text.format(one)}) for one in (name, "nosuch")]
        assert code(answers[0]) == (400, "bad_filter")
        assert [one.json()["detail"].replace(name, "nosuch") for one in answers] == [answers[1].json()["detail"]] * 2
    assert 200 == (await user.get(base, params={"filter": 'auth.nick == "closed"'})).status_code
    assert 1 == len(await user.list("posts"))


async def test_a_wide_record_with_a_gated_field_is_shown(project: ProjectUnderTest) -> None:
    """PostgreSQL gives a function a hundred arguments; a collection has two hundred fields."""
    fields: list[dict[str, Any]] = [{"name": f"f{number}", "type": "text"} for number in range(199)]
    gated = {"name": "gated", "type": "text", "read": "record.f0 == auth.email"}
    await project.collection("wide", [*fields, gated], OPEN)
    user = await project.user()
    for value in (user.email, "x"):
        await project.operator.create("wide", {"f0": value, "f198": "last", "gated": "told"})

    made = (await user.post("collections/wide/records", json=[{"f198": "made"}])).json()["items"][0]
    found = await user.list("wide")

    assert "gated" not in made
    assert [("last", "told"), ("last", None), ("made", None)] == [(one["f198"], one.get("gated")) for one in found]
    assert [203 + 1, 203, 203] == [len(one) for one in found]


@pytest.mark.parametrize("create", ["true", "false"])
async def test_a_put_that_only_replaces_does_not_tell_what_is_there(project: ProjectUnderTest, create: str) -> None:
    """A record that the caller may neither see nor change answers as one that never was."""
    await project.collection("posts", TEXTS, OWN | {"create": create})
    record = (await project.operator.create("posts", {"title": "x"}))["id"]
    user = await project.user()

    for match in ("*", '"1"', '"2"'):
        answers = [
            await user.put(f"collections/posts/records/{one}", json={"title": "y"}, headers={"if-match": match})
            for one in (record, str(uuid4()))
        ]
        assert problem(answers[0]) == problem(answers[1])
        assert code(answers[0]) == (412, "precondition_failed")
