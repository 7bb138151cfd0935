"""A project as every floor knows it: its names and its settings."""

from dataclasses import dataclass, field
from uuid import UUID


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """`settings.auth` of a project. Sign-up is off until the project enables it."""

    sign_up: bool = False


@dataclass(frozen=True, slots=True)
class CorsSettings:
    """`settings.cors` of a project: origins exactly as browsers send them, or `*` for any; no cookies are used."""

    origins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """`settings.limits` of a project; each may only be set within the server's own limits.

    `statement_timeout_ms` ends a statement on records, `list_timeout_ms` a list of a caller under rules. `anonymous_cost` refuses
    lists of anonymous callers that PostgreSQL estimates to cost more, in its own unit (a page read in order is 1); 0 is no limit.
    """

    max_json_bytes: int = 1 << 20
    max_file_bytes: int = 50 << 20
    statement_timeout_ms: int = 5_000
    list_timeout_ms: int = 3_000
    anonymous_cost: int = 10_000_000


@dataclass(frozen=True, slots=True)
class ProjectSettings:
    auth: AuthSettings = field(default_factory=AuthSettings)
    cors: CorsSettings = field(default_factory=CorsSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)


@dataclass(frozen=True, slots=True)
class Project:
    """`schema` is the PostgreSQL schema that holds everything of the project, `p_<short id>`; it never changes, the name may.

    `key` is the id as text, by which several look-ups of each request find what is kept of the project.
    """

    id: UUID
    name: str
    schema: str
    settings: ProjectSettings
    key: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", str(self.id))
