"""Manifests nobody would write: whatever is sent, the answer is a refusal in words or a collection that works."""

import random
from collections import Counter
from typing import Any

import pytest

from baas.engines.schema.fields import KINDS, kind_named
from tests.support.callers import ProjectUnderTest

ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**63 - 1, 2**53 + 1, 1.5, -0.0, 1e308, "", "a", "text", "users", "posts", "select",
    "'; drop table users; --", 'a"b', "😀", "\\", "$1", "{}", "x" * 70, [], {}, ["a"], [1], [None], {"a": 1}, [["a"]],
    "9007199254740993", "2026-11-20", "cascade", "set_null", "true", "now", "record.id == auth.id", "n > 1", "n == 1.5",
    "title.contains('x')", "has(meta.a)", "meta.a == 1", "size(title) > 3 && n % 2 == 0",
    "day > timestamp('2020-01-01T00:00:00Z')",
)  # fmt: skip
FLAGS = ("required", "unique", "hidden", "immutable", "readonly", "default", "read", "renamed_from", "system", "x")


def some_field(dice: random.Random) -> dict[str, Any]:
    kind = dice.choice([kind.name for kind in KINDS])
    entry: dict[str, Any] = {"name": dice.choice(("a", "b", "n", "title", "meta", "day")), "type": kind}
    given = {"values": ["a", "b"], "to": "users", "bucket": "b"}
    options = [option.name for option in kind_named(kind).options]
    entry |= {name: value for name, value in given.items() if name in options and dice.random() < 0.9}
    if dice.random() < 0.3:
        entry[dice.choice((*FLAGS, *options, "name", "type"))] = dice.choice(ODD)
    return entry


def some_manifest(dice: random.Random) -> dict[str, Any]:
    fields = [some_field(dice) if dice.random() < 0.97 else dice.choice(ODD) for _ in range(dice.randint(0, 4))]
    names = ("a", "-b", "n", "title", "created_at", "id", "-rev")
    indexes = [
        {"fields": dice.sample(names, dice.randint(1, 2)), "unique": dice.random() < 0.3, "where": dice.choice(("rev > 1", *ODD))}
        for _ in range(dice.random() < 0.3)
    ]
    body: dict[str, Any] = {"fields": fields, "indexes": indexes}
    if dice.random() < 0.2:
        body["rules"] = {dice.choice(("list", "view", "create", "update", "delete")): dice.choice(ODD)}
    if dice.random() < 0.1:
        body[dice.choice(("options", "name", "x", "indexes", "fields", "rules"))] = dice.choice(ODD)
    return body


@pytest.mark.parametrize("seed", range(3))
async def test_no_manifest_ends_in_a_fault_of_ours(project: ProjectUnderTest, seed: int) -> None:
    """What is accepted is shown as it was accepted, can be sent again, and its records can be listed and made."""
    dice, operator, made, seen = random.Random(seed), project.operator, [], Counter()
    for number in range(100):
        body, again = some_manifest(dice), bool(made) and dice.random() < 0.5
        if again:
            answer = await operator.patch(f"collections/{dice.choice(made)}", json=body, params={"confirm": "data-loss"})
        else:
            answer = await operator.post("collections", json={"name": f"c{number}", **body})
        seen[answer.status_code] += 1

        assert answer.status_code < 500, (body, answer.text)
        if answer.status_code not in (200, 201):
            assert answer.headers["content-type"] == "application/problem+json"
            continue
        shown = answer.json()
        made.append(shown["name"])
        assert shown == (await operator.get(f"collections/{shown['name']}")).json()
        assert shown == (await operator.patch(f"collections/{shown['name']}", json=shown)).json()
        assert (await operator.get(f"collections/{shown['name']}/records")).status_code == 200
        assert (await operator.post(f"collections/{shown['name']}/records", json={})).status_code < 500

    assert seen[201] > 5
    assert seen[422] > 20
