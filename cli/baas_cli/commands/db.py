"""`baas db`: upkeep of the embedded PostgreSQL, by whoever has the machine."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from baas_cli.command import noun
from baas_cli.invocation import Invocation

if TYPE_CHECKING:
    from baas.base.settings import Settings
    from baas.infra.db.embedded.upgrade import OldDatabase

DataDir = Annotated[Path | None, typer.Option(help="The server's data folder, as for `baas serve`.")]

DatabaseUrl = Annotated[str | None, typer.Option(help="The server's database, as for `baas serve`.")]

app = noun("The database of a server on this machine.")


@app.command()
def upgrade(ctx: typer.Context, data_dir: DataDir = None) -> None:
    """Move the database to the newest PostgreSQL at hand. Stop the server first; the old database is kept."""
    output = Invocation.of(ctx).output
    from baas.process_database import upgrade as move

    done = move(_settings(data_dir), output.say)
    if done is None:
        output.done("No newer PostgreSQL is at hand; nothing was done.", {"upgraded": False})
        return
    facts = {
        "upgraded": True,
        "before": done.before,
        "after": done.after,
        "tables": done.tables,
        "rows": done.rows,
        "path": str(done.kept),
    }
    output.done(
        f"The database is of PostgreSQL {done.after} now: {done.tables} tables, {done.rows} rows, counted on both sides."
        f" The old one is kept in {done.kept} until: baas db prune",
        facts,
    )


@app.command()
def prune(ctx: typer.Context, data_dir: DataDir = None) -> None:
    """Delete the databases that upgrades kept. The one in use stays, and its server may run."""
    output = Invocation.of(ctx).output
    from baas.process_database import old_databases, remove_old

    settings = _settings(data_dir)
    found = old_databases(settings)
    for old in found:
        output.confirm(f"Delete the database of PostgreSQL {old.major} in {old.folder} ({old.size >> 20} MB) for good?")
        remove_old(settings, old)
    output.done(f"{len(found)} deleted.", {"deleted": [_facts(old) for old in found]})


@app.command("new-epoch")
def new_epoch(ctx: typer.Context, data_dir: DataDir = None, database_url: DatabaseUrl = None) -> None:
    """After a restore of files: have all who follow changes read their lists again. A restored dump does so by itself."""
    output = Invocation.of(ctx).output

    async def renew(_: "Settings", url: str) -> int:
        from baas.process_database import new_epoch as begin

        return await begin(url)

    from baas.process import load, run_with_database

    projects = run_with_database(load({"data_dir": data_dir, "database_url": database_url}).settings, renew)
    output.done(f"The feeds of {projects} projects have begun anew.", {"projects": projects})


def _facts(old: "OldDatabase") -> Mapping[str, object]:
    return {"major": old.major, "path": str(old.folder), "bytes": old.size}


def _settings(data_dir: Path | None) -> "Settings":
    from baas.process import load

    return load({"data_dir": data_dir}).settings
