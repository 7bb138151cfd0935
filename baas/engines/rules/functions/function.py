"""What an entry of the list of functions says."""

from collections.abc import Callable
from dataclasses import dataclass

from baas.engines.rules.types import Type
from baas.infra.db.sql import Sql

ZONE = "time zone"
FAILS = None
"""In an example: there is no value."""


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """One overload. `name` starts with a dot for a method, whose first parameter is the receiver; an operator is its sign.

    `total` says that it has a value for every non-null argument. `sql` is None for what only memory can do.
    """

    name: str
    params: tuple[str, ...]
    result: Type
    python: Callable[..., object]
    sql: Callable[..., Sql] | None
    examples: tuple[tuple[object, ...], ...]
    total: bool = False
