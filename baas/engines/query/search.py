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
# Each is two looks into indexes; in a shorter word one wrong letter leaves nothing that is like another word.
_MAX_LOOSE_WORDS = 6
_SHORTEST_LOOSE, _LONGEST_LOOSE = 4, 30


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
    return Search(" ".join(words), " & ".join(prefixes), tuple(_meant(one) for one in loose[:_MAX_LOOSE_WORDS]))


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
    long_enough = any(_SHORTEST_LOOSE <= len(word) <= _LONGEST_LOOSE for word, _ in wanted.loose)
    return search.forgives_typos(table.collection) and long_enough


@dataclass(frozen=True, slots=True)
class Found:
    """A search in one collection: its condition, its rank as a column of the row, and the values of both."""

    table: Table
    search: Search

    @property
    def key(self) -> Hashable:
        """What the text depends on."""
        return ("search", len(self.search.loose) if self.search.tolerant else None)

    @property
    def column(self) -> Column:
        return SIMILARITY if self.search.tolerant else RANK

    def expression(self, alias: str) -> Sql:
        """How good a match is; more is better."""
        if self.search.tolerant:
            return sql("({})::float8", join(" + ", (self._likeness(at, alias) for at in range(len(self.search.loose)))))
        # 1: long texts have more words by length alone.
        return sql("ts_rank({}, {}, 1)::float8", ident(alias, search.COLUMN), self._query())

    def condition(self, alias: str) -> Sql:
        """True for the records that are found."""
        if self.search.tolerant:
            return join(" and ", (self._is_like(at, alias) for at in range(len(self.search.loose))))
        return sql("{} @@ {}", ident(alias, search.COLUMN), self._query())

    def slots(self) -> Mapping[Hashable, object]:
        if self.search.tolerant:
            pairs = enumerate(self.search.loose)
            return {("search", at, number): part for at, pair in pairs for number, part in enumerate(pair)}
        return {"search words": self.search.words, "search prefixes": self.search.prefixes}

    def _query(self) -> Sql:
        """An empty query is neutral in `&&`."""
        language = search.configuration(self.table.collection)
        words = sql("websearch_to_tsquery({}, {}::text)", language, Slot("search words"))
        return sql("({} && to_tsquery({}, {}::text))", words, language, Slot("search prefixes"))

    def _is_like(self, at: int, alias: str) -> Sql:
        """True where a word of the text is like this one, or is what a simple slip made of it."""
        word, slips = self._meant(at)
        like = sql("{}::text operator({}.<<%) ({})", word, ident(SCHEMA), self._beginnings(alias))
        return sql("({} or {} @@ {})", like, ident(alias, search.COLUMN), slips)

    def _likeness(self, at: int, alias: str) -> Sql:
        word, slips = self._meant(at)
        text = self._beginnings(alias)
        like, whole = ident(SCHEMA, "strict_word_similarity"), ident(SCHEMA, "similarity")
        # What was undone exactly is what was meant; of two texts with the same word, the one with fewer others is more like it.
        undone = sql("case when {} @@ {} then 1 else {}({}::text, {}) end", ident(alias, search.COLUMN), slips, like, word, text)
        return sql("{} + {}({}::text, {}) / 10", undone, whole, word, text)

    def _meant(self, at: int) -> tuple[Sql, Sql]:
        slips = sql("to_tsquery({}, {}::text)", search.configuration(self.table.collection), Slot(("search", at, 1)))
        return sql("{}", Slot(("search", at, 0))), slips

    def _beginnings(self, alias: str) -> Sql:
        text = search.beginnings(self.table.collection, alias)
        assert text is not None  # noqa: S101  sought() looked
        return text


def _meant(word: str) -> tuple[str, str]:
    """The word, and as a tsquery what it was before two letters changed places, or one was put in too many."""
    if not _SHORTEST_LOOSE <= len(word) <= _LONGEST_LOOSE:
        return word, f"'{word}'"
    swapped = [word[:at] + word[at + 1] + word[at] + word[at + 2 :] for at in range(len(word) - 1)]
    shorter = [word[:at] + word[at + 1 :] for at in range(len(word))]
    return word, " | ".join(f"'{one}'" for one in dict.fromkeys((word, *swapped, *shorter)))
