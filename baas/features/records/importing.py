"""Records from a file: read while it comes, written a thousand at a time, each thousand a transaction of its own.

With an `Idempotency-Key` each of these transactions also writes down that it was done, under the key and its first line: the same
file sent again after a cut is read over up to there, and nothing is written twice.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256

import msgspec
from starlette.types import Receive, Scope, Send

from baas.base.errors import BaasError, Conflict, Fault, Invalid, Unavailable, UnsupportedMediaType
from baas.engines.schema.catalog import Catalog
from baas.features.records.creates import AnonymousCreates, OnceCounted
from baas.features.records.lines import Csv, Line, json_body, split
from baas.features.records.model import MAX_ROWS
from baas.features.records.service import Records
from baas.infra.db import answers
from baas.infra.db.answers import Kept
from baas.infra.db.errors import SerializationFailed
from baas.infra.db.pool import Database
from baas.infra.http import params
from baas.infra.http.answers import send_json
from baas.infra.http.body import stream_pieces
from baas.infra.http.context import Context
from baas.infra.http.once import REPLAYED, in_progress, key_of, mismatch, who
from baas.infra.http.routes import ANYONE, Body, Endpoint

MAX_ERRORS = 100
_TRIES = 3
_MOST_BYTES = 4 << 20  # of one transaction's lines
_MAX_KEY = 1000  # characters
_AT_ONCE = 100  # lines read without a look at what else is to be done
_TYPES = {"application/x-ndjson": False, "application/ndjson": False, "application/jsonl": False, "text/csv": True}
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Report:
    """What has become of the lines so far. `errors` lists the first hundred."""

    read: int = 0
    created: int = 0
    failed: int = 0
    errors: list[Mapping[str, object]] = field(default_factory=list)
    updated: int = 0

    def add(self, other: "Report") -> None:
        self.read += other.read
        self.created += other.created
        self.updated += other.updated
        self.failed += other.failed
        self.errors += other.errors[: MAX_ERRORS - len(self.errors)]

    def refuse(self, line: int, error: BaasError) -> None:
        """Count a line that is not written, with every fault of it."""
        self.failed += 1
        faults = [(one.pointer, one.code, one.message) for one in error.errors] or [("", error.code, error.detail)]
        for pointer, code, message in faults:
            if len(self.errors) < MAX_ERRORS:
                self.errors.append({"line": line, "pointer": pointer, "code": code, "message": message[:500]})

    def as_json(self, resume: int | None = None) -> dict[str, object]:
        body: dict[str, object] = {
            "read": self.read,
            "created": self.created,
            "updated": self.updated,
            "failed": self.failed,
            "errors": self.errors,
        }
        return body if resume is None else {**body, "resume": resume}


@dataclass(frozen=True, slots=True)
class _Wanted:
    collection: str
    dry_run: bool
    skip: bool
    from_line: int
    key: str | None
    unique: tuple[str, ...]
    """The fields by which stored records are found and changed; none: every line is a new record."""


class _Undone(Exception):
    """Leaves the transaction without a trace, with what it would have done."""

    def __init__(self, report: Report) -> None:
        self.report = report


class ImportApi:
    """One endpoint."""

    def __init__(self, records: Records, catalog: Catalog, db: Database, creates: AnonymousCreates) -> None:
        self._records = records.through("import")
        self._catalog = catalog
        self._db = db
        self._creates = creates

    def routes(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint(
                "POST",
                "/v1/projects/{project}/collections/{collection}/records/import",
                ANYONE,
                "Create records from a file, or change those with the same unique key",
                app=self.load,
                tag="records",
                query=_PARAMETERS,
                request=_FILE,
                responses={200: _REPORT},
                streams=True,
                once="own",
            ),
        )

    async def load(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises what refuses the whole; where part of it is written by then, the problem has the report up to there."""
        context, wanted, is_csv = Context.of(scope), _wanted(scope), _is_csv(scope)
        # Whoever may write nothing is told before he sends it all.
        await self._store(context, wanted, [])
        limits = context.project.settings.limits
        lines = split(stream_pieces(scope, receive, limit=limits.max_file_bytes), quoted=is_csv, longest=limits.max_json_bytes)
        report, whole = Report(), sha256()
        resume = wanted.from_line
        kept = await self._finished(context, wanted)
        try:
            async for chunk in self._chunks(context, wanted, lines, is_csv=is_csv):
                whole.update(chunk.fingerprint(wanted))
                done = await self._write(context, wanted, chunk, is_finished=kept is not None)
                report.add(done)
                if done.failed and not wanted.skip:
                    await _answer(send, report, chunk.lines[0].number)
                    return
                resume = chunk.lines[-1].number + 1
            if kept is not None and kept.fingerprint != whole.digest():
                raise mismatch()
            if kept is None:
                await self._finish(context, wanted, whole.digest())
        except BaasError as error:
            error.facts |= {"report": report.as_json(resume)}
            raise
        await _answer(send, report, replayed=kept is not None)

    async def _finished(self, context: Context, wanted: _Wanted) -> Kept | None:
        """What is kept of the whole under this key, once it was written to its end."""
        if wanted.key is None or wanted.dry_run:
            return None
        return await answers.known(self._db, context.project.schema, who(context), _row(wanted.key, "end"))

    async def _finish(self, context: Context, wanted: _Wanted, digest: bytes) -> None:
        """From now on the key is good for this file alone. Raises Invalid (`idempotency_mismatch`)."""
        if wanted.key is None or wanted.dry_run:
            return
        place = context.project.schema, who(context), _row(wanted.key, "end")
        async with self._db.transaction() as tx:
            known = await answers.claim(tx, *place, digest)
            if known is None:
                await answers.keep(tx, *place, Kept(digest, 200, (), b""))
            elif known.fingerprint != digest:
                raise mismatch()

    async def _chunks(
        self, context: Context, wanted: _Wanted, lines: AsyncIterator[Line], *, is_csv: bool
    ) -> "AsyncIterator[_Chunk]":
        """Lines by the thousand, or as many as a caller without a name may create at once: a file of any length gets through in
        time. Where they are parted depends on the file, `from_line` and who sends it alone.
        """
        most = min(MAX_ROWS, self._creates.limit) if context.principal.kind == "anonymous" else MAX_ROWS
        csv: Csv | None = None
        chunk = _Chunk(None)
        async for line in lines:
            if is_csv and csv is None:
                collection = await self._catalog.get(context.project, wanted.collection)
                csv = Csv(line, collection, privileged=context.principal.privileged)
                chunk = _Chunk(csv)
                continue
            is_blank = not line.raw.strip() and (csv is None or csv.width > 1)
            if line.number < wanted.from_line or is_blank:
                continue
            chunk.lines.append(line)
            chunk.bytes += len(line.raw)
            if len(chunk.lines) == most or chunk.bytes > _MOST_BYTES:
                yield chunk
                chunk = _Chunk(csv)
        if chunk.lines:
            yield chunk

    async def _write(self, context: Context, wanted: _Wanted, chunk: "_Chunk", *, is_finished: bool) -> Report:
        """One transaction: its records, and that they are written. With a fault and without `skip` nothing of it is.

        Of a file that `is_finished` every transaction is known; what is not belongs to another file.
        """
        report = Report(read=len(chunk.lines))
        rows = await chunk.read(report)
        counts = OnceCounted(self._creates)
        for attempt in range(_TRIES):
            try:
                return await self._write_once(context, wanted, chunk, rows, report, is_finished=is_finished, counts=counts)
            except _Undone as undone:
                return undone.report
            except SerializationFailed:
                if attempt == _TRIES - 1:
                    raise
        raise AssertionError("the last try returns or raises")

    async def _write_once(
        self,
        context: Context,
        wanted: _Wanted,
        chunk: "_Chunk",
        rows: Sequence["_Row"],
        unread: Report,
        *,
        is_finished: bool,
        counts: OnceCounted,
    ) -> Report:
        schema, principal = context.project.schema, who(context)
        report = Report(unread.read, 0, unread.failed, list(unread.errors))
        key = None if wanted.key is None else _row(wanted.key, chunk.lines[0].number)
        fingerprint = chunk.fingerprint(wanted) if key else b""
        async with self._db.joined() as (tx, _):
            if key is not None and not wanted.dry_run:
                try:
                    known = await answers.claim(tx, schema, principal, key, fingerprint)
                except Unavailable as error:
                    raise in_progress() if error.code == "busy" else error from None
                if known is not None:
                    if known.fingerprint != fingerprint:
                        raise mismatch()
                    return Report(**json.loads(known.body))
                if is_finished:
                    raise mismatch()
            if not wanted.dry_run:  # nor what was written before, which has returned
                counts.begin()
                counts.take(context, len(chunk.lines))
            if not (unread.failed and not wanted.skip):
                await self._create(context, wanted, rows, report)
            if report.failed and not wanted.skip:
                raise _Undone(Report(report.read, 0, report.failed, report.errors))
            if wanted.dry_run:
                raise _Undone(report)
            if key is not None:
                kept = asdict(report)
                await answers.keep(tx, schema, principal, key, Kept(fingerprint, 200, (), _encode(kept)))
        return report

    async def _create(self, context: Context, wanted: _Wanted, rows: Sequence["_Row"], report: Report) -> None:
        """Write those that can be written. A key that stands there twice: the later line changes what the one before it wrote."""
        while rows and (wanted.skip or not report.failed):
            rows = await self._create_distinct(context, wanted, rows, report)

    async def _create_distinct(
        self, context: Context, wanted: _Wanted, rows: Sequence["_Row"], report: Report
    ) -> Sequence["_Row"]:
        """All in one statement; where that is refused, find out which are not. Those that have to come after the others."""
        try:
            created, updated = await self._store(context, wanted, [row.body for row in rows])
            report.created += created
            report.updated += updated
        except (Conflict, Invalid) as error:
            wrong = _by_row(error, len(rows))
            if not wrong:
                await self._create_halves(context, wanted, rows, report, error)
                return ()
            codes = {fault.code for fault in error.errors}
            if codes == {"other_keys"} and len(rows) > 1:
                for alike in _alike(rows):
                    await self._create(context, wanted, alike, report)
                return ()
            if codes == {"duplicate"} and len(rows) > 1:
                await self._create(context, wanted, [row for at, row in enumerate(rows) if at not in wrong], report)
                return [row for at, row in enumerate(rows) if at in wrong]
            for at in sorted(wrong):
                report.refuse(rows[at].line, wrong[at])
            if wanted.skip:
                await self._create(context, wanted, [row for at, row in enumerate(rows) if at not in wrong], report)
        except (Unavailable, SerializationFailed):
            raise
        except BaasError as error:
            if error.status >= 500:
                raise
            await self._create_halves(context, wanted, rows, report, error)
        return ()

    async def _store(self, context: Context, wanted: _Wanted, bodies: list[dict[str, object]]) -> tuple[int, int]:
        """How many were created and how many changed: all of them or none. Raises as `create_many` and `upsert`."""
        place = context.project, context.principal, wanted.collection
        if not wanted.unique:
            await self._records.create_many(*place, bodies)
            return len(bodies), 0
        try:
            done = await self._records.upsert(*place, {"key": list(wanted.unique), "items": bodies})
        except (Conflict, Invalid) as error:
            error.errors = tuple(Fault(one.pointer.removeprefix("/items"), one.code, one.message) for one in error.errors)
            raise
        return done.created, done.updated

    async def _create_halves(
        self, context: Context, wanted: _Wanted, rows: Sequence["_Row"], report: Report, error: BaasError
    ) -> None:
        if len(rows) == 1:
            report.refuse(rows[0].line, error)
            return
        middle = len(rows) // 2
        await self._create(context, wanted, rows[:middle], report)
        if wanted.skip or not report.failed:
            await self._create(context, wanted, rows[middle:], report)


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    body: dict[str, object]


