"""The room's values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from baas.base.errors import BadRequest
from baas.engines.changes.log import Cursor

MAX_SUBSCRIPTIONS = 100
MAX_SNAPSHOT = 10_000
"""Records that one subscription may begin with, or be compared with."""
MAX_ID = 64
MAX_QUEUE, MAX_QUEUE_BYTES = 1_000, 1 << 20
"""What may wait for a client that does not take it; above this it is cut off."""
TICKET_S = 60
BOOKMARK_S = 30.0

Action = Literal["create", "update", "delete", "enter", "leave"]
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_PLACE = re.compile(r"([^.]+\.[^.]+)(?:\.([0-9a-z]{1,16}))?")
FROM_THE_START = "0"


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a client follows: a list by `filter`, `vars`, `fields` and `expand`, as `wanted` has them unchecked.

    `initial`: begin with what the list shows now.
    """

    id: str
    collection: str
    wanted: Mapping[str, object] = field(default_factory=dict)
    initial: bool = False

    @staticmethod
    def is_id(text: object) -> bool:
        return isinstance(text, str) and _ID.fullmatch(text) is not None


class Place(NamedTuple):
    """Where a stream is: behind a change, under certain definitions of the collections.

    Text `<cursor>.<definitions>`; the cursor of a list, which has no definitions, is a place too. `FROM_THE_START` stands for a
    stream that was cut off before it had shown all that it began with.
    """

    cursor: Cursor
    definitions: str | None = None

    def __str__(self) -> str:
        return str(self.cursor) if self.definitions is None else f"{self.cursor}.{self.definitions}"

    @classmethod
    def parse(cls, text: str) -> "Place":
        """From the text that a client was given. Raises BadRequest (`bad_cursor`)."""
        match = _PLACE.fullmatch(text)
        if match is None:
            raise BadRequest("This is no cursor of a feed.", code="bad_cursor")
        return cls(Cursor.parse(match[1]), match[2])


class Told(NamedTuple):
    """What one change means to one subscription; `body` is the record as JSON text, None when it is out of sight."""

    pos: int
    action: Action
    record: str
    rev: int
    body: bytes | None
