"""F expressions become text of the filter language, and every value a variable."""

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum

import pytest
from baas_sdk import ConfigError, F, Record
from baas_sdk.filters import Filter, compile_filter, compile_filters


class Status(Enum):
    OPEN = "open"


NOON = datetime(2026, 11, 20, 12, tzinfo=timezone(timedelta(hours=1)))
RECORD = Record({"id": "0199", "rev": 1})


@pytest.mark.parametrize(
    ("given", "text", "values"),
    [
        (F.done == False, "done == $v1", [False]),  # noqa: E712  # the expression is the point
        (F.n != 3, "n != $v1", [3]),
        (F.n < 1.5, "n < $v1", [1.5]),
        (F.n <= 2, "n <= $v1", [2]),
        (F.n > 2, "n > $v1", [2]),
        (F.n >= 2, "n >= $v1", [2]),
        (F.n > F.m, "n > m", []),
        (F.a == None, "a == null", []),  # noqa: E711  # the expression is the point
        (F.a != None, "a != null", []),  # noqa: E711  # the expression is the point
        (F.a.is_null(), "a == null", []),
        (F.author.name == "Ada", "author.name == $v1", ["Ada"]),
        (F["class"] == "x", "class == $v1", ["x"]),
        (F.s.in_(["a", "b"]), "s in [$v1, $v2]", ["a", "b"]),
        (F.s.in_([]), "false", []),
        (F.s.contains("a"), "s.contains($v1)", ["a"]),
        (F.s.startswith("a"), "s.startsWith($v1)", ["a"]),
        (F.s.like("%a_b%"), "s.contains($v1)", ["a_b"]),
        (F.s.like("a%"), "s.startsWith($v1)", ["a"]),
        (F.s.like("%a"), "s.endsWith($v1)", ["a"]),
        (F.s.like("a"), "s == $v1", ["a"]),
        (F.s.endswith("a"), "s.endsWith($v1)", ["a"]),
        (F.at > NOON, "at > timestamp($v1)", ["2026-11-20T11:00:00.000000Z"]),
        (F.day == date(2026, 1, 2), "day == timestamp($v1)", ["2026-01-02T00:00:00.000000Z"]),
        (F.status == Status.OPEN, "status == $v1", ["open"]),
        (F.owner == RECORD, "owner == $v1", ["0199"]),
        (F.price == Decimal("9.50"), "price == decimal($v1)", ["9.50"]),
        (F.now > 3, "record.now > $v1", [3]),
        (F.done, "done", []),
        (~F.done, "!(done)", []),
        (F.comments.exists(lambda c: c.likes > 2), "comments.exists(E1, E1.likes > $v1)", [2]),
        (F.tags.all(lambda t: t.startswith("a")), "tags.all(E1, E1.startsWith($v1))", ["a"]),
        (F.a.exists(lambda x: x.b.exists(lambda y: y.c == x.d)), "a.exists(E1, E1.b.exists(E2, E2.c == E1.d))", []),
        (F.a.exists(lambda x: x.now), "a.exists(E1, E1.now)", []),
        (F.now.exists(lambda x: x == F.n), "record.now.exists(E1, E1 == n)", []),
        (F.a.size() >= 2, "size(a) >= $v1", [2]),
        (F.a.size(lambda x: x.ok) == F.n, "size(a.filter(E1, E1.ok)) == n", []),
        (F.author["size"] == 1, "author.size == $v1", [1]),
        (F.place.distance(52.5, 13.4) < 500, "distance(place, geo($v1, $v2)) < $v3", [52.5, 13.4, 500]),
        ((F.a == 1) & (F.b == 2) | ~(F.c == 3), "((a == $v1 && b == $v2) || !(c == $v3))", [1, 2, 3]),
    ],
)
def test_an_expression_compiles(given: Filter, text: str, values: list[object]) -> None:
    compiled = compile_filter(given, None)

    assert compiled is not None
    assert text == compiled.text
    assert values == list(compiled.variables.values())


def test_a_value_never_becomes_text() -> None:
    """What would end a string or start another condition stays a value."""
    compiled = compile_filter(F.title == '" || true || "', None)

    assert compiled is not None
    assert "true" not in compiled.text


def test_a_text_filter_keeps_its_variables() -> None:
    compiled = compile_filter("at > timestamp($t) && n in $n", {"t": NOON, "n": (1, 2)})

    assert compiled is not None
    assert {"t": "2026-11-20T11:00:00.000000Z", "n": [1, 2]} == compiled.variables


def test_filters_that_share_variables_keep_them_apart() -> None:
    compiled = compile_filters({"filter": "a == $v1", "having": (F.n > 2) & (F.m > 3), "other": None}, {"v1": 1})

    assert "(n > $v2 && m > $v3)" == compiled["having"]
    assert {"v1": 1, "v2": 2, "v3": 3} == compiled["vars"]
    assert {} == compile_filters({"filter": None}, None)


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: compile_filter(F.a == 1, {"a": 1}),
        lambda: compile_filter(None, {"a": 1}),
        lambda: compile_filter(F.a == object(), None),
        lambda: compile_filter(F.a == datetime(2026, 1, 1), None),
        lambda: compile_filter(F["a b"] == 1, None),
        lambda: compile_filter(F.a == Decimal("NaN"), None),
        lambda: compile_filter(F["a) || (true"] == 1, None),
        lambda: bool(F.a == 1),
        lambda: (F.a == 1) and (F.b == 2),
        lambda: 1 < F.a < 3,
        lambda: (F.a == 1) & True,  # type: ignore[operator]
        lambda: F.a == 1 & F.b,
        lambda: F.a.exists(lambda x: True),
        lambda: F.a.like("a%b"),
        lambda: compile_filter(F.author.size > 3, None),  # type: ignore[operator]
    ],
)
def test_a_mistake_is_told_at_once(mistake: "object") -> None:
    """Python would take each of these for something else than was meant."""
    with pytest.raises((ConfigError, TypeError)):
        mistake()  # type: ignore[operator]
