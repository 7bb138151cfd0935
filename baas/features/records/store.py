"""Runs what the compiler made. The room writes no SQL of its own: a row that did not pass the compiler cannot leave here."""

from baas.features.records.model import Page, Stored
from baas.infra.db.pool import Database, Row
from baas.infra.db.sql import Statement


class RecordStore:
    """One statement, one round trip, no transaction around it."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def record(self, statement: Statement) -> Stored | None:
        """What a get or a write answers; None when no row came."""
        row = await self._db.fetch_row(statement)
        if row is None:
            return None
        return Stored(row["body"], row["rev"], bool(row.get("seen", True)), bool(row.get("created", False)))

    async def page(self, statement: Statement, keys: int) -> tuple[Page, tuple[str | None, ...] | None]:
        """A page without its cursor, and the sort keys of its last record when there are more."""
        row = await self._db.fetch_row(statement)
        if row is None:
            raise AssertionError("an aggregate has one row")
        last = tuple(row[f"key{at}"] for at in range(keys)) if row["more"] else None
        return Page(row["items"] or "", None, row.get("total")), last

    async def items(self, statement: Statement) -> str | None:
        """The answer of a write of many; None when it was refused."""
        text: str | None = await self._db.fetch_value(statement)
        return text

    async def touched(self, statement: Statement) -> bool:
        """Whether a delete found its record."""
        return await self._db.fetch_row(statement) is not None

    async def why(self, statement: Statement) -> Row | None:
        """What a write that touched nothing met."""
        return await self._db.fetch_row(statement)
