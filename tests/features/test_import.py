"""Records from a file: what an export writes is read back exactly, faults by line, nothing twice."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from baas.base.ids import uuid7
from tests.support.callers import Caller, ProjectUnderTest

OPEN = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")
NDJSON = {"content-type": "application/x-ndjson"}
CSV = {"content-type": "text/csv"}
FIELDS: list[dict[str, Any]] = [
    {"name": "title", "type": "text"},
    {"name": "n", "type": "int", "max": 10**18},
    {"name": "x", "type": "float"},
    {"name": "price", "type": "decimal"},
    {"name": "yes", "type": "bool"},
    {"name": "day", "type": "date"},
    {"name": "at", "type": "datetime"},
    {"name": "kind", "type": "select", "values": ["a", "b,c"]},
    {"name": "kinds", "type": "select", "values": ["a", "b,c"], "many": True},
    {"name": "doc", "type": "json"},
    {"name": "place", "type": "geo_point"},
    {"name": "owner", "type": "relation", "to": "users"},
    {"name": "friends", "type": "relation", "to": "users", "many": True},
]


async def load(
    caller: Caller, collection: str, data: str | bytes, form: dict[str, str] | None = None, **params: Any
) -> httpx2.Response:
    headers = {**(form or NDJSON), **params.pop("headers", {})}
    return await caller.post(f"collections/{collection}/records/import", content=data, headers=headers, params=params)


def lines(*bodies: Any) -> str:
    return "".join(json.dumps(one) + "\n" for one in bodies)


async def things(project: ProjectUnderTest, name: str = "things") -> None:
    fields = [
        {"name": "title", "type": "text", "required": True, "max": 100},
        {"name": "slug", "type": "text", "unique": True},
        {"name": "n", "type": "int"},
    ]
    await project.collection(name, fields, OPEN)


@pytest.mark.parametrize("form", ["ndjson", "csv"])
async def test_an_export_is_read_back_exactly(project: ProjectUnderTest, form: str) -> None:
    await project.collection("one", FIELDS, OPEN)
    await project.collection("two", FIELDS, OPEN)
    ada = await project.user()
    bodies: list[dict[str, Any]] = [
        {},
        {"title": "", "doc": "", "kinds": [], "friends": []},
        {"title": 'a "b",\r\nc\nd\re', "kind": "b,c", "kinds": ["a", "b,c"], "doc": {"a": [1, None, "x\ny", 'q"']}, "yes": False},
        {"title": "null", "doc": "null", "n": 0, "x": 0.0, "price": "0.00", "yes": True},
        {
            "title": "=1+1 \u20ac \U0001f600 \\ \\n",
            "n": "9007199254740993",
            "x": 1e300,
            "price": "-123456789012345678901234567890.10",
        },
        {"title": " a ", "x": 0.1, "day": "0001-01-02", "at": "2026-11-20T23:59:59.999999Z", "doc": [1.50, "1", True]},
        {"owner": ada.id, "friends": [ada.id], "place": {"lat": 48.137154, "lon": -11.576124}, "doc": {}},
    ]
    for body in bodies:
        await project.operator.create("one", body)
    exported = await project.operator.get("collections/one/records/export", params={"format": form})

    answer = await load(project.operator, "two", exported.content, NDJSON if form == "ndjson" else CSV)

    assert answer.status_code == 200, answer.text
    assert answer.json() == {"read": 7, "created": 7, "updated": 0, "failed": 0, "errors": []}
    written_by_server = ("rev", "created_at", "updated_at")
    both = [await project.operator.list(name) for name in ("one", "two")]
    one, two = [
        [{name: value for name, value in record.items() if name not in written_by_server} for record in each] for each in both
    ]
    assert one == two


async def test_faults_are_told_by_line(project: ProjectUnderTest) -> None:
    await things(project)
    await project.operator.create("things", {"title": "x", "slug": "taken"})
    data = (
        lines({"title": "a"}, {"n": "x", "nope": 1})
        + "{\n\n[]\n"
        + lines({"title": "b", "slug": "taken"}, {"title": "c", "slug": "c"}, {"title": "d", "slug": "c"}, {"title": "e"})
    )

    answer = await load(project.operator, "things", data, on_error="skip")

    report = answer.json()
    assert {name: report[name] for name in ("read", "created", "failed")} == {"read": 8, "created": 3, "failed": 5}
    assert [
        (one["line"], one["pointer"], one["code"])
        for one in sorted(report["errors"], key=lambda one: (one["line"], one["pointer"]))
    ] == [
        (2, "/n", "wrong_type"),
        (2, "/nope", "unknown_field"),
        (2, "/title", "required"),
        (3, "", "bad_json"),
        (5, "", "not_an_object"),
        (6, "/slug", "already_exists"),
        (8, "/slug", "already_exists"),
    ]
    assert sorted(one["title"] for one in await project.operator.list("things")) == ["a", "c", "e", "x"]


async def test_without_skip_it_stops_before_what_has_a_fault_and_goes_on_from_there(project: ProjectUnderTest) -> None:
    await things(project)
    good = [{"title": str(at)} for at in range(2500)]
    bad = [*good[:1999], {"title": 1}, *good[2000:]]

    stopped = (await load(project.operator, "things", lines(*bad))).json()
    resumed = (await load(project.operator, "things", lines(*good), from_line=stopped["resume"])).json()

    assert (stopped["created"], stopped["failed"], stopped["resume"]) == (1000, 1, 1001)
    assert stopped["errors"][0]["line"] == 2000
    assert (resumed["created"], resumed["failed"], "resume" in resumed) == (1500, 0, False)
    found = await count(project, "things")
    assert found == 2500


async def count(project: ProjectUnderTest, collection: str) -> int:
    answer = await project.operator.get(f"collections/{collection}/records", params={"count": "exact", "limit": 1})
    return int(answer.json()["total"])


async def test_a_dry_run_writes_nothing(project: ProjectUnderTest) -> None:
    await things(project)
    data = lines({"title": "a"}, {"title": 1}, {"title": "b"})
    keyed = {"headers": {"idempotency-key": "k"}}

    dry = (await load(project.operator, "things", data, dry_run="true", on_error="skip", **keyed)).json()
    assert await count(project, "things") == 0
    wet = (await load(project.operator, "things", data, on_error="skip", **keyed)).json()

    assert dry == wet
    assert wet["created"] == await count(project, "things") == 2


async def test_with_a_key_a_repeated_file_is_written_once(project: ProjectUnderTest) -> None:
    await things(project)
    ada = await project.user()
    data = lines(*[{"title": str(at)} for at in range(2300)], {"title": 1})
    keyed = {"headers": {"idempotency-key": "k"}, "on_error": "skip"}

    reports = await asyncio.gather(*[load(ada, "things", data, **keyed) for _ in range(3)])
    other = await load(ada, "things", data.replace('"title": "5"', '"title": "6"'), **keyed)

    assert {one.text for one in reports} == {reports[0].text}
    assert reports[0].json()["created"] == await count(project, "things") == 2300
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


async def test_a_key_is_good_for_one_file_to_its_end(project: ProjectUnderTest) -> None:
    """The same file is told from the first time; one that is longer, shorter, or read from another line is another."""
    await things(project)
    data, keyed = lines(*[{"title": str(at)} for at in range(1001)]), {"headers": {"idempotency-key": "k"}}
    thousand = "".join(data.splitlines(keepends=True)[:1000])

    first, again = [await load(project.operator, "things", data, **keyed) for _ in range(2)]
    others = [
        await load(project.operator, "things", data, from_line=501, **keyed),
        await load(project.operator, "things", data + lines({"title": "x"}), **keyed),
        await load(project.operator, "things", thousand, **keyed),
        await load(project.operator, "things", lines({"title": "x"}), from_line=1, **keyed),
    ]

    assert (first.status_code, "idempotent-replayed" in first.headers) == (200, False)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")
    assert first.content == again.content
    assert [(one.status_code, one.json()["code"]) for one in others] == [(422, "idempotency_mismatch")] * 4
    assert await count(project, "things") == 1001


async def test_a_cut_import_goes_on_where_it_was_cut(project: ProjectUnderTest, server_url: str) -> None:
    """Every thousand that was written is there once, however often the connection breaks in between."""
    await things(project)
    data = lines(*[{"title": str(at)} for at in range(4000)]).encode()
    path = f"{server_url}/v1/projects/{project.name}/collections/things/records/import"
    headers = {"authorization": f"Bearer {project.operator.token}", "idempotency-key": "k", **NDJSON}

    async def cut(at: int) -> AsyncIterator[bytes]:
        yield data[:at]
        await asyncio.sleep(0.3)
        raise ConnectionResetError

    for share in (0.3, 0.6, 0.9):
        async with httpx2.AsyncClient() as client:
            with pytest.raises(ConnectionResetError):
                await client.post(path, content=cut(int(len(data) * share)), headers=headers)
        assert await count(project, "things") % 1000 == 0
    async with httpx2.AsyncClient() as client:
        answer = await client.post(path, content=data, headers=headers, timeout=30)

    assert answer.json()["created"] == await count(project, "things") == 4000


async def test_an_import_is_under_the_rules(project: ProjectUnderTest) -> None:
    rules = {**OPEN, "create": "next.owner == auth.id"}
    fields = [
        {"name": "owner", "type": "relation", "to": "users"},
        {"name": "secret", "type": "text", "hidden": True},
        {"name": "fixed", "type": "text", "readonly": True},
    ]
    await project.collection("mine", fields, rules)
    await project.collection("locked", fields)
    ada, bob = await project.user(), await project.user()

    mixed = (
        await load(
            ada,
            "mine",
            lines({"owner": ada.id}, {"owner": bob.id}, {"owner": ada.id, "secret": "x"}, {"fixed": "x"}),
            on_error="skip",
        )
    ).json()
    hidden = await load(ada, "mine", f"owner,secret\r\n{ada.id},x\r\n", CSV)
    refused = [await load(one, name, lines({})) for one, name in ((ada, "locked"), (ada, "nope"), (project.anonymous, "locked"))]

    assert (
        mixed["created"],
        [(one["line"], one["code"]) for one in sorted(mixed["errors"], key=lambda one: int(one["line"]))],
    ) == (1, [(2, "rule_denied"), (3, "unknown_field"), (4, "readonly")])
    assert (hidden.status_code, hidden.json()["errors"][0]["code"]) == (422, "unknown_field")
    assert [one.status_code for one in refused] == [403, 404, 403]
    assert len(await project.operator.list("mine")) == 1


BAD_FILES: list[tuple[dict[str, str], bytes, int]] = [
    ({"content-type": "application/json"}, b"[]", 415),
    (CSV, b"nope,title\r\n1,2\r\n", 422),
    (CSV, b"title,title\r\n1,2\r\n", 422),
    (CSV, b"\xff\xfe\r\n", 422),
    (CSV, b'"title\r\n', 422),
    (NDJSON, b'{"title": "' + b"x" * (2 << 20), 422),
]


@pytest.mark.parametrize(("form", "data", "status"), BAD_FILES)
async def test_a_file_that_is_none_is_refused(project: ProjectUnderTest, form: dict[str, str], data: bytes, status: int) -> None:
    await things(project)

    answer = await load(project.operator, "things", data, form)

    assert answer.status_code == status, answer.text
    assert await count(project, "things") == 0


BAD_LINES = [
    b"\xff",
    b'{"title": "\\ud800"}',
    b'{"title": "\\u0000"}',
    b'{"title": NaN}',
    b'{"title": "a", "title": "b"}',
    b"[" * 5000,
    b'{"n": 1e999999999}',
    b'{"id": "x", "title": "a"}',
    b'{"n": 99999999999999999999, "title": "a"}',
    b'"',
    b"1" * 5000,
]


async def test_broken_lines_are_faults_of_their_own(project: ProjectUnderTest) -> None:
    await things(project)

    answer = await load(project.operator, "things", b"\n".join([*BAD_LINES, b'{"title": "good"}']), on_error="skip")
    table = b'title,n\n"a,1\n"a"b,1\na,1,1\n\xff,1\n\x00,1\na,1e5\n"good",1\n'.replace(b'"a,1\n', b"")
    sheet = await load(project.operator, "things", table, CSV, on_error="skip")

    assert answer.status_code == 200, answer.text
    assert (answer.json()["created"], answer.json()["failed"]) == (1, len(BAD_LINES)), answer.text
    assert (sheet.json()["created"], sheet.json()["failed"]) == (1, 5), sheet.text


async def test_at_most_a_hundred_faults_are_listed(project: ProjectUnderTest) -> None:
    await things(project)

    report = (await load(project.operator, "things", lines(*[{"title": 1}] * 1500, {"title": "a"}), on_error="skip")).json()

    assert (report["read"], report["failed"], report["created"], len(report["errors"])) == (1501, 1500, 1, 100)


async def test_ids_that_are_given_are_kept_and_doubled_ones_refused(project: ProjectUnderTest) -> None:
    await things(project)
    ids = [str(uuid7()) for _ in range(3)]
    data = lines(*[{"id": one, "title": "a"} for one in ids])

    first, again = [(await load(project.operator, "things", data, on_error="skip")).json() for _ in range(2)]

    assert (first["created"], again["created"], again["failed"]) == (3, 0, 3)
    assert {one["id"] for one in await project.operator.list("things")} == set(ids)


KEYED: dict[str, Any] = {"key": "slug"}


@pytest.mark.parametrize("form", [NDJSON, CSV], ids=["ndjson", "csv"])
async def test_a_line_with_a_known_key_changes_its_record(project: ProjectUnderTest, form: dict[str, str]) -> None:
    """Under the update rule, a thousand lines a transaction; what a line does not name stays."""
    await things(project)
    ada = await project.user()
    kept = await ada.create("things", {"title": "old", "slug": "s1", "n": 7})
    rows = [{"title": f"t{at}", "slug": f"s{at}"} for at in range(1200)]
    data = lines(*rows) if form is NDJSON else "title,slug\n" + "".join(f"{one['title']},{one['slug']}\n" for one in rows)

    dry = await load(ada, "things", data, form, **KEYED, dry_run="true")
    first = await load(ada, "things", data, form, **KEYED)
    again = await load(ada, "things", data, form, **KEYED)

    assert [one.status_code for one in (dry, first, again)] == [200] * 3, first.text
    assert [(one.json()["created"], one.json()["updated"]) for one in (dry, first, again)] == [(1199, 1), (1199, 1), (0, 1200)]
    now = (await ada.get(f"collections/things/records/{kept['id']}")).json()
    assert (now["title"], now["n"], now["rev"]) == ("t1", 7, 3)


async def test_of_two_lines_with_one_key_the_later_one_stays(project: ProjectUnderTest) -> None:
    await things(project)
    rows = [{"title": str(at), "slug": "same" if at % 2 else f"s{at}"} for at in range(20)]

    report = (await load(project.operator, "things", lines(*rows), **KEYED)).json()

    assert (report["created"], report["updated"], report["failed"]) == (11, 9, 0)
    assert {one["title"] for one in await project.operator.list("things") if one["slug"] == "same"} == {"19"}


async def test_an_import_with_a_key_needs_a_unique_one_and_both_rules(project: ProjectUnderTest) -> None:
    await things(project)
    await project.collection("closed", [{"name": "slug", "type": "text", "unique": True}], {**OPEN, "update": None})
    fields = [{"name": "slug", "type": "text", "unique": True}, {"name": "owner", "type": "text"}]
    await project.collection("owned", fields, {**OPEN, "update": 'record.owner == "all"'})
    ada = await project.user()

    bad = await load(ada, "things", lines({"title": "a", "n": 1}), key="n")
    locked = await load(ada, "closed", lines({"slug": "a"}), **KEYED)
    await project.operator.create("owned", {"slug": "a", "owner": "eve"})
    mixed = await load(ada, "owned", lines({"slug": "a"}, {"slug": "b"}), **KEYED, on_error="skip")

    assert (bad.status_code, bad.json()["errors"][0]["code"]) == (422, "no_unique_key")
    assert (locked.status_code, locked.json()["code"]) == (403, "rule_denied")
    assert {name: mixed.json()[name] for name in ("created", "updated", "failed")} == {"created": 1, "updated": 0, "failed": 1}
    assert [(one["line"], one["code"]) for one in mixed.json()["errors"]] == [(1, "rule_denied")]


async def test_faults_of_an_import_with_a_key_name_their_lines(project: ProjectUnderTest) -> None:
    await things(project)
    rows = [{"title": "a", "slug": "a"}, {"title": "b", "slug": None}, {"title": 3, "slug": "c"}]

    report = (await load(project.operator, "things", lines(*rows), **KEYED, on_error="skip")).json()

    assert (report["created"], report["failed"]) == (1, 2), report
    assert [(one["line"], one["pointer"]) for one in report["errors"]] == [(2, "/slug"), (3, "/title")]


async def test_an_import_with_a_key_is_repeatable(project: ProjectUnderTest) -> None:
    """The two keys are two things: of the records, and of the call."""
    await things(project)
    data, sent = lines({"title": "a", "slug": "a", "n": 1}), {"headers": {"idempotency-key": "k"}}
    first = await load(project.operator, "things", data, **KEYED, **sent)
    later = await load(project.operator, "things", lines({"title": "b", "slug": "a", "n": 2}), **KEYED)

    again = await load(project.operator, "things", data, **KEYED, headers={"idempotency-key": "k"})
    other = await load(project.operator, "things", data, headers={"idempotency-key": "k"})

    assert first.json() == again.json() == {"read": 1, "created": 1, "updated": 0, "failed": 0, "errors": []}
    assert later.json()["updated"] == 1
    assert [one["title"] for one in await project.operator.list("things")] == ["b"]
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
