"""One statement that puts every part of an expression to rows: what is true, what false, what neither, and the values behind it.

It only reads. Where the rows are found is the business of those who know the statement of the action itself: of records
`query/places.py`, of files their own room.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from baas.engines.query.rows import RowsOf
from baas.engines.query.table import Column, Table
from baas.engines.query.text import Template
from baas.engines.rules.explain import Part, Wanted
from baas.engines.rules.rule import Facts, Folded
from baas.infra.db.sql import Sql, Statement, ident, join, literal, sql

MAX_ROWS = 1_000
_MAX_STORED = 4 * 1024 * 1024  # bytes of other records, as they are stored, that one question reads at once
_MAX_BYTES = 192 * 1024  # of text; parts beyond it are judged in memory alone


@dataclass(frozen=True, slots=True)
class Judged:
    """One row of the answer: the record and the next row (None where there is none), what the database said.

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


@dataclass(frozen=True, slots=True)
class Place:
    """Where an expression meets its rows. `source` stands behind FROM and leads to the end of the statement; `identity` is
    selected beside what the expression reads: `id`, and `seen` where that is asked. `roots` are those of `record` and `next`
    that there are; `columns` tell how memory takes a value, and `more` is read of each root in any case.
    """

    rows: RowsOf
    columns: Mapping[str, Column]
    source: Sql
    identity: Sequence[Sql]
    roots: Sequence[str]
    slots: Mapping[Hashable, object]
    leaves: Mapping[Hashable, Sequence[object]]
    more: frozenset[str] = frozenset()


class Probe:
    """The question about one expression at one place."""

    def __init__(self, part: Part, facts: Facts, place: Place) -> None:
        self._place = place
        # Only conditions: a value need not have SQL of its own (the records that a path leads to have none).
        self._folded: dict[int, tuple[Part, Folded]] = {
            one.number: (one, one.rule.fold(facts)) for one in part.walk() if one.is_condition and not one.rule.tree.free
        }
        self._asked: set[int] = set()
        asked = {root: {name for at, name in part.rule.names if at == root} for root in place.roots}
        self._names = {root: sorted((names | place.more) & place.columns.keys()) for root, names in asked.items()}

    def statement(self) -> Statement:
        """One row of the answer for each row of the place."""
        selected = join(", ", [*self._place.identity, *self._rows(), *self._rails()])
        text = Template(sql("select {} from {}", selected, self._place.source))
        leaves: dict[Hashable, Sequence[object]] = dict(self._place.leaves)
        leaves |= {("part", number): folded.values for number, (_, folded) in self._folded.items()}
        return text.bind(self._place.slots, leaves)

    def rule_text(self) -> Statement | None:
        """The condition that decides, alone, as the action's own statement has it; None where no row can change it."""
        if 0 not in self._folded:
            return None
        part, folded = self._folded[0]
        if folded.verdict is not None:
            return None
        text = Template(part.rule.where(folded.shape, self._place.rows, "rule"))
        return text.bind(self._place.slots, {"rule": folded.values})

    def read(self, row: Mapping[str, Any]) -> Judged:
        """What one row of the answer says."""
        return Judged(
            id=row.get("id"),
            record=self._row(row, "record") if "record" in self._names else None,
            next=self._row(row, "next") if "next" in self._names else None,
            seen=row.get("seen"),
            verdicts={number: _verdict(row, number) for number in self._asked},
        )

    # The statement

    def _rows(self) -> list[Sql]:
        return [
            sql("{} as {}", self._place.rows.column(root, name), ident(f"{root[0]}_{at}"))
            for root, names in self._names.items()
            for at, name in enumerate(names)
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
        found, source, number = self._place.rows, ("part", part.number), part.number
        true = part.rule.where(folded.shape, found, source)
        false = part.rule.unless(folded.shape, found, source)
        return [sql("({}) as {}", true, ident(f"t{number}")), sql("({}) as {}", false, ident(f"f{number}"))]

    # The answer

    def _row(self, row: Mapping[str, Any], root: str) -> Mapping[str, object]:
        names = self._names[root]
        return {name: self._place.columns[name].in_memory(row[f"{root[0]}_{at}"]) for at, name in enumerate(names)}


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
    return {name: table.columns[name].in_memory(value) for name, value in row.items() if name != "beyond"}
