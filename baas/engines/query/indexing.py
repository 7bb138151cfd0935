"""R008 and R014: what a rule makes the database look for, and the index that spares it reading a whole collection for that.

It is seen in the rule alone, before there is any data. What a list looks for among its own records, and what `rows(…)` looks for
among those of another collection; records that a relation leads to have an index of their own already.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from baas.engines.query.conditions import check_condition
from baas.engines.rules.lint import Lint, same
from baas.engines.rules.rule import Rule
from baas.engines.rules.tree import Among, Apply, Column, Compare, Constant, Logic, Loop, Node, Quantify, Related, Row, walk
from baas.engines.schema.collection import Collection, Index
from baas.engines.schema.fields.base import is_many

_TRIGRAM = 3
"""Characters below which a trigram index is read as a whole."""
_MOST_FIELDS = 3


class _Need(NamedTuple):
    """A condition that finds records by a field: `equal` to a value, that it `holds` one, a text `inside` it, or a `range`."""

    node: Node
    field: str
    how: str
    constant: object = None


def of_list(rule: Rule, collection: Collection) -> Iterator[Lint]:
    """What a list has to look for among the records of its collection."""
    search = _Search(collection, None)
    seen: set[str] = set()
    for needs in search.unserved(rule.tree):
        name = needs[0].field
        if name not in seen:
            seen.add(name)
            yield _advice(needs, collection, "A list looks for records", "indexes")


def of_entered(rule: Rule, collections: Mapping[str, Collection]) -> Iterator[Lint]:
    """What `rows(…)` looks for, whoever asks and however seldom: the whole collection is read each time."""
    seen: set[tuple[str, str]] = set()
    for node in walk(rule.tree):
        entered = collections.get(_whole(node))
        if entered is None or not isinstance(node, Quantify):
            continue
        for needs in _Search(entered, node.level).unserved(node.body):
            key = entered.name, needs[0].field
            if key not in seen:
                seen.add(key)
                yield _advice(needs, entered, f"The rule looks for `{entered.name}`", f"the indexes of {entered.name!r}")


def _whole(node: Node) -> str:
    """The collection whose records are all asked by an `exists`."""
    asked = node.list if isinstance(node, Quantify) and node.operator == "exists" else None
    return asked.collection if isinstance(asked, Related) and asked.of is None else ""


def _advice(needs: Sequence[_Need], collection: Collection, looks: str, indexes: str) -> Lint:
    """R014 for what is inside a text, else R008, with an entry that `indexes` of the manifest take."""
    first = needs[0]
    if first.how == "inside":
        message = f"{looks} by what stands inside `{first.field}`: a plain index finds a text by its beginning alone."
        return Lint("R014", first.node.at, message, _inside_hint(first, indexes))
    names = list(dict.fromkeys(one.field for one in needs))[:_MOST_FIELDS]
    words = " and ".join(f"`{name}`" for name in names)
    message = f"{looks} by {words}, and no index begins with {'it' if len(names) == 1 else 'one of them'}."
    return Lint("R008", first.node.at, message, _index_hint(first, names, collection, indexes))


def _index_hint(first: _Need, names: Sequence[str], collection: Collection, indexes: str) -> str:
    columns = ", ".join(f'"{name}"' for name in names)
    method = " using gin" if first.how == "holds" else ""
    made = f'create index on "{collection.schema}"."{collection.name}"{method} ({columns})'
    hint = f"Add {json.dumps({'fields': list(names)})} to {indexes}: {made}."
    if first.how == "equal" and type(first.constant) in (str, int):
        where = f"{first.field} == {json.dumps(first.constant, ensure_ascii=False)}"
        partial = json.dumps({"fields": ["id"], "where": where}, ensure_ascii=False)
        hint += f" Where few records are so, {partial} is smaller and has them in the order of the list."
    return hint


def _inside_hint(first: _Need, indexes: str) -> str:
    others = "startsWith, or a condition beside it that an index serves"
    if isinstance(first.constant, str) and len(first.constant) < _TRIGRAM:
        return f"No index finds a part of less than {_TRIGRAM} characters. Use {others}."
    entry = json.dumps({"fields": [first.field], "using": "trigram"})
    return f"Add {entry} to {indexes} (PostgreSQL's extension pg_trgm), or use {others}."


class _Search:
    """What is looked for among the records of one collection: those of the list (`level` None), or those of a loop."""

    def __init__(self, collection: Collection, level: int | None) -> None:
        self._collection = collection
        self._level = level
        self._conditions = [
            check_condition(collection, one.where).tree for one in collection.indexes if one.where is not None and level is None
        ]
        # Whether the condition of a partial index holds where a loop looks is not known here: it is taken to.
        whole = [one for one in collection.indexes if one.where is None or level is not None]
        self._plain = _beginnings(collection, whole)
        self._held = {name for one in whole if one.using == "gin" for name in one.fields}
        # A relation to many with an inverse is found from the other side, and has its index for that.
        self._held |= {one.name for one in collection.fields if is_many(one) and one.options.get("inverse")}
        self._inside = {name for one in whole if one.using == "trigram" for name in one.fields}

    def unserved(self, node: Node) -> list[list[_Need]]:
        """What an index is missing for: one condition of an `&&` is enough to find records by, of an `||` each needs its own."""
        if isinstance(node, Logic):
            parts = [part for part in node.items if not part.free]
            if node.operator == "or":
                return [one for part in parts for one in self.unserved(part)]
            if any(self._served(part) for part in parts):
                return []
            return self._together(parts)
        need = self._need(node)
        return [] if need is None or self._served(node) else [[need]]

    def _together(self, parts: Sequence[Node]) -> list[list[_Need]]:
        """Of several conditions the ones for equality in one index; else the first that any index would serve."""
        needs = [need for part in parts if (need := self._need(part)) is not None]
        equal = [one for one in needs if one.how == "equal"]
        if equal:
            return [equal]
        return [needs[:1]] if needs else next(filter(None, map(self.unserved, parts)), [])

    def _served(self, node: Node) -> bool:
        if isinstance(node, Logic):
            parts = [part for part in node.items if not part.free]
            return (any if node.operator == "and" else all)(self._served(part) for part in parts)
        if any(same(node, condition) for condition in self._conditions):
            return True
        need = self._need(node)
        if need is None:
            return False
        if need.how == "inside":
            short = isinstance(need.constant, str) and len(need.constant) < _TRIGRAM
            return need.field in self._inside and not short
        return need.field in (self._held if need.how == "holds" else self._plain)

    def _need(self, node: Node) -> _Need | None:
        """The stored field that a condition finds records by, or could with an index; None for anything no index would help."""
        match node:
            case Among(item=item, list=Column() as held) if self._mine(held) and self._elsewhere(item):
                return _Need(node, held.name, "holds") if held.type.kind == "list" else None
            case Among(item=Column() as column, list=other):
                how = "equal"
            case Compare(operator="==" | "<" | "<=" | ">" | ">=" as operator, left=left, right=right):
                column, other = (left, right) if isinstance(left, Column) and self._mine(left) else (right, left)
                how = "equal" if operator == "==" else "range"
            case Apply(name=".contains" | ".endsWith" | ".startsWith" as name, args=(column, other)):
                how = "range" if name == ".startsWith" else "inside"
            case _:
                return None
        # Of true and false an index would have to hold one half of all records.
        if not isinstance(column, Column) or not self._mine(column) or column.type.kind in ("bool", "json", "list"):
            return None
        constant = other.value if isinstance(other, Constant) else None
        return _Need(node, column.name, how, constant) if self._elsewhere(other) else None

    def _mine(self, column: Column) -> bool:
        """Whether it is a field of the records that are looked for."""
        if self._level is None:
            return isinstance(column.row, Row) and column.row.root == "record"
        return isinstance(column.row, Loop) and column.row.level == self._level

    def _elsewhere(self, node: Node) -> bool:
        """Whether the value is known before these records are looked at."""
        if self._level is None:
            return node.free
        return not any(isinstance(one, Loop) and one.level == self._level for one in walk(node))


def _beginnings(collection: Collection, whole: Sequence[Index]) -> frozenset[str]:
    """The columns that an index of values begins with."""
    alone = {one.name for one in collection.fields if one.unique or (one.type == "relation" and not is_many(one))}
    leading = {one.fields[0].removeprefix("-") for one in whole if one.using == "btree"}
    return frozenset({"id", *alone, *leading})
