"""Two collections -> the SQL between them. Names come from `names.py`, constants are literals: DDL takes no parameters.

A table is `id, rev, created_at, updated_at` and one column a field; around it stand pieces (constraints and indexes), each with
a fixed name. A change renames columns and their pieces, drops the pieces that end or differ, alters columns, adds pieces.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Literal

from baas.engines.schema import names, search
from baas.engines.schema.collection import Collection, Field, Index
from baas.engines.schema.fields import kind_of
from baas.engines.schema.fields.base import CASTS, is_many
from baas.engines.schema.fields.geo_point import as_point
from baas.engines.schema.fields.relation import ON_DELETE, target
from baas.engines.schema.fields.vector import operators
from baas.infra.db.extensions import SCHEMA as EXTENSIONS
from baas.infra.db.sql import Sql, ident, join, literal, sql

Predicate = Callable[[Collection, Index], Sql]
"""The condition of a partial index as SQL over unqualified columns, without parameters; the rules engine makes it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A constraint, an index, or a column that no field is. Two pieces of one name with equal `key` are the same thing."""

    name: str
    key: tuple[object, ...]
    kind: Literal["constraint", "index", "column", "trigger"]
    create: Callable[[], Sql]


def table(collection: Collection) -> Sql:
    """The collection's table, by its full name."""
    return ident(collection.schema, collection.name)


def create(collection: Collection, predicate: Predicate, *, logged: bool = True) -> list[Sql]:
    """A new table with its constraints and indexes. The tables that its relations name must exist.

    `logged`: its changes go into the project's change log.
    """
    columns = [
        sql("id uuid not null constraint {} primary key", ident(names.primary_key(collection))),
        sql("rev bigint not null default 1"),
        sql("created_at timestamptz not null default now()"),
        sql("updated_at timestamptz not null default now()"),
        *(_column(field) for field in collection.fields),
    ]
    made = sql("create table {} ({})", table(collection), join(", ", columns))
    pieces = (piece for piece in _pieces(collection, predicate) if logged or piece.kind != "trigger")
    return [made, *(_logged(collection) if logged else ()), *(piece.create() for piece in pieces)]


def _logged(collection: Collection) -> list[Sql]:
    """Every change of a record is written into the change log by the table itself: no writer can forget it."""
    new, change = ident(collection.schema, "_log_new"), ident(collection.schema, "_log_change")
    return [
        sql(
            'create trigger "_log_new" after insert on {} referencing new table as new_rows'
            " for each statement execute function {}()",
            table(collection),
            new,
        ),
        sql(
            'create trigger "_log_change" after update or delete on {} for each row execute function {}()',
            table(collection),
            change,
        ),
    ]


def exclusive(collection: Collection) -> Sql:
    """Keep everybody else from the table until the transaction ends."""
    return sql("lock table {} in access exclusive mode", table(collection))


def drop(collection: Collection) -> list[Sql]:
    """The end of a table; refused by PostgreSQL while others link to it."""
    return [sql("drop table {} restrict", table(collection))]


def alter(old: Collection, new: Collection, renames: Mapping[str, str], predicate: Predicate) -> list[Sql]:
    """From `old` to `new`; `renames` maps old field names to new ones. What cannot be altered was refused before."""
    lost = dropped(old, new, renames)
    left = _without(old, lost)
    moved = _renamed(left, renames)
    left_pieces = {piece.name: piece.key for piece in _pieces(left, predicate)}
    # What a lost column stood in goes before the column, also where a piece of that name comes back without it.
    gone = [piece for piece in _pieces(old, predicate) if left_pieces.get(piece.name) != piece.key]
    lost_names = {piece.name for piece in gone}
    pairs = zip(_pieces(left, predicate), _pieces(moved, predicate), strict=True)
    before = {piece.name: piece for earlier, piece in pairs if earlier.name not in lost_names}
    after = {piece.name: piece for piece in _pieces(new, predicate)}
    kept = {name for name, piece in after.items() if name in before and before[name].key == piece.key}
    return [
        *(_drop_piece(old, piece) for piece in reversed(gone)),
        *_alter_table(old, [sql("drop column {}", ident(field.name)) for field in lost]),
        *_rename(left, moved, renames, predicate),
        *(_drop_piece(new, piece) for name, piece in reversed(before.items()) if name not in kept),
        *_alter_table(new, _column_changes(moved, new)),
        *(piece.create() for name, piece in after.items() if name not in kept),
    ]


