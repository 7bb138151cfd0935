"""Upkeep of the embedded database as the person at the machine does it: moved to a newer PostgreSQL, old ones removed."""

from collections.abc import Callable

from baas.base.settings import Settings
from baas.features.projects.installation import renew_feeds
from baas.infra.db.embedded import upgrade as embedded
from baas.infra.db.embedded.upgrade import Interrupted, OldDatabase, Upgraded
from baas.infra.db.migrate import migrate
from baas.infra.db.pool import Database
from baas.process import INTERRUPTED, USAGE, CannotStart, signals_while_starting


def upgrade(settings: Settings, say: Callable[[str], None]) -> Upgraded | None:
    """Move the embedded database to the newest PostgreSQL at hand, while no server runs; None when it is there already.

    A signal to stop ends it and leaves all as it was. Raises CannotStart, ClusterFault.
    """
    _refuse_given(settings)
    with signals_while_starting() as stop:
        try:
            return embedded.upgrade(settings.data_dir, pg_bin=settings.pg_bin, say=say, interrupted=lambda: stop.requested)
        except Interrupted as error:
            raise CannotStart(str(error), INTERRUPTED, code="interrupted") from None


def old_databases(settings: Settings) -> list[OldDatabase]:
    """What earlier moves kept. Raises CannotStart, ClusterFault."""
    _refuse_given(settings)
    return embedded.old_databases(settings.data_dir)


def remove_old(settings: Settings, old: OldDatabase) -> None:
    """Remove one of them for good; a server may run meanwhile. Raises ClusterFault."""
    embedded.remove_old(settings.data_dir, old)


async def new_epoch(url: str) -> int:
    """Have everybody who follows changes read his lists again; how many projects. Raises SchemaTooNew, ConnectionLost."""
    db = await Database.connect(url, size=1)
    try:
        await migrate(db)
        return await renew_feeds(db)
    finally:
        await db.close()


def _refuse_given(settings: Settings) -> None:
    if settings.database_url is not None:
        raise CannotStart("database_url names a PostgreSQL that looks after itself: this is for the embedded one only.", USAGE)
    if not settings.data_dir.is_dir():
        raise CannotStart(f"There is no data folder {settings.data_dir}. Name the server's with --data-dir.", USAGE)
