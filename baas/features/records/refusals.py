"""Why a call was refused, as errors that tell this caller nothing he may not know: invisible is absent, hidden never was."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from baas.base.errors import (
    BaasError,
    BadRequest,
    Conflict,
    Fault,
    Forbidden,
    Invalid,
    MethodNotAllowed,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
)
from baas.engines.query.expand import BadFilter
from baas.engines.query.grouping import BadAggregate
from baas.engines.query.reach import BadName
from baas.engines.query.references import lost_targets
from baas.engines.query.table import Table
from baas.engines.query.tree import Delete, Put, Update
from baas.engines.rules.rule import Rule
from baas.engines.rules.types import RuleError
from baas.engines.schema.collection import Action
from baas.engines.schema.constraints import violation_of
from baas.engines.schema.operations import Operation
from baas.features.records.model import MAX_FAULTS, MAX_VAR_ITEMS
from baas.infra.db.errors import ConstraintViolated
from baas.infra.db.pool import Row

_LONGEST_PATH = 200
_LOST = "Points to something that does not exist, or that you may not see."
_ACTS: Mapping[Action, str] = {
    "list": "list these records",
    "view": "view this record",
    "create": "create this record",
    "update": "change this record",
    "delete": "delete this record",
}


class IdTaken(Conflict):
    """The id of a new record is that of a stored one."""

    default_code = "already_exists"


def absent() -> NotFound:
    """The one answer for a record that is not there and for one that this caller cannot see."""
    return NotFound("No such record.", code="record_not_found")


def denied(action: Action) -> Forbidden:
    return Forbidden(f"The rules do not allow you to {_ACTS[action]}.", code="rule_denied", action=action)


def locked(action: Action) -> Forbidden:
    """No rule is set: nobody but operators and secret keys."""
    return Forbidden(f"Only operators and secret keys may {_ACTS[action]}.", code="rule_denied", action=action)


def read_only(collection: str) -> MethodNotAllowed:
    return MethodNotAllowed(f"{collection!r} is a view: it is only read.", code="read_only", headers={"Allow": "GET"})


def taken() -> Conflict:
    return Conflict("There is a record with this value already.", code="already_exists")


def exists_already() -> PreconditionFailed:
    return PreconditionFailed("There is a record with this id already.")


def nothing_to_replace() -> PreconditionFailed:
    return PreconditionFailed("There is no such record to replace.")


def bad_name(error: BadName, expand: str | None = None) -> BadRequest:
    """A name that does not exist for this caller, with its `path`; `expand` is the text to find its `position` in."""
    parameter = error.code.removeprefix("bad_")
    path = ".".join(error.path)[:_LONGEST_PATH]
    position = _position(expand, error.path) if error.code == "bad_expand" and expand is not None else None
    place: dict[str, Any] = {} if position is None else {"position": position}
    return BadRequest(error.message, code=error.code, hint=error.hint, parameter=parameter, path=path, **place)


def _position(text: str, path: Sequence[str]) -> int | None:
    """Where the last name of the path stands in a list of dotted paths, from 0; None in a text of another form."""
    at = 0
    for part in text.split(","):
        start = at + len(part) - len(part.lstrip())
        names = part.strip().split(".")
        if names[: len(path)] == list(path):
            return start + sum(len(name) + 1 for name in names[: len(path) - 1])
        at += len(part) + 1
    return None


def bad_expand_filter(error: BadFilter) -> BadRequest:
    """As `bad_filter`, with the path of the expansion."""
    found = bad_filter(error.error)
    found.facts |= {"parameter": "expand", "path": ".".join(error.path)}
    return found


def bad_filter(error: RuleError) -> BadRequest:
    """With the place: `position` from 0, `line` and `column` from 1, in characters; `fault` is the rule language's own code."""
    return BadRequest(
        f"The filter is wrong: {error.message}",
        code="bad_filter",
        hint=error.hint,
        fault=error.code,
        position=error.position,
        line=error.line,
        column=error.column,
        snippet=error.snippet,
    )


@contextmanager
def in_filter() -> Iterator[None]:
    """A wrong filter leaves the block as an answer."""
    try:
        yield
    except RuleError as error:
        raise bad_filter(error) from None


def demand_precondition(table: Table, *, given: bool) -> None:
    """Raises PreconditionRequired where the collection takes changes of stored records only under a condition."""
    if not given and table.collection.options.get("require_if_match"):
        hint = "Send the ETag that you read as If-Match, or a condition as where."
        raise PreconditionRequired(f"{table.name!r} takes no change without a condition.", hint=hint)


def bad_aggregate(error: BadAggregate) -> BadRequest:
    """Every fault with its pointer; those inside a text have their `position` in it too."""
    first = error.faults[0]
    return BadRequest(f"The aggregate is wrong: {first.message}", code="bad_aggregate", errors=error.faults)


def check_vars(rules: Sequence[Rule], values: Mapping[str, object]) -> None:
    """Raises BadRequest unless `vars` holds exactly the `$names` that the filters use, each of a type that it can be compared
    with; Invalid for a long list."""
    for name, value in values.items():
        if isinstance(value, list) and len(value) > MAX_VAR_ITEMS:
            raise Invalid(f"A list in vars has at most {MAX_VAR_ITEMS} items; {name!r} has more.", code="limit_exceeded")
    used = {name for rule in rules for root, name in rule.names if root == "vars"}
    for rule in rules:
        try:
            rule.check_variables(values)
        except RuleError as error:
            found = bad_filter(error)
            found.facts["parameter"] = "vars"
            raise found from None
    for name in sorted(values.keys() - used):
        raise BadRequest(f"vars holds {name!r}, which the filter does not use.", code="bad_filter", parameter="vars")


