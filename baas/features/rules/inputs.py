"""What a write would store of an input, by the code that a write goes through."""

from dataclasses import replace

from baas.base.errors import Invalid
from baas.engines.query.asking import Asking
from baas.engines.query.table import Table
from baas.engines.query.tree import Values
from baas.features.records.service import changed_values, new_values
from baas.features.rules.model import Question


def cleaned(table: Table, asking: Asking, question: Question) -> Values | None:
    """None for what is no write. Raises Invalid, whose faults point into `/input`."""
    if question.action not in ("create", "update"):
        return None
    make = new_values if question.action == "create" else changed_values
    try:
        return make(table, asking, question.input or {})
    except Invalid as error:
        faults = [replace(fault, pointer=f"/input{fault.pointer}") for fault in error.errors]
        raise Invalid("A write with this input is refused before any rule is asked.", errors=faults) from None
