"""The expressions of a schema: rules, `read` and `validate` of fields, conditions of indexes. None is stored unchecked.

Rules of what stands beside the collections, buckets and channels, are asked with them whenever the schema changes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from baas.base.errors import Fault
from baas.engines.query.conditions import check_condition
from baas.engines.query.guarded import Guarded, Kind
from baas.engines.query.table import check_validation, rule_env
from baas.engines.rules.lint import check_access
from baas.engines.rules.rule import Rule, RuleError
from baas.engines.rules.valueless import refuse_valueless
from baas.engines.schema.collection import ACTIONS, Action, Collection, Field
from baas.engines.schema.manifest import place, pointer
from baas.features.collections.model import BrokenExpression


@dataclass(frozen=True, slots=True)
class _Expression:
    """`sent` is its place in the body of the change, or None when the body does not speak of it. `check` is asked with all
    collections of the project, as they will be or as they were."""

    name: str
    place: str
    sent: str | None
    check: Callable[[Mapping[str, Collection]], Rule | None]
    kind: Kind = "collection"


def check_expressions(
    old: Mapping[str, Collection], new: Mapping[str, Collection], name: str, body: Mapping[str, object], beside: Sequence[Guarded]
) -> tuple[list[Fault], list[BrokenExpression]]:
    """What a change of the collections makes wrong, `name` being the one that `body` makes or changes ("" for none).

    Faults are of expressions that the body brings, with line, column, snippet and hint. Of the others those are told that have
    a fault which they did not have until this change.
    """
    faults, broken = [], []
    # Only a change of fields, or the end of a collection (which has no body), can break what was right before.
    anywhere = "fields" in body or "view" in body or not name
    for one in (*_expressions(new, name, body), *_beside(beside)):
        if one.sent is None and not anywhere:
            continue
        error = _error_of(one, new)
        if error is None:
            continue
        if one.sent is None:
            before = _error_of(one, old)
            if before is None or before["code"] != error["code"]:
                broken.append(BrokenExpression(one.kind, one.name, one.place, error))
        else:
            details = {key: value for key, value in error.items() if key not in ("code", "message")}
            faults.append(Fault(one.sent, str(error["code"]), str(error["message"]), details))
    return faults, broken


def _expressions(collections: Mapping[str, Collection], name: str, body: Mapping[str, object]) -> Iterator[_Expression]:
    for collection in collections.values():
        mine = body if collection.name == name else MappingProxyType({})
        yield from _rules(collection, mine)
        yield from _reads(collection, mine)
        yield from _validations(collection, mine)
        yield from _conditions(collection, mine)


def _beside(beside: Sequence[Guarded]) -> Iterator[_Expression]:
    for one in beside:
        for action in one.rules:
            yield _Expression(one.name, pointer("/rules", action), None, partial(one.check, action), one.kind)


def _rules(collection: Collection, body: Mapping[str, object]) -> Iterator[_Expression]:
    sent = body.get("rules")
    for action in ACTIONS:
        source = collection.rules.get(action)
        if source is not None:
            at = pointer("/rules", action)
            given = at if isinstance(sent, dict) and action in sent else None
            yield _Expression(collection.name, at, given, partial(_rule, collection.name, action, source))


def _reads(collection: Collection, body: Mapping[str, object]) -> Iterator[_Expression]:
    for number, field in enumerate(collection.fields):
        if field.read is not None:
            at = pointer("/fields", number, "read")
            given = pointer(place(body, field.name), "read") if "fields" in body else None
            yield _Expression(collection.name, at, given, partial(_rule, collection.name, "view", field.read))


def _validations(collection: Collection, body: Mapping[str, object]) -> Iterator[_Expression]:
    for number, field in enumerate(collection.fields):
        if field.validate is not None:
            at = pointer("/fields", number, "validate")
            given = pointer(place(body, field.name), "validate") if "fields" in body else None
            yield _Expression(collection.name, at, given, partial(_validation, collection.name, field))


def _conditions(collection: Collection, body: Mapping[str, object]) -> Iterator[_Expression]:
    for number, index in enumerate(collection.indexes):
        if index.where is not None:
            at = pointer("/indexes", number, "where")
            given = at if "indexes" in body else None
            yield _Expression(collection.name, at, given, partial(_condition, collection.name, index.where))


def _rule(name: str, action: Action, source: str, collections: Mapping[str, Collection]) -> Rule:
    return check_access(source, rule_env(collections[name], action, collections))


def _validation(name: str, field: Field, collections: Mapping[str, Collection]) -> Rule:
    return _valued(check_validation(collections[name], field, collections))


def _condition(name: str, source: str, collections: Mapping[str, Collection]) -> Rule:
    return _valued(check_condition(collections[name], source))


def _valued(rule: Rule) -> Rule:
    """Demands that every condition in it can have a value; R003 is of rules alone, where two nulls would let somebody in."""
    refuse_valueless(rule.source, rule.tree)
    return rule


def _error_of(one: _Expression, collections: Mapping[str, Collection]) -> Mapping[str, object] | None:
    try:
        one.check(collections)
    except RuleError as error:
        return error.as_dict()
    return None
