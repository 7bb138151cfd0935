"""`baas deploy` and `baas releases`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from baas_cli.command import noun
from baas_cli.invocation import Invocation

if TYPE_CHECKING:
    from baas_sdk import Client, Release

releases = noun("Releases of a site.")
Site = Annotated[str, typer.Option("--site", help="The site's name; `default` is the project's own host.")]


def deploy(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(help="The folder to put on the web.")] = Path(),
    site: Site = "default",
    message: Annotated[str | None, typer.Option("--message", "-m", help="What is new.")] = None,
) -> None:
    """Put a folder on the web as a site's new release; the site is made when it is not there."""
    from baas_sdk import NotFound

    asked = Invocation.of(ctx)
    with asked.project_client() as client:
        try:
            release = _deployed(asked, client, folder, site, message)
        except NotFound:
            client.sites.create(site)
            asked.output.say(f"Made the site {site}.")
            release = _deployed(asked, client, folder, site, message)
        asked.output.show(release)


def _deployed(asked: Invocation, client: "Client", folder: Path, site: str, message: str | None) -> "Release":
    with asked.output.progress("Deploying") as tell:
        return client.sites.deploy(folder, site=site, message=message, on_progress=tell)


@releases.command("list")
def list_(ctx: typer.Context, site: Site = "default") -> None:
    """List a site's releases, newest first."""
    asked = Invocation.of(ctx)
    with asked.project_client() as client:
        found = client.sites.releases(site)
    asked.output.show_list(found, ("id", "active", "files", "size", "created_at", "message"))


@releases.command()
def activate(
    ctx: typer.Context,
    release: Annotated[str, typer.Argument(help="The release's id.")],
    site: Site = "default",
) -> None:
    """Make a release the live one; an older one is a rollback."""
    asked = Invocation.of(ctx)
    with asked.project_client() as client:
        asked.output.show(client.sites.activate(release, site=site))
