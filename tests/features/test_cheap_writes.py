"""Which writes share a connection and a commit: those that hold nothing but their own rows."""

from baas.infra.db.pool import Database
from tests.support.callers import ProjectUnderTest
from tests.support.paths import warm


async def test_a_write_that_locks_what_its_rule_enters_goes_alone(project: ProjectUnderTest, db: Database) -> None:
    await warm(db)
    assert db.pipeline is not None
    await project.collection("teams", [{"name": "open", "type": "bool"}], {"view": "true", "list": "true"})
    await project.collection(
        "notes",
        [{"name": "team", "type": "relation", "to": "teams"}, {"name": "n", "type": "int"}],
        {"create": "next.team.open == true", "view": "true"},
    )
    await project.collection("free", [{"name": "n", "type": "int"}], {"create": "next.n > 0", "view": "true"})
    team = (await project.operator.post("collections/teams/records", json={"open": True})).json()["id"]

    async def taken(collection: str, body: dict[str, object]) -> int:
        assert db.pipeline is not None
        before = db.pipeline.figures.taken
        answer = await project.anonymous.post(f"collections/{collection}/records", json=body)
        assert 201 == answer.status_code, answer.text
        return db.pipeline.figures.taken - before

    assert 1 == await taken("free", {"n": 1})
    assert 0 == await taken("notes", {"team": team, "n": 1})
