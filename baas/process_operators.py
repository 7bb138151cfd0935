"""Operators as the person at the machine makes them: beside the server, straight on its database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from baas.base.settings import Settings
from baas.features.projects.model import Operator, OperatorSession
from baas.features.projects.operators import Operators
from baas.infra.crypto.passwords import Passwords
from baas.infra.db.embedded.layout import kept_secret
from baas.infra.db.listen import Invalidations
from baas.infra.db.pool import Database

# The one who started `baas dev`. The password is random and stays in the data folder; nobody needs to know it.
LOCAL_EMAIL = "local@example.com"


async def create_operator(settings: Settings, url: str, email: str, password: str) -> Operator:
    """Raises Invalid with every fault, Conflict when there is one of this address."""
    async with _operators(settings, url) as operators:
        return await operators.create(email, password)


async def list_operators(settings: Settings, url: str) -> list[Operator]:
    """All, the first first."""
    async with _operators(settings, url) as operators:
        return await operators.list()


async def setup_link(settings: Settings, url: str) -> str | None:
    """A one-time link to make the first operator, good for a day; None when there is one. The token is in the fragment, which
    browsers send to nobody.
    """
    async with _operators(settings, url) as operators:
        token = await operators.setup_token()
        return f"{settings.url}/_/setup#{token}" if token else None


async def local_session(settings: Settings, url: str) -> OperatorSession:
    """A session of the operator of this machine, who is made first if need be. For `baas dev`, on loopback only."""
    password = await asyncio.to_thread(kept_secret, settings.data_dir / "secret", "local_operator")
    async with _operators(settings, url) as operators:
        if LOCAL_EMAIL not in [one.email for one in await operators.list()]:
            await operators.create(LOCAL_EMAIL, password)
        return await operators.sign_in(LOCAL_EMAIL, password, address="local")


@asynccontextmanager
async def _operators(settings: Settings, url: str) -> AsyncIterator[Operators]:
    passwords = Passwords(memory_kib=settings.argon2_memory_kib, time_cost=settings.argon2_time, threads=1, queue=1)
    db = await Database.connect(url, size=2)
    try:
        yield Operators(db, Invalidations(db, url), passwords)
    finally:
        await db.close()
        passwords.close()