def of_insert(why: Row | None, names: Sequence[str], unmet: Sequence[Fault], *, many: bool) -> BaasError:
    """Why nothing was inserted; `unmet` are the validations that do not hold. Pointers into a list of `many` name the record."""
    if why is None or not why["allowed"]:
        return denied("create")
    return _bad_values(lost_targets(why["targets"], names, many=many), unmet) or denied("create")


def of_change(action: Action, why: Row | None, tree: Update | Delete, names: Sequence[str], unmet: Sequence[Fault] = ()) -> None:
    """Raises why an update or a delete touched nothing; returns when by now nothing stands against it.

    A condition asks what the record holds: it is answered only to those who may view it.
    """
    if why is None or (tree.where is not None and not why["seen"]):
        raise absent()
    if not why["allowed"]:
        raise denied(action) if why["seen"] else absent()
    _check_rev(tree.revs, why["rev"], seen=why["seen"])
    if not why["wanted"]:
        raise PreconditionFailed("The record is not one that the condition in where admits.")
    # An operator's list is not the one that is stored, so a place in that one would lead nowhere.
    given = {name for name, value in tree.values.items() if isinstance(value, Operation)} if isinstance(tree, Update) else set()
    if (wrong := _bad_values(lost_targets(why["targets"], names, whole=given), unmet)) is not None:
        raise wrong


def of_put(why: Row | None, tree: Put, names: Sequence[str], unmet: Sequence[Fault] = ()) -> None:
    """The same for a put. To a caller who may not see the record it answers as if there were none, as far as it can."""
    only_old = tree.only_old or tree.revs is not None
    if why is None or not why["present"]:
        if why is not None and only_old:
            raise nothing_to_replace()
        if why is None or not why["may_create"]:
            raise denied("create")
    elif not why["may_update"]:
        if why["seen"]:
            raise denied("update")
        if only_old:
            raise nothing_to_replace()
        raise _id_taken() if why["may_create"] else denied("create")
    else:
        _check_rev(tree.revs, why["rev"], seen=why["seen"])
        changed = [name for name, stays in zip(tree.fixed, why["stays"], strict=True) if not stays]
        if changed:
            raise Invalid(
                "The record does not fit the collection.",
                errors=[Fault(f"/{name}", "immutable", "Cannot be changed once the record exists.") for name in changed],
            )
    if (wrong := _bad_values(lost_targets(why["targets"], names), unmet)) is not None:
        raise wrong


def _id_taken() -> IdTaken:
    message = "There is a record with this id already."
    return IdTaken(message, errors=[Fault("/id", "already_exists", message)])


def of_constraint(error: ConstraintViolated, table: Table, readable: frozenset[str]) -> BaasError:
    """A violated constraint in the caller's words; a field that he cannot read is not named."""
    violation = violation_of(error, table.others)
    if violation is None:
        return Conflict("The change conflicts with what is stored.")
    names = [name for name in violation.fields if name in readable]
    if violation.kind == "reference":
        if violation.collection.name != table.name or not names:
            return still_referenced()
        return bad_reference([f"/{name}" for name in names])
    if len(names) < len(violation.fields):
        names = []
    if violation.kind == "unique":
        message = "There is a record with this value already."
        return (IdTaken if violation.fields == ("id",) else Conflict)(
            message, code="already_exists", errors=[Fault(f"/{name}", "already_exists", message) for name in names]
        )
    message = "Must not be null." if violation.kind == "required" else "Does not fit the field."
    code = "required" if violation.kind == "required" else "invalid"
    return Invalid("The record does not fit the collection.", errors=[Fault(f"/{name}", code, message) for name in names])


def still_referenced() -> Conflict:
    return Conflict("Other records still link to this one.", code="still_referenced")


def bad_reference(pointers: Sequence[str]) -> Invalid:
    """The same words for a target that is missing and for one that this caller may not see."""
    return Invalid(_LOST, code="bad_reference", errors=lost(pointers))


def lost(pointers: Sequence[str]) -> list[Fault]:
    """A fault for each of them."""
    return [Fault(one, "bad_reference", _LOST) for one in pointers]


def _bad_values(wrong: Sequence[str], unmet: Sequence[Fault]) -> Invalid | None:
    """What points to nothing, and what a field does not take, all at once."""
    references = bad_reference(wrong[:MAX_FAULTS]) if wrong else None
    if not unmet:
        return references
    faults = [*(references.errors if references else ()), *unmet]
    return Invalid("The record does not fit the collection.", errors=faults[:MAX_FAULTS])


def _check_rev(wanted: Sequence[int] | None, stored: int, *, seen: bool) -> None:
    if wanted is not None and stored not in wanted:
        raise PreconditionFailed(
            "The record has changed since you read it.",
            hint="Read it again and repeat the change.",
            headers={"ETag": f'"{stored}"'} if seen else None,
        )
