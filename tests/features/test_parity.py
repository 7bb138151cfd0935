"""Every door × operation × caller × field (threat model A1 to A8, R2), made from the route table: a route that is not placed here
fails the test. Each record and each field of it holds a word of its own; a word in an answer says who learned what.
"""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from baas.base.ids import short_id
from baas.infra.db.pool import Database
from baas.infra.db.sql import ident, sql
from tests.support.callers import Caller, ProjectUnderTest
from tests.support.stream import Following, follow

P = "/v1/projects/{project}"
R = f"{P}/collections/{{collection}}/records"
ACTIONS = ("list", "view", "create", "update", "delete")
OWN: dict[str, str | None] = dict.fromkeys(("list", "view", "update", "delete"), "record.owner == auth.id")
RULES: dict[str, dict[str, str | None]] = {
    "locked": dict.fromkeys(ACTIONS),
    "own": {**OWN, "create": "next.owner == auth.id"},
    "open": {**dict.fromkeys(ACTIONS), "list": "true", "view": "true"},
}
EXPANSIONS = ("owner", "things", "owner.things", "parent", "parent.owner", '{"things": {"fields": ["title", "secret"]}}')
NAMES = ("title", "secret", "note", "nope", "id", "owner")

Ask = tuple[str, str, dict[str, Any]]


LATER = "2999-01-01T00:00:00Z"


def _lists(collection: str) -> Iterator[Ask]:
    """Every way to read many records, with each field in each place a name fits."""
    base = f"collections/{collection}/records"
    for name in ("", *NAMES):
        for place in ("fields", "sort", "expand", "search"):
            yield "GET", base, {"params": {place: name} if name else {}}
        wanted = f"{name} != null" if name else "true"
        yield "POST", f"{base}/query", {"json": {"filter": wanted, "count": "exact"}}
        yield "GET", f"{base}/export", {"params": {"filter": wanted, "format": "ndjson"}}
        select = {"n": "count()", "m": f"max({name})"} if name else {"n": "count()"}
        yield "POST", f"{base}/aggregate", {"json": {"select": select, "group_by": [name] if name else []}}
        yield "GET", base, {"params": {"as_of": LATER, "filter": wanted, **({"sort": name} if name else {})}}
    yield "GET", f"{base}/export", {"params": {"format": "csv"}}
    yield from _sought(base)
    for expand in EXPANSIONS:
        yield "GET", base, {"params": {"expand": expand}}
    for path in ("owner.nickname", "parent.title", "parent.secret", "parent.note", "things.title"):
        yield "GET", base, {"params": {"fields": f"id,{path}"}}
        yield "GET", base, {"params": {"sort": path}}
        yield "GET", base, {"params": {"filter": f"{path} != null"}}


def _sought(base: str) -> Iterator[Ask]:
    """Every door that searches by words and by places. All words of this file begin with a w; only titles are searched."""
    around = [{"field": name, "lat": 1, "lon": 1, "within": 1e7} for name in ("spot", "secret", "nope")]
    for search in (
        {"search": "w"},
        {"search": "w nothing"},
        *({"near": one} for one in around),
        {"search": "w", "near": around[0]},
    ):
        text = {**search, **({"near": json.dumps(search["near"])} if "near" in search else {})}
        yield "GET", base, {"params": text}
        yield "POST", f"{base}/query", {"json": {**search, "count": "exact"}}
        yield "GET", f"{base}/export", {"params": text}
        yield "POST", f"{base}/aggregate", {"json": {**search, "select": {"n": "count()", "m": "max(title)"}}}
    yield "GET", base, {"params": {"near": json.dumps({"field": "spot", "lat": 1, "lon": 1})}}


def _gets(collection: str, record: str) -> Iterator[Ask]:
    """Every way to read one."""
    place = f"collections/{collection}/records/{record}"
    for name in ("", *NAMES):
        yield "GET", place, {"params": {"fields": name} if name else {}}
    for expand in EXPANSIONS:
        yield "GET", place, {"params": {"expand": expand}}
    yield "GET", f"{place}/history", {}
    for then in ("1", LATER):
        for name in ("", *NAMES):
            yield "GET", place, {"params": {"as_of": then, **({"fields": name} if name else {})}}


