"""Records as they were: what is asked for, and what cannot be asked of the past."""

import re
from collections.abc import Mapping
from datetime import datetime

from baas.base.errors import BadRequest
from baas.engines.query.tree import AsOf, Expand
from baas.features.records.model import DEFAULT_LIMIT, Wanted
from baas.infra.http import params
from baas.infra.http.routes import Body

MAX_VERSIONS = 100
_REVISION = re.compile(r"[1-9][0-9]{0,17}")
_MOMENT = "As it was at this moment, under today's rules; the collection must keep histories."


def as_of_by_query(values: params.Query) -> AsOf | None:
    """A moment, or the number of a revision. Raises BadRequest."""
    text = values.get("as_of")
    if text is None:
        return None
    return AsOf(rev=int(text)) if _REVISION.fullmatch(text) else AsOf(params.moment(values, "as_of"))


def check_old_list(wanted: Wanted) -> None:
    """Raises BadRequest for what would mix the past with the present: expansions, and indexes of what is stored now."""
    for name in ("expand", "search", "near"):
        if getattr(wanted, name):
            raise _not_of_the_past(name)
    if wanted.count != "none":
        raise _not_of_the_past("count")
    if any(key.path for key in wanted.sort):
        raise _not_of_the_past("sort")


def check_old(expand: tuple[Expand, ...]) -> None:
    """The same for one record."""
    if expand:
        raise _not_of_the_past("expand")


def check_since(since: datetime | None, moment: datetime | None) -> None:
    """Raises BadRequest when the collection keeps no history (since None), or not yet at that moment."""
    if since is None:
        hint = 'Switch it on with {"options": {"history": true}}; it begins there.'
        raise BadRequest("This collection keeps no history.", code="history_off", hint=hint)
    if moment is not None and moment < since:
        detail = "The history of this collection begins later."
        raise BadRequest(detail, code="before_history", parameter="as_of", since=since.isoformat())


def _not_of_the_past(name: str) -> BadRequest:
    return BadRequest(f"{name} does not go together with as_of.", code="bad_parameter", parameter=name)


AS_OF: Mapping[str, object] = {"type": "string", "format": "date-time", "description": _MOMENT}
AS_OF_ONE: Mapping[str, object] = {"type": "string", "description": f"{_MOMENT} Or the number of a revision."}
PAGE: Mapping[str, Mapping[str, object]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_VERSIONS, "default": DEFAULT_LIMIT},
    "cursor": {"type": "string", "description": "next_cursor of the page before."},
}
HISTORY = Body(
    {
        "type": "object",
        "required": ["items", "next_cursor"],
        "properties": {
            "items": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["action", "rev", "at", "record"],
                    "properties": {
                        "action": {"type": "string", "enum": ["create", "update", "delete"]},
                        "rev": {"type": "integer"},
                        "at": {"type": "string", "format": "date-time"},
                        "record": {"type": "object", "description": "As it was then; of a delete, as it was last."},
                        "principal": {"type": "string", "description": "For operators and keys."},
                        "request_id": {"type": "string", "description": "For operators and keys."},
                    },
                },
            },
            "next_cursor": {"type": ["string", "null"]},
        },
    }
)
