"""Why a write that the rule allows is refused all the same: what it points to, and what the `validate` of fields demands.

Asked by the statements with which the records room itself finds out. What only the database knows when it writes (a value that is
taken, a link that holds a deletion) is not asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from baas.base.errors import Fault
from baas.engines.query.asking import Asking
from baas.engines.query.compile import Compiler
from baas.engines.query.references import lost_targets
from baas.engines.query.table import Table
from baas.engines.query.tree import Insert, Update, Values
from baas.engines.schema.operations import Operation
from baas.features.rules import store
from baas.features.rules.model import Explanation
from baas.infra.db.pool import Queries

_REFERENCE = "Points to something that does not exist, or that this caller may not see."


@dataclass(frozen=True, slots=True)
class Write:
    """A create (`record` None) or an update, of these cleaned values."""

    table: Table
    asking: Asking
    record: UUID | None
    values: Values


async def faults(db: Queries, compiler: Compiler, write: Write) -> list[Fault]:
    """Everything that does not fit, in the order of the write's own answer; nothing when the record is not there."""
    table, asking, values = write.table, write.asking, write.values
    if write.record is None:
        why = await store.why(db, compiler.why_not_inserted(table, Insert(values), asking))
        names, demands = compiler.reference_names(table, table.columns, asking), compiler.demands(table, asking, "create")
        holds = [] if why is None else [one is None for one in why["failing"]]
    else:
        why = await store.why(db, compiler.why_not_changed(table, Update(write.record, values), asking))
        names, demands = compiler.reference_names(table, values, asking), compiler.demands(table, asking, "update", values)
        holds = [] if why is None else list(why["valid"])
    if why is None:
        return []
    # An operator's list is not the one that is stored, so a place in that one would lead nowhere.
    whole = {name for name, value in values.items() if isinstance(value, Operation)}
    found = [Fault(pointer, "bad_reference", _REFERENCE) for pointer in lost_targets(why["targets"], names, whole=whole)]
    return [*found, *(demand.fault(masked=False) for demand, one in zip(demands, holds, strict=True) if not one)]


def names(found: list[Fault]) -> tuple[str, ...]:
    """The fields that do not fit."""
    return tuple(sorted({fault.pointer.split("/")[1] for fault in found}))


def with_faults(said: Explanation, found: list[Fault]) -> Explanation:
    """What the rule says stays as it is; the answer is that of the write."""
    if not found:
        return said
    code = "bad_reference" if all(one.code == "bad_reference" for one in found) else "invalid"
    hint = f"{said.hint} The rule allows it; the write is refused, because it does not fit: {', '.join(names(found))}."
    return replace(said, status=422, code=code, hint=hint, faults=tuple(found))


def as_json(found: Sequence[Fault]) -> Mapping[str, object]:
    """For an answer that has them."""
    told = [{"pointer": one.pointer, "code": one.code, "message": one.message} for one in found]
    return {"errors": told} if told else {}
