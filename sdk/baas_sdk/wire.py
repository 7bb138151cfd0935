"""Python values as JSON and names as parts of a path: what every call sends passes here."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from urllib.parse import quote
from uuid import UUID

from baas_sdk.errors import ConfigError
from baas_sdk.models import File, Resource


def encode(value: object) -> bytes:
    """JSON of a body. Datetimes become RFC 3339 in UTC, dates ISO 8601, decimals, UUIDs and enums their text,
    stored files their path, records their JSON.

    Raises:
        ConfigError: a value has no JSON form, is NaN or infinite, or is a datetime without a time zone.
    """
    try:
        return json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise ConfigError("A text holds half of a surrogate pair, which no encoding can carry.") from error
    except ValueError as error:
        raise ConfigError(f"A value has no JSON form: {error}.") from error


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds.

    Raises:
        ConfigError: the datetime has no time zone, so which moment it means is a guess.
    """
    if moment.tzinfo is None:
        raise ConfigError(f"{moment!r} has no time zone; say datetime.now(timezone.utc) or give it a tzinfo.")
    try:
        utc = moment.astimezone(UTC)
    except OverflowError as error:
        raise ConfigError(f"{moment!r} is out of range in UTC.") from error
    return utc.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _plain(value: object) -> object:
    match value:
        case File():
            return value.path  # what a field of the type `file` stores
        case Resource():
            return value.dict()
        case datetime():
            return timestamp(value)
        case date():
            return value.isoformat()
        case Decimal() | UUID():
            return str(value)
        case Enum():
            return value.value
        case Mapping():
            return dict(value)
        case set() | frozenset():
            return list(value)
        case Path():
            raise ConfigError("A path has no JSON form; upload it and give the file: photo=bc.bucket('photos').upload(path).")
    raise ConfigError(f"A {type(value).__name__} has no JSON form.")


def segment(name: str) -> str:
    """One name as one path segment.

    Raises:
        ConfigError: the name is empty or walks: `.` and `..` would be resolved before the server sees them.
    """
    if name in ("", ".", ".."):
        raise ConfigError(f"{name!r} is no name.")
    return quote(name, safe="")


def path_of(key: str) -> str:
    """A file's key as path segments, each a proper name."""
    return "/".join(segment(part) for part in key.split("/"))
