"""`baas buckets`."""

from typing import Annotated

import typer

from baas_cli.command import noun
from baas_cli.input import read_object
from baas_cli.invocation import Invocation

app = noun("Buckets: where files are kept, and by which rules.")
Name = Annotated[str, typer.Argument(help="The bucket's name.")]


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """List the buckets."""
    asked = Invocation.of(ctx)
    with asked.project_client() as client:
        asked.output.show_list(client.buckets.list(), ("name", "public", "max_size", "types"))


@app.command()
def create(
    ctx: typer.Context,
    name: Name,
    settings: Annotated[str | None, typer.Argument(help="JSON with rules, types, max_size: a file, - or the text.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Anybody may read its files.")] = False,
) -> None:
    """Make a bucket."""
    asked = Invocation.of(ctx)
    body = {**(read_object(settings) if settings is not None else {}), **({"public": True} if public else {})}
    body.pop("name", None)
    with asked.project_client() as client:
        asked.output.show(client.buckets.create(name, **body))


@app.command()
def delete(
    ctx: typer.Context,
    name: Name,
    allow_data_loss: Annotated[bool, typer.Option("--allow-data-loss", help="Go on although files are lost.")] = False,
) -> None:
    """Delete a bucket; one that holds files needs --allow-data-loss."""
    asked = Invocation.of(ctx)
    with asked.project_client() as client:
        asked.output.confirm(f"Delete the bucket {name}?")
        client.buckets.delete(name, confirm="data-loss" if allow_data_loss else None)
        asked.output.done(f"Deleted the bucket {name}.", {"name": name, "deleted": True})
