"""What the `validate` of a field demands of a written record: part of the same statement as the write, for every caller.

An absent value is not asked about, unless the expression speaks of null itself. What is neither true nor false does not hold.
Of a new record everything that `record` has is null. A change asks those expressions that name a field which it writes.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Literal

from baas.base.errors import Fault
from baas.engines.query.asking import Asking, Judgement
from baas.engines.query.rows import RowsOf
from baas.engines.query.table import Table
from baas.engines.schema.collection import Field
from baas.infra.db.sql import Sql, ident, sql

WRITTEN_ALWAYS = ("rev", "updated_at")
_GENERIC = "Is not a value that this field takes."


@dataclass(frozen=True, slots=True)
class Validation:
    """The demand of one field, with the caller's facts in it."""

    field: Field
    judgement: Judgement
    asks_null: bool
    reads: frozenset[str]

    @property
    def key(self) -> Hashable:
        return (self.field.name, self.judgement.key)

    def holds(self, rows: RowsOf) -> Sql:
        """True or false, never null."""
        held = sql("coalesce({}, false)", self.judgement.where(rows))
        return held if self.asks_null else sql("({} is null or {})", rows.column("next", self.field.name), held)

    def fault(self, at: str = "", *, masked: bool) -> Fault:
        """The demand as not met, by the record at this pointer. A `masked` caller learns neither of a field that is hidden from
        him nor what the expression compares with.
        """
        said = self.field.validate_message or (_GENERIC if masked else f"Must satisfy: {self.field.validate}")
        return Fault(at if masked and self.field.hidden else f"{at}/{self.field.name}", "validation_failed", said)


def validations(
    table: Table, asking: Asking, action: Literal["create", "update"], changed: Iterable[str] | None = None
) -> tuple[Validation, ...]:
    """What must hold when these fields are written, all of them for a new record (`changed` None), in the order of the fields."""
    written = None if changed is None else frozenset((*changed, *WRITTEN_ALWAYS))
    found = []
    for demand in table.demands():
        if written is None or written & demand.reads:
            judgement = asking.validate(table, demand.field.name, action)
            if judgement.verdict is not True:
                found.append(Validation(demand.field, judgement, demand.asks_null, demand.reads))
    return tuple(found)


def new_row(table: Table, alias: str) -> RowsOf:
    """The rows of a create for a validation: `next` has this alias, and `record` is null throughout."""

    def column(root: str, name: str) -> Sql:
        found = table.columns[name]
        return found.in_rules(ident(alias, name) if root == "next" else found.typed(sql("null")))

    return RowsOf(column, table.other)
