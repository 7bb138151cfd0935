"""Values that a client names by a path: a field of the record, or of one that its relations lead to (`author.team.name`).

Each record on the way must be one that the caller could list, and each field on the way one that he may read of it; else the
value is null, as it is where a relation is empty. So a value out of sight is told from no value nowhere.

way = find_way(table, ("author", "name"), asking)   # raises BadName for what does not exist for this caller
reached = reach(way, asking)                        # with the rules folded for him
reached.sql("r", "rs0")                             # its SQL for the row r; aliases inside begin with rs0
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from baas.base.errors import did_you_mean
from baas.engines.query.asking import Asking, Judgement
from baas.engines.query.rows import rows
from baas.engines.query.table import Column, Link, Table
from baas.engines.rules.rule import Rule
from baas.infra.db.sql import Sql, ident, join, sql

MAX_HOPS = 2
_LONGEST_NAME = 63


class BadName(Exception):
    """A path whose last name does not exist for this caller, hidden and locked ones included. `code` is that of the answer."""

    def __init__(self, code: str, path: Sequence[str], message: str, hint: str | None = None) -> None:
        self.code, self.path, self.message, self.hint = code, tuple(path), message, hint
        super().__init__(f"{'.'.join(path)}: {message}")


class Way(NamedTuple):
    """The links from a record to a field."""

    table: Table
    links: tuple[Link, ...]
    column: Column

    def needs_auth_record(self) -> bool:
        """Whether what stands in the way looks at fields of the caller's own record."""
        return any(rule.needs_auth_record for rule in self._rules())

    def _rules(self) -> Iterator[Rule]:
        table, found = self.table, []
        for link in self.links:
            found += [table.read(link.column.name), link.target.rule("list")]
            table = link.target
        found.append(table.read(self.column.name))
        return (rule for rule in found if rule is not None)


@dataclass(frozen=True, slots=True)
class Reached:
    """The value for one caller. `conditions` are what must yet hold of the record (0) and of the one after each hop (1, …)."""

    way: Way
    conditions: tuple[tuple[int, Table, Judgement], ...]

    @property
    def column(self) -> Column:
        """The column whose type the value has."""
        return self.way.column

    @property
    def plain(self) -> bool:
        """Whether it is simply a column of the row."""
        return not self.way.links and not self.conditions

    @property
    def nullable(self) -> bool:
        return not self.plain or self.column.nullable

    @property
    def key(self) -> Hashable:
        return tuple(judgement.key for _, _, judgement in self.conditions)

    def sql(self, alias: str, scope: str) -> Sql:
        """The value for the row with this alias. `scope` is a stem for aliases that nothing else around uses."""
        if self.plain:
            return self.column.of(alias)
        if any(judgement.verdict is False for _, _, judgement in self.conditions):
            return self.column.typed(None)
        names = [alias, *(f"{scope}h{hop}" for hop in range(1, len(self.way.links) + 1))]
        held = [judgement.where(rows(table, record=names[hop]), scope=names[hop]) for hop, table, judgement in self.conditions]
        value = self.column.of(names[-1])
        if not self.way.links:
            return sql("case when {} then {} end", join(" and ", held), value)
        targets = [sql("{} {}", link.target.sql, ident(name)) for link, name in zip(self.way.links, names[1:], strict=True)]
        joined = [
            sql("{} = {}", ident(name, "id"), link.column.of(before))
            for link, before, name in zip(self.way.links, names, names[1:], strict=False)
        ]
        return sql("(select {} from {} where {})", value, join(", ", targets), join(" and ", [*joined, *held]))


def find_way(table: Table, path: Sequence[str], asking: Asking, *, code: str = "bad_sort") -> Way:
    """The way to a field that exists for this caller, over relations to one record each. Raises BadName."""
    if len(path) - 1 > MAX_HOPS:
        words = f"A path goes through at most {MAX_HOPS} relations."
        raise BadName(code, path, words)
    links: list[Link] = []
    at = table
    for position, name in enumerate(path[:-1]):
        found = at.links(masked=asking.masked).get(name)
        if found is None or found.many or (asking.judged and found.target.rule("list") is None):
            raise _no_way(code, path[: position + 1], at, found, asking)
        links.append(found)
        at = found.target
    names = at.names(masked=asking.masked)
    if path[-1] not in names:
        link = at.links(masked=asking.masked).get(path[-1])
        if link is not None and not (asking.judged and link.target.rule("list") is None):
            raise BadName(code, path, f"{path[-1]!r} is a list of records, not a field.")
        raise unknown(code, path, names)
    return Way(table, tuple(links), at.columns[path[-1]])


def reach(way: Way, asking: Asking) -> Reached:
    """The value at the end of the way, as far as this caller may see."""
    found: list[tuple[int, Table, Judgement]] = []
    table = way.table
    for hop, link in enumerate(way.links):
        found.append((hop, table, asking.may_read(table, link.column.name)))
        found.append((hop + 1, link.target, asking.judge(link.target, "list")))
        table = link.target
    found.append((len(way.links), table, asking.may_read(table, way.column.name)))
    return Reached(way, tuple(one for one in found if one[2].verdict is not True))


def unknown(code: str, path: Sequence[str], known: Sequence[str]) -> BadName:
    """There is nothing of the last name of this path; `known` are those that there are for this caller."""
    name = path[-1]
    where = f" of {'.'.join(path[:-1])}" if len(path) > 1 else ""
    hint = did_you_mean(name, known) if len(name) <= _LONGEST_NAME else None
    return BadName(code, path, f"There is no {name[:_LONGEST_NAME]!r}{where} here.", hint)


def _no_way(code: str, path: Sequence[str], table: Table, link: Link | None, asking: Asking) -> BadName:
    """Why nothing is reached behind a name: a relation to many, no relation at all, or, also for what is locked, no such name."""
    name = path[-1]
    if link is not None:
        locked = asking.judged and link.target.rule("list") is None
        if link.many and not locked:
            return BadName(code, path, f"{name!r} is a list of records; a path goes through relations to one.")
    elif name in table.names(masked=asking.masked):
        return no_relation(code, path, table)
    return unknown(code, path, _ways_on(table, asking))


def no_relation(code: str, path: Sequence[str], table: Table) -> BadName:
    """A field that there is for this caller, named as a relation."""
    name, column = path[-1], table.columns[path[-1]]
    if column.cast == "jsonb":
        return BadName(code, path, f"{name!r} holds JSON, which is taken as a whole: no path goes into it.")
    leads = column.field is not None and column.field.type == "relation"
    return BadName(
        code, path, f"{name!r} {'leads to a view' if leads else 'is a field and no relation'}: no path goes through it."
    )


def _ways_on(table: Table, asking: Asking) -> tuple[str, ...]:
    links = table.links(masked=asking.masked).values()
    return tuple(one.name for one in links if not one.many and not (asking.judged and one.target.rule("list") is None))
