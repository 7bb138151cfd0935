"""The demo: a project with an app on it, made through the API like anybody's."""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from baas_sdk import Client

PROJECT = "demo"


def example_folder() -> Path:
    """Where the example is: beside this file when installed, in the documentation of a checkout."""
    installed = Path(__file__).parent / "examples" / "todo"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "docs" / "examples" / "todo"


def seed(url: str, token: str) -> str:
    """Makes the project `demo` with its backend and deploys its app; gives the site's address.

    May be run again: what is there stays as it is, since it may have been changed on purpose; a new release is made only
    when the app's files differ from the live one.

    Raises:
        BaasError: the server refuses or is not there. OSError: the example cannot be read.
    """
    from baas_sdk import Client, Conflict

    folder = example_folder()
    backend = json.loads((folder / "backend.json").read_text("utf-8"))
    with Client(url, project=PROJECT, token=token) as client:
        try:
            client.projects.create(PROJECT)
            client.settings.update(backend["settings"])
        except Conflict:
            pass
        _make_missing(client, backend)
        return _deployed(client, backend["site"], folder / "web")


def _make_missing(client: "Client", backend: dict[str, Any]) -> None:
    buckets = {bucket.name for bucket in client.buckets.list()}
    for bucket in backend["buckets"]:
        if bucket["name"] not in buckets:
            client.buckets.create(**bucket)
    collections = {collection.name for collection in client.collections.list()}
    for collection in backend["collections"]:
        if collection["name"] not in collections:
            client.collections.create(collection)


def _deployed(client: "Client", site: dict[str, Any], web: Path) -> str:
    from baas_sdk import NotFound

    name = site["name"]
    try:
        address = client.sites.get(name).url
    except NotFound:
        address = client.sites.create(**site).url
    message = f"demo {_digest(web)}"
    if not any(release.active and release.message == message for release in client.sites.releases(name)):
        client.sites.deploy(web, site=name, message=message)
    return str(address)


def _digest(folder: Path) -> str:
    """The same for the same files."""
    from baas_sdk.archive import pack

    with tempfile.TemporaryFile() as file:
        pack(folder, file)
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
