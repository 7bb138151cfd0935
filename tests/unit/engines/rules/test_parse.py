"""The parser takes any text: a tree or a RuleError with a place, quickly, and nothing else."""

import random
import time

import pytest

from baas.engines.rules.parse import (
    FILTER_LIMITS,
    RULE_LIMITS,
    Binary,
    Call,
    Conditional,
    Index,
    Limits,
    Literal,
    Logic,
    Member,
    Name,
    Unary,
    Variable,
    parse,
    skeleton,
)
from baas.engines.rules.types import RuleError


def _refused(source: str, limits: Limits = RULE_LIMITS) -> RuleError:
    with pytest.raises(RuleError) as refusal:
        parse(source, limits)
    return refusal.value


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("0x1f", 31),
        ("-9223372036854775808", -(2**63)),
        ("1.5e3", 1500.0),
        (".5", 0.5),
        ("-2.5", -2.5),
        ('"a\\n\\x41\\u00e9\\U0001F600\\101"', "a\nAé😀A"),
        ("'it\\'s'", "it's"),
        ('r"\\n"', "\\n"),
        ('"""a\n"b" """', 'a\n"b" '),
        ("'''x'''", "x"),
        ("r'''\\'''", "\\"),
        ("b'\\xff'", b"\xff"),
        ("true", True),
        ("null", None),
    ],
)
def test_a_literal_means_what_the_grammar_says(source: str, value: object) -> None:
    """Numbers, strings of every quoting, and the three constants."""
    tree = parse(source, RULE_LIMITS)

    assert isinstance(tree, Literal)
    assert (type(value), value) == (type(tree.value), tree.value)


def test_operators_bind_as_in_cel() -> None:
    """`||` loosest but for `?:`, then `&&`, relations, sums, products, the unary, members; chains of `&&` are one node."""
    tree = parse("a || b && c == 1 + 2 * -d.e ? x : y ? z : w", RULE_LIMITS)

    assert isinstance(tree, Conditional)
    assert isinstance(tree.no, Conditional)
    assert isinstance(tree.condition, Logic)
    (_, conjunction) = tree.condition.items
    assert isinstance(conjunction, Logic)
    equality = conjunction.items[1]
    assert isinstance(equality, Binary)
    assert isinstance(equality.right, Binary)
    assert equality.right.operator == "+"
    product = equality.right.right
    assert isinstance(product, Binary)
    assert isinstance(product.right, Unary)
    assert isinstance(product.right.operand, Member)
    chain = parse("a && b && c && d", RULE_LIMITS)
    assert isinstance(chain, Logic)
    assert len(chain.items) == 4


def test_comments_quoted_names_variables_and_trailing_commas_parse() -> None:
    """What the language adds to plain expressions."""
    assert Member(Name("a", 0), "x-y z", 2) == parse("a.`x-y z` // why\n", RULE_LIMITS)
    assert Variable("name", 0) == parse("$name", RULE_LIMITS)
    assert isinstance(parse("a.in_list(1)[0]", RULE_LIMITS), Index)
    assert isinstance(parse("f(1, [2, 3,])", RULE_LIMITS), Call)
    assert Member(Name("a", 0), "function", 2) == parse("a.function", RULE_LIMITS)


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("a = 1", "=="),
        ("a === 1", "=="),
        ("a <> 1", "!="),
        ("a and b", "&&"),
        ("a AND b", "&&"),
        ("a or b", "||"),
        ("not a", "!"),
        ("a & b", "&&"),
        ("a IN b", "in"),
        ("a NOT IN b", "!(x in list)"),
        ("not (a)", "!"),
        ("a is null", "=="),
        ("a == None", "null"),
        ("a == True", "true"),
    ],
)
def test_an_operator_of_another_language_names_the_right_one(source: str, hint: str) -> None:
    """`=` is the first thing everyone writes."""
    error = _refused(source)

    assert f"Did you mean {hint!r}?" == error.hint
    assert "syntax" == error.code


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("title like 'x%'", "Say title.contains('x')."),
        ("record.team.title LIKE $x", "Say record.team.title.contains(…)."),
        ("n > 1 && title ilike '%x%'", "Say title.lowerAscii().contains('x')."),
        ("title ~ 'x'", "Say title.matches('x')."),
        ("n between 2 and 9", "Say n >= 2 && n <= 9."),
        ("n in (1, 2)", "A list is written [1, 2]."),
        ("n in (f(1, 2), 3)", "A list is written [1, 2]."),
        ("(n + 1, 2)", None),
    ],
)
def test_an_operator_that_is_a_method_here_is_written_out(source: str, hint: str | None) -> None:
    assert hint == _refused(source).hint


