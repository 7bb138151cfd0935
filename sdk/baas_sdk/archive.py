"""A folder as one tar.gz, the same bytes for the same content."""

import gzip
import tarfile
from pathlib import Path
from typing import IO

from baas_sdk.errors import ConfigError


def pack(folder: Path, into: IO[bytes]) -> int:
    """Writes every file of the folder and gives their number. Dot files stay behind, but for `.well-known`, which sites serve.

    Raises:
        ConfigError: it is no folder, holds no file, or holds a link (whose target may be anything on this machine).
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder.")
    count = 0
    with gzip.GzipFile(fileobj=into, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w|") as archive:
        for path in sorted(folder.rglob("*")):
            relative = path.relative_to(folder)
            if any(part.startswith(".") and part != ".well-known" for part in relative.parts):
                continue
            if path.is_symlink():
                raise ConfigError(f"{path} is a link; a site holds files only.")
            if path.is_file():
                _add(archive, path, relative)
                count += 1
    if count == 0:
        raise ConfigError(f"{folder} holds nothing to deploy.")
    return count


def _add(archive: tarfile.TarFile, path: Path, relative: Path) -> None:
    entry = tarfile.TarInfo(relative.as_posix())
    with path.open("rb") as file:
        entry.size = path.stat().st_size
        archive.addfile(entry, file)
