"""The values of the files room."""

from collections.abc import AsyncIterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from baas.base.clock import rfc3339
from baas.engines.query.advice import Advice
from baas.engines.query.probe import Place
from baas.engines.query.rows import Tables
from baas.engines.rules.rule import Env, Facts
from baas.engines.schema.collection import ACTIONS, Action, Collection
from baas.infra.db.pool import Queries


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where files are kept and by which rules. `rules[action]` None: operators and secret keys only.

    `public`: anyone may download, whatever the view rule. `max_size` in bytes, None for the project's limit. `types` as
    `image/png` or `image/*`, None for all. `version` grows with every change.
    """

    name: str
    public: bool = False
    max_size: int | None = None
    types: tuple[str, ...] | None = None
    rules: Mapping[Action, str | None] = field(default_factory=dict)
    version: int = 1
    created_at: datetime | None = None
    updated_at: datetime | None = None

    def as_json(self) -> Mapping[str, object]:
        return {
            "name": self.name,
            "public": self.public,
            "max_size": self.max_size,
            "types": None if self.types is None else list(self.types),
            "rules": {action: self.rules.get(action) for action in ACTIONS},
            "created_at": rfc3339(self.created_at) if self.created_at else None,
            "updated_at": rfc3339(self.updated_at) if self.updated_at else None,
        }

    def accepts(self, content_type: str) -> bool:
        """Whether a file of this type may be kept here."""
        if self.types is None:
            return True
        family = content_type.partition("/")[0] + "/*"
        return any(one in (content_type, family, "*/*") for one in self.types)


@dataclass(frozen=True, slots=True)
class Saved:
    """A bucket as it is stored now, and what lints say of its rules."""

    bucket: Bucket
    advice: Sequence[Advice]


@dataclass(frozen=True, slots=True)
class File:
    """What is known of a file. `metadata` is JSON text, passed through. `blob` is where its bytes are; no caller sees it."""

    bucket: str
    path: str
    name: str
    folder: str
    blob: str
    size: int
    content_type: str
    sha256: str
    owner: UUID | None
    metadata: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload as the request describes it. `size` is what Content-Length says, `sha256` what Content-Digest says.

    `if_match` is the header's text; `create_only` stands for `If-None-Match: *`.
    """

    body: AsyncIterable[bytes]
    content_type: str
    size: int | None = None
    sha256: str | None = None
    if_match: str | None = None
    create_only: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """A file's row as it is to be stored: `next` of the rules. `size` and `sha256` are None before the bytes have come."""

    path: str
    name: str
    folder: str
    size: int | None
    content_type: str
    sha256: str | None
    owner: UUID | None
    metadata: str
    now: datetime


@dataclass(frozen=True, slots=True)
class Prospects:
    """What a caller may do with a path, judged before doing it; None where a rule needs what is not known yet.

    `etag` is the stored file's, None when there is none.
    """

    etag: str | None
    seen: bool
    may_create: bool | None
    may_update: bool | None


@dataclass(frozen=True, slots=True)
class Written:
    """A stored file; `seen` says whether its writer may view it."""

    file: File
    seen: bool
    created: bool


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list. `folders` are the common beginnings, each with its slash; `rest` is where the next page starts."""

    items: tuple[File, ...]
    folders: tuple[str, ...]
    rest: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """A change of what is known of a file; None leaves a thing as it is. `metadata` is a merge patch (RFC 7396)."""

    metadata: Mapping[str, object] | None = None
    content_type: str | None = None
    if_match: str | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """Where cases are run: tables that are rolled back, in a schema of their own, and the present of a case."""

    tx: Queries
    schema: str
    collections: Mapping[str, Collection]
    tables: Tables
    now: datetime


@dataclass(frozen=True, slots=True)
class Matter:
    """The rule of an action on a file and all that it takes to judge it for one caller.

    `open_to_all`: a public bucket, where nobody asks the rule. `place` is None where the rule is locked, or no longer fits the
    schema. `described`: an update that leaves the content as it is.
    """

    bucket: Bucket
    env: Env
    facts: Facts
    place: Place | None
    tables: Tables
    open_to_all: bool = False
    described: bool = False
