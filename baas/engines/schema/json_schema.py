"""Collections as JSON Schemas (2020-12), for the API document. Hidden fields do not exist in it."""

from collections.abc import Iterable

from baas.engines.schema.collection import SYSTEM_FIELDS, Collection, Field
from baas.engines.schema.fields import kind_of

JsonSchema = dict[str, object]

_ID: JsonSchema = {"type": "string", "format": "uuid"}
_SYSTEM: dict[str, JsonSchema] = {
    "id": {**_ID, "description": "A UUID, version 7 unless the creator chose it."},
    "rev": {"type": "integer", "minimum": 1, "description": "Grows by one with every change; the ETag is this number in quotes."},
    "created_at": {"type": "string", "format": "date-time"},
    "updated_at": {"type": "string", "format": "date-time"},
}


def record_schema(collection: Collection) -> JsonSchema:
    """A record as answers hold it. Any field may be missing: `fields=` chooses, and a field's `read` rule may withhold it."""
    there = SYSTEM_FIELDS if collection.view is None else collection.view.system_fields
    system = {name: _SYSTEM[name] for name in there}
    properties: dict[str, object] = {**system, **{field.name: _shown(field) for field in _visible(collection)}}
    return {"type": "object", "properties": properties, "required": ["id"], **_words(collection)}


def create_schema(collection: Collection) -> JsonSchema:
    """The body that makes a record."""
    fields = list(_visible(collection))
    required = [field.name for field in fields if field.required and field.default is None and not field.readonly]
    properties: dict[str, object] = {"id": _ID, **{field.name: _written(field) for field in fields}}
    schema: JsonSchema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": required} if required else schema


def patch_schema(collection: Collection) -> JsonSchema:
    """The merge-patch (RFC 7396) that changes a record; a null clears a field."""
    properties: dict[str, object] = {field.name: _written(field) for field in _visible(collection)}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _visible(collection: Collection) -> Iterable[Field]:
    return (field for field in collection.fields if not field.hidden)


def _shown(field: Field) -> JsonSchema:
    schema = _nullable(field)
    if field.readonly:
        schema["readOnly"] = True
    return schema


def _written(field: Field) -> JsonSchema:
    schema = _nullable(field)
    if field.default is not None:
        schema["default"] = field.default
    notes = [
        note
        for note, holds in (
            ("Only operators and secret keys may write it.", field.readonly),
            ("Cannot be changed once the record exists, but by operators and secret keys.", field.immutable),
            ("No two records share a value.", field.unique),
            # Not the expression: it may speak of fields that the reader of the document does not know.
            (
                field.validate_message or "An expression of the collection decides which values it takes.",
                field.validate is not None,
            ),
        )
        if holds
    ]
    if notes:
        schema["description"] = " ".join((*([str(schema["description"])] if "description" in schema else []), *notes))
    return schema


def _nullable(field: Field) -> JsonSchema:
    schema = kind_of(field).json_schema(field)
    if field.required or field.type == "json":
        return schema
    if isinstance(schema.get("type"), str) and "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def _words(collection: Collection) -> JsonSchema:
    return {"description": collection.options["description"]} if "description" in collection.options else {}
