"""The buckets of every project in memory: one look-up on the way to a file, the same on every server within two seconds."""

from collections import OrderedDict
from collections.abc import Mapping

from baas.base.project import Project
from baas.features.files import store
from baas.features.files.model import Bucket
from baas.infra.db.listen import Invalidations
from baas.infra.db.pool import Database

KIND = "buckets"
"""The kind of announcement that drops a project's buckets; its key is the project's schema."""
_MOST_PROJECTS = 5000


class Buckets:
    """Reads a project's buckets once and keeps them until somebody announces that they changed."""

    def __init__(self, db: Database, invalidations: Invalidations) -> None:
        self._db = db
        self._held: OrderedDict[str, Mapping[str, Bucket]] = OrderedDict()
        self._changes = 0
        invalidations.on(KIND, self.forget)

    async def all(self, project: Project) -> Mapping[str, Bucket]:
        """Every bucket of the project by name."""
        held = self._held.get(project.schema)
        if held is not None:
            self._held.move_to_end(project.schema)
            return held
        changes = self._changes
        found = {bucket.name: bucket for bucket in await store.buckets(self._db, project.schema)}
        # What was read before an announcement that came meanwhile may be old: good for this call, not for keeping.
        if changes == self._changes:
            self._held[project.schema] = found
            if len(self._held) > _MOST_PROJECTS:
                self._held.popitem(last=False)
        return found

    def forget(self, schema: str) -> None:
        """Drop what is held of a project."""
        self._changes += 1
        self._held.pop(schema, None)
