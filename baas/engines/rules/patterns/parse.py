"""Pattern to tree: one pass over a subset of RE2's syntax (https://github.com/google/re2/wiki/Syntax)."""

import re

from baas.engines.rules.patterns.characters import ANY, CLASSES, NAMED_CLASSES, Ranges, between, joined, others
from baas.engines.rules.patterns.tree import NOTHING, Choice, Edge, InOrder, Node, Repeat, Set, walk

MAX_REPEAT = 255
"""PostgreSQL counts no further."""
MAX_DEPTH = 20


class PatternFault(Exception):
    """Not a pattern we accept; `at` counts characters from 0."""

    def __init__(self, at: int, message: str) -> None:
        super().__init__(message)
        self.at = at
        self.message = message


_SIMPLE = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_COUNT = re.compile(r"\{([0-9]{1,4})(?:(,)([0-9]{1,4})?)?\}")
_HEX = re.compile(r"x(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]{1,6})\})")
_NAMED_CLASS = re.compile(r"\[:(\^?)([a-z]*):\]")
_REFUSED = {
    "b": "word boundaries (`\\b`) are not part of these patterns.",
    "B": "word boundaries (`\\B`) are not part of these patterns.",
    "p": "classes by Unicode property (`\\p`) are not part of these patterns; write the ranges.",
    "P": "classes by Unicode property (`\\P`) are not part of these patterns; write the ranges.",
    "Q": "quoting (`\\Q`) is not part of these patterns; put a backslash before each sign.",
    "C": "`\\C` is not part of these patterns: text has characters, not bytes.",
}


