"""`baas keys`."""

from typing import Annotated

import typer

from baas_cli.command import noun
from baas_cli.invocation import Invocation

app = noun("Secret API keys of the project.")


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """List the keys, without their secrets."""
    asked = Invocation.of(ctx)
    with asked.project_client() as client:
        asked.output.show_list(client.keys.list(), ("id", "name", "hint", "scopes", "created_at", "expires_at"))


@app.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    scope: Annotated[list[str] | None, typer.Option(help="What it may do; repeatable. All, if none is given.")] = None,
) -> None:
    """Make a key and show its secret, this once."""
    asked = Invocation.of(ctx)
    with asked.project_client() as client:
        key = client.keys.create(name, scopes=tuple(scope or ("*",)))
        asked.output.show(key)
        asked.output.say("The key is shown this once; it is stored as a hash only.")


@app.command()
def revoke(ctx: typer.Context, key_id: Annotated[str, typer.Argument(help="The key's id.")]) -> None:
    """End a key, everywhere within seconds."""
    asked = Invocation.of(ctx)
    with asked.project_client() as client:
        asked.output.confirm(f"Revoke the key {key_id}? What uses it stops working.")
        client.keys.revoke(key_id)
        asked.output.done(f"Revoked the key {key_id}.", {"id": key_id, "revoked": True})
