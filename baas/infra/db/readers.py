"""A project's reader: the role as which SQL that a person wrote runs. It may read the project's collections, nothing else.

Made with the first view of a project, dropped with the project. Where the server's login may not make roles there are no views.
"""

from collections.abc import Sequence

from baas.base.errors import Conflict
from baas.infra.db.pool import Transaction
from baas.infra.db.sql import ident, join, sql

_HINT = "Its login needs CREATEROLE: alter role … createrole. An embedded PostgreSQL has what it takes."


def reader(schema: str) -> str:
    """The name of the role. Roles belong to the whole PostgreSQL server, and names of schemas are random."""
    return f"{schema}_reader"


async def make(tx: Transaction, schema: str) -> None:
    """Have the role, with no rights but to enter the project's schema. Raises Conflict (`views_unavailable`)."""
    role = ident(reader(schema))
    if not await _exists(tx, schema):
        if await _has_maker(tx):
            await tx.execute(sql("select baas_admin.make_reader({})", schema))
        elif await tx.fetch_value(sql("select rolcreaterole or rolsuper from pg_roles where rolname = current_user")):
            await tx.execute(sql("create role {} nologin noinherit", role))
            await tx.execute(sql("grant {} to current_user", role))
        else:
            words = "This database lets the server make no roles, so it has no views."
            raise Conflict(words, code="views_unavailable", hint=_HINT)
    await tx.execute(sql("grant usage on schema {} to {}", ident(schema), role))


async def let_read(tx: Transaction, schema: str, collections: Sequence[str]) -> None:
    """Let the role read these collections, whole rows; nothing whose name starts with `_` is ever among them."""
    tables = join(", ", (ident(schema, name) for name in collections if not name.startswith("_")))
    await tx.execute(sql("grant select on {} to {}", tables, ident(reader(schema))))


async def drop(tx: Transaction, schema: str) -> None:
    """The end of the role, after its schema and with it all that it had rights on; nothing when there is none."""
    if not await _exists(tx, schema):
        return
    if await _has_maker(tx):
        await tx.execute(sql("select baas_admin.drop_reader({})", schema))
    else:
        await tx.execute(sql("drop role {}", ident(reader(schema))))


async def _exists(tx: Transaction, schema: str) -> bool:
    return bool(await tx.fetch_value(sql("select true from pg_roles where rolname = {}", reader(schema))))


async def _has_maker(tx: Transaction) -> bool:
    return bool(await tx.fetch_value(sql("select to_regprocedure('baas_admin.make_reader(text)') is not null")))
