"""One statement for many askers: what differs between them, the values that their rules and filters fold to, is a row each of a
table of parameters. Their text is one, so their rows are judged as the statement of each alone would judge them.

Every value travels as text: PostgreSQL reads any type from text by a cast, and every hole of a rule has one.
"""

from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from baas.base.places import Geo
from baas.engines.query.images import source
from baas.engines.query.table import Table
from baas.engines.query.text import Slot, Template
from baas.engines.rules.rule import Leaf
from baas.infra.db.sql import Sql, Statement, ident, join, refill, sql

Asker = tuple[str | None, ...]
"""The values of one asker, as text."""
# Rules number their aliases behind the one of their row, so that none is called this.
_ALIAS = "asker"


class Crowd:
    """The question which of some images an asker may see, for all askers whose rules and filters fold to one shape (`key`)."""

    def __init__(self, key: Hashable, table: Table, visible: Sql, body: Sql | None) -> None:
        self.key = key
        self.bodies = body is not None
        self._leaves: dict[Leaf, int] = {}
        shown = sql("null::text") if body is None else refill(body, self._column)
        visible = refill(visible, self._column)
        columns = [sql("{}::int8[]", Slot("askers")), *(sql("{}::text[]", Slot(at)) for at in self._leaves.values())]
        names = [ident("n"), *(_name(at) for at in self._leaves.values())]
        # Materialized: an image is read once, not once an asker.
        self._text = Template(
            sql(
                "with r as materialized (select i.n as _n, r.* from {}) select {}.n as asker, r._n as n, {} as body"
                " from r, unnest({}) {}({}) where {}",
                source(table),
                ident(_ALIAS),
                shown,
                join(", ", columns),
                ident(_ALIAS),
                join(", ", names),
                visible,
            )
        )

    def asker(self, leaves: Mapping[Hashable, Sequence[object]]) -> Asker:
        """The values that matter of one who asks; equal for two who see the same."""
        return tuple(written(leaves[leaf.source][leaf.index]) for leaf in self._leaves)

    def statement(self, askers: Sequence[Asker], images: Sequence[str]) -> Statement:
        """Rows `asker` and `n` (places from 0 and from 1) and `body` (None unless `bodies`), one for each image that is seen."""
        slots: dict[Hashable, object] = {"images": images, "askers": list(range(len(askers)))}
        slots.update((at, [asker[at] for asker in askers]) for at in self._leaves.values())
        return self._text.bind(slots, {})

    def _column(self, hole: object) -> Sql | None:
        if not isinstance(hole, Leaf):
            return None
        return sql("{}.{}", ident(_ALIAS), _name(self._leaves.setdefault(hole, len(self._leaves))))


def _name(at: int) -> Sql:
    return ident(f"v{at}")


def written(value: object) -> str | None:
    """A value that a rule was folded to, as PostgreSQL reads its type from text. Raises TypeError for what none folds to."""
    match value:
        case None | str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float() | Decimal():
            return str(value)
        case datetime():
            return value.isoformat()
        case Geo():
            return f"{{{value.lat},{value.lon}}}"  # rules make the row of two numbers
        case list() | tuple():
            return "{" + ",".join(_item(one) for one in value) + "}"
    raise TypeError(f"no value of a rule: {type(value).__name__}")


def _item(value: object) -> str:
    text = written(value)
    if text is None:
        return "null"
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
