"""The lines of an import as bodies of records: the forms that an export writes, read back exactly.

Bytes come in pieces of any size; what is kept of them is one record and what came with it.
"""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from baas.base.errors import BaasError, Fault, Invalid
from baas.base.strict_json import loads
from baas.engines.schema.collection import SYSTEM_FIELDS, Collection, Field
from baas.engines.schema.fields import kind_of

# Of one cell: in quotes, or without, and what ends it.
_CELL = re.compile(r'(?:"((?:[^"]|"")*)"|([^",]*))(,|\Z)')
_WHOLE = re.compile(r"-?[0-9]{1,30}")
_WRITTEN_BY_THE_SERVER = frozenset(SYSTEM_FIELDS) - {"id"}

Read = Callable[[str], object]


class Line(NamedTuple):
    """One record: the number of the line that it begins in (from 1), its bytes."""

    number: int
    raw: bytes


async def split(pieces: AsyncIterator[bytes], *, quoted: bool, longest: int) -> AsyncIterator[Line]:
    """The records of a file. `quoted`: a line break within quotes belongs to its record.

    Raises Invalid (`limit_exceeded`) for a record of more than `longest` bytes.
    """
    number, begun, rest = 1, b"", b""
    lines_begun = 0
    async for piece in pieces:
        found = (rest + piece).split(b"\n")
        rest = found.pop()
        if len(rest) + len(begun) > longest:
            raise _too_long(number, longest)
        for one in found:
            begun = begun + b"\n" + one if lines_begun else one
            lines_begun += 1
            if len(begun) > longest:
                raise _too_long(number, longest)
            if quoted and begun.count(b'"') % 2:
                continue
            yield Line(number, begun.removesuffix(b"\r"))
            number += lines_begun
            lines_begun, begun = 0, b""
    if lines_begun or rest:
        yield Line(number, (begun + b"\n" + rest if lines_begun else rest).removesuffix(b"\r"))


def json_body(line: Line) -> dict[str, object]:
    """The body of a line of NDJSON. Raises BaasError."""
    value = loads(line.raw)
    if not isinstance(value, dict):
        raise Invalid("A line must be a JSON object.", errors=[Fault("", "not_an_object", "A line must be a JSON object.")])
    for name in _WRITTEN_BY_THE_SERVER & value.keys():
        del value[name]
    return value


class Csv:
    """What the header row says: the field of each column and how its cells are read."""

    def __init__(self, header: Line, collection: Collection, *, privileged: bool) -> None:
        """Raises Invalid for a name that is no field of the collection (hidden ones are none to callers under rules)."""
        fields = {field.name: field for field in collection.fields if privileged or not field.hidden}
        names = [text or "" for text, _ in _cells(header.raw.removeprefix(b"\xef\xbb\xbf"))]
        faults = [
            Fault(f"/{name}", "unknown_field", f"There is no field {name[:80]!r}.")
            for name in names
            if name not in fields and name not in SYSTEM_FIELDS
        ]
        faults += [
            Fault(f"/{name}", "duplicate", "There are two columns of this name.") for name in {*names} if names.count(name) > 1
        ]
        if faults:
            raise Invalid("The header row is wrong.", errors=faults)
        self._columns: tuple[tuple[str, Read] | None, ...] = tuple(
            None if name in _WRITTEN_BY_THE_SERVER else (name, _reader(fields.get(name))) for name in names
        )

    @property
    def width(self) -> int:
        return len(self._columns)

    def body(self, line: Line) -> dict[str, object]:
        """The body of a row: an empty cell is null, `""` the empty text. Raises BaasError."""
        cells = _cells(line.raw)
        if len(cells) != len(self._columns):
            message = f"The row has {len(cells)} cells, the header {len(self._columns)}."
            raise Invalid(message, errors=[Fault("", "syntax", message)])
        body: dict[str, object] = {}
        for column, (text, is_quoted) in zip(self._columns, cells, strict=True):
            if column is not None:
                name, read = column
                if text or is_quoted:
                    body[name] = _read(read, text, name)
                elif name != "id":
                    body[name] = None
        return body


def _cells(raw: bytes) -> list[tuple[str, bool]]:
    """The text of each cell and whether it was in quotes. Raises Invalid."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise Invalid("The row is not UTF-8.", errors=[Fault("", "syntax", "The row is not UTF-8.")]) from None
    if '"' not in text:
        return [(one, False) for one in text.split(",")]
    cells, at = [], 0
    while True:
        match = _CELL.match(text, at)
        if match is None:
            message = f"There is a stray quote after character {at}."
            raise Invalid(message, errors=[Fault("", "syntax", message)])
        inner = match[1]
        cells.append((match[2], False) if inner is None else (inner.replace('""', '"'), True))
        at = match.end()
        if not match[3]:
            return cells


def _reader(field: Field | None) -> Read:
    if field is None:  # the id
        return str
    cast = kind_of(field).cast(field)
    return _READERS.get(cast, _json)


def _read(read: Read, text: str, name: str) -> object:
    try:
        return read(text)
    except (ValueError, InvalidOperation, BaasError):
        message = "The cell cannot be read as a value of this field."
        raise Invalid(message, errors=[Fault(f"/{name}", "syntax", message)]) from None


def _json(text: str) -> object:
    return loads(text.encode())


def _bool(text: str) -> object:
    return {"true": True, "false": False}.get(text, text)


def _int(text: str) -> object:
    return int(text) if _WHOLE.fullmatch(text) else text


def _float(text: str) -> object:
    value = loads(text.encode())
    return value if isinstance(value, int | Decimal) else text


# What is not here stands as JSON.
_READERS: Mapping[str, Read] = {
    "text": str,
    "date": str,
    "timestamptz": str,
    "uuid": str,
    "numeric": str,
    "bool": _bool,
    "int8": _int,
    "float8": _float,
}


def _too_long(number: int, longest: int) -> Invalid:
    return Invalid(
        f"The record in line {number} has more than {longest} bytes.", code="limit_exceeded", limit=longest, line=number
    )
