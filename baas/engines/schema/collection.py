"""Collections and fields as values: what a project's schema is, before SQL and without behaviour."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Action = Literal["list", "view", "create", "update", "delete"]
Using = Literal["btree", "gin", "gist", "hnsw", "trigram"]
ACTIONS: tuple[Action, ...] = ("list", "view", "create", "update", "delete")
SYSTEM_FIELDS = ("id", "rev", "created_at", "updated_at")
_NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Field:
    """One typed column. `type` names a kind of `schema/fields`; `options` are that kind's own, already checked.

    `default` is a JSON value or None for none. `validate` is an expression that every written value must satisfy, and
    `validate_message` what is said when it does not. `system` fields (of `users`) cannot be altered or dropped.
    """

    name: str
    type: str
    required: bool = False
    unique: bool = False
    default: object = None
    hidden: bool = False
    immutable: bool = False
    readonly: bool = False
    read: str | None = None
    validate: str | None = None
    validate_message: str | None = None
    options: Mapping[str, object] = field(default_factory=lambda: _NOTHING)
    system: bool = False


@dataclass(frozen=True, slots=True)
class Index:
    """Columns in order, `-name` for descending; `where` is a rule expression over the record's fields.

    `using`: a "gin" index is over one list, a "gist" one over one place, an "hnsw" one over one vector, a "trigram" one over what
    stands inside one text.
    """

    fields: tuple[str, ...]
    unique: bool = False
    where: str | None = None
    using: Using = "btree"


@dataclass(frozen=True, slots=True)
class View:
    """What an operator's SELECT shows, as a collection that is only read.

    `system_fields` are those of `id, rev, created_at, updated_at` that the SELECT gives; `id` is always among them.
    """

    sql: str
    system_fields: tuple[str, ...] = ("id",)


@dataclass(frozen=True, slots=True)
class Collection:
    """A table of a project, or a view. `rules[action]` is an expression, or None: operators and secret keys only.

    `version` grows with every change of the project's schema, so it can key caches. `schema` is the project's PostgreSQL schema.
    """

    name: str
    schema: str
    fields: tuple[Field, ...]
    indexes: tuple[Index, ...] = ()
    rules: Mapping[Action, str | None] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=lambda: _NOTHING)
    system: bool = False
    version: int = 0
    view: View | None = None

    def field(self, name: str) -> Field | None:
        """The field with this name; system fields of every record (`id`, `rev`, …) are not in `fields`."""
        return next((one for one in self.fields if one.name == name), None)
