"""Cursors of lists in a fixed order: where the last page ended, in a form that clients pass back and do not read."""

import base64
import binascii

from baas.base.errors import BadRequest

_MAX_CHARS = 1000


def encode_cursor(place: str) -> str:
    """The opaque form of a place in a list."""
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> str:
    """The place, empty for the beginning. Raises BadRequest (`bad_cursor`). A forged place only moves within the same list."""
    if not cursor:
        return ""
    try:
        if len(cursor) > _MAX_CHARS:
            raise ValueError
        place = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        if "\0" in place:
            raise ValueError
    except (ValueError, binascii.Error):
        raise BadRequest("The cursor is not one of this list; start without.", code="bad_cursor", parameter="cursor") from None
    return place