class _Chunk:
    """The lines of one transaction."""

    def __init__(self, csv: Csv | None) -> None:
        self._csv = csv
        self.lines: list[Line] = []
        self.bytes = 0

    async def read(self, report: Report) -> list[_Row]:
        """The bodies of the lines that can be read; the others are in the report. Others get their turn in between."""
        read = json_body if self._csv is None else self._csv.body
        rows = []
        for at, line in enumerate(self.lines):
            if at % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
            try:
                rows.append(_Row(line.number, read(line)))
            except BaasError as error:
                report.refuse(line.number, error)
        return rows

    def fingerprint(self, wanted: _Wanted) -> bytes:
        unique = "".join(f" {name}" for name in wanted.unique)
        whole = sha256(f"{wanted.collection} {wanted.skip} {self._csv is not None}{unique}\n".encode())
        for line in self.lines:
            whole.update(b"%d:" % len(line.raw))
            whole.update(line.raw)
        return whole.digest()


def _by_row(error: Conflict | Invalid, rows: int) -> dict[int, Invalid]:
    """The faults of a list of bodies by their place in it; empty when one of them names none."""
    found: dict[int, list[object]] = defaultdict(list)
    for fault in error.errors:
        first, _, rest = fault.pointer.removeprefix("/").partition("/")
        if not first.isdecimal() or int(first) >= rows:
            return {}
        found[int(first)].append(type(fault)(f"/{rest}" if rest else "", fault.code, fault.message))
    return {at: Invalid(error.detail, errors=faults) for at, faults in found.items()}  # type: ignore[arg-type]


