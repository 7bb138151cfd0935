"""Text to syntax tree: a Pratt parser for the CEL grammar without messages and unsigned integers, plus `$name`.

Grammar: https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax. The tree knows positions and nothing of types.
Limits are part of the language: they bound every later step, so no text can exhaust the stack, memory or the planner.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from baas.engines.rules.types import RuleError

MAX_DEPTH = 48
MAX_TOKENS = 2_000
MAX_ITEMS = 200
MAX_STRING = 1_024
INT_MIN, INT_MAX = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one kind of expression may hold: characters and nodes."""

    characters: int
    nodes: int


RULE_LIMITS = Limits(characters=4_096, nodes=300)
FILTER_LIMITS = Limits(characters=2_048, nodes=120)


class Literal(NamedTuple):
    """A constant of the source: None, bool, int, float, str or bytes."""

    value: object
    at: int


class Name(NamedTuple):
    name: str
    at: int


class Variable(NamedTuple):
    """`$name`: a value handed in beside a filter."""

    name: str
    at: int


class Member(NamedTuple):
    of: "Syntax"
    name: str
    at: int


class Index(NamedTuple):
    of: "Syntax"
    place: "Syntax"
    at: int


class Call(NamedTuple):
    """A function (`target` is None) or a method."""

    target: "Syntax | None"
    name: str
    args: "tuple[Syntax, ...]"
    at: int


class Unary(NamedTuple):
    operator: str
    operand: "Syntax"
    at: int


class Binary(NamedTuple):
    operator: str
    left: "Syntax"
    right: "Syntax"
    at: int


class Logic(NamedTuple):
    """`&&` or `||` of two or more; a chain is one node, so long chains are not deep."""

    operator: str
    items: "tuple[Syntax, ...]"
    at: int


class Conditional(NamedTuple):
    condition: "Syntax"
    yes: "Syntax"
    no: "Syntax"
    at: int


class ListOf(NamedTuple):
    items: "tuple[Syntax, ...]"
    at: int


class MapOf(NamedTuple):
    entries: "tuple[tuple[Syntax, Syntax], ...]"
    at: int


Syntax = Literal | Name | Variable | Member | Index | Call | Unary | Binary | Logic | Conditional | ListOf | MapOf

