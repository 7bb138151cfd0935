"""What people give to commands: JSON as text, file or stdin; `name=value` pairs; secrets."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path

from baas_cli.invocation import Usage
from baas_cli.output import Output


def read_object(given: str) -> dict[str, object]:
    """A JSON object: the text itself, `-` for stdin, or the path of a file.

    Raises:
        Usage: it is no JSON object. OSError: the file cannot be read.
    """
    text = given if given.lstrip().startswith("{") else _text_of(given)
    try:
        value = json.loads(text)
    except ValueError as error:
        raise Usage(f"{_named(given)} is no JSON: {error}.") from error
    if not isinstance(value, dict):
        raise Usage(f"{_named(given)} is no JSON object.")
    return value


def read_document(given: str) -> dict[str, object]:
    """A YAML file (or JSON, which is YAML) that holds one object; `-` is stdin.

    Scalars mean what they mean in JSON: `yes`, `12:30` and `2024-01-31` are texts. A key stands once, and nothing refers to
    another place of the file, so a small file cannot unfold into a huge one.

    Raises:
        Usage: it is none, with the line. OSError: the file cannot be read.
    """
    from baas_cli.yaml_document import BadDocument, loads

    try:
        return loads(_text_of(given))
    except BadDocument as error:
        raise Usage(f"{_named(given)} cannot be read: {error}.") from error


def read_pairs(pairs: Iterable[str]) -> dict[str, object]:
    """`name=value` as a mapping; a value that is JSON is that (`3`, `true`, `["a"]`), any other is a text.

    Raises:
        Usage: there is no `=`.
    """
    values: dict[str, object] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign or not name:
            raise Usage(f"{pair!r} is not name=value.")
        try:
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text
    return values


def read_values(data: str | None, pairs: Iterable[str]) -> dict[str, object]:
    """What `--set` and the JSON argument say together; a pair wins.

    Raises: as `read_object` and `read_pairs`.
    """
    values = (read_object(data) if data is not None else {}) | read_pairs(pairs)
    if not values:
        raise Usage("There is nothing to send: give a JSON object, a file, - for stdin, or --set name=value.")
    return values


def read_password(output: Output, from_stdin: bool, *, twice: bool = False) -> str:
    """A password from stdin or a person; never from the command line, where others could see it.

    Raises:
        ConfirmationNeeded: nobody is there to ask. Usage: stdin was empty.
    """
    if not from_stdin:
        return output.secret("Password", flag="--password-stdin", twice=twice)
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise Usage("There was no password on stdin.")
    return password


def _text_of(given: str) -> str:
    return sys.stdin.read() if given == "-" else Path(given).read_text("utf-8")


def _named(given: str) -> str:
    return "stdin" if given == "-" else given if len(given) < 60 else given[:57] + "…"
