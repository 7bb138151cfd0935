"""Entity tags in conditions: one reader of `If-Match` and `If-None-Match` for whoever judges them (RFC 9110, 8.8.3 and 13.1)."""

import re
from collections.abc import Iterable

from baas.base.errors import BadRequest

_TAG = re.compile(r'[ \t]*((?:W/)?"[!#-~\x80-\xff]*")[ \t]*(?:,|\Z)')


def condition(headers: Iterable[tuple[bytes, bytes]], name: str) -> str | None:
    """The condition of this name, None without one; several lines are one list.

    Raises BadRequest (`bad_header`) for what is neither `*` nor a list of entity tags: a condition that is not understood would
    be none, and the change would be made.
    """
    key = name.lower().encode()
    lines = [value.decode("latin-1") for one, value in headers if one == key]
    if not lines:
        return None
    whole = ", ".join(lines).strip()
    if whole != "*" and not _is_list(whole):
        raise BadRequest(
            f"{name} must be * or a list of entity tags.",
            code="bad_header",
            hint='Send an ETag as it came, with its quotes, such as "3".',
            parameter=name,
        )
    return whole


def matches(wanted: str, etag: str, *, weak: bool) -> bool:
    """Whether a list of entity tags (or `*`) names this one; weak tags count only in the weak comparison."""
    return wanted.strip() == "*" or etag in tags(wanted, weak=weak)


def tags(wanted: str, *, weak: bool) -> list[str]:
    """The entity tags of a list, without their quotes; the weak ones only where `weak`."""
    found = (match[1] for match in _TAG.finditer(wanted))
    return [one.removeprefix("W/")[1:-1] for one in found if weak or not one.startswith("W/")]


def _is_list(text: str) -> bool:
    at = 0
    while at < len(text):
        match = _TAG.match(text, at)
        if match is None:
            return False
        at = match.end()
    return bool(text) and not text.endswith(",")
