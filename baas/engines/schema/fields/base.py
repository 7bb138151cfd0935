"""What a field type is: its options, its column, what goes in, what comes out, and what rules see of it."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from baas.base.errors import Fault
from baas.engines.schema.collection import Field
from baas.infra.db.sql import Sql, sql

Cast = Literal[
    "text", "int8", "float8", "numeric", "bool", "date", "timestamptz", "jsonb", "uuid", "text[]", "uuid[]", "geo_point", "vector"
]
"""PostgreSQL's name for the type a cleaned value is bound as."""
Operator = Literal["$inc", "$min", "$max", "$append", "$add", "$remove", "$now", "$unset"]
CASTS: Mapping[Cast, Sql] = {
    "text": sql("text"),
    "int8": sql("int8"),
    "float8": sql("float8"),
    "numeric": sql("numeric"),
    "bool": sql("bool"),
    "date": sql("date"),
    "timestamptz": sql("timestamptz"),
    "jsonb": sql("jsonb"),
    "uuid": sql("uuid"),
    "text[]": sql("text[]"),
    "uuid[]": sql("uuid[]"),
    # By way of text, which the driver writes without asking the server what such a type is made of.
    "geo_point": sql("text::baas_rt.geo_point"),
    "vector": sql("text::baas_ext.vector"),
}
INT64 = (-(2**63), 2**63 - 1)
SAFE = 2**53
"""Past this, either way, JavaScript rounds: such a whole number is a string in JSON."""
MAX_ITEMS = 1000
NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_LARGE_WHOLE = re.compile(r"-?[1-9][0-9]{15,18}")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class FieldFault(Exception):
    """A value or an option is wrong. `at` is a JSON pointer below it, such as `/2` for the third item of a list."""

    def __init__(self, code: str, message: str, *, at: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.at = at

    def under(self, pointer: str) -> Fault:
        """The fault as it stands in an answer."""
        return Fault(pointer + self.at, self.code, self.message)


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a field type: `low` and `high` bound a number, or the length of a text or list."""

    name: str
    type: Literal["int", "int64", "number", "bool", "text", "texts", "weight"]
    help: str
    low: int | None = None
    high: int | None = None
    choices: tuple[str, ...] = ()
    required: bool = False

    def check(self, value: object) -> None:
        """Raises FieldFault, which points at the option itself."""
        if not _OPTION_TYPES[self.type](value):
            raise FieldFault("wrong_type", f"{self.name} must be {_OPTION_WORDS[self.type]}.")
        if self.choices and value not in self.choices:
            raise FieldFault("not_allowed", f"{self.name} must be one of {', '.join(self.choices)}.")
        if self.type in ("int64", "weight"):
            return
        size = len(value) if isinstance(value, str | list) else value
        if (self.low is not None and size < self.low) or (self.high is not None and size > self.high):  # type: ignore[operator]
            what = f"The length of {self.name}" if isinstance(value, str | list) else self.name
            raise FieldFault("out_of_range", f"{what} must be {range_text(self.low, self.high)}.")


SEARCH = Option("search", "weight", "Whether a full-text search looks at it: true, or its weight from A (most) to D.")
"""The option of every kind whose values are words."""


class Kind(ABC):
    """A field type. Stateless: everything that differs between two fields stands in the `Field`.

    Subclasses are listed in `fields/__init__.py`; `tests/contract/test_field_types.py` runs over that list.
    """

    name: ClassVar[str]
    options: ClassVar[tuple[Option, ...]] = ()

    # The definition.

    def check_options(self, options: Mapping[str, object]) -> tuple[Mapping[str, object], Sequence[FieldFault]]:
        """The options in their normal form, and every fault of them, each with `at` pointing to its option."""
        faults = []
        for option in self.options:
            value = options.get(option.name)
            try:
                if value is not None:
                    option.check(value)
                elif option.required:
                    raise FieldFault("required", f"A field of type {self.name} needs {option.name}.")
            except FieldFault as fault:
                faults.append(FieldFault(fault.code, fault.message, at=f"/{option.name}"))
        given = {name: value for name, value in options.items() if value is not None}
        if given.get(SEARCH.name) is False:
            del given[SEARCH.name]
        if faults:
            return given, faults
        try:
            return self.settle(given), ()
        except FieldFault as fault:
            return given, (fault,)

    def settle(self, options: dict[str, object]) -> Mapping[str, object]:
        """The normal form of options that are right one by one. Raises FieldFault when they do not fit each other."""
        return options

    def check_field(self, field: Field) -> None:
        """Raises FieldFault when the options do not go with the flags of the field."""
        if field.unique and not self.indexable(field):
            raise FieldFault("not_indexable", f"A field of type {self.name} holding this cannot be unique.", at="/unique")
        if SEARCH.name in field.options and (field.hidden or field.read is not None):
            words = "A search would tell what is in a field that is hidden or has a read expression."
            raise FieldFault("not_searchable", words, at=f"/{SEARCH.name}")

    def indexable(self, field: Field) -> bool:
        """Whether the column can stand in a btree index."""
        return True

    def accepts(self, old: Field, new: Field) -> bool:
        """Whether a column of `old` can become one of `new` (which is of this kind) without touching a value."""
        return old.type == new.type

    # The column.

    @abstractmethod
    def column_type(self, field: Field) -> Sql:
        """The type in the table's definition, collation included."""

    @abstractmethod
    def cast(self, field: Field) -> Cast:
        """The type a cleaned value is bound as."""

    def fits(self, column: Sql, field: Field) -> Sql | None:
        """What holds for every stored value, as the body of a CHECK constraint; None when the type says it all."""
        return None

    # Values.

    @abstractmethod
    def clean(self, field: Field, value: object) -> object:
        """What the driver binds for a JSON value that is not null; raises FieldFault for what the field does not take.

        What passes here is never refused by PostgreSQL for its form: no NUL, no lone surrogate, no NaN, no number or date
        out of range. JSON numbers with a fraction or exponent arrive as Decimal.
        """

    def to_json(self, column: Sql, field: Field) -> Sql:
        """An expression that PostgreSQL's own JSON functions turn into the value of an answer."""
        return column

    @abstractmethod
    def json_schema(self, field: Field) -> dict[str, object]:
        """The JSON Schema (2020-12) of a value that is not null."""

    def operators(self, field: Field) -> tuple[Operator, ...]:
        """What a merge-patch may say instead of a value, beside `$unset`: see `schema/operations.py`."""
        return ()

    # Rules.

    @abstractmethod
    def rule_type(self, field: Field) -> str:
        """The type in the rule language: string int double decimal bool timestamp json geo vector, list(T), ref(collection)."""

    def rule_column(self, column: Sql, field: Field) -> Sql:
        """The column as rules compare it."""
        return column


class Texts(Kind):
    """Kinds whose values are texts, ordered by code point; those that have an option `many` hold lists of them as well."""

    def indexable(self, field: Field) -> bool:
        return not is_many(field)

    def column_type(self, field: Field) -> Sql:
        return sql('text[] collate pg_catalog."C"') if is_many(field) else sql('text collate pg_catalog."C"')

    def cast(self, field: Field) -> Cast:
        return "text[]" if is_many(field) else "text"

    def operators(self, field: Field) -> tuple[Operator, ...]:
        return ("$append", "$add", "$remove") if is_many(field) else ()

    def rule_type(self, field: Field) -> str:
        return "list(string)" if is_many(field) else "string"


def whole(field: Field, option: str) -> int | None:
    """A whole-number option, or None when it is not set."""
    value = field.options.get(option)
    return value if isinstance(value, int) else None


def is_many(field: Field) -> bool:
    """Whether the field holds a list."""
    return field.options.get("many") is True


def clean_text(value: object) -> str:
    """A string that PostgreSQL can hold; raises FieldFault for other types, NUL and lone surrogates."""
    if type(value) is not str:
        raise FieldFault("wrong_type", "Must be a string.")
    if "\0" in value:
        raise FieldFault("bad_character", "Must not hold the character U+0000.")
    if not value.isascii() and _LONE_SURROGATE.search(value):
        raise FieldFault("bad_character", "Must not hold half of a surrogate pair.")
    return value


def read_int64(value: object) -> int | None:
    """A whole number of 64 bits from its JSON form, or None: a number, or beyond ±2^53 a string, as answers write it.

    "5" stays a string, as everywhere; only what an answer itself writes as a string is read as a number.
    """
    if type(value) is str and _LARGE_WHOLE.fullmatch(value) and abs(int(value)) > SAFE:
        value = int(value)
    return value if type(value) is int and INT64[0] <= value <= INT64[1] else None


def write_int64(value: int) -> int | str:
    """The JSON form of a whole number."""
    return value if -SAFE <= value <= SAFE else str(value)


def clean_list(value: object, field: Field) -> list[object]:
    """A list within the field's `max`; raises FieldFault."""
    if type(value) is not list:
        raise FieldFault("wrong_type", "Must be a list.")
    most = whole(field, "max") or MAX_ITEMS
    if len(value) > most:
        raise FieldFault("too_many", f"Must hold at most {most} items.")
    return value


def clean_items(value: object, field: Field, clean: Callable[[object], str]) -> list[str]:
    """Each item of a list field by `clean(item)`, none of them twice; raises FieldFault pointing at the item."""
    cleaned: dict[str, None] = {}
    for index, item in enumerate(clean_list(value, field)):
        try:
            one = clean(item)
        except FieldFault as fault:
            raise FieldFault(fault.code, fault.message, at=f"/{index}{fault.at}") from None
        if one in cleaned:
            raise FieldFault("duplicate", "Must not hold an item twice.", at=f"/{index}")
        cleaned[one] = None
    return list(cleaned)


def range_text(low: object, high: object) -> str:
    """`between 1 and 5`, `at least 1` or `at most 5`."""
    if low is None:
        return f"at most {high}"
    return f"at least {low}" if high is None else f"between {low} and {high}"


_OPTION_TYPES = {
    "int": lambda value: type(value) is int,
    "int64": lambda value: read_int64(value) is not None,
    "number": lambda value: type(value) in (int, float),
    "bool": lambda value: type(value) is bool,
    "text": lambda value: type(value) is str,
    "texts": lambda value: type(value) is list and all(type(item) is str for item in value),
    "weight": lambda value: type(value) is bool or value in ("A", "B", "C", "D"),
}
_OPTION_WORDS = {
    "int": "a whole number",
    "int64": "a whole number of 64 bits",
    "number": "a number",
    "bool": "true or false",
    "text": "a string",
    "texts": "a list of strings",
    "weight": "true, false, A, B, C or D",
}
