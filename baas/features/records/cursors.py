"""What the cursors of the room belong to. They grant nothing; the rule is judged on every page."""

from uuid import UUID

from baas.base.principal import Principal
from baas.base.project import Project
from baas.engines.query.reach import Way
from baas.engines.query.tree import Near, Search, SortKey
from baas.features.records.model import Wanted
from baas.infra.http import page

Sought = tuple[Search | None, Near | None]


def query_of(  # noqa: PLR0917  all that a cursor depends on
    project: Project, principal: Principal, keys: tuple[SortKey, ...], ways: tuple[Way, ...], wanted: Wanted, found: Sought
) -> bytes:
    """What a cursor belongs to: caller, collection, filter, search and order, and the types its keys are read back as."""
    order = [(key.path, key.field, key.descending, key.nulls_first, way.column.cast) for key, way in zip(keys, ways, strict=True)]
    whose = (project.key, principal.kind, principal.id)
    return page.query_of("records", whose, ways[0].table.name, order, wanted.filter, wanted.vars, found, wanted.as_of)


def versions_of(project: Project, principal: Principal, collection: str, record: UUID) -> bytes:
    """What a cursor of a record's history belongs to."""
    return page.query_of("history", project.key, principal.kind, principal.id, collection, record)
