"""The SQL between two definitions: a table that was changed is the table that would have been made."""

import random
from dataclasses import replace

import pytest

from baas.base.ids import short_id
from baas.engines.schema import ddl
from baas.engines.schema.collection import Collection, Field, Index
from baas.engines.schema.fields import kind_of
from baas.infra.db.pool import Database
from baas.infra.db.sql import ident, sql

NAMES = ("a", "b", "c", "d", "e", "select", "x" * 63, "x" * 62 + "y")
RELATION = {"to": "t", "many": False, "on_delete": "restrict"}
SAMPLES: tuple[tuple[Field, ...], ...] = (
    (Field("f", "text"), Field("f", "text", options={"max": 5}), Field("f", "text", default="it's {} \\ $1")),
    (Field("f", "email"), Field("f", "url")),
    (Field("f", "int"), Field("f", "int", options={"min": -(2**63)}), Field("f", "int", default=3, options={"max": 5})),
    (Field("f", "decimal", options={"precision": 5, "scale": 2}), Field("f", "decimal", default="1.25")),
    (
        Field("f", "select", options={"values": ["a"], "many": False}),
        Field("f", "select", default="b", options={"values": ["a", "b"], "many": False}),
    ),
    (Field("f", "relation", options=RELATION), Field("f", "relation", options={**RELATION, "on_delete": "cascade"})),
    (Field("f", "json"), Field("f", "json", default={"a": [1]}), Field("f", "json", options={"search": "B"})),
    (Field("f", "text", options={"search": True}), Field("f", "email", options={"search": "A"})),
    (Field("f", "geo_point"), Field("f", "geo_point", default={"lat": 1.5, "lon": -2})),
    (Field("f", "datetime"), Field("f", "datetime", default="2026-11-20T10:31:07Z")),
)


def random_field(dice: random.Random, name: str) -> Field:
    sample = dice.choice(dice.choice(SAMPLES))
    indexable = kind_of(sample).indexable(sample)
    return replace(sample, name=name, required=dice.random() < 0.3, unique=indexable and dice.random() < 0.3)


def random_indexes(dice: random.Random, fields: tuple[Field, ...]) -> tuple[Index, ...]:
    names = [field.name for field in fields if kind_of(field).indexable(field)] + ["created_at"]
    found = {
        Index(
            tuple(dice.choice(("", "-")) + name for name in dice.sample(names, min(len(names), dice.randint(1, 3)))),
            unique=dice.random() < 0.5,
            where=dice.choice((None, None, "rev > 1")),
        )
        for _ in range(dice.randint(0, 3))
    }
    return tuple(sorted(found, key=repr))


def random_change(dice: random.Random, old: Collection) -> tuple[Collection, dict[str, str]]:
    """Some fields stay, some become wider, some get another's name, some go, some come."""
    kept = [field for field in old.fields if dice.random() < 0.7]
    moving = [field for field in kept if dice.random() < 0.5]
    free = [name for name in NAMES if name not in {field.name for field in kept if field not in moving}]
    renames = dict(zip((field.name for field in moving), dice.sample(free, len(moving)), strict=True))
    fields = []
    for field in kept:
        wider = random_field(dice, renames.get(field.name, field.name))
        same = replace(field, name=wider.name, required=wider.required)
        fields.append(wider if kind_of(wider).accepts(field, wider) else same)
    # A name that an old field had would be that field, not a new one.
    taken = {field.name for field in (*fields, *old.fields)}
    fields += [random_field(dice, name) for name in NAMES if name not in taken and dice.random() < 0.3]
    dice.shuffle(fields)
    renames = {old_name: new_name for old_name, new_name in renames.items() if old_name != new_name}
    return replace(old, fields=tuple(fields), indexes=random_indexes(dice, tuple(fields))), renames


async def shape(db: Database, collection: Collection) -> dict[str, object]:
    """Columns, constraints and indexes as PostgreSQL describes them, without the schema's name."""
    full = f'"{collection.schema}"."{collection.name}"'
    columns = await db.fetch(
        sql(
            "select attname::text, format_type(atttypid, atttypmod), attnotnull, attcollation::regcollation::text,"
            " pg_get_expr(d.adbin, d.adrelid) from pg_attribute a left join pg_attrdef d on (adrelid, adnum) = (attrelid, attnum)"
            " where attrelid = {}::regclass and attnum > 0 and not attisdropped",
            full,
        )
    )
    constraints = await db.fetch(
        sql(
            "select conname::text, pg_get_constraintdef(oid) from pg_constraint where conrelid = {}::regclass and contype <> 'n'",
            full,
        )
    )
    indexes = await db.fetch(
        sql("select indexname::text, indexdef from pg_indexes where (schemaname, tablename) = ({}, {})", collection.schema, "t")
    )
    return {
        str(row[0]): [str(value).replace(collection.schema, "s") for value in row.values()]
        for row in (*columns, *constraints, *indexes)
    }


async def _make_schema(db: Database, schema: str) -> None:
    """With functions of the names that triggers call; what they do is another test's matter."""
    await db.execute(sql("create schema {}", ident(schema)))
    for name in ("_log_new", "_log_change", "_count_change"):
        body = sql("create function {}() returns trigger language plpgsql as 'begin return new; end'", ident(schema, name))
        await db.execute(body)


@pytest.mark.parametrize("seed", range(15))
async def test_a_changed_table_is_the_table_that_would_have_been_made(db: Database, seed: int) -> None:
    """Five changes in a row; after each, nothing in PostgreSQL tells the two apart, and nothing is left to do."""
    dice = random.Random(seed)
    schema, fresh_schema = f"ddl_{short_id()}", f"ddl_{short_id()}"
    fields = tuple(random_field(dice, name) for name in NAMES if dice.random() < 0.6)
    old = Collection("t", schema, fields, random_indexes(dice, fields))

    def condition(_collection: Collection, index: Index) -> object:
        return sql("rev > 1")

    await _make_schema(db, schema)
    for statement in ddl.create(old, condition):
        await db.execute(statement)
    for _ in range(5):
        new, renames = random_change(dice, old)
        async with db.transaction() as tx:
            for statement in ddl.alter(old, new, renames, condition):
                await tx.execute(statement)
        fresh = replace(new, schema=fresh_schema)
        await _make_schema(db, fresh_schema)
        for statement in ddl.create(fresh, condition):
            await db.execute(statement)

        assert await shape(db, fresh) == await shape(db, new)
        assert [] == ddl.alter(new, new, {}, condition)
        await db.execute(sql("drop schema {} cascade", ident(fresh_schema)))
        old = new
    await db.execute(sql("drop schema {} cascade", ident(schema)))