def _writes(collection: str, record: str) -> Iterator[Ask]:
    base = f"collections/{collection}/records"
    yield "POST", base, {"json": {}}
    yield "POST", base, {"json": [{}]}
    for name in NAMES:
        yield "PATCH", f"{base}/{record}", {"json": {name: "x"}}
        yield "PUT", f"{base}/{record}", {"json": {name: "x"}}
        yield "POST", f"{base}/bulk-update", {"json": {"filter": f"{name} == 'nothing'", "patch": {name: "x"}, "max_affected": 9}}
        yield "POST", f"{base}/upsert", {"json": {"key": [name], "items": [{name: "x"}]}}
        yield "POST", f"{base}/upsert", {"json": {"key": ["id"], "items": [{"id": record, name: "x"}]}}
        yield "POST", f"{base}/bulk-delete", {"json": {"filter": f"{name} == 'nothing'", "max_affected": 9}}
        yield "PATCH", f"{base}/{record}", {"json": {}, "params": {"where": f"{name} == 'x'"}}
        yield "PATCH", f"{base}/{record}", {"json": {name: {"$append": ["x"]}}}
    yield "PATCH", f"{base}/{record}", {"json": {"stars": 1}}
    yield "DELETE", f"{base}/{record}", {"headers": {"if-match": '"99"'}}
    for name in NAMES:
        line = json.dumps({name: "x"}).encode()
        yield "POST", f"{base}/import", {"content": line, "headers": {"content-type": "application/x-ndjson"}}
        yield "POST", f"{base}/import", {"content": f"{name}\nx\n".encode(), "headers": {"content-type": "text/csv"}}
    for one in ({"method": "GET"}, {"method": "PATCH", "body": {"stars": 1}}, {"method": "PUT", "body": {"note": "x"}}):
        yield "POST", "batch", {"json": {"operations": [{**one, "path": f"/{base}/{record}"}]}}


RECORD_DOORS = {
    *(f"GET {R}{end}" for end in ("", "/{id}", "/{id}/history", "/export")),
    *(f"POST {R}{end}" for end in ("", "/query", "/aggregate", "/bulk-update", "/bulk-delete", "/upsert")),
    *(f"{verb} {R}/{{id}}" for verb in ("PATCH", "PUT", "DELETE")),
    f"POST {P}/batch",
    f"POST {R}/import",
}
# Doors of which no record of a collection comes out for callers under rules: asked by each of them, with everything they take.
OTHER_DOORS = (
    f"GET {P}/users",
    f"GET {P}/users/{{user}}",
    f"GET {P}/users/{{user}}/sessions",
    f"GET {P}/auth/me",
    f"GET {P}/auth/sessions",
    f"GET {P}/auth/signing-keys",
    f"GET {P}/schema",
    f"GET {P}/collections",
    f"GET {P}/collections/{{collection}}",
    f"GET {P}/keys",
    f"GET {P}/keys/{{key}}",
    f"GET {P}/settings",
    f"GET {P}",
    "GET /v1/projects",
    f"GET {P}/openapi.json",
    "GET /v1/openapi.json",
    f"GET {P}/buckets",
    f"GET {P}/buckets/{{bucket}}",
    f"GET {P}/buckets/{{bucket}}/files",
    f"GET {P}/buckets/{{bucket}}/files/{{path}}",
    f"HEAD {P}/buckets/{{bucket}}/files/{{path}}",
    f"GET {P}/sites",
    f"GET {P}/sites/{{site}}",
    f"GET {P}/sites/{{site}}/releases",
    f"GET {P}/sites/{{site}}/releases/{{release}}",
    f"GET {P}/.well-known/jwks.json",
    f"GET {P}/rules/lint",
    f"GET {P}/channels",
    f"GET {P}/realtime/socket",
    f"POST {P}/rules/explain",
    f"POST {P}/rules/test",
    "GET /v1/operators/me",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
)
# Doors that stay open: see below.
STREAMS = {f"GET {P}/realtime", f"POST {P}/realtime"}
# Doors that change something that is no record: they have tests of their own, by room.
CHANGES = ("auth/", "users", "buckets", "collections", "sites", "keys", "settings", "operators/", "realtime/", "channels")


@dataclass
class World:
    """Words by what they are in: (collection, whose, field)."""

    project: ProjectUnderTest
    actors: dict[str, Caller]
    records: dict[tuple[str, str], str] = field(default_factory=dict)
    words: dict[str, tuple[str, str, str]] = field(default_factory=dict)

    def word(self, collection: str, whose: str, name: str) -> str:
        word = f"w{short_id()}w"
        self.words[word] = (collection, whose, name)
        return word

    def allowed(self, actor: str, word: str) -> bool:
        """What the rules say, written once more in Python."""
        collection, whose, name = self.words[word]
        if actor == "operator":
            return True
        if actor == "records key":
            return collection not in ("users", "files")
        if collection == "files":
            return actor in (whose, "files key")
        if name == "secret" or actor not in ("alice", "bob", "carol", "anonymous"):
            return False
        if name == "note" or collection in ("own", "users"):
            return actor == whose and collection != "locked"
        return collection == "open"


