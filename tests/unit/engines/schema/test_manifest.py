"""Manifests: what is read, what is refused, and that every fault is named at once."""

import json
from decimal import Decimal
from typing import Any

import pytest

from baas.engines.schema import manifest
from baas.engines.schema.collection import Collection
from baas.engines.schema.fields import KINDS

TITLE = {"name": "title", "type": "text"}


def read(body: dict[str, Any]) -> tuple[Collection, list[tuple[str, str]]]:
    """The collection and its faults as (pointer, code)."""
    faults = manifest.Faults()
    collection = manifest.read_collection(body, schema="p_1", faults=faults)
    return collection, [(fault.pointer, fault.code) for fault in faults.found]


def posts(**more: Any) -> dict[str, Any]:
    return {"name": "posts", "fields": [TITLE], **more}


def field_faults(**entry: Any) -> list[tuple[str, str]]:
    return read({"name": "posts", "fields": [{"name": "f", **entry}]})[1]


def change(body: dict[str, Any], old: dict[str, Any] | None = None) -> tuple[Collection, dict[str, str], list[tuple[str, str]]]:
    before, none = read(old or posts())
    assert [] == none
    faults = manifest.Faults()
    after, renames = manifest.read_change(body, before, faults)
    return after, dict(renames), [(fault.pointer, fault.code) for fault in faults.found]


def test_a_trigram_index_is_over_one_text_and_only_where_it_can_be() -> None:
    """What it may be over is told with the place; without the extension the way out is."""
    entry = {"fields": ["title"], "using": "trigram"}
    for wrong in ({"fields": ["n"]}, {"fields": ["title", "n"]}, {"fields": ["-title"]}, {"fields": ["title"], "unique": True}):
        fields = [TITLE, {"name": "n", "type": "int"}]
        found = read({"name": "posts", "fields": fields, "indexes": [{**wrong, "using": "trigram"}]})[1]
        assert [("/indexes/0/using", "not_allowed")] == found, wrong
    body = posts(indexes=[{"fields": ["title"]}, entry])
    collection, none = read(body)
    faults = manifest.Faults()
    manifest.settle(collection, frozenset(), body, faults)
    manifest.settle(collection, frozenset({"pg_trgm"}), body, faults)

    assert (none, ["btree", "trigram"]) == ([], [one.using for one in collection.indexes])
    assert ("pg_trgm",) == manifest.useful_extensions(body)
    assert [("/indexes/1/using", "extension_missing")] == [(one.pointer, one.code) for one in faults.found]
    assert "create extension pg_trgm schema baas_ext" in faults.found[0].message


def test_a_manifest_and_the_store_give_the_same_collection() -> None:
    """Through JSON and back nothing changes, whatever the field types."""
    options = {
        "select": {"values": ["a"], "many": True},
        "relation": {"to": "users"},
        "file": {"bucket": "b"},
        "vector": {"dimensions": 3},
        "decimal": {"precision": 9, "scale": 2, "default": Decimal("1.25")},
        "json": {"default": {"a": [Decimal("1.5")]}},
        "int": {"default": 2**63 - 1, "min": -(2**63), "max": str(2**63 - 1)},
    }
    fields = [{"name": f"f_{kind.name}", "type": kind.name, **options.get(kind.name, {})} for kind in KINDS]
    body = posts(fields=fields, indexes=[{"fields": ["f_int", "-created_at"], "where": "f_int > 1"}], rules={"list": "true"})
    collection, faults = read(body)
    assert [] == faults
    shown = json.loads(json.dumps(manifest.as_json(collection)))

    whole = next(field for field in shown["fields"] if field["type"] == "int")
    assert (str(-(2**63)), str(2**63 - 1), str(2**63 - 1)) == (whole["min"], whole["max"], whole["default"])
    assert collection == manifest.stored(shown, schema="p_1", version=0)
    assert (collection, []) == read(shown)


