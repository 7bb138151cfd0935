"""A project's own classes as models: from a JSON object to an instance, with datetimes, decimals and the like as annotated."""

import dataclasses
import types
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from baas_sdk.errors import ConfigError
from baas_sdk.models import Record

T = TypeVar("T")
_READERS: Mapping[object, Callable[[Any], Any]] = types.MappingProxyType(
    {datetime: datetime.fromisoformat, date: date.fromisoformat, Decimal: Decimal, UUID: UUID}
)


def reader_of(model: type[T]) -> Callable[[Mapping[str, Any]], T]:
    """A function that makes a `model` of a record's JSON object. Fields the class does not know are left out.

    A class with `model_validate` (pydantic) reads the object itself; a dataclass gets its fields as keywords, and fields
    that are dataclasses, or lists of them, are read in the same way: what was expanded becomes classes too.

    Raises:
        ConfigError: the class is neither.
    """
    validate = getattr(model, "model_validate", None)
    if callable(validate):
        return lambda data: validate(dict(data))
    if not dataclasses.is_dataclass(model):
        raise ConfigError(f"{model.__name__} must be a dataclass, or have model_validate().")
    hints = get_type_hints(model)
    readers = {field.name: _reader(hints[field.name]) for field in dataclasses.fields(model) if field.init}
    return lambda data: model(**{name: read(data[name]) for name, read in readers.items() if name in data})


def named_reader(what: str | type[Any]) -> tuple[str, Callable[[Mapping[str, Any]], Any]]:
    """A collection by name, or by a class with `__collection__`: its name, and what makes its records.

    Raises:
        ConfigError: the class is no model.
    """
    if isinstance(what, str):
        return what, Record
    name = getattr(what, "__collection__", None)
    if not isinstance(name, str):
        raise ConfigError(f'{what!r} is no model: give it __collection__ = "todos".')
    return name, reader_of(what)


def _reader(hint: object) -> Callable[[Any], Any]:
    if get_origin(hint) in (Union, types.UnionType):
        members = [one for one in get_args(hint) if one is not type(None)]
        inner = _reader(members[0]) if len(members) == 1 else _as_is
        return lambda value: None if value is None else inner(value)
    if get_origin(hint) is list:
        (member,) = get_args(hint)
        each = _reader(member)
        return _as_is if each is _as_is else lambda value: [each(one) for one in value]
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _Inner(hint)
    return _READERS.get(hint, _as_is)


class _Inner:
    """Reads a class inside a class. Made when it first reads, since classes may hold each other."""

    def __init__(self, model: type[Any]) -> None:
        self._model = model
        self._read: Callable[[Mapping[str, Any]], Any] | None = None

    def __call__(self, value: Any) -> Any:
        if self._read is None:
            self._read = reader_of(self._model)
        return self._read(value)


def _as_is(value: Any) -> Any:
    return value
