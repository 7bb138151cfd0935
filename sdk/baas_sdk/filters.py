"""Filters as Python expressions: `(F.done == False) & (F.created_at > since)` is text of the filter language plus its variables.

Values never become text: each is a variable of its own, so no value can change what the filter means.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from itertools import count
from typing import Any, NoReturn
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

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self.values: dict[str, object] = {}
        self._taken = frozenset(taken)
        self._elements: dict[Element, str] = {}

    def element(self, element: "Element") -> str:
        """The name of what stands for each element of a list. No field has a capital letter, so none is hidden by it."""
        return self._elements.setdefault(element, f"E{len(self._elements) + 1}")

    def name(self, value: object) -> str:
        if isinstance(value, datetime | date):
            return f"timestamp({self._bind(_instant(value))})"
        if isinstance(value, Decimal):
            return f"decimal({self._bind(_digits(value))})"
        return self._bind(_scalar(value))

    def _bind(self, value: object) -> str:
        name = next(name for n in count(len(self.values) + 1) if (name := f"v{n}") not in self._taken | self.values.keys())
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


class Value:
    """What has a value in each record; comparisons make conditions of it."""

    __slots__ = ()

    def __eq__(self, value: object) -> Expression:  # type: ignore[override]  # builds an expression, which is the point
        return self._equal("==", value)

    def __ne__(self, value: object) -> Expression:  # type: ignore[override]  # as above
        return self._equal("!=", value)

    __hash__ = None  # type: ignore[assignment]  # an `in` or a dict key would call __eq__, which has no truth value

    def __lt__(self, value: object) -> Expression:
        return _Compare(self, "<", value)

    def __le__(self, value: object) -> Expression:
        return _Compare(self, "<=", value)

    def __gt__(self, value: object) -> Expression:
        return _Compare(self, ">", value)

    def __ge__(self, value: object) -> Expression:
        return _Compare(self, ">=", value)

    def in_(self, values: Iterable[object]) -> Expression:
        """One of these; of none, never."""
        return _In(self, tuple(values))

    def is_null(self) -> Expression:
        """Nothing is stored."""
        return _Null(self, "==")

    def _equal(self, sign: str, value: object) -> Expression:
        return _Null(self, sign) if value is None else _Compare(self, sign, value)

    def _text(self, variables: _Variables) -> str:
        raise NotImplementedError


@dataclass(frozen=True, slots=True, eq=False)
class _Compare(Expression):
    left: Value
    sign: str
    right: object

    def _text(self, variables: _Variables) -> str:
        left = self.left._text(variables)
        right = self.right._text(variables) if isinstance(self.right, Value) else variables.name(self.right)
        return f"{left} {self.sign} {right}"


@dataclass(frozen=True, slots=True, eq=False)
class _In(Expression):
    left: Value
    values: Sequence[object]

    def _text(self, variables: _Variables) -> str:
        if not self.values:
            return "false"
        return f"{self.left._text(variables)} in [{', '.join(variables.name(value) for value in self.values)}]"


@dataclass(frozen=True, slots=True, eq=False)
class _Null(Expression):
    left: Value
    sign: str

    def _text(self, variables: _Variables) -> str:
        return f"{self.left._text(variables)} {self.sign} null"


@dataclass(frozen=True, slots=True, eq=False)
class _Call(Expression):
    left: Value
    function: str
    argument: object

    def _text(self, variables: _Variables) -> str:
        return f"{self.left._text(variables)}.{self.function}({variables.name(self.argument)})"


class Element:
    """Stands for each element of a list in a condition on them; two are never the same."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Each(Expression):
    """A condition on the elements of a list; as a value the elements for which it is true."""

    items: Value
    function: str
    element: Element
    condition: Expression

    def _text(self, variables: _Variables) -> str:
        items, name = self.items._text(variables), variables.element(self.element)
        return f"{items}.{self.function}({name}, {self.condition._text(variables)})"


@dataclass(frozen=True, slots=True, eq=False)
class _Size(Value):
    items: "FieldPath | _Each"

    def _text(self, variables: _Variables) -> str:
        return f"size({self.items._text(variables)})"


