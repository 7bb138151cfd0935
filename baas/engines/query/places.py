"""The places where the expressions of a collection meet its rows, as the statement of the action itself finds them: `record` in
the table, `next` in what the caller sends, so that an explanation cannot differ from what happens.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from uuid import UUID

from baas.engines.query.asking import Asking
from baas.engines.query.compile import one_row
from baas.engines.query.probe import MAX_ROWS, Place
from baas.engines.query.rows import RowsOf, rows
from baas.engines.query.table import Table
from baas.engines.query.text import Slot
from baas.engines.query.tree import Values
from baas.engines.query.validations import new_row
from baas.engines.query.written import Written
from baas.engines.schema.collection import Action, Field
from baas.infra.db.sql import Sql, literal, sql

_RECORD, _BOTH = ("record",), ("record", "next")
_LINKS = frozenset({"id"})
"""The id leads to the records that point to this one."""


@dataclass(frozen=True, slots=True)
class Question:
    """An action on a collection's records, by one caller. `values` are those of a create or update, cleaned, the id included."""

    table: Table
    action: Action
    asking: Asking
    values: Values | None = None

    @property
    def written(self) -> Written:
        return Written(self.table, self.values or {})


def of_rule(asked: Question, record: UUID | None) -> Place:
    """For the rule of the action: one record, or (None) the new one of a create, else the first thousand by id."""
    roots = {"create": ("next",), "update": _BOTH}.get(asked.action, _RECORD)
    return _place(asked, record, _found_in(asked), roots)


def of_read(asked: Question, record: UUID | None) -> Place:
    """For the `read` of a field, asked of a record that is viewed or listed; `seen` says whether it is at all."""
    seen = _holds(asked, asked.action)
    return _place(asked, record, rows(asked.table, record="r"), _RECORD, identity=[_id("r"), seen])


def of_validation(asked: Question, record: UUID | None, field: Field) -> Place:
    """For the `validate` of a field, asked of what a create or an update makes."""
    found = new_row(asked.table, "n") if asked.action == "create" else asked.written.rows()
    return _place(asked, record, found, _BOTH, more=_LINKS | {field.name})


def _place(  # noqa: PLR0917  what a place is made of
    asked: Question,
    record: UUID | None,
    found: RowsOf,
    roots: tuple[str, ...],
    identity: list[Sql] | None = None,
    more: frozenset[str] = _LINKS,
) -> Place:
    chosen = _identity(asked) if identity is None else identity
    columns, leaves = asked.table.columns, asked.asking.leaves
    return Place(found, columns, _source(asked, record), chosen, roots, _slots(asked, record), leaves, more)


def _source(asked: Question, record: UUID | None) -> Sql:
    if asked.action == "create":
        return one_row(asked.table)
    found = sql("{} r", asked.table.sql)
    if asked.action == "update":
        found = sql("{}, {}", found, asked.written.row())
    if record is not None:
        return sql("{} where r.id = {}::uuid", found, Slot("the record"))
    return sql("{} order by r.id limit {}", found, literal(MAX_ROWS))


def _slots(asked: Question, record: UUID | None) -> Mapping[Hashable, object]:
    now, values = asked.asking.now, asked.values or {}
    slots: dict[Hashable, object] = {name: values.get(name) for name in asked.table.columns}
    return slots | asked.written.slots(now) | {"rev": 1, "created_at": now, "the record": record}


def _found_in(asked: Question) -> RowsOf:
    match asked.action:
        case "create":
            return rows(asked.table, next="n")
        case "update":
            return asked.written.rows()
    return rows(asked.table, record="r")


def _identity(asked: Question) -> list[Sql]:
    if asked.action == "create":
        return [_id("n")]
    if asked.action in ("list", "view"):
        return [_id("r")]
    return [_id("r"), _holds(asked, "view")]


def _holds(asked: Question, action: Action) -> Sql:
    condition = asked.asking.judge(asked.table, action).where(rows(asked.table, record="r"))
    return sql("coalesce({}, false) as seen", condition)


def _id(alias: str) -> Sql:
    return sql("r.id::text as id") if alias == "r" else sql("n.id::text as id")
