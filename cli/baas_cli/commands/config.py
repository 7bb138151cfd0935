"""`baas config`: the settings a server here would have."""

from pathlib import Path
from typing import Annotated

import typer

from baas_cli.command import noun
from baas_cli.invocation import Invocation

app = noun("The settings of the server, and where each comes from.")


@app.command()
def show(
    ctx: typer.Context,
    config: Annotated[Path | None, typer.Option(help="Settings file (TOML).", show_default="$BAAS_CONFIG")] = None,
) -> None:
    """Show every setting as a server started here would have it, and its origin. Secrets stay hidden."""
    from baas.base.settings import SETTINGS, shown
    from baas.process import load

    loaded = load({}, config=config)
    items = [{"name": name, "value": shown(name, loaded.settings), "origin": loaded.origins[name]} for name in SETTINGS]
    Invocation.of(ctx).output.show_list(items, ("name", "value", "origin"))
