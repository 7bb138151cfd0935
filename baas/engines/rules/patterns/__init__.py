"""The patterns of `matches`: a subset of RE2's syntax, parsed here, so that no engine is asked what a text of a stranger means.

`canonical` turns a pattern into a plain form that PostgreSQL's `~` and this package read alike (and that is canonical itself):
sets written out as ranges, nothing that depends on a locale or a flag. `matches` runs it as an automaton, one step a character
whatever the pattern, so that there is none that could make it slow, and none that must be refused for it.
"""

import re
from functools import lru_cache

from baas.engines.rules.patterns.automaton import Automaton
from baas.engines.rules.patterns.parse import Parser, PatternFault
from baas.engines.rules.patterns.plain import written
from baas.engines.rules.patterns.tree import borders_of, size

__all__ = ["PatternFault", "canonical", "matches", "place_in_literal"]

MAX_PLACES = 1_000
MAX_STEPS = 20_000
"""From one place of the pattern to the next, by one part of the alphabet: what an engine builds before it runs."""


def canonical(pattern: str) -> str:
    """The pattern in the form that both engines read. Raises PatternFault."""
    tree = Parser(pattern).whole()
    amount = size(tree, borders_of(tree))
    if amount.places > MAX_PLACES or amount.steps > MAX_STEPS:
        raise PatternFault(0, "this pattern is too large with its repetitions written out.")
    return written(tree)


def matches(text: str, pattern: str) -> bool:
    """Whether a canonical pattern is found anywhere in the text."""
    return _automaton(pattern).found_in(text)


def place_in_literal(token: str, at: int) -> int:
    """Where the character `at` of a string literal's value stands in its source, which `token` begins with."""
    prefix = token[: len(token) - len(token.lstrip("rR"))]
    quotes = 3 if token[len(prefix) :][:3] in ('"""', "'''") else 1
    start = len(prefix) + quotes
    if prefix:
        return start + at
    for number, unit in enumerate(_UNIT.finditer(token, start)):
        if number == at:
            return unit.start()
    return start


_UNIT = re.compile(r"\\(?:[0-3][0-7]{2}|[xX].{2}|u.{4}|U.{8}|.)|.", re.DOTALL)


@lru_cache(256)
def _automaton(pattern: str) -> Automaton:
    return Automaton(Parser(pattern).whole())
