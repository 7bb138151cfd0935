"""Tree to text, in the form that PostgreSQL and our own parser read alike."""

from baas.engines.rules.patterns.characters import CHARACTERS, Ranges, character_of, others
from baas.engines.rules.patterns.tree import Choice, Edge, InOrder, Node, Repeat, Set

_SIGNS = frozenset("\\.[](){}*+?^$|")
_SIGNS_IN_SET = frozenset("\\[]^-")


def written(node: Node) -> str:
    match node:
        case Set(ranges):
            return _set_text(ranges)
        case Edge(sign):
            return sign
        case InOrder(items):
            return "".join(f"(?:{written(item)})" if isinstance(item, Choice) else written(item) for item in items)
        case Choice(items):
            return "|".join(written(item) for item in items)
        case Repeat(item, least, most):
            inner = written(item) if isinstance(item, Set) else f"(?:{written(item)})"
            return inner + _count_text(least, most)


def _count_text(least: int, most: int | None) -> str:
    usual = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get((least, most))
    return usual or (f"{{{least}}}" if least == most else f"{{{least},{'' if most is None else most}}}")


def _set_text(ranges: Ranges) -> str:
    if ranges == ((0, CHARACTERS - 1),):
        return "(?:.|\n)"  # here `.` is all but the newline, for PostgreSQL it is all: together the same
    negated = ranges[-1][1] == CHARACTERS - 1
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
        sign = character_of(ranges[0][0])
        return "\\" + sign if sign in _SIGNS else sign
    spans = "".join(_span_text(low, high) for low, high in (others(ranges) if negated else ranges))
    return f"[{'^' if negated else ''}{spans}]"


def _span_text(low: int, high: int) -> str:
    first, last = (("\\" if sign in _SIGNS_IN_SET else "") + sign for sign in (character_of(low), character_of(high)))
    return first if low == high else f"{first}{last}" if high == low + 1 else f"{first}-{last}"
