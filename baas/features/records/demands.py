"""What the `validate` of fields demands, once a write has touched nothing or its body has other faults: one fault for each."""

from collections.abc import Sequence
from uuid import UUID

from baas.base.errors import Fault, Invalid
from baas.base.ids import uuid7
from baas.engines.query.asking import Asking
from baas.engines.query.compile import Compiler
from baas.engines.query.table import Table
from baas.engines.query.tree import Insert, InsertMany, Put, Update
from baas.engines.query.written import Demanded
from baas.engines.schema.validate import Unfit
from baas.features.records.store import RecordStore
from baas.features.records.writing import positions
from baas.infra.db.pool import Row


class Demands:
    """Finds those that are not met; the answers of the compiler's `why_…` statements tell."""

    def __init__(self, compiler: Compiler, store: RecordStore) -> None:
        self._compiler = compiler
        self._store = store

    def unmet_by_new(self, table: Table, asking: Asking, tree: Insert | InsertMany, why: Row | None) -> list[Fault]:
        """In the order of the records; a pointer begins with the place of its record when there are many."""
        found: list[tuple[int, Fault]] = []
        if why is not None:
            for failing, demand in zip(why["failing"], self._compiler.demands(table, asking, "create"), strict=True):
                for row in positions(failing):
                    at = f"/{row}" if isinstance(tree, InsertMany) else ""
                    found.append((row, demand.fault(at, masked=asking.masked)))
        return [fault for _, fault in sorted(found, key=lambda one: one[0])]

    def unmet_by_change(self, table: Table, asking: Asking, tree: Update, why: Row | None) -> list[Fault]:
        if why is None:
            return []
        return _unmet(why["valid"], self._compiler.demands(table, asking, "update", tree.values), asking)

    def unmet_by_put(self, table: Table, asking: Asking, tree: Put, why: Row | None) -> list[Fault]:
        if why is None:
            return []
        if why["present"]:
            return _unmet(why["valid"], self._compiler.demands(table, asking, "update", tree.replaces), asking)
        return _unmet(why["valid_new"], self._compiler.demands(table, asking, "create"), asking)

    async def with_faults_of_new(self, table: Table, asking: Asking, error: Unfit) -> Invalid:
        """The faults of a body, and the demands that the rest of it does not meet, where the caller may create it at all."""
        if not table.demands():
            return error
        why = await self._store.why(self._compiler.why_not_inserted(table, Insert({"id": uuid7(), **error.values}), asking))
        if why is None or not why["allowed"]:
            return error
        return _with_unmet(error, self._compiler.demands(table, asking, "create"), [not one for one in why["failing"]], asking)

    async def with_faults_of_change(self, table: Table, asking: Asking, record: UUID, error: Unfit) -> Invalid:
        """The same for a body that changes a record."""
        if not table.demands():
            return error
        why = await self._store.why(self._compiler.why_not_changed(table, Update(record, error.values), asking))
        if why is None or not why["allowed"]:
            return error
        return _with_unmet(error, self._compiler.demands(table, asking, "update", error.values), why["valid"], asking)


def _unmet(holds: Sequence[bool], demands: Sequence[Demanded], asking: Asking) -> list[Fault]:
    return [demand.fault(masked=asking.masked) for one, demand in zip(holds, demands, strict=True) if not one]


def _with_unmet(error: Unfit, demands: Sequence[Demanded], holds: Sequence[bool], asking: Asking) -> Invalid:
    """Both kinds of fault; a demand that reads a field with a fault of its own cannot be judged."""
    wrong = {fault.pointer.split("/")[1] for fault in error.errors}
    judged = [(one, demand) for one, demand in zip(holds, demands, strict=True) if not demand.reads & wrong]
    unmet = _unmet([one for one, _ in judged], [demand for _, demand in judged], asking)
    return Invalid(error.detail, errors=[*error.errors, *unmet])