def dropped(old: Collection, new: Collection, renames: Mapping[str, str]) -> tuple[Field, ...]:
    """The fields that end with their values: neither renamed nor still there under their name."""
    taken = set(renames.values())
    return tuple(
        field for field in old.fields if field.name not in renames and (new.field(field.name) is None or field.name in taken)
    )


def touched(old: Collection, new: Collection, renames: Mapping[str, str]) -> tuple[str, ...]:
    """The old names of columns that end, get another name or another type, or are written anew: what no view survives."""
    gone = {field.name for field in dropped(old, new, renames)} | set(renames)
    kept = ((field, new.field(field.name)) for field in old.fields if field.name not in gone)
    words = (_words(_renamed(old, renames)), _words(new))
    anew = (search.COLUMN,) if words[0] is not None and words[0] != words[1] else ()
    return (*gone, *(a.name for a, b in kept if b is not None and _type_of(a) != _type_of(b)), *anew)


def _words(collection: Collection) -> str | None:
    document = search.document(collection)
    return None if document is None else document.render().text


def _type_of(field: Field) -> str:
    return kind_of(field).column_type(field).render().text


def constant(field: Field, value: object) -> Sql:
    """A cleaned value as a typed literal, for a column's default."""
    cast = CASTS[kind_of(field).cast(field)]
    if isinstance(value, list):
        return sql("array[{}]::{}", join(", ", [literal(str(item)) for item in value]), cast)
    match value:
        case bool():
            text = "true" if value else "false"
        case float():
            text = repr(value)
        case Decimal():
            text = format(value, "f")
        case date() | datetime():
            text = value.isoformat()
        case _:
            text = str(value)
    return sql("{}::{}", literal(text), cast)


# Columns.


def _column(field: Field) -> Sql:
    parts = [ident(field.name), kind_of(field).column_type(field)]
    if field.default is not None:
        parts.append(sql("default {}", _default(field)))
    if field.required:
        parts.append(sql("not null"))
    return join(" ", parts)


def _default(field: Field) -> Sql:
    return constant(field, kind_of(field).clean(field, field.default))


def _column_changes(old: Collection, new: Collection) -> list[Sql]:
    clauses: list[Sql] = []
    for field in new.fields:
        before = old.field(field.name)
        clauses += [sql("add column {}", _column(field))] if before is None else _alter_column(before, field)
    return clauses


def _alter_table(collection: Collection, clauses: Sequence[Sql]) -> Iterator[Sql]:
    """All clauses in one statement, which is one look through the table."""
    if clauses:
        yield sql("alter table {} {}", table(collection), join(", ", clauses))


def _alter_column(old: Field, new: Field) -> Iterator[Sql]:
    column, before, after = ident(new.name), kind_of(old).column_type(old), kind_of(new).column_type(new)
    if before.render() != after.render():
        yield sql("alter column {} type {}", column, after)
    if old.default != new.default or (new.default is not None and old.type != new.type):
        yield (
            sql("alter column {} drop default", column)
            if new.default is None
            else sql("alter column {} set default {}", column, _default(new))
        )
    if old.required != new.required:
        yield sql("alter column {} set not null", column) if new.required else sql("alter column {} drop not null", column)


# Pieces.


def _pieces(collection: Collection, predicate: Predicate) -> list[Piece]:
    """In an order that two collections of equal shape share, which is how renamed pieces are paired."""
    pieces = [piece for field in collection.fields for piece in _field_pieces(collection, field)]
    indexes = (_index_piece(collection, index, predicate) for index in collection.indexes)
    return [*pieces, *indexes, *_search_pieces(collection), *_count_pieces(collection)]


