"""Projects, their settings and their API keys."""

import asyncio
from collections import Counter

import httpx2
import pytest

from baas.base.ids import new_token, short_id
from baas.infra.db.sql import sql
from baas.server import open_server
from tests.support.callers import Caller

SCOPES = ("schema", "records", "users", "files", "sites", "settings", "keys")

QUERIES = {"statement_timeout_ms": 5_000, "list_timeout_ms": 3_000, "anonymous_cost": 10_000_000}


def pointers(answer):
    return [(fault["pointer"], fault["code"]) for fault in answer.json()["errors"]]


async def test_a_project_is_made_shown_listed_renamed_and_deleted(operator, db):
    name, other = f"p-{short_id()}", f"p-{short_id()}"
    made = await operator.post("projects", json={"name": name})

    assert made.status_code == 201
    assert made.headers["location"] == f"/v1/projects/{name}"
    assert (await operator.get(f"projects/{name}")).json() == made.json()
    renamed = await operator.patch(f"projects/{name}", json={"name": other})
    assert renamed.json() == made.json() | {"name": other}
    assert (await operator.get(f"projects/{name}")).status_code == 404
    assert (await operator.delete(f"projects/{other}", params={"confirm": name})).status_code == 409
    assert (await operator.delete(f"projects/{other}", params={"confirm": other})).status_code == 204
    assert (await operator.get(f"projects/{other}")).status_code == 404
    left = await db.fetch_value(sql("select count(*) from pg_namespace where nspname = {}", made.json()["schema"]))
    assert left == 0


async def test_the_list_comes_in_pages(operator):
    names = sorted(f"page-{short_id()}" for _ in range(3))
    for name in names:
        await operator.post("projects", json={"name": name})
    found, cursor = [], ""
    while cursor is not None:
        page = (await operator.get("projects", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))).json()
        assert len(page["items"]) <= 2
        found += [item["name"] for item in page["items"]]
        cursor = page["next_cursor"]

    assert found == sorted(found)
    assert set(names) <= set(found)
    assert (await operator.get("projects", params={"cursor": "%%%"})).json()["code"] == "bad_cursor"


async def test_of_two_with_one_name_one_is_made(operator, db):
    """Eight at once: one 201, seven 409, one schema."""
    name = f"race-{short_id()}"
    before = await db.fetch_value(sql("select count(*) from pg_namespace where nspname like 'p\\_%'"))
    answers = await asyncio.gather(*(operator.post("projects", json={"name": name}) for _ in range(8)))

    assert Counter({201: 1, 409: 7}) == Counter(answer.status_code for answer in answers)
    assert {"already_exists"} == {answer.json()["code"] for answer in answers if answer.status_code == 409}
    after = await db.fetch_value(sql("select count(*) from pg_namespace where nspname like 'p\\_%'"))
    assert after - before == 1


@pytest.mark.parametrize(
    "name", ["", "a", "A-b", "1a", "-ab", "a_b", "a" * 42, "ab\n", "ä-b", "www", "api", "admin", "xn--abc", "a.b"]
)
async def test_names_that_cannot_be_a_host_are_refused(operator, name):
    answer = await operator.post("projects", json={"name": name})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/name"


@pytest.mark.parametrize("body", [{}, {"name": 3}, {"name": None}, {"name": "ok-name", "extra": 1}, {"name": ["x"]}])
async def test_bodies_are_typed_and_closed(operator, body):
    assert (await operator.post("projects", json=body)).status_code == 422


async def test_a_project_that_could_not_be_founded_leaves_nothing(server, operator, db):
    """The row, the schema and what the founders add are one transaction."""

    async def fail(_tx, _project):
        raise RuntimeError("a founder failed")

    projects, name = server.projects, f"half-{short_id()}"
    founders = projects._founders
    before = await db.fetch_value(sql("select count(*) from pg_namespace"))
    projects._founders = (*founders, fail)
    try:
        answer = await operator.post("projects", json={"name": name})
    finally:
        projects._founders = founders

    assert answer.status_code == 500
    assert await db.fetch_value(sql("select count(*) from pg_namespace")) == before
    assert (await operator.post("projects", json={"name": name})).status_code == 201


async def test_what_rooms_keep_elsewhere_is_cleaned_up_after_a_drop(server, operator, project):
    dropped = []

    async def clean_up(gone):
        dropped.append(gone.name)

    server.projects.on_dropped.append(clean_up)
    await operator.delete(f"projects/{project.name}", params={"confirm": project.name})
    server.projects.on_dropped.remove(clean_up)

    assert dropped == [project.name]


