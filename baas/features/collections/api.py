"""Collections over HTTP: for operators, and for keys with the scope `schema`."""

from typing import get_args

from starlette.requests import Request
from starlette.responses import Response

from baas.engines.schema.collection import Using
from baas.engines.schema.fields import KINDS
from baas.engines.schema.manifest import MAX_VIEW_LENGTH, as_json
from baas.features.collections.model import Changed
from baas.features.collections.service import Collections
from baas.infra.http import params
from baas.infra.http.answers import created, json_response, no_content
from baas.infra.http.body import read_object
from baas.infra.http.conditions import Condition, shown, tagged
from baas.infra.http.context import Context
from baas.infra.http.routes import BOTH, Body, Endpoint, scope

_BASE = "/v1/projects/{project}"
_ONE = _BASE + "/collections/{collection}"
_POLICY = scope("schema")
_CONFIRM = {"confirm": {"type": "string", "enum": ["data-loss"], "description": "Agree to the loss of stored values."}}

_EXPRESSION = {"type": ["string", "null"], "description": "An expression; null: operators and secret keys only."}
_FIELD = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,62}$"},
        "type": {"type": "string", "enum": [kind.name for kind in KINDS]},
        **{flag: {"type": "boolean", "default": False} for flag in ("required", "unique", "hidden", "immutable", "readonly")},
        "default": {"description": "A value of the field's type, or null for none."},
        "validate": {"type": ["string", "null"], "description": "An expression: what every written value must satisfy."},
        "validate_message": {"type": ["string", "null"], "maxLength": 200, "description": "What is said when it does not."},
        "read": {"type": ["string", "null"], "description": "An expression: who, besides seeing the record, may see this field."},
    },
    "required": ["name", "type"],
    "description": "Further members are options of the field's type.",
}
_INDEX = {
    "type": "object",
    "properties": {
        "fields": {"type": "array", "items": {"type": "string"}, "description": "Names in order; `-name` is descending."},
        "unique": {"type": "boolean", "default": False},
        "using": {
            "type": "string",
            "enum": list(get_args(Using)),
            "description": "Follows from the field, but for trigram: for contains and endsWith of one text.",
        },
        "where": {"type": ["string", "null"], "description": "Only records for which this holds stand in the index."},
    },
    "required": ["fields"],
}
_PROPERTIES = {
    "name": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,62}$"},
    "fields": {"type": "array", "items": _FIELD},
    "indexes": {"type": "array", "items": _INDEX},
    "rules": {"type": "object", "properties": dict.fromkeys(("list", "view", "create", "update", "delete"), _EXPRESSION)},
    "view": {
        "type": "object",
        "properties": {
            "sql": {"type": "string", "maxLength": MAX_VIEW_LENGTH, "description": "A SELECT, with a column id."},
            "system_fields": {"type": "array", "items": {"type": "string"}, "readOnly": True},
        },
        "required": ["sql"],
        "description": "Makes the collection a view, which is only read.",
    },
    "options": {
        "type": "object",
        "properties": {
            "description": {"type": ["string", "null"]},
            "history": {"type": ["boolean", "null"], "description": "Keep every version of every record from now on."},
        },
    },
    "warnings": {
        "type": "array",
        "items": {"type": "object"},
        "readOnly": True,
        "description": "After a change: what lints say of the rules, when they say something.",
    },
}
_COLLECTION = Body({"type": "object", "properties": _PROPERTIES, "required": ["name"]})
_CHANGE = Body(
    {"type": "object", "properties": _PROPERTIES},
    description="`fields` and `indexes` replace the whole list; a field says `renamed_from` to keep its values under a new name."
    " `rules` and `options` are merged key by key.",
)


def _list_of(name: str) -> Body:
    return Body({"type": "object", "properties": {name: {"type": "array", "items": _COLLECTION.schema}}, "required": [name]})


class CollectionsApi:
    """`/v1/projects/{project}/collections` and `/schema`."""

    def __init__(self, collections: Collections) -> None:
        self._collections = collections

    def routes(self) -> tuple[Endpoint, ...]:
        base, tag = f"{_BASE}/collections", "collections"
        return (
            Endpoint("GET", base, _POLICY, "List collections", self.list, tag=tag, responses={200: _list_of("items")}),
            Endpoint("POST", base, _POLICY, "Make a collection", self.create, tag=tag, request=_COLLECTION,
                     responses={201: _COLLECTION}),
            Endpoint("GET", _ONE, _POLICY, "One collection", self.get, tag=tag, responses={200: _COLLECTION, 304: None}),
            Endpoint("PATCH", _ONE, _POLICY, "Change a collection", self.change, tag=tag, request=_CHANGE, query=_CONFIRM,
                     responses={200: _COLLECTION}, conditions=BOTH),
            Endpoint("DELETE", _ONE, _POLICY, "Delete a collection", self.delete, tag=tag, query=_CONFIRM,
                     responses={204: None}, conditions=BOTH),
            Endpoint("GET", f"{_BASE}/schema", _POLICY, "The manifest: every collection", self.schema, tag=tag,
                     responses={200: _list_of("collections")}),
        )  # fmt: skip

    async def list(self, request: Request) -> Response:
        """Every collection, in order of name."""
        found = await self._collections.list(Context.of(request).project)
        return json_response({"items": [as_json(one) for one in found]})

    async def schema(self, request: Request) -> Response:
        """The whole manifest of the project."""
        found = await self._collections.list(Context.of(request).project)
        return json_response({"collections": [as_json(one) for one in found]})

    async def get(self, request: Request) -> Response:
        """One collection."""
        found = await self._collections.get(Context.of(request).project, request.path_params["collection"])
        return shown(request, as_json(found))

    async def create(self, request: Request) -> Response:
        """Make a collection."""
        project = Context.of(request).project
        made = await self._collections.create(project, await _body(request))
        location = f"/v1/projects/{project.name}/collections/{made.collection.name}"
        return created(_with_warnings(made), location=location, headers=tagged(as_json(made.collection)))

    async def change(self, request: Request) -> Response:
        """Change a collection."""
        may_lose_data = _confirmed(request)
        project, name = Context.of(request).project, request.path_params["collection"]
        body, only = await _body(request), Condition.of(request)
        changed = await self._collections.change(project, name, body, may_lose_data=may_lose_data, only=only)
        return json_response(_with_warnings(changed), headers=tagged(as_json(changed.collection)))

    async def delete(self, request: Request) -> Response:
        """Delete a collection."""
        may_lose_data = _confirmed(request)
        project, name = Context.of(request).project, request.path_params["collection"]
        await self._collections.delete(project, name, may_lose_data=may_lose_data, only=Condition.of(request))
        return no_content()


def _with_warnings(changed: Changed) -> dict[str, object]:
    """The definition, and `warnings` when its rules are right and still give cause to some."""
    warnings = [advice.as_json() for advice in changed.advice]
    return {**as_json(changed.collection), **({"warnings": warnings} if warnings else {})}


async def _body(request: Request) -> dict[str, object]:
    body = await read_object(request, limit=Context.of(request).project.settings.limits.max_json_bytes)
    body.pop("warnings", None)  # of an answer that is sent back as it came
    return body


def _confirmed(request: Request) -> bool:
    return params.one_of(params.query(request), "confirm", ("data-loss",)) is not None
