"""Who asks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Kind = Literal["anonymous", "user", "key", "operator"]
_NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of one request, fixed before anything else happens.

    `id` is the user's, key's or operator's UUID as text, empty for anonymous. `project_id` is the project of the credential
    (None for operators and anonymous). `claims` are a user token's own claims, set by the server alone. `scopes` are a key's.
    """

    kind: Kind = "anonymous"
    id: str = ""
    project_id: str | None = None
    session_id: str | None = None
    claims: Mapping[str, object] = field(default_factory=lambda: _NOTHING)
    scopes: frozenset[str] = field(default_factory=frozenset)

    @property
    def privileged(self) -> bool:
        """Operators and secret keys skip rules and field flags, never types or validation."""
        return self.kind in ("operator", "key")

    def may(self, scope: str) -> bool:
        """Whether this principal may do what the scope names: operators always, keys by scope (`*` is all), others never."""
        return self.kind == "operator" or (self.kind == "key" and ("*" in self.scopes or scope in self.scopes))


ANONYMOUS = Principal()
