"""Where expressions find their rows: the columns of one table under an alias, and every other collection of the project.

Rules enter any record. What a client asks for (`asking` given) enters only records that he could list, and reads of them only the
fields that he could read: both conditions stand inside the sub-select, so a record out of sight is as good as none.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from baas.engines.query.asking import Asking, Judgement
from baas.engines.query.table import Table
from baas.engines.rules.operands import Condition
from baas.infra.db.sql import Sql, ident

Columns = Callable[[str, str], Sql]
Tables = Callable[[str], Table | None]


@dataclass(frozen=True, slots=True)
class EnteredTable:
    """A collection under an alias."""

    of: Table
    alias: str
    asking: Asking | None

    @property
    def table(self) -> Sql:
        return self.of.sql

    @property
    def visible(self) -> Condition:
        return True if self.asking is None else _condition(self.asking.judge(self.of, "list"), self.of, self.alias)

    def column(self, name: str) -> Sql:
        return self.of.columns[name].in_rules(ident(self.alias, name))

    def readable(self, name: str) -> Condition:
        return True if self.asking is None else _condition(self.asking.may_read(self.of, name), self.of, self.alias)


@dataclass(frozen=True, slots=True)
class RowsOf:
    """The rows of one statement. `columns(root, field)` is the SQL of a field; `tables` finds the other collections."""

    columns: Columns
    tables: Tables
    mine: EnteredTable | None = None
    shares: bool = False

    def column(self, root: str, name: str) -> Sql:
        return self.columns(root, name)

    def readable(self, root: str, name: str) -> Condition:
        return True if self.mine is None else self.mine.readable(name)

    def enter(self, collection: str, alias: str) -> EnteredTable:
        table = self.tables(collection)
        if table is None:
            raise LookupError(collection)
        return EnteredTable(table, alias, None if self.mine is None else self.mine.asking)


def rows(table: Table, **aliases: str) -> RowsOf:
    """For a rule: `record` or `next` is the row with this alias."""
    return RowsOf(lambda root, name: table.columns[name].in_rules(ident(aliases[root], name)), table.other)


def sharing(found: RowsOf) -> RowsOf:
    """For the rule of a write: the records that a condition is true by are kept from changing until the write is done."""
    return replace(found, shares=True)


def clients_rows(table: Table, alias: str, asking: Asking) -> RowsOf:
    """For a client's expression: `record` is the row with this alias."""
    mine = EnteredTable(table, alias, asking)
    return RowsOf(lambda _root, name: mine.column(name), table.other, mine)


def _condition(judgement: Judgement, table: Table, alias: str) -> Condition:
    if judgement.verdict is not None:
        return judgement.verdict
    return judgement.where(rows(table, record=alias), scope=alias)