@dataclass(frozen=True, slots=True, eq=False)
class _Distance(Value):
    place: Value
    lat: float
    lon: float

    def _text(self, variables: _Variables) -> str:
        return f"distance({self.place._text(variables)}, geo({variables.name(self.lat)}, {variables.name(self.lon)}))"


@dataclass(frozen=True, slots=True, eq=False)
class FieldPath(Value, Expression):
    """A field, or one of a related record: `F.title`, `F.author.name`; alone it is the condition that a bool field is true."""

    _names: tuple[str, ...]
    _element: Element | None = None

    def __getattr__(self, name: str) -> "FieldPath":
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> "FieldPath":
        """The same for a name that Python or this class has taken: `F["class"]`, `F.author["size"]`."""
        return FieldPath((*self._names, name), self._element)

    def contains(self, value: object) -> Expression:
        """A text that holds this one somewhere, upper and lower case apart."""
        return _Call(self, "contains", value)

    def startswith(self, value: str) -> Expression:
        """A text that starts with this one."""
        return _Call(self, "startsWith", value)

    def endswith(self, value: str) -> Expression:
        """A text that ends with this one."""
        return _Call(self, "endsWith", value)

    def like(self, pattern: str) -> Expression:
        """A text of this form, `%` standing for anything at its start or end: `F.title.like("lamp%")`, `F.title.like("%red%")`.

        Upper and lower case apart. `_` is a character like others, and `%` in the middle is refused: filters have no patterns.

        Raises:
            ConfigError: a `%` stands elsewhere.
        """
        text = pattern.removeprefix("%").removesuffix("%")
        if "%" in text:
            raise ConfigError(
                f"{pattern!r} has a % in the middle, and filters have no patterns."
            )
        before, after = pattern.startswith("%"), pattern.endswith("%")
        if before and after:
            return self.contains(text)
        return self.startswith(text) if after else self.endswith(text) if before else self == text

    def exists(self, condition: "Condition") -> Expression:
        """At least one element is so: `F.tags.exists(lambda tag: tag == "red")`. The elements of a list field, or the records
        that a relation or back-relation leads to: `F.comments.exists(lambda comment: comment.likes > 3)`."""
        return self._each("exists", condition)

    def all(self, condition: "Condition") -> Expression:
        """Every element is so; also when there is none."""
        return self._each("all", condition)

    def size(self, condition: "Condition | None" = None) -> Value:
        """How many elements there are, or are so; of a text, how many characters. To compare: `F.comments.size() >= 3`."""
        return _Size(self if condition is None else self._each("filter", condition))

    def distance(self, lat: float, lon: float) -> Value:
        """Metres from a place, given in degrees north and east. To compare: `F.place.distance(52.52, 13.405) < 500`."""
        return _Distance(self, lat, lon)

    def _each(self, function: str, condition: "Condition") -> "_Each":
        element = Element()
        return _Each(self, function, element, _checked(condition(FieldPath((), element))))

    def _text(self, variables: _Variables) -> str:
        for name in self._names:
            if not (name.isascii() and name.isidentifier()):
                raise ConfigError(f"{name!r} is no field name.")
        if self._element is not None:
            root: tuple[str, ...] = (variables.element(self._element),)
        else:
            root = ("record",) if self._names[0] in _ROOTS else ()
        return ".".join((*root, *self._names))


Condition = Callable[[FieldPath], Expression]
"""A condition on one element of a list, given the element."""


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
    compiled = compile_filters({"filter": given}, variables)
    return Compiled(compiled["filter"], compiled.get("vars", {})) if compiled else None


def compile_filters(given: Mapping[str, Filter | None], variables: Mapping[str, object] | None) -> dict[str, Any]:
    """Several filters that share `vars`, by name: their texts and, unless there are none, the variables of all under `vars`.

    Raises: as `compile_filter`.
    """
    if variables and not any(isinstance(one, str) for one in given.values()):
        if any(one is not None for one in given.values()):
            raise ConfigError("vars belong to a text filter; an F expression carries its own values.")
        raise ConfigError("vars without a filter would have no effect.")
    names = _Variables(variables or ())
    texts = {name: one._text(names) if isinstance(one, Expression) else one for name, one in given.items() if one is not None}
    values = {name: _scalar(value) for name, value in (variables or {}).items()} | names.values
    return {**texts, "vars": values} if values else texts


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
