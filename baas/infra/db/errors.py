"""What the driver raises -> our errors, in one table. The message of PostgreSQL goes to the log, never to a caller."""

import re

import asyncpg

from baas.base.errors import BaasError, Conflict, Invalid, OutOfSpace, Unavailable


class ConstraintViolated(Conflict):
    """Root of the four below: `constraint`, `table` and `column` are PostgreSQL's names; rooms turn them into field faults."""

    def __init__(self, error: asyncpg.PostgresError) -> None:
        super().__init__("The change conflicts with what is stored.")
        self.constraint: str = error.constraint_name or ""
        self.table: str = error.table_name or ""
        self.column: str = error.column_name or ""


class UniqueViolated(ConstraintViolated):
    default_code = "already_exists"


class ReferenceViolated(ConstraintViolated):
    default_code = "reference_violated"


class NotNullViolated(ConstraintViolated):
    default_code = "required"


class CheckViolated(ConstraintViolated):
    default_code = "check_violated"


class SerializationFailed(Unavailable):
    """Deadlock or serialization failure: the transaction may be run again as a whole."""

    default_code = "busy"


class SchemaChanged(Unavailable):
    """A table or column of the statement is gone or has another type by now. Nothing was written; ask anew."""

    default_code = "schema_changed"


class StatementTimedOut(Unavailable):
    """A statement was ended because its time was over."""

    default_code = "query_timeout"


class ViewFailed(Conflict):
    """A person's SQL ended with an error while it ran; `condition` is PostgreSQL's name for its kind, without any value."""

    default_code = "view_failed"


class ConnectionLost(Unavailable):
    """The connection broke before the answer: a write's outcome is unknown."""

    default_code = "database_unavailable"


_CONSTRAINTS = {
    "23505": UniqueViolated,
    "23503": ReferenceViolated,
    "23001": ReferenceViolated,
    "23502": NotNullViolated,
    "23514": CheckViolated,
}
_OUT_OF_RANGE = {"22003", "22008", "22021", "22P02", "22P05", "22007", "54000", "54001", "22026", "22001"}
# Undefined table, column, schema; a column of another type than the value (mismatch), the function or operator asked for it.
_SCHEMA_CHANGED = {"42P01", "42703", "3F000", "42804", "42883"}
_GONE = {"42P01", "42703", "3F000"}
_BUSY = {"57014", "55P03"}
LOST = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""What the driver raises when the connection is gone."""


def translate(error: BaseException) -> BaasError | None:
    """Our error for a driver's, or None for what is not the driver's (the caller re-raises it untouched)."""
    if isinstance(error, BaasError):
        return error
    if isinstance(error, asyncpg.PostgresError):
        return _translate_state(error)
    if isinstance(error, asyncpg.DataError | OverflowError):
        return Invalid("A value does not fit its type.")
    if isinstance(error, LOST):
        return ConnectionLost("The database is not reachable.")
    if isinstance(error, TimeoutError):
        return Unavailable("The database took too long.", code="database_timeout")
    return None


def raise_ours(error: BaseException) -> None:
    """Raise our error for a driver's, if it is one."""
    ours = translate(error)
    if ours is not None and ours is not error:
        raise ours from error


def translate_restricted(error: BaseException) -> BaasError | None:
    """The same for a statement over a person's SQL: what that SQL raises is its author's fault, neither ours nor the caller's."""
    if not isinstance(error, asyncpg.PostgresError):
        return translate(error)
    state = error.sqlstate or ""
    if state in _GONE or state in _BUSY or isinstance(error, asyncpg.InvalidCachedStatementError):
        return _translate_state(error)
    if state.startswith(("08", "53", "57P", "40")):
        return _translate_state(error)
    condition = condition_of(error)
    return ViewFailed(f"The SQL of this view failed: {condition.replace('_', ' ')}.", condition=condition)


def condition_of(error: asyncpg.PostgresError) -> str:
    """PostgreSQL's name for the kind of an error, such as `division_by_zero`; it holds nothing of statement or data."""
    name = type(error).__name__.removesuffix("Error")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower() or "error"


def _translate_state(error: asyncpg.PostgresError) -> BaasError | None:
    state = error.sqlstate or ""
    if state in _CONSTRAINTS:
        return _CONSTRAINTS[state](error)
    if state in _OUT_OF_RANGE:
        return Invalid("A value is out of range or does not fit its type.")
    if state == "57014":
        return StatementTimedOut("The query took too long.")
    if state == "55P03":
        return Unavailable("The row is locked by another change; try again.", code="busy")
    if state == "54011":
        detail = "The table has used up PostgreSQL's 1,600 columns; those of dropped fields count for ever."
        return Conflict(detail, code="too_many_columns", hint="Make a new collection and copy the records.")
    if state == "42P17":
        return Invalid("PostgreSQL cannot keep this condition in an index.", code="not_indexable")
    if state in _SCHEMA_CHANGED or isinstance(error, asyncpg.InvalidCachedStatementError):
        return SchemaChanged("The schema has just been changed; try again.")
    if state in ("40001", "40P01"):
        return SerializationFailed("The change collided with another; try again.")
    if state == "53100":
        return OutOfSpace("The database has no space left.")
    return ConnectionLost("The database is not reachable.") if state.startswith(("08", "53", "57P", "25006")) else None