class Parser:
    """One pass, left to right; each method takes what it names."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._depth = 0

    def whole(self) -> Node:
        tree = self._choice()
        if self._at < len(self._pattern):
            raise PatternFault(self._at, "there is no group that this `)` could close.")
        return tree

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _take(self) -> str:
        self._at += 1
        return self._pattern[self._at - 1]

    def _choice(self) -> Node:
        items = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            items.append(self._sequence())
        if len(items) == 1:
            return items[0]
        sets = [item.ranges for item in items if isinstance(item, Set)]
        if len(sets) == len(items):
            return Set(joined(one for ranges in sets for one in ranges))
        return Choice(tuple(items))

    def _sequence(self) -> Node:
        items: list[Node] = []
        while self._peek() not in ("", "|", ")"):
            at = self._at
            item = self._repeated(self._atom(), at)
            items += item.items if isinstance(item, InOrder) else (item,)
        return items[0] if len(items) == 1 else InOrder(tuple(items))

    def _atom(self) -> Node:
        at, character = self._at, self._take()
        match character:
            case "(":
                return self._group(at)
            case "[":
                return self._set(at)
            case ".":
                return Set(ANY)
            case "^" | "$":
                return Edge(character)
            case "*" | "+" | "?":
                raise PatternFault(at, f"there is nothing that this `{character}` could repeat.")
            case "{":
                raise PatternFault(at, "a repetition is {2}, {2,} or {2,5} after what it repeats; for the sign write \\{.")
            case "\\":
                return self._escaped(at)
        return Set(_one(character, at))

    def _group(self, at: int) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise PatternFault(at, f"groups nest at most {MAX_DEPTH} deep.")
        if self._peek() == "?":
            self._opening(at)
        inner = self._choice()
        if self._peek() != ")":
            raise PatternFault(at, "this group does not end.")
        self._at += 1
        self._depth -= 1
        return inner

    def _opening(self, at: int) -> None:
        rest = self._pattern[self._at :]
        if rest.startswith("?:"):
            self._at += 2
        elif rest.startswith(("?=", "?!", "?<=", "?<!")):
            raise PatternFault(at, "lookahead and lookbehind are not part of these patterns.")
        elif rest.startswith(("?P", "?<")):
            raise PatternFault(at, "groups have no names here: nothing could ask for them.")
        else:
            raise PatternFault(at, "flags are not part of these patterns; for either case write [Aa], or compare lowerAscii().")

    def _repeated(self, item: Node, at: int) -> Node:
        start, sign = self._at, self._peek()
        if sign in ("*", "+", "?") and sign:
            self._at += 1
            least, most = (1 if sign == "+" else 0), (1 if sign == "?" else None)
        elif sign == "{" and (found := _COUNT.match(self._pattern, self._at)):
            self._at = found.end()
            least = int(found[1])
            most = least if found[2] is None else int(found[3]) if found[3] else None
        else:
            return item
        if max(least, most or 0) > MAX_REPEAT:
            raise PatternFault(start, f"a repetition counts to {MAX_REPEAT} at most.")
        if most is not None and least > most:
            raise PatternFault(start, "this repetition has its bounds the wrong way round.")
        # Shortest or longest first makes no difference to whether there is a match.
        self._at += self._peek() == "?"
        if self._peek() in ("*", "+", "?") and self._peek():
            raise PatternFault(self._at, f"there is nothing that this `{self._peek()}` could repeat.")
        if self._peek() == "{" and _COUNT.match(self._pattern, self._at):
            raise PatternFault(self._at, "a repetition cannot be repeated; put it into a group.")
        if any(isinstance(one, Edge) for one in walk(item)):
            raise PatternFault(at, "`^` and `$` stand in no repetition.")
        return _repeat(item, least, most)

    def _escaped(self, at: int) -> Node:
        if self._peek() in CLASSES and self._peek():
            return Set(CLASSES[self._take()])
        if self._peek() in ("A", "z") and self._peek():
            return Edge("^" if self._take() == "A" else "$")
        return Set(_one(self._escape(at), at))

    def _escape(self, at: int) -> str:
        """The one character that an escape means."""
        found = _HEX.match(self._pattern, self._at)
        if found is not None:
            self._at = found.end()
            code = int(found[1] or found[2], 16)
            if code > 0x10FFFF:
                raise PatternFault(at, "this escape names no Unicode character.")
            return chr(code)
        sign = self._peek()
        if not sign:
            raise PatternFault(at, "the pattern ends after a backslash.")
        if sign in _REFUSED:
            raise PatternFault(at, _REFUSED[sign])
        if sign.isalnum() and sign not in _SIMPLE:
            raise PatternFault(at, f"there is no escape \\{sign}.")
        return _SIMPLE.get(self._take(), sign)

    def _set(self, at: int) -> Node:
        negated = self._peek() == "^"
        self._at += negated
        ranges: list[tuple[int, int]] = []
        first = True
        while self._peek() != "]" or first:
            if not self._peek():
                raise PatternFault(at, "this set does not end.")
            ranges += self._span()
            first = False
        self._at += 1
        found = joined(ranges)
        found = others(found) if negated else found
        if not found:
            raise PatternFault(at, "no text holds a character of this set.")
        return Set(found)

    def _span(self) -> Ranges:
        """One member of a set: a class, a character, or a range."""
        at = self._at
        named = _NAMED_CLASS.match(self._pattern, at)
        if named is not None:
            if named[2] not in NAMED_CLASSES:
                raise PatternFault(at, f"there is no class [:{named[2]}:].")
            self._at = named.end()
            return others(NAMED_CLASSES[named[2]]) if named[1] else NAMED_CLASSES[named[2]]
        if self._pattern[at : at + 1] == "\\" and self._pattern[at + 1 : at + 2] in CLASSES and self._pattern[at + 1 : at + 2]:
            self._at += 2
            return CLASSES[self._pattern[at + 1]]
        low = self._member()
        high = low
        if self._peek() == "-" and self._pattern[self._at + 1 : self._at + 2] not in ("]", ""):
            self._at += 1
            high = self._member()
            if high < low:
                raise PatternFault(at, "this range has its ends the wrong way round.")
        return between(low, high)

    def _member(self) -> str:
        at, character = self._at, self._take()
        if character == "[" and self._peek() in (":", ".", "=") and self._peek():
            raise PatternFault(at, "a class is [:alpha:]; for the sign write \\[.")
        if character != "\\":
            return character
        if self._peek() in CLASSES and self._peek():
            raise PatternFault(at, "a class of characters is no end of a range.")
        return self._escape(at)


def _one(character: str, at: int) -> Ranges:
    found = between(character, character)
    if not found:
        raise PatternFault(at, "no text holds this character.")
    return found


def _repeat(item: Node, least: int, most: int | None) -> Node:
    if most == 0 or item == NOTHING:
        return NOTHING
    return item if least == most == 1 else Repeat(item, least, most)
