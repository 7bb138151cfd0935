"""A collection as the compiler sees it: columns with their SQL, what rules may name, and the checked rules. One per version."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from baas.engines.rules.rule import Env, RowField, RowType, Rule, check
from baas.engines.schema.collection import Action, Collection, Field
from baas.engines.schema.fields import kind_of
from baas.engines.schema.fields.base import CASTS, Cast, Kind
from baas.infra.db.sql import Sql, ident, sql

USERS = "users"
_MOMENT = Field("created_at", "datetime", required=True)
# A lone field name means the record, of a create the new one; of an update it could mean either, so it means nothing.
_BARE: Mapping[Action, Literal["next"] | None] = {"create": "next", "update": None}
_CLAIMS = RowField("json", nullable=False)


@dataclass(frozen=True, slots=True)
class Column:
    """One column: a field of the collection, or (`field` None) one of the four that every record has."""

    name: str
    cast: Cast
    field: Field | None
    kind: Kind | None

    @property
    def nullable(self) -> bool:
        return self.field is not None and not self.field.required

    @property
    def many(self) -> bool:
        return self.cast.endswith("[]")

    @property
    def sortable(self) -> bool:
        """Whether the values have an order that a page can follow: lists and JSON documents have none."""
        return not self.many and self.cast != "jsonb"

    def of(self, alias: str) -> Sql:
        return ident(alias, self.name)

    def typed(self, value: object) -> Sql:
        """A hole with the column's type; text compares by code point, as the stored column does."""
        if self.cast == "text":
            return sql('{}::text collate "C"', value)
        return sql("{}::{}", value, CASTS[self.cast])

    def json(self, alias: str) -> Sql:
        """What stands for the column in an answer."""
        if self.kind is not None and self.field is not None:
            return self.kind.to_json(self.of(alias), self.field)
        if self.cast == "timestamptz":
            return kind_of(_MOMENT).to_json(self.of(alias), _MOMENT)
        return self.of(alias)

    def in_rules(self, column: Sql) -> Sql:
        """The column as a rule computes with it."""
        return self.kind.rule_column(column, self.field) if self.kind and self.field else column


class Table:
    """A collection at one version, with what is derived from it made once.

    `others` are all collections of the project; `tables` finds one of them by name.
    """

    def __init__(self, collection: Collection, others: Mapping[str, Collection], tables: "Callable[[str], Table | None]") -> None:
        self.collection = collection
        self.name = collection.name
        self.key = (collection.schema, collection.version, collection.name)
        self.sql = ident(collection.schema, collection.name)
        self.columns: dict[str, Column] = {column.name: column for column in _columns(collection)}
        self.others = others
        self._tables = tables
        self._rules: dict[Action, Rule | None] = {}
        self._reads: dict[str, Rule] = {}
        self._needs: dict[tuple[Action, ...], bool] = {}
        self._gates = frozenset(name for name, one in self.columns.items() if one.field and one.field.read is not None)
        self._masked = tuple(name for name, one in self.columns.items() if not (one.field and one.field.hidden))

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
        field = self.columns[name].field
        if field is None or field.read is None:
            return None
        if name not in self._reads:
            self._reads[name] = check(field.read, rule_env(self.collection, "view", self.others))
        return self._reads[name]

    def gated(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those of the names whose field has a `read` expression."""
        return tuple(name for name in names if name in self._gates) if self._gates else ()

    def needs_auth_record(self, *actions: Action) -> bool:
        """Whether a rule that these actions ask looks at fields of the caller's own record, which must then be fetched."""
        if actions not in self._needs:
            self._needs[actions] = any(rule.needs_auth_record for rule in self._asked(actions))
        return self._needs[actions]

    def looks_at_input(self, action: Action) -> bool:
        """Whether the rule of an action depends on which keys the client sent."""
        rule = self.rule(action)
        return rule is not None and any(root == "input" for root, _ in rule.names)

    def _asked(self, actions: tuple[Action, ...]) -> Iterable[Rule]:
        """Every rule that a statement for these actions may hold: theirs, the view rule of answers and of targets, `read`."""
        views = [] if actions == ("list",) else ["view"]
        rules = [self.rule(action) for action in (*actions, *views)]  # type: ignore[arg-type]
        rules += [self.read(name) for name in self.gated(self.columns)]
        if any(action in ("create", "update") for action in actions):
            targets = (self.target(column) for column in self.references(self.columns))
            rules += [target.rule("view") for target in targets if target is not None]
        return (rule for rule in rules if rule is not None)

    def target(self, column: Column) -> "Table | None":
        """The collection a relation leads to; None for a field that names files."""
        if column.field is None or column.field.type != "relation":
            return None
        return self._tables(str(column.field.options["to"]))

    def filter(self, source: str, names: Iterable[str], *, masked: bool) -> Rule:
        """A client's filter over these fields alone; raises RuleError, the same for a hidden field and one that never was.

        For a `masked` client `auth` has no more of his account than it always shows him.
        """
        record = RowType({name: _row_field(self.collection, self.columns[name]) for name in names})
        auth = auth_type(self.others, masked=masked)
        return check(source, Env(action="list", record=record, next=None, auth=auth, bare="record", vars=True, kind="filter"))

    def references(self, names: Iterable[str]) -> tuple[Column, ...]:
        """Those of the fields that name a record or a file."""
        columns = (self.columns[name] for name in names)
        return tuple(one for one in columns if one.field is not None and one.field.type in ("relation", "file"))


def rule_env(collection: Collection, action: Action, others: Mapping[str, Collection]) -> Env:
    """The names that the rule of an action may use: of `record`, of `next`, of `auth`."""
    row = row_type(collection)
    return Env(
        action=action,
        record=None if action == "create" else row,
        next=row if action in ("create", "update") else None,
        auth=auth_type(others),
        bare=_BARE.get(action, "record"),
        vars=False,
        kind="rule",
    )


def row_type(collection: Collection) -> RowType:
    """Every field of a collection's records, hidden ones too: rules are written by those who define the fields."""
    return RowType({column.name: _row_field(collection, column) for column in _columns(collection)})


def auth_type(others: Mapping[str, Collection], *, masked: bool = False) -> RowType:
    """What `auth` has: the fields of the user's own record, the name of its collection, and the token's claims.

    `masked`: without the fields that are hidden or have a `read` expression.
    """
    users = others.get(USERS)
    fields = {} if users is None else dict(row_type(users).fields)
    if masked and users is not None:
        for field in users.fields:
            if field.hidden or field.read is not None:
                del fields[field.name]
    return RowType({**fields, "collection": RowField("string", nullable=False), "claims": _CLAIMS})


def _columns(collection: Collection) -> Iterable[Column]:
    yield Column("id", "uuid", None, None)
    yield Column("rev", "int8", None, None)
    yield Column("created_at", "timestamptz", None, None)
    yield Column("updated_at", "timestamptz", None, None)
    for field in collection.fields:
        kind = kind_of(field)
        yield Column(field.name, kind.cast(field), field, kind)


def _row_field(collection: Collection, column: Column) -> RowField:
    if column.field is not None and column.kind is not None:
        return RowField(column.kind.rule_type(column.field), nullable=column.nullable)
    types = {"uuid": f"ref({collection.name})", "int8": "int", "timestamptz": "timestamp"}
    return RowField(types[column.cast], nullable=False)