@pytest.mark.parametrize(
    ("source", "column", "words"),
    [
        ("", 1, "ends where a value"),
        ("a ==", 5, "ends where a value"),
        ("(a", 3, "')'"),
        ("a b", 3, "expected an operator"),
        ('"abc', 1, "does not end"),
        ("'a\\q'", 3, "escape"),
        ("'\\ud800'", 1, "Unicode"),
        ("'\\U00110000'", 1, "Unicode"),
        ("9223372036854775808", 1, "64 bits"),
        ("1e999", 1, "too large"),
        ("5u", 1, "unsigned"),
        ("a.b.", 5, "field name"),
        ("while", 1, "reserved"),
        ("a ? b", 6, "':'"),
        ("a # b", 3, "'#'"),
        ("$", 1, "`$`"),
        ("a,\n  b", 2, "expected"),
        ("f(1,)", 5, "a value"),
    ],
)
def test_a_syntax_error_says_where(source: str, column: int, words: str) -> None:
    """Line and column from 1, and the missing thing in words."""
    error = _refused(source)

    assert ("syntax", 1, column) == (error.code, error.line, error.column)
    assert words in f"{error.message} {error.hint}"


def test_the_snippet_points_into_the_line() -> None:
    """The line of the fault with a caret below it."""
    error = _refused("a &&\n  b = 1 &&\nc")

    assert (2, 5) == (error.line, error.column)
    assert "  b = 1 &&\n    ^" == error.snippet
    assert {"code", "message", "line", "column", "position", "snippet", "hint"} == error.as_dict().keys()


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("a" * 4_097, "too_long"),
        ("(" * 200 + "a" + ")" * 200, "too_complex"),
        ("!" * 200 + "a", "too_complex"),
        ("-" * 200 + "a", "too_complex"),
        ("a" + ".b" * 200, "too_complex"),
        ("a" + "[0]" * 200, "too_complex"),
        ("[" * 200, "too_complex"),
        ("f(" * 200, "too_complex"),
        ("a?b:" * 200 + "c", "too_complex"),
        ("1" + "+1" * 200, "too_complex"),
        (" || ".join(["a == 1"] * 200), "too_complex"),
        ("[" + ",".join(["1"] * 201) + "]", "too_complex"),
        ("a " * 2_001, "too_complex"),
        ("'" + "x" * 1_025 + "'", "syntax"),
    ],
)
def test_an_expression_has_limits(source: str, code: str) -> None:
    """Length, tokens, depth, nodes, items and string length all end in a refusal, never in a RecursionError."""
    assert code == _refused(source).code


def test_a_filter_is_held_shorter_than_a_rule() -> None:
    """Clients write filters, authors write rules."""
    source = " && ".join(["a == 1"] * 40)

    assert isinstance(parse(source, RULE_LIMITS), Logic)
    assert "too_complex" == _refused(source, FILTER_LIMITS).code


def test_two_hundred_items_of_a_list_fit_in_a_filter() -> None:
    """Constants in a list are one bound value and not counted apart."""
    parse("a in [" + ",".join(map(str, range(200))) + "]", FILTER_LIMITS)


def test_a_skeleton_forgets_constants_and_spaces_only() -> None:
    """Two filters that differ in literals share a text of SQL."""
    assert skeleton("a == 'x'  && b > 1") == skeleton('a=="yy" && b>22 // c')
    assert skeleton("a == 1") != skeleton("a == '1'")
    assert skeleton("a == 1") != skeleton("b == 1")


_HANGS_S = 5.0  # far beyond what any machine needs: tells a text that never ends from a slow moment
_PIECES = (
    *"abx01.,:?!-+*/%()[]{}\"'\\`$ \n<>=&|",
    *(
        "&&",
        "||",
        "==",
        "!=",
        "in ",
        "record",
        "true",
        "null",
        '"a"',
        "r'",
        '"""',
        "'''",
        ".exists(x, ",
        "size(",
        "1e",
        "0x",
        "\ud800",
        "é",
        "\0",
    ),
)


@pytest.mark.parametrize("seed", range(4))
def test_any_text_gives_a_tree_or_a_rule_error_at_once(seed: int) -> None:
    """Random characters, pieces of the language and repeated pieces: under 50 ms of work each, and no other exception."""
    pick = random.Random(seed)
    for _ in range(1_500):
        size = pick.choice((3, 10, 40, 200))
        source = "".join(pick.choice(_PIECES) for _ in range(size)) * pick.choice((1, 1, 1, 20))
        if pick.random() < 0.2:
            source = pick.randbytes(size).decode("utf-8", "replace")
        started = time.thread_time()
        try:
            parse(source, RULE_LIMITS)
        except RuleError as error:
            assert 0 <= error.position <= len(source)  # noqa: PT017  most texts parse or do not: both are right
        assert time.thread_time() - started < _HANGS_S, source


@pytest.mark.parametrize("unit", ['"', "'''", "`", "\\", "//", "r'", "'\\", "$", "a.", "!", "(", "[", "{1:", "1e", '"\\'])
def test_a_repeated_piece_does_not_hang_the_parser(unit: str) -> None:
    """No scan that grows faster than the text times itself hides in the tokens."""
    source = (unit * 4_096)[:4_096]
    started = time.thread_time()
    with pytest.raises(RuleError):
        parse(source, RULE_LIMITS)

    assert time.thread_time() - started < _HANGS_S