def _alike(rows: Sequence[_Row]) -> list[list[_Row]]:
    """The rows by the keys that they have."""
    groups: dict[frozenset[str], list[_Row]] = defaultdict(list)
    for row in rows:
        groups[frozenset(row.body)].append(row)
    return list(groups.values())


def _row(key: str, part: int | str) -> str:
    """Where a transaction of an import, or its end, is kept: not where an answer to the key itself would be."""
    return f"import {sha256(key.encode()).hexdigest()} {part}"


async def _answer(send: Send, report: Report, resume: int | None = None, *, replayed: bool = False) -> None:
    headers = ((b"cache-control", b"no-store"), *((REPLAYED,) if replayed else ()))
    await send_json(send, _encode(report.as_json(resume)), 200, headers)


def _wanted(scope: Scope) -> _Wanted:
    values = params.query(scope)
    skip = params.one_of(values, "on_error", ("stop", "skip"), "stop") == "skip"
    line = params.integer(values, "from_line", 1, minimum=1)
    unique = tuple(name for one in params.text(values, "key", "", max_length=_MAX_KEY).split(",") if (name := one.strip()))
    return _Wanted(scope["path_params"]["collection"], params.boolean(values, "dry_run"), skip, line, key_of(scope), unique)


def _is_csv(scope: Scope) -> bool:
    given = b"".join(value for name, value in scope["headers"] if name == b"content-type").decode("latin-1").lower()
    found = _TYPES.get(given.partition(";")[0].strip())
    if found is None:
        raise UnsupportedMediaType("An import is sent as application/x-ndjson or text/csv.")
    return found


