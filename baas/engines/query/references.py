"""What a written record points to must be there, and be visible to a caller under rules: checked inside the same statement.

A record is visible by the view rule of its collection. The rules of buckets are known to the rooms above alone, so of files a
caller under rules may name those of public buckets and those that he uploaded himself: less than he may see, never more.
"""

from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass

from baas.engines.query.asking import ALWAYS, CALLER, Asking, Judgement
from baas.engines.query.rows import rows
from baas.engines.query.table import Column, Table
from baas.infra.db.sql import Sql, ident, sql

OWN_OR_PUBLIC = Judgement("own or public", None)


@dataclass(frozen=True, slots=True)
class Reference:
    """A field that names records or files. `seen` says which of them the caller sees, `target` is None for files."""

    column: Column
    target: Table | None
    seen: Judgement
    schema: str

    @property
    def key(self) -> Hashable:
        return (self.column.name, self.seen.key)

    @property
    def needed(self) -> bool:
        """Whether there is something to check that the foreign key does not."""
        return self.target is None or self.column.many or self.seen.verdict is not True

    def holds(self, new: Sql, old: Sql | None) -> Sql:
        """True when every target that the value `new` has and `old` has not is there and visible."""
        if self.column.many:
            return self._all_hold(new, old)
        unchanged = sql(" or {} is not distinct from {}", new, old) if old is not None else sql("")
        return sql("({} is null{} or exists ({}))", new, unchanged, self._found(new))

    def lost(self, new: Sql, old: Sql | None) -> Sql:
        """Where such a target is missing, as `losses` reads it; null where there is none."""
        if not self.column.many:
            return sql("(case when {} then null else '' end)", self.holds(new, old))
        found = sql("string_agg('/' || (item.at - 1), ',' order by item.at)")
        return sql("(select {} from unnest({}) with ordinality item(value, at) where {})", found, new, self._is_lost(old))

    def _all_hold(self, new: Sql, old: Sql | None) -> Sql:
        return sql("not exists (select from unnest({}) item(value) where {})", new, self._is_lost(old))

    def _is_lost(self, old: Sql | None) -> Sql:
        item = ident("item", "value")
        added = sql(" and not coalesce({} = any ({}), false)", item, old) if old is not None else sql("")
        return sql("not exists ({}){}", self._found(item), added)

    def _found(self, value: Sql) -> Sql:
        if self.target is None:
            return self._found_file(value)
        visible = self.seen.where(rows(self.target, record="target"))
        return sql("select from {} target where target.id = {} and {}", self.target.sql, value, visible)

    def _found_file(self, value: Sql) -> Sql:
        bucket = str(self.column.field.options["bucket"]) if self.column.field else ""
        files, buckets = ident(self.schema, "_files"), ident(self.schema, "_buckets")
        found = sql("select from {} target where target.bucket = {}::text and target.path = {}", files, bucket, value)
        if self.seen.verdict:
            return found
        own = sql("target.owner = {}::uuid", CALLER)
        public = sql("exists (select from {} bucket where bucket.name = target.bucket and bucket.public)", buckets)
        return sql("{} and ({} or {})", found, own, public)


def references(table: Table, names: Iterable[str], asking: Asking) -> tuple[Reference, ...]:
    """What must be checked when these fields are written by this caller."""
    found = []
    for column in table.references(names):
        target = table.target(column)
        files = OWN_OR_PUBLIC if asking.judged else ALWAYS
        # A key may name a record that it has no scope to read: the foreign key says whether it is there.
        seen = files if target is None else asking.judge(target, "view") if asking.judged else ALWAYS
        reference = Reference(column, target, seen, table.collection.schema)
        if reference.needed:
            found.append(reference)
    return tuple(found)


def losses(text: str | None) -> list[tuple[int, str]]:
    """Of what a `why_…` statement says of a reference: the places from 0 of the rows that miss a target, and where within the
    field that is: `""`, or the place in its list as a pointer.
    """
    rows = (row.partition(":") for row in text.split(" ")) if text else ()
    return [(int(at), item) for at, _, items in rows for item in items.split(",")]


def lost_targets(
    targets: Sequence[str | None], names: Sequence[str], *, many: bool = False, whole: Collection[str] = ()
) -> list[str]:
    """Pointers to what points to nothing, in the order of the records; of the `whole` fields only the field is named."""
    found = [
        (row, (f"/{row}" if many else "") + f"/{name}" + ("" if name in whole else item))
        for name, text in zip(names, targets, strict=True)
        for row, item in losses(text)
    ]
    return list(dict.fromkeys(pointer for _, pointer in sorted(found, key=lambda one: one[0])))
