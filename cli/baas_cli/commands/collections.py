"""`baas collections`."""

from typing import Annotated

import typer

from baas_cli.command import noun
from baas_cli.input import read_object
from baas_cli.invocation import Invocation

app = noun("Collections: their fields, indexes and rules.")
Name = Annotated[str, typer.Argument(help="The collection's name.")]
Manifest = Annotated[str, typer.Argument(help="JSON: a file, - for stdin, or the text itself.")]
Confirm = Annotated[bool, typer.Option("--allow-data-loss", help="Go on although stored data is lost.")]


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """List the collections."""
    asked = Invocation.of(ctx)
    with asked.project_client() as client:
        found = client.collections.list()
    rows = (
        found
        if asked.output.json or asked.output.fields
        else [{"name": one.name, "fields": [field["name"] for field in one.fields]} for one in found]
    )
    asked.output.show_list(rows, ("name", "fields"))


@app.command()
def show(ctx: typer.Context, name: Name) -> None:
    """Show one collection's definition."""
    asked = Invocation.of(ctx)
    with asked.project_client() as client:
        asked.output.show(client.collections.get(name))


@app.command()
def create(ctx: typer.Context, manifest: Manifest) -> None:
    """Make a collection of a manifest."""
    asked = Invocation.of(ctx)
    body = read_object(manifest)
    with asked.project_client() as client:
        asked.output.show(client.collections.create(body))


@app.command()
def update(ctx: typer.Context, name: Name, manifest: Manifest, allow_data_loss: Confirm = False) -> None:
    """Change a collection: what the manifest names becomes as it says."""
    asked = Invocation.of(ctx)
    body = read_object(manifest)
    with asked.project_client() as client:
        asked.output.show(client.collections.update(name, body, confirm="data-loss" if allow_data_loss else None))


@app.command()
def delete(ctx: typer.Context, name: Name, allow_data_loss: Confirm = False) -> None:
    """Delete a collection; one that holds records needs --allow-data-loss."""
    asked = Invocation.of(ctx)
    with asked.project_client() as client:
        asked.output.confirm(f"Delete the collection {name}?")
        client.collections.delete(name, confirm="data-loss" if allow_data_loss else None)
        asked.output.done(f"Deleted the collection {name}.", {"name": name, "deleted": True})
