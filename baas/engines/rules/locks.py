"""Which records a rule of a write depends on as a whole: those that it counts, and those of which there must be none.

One row that makes a condition true can be locked where it is found. That there are fewer than ten, or none, is no row: two writes
at once can each see it, and together break it. Writes under such a rule wait for each other, collection by collection.
"""

from collections.abc import Iterator

from baas.engines.rules.tree import Conditional, Count, Logic, Node, Not, Quantify, Related, children


def counted(root: Node) -> frozenset[str]:
    """The collections whose number of records, or lack of them, the expression may depend on to be true."""
    return frozenset(_counted(root, {True}))


def _counted(node: Node, wanted: set[bool]) -> Iterator[str]:
    """`wanted`: as what the condition may have to come out for the whole to be true."""
    match node:
        case Not(item=item):
            yield from _counted(item, {not one for one in wanted})
        case Logic(items=items):
            for item in items:
                yield from _counted(item, wanted)
        case Conditional():
            yield from _counted(node.condition, {True, False})
            yield from _counted(node.yes, wanted)
            yield from _counted(node.no, wanted)
        case Quantify(list=Related(collection=collection)):
            # One element decides that some are, or that not all are.
            if (node.operator == "exists") not in wanted or len(wanted) > 1:
                yield collection
            yield from _counted(node.body, {True, False} if len(wanted) > 1 else wanted)
        case Count(list=Related(collection=collection)):
            yield collection
            yield from _counted(node.body, {True, False})
        case _:
            for one in children(node):
                yield from _counted(one, {True, False})
