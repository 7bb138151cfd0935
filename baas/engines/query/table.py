"""A collection as the compiler sees it: columns with their SQL, what rules may name, and the checked rules. One per version."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from types import MappingProxyType
from typing import Literal

from baas.base.places import Geo
from baas.engines.rules.locks import counted
from baas.engines.rules.rule import Env, RowField, RowType, Rule, check
from baas.engines.rules.tree import Constant, walk
from baas.engines.rules.types import Inverse
from baas.engines.schema.collection import Action, Collection, Field
from baas.engines.schema.fields import kind_of
from baas.engines.schema.fields.base import CASTS, Cast, Kind
from baas.engines.schema.manifest import USERS
from baas.infra.db.readers import reader
from baas.infra.db.sql import Sql, as_role, ident, sql

_MOMENT = Field("created_at", "datetime", required=True)
# A lone field name means the record, of a create the new one; of an update it could mean either, so it means nothing.
_BARE: Mapping[Action, Literal["next"] | None] = {"create": "next", "update": None}
_SYSTEM: Mapping[str, Cast] = {"id": "uuid", "rev": "int8", "created_at": "timestamptz", "updated_at": "timestamptz"}
_CLAIMS = RowField("json", nullable=False)


@dataclass(frozen=True, slots=True)
class Column:
    """One column: a field of the collection, or (`field` None) one of the four that every record has."""

    name: str
    cast: Cast
    field: Field | None
    kind: Kind | None
    loose: bool = False
    """A view's: nobody promises that it is never null."""

    @property
    def nullable(self) -> bool:
        return self.loose or (self.field is not None and not self.field.required)

    @property
    def many(self) -> bool:
        return self.cast.endswith("[]")

    @property
    def plural(self) -> str:
        """What the column holds, in words, where it has no order."""
        named = {"jsonb": "JSON documents", "geo_point": "places", "vector": "vectors"}
        return "lists" if self.many else named.get(self.cast, "values")

    @property
    def sortable(self) -> bool:
        """Whether the values have an order that a page can follow: lists, JSON documents, places and vectors have none."""
        return not self.many and self.cast not in ("jsonb", "geo_point", "vector")

    def of(self, alias: str) -> Sql:
        return ident(alias, self.name)

    def typed(self, value: object) -> Sql:
        """A hole with the column's type; text compares by code point, as the stored column does."""
        if self.cast == "text":
            return sql('{}::text collate "C"', value)
        return sql("{}::{}", value, CASTS[self.cast])

    def json(self, alias: str) -> Sql:
        """What stands for the column in an answer."""
        return self.json_of(self.of(alias))

    def json_of(self, value: Sql) -> Sql:
        """The same for any value of the column's type."""
        if self.kind is not None and self.field is not None:
            return self.kind.to_json(value, self.field)
        if self.cast == "timestamptz":
            return kind_of(_MOMENT).to_json(value, _MOMENT)
        return value

    def in_rules(self, column: Sql) -> Sql:
        """The column as a rule computes with it."""
        return self.kind.rule_column(column, self.field) if self.kind and self.field else column

    def in_memory(self, value: object) -> object:
        """What the driver read of the column, as rules compute with it in memory."""
        if value is None:
            return None
        if self.cast == "uuid":
            return str(value)
        if self.cast == "uuid[]" and isinstance(value, list):
            return [str(item) for item in value]
        if self.cast == "geo_point":
            return Geo(value["lat"], value["lon"])  # type: ignore[index]  # the driver's record
        if self.cast == "jsonb":
            return json.loads(str(value), parse_float=Decimal)
        return value


FOUND = {name: Column(name, "float8", None, None) for name in ("_rank", "_similarity", "_distance")}
"""What a query computes beside the columns, by names that no field has."""


@dataclass(frozen=True, slots=True)
class Link:
    """A way from a record to others. `column` is the relation: the record's own, or (`back`) that of the target's records."""

    name: str
    target: "Table"
    column: Column
    back: bool

    @property
    def many(self) -> bool:
        """Whether it leads to a list."""
        return self.back or self.column.many


