"""Functions of texts, and sizes."""

from baas.engines.rules.functions.function import FAILS, Function
from baas.engines.rules.patterns import matches
from baas.engines.rules.types import BOOL, INT, STRING
from baas.infra.db.sql import sql


def text_functions() -> tuple[Function, ...]:
    text, pair = ("string",), ("string", "string")
    return (
        Function(
            ".contains",
            pair,
            BOOL,
            lambda s, part: part in s,
            lambda s, part: sql("({} like '%' || baas_rt.like_text({}) || '%')", s, part),
            (("100%", "0%", True), ("abc", "a_c", False), ("a\\b", "\\", True), ("", "", True), ("É", "é", False)),
            total=True,
        ),
        Function(
            ".startsWith",
            pair,
            BOOL,
            lambda s, part: s.startswith(part),
            lambda s, part: sql("starts_with({}, {})", s, part),
            (("%a", "%", True), ("abc", "b", False), ("abc", "", True), ("é", "e", False)),
            total=True,
        ),
        Function(
            ".endsWith",
            pair,
            BOOL,
            lambda s, part: s.endswith(part),
            lambda s, part: sql("({} like '%' || baas_rt.like_text({}))", s, part),
            (("a_b", "_b", True), ("a\n", "a", False), ("x", "xx", False), ("x", "", True)),
            total=True,
        ),
        Function(".lowerAscii", text, STRING, _lower, lambda s: sql(_LOWER_SQL, s), (("ÀB", "Àb"), ("İI", "İi")), total=True),
        Function(".upperAscii", text, STRING, _upper, lambda s: sql(_UPPER_SQL, s), (("ßa", "ßA"), ("", "")), total=True),
        Function("+", pair, STRING, lambda a, b: a + b, lambda a, b: sql("({} || {})", a, b), (("a", "b", "ab"),), total=True),
        *(_matches(name) for name in (".matches", "matches")),
        *_sizes(),
    )


def _matches(name: str) -> Function:
    return Function(
        name,
        ("string", "pattern"),
        BOOL,
        matches,
        lambda s, pattern: sql('({} collate "C" ~ {})', s, pattern),
        (
            ("hubba", "ubb", True),
            ("a\n", "^a$", False),
            ("\n", "[^\n]", False),
            ("mañana", "^[a-z]+$", False),
            ("", "", True),
            ("a\nb", "^b", False),
        ),
        total=True,
    )


_LOWER_SQL = "translate({}, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz')"
_UPPER_SQL = "translate({}, 'abcdefghijklmnopqrstuvwxyz', 'ABCDEFGHIJKLMNOPQRSTUVWXYZ')"
_TO_LOWER = {ord(upper): upper.lower() for upper in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
_TO_UPPER = {ord(lower): lower.upper() for lower in "abcdefghijklmnopqrstuvwxyz"}


def _lower(text: str) -> str:
    return text.translate(_TO_LOWER)


def _upper(text: str) -> str:
    return text.translate(_TO_UPPER)


def _sizes() -> tuple[Function, ...]:
    """`size(x)` and `x.size()` of everything that has one; in strings and JSON strings, code points."""
    found: list[Function] = []
    for name in ("size", ".size"):
        found += [
            Function(name, ("string",), INT, len, lambda s: sql("length({})::int8", s), (("é😀", 2), ("", 0)), total=True),
            Function(
                name, ("list",), INT, len, lambda x: sql("cardinality({})::int8", x), ((["a", "b"], 2), ([], 0)), total=True
            ),
            Function(
                name,
                ("json",),
                INT,
                lambda j: len(j) if isinstance(j, str | list | dict) else None,
                lambda j: sql("baas_rt.j_size({})", j),
                (({"a": 1}, 1), ([1, 2], 2), ("é", 1), (5, FAILS), (True, FAILS)),
            ),
            Function(name, ("map",), INT, len, None, (({}, 0),), total=True),
            Function(name, ("bytes",), INT, len, None, ((b"\xff", 1),), total=True),
        ]
    return tuple(found)
