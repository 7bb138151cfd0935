"""The installation as a whole."""

from baas.base.errors import BaasError
from baas.features.projects import store
from baas.infra.crypto.secretbox import SecretBox
from baas.infra.db.pool import Database


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
