"""What is said in a channel, and who is there: the state of a channel, without a line."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from baas_sdk.errors import APIError, error_of


@dataclass(frozen=True, slots=True)
class Message:
    """Something that happened in a channel.

    `message`: somebody said `data`, under the name `event`. `joined`, `left`: `data` is the state that he tracks. `who` is
    `user:<id>` and the like, None for a guest.
    """

    kind: Literal["message", "joined", "left"]
    data: Any
    event: str = ""
    who: str | None = None


class Hearing:
    """Reads what the server sends about one channel. `present` is who is there, by connection."""

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.present: dict[str, Mapping[str, Any]] = {}
        self.waiting: list[Message] = []
        self.pause_s: float | None = None
        """How long the server asks to stay away when it ends the line."""

    def take(self, text: str) -> Mapping[str, Any]:
        """One text; what there is to tell of it waits in `waiting`.

        Raises:
            APIError: the server refuses what was said, or ends the connection.
        """
        said: Mapping[str, Any] = json.loads(text)
        match said.get("type"):
            case "error" | "closed":
                raise error_of(int(said.get("status", 400)), {}, text.encode())
            case "reconnect":
                self.pause_s = float(said.get("after_ms", 0)) / 1000
            case "left":
                raise APIError(
                    403, code=said.get("code", "rule_denied"), detail=f"The channel {self.channel} is closed to you now."
                )
            case "message":
                self.waiting.append(Message("message", said.get("data"), said.get("event", ""), said.get("from")))
            case "presence":
                self._difference(said)
        return said

    def arrive(self, present: list[Mapping[str, Any]]) -> None:
        """Who is there when one joins."""
        self.present = {one["connection"]: one for one in present}

    def _difference(self, said: Mapping[str, Any]) -> None:
        for one in said.get("joined", ()):
            self.present[one["connection"]] = one
            self.waiting.append(Message("joined", one.get("state"), who=one.get("who")))
        for one in said.get("left", ()):
            self.present.pop(one["connection"], None)
            self.waiting.append(Message("left", one.get("state"), who=one.get("who")))
