"""Patterns in memory: an automaton that takes one step a character, whatever the pattern."""

from bisect import bisect_right
from collections.abc import Iterable

from baas.engines.rules.patterns.characters import number
from baas.engines.rules.patterns.tree import Choice, Edge, InOrder, Node, Repeat, Set, borders_of, parts_of

_KEPT_STATES = 100


class Automaton:
    """A nondeterministic automaton, made deterministic as it goes: a state is the set of places where a match may stand.

    A place waits for a character of a set, for the begin or end of the text, or leads on at once; place 0 is a match. At most
    `_KEPT_STATES` states are remembered, so a hostile text costs at most one pass over the places for each character.
    """

    def __init__(self, tree: Node) -> None:
        self._borders = borders_of(tree)
        self._sets: dict[int, tuple[frozenset[int], int]] = {}
        self._edges: dict[int, tuple[str, int]] = {}
        self._splits: dict[int, list[int]] = {}
        self._places = 1
        self._start = self._build(tree, 0)
        self._fresh = self._reached([self._start])
        self._known: dict[frozenset[int], dict[int, frozenset[int]]] = {}

    def found_in(self, text: str) -> bool:
        """Whether the pattern is found anywhere in the text."""
        state = self._reached([self._start], begin=True)
        borders, fresh = self._borders, self._fresh
        for character in text:
            if 0 in state:
                return True
            if not state and not fresh:
                return False
            part = bisect_right(borders, number(character))
            known = self._known.get(state)
            following = None if known is None else known.get(part)
            state = self._after(state, part) if following is None else following
        return 0 in self._reached(state, begin=not text, end=True)

    def _after(self, state: frozenset[int], part: int) -> frozenset[int]:
        """The places after one more character; a match may also begin behind it."""
        waiting = (self._sets[place] for place in state if place in self._sets)
        following = self._reached([after for parts, after in waiting if part in parts]) | self._fresh
        if len(self._known) >= _KEPT_STATES:
            self._known = {}
        self._known.setdefault(state, {})[part] = following
        return following

    def _reached(self, places: Iterable[int], *, begin: bool = False, end: bool = False) -> frozenset[int]:
        """These places and what follows without a character: those that wait for one, for the end, or are a match."""
        seen: set[int] = set()
        ahead = list(places)
        while ahead:
            place = ahead.pop()
            if place in seen:
                continue
            seen.add(place)
            if place in self._splits:
                ahead += self._splits[place]
            elif place in self._edges:
                sign, after = self._edges[place]
                if (sign == "^" and begin) or (sign == "$" and end):
                    ahead.append(after)
        return frozenset(seen - self._splits.keys())

    def _new(self) -> int:
        self._places += 1
        return self._places - 1

    def _split(self, ways: list[int]) -> int:
        place = self._new()
        self._splits[place] = ways
        return place

    def _build(self, node: Node, after: int) -> int:
        """The place where `node` begins, when `after` is where it goes on."""
        match node:
            case Set(ranges):
                place = self._new()
                self._sets[place] = parts_of(ranges, self._borders), after
                return place
            case Edge(sign):
                place = self._new()
                self._edges[place] = sign, after
                return place
            case InOrder(items):
                for item in reversed(items):
                    after = self._build(item, after)
                return after
            case Choice(items):
                return self._split([self._build(item, after) for item in items])
            case Repeat(item, least, most):
                return self._repeated(item, least, most, after)

    def _repeated(self, item: Node, least: int, most: int | None, after: int) -> int:
        start = after
        if most is None:
            ways = [after]
            loop = self._split(ways)
            ways.append(self._build(item, loop))
            start, least = (ways[1], least - 1) if least else (loop, 0)
        else:
            for _ in range(most - least):
                start = self._split([self._build(item, start), after])
        for _ in range(least):
            start = self._build(item, start)
        return start
