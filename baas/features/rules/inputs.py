"""What a write would store of an input, by the code that a write goes through."""

from collections.abc import Mapping
from dataclasses import replace

from baas.base.errors import Invalid
from baas.base.ids import uuid7
from baas.engines.query.asking import Asking
from baas.engines.query.table import Table
from baas.engines.query.tree import Values
from baas.engines.schema.validate import immutable_names
from baas.features.records.service import changed_values, new_values
from baas.features.rules.model import Question


def cleaned(table: Table, asking: Asking, question: Question) -> Values | None:
    """None for what is no write. Raises Invalid, whose faults point into `/input`."""
    if question.action not in ("create", "update"):
        return None
    try:
        return _values(table, asking, question)
    except Invalid as error:
        faults = [replace(fault, pointer=f"/input{fault.pointer}") for fault in error.errors]
        raise Invalid("A write with this input is refused before any rule is asked.", errors=faults) from None


def _values(table: Table, asking: Asking, question: Question) -> Values:
    sent = question.input or {}
    if question.call == "put":  # the id in its body only repeats that of its path
        sent = {name: value for name, value in sent.items() if name != "id"}
    if question.action == "create":
        given = new_values(table, asking, sent)
        return {"id": question.record or uuid7(), **given}
    if question.call not in ("put", "upsert"):
        return changed_values(table, asking, sent)
    whole = new_values(table, asking, sent)
    return {name: whole.get(name) for name in _replaced(table, sent, question)}


def _replaced(table: Table, sent: Mapping[str, object], question: Question) -> list[str]:
    """What changes in a stored record: of a put all that the caller may write, of an upsert what its items name but the key."""
    kept = {*immutable_names(table.collection, privileged=False), *question.key}
    fields = [one for one in table.collection.fields if one.name not in kept]
    if question.call == "put":
        return [one.name for one in fields if not (one.hidden or one.readonly or one.system)]
    return [one.name for one in fields if one.name in sent]
