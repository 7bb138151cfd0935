"""One statement that puts every part of a rule to rows: what is true, what false, what neither, and the values behind it.

It only reads. The rows are found as the statement of the action itself finds them: `record` in the table, `next` in what the
caller sends, so that an explanation cannot differ from what happens.
"""

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from baas.base.places import Geo
from baas.engines.query.asking import Asking
from baas.engines.query.compile import one_row
from baas.engines.query.rows import RowsOf, rows
from baas.engines.query.table import Column, Table
from baas.engines.query.text import Slot, Template
from baas.engines.query.tree import Values
from baas.engines.query.written import Written
from baas.engines.rules.explain import Part, Wanted
from baas.engines.rules.rule import Facts, Folded
from baas.engines.schema.collection import Action
from baas.infra.db.sql import Sql, Statement, ident, join, literal, sql

MAX_ROWS = 1_000
_MAX_STORED = 4 * 1024 * 1024  # bytes of other records, as they are stored, that one question reads at once
_MAX_BYTES = 192 * 1024  # of text; parts beyond it are judged in memory alone
_ID = sql("r.id::text as id")


@dataclass(frozen=True, slots=True)
class Judged:
    """One row of the answer: the record (None of a create), the next row (None unless written), what the database said.

    `seen`: whether the caller's view rule holds for the record, None where that was not asked. Rows are as rules see them.
    """

    id: str | None
    record: Mapping[str, object] | None
    next: Mapping[str, object] | None
    seen: bool | None
    verdicts: Mapping[int, bool | None]

    def answer(self, part: Part) -> "bool | Literal['not asked'] | None":
        """What the database said of a condition."""
        return self.verdicts.get(part.number, "not asked")


class Probe:
    """The question about one rule for one caller. `values` are those of a create or an update, cleaned, the id included."""

    def __init__(
        self, table: Table, action: Action, part: Part, asking: Asking, *, facts: Facts, values: Values | None = None
    ) -> None:
        self._table = table
        self._action = action
        self._asking = asking
        self._values = values or {}
        self._written = Written(table, self._values)
        # Only conditions: a value need not have SQL of its own (the records that a path leads to have none).
        self._folded: dict[int, tuple[Part, Folded]] = {
            one.number: (one, one.rule.fold(facts)) for one in part.walk() if one.is_condition and not one.rule.tree.free
        }
        self._asked: set[int] = set()
        # The id leads to the records that point to this one.
        self._names = {root: sorted({"id"} | {name for at, name in part.rule.names if at == root}) for root in ("record", "next")}

    def statement(self, record: UUID | None) -> Statement:
        """About one record, or (None) about the new one of a create, else about the first thousand by id."""
        selected = join(", ", [*self._identity(), *self._rows(), *self._rails()])
        text = Template(sql("select {} from {}", selected, self._source(record)))
        leaves: dict[Hashable, Sequence[object]] = dict(self._asking.leaves)
        leaves |= {("part", number): folded.values for number, (_, folded) in self._folded.items()}
        return text.bind(self._slots(record), leaves)

    def rule_text(self) -> Statement | None:
        """The condition that decides, alone, as the action's own statement has it; None where no row can change it."""
        if 0 not in self._folded:
            return None
        part, folded = self._folded[0]
        if folded.verdict is not None:
            return None
        return Template(part.rule.where(folded.shape, self._found_in(), "rule")).bind({}, {"rule": folded.values})

    def read(self, row: Mapping[str, Any]) -> Judged:
        """What one row of the answer says."""
        return Judged(
            id=row.get("id"),
            record=None if self._action == "create" else self._row(row, "record"),
            next=self._row(row, "next") if self._action in ("create", "update") else None,
            seen=row.get("seen"),
            verdicts={number: _verdict(row, number) for number in self._asked},
        )

    # The statement

    def _source(self, record: UUID | None) -> Sql:
        if self._action == "create":
            return one_row(self._table)
        found = sql("{} r", self._table.sql)
        if self._action == "update":
            found = sql("{}, {}", found, self._written.row())
        if record is not None:
            return sql("{} where r.id = {}::uuid", found, Slot("the record"))
        return sql("{} order by r.id limit {}", found, literal(MAX_ROWS))

    def _slots(self, record: UUID | None) -> Mapping[Hashable, object]:
        now = self._asking.now
        slots: dict[Hashable, object] = {name: self._values.get(name) for name in self._table.columns}
        return slots | self._written.slots(now) | {"rev": 1, "created_at": now, "the record": record}

    def _found_in(self) -> RowsOf:
        match self._action:
            case "create":
                return rows(self._table, next="n")
            case "update":
                return self._written.rows()
        return rows(self._table, record="r")

    def _identity(self) -> list[Sql]:
        if self._action == "create":
            return [sql("n.id::text as id")]
        if self._action in ("list", "view"):
            return [_ID]
        view = self._asking.judge(self._table, "view").where(rows(self._table, record="r"))
        return [_ID, sql("coalesce({}, false) as seen", view)]

    def _rows(self) -> list[Sql]:
        found = self._found_in()
        roots = {"create": ("next",), "update": ("record", "next")}.get(self._action, ("record",))
        return [
            sql("{} as {}", found.column(root, name), ident(f"{root[0]}_{at}"))
            for root in roots
            for at, name in enumerate(self._names[root])
        ]

    def _rails(self) -> list[Sql]:
        made: list[Sql] = []
        spent = 0
        for number, (part, folded) in self._folded.items():
            rails = self._rails_of(part, folded)
            size = sum(len(rail.render().text) for rail in rails)
            if number and spent + size > _MAX_BYTES:
                continue
            spent += size
            made += rails
            self._asked.add(number)
        return made

    def _rails_of(self, part: Part, folded: Folded) -> list[Sql]:
        found, source, number = self._found_in(), ("part", part.number), part.number
        true = part.rule.where(folded.shape, found, source)
        false = part.rule.unless(folded.shape, found, source)
        return [sql("({}) as {}", true, ident(f"t{number}")), sql("({}) as {}", false, ident(f"f{number}"))]

    # The answer

    def _row(self, row: Mapping[str, Any], root: str) -> Mapping[str, object]:
        names = self._names[root]
        return {name: in_rules(self._table.columns[name], row[f"{root[0]}_{at}"]) for at, name in enumerate(names)}


