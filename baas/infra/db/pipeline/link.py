"""One connection with many statements under way: PostgreSQL's extended protocol, every unit of work ended by a Sync of its own.

https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-PIPELINING
"""

import asyncio
import struct
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, cast

import asyncpg

from baas.infra.db.pipeline.values import Decode, Unfit, decoder

_SIZE = struct.Struct(">I")
_SHORT = struct.Struct(">H")
_SIGNED = struct.Struct(">i")
_SYNC = b"S\x00\x00\x00\x04"
_RUN = b"E\x00\x00\x00\x09\x00\x00\x00\x00\x00"  # the unnamed portal, all of its rows
_TERMINATE = b"X\x00\x00\x00\x04"
_ROW, _DONE, _EMPTY, _READY, _ERROR, _COLUMNS, _NO_COLUMNS = b"DCIZETn"
_WITHOUT_MEANING = frozenset(b"123tNSA")  # complete: parse, bind, close; parameters' types; notice, parameter, notification
_IDLE = ord("I")
# Fewer than on the ordinary pool, and what is cheap has fewer shapes: PostgreSQL pays for each with memory (see `pool.py`).
_KEPT_STATEMENTS = 128

Row = dict[str, Any]


class Spilled(Exception):
    """Nothing was done, or nothing that matters: ask the ordinary pool."""


class Question:
    """One statement with its values, and who waits for the rows. Whoever gave up has cancelled `answer`.

    `write`: when it was sent and no answer came, nobody knows what became of it. `alone`: it shares its commit with no other.
    """

    __slots__ = ("again", "alone", "answer", "rows", "since", "text", "unread", "values", "write")

    def __init__(self, text: str, values: bytes, answer: "asyncio.Future[list[Row]]", *, write: bool) -> None:
        self.text = text
        self.values = values
        self.answer = answer
        self.write = write
        self.alone = False
        self.again = False  # the connection's copy of the statement was stale, and it is asked a second time
        self.rows: list[Row] = []
        self.unread: Exception | None = None  # why a row of the answer could not be read
        self.since = monotonic()


class _Prepared:
    """A statement as this connection knows it. `columns` is None until PostgreSQL has described them."""

    __slots__ = ("columns", "error", "name")

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.columns: tuple[tuple[str, Decode], ...] | None = None
        self.error: Exception | None = None


class Unit:
    """What stands before one Sync: the questions of one transaction, or the preparing of a statement (no questions)."""

    __slots__ = ("at", "error", "prepared", "questions", "text")

    def __init__(self, questions: list[Question], prepared: list[_Prepared], text: str = "") -> None:
        self.questions = questions
        self.prepared = prepared
        self.text = text
        self.at = 0  # the question whose answer is being read
        self.error: Exception | None = None


Failed = Callable[["Link", Unit, Exception], None]
Lost = Callable[["Link", list[Question]], None]


