"""`baas deploy` and `baas releases`."""

from pathlib import Path
from typing import Annotated

import typer

from baas_cli.command import noun
from baas_cli.invocation import Invocation

releases = noun("Releases of a site.")
Site = Annotated[str, typer.Option("--site", help="The site's name.")]


def deploy(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(help="The folder to put on the web.")] = Path(),
    site: Site = "app",
) -> None:
    """Put a folder on the web as a site's new release; the site is made when it is not there."""
    from baas_sdk import NotFound

    asked = Invocation.of(ctx)
    with asked.project_client() as client:
        try:
            client.sites.get(site)
        except NotFound:
            client.sites.create(site)
            asked.output.say(f"Made the site {site}.")
        asked.output.show(client.sites.deploy(folder, site=site))


@releases.command("list")
def list_(ctx: typer.Context, site: Site = "app") -> None:
    """List a site's releases, newest first."""
    asked = Invocation.of(ctx)
    with asked.project_client() as client:
        page = client.sites.releases(site)
    asked.output.show_list(page.items, ("id", "state", "active", "created_at", "message"), next_cursor=page.next_cursor)


@releases.command()
def activate(
    ctx: typer.Context,
    release: Annotated[str, typer.Argument(help="The release's id.")],
    site: Site = "app",
) -> None:
    """Make a release the live one; an older one is a rollback."""
    asked = Invocation.of(ctx)
    with asked.project_client() as client:
        asked.output.show(client.sites.activate(site, release))
