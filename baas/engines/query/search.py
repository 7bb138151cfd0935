"""Full-text search: what somebody typed, as a condition and a rank. Nothing that can be typed makes PostgreSQL raise.

Words must all be there, "words in quotes" in this order, -words not at all; the last word may be the beginning of one, as may any
with a `*`. Words are found as the language of the collection forms them.
"""

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace

from baas.base.errors import BadRequest
from baas.engines.query.table import FOUND, Column, Table
from baas.engines.query.text import Slot
from baas.engines.query.tree import Near, Search, SortKey, ordered
from baas.engines.schema import search
from baas.infra.db.extensions import SCHEMA
from baas.infra.db.sql import Sql, ident, join, sql

RANK, SIMILARITY = FOUND["_rank"], FOUND["_similarity"]
_PART = re.compile(r'(-?)(?:"([^"]*)"?|([^\s"]+))')
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_WORD = re.compile(r"[^\W_]+")
# PostgreSQL refuses a prefix of more than 2,046 bytes and passes over longer words; no language has such words.
_MAX_WORD = 200
# Each is a look into the index. Transposed letters change so many trigrams of a short word that they are tried by themselves.
_MAX_LOOSE_WORDS = 6
_MAX_TRANSPOSED = 8
_SHORTEST_LOOSE = 4


def read(text: str) -> Search:
    """What was typed. Anything can be read; without a word in it, it finds nothing."""
    text = _UNSTORABLE.sub(" ", text)
    words: list[str] = []
    prefixes: list[str] = []
    loose: list[str] = []
    for part in _PART.finditer(text):
        minus, phrase, word = part[1], part[2], part[3]
        if word is None:
            words.append(f'{minus}"{phrase}"')
            continue
        is_prefix = word.endswith("*") or part.end() == len(text)
        bare = word.rstrip("*")
        if minus or not is_prefix or len(bare) > _MAX_WORD:
            # In quotes, so that `or` is a word like others.
            words.append(f'{minus}"{bare}"')
        elif bare:
            prefixes.append("'" + bare.replace("\\", "\\\\").replace("'", "''") + "':*")
        if not minus:
            loose += _WORD.findall(bare[:_MAX_WORD])
    return Search(" ".join(words), " & ".join(prefixes), tuple(_spellings(one) for one in loose[:_MAX_LOOSE_WORDS]))


def sought(table: Table, text: str | None) -> tuple[Search | None, ...]:
    """What to ask for, one after the other until something is found: what was typed, then what may have been meant.

    Raises BadRequest (`bad_search`) where no field is marked `search`.
    """
    if text is None:
        return (None,)
    if not search.searched(table.collection):
        hint = 'Mark fields with "search": true, or with a weight from "A" to "D".'
        raise BadRequest("The collection has no field to search in.", code="bad_search", parameter="search", hint=hint)
    wanted = read(text)
    return (wanted, replace(wanted, tolerant=True)) if _can_forgive(table, wanted) else (wanted,)


def best_first(wanted: Search | None, near: Near | None) -> tuple[SortKey, ...]:
    """The order where no other is asked for: nearest, then best, then by id."""
    keys = [SortKey(FOUND["_distance"].name, computed=True)] if near is not None else []
    if wanted is not None:
        keys.append(SortKey((SIMILARITY if wanted.tolerant else RANK).name, descending=True, computed=True))
    return ordered(tuple(keys))


def _can_forgive(table: Table, wanted: Search) -> bool:
    """Whether it can be tried with tolerance for typos: there is an index for that, and a word long enough to have one."""
    long_enough = any(len(spellings[0]) >= _SHORTEST_LOOSE for spellings in wanted.loose)
    return search.forgives_typos(table.collection) and long_enough


@dataclass(frozen=True, slots=True)
class Found:
    """A search in one collection: its condition, its rank as a column of the row, and the values of both."""

    table: Table
    search: Search

    @property
    def key(self) -> Hashable:
        """What the text depends on."""
        return ("search", tuple(map(len, self.search.loose)) if self.search.tolerant else None)

    @property
    def column(self) -> Column:
        return SIMILARITY if self.search.tolerant else RANK

    def expression(self, alias: str) -> Sql:
        """How good a match is; more is better."""
        if self.search.tolerant:
            return sql("({})::float8", join(" + ", (self._best(at, alias) for at in range(len(self.search.loose)))))
        # 1: long texts have more words by length alone.
        return sql("ts_rank({}, {}, 1)::float8", ident(alias, search.COLUMN), self._query())

    def condition(self, alias: str) -> Sql:
        """True for the records that are found."""
        if self.search.tolerant:
            return join(" and ", (self._something_like(at, alias) for at in range(len(self.search.loose))))
        return sql("{} @@ {}", ident(alias, search.COLUMN), self._query())

    def slots(self) -> Mapping[Hashable, object]:
        if self.search.tolerant:
            sets = enumerate(self.search.loose)
            return {("search", at, number): spelling for at, spellings in sets for number, spelling in enumerate(spellings)}
        return {"search words": self.search.words, "search prefixes": self.search.prefixes}

    def _query(self) -> Sql:
        """An empty query is neutral in `&&`."""
        language = search.configuration(self.table.collection)
        words = sql("websearch_to_tsquery({}, {}::text)", language, Slot("search words"))
        return sql("({} && to_tsquery({}, {}::text))", words, language, Slot("search prefixes"))

    def _something_like(self, at: int, alias: str) -> Sql:
        operator = sql("operator({}.<<%)", ident(SCHEMA))
        text = self._beginnings(alias)
        found = (sql("{}::text {} ({})", one, operator, text) for one in self._spellings(at))
        return sql("({})", join(" or ", found))

    def _best(self, at: int, alias: str) -> Sql:
        function = ident(SCHEMA, "strict_word_similarity")
        text = self._beginnings(alias)
        return sql("greatest({})", join(", ", (sql("{}({}::text, {})", function, one, text) for one in self._spellings(at))))

    def _spellings(self, at: int) -> list[Sql]:
        return [sql("{}", Slot(("search", at, number))) for number in range(len(self.search.loose[at]))]

    def _beginnings(self, alias: str) -> Sql:
        text = search.beginnings(self.table.collection, alias)
        assert text is not None  # noqa: S101  can_forgive() looked
        return text


def _spellings(word: str) -> tuple[str, ...]:
    """The word, and for a short one the word with each two neighbours swapped."""
    if len(word) > _MAX_TRANSPOSED:
        return (word,)
    swapped = (word[:at] + word[at + 1] + word[at] + word[at + 2 :] for at in range(len(word) - 1))
    return tuple(dict.fromkeys((word, *swapped)))
