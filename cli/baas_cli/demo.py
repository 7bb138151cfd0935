"""The demo: projects with an app on each, made through the API like anybody's."""

import hashlib
import json
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from baas_sdk import Client

EXAMPLES = ("kanban", "todo")
"""The first one is the app that `baas dev --demo` opens."""
_RANDOM = "<random>"


def example_folder(example: str) -> Path:
    """Where the example is: beside this file when installed, in the documentation of a checkout."""
    installed = Path(__file__).parent / "examples" / example
    return installed if installed.is_dir() else Path(__file__).parents[2] / "docs" / "examples" / example


def seed(url: str, token: str, example: str) -> str:
    """Makes the example's project with its backend and first records and deploys its app; gives the site's address.

    May be run again: what is there stays as it is, since it may have been changed on purpose; a new release is made only
    when the app's files differ from the live one.

    Raises:
        BaasError: the server refuses or is not there. OSError: the example cannot be read.
    """
    from baas_sdk import Client, Conflict

    folder = example_folder(example)
    backend = json.loads((folder / "backend.json").read_text("utf-8"))
    with Client(url, project=backend["project"], token=token) as client:
        try:
            client.projects.create(backend["project"])
            client.settings.update(backend["settings"])
        except Conflict:
            pass
        if _made_missing(client, backend):
            _fill(client, folder / "seed.json")
        return _deployed(client, backend["site"], folder / "web")


def people(example: str) -> list[dict[str, str]]:
    """Who can sign in to a fresh example: `email` and `password` of each."""
    path = example_folder(example) / "seed.json"
    return list(json.loads(path.read_text("utf-8"))["users"]) if path.exists() else []


def _made_missing(client: "Client", backend: dict[str, Any]) -> bool:
    """Whether any collection was missing: then there are no records to step on."""
    buckets = {bucket.name for bucket in client.buckets.list()}
    for bucket in backend["buckets"]:
        if bucket["name"] not in buckets:
            client.buckets.create(**bucket)
    collections = {collection.name for collection in client.collections.list()}
    missing = [collection for collection in backend["collections"] if collection["name"] not in collections]
    for collection in missing:
        client.collections.create(_bare(collection))
    for collection in missing:
        client.collections.update(collection["name"], {key: value for key, value in collection.items() if key != "name"})
    return bool(missing)


def _bare(collection: dict[str, Any]) -> dict[str, Any]:
    """Locked, without expressions: these may speak of collections that are made after it."""
    fields = [{key: value for key, value in field.items() if key != "read"} for field in collection["fields"]]
    return {"name": collection["name"], "fields": fields}


def _fill(client: "Client", path: Path) -> None:
    """The example's first records. In their values an address of a user stands for his id, and `<random>` for a new secret."""
    if not path.exists():
        return
    given = json.loads(path.read_text("utf-8"))
    known = {user["email"]: _user(client, user) for user in given["users"]}
    for name, records in given["records"].items():
        for record in records:
            values = {key: known.get(value, value) if isinstance(value, str) else value for key, value in record.items()}
            client.collection(name).put(
                values.pop("id"), {key: secrets.token_urlsafe(18) if value == _RANDOM else value for key, value in values.items()}
            )


def _user(client: "Client", user: dict[str, str]) -> str:
    found = client.users.list(email=user["email"]).items
    return str((found[0] if found else client.users.create(**user)).id)


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
