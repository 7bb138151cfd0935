"""The values of the projects room."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

from baas.base.clock import rfc3339

Scope = Literal["*", "schema", "records", "users", "files", "sites", "settings", "keys"]
SCOPES: tuple[str, ...] = get_args(Scope)


@dataclass(frozen=True, slots=True)
class Operator:
    """Someone who runs the installation."""

    id: UUID
    email: str
    created_at: datetime

    def as_json(self) -> Mapping[str, object]:
        return {"id": str(self.id), "email": self.email, "created_at": rfc3339(self.created_at)}


@dataclass(frozen=True, slots=True)
class OperatorSession:
    """`token` is shown this once."""

    token: str
    expires_at: datetime
    operator: Operator

    def as_json(self) -> Mapping[str, object]:
        return {"token": self.token, "expires_at": rfc3339(self.expires_at), "operator": self.operator.as_json()}


@dataclass(frozen=True, slots=True)
class ProjectEntry:
    """A project as operators see it; `schema` is where `psql` finds it."""

    id: UUID
    name: str
    schema: str
    created_at: datetime

    def as_json(self) -> Mapping[str, object]:
        return {"id": str(self.id), "name": self.name, "schema": self.schema, "created_at": rfc3339(self.created_at)}


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A secret key without its secret; `hint` is how it begins."""

    id: UUID
    name: str
    hint: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None

    def as_json(self) -> Mapping[str, object]:
        return {
            "id": str(self.id),
            "name": self.name,
            "hint": self.hint,
            "scopes": list(self.scopes),
            "created_at": rfc3339(self.created_at),
            "expires_at": rfc3339(self.expires_at) if self.expires_at else None,
        }
