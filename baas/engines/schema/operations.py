"""What a merge-patch may say of a field instead of a value: `{"$inc": 3}` and the like, for each type the ones that it takes.

An operation is worked out inside the statement that writes, from the stored value, so two of them at once never lose one another.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from baas.base.errors import did_you_mean
from baas.engines.schema.collection import Field
from baas.engines.schema.fields import FieldFault, kind_of
from baas.engines.schema.fields.base import Operator, whole

OPERATORS: tuple[Operator, ...] = ("$inc", "$min", "$max", "$append", "$add", "$remove", "$now", "$unset")
_LISTS = ("$append", "$add", "$remove")
_MAX_DIGITS = 400
_LONGEST_NAME = 50


@dataclass(frozen=True, slots=True)
class Operation:
    """An operator and its operand as the driver binds it, of the type of the field; `$now` has none."""

    name: Literal["$inc", "$min", "$max", "$append", "$add", "$remove", "$now"]
    operand: object = None


def is_operation(field: Field, value: object) -> bool:
    """Whether a value in a merge-patch speaks of an operator.

    Of a json field objects are data: only one whose single key is the name of an operator is none.
    """
    if not isinstance(value, dict) or not value:
        return False
    if field.type == "json":
        return len(value) == 1 and next(iter(value)) in OPERATORS
    return any(isinstance(key, str) and key.startswith("$") for key in value)


def operators_of(field: Field) -> tuple[Operator, ...]:
    """What the field takes."""
    return (*kind_of(field).operators(field), *(() if field.required else ("$unset",)))


def clean_operation(field: Field, value: Mapping[str, object]) -> Operation | None:
    """The operation; None for `$unset`, which is the same as null. Raises FieldFault."""
    strangers = [key for key in value if key not in OPERATORS and key.startswith("$")]
    if strangers:
        name = strangers[0][:_LONGEST_NAME]
        hint = did_you_mean(name, OPERATORS) or f"There are {', '.join(OPERATORS)}."
        raise FieldFault("unknown_operator", f"There is no operator {name!r}. {hint}")
    if len(value) > 1:
        raise FieldFault("several_operators", "An object with an operator has that operator and nothing else.")
    name = next(iter(value))
    if name == "$unset" and field.required:
        raise FieldFault("required", "Must not be null.")
    if name not in operators_of(field):
        raise FieldFault("operator_not_allowed", _not_here(field, name))
    try:
        return _operation(field, name, value[name])
    except FieldFault as fault:
        raise FieldFault(fault.code, fault.message, at=f"/{name}{fault.at}") from None


def _operation(field: Field, operator: Operator, operand: object) -> Operation | None:
    kind = kind_of(field)
    match operator:
        case "$unset" | "$now":
            if operand is not True:
                raise FieldFault("wrong_type", "Must be true.")
            return None if operator == "$unset" else Operation(operator)
        case "$inc":
            return Operation(operator, kind.clean(_unbounded(field), operand))
    if operator in _LISTS and type(operand) is not list:
        raise FieldFault("wrong_type", "Must be a list of items.")
    return Operation(operator, kind.clean(field, operand))


def _unbounded(field: Field) -> Field:
    """The field for a difference: the bounds are those of the result, only decimal places are still counted."""
    scale = whole(field, "scale")
    options = {} if scale is None else {"precision": _MAX_DIGITS, "scale": scale}
    return replace(field, options=options)


def _not_here(field: Field, name: str) -> str:
    if field.type == "json":
        return f"{name} is not for json. To store this object as it is, replace the record with PUT."
    taken = operators_of(field)
    return f"{name} is not for this field. It takes {', '.join(taken)}." if taken else f"{name} is not for this field."
