"""Cursors of lists: where the last page ended, in a form that clients pass back and do not read."""

import base64
import binascii
import hashlib
import hmac
from urllib.parse import quote

import msgspec
from starlette.types import Scope

from baas.base.errors import BadRequest

_LONGEST_LINK = 4000
_MAC_BYTES = 16
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_KEYS = msgspec.json.Decoder(tuple[str | None, ...])
_encode = msgspec.json.Encoder().encode

Keys = tuple[str | None, ...]


class Cursors:
    """Seals and opens cursors under a key derived from the server's secret, so that every server opens what another sealed.

    A cursor is where a page ended. It belongs to one query of one caller, whose `query` is its own bytes, and grants nothing:
    the rule is judged on every page (threat model A5).
    """

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"cursor 3", hashlib.sha256)

    def seal(self, keys: Keys, query: bytes) -> str:
        """The cursor of a page of this query that ended at these sort keys."""
        payload = _encode(keys)
        return binascii.b2a_base64(self._mac(payload, query) + payload, newline=False).translate(_URL_SAFE, b"=").decode()

    def open(self, cursor: str, query: bytes) -> Keys:
        """The sort keys. Raises BadRequest (`bad_cursor`) for what was not sealed by us for this very query."""
        try:
            raw = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error):
            raise _bad() from None
        mac, payload = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(payload, query)):
            raise _bad()
        return _KEYS.decode(payload)

    def _mac(self, payload: bytes, query: bytes) -> bytes:
        # Keyed BLAKE2 (RFC 7693, section 2.9) costs half as much as HMAC.
        return hashlib.blake2b(len(payload).to_bytes(8) + payload + query, digest_size=_MAC_BYTES, key=self._key).digest()


def query_of(*parts: object) -> bytes:
    """What a cursor belongs to; the first part is the name of the list."""
    return _encode(parts)


def next_link(scope: Scope, cursor: str | None) -> str | None:
    """The value of `Link` (RFC 8288): this request's own path and query with the cursor of the next page.

    None on the last page, and where the link would be too long for a URL.
    """
    if cursor is None:
        return None
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    asked: bytes = scope["query_string"]
    if b"cursor=" in asked:
        asked = b"&".join(part for part in asked.split(b"&") if not part.startswith(b"cursor="))
    target = b"%b?%b%bcursor=%b" % (raw.partition(b"?")[0], asked, b"&" if asked else b"", cursor.encode())
    if len(target) > _LONGEST_LINK:
        return None
    return f'<{target.replace(b">", b"%3E").decode("latin-1")}>; rel="next"'


def linked(scope: Scope, cursor: str | None) -> dict[str, str]:
    """The header of an answer that is a page."""
    link = next_link(scope, cursor)
    return {} if link is None else {"Link": link}


def _bad() -> BadRequest:
    return BadRequest(
        "The cursor does not belong to this query.",
        code="bad_cursor",
        hint="Use next_cursor as it came, with the same filter, vars and sort, and as the same caller.",
        parameter="cursor",
    )
