"""What people and programs see: data on stdout, talk on stderr. The only file that prints."""

import csv
import io
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal

Format = Literal["table", "json", "jsonl", "csv"]
FORMATS: tuple[Format, ...] = ("table", "json", "jsonl", "csv")
Item = Mapping[str, object]


class ConfirmationNeeded(Exception):
    """A question that nobody is there to answer; `flag` is what answers it."""

    def __init__(self, question: str, flag: str) -> None:
        super().__init__(f"{question} Nobody can be asked here; say {flag}.")
        self.flag = flag


class NoSuchField(Exception):
    """A field is asked for that nothing shown has."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"There is no field {name!r} to show. There are: {', '.join(known)}.")


@dataclass(frozen=True, slots=True)
class Output:
    """How one command speaks. As a table for people (tabs when nobody watches), as JSON or CSV for programs, or ids alone.

    JSON is the bare resource or `{"items": […], "next_cursor": …}`, one document per command, without raw control characters;
    `jsonl` is an item a line, and where lists go on is talk. `fields` leaves others out of what is shown.
    """

    format: Format = "table"
    quiet: bool = False
    yes: bool = False
    no_input: bool = False
    no_color: bool = False
    fields: tuple[str, ...] = ()

    @property
    def json(self) -> bool:
        """Whether a program reads JSON."""
        return self.format in ("json", "jsonl")

    def show(self, item: Item) -> None:
        """One resource: its JSON, or a line for each field and for each thing in one that holds several.

        Raises:
            NoSuchField: `fields` names what it does not have.
        """
        (item,) = self._chosen([item])
        if self.json:
            _print(self._document(item))
        elif self.format == "csv":
            _print(_csv([item], tuple(item)))
        elif self.quiet:
            _print(_id(item))
        else:
            _print(_lines([row for name, value in item.items() for row in _rows(name, value)]))

    def show_list(
        self, items: Iterable[Item], columns: Sequence[str], *, next_cursor: str | None = None, total: int | None = None
    ) -> None:
        """Resources: JSON with all of each, or a row for each with these columns. `total` is told when it is known.

        Raises:
            NoSuchField: `fields` names what none of them has.
        """
        given = list(items)
        rows, columns = self._chosen(given), self.fields or columns
        if self.format == "json":
            _print(_dumped({"items": rows, "next_cursor": next_cursor} | ({} if total is None else {"total": total})))
            return
        if self.format == "jsonl":
            _print("\n".join(self._document(row) for row in rows))
        elif self.quiet:
            _print("\n".join(_id(row) for row in given))
            return
        elif self.format == "csv":
            _print(_csv(rows, columns))
        else:
            self._print_table(rows, columns)
        if not rows:
            self.say("Nothing here yet.")
        if total is not None:
            self.say(f"{total} in all")
        if next_cursor is not None:
            self.say(f"More: --cursor {next_cursor}")

    def _print_table(self, rows: Sequence[Item], columns: Sequence[str]) -> None:
        head = [[column.upper().replace("_", " ") for column in columns]] if sys.stdout.isatty() and rows else []
        lines = _lines(head + [[_cell(row.get(column)) for column in columns] for row in rows]).split("\n")
        _print("\n".join([self._styled(line, "1", sys.stdout) if head and at == 0 else line for at, line in enumerate(lines)]))

    def show_event(self, event: Item) -> None:
        """One of a stream, a line: JSON, or action, id and the fields of its `record`."""
        if self.json:
            _print(_dumped(event, indent=None))
        elif self.quiet:
            _print(_id(event))
        else:
            record = event.get("record")
            fields = [f"{name}={_cell(value)}" for name, value in record.items()] if isinstance(record, Mapping) else []
            _print("\t".join([_cell(event.get("action")), _id(event), *(one for one in fields if not one.startswith("id="))]))

    def done(self, text: str, item: Item) -> None:
        """An act that is done: a sentence for people, the facts for programs."""
        if self.json:
            _print(self._document(item))
        elif self.quiet:
            _print(_id(item))
        else:
            print(self._styled("✓", "32"), _visible(text, lines=True), file=sys.stderr)

    def show_text(self, text: str) -> None:
        """Plain data, such as a file's content in UTF-8 or a manifest."""
        _print(text)

    def show_lines(self, lines: Iterable[str]) -> None:
        """Data laid out for people; nothing in it can steer the terminal."""
        _print(_visible("\n".join(lines), lines=True))

    def show_bytes(self, piece: bytes) -> None:
        """Data as it is."""
        sys.stdout.buffer.write(piece)

    def say(self, text: str) -> None:
        """Talk: progress, hints, what was done. Never data."""
        if not self.quiet:
            print(_visible(text, lines=True), file=sys.stderr)

    def fail(self, problem: Item) -> None:
        """An error: what, why, how to mend it, and its code; for programs the problem document."""
        if self.json:
            print(self._document(problem), file=sys.stderr)
            return
        lines = [f"{problem.get('title') or 'Failed'}"]
        if (detail := problem.get("detail")) and detail != problem.get("title"):
            lines += [f"  {line}" for line in str(detail).splitlines()]
        lines += _spot(problem)
        for fault in _faults(problem.get("errors")):
            lines.append(f"  {fault.get('pointer') or '(body)'}: {fault.get('message')}")
            lines += _spot(fault)
            lines += [f"    {fault['hint']}"] if fault.get("hint") else []
        if hint := problem.get("hint"):
            lines.append(f"  fix: {hint}")
        request = f" · request {problem['request_id']}" if problem.get("request_id") else ""
        lines.append(f"  code: {problem.get('code')}{request}")
        print(self._styled("✗", "31"), _visible("\n".join(lines), lines=True), file=sys.stderr)

    @contextmanager
    def progress(self, what: str) -> "Iterator[Callable[[Any], None] | None]":
        """Tells how far an upload is, for a person at a terminal; the line goes when it ends. None where nobody watches."""
        if self.quiet or not sys.stderr.isatty():
            yield None
            return
        line = _ProgressLine(_visible(what))
        try:
            yield line.tell
        finally:
            line.clear()

    def _chosen(self, items: Sequence[Item]) -> Sequence[Item]:
        if not self.fields or not items:
            return items
        known = dict.fromkeys(name for item in items for name in item)
        for name in self.fields:
            if name not in known:
                raise NoSuchField(name, known)
        return [{name: item.get(name) for name in self.fields} for item in items]

    def _document(self, value: object) -> str:
        return _dumped(value, indent=None if self.format == "jsonl" else 2)

    def _styled(self, text: str, style: str, stream: "Any" = None) -> str:
        """In colour or bold at a terminal (ECMA-48), unless that is not wanted."""
        return text if self.no_color or not (stream or sys.stderr).isatty() else f"\x1b[{style}m{text}\x1b[0m"

    def confirm(self, question: str, *, flag: str = "--yes") -> None:
        """Goes on after a yes, of the flag or of a person.

        Raises:
            ConfirmationNeeded: nobody is there. Declined: the answer was no.
        """
        if self.yes:
            return
        if self._ask(f"{question} [y/N] ", question, flag).strip().lower() not in ("y", "yes"):
            raise Declined(question)

    def ask(self, question: str, *, flag: str) -> str:
        """A line of text from a person.

        Raises:
            ConfirmationNeeded: nobody is there.
        """
        return self._ask(f"{question}: ", f"{question}?", flag).strip()

    def secret(self, question: str, *, flag: str, twice: bool = False) -> str:
        """A secret from a person, not shown while typed.

        Raises:
            ConfirmationNeeded: nobody is there. Declined: the two did not match.
        """
        self._need_somebody(f"{question}?", flag)
        from getpass import getpass

        first = getpass(f"{question}: ", stream=sys.stderr)
        if twice and getpass(f"{question} again: ", stream=sys.stderr) != first:
            raise Declined("The two differ.")
        return first

    def _ask(self, prompt: str, question: str, flag: str) -> str:
        self._need_somebody(question, flag)
        print(_visible(prompt), end="", file=sys.stderr, flush=True)
        return sys.stdin.readline()

    def _need_somebody(self, question: str, flag: str) -> None:
        if self.no_input or not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise ConfirmationNeeded(question, flag)


