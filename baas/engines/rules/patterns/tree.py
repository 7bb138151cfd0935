"""A pattern as a tree, and what it amounts to when its repetitions are written out."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from baas.engines.rules.patterns.characters import Ranges


@dataclass(frozen=True, slots=True)
class Set:
    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Edge:
    """The begin (`^`) or the end (`$`) of the text."""

    sign: str


@dataclass(frozen=True, slots=True)
class InOrder:
    items: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Choice:
    items: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Repeat:
    """`most` None: without end."""

    item: "Node"
    least: int
    most: int | None


Node = Set | Edge | InOrder | Choice | Repeat
NOTHING = InOrder(())


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it."""
    yield node
    match node:
        case InOrder(items) | Choice(items):
            for item in items:
                yield from walk(item)
        case Repeat(item=item):
            yield from walk(item)


@dataclass(frozen=True, slots=True)
class Size:
    """What a part of a pattern amounts to with its repetitions written out.

    `first` counts the ways in, by place and part of the alphabet, `last` the places at its end, `empty` whether it takes no
    character at all.
    """

    places: int
    first: int
    last: int
    steps: int
    empty: bool

    def then(self, other: "Size") -> "Size":
        return Size(
            self.places + other.places,
            self.first + other.first * self.empty,
            other.last + self.last * other.empty,
            self.steps + other.steps + self.last * other.first,
            self.empty and other.empty,
        )


EMPTY = Size(0, 0, 0, 0, True)


def size(node: Node, borders: Sequence[int]) -> Size:
    """What the node amounts to; `borders` divide the alphabet (`borders_of` the whole pattern)."""
    match node:
        case Set():
            return Size(1, len(parts_of(node.ranges, borders)), 1, 0, False)
        case Edge():
            return Size(1, 0, 0, 0, True)
        case InOrder(items):
            return reduce(Size.then, (size(item, borders) for item in items), EMPTY)
        case Choice(items):
            sizes = [size(item, borders) for item in items]
            return Size(
                sum(one.places for one in sizes),
                sum(one.first for one in sizes),
                sum(one.last for one in sizes),
                sum(one.steps for one in sizes),
                any(one.empty for one in sizes),
            )
        case Repeat(item, least, most):
            return _repeated(size(item, borders), least, most)


def _repeated(one: Size, least: int, most: int | None) -> Size:
    if most is None:
        rest = replace(one, steps=one.steps + one.last * one.first, empty=one.empty or not least)
        return reduce(Size.then, [one] * (least - 1), rest)
    rest = EMPTY
    for _ in range(most - least):
        rest = replace(one.then(rest), empty=True)
    return reduce(Size.then, [one] * least, EMPTY).then(rest)


def parts_of(ranges: Ranges, borders: Sequence[int]) -> frozenset[int]:
    """The parts of the alphabet that a set consists of."""
    return frozenset(part for low, high in ranges for part in range(bisect_right(borders, low), bisect_right(borders, high) + 1))


def borders_of(node: Node) -> Sequence[int]:
    """Where the alphabet is divided: each part lies wholly inside or outside of every set."""
    ends = {end for one in walk(node) if isinstance(one, Set) for low, high in one.ranges for end in (low, high + 1)}
    return sorted(ends | {0})
