"""Views among the collections: making and changing them, and what stands in the way of changing what they read."""

from collections.abc import Mapping, Sequence

from baas.base.errors import Conflict, Invalid
from baas.engines.schema import views
from baas.engines.schema.collection import Collection
from baas.infra.db.pool import Transaction


async def made(
    tx: Transaction, new: Collection, collections: Mapping[str, Collection], body: Mapping[str, object], *, keep: bool = False
) -> Collection:
    """The view, with a field for each of its columns. Raises Invalid with every fault, Conflict (`views_unavailable`)."""
    try:
        return await views.make(tx, new, collections, body, keep=keep)
    except views.ViewRefused as error:
        raise Invalid("The collection is not right.", errors=error.faults) from None


async def changed(
    tx: Transaction, old: Collection, new: Collection, collections: Mapping[str, Collection], body: Mapping[str, object]
) -> Collection:
    """Made anew when its SQL, or what is said of its columns, has changed. Raises as `made` does, and Conflict (`in_use`)."""
    if new.view == old.view and new.fields == old.fields:
        return new
    await refuse_use(tx, old)
    await views.drop(tx, old)
    return await made(tx, new, collections, body, keep="fields" not in body)


async def drop(tx: Transaction, old: Collection) -> None:
    """The end of a view, which holds no records that could be lost."""
    await views.drop(tx, old)


async def refuse_use(tx: Transaction, old: Collection) -> None:
    """Raise Conflict (`in_use`) when views read this collection."""
    users = await views.readers_of(tx, old)
    if users:
        detail = f"Views read {old.name!r}: {', '.join(users)}. Change or delete them first."
        raise Conflict(detail, code="in_use", collections=list(users))


async def refuse_breaking(tx: Transaction, old: Collection, columns: Sequence[str]) -> None:
    """Raise Conflict (`breaks_views`) when views read one of these columns, which end, move or change their type."""
    users = await views.readers_of(tx, old, columns) if columns else {}
    if users:
        places = "; ".join(f"{view} reads {', '.join(names)}" for view, names in users.items())
        raise Conflict(
            f"This change would break {len(users)} view(s): {places}.",
            code="breaks_views",
            hint="Change the SQL of the views first, or delete them: a view does not follow a field.",
            views={view: list(names) for view, names in users.items()},
        )
