"""What it takes to explain, later and to an operator, why a rule refused a call."""

from dataclasses import dataclass
from typing import Literal

from baas.base.principal import Principal

MAX_DENIED_BYTES = 16 * 1024
"""Bodies longer than this are not kept."""

Shape = Literal["one", "many", "put", "upsert", "bulk"]
"""What kind of call it was: about one record, many new ones, one replaced or made, many by a key, many by a filter."""


@dataclass(frozen=True, slots=True)
class Denial:
    """The call that was refused. An error carries it to the edge, which knows the request; no answer ever shows it.

    `record` is the id of the path, `sent` the decoded body of a write, `filter` that of a list. Of a file `bucket` stands for the
    collection, `record` is its path, `sent` what was said of it, and `version` the bucket's. `via` is what rules read as
    `request.via`; `principal` is who asked where the edge does not know him (None where it does).
    """

    collection: str
    action: str
    record: str | None = None
    sent: object = None
    filter: str | None = None
    bucket: str | None = None
    version: int = 0
    call: Shape = "one"
    via: str = "rest"
    principal: Principal | None = None
