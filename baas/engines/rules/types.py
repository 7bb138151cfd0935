"""What expressions are about: types, the rows and facts they may name, and the two ways they go wrong.

`RuleError` is raised when a text is refused; `RuleFailure` is a *value*, the third truth value beside true and false.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, NamedTuple

Kind = Literal["rule", "filter", "validation"]
_SNIPPET = 60  # characters kept on each side of the caret


class Type(NamedTuple):
    """A type of the language; `item` is what a list holds, `target` the collection a ref points to or a row is of."""

    kind: str
    item: "Type | None" = None
    target: str = ""

    def __str__(self) -> str:
        if self.kind == "list":
            return f"list({self.item})" if self.item and self.item.kind != "dyn" else "list"
        if self.kind == "row":
            return f"record of {self.target}"
        return f"ref({self.target})" if self.target else self.kind


STRING, INT, DOUBLE, DECIMAL, BOOL = Type("string"), Type("int"), Type("double"), Type("decimal"), Type("bool")
TIMESTAMP, DURATION, JSON, NULL = Type("timestamp"), Type("duration"), Type("json"), Type("null")
BYTES, MAP, AUTH, REF = Type("bytes"), Type("map"), Type("auth"), Type("ref")
GEO, VECTOR = Type("geo"), Type("vector")
DYN = Type("dyn")
"""Known only when the caller's values are: `$name`, lists of mixed types, values of a map."""
_NAMED = {one.kind: one for one in (STRING, INT, DOUBLE, DECIMAL, BOOL, TIMESTAMP, DURATION, JSON, GEO, VECTOR)}
NUMBERS = frozenset({"int", "double", "decimal"})
TEXTS = frozenset({"string", "ref"})


def list_of(item: Type) -> Type:
    """The type of a list of these."""
    return Type("list", item)


def row_of(collection: str) -> Type:
    """The type of a record of a collection: it has fields and is no value itself."""
    return Type("row", None, collection)


@lru_cache(256)
def parse_type(text: str) -> Type:
    """`string`, `list(ref(users))`, … as a Type. Raises ValueError for anything else."""
    if text in _NAMED:
        return _NAMED[text]
    name, opened, rest = text.partition("(")
    if opened and rest.endswith(")"):
        if name == "list":
            return list_of(parse_type(rest[:-1]))
        if name == "ref":
            return Type("ref", None, rest[:-1])
    raise ValueError(f"not a type of the rule language: {text!r}")


@dataclass(frozen=True, slots=True)
class RowField:
    """One field as rules see it. What is not `readable` does not exist for the author of this expression.

    `type` is one of string int double decimal bool timestamp json geo vector list(T) ref(collection). Values of `ref` are uuid
    columns in SQL and canonical lower-case strings in the language; of a vector it is only known whether there is one. Elements
    of a list are never null.
    """

    type: str
    nullable: bool
    readable: bool = True


@dataclass(frozen=True, slots=True)
class Inverse:
    """The other end of a relation: the records of `collection` whose `field` holds the id of this one (`many`: among others)."""

    collection: str
    field: str
    many: bool = False


@dataclass(frozen=True, slots=True)
class RowType:
    """The fields of a row, system fields included, and by name the relations of other collections that lead to it."""

    fields: Mapping[str, RowField]
    inverses: Mapping[str, Inverse] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Env:
    """What an expression may name. `bare` is the row a lone field name means; `value` the field a validation is about.

    `collections` are those whose records a path or `rows()` may enter, with what may be read of them; `views` those that no
    expression enters, `closed` why this one enters none at all.
    """

    action: str
    record: RowType | None = None
    next: RowType | None = None
    auth: RowType | None = None
    bare: Literal["record", "next"] | None = None
    vars: bool = False
    kind: Kind = "rule"
    value: str | None = None
    collections: Mapping[str, RowType] = field(default_factory=dict)
    views: frozenset[str] = frozenset()
    closed: str | None = None


class Facts(NamedTuple):
    """What is known before any row is read. `auth` is None for a guest, else `id`, `collection`, `claims` and its fields.

    `input` holds the keys the client sent. Numbers of JSON come as int and Decimal, ids as canonical strings, times aware.
    """

    auth: Mapping[str, object] | None
    now: datetime
    action: str = ""
    via: str = "rest"
    vars: Mapping[str, object] = MappingProxyType({})
    input: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class RuleFailure:
    """The value of an expression that has none: a missing key, a null in arithmetic, a division by zero.

    It never allows, and `!failure` is a failure too.
    """

    reason: str

    def __bool__(self) -> bool:
        raise TypeError("a rule failure is neither true nor false; compare with `is True`")


class RuleError(Exception):
    """This text is not an expression we accept; says where and, when it can, what was meant.

    `position` counts characters from 0, `line` and `column` from 1. `code` is stable: syntax, unknown_field, unknown_name,
    unknown_function, type_mismatch, not_allowed, no_value, too_long, too_complex.
    """

    def __init__(self, source: str, position: int, code: str, message: str, hint: str | None = None) -> None:
        position = min(max(position, 0), len(source))
        before = source[:position]
        start = before.rfind("\n") + 1
        self.code, self.message, self.hint, self.position = code, message, hint, position
        self.line, self.column = before.count("\n") + 1, position - start + 1
        end = source.find("\n", position)
        left = max(start, position - _SNIPPET)
        line = source[left : len(source) if end < 0 else end][: 2 * _SNIPPET].replace("\t", " ")
        self.snippet = f"{line}\n{' ' * (position - left)}^"
        super().__init__(f"{self.line}:{self.column}: {message}" + (f" {hint}" if hint else ""))

    def as_dict(self) -> dict[str, object]:
        """The facts for a problem document; `hint` only when there is one."""
        facts: dict[str, object] = {
            "code": self.code,
            "message": self.message,
            "line": self.line,
            "column": self.column,
            "position": self.position,
            "snippet": self.snippet,
        }
        return facts | ({"hint": self.hint} if self.hint else {})
