"""Filters as Python expressions: `(F.done == False) & (F.created_at > since)` is text of the filter language plus its variables.

Values never become text: each is a variable of its own, so no value can change what the filter means.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import NoReturn
from uuid import UUID

from baas_sdk.errors import ConfigError
from baas_sdk.models import Resource
from baas_sdk.wire import timestamp

_ROOTS = ("auth", "record", "next", "input", "now", "request", "value", "true", "false", "null", "in")
"""Names that mean something else at the start of a path; a field of that name is reached through `record`."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A filter as the server reads it."""

    text: str
    variables: Mapping[str, object]


class _Variables:
    """Hands out a name for each value, in order."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}

    def name(self, value: object) -> str:
        if isinstance(value, datetime | date):
            return f"timestamp({self._bind(_instant(value))})"
        if isinstance(value, Decimal):
            return f"decimal({self._bind(_digits(value))})"
        return self._bind(_scalar(value))

    def _bind(self, value: object) -> str:
        name = f"v{len(self.values) + 1}"
        self.values[name] = value
        return f"${name}"


class Expression:
    """A condition. Combine with `&`, `|` and `~`, each side of `&` and `|` in parentheses."""

    __slots__ = ()

    def __and__(self, other: "Expression") -> "Expression":
        return _Both("&&", _checked(self), _checked(other))

    def __or__(self, other: "Expression") -> "Expression":
        return _Both("||", _checked(self), _checked(other))

    def __invert__(self) -> "Expression":
        return _Not(self)

    def __bool__(self) -> NoReturn:
        raise ConfigError("A filter has no truth value here; use & | ~ instead of and, or, not, and no chained comparison.")

    def _text(self, variables: _Variables) -> str:
        raise NotImplementedError


@dataclass(frozen=True, slots=True, eq=False)
class _Both(Expression):
    sign: str
    left: Expression
    right: Expression

    def _text(self, variables: _Variables) -> str:
        return f"({self.left._text(variables)} {self.sign} {self.right._text(variables)})"


@dataclass(frozen=True, slots=True, eq=False)
class _Not(Expression):
    inner: Expression

    def _text(self, variables: _Variables) -> str:
        return f"!({self.inner._text(variables)})"


@dataclass(frozen=True, slots=True, eq=False)
class _Compare(Expression):
    path: str
    sign: str
    value: object

    def _text(self, variables: _Variables) -> str:
        right = self.value._text(variables) if isinstance(self.value, FieldPath) else variables.name(self.value)
        return f"{self.path} {self.sign} {right}"


@dataclass(frozen=True, slots=True, eq=False)
class _In(Expression):
    path: str
    values: Sequence[object]

    def _text(self, variables: _Variables) -> str:
        if not self.values:
            return "false"
        return f"{self.path} in [{', '.join(variables.name(value) for value in self.values)}]"


@dataclass(frozen=True, slots=True, eq=False)
class _Null(Expression):
    path: str
    sign: str

    def _text(self, variables: _Variables) -> str:
        return f"{self.path} {self.sign} null"


@dataclass(frozen=True, slots=True, eq=False)
class _Call(Expression):
    path: str
    function: str
    value: object

    def _text(self, variables: _Variables) -> str:
        return f"{self.path}.{self.function}({variables.name(self.value)})"


@dataclass(frozen=True, slots=True, eq=False)
class FieldPath(Expression):
    """A field, or one of a related record: `F.title`, `F.author.name`; alone it is the condition that a bool field is true."""

    _names: tuple[str, ...]

    def __getattr__(self, name: str) -> "FieldPath":
        if name.startswith("__"):
            raise AttributeError(name)
        return FieldPath((*self._names, name))

    def __getitem__(self, name: str) -> "FieldPath":
        """The same for a name that Python or this class has taken: `F["class"]`, `F["contains"]`."""
        return FieldPath((*self._names, name))

    def __eq__(self, value: object) -> Expression:  # type: ignore[override]  # builds an expression, which is the point
        return self._equal("==", value)

    def __ne__(self, value: object) -> Expression:  # type: ignore[override]  # as above
        return self._equal("!=", value)

    __hash__ = None  # type: ignore[assignment]  # an `in` or a dict key would call __eq__, which has no truth value

    def __lt__(self, value: object) -> Expression:
        return _Compare(self._path(), "<", value)

    def __le__(self, value: object) -> Expression:
        return _Compare(self._path(), "<=", value)

    def __gt__(self, value: object) -> Expression:
        return _Compare(self._path(), ">", value)

    def __ge__(self, value: object) -> Expression:
        return _Compare(self._path(), ">=", value)

    def in_(self, values: Iterable[object]) -> Expression:
        """One of these; of none, never."""
        return _In(self._path(), tuple(values))

    def is_null(self) -> Expression:
        """Nothing is stored."""
        return _Null(self._path(), "==")

    def contains(self, value: object) -> Expression:
        """A text that holds this one somewhere, upper and lower case apart."""
        return _Call(self._path(), "contains", value)

    def startswith(self, value: str) -> Expression:
        """A text that starts with this one."""
        return _Call(self._path(), "startsWith", value)

    def endswith(self, value: str) -> Expression:
        """A text that ends with this one."""
        return _Call(self._path(), "endsWith", value)

    def _equal(self, sign: str, value: object) -> Expression:
        return _Null(self._path(), sign) if value is None else _Compare(self._path(), sign, value)

    def _path(self) -> str:
        names = self._names if self._names[0] not in _ROOTS else ("record", *self._names)
        for name in names:
            if not (name.isascii() and name.isidentifier()):
                raise ConfigError(f"{name!r} is no field name.")
        return ".".join(names)

    def _text(self, variables: _Variables) -> str:
        return self._path()


class _Fields:
    """`F`: the fields of whatever collection the filter goes to."""

    __slots__ = ()

    def __getattr__(self, name: str) -> FieldPath:
        if name.startswith("__"):
            raise AttributeError(name)
        return FieldPath((name,))

    def __getitem__(self, name: str) -> FieldPath:
        return FieldPath((name,))


F = _Fields()
Filter = str | Expression


def compile_filter(given: Filter | None, variables: Mapping[str, object] | None) -> Compiled | None:
    """The filter as text and variables; None for none.

    Raises:
        ConfigError: variables beside an expression (they belong to a text), or a value no variable can hold.
    """
    if isinstance(given, Expression):
        if variables:
            raise ConfigError("vars belong to a text filter; an F expression carries its own values.")
        names = _Variables()
        return Compiled(given._text(names), names.values)
    if given is None:
        if variables:
            raise ConfigError("vars without a filter would have no effect.")
        return None
    return Compiled(given, {name: _scalar(value) for name, value in (variables or {}).items()})


def _checked(value: object) -> Expression:
    if not isinstance(value, Expression):
        raise ConfigError(f"{value!r} is no condition; comparisons need parentheses around them beside & and |.")
    return value


def _instant(value: date) -> str:
    if isinstance(value, datetime):
        return timestamp(value)
    return timestamp(datetime(value.year, value.month, value.day, tzinfo=UTC))


def _digits(value: Decimal) -> str:
    if not value.is_finite():
        raise ConfigError("NaN and infinity equal nothing that is stored.")
    return str(value)


def _scalar(value: object) -> object:
    match value:
        case Resource():
            return value["id"]
        case Enum():
            return value.value
        case datetime() | date():
            return _instant(value)
        case UUID() | Decimal():
            return str(value)
        case list() | tuple() | set() | frozenset():
            return [_scalar(one) for one in value]
        case None | bool() | int() | float() | str():
            return value
    raise ConfigError(f"A {type(value).__name__} cannot be compared in a filter.")
