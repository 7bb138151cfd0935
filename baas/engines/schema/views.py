"""Views: from an operator's SELECT to a collection that is read.

The SELECT becomes a PostgreSQL view of the project's reader, made while nothing but the project's collections and what PostgreSQL
itself has can be named. Then its stored tree is judged, then its columns become fields. All in the caller's transaction.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from baas.base.errors import Fault
from baas.engines.schema.collection import SYSTEM_FIELDS, Collection, Field, View
from baas.engines.schema.fields import kind_of
from baas.engines.schema.fields.base import NAME
from baas.engines.schema.manifest import MAX_FIELDS, RESERVED_FIELDS, place
from baas.engines.schema.view_guard import forbidden, stored_columns
from baas.infra.db import readers
from baas.infra.db.errors import ViewFailed
from baas.infra.db.extensions import SCHEMA as EXTENSIONS
from baas.infra.db.pool import Transaction
from baas.infra.db.restricted import SqlRefused
from baas.infra.db.sql import Sql, as_role, ident, join, sql, written

_AT = "/view/sql"
# What a column may be for a field of a cast. What is not the cast itself is cast in the view.
_FITS: Mapping[str, tuple[str, ...]] = {
    "text": ("text", "varchar", "bpchar", "name", "char"),
    "int8": ("int8", "int4", "int2"),
    "float8": ("float8", "float4", "numeric", "int8", "int4", "int2"),
    "numeric": ("numeric", "int8", "int4", "int2"),
    "bool": ("bool",),
    "date": ("date",),
    "timestamptz": ("timestamptz", "timestamp"),
    "jsonb": ("jsonb", "json"),
    "uuid": ("uuid",),
    "text[]": ("_text", "_varchar"),
    "uuid[]": ("_uuid",),
}
# The field type of a column that the author says nothing about.
_DERIVED: Mapping[str, str] = {
    **dict.fromkeys(("text", "varchar", "bpchar", "name", "char"), "text"),
    **dict.fromkeys(("int8", "int4", "int2"), "int"),
    **dict.fromkeys(("float8", "float4"), "float"),
    **dict.fromkeys(("timestamptz", "timestamp"), "datetime"),
    **dict.fromkeys(("jsonb", "json"), "json"),
    **{"numeric": "decimal", "bool": "bool", "date": "date", "geo_point": "geo_point"},
}
_SYSTEM_CASTS = {"id": "uuid", "rev": "int8", "created_at": "timestamptz", "updated_at": "timestamptz"}


class ViewRefused(Exception):
    """The SELECT cannot be a collection."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(faults[0].message)
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    type: str
    collation: str | None
    stored: bool

    def as_type(self, cast: str) -> Sql:
        """The column of `q` with this type and only values that a record can have; null stands for others.

        A stored column is left alone where it has the type: its values are fine, and around it no index would serve.
        """
        column = self._cast(cast)
        if self.stored or cast not in _WITHIN:
            return column
        return _WITHIN[cast](column)

    def _cast(self, cast: str) -> Sql:
        column = ident("q", self.name)
        if cast == "text":
            plain = column if self.type == "text" else sql("{}::text", column)
            return plain if self.type == "text" and self.collation == "C" else sql('{} collate pg_catalog."C"', plain)
        if cast == "jsonb" and self.type != "jsonb":
            return sql("to_jsonb({})", column)
        if cast == "timestamptz" and self.type == "timestamp":
            return sql("{} at time zone 'UTC'", column)
        if self.type in (cast, "_" + cast.removesuffix("[]")):
            return column
        return sql("{}::{}", column, _CAST_TO[cast])


def _between(low: Sql, high: Sql) -> Callable[[Sql], Sql]:
    return lambda column: sql("case when {} between {} and {} then {} end", column, low, high, column)


# Rules compute with what records can hold, and never raise on that. A SELECT can compute more: infinity, the year 5000 BC.
_WITHIN: Mapping[str, Callable[[Sql], Sql]] = {
    "float8": _between(sql("float8 '-1.7976931348623157e308'"), sql("float8 '1.7976931348623157e308'")),
    "numeric": lambda column: sql("baas_rt.bounded({})", column),
    "date": _between(sql("date '0001-01-01'"), sql("date '9999-12-31'")),
    "timestamptz": _between(sql("timestamptz '0001-01-01 00:00:00+00'"), sql("timestamptz '9999-12-31 23:59:59.999999+00'")),
    "geo_point": lambda column: sql("baas_rt.geo(({}).lat, ({}).lon)", column, column),
}
_CAST_TO: Mapping[str, Sql] = {
    "int8": sql("int8"),
    "float8": sql("float8"),
    "numeric": sql("numeric"),
    "text[]": sql("text[]"),
}


