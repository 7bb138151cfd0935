"""Conditions that can never have a value, because something written out in them has none: `day > timestamp("2026-01-02")`.

A failure is no error of the language, but one that stands in the text itself is a mistake every time: a filter would find
nothing, a validation refuse every write, and neither would say why.
"""

import re
from collections.abc import Iterator
from datetime import datetime

from baas.engines.rules import values
from baas.engines.rules.evaluate import Frame, closure
from baas.engines.rules.functions.function import ZONE
from baas.engines.rules.tree import (
    Apply,
    Conditional,
    Constant,
    Count,
    Gather,
    Loop,
    Node,
    Quantify,
    children,
)
from baas.engines.rules.types import Facts, RuleError, RuleFailure

_NOBODY = Facts(None, values.EPOCH)
_BODIES = (Quantify, Count, Gather)


def refuse_valueless(source: str, root: Node) -> None:
    """Raises RuleError(no_value) at the first constant that leaves the condition it stands in without a value.

    What the logic absorbs is left alone where it is all written out (`true || 1 / 0 == 1` is true), and so is the branch of a
    choice that is used as a value: the other branch may be taken.
    """
    found = next(_lost(root), None)
    if found is None:
        return
    words, hint = _explained(found)
    at = found.args[0].at if isinstance(found, Apply) and len(found.args) == 1 else found.at
    raise RuleError(source, at, "no_value", words, hint)


def _lost(node: Node) -> Iterator[Node]:
    """The constants that fail, each in a condition that then always fails."""
    if isinstance(node, Constant):
        return
    if _known(node):
        if _failure(node) is not None:
            yield _innermost(node)
        return
    if isinstance(node, Apply) and _by_zero(node):
        yield node
        return
    for part in _needed(node):
        yield from _lost(part)


def _needed(node: Node) -> tuple[Node, ...]:
    """The parts without whose value a node, or a condition in it, has none."""
    if isinstance(node, Conditional) and node.type.kind != "bool":
        return (node.condition,)
    return children(node)


def _known(node: Node) -> bool:
    """Whether it has a value by itself: a part of a loop's body that names the element has one for each of them."""
    return node.fixed and not _open(node)


def _open(node: Node) -> set[int]:
    """The levels of the loops around a node whose variables it names."""
    if isinstance(node, Loop):
        return {node.level}
    if isinstance(node, _BODIES):
        return _open(node.list) | (_open(node.body) - {node.level})
    return {level for part in children(node) for level in _open(part)}


def _by_zero(node: Apply) -> bool:
    divides = node.name in ("/", "%") and _known(node.args[1])
    return divides and closure(node.args[1])(Frame(_NOBODY)) == 0


def _failure(node: Node) -> RuleFailure | None:
    value = closure(node)(Frame(_NOBODY))
    return value if isinstance(value, RuleFailure) else None


def _innermost(node: Node) -> Node:
    """The smallest part that fails by itself."""
    for part in children(node):
        if _known(part) and not isinstance(part, Constant) and _failure(part) is not None:
            return _innermost(part)
    return node


# In words


def _explained(node: Node) -> tuple[str, str | None]:
    if not isinstance(node, Apply):
        failure = _failure(node) if _known(node) else None
        return f"this never has a value: {failure.reason if failure is not None else 'it fails'}.", None
    given = node.args[0].value if isinstance(node.args[0], Constant) else None
    match node.name, given:
        case (("/" | "%"), _):
            if _by_zero(node):
                return "a division by zero has no value.", None
        case "timestamp", str(text):
            return f"{_cited(text)} is no timestamp.", _as_timestamp(text)
        case "duration", str(text):
            return f"{_cited(text)} is no duration.", _as_duration(text)
        case name, str(text) if name == ZONE:
            return f"there is no time zone {_cited(text)}.", 'Say a name like "Europe/Berlin", or an offset like "+02:00".'
        case ("int" | "double" | "decimal" | "bool") as name, str(text):
            return f"{_cited(text)} is no {name}.", None
        case "geo", _:
            return "there is no such place.", "Say geo(latitude, longitude): -90 to 90, -180 to 180."
    return f"`{node.name.lstrip('.')}` has no value here: the result does not fit, or is none.", None


def _cited(text: str) -> str:
    return '"' + (text if len(text) <= 40 else text[:39] + "…") + '"'


def _as_timestamp(text: str) -> str:
    """How to write it: with the time and the zone that a bare date or a local time lacks."""
    found = re.fullmatch(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]([0-9]{2}:[0-9]{2})(:[0-9]{2}(?:\.[0-9]{1,6})?)?)?", text)
    meant = f"{found[1]}T{found[2] or '00:00'}{found[3] or ':00'}Z" if found else ""
    if not meant or values.parse_timestamp(meant) is None:
        meant = values.timestamp_text(datetime(2026, 1, 2, tzinfo=values.EPOCH.tzinfo))
    return f'A time has a zone: timestamp("{meant}").'


def _as_duration(text: str) -> str:
    days = re.fullmatch(r"([+-]?)([0-9]{1,6})d", text)
    meant = f"{days[1]}{int(days[2]) * 24}h" if days else "1h30m"
    return f'The units are h, m, s and ms: duration("{meant}").'
