"""Expressions taken apart: where each part stands, what it came to, and what is said when the evaluators differ."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from baas.engines.rules.evaluate import Frame
from baas.engines.rules.explain import Found, as_json, explain, reason, show, take_apart
from baas.engines.rules.parse import RULE_LIMITS, locate
from baas.engines.rules.types import Env, Facts, RowField, RowType

ROW = RowType(
    {
        "id": RowField("ref(things)", nullable=False),
        "n": RowField("int", nullable=True),
        "s": RowField("string", nullable=False),
        "tags": RowField("list(string)", nullable=False),
        "j": RowField("json", nullable=True),
    }
)
ENV = Env("view", ROW, auth=RowType({"nick": RowField("string", nullable=True)}), bare="record")
RECORD = {"id": "1", "n": None, "s": "x", "tags": ["a", "b"], "j": {"a": {"b": Decimal("1.5")}}}


def found(source: str, said: bool | None = True) -> Found:
    facts = Facts({"id": "u", "collection": "users", "claims": {}, "nick": None}, datetime(2026, 1, 1, tzinfo=UTC))
    return explain(take_apart(source, ENV), Frame(facts, RECORD), lambda _: said, complete=True)


def test_every_node_stands_where_its_text_is() -> None:
    source = (
        '(n == null || !has(j.k)) && tags.exists(t, t == "x") && -1 < j.a[0] && (n + (n)) * -n > -2 ? true : size([1, 2]) == 2'
    )
    spans = locate(source, RULE_LIMITS).spans.values()
    texts = {source[span.start : span.end] for span in spans}

    assert source in texts
    assert {"n == null", "!has(j.k)", 'tags.exists(t, t == "x")', "-1", "j.a[0]", "n + (n)", "(n + (n)) * -n", "[1, 2]"} <= texts
    assert all(text.count("(") == text.count(")") for text in texts)


@pytest.mark.parametrize(
    ("source", "texts"),
    [
        ("n == 1 && s == 'a'", ["n == 1 && s == 'a'", "n == 1", "n", "s == 'a'", "s"]),
        ("has(j.a)", ["has(j.a)", "j"]),
        ("has(record.n)", ["has(record.n)", "record.n"]),
        ("tags.exists(t, t == auth.nick)", ["tags.exists(t, t == auth.nick)", "tags"]),
        ("n in [1, 2]", ["n in [1, 2]", "n"]),
        ("true", ["true"]),
        (
            "n == 1 ? s == auth.nick : false",
            ["n == 1 ? s == auth.nick : false", "n == 1", "n", "s == auth.nick", "s", "auth.nick"],
        ),
    ],
)
def test_parts_are_what_has_a_value_of_its_own(source: str, texts: list[str]) -> None:
    """Constants and what needs a loop's element are left out."""
    assert texts == [part.text for part in take_apart(source, ENV).walk()]


def test_a_disagreement_is_said_where_it_is() -> None:
    told = {one.part.text: one.memory for one in found("s == 'x' && n == 3", said=True).walk()}

    assert told == {"s == 'x' && n == 3": "false", "s == 'x'": None, "s": None, "n == 3": "false", "n": None}
    assert "error: `<` needs two values of one ordered type" == found("n < 3", said=True).memory
    assert None is found("n < 3", said=None).memory


def test_a_reason_names_every_case_of_an_or_and_one_of_an_and() -> None:
    assert "`s == 'a'` is false: s is \"x\"; `n == 3` is false: n is null." == reason(found("s == 'a' || n == 3", said=False))
    assert found("n < 3 && s == 'a'", said=False).part.kind == "and"


def test_values_are_cut_and_safe() -> None:
    assert show(None) == "null"
    assert show(["a", 1, True]) == '["a", 1, true]'
    assert as_json("x" * 1000) == "x" * 199 + "…"
    assert as_json(2**60) == str(2**60)
    assert as_json(list(range(100))) == [*range(20), "…"]
    assert as_json({"a": Decimal("1.50")}) == {"a": "1.50"}
    assert as_json(datetime(2026, 1, 2, tzinfo=UTC)) == "2026-01-02T00:00:00Z"
