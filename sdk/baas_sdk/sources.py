"""Where an upload's bytes come from. Files are read in pieces, so size is no matter."""

import mimetypes
import os
from collections.abc import AsyncIterable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from baas_sdk.errors import ConfigError

PIECE_BYTES = 256 * 1024
Source = Path | bytes | bytearray | memoryview | BinaryIO | Iterable[bytes] | AsyncIterable[bytes]


@dataclass(frozen=True, slots=True)
class Upload:
    """A source, examined: `size` is None when only reading it would tell; `file` is read from `start`."""

    name: str | None
    size: int | None
    replays: bool
    content: bytes | None = None
    path: Path | None = None
    file: BinaryIO | None = None
    start: int = 0
    pieces: Iterable[bytes] | AsyncIterable[bytes] | None = None


def examine(source: Source) -> Upload:
    """What a source is, without reading it.

    Raises:
        ConfigError: it is a text (a path or content? say Path(...) or .encode()), not there, not a file, or not opened for bytes.
    """
    if isinstance(source, str):
        raise ConfigError("A text could be a path or the content: say Path(...) or .encode().")
    if isinstance(source, Path):
        return _of_path(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return Upload(None, len(bytes(source)), replays=True, content=bytes(source))
    if callable(getattr(source, "read", None)):
        return _of_file(source)  # type: ignore[arg-type]  # it reads; whether bytes is seen at the first piece
    if not isinstance(source, Iterable | AsyncIterable):
        raise ConfigError(f"A {type(source).__name__} cannot be uploaded.")
    return Upload(None, None, replays=False, pieces=cast(Iterable[bytes] | AsyncIterable[bytes], source))


def guessed_type(name: str) -> str:
    """The media type that a name's ending means."""
    kind, encoding = mimetypes.guess_type(name, strict=False)
    return kind if kind is not None and encoding is None else "application/octet-stream"


def _of_path(path: Path) -> Upload:
    try:
        if not path.is_file():
            raise ConfigError(f"{path} is not a file.")
        return Upload(path.name, path.stat().st_size, replays=True, path=path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error


def _of_file(file: BinaryIO) -> Upload:
    name = getattr(file, "name", None)
    base = Path(name).name if isinstance(name, str) else None
    try:
        start = file.tell()
        size = file.seek(0, os.SEEK_END) - start
        file.seek(start)
    except (OSError, AttributeError, ValueError):
        return Upload(base, None, replays=False, file=file)
    return Upload(base, size, replays=True, file=file, start=start)
