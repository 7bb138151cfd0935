"""What every write of the room needs: the values of a body, the locks of its rules, and what a violated constraint is called."""

from collections.abc import Mapping, Sequence

from baas.base.errors import BaasError, Fault, Invalid
from baas.base.ids import uuid7
from baas.engines.query.asking import Asking
from baas.engines.query.collisions import Collisions
from baas.engines.query.table import Table
from baas.engines.query.tree import Values
from baas.engines.schema.collection import Action
from baas.engines.schema.constraints import violation_of
from baas.engines.schema.validate import clean_create, clean_patch
from baas.features.records import refusals
from baas.features.records.model import MAX_FAULTS, MAX_ROWS
from baas.features.records.store import RecordStore
from baas.infra.db.errors import ConstraintViolated

Body = Mapping[str, object]


class refused:  # noqa: N801  reads as a word at its use
    """A constraint that was violated leaves the block as a refusal that this caller may read."""

    def __init__(self, table: Table, asking: Asking, action: Action = "update") -> None:
        self._table = table
        self._action = action
        gated = table.gated(table.columns) if asking.masked else ()
        self._readable = frozenset(table.names(masked=asking.masked)) - frozenset(gated)

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ConstraintViolated):
            refusal = refusals.of_constraint(error, self._table, self._readable)
            # Records of the same collection may link to the one that is deleted: it is not the deleted one that points wrong.
            gone = self._action == "delete" and refusal.code == "bad_reference"
            raise (refusals.still_referenced() if gone else refusal) from error


class Places:
    """Says of a refusal of many records which of them it is."""

    def __init__(self, store: RecordStore) -> None:
        self._store = store
        self._statements = Collisions()

    async def told(
        self, table: Table, asking: Asking, rows: tuple[Values, ...], error: BaasError, key: Sequence[str] = ()
    ) -> BaasError:
        """The refusal with pointers from the list on; without any where the records cannot be told."""
        if not error.errors or not isinstance(error.__cause__, ConstraintViolated):
            return error
        violation = violation_of(error.__cause__, table.others)
        found = None
        if violation is not None:
            statement = self._statements.statement(table, rows, asking, violation, key)
            found = None if statement is None else await self._store.why(statement)
        places = [] if found is None else positions(found["places"])
        error.errors = tuple(Fault(f"/{at}{one.pointer}", one.code, one.message) for at in places for one in error.errors)[
            :MAX_FAULTS
        ]
        return error


def positions(text: str | None) -> list[int]:
    """PostgreSQL's text of an array of positions from 1, as places from 0."""
    return [int(one) - 1 for one in text[1:-1].split(",")] if text else []


def new_values(table: Table, asking: Asking, body: Body) -> dict[str, object]:
    """What a create stores. Raises Invalid with every fault."""
    _refuse_account_fields(table, asking, body)
    return clean_create(table.collection, body, privileged=not asking.masked)


def changed_values(table: Table, asking: Asking, body: Body) -> dict[str, object]:
    """What an update changes. Raises Invalid with every fault."""
    _refuse_account_fields(table, asking, body)
    return clean_patch(table.collection, body, privileged=not asking.masked)


def _refuse_account_fields(table: Table, asking: Asking, body: Body) -> None:
    """What sign-in depends on (`email`, `email_verified`, `disabled` of users) changes through auth alone, whatever rules say."""
    if asking.masked and table.collection.system:
        names = [field.name for field in table.collection.fields if field.system and field.name in body]
        if names:
            faults = [Fault(f"/{name}", "readonly", "Cannot be written by this caller.") for name in names]
            raise Invalid("The record does not fit the collection.", errors=faults)


def all_new_values(table: Table, asking: Asking, bodies: Sequence[object]) -> tuple[dict[str, object], ...]:
    if len(bodies) > MAX_ROWS:
        raise Invalid(f"One call creates at most {MAX_ROWS} records.", code="limit_exceeded", limit=MAX_ROWS)
    rows, faults = [], []
    for at, body in enumerate(bodies):
        if not isinstance(body, dict):
            faults.append(Fault(f"/{at}", "not_an_object", "Must be an object."))
        else:
            try:
                rows.append(new_values(table, asking, body))
            except Invalid as error:
                faults += [Fault(f"/{at}{fault.pointer}", fault.code, fault.message) for fault in error.errors]
    if not faults and table.looks_at_input("create"):
        keys = [frozenset(body) for body in bodies if isinstance(body, dict)]
        faults = [
            Fault(f"/{at}", "other_keys", "Must have the same keys as the first one, because the rule looks at them.")
            for at, one in enumerate(keys)
            if one != keys[0]
        ]
    if faults:
        raise Invalid("Some records do not fit the collection.", errors=faults[:MAX_FAULTS])
    # Of one millisecond the ids are in no order; sorted, they keep the order of the call in a list by id.
    for values, made in zip(rows, sorted(uuid7() for _ in rows), strict=True):
        values.setdefault("id", made)
    return tuple(rows)


def locks(table: Table, asking: Asking, *actions: Action) -> tuple[str, ...]:
    """What must be locked before the rules of these actions are asked, because they count."""
    rules = [name for action in actions for name in table.counted(action)] if asking.judged else ()
    return tuple(sorted({f"{table.collection.schema}.{name}" for name in rules}))
