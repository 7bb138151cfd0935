"""`If-Match` and `If-None-Match` on whatever has an ETag: nobody overwrites what he has not seen (threat model P3)."""

import asyncio
import re
from typing import Any

import pytest

from baas.server import Server
from tests.support.callers import ProjectUnderTest

RULES = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")


@pytest.fixture
async def things(project: ProjectUnderTest) -> dict[str, tuple[Any, Any]]:
    """What can be changed under a condition: its path, and a body that changes it."""
    await project.collection("notes", [{"name": "title", "type": "text"}], RULES)
    assert (await project.operator.post("buckets", json={"name": "b"})).status_code == 201
    user = await project.operator.post("users", json={"email": "ada@example.com"})
    return {
        "collections/notes": ({"rules": {"list": None}}, {"rules": {"list": "true"}}),
        "buckets/b": ({"public": True}, {"public": False}),
        "settings": ({"auth": {"sign_up": True}}, {"auth": {"sign_up": False}}),
        f"users/{user.json()['id']}": ({"disabled": True}, {"disabled": False}),
    }


async def test_a_change_of_what_has_changed_is_refused(project: ProjectUnderTest, things: dict[str, tuple[Any, Any]]) -> None:
    """With the ETag of what is there, so that a client sees whether it has that already."""
    for path, (one, other) in things.items():
        read = await project.operator.get(path)
        etag = read.headers["etag"]
        changed = await project.operator.patch(path, json=one, headers={"if-match": etag})
        stale = await project.operator.patch(path, json=other, headers={"if-match": etag})
        now = await project.operator.get(path)

        assert changed.status_code == 200, (path, changed.text)
        assert changed.headers["etag"] == now.headers["etag"] != etag
        assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed"), path
        assert stale.headers["etag"] == now.headers["etag"]
        changes = {name: value for name, value in changed.json().items() if name != "warnings"}
        assert now.json() == changes, "the refused change left nothing"
        any_of_them = f'"x", {now.headers["etag"]}'
        assert (await project.operator.patch(path, json=other, headers={"if-match": any_of_them})).status_code == 200
        assert (await project.operator.patch(path, json=one, headers={"if-none-match": "*"})).status_code == 412
        assert (await project.operator.patch(path, json=one, headers={"if-match": "*"})).status_code == 200


async def test_what_is_known_is_not_sent_again(project: ProjectUnderTest, things: dict[str, tuple[Any, Any]]) -> None:
    for path, (one, _) in things.items():
        etag = (await project.operator.get(path)).headers["etag"]
        same = await project.operator.get(path, headers={"if-none-match": f'W/"x", {etag}'})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag), path
        assert (await project.operator.patch(path, json=one)).status_code == 200
        assert (await project.operator.get(path, headers={"if-none-match": etag})).status_code == 200, path


async def test_what_has_changed_is_not_deleted(project: ProjectUnderTest, things: dict[str, tuple[Any, Any]]) -> None:
    for path in things:
        if path == "settings":
            continue
        etag = (await project.operator.get(path)).headers["etag"]
        refused = await project.operator.delete(path, headers={"if-match": '"other"'})
        assert (refused.status_code, refused.headers["etag"]) == (412, etag), path
        assert (await project.operator.delete(path, headers={"if-match": etag})).status_code == 204, path
        assert (await project.operator.get(path)).status_code == 404


async def test_of_many_changes_of_one_state_one_is_made(project: ProjectUnderTest, things: dict[str, tuple[Any, Any]]) -> None:
    """The condition is judged where the state is locked."""
    for path, (one, _) in things.items():
        etag = {"if-match": (await project.operator.get(path)).headers["etag"]}
        answers = await asyncio.gather(*[project.operator.patch(path, json=one, headers=etag) for _ in range(6)])
        assert sorted(answer.status_code for answer in answers) == [200, *[412] * 5], path


async def test_the_own_account_is_changed_as_it_was_read(project: ProjectUnderTest) -> None:
    fields = (await project.operator.get("collections/users")).json()["fields"]
    grown = await project.operator.patch("collections/users", json={"fields": [*fields, {"name": "nick", "type": "text"}]})
    assert grown.status_code == 200, grown.text
    ada = await project.user()
    etag = (await ada.get("auth/me")).headers["etag"]
    assert (await ada.get("auth/me", headers={"if-none-match": etag})).status_code == 304
    assert (await ada.patch("auth/me", json={"nick": "a"}, headers={"if-match": etag})).status_code == 200
    stale = await ada.patch("auth/me", json={"nick": "b"}, headers={"if-match": etag})
    assert (stale.status_code, stale.headers["etag"]) == (412, (await ada.get("auth/me")).headers["etag"])
    assert (await ada.delete("auth/me", headers={"if-match": etag})).status_code == 412
    assert (await ada.get("auth/me")).json()["nick"] == "a"


