"""The typed tree: what the checker makes and both back-ends read.

`free` means no row is needed, so the value is known before any SQL is built; `fixed` means not even the caller is needed.
A node is compared by identity: the same text twice is two places.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from baas.engines.rules.functions.function import Function
from baas.engines.rules.types import Type


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A value of the source."""

    type: Type
    at: int
    value: object
    free: bool = True
    fixed: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Fact:
    """Something known of the call: `root` is auth, now, request, vars or input; `name` the member, "" for the root itself."""

    type: Type
    at: int
    root: str
    name: str
    free: bool = True
    fixed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """The row that is judged: `root` is record or next."""

    type: Type
    at: int
    root: str
    free: bool = False
    fixed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Loop:
    """The variable of the macro at this nesting `level`."""

    type: Type
    at: int
    level: int
    free: bool
    fixed: bool


@dataclass(frozen=True, slots=True, eq=False)
class Follow:
    """The record that the id `ref` names; a failure where there is none. `certain`: a foreign key says that there is one."""

    type: Type
    at: int
    ref: "Column | Loop | Fact"
    certain: bool
    free: bool = False
    fixed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A field of a row."""

    type: Type
    at: int
    row: "Row | Loop | Follow"
    name: str
    nullable: bool
    free: bool = False
    fixed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Related:
    """Records of another collection: those whose `field` names the row `of` (`many`: among others), or, without `of`, all."""

    type: Type
    at: int
    of: "Row | Loop | Follow | None"
    field: str = ""
    many: bool = False
    free: bool = False
    fixed: bool = False

    @property
    def collection(self) -> str:
        """Whose records they are."""
        return self.type.item.target if self.type.item else ""


@dataclass(frozen=True, slots=True, eq=False)
class ListOf:
    type: Type
    at: int
    items: "tuple[Node, ...]"
    free: bool
    fixed: bool


@dataclass(frozen=True, slots=True, eq=False)
class MapOf:
    """Keys and values; a map never reaches SQL."""

    type: Type
    at: int
    keys: "tuple[Node, ...]"
    values: "tuple[Node, ...]"
    free: bool
    fixed: bool


@dataclass(frozen=True, slots=True, eq=False)
class Logic:
    """All of `items` (`and`) or any of them (`or`), where a failure is absorbed by a deciding neighbour."""

    type: Type
    at: int
    operator: Literal["and", "or"]
    items: "tuple[Node, ...]"
    free: bool
    fixed: bool


@dataclass(frozen=True, slots=True, eq=False)
class Not:
    type: Type
    at: int
    item: "Node"
    free: bool
    fixed: bool


@dataclass(frozen=True, slots=True, eq=False)
class Conditional:
    type: Type
    at: int
    condition: "Node"
    yes: "Node"
    no: "Node"
    free: bool
    fixed: bool


@dataclass(frozen=True, slots=True, eq=False)
class Compare:
    type: Type
    at: int
    operator: Literal["==", "!=", "<", "<=", ">", ">="]
    left: "Node"
    right: "Node"
    free: bool
    fixed: bool


@dataclass(frozen=True, slots=True, eq=False)
class Among:
    """`item in list`; over a map or a JSON object, the key is there."""

    type: Type
    at: int
    item: "Node"
    list: "Node"
    free: bool
    fixed: bool


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A list of the caller's made fit for SQL: only what could equal a `target`, in one element type. None keeps it as it is,
    and a list of several types is a failure."""

    type: Type
    at: int
    list: "Node"
    target: str | None
    free: bool
    fixed: bool


@dataclass(frozen=True, slots=True, eq=False)
class Meant:
    """A variable of a filter as a value of what it meets, `target`; a failure where it can be none. Its type stays that of its
    value, so that numbers of all types compare as they always do."""

    type: Type
    at: int
    variable: Fact
    target: Type
    free: bool = True
    fixed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Apply:
    """A function or an arithmetic operator; more than one candidate where only values decide."""

    type: Type
    at: int
    name: str
    candidates: tuple[Function, ...]
    args: "tuple[Node, ...]"
    free: bool
    fixed: bool


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """The member `name` of a map or a JSON object; a missing key is a failure."""

    type: Type
    at: int
    object: "Node"
    name: str
    free: bool
    fixed: bool


@dataclass(frozen=True, slots=True, eq=False)
class At:
    """An element by position, or a map's value by key."""

    type: Type
    at: int
    object: "Node"
    index: "Node"
    free: bool
    fixed: bool


@dataclass(frozen=True, slots=True, eq=False)
class Has:
    """Whether a map or a JSON object has the key."""

    type: Type
    at: int
    object: "Node"
    name: str
    free: bool
    fixed: bool


@dataclass(frozen=True, slots=True, eq=False)
class Quantify:
    """`exists` or `all` over a list."""

    type: Type
    at: int
    operator: Literal["exists", "all"]
    list: "Node"
    level: int
    body: "Node"
    free: bool
    fixed: bool


@dataclass(frozen=True, slots=True, eq=False)
class Count:
    """How many elements satisfy the body: `size(list.filter(x, p))`. A failing body fails the count."""

    type: Type
    at: int
    list: "Node"
    level: int
    body: "Node"
    free: bool
    fixed: bool


@dataclass(frozen=True, slots=True, eq=False)
class Gather:
    """A list made in memory: `filter`, `map`, or whether exactly one element fits (`exists_one`)."""

    type: Type
    at: int
    operator: Literal["filter", "map", "exists_one"]
    list: "Node"
    level: int
    body: "Node"
    free: bool
    fixed: bool


Node = (
    Constant
    | Fact
    | Row
    | Loop
    | Follow
    | Column
    | Related
    | ListOf
    | MapOf
    | Logic
    | Not
    | Conditional
    | Compare
    | Among
    | Fitted
    | Meant
    | Apply
    | Key
    | At
    | Has
    | Quantify
    | Count
    | Gather
)
Formula = Logic | Not | Compare | Among | Has | Quantify
"""Nodes that are conditions: in SQL they have two rails and no value."""


_PARTS: Mapping[type, Callable[[Any], "tuple[Node, ...]"]] = {
    Follow: lambda node: (node.ref,),
    Column: lambda node: (node.row,),
    Related: lambda node: () if node.of is None else (node.of,),
    ListOf: lambda node: node.items,
    MapOf: lambda node: node.keys + node.values,
    Logic: lambda node: node.items,
    Not: lambda node: (node.item,),
    Conditional: lambda node: (node.condition, node.yes, node.no),
    Compare: lambda node: (node.left, node.right),
    Among: lambda node: (node.item, node.list),
    Fitted: lambda node: (node.list,),
    Meant: lambda node: (node.variable,),
    Apply: lambda node: node.args,
    Key: lambda node: (node.object,),
    Has: lambda node: (node.object,),
    At: lambda node: (node.object, node.index),
    Quantify: lambda node: (node.list, node.body),
    Count: lambda node: (node.list, node.body),
    Gather: lambda node: (node.list, node.body),
}


def children(node: Node) -> tuple[Node, ...]:
    """The parts of a node, left to right."""
    parts = _PARTS.get(node.__class__)
    return () if parts is None else parts(node)


def walk(root: Node) -> Iterator[Node]:
    """The node and everything below it, parents first."""
    ahead = [root]
    while ahead:
        node = ahead.pop()
        yield node
        parts = _PARTS.get(node.__class__)
        if parts is not None:
            ahead.extend(reversed(parts(node)))
