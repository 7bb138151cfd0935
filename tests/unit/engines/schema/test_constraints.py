"""From a violated constraint back to the fields."""

from collections.abc import AsyncIterator

import pytest

from baas.base.ids import short_id
from baas.engines.schema import ddl, manifest
from baas.engines.schema.collection import Collection
from baas.engines.schema.constraints import violation_of
from baas.infra.db.errors import ConstraintViolated
from baas.infra.db.pool import Database
from baas.infra.db.sql import Sql, ident, sql

A, B, C = (f"01932f3a-0000-7000-8000-00000000000{n}" for n in "123")
BODIES = (
    {"name": "teams", "fields": [{"name": "title", "type": "text"}]},
    {
        "name": "x" * 63,
        "fields": [
            {"name": "y" * 63, "type": "int", "unique": True, "max": 9},
            {"name": "team", "type": "relation", "to": "teams"},
            {"name": "a", "type": "int", "required": True, "default": 0},
            {"name": "b", "type": "int"},
        ],
        "indexes": [{"fields": ["-a", "b"], "unique": True}],
    },
)


@pytest.fixture(scope="module")
async def tables(db: Database) -> AsyncIterator[dict[str, Collection]]:
    """Two collections, one with the longest names, and a record in each."""
    schema = f"c_{short_id()}"
    await db.execute(sql("create schema {}", ident(schema)))
    found = {}
    for body in BODIES:
        faults = manifest.Faults()
        collection = manifest.read_collection(body, schema=schema, faults=faults)
        assert [] == faults.found
        found[collection.name] = collection
        for statement in ddl.create(collection, lambda _collection, _index: sql("true"), logged=False):
            await db.execute(statement)
    await db.execute(sql("insert into {} (id) values ({}::uuid)", ident(schema, "teams"), A))
    await db.execute(sql("insert into {} values ({}::uuid, 1, now(), now(), 1, {}::uuid, 1, 1)", ident(schema, "x" * 63), A, A))
    yield found
    await db.execute(sql("drop schema {} cascade", ident(schema)))


@pytest.mark.parametrize(
    ("values", "kind", "fields"),
    [
        (sql("{}::uuid, 1, now(), now(), 2, null, 2, 2", A), "unique", ("id",)),
        (sql("{}::uuid, 1, now(), now(), 1, null, 2, 2", B), "unique", ("y" * 63,)),
        (sql("{}::uuid, 1, now(), now(), 2, null, 1, 1", B), "unique", ("a", "b")),
        (sql("{}::uuid, 1, now(), now(), 2, {}::uuid, 2, 2", B, C), "reference", ("team",)),
        (sql("{}::uuid, 1, now(), now(), 2, null, null, 2", B), "required", ("a",)),
        (sql("{}::uuid, 1, now(), now(), 10, null, 2, 2", B), "check", ("y" * 63,)),
    ],
)
async def test_a_violation_names_its_fields(
    db: Database, tables: dict[str, Collection], values: Sql, kind: str, fields: tuple[str, ...]
) -> None:
    """Every kind of constraint, by names that had to be cut short too."""
    long = tables["x" * 63]
    with pytest.raises(ConstraintViolated) as caught:
        await db.execute(sql("insert into {} values ({})", ddl.table(long), values))
    violation = violation_of(caught.value, tables)

    assert violation is not None
    assert (kind, long, fields) == (violation.kind, violation.collection, violation.fields)


async def test_a_record_that_others_link_to_names_the_linking_collection(db: Database, tables: dict[str, Collection]) -> None:
    """Deleting it is refused by a constraint of the other table."""
    with pytest.raises(ConstraintViolated) as caught:
        await db.execute(sql("delete from {} where id = {}::uuid", ddl.table(tables["teams"]), A))
    violation = violation_of(caught.value, tables)

    assert violation is not None
    assert ("reference", "x" * 63, ("team",)) == (violation.kind, violation.collection.name, violation.fields)
