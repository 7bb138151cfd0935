"""Which of many new records violate a constraint: PostgreSQL names the constraint and stops at the first of them.

Asked once a write was refused, of values that the caller sent, about what the refusal told him already.
"""

from collections.abc import Hashable, Sequence

from baas.engines.query.asking import Asking
from baas.engines.query.compile import many_rows, many_rows_slots, names_of, unpacked
from baas.engines.query.table import Table
from baas.engines.query.text import Kept, Template
from baas.engines.query.tree import Values
from baas.engines.schema.constraints import Violation
from baas.infra.db.sql import Sql, Statement, ident, join, sql


class Collisions:
    """Makes the statements and keeps their text. One row: `places`, the positions from 1 of the records, null for none."""

    def __init__(self, *, texts: int = 100) -> None:
        self._texts: Kept[Template] = Kept(texts)

    def statement(
        self, table: Table, rows: tuple[Values, ...], asking: Asking, violation: Violation, key: Sequence[str] = ()
    ) -> Statement | None:
        """None where they cannot be told: of an index over a part of the records, of what links to them.

        `key`: a stored record with the same values there is the one that is changed.
        """
        fields = violation.fields
        if violation.kind == "unique":
            if not _is_whole(table, fields):
                return None
            wrong = _taken(table, fields, key)
        elif violation.kind == "reference" and violation.collection.name == table.name and len(fields) == 1:
            target = table.target(table.columns[fields[0]])
            if target is None:
                return None
            wrong = _missing(table, target, fields[0])
        else:
            return None
        name: Hashable = ("collisions", table.key, violation.kind, fields, tuple(key))

        def make() -> Template:
            return Template(
                sql(
                    "with n as materialized (select {} from {}), seen as (select n.*, row_number() over (partition by {}"
                    " order by n._position) as _turn from n)"
                    " select array_agg(n._position order by n._position)::text as places from seen n where {}",
                    unpacked(table),
                    many_rows(table),
                    names_of(fields, "n"),
                    wrong,
                )
            )

        return self._texts.get(name, make).bind(many_rows_slots(table, rows, asking), asking.leaves)


def _is_whole(table: Table, fields: tuple[str, ...]) -> bool:
    """Whether these fields are unique among all records."""
    field = table.collection.field(fields[0]) if len(fields) == 1 else None
    if fields == ("id",) or (field is not None and field.unique):
        return True
    whole = (index for index in table.collection.indexes if index.unique and not index.where)
    names = [[one.removeprefix("-") for one in index.fields] for index in whole]
    return list(fields) in names


def _taken(table: Table, fields: tuple[str, ...], key: Sequence[str]) -> Sql:
    """By a stored record, or by one of these that stands before. What is null is like nothing else."""
    given = join(" and ", (sql("{} is not null", ident("n", name)) for name in fields))
    stored = [sql("{} = {}", ident("r", name), ident("n", name)) for name in fields]
    if key:
        stored.append(sql("not ({})", join(" and ", (sql("{} = {}", ident("r", name), ident("n", name)) for name in key))))
    return sql("{} and (n._turn > 1 or exists (select from {} r where {}))", given, table.sql, join(" and ", stored))


def _missing(table: Table, target: Table, name: str) -> Sql:
    """Neither stored nor, where records link to others of their kind, among these."""
    value = ident("n", name)
    among = sql(" and not exists (select from n m where m.id = {})", value) if target.name == table.name else sql("")
    return sql("{} is not null and not exists (select from {} t where t.id = {}){}", value, target.sql, value, among)
