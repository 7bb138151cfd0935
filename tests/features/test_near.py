"""Places and vectors through the API: fields, distances in rules and filters, and lists by nearness."""

import json
import random
from math import acos, cos, radians, sin
from typing import Any

import pytest

from baas.base.places import RADIUS
from baas.infra.db.extensions import is_ready
from baas.infra.db.pool import Database
from baas.infra.db.sql import ident, sql
from tests.support.callers import Caller, ProjectUnderTest

OPEN = {"list": "true", "view": "true"}
PLACE = {"name": "place", "type": "geo_point"}
BERLIN = {"lat": 52.52, "lon": 13.405}
TOWNS: dict[str, Any] = {
    "Berlin": BERLIN,
    "Potsdam": {"lat": 52.3906, "lon": 13.0645},
    "Paris": {"lat": 48.8566, "lon": 2.3522},
    "Suva": {"lat": -18.1416, "lon": 178.4419},
    "Apia": {"lat": -13.8333, "lon": -171.7667},
    "Pole": {"lat": 90, "lon": 0},
    "Nowhere": None,
}


async def towns(project: ProjectUnderTest, **manifest: Any) -> Caller:
    fields = [{"name": "name", "type": "text", "search": True}, PLACE]
    await project.collection("towns", **{"fields": fields, "rules": OPEN, **manifest})
    bodies = [{"name": name, "place": place} for name, place in TOWNS.items()]
    answer = await project.operator.post("collections/towns/records", json=bodies)
    assert answer.status_code == 201, answer.text
    return project.anonymous


async def near(caller: Caller, around: dict[str, Any], **params: Any) -> list[dict[str, Any]]:
    answer = await caller.get("collections/towns/records", params={"near": json.dumps(around), **params})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def apart(a: dict[str, float], b: dict[str, float]) -> float:
    """By another formula than ours: the spherical law of cosines."""
    (x, y), (u, v) = ((radians(one["lat"]), radians(one["lon"])) for one in (a, b))
    return RADIUS * acos(max(-1.0, min(1.0, sin(x) * sin(u) + cos(x) * cos(u) * cos(y - v))))


async def test_the_nearest_comes_first_with_its_distance(project: ProjectUnderTest) -> None:
    """What has no place is near to nothing; a sort overrules the order, not the distance."""
    caller = await towns(project)
    found = await near(caller, {"field": "place", **BERLIN})

    assert [one["name"] for one in found[:3]] == ["Berlin", "Potsdam", "Paris"]
    assert "Nowhere" not in {one["name"] for one in found}
    assert found[0]["_distance"] == 0
    for one in found:
        assert one["_distance"] == pytest.approx(apart(BERLIN, one["place"]), abs=0.1)
    found = await near(caller, {"field": "place", **BERLIN}, sort="name", fields="name", filter='name != "Pole"')
    assert [one["name"] for one in found] == ["Apia", "Berlin", "Paris", "Potsdam", "Suva"]
    assert set(found[0]) == {"name", "_distance"}
    found = await near(caller, {"field": "place", **BERLIN}, search="p", limit="1")
    assert [one["name"] for one in found] == ["Potsdam"]


@pytest.mark.parametrize("indexed", [True, False])
async def test_within_is_a_circle_also_over_the_date_line_and_the_pole(project: ProjectUnderTest, indexed: bool) -> None:
    """The same records as by the distance alone, with an index and without."""
    caller = await towns(project, indexes=[{"fields": ["place"]}] if indexed else [])
    dice = random.Random(7)
    bodies = [{"name": f"r{n}", "place": {"lat": dice.uniform(-90, 90), "lon": dice.uniform(-180, 180)}} for n in range(500)]
    assert (await project.operator.post("collections/towns/records", json=bodies)).status_code == 201
    centres = [
        BERLIN,
        TOWNS["Suva"],
        TOWNS["Apia"],
        TOWNS["Pole"],
        {"lat": -89.9, "lon": 33},
        {"lat": 0, "lon": 180},
        {"lat": 1, "lon": -180},
    ]
    for centre in centres:
        everything = await near(caller, {"field": "place", **centre}, limit="500", filter='name.startsWith("r")')
        assert len(everything) == 500
        for within in (0, 1000, 300_000, 2_500_000, 11_000_000):
            found = await near(caller, {"field": "place", **centre, "within": within}, limit="500", filter='name.startsWith("r")')
            expected = [one["name"] for one in everything if one["_distance"] <= within]

            assert expected == [one["name"] for one in found], (centre, within)


