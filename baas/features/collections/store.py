"""All SQL of the room: the change of a schema, and what it would meet in the table."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from baas.engines.schema import ddl
from baas.engines.schema.collection import Collection, Field, Index
from baas.engines.schema.fields import kind_of
from baas.engines.schema.validate import index_bytes
from baas.features.collections.model import Impact
from baas.infra.db import readers
from baas.infra.db.pool import Queries, Transaction
from baas.infra.db.sql import Sql, ident, join, literal, sql


@dataclass(frozen=True, slots=True)
class Questions:
    """What to count before a change, by names of the old table's columns; the keys of the answers are the new names."""

    lost: Sequence[Field]
    missing: Mapping[str, str]
    unfit: Mapping[str, tuple[str, Field]]
    too_long: Mapping[str, tuple[str, int]]
    unique: Mapping[tuple[str, ...], tuple[tuple[str, ...], Sql | None]]

    def __bool__(self) -> bool:
        return bool(self.lost or self.missing or self.unfit or self.too_long or self.unique)


async def let_reader_read(tx: Transaction, new: Collection, collections: Mapping[str, Collection]) -> None:
    """What rules over the rows of views may enter: a project that has views has a reader, which reads every collection."""
    if any(one.view is not None for one in collections.values()):
        await readers.let_read(tx, new.schema, [new.name])


async def run(tx: Queries, statements: Iterable[Sql]) -> None:
    """Statements of `ddl`, in order."""
    for statement in statements:
        await tx.execute(statement)


async def count(tx: Queries, collection: Collection) -> int:
    """How many records there are."""
    number: int = await tx.fetch_value(sql("select count(*) from {}", ddl.table(collection)))
    return number


async def impact(tx: Queries, old: Collection, questions: Questions) -> Impact:
    """Answers to the questions; nobody can write to the table from here to the end of the transaction, everybody can read."""
    await tx.execute(sql("lock table {} in share row exclusive mode", ddl.table(old)))
    columns = [sql("count(*)"), *_counts(questions)]
    row = await tx.fetch_row(sql("select array[{}]::bigint[] as n from {} t", join(", ", columns), ddl.table(old)))
    numbers = iter(row["n"] if row else ())
    return Impact(
        records=next(numbers),
        lost={field.name: next(numbers) for field in questions.lost},
        missing={name: next(numbers) for name in questions.missing},
        unfit={name: next(numbers) for name in questions.unfit},
        too_long={name: next(numbers) for name in questions.too_long},
        duplicates={name: await _duplicates(tx, old, *asked) for name, asked in questions.unique.items()},
    )


def _counts(questions: Questions) -> Iterable[Sql]:
    """In the order in which `impact` reads them."""
    for field in questions.lost:
        yield sql("count({})", ident(field.name))
    for column in questions.missing.values():
        # A field without a column yet is missing everywhere.
        yield sql("count(*) filter (where {} is null)", ident(column)) if column else sql("count(*)")
    for column, field in questions.unfit.values():
        fits = kind_of(field).fits(ident(column), field)
        yield sql("count(*) filter (where not ({}))", fits or literal(True))
    for column, most in questions.too_long.values():
        yield sql("count(*) filter (where octet_length({}) > {})", ident(column), literal(most))


async def _duplicates(tx: Queries, old: Collection, columns: tuple[str, ...], where: Sql | None) -> int:
    names = [ident(column) for column in columns]
    present = join(" and ", [sql("{} is not null", name) for name in names])
    condition = present if where is None else sql("{} and ({})", present, where)
    groups = sql("select 1 from {} where {} group by {} having count(*) > 1", ddl.table(old), condition, join(", ", names))
    number: int = await tx.fetch_value(sql("select count(*) from ({}) g", groups))
    return number


def questions(old: Collection, new: Collection, renames: Mapping[str, str], condition: ddl.Predicate) -> Questions:
    """What the change from `old` to `new` depends on; nothing is asked about what stays as it is."""
    lost = ddl.dropped(old, new, renames)
    kept = {renames.get(field.name, field.name): field for field in old.fields if field not in lost}
    return Questions(
        lost=lost,
        missing=dict(_missing(kept, new)),
        unfit=dict(_unfit(kept, new)),
        too_long=dict(_too_long(old, kept, new)),
        unique=dict(_unique(old, kept, new, renames, condition)),
    )


def _missing(kept: Mapping[str, Field], new: Collection) -> Iterable[tuple[str, str]]:
    for field in new.fields:
        before = kept.get(field.name)
        if field.required and before is None and field.default is None:
            yield field.name, ""
        elif field.required and before is not None and not before.required:
            yield field.name, before.name


def _unfit(kept: Mapping[str, Field], new: Collection) -> Iterable[tuple[str, tuple[str, Field]]]:
    for field in new.fields:
        before = kept.get(field.name)
        if before is not None and before.options != field.options and kind_of(field).fits(ident(before.name), field):
            yield field.name, (before.name, field)


def _too_long(old: Collection, kept: Mapping[str, Field], new: Collection) -> Iterable[tuple[str, tuple[str, int]]]:
    for field in new.fields:
        before = kept.get(field.name)
        most = index_bytes(new, field.name)
        if before is None or most is None or str(kind_of(field).cast(field)) != "text":
            continue
        was = index_bytes(old, before.name)
        if was is None or was > most:
            yield field.name, (before.name, most)


def _unique(
    old: Collection, kept: Mapping[str, Field], new: Collection, renames: Mapping[str, str], condition: ddl.Predicate
) -> Iterable[tuple[tuple[str, ...], tuple[tuple[str, ...], Sql | None]]]:
    for field in new.fields:
        before = kept.get(field.name)
        if field.unique and before is not None and not before.unique:
            yield (field.name,), ((before.name,), None)
    for index in new.indexes:
        names = tuple(name.removeprefix("-") for name in index.fields)
        columns = tuple(kept[name].name if name in kept else name for name in names)
        if index.unique and index not in old.indexes and _is_countable(index, names, kept, new, renames):
            yield names, (columns, None if index.where is None else condition(old, index))


def _is_countable(
    index: Index, names: Sequence[str], kept: Mapping[str, Field], new: Collection, renames: Mapping[str, str]
) -> bool:
    """Whether the old table has every column, under the name that the condition uses; else PostgreSQL itself is the judge."""
    there = all(name in kept or new.field(name) is None for name in names)
    return there and (index.where is None or (not renames and len(kept) == len(new.fields)))
