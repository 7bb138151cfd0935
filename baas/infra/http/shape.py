"""Reads small requests: the members of a JSON object by name and type, every fault named at once."""

from collections.abc import Mapping

from baas.base.errors import Fault, Invalid
from baas.base.words import counted


class Shape:
    """Ask for each member, then call `done()`: it raises Invalid with all faults, members nobody asked for included.

    A faulty member reads as the empty value of its type until `done()` raises.
    """

    def __init__(self, body: Mapping[str, object], pointer: str = "") -> None:
        self._body = body
        self._pointer = pointer
        self._asked: set[str] = set()
        self._faults: list[Fault] = []

    def text(self, name: str, *, min_chars: int = 1, max_chars: int = 1000) -> str:
        """A required text."""
        found = self.maybe_text(name, min_chars=min_chars, max_chars=max_chars)
        if found is None and not self._has_fault(name):
            self.fault(name, "required", "This is required.")
        return found or ""

    def maybe_text(self, name: str, *, min_chars: int = 1, max_chars: int = 1000) -> str | None:
        """A text, or None when it is absent or null."""
        value = self._take(name)
        if value is None:
            return None
        if not isinstance(value, str):
            self._wrong(name, "a text")
            return None
        if len(value) < min_chars:
            self.fault(name, "too_short", f"At least {counted(min_chars, 'character', 'characters')}.")
        elif len(value) > max_chars:
            self.fault(name, "too_long", f"At most {counted(max_chars, 'character', 'characters')}.")
        return value

    def maybe_integer(self, name: str, *, at_least: int, at_most: int) -> int | None:
        """A whole number, or None when it is absent or null."""
        value = self._take(name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            self._wrong(name, "a whole number")
            return None
        if not at_least <= value <= at_most:
            self.fault(name, "out_of_range", f"From {at_least} to {at_most}.")
        return value

    def maybe_texts(self, name: str, *, one_of: tuple[str, ...]) -> tuple[str, ...] | None:
        """A list of known words without repetition, or None when it is absent."""
        value = self._take(name)
        if name not in self._body:
            return None
        if not isinstance(value, list):
            self._wrong(name, "a list")
            return None
        for index, item in enumerate(value):
            if item not in one_of:
                self.fault(f"{name}/{index}", "not_allowed", f"One of {', '.join(one_of)}.")
        known = [item for item in value if isinstance(item, str)]
        return tuple(dict.fromkeys(known))

    def fault(self, name: str, code: str, message: str) -> None:
        """A fault that the caller found itself; `name` may be a deeper pointer, without its first slash."""
        self._faults.append(Fault(f"{self._pointer}/{name}", code, message))

    def done(self) -> None:
        """Raises Invalid when anything was wrong."""
        for name in self._body:
            if name not in self._asked:
                self.fault(name.replace("~", "~0").replace("/", "~1"), "unknown_key", "There is no such member here.")
        if self._faults:
            raise Invalid("The body has faults.", errors=self._faults)

    def _take(self, name: str) -> object:
        self._asked.add(name)
        return self._body.get(name)

    def _wrong(self, name: str, wanted: str) -> None:
        self.fault(name, "wrong_type", f"This must be {wanted}.")

    def _has_fault(self, name: str) -> bool:
        return any(fault.pointer == f"{self._pointer}/{name}" for fault in self._faults)
