"""The installation as a whole."""

from datetime import timedelta

from baas.base.errors import BaasError
from baas.engines.changes.log import new_epoch
from baas.features.projects import store
from baas.infra.crypto.secretbox import SecretBox
from baas.infra.db.pool import Database, Transaction

_RENEWAL = timedelta(minutes=1)


class WrongSecretKey(BaasError):
    """The server's secret key is not the one the database was first used with."""

    default_code = "wrong_secret_key"


async def verify_secret_key(db: Database, key: bytes) -> None:
    """Refuse to start with another secret key than the servers before: what they sealed would not open.

    The first server to call this fixes the key. The database keeps a keyed digest only. Raises WrongSecretKey.
    """
    async with db.transaction() as tx:
        installation = await store.installation_id(tx)
        check = SecretBox(key).digest(installation.bytes, purpose="installation")
        if await store.first_key_check(tx, check) != check:
            raise WrongSecretKey(
                "This database was first used with another secret key, and what it keeps encrypted would not open.",
                hint="Give this server the same BAAS_SECRET_KEY (or secret/server_key of the data folder) as the others have.",
            )


async def renew_feeds_if_restored(db: Database) -> int:
    """Give every project's feed a new epoch where this database is not the one that servers used before: a dump was restored, or
    a cluster was wound back or promoted. How many; 0 where it is the same, where no server has noted it yet,
    and where PostgreSQL does not tell.

    Whoever follows reads his lists again instead of going on from a position that may have been given to other changes.
    """
    here = await store.place(db)
    async with db.transaction(statement_timeout_s=_RENEWAL.total_seconds()) as tx:
        before = await store.lock_place(tx)
        if here is None or before == here:
            return 0
        await store.save_place(tx, here)
        return 0 if before is None else await _renew(tx)


async def renew_feeds(db: Database) -> int:
    """Give every project's feed a new epoch, whatever PostgreSQL says: for restores that it cannot tell. How many there are."""
    async with db.transaction(statement_timeout_s=_RENEWAL.total_seconds()) as tx:
        await store.lock_installation(tx)
        return await _renew(tx)


async def _renew(tx: Transaction) -> int:
    schemas = await store.schemas(tx)
    for schema in schemas:
        await new_epoch(tx, schema)
    return len(schemas)
