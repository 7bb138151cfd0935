"""What travels in headers beside a file's bytes: its type, its digest, its name; and how a browser must treat it."""

import base64
import binascii
import re
from collections.abc import Mapping
from urllib.parse import quote

from starlette.datastructures import Headers

from baas.base.errors import BadRequest
from baas.features.files.manifest import CONTENT_TYPE
from baas.features.files.model import Bucket, File

BYTES = "application/octet-stream"
# A member of the dictionary of RFC 9530; keys are in small letters (RFC 9651).
_DIGEST = re.compile(r"[ \t]*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/=]*):[ \t]*")
_DIGEST_BYTES = {"sha-256": 32, "sha-512": 64}
_PRINTABLE = re.compile(r"[^ !#-\[\]-~]")
# Shown in place: what a browser draws or plays and never runs. SVG is a document with scripts and not among them.
_SHOWN = frozenset(
    {
        *("image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp", "image/x-icon"),
        *("audio/mpeg", "audio/ogg", "audio/wav", "audio/webm", "audio/aac", "audio/mp4", "audio/flac"),
        *("video/mp4", "video/webm", "video/ogg", "video/quicktime"),
        "text/plain",
    }
)
# Saved, under their own type, which programs ask for and no browser runs.
_SAVED = frozenset(
    {
        *("application/json", "application/pdf", "application/zip", "application/gzip", "application/x-tar"),
        *("text/csv", "application/wasm", "font/woff", "font/woff2", "font/ttf", "font/otf"),
    }
)
_PUBLIC_S = 60


def content_type(headers: Headers) -> str:
    """The type of an upload without its parameters, in lower case. Raises BadRequest for what is none."""
    given = headers.get("content-type")
    if given is None:
        return BYTES
    kind = given.partition(";")[0].strip().lower()
    if not CONTENT_TYPE.fullmatch(kind):
        raise BadRequest("Content-Type is not a content type.", code="bad_header", header="Content-Type")
    return kind


def content_digests(headers: Headers) -> Mapping[str, str]:
    """What Content-Digest states (RFC 9530) as algorithm and hexadecimal digest, of SHA-256 and SHA-512.

    Raises BadRequest for what cannot be read, and when it states neither: a digest that nobody looks at protects nothing.
    """
    lines = headers.getlist("content-digest")
    if not lines:
        return {}
    members = [_DIGEST.fullmatch(one) for one in ", ".join(lines).split(",")]
    found = {one[1]: _digest(one[2]) for one in members if one}
    known = {name: found[name].hex() for name in _DIGEST_BYTES if name in found}
    if not all(members) or not known or any(2 * _DIGEST_BYTES[name] != len(text) for name, text in known.items()):
        detail = "Content-Digest must be sha-256=:<base64>: or sha-512=:<base64>:."
        raise BadRequest(detail, code="bad_header", parameter="Content-Digest")
    return known


def _digest(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""


def content_length(headers: Headers) -> int | None:
    """What the client says of its body's size, None for a body that is sent in chunks."""
    given = headers.get("content-length", "")
    return int(given) if given.isdecimal() and given.isascii() and len(given) < 20 else None


def served(file: File, bucket: Bucket, *, download: bool) -> Mapping[str, str]:
    """The headers of a file's bytes: no script in them runs on our origin (threat model F1), whoever uploaded what as what.

    The sandbox gives a document an origin of its own and takes scripts away; `nosniff` keeps the type ours. A private file is
    stored nowhere on its way.
    """
    shown, saved = file.content_type in _SHOWN, file.content_type in _SAVED
    kind = file.content_type if shown or saved else BYTES
    return {
        "Content-Type": f"{kind}; charset=utf-8" if kind.startswith("text/") else kind,
        "Content-Disposition": disposition(file.name, attachment=download or not shown),
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cross-Origin-Resource-Policy": "cross-origin" if bucket.public else "same-origin",
        "Cache-Control": f"public, max-age={_PUBLIC_S}" if bucket.public else "private, no-store",
    }


def disposition(name: str, *, attachment: bool) -> str:
    """Content-Disposition with the name in ASCII and, where that is not all of it, in UTF-8 (RFC 6266, RFC 8187)."""
    plain = _PRINTABLE.sub("_", name)
    extended = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return f'{"attachment" if attachment else "inline"}; filename="{plain}"{extended}'