class Table:
    """A collection at one version, with what is derived from it made once.

    `others` are all collections of the project; `tables` finds one of them by name.
    """

    def __init__(self, collection: Collection, others: Mapping[str, Collection], tables: "Callable[[str], Table | None]") -> None:
        self.collection = collection
        self.name = collection.name
        self.key = (collection.schema, collection.version, collection.name)
        self.sql = _source(collection)
        self.columns: dict[str, Column] = {column.name: column for column in _columns(collection)}
        self.others = others
        self._tables = tables
        self._rules: dict[Action, Rule | None] = {}
        self._reads: dict[str, Rule] = {}
        self._demands: tuple[Demand, ...] | None = None
        self._needs: dict[tuple[Action, ...], bool] = {}
        self._counted: dict[Action, frozenset[str]] = {}
        self._links: dict[bool, Mapping[str, Link]] = {}
        self._gates = frozenset(name for name, one in self.columns.items() if one.field and one.field.read is not None)
        self._masked = tuple(name for name, one in self.columns.items() if not (one.field and one.field.hidden))

    def column(self, name: str) -> Column:
        """A column, or what a query computes beside them."""
        return self.columns.get(name) or FOUND[name]

    def names(self, *, masked: bool) -> tuple[str, ...]:
        """The fields that exist for a caller: all, or (`masked`) all but the hidden ones."""
        return self._masked if masked else tuple(self.columns)

    def rule(self, action: Action) -> Rule | None:
        """The checked rule of an action; None is locked."""
        if action not in self._rules:
            source = self.collection.rules.get(action)
            self._rules[action] = None if source is None else check(source, rule_env(self.collection, action, self.others))
        return self._rules[action]

    def read(self, name: str) -> Rule | None:
        """The checked `read` expression of a field, None when whoever sees the record may read it."""
        field = self.column(name).field
        if field is None or field.read is None:
            return None
        if name not in self._reads:
            self._reads[name] = check(field.read, rule_env(self.collection, "view", self.others))
        return self._reads[name]

    def demands(self) -> "tuple[Demand, ...]":
        """The checked `validate` expressions of the fields."""
        if self._demands is None:
            fields = [field for field in self.collection.fields if field.validate is not None]
            self._demands = tuple(_demand(field, self.collection, self.others) for field in fields)
        return self._demands

    def gated(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those of the names whose field has a `read` expression."""
        return tuple(name for name in names if name in self._gates) if self._gates else ()

    def needs_auth_record(self, *actions: Action) -> bool:
        """Whether a rule that these actions ask looks at fields of the caller's own record, which must then be fetched."""
        if actions not in self._needs:
            self._needs[actions] = any(rule.needs_auth_record for rule in self._asked(actions))
        return self._needs[actions]

    def counted(self, action: Action) -> frozenset[str]:
        """The collections whose number of records the rule of an action, or a validation, depends on: see `rules/locks.py`."""
        if action not in self._counted:
            asked = (self.rule(action), *(demand.rule for demand in self.demands()))
            self._counted[action] = frozenset(name for rule in asked if rule is not None for name in counted(rule.tree))
        return self._counted[action]

    def looks_at_input(self, action: Action) -> bool:
        """Whether the rule of an action, or a validation, depends on which keys the client sent."""
        asked = (self.rule(action), *(demand.rule for demand in self.demands()))
        return any(root == "input" for rule in asked if rule is not None for root, _ in rule.names)

    def _asked(self, actions: tuple[Action, ...]) -> Iterable[Rule]:
        """Every rule that a statement for these actions may hold: theirs, the view rule of answers and of targets, `read`."""
        views = [] if actions == ("list",) else ["view"]
        rules = [self.rule(action) for action in (*actions, *views)]  # type: ignore[arg-type]
        rules += [self.read(name) for name in self.gated(self.columns)]
        if any(action in ("create", "update") for action in actions):
            targets = (self.target(column) for column in self.references(self.columns))
            rules += [target.rule("view") for target in targets if target is not None]
            rules += [demand.rule for demand in self.demands()]
        return (rule for rule in rules if rule is not None)

    def target(self, column: Column) -> "Table | None":
        """The collection a relation leads to; None for a field that names files."""
        if column.field is None or column.field.type != "relation":
            return None
        return self._tables(str(column.field.options["to"]))

    def other(self, name: str) -> "Table | None":
        """Another collection of the project, or this one."""
        return self._tables(name)

    def links(self, *, masked: bool) -> Mapping[str, Link]:
        """The ways to other records by name; `masked` leaves out hidden relations. None lead into a view."""
        if masked not in self._links:
            self._links[masked] = {link.name: link for link in self._found_links(masked=masked)}
        return self._links[masked]

    def _found_links(self, *, masked: bool) -> Iterator[Link]:
        for name in self.names(masked=masked):
            column = self.columns[name]
            target = self.target(column)
            if target is not None and target.collection.view is None:
                yield Link(name, target, column, back=False)
        for name, inverse in _Inverses(self.name, self.others, masked=masked).items():
            source = self.other(inverse.collection)
            if source is not None and source.collection.view is None:
                yield Link(name, source, source.columns[inverse.field], back=True)

    def filter(self, source: str, *, masked: bool) -> Rule:
        """A client's filter; raises RuleError, the same for a hidden field and one that never was.

        For a `masked` client `auth` has no more of his account than it always shows him.
        """
        reached = RowTypes(self.others, masked=masked)
        env = Env(
            action="list",
            record=row_type(self.collection, self.others, masked=masked),
            auth=auth_type(self.others, masked=masked),
            bare="record",
            vars=True,
            kind="filter",
            collections=reached,
        )
        return check(source, env)

    def needs_auth_record_beside(self, rule: Rule) -> bool:
        """Whether what a client must satisfy to enter other collections with this filter looks at his record."""
        others = [(other, field) for name, field in rule.entered if (other := self.other(name)) is not None]
        asked = [other.rule("list") for other, _ in others]
        asked += [other.read(field) for other, field in others if field in other.columns]
        return any(one.needs_auth_record for one in asked if one is not None)

    def references(self, names: Iterable[str]) -> tuple[Column, ...]:
        """Those of the fields that name a record or a file."""
        columns = (self.columns[name] for name in names)
        return tuple(one for one in columns if one.field is not None and one.field.type in ("relation", "file"))


def rule_env(collection: Collection, action: Action, others: Mapping[str, Collection]) -> Env:
    """The names that the rule of an action may use: of `record`, of `next`, of `auth`."""
    row = row_type(collection, others)
    return Env(
        action=action,
        record=None if action == "create" else row,
        next=row if action in ("create", "update") else None,
        auth=auth_type(others),
        bare=_BARE.get(action, "record"),
        vars=False,
        kind="rule",
        collections=RowTypes(others),
        views=views_of(others),
    )


@dataclass(frozen=True, slots=True)
class Demand:
    """The checked `validate` of a field: which fields of the written record it depends on, and whether it speaks of null."""

    field: Field
    rule: Rule
    reads: frozenset[str]
    asks_null: bool


def _demand(field: Field, collection: Collection, others: Mapping[str, Collection]) -> Demand:
    rule = check_validation(collection, field, others)
    reads = frozenset(name for root, name in rule.names if root in ("next", "input")) | {field.name}
    asks_null = any(isinstance(node, Constant) and node.value is None for node in walk(rule.tree))
    return Demand(field, rule, reads, asks_null)


def check_validation(collection: Collection, field: Field, others: Mapping[str, Collection]) -> Rule:
    """The checked `validate` of a field. Raises RuleError."""
    return check(field.validate or "true", validation_env(collection, field, others))


def validation_env(collection: Collection, field: Field, others: Mapping[str, Collection]) -> Env:
    """The names that the `validate` of a field may use; `record` is null throughout while there is none."""
    row = row_type(collection, others)
    before = RowType({name: replace(one, nullable=True) for name, one in row.fields.items()}, row.inverses)
    return Env(
        action="",
        record=before,
        next=row,
        auth=auth_type(others),
        bare="next",
        kind="validation",
        value=field.name,
        collections=RowTypes(others),
        views=views_of(others),
    )


def views_of(collections: Mapping[str, Collection]) -> frozenset[str]:
    """The names of those that are views."""
    return frozenset(name for name, one in collections.items() if one.view is not None)


class RowTypes(Mapping[str, RowType]):
    """The records of a project by collection, each described when it is asked for.

    `masked`: for a client, to whom hidden fields and collections that he cannot list do not exist.
    """

    def __init__(self, collections: Mapping[str, Collection], *, masked: bool = False) -> None:
        self._collections = collections
        self._masked = masked

    def __getitem__(self, name: str) -> RowType:
        collection = self._collections[name]
        if collection.view is not None:
            raise KeyError(name)  # a write whose rule entered a view would run a person's SQL as the server
        if self._masked and collection.rules.get("list") is None:
            raise KeyError(name)
        return row_type(collection, self._collections, masked=self._masked)

    def __iter__(self) -> Iterator[str]:
        return (
            name
            for name, one in self._collections.items()
            if one.view is None and (not self._masked or one.rules.get("list") is not None)
        )

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _Inverses(Mapping[str, Inverse]):
    """The relations that lead to a collection, by their `inverse`; looked for when the first is asked for."""

    def __init__(self, target: str, collections: Mapping[str, Collection], *, masked: bool) -> None:
        self._target = target
        self._collections = collections
        self._masked = masked
        self._found: Mapping[str, Inverse] | None = None

    def __getitem__(self, name: str) -> Inverse:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> Mapping[str, Inverse]:
        if self._found is None:
            self._found = {
                str(field.options["inverse"]): Inverse(collection.name, field.name, bool(field.options["many"]))
                for collection in self._collections.values()
                for field in collection.fields
                if field.options.get("inverse") and field.options["to"] == self._target and not (self._masked and field.hidden)
            }
        return self._found


def row_type(collection: Collection, others: Mapping[str, Collection] = MappingProxyType({}), *, masked: bool = False) -> RowType:
    """The fields of a collection's records, and what leads to them. Rules are written by those who define the fields, so they
    name hidden ones too; `masked` leaves those out.
    """
    columns = (one for one in _columns(collection) if not (masked and one.field is not None and one.field.hidden))
    fields = {column.name: _row_field(collection, column) for column in columns}
    return RowType(fields, _Inverses(collection.name, others, masked=masked))


def auth_type(others: Mapping[str, Collection], *, masked: bool = False) -> RowType:
    """What `auth` has: the fields of the user's own record, the name of its collection, and the token's claims.

    `masked`: without the fields that are hidden or have a `read` expression, and without what leads back to the record.
    """
    users = others.get(USERS)
    row = RowType({}) if users is None else row_type(users, others)
    fields = dict(row.fields)
    if masked and users is not None:
        for field in users.fields:
            if field.hidden or field.read is not None:
                del fields[field.name]
    return RowType(
        {**fields, "collection": RowField("string", nullable=False), "claims": _CLAIMS}, {} if masked else row.inverses
    )


def _source(collection: Collection) -> Sql:
    """The table; a view makes the whole statement run as the project's reader, because functions in it run as who asks."""
    name = ident(collection.schema, collection.name)
    return name if collection.view is None else as_role(reader(collection.schema), name)


def _columns(collection: Collection) -> Iterable[Column]:
    for name, cast in _SYSTEM.items():
        if collection.view is None or name in collection.view.system_fields:
            yield Column(name, cast, None, None, loose=collection.view is not None and name != "id")
    for field in collection.fields:
        kind = kind_of(field)
        yield Column(field.name, kind.cast(field), field, kind)


def _row_field(collection: Collection, column: Column) -> RowField:
    if column.field is not None and column.kind is not None:
        return RowField(column.kind.rule_type(column.field), nullable=column.nullable)
    types = {"uuid": f"ref({collection.name})", "int8": "int", "timestamptz": "timestamp"}
    return RowField(types[column.cast], nullable=column.nullable)
