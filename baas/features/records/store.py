"""Runs what the compiler made. The room writes no SQL of its own: a row that did not pass the compiler cannot leave here."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from random import random
from types import TracebackType

from baas.engines.query.plan import Costs
from baas.engines.query.table import Table
from baas.features.records.limits import too_expensive
from baas.features.records.model import Groups, Page, Stored
from baas.infra.db.errors import SerializationFailed
from baas.infra.db.pool import Database, Row, Transaction
from baas.infra.db.sql import Statement, ident, literal, sql
from baas.infra.db.streaming import TextRows

_TURNS = 0x7475726E  # "turn"; beside the hash of project and path, the key of a record in a batch
_COUNTED = 0x636F756E  # "coun"; beside the hash of project and collection, the key of what a rule counts
_PAUSES_S = (0.01, 0.04)


class Lines:
    """The lines of an export, the first of them read already. Whoever has it must enter it: it gives the connection back."""

    def __init__(self, held: AsyncExitStack, rows: TextRows, first: list[str], *, header: str, ending: str) -> None:
        self._held = held
        self._rows = rows
        self._first = first
        self._header, self._ending = header, ending

    async def __aenter__(self) -> "Lines":
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._held.__aexit__(kind, error, trace)

    async def pieces(self) -> AsyncIterator[bytes]:
        """Bytes of the file."""
        if self._header:
            yield self._header.encode()
        rows = self._first
        while rows:
            yield (self._ending.join(rows) + self._ending).encode()
            rows = await self._rows.next()


async def take_turns(tx: Transaction, schema: str, paths: Collection[str]) -> None:
    """Let transactions that change the same records go one after the other, when each of them changes several.

    They lock records in the order of their operations; two that name the same ones in different orders would wait for each other.
    The locks are not on the records themselves: these only those may take whom the rules let write.
    """
    if len(paths) > 1:
        keys = sql("select distinct hashtext({} || path) from unnest({}::text[]) path order by 1", schema, sorted(paths))
        await tx.execute(sql("select pg_advisory_xact_lock({}, key) from ({}) _ (key)", literal(_TURNS), keys))


class RecordStore:
    """One statement, one round trip, no transaction around it; but where a rule counts, its lock comes first."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._costs = Costs(db)
        self._zones: set[str] = set()

    async def write(self, statement: Statement, limit_s: float | None, locks: Sequence[str] = ()) -> Row | None:
        """The one row of a statement that writes. Where it loses a deadlock it is run again, three times in all.

        `locks` are taken before, in a statement of their own: what a statement sees is settled when it begins, and it must see
        what those wrote for whom it waited. Raises SerializationFailed.
        """
        for pause_s in _PAUSES_S:
            try:
                return await self._written(statement, limit_s, locks)
            except SerializationFailed:
                await asyncio.sleep(pause_s * (0.5 + random()))  # noqa: S311  it only spreads tries
        return await self._written(statement, limit_s, locks)

    async def _written(self, statement: Statement, limit_s: float | None, locks: Sequence[str]) -> Row | None:
        if not locks:
            return await self._db.fetch_row(statement, limit_s=limit_s)
        async with self._db.transaction(statement_timeout_s=limit_s) as tx:
            for name in sorted(locks):
                await tx.execute(sql("select pg_advisory_xact_lock({}, hashtext({}))", literal(_COUNTED), name))
            return await tx.fetch_row(statement)

    async def change(self, statement: Statement, limit_s: float | None, locks: Sequence[str]) -> Stored | None:
        """What a write of one record answers; None when no row came."""
        return _stored(await self.write(statement, limit_s, locks))

    async def record(self, statement: Statement, limit_s: float | None = None) -> Stored | None:
        """What a get answers; None when no row came."""
        return _stored(await self._db.fetch_row(statement, limit_s=limit_s))

    async def page(
        self, statement: Statement, keys: int, limit_s: float | None = None
    ) -> tuple[Page, tuple[str | None, ...] | None]:
        """A page without its cursor, and the sort keys of its last record when there are more."""
        row = await self._db.fetch_row(statement, limit_s=limit_s)
        if row is None:
            raise AssertionError("an aggregate has one row")
        last = tuple(row[f"key{at}"] for at in range(keys)) if row["more"] else None
        return Page(row["items"] or "", None, row.get("total"), row.get("feed")), last

    async def ring(self, statement: Statement, limit_s: float | None = None) -> float | None:
        """The metres within which a page of the nearest lies; None when nothing is gained by knowing."""
        row = await self._db.fetch_row(statement, limit_s=limit_s)
        return None if row is None else row["metres"]

    async def groups(self, statement: Statement, limit_s: float | None = None) -> Groups:
        """What an aggregate answers."""
        row = await self._db.fetch_row(statement, limit_s=limit_s)
        if row is None:
            raise AssertionError("an aggregate has one row")
        return Groups(row["items"] or "", row["more"])

    async def lines(self, statement: Statement, *, header: str, ending: str, total_s: float, idle_s: float) -> Lines:
        """Begin to read the lines of an export."""
        async with AsyncExitStack() as stack:
            rows = await stack.enter_async_context(self._db.text_rows(statement, total_s=total_s, idle_s=idle_s))
            first = await rows.next()
            return Lines(stack.pop_all(), rows, first, header=header, ending=ending)
        raise AssertionError("the block returns or raises")

    async def refuse_above(self, most: int, statement: Statement) -> None:
        """Raises Invalid (`query_too_expensive`) when PostgreSQL estimates the statement to cost more; 0 asks nothing."""
        if most and await self._costs.of(statement) > most:
            raise too_expensive()

    async def knows_zone(self, name: str) -> bool:
        """Whether PostgreSQL has this time zone, asked once: its list need not be Python's, and a zone it lacks raises."""
        if name not in self._zones:
            if not await self._db.fetch_value(sql("select baas_rt.local(now(), {}::text) is not null", name)):
                return False
            self._zones.add(name)
        return True

    async def items(self, statement: Statement, limit_s: float | None, locks: Sequence[str]) -> str | None:
        """The answer of a write of many; None when it was refused."""
        row = await self.write(statement, limit_s, locks)
        return None if row is None else row["items"]

    async def tally(self, statement: Statement, limit_s: float | None, locks: Sequence[str]) -> Row:
        """What a write by a filter found and did."""
        row = await self.write(statement, limit_s, locks)
        if row is None:
            raise AssertionError("an aggregate has one row")
        return row

    async def touched(self, statement: Statement, limit_s: float | None, locks: Sequence[str]) -> bool:
        """Whether a delete found its record."""
        return await self.write(statement, limit_s, locks) is not None

    async def history_since(self, table: Table) -> datetime | None:
        """From when on the collection's history is whole, None when it keeps none."""
        name = ident(table.collection.schema, "_histories")
        found: datetime | None = await self._db.fetch_value(sql("select since from {} where collection = {}", name, table.name))
        return found

    async def versions(self, statement: Statement, limit: int) -> tuple[list[str], int | None]:
        """The changes of a page, and the place of its last one when there are more."""
        rows = await self._db.fetch(statement)
        return [row["item"] for row in rows[:limit]], rows[limit - 1]["seq"] if len(rows) > limit else None

    async def why(self, statement: Statement) -> Row | None:
        """What a write that touched nothing met."""
        return await self._db.fetch_row(statement)


def _stored(row: Row | None) -> Stored | None:
    if row is None:
        return None
    return Stored(row["body"], row["rev"], bool(row.get("seen", True)), bool(row.get("created", False)))
