"""What a subscription is told, and the state of one: which event is next, and where to go on after a break."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, cast

from baas_sdk.errors import APIError
from baas_sdk.models import M

Action = Literal["snapshot", "create", "update", "delete", "enter", "leave"]
NAME = "s"
"""Of the one subscription that a stream of ours has."""


@dataclass(frozen=True, slots=True)
class Event(Generic[M]):
    """A change of what the subscription shows.

    `snapshot`: `items` are everything it shows now, whatever was told before. `create`, `update`, `enter`: `record` as it is now;
    it entered by a change that brought it into sight. `delete`, `leave`: only `id`; it left when it is there but out of sight.
    `cursor` is the place behind the event, to go on from with `since`.
    """

    action: Action
    cursor: str
    id: str | None = None
    record: M | None = None
    items: list[M] = field(default_factory=list)


class Ended(APIError):
    """The subscription may go on no longer, for instance because a rule says so now. `code` tells why."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(403, code=code, detail=detail)


class Follower(Generic[M]):
    """Makes events of messages. `cursor` is where to go on; None begins anew.

    A snapshot that comes in parts is told as one, when its last part is there; until then the stream has not begun.
    """

    def __init__(self, read: Callable[[Mapping[str, Any]], M], cursor: str | None) -> None:
        self._read = read
        self._parts: list[M] = []
        self.cursor = cursor
        self.pause_s: float | None = None

    def connected(self) -> None:
        """A new connection: what was cut off comes again."""
        self._parts = []
        self.pause_s = None

    def take(self, name: str, place: str, text: str) -> Event[M] | None:
        """One message; the event it makes, if it makes one.

        Raises:
            Ended: the server said so.
        """
        data = json.loads(text) if text else {}
        match name:
            case "snapshot":
                return self._snapshot(data, place)
            case "change":
                self.cursor = place or self.cursor
                return self._change(data)
            case "ended":
                raise Ended(data.get("code", "ended"), data.get("detail", "The subscription has ended."))
            case "reconnect":
                self.pause_s = float(data.get("after_ms", 0)) / 1000
        self.cursor = place or self.cursor
        return None

    def _snapshot(self, data: Mapping[str, Any], place: str) -> Event[M] | None:
        if data.get("first", True):
            self._parts = []
        self._parts += [self._read(item) for item in data["items"]]
        if data.get("more"):
            return None
        self.cursor = place or self.cursor
        items, self._parts = self._parts, []
        return Event("snapshot", self.cursor or "", items=items)

    def _change(self, data: Mapping[str, Any]) -> Event[M]:
        record = data.get("record")
        of = data["id"] if record is None else record.get("id")
        read = None if record is None else self._read(record)
        return Event(cast(Action, data["action"]), self.cursor or "", id=of, record=read)
