"""Writes of many callers that share a commit: each is its own in the answer, in the table and in the change log."""

import asyncio

from baas.base.ids import uuid7
from baas.infra.db.pool import Database
from baas.infra.db.sql import ident, sql
from tests.support.callers import ProjectUnderTest
from tests.support.paths import warm

FIELDS = [{"name": "owner", "type": "relation", "to": "users", "required": True}, {"name": "n", "type": "int", "max": 900}]
RULES = {
    "list": "record.owner == auth.id",
    "view": "record.owner == auth.id",
    "create": "next.owner == auth.id",
    "update": "record.owner == auth.id",
    "delete": "record.owner == auth.id",
}


async def test_writes_that_share_a_commit_keep_their_writers_apart(project: ProjectUnderTest, db: Database) -> None:
    """Four users write at one moment, good and bad writes mixed; nobody's answer, rule or name in the log is another's.

    On a busy machine a round may go to the ordinary pool, where nothing is shared: then it is done once more.
    """
    assert db.pipeline is not None
    await project.collection("notes", FIELDS, RULES)
    users = [await project.user() for _ in range(4)]
    together = db.pipeline.figures.together
    expected: dict[str, str] = {}

    async def write(number: int) -> None:
        user, other = users[number % 4], users[(number + 1) % 4]
        record = str(uuid7())
        path = f"collections/notes/records/{record}"
        made = await user.post("collections/notes/records", json={"id": record, "owner": user.id, "n": number})
        assert (201, record, number) == (made.status_code, made.json()["id"], made.json()["n"])
        stolen, wrong, taken, changed = await asyncio.gather(
            other.patch(path, json={"n": 0}),
            user.patch(path, json={"n": 901}),
            user.post("collections/notes/records", json={"id": record, "owner": user.id}),
            user.patch(path, json={"n": number + 100}),
        )
        assert (404, 422, 409, 200) == (stolen.status_code, wrong.status_code, taken.status_code, changed.status_code)
        assert number + 100 == changed.json()["n"]
        expected[record] = user.id
        if number % 5 == 0:
            assert 204 == (await user.delete(path)).status_code

    rounds = 0
    while rounds < 5 and db.pipeline.figures.together - together <= 30:
        await warm(db)
        await asyncio.gather(*(write(number) for number in range(40)))
        rounds += 1

    log = await db.fetch(
        sql(
            "select record::text, action, principal, coalesce(after, before) ->> 'owner' as owner from {} union all"
            " select record::text, action, principal, coalesce(after, before) ->> 'owner' from {}",
            ident(project.schema, "_change_log"),
            ident(project.schema, "_change_pending"),
        )
    )
    notes = [row for row in log if row["record"] in expected]
    assert rounds * (40 + 40 + 8) == len(notes)
    assert all((expected[row["record"]], f"user:{row['owner']}") == (row["owner"], row["principal"]) for row in notes)
    assert db.pipeline.figures.together - together > 30
