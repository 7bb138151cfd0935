"""What an aggregate asks: keys to group by, figures over each group, what is kept of the groups and in which order.

It comes as the client wrote it (`Asked`) and is read into values whose fields exist for this caller (`Grouping`). Every fault is
found at once. A path leads over single relations only, because a record must count once.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

from baas.base.errors import Fault, did_you_mean
from baas.engines.query.asking import Asking
from baas.engines.query.reach import BadName, Way, find_way
from baas.engines.query.table import Column, Table, auth_type
from baas.engines.query.tree import Filter, Near, Search
from baas.engines.rules.rule import Env, RowField, RowType, Rule, RuleError, check
from baas.engines.schema.collection import Field
from baas.engines.schema.fields import kind_of
from baas.engines.schema.fields.base import NAME, Cast
from baas.engines.schema.manifest import NAME_WORDS, pointer
from baas.infra.db.sql import Sql, sql

MAX_KEYS = 8
MAX_FIGURES = 20
MAX_GROUPS = 1000
DEFAULT_GROUPS = 100
Bucket = Literal["hour", "day", "week", "month", "quarter", "year"]
BUCKETS: tuple[Bucket, ...] = get_args(Bucket)
_CALL = re.compile(r"\s*([A-Za-z_]\w*)\s*\(\s*([^()]*?)\s*\)\s*")
_LONGEST_TEXT = 200
_MOST_BYTES = 63  # of a name in an answer: PostgreSQL writes the JSON, and cuts longer names
_RESERVED = frozenset(
    ("true", "false", "null", "in", "and", "or", "not", "auth", "record", "next", "now", "input", "vars", "value")
)
_NUMBERS = frozenset({"int8", "float8", "numeric"})
_ORDERED = _NUMBERS | {"text", "date", "timestamptz"}
_EQUAL = _ORDERED | {"bool", "uuid"}


class Function(NamedTuple):
    """An aggregate function: the columns it takes, and what to say where it does not."""

    takes: frozenset[str] | None
    words: str = ""


FUNCTIONS: Mapping[str, Function] = {
    "count": Function(None),
    "count_distinct": Function(_EQUAL, "single values: texts, numbers, booleans, dates, times, ids"),
    "sum": Function(_NUMBERS, "numbers"),
    "avg": Function(_NUMBERS, "numbers"),
    "min": Function(_ORDERED, "numbers, texts, dates and times"),
    "max": Function(_ORDERED, "numbers, texts, dates and times"),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """An aggregate as a client wrote it: types right, names and texts unchecked."""

    group_by: tuple[str | Mapping[str, object], ...] = ()
    select: Mapping[str, str] = field(default_factory=dict)
    having: str | None = None
    sort: tuple[str, ...] = ()
    limit: int = DEFAULT_GROUPS
    filter: str | None = None
    vars: Mapping[str, object] = field(default_factory=dict)
    time_zone: str | None = None
    search: str | None = None
    near: Mapping[str, object] | None = None


class Shape(NamedTuple):
    """A column of the answer: its type in `having`, how it is written as JSON, and how `having` computes with it."""

    rule_type: str
    json: Callable[[Sql], Sql]
    in_rules: Callable[[Sql], Sql]


@dataclass(frozen=True, slots=True)
class Key:
    """Records with the same value are one group; of a moment or day, those in the same `bucket`."""

    name: str
    of: Way
    bucket: Bucket | None = None

    @property
    def shape(self) -> Shape:
        if self.bucket is None:
            return stored(self.of.column)
        return _MOMENT if self.bucket == "hour" else _DAY


@dataclass(frozen=True, slots=True)
class Figure:
    """One number or value a group. `of` None counts records."""

    name: str
    function: str
    of: Way | None

    @property
    def shape(self) -> Shape:
        if self.of is None or self.function in ("count", "count_distinct"):
            return _COUNT
        cast = self.of.column.cast
        if self.function in ("min", "max"):
            return stored(self.of.column)
        if cast == "numeric":
            return _DECIMAL
        return _WHOLE if cast == "int8" and self.function == "sum" else _DOUBLE


@dataclass(frozen=True, slots=True)
class Order:
    """One sort key among the columns of the answer. Absent values come last in both directions, unless `nulls_first`."""

    name: str
    descending: bool = False
    nulls_first: bool = False


@dataclass(frozen=True, slots=True)
class Grouping:
    """An aggregate that was read. The groups are in total order: `order` names every key."""

    keys: tuple[Key, ...]
    figures: tuple[Figure, ...]
    order: tuple[Order, ...]
    limit: int
    filter: Filter | None = None
    having: Rule | None = None
    vars: Mapping[str, object] = field(default_factory=dict)
    zone: str | None = None
    search: Search | None = None
    near: Near | None = None

    @property
    def columns(self) -> tuple[Key | Figure, ...]:
        return (*self.keys, *self.figures)

    def needs_auth_record(self) -> bool:
        """Whether `having`, or what stands in the way to a field, looks at fields of the caller's own record."""
        asked = self.having is not None and self.having.needs_auth_record
        return asked or any(one.of.needs_auth_record() for one in self.columns if one.of is not None)


