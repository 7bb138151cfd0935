"""The room's values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from baas.engines.query.asking import Asking
from baas.engines.query.expand import Node
from baas.engines.query.table import Table
from baas.engines.query.tree import Count, Expand, Filter, List, SortKey
from baas.engines.rules.parse import FILTER_LIMITS
from baas.engines.rules.rule import Rule

DEFAULT_LIMIT = 30
MAX_LIMIT = 500
MAX_SORT_KEYS = 8
MAX_FILTER_LENGTH = FILTER_LIMITS.characters
MAX_SEARCH_LENGTH = 1000
MAX_VAR_ITEMS = 200
MAX_FAULTS = 100
"""A problem lists no more."""
MAX_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Wanted:
    """A list as a client asks for it: names and expressions unchecked, types and limits right.

    `cursor` is the text of a `next_cursor`, `expand_text` that of `expand` where it was one.
    """

    filter: str | None = None
    vars: Mapping[str, object] = field(default_factory=dict)
    sort: tuple[SortKey, ...] = ()
    limit: int = DEFAULT_LIMIT
    cursor: str | None = None
    fields: tuple[str, ...] | None = None
    expand: tuple[Expand, ...] = ()
    expand_text: str | None = None
    count: Count = "none"
    search: str | None = None
    near: Mapping[str, object] | None = None
    as_of: datetime | None = None


class Precondition(NamedTuple):
    """What a client demands of the stored record before it changes: one of these revisions, a condition. `given`: he has said
    something, be it only that there must be one (`If-Match: *`).
    """

    revs: tuple[int, ...] | None = None
    where: Filter | None = None
    given: bool = False


ANY = Precondition()


class Followed(NamedTuple):
    """A list that may be asked for, by the one who asks: `filter` and `nodes` are what the compiler made of its tree."""

    table: Table
    tree: List
    asking: Asking
    filter: Rule | None
    nodes: tuple[Node, ...]


class Page(NamedTuple):
    """`items` is the JSON texts of the records with commas between them; `feed` a cursor of the change log and the definitions
    that the list was read under, None for a view.
    """

    items: str
    next_cursor: str | None
    total: int | None
    feed: str | None = None


@dataclass(frozen=True, slots=True)
class Groups:
    """`items` is the JSON texts of the groups with commas between them; `more` that the limit left some out."""

    items: str
    more: bool


class History(NamedTuple):
    """Changes of a record, newest first: JSON texts with commas between, and where the page ended."""

    items: str
    next_cursor: str | None


class Stored(NamedTuple):
    """A record as JSON text. Where the caller may not view what he wrote, `seen` is False and the text has the id alone.

    `rev` is None for a row of a view that shows none.
    """

    body: str
    rev: int | None
    seen: bool = True
    created: bool = False
    id: str = ""
