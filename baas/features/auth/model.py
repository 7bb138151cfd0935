"""The values of the auth room."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from baas.base.clock import rfc3339
from baas.base.principal import Principal
from baas.engines.schema.manifest import USERS


@dataclass(frozen=True, slots=True)
class Device:
    """Where a session was opened from; shown to its owner."""

    address: str
    user_agent: str


@dataclass(frozen=True, slots=True)
class Family:
    """What the database holds of a session to make and judge its refresh tokens."""

    id: UUID
    user_id: UUID
    salt: bytes
    generation: int


@dataclass(frozen=True, slots=True)
class Session:
    """What a signed-in client gets. `user` is the user's record as finished JSON."""

    access_token: str
    expires_in: int
    refresh_token: str
    session_id: UUID
    user: bytes

    def as_json(self) -> bytes:
        import msgspec

        return msgspec.json.encode(
            {
                "access_token": self.access_token,
                "token_type": "Bearer",
                "expires_in": self.expires_in,
                "refresh_token": self.refresh_token,
                "session_id": str(self.session_id),
                "user": msgspec.Raw(self.user),
            }
        )


@dataclass(frozen=True, slots=True)
class SessionEntry:
    """A living session as its owner sees it."""

    id: UUID
    created_at: datetime
    refreshed_at: datetime
    expires_at: datetime
    device: Device

    def as_json(self, *, current: str | None) -> Mapping[str, object]:
        """`current` is the id of the session that asks."""
        return {
            "id": str(self.id),
            "created_at": rfc3339(self.created_at),
            "refreshed_at": rfc3339(self.refreshed_at),
            "expires_at": rfc3339(self.expires_at),
            "address": self.device.address,
            "user_agent": self.device.user_agent,
            "current": str(self.id) == current,
        }


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key of a project without its secret half. `signs`: it signs what is made now; others verify until they retire."""

    id: str
    signs: bool
    created_at: datetime
    retires_at: datetime | None

    def as_json(self) -> Mapping[str, object]:
        return {
            "id": self.id,
            "signs": self.signs,
            "created_at": rfc3339(self.created_at),
            "retires_at": rfc3339(self.retires_at) if self.retires_at else None,
        }


@dataclass(frozen=True, slots=True)
class Account:
    """What sign-in needs to know. `password_hash` is None for an account that has no password."""

    id: UUID
    disabled: bool
    password_hash: str | None


def auth_in_rules(principal: Principal, record: Mapping[str, object] | None) -> Mapping[str, object] | None:
    """What rules read as `auth`: None for who is no user, and without his `record` what is known of him anyhow."""
    if principal.kind != "user":
        return None
    return {**(record or {}), "id": principal.id, "collection": USERS, "claims": principal.claims}