async def test_refused_changes_of_records_and_files_tell_the_version_to_those_who_may_see_it(project: ProjectUnderTest) -> None:
    await project.collection("notes", [{"name": "title", "type": "text"}], RULES)
    await project.collection("drop", [{"name": "title", "type": "text"}], {**RULES, "view": "false", "list": "false"})
    rules = {**RULES, "view": "false"}
    for name, given in (("open", RULES), ("closed", rules)):
        assert (await project.operator.post("buckets", json={"name": name, "rules": given})).status_code == 201
    ada, wrong = await project.user(), {"if-match": '"9"'}
    seen = await ada.create("notes", {"title": "a"})
    hidden = await project.operator.create("drop", {"title": "a"})

    told = await ada.patch(f"collections/notes/records/{seen['id']}", json={"title": "b"}, headers=wrong)
    silent = await ada.patch(f"collections/drop/records/{hidden['id']}", json={"title": "b"}, headers=wrong)
    assert (told.status_code, told.headers["etag"]) == (412, '"1"')
    assert "etag" not in silent.headers

    text = {"content-type": "text/plain"}
    for name in ("open", "closed"):
        assert (await project.operator.put(f"buckets/{name}/files/f", content=b"x", headers=text)).status_code == 201
        refused = await ada.put(f"buckets/{name}/files/f", content=b"y", headers={**text, **wrong})
        assert refused.status_code == 412, refused.text
        assert ("etag" in refused.headers) == (name == "open")


async def test_a_condition_is_judged_or_refused(project: ProjectUnderTest, server: Server) -> None:
    """By every route that changes something; before anything else is looked at."""
    user = await project.user()
    endpoints = [one for one in server.app.endpoints if one.changes]  # type: ignore[attr-defined]
    assert len(endpoints) > 40
    for endpoint in endpoints:
        caller = user if endpoint.policy.who == "user" else project.operator
        path = re.sub(r"\{[a-z0-9_]+(:path)?\}", "nothing", endpoint.path.replace("{project}", project.name))
        for name in ("If-Match", "If-None-Match", "If-Unmodified-Since"):
            answer = await caller.request(endpoint.method, path, content=b"{", headers={name: ""})
            code = "bad_header" if name in endpoint.conditions else "unsupported_condition"
            assert (answer.status_code, answer.json()["code"], answer.json()["parameter"]) == (400, code, name), answer.text


async def test_if_match_is_read_in_one_way(project: ProjectUnderTest) -> None:
    """Lists, several lines, weak tags and `*`, for records, files and definitions alike."""
    await project.collection("notes", [{"name": "title", "type": "text"}], RULES)
    note = await project.operator.create("notes", {"title": "a"})
    assert (await project.operator.post("buckets", json={"name": "b"})).status_code == 201
    assert (await project.operator.put("buckets/b/files/f", content=b"x")).status_code == 201
    assert (await project.operator.post("sites", json={"name": "s"})).status_code == 201
    caller, here = project.operator, f"/v1/projects/{project.name}"
    for path in (f"collections/notes/records/{note['id']}", "buckets/b/files/f", "buckets/b", "sites/s", here):

        async def change(*lines: str, path: str = path) -> int:
            body = {"name": project.name} if path == here else {"metadata": {}} if "files" in path else {}
            headers = [("authorization", f"Bearer {caller.token}"), *(("if-match", line) for line in lines)]
            where = path if path == here else f"{caller.base}/{path}"
            return (await caller.http.patch(where, json=body, headers=headers)).status_code

        etag = (await project.operator.get(path)).headers["etag"]
        assert await change(f'"999", {etag}') == 200, path
        etag = (await project.operator.get(path)).headers["etag"]
        assert await change('"999"', etag) == 200, path
        assert await change("*") == 200, path
        etag = (await project.operator.get(path)).headers["etag"]
        assert [await change(one) for one in (f"W/{etag}", '"999", "1000"', '"' + "9" * 30 + '"')] == [412] * 3, path
        assert [await change(one) for one in ("", etag.strip('"'), f"{etag} {etag}", f"*, {etag}", f"{etag},")] == [400] * 5, path
        for header, status in ((f'"999", {etag}', 200), ('"999"', 412), ("3", 400)):
            assert (await project.operator.get(path, headers={"if-match": header})).status_code == status, (path, header)
        assert (await project.operator.get(path, headers={"if-none-match": f'"x", {etag}'})).status_code == 304, path


async def test_sites_and_projects_change_as_they_were_read(project: ProjectUnderTest) -> None:
    assert (await project.operator.post("sites", json={"name": "s"})).status_code == 201
    etag = (await project.operator.get("sites/s")).headers["etag"]
    answers = await asyncio.gather(
        *[project.operator.patch("sites/s", json={"spa": True}, headers={"if-match": etag}) for _ in range(4)]
    )
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412]
    assert (await project.operator.delete("sites/s", headers={"if-match": etag})).status_code == 412
    assert (await project.operator.get("sites/s")).json()["spa"] is True
    now = (await project.operator.get("sites/s")).headers["etag"]
    assert (await project.operator.delete("sites/s", headers={"if-match": now})).status_code == 204
    confirm = {"confirm": project.name}
    assert (
        await project.operator.delete(f"/v1/projects/{project.name}", params=confirm, headers={"if-match": '"x"'})
    ).status_code == 412
