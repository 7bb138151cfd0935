"""Where a session lives between calls, or between runs."""

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any, Protocol

from baas_sdk.models import Session


class Store(Protocol):
    """Keeps sessions by scope, which is the address of a project; one store may serve several.

    `save` must be durable when it returns: the token it replaces is dead already.
    """

    def load(self, scope: str) -> Session | None: ...
    def save(self, scope: str, session: Session) -> None: ...
    def clear(self, scope: str) -> None: ...


class MemoryStore:
    """Sessions that end with the process."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}

    def load(self, scope: str) -> Session | None:
        return self._sessions.get(scope)

    def save(self, scope: str, session: Session) -> None:
        self._sessions[scope] = session

    def clear(self, scope: str) -> None:
        self._sessions.pop(scope, None)


class FileStore:
    """Sessions in one JSON file that only its owner can read (0600). A file that cannot be read as such counts as empty."""

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)

    def load(self, scope: str) -> Session | None:
        try:
            return Session.of_json(self._read()[scope])
        except (KeyError, TypeError, ValueError, AttributeError):
            return None

    def save(self, scope: str, session: Session) -> None:
        self._write(self._read() | {scope: session.as_json()})

    def clear(self, scope: str) -> None:
        sessions = self._read()
        if sessions.pop(scope, None) is not None:
            self._write(sessions)

    def _read(self) -> dict[str, Any]:
        try:
            sessions = json.loads(self._path.read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return sessions if isinstance(sessions, dict) else {}

    def _write(self, sessions: dict[str, Any]) -> None:
        """Beside the file and then over it, so that a crash leaves the old or the new one; mkstemp makes it 0600."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
        try:
            with os.fdopen(descriptor, "w") as file:
                json.dump(sessions, file)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(name).unlink()
            raise
