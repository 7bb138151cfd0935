"""The other records that one atom reads: each joined once, whatever names it, and all of them around the atom.

`record.team.owner == auth.id` becomes `exists (select from teams _1 where _1.id = r.team and _1.owner = $1)` on both rails: where
no record is found neither is true, which is a failure, as the language wants it.
"""

from collections.abc import Hashable

from baas.engines.rules.operands import Condition, all_of, as_sql
from baas.engines.rules.rows import Entered
from baas.engines.rules.tree import Column, Fact, Follow, Loop, Row
from baas.infra.db.sql import Sql, join, sql


class Surroundings:
    """What one atom stands in: the records it reaches and what must be true of them and of the fields it reads."""

    def __init__(self, *, shares: bool = False) -> None:
        self._shares = shares
        self.entered: dict[Hashable, Entered] = {}
        self.certain = True
        self._tables: list[Sql] = []
        self._conditions: dict[Hashable, Condition] = {}

    def join(self, key: Hashable, entered: Entered, alias: Sql, link: Condition, *, certain: bool) -> None:
        """One more record; `certain` that it is always there."""
        self.entered[key] = entered
        self._tables.append(sql("{} {}", entered.table, alias))
        self._conditions[key] = all_of((link, entered.visible))
        self.certain = self.certain and certain and entered.visible is True

    def demand(self, key: Hashable, condition: Condition) -> None:
        """Something that must hold, or the atom fails: that the caller may read a field."""
        if condition is not True:
            self._conditions[key] = condition
            self.certain = False

    def around(self, atom: Condition) -> Condition:
        """The atom where its records are there, and else neither true nor false."""
        inner = all_of((*self._conditions.values(), atom))
        if inner is False or not self._tables:
            return inner
        held = sql(" for share") if self._shares else sql("")
        return sql("exists (select from {} where {}{})", join(", ", self._tables), as_sql(inner), held)


def place(row: Row | Loop | Follow) -> Hashable:
    """Which row it is, equal for two paths through the same fields."""
    match row:
        case Row(root=root):
            return root
        case Loop(level=level):
            return level
        case Follow(ref=Column(row=before, name=name)):
            return (place(before), name)
        case Follow(ref=Loop(level=level)):
            return (level, "")
        case Follow(ref=Fact(name=name)):
            return ("auth", name)
    raise AssertionError(f"no row: {row}")
