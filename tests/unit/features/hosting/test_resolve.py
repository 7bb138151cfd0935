"""Which file answers a path, where the room's door cannot lead: files that the archive reader would not have let in."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from baas.features.hosting.model import Shown, SiteOptions, StoredFile
from baas.features.hosting.resolve import Found, resolve

PATHS = (".env", "a/.git/config", ".well-known/x", "index.html", "404.html")
FILES = {path: StoredFile(path, "0" * 64, 1, "blob") for path in PATHS}
SHOWN = Shown(SiteOptions(spa=True), UUID(int=0), datetime(2026, 1, 1, tzinfo=UTC), FILES)


@pytest.mark.parametrize("path", ["/.env", "/a/.git/config", "/a/.git/", "/.git", "//.env"])
def test_dot_files_are_not_served_even_where_they_are_stored(path: str) -> None:
    found = resolve(SHOWN, path, navigation=True)

    assert isinstance(found, Found)
    assert found.file.path == "404.html"


def test_well_known_files_are_served() -> None:
    found = resolve(SHOWN, "/.well-known/x", navigation=False)

    assert isinstance(found, Found)
    assert found.file.path == ".well-known/x"
