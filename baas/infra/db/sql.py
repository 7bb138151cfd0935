"""SQL as fragments: text is a literal in our source, names go through `ident`, values are holes. Nothing else becomes SQL.

sql("select {} from {} where owner = {}", join(", ", columns), ident(schema, table), user_id)
-> select "id", "title" from "p_1"."posts" where owner = $1
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from string import Formatter
from typing import Literal, LiteralString, NamedTuple

_FORMATTER = Formatter()
_MAX_NAME_BYTES = 63

Cheap = Literal["read", "create", "change"]
"""What a statement that is known to be quick does; a change may wait for others that hold locks on rows which are there."""


class Statement(NamedTuple):
    """Text with `$1 … $n` and one value a hole, ready for the driver.

    `role`: it reads what a person's SQL gives, so the pool runs it as this role, which may read and nothing else.
    `cheap`: it is complete in itself, touches few rows by an index and takes no locks but those of its own rows, so it may share
    a connection with others that are under way, and when it writes, a commit.
    """

    text: str
    args: tuple[object, ...] = ()
    role: str | None = None
    cheap: Cheap | None = None


@dataclass(frozen=True, slots=True)
class _Hole:
    value: object


@dataclass(frozen=True, slots=True)
class _Role:
    """Renders to nothing; the statement that this part ends up in runs as the role."""

    name: str


class Sql:
    """An immutable fragment. Compose with `sql` and `join`; `render()` numbers the holes."""

    __slots__ = ("_parts",)

    def __init__(self, parts: tuple[str | _Hole | _Role, ...] = ()) -> None:
        self._parts = parts

    def render(self) -> Statement:
        """Number the holes from 1 in order of appearance, each a parameter of its own. Raises ValueError for two roles."""
        text, args, roles = [], [], set()
        for part in self._parts:
            if isinstance(part, _Hole):
                args.append(part.value)
                text.append(f"${len(args)}")
            elif isinstance(part, _Role):
                roles.add(part.name)
            else:
                text.append(part)
        if len(roles) > 1:
            raise ValueError(f"a statement runs as one role, not as {sorted(roles)}")
        return Statement("".join(text), tuple(args), next(iter(roles), None))

    def __bool__(self) -> bool:
        return bool(self._parts)

    def __repr__(self) -> str:
        return f"Sql({self.render().text!r})"


def sql(text: LiteralString, *values: object) -> Sql:
    """A fragment from literal text; each `{}` takes one value: a fragment is spliced in, anything else becomes a bound parameter.

    Raises ValueError when the number of `{}` and of values differ.
    """
    parts: list[str | _Hole | _Role] = []
    remaining = iter(values)
    for literal, field, _, _ in _FORMATTER.parse(text):
        if literal:
            parts.append(literal)
        if field is not None:
            try:
                value = next(remaining)
            except StopIteration:
                raise ValueError(f"too few values for {text!r}") from None
            parts.extend(value._parts if isinstance(value, Sql) else (_Hole(value),))
    if next(remaining, remaining) is not remaining:
        raise ValueError(f"too many values for {text!r}")
    return Sql(tuple(parts))


def ident(*names: str) -> Sql:
    """A quoted, dotted name. Raises ValueError for what PostgreSQL would refuse or cut short: empty, NUL, over 63 bytes."""
    for name in names:
        if not name or "\0" in name or len(name.encode()) > _MAX_NAME_BYTES:
            raise ValueError(f"not a PostgreSQL identifier: {name!r}")
    return Sql((".".join('"' + name.replace('"', '""') + '"' for name in names),))


def literal(value: str | int | bool | None) -> Sql:
    """A constant in the text itself, where PostgreSQL takes no parameter (DDL defaults) or plans better (rule literals).

    Standard-conforming string literals: only the quote needs doubling. Raises ValueError for NUL.
    """
    match value:
        case None:
            text = "null"
        case bool():
            text = "true" if value else "false"
        case int():
            text = str(value)
        case str():
            if "\0" in value:
                raise ValueError("a literal holds no NUL")
            text = (
                " E'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
                if "\\" in value
                else "'" + value.replace("'", "''") + "'"
            )
    return Sql((text,))


def join(separator: LiteralString, fragments: Iterable[Sql]) -> Sql:
    """The fragments with literal text between them; no fragments give an empty fragment."""
    parts: list[str | _Hole | _Role] = []
    for fragment in fragments:
        if parts:
            parts.append(separator)
        parts.extend(fragment._parts)
    return Sql(tuple(parts))


def refill(fragment: Sql, other: Callable[[object], Sql | None]) -> Sql:
    """The fragment with other SQL in some of its holes: `other` gives it for what is in a hole, or None to leave it."""
    parts: list[str | _Hole | _Role] = []
    for part in fragment._parts:
        found = other(part.value) if isinstance(part, _Hole) else None
        parts.extend((part,) if found is None else found._parts)
    return Sql(tuple(parts))


def as_role(role: str, fragment: Sql) -> Sql:
    """The fragment; whatever statement it becomes part of runs as this role, read only."""
    return Sql((_Role(role), *fragment._parts))


def written(text: str) -> Sql:
    """SQL that a person wrote, as it is. For `engines/schema/views.py` alone, which sees to it that it is judged and runs with a
    person's rights; a test holds that nobody else calls this.
    """
    return Sql((text,))