def _verdict(row: Mapping[str, Any], number: int) -> bool | None:
    return True if row[f"t{number}"] is True else False if row[f"f{number}"] is True else None


def neighbours(table: Table, wanted: Wanted, names: Iterable[str]) -> Sql:
    """Up to a thousand and one records of another collection, these columns as rules see them: see `Neighbours`.

    `beyond` is true of those that are too much to read, all of them together; their columns are null.
    """
    _, field, record = wanted
    cells = ((table.columns[name], name) for name in names)
    columns = join(
        ", ",
        (
            sql("case when r._size <= {} then {} end as {}", literal(_MAX_STORED), column.in_rules(column.of("r")), ident(name))
            for column, name in cells
        ),
    )
    where = sql("true")
    if field:
        column = table.columns[field]
        where = sql("{} @> array[{}::uuid]" if column.many else "{} = {}::uuid", column.of("r"), record)
    elif record:
        where = sql("r.id = {}::uuid", record)
    return sql(
        "select {}, r._size > {} as beyond from (select r.*, sum(pg_column_size(r.*)) over (order by r.id) as _size"
        " from {} r where {} order by r.id limit {}) r",
        columns,
        literal(_MAX_STORED),
        table.sql,
        where,
        literal(MAX_ROWS + 1),
    )


def neighbour(table: Table, row: Mapping[str, Any]) -> Mapping[str, object]:
    """One of them, as memory takes it."""
    return {name: in_rules(table.columns[name], value) for name, value in row.items() if name != "beyond"}


def in_rules(column: Column, value: object) -> object:
    """What the driver read of a column, as the evaluator in memory takes it."""
    if value is None:
        return None
    if column.cast == "uuid":
        return str(value)
    if column.cast == "uuid[]" and isinstance(value, list):
        return [str(item) for item in value]
    if column.cast == "geo_point":
        return Geo(value["lat"], value["lon"])  # type: ignore[index]  # the driver's record
    if column.cast == "jsonb":
        return json.loads(str(value), parse_float=Decimal)
    return value