@pytest.fixture
async def world(project: ProjectUnderTest, operator: Caller) -> World:
    """Three collections under three kinds of rules, and a record of Alice's and of Bob's in each."""
    fields = [{"name": "secret", "type": "text", "hidden": True}]
    note = {"name": "note", "type": "text", "read": "record.id == auth.id"}
    answer = await project.operator.patch(
        "collections/users", json={"fields": [*fields, note, {"name": "nickname", "type": "text"}]}
    )
    assert answer.status_code == 200, answer.text
    for name, rules in RULES.items():
        own: list[dict[str, Any]] = [
            *fields,
            {"name": "note", "type": "text", "read": "record.owner == auth.id"},
            {"name": "title", "type": "text", "search": True},
            {"name": "stars", "type": "int"},
            {"name": "spot", "type": "geo_point"},
            {"name": "owner", "type": "relation", "to": "users", "inverse": f"{name}_things"},
            {"name": "parent", "type": "relation", "to": "locked", "inverse": "things" if name == "open" else f"{name}s"},
        ]
        await project.collection(name, own, rules, options={"history": True, "search": {"typos": False}})
    made = World(project, {"anonymous": project.anonymous, "operator": project.operator})
    for name in ("alice", "bob", "carol"):
        made.actors[name] = await project.user(**{one: made.word("users", name, one) for one in ("secret", "note", "nickname")})
    made.actors["records key"], made.actors["files key"] = await project.key("records"), await project.key("files")
    other = f"t-{short_id()}"
    assert (await operator.post("projects", json={"name": other})).status_code == 201
    elsewhere = ProjectUnderTest(
        other,
        "",
        "",
        Caller(operator.http, f"/v1/projects/{other}", operator.token),
        Caller(operator.http, f"/v1/projects/{other}"),
    )
    stranger = await elsewhere.user()
    made.actors["another project's user"] = Caller(operator.http, project.anonymous.base, stranger.token)
    made.actors["bad token"] = Caller(operator.http, project.anonymous.base, f"{made.actors['alice'].token}x")
    parent = ""
    for collection in RULES:
        for whose in ("alice", "bob"):
            body = {one: made.word(collection, whose, one) for one in ("title", "secret", "note")}
            body |= {"owner": made.actors[whose].id, "spot": {"lat": 1, "lon": 1}} | ({"parent": parent} if parent else {})
            made.records[collection, whose] = (await project.operator.create(collection, body))["id"]
        parent = made.records["locked", "alice"]
    return made


def learned(world: World, actor: str, text: str) -> list[tuple[str, str, str]]:
    """What an answer holds that this caller may not know."""
    return [what for word, what in world.words.items() if word in text and not world.allowed(actor, word)]


async def test_every_route_is_placed(project: ProjectUnderTest) -> None:
    """A new door is read here, or it is no door to records."""
    document = (await project.operator.get("/v1/openapi.json")).json()
    verbs = ("get", "head", "post", "put", "patch", "delete")
    routes = {f"{verb.upper()} {path}" for path, item in document["paths"].items() for verb in item if verb in verbs}
    placed = RECORD_DOORS | set(OTHER_DOORS) | STREAMS
    changing = {one for one in routes - placed if not one.startswith(("GET", "HEAD"))}

    assert not {one for one in routes - placed if one not in changing}, "a reading door without a place"
    assert placed <= routes
    for one in changing:
        path = one.split(" ", 1)[1].removeprefix(P).removeprefix("/v1").removeprefix("/")
        assert path == "" or path == "projects" or path.startswith(CHANGES), one
        # Those are exempt that change definitions. What leads to records, or asks rules, is placed above or is no door.
        assert not {"records", "rules", "batch"} & set(path.split("/")), f"{one} leads to records or rules, and has no place"


@pytest.mark.timeout(600)  # thousands of calls
async def test_no_door_tells_a_caller_what_the_rules_deny(db: Database, world: World) -> None:
    """Reads and writes of every kind, by every caller, of every record; nothing that was denied has changed anything."""
    cells: Counter[str] = Counter()
    sought: Counter[str] = Counter()
    stored = {name: await _stored(db, world, name) for name in RULES}
    for actor, caller in world.actors.items():
        for (collection, whose), record in world.records.items():
            asks = [*_gets(collection, record), *(_lists(collection) if whose == "alice" else ())]
            if actor not in ("operator", "records key") and not (actor == whose and collection == "own"):
                asks += _writes(collection, record)
            for method, path, options in asks:
                answer = await caller.request(method, path, **options)
                text = answer.text + json.dumps(dict(answer.headers))
                leaks = learned(world, actor, text)
                assert not leaks, (actor, method, path, options, leaks, text[:2000])
                assert answer.status_code < 500, (actor, method, path, options, text)
                assert actor not in ("bad token", "another project's user") or answer.status_code == 401
                cells[actor] += 1
                if answer.status_code == 200 and any(one in str(options) for one in ("'search': 'w", "'near'")):
                    sought[f"{method} {path.rpartition('/records')[2]}"] += 1
    # Searches and places are answered, by every door that takes them: a 400 tells nobody anything.
    assert sought.keys() == {"GET ", "POST /query", "GET /export", "POST /aggregate"}, sought
    print(f"cells {dict(cells)}, {sum(cells.values())} in all, leaks 0")
    assert {name: await _stored(db, world, name) for name in RULES} == stored


