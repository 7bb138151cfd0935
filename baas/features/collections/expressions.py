"""The expressions of a schema: rules, `read` of fields, conditions of indexes. All of them are checked before any is stored."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

from baas.base.errors import Fault
from baas.engines.query.table import row_type, rule_env
from baas.engines.rules.rule import Env, Facts, Rule, RuleError, check
from baas.engines.rules.tree import Fact, walk
from baas.engines.schema.collection import ACTIONS, SYSTEM_FIELDS, Collection, Index
from baas.engines.schema.fields import kind_of
from baas.engines.schema.manifest import place, pointer
from baas.features.collections.model import BrokenExpression
from baas.infra.db.sql import Sql, ident, literal

_NO_FACTS = Facts(auth=None, now=datetime(2000, 1, 1, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class _Expression:
    """`sent` is its place in the body of the change, or None when the body does not speak of it."""

    collection: str
    place: str
    sent: str | None
    source: str
    env: Env
    is_condition: bool = False


def check_expressions(
    collections: Mapping[str, Collection], name: str, body: Mapping[str, object]
) -> tuple[list[Fault], list[BrokenExpression]]:
    """What is wrong among all expressions of the project, `name` being the collection that `body` makes or changes ("" for none).

    Faults are of expressions that the body brings, with line, column, snippet and hint; the others were right until this change.
    """
    faults, broken = [], []
    # Only a change of fields, or the end of a collection (which has no body), can break what was right before.
    anywhere = "fields" in body or not name
    for one in _expressions(collections, name, body):
        if one.sent is None and not anywhere:
            continue
        error = _error_of(one)
        if error is None:
            continue
        if one.sent is None:
            broken.append(BrokenExpression(one.collection, one.place, error))
        else:
            details = {key: value for key, value in error.items() if key not in ("code", "message")}
            faults.append(Fault(one.sent, str(error["code"]), str(error["message"]), details))
    return faults, broken


def condition(collection: Collection, index: Index) -> Sql:
    """A partial index's condition over the bare columns of its table, constants written out as an index demands."""
    rule = check(index.where or "true", _index_env(collection))
    folded = rule.fold(_NO_FACTS)
    if folded.verdict is not None:
        return literal(folded.verdict)
    return rule.where(folded.shape, lambda _root, field: _column(collection, field), "index")


def _expressions(
    collections: Mapping[str, Collection], name: str, body: Mapping[str, object]
) -> Iterator[_Expression]:
    for collection in collections.values():
        mine = body if collection.name == name else MappingProxyType({})
        yield from _rules(collection, collections, mine)
        yield from _reads(collection, collections, mine)
        yield from _conditions(collection, mine)


def _rules(collection: Collection, collections: Mapping[str, Collection], body: Mapping[str, object]) -> Iterator[_Expression]:
    sent = body.get("rules")
    for action in ACTIONS:
        source = collection.rules.get(action)
        if source is not None:
            at = pointer("/rules", action)
            given = at if isinstance(sent, dict) and action in sent else None
            yield _Expression(collection.name, at, given, source, rule_env(collection, action, collections))


def _reads(collection: Collection, collections: Mapping[str, Collection], body: Mapping[str, object]) -> Iterator[_Expression]:
    for number, field in enumerate(collection.fields):
        if field.read is not None:
            at = pointer("/fields", number, "read")
            given = pointer(place(body, field.name), "read") if "fields" in body else None
            yield _Expression(collection.name, at, given, field.read, rule_env(collection, "view", collections))


def _conditions(collection: Collection, body: Mapping[str, object]) -> Iterator[_Expression]:
    for number, index in enumerate(collection.indexes):
        if index.where is not None:
            at = pointer("/indexes", number, "where")
            given = at if "indexes" in body else None
            yield _Expression(collection.name, at, given, index.where, _index_env(collection), is_condition=True)


def _error_of(one: _Expression) -> Mapping[str, object] | None:
    try:
        rule = check(one.source, one.env)
    except RuleError as error:
        return error.as_dict()
    return _error_of_condition(rule) if one.is_condition else None


def _error_of_condition(rule: Rule) -> Mapping[str, object] | None:
    """An index is made once and for everybody: its condition may name the record and nothing that moves."""
    strangers = sorted({node.root for node in walk(rule.tree) if isinstance(node, Fact)})
    if not strangers:
        return None
    return {"code": "not_allowed", "message": f"The condition of an index names only the record, not {', '.join(strangers)}."}


def _index_env(collection: Collection) -> Env:
    return Env(action="view", record=row_type(collection), bare="record", kind="rule")


def _column(collection: Collection, name: str) -> Sql:
    field = collection.field(name)
    if field is None and name not in SYSTEM_FIELDS:
        raise ValueError(name)
    return ident(name) if field is None else kind_of(field).rule_column(ident(name), field)
