"""Cursors: where a page ended, sealed to the query they were made for. They grant nothing; the rule is judged on every page."""

import base64
import binascii
import hashlib
import hmac
from uuid import UUID

import msgspec

from baas.base.errors import BadRequest
from baas.base.principal import Principal
from baas.base.project import Project
from baas.engines.query.reach import Way
from baas.engines.query.tree import Near, Search, SortKey
from baas.features.records.model import Wanted

_MAC_BYTES = 16
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_KEYS = msgspec.json.Decoder(tuple[str | None, ...])
_encode = msgspec.json.Encoder().encode

Keys = tuple[str | None, ...]
Sought = tuple[Search | None, Near | None]


class Cursors:
    """Seals and opens cursors under a key derived from the server's secret, so that every server opens what another sealed."""

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"records cursor 2", hashlib.sha256)

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


def query_of(  # noqa: PLR0917  all that a cursor depends on
    project: Project, principal: Principal, keys: tuple[SortKey, ...], ways: tuple[Way, ...], wanted: Wanted, found: Sought
) -> bytes:
    """What a cursor belongs to: caller, collection, filter, search and order, and the types its keys are read back as."""
    order = [(key.path, key.field, key.descending, key.nulls_first, way.column.cast) for key, way in zip(keys, ways, strict=True)]
    whose = (project.key, principal.kind, principal.id)
    return _encode((whose, ways[0].table.name, order, wanted.filter, wanted.vars, found, wanted.as_of))


def versions_of(project: Project, principal: Principal, collection: str, record: UUID) -> bytes:
    """What a cursor of a record's history belongs to."""
    return _encode(("history", project.key, principal.kind, principal.id, collection, record))


def _bad() -> BadRequest:
    return BadRequest(
        "The cursor does not belong to this query.",
        code="bad_cursor",
        hint="Use next_cursor as it came, with the same filter, vars and sort, and as the same caller.",
    )
