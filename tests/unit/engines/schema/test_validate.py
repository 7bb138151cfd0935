"""Bodies of records: typed, closed, complete, with every fault at once."""

from typing import Any
from uuid import UUID

import pytest

from baas.base.errors import Invalid
from baas.engines.schema import manifest
from baas.engines.schema.collection import Collection
from baas.engines.schema.validate import clean_create, clean_patch, immutable_names

ID = "01932f3a-0000-7000-8000-000000000001"
FIELDS = [
    {"name": "title", "type": "text", "required": True},
    {"name": "n", "type": "int", "default": 3},
    {"name": "owner", "type": "relation", "to": "users", "immutable": True},
    {"name": "score", "type": "int", "readonly": True, "default": 0},
    {"name": "secret", "type": "text", "hidden": True, "default": "s"},
]


@pytest.fixture(scope="module")
def posts() -> Collection:
    return made(FIELDS)


def made(fields: list[dict[str, Any]], **more: Any) -> Collection:
    faults = manifest.Faults()
    collection = manifest.read_collection({"name": "posts", "fields": fields, **more}, schema="p_1", faults=faults)
    assert [] == faults.found
    return collection


def faults_of(call: Any, collection: Collection, body: dict[str, Any], *, privileged: bool = False) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as caught:
        call(collection, body, privileged=privileged)
    return [(fault.pointer, fault.code) for fault in caught.value.errors]


def test_a_new_record_has_a_value_for_every_field(posts: Collection) -> None:
    """Defaults where there are some, nulls elsewhere; the caller's id as a UUID."""
    values = clean_create(posts, {"title": "a", "id": ID.upper(), "n": None}, privileged=False)

    assert {"title": "a", "n": None, "owner": None, "score": 0, "secret": "s", "id": UUID(ID)} == values


def test_a_patch_has_the_values_that_were_sent(posts: Collection) -> None:
    """And no others."""
    assert {"n": None} == clean_patch(posts, {"n": None}, privileged=False)
    assert {} == clean_patch(posts, {}, privileged=False)


def test_immutable_fields_are_so_for_callers_under_rules(posts: Collection) -> None:
    """A put compares them with what is stored."""
    assert ("owner",) == immutable_names(posts, privileged=False)
    assert () == immutable_names(posts, privileged=True)


def test_every_fault_is_named_at_once(posts: Collection) -> None:
    """System, unknown, hidden and readonly keys, a wrong type and a missing value; hidden reads like unknown."""
    body = {"id": "7", "rev": 1, "created_at": "x", "a/b~": 1, "secret": "x", "score": 1, "n": "3", "owner": "nobody"}
    expected = {
        ("/id", "bad_id"), ("/rev", "system_field"), ("/created_at", "system_field"), ("/a~1b~0", "unknown_field"),
        ("/secret", "unknown_field"), ("/score", "readonly"), ("/n", "wrong_type"), ("/owner", "bad_id"), ("/title", "required"),
    }  # fmt: skip

    assert expected == set(faults_of(clean_create, posts, body))


def test_a_hidden_field_is_refused_in_the_words_of_an_unknown_one(posts: Collection) -> None:
    """No caller can tell them apart (A2), also not by leaving a field out."""
    with pytest.raises(Invalid) as caught:
        clean_create(posts, {"title": "a", "secret": "x", "nothing": "x"}, privileged=False)
    hidden, unknown = caught.value.errors

    assert (hidden.code, hidden.message) == (unknown.code, unknown.message)


@pytest.mark.parametrize("name", ["id", "rev", "created_at", "updated_at"])
def test_nobody_writes_system_fields(posts: Collection, name: str) -> None:
    """Not even privileged callers (A6)."""
    assert [(f"/{name}", "system_field")] == faults_of(clean_patch, posts, {name: 1}, privileged=True)


def test_a_patch_cannot_change_what_is_immutable(posts: Collection) -> None:
    """Unless the caller is privileged."""
    assert [("/owner", "immutable")] == faults_of(clean_patch, posts, {"owner": ID})
    assert {"owner": ID} == clean_patch(posts, {"owner": ID}, privileged=True)


def test_privileged_callers_write_flagged_fields_but_not_wrong_types(posts: Collection) -> None:
    """Flags are for callers, types for everybody."""
    assert {"score": 5, "secret": "x"} == clean_patch(posts, {"score": 5, "secret": "x"}, privileged=True)
    assert [("/score", "wrong_type")] == faults_of(clean_patch, posts, {"score": "5"}, privileged=True)


@pytest.mark.parametrize("call", [clean_create, clean_patch])
def test_a_required_field_takes_no_null(posts: Collection, call: Any) -> None:
    """In no form of write."""
    assert [("/title", "required")] == faults_of(call, posts, {"title": None})


def test_a_text_of_an_index_fits_its_entry() -> None:
    """PostgreSQL would refuse a longer one with an error about its own insides."""
    fields = [{"name": name, "type": "text"} for name in ("a", "b", "c")]
    shared = made([{**fields[0], "unique": True}, *fields[1:]], indexes=[{"fields": ["-b", "c"]}])

    assert [("/a", "too_long")] == faults_of(clean_patch, shared, {"a": "x" * 2601, "b": "x" * 1300})
    assert [("/b", "too_long")] == faults_of(clean_patch, shared, {"a": "x" * 2600, "b": "é" * 651})
    assert "c" in clean_patch(made(fields), {"c": "x" * 100_000}, privileged=False)
