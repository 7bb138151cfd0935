"""Conditions of partial indexes: expressions over the record alone, as SQL with every constant written out."""

from datetime import UTC, datetime

from baas.engines.query.table import row_type
from baas.engines.rules.rows import Alone
from baas.engines.rules.rule import Env, Facts, Rule, RuleError, check
from baas.engines.rules.tree import Fact, walk
from baas.engines.schema.collection import SYSTEM_FIELDS, Collection, Index
from baas.engines.schema.fields import kind_of
from baas.infra.db.sql import Sql, ident, literal

_NO_FACTS = Facts(auth=None, now=datetime(2000, 1, 1, tzinfo=UTC))


def check_condition(collection: Collection, source: str) -> Rule:
    """The checked condition. Raises RuleError, also for what differs between callers or moments: the index is one for all."""
    rule = check(source, Env(action="view", record=row_type(collection), bare="record", kind="rule"))
    strangers = sorted({node.root for node in walk(rule.tree) if isinstance(node, Fact)})
    if strangers:
        message = f"The condition of an index names only the record, not {', '.join(strangers)}."
        raise RuleError(source, source.find(strangers[0]), "not_allowed", message)
    return rule


def condition(collection: Collection, index: Index) -> Sql:
    """The condition over the bare columns of the table, without parameters."""
    rule = check_condition(collection, index.where or "true")
    folded = rule.fold(_NO_FACTS)
    if folded.verdict is not None:
        return literal(folded.verdict)
    return rule.where(folded.shape, Alone(lambda _root, field: _column(collection, field)), "index")


def _column(collection: Collection, name: str) -> Sql:
    field = collection.field(name)
    if field is None and name not in SYSTEM_FIELDS:
        raise ValueError(name)
    return ident(name) if field is None else kind_of(field).rule_column(ident(name), field)