def _count_pieces(collection: Collection) -> Iterator[Piece]:
    """A key that sets a relation to null changes a record without a statement of ours; the table counts its revision."""
    if any(target(field) is not None and field.options.get("on_delete") == "set_null" for field in collection.fields):
        made = sql(
            'create trigger "_count_change" before update on {} for each row when (new.rev = old.rev) execute function {}()',
            table(collection),
            ident(collection.schema, "_count_change"),
        )
        yield Piece("_count_change", (), "trigger", lambda: made)


def _field_pieces(collection: Collection, field: Field) -> Iterator[Piece]:
    column = ident(field.name)
    if field.unique:
        yield _constraint(collection, names.unique_key(collection, field), sql("unique ({})", column))
    fits = kind_of(field).fits(column, field)
    if fits is not None:
        yield _constraint(collection, names.check(collection, field), sql("check ({})", fits))
    linked = target(field)
    if linked is not None and not is_many(field):
        action = ON_DELETE[str(field.options["on_delete"])]
        references = sql("foreign key ({}) references {} (id) {}", column, ident(collection.schema, linked), action)
        yield _constraint(collection, names.foreign_key(collection, field), references)
        if not field.unique:
            name = names.foreign_key_index(collection, field)
            made = sql("create index {} on {} ({})", ident(name), table(collection), column)
            yield Piece(name, (field.name,), "index", lambda: made)
    elif linked is not None and "inverse" in field.options:
        # Who asks for the records that hold an id would else read them all.
        within = names.foreign_key_index(collection, field)
        yield Piece(
            within,
            (field.name, "gin"),
            "index",
            lambda: sql("create index {} on {} using gin ({})", ident(within), table(collection), column),
        )


def _constraint(collection: Collection, name: str, body: Sql) -> Piece:
    made = sql("alter table {} add constraint {} {}", table(collection), ident(name), body)
    return Piece(name, (body.render().text,), "constraint", lambda: made)


def _index_piece(collection: Collection, index: Index, predicate: Predicate) -> Piece:
    name = names.index(collection, index)

    def make() -> Sql:
        start = sql("create unique index {}", ident(name)) if index.unique else sql("create index {}", ident(name))
        made = sql("{} on {} {}", start, table(collection), _indexed(collection, index))
        return made if index.where is None else sql("{} where {}", made, predicate(collection, index))

    return Piece(name, (index.fields, index.unique, index.where, *_metric(collection, index)), "index", make)


def _indexed(collection: Collection, index: Index) -> Sql:
    field = collection.field(index.fields[0])
    if index.using == "gin" and field is not None:
        return sql("using gin ({})", ident(field.name))
    if index.using == "gist" and field is not None:
        return sql("using gist (({}))", as_point(ident(field.name)))
    if index.using == "hnsw" and field is not None:
        return sql("using hnsw ({} {})", ident(field.name), operators(field))
    if index.using == "trigram" and field is not None:
        return sql("using gin ({} {})", ident(field.name), ident(EXTENSIONS, "gin_trgm_ops"))
    return sql("({})", join(", ", [_index_column(collection, one) for one in index.fields]))


def _metric(collection: Collection, index: Index) -> tuple[object, ...]:
    field = collection.field(index.fields[0]) if index.using == "hnsw" else None
    return () if field is None else (field.options["metric"],)


def _index_column(collection: Collection, name: str) -> Sql:
    """Descending lists put null last, so an index serves them only when it says the same; without nulls it need not say it."""
    if not name.startswith("-"):
        return ident(name)
    field = collection.field(name[1:])
    nullable = field is not None and not field.required
    return sql("{} desc nulls last", ident(name[1:])) if nullable else sql("{} desc", ident(name[1:]))


