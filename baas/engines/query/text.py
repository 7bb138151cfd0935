"""Statements in two halves: text that is compiled once per shape and kept, and values that are read anew for every request."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from baas.engines.rules.rule import Leaf
from baas.infra.db.sql import Cheap, Sql, Statement

V = TypeVar("V")
_SLOTS = "slots"
_CONSTANTS = "constants"


class Slot(NamedTuple):
    """A hole whose value comes with the request, under this name."""

    name: Hashable


class Template:
    """A statement's text and where each of its parameters is found."""

    __slots__ = ("_cheap", "_constants", "_readers", "_role", "text")

    def __init__(self, fragment: Sql, cheap: Cheap | None = None) -> None:
        statement = fragment.render()
        constants: list[object] = []
        readers: list[tuple[Hashable, Hashable]] = []
        for hole in statement.args:
            if isinstance(hole, Slot):
                readers.append((_SLOTS, hole.name))
            elif isinstance(hole, Leaf):
                readers.append((hole.source, hole.index))
            else:
                readers.append((_CONSTANTS, len(constants)))
                constants.append(hole)
        self.text = statement.text
        self._readers = tuple(readers)
        self._constants = tuple(constants)
        self._role = statement.role
        # A rule that enters other records holds them by a lock. Such a write shares neither a connection nor a commit: it may
        # wait for others, and others for it. Where the words stand in a constant, the statement is only slower.
        self._cheap = None if " for share" in statement.text else cheap

    def bind(self, slots: Mapping[Hashable, object], leaves: Mapping[Hashable, Sequence[object]]) -> Statement:
        """The statement of this request: `slots` by name, `leaves` by the source of the rule they were folded from."""
        sources: dict[Hashable, object] = {**leaves, _SLOTS: slots, _CONSTANTS: self._constants}
        values = tuple(sources[source][key] for source, key in self._readers)  # type: ignore[index]
        return Statement(self.text, values, self._role, self._cheap)


class Kept(Generic[V]):
    """A bounded map that forgets what was used longest ago."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[Hashable, V] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """The value of the key, made now when there is none. What `make` raises is not kept."""
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
            return found
        value = make()
        self._entries[key] = value
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)
        return value

    def items(self) -> Iterable[tuple[Hashable, V]]:
        """Everything that is kept, oldest first."""
        return self._entries.items()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)
