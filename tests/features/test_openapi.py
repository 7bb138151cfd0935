"""The API document: valid, complete, live, and silent about what its reader may not see."""

from typing import Any

import httpx2
from openapi_spec_validator import OpenAPIV31SpecValidator

from baas.server import Server
from tests.support.callers import Caller, ProjectUnderTest

FIELDS = [
    {"name": "title", "type": "text", "required": True},
    {"name": "price", "type": "decimal"},
    {"name": "state", "type": "select", "values": ["open", "done"]},
    {"name": "secret_note", "type": "text", "hidden": True},
]


def check(document: dict[str, Any]) -> None:
    """Raises with every fault that the validator knows of, and on references that lead nowhere."""
    OpenAPIV31SpecValidator(document).validate()
    ids = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))


async def test_the_servers_document_is_valid_and_has_every_endpoint(server: Server, http: httpx2.AsyncClient) -> None:
    """As many operations as the router has routes that are not pages; each says who may call and how it fails."""
    answer = await http.get("/v1/openapi.json")
    document = answer.json()
    check(document)
    operations = {
        (method.upper(), path): operation for path, item in document["paths"].items() for method, operation in item.items()
    }
    routed = [one for one in server.app.endpoints if not one.page]  # type: ignore[attr-defined]

    assert "3.1.0" == document["openapi"]
    assert len(routed) == len(operations) > 30
    for operation in operations.values():
        assert operation["x-policy"]
        assert "default" in operation["responses"]
    assert ("GET", "/v1/projects/{project}/collections/{collection}/records/{id}") in operations
    assert not [path for _, path in operations if path in ("/", "/docs") or path.startswith("/_/")]


async def test_a_projects_document_has_its_collections_as_they_are_now(project: ProjectUnderTest) -> None:
    """Real fields with their schemas; a new collection appears, a hidden field does not."""
    before = (await project.operator.get("openapi.json")).json()
    await project.collection("goods", fields=FIELDS)
    answer = await project.operator.get("openapi.json")
    document = answer.json()
    check(document)
    schemas = document["components"]["schemas"]

    assert "/collections/goods/records" not in before["paths"]
    assert {"/collections/goods/records", "/collections/goods/records/{id}"} <= set(document["paths"])
    assert "/collections/{collection}/records" not in document["paths"]
    assert {"id", "rev", "title", "price", "state"} <= set(schemas["goods"]["properties"])
    assert ["title"] == schemas["goods.create"]["required"]
    assert schemas["goods.create"]["additionalProperties"] is False
    assert "secret_note" not in answer.text
    assert document["servers"][0]["url"].endswith(f"/v1/projects/{project.name}")


async def test_only_who_may_see_the_schema_sees_collections(project: ProjectUnderTest) -> None:
    """Guests, users and keys without the scope get the general calls; none of the project's names is in them."""
    await project.collection("goods", fields=FIELDS)
    user, records_key, schema_key = await project.user(), await project.key("records"), await project.key("schema")

    for caller in (project.anonymous, user, records_key):
        answer = await caller.get("openapi.json")
        check(answer.json())
        assert "goods" not in answer.text
        assert "/collections/{collection}/records" in answer.json()["paths"]
        assert project.name == answer.json()["info"]["title"]
    assert "goods" in (await schema_key.get("openapi.json")).text


async def test_a_document_is_sent_once(project: ProjectUnderTest, operator: Caller) -> None:
    """The same tag gives 304; another schema gives another tag; caches keep one reader's answer from another."""
    first = await project.operator.get("openapi.json")
    again = await project.operator.get("openapi.json", headers={"If-None-Match": first.headers["etag"]})
    await project.collection("goods", fields=FIELDS)
    changed = await project.operator.get("openapi.json", headers={"If-None-Match": first.headers["etag"]})
    server_tag = (await operator.get("openapi.json")).headers["etag"]
    server_again = await operator.get("openapi.json", headers={"If-None-Match": f'W/"x", {server_tag}'})

    assert (304, b"") == (again.status_code, again.content)
    assert 200 == changed.status_code
    assert 304 == server_again.status_code
    assert "authorization" in first.headers["vary"].lower()
    assert "private, no-cache" == first.headers["cache-control"]


async def test_the_document_takes_no_parameters_and_unknown_projects_have_none(http: httpx2.AsyncClient) -> None:
    """400 and 404 like everywhere."""
    assert 400 == (await http.get("/v1/openapi.json?x=1")).status_code
    assert 404 == (await http.get("/v1/projects/nobody/openapi.json")).status_code


async def test_a_projects_document_says_what_records_can_be_expanded_by(project: ProjectUnderTest) -> None:
    """Relations and back-relations by their targets, hidden ones left out; nothing where nothing leads on."""
    links = [
        {"name": "maker", "type": "relation", "to": "makers", "inverse": "goods"},
        {"name": "parts", "type": "relation", "to": "goods", "many": True},
        {"name": "shadow", "type": "relation", "to": "makers", "inverse": "shadows", "hidden": True},
    ]
    await project.collection("makers", fields=FIELDS)
    await project.collection("goods", fields=FIELDS)
    altered = await project.operator.patch("collections/goods", json={"fields": [*FIELDS, *links]})
    assert altered.status_code == 200, altered.text
    document = (await project.operator.get("openapi.json")).json()
    check(document)
    schemas = document["components"]["schemas"]

    goods, makers = schemas["goods"]["properties"], schemas["makers"]["properties"]
    assert goods["expand"]["properties"] == {
        "maker": {"anyOf": [{"$ref": "#/components/schemas/makers"}, {"type": "null"}]},
        "parts": {"type": "array", "items": {"$ref": "#/components/schemas/goods"}},
    }
    assert goods["expand_more"]["items"] == {"enum": ["parts"]}
    assert set(makers["expand"]["properties"]) == {"goods"}
    assert "expand" not in schemas["users"]["properties"]
    query = document["paths"]["/collections/goods/records/query"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert "expand" in query["properties"]