def _search_pieces(collection: Collection) -> Iterator[Piece]:
    """The column that a search looks at, its index, and the one that forgives typos."""
    document = search.document(collection)
    if document is None:
        return
    column = sql("{} tsvector generated always as ({}) stored", ident(search.COLUMN), document)
    added = sql("alter table {} add column {}", table(collection), column)
    yield Piece(search.COLUMN, (document.render().text,), "column", lambda: added)
    name = names.search_index(collection)
    made = sql("create index {} on {} using gin ({})", ident(name), table(collection), ident(search.COLUMN))
    yield Piece(name, (document.render().text,), "index", lambda: made)
    beginnings = search.beginnings(collection)
    if beginnings is not None:
        forgiving = names.typos_index(collection)
        operators = ident(EXTENSIONS, "gin_trgm_ops")
        index = sql("create index {} on {} using gin (({}) {})", ident(forgiving), table(collection), beginnings, operators)
        yield Piece(forgiving, (beginnings.render().text,), "index", lambda: index)


def _drop_piece(collection: Collection, piece: Piece) -> Sql:
    if piece.kind == "column":
        return sql("alter table {} drop column {}", table(collection), ident(piece.name))
    if piece.kind == "trigger":
        return sql("drop trigger {} on {}", ident(piece.name), table(collection))
    if piece.kind == "index":
        return sql("drop index {}", ident(collection.schema, piece.name))
    return sql("alter table {} drop constraint {}", table(collection), ident(piece.name))


# Renaming.


def _without(old: Collection, lost: Sequence[Field]) -> Collection:
    """`old` after these fields and the indexes over them have gone."""
    gone = {field.name for field in lost}
    fields = tuple(field for field in old.fields if field.name not in gone)
    indexes = tuple(index for index in old.indexes if not gone & {name.removeprefix("-") for name in index.fields})
    return replace(old, fields=fields, indexes=indexes)


def _renamed(old: Collection, renames: Mapping[str, str]) -> Collection:
    """`old` with its fields under their new names. A condition is text and cannot follow, so it counts as another one."""
    if not renames:
        return old
    fields = tuple(replace(field, name=renames.get(field.name, field.name)) for field in old.fields)
    indexes = tuple(
        replace(index, fields=tuple(_follow(name, renames) for name in index.fields), where=index.where and f"\n{index.where}")
        for index in old.indexes
    )
    return replace(old, fields=fields, indexes=indexes)


def _follow(name: str, renames: Mapping[str, str]) -> str:
    bare = name.removeprefix("-")
    return name[: len(name) - len(bare)] + renames.get(bare, bare)


def _rename(old: Collection, moved: Collection, renames: Mapping[str, str], predicate: Predicate) -> Iterator[Sql]:
    """Columns by way of names that no field can have, because two of them may change places; then the pieces alike."""
    yield from _by_way(
        list(renames.items()), lambda a, b: sql("alter table {} rename column {} to {}", table(old), ident(a), ident(b))
    )
    pairs = [(a, b.name) for a, b in zip(_pieces(old, predicate), _pieces(moved, predicate), strict=True) if a.name != b.name]
    constraints = [(a.name, b) for a, b in pairs if a.kind == "constraint"]
    yield from _by_way(constraints, lambda a, b: sql("alter table {} rename constraint {} to {}", table(old), ident(a), ident(b)))
    indexes = [(a.name, b) for a, b in pairs if a.kind == "index"]
    yield from _by_way(indexes, lambda a, b: sql("alter index {} rename to {}", ident(old.schema, a), ident(b)))


def _by_way(pairs: Sequence[tuple[str, str]], rename: Callable[[str, str], Sql]) -> Iterator[Sql]:
    """Those that aim at a name which is still taken step aside first and go there last."""
    taken = {source for source, _ in pairs}
    detours = [(source, f"${number}", aim) for number, (source, aim) in enumerate(pairs) if aim in taken]
    yield from (rename(source, way) for source, way, _ in detours)
    yield from (rename(source, aim) for source, aim in pairs if aim not in taken)
    yield from (rename(way, aim) for _, way, aim in detours)
