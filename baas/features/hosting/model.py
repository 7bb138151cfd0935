"""The values of the hosting room."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from baas.base.clock import rfc3339

DEFAULT_SITE = "default"
"""The site that a project's own host shows, without a site's name before it."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """`source` is a path, or a beginning of paths with `*` at its end; a `*` at the end of `to` takes what it stood for."""

    source: str
    to: str
    status: int

    def as_json(self) -> Mapping[str, object]:
        return {"from": self.source, "to": self.to, "status": self.status}


@dataclass(frozen=True, slots=True)
class HeaderRule:
    """Headers of every answer whose path is `path`, or begins with it when it ends in `*`."""

    path: str
    headers: Mapping[str, str]

    def as_json(self) -> Mapping[str, object]:
        return {"path": self.path, "headers": dict(self.headers)}


@dataclass(frozen=True, slots=True)
class SiteOptions:
    """How a site answers; applies to every release, from the moment it is changed."""

    spa: bool = False
    clean_urls: bool = False
    headers: tuple[HeaderRule, ...] = ()
    redirects: tuple[Redirect, ...] = ()

    def as_json(self) -> Mapping[str, object]:
        return {
            "spa": self.spa,
            "clean_urls": self.clean_urls,
            "headers": [one.as_json() for one in self.headers],
            "redirects": [one.as_json() for one in self.redirects],
        }


@dataclass(frozen=True, slots=True)
class Site:
    id: UUID
    name: str
    options: SiteOptions
    active_release: UUID | None
    created_at: datetime
    updated_at: datetime

    def as_json(self) -> Mapping[str, object]:
        return {
            "name": self.name,
            **self.options.as_json(),
            "active_release": str(self.active_release) if self.active_release else None,
            "created_at": rfc3339(self.created_at),
            "updated_at": rfc3339(self.updated_at),
        }


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file that a release is to hold: what its bytes are, not where."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Release:
    """One version of a site. `files` counts them, `size` is in bytes."""

    id: UUID
    ready: bool
    active: bool
    message: str | None
    files: int
    size: int
    created_at: datetime
    activated_at: datetime | None

    def as_json(self) -> Mapping[str, object]:
        return {
            "id": str(self.id),
            "ready": self.ready,
            "active": self.active,
            "message": self.message,
            "files": self.files,
            "size": self.size,
            "created_at": rfc3339(self.created_at),
            "activated_at": rfc3339(self.activated_at) if self.activated_at else None,
        }


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a release with the blob that holds it."""

    path: str
    sha256: str
    size: int
    blob: str


@dataclass(frozen=True, slots=True)
class Shown:
    """What a site shows: its options and one whole release, so that no answer can mix two."""

    options: SiteOptions
    release: UUID
    activated_at: datetime
    files: Mapping[str, StoredFile]


@dataclass(frozen=True, slots=True)
class Unpacked:
    """An archive whose contents are stored; `sha256` is its own."""

    site: Site
    files: list[Wanted]
    ignored: tuple[str, ...]
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Deployed:
    """A new release, and the dot files of its archive that were left out."""

    release: Release
    ignored: tuple[str, ...]
