"""The room's values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple
from uuid import UUID

import msgspec

from baas.base.denial import Denial
from baas.base.errors import BaasError, BadRequest
from baas.base.principal import Principal
from baas.engines.changes.log import Cursor

MAX_SUBSCRIPTIONS = 100
MAX_SNAPSHOT = 10_000
"""Records that one subscription may begin with, or be compared with."""
MAX_ID = 64
MAX_QUEUE, MAX_QUEUE_BYTES = 1_000, 1 << 20
"""What may wait for a client that does not take it; above this it is cut off."""
UNCHECKED_S = 10.0
"""Whose access could not be checked for so long is told nothing more until it could."""
TICKET_S = 60
BOOKMARK_S = 30.0

Action = Literal["create", "update", "delete", "enter", "leave"]
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_PLACE = re.compile(r"([^.]+\.[^.]+)(?:\.([0-9a-z]{1,16})(\.0)?)?")
UNSETTLED = "0"
"""In the place of definitions: what was shown is of none, everything is shown again."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a client follows: a list by `filter`, `vars`, `fields` and `expand`, as `wanted` has them unchecked.

    `initial`: begin with what the list shows now. `place` is the pointer to it in what the client sent.
    """

    id: str
    collection: str
    wanted: Mapping[str, object] = field(default_factory=dict)
    initial: bool = False
    place: str = ""

    def blamed(self, error: BaasError) -> BaasError:
        """The refusal of the list with the subscription that it is about: its id, and pointers from where the client began."""
        error.facts["subscription"] = self.id
        error.errors = tuple(replace(one, pointer=self.place + one.pointer) for one in error.errors)
        return error

    @staticmethod
    def is_id(text: object) -> bool:
        return isinstance(text, str) and _ID.fullmatch(text) is not None

    def denial(self, principal: Principal) -> Denial:
        """It as a call that a rule refused."""
        wanted = self.wanted.get("filter")
        return Denial(
            self.collection,
            "list",
            filter=wanted if isinstance(wanted, str) else None,
            via="realtime",
            principal=principal,
        )


class Place(NamedTuple):
    """Where a stream is: behind a change, under the definitions of the collections by which it has shown what it did.

    `owed`: not all snapshots that it began with are out. Text `<cursor>.<definitions>`, with `.0` behind it when `owed`.
    """

    cursor: Cursor
    definitions: str | None = None
    owed: bool = False

    def __str__(self) -> str:
        text = str(self.cursor) if self.definitions is None else f"{self.cursor}.{self.definitions}"
        return f"{text}.0" if self.owed else text

    @classmethod
    def parse(cls, text: str) -> "Place":
        """From the text that a client was given. Raises BadRequest (`bad_cursor`)."""
        match = _PLACE.fullmatch(text)
        if match is None:
            raise BadRequest("This is no cursor of a feed.", code="bad_cursor")
        return cls(Cursor.parse(match[1]), match[2], match[3] is not None)


CHANNEL_ACTIONS = ("join", "send", "track")
_PART = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NAMED = re.compile(r"\{([a-z][a-z0-9_]{0,30})\}")


@dataclass(frozen=True, slots=True)
class Pattern:
    """`room:{id}`: parts between colons, each a fixed word or a name in braces that stands for any word."""

    text: str

    @staticmethod
    def is_pattern(text: object) -> bool:
        if not isinstance(text, str) or len(text) > 200:
            return False
        parts = text.split(":")
        names = [match[1] for part in parts if (match := _NAMED.fullmatch(part))]
        fits = all(_PART.fullmatch(part) or _NAMED.fullmatch(part) for part in parts)
        return fits and len(parts) <= 8 and len(set(names)) == len(names) and "name" not in names

    @property
    def names(self) -> tuple[str, ...]:
        """The parts with a name, as rules call them."""
        return tuple(match[1] for part in self.text.split(":") if (match := _NAMED.fullmatch(part)))

    @property
    def rank(self) -> tuple[bool, ...]:
        """Fixed words come before names, from the left."""
        return tuple(part.startswith("{") for part in self.text.split(":"))

    def parts_of(self, channel: str) -> Mapping[str, str] | None:
        """What the names stand for in a channel; None when it is no channel of this pattern."""
        mine, theirs = self.text.split(":"), channel.split(":")
        if len(mine) != len(theirs) or not all(_PART.fullmatch(part) for part in theirs):
            return None
        found: dict[str, str] = {}
        for part, word in zip(mine, theirs, strict=True):
            if (match := _NAMED.fullmatch(part)) is not None:
                found[match[1]] = word
            elif part != word:
                return None
        return found


@dataclass(frozen=True, slots=True)
class ChannelRules:
    """Who may `join`, `send` and `track` in the channels of a pattern; None is nobody but operators and keys."""

    pattern: Pattern
    rules: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Present:
    """Somebody who is there: the connection, the principal, and his state as JSON text."""

    connection: UUID
    who: str | None
    state: str

    def shown(self) -> Mapping[str, object]:
        return {"connection": str(self.connection), "who": self.who, "state": msgspec.Raw(self.state.encode())}


class Told(NamedTuple):
    """What one change means to one subscription; `body` is the record as JSON text, None when it is out of sight."""

    pos: int
    action: Action
    record: str
    rev: int
    body: bytes | None
