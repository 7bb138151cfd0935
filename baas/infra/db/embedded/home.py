"""A data folder as the embedded PostgreSQL needs it: where things lie, as whom it runs, and the passwords of its two logins."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from baas.infra.db.embedded import postmaster
from baas.infra.db.embedded.address import Address
from baas.infra.db.embedded.engine import Engine
from baas.infra.db.embedded.host import HOST
from baas.infra.db.embedded.layout import Layout, kept_secret, lay_out

SUPERUSER, SERVER, DATABASE = "baas", "baas_server", "baas"


@dataclass(frozen=True, slots=True)
class Home:
    layout: Layout
    superuser_password: str
    server_password: str

    def superuser_url(self, address: Address, database: str = "postgres") -> str:
        """For upkeep; no request is ever served with this login."""
        return address.url(SUPERUSER, self.superuser_password, database)

    def server_url(self, address: Address, database: str = DATABASE) -> str:
        """For the server: a login that owns the database `baas` and is no superuser."""
        return address.url(SERVER, self.server_password, database)

    def wrong_password(self, pgdata: Path) -> str:
        """What to say when the database does not know the password."""
        secret = self.layout.secret / "pg"
        return f"The password in {secret} does not open the database in {pgdata}. Restore both from the same backup."

    def remove_unfinished(self, engine: Engine, say: Callable[[str], None]) -> None:
        """Remove what making, moving or removing a database left behind, and stop what may still run on it."""
        for path in self.layout.unfinished():
            if path.is_dir():
                postmaster.clear_way(path, say, engine.program("pg_ctl"))
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def move_in(data: Path, say: Callable[[str], None] = lambda _: None) -> Home:
    """Make the folders and passwords that are not there yet. Raises ClusterFault."""
    account = HOST.choose_account(say)
    layout = lay_out(data, account)
    if layout.home != data:
        say(f"PostgreSQL runs as user {account and account.name!r}, who may not enter {data}: its files are in {layout.home}")
    if disk := HOST.network_disk(layout.home):
        say(f"warning: {disk}, on which a database may lose data at a crash")
    return Home(layout, kept_secret(layout.secret, "pg"), kept_secret(layout.secret, "pg_server"))
