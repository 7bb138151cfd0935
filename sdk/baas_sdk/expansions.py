"""What a list or record should bring along: the records that it leads to."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from baas_sdk.filters import Filter, compile_filter


class Expansion(TypedDict, total=False):
    """Wishes for the records of one path. `sort` and `limit` go with lists only; `vars` belong to the `filter` beside them."""

    filter: Filter
    vars: Mapping[str, object]
    sort: str | Sequence[str]
    limit: int
    fields: str | Sequence[str]
    expand: "Expand"


Expand = str | Sequence[str] | Mapping[str, Expansion]
"""Dotted paths with commas between them, a list of paths, or an object with wishes for each name."""


def wish(expand: Expand) -> str | Mapping[str, object]:
    """The same as the server reads it; an empty text for nothing.

    Raises:
        ConfigError: as `compile_filter`.
    """
    if isinstance(expand, str):
        return expand
    if isinstance(expand, Mapping):
        return {name: _wishes(one) for name, one in expand.items()}
    return ",".join(expand)


def _wishes(given: Expansion) -> Mapping[str, object]:
    wishes: dict[str, object] = {name: value for name, value in given.items() if name not in ("filter", "vars", "expand")}
    compiled = compile_filter(given.get("filter"), given.get("vars"))
    if compiled is not None:
        wishes |= {"filter": compiled.text} | ({"vars": compiled.variables} if compiled.variables else {})
    if below := given.get("expand"):
        wishes["expand"] = wish(below)
    return wishes
