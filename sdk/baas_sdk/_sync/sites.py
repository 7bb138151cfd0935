# Made from _async/sites.py by sdk/unasync.py; change that one.
"""Static sites of the project and their releases."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from baas_sdk._sync.compat import blocking
from baas_sdk._sync.files import pieces_of
from baas_sdk._sync.paging import id_of
from baas_sdk._sync.transport import Transport, Call, parsed
from baas_sdk.archive import pack
from baas_sdk.models import Progress, Release, Site
from baas_sdk.sources import examine
from baas_sdk.wire import segment

DEFAULT_SITE = "default"
"""The site that the project's own host shows."""


class Sites:
    """Sites, for operators and keys with the scope `sites`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> list[Site]:
        """All sites of the project."""
        answer = self._transport.json("GET", self._path())
        return [Site(one) for one in answer["items"]]

    def get(self, name: str) -> Site:
        """One site.

        Raises:
            NotFound: there is none of this name.
        """
        return Site(self._transport.json("GET", self._path(name)))

    def create(self, name: str, **settings: object) -> Site:
        """Makes a site, empty until its first release; `spa=True` answers unknown paths with its index.html.

        Raises:
            Conflict: the name is taken. Invalid: a setting is wrong.
        """
        return Site(self._transport.json("POST", self._path(), {"name": name, **settings}))

    def update(self, name: str, **settings: object) -> Site:
        """Changes a site's settings.

        Raises:
            NotFound: there is none of this name. Invalid: a setting is wrong.
        """
        return Site(self._transport.json("PATCH", self._path(name), settings))

    def delete(self, name: str) -> None:
        """Deletes a site and all its releases.

        Raises:
            NotFound: there is none of this name.
        """
        self._transport.json("DELETE", self._path(name))

    def deploy(
        self,
        folder: Path,
        *,
        site: str = DEFAULT_SITE,
        message: str | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Release:
        """Uploads a folder as a new release and makes it the live one, all at once. The answer's `url` is where it is.

        Raises:
            NotFound: there is no such site. Invalid, TooLarge: the server takes no such release.
            ConfigError: the folder is none, empty, or holds a link.
        """
        file = blocking(tempfile.TemporaryFile)
        with file:
            blocking(pack, folder, file)
            blocking(file.seek, 0)
            upload = blocking(examine, file)
            call = Call(
                "POST",
                self._path(site, "releases", "archive"),
                params={} if message is None else {"message": message},
                content=lambda: pieces_of(upload, on_progress),
                headers={"Content-Type": "application/gzip", "Content-Length": str(upload.size)},
            )
            return Release(parsed(self._transport.send(call)))

    def releases(self, site: str = DEFAULT_SITE, *, limit: int = 30) -> Sequence[Release]:
        """The newest releases of a site, newest first.

        Raises:
            NotFound: there is no such site.
        """
        answer = self._transport.json("GET", self._path(site, "releases"), params={"limit": str(limit)})
        return [Release(one) for one in answer["items"]]

    def activate(self, release: Release | str, *, site: str = DEFAULT_SITE) -> Release:
        """Makes a release the live one; an older one is a rollback.

        Raises:
            NotFound: there is no such site or release.
        """
        path = self._path(site, "releases", id_of(release), "activate")
        answer: Any = self._transport.json("POST", path)
        return Release(answer)

    def _path(self, *parts: str) -> str:
        return self._transport.options.path_of("/".join(["sites", *map(segment, parts)]))
