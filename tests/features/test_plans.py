"""The page query of ten canonical rules over 200,000 records reads no table from end to end."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from baas.base.principal import Principal
from baas.engines.query.asking import Asking
from baas.engines.query.compile import Compiler
from baas.engines.query.tree import List, SortKey, ordered
from baas.engines.schema import store
from baas.infra.db.pool import Database
from baas.infra.db.sql import Statement, ident, sql
from tests.support.callers import ProjectUnderTest

ROWS, TEAMS, USERS = 200_000, 5_000, 1_000
# Rule -> the order of the page, for a user with a role; "" is the order by id.
RULES = {
    "record.owner == auth.id": "",
    "true": "-created_at",
    'record.status == "published" || record.owner == auth.id': "-created_at",
    'rows("members").exists(m, m.team == record.team && m.user == auth.id && m.role in ["owner", "editor"])': "",
    "record.team.members.exists(m, m.user == auth.id)": "-created_at",
    "record.team.lead == auth.id": "",
    "!record.team.members.exists(m, m.user == auth.id)": "-created_at",
    'auth.claims.role == "admin" || record.owner == auth.id': "",
    "record.opens <= now && now < record.closes": "opens",
    "auth.id in record.readers": "",
}


@dataclass
class Loaded:
    """A project whose posts are many, and the one who asks."""

    project: ProjectUnderTest
    user: str


def _link(name: str, to: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "relation", "to": to, **more}


@pytest.fixture
async def loaded(project: ProjectUnderTest, db: Database) -> Loaded:
    """Filled in SQL: what is tested is how it is read."""
    await project.collection("teams", [_link("lead", "users")])
    role = {"name": "role", "type": "text"}
    await project.collection(
        "members", [_link("team", "teams", required=True, inverse="members"), _link("user", "users", required=True), role]
    )
    moment = [{"name": name, "type": "datetime"} for name in ("opens", "closes")]
    fields = [_link("owner", "users"), _link("team", "teams", required=True), {"name": "status", "type": "text"}, *moment]
    fields.append(_link("readers", "users", many=True, inverse="readable"))
    await project.collection("posts", fields, indexes=[{"fields": ["-created_at"]}, {"fields": ["opens"]}])
    async with db.transaction(statement_timeout_s=120) as tx:
        for statement in _fill(project.schema):
            await tx.execute(statement)
    user = await db.fetch_value(sql("select id::text from {} order by id limit 1", ident(project.schema, "users")))
    return Loaded(project, user)


def _fill(schema: str) -> Iterator[Statement]:
    system = "'00000000-0000-7000-8000-' || lpad(to_hex({}), 12, '0')"
    numbered = {"users": USERS, "teams": TEAMS, "members": 20_000, "posts": ROWS}
    columns = {
        "users": ("email, email_verified, disabled", "g || '@example.com', false, false"),
        "teams": ("lead", f"({system.format(f'1 + g % {USERS}')})::uuid"),
        "members": (
            'team, "user", role',
            f"({system.format(f'1 + (g * 7919 + g / 7) % {TEAMS}')})::uuid,"
            f" ({system.format(f'1 + g % {USERS}')})::uuid, 'editor'",
        ),
        "posts": (
            "owner, team, status, opens, closes, readers",
            f"({system.format(f'1 + g % {USERS}')})::uuid, ({system.format(f'1 + g % {TEAMS}')})::uuid,"
            " case when g % 10 = 0 then 'published' else 'draft' end, now() + g * interval '1 minute',"
            f" now() + g * interval '2 minutes', array[({system.format(f'1 + g % {USERS}')})::uuid]",
        ),
    }
    for name, count in numbered.items():
        into, values = columns[name]
        text = (
            f'insert into "{schema}"."{name}" (id, created_at, updated_at, {into}) select ({system.format("g")})::uuid,'
            f" now() - g * interval '1 second', now(), {values} from generate_series(1, {count}) g"
        )
        yield Statement(text, ())
        yield Statement(f'analyze "{schema}"."{name}"', ())


async def page_of(db: Database, loaded: Loaded, rule: str, sort: str) -> Statement:
    """The statement that the server would send for the first page."""
    answer = await loaded.project.operator.patch("collections/posts", json={"rules": {"list": rule}})
    assert answer.status_code == 200, answer.text
    collections = await store.read(db, loaded.project.schema)
    compiler = Compiler()
    table = compiler.table(collections, "posts")
    assert table is not None
    claims = {"role": "reader"}
    principal = Principal("user", loaded.user, loaded.project.id, claims=claims)
    auth = {"id": loaded.user, "collection": "users", "claims": claims}
    keys = (SortKey(sort.removeprefix("-"), sort.startswith("-")),) if sort else ()
    return compiler.list(table, List(ordered(keys), 30), Asking(principal, now=datetime.now(UTC), auth=auth))


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


async def test_a_page_under_a_canonical_rule_is_read_by_an_index(db: Database, loaded: Loaded) -> None:
    """Whatever the rule, no sequential scan of the posts; the time is printed, not judged."""
    for rule, sort in RULES.items():
        statement = await page_of(db, loaded, rule, sort)
        rows = await db.fetch(Statement(f"explain (analyze, format json) {statement.text}", statement.args))
        plan = json.loads(rows[0]["QUERY PLAN"])[0]
        print(f"{plan['Execution Time']:8.2f} ms  {rule}")
        read = [node["Node Type"] for node in nodes(plan["Plan"]) if node.get("Relation Name") == "posts"]
        assert read, rule
        assert "Seq Scan" not in read, (rule, json.dumps(plan["Plan"])[:4000])
