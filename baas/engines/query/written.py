"""What a change gives a record: values, and operations on what is stored, worked out inside the statement that writes.

In that statement the stored row is `r`, and `n` is one row with what was sent. Where an operation stands, the new value is an
expression over both, and everything that speaks of it (rules as `next.f`, validations, references) speaks of that expression.
Each is total: what has no result is null, and a limit that does not hold says so before anything is stored.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from baas.base.errors import Fault
from baas.engines.query.asking import Asking
from baas.engines.query.rows import RowsOf, rows
from baas.engines.query.table import Column, Table
from baas.engines.query.text import Slot
from baas.engines.query.validations import Validation
from baas.engines.schema.collection import SYSTEM_FIELDS, Field
from baas.engines.schema.fields.base import CASTS, MAX_ITEMS, whole
from baas.engines.schema.fields.json_ import MAX_BYTES
from baas.engines.schema.operations import Operation
from baas.infra.db.sql import Sql, ident, join, literal, sql

_MAX_DIGITS = 400


@dataclass(frozen=True, slots=True)
class Limit:
    """What must hold of the result of an operation; said of it like the demand of a validation."""

    field: Field
    condition: Sql
    code: str
    message: str
    gate: Hashable = True

    @property
    def key(self) -> Hashable:
        return (self.field.name, self.code, self.gate)

    @property
    def reads(self) -> frozenset[str]:
        return frozenset((self.field.name,))

    def holds(self, _rows: RowsOf) -> Sql:
        """True or false, never null."""
        return self.condition

    def fault(self, at: str = "", *, masked: bool) -> Fault:
        """The fault of the record at this pointer. A hidden field is not written by a `masked` caller."""
        return Fault(f"{at}/{self.field.name}", self.code, self.message)


Demanded = Validation | Limit
"""What a written record must satisfy, beside its rule."""


class Written:
    """The fields that a change writes, in the order of the columns, without those of the server."""

    def __init__(self, table: Table, values: Mapping[str, object]) -> None:
        self.table = table
        self.values = values
        self.names = tuple(name for name in table.columns if name in values and name not in SYSTEM_FIELDS)
        self._operations = {name: one for name in self.names if isinstance(one := values[name], Operation)}

    @classmethod
    def of(cls, table: Table, names: Iterable[str]) -> "Written":
        """Fields that are given plain values."""
        return cls(table, dict.fromkeys(names))

    @property
    def key(self) -> Hashable:
        """What the text depends on."""
        return (self.names, tuple((name, one.name) for name, one in self._operations.items()))

    def row(self) -> Sql:
        """`n`: what was sent, and the moment of the change."""
        sent = [name for name in self.names if name not in self._operations or self._operations[name].name != "$now"]
        return sql("(select {}) n", join(", ", (hole(self.table.columns[name]) for name in (*sent, "updated_at"))))

    def slots(self, now: datetime) -> dict[Hashable, object]:
        slots: dict[Hashable, object] = {"updated_at": now}
        for name in self.names:
            value = self.values[name]
            slots[name] = value.operand if isinstance(value, Operation) else value
        return slots

    def next(self, name: str) -> Sql:
        """The value of a field as it will be stored."""
        if name == "rev":
            return sql("(r.rev + 1)")
        operation = self._operations.get(name)
        if operation is not None:
            return _result(self.table.columns[name], operation.name)
        return ident("n" if name in self.names or name == "updated_at" else "r", name)

    def rows(self) -> RowsOf:
        """`record` is the stored row; `next` has what this change gives it and the stored value of all else."""

        def column(root: str, name: str) -> Sql:
            if root == "next" and name == "rev":
                return self.next(name)
            return self.table.columns[name].in_rules(self.next(name) if root == "next" else ident("r", name))

        return RowsOf(column, self.table.other)

    def assignments(self) -> Sql:
        """What stands behind SET."""
        changed = (sql("{} = {}", ident(name), self.next(name)) for name in self.names)
        return join(", ", [*changed, sql("rev = r.rev + 1"), sql("updated_at = n.updated_at")])

    def limits(self, asking: Asking) -> tuple[Limit, ...]:
        """What must hold of the results, in the order of the fields."""
        return tuple(one for name, each in self._operations.items() for one in self._limits_of(name, each, asking))

    def _limits_of(self, name: str, operation: Operation, asking: Asking) -> Iterator[Limit]:
        column = self.table.columns[name]
        assert column.field is not None  # noqa: S101  nobody writes the server's own columns
        limits = list(_limits(column, column.field, operation.name, self.next(name)))
        gate = asking.may_read(self.table, name)
        if operation.name == "$now" or gate.verdict is True:
            yield from limits
            return
        # Whether a result fits tells something of the stored value.
        readable = sql("coalesce({}, false)", gate.where(rows(self.table, record="r")))
        words = "You may not read this field of the record, so it takes values from you, no operators."
        yield Limit(column.field, readable, "operator_not_allowed", words, gate.key)
        for one in limits:
            hushed = sql("(not {} or {})", readable, one.condition)
            yield Limit(column.field, hushed, one.code, one.message, gate.key)


def hole(column: Column) -> Sql:
    """The value that was sent for a column, under its name."""
    return sql("{} as {}", column.typed(Slot(column.name)), ident(column.name))


# Results. An absent number counts as 0, an absent list as empty; the least and the greatest of one value is that value.


def _result(column: Column, operator: str) -> Sql:
    old, sent = ident("r", column.name), ident("n", column.name)
    match operator:
        case "$now":
            moment = ident("n", "updated_at")
            return sql("({} at time zone 'UTC')::date", moment) if column.cast == "date" else moment
        case "$min":
            return sql("least({}, {})", old, sent)
        case "$max":
            return sql("greatest({}, {})", old, sent)
        case "$inc":
            return _sum(column, old, sent)
    return _documents(old, sent, operator) if column.cast == "jsonb" else _items(column, old, sent, operator)


def _sum(column: Column, old: Sql, sent: Sql) -> Sql:
    stored = sql("coalesce({}, 0::{})", old, CASTS[column.cast])
    match column.cast:
        case "int8":
            return sql("baas_rt.i64({}::numeric + {}::numeric)", stored, sent)
        case "float8":
            return sql("baas_rt.fadd({}, {})", stored, sent)
    return sql("({} + {})", stored, sent)


def _items(column: Column, old: Sql, sent: Sql, operator: str) -> Sql:
    stored = sql("coalesce({}, array[]::{})", old, CASTS[column.cast])
    if operator == "$append":
        return sql("({} || {})", stored, sent)
    if operator == "$add":
        new = sql("select a.v from unnest({}) with ordinality a(v, o) where not a.v = any ({}) order by a.o", sent, stored)
        return sql("({} || array({}))", stored, new)
    left = sql("select a.v from unnest({}) with ordinality a(v, o) where not a.v = any ({}) order by a.o", old, sent)
    return sql("(case when {} is not null then array({}) end)", old, left)


def _documents(old: Sql, sent: Sql, operator: str) -> Sql:
    """Lists in JSON; null where what is stored is something else."""
    stored = sql("(case when {} is null then jsonb '[]' when jsonb_typeof({}) = 'array' then {} end)", old, old, old)
    if operator == "$append":
        return sql("({} || {})", stored, sent)
    # `not in` over a sub-select is a hash: long lists stay cheap. An item of a JSON list is never SQL's null.
    if operator == "$add":
        new = sql(
            "select jsonb_agg(a.v order by a.o) from (select b.v, min(b.o) as o"
            " from jsonb_array_elements({}) with ordinality b(v, o) group by b.v) a"
            " where a.v not in (select c.v from jsonb_array_elements({}) c(v))",
            sent,
            stored,
        )
        return sql("({} || coalesce(({}), jsonb '[]'))", stored, new)
    left = sql(
        "select coalesce(jsonb_agg(a.v order by a.o), jsonb '[]') from jsonb_array_elements({}) with ordinality a(v, o)"
        " where a.v not in (select b.v from jsonb_array_elements({}) b(v))",
        stored,
        sent,
    )
    return sql("(case when jsonb_typeof({}) = 'array' then ({}) end)", old, left)


# Limits


def _limits(column: Column, field: Field, operator: str, new: Sql) -> Iterator[Limit]:
    match operator:
        case "$inc":
            words = "The result is outside of what the field takes."
            yield Limit(field, _in_range(column, field, new), "out_of_range", words)
        case "$append" | "$add" if column.many:
            most = whole(field, "max") or MAX_ITEMS
            fits = sql("coalesce(cardinality({}) <= {}, false)", new, literal(most))
            yield Limit(field, fits, "too_many", f"The result must hold at most {most} items.")
            if operator == "$append":
                held = sql("not coalesce({} && {}, false)", ident("r", field.name), ident("n", field.name))
                yield Limit(field, held, "duplicate", "Must not hold an item twice. $add leaves out what is there.")
        case "$append" | "$add" | "$remove" if not column.many:
            old = ident("r", field.name)
            a_list = sql("coalesce({} is null or jsonb_typeof({}) = 'array', false)", old, old)
            yield Limit(field, a_list, "wrong_type", f"{operator} is for a list, and what is stored is none.")
            if operator != "$remove":
                most = whole(field, "max_bytes") or MAX_BYTES
                # A value that is no list has a fault of its own.
                fits = sql("coalesce(octet_length({}::text) <= {}, true)", new, literal(most))
                yield Limit(field, fits, "too_long", f"The result must have at most {most} bytes as JSON.")


def _in_range(column: Column, field: Field, new: Sql) -> Sql:
    if column.cast == "numeric":
        return _in_digits(field, new)
    fits = column.kind.fits(new, field) if column.kind else None
    there = sql("{} is not null", new)
    return there if fits is None else sql("coalesce({} and {}, false)", there, fits)


def _in_digits(field: Field, new: Sql) -> Sql:
    precision, scale = whole(field, "precision"), whole(field, "scale") or 0
    if precision is not None:
        return sql("coalesce(abs({}) < {}::numeric, false)", new, literal("1" + "0" * (precision - scale)))
    before = sql("case when abs({}) < 1 then 0 else char_length(trunc(abs({}))::text) end", new, new)
    return sql("coalesce({} + scale({}) <= {}, false)", before, new, literal(_MAX_DIGITS))
