"""What somebody typed, taken apart."""

import pytest

from baas.engines.query.search import read


@pytest.mark.parametrize(
    ("typed", "words", "prefixes"),
    [
        ("quick fox", '"quick"', "'fox':*"),
        ("quick fox ", '"quick" "fox"', ""),
        ('"brown fox"', '"brown fox"', ""),
        ('"brown fo', '"brown fo"', ""),
        ("or -and", '"or" -"and"', ""),
        ("da* fox ba*", '"fox"', "'da':* & 'ba':*"),
        ("it's", "", "'it''s':*"),
        ("back\\slash", "", "'back\\\\slash':*"),
        ("a\0b \ud83d", '"a" "b"', ""),
        ("*", "", ""),
        ("x" * 201, '"' + "x" * 201 + '"', ""),
    ],
)
def test_it_is_put_together_as_words_in_quotes(typed: str, words: str, prefixes: str) -> None:
    """Nothing in it is syntax, and what PostgreSQL cannot read is a space."""
    found = read(typed)

    assert (words, prefixes) == (found.words, found.prefixes)


def test_slips_are_undone() -> None:
    """Two letters swapped, one too many; not in short words, not in excluded ones, not in more than six."""
    (word, meant), (short, same) = read("pyhton cat -dog").loose
    assert word == "pyhton"
    assert {"'python'", "'phton'", "'pyhto'", "'pyhton'"} < set(meant.split(" | "))
    assert (short, same) == ("cat", "'cat'")
    assert 6 == len(read("one two three four five six seven eight").loose)
