"""Extensions that only a superuser makes, given to the server's database at every start: the server's own login is none."""

from typing import Any

from baas.infra.db.extensions import SCHEMA

_UNTRUSTED = ["vector"]


async def give_extensions(superuser: Any, login: str) -> None:
    """Make those that this PostgreSQL has, where the server looks for them: in a schema that belongs to `login`, a plain name."""
    await superuser.execute(f'create schema if not exists {SCHEMA} authorization "{login}"')
    for row in await superuser.fetch("select name from pg_available_extensions where name = any($1)", _UNTRUSTED):
        await superuser.execute(f'create extension if not exists "{row["name"]}" with schema {SCHEMA}')
