"""Which writes share a connection and a commit: those that hold nothing but their own rows."""

import pytest

from baas.infra.db.pipeline.pipeline import Pipeline
from baas.infra.db.sql import Statement, ident
from tests.support.callers import ProjectUnderTest


async def test_a_write_that_locks_what_its_rule_enters_goes_alone(
    project: ProjectUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked of the shared connections, whether or not one is open and quick enough at this moment."""
    await project.collection("teams", [{"name": "open", "type": "bool"}], {"view": "true", "list": "true"})
    await project.collection(
        "notes",
        [{"name": "team", "type": "relation", "to": "teams"}, {"name": "n", "type": "int"}],
        {"create": "next.team.open == true", "view": "true"},
    )
    await project.collection("free", [{"name": "n", "type": "int"}], {"create": "next.n > 0", "view": "true"})
    team = (await project.operator.post("collections/teams/records", json={"open": True})).json()["id"]
    asked: list[Statement] = []
    ask = Pipeline.ask

    def heard(self: Pipeline, statement: Statement) -> object:
        asked.append(statement)
        return ask(self, statement)

    monkeypatch.setattr(Pipeline, "ask", heard)

    async def shared(collection: str, body: dict[str, object]) -> int:
        table = ident(project.schema, collection).render().text
        asked.clear()
        answer = await project.anonymous.post(f"collections/{collection}/records", json=body)
        assert 201 == answer.status_code, answer.text
        return sum(table in one.text for one in asked if one.cheap in ("create", "change"))

    assert 1 == await shared("free", {"n": 1})
    assert 0 == await shared("notes", {"team": team, "n": 1})
