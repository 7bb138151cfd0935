"""Patterns of `matches`: what is refused, where, and that the rest is fast whatever it is."""

import re
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from baas.engines.rules.patterns import PatternFault, canonical, matches
from baas.engines.rules.patterns.parse import MAX_DEPTH
from baas.engines.rules.rule import Env, Facts, RowField, RowType, RuleError, check

ROW = RowType({"slug": RowField("string", nullable=False), "meta": RowField("json", nullable=True)})
ENV = Env("view", record=ROW, bare="record")


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("^[a-z0-9-]+$", ("a", "a-1"), ("", "A", "a b", "a\n", "é")),
        ("ab|cd", ("xaby", "cd"), ("ac", "")),
        ("^(?:ab|cd)$", ("ab", "cd"), ("abcd", "")),
        (r"^\d{3}-\d{4}$", ("555-1234",), ("55-1234", "٣٣٣-1234")),
        ("^.$", ("a", "é", "😀", "\r"), ("", "\n", "ab")),
        (r"^\w+\s\w+$", ("a b", "a\tb"), ("a  b", "é b", "a\vb")),
        ("[^a]", ("b", "\n", "ab"), ("", "aaa")),
        (r"\Aab\z", ("ab",), ("ab\n", "xab")),
        ("^(a|b)*?c{2,}$", ("cc", "abccc"), ("c", "abc")),
        ("^[[:upper:]_][[:^digit:]]$", ("_x", "AB"), ("A1", "ab")),
        (r"^[\d.,\-]+$", ("1,5", "-", "."), ("1;5", "")),
        (r"^\x41\x{1F600}\.\$$", ("A😀.$",), ("A😀x$",)),
        ("^(|a)b", ("b", "ab"), ("aab",)),
        ("a$b|^c^d", (), ("ab", "cd", "a\nb")),
        ("[]x]+[^]x]", ("]a", "x-"), ("]]", "ab")),
        ("^(a{2}){2}$", ("aaaa",), ("aaa", "aaaaa")),
        ("^a{0}b{0,1}$", ("", "b"), ("a", "bb")),
        (r"^[\s\S]$", ("\n", "x"), ("", "xx")),
        ("^]}$", ("]}",), ("",)),
    ],
)
def test_what_a_pattern_finds(pattern: str, yes: tuple[str, ...], no: tuple[str, ...]) -> None:
    """Anywhere in the text, by code points; `.` and the classes are those of RE2."""
    plain = canonical(pattern)

    assert ([True] * len(yes), [False] * len(no)) == ([matches(one, plain) for one in yes], [matches(one, plain) for one in no])
    assert plain == canonical(plain)


@pytest.mark.parametrize(
    ("pattern", "at", "words"),
    [
        ("a(b", 1, "does not end"),
        ("ab)", 2, "no group"),
        ("ab[c", 2, "does not end"),
        ("*a", 0, "nothing that"),
        ("a**", 2, "nothing that"),
        ("a{2}{3}", 4, "put it into a group"),
        ("a{3,2}", 1, "wrong way round"),
        ("a{256}", 1, "255"),
        ("x{", 1, "a repetition is"),
        ("[z-a]", 1, "wrong way round"),
        (r"a\1", 1, "no escape"),
        (r"\bword\b", 0, "word boundaries"),
        (r"\pL", 0, "property"),
        ("(?=a)", 0, "lookahead"),
        ("(?<!a)b", 0, "lookbehind"),
        ("(?i)a", 0, "flags"),
        ("(?P<n>a)", 0, "no names"),
        ("(^a)*", 0, "no repetition"),
        ("a\\", 1, "ends after a backslash"),
        (r"\x{110000}", 0, "no Unicode character"),
        (r"[\x00]", 0, "no text holds"),
        (r"[^\s\S]", 0, "no text holds"),
        ("[[:word:][:nope:]]", 9, "no class"),
        (r"[a-\d]", 3, "no end of a range"),
        ("((a{50}){50}){50}", 0, "too large"),
        ("(a?){250}b", 0, "too large"),
        ("(a?b?c?d?e?f?g?h?){30}", 0, "too large"),
        ("(" * (MAX_DEPTH + 1) + ")" * (MAX_DEPTH + 1), MAX_DEPTH, "nest at most"),
    ],
)
def test_what_is_no_pattern_is_refused_with_its_place(pattern: str, at: int, words: str) -> None:
    with pytest.raises(PatternFault) as caught:
        canonical(pattern)

    assert at == caught.value.at
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("literal", "character"),
    [
        ('"ab(c"', "("),
        ("'''ab(c'''", "("),
        ('r"\\d(c"', "("),
        ('"\\\\d\\u00e9(c"', "("),
    ],
)
def test_a_fault_points_into_the_literal(literal: str, character: str) -> None:
    """Also where the literal writes characters as escapes."""
    source = f"record.slug == 'x' ||\n record.slug.matches({literal})"

    with pytest.raises(RuleError) as caught:
        check(source, ENV)

    assert "bad_pattern" == caught.value.code
    assert (2, source.rindex(character)) == (caught.value.line, caught.value.position)