class Link(asyncio.Protocol):
    """A connection that the driver has opened and handed over: it knows hosts, passwords and encryption, and we do not.

    `failed` is told of a unit in which PostgreSQL refused the question `at`: nothing of it was done. `lost` is told once, of all
    questions without an answer. `freed` is called when units have been answered.
    """

    def __init__(self, connection: Any, *, failed: Failed, lost: Lost, freed: Callable[[], None]) -> None:
        self._connection = connection
        self._transport = cast("asyncio.Transport", connection._transport)
        self._failed, self._lost, self._freed = failed, lost, freed
        self._statements: OrderedDict[str, _Prepared] = OrderedDict()
        self._numbers = 0
        self._units: deque[Unit] = deque()
        self._out: list[bytes] = []
        self._parts: list[bytes] = []  # of a message that has not all arrived
        self._have = self._need = 0
        self._finished = False  # a unit, in what has just arrived
        self.load = 0
        """Questions without an answer."""
        self.paused = False
        self.open = True
        self.ended = asyncio.Event()
        self.front_since = monotonic()
        """When the oldest unit under way began to be at work, at the earliest."""
        self._transport.set_protocol(self)

    # What goes out.

    def add(self, questions: list[Question]) -> None:
        """Ask these in one transaction of their own; they leave at the next `flush`."""
        prepared = [self._prepared(question.text) for question in questions]
        for question, known in zip(questions, prepared, strict=True):
            question.rows, question.unread = [], None
            # Portal and statement, the parameters' formats (none: text), parameters, the result's formats (none: text).
            body = b"\0" + known.name + b"\0\0\0" + question.values + b"\0\0"
            self._out += (b"B", _SIZE.pack(len(body) + 4), body, _RUN)
        self._out.append(_SYNC)
        self._put(Unit(questions, prepared))
        self.load += len(questions)

    def flush(self) -> None:
        """Send what was added."""
        if self._out:
            out, self._out = b"".join(self._out), []
            self._transport.write(out)

    def forget(self, texts: Iterable[str]) -> None:
        """Prepare these anew when they are asked next."""
        for text in texts:
            known = self._statements.pop(text, None)
            if known is not None:
                self._close_statement(known)

    def close(self) -> None:
        """End the connection in good order."""
        if self.open:
            self._transport.write(_TERMINATE)
            self._transport.close()

    def abort(self) -> None:
        """End it at once; what is under way is lost."""
        if self.open:
            self._transport.abort()
            self.connection_lost(None)

    def waiting(self) -> list[Question]:
        """The questions that somebody waits for, in order."""
        return [question for unit in self._units for question in unit.questions if not question.answer.done()]

    def _put(self, unit: Unit) -> None:
        if not self._units:
            self.front_since = monotonic()
        self._units.append(unit)

    def _prepared(self, text: str) -> _Prepared:
        known = self._statements.get(text)
        if known is not None:
            self._statements.move_to_end(text)
            return known
        self._numbers += 1
        known = self._statements[text] = _Prepared(b"p%d" % self._numbers)
        # Under a Sync of its own: behind an error in the same unit it would be skipped and we would not know.
        parse = known.name + b"\0" + text.encode() + b"\0\0\0"
        describe = b"S" + known.name + b"\0"
        self._out += (b"P", _SIZE.pack(len(parse) + 4), parse, b"D", _SIZE.pack(len(describe) + 4), describe, _SYNC)
        self._put(Unit([], [known], text))
        if len(self._statements) > _KEPT_STATEMENTS:
            # What was sent before still finds it: PostgreSQL goes through the messages in order.
            self._close_statement(self._statements.popitem(last=False)[1])
        return known

    def _close_statement(self, known: _Prepared) -> None:
        body = b"S" + known.name + b"\0"
        self._out += (b"C", _SIZE.pack(len(body) + 4), body, _SYNC)
        self._put(Unit([], []))

    # What comes in.

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._freed()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.open:
            return
        self.open = False
        self.ended.set()
        self._connection._protocol.connection_lost(exc)
        self._connection.terminate()
        lost = self.waiting()
        self._units.clear()
        self.load = 0
        self._lost(self, lost)

    def data_received(self, data: bytes) -> None:
        if self._parts:
            self._parts.append(data)
            self._have += len(data)
            if self._have < self._need:
                return
            data = b"".join(self._parts)
            self._parts.clear()
        self._finished = False
        rest = self._read(data)
        if rest and self.open:
            self._parts.append(rest)
            self._have = len(rest)
            self._need = 5 if len(rest) < 5 else _SIZE.unpack_from(rest, 1)[0] + 1
        if self._finished:
            self.front_since = monotonic()
            if self.open:
                self._freed()

    def _read(self, data: bytes) -> bytes:
        """Go through the messages; what is left has not all arrived."""
        at, end = 0, len(data)
        while end - at >= 5:
            kind, after = data[at], at + 1 + _SIZE.unpack_from(data, at + 1)[0]
            if after > end:
                break
            if kind == _ROW:
                self._take_row(data, at + 5)
            elif kind in (_DONE, _EMPTY):
                self._take_end()
            elif kind == _READY:
                self._finish(data[at + 5])
            elif kind == _ERROR:
                self._take_error(data[at + 5 : after])
            elif kind == _COLUMNS:
                self._take_columns(data, at + 5)
            elif kind == _NO_COLUMNS:
                self._units[0].prepared[0].columns = ()
            elif kind not in _WITHOUT_MEANING:
                self.abort()
            if not self.open:
                return b""
            at = after
        return data[at:] if at else data

    def _take_row(self, data: bytes, at: int) -> None:
        unit = self._units[0]
        question = unit.questions[unit.at]
        if question.answer.done():
            return  # nobody waits for it any more
        row: Row = {}
        at += 2
        try:
            for name, decode in unit.prepared[unit.at].columns or ():
                size = _SIGNED.unpack_from(data, at)[0]
                at += 4
                if size < 0:
                    row[name] = None
                else:
                    row[name] = decode(data[at : at + size])
                    at += size
        except (ValueError, ArithmeticError, Unfit) as error:
            question.unread = error
        question.rows.append(row)

    def _take_end(self) -> None:
        unit = self._units[0]
        question = unit.questions[unit.at]
        unit.at += 1
        if not question.write:  # a write is done when its transaction is
            _answer(question)

    def _take_columns(self, data: bytes, at: int) -> None:
        columns = []
        (count,) = _SHORT.unpack_from(data, at)
        at += 2
        for _ in range(count):
            end = data.index(b"\0", at)
            oid = _SIZE.unpack_from(data, end + 7)[0]
            columns.append((data[at:end].decode(), _decoder(oid)))
            at = end + 19
        self._units[0].prepared[0].columns = tuple(columns)

    def _take_error(self, fields: bytes) -> None:
        told = {chr(one[0]): one[1:].decode("utf-8", "replace") for one in fields.split(b"\0") if one}
        if self._units:
            self._units[0].error = asyncpg.PostgresError.new(told)

    def _finish(self, status: int) -> None:
        unit = self._units.popleft()
        self._finished = True
        self.load -= len(unit.questions)
        if status != _IDLE:
            # Somebody opened a transaction here: what follows would be part of it.
            self._units.appendleft(unit)
            self.abort()
        elif not unit.questions:
            self._prepared_or_not(unit)
        elif unit.error is not None:
            error = next((known.error for known in unit.prepared if known.error is not None), unit.error)
            self._failed(self, unit, error)
        else:
            for question in unit.questions:
                _answer(question)

    def _prepared_or_not(self, unit: Unit) -> None:
        for known in unit.prepared:
            known.error = unit.error
            if unit.error is not None and self._statements.get(unit.text) is known:
                del self._statements[unit.text]


def _answer(question: Question) -> None:
    if question.answer.done():
        return
    if question.unread is None:
        question.answer.set_result(question.rows)
    else:
        question.answer.set_exception(question.unread if question.write else Spilled())


def _decoder(oid: int) -> Decode:
    try:
        return decoder(oid)
    except Unfit as error:
        reason = error

        def unread(_: bytes) -> Any:
            raise reason

        return unread
