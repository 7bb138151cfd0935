"""What a full-text search looks at: the words of the fields marked `search`, kept by PostgreSQL in a column beside them.

`_search` is a generated column, so it is right whoever writes; a name that no field can have. Where pg_trgm is there, an index
over the beginnings of the same fields finds words with typos.
"""

from collections.abc import Mapping

from baas.engines.schema.collection import Collection, Field
from baas.engines.schema.fields.base import SEARCH, is_many
from baas.infra.db.sql import Sql, ident, join, literal, sql

COLUMN = "_search"
OPTION = "search"
TRIGRAMS = "pg_trgm"
DEFAULT_LANGUAGE = "simple"
LANGUAGES = (
    "arabic", "armenian", "basque", "catalan", "danish", "dutch", "english", "finnish", "french", "german", "greek", "hindi",
    "hungarian", "indonesian", "irish", "italian", "lithuanian", "nepali", "norwegian", "portuguese", "romanian", "russian",
    "serbian", "simple", "spanish", "swedish", "tamil", "turkish", "yiddish",
)  # fmt: skip
"""The configurations that every PostgreSQL since 15 has."""
# A tsvector ends at a megabyte, and a write must not fail because a text has many different words. Prose of this length makes a
# quarter of that.
_MAX_CHARACTERS = 250_000
# Typos are forgiven where names and titles stand. Trigrams of whole texts would make the index as large as the table.
_BEGINNING = 200


def searched(collection: Collection) -> tuple[Field, ...]:
    """The fields that a search looks at."""
    return tuple(field for field in collection.fields if SEARCH.name in field.options)


def language(collection: Collection) -> str:
    """The text search configuration of the collection."""
    options = collection.options.get(OPTION)
    return str(options.get("language", DEFAULT_LANGUAGE)) if isinstance(options, Mapping) else DEFAULT_LANGUAGE


def forgives_typos(collection: Collection) -> bool:
    """Whether the index for that is there."""
    options = collection.options.get(OPTION)
    return isinstance(options, Mapping) and options.get("typos") is True and bool(searched(collection))


def configuration(collection: Collection) -> Sql:
    """The language as a constant that PostgreSQL takes for immutable."""
    return sql("{}::regconfig", literal(f"pg_catalog.{language(collection)}"))


def document(collection: Collection) -> Sql | None:
    """The tsvector of a record over its bare columns; None when nothing is searched."""
    fields = searched(collection)
    if not fields:
        return None
    most = _MAX_CHARACTERS // len(fields)
    return join(" || ", (_words(field, configuration(collection), most) for field in fields))


def beginnings(collection: Collection, alias: str | None = None) -> Sql | None:
    """The text that is looked through for words with typos; None where they are not forgiven."""
    if not forgives_typos(collection):
        return None
    texts = (_text(field, ident(alias, field.name) if alias else ident(field.name)) for field in searched(collection))
    return join(" || ' ' || ", (sql("coalesce(left({}, {}), '')", text, literal(_BEGINNING)) for text in texts))


def _words(field: Field, configured: Sql, most: int) -> Sql:
    text = sql("left({}, {})", _text(field, ident(field.name)), literal(most))
    words = sql("to_tsvector({}, coalesce({}, ''))", configured, text)
    weight = field.options[SEARCH.name]
    return sql("setweight({}, {})", words, literal(weight)) if isinstance(weight, str) else words


def _text(field: Field, column: Sql) -> Sql:
    if field.type == "json":
        return sql("baas_rt.json_words({})", column)
    return sql("baas_rt.list_words({})", column) if is_many(field) else column
