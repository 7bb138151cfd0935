"""What browsers must be told: who may read an answer across origins, and what a page of ours may do."""

from collections.abc import Sequence

from baas.base.project import Project

Headers = tuple[tuple[bytes, bytes], ...]

_NOSNIFF = (b"x-content-type-options", b"nosniff")
_NO_REFERRER = (b"referrer-policy", b"no-referrer")
_API: Headers = (
    _NOSNIFF,
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    _NO_REFERRER,
)
_PAGES: Headers = (
    _NOSNIFF,
    (b"cache-control", b"no-cache"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    _NO_REFERRER,
)
_SITE: Headers = (_NOSNIFF,)
_VARY_ORIGIN = (b"vary", b"Origin")
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
_REQUEST_HEADERS = (
    b"Authorization, Content-Type, Content-Digest, If-Match, If-None-Match, If-Range, Range, Idempotency-Key, Last-Event-ID, "
    b"Prefer, X-Request-Id, Traceparent"
)
_EXPOSED = (
    b"ETag, Location, Link, Retry-After, RateLimit, RateLimit-Policy, X-Request-Id, X-Feed-Cursor, Idempotent-Replayed, "
    b"Content-Range, Content-Disposition, Accept-Ranges"
)


class SecurityHeaders:
    """The headers of each kind of route; a room that sets one of them itself is left alone (`cache-control` of a file)."""

    def __init__(self, public_url: str) -> None:
        # Sites live on names below ours and decide for themselves, hence no includeSubDomains.
        hsts: Headers = ((b"strict-transport-security", b"max-age=31536000"),) if public_url.startswith("https:") else ()
        self.api = _API + hsts
        self.pages = _PAGES + hsts
        self.site = _SITE + hsts


def allowed_origin(project: Project, origin: bytes) -> bytes:
    """The value of Access-Control-Allow-Origin for this origin, or nothing.

    Credentials in the sense of CORS (cookies) are never allowed, so a wildcard gives nobody more than anybody has (W4).
    """
    origins: Sequence[str] = project.settings.cors.origins
    if not origin or not origins:
        return b""
    if "*" in origins:
        return b"*"
    return origin if origin.decode("latin-1") in origins else b""


def cors_headers(allowed: bytes) -> Headers:
    """For an answer that the page may read; every answer of a project varies by Origin, read or not."""
    if not allowed:
        return (_VARY_ORIGIN,)
    return (_VARY_ORIGIN, (b"access-control-allow-origin", allowed), (b"access-control-expose-headers", _EXPOSED))


def preflight_headers(allowed: bytes) -> Headers:
    """For the question before: which methods and request headers; kept by the browser for ten minutes."""
    if not allowed:
        return (_VARY_ORIGIN,)
    return (
        _VARY_ORIGIN,
        (b"access-control-allow-origin", allowed),
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", _REQUEST_HEADERS),
        (b"access-control-max-age", b"600"),
    )