async def test_other_servers_follow_within_two_seconds(operator, project, settings, database_url):
    """Rename, new name, settings, drop: a second server that had everything in memory."""
    loop = asyncio.get_running_loop()
    name = f"new-{short_id()}"
    async with open_server(settings, database_url) as second:

        async def seconds_until(holds):
            begun = loop.time()
            while not await holds():
                assert loop.time() - begun < 2.5
                await asyncio.sleep(0.02)
            return round(loop.time() - begun, 2)

        async def sees(which, found, sign_up=False):
            project = await second.projects.find(which)
            return (project is not None) == found and (project is None or project.settings.auth.sign_up == sign_up)

        assert await sees(project.name, True)
        assert await sees(name, False)
        await project.settings(auth={"sign_up": True})
        took = [await seconds_until(lambda: sees(project.name, True, sign_up=True))]
        await operator.patch(f"projects/{project.name}", json={"name": name})
        took += [await seconds_until(lambda: sees(project.name, False)), await seconds_until(lambda: sees(name, True, True))]
        await operator.delete(f"projects/{name}", params={"confirm": name})
        took += [await seconds_until(lambda: sees(name, False))]
        print("seconds until the second server knew:", took)


# Settings.


async def test_settings_have_defaults_and_change_by_merge_patch(project):
    first = (await project.operator.get("settings")).json()

    assert first == {
        "auth": {"sign_up": False},
        "cors": {"origins": []},
        "limits": {"max_json_bytes": 1 << 20, "max_file_bytes": 50 << 20} | QUERIES,
    }
    changed = await project.settings(auth={"sign_up": True}, cors={"origins": ["https://app.example.com", "*"]})
    assert changed["auth"] == {"sign_up": True}
    await project.settings(limits={"max_json_bytes": 1000})
    again = (await project.operator.get("settings")).json()
    assert again["cors"] == {"origins": ["https://app.example.com", "*"]}
    assert again["limits"]["max_json_bytes"] == 1000
    back = await project.settings(auth=None, limits={"max_json_bytes": None})
    assert (back["auth"], back["limits"], back["cors"]) == (first["auth"], first["limits"], again["cors"])


async def test_settings_that_are_wrong_are_all_named_and_none_is_kept(project):
    patch = {
        "auth": {"sign_up": "yes", "sign_upp": True},
        "cors": {"origins": ["https://ok.example", "https://no.example/", "https://*.example", "HTTPS://a", 3, "null"]},
        "limits": {"max_json_bytes": (1 << 20) + 1, "max_file_bytes": 0},
        "a/b": {},
        "mail": 1,
    }
    answer = await project.operator.patch("settings", json=patch)

    assert answer.status_code == 422
    assert pointers(answer) == [
        ("/auth/sign_up", "wrong_type"),
        ("/auth/sign_upp", "unknown_key"),
        *((f"/cors/origins/{index}", "bad_origin") for index in range(1, 6)),
        ("/limits/max_json_bytes", "out_of_range"),
        ("/limits/max_file_bytes", "out_of_range"),
        ("/a~1b", "unknown_key"),
        ("/mail", "unknown_key"),
    ]
    assert (await project.operator.get("settings")).json()["cors"] == {"origins": []}


async def test_patches_at_once_lose_none_of_each_other(project):
    await asyncio.gather(
        project.settings(auth={"sign_up": True}),
        project.settings(cors={"origins": ["https://a.example"]}),
        project.settings(limits={"max_file_bytes": 7}),
        project.settings(limits={"max_json_bytes": 8000}),
    )
    after = (await project.operator.get("settings")).json()

    assert after == {
        "auth": {"sign_up": True},
        "cors": {"origins": ["https://a.example"]},
        "limits": {"max_file_bytes": 7, "max_json_bytes": 8000} | QUERIES,
    }


# Keys.


async def test_a_key_is_shown_once_and_kept_as_a_hash(project, db):
    made = (await project.operator.post("keys", json={"name": "ci", "scopes": ["records"], "expires_in": 3600})).json()
    listed = (await project.operator.get("keys")).json()["items"]
    stored = await db.fetch_value(sql("select string_agg(k::text, '') from baas.api_keys k where id = {}::uuid", made["id"]))

    assert made["key"].startswith("sk_")
    assert [{name: value for name, value in made.items() if name != "key"}] == listed
    assert made["hint"] == made["key"][:9]
    assert made["key"] not in stored
    assert made["key"].encode().hex() not in stored


