"""The list of functions and arithmetic operators: types, memory, SQL, examples. A new one is an entry in a file of this folder.

`python` takes values of the parameter kinds and returns the result, or None where there is none; it never raises. `sql` takes
fragments of those types and gives null in the same cases. tests/contract/test_rule_functions.py runs the examples through both.
"""

from functools import cache

from baas.engines.rules.functions.conversions import conversions
from baas.engines.rules.functions.function import Function
from baas.engines.rules.functions.numbers import decimal_functions, double_functions, integer_functions
from baas.engines.rules.functions.places import place_functions
from baas.engines.rules.functions.text import text_functions
from baas.engines.rules.functions.times import time_functions, zone_names
from baas.engines.rules.types import DYN, Type
from baas.infra.db.sql import sql


def _list_functions() -> tuple[Function, ...]:
    return (
        Function(
            "+",
            ("list", "list"),
            Type("list", DYN),
            lambda a, b: [*a, *b],
            lambda a, b: sql("({} || {})", a, b),
            ((["a"], ["b"], ["a", "b"]), ([], ["b"], ["b"])),
            total=True,
        ),
    )


FUNCTIONS: tuple[Function, ...] = (
    *text_functions(),
    *integer_functions(),
    *double_functions(),
    *decimal_functions(),
    *conversions(),
    *time_functions(),
    *place_functions(),
    *_list_functions(),
    *zone_names(),
)
NAMES = frozenset(one.name for one in FUNCTIONS)

# What a value of one kind may stand for, best first: an id is a text, a number beside a decimal widens to one, and a JSON value
# is read as what a function wants (a failure when it is something else). Operators take JSON only after a conversion: whether
# `a + b` joins or adds must not depend on the data. A pattern is a text that the checker has made fit for both evaluators.
_ACCEPTS: dict[str, dict[str, int]] = {
    "ref": {"string": 0},
    "int": {"decimal": 1},
    "double": {"decimal": 2},
    "json": {"string": 3},
    "string": {"pattern": 0},
}


@cache
def overloads(name: str, kinds: tuple[str, ...]) -> tuple[Function, ...]:
    """The overloads that take arguments of these kinds: the best one, or, with a `dyn` among them, all that might be meant."""
    ranked = [(rank, one) for one in FUNCTIONS if one.name == name and (rank := _rank(name, one.params, kinds)) is not None]
    if "dyn" in kinds:
        return tuple(one for _, one in ranked)
    best = min((rank for rank, _ in ranked), default=0)
    return tuple(one for rank, one in ranked if rank == best)[:1]


def _rank(name: str, params: tuple[str, ...], kinds: tuple[str, ...]) -> int | None:
    if len(params) != len(kinds):
        return None
    widens = "decimal" in (name, *kinds)
    operator = not name.lstrip(".").isalpha() or name == "neg"
    total = 0
    for param, kind in zip(params, kinds, strict=True):
        if kind in (param, "dyn"):
            continue
        rank = _ACCEPTS.get(kind, {}).get(param)
        if rank is None or (param == "decimal" and not widens) or (kind == "json" and operator):
            return None
        total += rank
    return total