class BadAggregate(Exception):
    """Every fault, each with a pointer into what the client sent."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("The aggregate is wrong.")
        self.faults = tuple(faults)


def read(asked: Asked, table: Table, asking: Asking) -> Grouping:
    """The aggregate over the fields that exist for this caller. Raises BadAggregate."""
    return _Reader(asked, table, asking).read()


def stored(column: Column) -> Shape:
    """The shape of a field's own values."""
    json = column.json_of
    rule_type = "string" if column.cast == "uuid" else _rule_type(column)
    return Shape(rule_type, json, (lambda one: sql('{}::text collate "C"', one)) if column.cast == "uuid" else column.in_rules)


def _rule_type(column: Column) -> str:
    if column.kind is not None and column.field is not None:
        return column.kind.rule_type(column.field)
    return {"int8": "int", "timestamptz": "timestamp"}.get(column.cast, "string")


def _made(name: str, cast: Cast, kind: str, rule_type: str | None = None) -> Shape:
    field_ = Field(name, kind)
    column = Column(name, cast, field_, kind_of(field_))
    return Shape(rule_type or _rule_type(column), column.json_of, column.in_rules)


_COUNT = _made("count", "int8", "int")
# A sum of 64-bit numbers may not fit 64 bits: it is a decimal to `having`, and a whole number in the answer.
_WHOLE = _made("sum", "int8", "int", "decimal")
_DECIMAL = _made("sum", "numeric", "decimal")
_DOUBLE = _made("sum", "float8", "float")
_DAY = _made("day", "date", "date")
_MOMENT = _made("hour", "timestamptz", "datetime")


