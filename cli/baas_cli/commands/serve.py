"""`baas serve`: the server, for others."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from baas_cli.invocation import Invocation
from baas_cli.output import Output

if TYPE_CHECKING:
    from baas.base.settings import Settings
    from baas.infra.observe.log import Log
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
    from baas.process import load
    from baas.process_server import open_log

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
            words = f"serving {running.settings.url} on {running.database}"
            log.announce("serving", words, url=running.settings.url, database=running.database)

    async def tell_setup_link(settings: "Settings", url: str) -> None:
        from baas.process_operators import setup_link

        if link := await setup_link(settings, url):
            words = f"there is no operator yet. Make the first one, once, within a day: {link}"
            log.hand_over("setup_link", words, link=link)

    settings = load(flags, config=config).settings
    log = open_log(settings)
    raise typer.Exit(run_server(output, settings, log, prepare=tell_setup_link, ready=ready))


def run_server(output: Output, settings: "Settings", log: "Log", **how: Any) -> int:
    """Serve until told to stop (`how` as of `baas.process.serve`); the exit code. Where programs read the log, what ends it is an
    event of the log like any other, unless `--json` asks for the problem document.

    Raises:
        baas.process.STARTING: what ends it, for a person or `--json`.
    """
    from baas.process import STARTING, serve
    from baas_cli.failures import failure_of

    try:
        return serve(settings, log, **how)
    except STARTING as error:
        failure = failure_of(error)
        if output.json or failure is None or not log.is_for_programs:
            raise
        code, problem = failure
        log.announce("ended", _sentence(problem), level="error", **problem)
        return code


def _sentence(problem: Mapping[str, object]) -> str:
    return f"{problem['title']}: {problem['detail']}"
