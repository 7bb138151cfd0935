"""`baas settings`."""

from typing import Annotated

import typer

from baas_cli.command import noun
from baas_cli.input import read_pairs
from baas_cli.invocation import Invocation

app = noun("Settings of the project.")


@app.command()
def show(ctx: typer.Context) -> None:
    """Show all settings in force."""
    asked = Invocation.of(ctx)
    with asked.project_client() as client:
        found = client.settings.get()
    asked.output.show(found if asked.output.json else _flat(found))


@app.command("set")
def set_(
    ctx: typer.Context,
    values: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="Like auth.sign_up=true; null is the default.")],
) -> None:
    """Change settings; those that are not named stay."""
    asked = Invocation.of(ctx)
    changes: dict[str, dict[str, object]] = {}
    for name, value in read_pairs(values).items():
        section, _, key = name.partition(".")
        changes.setdefault(section, {})[key] = value
    with asked.project_client() as client:
        found = client.settings.update(changes)
    asked.output.show(found if asked.output.json else _flat(found))


def _flat(settings: dict[str, object]) -> dict[str, object]:
    """`{"auth": {"sign_up": …}}` as `auth.sign_up`, which is how `set` takes it."""
    flat: dict[str, object] = {}
    for section, values in settings.items():
        items = values.items() if isinstance(values, dict) else [("", values)]
        flat |= {f"{section}.{name}" if name else section: value for name, value in items}
    return flat
