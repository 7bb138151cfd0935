"""Values on the wire, as text in both directions: what the driver would send and give, for the types our statements have."""

import re
import struct
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from asyncpg.pgproto.pgproto import UUID as DRIVERS_UUID

_LENGTH = struct.Struct(">i")
_COUNT = struct.Struct(">H")
_NULL = _LENGTH.pack(-1)
_MOST_VALUES = 32_767
_ITEM = re.compile(r'"((?:[^"\\]|\\.)*)"|([^,{}"]+)')
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)

Encode = Callable[[Any], bytes]
Decode = Callable[[bytes], Any]


class Unfit(Exception):
    """A value or a column of a type that only the driver knows: the statement has to go the ordinary way."""


def encode(values: Sequence[object]) -> bytes:
    """Number of values and values, as a Bind message holds them. Raises Unfit; a lone surrogate is a UnicodeEncodeError."""
    if len(values) > _MOST_VALUES:
        raise Unfit(f"{len(values)} values")
    parts = [_COUNT.pack(len(values))]
    for value in values:
        if value is None:
            parts.append(_NULL)
            continue
        one = _ENCODERS.get(type(value))
        if one is None:
            raise Unfit(type(value).__name__)
        data = one(value)
        parts.append(_LENGTH.pack(len(data)))
        parts.append(data)
    return b"".join(parts)


def decoder(oid: int) -> Decode:
    """How text of this type becomes a value. Raises Unfit."""
    try:
        return _DECODERS[oid]
    except KeyError:
        raise Unfit(f"type {oid}") from None


def _moment(value: datetime) -> bytes:
    if value.tzinfo is None:
        raise Unfit("a moment without time zone")
    return value.isoformat().encode()


def _array(values: Iterable[object]) -> bytes:
    return b"{" + b",".join(_item(value) for value in values) + b"}"


def _item(value: object) -> bytes:
    if value is None:
        return b"NULL"
    one = _ENCODERS.get(type(value))
    if one is None or one is _array:
        raise Unfit("an array of arrays")
    return b'"' + one(value).replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


# By exact type: what a subclass means by its text is not known here.
_ENCODERS: dict[type, Encode] = {
    str: str.encode,
    bool: lambda value: b"t" if value else b"f",
    int: lambda value: b"%d" % value,
    float: lambda value: repr(value).encode(),
    Decimal: lambda value: str(value).encode(),
    UUID: lambda value: str(value).encode(),
    DRIVERS_UUID: lambda value: str(value).encode(),
    datetime: _moment,
    date: lambda value: value.isoformat().encode(),
    list: _array,
    tuple: _array,
}


def _items(decode: Decode) -> Decode:
    def of(data: bytes) -> list[Any]:
        text = data.decode()
        if text.startswith("{{") or not text.startswith("{"):
            raise Unfit("an array of more than one dimension")
        return [_unquoted(found, decode) for found in _ITEM.finditer(text, 1, len(text) - 1)]

    return of


def _unquoted(found: re.Match[str], decode: Decode) -> Any:
    quoted, plain = found.groups()
    if plain is not None:
        return None if plain == "NULL" else decode(plain.encode())
    return decode(_ESCAPED.sub(r"\1", quoted).encode())


def _text(data: bytes) -> str:
    return data.decode()


def _bool(data: bytes) -> bool:
    return data == b"t"


def _moment_of(data: bytes) -> datetime:
    """The session's time zone is UTC, so the offset is `+00`."""
    return datetime.fromisoformat(data.decode())


def _uuid(data: bytes) -> UUID:
    return UUID(data.decode())


_DECODERS: dict[int, Decode] = {
    16: _bool,
    18: _text,
    19: _text,
    20: int,
    21: int,
    23: int,
    25: _text,
    26: int,
    114: _text,
    700: float,
    701: float,
    1043: _text,
    1082: lambda data: date.fromisoformat(data.decode()),
    1184: _moment_of,
    1700: lambda data: Decimal(data.decode()),
    2950: _uuid,
    3802: _text,
    1000: _items(_bool),
    1007: _items(int),
    1009: _items(_text),
    1016: _items(int),
    2951: _items(_uuid),
}
"""By the number that PostgreSQL has for the type in every database."""
