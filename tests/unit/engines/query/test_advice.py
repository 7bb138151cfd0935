"""Lints, each with a rule that earns it and a neighbour that does not; and R003, which stops the save."""

import time
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from baas.engines.query.advice import advise
from baas.engines.query.table import rule_env
from baas.engines.rules.lint import check_access
from baas.engines.rules.rule import RuleError
from baas.engines.schema import manifest
from baas.engines.schema.collection import Action, Collection, View

USERS_OWN = [
    {"name": "team", "type": "relation", "to": "teams"},
    {"name": "role", "type": "select", "values": ["admin", "member"], "readonly": True},
    {"name": "nick", "type": "text"},
    {"name": "code", "type": "text"},
    {"name": "teams", "type": "relation", "to": "teams", "many": True},
]
CARD_FIELDS = [
    {"name": "title", "type": "text", "required": True},
    {"name": "status", "type": "select", "values": ["open", "done"]},
    {"name": "owner", "type": "relation", "to": "users", "required": True},
    {"name": "team", "type": "relation", "to": "teams"},
    {"name": "board", "type": "relation", "to": "teams", "required": True},
    {"name": "other", "type": "relation", "to": "teams"},
    {"name": "public", "type": "bool", "required": True},
    {"name": "n", "type": "int"},
    {"name": "opens", "type": "datetime", "required": True},
    {"name": "pin", "type": "text", "hidden": True},
    {"name": "meta", "type": "json"},
    {"name": "tags", "type": "select", "values": ["a", "b"], "many": True},
    {"name": "teams", "type": "relation", "to": "teams", "many": True},
]
MEMBERS: dict[str, Any] = {
    "name": "members",
    "fields": [
        {"name": "team", "type": "relation", "to": "teams", "required": True, "inverse": "members"},
        {"name": "user", "type": "relation", "to": "users", "required": True},
        {"name": "role", "type": "text"},
        {"name": "since", "type": "int"},
        {"name": "level", "type": "int"},
    ],
    "indexes": [{"fields": ["level"], "where": "role == 'x'"}],
    "rules": {"list": "record.user == auth.id", "view": "record.user == auth.id"},
}
TEAMS = {"name": "teams", "fields": [{"name": "owner", "type": "relation", "to": "users", "required": True}]}
MINE = "record.owner == auth.id"


def project(cards: Mapping[str, Any], teams: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Collection]:
    """A small project; `cards` and `teams` are merged into the manifests of these two."""
    faults = manifest.Faults()
    users = manifest.users("p_1")
    made = {"users": users}
    for one in ({**TEAMS, **teams}, MEMBERS, {"name": "cards", "fields": CARD_FIELDS, **cards}):
        read = manifest.read_collection(one, schema="p_1", faults=faults)
        made[read.name] = read
    made["users"], _ = manifest.read_change({"fields": USERS_OWN}, users, faults)
    assert faults.found == []
    return made


def codes(cards: Mapping[str, Any], teams: Mapping[str, Any] = MappingProxyType({})) -> set[str]:
    collections = project(cards, teams)
    return {advice.code for advice in advise([collections["cards"]], collections)}


