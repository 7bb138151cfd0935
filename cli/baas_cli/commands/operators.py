"""`baas operators`: the people who run the installation, made on its database by whoever has the machine."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from baas_cli.command import noun
from baas_cli.input import read_password
from baas_cli.invocation import Invocation

if TYPE_CHECKING:
    from baas.base.settings import Settings

T = TypeVar("T")
DataDir = Annotated[Path | None, typer.Option(help="The server's data folder, as for `baas serve`.")]
DatabaseUrl = Annotated[str | None, typer.Option(help="The server's database, as for `baas serve`.")]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")]

app = noun("The people who run the installation. Works on its database, also while the server runs.")


@app.command()
def create(
    ctx: typer.Context,
    email: Annotated[str, typer.Argument(help="The operator's e-mail.")],
    password_stdin: PasswordStdin = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Make an operator."""
    output = Invocation.of(ctx).output
    password = read_password(output, password_stdin, twice=True)

    async def make(settings: "Settings", url: str) -> dict[str, object]:
        from baas.process_operators import create_operator

        return dict((await create_operator(settings, url, email, password)).as_json())

    operator = _on_database(make, data_dir, database_url)
    output.done(f"{operator['email']} is an operator now.", operator)


@app.command("list")
def list_all(ctx: typer.Context, data_dir: DataDir = None, database_url: DatabaseUrl = None) -> None:
    """List the operators."""

    async def read(settings: "Settings", url: str) -> list[dict[str, object]]:
        from baas.process_operators import list_operators

        return [dict(one.as_json()) for one in await list_operators(settings, url)]

    Invocation.of(ctx).output.show_list(_on_database(read, data_dir, database_url), ("id", "email", "created_at"))


def _on_database(work: Callable[["Settings", str], Coroutine[Any, Any, T]], data_dir: Path | None, database_url: str | None) -> T:
    from baas.process import load, run_with_database

    return run_with_database(load({"data_dir": data_dir, "database_url": database_url}).settings, work)