RESERVED = frozenset(
    [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)
_CONSTANTS = {"true": True, "false": False, "null": None}
_POWER = {"||": 2, "&&": 3, "<": 4, "<=": 4, ">": 4, ">=": 4, "==": 4, "!=": 4, "in": 4, "+": 5, "-": 5, "*": 6, "/": 6, "%": 6}
_TERNARY = 1
_INSTEAD = {
    "=": "==",
    "===": "==",
    "!==": "!=",
    "<>": "!=",
    "and": "&&",
    "AND": "&&",
    "&": "&&",
    "or": "||",
    "OR": "||",
    "|": "||",
    "not": "!",
    "NOT": "!",
    "IN": "in",
    "is": "==",
    "IS": "==",
}
# Operators of SQL and of other filters that are methods here, or two comparisons.
_METHODS = {"like": "contains", "ilike": "lowerAscii().contains", "~": "matches"}
# No field can have such a name, so they can only be the constants of another language.
_WORDS = {"True": "true", "TRUE": "true", "False": "false", "FALSE": "false", "None": "null", "Null": "null", "NULL": "null"}

_TOKEN = re.compile(
    r"""(?P<space>(?:[ \t\r\n\f]+|//[^\n]*)+)
    |(?P<raw>(?:[rR][bB]?|[bB][rR])(?:\"{3}[\s\S]*?\"{3}|'{3}[\s\S]*?'{3}|"[^"\r\n]*"|'[^'\r\n]*'))
    |(?P<string>[bB]?(?:\"{3}(?:[^\\]|\\[\s\S])*?\"{3}|'{3}(?:[^\\]|\\[\s\S])*?'{3}|"(?:[^"\\\r\n]|\\.)*"|'(?:[^'\\\r\n]|\\.)*'))
    |(?P<float>(?:[0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+)(?![\w.]))
    |(?P<int>(?:0[xX][0-9a-fA-F]+|[0-9]+)(?!\w))
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<variable>\$[A-Za-z_][A-Za-z0-9_]*)
    |(?P<quoted>`[A-Za-z0-9_.\-/ ]+`)
    |(?P<op>===|!==|&&|\|\||==|!=|<=|>=|<>|[-+*/%!<>?:.,()\[\]{}=&|~])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:([abfnrtv\\?\"'`])|([0-3][0-7]{2})|[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|)")
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class Span(NamedTuple):
    """A node and the part of the source that it was made of: characters `start` to before `end`."""

    node: Syntax
    start: int
    end: int


class Located(NamedTuple):
    """A syntax tree and, by `id()` of the node, where each node stands. Holding the spans keeps those ids good."""

    tree: Syntax
    spans: Mapping[int, Span]


def parse(source: str, limits: Limits) -> Syntax:
    """The syntax tree of one expression. Raises RuleError; never anything else, whatever the text."""
    return locate(source, limits).tree


def locate(source: str, limits: Limits) -> Located:
    """The same, with the place of every node. Raises RuleError."""
    if len(source) > limits.characters:
        raise RuleError(source[: limits.characters], 0, "too_long", f"an expression has at most {limits.characters} characters.")
    parser = _Parser(source, limits)
    return Located(parser.whole(), parser.spans)


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


class _Parser:
    """One pass over the tokens; each method takes what it names and leaves the next token current."""

    def __init__(self, source: str, limits: Limits) -> None:
        self._source = source
        self._limits = limits
        self._tokens = self._scan()
        self._next = 0
        self._nodes = 0
        self._depth = 0
        self.spans: dict[int, Span] = {}

    def whole(self) -> Syntax:
        tree = self._expression(0)
        self._expect("end", "", "an operator or the end")
        return tree

    # The tokens

    def _scan(self) -> list[_Token]:
        tokens: list[_Token] = []
        source, at = self._source, 0
        for found in _TOKEN.finditer(source):
            if found.start() != at:
                break
            at = found.end()
            kind = found.lastgroup
            if kind != "space":
                tokens.append(_Token(kind or "", found[0], found.start()))
                if len(tokens) > MAX_TOKENS:
                    raise self._error(at, f"an expression has at most {MAX_TOKENS} tokens.", code="too_complex")
        if at != len(source):
            raise self._bad_character(at)
        tokens.append(_Token("end", "", len(source)))
        return tokens

    def _bad_character(self, at: int) -> RuleError:
        character = self._source[at]
        if character in "\"'":
            return self._error(at, "this string does not end.")
        if character.isdigit():
            return self._error(at, "not a number of the language.", "Write 1, 0x1f or 1.5; unsigned integers (1u) do not exist.")
        if character == "$":
            return self._error(at, "a name follows `$`.")
        return self._error(at, f"unexpected character {character!r}.")

    def _take(self) -> _Token:
        token = self._tokens[self._next]
        self._next += 1
        return token

    def _accept(self, operator: str) -> bool:
        token = self._tokens[self._next]
        if token.kind == "op" and token.text == operator:
            self._next += 1
            return True
        return False

    def _expect(self, kind: str, text: str, what: str) -> _Token:
        token = self._tokens[self._next]
        if token.kind != kind or (text and token.text != text):
            raise self._unexpected(token, what)
        self._next += 1
        return token

    def _unexpected(self, token: _Token, what: str) -> RuleError:
        instead = _INSTEAD.get(token.text)
        if token.text in ("not", "NOT") and self._tokens[self._tokens.index(token) + 1].text in ("in", "IN"):
            instead = "!(x in list)"
        if instead:
            return self._error(token.at, f"{token.text!r} is not an operator.", f"Did you mean {instead!r}?")
        hint = self._as_method(token)
        if hint is not None:
            return self._error(token.at, f"{token.text!r} is not an operator.", hint)
        if token.text == "," and self._opened_after_in(token):
            return self._error(token.at, f"expected {what}, not ','.", "A list is written [1, 2].")
        if token.kind == "end":
            return self._error(token.at, f"the expression ends where {what} is missing.")
        return self._error(token.at, f"expected {what}, not {token.text[:20]!r}.")

    def _as_method(self, token: _Token) -> str | None:
        """How `title like "a%"` and `n between 1 and 5` are written here."""
        word, place = token.text.lower(), self._tokens.index(token)
        before = place
        while before and (self._tokens[before - 1].kind in ("name", "quoted") or self._tokens[before - 1].text == "."):
            before -= 1
        of = self._source[self._tokens[before].at : token.at].strip() if before < place else "x"
        ahead = [one.text for one in self._tokens[place + 1 : place + 4]]
        if word == "between":
            low, high = (ahead[0], ahead[2]) if len(ahead) == 3 and ahead[1].lower() == "and" else ("1", "5")
            return f"Say {of} >= {low} && {of} <= {high}."
        if word not in _METHODS:
            return None
        method = "contains" if word == "~" and self._limits is FILTER_LIMITS else _METHODS[word]
        text = self._tokens[place + 1]
        return f"Say {of}.{method}({text.text.replace('%', '') if text.kind == 'string' else '…'})."

    def _opened_after_in(self, comma: _Token) -> bool:
        """Whether the comma stands in `in (1, 2)`."""
        depth = 0
        for place in range(self._tokens.index(comma) - 1, 0, -1):
            text = self._tokens[place].text if self._tokens[place].kind == "op" else ""
            depth += (text in (")", "]")) - (text in ("(", "["))
            if depth < 0:
                return text == "(" and self._tokens[place - 1].text == "in"
        return False

    def _error(self, at: int, message: str, hint: str | None = None, *, code: str = "syntax") -> RuleError:
        return RuleError(self._source, at, code, message, hint)

    # The tree

    def _made(self, node: Syntax, start: int) -> Syntax:
        """A node that begins at `start` and ends with the token taken last."""
        self._nodes += 1
        if self._nodes > self._limits.nodes:
            raise self._error(node.at, f"an expression has at most {self._limits.nodes} parts.", code="too_complex")
        last = self._tokens[self._next - 1]
        self.spans[id(node)] = Span(node, start, last.at + len(last.text))
        return node

    def _deeper(self, at: int) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(at, f"nested more than {MAX_DEPTH} levels deep.", code="too_complex")

    def _expression(self, power: int) -> Syntax:
        """Everything that binds tighter than `power`. A chain of one operator adds to the depth: the tree leans left."""
        depth = self._depth
        start = self._tokens[self._next].at
        self._deeper(start)
        left = self._unary()
        while True:
            token = self._tokens[self._next]
            if token.text == "?" and token.kind == "op" and power <= _TERNARY:
                left = self._conditional(left, start)
                continue
            strength = _POWER.get(token.text, 0) if token.kind in ("op", "name") else 0
            if strength <= power:
                break
            self._next += 1
            if strength <= _POWER["&&"]:
                left = self._chain(left, token, strength, start)
            else:
                self._deeper(token.at)
                left = self._made(Binary(token.text, left, self._expression(strength), token.at), start)
        self._depth = depth
        return left

    def _chain(self, left: Syntax, operator: _Token, strength: int, start: int) -> Syntax:
        items = [left, self._expression(strength)]
        while self._tokens[self._next].text == operator.text and self._accept(operator.text):
            items.append(self._expression(strength))
            self._nodes += 1
        return self._made(Logic(operator.text, tuple(items), operator.at), start)

    def _conditional(self, condition: Syntax, start: int) -> Syntax:
        at = self._take().at
        yes = self._expression(_TERNARY)
        self._expect("op", ":", "':'")
        # Right-associative, and the depth counts along: `a ? b : c ? d : e`.
        return self._made(Conditional(condition, yes, self._expression(0), at), start)

    def _unary(self) -> Syntax:
        token = self._tokens[self._next]
        if token.kind != "op" or token.text not in ("!", "-"):
            return self._members(self._primary(), token.at)
        self._next += 1
        following = self._tokens[self._next]
        if token.text == "-" and following.kind in ("int", "float"):
            self._next += 1
            return self._members(self._number(following, token.at, negative=True), token.at)
        self._deeper(token.at)
        operand = self._unary()
        self._depth -= 1
        return self._made(Unary(token.text, operand, token.at), token.at)

    def _members(self, node: Syntax, start: int) -> Syntax:
        depth = self._depth
        while True:
            at = self._tokens[self._next].at
            if self._accept("."):
                node = self._selected(node, start)
            elif self._accept("["):
                index = self._expression(0)
                self._expect("op", "]", "']'")
                node = self._made(Index(node, index, at), start)
            else:
                self._depth = depth
                return node
            self._deeper(at)

    def _selected(self, node: Syntax, start: int) -> Syntax:
        token = self._take()
        if token.kind == "quoted":
            return self._made(Member(node, token.text[1:-1], token.at), start)
        if token.kind != "name" or token.text == "in":
            raise self._unexpected(token, "a field name after '.'")
        if self._accept("("):
            return self._made(Call(node, token.text, self._until(")"), token.at), start)
        return self._made(Member(node, token.text, token.at), start)

    def _primary(self) -> Syntax:
        token = self._take()
        match token.kind:
            case "name":
                return self._named(token)
            case "string" | "raw":
                return self._made(Literal(self._text(token), token.at), token.at)
            case "int" | "float":
                return self._number(token, token.at, negative=False)
            case "variable":
                return self._made(Variable(token.text[1:], token.at), token.at)
        if token.kind == "op" and token.text == "(":
            inner = self._expression(0)
            self._expect("op", ")", "')'")
            return inner
        if token.kind == "op" and token.text == "[":
            return self._made(ListOf(self._until("]"), token.at), token.at)
        if token.kind == "op" and token.text == "{":
            return self._made(MapOf(self._entries(), token.at), token.at)
        raise self._unexpected(token, "a value")

    def _named(self, token: _Token) -> Syntax:
        if token.text in _CONSTANTS:
            return self._made(Literal(_CONSTANTS[token.text], token.at), token.at)
        if token.text in RESERVED:
            raise self._error(token.at, f"{token.text!r} is a reserved word.", f"A field of that name is `record.{token.text}`.")
        if token.text in ("not", "NOT", "in"):
            raise self._unexpected(token, "a value")
        if token.text in _WORDS:
            words = f"{token.text!r} is not a constant."
            raise self._error(token.at, words, f"Did you mean {_WORDS[token.text]!r}?")
        if self._accept("("):
            return self._made(Call(None, token.text, self._until(")"), token.at), token.at)
        return self._made(Name(token.text, token.at), token.at)

    def _until(self, closing: str) -> tuple[Syntax, ...]:
        """Comma-separated expressions; a list may end in a comma, arguments may not."""
        items: list[Syntax] = []
        while not self._accept(closing):
            if items:
                self._expect("op", ",", f"',' or {closing!r}")
                if closing == "]" and self._accept(closing):
                    break
            if len(items) == MAX_ITEMS:
                raise self._error(self._tokens[self._next].at, f"a list has at most {MAX_ITEMS} items.", code="too_complex")
            # Items of a list of constants are free: they become one bound value and cost nothing later.
            items.append(self._expression(0))
            if isinstance(items[-1], Literal):
                self._nodes -= 1
        return tuple(items)

    def _entries(self) -> tuple[tuple[Syntax, Syntax], ...]:
        entries: list[tuple[Syntax, Syntax]] = []
        while not self._accept("}"):
            if entries:
                self._expect("op", ",", "',' or '}'")
                if self._accept("}"):
                    break
            key = self._expression(0)
            self._expect("op", ":", "':'")
            entries.append((key, self._expression(0)))
        return tuple(entries)

    # The literals

    def _number(self, token: _Token, start: int, *, negative: bool) -> Syntax:
        sign = "-" if negative else ""
        if token.kind == "float":
            number = float(sign + token.text)
            if number in (float("inf"), float("-inf")):
                raise self._error(token.at, "this number is too large for a double.")
            return self._made(Literal(number, token.at), start)
        integer = int(sign + token.text, 16 if token.text[1:2] in ("x", "X") else 10)
        if not INT_MIN <= integer <= INT_MAX:
            raise self._error(token.at, "this integer does not fit in 64 bits.")
        return self._made(Literal(integer, token.at), start)

    def _text(self, token: _Token) -> str | bytes:
        body = token.text.lstrip("rRbB")
        prefix = token.text[: len(token.text) - len(body)].lower()
        body = body[3:-3] if body[:3] in ('"""', "'''") and len(body) >= 6 else body[1:-1]
        if len(body) > MAX_STRING:
            raise self._error(token.at, f"a string has at most {MAX_STRING} characters.", "Pass longer text as a variable.")
        if "r" not in prefix and "\\" in body:
            return self._unescaped(body, token, octets="b" in prefix)
        self._refuse_surrogates(body, token)
        return body.encode() if "b" in prefix else body

    def _unescaped(self, body: str, token: _Token, *, octets: bool) -> str | bytes:
        """The text an escaped string means; in bytes `\\xff` is an octet, in strings a code point."""
        parts: list[bytes] = []
        at = 0
        for found in _ESCAPE.finditer(body):
            parts.append(body[at : found.start()].encode(errors="surrogatepass"))
            at = found.end()
            simple, octal, byte, short, long = found.groups()
            if simple:
                parts.append(_SIMPLE.get(simple, simple).encode())
            elif octets and (octal or byte):
                parts.append(bytes((int(octal, 8) if octal else int(byte, 16),)))
            elif octal or byte or ((short or long) and not octets):
                parts.append(self._character(int(octal, 8) if octal else int(byte or short or long, 16), token))
            else:
                raise self._error(
                    token.at + 1 + found.start(), "not an escape.", r"Use \\ for a backslash, or a raw string r'…'."
                )
        parts.append(body[at:].encode(errors="surrogatepass"))
        whole = b"".join(parts)
        if octets:
            return whole
        text = whole.decode(errors="surrogatepass")
        self._refuse_surrogates(text, token)
        return text

    def _character(self, code: int, token: _Token) -> bytes:
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise self._error(token.at, "an escape names no Unicode character.")
        return chr(code).encode()

    def _refuse_surrogates(self, text: str, token: _Token) -> None:
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise self._error(token.at, "a string holds half a character (a lone surrogate).")


def skeleton(source: str) -> str:
    """The expression with its constants blanked: what decides the SQL text of a filter. `source` must parse."""
    parts: list[str] = []
    at = 0
    while (found := _TOKEN.match(source, at)) is not None:
        kind = found.lastgroup or ""
        if kind != "space":
            parts.append(_BLANKED.get(kind, found[0]))
        at = found.end()
    return " ".join(parts)


_BLANKED = {"string": "''", "raw": "''", "int": "0", "float": "0.0"}
