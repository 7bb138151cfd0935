"""What is sent is heeded or refused, never dropped."""

import re
from collections.abc import AsyncIterator
from typing import Any

from baas.server import Server
from tests.support.callers import PASSWORD, ProjectUnderTest


async def test_a_call_without_a_body_refuses_one(project: ProjectUnderTest, server: Server) -> None:
    """By every route that changes something and describes no body, before it does anything. `{}` says nothing, and passes."""
    user = await project.user()
    endpoints = [one for one in server.app.endpoints if one.changes and one.request is None]  # type: ignore[attr-defined]
    assert len(endpoints) > 15
    for endpoint in endpoints:
        caller = user if endpoint.policy.who == "user" else project.operator
        path = re.sub(r"\{[a-z0-9_]+(:path)?\}", "nothing", endpoint.path.replace("{project}", project.name))
        for body, expected in (
            (b'{"nope":1}', (422, "invalid")),
            (b'{"nope"', (400, "bad_json")),
            (b"[]", (422, "not_an_object")),
        ):
            headers = {"content-type": "application/json"}
            answer = await caller.request(endpoint.method, path, content=body, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == expected, (endpoint.method, endpoint.path, answer.text)
    assert (await user.get("auth/me")).status_code == 200


async def test_an_empty_body_is_none(project: ProjectUnderTest) -> None:
    """By its length, in chunks, or as an object without members."""

    async def nothing() -> AsyncIterator[bytes]:
        yield b""

    bodies: list[dict[str, Any]] = [{}, {"content": b""}, {"content": nothing()}, {"json": {}}]
    for body in bodies:
        out = await (await project.user()).post("auth/sign-out", **body)
        assert out.status_code == 204, out.text


async def test_null_is_no_password(project: ProjectUnderTest) -> None:
    """It would read as if the password were taken away, and the old one went on working."""
    ada = await project.user("ada@example.com")

    refused = await project.operator.patch(f"users/{ada.id}", json={"password": None})

    assert refused.status_code == 422
    assert [("/password", "wrong_type")] == [(one["pointer"], one["code"]) for one in refused.json()["errors"]]
    body = {"email": "ada@example.com", "password": PASSWORD}
    assert (await project.anonymous.post("auth/sign-in", json=body)).status_code == 200


async def test_null_is_no_list_of_scopes(project: ProjectUnderTest) -> None:
    """A key that may do nothing must not become one that may do everything."""
    refused = await project.operator.post("keys", json={"name": "x", "scopes": None})

    assert refused.status_code == 422
    assert [("/scopes", "wrong_type")] == [(one["pointer"], one["code"]) for one in refused.json()["errors"]]
    assert (await project.operator.get("keys")).json()["items"] == []


async def test_a_new_collection_renames_nothing(project: ProjectUnderTest) -> None:
    field = {"name": "b", "type": "text", "renamed_from": "a"}

    refused = await project.operator.post("collections", json={"name": "c", "fields": [field]})

    assert refused.status_code == 422
    assert [("/fields/0/renamed_from", "not_allowed")] == [(one["pointer"], one["code"]) for one in refused.json()["errors"]]


async def test_a_part_of_a_file_is_not_taken_for_the_whole(project: ProjectUnderTest) -> None:
    """RFC 9110, 14.5."""
    assert (await project.operator.post("buckets", json={"name": "b"})).status_code == 201
    headers = {"content-range": "bytes 0-2/9"}

    refused = await project.operator.put("buckets/b/files/f", content=b"abc", headers=headers)

    assert (refused.status_code, refused.json()["parameter"]) == (400, "Content-Range")
    assert (await project.operator.get("buckets/b/files/f")).status_code == 404
