"""Create records, or change those with the same unique key."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from baas.base.errors import BaasError, Conflict, Fault, Invalid, Unavailable
from baas.base.principal import Principal
from baas.base.project import Project
from baas.engines.query.asking import Asking
from baas.engines.query.compile import Compiler
from baas.engines.query.table import Table
from baas.engines.query.upsert import UpsertMany
from baas.engines.query.upsert import Upserts as Statements
from baas.engines.schema.validate import immutable_names
from baas.features.records import refusals
from baas.features.records.model import MAX_FAULTS, MAX_ROWS
from baas.features.records.query import strangers
from baas.features.records.store import RecordStore
from baas.features.records.writing import Places, all_new_values, locks, positions, refused
from baas.infra.db.pool import Row
from baas.infra.http.routes import Body as Shape

Body = Mapping[str, object]
_TRIES = 3
_MAX_KEY = 8
_MESSAGE = "Some records do not fit the collection."


class Upserted(NamedTuple):
    """`items` is the JSON texts of the records with commas between them."""

    items: str
    created: int
    updated: int


class Asks(Protocol):
    async def __call__(self, project: Project, principal: Principal, collection: str, sent: Body) -> tuple[Table, Asking]: ...


class Upserts:
    """`ask` refuses callers to whom creating or changing is closed."""

    def __init__(self, store: RecordStore, compiler: Compiler, ask: Asks) -> None:
        self._places = Places(store)
        self._store = store
        self._compiler = compiler
        self._ask = ask
        self._statements = Statements(compiler)

    async def upsert(self, project: Project, principal: Principal, collection: str, body: Body) -> Upserted:
        """All of the items or none, in the order given. Raises Invalid with every fault, Forbidden, Conflict."""
        key, bodies = _read(body)
        table, asking = await self._ask(project, principal, collection, bodies[0] if bodies else {})
        _check_key(table, asking, key)
        if not bodies:
            return Upserted("", 0, 0)
        tree = _tree(table, asking, key, bodies)
        for _ in range(_TRIES):
            try:
                with refused(table, asking):
                    statement = self._statements.statement(table, tree, asking)
                    row = await self._store.tally(statement, asking.limit_s, locks(table, asking, "create", "update"))
            except (Conflict, Invalid) as error:
                if error.code != "already_exists":
                    raise _in_items(await self._places.told(table, asking, tree.rows, error, key)) from None
                taken = error
                continue  # made by somebody else a moment ago: this time it is there to be changed
            if row["ok"]:
                return Upserted(row["items"] or "", row["created"], row["updated"])
            raise self._why(table, tree, asking, row)
        raise _in_items(await self._places.told(table, asking, tree.rows, taken, key)) from None

    def _why(self, table: Table, tree: UpsertMany, asking: Asking, row: Row) -> BaasError:
        if not row["may_create"]:
            return refusals.denied("create")
        if row["refused"]:
            return refusals.denied("update")
        if not row["may_update"]:
            # Of a record that he may not view he learns what a create would tell him, which is that the value is taken.
            return refusals.taken() if row["may_pass"] else refusals.denied("create")
        masked = asking.masked
        old = [
            *_wrong(self._compiler.reference_names(table, tree.changes, asking)),
            *(Fault(f"/{name}", "immutable", "Cannot be changed once the record exists.") for name in tree.fixed),
            *(one.fault(masked=masked) for one in self._compiler.demands(table, asking, "update", tree.changes)),
        ]
        new = [
            *_wrong(self._compiler.reference_names(table, table.columns, asking)),
            *(one.fault(masked=masked) for one in self._compiler.demands(table, asking, "create")),
        ]
        found = [*_placed(row["old_met"], old), *_placed(row["new_met"], new)]
        if not found:
            return Unavailable("The records were changing too fast; try again.", code="busy")
        faults = [fault for _, fault in sorted(found, key=lambda one: one[0])]
        return Invalid(_MESSAGE, errors=faults[:MAX_FAULTS])


def _in_items(error: BaasError) -> BaasError:
    error.errors = tuple(Fault(f"/items{one.pointer}", one.code, one.message) for one in error.errors)
    return error


def _wrong(names: Sequence[str]) -> Sequence[Fault]:
    return refusals.lost([f"/{name}" for name in names])


def _placed(failing: Sequence[str | None], faults: Sequence[Fault]) -> list[tuple[int, Fault]]:
    return [
        (at, Fault(f"/items/{at}{fault.pointer}", fault.code, fault.message))
        for texts, fault in zip(failing, faults, strict=True)
        for at in positions(texts)
    ]


def _tree(table: Table, asking: Asking, key: tuple[str, ...], bodies: Sequence[Body]) -> UpsertMany:
    faults = [
        Fault(f"/items/{at}", "other_keys", "Must have the same keys as the first one.")
        for at, one in enumerate(bodies)
        if one.keys() != bodies[0].keys()
    ]
    for at, one in enumerate(bodies):
        faults += [Fault(f"/items/{at}/{name}", "required", "Must be given.") for name in key if one.get(name) is None]
        if "id" in one and "id" not in key:
            faults.append(Fault(f"/items/{at}/id", "not_allowed", "A record that is found by another key has its id already."))
    if faults:
        raise Invalid(_MESSAGE, errors=faults[:MAX_FAULTS])
    try:
        rows = all_new_values(table, asking, bodies)
    except Invalid as error:
        raise _in_items(error) from None
    seen: dict[tuple[str, ...], int] = {}
    again = [at for at, one in enumerate(rows) if seen.setdefault(tuple(str(one[name]) for name in key), at) != at]
    if again:
        raise Invalid(_MESSAGE, errors=[Fault(f"/items/{at}", "duplicate", "Another item has the same key.") for at in again])
    immutable = immutable_names(table.collection, privileged=not asking.masked)
    given = [field.name for field in table.collection.fields if field.name in bodies[0] and field.name not in key]
    changes, fixed = ([name for name in given if (name in immutable) is kept] for kept in (False, True))
    return UpsertMany(key, rows, tuple(changes), tuple(fixed))


def _check_key(table: Table, asking: Asking, key: tuple[str, ...]) -> None:
    """Raises Invalid unless exactly these fields are unique together; the same for a field that this caller cannot read."""
    hidden = set(table.gated(table.columns)) if asking.masked else set()
    readable = set(table.names(masked=asking.masked)) - hidden
    unique = [{"id"}, *({field.name} for field in table.collection.fields if field.unique)]
    unique += [
        {name.removeprefix("-") for name in one.fields} for one in table.collection.indexes if one.unique and not one.where
    ]
    if set(key) <= readable and set(key) in unique:
        return
    message = "Must be the id, a unique field, or the fields of a unique index."
    raise Invalid(message, errors=[Fault("/key", "no_unique_key", message)])


def _read(body: Body) -> tuple[tuple[str, ...], list[dict[str, object]]]:
    """The key and the items. Raises Invalid with every fault."""
    faults = strangers(body, ("key", "items"))
    key, items = body.get("key"), body.get("items")
    if not isinstance(key, list) or not 1 <= len(key) <= _MAX_KEY or not all(isinstance(name, str) for name in key):
        faults.append(Fault("/key", "required" if key is None else "wrong_type", f"Must be a list of 1 to {_MAX_KEY} names."))
    if not isinstance(items, list):
        faults.append(Fault("/items", "required" if items is None else "wrong_type", "Must be a list of objects."))
    elif len(items) > MAX_ROWS:
        raise Invalid(f"One call takes at most {MAX_ROWS} records.", code="limit_exceeded", limit=MAX_ROWS)
    else:
        places = [at for at, one in enumerate(items) if not isinstance(one, dict)]
        faults += [Fault(f"/items/{at}", "not_an_object", "Must be an object.") for at in places]
    if faults:
        raise Invalid("The call is not of the form it must have.", errors=faults[:MAX_FAULTS])
    assert isinstance(key, list) and isinstance(items, list)  # noqa: S101, PT018  seen above
    return tuple(dict.fromkeys(key)), items


REQUEST = Shape(
    {
        "type": "object",
        "additionalProperties": False,
        "required": ["key", "items"],
        "properties": {
            "key": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": _MAX_KEY},
            "items": {"type": "array", "items": {"type": "object"}, "maxItems": MAX_ROWS},
        },
    }
)
_COUNT = {"type": "integer", "minimum": 0}
ANSWER = Shape(
    {
        "type": "object",
        "required": ["items", "created", "updated"],
        "properties": {"items": {"type": "array", "items": {"type": "object"}}, "created": _COUNT, "updated": _COUNT},
    }
)