async def make(
    tx: Transaction, asked: Collection, others: Mapping[str, Collection], body: Mapping[str, object], *, keep: bool = False
) -> Collection:
    """The view of a collection as asked for, whose `fields` are what its author says of columns; the collection as it is.

    `keep`: what is said comes from the definition before, and no longer counts for a column that is gone or has another type.
    Raises ViewRefused; Conflict (`views_unavailable`) where the project can have no reader.
    """
    assert asked.view is not None  # noqa: S101  the caller's promise
    await readers.make(tx, asked.schema)
    await readers.let_read(tx, asked.schema, [name for name in others if name != asked.name])
    await _as_author(tx, asked.schema)
    await _create(tx, asked, asked.view.sql, None)
    await _judge(tx, asked, others)
    columns = await _columns(tx, asked)
    system = _system(columns)
    fields, faults = _fields(columns, asked, body, keep=keep)
    if faults:
        raise ViewRefused(faults)
    await tx.execute(sql("drop view {}", _name(asked)))
    by_name = {column.name: column for column in columns}
    shown = [(by_name[name], _SYSTEM_CASTS[name]) for name in system]
    shown += [(by_name[field.name], kind_of(field).cast(field)) for field in fields]
    await _create(tx, asked, asked.view.sql, shown)
    await _judge(tx, asked, others)  # again: what fits between two parentheses may fit otherwise between others
    await _as_server(tx, asked.schema)
    await readers.let_read(tx, asked.schema, [*others, asked.name])
    await _try(tx, asked)
    return replace(asked, fields=fields, view=View(asked.view.sql, system))


async def drop(tx: Transaction, collection: Collection) -> None:
    """The end of a view; refused by PostgreSQL while others read it."""
    await tx.execute(sql("drop view {} restrict", _name(collection)))


async def readers_of(
    tx: Transaction, collection: Collection, columns: Sequence[str] | None = None
) -> Mapping[str, Sequence[str]]:
    """The views that read a collection, each with which of these columns it reads; None stands for the collection itself."""
    rows = await tx.fetch(
        sql(
            "select v.relname as view, array_agg(distinct a.attname::text) filter (where a.attname is not null) as columns"
            " from pg_depend d join pg_rewrite w on d.classid = 'pg_rewrite'::regclass and w.oid = d.objid"
            " join pg_class v on v.oid = w.ev_class"
            " join pg_class t on d.refclassid = 'pg_class'::regclass and t.oid = d.refobjid and t.oid <> v.oid"
            " join pg_namespace n on n.oid = t.relnamespace"
            " left join pg_attribute a on a.attrelid = t.oid and a.attnum = d.refobjsubid and d.refobjsubid > 0"
            " where n.nspname = {} and t.relname = {} group by v.relname order by v.relname",
            collection.schema,
            collection.name,
        )
    )
    found = {row["view"]: row["columns"] or [] for row in rows}
    if columns is None:
        return found
    used = {view: sorted(set(names) & set(columns)) for view, names in found.items()}
    return {view: names for view, names in used.items() if names}


# The steps.


async def _as_author(tx: Transaction, schema: str) -> None:
    """From here plain names mean the project's collections, and nothing else can be named that the reader may not enter."""
    role = ident(readers.reader(schema))
    await tx.execute(sql("grant create on schema {} to {}", ident(schema), role))
    path = join(", ", [ident(schema), ident("pg_catalog"), ident(EXTENSIONS), ident("pg_temp")]).render().text
    await tx.execute(sql("select set_config('search_path', {}, true), set_config('statement_timeout', '5000', true)", path))
    await tx.execute(sql("set local role {}", role))


async def _as_server(tx: Transaction, schema: str) -> None:
    await tx.execute(sql("set local role none"))
    await tx.execute(sql("set local search_path to default"))
    await tx.execute(sql("revoke create on schema {} from {}", ident(schema), ident(readers.reader(schema))))


async def _create(tx: Transaction, collection: Collection, text: str, columns: Sequence[tuple[_Column, str]] | None) -> None:
    """The view as its author wrote it, or with these columns of these types around it."""
    if columns is None:
        start = sql("create view {} as (\n", _name(collection))
        statement = sql("{}{}\n)", start, written(text))
    else:
        shown = join(", ", [sql("{} as {}", column.as_type(cast), ident(column.name)) for column, cast in columns])
        start = sql("create view {} as select {} from (\n", _name(collection), shown)
        statement = sql("{}{}\n) q", start, written(text))
    try:
        await tx.execute_written(statement)
    except SqlRefused as error:
        place = None if error.position is None else error.position - len(start.render().text) - 1
        raise ViewRefused([_sql_fault(error, text, place)]) from None