class _Reader:
    def __init__(self, asked: Asked, table: Table, asking: Asking) -> None:
        self._asked = asked
        self._table = table
        self._asking = asking
        self._faults: list[Fault] = []

    def read(self) -> Grouping:
        asked = self._asked
        keys = [key for at, entry in enumerate(asked.group_by) if (key := self._key(entry, f"/group_by/{at}")) is not None]
        figures = [figure for name, text in asked.select.items() if (figure := self._figure(name, text)) is not None]
        self._check_numbers()
        self._check_names([*keys, *figures])
        order = () if self._faults else self._order(keys, figures)
        having = None if self._faults else self._having([*keys, *figures])
        if self._faults:
            raise BadAggregate(self._faults)
        wanted = None if asked.filter is None else Filter(asked.filter, asked.vars)
        return Grouping(tuple(keys), tuple(figures), order, asked.limit, wanted, having, asked.vars, asked.time_zone)

    def _fault(self, pointer: str, code: str, message: str, **details: object) -> None:
        self._faults.append(Fault(pointer, code, message, {name: value for name, value in details.items() if value is not None}))

    def _check_numbers(self) -> None:
        asked = self._asked
        if not asked.group_by and not asked.select:
            self._fault("/select", "required", 'Name what to count, such as {"n": "count()"}, or what to group by.')
        if len(asked.group_by) > MAX_KEYS:
            self._fault("/group_by", "too_many", f"At most {MAX_KEYS} keys.")
        if len(asked.select) > MAX_FIGURES:
            self._fault("/select", "too_many", f"At most {MAX_FIGURES} figures.")

    def _check_names(self, columns: Sequence[Key | Figure]) -> None:
        seen: set[str] = set()
        for one in columns:
            if one.name in seen:
                at = f"/select/{one.name}" if isinstance(one, Figure) else "/group_by"
                self._fault(at, "duplicate", f"The answer would have {one.name!r} twice.")
            seen.add(one.name)

    # group_by

    def _key(self, entry: str | Mapping[str, object], at: str) -> Key | None:
        """`status`, `author.country`, `created_at:month`, or `{"field", "by"?, "as"?}`."""
        if isinstance(entry, str):
            text, colon, by = entry.partition(":")
            return self._made_key(text, by if colon else None, entry, at, at)
        given: dict[str, str] = {}
        for name, value in entry.items():
            if name not in ("field", "by", "as"):
                self._fault(pointer(at, name), "unknown_key", "A key has field, by and as.")
            elif not isinstance(value, str):
                self._fault(f"{at}/{name}", "wrong_type", "Must be a string.")
            else:
                given[name] = value
        if len(given) < len(entry):
            return None
        if "field" not in given:
            self._fault(f"{at}/field", "required", "Name the field.")
            return None
        if "as" in given and not self._is_name(given["as"], f"{at}/as"):
            return None
        text, bucket = given["field"], given.get("by")
        shown = text if bucket is None else f"{text}:{bucket}"
        return self._made_key(text, bucket, given.get("as", shown), at, f"{at}/field")

    def _made_key(self, text: str, bucket: str | None, name: str, at: str, where: str) -> Key | None:
        of = self._reach(text, where, 0)
        if of is None:
            return None
        cast = of.column.cast
        if cast not in _EQUAL:
            self._fault(where, "type_mismatch", f"{text!r} holds {of.column.plural}, which make no groups.")
            return None
        if len(name.encode()) > _MOST_BYTES:
            self._fault(at, "too_long", "As a name in the answer this is too long.", hint='Give it another one with "as".')
            return None
        if bucket is None:
            return Key(name, of)
        known: Bucket | None = next((one for one in BUCKETS if one == bucket), None)
        if known is None:
            words = f"Must be one of {', '.join(BUCKETS)}."
            self._fault(at, "not_allowed", words, hint=did_you_mean(bucket, BUCKETS), position=len(text) + 1)
        elif cast != "timestamptz" and (cast != "date" or known == "hour"):
            self._fault(at, "type_mismatch", f"{text!r} has no {bucket}s.", position=len(text) + 1)
        else:
            return Key(name, of, known)
        return None

    # select

    def _figure(self, name: str, text: str) -> Figure | None:
        at = pointer("/select", name)
        if not self._is_name(name, at):
            return None
        match = _CALL.fullmatch(text) if len(text) <= _LONGEST_TEXT else None
        if match is None:
            self._fault(at, "syntax", "Must be a function of a field, such as sum(price), or count().", position=0)
            return None
        function, path = match[1], match[2]
        if function not in FUNCTIONS:
            known = tuple(FUNCTIONS)
            words = f"There is no aggregate function {function!r}; there are {', '.join(known)}."
            self._fault(at, "unknown_function", words, hint=did_you_mean(function, known), position=match.start(1))
            return None
        if not path:
            if function == "count":
                return Figure(name, function, None)
            self._fault(at, "syntax", f"{function} needs a field.", position=match.start(2))
            return None
        if path.lower().startswith("distinct"):
            rest = path[len("distinct") :].strip(" ()")
            if rest and function == "count":
                hint = f"Write count_distinct({rest})."
                self._fault(at, "syntax", "distinct is no part of a call.", hint=hint, position=match.start(2))
                return None
        of = self._reach(path, at, match.start(2))
        if of is None:
            return None
        takes = FUNCTIONS[function].takes
        if takes is not None and of.column.cast not in takes:
            words = f"{function} takes {FUNCTIONS[function].words}; {path!r} is none."
            self._fault(at, "type_mismatch", words, position=match.start(2))
            return None
        return Figure(name, function, of)

    def _is_name(self, name: str, at: str) -> bool:
        if not NAME.fullmatch(name):
            self._fault(at, "bad_name", NAME_WORDS)
            return False
        if name in _RESERVED:
            self._fault(at, "reserved_name", f"{name!r} is a word of the rule language.")
            return False
        return True

    def _reach(self, text: str, at: str, offset: int) -> Way | None:
        """The field at the end of a path. Hidden fields, and collections that this caller cannot list, do not exist."""
        try:
            if len(text) <= _LONGEST_TEXT:
                return find_way(self._table, text.split("."), self._asking)
            self._fault(at, "too_long", f"A path has at most {_LONGEST_TEXT} characters.", position=offset)
        except BadName as error:
            before = sum(len(one) + 1 for one in error.path[:-1])
            self._fault(at, "unknown_field", error.message, hint=error.hint, position=offset + before)
        return None

    # What is kept of the groups

    def _order(self, keys: Sequence[Key], figures: Sequence[Figure]) -> tuple[Order, ...]:
        names = [*(one.name for one in keys), *(one.name for one in figures)]
        order: list[Order] = []
        for at, text in enumerate(self._asked.sort):
            name, nulls_first = _without_nulls(text.removeprefix("-"))
            if name not in names:
                words = f"The answer has no {name!r} to sort by."
                self._fault(f"/sort/{at}", "unknown_field", words, hint=did_you_mean(name, names))
            elif any(one.name == name for one in order):
                self._fault(f"/sort/{at}", "duplicate", f"{name!r} stands in the sort twice.")
            else:
                order.append(Order(name, text.startswith("-"), nulls_first))
        if len(self._asked.sort) > MAX_KEYS:
            self._fault("/sort", "too_many", f"At most {MAX_KEYS} sort keys.")
        sorted_by = {one.name for one in order}
        return (*order, *(Order(one.name) for one in keys if one.name not in sorted_by))

    def _having(self, columns: Sequence[Key | Figure]) -> Rule | None:
        """An expression over the columns of the answer, in the language of filters."""
        if self._asked.having is None:
            return None
        fields = {one.name: RowField(one.shape.rule_type, nullable=True) for one in columns if NAME.fullmatch(one.name)}
        auth = auth_type(self._table.others, masked=self._asking.masked)
        env = Env(action="list", record=RowType(fields), auth=auth, bare="record", vars=True, kind="filter")
        try:
            return check(self._asked.having, env)
        except RuleError as error:
            facts = error.as_dict()
            self._fault("/having", error.code, error.message, **{k: v for k, v in facts.items() if k not in ("code", "message")})
            return None


def _without_nulls(text: str) -> tuple[str, bool]:
    """`total:nulls_first` as the name and the place of nulls, as in the sort of a list."""
    if text.endswith(":nulls_first"):
        return text.removesuffix(":nulls_first"), True
    return text.removesuffix(":nulls_last"), False
