"""Names of constraints and indexes: fixed by what they stand for, so that a violation leads back to the fields.

`posts$title$key` cannot meet a table, whose name holds no `$`, nor the index of another table, whose parts differ; and it needs
no quotes in psql.
"""

from hashlib import sha256

from baas.engines.schema.collection import Collection, Field, Index

_MAX_BYTES = 63


def primary_key(collection: Collection) -> str:
    return _name(collection.name, "pkey")


def unique_key(collection: Collection, field: Field) -> str:
    return _name(collection.name, field.name, "key")


def check(collection: Collection, field: Field) -> str:
    return _name(collection.name, field.name, "check")


def foreign_key(collection: Collection, field: Field) -> str:
    return _name(collection.name, field.name, "fkey")


def foreign_key_index(collection: Collection, field: Field) -> str:
    return _name(collection.name, field.name, "fkey_idx")


def search_index(collection: Collection) -> str:
    return _name(collection.name, "_search", "idx")


def typos_index(collection: Collection) -> str:
    return _name(collection.name, "_search", "typos_idx")


def index(collection: Collection, one: Index) -> str:
    """Indexes over the same fields may differ in direction or condition, which a digest tells apart."""
    parts = (one.fields, one.unique, one.where) if one.using == "btree" else (one.fields, one.where, one.using)
    digest = sha256(repr(parts).encode()).hexdigest()[:6]
    return _name(collection.name, *(name.removeprefix("-") for name in one.fields), f"idx_{digest}")


def _name(*parts: str) -> str:
    name = "$".join(parts)
    if len(name) <= _MAX_BYTES:
        return name
    digest = sha256(name.encode()).hexdigest()[:10]
    tail = f"${digest}${parts[-1]}"
    return name[: _MAX_BYTES - len(tail)] + tail
