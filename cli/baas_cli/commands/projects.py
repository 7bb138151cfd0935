"""`baas projects`."""

from typing import Annotated

import typer

from baas_cli.command import noun
from baas_cli.invocation import Invocation

app = noun("Projects of the installation.")
Name = Annotated[str, typer.Argument(help="The project's name.")]


@app.command("list")
def list_(
    ctx: typer.Context,
    limit: Annotated[int | None, typer.Option(help="How many at most.")] = None,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
) -> None:
    """List projects, a page at a time."""
    asked = Invocation.of(ctx)
    with asked.client() as client:
        page = client.projects.list(limit=limit, cursor=cursor)
    asked.output.show_list(page.items, ("name", "id", "created_at"), next_cursor=page.next_cursor)


@app.command()
def create(ctx: typer.Context, name: Name) -> None:
    """Make a project."""
    asked = Invocation.of(ctx)
    with asked.client() as client:
        asked.output.show(client.projects.create(name))


@app.command()
def show(ctx: typer.Context, name: Name) -> None:
    """Show one project."""
    asked = Invocation.of(ctx)
    with asked.client() as client:
        asked.output.show(client.projects.get(name))


@app.command()
def delete(ctx: typer.Context, name: Name) -> None:
    """Delete a project with everything in it, for good."""
    asked = Invocation.of(ctx)
    with asked.client() as client:
        client.projects.get(name)
        asked.output.confirm(f"Delete the project {name} with all its records, users, files and sites?")
        client.projects.delete(name)
        asked.output.done(f"Deleted the project {name}.", {"name": name, "deleted": True})
