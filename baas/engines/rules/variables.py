"""Variables of a filter as values of what they meet: JSON has no times, decimals and places, which come as they are answered."""

import re
from collections.abc import Mapping
from decimal import Decimal

from baas.base.places import geo
from baas.engines.rules import values
from baas.engines.rules.types import NUMBERS, Type

UNFIT = object()
"""What no value of the type could be."""
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")
FITTED = frozenset({"timestamp", "duration", "decimal", "int", "double", "bool", "string", "ref", "geo", "list"})
"""Kinds that a variable is made to fit."""
_HINTS: Mapping[str, str] = {
    "timestamp": 'A time is text as it is answered: "2026-01-02T00:00:00Z", or a date: "2026-01-02".',
    "duration": 'A duration is text: "1h30m"; units h, m, s and ms.',
    "decimal": 'A decimal is a number, or text as it is answered: "4.50".',
    "int": "Send a number.",
    "double": "Send a number.",
    "bool": "Send true or false.",
    "string": "Send text.",
    "ref": "Send the id, as text.",
    "geo": 'A place is {"lat": 52.52, "lon": 13.405}.',
    "list": "Send a list.",
}


def fitted(value: object, target: Type) -> object:
    """The value of a variable as one of this type, or UNFIT. Null fits everything, and a number every type of number."""
    kind = target.kind
    if value is None:
        return None
    if kind == "list":
        return _fitted_list(value, target.item)
    if kind == "geo":
        return _as_place(value)
    if isinstance(value, str):
        return _from_text(value, kind)
    fits = values.kind_of(value) in NUMBERS if kind in NUMBERS else values.kind_of(value) == kind
    return value if fits else UNFIT


def hint_for(value: object, target: Type) -> str:
    """How to send a value of this type."""
    wanted = target.item if target.kind == "list" and isinstance(value, list) and target.item is not None else target
    return _HINTS.get(wanted.kind, "Send a value of this type.")


def _from_text(text: str, kind: str) -> object:
    found: object
    match kind:
        case "string" | "ref":
            return text
        case "timestamp":
            found = values.parse_timestamp(f"{text}T00:00:00Z" if _DATE.fullmatch(text) else text)
        case "duration":
            found = values.parse_duration(text)
        case "decimal":
            found = values.parse_decimal(text)
        case "int":
            # Whole numbers beyond what JSON's readers hold are answered as text.
            number = int(text) if _WHOLE.fullmatch(text) else None
            found = number if number is not None and values.INT_MIN <= number <= values.INT_MAX else None
        case _:
            return UNFIT
    return UNFIT if found is None else found


def _fitted_list(value: object, item: Type | None) -> object:
    if not isinstance(value, list | tuple):
        return UNFIT
    if item is None or item.kind not in FITTED:
        return value
    found = [fitted(one, item) for one in value]
    return UNFIT if UNFIT in found else found


def _as_place(value: object) -> object:
    if not isinstance(value, dict) or value.keys() != {"lat", "lon"}:
        return UNFIT
    lat, lon = value["lat"], value["lon"]
    if any(isinstance(one, bool) or not isinstance(one, int | float | Decimal) for one in (lat, lon)):
        return UNFIT
    found = geo(float(lat), float(lon))
    return UNFIT if found is None else found
