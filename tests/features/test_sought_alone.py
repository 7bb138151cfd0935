"""Aggregates and exports of what a search or a circle finds: the same records as of a list, and nothing that a rule hides."""

import json
from typing import Any

import pytest

from baas.infra.db.pool import Database
from tests.features.test_near import BERLIN, OPEN, PLACE, TOWNS, towns
from tests.features.test_query_limits import locked
from tests.support.callers import Caller, ProjectUnderTest

AROUND = {"field": "place", **BERLIN, "within": 50_000}
FIJI = {"field": "place", "lat": -16, "lon": 180, "within": 2_000_000}


async def counted(caller: Caller, **body: Any) -> int:
    answer = await caller.post("collections/towns/records/aggregate", json={"select": {"n": "count()"}, **body})
    assert answer.status_code == 200, answer.text
    return int(answer.json()["items"][0]["n"])


async def exported(caller: Caller, **params: Any) -> set[str]:
    answer = await caller.get("collections/towns/records/export", params=params)
    assert answer.status_code == 200, answer.text
    return {json.loads(line)["name"] for line in answer.text.splitlines()}


async def listed(caller: Caller, **params: Any) -> set[str]:
    answer = await caller.get("collections/towns/records", params=params)
    assert answer.status_code == 200, answer.text
    return {one["name"] for one in answer.json()["items"]}


@pytest.mark.parametrize(
    ("search", "near", "found"),
    [
        (None, AROUND, {"Berlin", "Potsdam"}),
        (None, FIJI, {"Suva", "Apia"}),
        ("p", None, {"Potsdam", "Paris", "Pole"}),
        ("p", AROUND, {"Potsdam"}),
        ("nothing", AROUND, set()),
    ],
)
async def test_what_a_list_finds_is_counted_and_exported(
    project: ProjectUnderTest, search: str | None, near: dict[str, Any] | None, found: set[str]
) -> None:
    caller = await towns(project)
    words = {} if search is None else {"search": search}
    as_text = words if near is None else {**words, "near": json.dumps(near)}

    assert found == await listed(caller, **as_text) == await exported(caller, **as_text)
    assert len(found) == await counted(caller, **words, **({} if near is None else {"near": near}))
    assert found == await exported(caller, **as_text, sort="-name", filter="name != 'x'")


async def test_values_of_one_question_do_not_stay_for_the_next(project: ProjectUnderTest) -> None:
    """One text for all places and words: the values are read anew."""
    caller = await towns(project)
    for around, number in ((AROUND, 2), ({**AROUND, "within": 1}, 1), ({**FIJI, "lat": 0, "lon": 0, "within": 10}, 0)):
        assert number == await counted(caller, near=around) == len(await exported(caller, near=json.dumps(around)))
    for words, number in (("berlin", 1), ("paris", 1), ("london", 0)):
        assert number == await counted(caller, search=words) == len(await exported(caller, search=words))


async def test_nothing_that_is_hidden_is_counted_by_where_it_is(project: ProjectUnderTest) -> None:
    await towns(project, rules={"list": "record.name != 'Potsdam'", "view": "true"})

    assert 1 == await counted(project.anonymous, near=AROUND)
    assert 0 == await counted(project.anonymous, search="potsdam")
    assert {"Berlin"} == await exported(project.anonymous, near=json.dumps(AROUND))


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"near": {**AROUND, "within": None}}, "bad_near"),
        ({"near": {"field": "name", "lat": 1, "lon": 1, "within": 5}}, "bad_near"),
        ({"near": {"field": "hidden", "lat": 1, "lon": 1, "within": 5}}, "bad_near"),
        ({"near": {"field": "mine", "lat": 1, "lon": 1, "within": 5}}, "bad_near"),
        ({"near": {}}, "bad_near"),
        ({"near": {**AROUND, "within": -1}}, "bad_near"),
        ({"near": 3}, "invalid"),
        ({"search": 3}, "invalid"),
        ({"search": " "}, "bad_search"),
        ({"search": "x" * 5_000}, "limit_exceeded"),
    ],
)
async def test_a_wrong_question_is_refused_as_by_a_list(project: ProjectUnderTest, more: dict[str, Any], code: str) -> None:
    """A field that is hidden, or that not everybody may read, is measured nowhere."""
    fields = [
        {"name": "name", "type": "text", "search": True},
        PLACE,
        {**PLACE, "name": "hidden", "hidden": True},
        {**PLACE, "name": "mine", "read": "record.name == auth.email"},
    ]
    caller = await towns(project, fields=fields)

    answer = await caller.post("collections/towns/records/aggregate", json={"select": {"n": "count()"}, **more})
    file = await caller.get(
        "collections/towns/records/export", params={name: json.dumps(value) for name, value in more.items() if name == "near"}
    )

    assert 400 <= answer.status_code < 500
    assert code == answer.json()["code"], answer.text
    if "near" in more:
        assert 400 <= file.status_code < 500, file.text


async def test_a_collection_without_searched_fields_has_no_search(project: ProjectUnderTest) -> None:
    caller = await towns(project, fields=[{"name": "name", "type": "text"}, PLACE])

    answer = await caller.post("collections/towns/records/aggregate", json={"select": {"n": "count()"}, "search": "x"})

    assert (400, "bad_search") == (answer.status_code, answer.json()["code"])
    assert len(TOWNS) == await counted(caller)


async def test_a_search_that_takes_too_long_is_the_askers_to_change(project: ProjectUnderTest, db: Database) -> None:
    await project.collection("things", [{"name": "name", "type": "text", "search": True}, PLACE], OPEN)
    await project.settings(limits={"list_timeout_ms": 60})
    async with locked(project, db):
        for params in ({"search": "x"}, {"near": json.dumps({"field": "place", **BERLIN})}):
            answer = await project.anonymous.get("collections/things/records", params=params)
            assert (422, "query_too_slow") == (answer.status_code, answer.json()["code"])
