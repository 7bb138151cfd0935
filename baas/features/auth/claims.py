"""What operators say of a user, as it comes in a body, stands in the database and in tokens, and as rules see it."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

import msgspec

from baas.base.errors import Fault

MAX_BYTES = 1024
MAX_DEPTH = 4
NAME = "claims"
_encode = msgspec.json.Encoder(decimal_format="number", order="deterministic").encode


class Claims(NamedTuple):
    """`text` is a JSON object, `version` grows with every change; 0 is that of a user of whom nothing was ever said."""

    text: str
    version: int

    def as_rules_see_them(self) -> Mapping[str, object]:
        """Numbers with a fraction are decimals, as in records."""
        found: dict[str, object] = json.loads(self.text, parse_float=Decimal)
        return found


NONE = Claims("{}", 0)


def read(value: object, faults: list[Fault]) -> str:
    """The JSON text of new claims, null being none; what is wrong with them goes to `faults`."""
    if value is None:
        return NONE.text
    if not isinstance(value, dict):
        faults.append(Fault(f"/{NAME}", "wrong_type", "Must be an object."))
        return NONE.text
    text = _encode(value)
    if len(text) > MAX_BYTES:
        # They travel in the header of every request.
        faults.append(Fault(f"/{NAME}", "too_long", f"Must have at most {MAX_BYTES} bytes as JSON."))
    if _depth(value) > MAX_DEPTH:
        faults.append(Fault(f"/{NAME}", "too_deep", f"Must not be nested deeper than {MAX_DEPTH} levels."))
    return text.decode()


def refuse(body: Mapping[str, object], faults: list[Fault]) -> dict[str, object]:
    """What is left of the body of somebody who may not write them."""
    if NAME in body:
        faults.append(Fault(f"/{NAME}", "readonly", "Is written by operators and keys alone."))
    return without(body)


def without(body: Mapping[str, object]) -> dict[str, object]:
    return {key: body[key] for key in body if key != NAME}


def beside(record: bytes, claims: Claims) -> bytes:
    """A user's record as JSON text, with the claims as its last member."""
    return b'%b,"%b":%b}' % (record[:-1], NAME.encode(), claims.text.encode())


def _depth(value: object) -> int:
    """Levels of objects and arrays. A body is not deeper than its own limit, so this may recurse."""
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0