async def test_scopes_open_their_own_routes_and_no_others(project):
    """A8: every scope against a route of each; operators may all, a key without the scope gets 403."""
    routes = {"settings": "settings", "keys": "keys", "users": "users", "schema": "collections"}
    cells = []
    for scope in (*SCOPES, "*"):
        key = await project.key(scope)
        for needed, path in routes.items():
            answer = await key.get(path)
            cells.append((scope, needed, answer.status_code))
            if answer.status_code == 403:
                assert answer.json()["code"] == "scope_missing"
    wrong = [cell for cell in cells if cell[2] != (200 if cell[0] in (cell[1], "*") else 403)]
    print("scope cells:", len(cells), "wrong:", len(wrong))

    assert wrong == []


async def test_a_key_gives_no_scope_that_it_lacks(project):
    """Else a key that may only make keys would be a key to everything."""
    key = await project.key("keys", "records")

    assert (await key.post("keys", json={"name": "same", "scopes": ["records"]})).status_code == 201
    for scopes in (["users"], ["*"], ["records", "schema"], None):
        answer = await key.post("keys", json={"name": "more"} | ({"scopes": scopes} if scopes else {}))
        assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")


async def test_a_revoked_key_is_nothing_here_at_once_and_elsewhere_within_two_seconds(project, settings, database_url):
    key = await project.key()
    async with open_server(settings, database_url) as second:
        transport = httpx2.ASGITransport(second.app, client=("127.0.0.1", 1), raise_app_exceptions=False)
        there = Caller(httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000"), key.base, key.token)
        assert (await there.get("settings")).status_code == 200
        assert (await project.operator.delete(f"keys/{key.id}")).status_code == 204
        assert (await key.get("settings")).status_code == 401
        assert (await project.operator.delete(f"keys/{key.id}")).status_code == 404
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while (await there.get("settings")).status_code == 200:
            assert loop.time() - begun < 2.5
            await asyncio.sleep(0.02)
        assert (await there.get("settings")).json()["code"] == "bad_token"
        print("revocation reached the second server after", round(loop.time() - begun, 2), "s")


async def test_an_expired_key_is_nothing(project, db):
    made = (await project.operator.post("keys", json={"name": "short", "expires_in": 60})).json()
    await db.execute(sql("update baas.api_keys set expires_at = now() - interval '1 second' where id = {}::uuid", made["id"]))
    answer = await project.anonymous.get("settings", headers={"authorization": f"Bearer {made['key']}"})

    assert (answer.status_code, answer.json()["code"]) == (401, "bad_token")


async def test_a_key_is_nothing_in_another_project_and_refused_outside_of_any(operator, project):
    key = await project.key()
    other = f"o-{short_id()}"
    await operator.post("projects", json={"name": other})
    there = await key.get(f"/v1/projects/{other}/settings")
    outside = await key.get("/v1/projects")

    assert (there.status_code, there.json()["code"]) == (401, "bad_token")
    assert outside.status_code == 403


@pytest.mark.parametrize(
    "token",
    ["sk_", "sk_x", "sk_" + "a" * 49, new_token("sk"), "sk_\x7f"],
    ids=["empty", "short", "no checksum", "unknown", "control"],
)
async def test_damaged_and_unknown_keys_are_refused_and_never_anonymous(project, token):
    answer = await project.anonymous.get("settings", headers={"authorization": f"Bearer {token}"})

    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/name"),
        ({"name": ""}, "/name"),
        ({"name": "x" * 101}, "/name"),
        ({"name": "x", "scopes": []}, "/scopes"),
        ({"name": "x", "scopes": ["root"]}, "/scopes/0"),
        ({"name": "x", "scopes": [["records"]]}, "/scopes/0"),
        ({"name": "x", "scopes": "records"}, "/scopes"),
        ({"name": "x", "expires_in": 0}, "/expires_in"),
        ({"name": "x", "expires_in": True}, "/expires_in"),
        ({"name": "x", "expires_in": 1e3}, "/expires_in"),
        ({"name": "x", "expires_in": 10**12}, "/expires_in"),
        ({"name": "x", "owner": "me"}, "/owner"),
    ],
)
async def test_wrong_key_requests_name_the_fault(project, body, pointer):
    answer = await project.operator.post("keys", json=body)

    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer


async def test_projects_are_for_operators_alone(project):
    """Anonymous callers are asked who they are, keys and users are told no."""
    key = await project.key()
    for method, path in (("GET", "/v1/projects"), ("POST", "/v1/projects"), ("GET", "/v1/operators/me")):
        assert (await project.anonymous.request(method, path, json={"name": "mine-now"})).status_code == 401
        assert (await key.request(method, path, json={"name": "mine-now"})).status_code == 403
    assert (await key.delete(f"/v1/projects/{project.name}?confirm={project.name}")).status_code == 403
    assert (await key.patch(f"/v1/projects/{project.name}", json={"name": "mine-now"})).status_code == 403
