"""Slow statements in the log: whose they are, what rule stood in them, how PostgreSQL goes about them, which index is missing.

No value of a caller is in it: the text has holes, and the plan is that of any values. What looks at slow statements must not
make a slow server slower: one plan in five seconds, each statement once in ten minutes; the metrics count all of them.
"""

import asyncio
import time

from baas.base.errors import BaasError
from baas.engines.query.compile import Compiler
from baas.engines.query.plan import outline, suggestion
from baas.engines.query.table import Table
from baas.engines.schema.collection import Action
from baas.infra.db.pool import Database
from baas.infra.db.sql import Statement
from baas.infra.observe.log import Log
from baas.infra.observe.metrics import Metrics

_AGAIN_S = 600.0
_BETWEEN_S = 5.0
_REMEMBERED = 1000
_LONGEST_TEXT = 4000
_ACTIONS: dict[str, Action] = {
    "get": "view",
    "insert": "create",
    "insert many": "create",
    "update": "update",
    "put": "update",
    "delete": "delete",
}


class SlowQueries:
    """Told by the pool of every statement that took longer than the threshold."""

    def __init__(self, db: Database, compiler: Compiler, log: Log, metrics: Metrics) -> None:
        self._db = db
        self._compiler = compiler
        self._log = log
        self._metrics = metrics
        self._told: dict[str, float] = {}
        self._next = 0.0
        self._explaining: asyncio.Task[None] | None = None

    def note(self, statement: Statement, seconds: float) -> None:
        """Count it, and have it explained when there is time for that."""
        self._metrics.slow()
        now = time.monotonic()
        if now < self._next or self._told.get(statement.text, 0) > now:
            return
        if len(self._told) >= _REMEMBERED:
            self._told.clear()
        self._told[statement.text] = now + _AGAIN_S
        facts = {"ms": round(seconds * 1000, 1), "statement": statement.text[:_LONGEST_TEXT]}
        found = self._compiler.statement_of(statement.text)
        if found is None:
            self._log.warning("slow_query", error=None, **facts)
        elif self._explaining is None or self._explaining.done():
            self._next = now + _BETWEEN_S
            self._explaining = asyncio.get_running_loop().create_task(self._explain(statement, facts, *found))

    async def stop(self) -> None:
        """End what is under way."""
        if self._explaining is not None:
            self._explaining.cancel()
            await asyncio.wait({self._explaining})

    async def _explain(self, statement: Statement, facts: dict[str, object], operation: str, table: Table) -> None:
        facts = _about(operation, table) | facts
        try:
            plan = await self._db.plan(statement)
        except BaasError as error:
            facts["plan"] = f"none: {error.code}"
        else:
            facts["plan"] = outline(plan)
            facts["suggested_index"] = suggestion(plan, table)
        self._log.warning("slow_query", error=None, **facts)


def _about(operation: str, table: Table) -> dict[str, object]:
    """The collection, and the rule that the statement asks."""
    action = _ACTIONS.get(operation, "list")
    rule = table.collection.rules.get(action)
    return {"schema": table.collection.schema, "collection": table.name, "operation": operation, "action": action, "rule": rule}
