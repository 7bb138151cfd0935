"""Change or delete many records at once, by a filter and under a limit."""

from collections.abc import Mapping
from typing import Protocol

from baas.base.errors import BaasError, Conflict, Fault, Invalid
from baas.base.principal import Principal
from baas.base.project import Project
from baas.engines.query import bulk
from baas.engines.query.asking import Asking
from baas.engines.query.bulk import DeleteMany, UpdateMany
from baas.engines.query.compile import Compiler
from baas.engines.query.table import Table
from baas.engines.query.tree import Filter
from baas.engines.schema.collection import Action
from baas.features.records import refusals
from baas.features.records.model import MAX_FAULTS, MAX_FILTER_LENGTH, MAX_ROWS
from baas.features.records.query import body_filter, strangers
from baas.features.records.store import RecordStore
from baas.features.records.writing import changed_values, locks, refused
from baas.infra.db.pool import Row
from baas.infra.http.routes import Body as Shape

Body = Mapping[str, object]


class Asks(Protocol):
    """What the room knows of a call before any record is looked at: the collection, and the facts with those of a filter."""

    async def __call__(  # noqa: PLR0917  who asks, for what
        self, project: Project, principal: Principal, collection: str, action: Action, where: Filter, sent: Body | None
    ) -> tuple[Table, Asking]: ...


class Bulk:
    """Many records in one statement. `ask` refuses callers to whom the list or the change is closed."""

    def __init__(self, store: RecordStore, compiler: Compiler, ask: Asks) -> None:
        self._store = store
        self._compiler = compiler
        self._ask = ask
        self._statements = bulk.Bulk(compiler)

    async def update(self, project: Project, principal: Principal, collection: str, body: Body) -> int:
        """Change every record that the filter shows and that the rule lets this caller change; how many.

        Raises Conflict (`too_many_affected`) above `max_affected`, Invalid when the patch does not fit one of them: nothing is
        written then. Else as a list and a patch do.
        """
        wanted, most = _read(body, patch=True)
        patch = body["patch"]
        assert isinstance(patch, dict)  # noqa: S101  `_read` saw to it
        table, asking = await self._ask(project, principal, collection, "update", wanted, patch)
        try:
            values = changed_values(table, asking, patch)
        except Invalid as error:
            raise Invalid(error.detail, errors=[_inside_patch(fault) for fault in error.errors]) from None
        tree = UpdateMany(wanted, values, most)
        with refusals.in_filter():
            statement = self._statements.update(table, tree, asking)
        if not values:
            return 0  # a change of nothing is none: no revision, nothing in the log
        try:
            with refused(table, asking):
                row = await self._store.tally(statement, asking.limit_s, locks(table, asking, "update"))
        except (Conflict, Invalid) as error:
            error.errors = tuple(_inside_patch(fault) for fault in error.errors)
            raise
        names = self._compiler.reference_names(table, values, asking)
        demands = self._compiler.demands(table, asking, "update", values)
        if (wrong := _unmet(row, names, [demand.fault(masked=asking.masked) for demand in demands])) is not None:
            raise wrong
        return _affected(row, most)

    async def delete(self, project: Project, principal: Principal, collection: str, body: Body) -> int:
        """Delete every record that the filter shows and that the rule lets this caller delete; how many. Raises as `update`."""
        wanted, most = _read(body, patch=False)
        table, asking = await self._ask(project, principal, collection, "delete", wanted, None)
        with refusals.in_filter():
            statement = self._statements.delete(table, DeleteMany(wanted, most), asking)
        with refused(table, asking, "delete"):
            row = await self._store.tally(statement, asking.limit_s, locks(table, asking, "delete"))
        return _affected(row, most)


def _affected(row: Row, most: int) -> int:
    if row["matched"] > most:
        detail = f"More than {most} records would be affected; nothing was written."
        raise Conflict(detail, code="too_many_affected", hint="Narrow the filter, or allow more.", max_affected=most)
    return int(row["affected"])


def _unmet(row: Row, names: tuple[str, ...], faults: list[Fault]) -> BaasError | None:
    """What does not fit one of the records, first what it points to."""
    met = list(row["met"])
    missing = [f"/{name}" for name, holds in zip(names, met, strict=False) if not holds]
    found = list(refusals.bad_reference(missing).errors) if missing else []
    found += [fault for fault, holds in zip(faults, met[len(names) :], strict=True) if not holds]
    if not found:
        return None
    return Invalid("The patch does not fit every record.", errors=[_inside_patch(fault) for fault in found[:MAX_FAULTS]])


def _inside_patch(fault: Fault) -> Fault:
    return Fault(f"/patch{fault.pointer}", fault.code, fault.message, fault.details)


def _read(body: Body, *, patch: bool) -> tuple[Filter, int]:
    """The filter and the limit. Raises Invalid with every fault, BadRequest for an empty filter."""
    known = ("filter", "vars", "patch", "max_affected") if patch else ("filter", "vars", "max_affected")
    faults = strangers(body, known)
    types: list[tuple[str, type, str]] = [("filter", str, "a string"), ("max_affected", int, "a whole number")]
    types += [("patch", dict, "an object of fields")] if patch else []
    for name, kind, words in types:
        if body.get(name) is None:
            faults.append(Fault(f"/{name}", "required", "Must be given."))
        elif type(body[name]) is not kind:
            faults.append(Fault(f"/{name}", "wrong_type", f"Must be {words}."))
    if body.get("vars") is not None and not isinstance(body["vars"], dict):
        faults.append(Fault("/vars", "wrong_type", "Must be an object."))
    most = body.get("max_affected")
    if type(most) is int and not 1 <= most <= MAX_ROWS:
        faults.append(Fault("/max_affected", "out_of_range", f"Must be between 1 and {MAX_ROWS}."))
    if faults:
        raise Invalid("The call is not of the form it must have.", errors=faults[:MAX_FAULTS])
    assert isinstance(most, int)  # noqa: S101  seen above
    return body_filter(body), most


_FILTER = {
    "filter": {"type": "string", "maxLength": MAX_FILTER_LENGTH, "description": "An expression over the fields of a record."},
    "vars": {"type": "object", "description": "The values of the $names in the filter."},
    "max_affected": {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_ROWS,
        "description": "Above it 409, and nothing written.",
    },
}
_PATCH = {"type": "object", "description": "As in PATCH, operators too."}
UPDATE_REQUEST = Shape(
    {
        "type": "object",
        "additionalProperties": False,
        "required": ["filter", "patch", "max_affected"],
        "properties": {**_FILTER, "patch": _PATCH},
    }
)
DELETE_REQUEST = Shape(
    {"type": "object", "additionalProperties": False, "required": ["filter", "max_affected"], "properties": _FILTER}
)
AFFECTED = Shape({"type": "object", "required": ["affected"], "properties": {"affected": {"type": "integer", "minimum": 0}}})
