"""Collections as JSON Schemas."""

import json

from baas.engines.schema import manifest
from baas.engines.schema.fields import KINDS
from baas.engines.schema.json_schema import create_schema, patch_schema, record_schema

OPTIONS = {"select": {"values": ["a"]}, "relation": {"to": "users"}, "file": {"bucket": "b"}, "vector": {"dimensions": 3}}
FIELDS = [{"name": f"f_{kind.name}", "type": kind.name, **OPTIONS.get(kind.name, {})} for kind in KINDS]
MORE = [
    {"name": "title", "type": "text", "required": True},
    {"name": "kind", "type": "text", "required": True, "default": "x"},
    {"name": "veiled", "type": "text", "hidden": True},
    {"name": "score", "type": "int", "readonly": True, "required": True},
]


def collection() -> manifest.Collection:
    faults = manifest.Faults()
    made = manifest.read_collection({"name": "posts", "fields": FIELDS + MORE}, schema="p_1", faults=faults)
    assert [] == faults.found
    return made


def test_hidden_fields_are_nowhere() -> None:
    """Neither by name nor otherwise (A2)."""
    for schema in (record_schema(collection()), create_schema(collection()), patch_schema(collection())):
        assert "veiled" not in json.dumps(schema)


def test_a_create_needs_what_has_no_default_and_can_be_written() -> None:
    """`score` is readonly, `kind` has a default."""
    assert ["title"] == create_schema(collection())["required"]
    assert "required" not in patch_schema(collection())


def test_optional_fields_take_null_and_required_ones_do_not() -> None:
    """In every type."""
    properties = record_schema(collection())["properties"]
    assert isinstance(properties, dict)

    assert "null" not in json.dumps(properties["title"])
    for kind in KINDS:
        assert "null" in json.dumps(properties[f"f_{kind.name}"]) or kind.name == "json"
