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
from baas.engines.schema.collection import ACTIONS, Collection, Field
from baas.engines.schema.manifest import place, pointer
from baas.features.collections.model import BrokenExpression


@dataclass(frozen=True, slots=True)
class _Expression:
    """`sent` is its place in the body of the change, or None when the body does not speak of it."""

    name: str
    place: str
    sent: str | None
    check: Callable[[], Rule | None]
    kind: Kind = "collection"


def check_expressions(
    collections: Mapping[str, Collection], name: str, body: Mapping[str, object], beside: Sequence[Guarded]
) -> tuple[list[Fault], list[BrokenExpression]]:
    """What is wrong among all expressions of the project, `name` being the collection that `body` makes or changes ("" for none).

    Faults are of expressions that the body brings, with line, column, snippet and hint; the others were right until this change.
    """
    faults, broken = [], []
    # Only a change of fields, or the end of a collection (which has no body), can break what was right before.
    anywhere = "fields" in body or "view" in body or not name
    for one in (*_expressions(collections, name, body), *_beside(beside, collections)):
        if one.sent is None and not anywhere:
            continue
        error = _error_of(one)
        if error is None:
            continue
        if one.sent is None:
            broken.append(BrokenExpression(one.kind, one.name, one.place, error))
        else:
            details = {key: value for key, value in error.items() if key not in ("code", "message")}
            faults.append(Fault(one.sent, str(error["code"]), str(error["message"]), details))
    return faults, broken


def _expressions(collections: Mapping[str, Collection], name: str, body: Mapping[str, object]) -> Iterator[_Expression]:
    for collection in collections.values():
        mine = body if collection.name == name else MappingProxyType({})
        yield from _rules(collection, collections, mine)
        yield from _reads(collection, collections, mine)
        yield from _validations(collection, collections, mine)
        yield from _conditions(collection, mine)


def _beside(beside: Sequence[Guarded], collections: Mapping[str, Collection]) -> Iterator[_Expression]:
    for one in beside:
        for action in one.rules:
            yield _Expression(one.name, pointer("/rules", action), None, partial(one.check, action, collections), one.kind)


def _rules(collection: Collection, collections: Mapping[str, Collection], body: Mapping[str, object]) -> Iterator[_Expression]:
    sent = body.get("rules")
    for action in ACTIONS:
        source = collection.rules.get(action)
        if source is not None:
            at = pointer("/rules", action)
            given = at if isinstance(sent, dict) and action in sent else None
            env = rule_env(collection, action, collections)
            yield _Expression(collection.name, at, given, partial(check_access, source, env))


def _reads(collection: Collection, collections: Mapping[str, Collection], body: Mapping[str, object]) -> Iterator[_Expression]:
    for number, field in enumerate(collection.fields):
        if field.read is not None:
            at = pointer("/fields", number, "read")
            given = pointer(place(body, field.name), "read") if "fields" in body else None
            env = rule_env(collection, "view", collections)
            yield _Expression(collection.name, at, given, partial(check_access, field.read, env))


def _validations(
    collection: Collection, collections: Mapping[str, Collection], body: Mapping[str, object]
) -> Iterator[_Expression]:
    for number, field in enumerate(collection.fields):
        if field.validate is not None:
            at = pointer("/fields", number, "validate")
            given = pointer(place(body, field.name), "validate") if "fields" in body else None
            yield _Expression(collection.name, at, given, partial(_validation, collection, field, collections))


def _conditions(collection: Collection, body: Mapping[str, object]) -> Iterator[_Expression]:
    for number, index in enumerate(collection.indexes):
        if index.where is not None:
            at = pointer("/indexes", number, "where")
            given = at if "indexes" in body else None
            yield _Expression(collection.name, at, given, partial(_condition, collection, index.where))


def _validation(collection: Collection, field: Field, collections: Mapping[str, Collection]) -> Rule:
    return _valued(check_validation(collection, field, collections))


def _condition(collection: Collection, source: str) -> Rule:
    return _valued(check_condition(collection, source))


def _valued(rule: Rule) -> Rule:
    """Demands that every condition in it can have a value; R003 is of rules alone, where two nulls would let somebody in."""
    refuse_valueless(rule.source, rule.tree)
    return rule


def _error_of(one: _Expression) -> Mapping[str, object] | None:
    try:
        one.check()
    except RuleError as error:
        return error.as_dict()
    return None
