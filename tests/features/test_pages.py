"""Lists in pages: each cursor belongs to one list of one caller (threat model A5)."""

from typing import Any

import httpx2
import pytest

from tests.support.callers import Caller, ProjectUnderTest

RULES = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")


@pytest.fixture
async def lists(project: ProjectUnderTest, operator: Caller) -> dict[str, int]:
    """Every list with cursors, by its path, and how many it holds at least."""
    await project.collection("notes", [{"name": "title", "type": "text"}], RULES, options={"history": True})
    notes = [await project.operator.create("notes", {"title": str(at)}) for at in range(3)]
    for at in range(2):
        changed = await project.operator.patch(f"collections/notes/records/{notes[0]['id']}", json={"title": f"x{at}"})
        assert changed.status_code == 200
    assert (await project.operator.post("buckets", json={"name": "b"})).status_code == 201
    assert (await project.operator.post("sites", json={"name": "s"})).status_code == 201
    for at in range(3):
        assert (await project.operator.put(f"buckets/b/files/{at}", content=b"x")).status_code == 201
        assert (await project.operator.post("users", json={"email": f"u{at}@example.com"})).status_code == 201
        release = {"files": {"index.html": {"sha256": "0" * 64, "size": 1}}, "message": str(at)}
        assert (await project.operator.post("sites/s/releases", json=release)).status_code == 201
    for _ in range(2):
        assert (await operator.post("projects", json={"name": f"p-{project.name}-{_}"[:40]})).status_code == 201
    return {
        "collections/notes/records": 3,
        f"collections/notes/records/{notes[0]['id']}/history": 3,
        "buckets/b/files": 3,
        "users": 3,
        "sites/s/releases": 3,
        "/v1/projects": 3,
    }


def url(project: ProjectUnderTest, path: str) -> str:
    return path if path.startswith("/") else f"{project.operator.base}/{path}"


async def walk(caller: Caller, path: str, key: str = "id") -> tuple[list[Any], list[str]]:
    """All items, following `Link` and nothing else; the cursors on the way."""
    items: list[Any] = []
    cursors: list[str] = []
    following = f"{path}?limit=1"
    while True:
        answer: httpx2.Response = await caller.get(following)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        items += body["items"]
        assert len(body["items"]) <= 1
        link = answer.links.get("next")
        assert (link is None) == (body["next_cursor"] is None), path
        if link is None:
            return items, cursors
        cursors.append(body["next_cursor"])
        following = link["url"]


async def test_every_list_says_where_it_goes_on(project: ProjectUnderTest, lists: dict[str, int]) -> None:
    """By `next_cursor` and by `Link`, to the end and without a repetition."""
    for path, least in lists.items():
        found, cursors = await walk(project.operator, url(project, path))
        once = {str(item) for item in found}
        assert len(once) == len(found) >= least, path
        assert len(set(cursors)) == len(cursors) == len(found) - 1, path


async def test_a_cursor_is_good_in_its_own_list_only(project: ProjectUnderTest, lists: dict[str, int]) -> None:
    """Not in another list, with another query, by another caller, nor when a letter of it is another."""
    cursors = {path: (await project.operator.get(f"{url(project, path)}?limit=1")).json()["next_cursor"] for path in lists}
    key = await project.key("records", "users", "files", "sites", "schema")
    for path in lists:
        other = [cursor for of, cursor in cursors.items() if of != path]
        forged = cursors[path][:-2] + ("A" if cursors[path][-2] != "A" else "B") + cursors[path][-1]
        for wrong in (*other, forged, "", "bm8", "%%%"):
            answer = await project.operator.get(url(project, path), params={"cursor": wrong})
            assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor"), (path, wrong)
        if path != "/v1/projects":
            answer = await key.get(url(project, path), params={"cursor": cursors[path]})
            assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor"), path
    for path, more in (("users", "email=u1@example.com"), ("buckets/b/files", "prefix=1"), ("buckets/b/files", "delimiter=/")):
        answer = await project.operator.get(f"{path}?{more}&cursor={cursors[path]}")
        assert answer.json()["code"] == "bad_cursor", (path, more)
