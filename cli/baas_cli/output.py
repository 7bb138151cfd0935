"""What people and programs see: data on stdout, talk on stderr. The only file that prints."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Literal

Format = Literal["table", "json"]
Item = Mapping[str, object]


class ConfirmationNeeded(Exception):
    """A question that nobody is there to answer; `flag` is what answers it."""

    def __init__(self, question: str, flag: str) -> None:
        super().__init__(f"{question} Nobody can be asked here; say {flag}.")
        self.flag = flag


@dataclass(frozen=True, slots=True)
class Output:
    """How one command speaks. As a table for people (tabs when nobody watches), as JSON for programs, or ids alone.

    JSON is the bare resource or `{"items": […], "next_cursor": …}`, one document per command, without raw control characters.
    """

    format: Format = "table"
    quiet: bool = False
    yes: bool = False
    no_input: bool = False

    @property
    def json(self) -> bool:
        """Whether a program reads."""
        return self.format == "json"

    def show(self, item: Item) -> None:
        """One resource: its JSON, or a line for each field and for each thing in one that holds several."""
        if self.json:
            _print(_dumped(item))
        elif self.quiet:
            _print(_id(item))
        else:
            _print(_lines([row for name, value in item.items() for row in _rows(name, value)]))

    def show_list(
        self, items: Iterable[Item], columns: Sequence[str], *, next_cursor: str | None = None, total: int | None = None
    ) -> None:
        """Resources: JSON with all of each, or a row for each with these columns. `total` is told when it is known."""
        rows = list(items)
        if self.json:
            _print(_dumped({"items": rows, "next_cursor": next_cursor} | ({} if total is None else {"total": total})))
            return
        if self.quiet:
            _print("\n".join(_id(row) for row in rows))
            return
        head = [[column.upper().replace("_", " ") for column in columns]] if sys.stdout.isatty() and rows else []
        _print(_lines(head + [[_cell(row.get(column)) for column in columns] for row in rows]))
        if not rows:
            self.say("Nothing here yet.")
        if total is not None:
            self.say(f"{total} in all")
        if next_cursor is not None:
            self.say(f"More: --cursor {next_cursor}")

    def show_event(self, event: Item) -> None:
        """One of a stream, a line: JSON, or action, id and the fields of its `record`."""
        if self.json:
            _print(json.dumps(event, default=_plain))
        elif self.quiet:
            _print(_id(event))
        else:
            record = event.get("record")
            fields = [f"{name}={_cell(value)}" for name, value in record.items()] if isinstance(record, Mapping) else []
            _print("\t".join([_cell(event.get("action")), _id(event), *(one for one in fields if not one.startswith("id="))]))

    def done(self, text: str, item: Item) -> None:
        """An act that is done: a sentence for people, the facts for programs."""
        if self.json:
            _print(_dumped(item))
        elif self.quiet:
            _print(_id(item))
        else:
            self.say(f"✓ {text}")

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
            print(_dumped(problem), file=sys.stderr)
            return
        lines = [f"✗ {problem.get('title') or 'Failed'}"]
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
        print(_visible("\n".join(lines), lines=True), file=sys.stderr)

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


def _dumped(value: object) -> str:
    """ASCII only, so every control character is escaped, whatever a record holds."""
    return json.dumps(value, default=_plain, indent=2)


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
