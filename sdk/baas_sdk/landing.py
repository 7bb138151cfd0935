"""Where a download lands: beside its target, renamed onto it at the end, so that the target is never half a file."""

import os
from pathlib import Path


class Landing:
    """An open file that becomes `target` by `commit`, or nothing by `discard`. It has the rights the umask gives.

    Raises:
        OSError: the folder of `target` is not there or not writable.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._path = target.parent / f".{target.name}.{os.urandom(6).hex()}"
        self.file = self._path.open("xb")

    def commit(self) -> None:
        """Closes the file and puts it in the target's place."""
        self.file.close()
        self._path.replace(self._target)

    def discard(self) -> None:
        """Leaves nothing behind."""
        self.file.close()
        self._path.unlink(missing_ok=True)