class Declined(Exception):
    """A person said no."""


def _faults(errors: object) -> list[Item]:
    return [error for error in errors if isinstance(error, Mapping)] if isinstance(errors, list) else []


def _spot(fault: Item) -> list[str]:
    """Where an expression is wrong, with a mark under it."""
    return [f"    {line}" for line in str(fault.get("snippet") or "").splitlines()]


def _print(text: str) -> None:
    if text:
        print(text, flush=True)


def _dumped(value: object, *, indent: int | None = 2) -> str:
    """ASCII only, so every control character is escaped, whatever a record holds."""
    return json.dumps(value, default=_plain, indent=indent)


def _csv(rows: Sequence[Item], columns: Sequence[str]) -> str:
    """RFC 4180 with a head: texts as they are (at a terminal nothing that steers it), nothing for null, JSON for the rest."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_csv_cell(row.get(column)) for column in columns] for row in rows)
    text = file.getvalue().removesuffix("\n")
    return _visible(text, lines=True) if sys.stdout.isatty() else text


def _csv_cell(value: object) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case datetime() | date() | Decimal():
            return str(_plain(value))
    return json.dumps(value, default=_plain)


class _ProgressLine:
    """One line of a terminal, written over; it waits a moment, so that what is quick says nothing."""

    _FIRST_S, _EVERY_S = 0.3, 0.1

    def __init__(self, what: str) -> None:
        self._what = what
        self._begun = time.monotonic()
        self._next = self._begun + self._FIRST_S
        self._shown = 0

    def tell(self, progress: Any) -> None:
        """`progress` has `sent` and `total` in bytes; `total` may be None."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self._EVERY_S
        rate = progress.sent / (now - self._begun)
        left = f", {(progress.total - progress.sent) / rate:.0f} s left" if progress.total and rate else ""
        share = (
            f"{100 * progress.sent / progress.total:.0f} % of {_size(progress.total)}" if progress.total else _size(progress.sent)
        )
        self._write(f"{self._what}: {share}, {_size(rate)}/s{left}")

    def clear(self) -> None:
        if self._shown:
            self._write("")
            print("\r", end="", file=sys.stderr, flush=True)

    def _write(self, text: str) -> None:
        print("\r" + text.ljust(self._shown), end="", file=sys.stderr, flush=True)
        self._shown = len(text)