def test_every_fault_is_named_at_once() -> None:
    """Ten wrong places, ten pointers."""
    body = {
        "name": "Posts",
        "colour": 1,
        "fields": [
            {"name": "a b", "type": "text"},
            {"name": "n", "type": "int", "min": 5, "max": 1},
            {"name": "n", "type": "nmber"},
            {"name": "t", "type": "text", "required": "yes", "maxx": 3},
            7,
        ],
        "indexes": [{"fields": ["gone"]}],
        "rules": {"read": "true", "list": ""},
        "options": {"color": 1},
    }

    expected = [
        ("/colour", "unknown_key"), ("/name", "bad_name"), ("/fields/0/name", "bad_name"), ("/fields/1/min", "out_of_range"),
        ("/fields/2/type", "unknown_type"), ("/fields/2/name", "duplicate"), ("/fields/3/required", "wrong_type"),
        ("/fields/3/maxx", "unknown_key"), ("/fields/4", "wrong_type"), ("/indexes/0/fields/0", "unknown_field"),
        ("/rules/read", "unknown_key"), ("/rules/list", "empty"), ("/options/color", "unknown_key"),
    ]  # fmt: skip
    assert expected == read(body)[1]


@pytest.mark.parametrize(
    "name", ["", "Posts", "_files", "9a", "a-b", "a b", "a\n", "é", "a" * 64, 'a"; drop table x; --', None, 7, ["a"]]
)
def test_names_are_plain(name: object) -> None:
    """Of collections and fields alike; nothing that needs quoting, nothing with our own underscore in front."""
    assert ["/name"] == [at for at, _ in read({"name": name})[1]]
    assert ["/fields/0/name"] == [at for at, _ in read({"name": "posts", "fields": [{"name": name, "type": "text"}]})[1]]


@pytest.mark.parametrize("name", ["id", "rev", "created_at", "updated_at", "ctid", "xmin", "tableoid", "expand", "null"])
def test_reserved_names_are_refused(name: str) -> None:
    """System fields, columns that PostgreSQL keeps, and what answers put beside fields."""
    assert [("/fields/0/name", "reserved_name")] == read(posts(fields=[{"name": name, "type": "text"}]))[1]


@pytest.mark.parametrize("name", ["auth", "now", "record", "next", "input", "request", "value", "select", "table", "oid"])
def test_words_of_rules_and_of_sql_are_good_field_names(name: str) -> None:
    """Columns are quoted, and rules reach a field behind a variable as record.now."""
    assert [] == read(posts(fields=[{"name": name, "type": "text"}]))[1]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"type": "text", "default": 5}, ("/fields/0/default", "wrong_type")),
        ({"type": "select", "values": ["a", "b"], "many": True, "default": ["a", "c"]}, ("/fields/0/default/1", "not_allowed")),
        ({"type": "select"}, ("/fields/0/values", "required")),
        ({"type": "select", "values": ["a", "a"]}, ("/fields/0/values/1", "duplicate")),
        ({"type": "select", "values": []}, ("/fields/0/values", "out_of_range")),
        ({"type": "relation"}, ("/fields/0/to", "required")),
        ({"type": "relation", "to": "users", "on_delete": "nothing"}, ("/fields/0/on_delete", "not_allowed")),
        ({"type": "relation", "to": "users", "on_delete": "set_null", "required": True}, ("/fields/0/on_delete", "not_allowed")),
        ({"type": "relation", "to": "users", "many": True, "on_delete": "cascade"}, ("/fields/0/on_delete", "not_allowed")),
        ({"type": "json", "unique": True}, ("/fields/0/unique", "not_indexable")),
        ({"type": "text", "hidden": True, "required": True}, ("/fields/0/default", "required")),
        ({"type": "decimal", "scale": 2}, ("/fields/0/precision", "required")),
        ({"type": "text", "system": True}, ("/fields/0/system", "not_allowed")),
        ({"type": "int", "min": Decimal("1.5")}, ("/fields/0/min", "wrong_type")),
        ({"type": "int", "min": "5"}, ("/fields/0/min", "wrong_type")),
        ({"type": "int", "max": 2**63}, ("/fields/0/max", "wrong_type")),
        ({"type": "text", "read": 5}, ("/fields/0/read", "wrong_type")),
        ({"type": "text", "read": "x" * 5000}, ("/fields/0/read", "too_long")),
        ({}, ("/fields/0/type", "required")),
    ],
)
def test_wrong_options_are_pointed_at(entry: dict[str, Any], expected: tuple[str, str]) -> None:
    """Each with the pointer of the very member."""
    assert [expected] == field_faults(**entry)