@pytest.mark.parametrize(
    "source",
    ["record.slug.matches(record.slug)", 'record.slug.matches("a" + "b")', "record.slug.matches(auth.id)", "slug.matches(1)"],
)
def test_a_pattern_is_a_literal(source: str) -> None:
    with pytest.raises(RuleError, match="written out"):
        check(source, ENV)


def test_a_filter_has_no_patterns() -> None:
    """They come from anybody, and each would be compiled by the database."""
    with pytest.raises(RuleError, match="for rules and validation") as caught:
        check('slug.matches("a")', Env("list", record=ROW, bare="record", vars=True, kind="filter"))

    assert "not_allowed" == caught.value.code


def test_a_pattern_takes_json_text_and_fails_on_other_json() -> None:
    rule = check('record.meta.slug.matches("^a+$") || matches(record.slug, "b")', ENV)
    facts = Facts(None, datetime(2024, 1, 1, tzinfo=UTC))

    assert rule.evaluate(facts, {"slug": "x", "meta": {"slug": "aa"}}) is True
    assert rule.evaluate(facts, {"slug": "abc", "meta": {"slug": 5}}) is True
    assert not isinstance(rule.evaluate(facts, {"slug": "x", "meta": {"slug": 5}}), bool)


SLOW_ELSEWHERE = (
    "(a+)+$",
    "(a|a)*$",
    "(a|aa)+$",
    "(a*)*$",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    "(x+x+)+y",
    "(.*)*,(.*)*;",
    "([ab]*a[ab]{100})$",
    "(.*a){20}!",
    "a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?aaaaaaaaaaaaaaaaaaaa!",
)


def test_no_pattern_takes_more_than_a_pass_over_its_places_for_each_character() -> None:
    """What takes hours in an engine that goes back: here 10,000 characters each, in a process that would be stopped."""
    program = (
        "from baas.engines.rules.patterns import canonical, matches\n"
        f"for pattern in {SLOW_ELSEWHERE!r}:\n"
        "    for text in ('a' * 10_000 + '?', 'ab' * 5_000 + '?', 'x' * 10_000):\n"
        "        assert matches(text, canonical(pattern)) in (True, False)\n"
    )

    done = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True, timeout=60, check=False)

    assert (0, "") == (done.returncode, done.stderr)


def test_the_program_of_a_slow_pattern_means_what_re_says_on_short_texts() -> None:
    for pattern in SLOW_ELSEWHERE:
        for text in ("aaa", "aab", "xxy", "a,b;", "aaaaaaaaaaaaaaaaaaaa!", "abAb"):
            assert (re.search(pattern, text) is not None) == matches(text, canonical(pattern)), (pattern, text)
