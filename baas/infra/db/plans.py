"""What PostgreSQL would do for a statement, without doing it and without its values: the plan that serves all of them."""

from typing import Any

from baas.infra.db.restricted import become
from baas.infra.db.sql import Statement

_NAME = "baas_plan"
# Planning takes milliseconds; only a change of the schema makes it wait, and nobody should wait for a plan.
_SET = "set local plan_cache_mode = force_generic_plan; set local lock_timeout = '100ms'; set local statement_timeout = '2s';"


async def generic_plan(connection: Any, statement: Statement) -> str:
    """The plan as JSON text; raises what the driver raises. Nothing stays behind in the session."""
    nulls = ", ".join(["null"] * len(statement.args))
    call = f"explain (format json) execute {_NAME}" + (f"({nulls})" if nulls else "")
    role = "" if statement.role is None else f"{become(statement)};"
    async with connection.transaction(readonly=True):
        await connection.execute(f"{_SET} {role} prepare {_NAME} as {statement.text}")
        try:
            async with connection.transaction():  # so that an error leaves a session in which the name can be dropped
                text: str = await connection.fetchval(call)
        finally:
            await connection.execute(f"deallocate {_NAME}")
    return text
