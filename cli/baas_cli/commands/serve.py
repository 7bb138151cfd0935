"""`baas serve`: the server, for others."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from baas_cli.invocation import Invocation

if TYPE_CHECKING:
    from baas.base.settings import Settings
    from baas.process_server import Running

Host = Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")]
Port = Annotated[int | None, typer.Option(help="Port to listen on.", show_default="8000")]
Workers = Annotated[int | None, typer.Option(help="Server processes.", show_default="1")]
DataDir = Annotated[Path | None, typer.Option(help="Folder of files, secrets and the embedded PostgreSQL.")]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(help="An existing PostgreSQL instead. Others see this command line: BAAS_DATABASE_URL_FILE hides the password."),
]
PublicUrl = Annotated[str | None, typer.Option(help="Address under which clients reach the server.")]
InsecureHttp = Annotated[
    bool | None, typer.Option("--insecure-http", help="Allow plain HTTP on an address that others can reach.")
]
Config = Annotated[Path | None, typer.Option(help="Settings file (TOML).", show_default="$BAAS_CONFIG")]


def serve(  # noqa: PLR0917  one parameter is one flag
    ctx: typer.Context,
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    public_url: PublicUrl = None,
    insecure_http: InsecureHttp = None,
    config: Config = None,
) -> None:
    """Run the server. All settings: baas config show."""
    from baas.process import CannotStart, load
    from baas.process import serve as run
    from baas.process_server import say

    output = Invocation.of(ctx).output
    flags = {
        "host": host,
        "port": port,
        "workers": workers,
        "data_dir": data_dir,
        "database_url": database_url,
        "public_url": public_url,
        "insecure_http": insecure_http,
    }

    def ready(running: "Running") -> None:
        if output.json:
            output.show({"url": running.settings.url, "database": running.database})
        else:
            say(f"serving {running.settings.url} on {running.database}")

    try:
        settings = load(flags, config=config).settings
    except CannotStart as error:
        say(str(error))
        raise typer.Exit(error.exit_code) from None
    raise typer.Exit(run(settings, prepare=_tell_setup_link, ready=ready))


async def _tell_setup_link(settings: "Settings", url: str) -> None:
    from baas.process_operators import setup_link
    from baas.process_server import say

    link = await setup_link(settings, url)
    if link:
        say(f"there is no operator yet. Make the first one, once, within a day: {link}")