async def _stored(db: Database, world: World, name: str) -> list[dict[str, Any]]:
    place = ident(world.project.schema, name)
    rows = await db.fetch(sql("select to_jsonb(r)::text as row from {} r where owner is not null order by id", place))
    return [json.loads(row["row"]) for row in rows]


async def test_no_other_door_tells_a_caller_what_the_rules_deny(world: World) -> None:
    """Administration, definitions, documents and files, by every caller but the operator, who may know everything."""
    bob = world.actors["bob"].id
    rules = {**dict.fromkeys(ACTIONS), "list": f"auth.id == '{bob}'", "view": f"auth.id == '{bob}'"}
    await world.project.operator.post("buckets", json={"name": "b", "rules": rules})
    word = world.word("files", "bob", "content")
    await world.project.operator.put("buckets/b/files/f.txt", content=word.encode(), headers={"content-type": "text/plain"})
    values = {"project": world.project.name, "collection": "own", "user": world.actors["bob"].id, "bucket": "b", "path": "f.txt"}
    values |= {"site": "s", "release": "r", "request": "q", "key": "k", "id": world.records["own", "bob"]}
    cells = 0
    for actor, caller in world.actors.items():
        if actor in ("operator", "bob"):
            continue
        for door in OTHER_DOORS:
            method, path = door.split(" ", 1)
            body = {"collection": "own", "action": "view", "id": values["id"], "as": None} if method == "POST" else None
            answer = await caller.request(method, path.format(**values), json=body)
            assert answer.status_code < 500, (actor, door, answer.text)
            assert not learned(world, actor, answer.text), (actor, door, answer.text)
            cells += 1
    print(f"cells {cells}, leaks 0")


async def test_no_stream_tells_a_caller_what_the_rules_deny(server_url: str, world: World) -> None:
    """Every caller follows everything in every way, while the operator changes every record twice and deletes it."""
    expansions: list[Any] = [None, "owner", "things", "parent.owner"]
    opened: list[tuple[str, Following]] = []
    async with contextlib.AsyncExitStack() as open_streams:
        for actor, caller in world.actors.items():
            for collection in RULES:
                for at, expand in enumerate(expansions):
                    asked = {"id": f"s{at}", "collection": collection, "initial": True} | ({"expand": expand} if expand else {})
                    stream = follow(server_url, world.project.name, [asked], token=caller.token, by_body=bool(at % 2))
                    opened.append((actor, await open_streams.enter_async_context(stream)))
        for (collection, whose), record in reversed(world.records.items()):
            place = f"collections/{collection}/records/{record}"
            for _ in range(2):
                body = {one: world.word(collection, whose, one) for one in ("title", "secret", "note")}
                assert (await world.project.operator.patch(place, json=body)).status_code == 200
            assert (await world.project.operator.delete(place)).status_code == 204
        everything = next(stream for actor, stream in opened if actor == "operator" and stream.status == 200)
        await everything.until(lambda: everything.actions.count("delete") == 2)
        await asyncio.sleep(0.3)
    for actor, stream in opened:
        text = json.dumps([stream.problem, *(one.data for one in stream.events)])
        assert not learned(world, actor, text), (actor, text)
        assert actor not in ("bad token", "another project's user") or stream.status == 401
    seen = {actor for actor, stream in opened if stream.actions}
    assert {"alice", "bob", "carol", "anonymous", "operator", "records key"} <= seen


async def test_the_planted_words_are_read_where_they_may_be(world: World) -> None:
    """The net is not empty: each caller does read what the rules allow him."""
    for actor in ("alice", "carol", "anonymous", "operator", "records key"):
        seen = set()
        for collection in (*RULES, "users"):
            answer = await world.actors[actor].get(f"collections/{collection}/records")
            seen |= {word for word in world.words if word in answer.text}
        assert seen == {word for word in world.words if world.allowed(actor, word)}, actor
