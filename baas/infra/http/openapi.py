"""An OpenAPI 3.1 document from the table of endpoints: the same table makes the routes, so the two cannot disagree."""

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus

from baas.infra.http.routes import Body, Endpoint, Policy

Json = dict[str, object]
_PARAMETER = re.compile(r"\{([a-z][a-z0-9_]*)(?::[a-z]+)?\}")
_PROBLEM_TYPE = "application/problem+json"

_TEXT: Json = {"type": "string"}
_IDEMPOTENCY_KEY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    "description": "The same call again with the same key, within 24 hours, has no second effect and gets the first answer.",
}
_NEEDLESS_KEY: Json = {
    **_IDEMPOTENCY_KEY,
    "description": "Taken and not needed: the same call again has no second effect and gets the same answer without it too.",
}
PROBLEM: Json = {
    "type": "object",
    "description": "RFC 9457. `code` is stable and never reused; `request_id` finds the entry in the server's log.",
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": _TEXT,
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "code": _TEXT,
        "detail": _TEXT,
        "hint": _TEXT,
        "instance": _TEXT,
        "request_id": _TEXT,
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {"type": "string", "description": "JSON pointer (RFC 6901)"},
                    "code": _TEXT,
                    "message": _TEXT,
                },
                "required": ["pointer", "code", "message"],
            },
        },
    },
    "required": ["type", "title", "status", "code", "detail", "instance", "request_id"],
}


def document(
    endpoints: Iterable[Endpoint],
    *,
    title: str,
    version: str,
    server_url: str,
    description: str = "",
    base_path: str = "",
    schemas: Mapping[str, Json] | None = None,
) -> Json:
    """The document. `base_path` is cut off every path (it belongs to `server_url` then); `schemas` join the components.

    Pages of our own are left out: they are for people.
    """
    paths: dict[str, Json] = {}
    tags: dict[str, None] = {}
    for endpoint in endpoints:
        if endpoint.page:
            continue
        path = _PARAMETER.sub(r"{\1}", endpoint.path.removeprefix(base_path)) or "/"
        paths.setdefault(path, {})[endpoint.method.lower()] = operation(endpoint, path)
        tags.setdefault(endpoint.tag or "other")
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": description},
        "servers": [{"url": server_url}],
        "tags": [{"name": name} for name in tags],
        "paths": paths,
        "components": {
            "schemas": {"Problem": PROBLEM, **(schemas or {})},
            "responses": {
                "Problem": {
                    "description": "The request was not carried out; the problem says why.",
                    "content": {_PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
                }
            },
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An access token of a user, a secret key of the project (`sk_…`) or an operator's token.",
                }
            },
        },
    }


def operation(endpoint: Endpoint, path: str) -> Json:
    """One operation object; `path` is the path as the document shows it."""
    shown: Json = {
        "operationId": _operation_id(endpoint.method, path),
        "summary": endpoint.summary,
        "tags": [endpoint.tag or "other"],
        "security": _security(endpoint.policy),
        "x-policy": policy_in_words(endpoint.policy),
        "responses": _responses(endpoint),
    }
    key = [_NEEDLESS_KEY if endpoint.once == "same" else _IDEMPOTENCY_KEY] if endpoint.changes else []
    parameters = [*_path_parameters(path), *_query_parameters(endpoint.query), *key]
    if parameters:
        shown["parameters"] = parameters
    if endpoint.request is not None:
        shown["requestBody"] = {"required": True, "content": _content(endpoint.request)}
    return shown


def policy_in_words(policy: Policy) -> str:
    """Who may call, for people."""
    match policy.who:
        case "anyone":
            return "Anyone; rules decide what is seen and done."
        case "user":
            return "Signed-in users of the project."
        case "scope":
            return f"Operators, and secret keys with the scope `{policy.scope}`."
        case "operator":
            return "Operators."


def _security(policy: Policy) -> list[Json]:
    bearer: Json = {"bearer": []}
    return [{}, bearer] if policy.who == "anyone" else [bearer]


def _operation_id(method: str, path: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "_", path.removeprefix("/v1").lower()).strip("_")
    return f"{method.lower()}_{words}" if words else method.lower()


def _path_parameters(path: str) -> list[Json]:
    return [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in _PARAMETER.findall(path)]


def _query_parameters(query: Mapping[str, Mapping[str, object]]) -> list[Json]:
    shown = []
    for name, schema in query.items():
        plain = {key: value for key, value in schema.items() if key != "description"}
        parameter: Json = {"name": name, "in": "query", "schema": plain}
        if "description" in schema:
            parameter["description"] = schema["description"]
        shown.append(parameter)
    return shown


def _responses(endpoint: Endpoint) -> Json:
    shown: Json = {}
    for status, body in (endpoint.responses or {200: None}).items():
        if status >= 400 and body is None:
            shown[str(status)] = {"$ref": "#/components/responses/Problem"}
            continue
        answer: Json = {"description": (body.description if body else "") or HTTPStatus(status).phrase}
        if body is not None:
            answer["content"] = _content(body)
        shown[str(status)] = answer
    shown["default"] = {"$ref": "#/components/responses/Problem"}
    return shown


def _content(body: Body) -> Json:
    return {body.content_type: {"schema": dict(body.schema)}}
