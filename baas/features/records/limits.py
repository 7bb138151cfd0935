"""What a query may cost: its time, and for anonymous callers what PostgreSQL thinks of it beforehand."""

from collections.abc import Iterator
from contextlib import contextmanager

from baas.base.errors import Invalid
from baas.base.principal import Principal
from baas.base.project import Project
from baas.engines.query.asking import Asking
from baas.infra.db.errors import StatementTimedOut

_HINT = "Ask for less: a narrower filter, an order that an index has, no count."


def most_cost(project: Project, principal: Principal) -> int:
    """What PostgreSQL may estimate a list of this caller at; 0 is any."""
    return project.settings.limits.anonymous_cost if principal.kind == "anonymous" else 0


def too_expensive() -> Invalid:
    """The estimate knows of hidden records too, so its number is not told."""
    return Invalid("This query is too expensive for anonymous callers.", code="query_too_expensive", hint=_HINT)


def list_limit_s(project: Project, asking: Asking) -> float:
    """How long a list may take for this caller."""
    limits = project.settings.limits
    most = min(limits.statement_timeout_ms, limits.list_timeout_ms) if asking.judged else limits.statement_timeout_ms
    return most / 1000


@contextmanager
def too_slow(limit_s: float, *, asked: bool) -> Iterator[None]:
    """A statement that was ended leaves the block as the caller's fault where he `asked` for more than a plain page."""
    try:
        yield
    except StatementTimedOut:
        if not asked:
            raise
        raise Invalid(
            f"The query took longer than {limit_s:g} seconds.", code="query_too_slow", hint=_HINT, limit_ms=round(limit_s * 1000)
        ) from None
