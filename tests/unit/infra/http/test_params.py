"""Query values: each known, once, typed."""

import pytest

from baas.base.errors import BadRequest, Invalid
from baas.infra.http import params


def read(raw: str | bytes, *known: str) -> params.Query:
    return params.read_query(raw if isinstance(raw, bytes) else raw.encode(), known)


def test_values_are_decoded_once_and_exactly() -> None:
    """Plus is a space, escapes are UTF-8, an empty value is a value."""
    assert {"a": "x y&=é", "b": "", "c": "1+1%20"} == read("a=x+y%26%3D%C3%A9&b=&&c=1%2B1%2520", "a", "b", "c")


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("x=1", "x"),
        ("a=1&a=2", "a"),
        ("a=%ff", "a"),
        ("a=%00", "a"),
        ("a=%zz", "a"),
        ("a=%", "a"),
        ("a=%2", "a"),
        (b"a=\xff", "a"),
        ("A=1", "A"),
        ("%61=1&a=2", "a"),
    ],
)
def test_unknown_repeated_and_broken_values_are_refused_by_name(raw: str | bytes, name: str) -> None:
    """400 `bad_parameter` with the parameter."""
    with pytest.raises(BadRequest) as caught:
        read(raw, "a")

    assert ("bad_parameter", name) == (caught.value.code, caught.value.facts["parameter"])


def test_types_hold_their_bounds() -> None:
    """Whole numbers in ASCII digits, true or false, one of the words, canonical UUIDs, times with an offset."""
    values = {"n": "30", "b": "true", "w": "asc", "t": "2026-11-20T10:31:07Z"}

    assert 30 == params.integer(values, "n", 1, minimum=1, maximum=30)
    assert 5 == params.integer(values, "absent", 5)
    assert params.boolean(values, "b") is True
    assert "asc" == params.one_of(values, "w", ("asc", "desc"))
    assert params.moment(values, "t") is not None
    for bad in ("31", "0", "-1", "1.0", "1e1", "٣", " 1", "1_0", "9" * 30, ""):
        with pytest.raises(Invalid if bad == "31" else BadRequest):
            params.integer({"n": bad}, "n", 1, minimum=1, maximum=30)
    for bad in ("yes", "True", ""):
        with pytest.raises(BadRequest):
            params.boolean({"b": bad}, "b")
    for bad in ("2026-11-20T10:31:07", "yesterday", "20000-01-01T00:00:00Z"):
        with pytest.raises(BadRequest):
            params.moment({"t": bad}, "t")
    for bad in ("x", "{12345678-1234-1234-1234-123456789012}", "12345678123412341234123456789012", "urn:uuid:" + "1" * 32):
        with pytest.raises(BadRequest):
            params.identifier(bad)
    with pytest.raises(BadRequest):
        params.one_of({"w": "ascending"}, "w", ("asc", "desc"))
    with pytest.raises(BadRequest):
        params.text({"x": "a" * 11}, "x", max_length=10)