def _size(count: float) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        as_sent = getattr(value, "dict", None)  # a resource of the client, whose JSON is already made
        return as_sent() if callable(as_sent) else dict(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    return list(value) if isinstance(value, tuple | set | frozenset) else str(value)


def _rows(name: str, value: object) -> list[tuple[str, str]]:
    """A field of a resource by lines; the name stands at the first."""
    match value:
        case Mapping() if value:
            parts = [f"{_cell(key)}: {_cell(one)}" for key, one in value.items()]
        case list() | tuple() if value and all(isinstance(one, Mapping) for one in value):
            parts = [_gist(one) for one in value]
        case _:
            parts = [_cell(value)]
    return [(name if at == 0 else "", part) for at, part in enumerate(parts)]


def _gist(item: Item) -> str:
    """What is said of a part, without what is off or not set: `title: type=text, required, max=120`."""
    said = [(key, value) for key, value in item.items() if key != "name" and value is not None and value is not False]
    words = ", ".join(_cell(key) if value is True else f"{_cell(key)}={_within(value)}" for key, value in said)
    return f"{_cell(item['name'])}: {words}" if "name" in item else words


def _within(value: object) -> str:
    return f"[{_cell(value)}]" if isinstance(value, list | tuple) else _cell(value)


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case str() | int() | float() | Decimal():
            return _visible(str(value))
        case datetime():
            return value.isoformat(timespec="seconds")
        case list() | tuple() if all(isinstance(one, str) for one in value):
            return _visible(", ".join(value)) or "-"
    return json.dumps(value, default=_plain)


def _visible(text: str, *, lines: bool = False) -> str:
    """Control characters as `\\x1b`, so that nothing stored can steer the terminal or fake a row."""
    keep = "\n" if lines else ""
    return "".join(one if one.isprintable() or one in keep else one.encode("unicode_escape").decode() for one in text)


def _lines(rows: Sequence[Sequence[str]]) -> str:
    """Aligned for a person, tabs for a pipe."""
    if not sys.stdout.isatty():
        return "\n".join("\t".join(row) for row in rows)
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))] if rows else []
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def _id(item: Item) -> str:
    return _cell(next((item[name] for name in ("id", "name", "path", "key") if name in item), None))
