"""The API document of one project: the record endpoints once for every collection, with the schemas of its real fields."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from baas.engines.schema.collection import Collection
from baas.engines.schema.json_schema import create_schema, patch_schema, record_schema
from baas.infra.http.routes import Body, Endpoint

Json = dict[str, object]
_RECORDS = re.compile(r"(?P<before>.*/collections/)\{[a-z][a-z0-9_]*\}/records(?P<rest>.*)")

_READS = ("/query", "/aggregate")
"""What is asked by a body and reads: all that a view has beside GET."""


def live_endpoints(endpoints: Iterable[Endpoint], collections: Iterable[Collection]) -> Iterator[Endpoint]:
    """The endpoints of a project; those of records appear per collection, under its name, in place of the general ones."""
    named = sorted(collections, key=lambda one: one.name)
    for endpoint in endpoints:
        match = _RECORDS.fullmatch(endpoint.path)
        if match is None:
            yield endpoint
            continue
        for collection in named:
            if collection.view is None or endpoint.method == "GET" or match["rest"] in _READS:
                yield _of_collection(endpoint, collection, match["before"], match["rest"])


def live_schemas(collections: Iterable[Collection]) -> dict[str, Json]:
    """Components by name: `posts`, `posts.create`, `posts.patch`, `posts.page`. Hidden fields are in none of them."""
    schemas: dict[str, Json] = {}
    named = sorted(collections, key=lambda one: one.name)
    expansions = _expansions(named)
    for collection in named:
        name = collection.name
        schema = record_schema(collection)
        if expansions[name]:
            schema["properties"] = {**schema["properties"], **_expanded(expansions[name])}  # type: ignore[dict-item]
        schemas[name] = schema
        if collection.view is None:
            schemas[f"{name}.create"] = create_schema(collection)
            schemas[f"{name}.patch"] = patch_schema(collection)
        schemas[f"{name}.page"] = _page(name)
    return schemas


def _of_collection(endpoint: Endpoint, collection: Collection, before: str, rest: str) -> Endpoint:
    name = collection.name
    shape = re.sub(r"\{[a-z][a-z0-9_]*(?::[a-z]+)?\}", "{id}", rest)
    request, responses = endpoint.request, dict(endpoint.responses)
    record, page = _ref(name), _ref(f"{name}.page")
    match (endpoint.method, shape):
        case ("GET", "") | ("POST", "/query"):
            responses[200] = page
        case ("POST", ""):
            one = {"$ref": f"#/components/schemas/{name}.create"}
            request = Body({"oneOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": 1000}]})
            responses[201] = Body({"oneOf": [record.schema, _items(name)]})
        case ("GET", "/{id}"):
            responses[200] = record
        case ("PATCH", "/{id}"):
            request, responses[200] = _ref(f"{name}.patch"), record
        case ("PUT", "/{id}"):
            request = _ref(f"{name}.create")
            responses |= {200: record, 201: record}
    path = f"{before}{name}/records{rest}"
    return replace(endpoint, path=path, tag=name, request=request, responses=responses)


def _expansions(collections: Iterable[Collection]) -> dict[str, dict[str, Json]]:
    """By collection, what its records can be expanded by. Views lead nowhere."""
    tables = [one for one in collections if one.view is None]
    found: dict[str, dict[str, Json]] = {one.name: {} for one in collections}
    for collection in tables:
        for field in collection.fields:
            if field.type != "relation" or field.hidden:
                continue
            to, inverse = str(field.options["to"]), field.options.get("inverse")
            target = {"$ref": f"#/components/schemas/{to}"}
            many: Json = {"type": "array", "items": target}
            found[collection.name][field.name] = many if field.options["many"] else {"anyOf": [target, {"type": "null"}]}
            if inverse:
                found[to][str(inverse)] = {"type": "array", "items": {"$ref": f"#/components/schemas/{collection.name}"}}
    return found


def _expanded(expansions: dict[str, Json]) -> Json:
    lists = [name for name, schema in expansions.items() if schema.get("type") == "array"]
    expand: Json = {"type": "object", "properties": expansions, "description": "What was asked for with `expand` and `fields`."}
    if not lists:
        return {"expand": expand}
    more = {"type": "array", "items": {"enum": lists}, "description": "The lists in `expand` that go on beyond their limit."}
    return {"expand": expand, "expand_more": more}


def _ref(name: str) -> Body:
    return Body({"$ref": f"#/components/schemas/{name}"})


def _items(name: str) -> Mapping[str, object]:
    items = {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}
    return {"type": "object", "properties": {"items": items}, "required": ["items"]}


def _page(name: str) -> Json:
    return {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}},
            "next_cursor": {"type": ["string", "null"]},
            "total": {"type": "integer"},
        },
        "required": ["items", "next_cursor"],
    }
