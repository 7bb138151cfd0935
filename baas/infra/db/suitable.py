"""Whether a PostgreSQL keeps the promises that ours are built on; asked once, before anything is written to it."""

from urllib.parse import urlsplit

import asyncpg

_OLDEST = 15
_CONNECT_S = 5
_KEEPS_COMMITS = ("on", "remote_write", "remote_apply")


class Unsuitable(Exception):
    """The database cannot be used; the text says why and what to do. `unreachable`: nothing answered at its address."""

    def __init__(self, text: str, *, unreachable: bool = False) -> None:
        super().__init__(text)
        self.unreachable = unreachable


async def refuse_unsuitable(url: str) -> None:
    """Raises Unsuitable when the server is away, refuses us, is older than 15, is not UTF-8, or may lose what it acknowledged."""
    place = _place(url)
    try:
        connection = await asyncpg.connect(url, timeout=_CONNECT_S)
    except (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError) as error:
        raise Unsuitable(f"The database at {place} refuses the sign-in ({error.args[0]}). Check user and password.") from None
    except asyncpg.InvalidCatalogNameError as error:
        raise Unsuitable(f"The server at {place} has no such database ({error.args[0]}). Make it, or check its name.") from None
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        reason = str(error) or f"no answer within {_CONNECT_S} seconds"
        raise Unsuitable(f"The database at {place} cannot be reached: {reason}. Is it running?", unreachable=True) from None
    try:
        await _look(connection, place)
    finally:
        await connection.close(timeout=_CONNECT_S)


async def _look(connection: asyncpg.Connection, place: str) -> None:
    major = connection.get_server_version().major
    if major < _OLDEST:
        raise Unsuitable(f"The database at {place} is PostgreSQL {major}; {_OLDEST} or newer is needed.")
    encoding = await connection.fetchval("show server_encoding")
    if encoding != "UTF8":
        raise Unsuitable(f"The database at {place} stores text as {encoding}. Make it with `create database … encoding 'UTF8'`.")
    names = ("fsync", "full_page_writes", "synchronous_commit")
    rows = await connection.fetch("select name, setting from pg_settings where name = any($1)", names)
    unsafe = [row["name"] for row in rows if row["setting"] not in _KEEPS_COMMITS]
    if unsafe:
        raise Unsuitable(
            f"The database at {place} may lose what it acknowledged, because {' and '.join(sorted(unsafe))} is off. Turn it on."
        )


def _place(url: str) -> str:
    """The address without user and password."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] + parts.path
