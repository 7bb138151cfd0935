"""JSON at the door: what the database would refuse, or others would read differently, is refused with its place."""

import json
import time
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baas.base.errors import BaasError, BadRequest, Invalid
from baas.base.strict_json import loads


def refusal(data: bytes, **limits: int) -> tuple[str, str | None]:
    """The code of the refusal and the pointer of its first fault."""
    with pytest.raises(BaasError) as caught:
        loads(data, **limits)
    assert caught.value.status in (400, 422)
    return caught.value.code, caught.value.errors[0].pointer if caught.value.errors else None


def test_a_good_body_is_read_exactly() -> None:
    """Whole numbers are int, others exact decimals; text keeps every character."""
    body = b'{"a": 1, "b": 1.10, "c": "\\ud83d\\ude00 \xc3\xa9", "d": [true, null], "e": {"a": 9007199254740993}}'

    assert {"a": 1, "b": Decimal("1.10"), "c": "😀 é", "d": [True, None], "e": {"a": 9007199254740993}} == loads(body)
    assert isinstance(loads(b"1e2"), Decimal)


@pytest.mark.parametrize(
    ("body", "position"),
    [
        (b"", 0),
        (b"{", 1),
        (b"[1,]", 3),
        (b'{"a":1}x', 7),
        (b"{'a':1}", 1),
        (b"[1.]", 2),
        (b"[01]", 2),
        (b'"a\nb"', 2),
        (b"\xef\xbb\xbf{}", 0),
        (b"\xff", 0),
        (b'"\xed\xa0\x80"', 1),
        (b"{}{}", 2),
        (b'{"a"}', 4),
        (b"nul", 0),
        (b"'x'", 0),
    ],
)
def test_what_is_no_json_is_refused_with_its_position(body: bytes, position: int) -> None:
    """400 `bad_json`; the position counts characters from zero."""
    with pytest.raises(BadRequest) as caught:
        loads(body)

    assert ("bad_json", position) == (caught.value.code, caught.value.facts.get("position"))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a":1,"a":2}', ("duplicate_key", "/a")),
        (b'{"x":{"a/b":1,"a\\/b":2}}', ("duplicate_key", "/x/a~1b")),
        (b'[{"k":"c: d","\\u006b":2}]', ("duplicate_key", "/0/k")),
        (b'{"a":{"b":NaN}}', ("bad_json", "/a/b")),
        (b"[Infinity]", ("bad_json", "/0")),
        (b"[-Infinity]", ("bad_json", "/0")),
        (b'{"a":"\\u0000"}', ("nul", "/a")),
        (b'{"a\\u0000":1}', ("nul", "")),
        (b'{"a":["x","\\ud800"]}', ("lone_surrogate", "/a/1")),
        (b'{"a":"\\udc00\\ud800"}', ("lone_surrogate", "/a")),
        (b'{"\\ud800":1}', ("lone_surrogate", "")),
        (b"[9223372036854775808]", ("number_out_of_range", "/0")),
        (b"[-9223372036854775809]", ("number_out_of_range", "/0")),
        (b'{"n":1e309}', ("number_out_of_range", "/n")),
        (b'{"n":1.8e308}', ("number_out_of_range", "/n")),
        (b'{"n":-1e309}', ("number_out_of_range", "/n")),
        (b'{"n":1e-401}', ("number_out_of_range", "/n")),
        (b'{"n":1e131072}', ("number_out_of_range", "/n")),
        (b'{"n":0e999999999}', ("number_out_of_range", "/n")),
        (b'{"n":1e9999999999999999999}', ("number_out_of_range", "/n")),
        (b'{"n":[1E-9999999999999999999]}', ("number_out_of_range", "/n/0")),
        (b"[" + b"9" * 5000 + b"]", ("number_out_of_range", "/0")),
        (b"[0." + b"1" * 500 + b"]", ("number_out_of_range", "/0")),
        (b"[" * 100_000, ("too_deep", "")),
        (b'{"a":' * 100_000, ("too_deep", "")),
        (b"[" * 33 + b"]" * 33, ("too_deep", "")),
    ],
)
def test_what_nobody_can_store_is_refused_with_its_place(body: bytes, expected: tuple[str, str]) -> None:
    """The code and the JSON pointer."""
    assert expected == refusal(body)


def test_the_edges_of_the_limits_hold() -> None:
    """64 bits, a double's range, 32 levels and 1,000 keys are inside."""
    assert [2**63 - 1, -(2**63)] == loads(b"[9223372036854775807, -9223372036854775808]")
    assert [Decimal("1.7e308"), Decimal("5e-324"), Decimal(0)] == loads(b"[1.7e308, 5e-324, 0.0]")
    loads(b"[" * 32 + b"]" * 32)
    keys = {f"k{number}": number for number in range(1001)}

    assert ("too_many_keys", "") == refusal(json.dumps(keys).encode())
    del keys["k0"]
    assert keys == loads(json.dumps(keys).encode())


def test_brackets_and_colons_in_text_are_only_text() -> None:
    """The cheap counts must not refuse what they merely suspect."""
    text = "[{" * 100 + ":" * 2000 + '"\\' + "12345678901234567890"

    assert {"a": text, "b": {"c": text}} == loads(json.dumps({"a": text, "b": {"c": text}}).encode())


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"[]," * 33 + b'"' + b'\\"' * 500_000,
        b"[" + b"[]," * 33 + b'"' + b"\\\\" * 500_000 + b"\\",
        b'{"' + b"k" * 500_000 + b'":["\\\\u0000"' + b",0" * 250_000 + b"]}",
    ],
    ids=["text without an end", "text that ends in a backslash", "long list under a long key"],
)
def test_the_largest_body_is_read_in_moments(body: bytes) -> None:
    """The event loop waits for this reader, so no body may cost more than its length. Without the guards: minutes."""
    began = time.process_time()
    with suppress(BadRequest):
        loads(body)

    assert time.process_time() - began < 2


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(exclude_characters="\0", codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_characters="\0", codec="utf-8")), inner)
    ),
    max_leaves=12,
)


@given(_VALUES, st.booleans())
def test_whatever_another_writer_wrote_comes_back(value: object, escaped: bool) -> None:
    """The standard library's text of a good value, with or without escapes, is read as that value."""
    assert value == loads(json.dumps(value, ensure_ascii=escaped).encode(), max_depth=100)


@given(st.binary(max_size=60) | st.text('{}[]":,\\u0de81.eE+- tfn', max_size=40).map(str.encode))
def test_no_input_ends_in_anything_but_a_refusal(data: bytes) -> None:
    """Any bytes give a value or one of our refusals, and never a value that Python's reader does not know."""
    try:
        value = loads(data)
    except (BadRequest, Invalid):
        return
    assert value == json.loads(data, parse_float=Decimal)
