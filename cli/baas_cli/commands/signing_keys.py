"""`baas signing-keys`."""

from typing import Annotated

import typer

from baas_cli.command import noun
from baas_cli.invocation import Invocation

app = noun("Keys that sign the access tokens of the project's users.")


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """List the keys that sign and verify, without their secrets."""
    asked = Invocation.of(ctx)
    with asked.project_client() as client:
        asked.output.show_list(client.signing_keys.list(), ("id", "signs", "created_at", "retires_at"))


@app.command()
def rotate(ctx: typer.Context) -> None:
    """Sign with a new key from now on; what is signed already stays good."""
    asked = Invocation.of(ctx)
    with asked.project_client() as client:
        asked.output.show(client.signing_keys.rotate())


@app.command()
def drop(ctx: typer.Context, key_id: Annotated[str, typer.Argument(help="The key's id.")]) -> None:
    """End every access token that a key has signed, everywhere within seconds."""
    asked = Invocation.of(ctx)
    with asked.project_client() as client:
        asked.output.confirm(f"Drop the signing key {key_id}? Access tokens that it signed stop working; sessions refresh them.")
        client.signing_keys.drop(key_id)
        asked.output.done(f"Dropped the signing key {key_id}.", {"id": key_id, "dropped": True})
