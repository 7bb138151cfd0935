"""Tokens of users: short-lived access tokens that any server verifies alone, and refresh tokens that the database judges.

Access tokens are JWTs (RFC 9068 by form): one algorithm, one type, the project as audience, and nothing of the header is obeyed
but the id of a key that is known already.
"""

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from baas.base.project import Project
from baas.features.auth.claims import NONE, Claims
from baas.features.auth.model import Family
from baas.infra.crypto.secretbox import SecretBox

ALGORITHM = "ES256"
TYPE = "at+jwt"
_HEADER = {"alg", "kid", "typ"}
_MAX_CHARS = 4096
_REFRESH_PREFIX = "rt_"
_ID_BYTES, _GENERATION_BYTES, _MAC_BYTES = 16, 4, 32


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What an access token says, once its signature, audience and issuer have been found good."""

    user_id: str
    session_id: str
    expires_at: int
    claims: Claims


class AccessTokens:
    """Writes and reads access tokens. `url` is the server's public address: it is part of the issuer."""

    def __init__(self, url: str, life_s: int) -> None:
        self._url = url
        self.life_s = life_s

    def write(self, project: Project, family: Family, claims: Claims, *, key_id: str, private_key: Any, now: datetime) -> str:
        """A signed token for the user of a session. `claims` and their version `cv` are in it when there ever were any."""
        import jwt
        import msgspec

        issued = int(now.timestamp())
        said = {"claims": msgspec.Raw(claims.text.encode()), "cv": claims.version} if claims.version else {}
        payload = {
            "iss": self._issuer(project),
            "aud": str(project.id),
            "sub": str(family.user_id),
            "sid": str(family.id),
            "iat": issued,
            "exp": issued + self.life_s,
            **said,
        }
        # Not by `jwt.encode`, which would write letters beyond ASCII as six characters each.
        written = msgspec.json.encode(payload)
        return jwt.api_jws.encode(written, private_key, algorithm=ALGORITHM, headers={"kid": key_id, "typ": TYPE})

    def read(self, project: Project, token: str, *, public_key: Any) -> AccessClaims | None:
        """The claims when this key signed the token for this project; None otherwise. Whether it has expired is not judged."""
        import jwt

        try:
            claims = jwt.decode(
                token,
                public_key,
                algorithms=[ALGORITHM],
                audience=str(project.id),
                issuer=self._issuer(project),
                options={
                    "require": ["iss", "aud", "sub", "sid", "iat", "exp"],
                    "strict_aud": True,
                    # Against the server's own clock by the caller; servers' clocks may differ, so `iat` is for reading only.
                    "verify_exp": False,
                    "verify_iat": False,
                },
            )
        except (jwt.InvalidTokenError, ValueError, TypeError):
            return None
        if not isinstance(claims["exp"], int) or not isinstance(claims["sub"], str) or not isinstance(claims["sid"], str):
            return None
        version = claims.get("cv", 0)
        if not isinstance(version, int) or (version and not isinstance(claims.get("claims"), dict)):
            return None
        said = Claims(_member(token, "claims"), version) if version else NONE
        return AccessClaims(claims["sub"], claims["sid"], claims["exp"], said)

    def _issuer(self, project: Project) -> str:
        # By id: a project may be renamed while its tokens live.
        return f"{self._url}/v1/projects/{project.id}"


def key_id_of(token: str) -> str | None:
    """The key id that the token names, or None when its header is not exactly one of ours."""
    import jwt

    if len(token) > _MAX_CHARS:
        return None
    try:
        header: Mapping[str, object] = jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, ValueError, TypeError, RecursionError):
        return None
    if set(header) != _HEADER or header["alg"] != ALGORITHM or header["typ"] != TYPE:
        return None
    return header["kid"] if isinstance(header["kid"], str) else None


def audience_of(token: str) -> UUID | None:
    """The project that the token says it is for, unproven; only to find the key that could prove it."""
    import jwt

    try:
        return UUID(jwt.decode(token, options={"verify_signature": False})["aud"])
    except (jwt.InvalidTokenError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def end_of(token: str) -> float | None:
    """The moment in Unix time when the token says that it ends, unproven."""
    import jwt

    try:
        return float(jwt.decode(token, options={"verify_signature": False})["exp"])
    except (jwt.InvalidTokenError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _member(token: str, name: str) -> str:
    """The JSON text of a member of a proven token, as it was written: PyJWT makes doubles of decimals."""
    import msgspec

    payload = token.split(".")[1]
    members = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=dict[str, msgspec.Raw])
    return bytes(members[name]).decode()


def refresh_token(box: SecretBox, project: Project, family: Family) -> str:
    """The refresh token of the family's present generation: always the same one, so that it needs no storing.

    `rt_` and base64url of session id 16 · generation 4 · keyed digest 32. Without the family's salt from the database and the
    server's key nobody can make one.
    """
    place = family.id.bytes + family.generation.to_bytes(_GENERATION_BYTES)
    return _REFRESH_PREFIX + base64.urlsafe_b64encode(place + _digest(box, project, family.salt, place)).decode().rstrip("=")


def read_refresh_token(token: str) -> tuple[UUID, int] | None:
    """The session and the generation that a refresh token names, unproven; None when it has not the form of one."""
    raw = _decode(token)
    if raw is None:
        return None
    return UUID(bytes=raw[:_ID_BYTES]), int.from_bytes(raw[_ID_BYTES : _ID_BYTES + _GENERATION_BYTES])


def proves(box: SecretBox, project: Project, salt: bytes, token: str) -> bool:
    """Whether we made this refresh token, of whatever generation, for the session with this salt."""
    raw = _decode(token)
    if raw is None:
        return False
    place, digest = raw[: _ID_BYTES + _GENERATION_BYTES], raw[_ID_BYTES + _GENERATION_BYTES :]
    return hmac.compare_digest(digest, _digest(box, project, salt, place))


def _digest(box: SecretBox, project: Project, salt: bytes, place: bytes) -> bytes:
    return box.digest(salt + place, purpose=f"refresh {project.id}")


def _decode(token: str) -> bytes | None:
    body = token.removeprefix(_REFRESH_PREFIX)
    if body == token or len(body) > 100:
        return None
    try:
        raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return None
    return raw if len(raw) == _ID_BYTES + _GENERATION_BYTES + _MAC_BYTES else None
