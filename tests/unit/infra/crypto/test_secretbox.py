"""Secrets at rest: what seals, what opens, and what must not."""

import pytest

from baas.infra.crypto.secretbox import SealBroken, SecretBox

KEY, OTHER = b"k" * 32, b"o" * 40


def test_what_is_sealed_opens_again():
    box = SecretBox(KEY)

    assert box.open(box.seal(b"signing key", purpose="here"), purpose="here") == b"signing key"


def test_the_sealed_bytes_hold_nothing_of_the_secret_and_differ_each_time():
    box = SecretBox(KEY)
    first, second = box.seal(b"signing key", purpose="here"), box.seal(b"signing key", purpose="here")

    assert b"signing" not in first
    assert first != second


def test_a_value_moved_to_another_place_does_not_open():
    """A private key copied into another project's row stays closed."""
    box = SecretBox(KEY)

    with pytest.raises(SealBroken):
        box.open(box.seal(b"x", purpose="project a"), purpose="project b")


def test_every_altered_byte_is_noticed():
    box = SecretBox(KEY)
    sealed = box.seal(b"signing key", purpose="here")
    opened = 0
    for position in range(len(sealed)):
        altered = bytearray(sealed)
        altered[position] ^= 1
        try:
            box.open(bytes(altered), purpose="here")
            opened += 1
        except SealBroken:
            pass

    assert opened == 0
    for length in range(len(sealed)):
        with pytest.raises(SealBroken):
            box.open(sealed[:length], purpose="here")


def test_another_key_opens_nothing_and_an_older_key_opens_what_it_sealed():
    sealed = SecretBox(KEY).seal(b"x", purpose="here")

    with pytest.raises(SealBroken):
        SecretBox(OTHER).open(sealed, purpose="here")
    assert SecretBox(OTHER, KEY).open(sealed, purpose="here") == b"x"
    assert SecretBox(OTHER, KEY).seal(b"x", purpose="here")[1:5] != sealed[1:5]


def test_digests_differ_by_key_purpose_and_message():
    digests = {
        SecretBox(key).digest(message, purpose=purpose) for key in (KEY, OTHER) for purpose in "ab" for message in (b"m", b"n")
    }

    assert len(digests) == 8


def test_a_short_key_is_refused():
    with pytest.raises(ValueError, match="32 bytes"):
        SecretBox(b"k" * 31)