async def test_a_circle_uses_the_index(project: ProjectUnderTest, db: Database) -> None:
    """A GiST index over the place as a planar point; said in the definition, and told by EXPLAIN."""
    await towns(project, indexes=[{"fields": ["place"]}])
    answer = await project.operator.get("collections/towns")
    assert answer.json()["indexes"] == [{"fields": ["place"], "unique": False, "where": None, "using": "gist"}]
    indexes = await db.fetch(sql("select indexdef from pg_indexes where schemaname = {} and tablename = 'towns'", project.schema))

    assert any("USING gist (point((place).lon, (place).lat))" in row["indexdef"] for row in indexes)


async def test_pages_by_distance_concatenate(project: ProjectUnderTest) -> None:
    """Ties by id; a cursor belongs to its centre."""
    await project.collection("towns", fields=[{"name": "name", "type": "text"}, PLACE], rules=OPEN)
    bodies = [{"name": str(n), "place": {"lat": n % 5, "lon": 0}} for n in range(40)]
    await project.operator.post("collections/towns/records", json=bodies)
    whole = await near(project.anonymous, {"field": "place", "lat": 0, "lon": 0}, limit="100")
    seen, cursor = [], None
    while True:
        body = {"near": {"field": "place", "lat": 0, "lon": 0}, "limit": 7} | ({"cursor": cursor} if cursor else {})
        page = (await project.anonymous.post("collections/towns/records/query", json=body)).json()
        seen += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = page["next_cursor"]

    assert whole == seen
    assert len(whole) == 40
    body = {"near": {"field": "place", "lat": 1, "lon": 0}, "limit": 7, "cursor": cursor}
    answer = await project.anonymous.post("collections/towns/records/query", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor")


async def test_rules_and_filters_measure(project: ProjectUnderTest) -> None:
    """`distance` and `geo` in a rule, with the caller's own place, and in a filter with variables."""
    users = await project.operator.patch("collections/users", json={"fields": [{"name": "home", "type": "geo_point"}]})
    assert users.status_code == 200, users.text
    await towns(project, rules={"list": "distance(record.place, auth.home) < 50000.0", "view": "true"})
    ann = await project.user(home=BERLIN)

    assert {one["name"] for one in await ann.list("towns")} == {"Berlin", "Potsdam"}
    nobody = await project.user()
    assert (await nobody.get("collections/towns/records")).status_code == 403
    for filter_, names in (
        ("distance(place, geo($lat, $lon)) < 1000.0", {"Berlin"}),
        ("place == geo($lat, $lon)", {"Berlin"}),
        ("place.lat > $lat && place.lon <= $lon", {"Pole"}),
        ("place == null && $lat > $lon", {"Nowhere"}),
        ("has(record.place) && place.lat() < 0 && $lat > $lon", {"Suva", "Apia"}),
    ):
        found = await project.operator.list("towns", filter=filter_, vars=json.dumps(BERLIN))
        assert {one["name"] for one in found} == names, filter_


async def test_a_place_is_unique_required_and_has_a_default(project: ProjectUnderTest) -> None:
    """As any other field; and a faulty one is told with a pointer into it."""
    field = {**PLACE, "required": True, "unique": True, "default": {"lat": 1, "lon": 2}}
    await project.collection("towns", fields=[field], rules={**OPEN, "create": "true", "update": "next.place != record.place"})
    first = await project.anonymous.create("towns", {})
    assert first["place"] == {"lat": 1, "lon": 2}
    again = await project.anonymous.post("collections/towns/records", json={"place": {"lat": 1.0, "lon": 2}})
    assert (again.status_code, again.json()["errors"][0]["pointer"]) == (409, "/place")
    wrong = await project.anonymous.post("collections/towns/records", json={"place": {"lat": 91, "lon": "2"}})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/place/lat")
    null = await project.anonymous.post("collections/towns/records", json={"place": None})
    assert (null.status_code, null.json()["errors"][0]["code"]) == (422, "required")
    path = f"collections/towns/records/{first['id']}"
    assert (await project.anonymous.patch(path, json={"place": {"lat": 1, "lon": 2}})).status_code == 403
    assert (await project.anonymous.patch(path, json={"place": {"lat": -0.0, "lon": 1e-300}})).json()["place"] == {
        "lat": 0,
        "lon": 1e-300,
    }
    many = await project.anonymous.post("collections/towns/records", json=[{"place": {"lat": n, "lon": 0}} for n in range(1, 4)])
    assert [one["place"]["lat"] for one in many.json()["items"]] == [1, 2, 3]


HERE = {"field": "place", "lat": 1, "lon": 1}
BAD_NEAR: list[Any] = [
    {}, {"field": "place"}, {**HERE, "field": "name"}, {**HERE, "field": "nope"}, {**HERE, "field": ["place"]},
    {**HERE, "lat": 91}, {**HERE, "lat": "1"}, {"field": "place", "lat": 1}, {**HERE, "lon": None}, {**HERE, "within": -1},
    {**HERE, "within": "5"}, {**HERE, "within": True}, {**HERE, "within": 1e300}, {**HERE, "within": []},
    {"field": "place", "vector": [1]}, {**HERE, "metres": 5}, {**HERE, "field": "id"}, {**HERE, "field": "secret"},
    {**HERE, "field": "gated"},
]  # fmt: skip


async def test_a_bad_near_is_refused_in_words(project: ProjectUnderTest) -> None:
    """By both doors; a hidden or gated field is none to measure from."""
    fields = [{"name": "name", "type": "text", "search": True}, PLACE, {**PLACE, "name": "secret", "hidden": True}]
    await towns(project, fields=[*fields, {**PLACE, "name": "gated", "read": "auth != null"}])
    for around in BAD_NEAR:
        answer = await project.anonymous.get("collections/towns/records", params={"near": json.dumps(around)})
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_near"), (around, answer.text)
        answer = await project.anonymous.post("collections/towns/records/query", json={"near": around})
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_near"), (around, answer.text)
    assert await near(project.operator, {"field": "secret", **BERLIN}) == []
    for text in ("5", "[]", "{", '{"field": "place", "lat": NaN, "lon": 1}', '{"field": "place", "lat": 1e999, "lon": 1}'):
        answer = await project.anonymous.get("collections/towns/records", params={"near": text})
        assert answer.status_code in (400, 422), (text, answer.text)
    answer = await project.anonymous.post("collections/towns/records/query", json={"near": "place"})
    assert answer.json()["errors"][0]["pointer"] == "/near"


@pytest.mark.parametrize(
    "filter_",
    [
        "[place] == null", "place in [geo(1, 2)]", "place < geo(1, 2)", 'place == "x"', "place == name", "place.alt == 1.0",
        "distance(place) < 1.0", "distance(place, 5) < 1.0", 'place == {"lat": 1}', "size(place) == 2", "string(place) == null",
        "[geo(1, 2)].exists(p, p == place)",
    ],
)  # fmt: skip
async def test_what_a_place_is_not_is_a_bad_filter(project: ProjectUnderTest, filter_: str) -> None:
    """Told before any row is looked at."""
    caller = await towns(project)
    answer = await caller.get("collections/towns/records", params={"filter": filter_})

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_filter")


# Vectors.


@pytest.fixture
async def vectors(project: ProjectUnderTest, db: Database) -> ProjectUnderTest:
    """A project on a PostgreSQL that has vectors; what happens elsewhere is the test of `extension_missing`."""
    if not await is_ready(db, "vector"):
        pytest.skip("needs PostgreSQL's extension vector")
    return project


async def test_without_the_extension_the_field_is_refused(project: ProjectUnderTest, db: Database) -> None:
    """With a pointer and a way out; where it is there, it is made at the first use."""
    body = {"name": "texts", "fields": [{"name": "embedding", "type": "vector", "dimensions": 3}]}
    answer = await project.operator.post("collections", json=body)
    if await is_ready(db, "vector"):
        assert answer.status_code == 201, answer.text
    else:
        assert answer.status_code == 422
        (fault,) = answer.json()["errors"]
        assert (fault["pointer"], fault["code"]) == ("/fields/0/type", "extension_missing")
        assert "create extension vector schema baas_ext" in fault["message"]


@pytest.mark.parametrize("indexes", [[], [{"fields": ["embedding"], "using": "hnsw"}], [{"fields": ["embedding"]}]])
@pytest.mark.parametrize("metric", ["cosine", "l2", "inner"])
async def test_the_nearest_vector_comes_first(vectors: ProjectUnderTest, metric: str, indexes: list[dict[str, Any]]) -> None:
    """By the metric of the field, with an index and without; pages and rules as everywhere."""
    fields = [
        {"name": "n", "type": "int", "required": True},
        {"name": "embedding", "type": "vector", "dimensions": 3, "metric": metric},
    ]
    await vectors.collection("texts", fields=fields, indexes=indexes, rules={"list": "record.n % 2 == 0", "view": "true"})
    dice = random.Random(3)
    bodies: list[dict[str, Any]] = [{"n": n, "embedding": [round(dice.uniform(-1, 1), 3) for _ in range(3)]} for n in range(80)]
    assert (await vectors.operator.post("collections/texts/records", json=[*bodies, {"n": 80}])).status_code == 201
    target = [0.3, -0.2, 0.9]

    def far(one: list[float]) -> float:
        dot = sum(a * b for a, b in zip(one, target, strict=True))
        match metric:
            case "cosine":
                return 1 - dot / (sum(a * a for a in one) * sum(a * a for a in target)) ** 0.5
            case "l2":
                return sum((a - b) ** 2 for a, b in zip(one, target, strict=True)) ** 0.5
        return -dot

    expected = [one["n"] for one in sorted(bodies, key=lambda one: far(one["embedding"])) if one["n"] % 2 == 0]
    seen, cursor = [], None
    while True:
        body = {"near": {"field": "embedding", "vector": target}, "limit": 9} | ({"cursor": cursor} if cursor else {})
        answer = await vectors.anonymous.post("collections/texts/records/query", json=body)
        assert answer.status_code == 200, answer.text
        seen += answer.json()["items"]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            break

    assert expected == [one["n"] for one in seen]
    for one in seen:
        assert one["_distance"] == pytest.approx(far(one["embedding"]), abs=1e-5)


async def test_a_vector_field_keeps_to_its_definition(vectors: ProjectUnderTest) -> None:
    """Dimensions, numbers, indexes, what rules may say; and a changed metric is a changed index."""
    field: dict[str, Any] = {"name": "embedding", "type": "vector", "dimensions": 2}
    for entry, pointer, code in (
        ({"name": "v", "type": "vector"}, "/fields/0/dimensions", "required"),
        ({**field, "dimensions": 2001}, "/fields/0/dimensions", "out_of_range"),
        ({**field, "metric": "taxi"}, "/fields/0/metric", "not_allowed"),
        ({**field, "unique": True}, "/fields/0/unique", "not_indexable"),
    ):
        answer = await vectors.operator.post("collections", json={"name": "texts", "fields": [entry]})
        assert [(one["pointer"], one["code"]) for one in answer.json()["errors"]] == [(pointer, code)], answer.text
    for index, pointer, code in (
        ({"fields": ["embedding"], "using": "gist"}, "/indexes/0/using", "not_allowed"),
        ({"fields": ["embedding"], "using": 5}, "/indexes/0/using", "not_allowed"),
        ({"fields": ["created_at", "embedding"]}, "/indexes/0/fields/1", "not_indexable"),
        ({"fields": ["-embedding"]}, "/indexes/0/fields/0", "not_indexable"),
        ({"fields": ["created_at"], "using": "hnsw"}, "/indexes/0/using", "not_allowed"),
    ):
        answer = await vectors.operator.post("collections", json={"name": "texts", "fields": [field], "indexes": [index]})
        assert [(one["pointer"], one["code"]) for one in answer.json()["errors"]] == [(pointer, code)], answer.text
    rules = {**OPEN, "create": "next.embedding != null", "update": "has(record.embedding)"}
    await vectors.collection("texts", fields=[field], indexes=[{"fields": ["embedding"]}], rules=rules)
    made = await vectors.anonymous.create("texts", {"embedding": [0.5, -1]})
    assert made["embedding"] == [0.5, -1]
    assert (await vectors.anonymous.post("collections/texts/records", json={})).status_code == 403
    for value, pointer in (([1], "/embedding"), ([1, "2"], "/embedding/1"), ([0, 0], "/embedding"), ([1, 1e300], "/embedding/1")):
        answer = await vectors.anonymous.post("collections/texts/records", json={"embedding": value})
        assert [one["pointer"] for one in answer.json()["errors"]] == [pointer], answer.text
    for filter_ in (
        "embedding == embedding",
        "embedding == $v",
        "size(embedding) == 2",
        "embedding[0] == 1.0",
        "embedding < embedding",
    ):
        answer = await vectors.anonymous.get("collections/texts/records", params={"filter": filter_, "vars": '{"v": [1, 2]}'})
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_filter"), (filter_, answer.text)
    assert (await vectors.anonymous.get("collections/texts/records", params={"sort": "embedding"})).json()["code"] == "bad_sort"
    changed = await vectors.operator.patch("collections/texts", json={"fields": [{**field, "metric": "l2"}]})
    assert changed.status_code == 200, changed.text
    back = await vectors.operator.patch("collections/texts", json={"fields": [field]})
    assert back.json()["errors"][0]["code"] == "type_change"
    for around in (
        {"vector": [1]},
        {"vector": [1, 2, 3]},
        {"vector": "x"},
        {},
        {"vector": [1, 2], "within": 5},
        {"lat": 1, "lon": 2},
        {"vector": [1, None]},
    ):
        answer = await vectors.anonymous.post("collections/texts/records/query", json={"near": {"field": "embedding", **around}})
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_near"), (around, answer.text)


async def test_extreme_vectors_have_finite_distances(vectors: ProjectUnderTest) -> None:
    """The largest and smallest numbers that are taken, against each other: JSON has no infinity."""
    for metric in ("cosine", "l2", "inner"):
        field = {"name": "embedding", "type": "vector", "dimensions": 2000, "metric": metric}
        await vectors.collection(f"texts_{metric}", fields=[field], rules=OPEN)
        extremes = [[1e15] * 2000, [-1e15] * 2000, [1e-15] * 2000, [1e15, *[1e-15] * 1999]]
        for value in extremes:
            await vectors.operator.create(f"texts_{metric}", {"embedding": value})
        for value in extremes:
            body = {"near": {"field": "embedding", "vector": value}, "fields": "id"}
            answer = await vectors.anonymous.post(f"collections/texts_{metric}/records/query", json=body)
            assert answer.status_code == 200, answer.text
            assert all(isinstance(one["_distance"], int | float) for one in answer.json()["items"]), (metric, answer.text)
            assert len(answer.json()["items"]) == 4


async def test_an_hnsw_index_is_used_and_goes_on_under_a_rule(vectors: ProjectUnderTest, db: Database) -> None:
    """EXPLAIN names the index, and a rule that shows one in fifty still fills the page, but for what the index passes over."""
    fields = [{"name": "n", "type": "int", "required": True}, {"name": "embedding", "type": "vector", "dimensions": 3}]
    rules = {"list": "record.n == 0", "view": "true"}
    await vectors.collection("texts", fields=fields, indexes=[{"fields": ["embedding"]}], rules=rules)
    async with db.transaction(statement_timeout_s=60) as tx:
        await tx.execute(
            sql(
                "insert into {} (id, n, embedding) select gen_random_uuid(), i % 50,"
                " array[random(), random(), random() + 0.01]::baas_ext.vector from generate_series(1, 5000) i",
                ident(vectors.schema, "texts"),
            )
        )
    await db.execute(sql("analyze {}", ident(vectors.schema, "texts")))
    body = {"near": {"field": "embedding", "vector": [1, 0, 0]}, "limit": 20, "fields": "n"}
    answer = await vectors.anonymous.post("collections/texts/records/query", json=body)

    assert len(answer.json()["items"]) >= 15