def test_there_are_limits_on_counts() -> None:
    """Fields and indexes."""
    many = [{"name": f"f{n}", "type": "text"} for n in range(201)]
    indexes = [{"fields": ["title"], "where": f"title == '{n}'"} for n in range(33)]

    assert [("/fields", "too_many")] == read(posts(fields=many))[1]
    assert [] == read(posts(fields=many[:200]))[1]
    assert [("/indexes", "too_many")] == read(posts(indexes=indexes))[1]


def test_rules_are_merged_and_lists_are_replaced() -> None:
    """What a PATCH does not name stays."""
    old = posts(indexes=[{"fields": ["title"]}], rules={"list": "true", "view": "true"}, options={"description": "d"})
    after, _, faults = change({"rules": {"view": None}, "options": {"description": None}}, old)
    wider, _, _ = change({"fields": [TITLE, {"name": "n", "type": "int"}]}, old)

    assert [] == faults
    assert {"list": "true", "view": None, "create": None, "update": None, "delete": None} == dict(after.rules)
    assert {} == dict(after.options)
    assert ["title", "n"] == [field.name for field in wider.fields]
    assert after.indexes == wider.indexes != ()


def test_an_index_over_a_field_that_goes_is_a_fault() -> None:
    """A change must leave a whole manifest."""
    old = posts(indexes=[{"fields": ["title"]}])

    assert [("/indexes/0/fields/0", "unknown_field")] == change({"fields": []}, old)[2]


def test_two_fields_may_change_places() -> None:
    """Each `renamed_from` the other."""
    both = posts(fields=[{"name": "a", "type": "text"}, {"name": "b", "type": "text"}])
    swap = [{"name": "b", "type": "text", "renamed_from": "a"}, {"name": "a", "type": "text", "renamed_from": "b"}]

    assert ({"a": "b", "b": "a"}, []) == change({"fields": swap}, both)[1:]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([{"name": "b", "type": "text", "renamed_from": "gone"}], ("/fields/0/renamed_from", "unknown_field")),
        ([TITLE, {"name": "b", "type": "text", "renamed_from": "title"}], ("/fields/1/renamed_from", "duplicate")),
        ([{"name": "b", "type": "text", "renamed_from": ["title"]}], ("/fields/0/renamed_from", "unknown_field")),
    ],
)
def test_a_rename_must_make_sense(fields: list[dict[str, Any]], expected: tuple[str, str]) -> None:
    """One old field becomes one new field."""
    assert [expected] == change({"fields": fields})[2]


@pytest.mark.parametrize("key", ["required", "unique", "hidden", "type", "readonly"])
def test_fixed_fields_of_users_cannot_be_changed(key: str) -> None:
    """They may be repeated as they are shown, or left out; every other form is refused."""
    users = manifest.users("p_1")
    shown = manifest.as_json(users)["fields"]
    faults = manifest.Faults()
    same, _ = manifest.read_change({"fields": shown}, users, faults)
    left_out, _ = manifest.read_change({"fields": [TITLE]}, users, faults)
    assert [] == faults.found
    changed = [{**shown[0], key: "text" if key == "type" else not shown[0][key]}]
    manifest.read_change({"fields": changed}, users, faults)

    assert users == same
    assert ["email", "email_verified", "disabled", "title"] == [field.name for field in left_out.fields]
    assert [(f"/fields/0/{key}", "system_field")] == [(fault.pointer, fault.code) for fault in faults.found]


def test_users_keep_the_words_of_a_sign_up() -> None:
    """A field named password would be read as one; auth.claims and auth.collection are taken."""
    faults = manifest.Faults()
    names = ("password", "claims", "collection")
    manifest.read_change({"fields": [{"name": name, "type": "text"} for name in names]}, manifest.users("p_1"), faults)

    assert ["reserved_name"] * 3 == [fault.code for fault in faults.found]
