"""Patterns mean one thing: PostgreSQL, our own automaton and RE2 say the same of every text.

`BAAS_TEST_SEED` and `BAAS_TEST_PATTERNS` widen the run; a failure prints seed, pattern and text.
"""

import os
import random
from collections import Counter

import pytest

from baas.engines.rules.patterns import PatternFault, canonical, matches
from baas.infra.db.pool import Database
from baas.infra.db.sql import sql
from tests.support.rule_values import TEXTS

SEED = int(os.environ.get("BAAS_TEST_SEED", "20261120"))
PATTERNS = int(os.environ.get("BAAS_TEST_PATTERNS", "1500"))
_SIGNS = "abcAx019_- .,^$[]\n\té😀\uffff\\"
_PIECES = (
    *(".", r"\d", r"\D", r"\w", r"\W", r"\s", r"\S", r"\.", r"\n", r"\x41", r"\x{1F600}", r"\-", r"\\", r"\$", r"\["),
    *(
        "[a-c]",
        "[^a]",
        "[^a-z]",
        r"[\w-]",
        r"[^\s\d]",
        "[]a]",
        "[^]a]",
        "[[:alpha:]]",
        "[^[:punct:]]",
        "[😀-😂é]",
        r"[\x{80}-\x{10FFFF}]",
    ),
    *("[a-]", r"[\]\^\-\[]", "[.*+?$^(|{]", r"[\d_x]", r"[^\W_]", r"[\t-\r]", r"[\s\S]", "^", "$", r"\A", r"\z", "()", "(?:)"),
)
_COUNTS = ("*", "+", "?", "*?", "+?", "??", "{2}", "{0,2}", "{1,3}", "{2,}", "{0}", "{1}", "{0,}?")


class _Patterns:
    """A stream of patterns from one seed; some of them are none."""

    def __init__(self, seed: int) -> None:
        self.pick = random.Random(seed)

    def one(self) -> str:
        return self._choice(self.pick.choice((1, 2, 3)))

    def text(self) -> str:
        if self.pick.random() < 0.3:
            return self.pick.choice(TEXTS)
        return "".join(self.pick.choice(_SIGNS) for _ in range(self.pick.choice((0, 1, 2, 3, 5, 9))))

    def _choice(self, depth: int) -> str:
        return "|".join(self._sequence(depth) for _ in range(self.pick.choice((1, 1, 1, 2, 3))))

    def _sequence(self, depth: int) -> str:
        edges = self.pick.choice((("", ""), ("", ""), ("^", "$"), ("^", ""), ("", "$")))
        return edges[0] + "".join(self._item(depth) for _ in range(self.pick.choice((0, 1, 1, 2, 3)))) + edges[1]

    def _item(self, depth: int) -> str:
        pick = self.pick
        if depth > 0 and pick.random() < 0.4:
            atom = pick.choice(("(", "(?:")) + self._choice(depth - 1) + ")"
        elif pick.random() < 0.5:
            atom = pick.choice(_PIECES)
        else:
            sign = pick.choice(_SIGNS)
            atom = "\\" + sign if sign in r"\.[](){}*+?^$|" else sign
        return atom + (pick.choice(_COUNTS) if pick.random() < 0.4 else "")


def _questions() -> list[tuple[str, str, list[str]]]:
    """Patterns as written and as both evaluators read them, with texts for each."""
    stream = _Patterns(SEED)
    found: list[tuple[str, str, list[str]]] = []
    refused = 0
    while len(found) < PATTERNS:
        pattern = stream.one()
        try:
            plain = canonical(pattern)
        except PatternFault:
            refused += 1
            assert refused < 100 + PATTERNS, "the generator makes mostly nonsense"
            continue
        found.append((pattern, plain, [stream.text() for _ in range(12)]))
    return found


async def test_postgresql_and_memory_agree(db: Database) -> None:
    verdicts: Counter[bool] = Counter()
    asked = _questions()
    for start in range(0, len(asked), 100):
        rows = [(pattern, plain, text) for pattern, plain, texts in asked[start : start + 100] for text in texts]
        answers = await db.fetch_value(
            sql(
                'select array_agg(q.t collate "C" ~ q.p order by q.n)'
                " from unnest({}::text[], {}::text[]) with ordinality q(t, p, n)",
                [text for _, _, text in rows],
                [plain for _, plain, _ in rows],
            )
        )
        for (pattern, plain, text), answer in zip(rows, answers, strict=True):
            assert answer is matches(text, plain), f"seed {SEED}: {pattern!r} as {plain!r} on {text!r}: PostgreSQL says {answer}"
            verdicts[answer] += 1

    assert 12 * PATTERNS == verdicts.total()
    assert all(share > 0.2 * verdicts.total() for share in verdicts.values()), verdicts


def test_re2_and_memory_agree() -> None:
    """RE2 reads the pattern as it was written, not the plain form of it."""
    re2 = pytest.importorskip("re2")
    options = re2.Options()
    options.log_errors = False
    for pattern, plain, texts in _questions():
        theirs = re2.compile(pattern, options)
        assert canonical(plain) == plain
        for text in texts:
            expected = theirs.search(text) is not None
            assert expected is matches(text, plain), f"seed {SEED}: {pattern!r} as {plain!r} on {text!r}: RE2 says {expected}"


LARGEST = (
    "^[a-z]{255}[a-z]{255}[a-z]{255}[a-z]{230}$",
    r"^[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,4}[A-Za-z]{2,63}$",
    "(?:a?){190}b",
    "(?:a?b?c?d?e?){39}x",
    "(?:[a-z]?[0-9]?[^q]?[^a]?.?[é-ü]?){10}x",
    "a{0,255}a{0,255}a{0,255}b",
    "(?:(?:(?:a|b|c|d|e){0,20}|f){0,5}|g)+h",
    "".join(chr(0x4E00 + 2 * number) for number in range(900)),
    "[^" + "".join(chr(0x4E00 + 2 * number) for number in range(30)) + "]{255}x",
    "(?:.*a){60}$",
    "((a*)*|b*)*c",
)


@pytest.mark.parametrize("pattern", LARGEST, ids=range(len(LARGEST)))
async def test_the_largest_patterns_are_small_work_for_the_database(db: Database, pattern: str) -> None:
    """Within the limits no pattern is too much for it, neither to build nor to run."""
    plain = canonical(pattern)
    text = "ab" * 5_000
    found = await db.fetch_value(sql('select {}::text collate "C" ~ {}::text', text, plain))

    assert found is matches(text, plain)