async def _columns(tx: Transaction, collection: Collection) -> Sequence[_Column]:
    rows = await tx.fetch(
        sql(
            "select a.attnum as number, a.attname as name, t.typname as type, l.collname as collation"
            " from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace"
            " join pg_type t on t.oid = a.atttypid left join pg_collation l on l.oid = a.attcollation"
            " where n.nspname = {} and c.relname = {} and a.attnum > 0 order by a.attnum",
            collection.schema,
            collection.name,
        )
    )
    stored = await stored_columns(tx, collection.schema, collection.name)
    return [_Column(row["name"], row["type"], row["collation"], row["number"] in stored) for row in rows]


async def _judge(tx: Transaction, collection: Collection, others: Mapping[str, Collection]) -> None:
    found = await forbidden(tx, collection.schema, collection.name, [name for name in others if name != collection.name])
    if found:
        words = f"A view may not use {', '.join(found[:10])}."
        raise ViewRefused([Fault(_AT, "not_allowed_in_view", words, {"forbidden": list(found[:10])})])


async def _try(tx: Transaction, collection: Collection) -> None:
    """Plan it as its reader, who must have the right to everything in it. Explained, not run: a prepared statement of the same
    text but other columns, from before a change, would stand in the way.
    """
    source = as_role(readers.reader(collection.schema), _name(collection))
    statement = sql("explain select * from {}", source)
    try:
        await tx.fetch(statement)
    except ViewFailed as error:
        raise ViewRefused([Fault(_AT, "bad_view", f"It cannot be read: {error.facts['condition']}.")]) from None


# Columns as fields.


def _system(columns: Sequence[_Column]) -> tuple[str, ...]:
    return tuple(name for name in SYSTEM_FIELDS if any(column.name == name for column in columns))


def _fields(
    columns: Sequence[_Column], asked: Collection, body: Mapping[str, object], *, keep: bool
) -> tuple[tuple[Field, ...], Sequence[Fault]]:
    """A field for each column, in their order, and what is wrong."""
    faults: list[Fault] = list(_system_faults(columns))
    if len(columns) - len(_system(columns)) > MAX_FIELDS:
        faults.append(Fault(_AT, "too_many", f"A collection has at most {MAX_FIELDS} fields."))
    names = {column.name for column in columns}
    if not keep:
        faults += [
            Fault(place(body, field.name) + "/name", "unknown_column", f"The SELECT has no column {field.name!r}.")
            for field in asked.fields
            if field.name not in names
        ]
    fields = []
    for column in columns:
        if column.name in SYSTEM_FIELDS:
            continue
        found = _field(column, asked.field(column.name), body, keep=keep)
        if isinstance(found, Field):
            fields.append(found)
        else:
            faults.append(found)
    return tuple(fields), faults


def _field(column: _Column, said: Field | None, body: Mapping[str, object], *, keep: bool) -> Field | Fault:
    if not NAME.fullmatch(column.name) or column.name in RESERVED_FIELDS:
        words = f"{column.name!r} cannot be the name of a field; give the column another one with `as`."
        return Fault(_AT, "bad_name", words)
    if said is not None:
        cast = kind_of(said).cast(said)
        if column.type in _FITS.get(cast, (cast,)) or (cast == "jsonb" and column.type.startswith("_")):
            return said
        if not keep:
            words = f"The column is of type {column.type}, which a field of type {said.type} cannot show."
            return Fault(place(body, said.name) + "/type", "wrong_column_type", words)
    kind = _DERIVED.get(column.type) or ("json" if column.type.startswith("_") else None)
    if kind is not None:
        return Field(column.name, kind)
    hint = "name it in fields as a relation, or cast it to text" if column.type == "uuid" else "cast it to another, such as text"
    return Fault(_AT, "unknown_type", f"Column {column.name!r} has the type {column.type}: {hint}.")


def _system_faults(columns: Sequence[_Column]) -> Sequence[Fault]:
    types = {column.name: column.type for column in columns}
    if types.get("id") != "uuid":
        return [Fault(_AT, "no_id", "A view needs a column id of type uuid, of which no two rows have the same.")]
    return [
        Fault(_AT, "wrong_column_type", f"Column {name!r} must be of type {cast}.")
        for name, cast in _SYSTEM_CASTS.items()
        if name in types and types[name] not in _FITS[cast]
    ]


def _sql_fault(error: SqlRefused, text: str, place: int | None) -> Fault:
    """With the place in the author's own text: `position` from 0, `line` from 1."""
    # The kind of error would tell what is there and forbidden from what is not there.
    details: dict[str, object] = {} if error.out_of_reach else {"condition": error.condition}
    if place is not None and 0 <= place <= len(text):
        details |= {"position": place, "line": text.count("\n", 0, place) + 1}
    code: Literal["not_allowed_in_view", "bad_view"] = "not_allowed_in_view" if error.out_of_reach else "bad_view"
    return Fault(_AT, code, error.message, details)


def _name(collection: Collection) -> Sql:
    return ident(collection.schema, collection.name)