_PARAMETERS: Mapping[str, Mapping[str, object]] = {
    "key": {
        "type": "string",
        "maxLength": _MAX_KEY,
        "description": "Unique fields with commas between them: a line whose record is there changes it, as `upsert` does.",
    },
    "dry_run": {"type": "boolean", "default": False, "description": "Write nothing, report all the same."},
    "on_error": {
        "type": "string",
        "enum": ["stop", "skip"],
        "default": "stop",
        "description": "Stop before the first thousand lines that have a fault, or leave such lines out.",
    },
    "from_line": {
        "type": "integer",
        "minimum": 1,
        "default": 1,
        "description": "Read over what stands before: a report's `resume`.",
    },
}
_FILE = Body({"type": "string"}, "application/x-ndjson", "One record a line, or `text/csv` with a header row.")
_REPORT = Body(
    {
        "type": "object",
        "required": ["read", "created", "updated", "failed", "errors"],
        "properties": {
            **{name: {"type": "integer"} for name in ("read", "created", "updated", "failed")},
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["line", "pointer", "code", "message"],
                    "properties": {
                        "line": {"type": "integer"},
                        **{name: {"type": "string"} for name in ("pointer", "code", "message")},
                    },
                },
            },
            "resume": {"type": "integer", "description": "The line to go on from, when it was stopped."},
        },
    }
)
