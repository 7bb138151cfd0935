"""Why a field is missing from an answer, and why a value was refused: its `read` and its `validate`, part by part."""

from dataclasses import dataclass
from datetime import datetime

from baas.base.errors import Fault, Invalid, did_you_mean
from baas.engines.query.table import Demand, Table
from baas.engines.query.validations import WRITTEN_ALWAYS
from baas.engines.rules.explain import reason
from baas.engines.schema.collection import Field
from baas.features.rules import answering
from baas.features.rules.explaining import Caller, Questioning, Seen, about_read, about_validation
from baas.features.rules.inputs import cleaned
from baas.features.rules.model import Explanation, Question

_HIDDEN = "The field is hidden: it never leaves the server but to operators and secret keys."
_FREE = "The field has no read expression: whoever sees the record reads it."
_LOOSE = "The field has no validate expression."
_UNTOUCHED = "This change writes nothing that the expression looks at, so it is not asked."
_NO_VALUE = "The field has no value, and the expression does not speak of null, so it is not asked."
_OUT_OF_SIGHT = "The rule does not show the record at all."
_ABSENT = "There is no record with this id."
_NOT_THERE = (404, "record_not_found")
_INVALID = (422, "invalid")


@dataclass(frozen=True, slots=True)
class Asked:
    """An expression of a field on its way; `demand` where it is a `validate`."""

    rule: answering.Rule
    questioning: Questioning
    demand: Demand | None = None


def asked(table: Table, question: Question, caller: Caller, now: datetime) -> Asked | Explanation:
    """The expression of the question's field for this caller; an explanation where nothing needs to be asked.

    Raises Invalid for no such field, and for an input that a write refuses before.
    """
    field = _field(table, question.field or "")
    if question.action in ("create", "update"):
        return _validation(table, field, question, caller, now)
    rule = answering.Rule(field.read, table.collection.version)
    if field.hidden:
        return answering.settled(question, rule, verdict=False, hint=_HIDDEN, answer=(200, None))
    if field.read is None:
        return answering.settled(question, rule, verdict=True, hint=_FREE, answer=(200, None))
    return Asked(rule, about_read(table, field, question.action, caller, now))


def _validation(table: Table, field: Field, question: Question, caller: Caller, now: datetime) -> Asked | Explanation:
    rule, asking = answering.Rule(field.validate, table.collection.version), caller.asking(now, question.input)
    stored = (201 if question.action == "create" else 200), None
    demand = next((one for one in table.demands() if one.field.name == field.name), None)
    values = cleaned(table, asking, question) or {}
    if demand is None:
        return answering.settled(question, rule, verdict=True, hint=_LOOSE, answer=stored)
    if question.action == "update" and not demand.reads & {*values, *WRITTEN_ALWAYS}:
        return answering.settled(question, rule, verdict=True, hint=_UNTOUCHED, answer=stored)
    return Asked(rule, about_validation(table, demand, question.action, caller, now, question.input or {}, values), demand)


def explained(question: Question, on_its_way: Asked, seen: Seen | None) -> Explanation:
    """What the expression came to on the row. A field out of sight leaves the answer as it is, without the field."""
    rule, questioning = on_its_way.rule, on_its_way.questioning
    if seen is None:
        return answering.put_together(question, rule, questioning, "deny", _ABSENT, questioning.unasked(), "not_run", _NOT_THERE)
    demand, said, hint = on_its_way.demand, "allow" if answering.holds(seen) else "deny", reason(seen.found)
    answer: answering.Answer = 200, None
    if demand is not None:
        if _is_absent(seen, demand):
            said, hint = "allow", _NO_VALUE
        answer = _INVALID if said == "deny" else (201 if question.action == "create" else 200, None)
    elif not seen.judged.seen:
        said, hint = "deny", f"{_OUT_OF_SIGHT} {hint}"
        answer = _NOT_THERE if question.action == "view" else answer
    return answering.put_together(question, rule, questioning, said, hint, seen.found, answering.agreement(seen), answer)


def _is_absent(seen: Seen, demand: Demand) -> bool:
    return not demand.asks_null and (seen.judged.next or {}).get(demand.field.name) is None


def _field(table: Table, name: str) -> Field:
    known = {one.name: one for one in table.collection.fields}
    if name not in known:
        hint = did_you_mean(name, list(known))
        words = "The collection has no such field of its own." + (f" {hint}" if hint else "")
        raise Invalid("There is no such field.", errors=[Fault("/field", "unknown_field", words)])
    return known[name]
