"""Where the compiler finds the rows that an expression names: their tables, their columns, and what a caller must be allowed.

Rules are written by those who define the collections, so they enter any row; a client's filter enters only rows that he could
list himself, and reads of them only what he could read (`visible`, `readable`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from baas.engines.rules.operands import Condition
from baas.infra.db.sql import Sql


class Entered(Protocol):
    """The rows of a collection under an alias."""

    @property
    def table(self) -> Sql:
        """What stands in FROM."""

    @property
    def visible(self) -> Condition:
        """True of the rows that the expression may enter."""

    def column(self, name: str) -> Sql:
        """The field as rules compute with it."""

    def readable(self, name: str) -> Condition:
        """True of the rows whose field the expression may read."""


class Rows(Protocol):
    """The rows an expression is about, and the way to others.

    `shares`: the records entered on the way to a true condition are locked FOR SHARE, as a write needs them.
    """

    @property
    def shares(self) -> bool: ...

    def column(self, root: str, name: str) -> Sql:
        """A field of `record` or `next`."""

    def readable(self, root: str, name: str) -> Condition:
        """True of the rows whose field the expression may read."""

    def enter(self, collection: str, alias: str) -> Entered:
        """The rows of another collection under this alias."""


@dataclass(frozen=True, slots=True)
class Alone:
    """Rows whose every field may be read, and from which no path leads on."""

    of: Callable[[str, str], Sql]
    shares: bool = False

    def column(self, root: str, name: str) -> Sql:
        return self.of(root, name)

    def readable(self, root: str, name: str) -> Condition:
        return True

    def enter(self, collection: str, alias: str) -> Entered:
        raise LookupError(collection, alias)
