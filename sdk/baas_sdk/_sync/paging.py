# Made from _async/paging.py by sdk/unasync.py; change that one.
"""What lists have in common, and calls about one thing."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from baas_sdk._sync.transport import Transport
from baas_sdk.errors import ConfigError
from baas_sdk.models import Page, Resource

T = TypeVar("T")


def page_of(
    transport: Transport, path: str, read: Callable[[Mapping[str, Any]], T], query: Mapping[str, object]
) -> Page[T]:
    """One page of what a path lists. Values of None are left out of the query."""
    params = {name: str(value) for name, value in query.items() if value not in (None, "")}
    answer = transport.json("GET", path, params=params)
    return Page([read(item) for item in answer["items"]], answer.get("next_cursor"), answer.get("total"))


def id_of(given: Resource | str, name: str = "id") -> str:
    """The id, or the name, that the path needs."""
    found = given if isinstance(given, str) else given.get(name)
    if not isinstance(found, str):
        raise ConfigError(f"{given!r} has no {name}.")
    return found