def hints(cards: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    collections = project(cards)
    return [(one.code, one.hint) for one in advise([collections["cards"]], collections)]


def rules(**of: str | None) -> dict[str, Any]:
    return {"rules": of}


def listed(rule: str, **more: Any) -> dict[str, Any]:
    return {"rules": {"list": rule, "view": rule}, **more}


OWNED = "next.owner == auth.id"
CASES = [
    ("R001", rules(update="1 == 1"), rules(update="true")),
    ("R001", listed(f"{MINE} || record.title == record.title"), listed(f"{MINE} || record.title == record.status")),
    ("R001", listed("record.title != null"), listed("record.status != null || record.public")),
    ("R002", listed(f"{MINE} || 1 == 2"), listed(f"{MINE} || record.n == 2")),
    ("R002", listed('record.status == "open" && record.status == "done"'), listed('record.status == "open" && record.public')),
    ("R002", listed(f"true ? {MINE} : record.public"), listed(f"record.public ? {MINE} : record.n == 2")),
    ("R001", listed("auth == null || auth != null"), listed("auth == null || record.public")),
    ("R001", listed("record.public || !record.public"), listed("record.public || record.n == 1 || !(record.n == 2)")),
    ("R001", listed("record.n == 1 || record.n != 1"), listed("auth.nick == 'a' || auth.nick != 'a'")),
    ("R002", listed("record.n == null && record.n != null"), listed("record.n == null && record.title != null")),
    ("R002", listed("record.n > 1 && record.n < 0"), listed("record.n > 0 && record.n < 1")),
    ("R002", listed("record.n == 3 && 2 >= record.n"), listed("record.n == 3 && 3 >= record.n")),
    ("R002", listed("record.n < 1 && record.public && record.n >= 1"), listed("record.n <= 1 && record.n >= 1")),
    ("R002", listed('record.status > "b" && record.status == "a"'), listed('record.status > "b" && record.status == "c"')),
    ("R004", rules(delete="true"), rules(delete=MINE)),
    ("R004", rules(create="1 < 2"), rules(create=OWNED)),
    ("R005", rules(create="next.title == 'a'"), rules(create=OWNED)),
    ("R005", rules(create="auth != null"), {**rules(create="auth != null"), "fields": CARD_FIELDS[:2]}),
    ("R006", rules(update=MINE), rules(update=f"{MINE} && {OWNED}")),
    ("R006", rules(update=MINE), rules(update=f'{MINE} && !changed("owner")')),
    (
        "R006",
        rules(update=MINE),
        {**rules(update=MINE), "fields": [{"name": "owner", "type": "relation", "to": "users", "immutable": True}]},
    ),
    ("R007", rules(list=MINE), rules(list=MINE, view=MINE)),
    (
        "R007",
        rules(list=f"{MINE} || record.public", view=MINE),
        rules(list=MINE, view="record.public || auth.id == record.owner"),
    ),
    ("R007", rules(list="record.public", view="!record.public"), rules(list=f"{MINE} && record.public", view=MINE)),
    ("R008", listed('record.status == "open"'), listed('record.status == "open"', indexes=[{"fields": ["status"]}])),
    ("R008", listed(f"{MINE} || record.n == 3"), listed(f"{MINE} && record.n == 3")),
    ("R008", listed("record.n in [1, 2]"), listed("record.n in [1, 2]", indexes=[{"fields": ["-n", "title"]}])),
    ("R008", listed('record.title.startsWith("a")'), listed('record.title.startsWith("a")', indexes=[{"fields": ["title"]}])),
    (
        "R008",
        listed('record.status == "open"', indexes=[{"fields": ["id"], "where": 'status == "done"'}]),
        listed('record.status == "open"', indexes=[{"fields": ["id"], "where": '"open" == status'}]),
    ),
    ("R009", listed("auth.nick == 'root'"), listed("auth.role == 'admin'")),
    ("R009", listed("record.board == auth.team"), listed("record.owner == auth.id")),
    (
        "R010",
        listed("!record.board.members.exists(m, m.since < 3)"),
        listed("!record.board.members.exists(m, m.user == auth.id)"),
    ),
    ("R010", listed("record.board.members.all(m, m.since < 3)"), listed("record.board.members.exists(m, m.since < 3)")),
    (
        "R012",
        rules(update=f"{MINE} && {OWNED} && record.pin == auth.code"),
        rules(update=f"{MINE} && {OWNED} && record.pin == 'x'"),
    ),
    ("R012", rules(delete="record.pin in [auth.code]"), rules(delete="record.title == auth.code")),
    (
        "R013",
        rules(create=f"{OWNED} && size(rows('cards').filter(c, c.owner == auth.id)) < 100"),
        rules(create=f"{OWNED} && size(next.title) < 100"),
    ),
    ("R008", listed("'a' in record.tags"), listed("'a' in record.tags", indexes=[{"fields": ["tags"]}])),
    ("R008", listed(f"{MINE} || 'a' in record.tags"), listed(f"{MINE} && 'a' in record.tags")),
    (
        "R008",
        rules(delete="rows('members').exists(m, m.role == auth.claims.role)"),
        rules(delete="rows('members').exists(m, m.role == auth.claims.role && m.user == auth.id)"),
    ),
    ("R008", rules(view="rows('members').exists(m, m.since == record.n)"), rules(view="record.n == 3")),
    ("R008", rules(view="!rows('members').exists(m, m.since == 3)"), rules(view="rows('members').exists(m, m.id == record.id)")),
    (
        "R008",
        rules(view="rows('members').exists(m, m.since == 3 && m.role == 'x')"),
        rules(view="rows('members').exists(m, m.level == 3 && m.role == 'x')"),
    ),
    (
        "R008",
        rules(view="rows('members').exists(m, m.user == auth.id || m.role == 'x')"),
        rules(view="record.board.members.exists(m, m.role == 'x' && m.since == 3)"),
    ),
    (
        "R014",
        listed('record.title.contains("abc")'),
        listed('record.title.contains("abc")', indexes=[{"fields": ["title"], "using": "trigram"}]),
    ),
    (
        "R014",
        listed('record.title.contains("ab")', indexes=[{"fields": ["title"], "using": "trigram"}]),
        listed("record.title.endsWith(auth.email)", indexes=[{"fields": ["title"], "using": "trigram"}]),
    ),
    ("R014", listed('record.title.contains("a")'), listed(f'{MINE} && record.title.contains("a")')),
    ("R014", listed('record.title.endsWith("a")'), listed('record.title.startsWith("a")', indexes=[{"fields": ["title"]}])),
]


@pytest.mark.parametrize(("code", "bad", "good"), CASES)
def test_a_lint_speaks_of_what_it_means_and_of_no_neighbour(code: str, bad: dict[str, Any], good: dict[str, Any]) -> None:
    assert code in codes(bad)
    assert code not in codes(good)


def test_time_in_a_list_rule_matters_wherever_somebody_can_listen() -> None:
    """Every list can be followed but that of a view."""
    timed, timeless = listed("record.opens <= now"), listed(MINE)

    assert "R011" in codes(timed)
    assert "R011" not in codes(timeless)
    collections = project(timed)
    view = replace(collections["cards"], view=View("select id, opens from others"))
    assert "R011" not in {one.code for one in advise([view], {**collections, "cards": view})}


def test_the_hint_has_the_index() -> None:
    """For a literal the partial one too; of several conditions for equality one index over all."""
    table = 'create index on "p_1"."cards"'
    few = 'Where few records are so, {"fields": ["id"], "where": "status == \\"open\\""} is smaller'
    literal = hints(listed('record.status == "open" || record.owner == auth.id'))
    together = hints(listed("record.n == auth.claims.n && record.title == auth.email && record.n > 0"))
    held = hints(listed("'a' in record.tags"))
    entered = hints(rules(delete="rows('members').exists(m, m.role == auth.email && m.since == 3)"))

    assert [code for code, _ in (*literal, *together, *held, *entered)] == ["R008"] * 4
    assert f'Add {{"fields": ["status"]}} to indexes: {table} ("status"). {few}' in str(literal[0][1])
    assert together[0][1] == f'Add {{"fields": ["n", "title"]}} to indexes: {table} ("n", "title").'
    assert held[0][1] == f'Add {{"fields": ["tags"]}} to indexes: {table} using gin ("tags").'
    assert str(entered[0][1]).startswith('Add {"fields": ["role", "since"]} to the indexes of \'members\': create index on')
    assert '"using": "trigram"' in str(hints(listed('record.title.contains("abc")'))[0][1])


def test_rules_that_look_at_each_other_in_a_circle() -> None:
    cards = listed("record.board.owner == auth.id")
    back = {"rules": {"list": "rows('cards').exists(c, c.board == record.id && c.owner == auth.id)"}}

    assert "R015" in codes(cards, back)
    assert "R015" not in codes(cards)
    assert "R015" not in codes(listed("rows('cards').exists(c, c.owner == auth.id)"))


def test_the_way_back_is_found_among_many_at_once() -> None:
    """Layers of collections that all enter the next layer have a number of ways that grows with a power."""
    faults = manifest.Faults()
    made = {"users": manifest.users("p_1")}
    layers, width = 8, 8
    for layer in range(layers):
        for at in range(width):
            ahead = [f"c{layer + 1}_{other}" for other in range(width)] if layer + 1 < layers else ["c0_0"]
            rule = " || ".join(f"rows('{name}').exists(r, r.id == record.id)" for name in ahead[:4])
            one = manifest.read_collection({"name": f"c{layer}_{at}", "rules": {"list": rule}}, schema="p_1", faults=faults)
            made[one.name] = one
    started = time.perf_counter()
    found = [advice for advice in advise(made.values(), made) if advice.code == "R015"]

    assert faults.found == []
    assert "c0_0 → c1_0 → c2_0" in next(one.message for one in found if one.name == "c0_0")
    assert time.perf_counter() - started < 20


def test_a_read_expression_is_linted_too_and_the_place_is_told() -> None:
    fields = [*CARD_FIELDS, {"name": "cost", "type": "int", "read": "auth.nick == 'a' || 1 == 2"}]

    found = advise([project({"fields": fields})["cards"]], project({"fields": fields}))

    assert [(one.code, one.pointer) for one in found] == [("R002", "/fields/12/read"), ("R009", "/fields/12/read")]
    assert found[0].place["snippet"] == "auth.nick == 'a' || 1 == 2\n                      ^"


REFUSED = [
    "record.team == auth.team",
    "record.team == record.other",
    "record.team == auth.team || record.public",
    "record.public && record.team == auth.team",
    "!(record.team != auth.team)",
    "record.team == null ? record.other == auth.team : false",
    "record.team != null || record.team == auth.team",
    "record.other != null && record.team == auth.team",
    "(record.team == auth.team) == true",
    "record.team in [auth.team, record.board]",
    "record.status == auth.claims.status",
    "rows('teams').exists(t, record.team == auth.team)",
    "!(record.team == null && record.public) && record.team == auth.team",
    "record.team in [auth.team]",
    "record.title in ['a'] || record.status in [auth.nick, 'open']",
    "record.status in (record.public ? [auth.nick] : ['open'])",
    "record.status in ['open'] + [auth.nick]",
    "record.status in [auth.nick, 'a'].filter(one, true)",
    "record.status in ['a'].map(one, auth.nick)",
    "record.status in auth.claims.states",
    "auth.nick in record.meta",
    "!!(record.team in [auth.team])",
    "record.team != null || record.team in [auth.team]",
    "record.team in [null, auth.team]",
    "record.team == [auth.team][0]",
    "record.status == {'a': auth.nick}.a",
    "record.status == dyn(auth.nick)",
    "record.status in dyn([auth.nick])",
    "[auth.team].exists(one, one == record.team)",
    "[auth.team].filter(one, true).exists(one, one == record.team)",
    "[auth.nick] == [auth.code]",
    "record.status in [[auth.nick]][0]",
    "record.status in {'a': [auth.nick]}['a']",
    "record.status in {'a': [auth.nick]}.a",
    "record.meta == [auth.nick]",
    "record.meta == {'a': auth.nick}",
    "record.meta == {'a': {'b': [auth.nick]}}",
    "[[auth.nick]].exists(one, record.status in one)",
    "record.board.members.exists(m, m.role in [auth.nick])",
    "size(rows('cards').filter(c, c.team in [auth.team])) > 2",
    "rows('cards').all(c, !(c.team != auth.team))",
]
ACCEPTED = [
    "record.team != null && record.team == auth.team",
    "record.team == auth.team && record.team != null",
    "auth.team != null && record.team == auth.team",
    "record.public && (record.team != null && record.team == auth.team)",
    "record.team == null || record.team == auth.team",
    "!(record.team == null) && record.team == auth.team",
    "!(record.team == null || record.public) && record.team == auth.team",
    "record.team == null ? false : record.team == auth.team",
    "record.team != null ? record.team == auth.team : record.public",
    "has(record.team) && record.team == auth.team",
    "record.board == auth.team",
    "record.team != auth.team",
    "!(record.team == auth.team)",
    "record.team == null",
    'record.status == "open"',
    "record.status in ['open', 'done'] && record.status == auth.claims.status",
    "record.team == record.board && record.team == auth.team",
    "rows('teams').exists(t, record.team == t.id)",
    "record.team != null && record.team in [auth.team]",
    "auth.team != null && record.team in [auth.team, record.board]",
    "record.team == null || record.team in [auth.team]",
    "!(record.team in [auth.team])",
    "record.team in [null]",
    "record.team in auth.teams",
    "record.team in auth.teams && record.team == auth.team",
    "record.board in [auth.team]",
    "auth.nick in [record.title]",
    "record.status in [auth.id, 'open'] && record.status == auth.nick",
    "record.status in {'open': 1, 'done': 2}",
    "record.status in {auth.nick: true}",
    "record.status == ['open', 'done'][0]",
    "record.meta != null && record.meta == auth.claims.meta",
    "record.meta == {'a': auth.id, 'b': [1, null]}",
    "record.teams == [auth.team]",
    "auth.teams.exists(one, one == record.team)",
    "auth.team != null && [auth.team].filter(one, one != null).exists(one, one == record.board)",
    "auth.teams == record.teams && auth.teams != null",
]


@pytest.mark.parametrize("source", REFUSED)
def test_two_nulls_must_not_let_anybody_in(source: str) -> None:
    collections = project({})

    with pytest.raises(RuleError) as caught:
        check_access(source, rule_env(collections["cards"], "view", collections))

    assert caught.value.code == "R003"
    assert caught.value.hint


@pytest.mark.parametrize("source", ACCEPTED)
def test_what_is_narrowed_or_required_or_does_not_let_in_is_right(source: str) -> None:
    collections = project({})

    check_access(source, rule_env(collections["cards"], "view", collections))


@pytest.mark.parametrize(("action", "source"), [("update", "next.team == record.team"), ("update", '!changed("team")')])
def test_a_field_may_be_null_before_and_after(action: Action, source: str) -> None:
    collections = project({})

    check_access(source, rule_env(collections["cards"], action, collections))
