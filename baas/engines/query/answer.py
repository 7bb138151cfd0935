"""How a record leaves the database: as finished JSON text, with exactly the fields this caller may read."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol

from baas.engines.query.asking import Asking, Judgement
from baas.engines.query.rows import rows
from baas.engines.query.table import Table
from baas.infra.db.sql import Sql, ident, join, literal, sql


class Beside(Protocol):
    """What stands in an answer beside the fields of the record."""

    @property
    def key(self) -> Hashable:
        """What its text depends on."""

    def members(self, alias: str) -> Sql:
        """Members of the JSON object, as text with commas between, never empty nor null."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The fields of an answer. A gated one is in it only where its `read` expression is true; elsewhere its key is left out."""

    table: Table
    names: tuple[str, ...]
    gates: tuple[tuple[str, Judgement], ...]
    beside: Beside | None = None

    @property
    def key(self) -> Hashable:
        fields = (self.names, tuple(gate.key for _, gate in self.gates))
        return fields if self.beside is None else (*fields, self.beside.key)

    def json(self, alias: str) -> Sql:
        """The record as one JSON object, of type text."""
        gates = dict(self.gates)
        names = [name for name in self.names if name not in gates or gates[name].verdict]
        undecided = [name for name in self.names if name in gates and gates[name].verdict is None]
        if undecided:
            return self._member_by_member(alias, undecided)
        if not names:
            return sql("'{{}}'") if self.beside is None else sql("concat('{{', {}, '}}')", self.beside.members(alias))
        members = join(", ", (sql("{} as {}", self.table.columns[name].json(alias), ident(name)) for name in names))
        # A row of a sub-select, not json_build_object: that one ends at a hundred arguments, which is fifty fields.
        fields = sql("row_to_json((select _one from (select {}) _one))::text", members)
        # What stands beside is text already and joined as text: as a value of type json it would be parsed once more.
        return fields if self.beside is None else sql("concat(left({}, -1), ',', {}, '}}')", fields, self.beside.members(alias))

    def _member_by_member(self, alias: str, undecided: list[str]) -> Sql:
        gates = dict(self.gates)
        members = []
        for name in self.names:
            value = sql("coalesce(to_json({})::text, 'null')", self.table.columns[name].json(alias))
            member = sql("{} || {}", literal(f'"{name}":'), value)
            if name in undecided:
                allowed = gates[name].where(rows(self.table, record=alias))
                member = sql("case when {} then {} end", allowed, member)
            elif name in gates and not gates[name].verdict:
                continue
            members.append(member)
        if self.beside is not None:
            members.append(self.beside.members(alias))
        # An array, not concat_ws: as with json_build_object, a function ends at a hundred arguments. Nulls are left out.
        return sql("'{{' || array_to_string(array[{}]::text[], ',') || '}}'", join(", ", members))


def shown(table: Table, fields: tuple[str, ...] | None, asking: Asking, beside: Beside | None = None) -> Shown:
    """What of a record this caller gets; `fields` None is everything that exists for him."""
    names = table.names(masked=asking.masked) if fields is None else fields
    gated = table.gated(names) if asking.masked else ()
    return Shown(table, names, tuple((name, asking.may_read(table, name)) for name in gated), beside)
