"""Characters as numbers, and sets of them as ranges.

They count from 0 for U+0001 and leave out the surrogates: exactly what a stored text can hold.
"""

from collections.abc import Iterable

Ranges = tuple[tuple[int, int], ...]
"""First and last, in order, with gaps between them."""
CHARACTERS = 0x110000 - 0x800 - 1
_SURROGATES = 0xD800


def number(character: str) -> int:
    code = ord(character) - 1
    return code if code < _SURROGATES else code - 0x800


def character_of(number: int) -> str:
    return chr(number + 1 if number + 1 < _SURROGATES else number + 0x801)


def joined(ranges: Iterable[tuple[int, int]]) -> Ranges:
    made: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if made and low <= made[-1][1] + 1:
            made[-1] = (made[-1][0], max(high, made[-1][1]))
        else:
            made.append((low, high))
    return tuple(made)


def others(ranges: Ranges) -> Ranges:
    made, free = [], 0
    for low, high in ranges:
        if low > free:
            made.append((free, low - 1))
        free = high + 1
    if free < CHARACTERS:
        made.append((free, CHARACTERS - 1))
    return tuple(made)


def of(*spans: str) -> Ranges:
    return joined((number(span[0]), number(span[-1])) for span in spans)


CLASSES: dict[str, Ranges] = {"d": of("09"), "w": of("09", "AZ", "__", "az"), "s": of("\t\n", "\f\r", "  ")}
CLASSES |= {name.upper(): others(ranges) for name, ranges in CLASSES.items()}
NAMED_CLASSES: dict[str, Ranges] = {
    "alnum": of("09", "AZ", "az"),
    "alpha": of("AZ", "az"),
    "ascii": of("\x01\x7f"),
    "blank": of("\t", " "),
    "cntrl": of("\x01\x1f", "\x7f"),
    "digit": of("09"),
    "graph": of("!~"),
    "lower": of("az"),
    "print": of(" ~"),
    "punct": of("!/", ":@", "[`", "{~"),
    "space": of("\t\r", " "),
    "upper": of("AZ"),
    "word": of("09", "AZ", "__", "az"),
    "xdigit": of("09", "AF", "af"),
}
ANY = others(of("\n"))


def between(low: str, high: str) -> Ranges:
    """The range as far as texts can hold it: they hold neither NUL nor half a surrogate pair."""
    first, last = max(ord(low), 1), ord(high)
    if _SURROGATES <= first < 0xE000:
        first = 0xE000
    if _SURROGATES <= last < 0xE000:
        last = _SURROGATES - 1
    return ((number(chr(first)), number(chr(last))),) if first <= last else ()
