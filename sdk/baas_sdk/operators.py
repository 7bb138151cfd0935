"""What `update` may say of a field instead of a value; worked out from what is stored, inside the statement that writes."""

from datetime import datetime
from decimal import Decimal
from typing import Any

Operation = dict[str, Any]
Number = int | float | Decimal


def inc(by: Number = 1) -> Operation:
    """Adds to a number; less than nothing takes away. Two at once never lose one another."""
    return {"$inc": by}


def at_least(value: Number | datetime) -> Operation:
    """Raises a number or moment to this one where it is less."""
    return {"$max": value}


def at_most(value: Number | datetime) -> Operation:
    """Lowers a number or moment to this one where it is more."""
    return {"$min": value}


def append(*items: object) -> Operation:
    """Puts items at the end of a list."""
    return {"$append": list(items)}


def add(*items: object) -> Operation:
    """Puts those of the items into a list that are not in it."""
    return {"$add": list(items)}


def remove(*items: object) -> Operation:
    """Takes items out of a list, wherever they stand."""
    return {"$remove": list(items)}


def now() -> Operation:
    """The server's time."""
    return {"$now": True}


def unset() -> Operation:
    """Nothing stored any more; the same as None."""
    return {"$unset": True}
