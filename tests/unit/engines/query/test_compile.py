"""The compiler's text: what shares it, what it never holds, and how much of it is kept."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from baas.base.principal import Principal
from baas.engines.query.asking import Asking
from baas.engines.query.compile import Compiler
from baas.engines.query.table import Table
from baas.engines.query.text import Kept, Slot, Template
from baas.engines.query.tree import Delete, Filter, Get, Insert, InsertMany, List, Put, SortKey, Update, ordered
from baas.engines.rules.rule import RuleError
from baas.engines.schema.collection import ACTIONS, Collection, Field
from baas.infra.db.sql import sql

NOW = datetime(2026, 11, 20, tzinfo=UTC)
ALICE, BOB = "0190a6e0-0000-7000-8000-00000000000a", "0190a6e0-0000-7000-8000-00000000000b"
RECORD = UUID("0190a6e0-0000-7000-8000-000000000001")
USERS = Collection("users", "p_1", (Field("email", "email", required=True),), rules=dict.fromkeys(ACTIONS), version=1)
FIELDS = (
    Field("title", "text", required=True),
    Field("n", "int"),
    Field("owner", "relation", options={"to": "users", "many": False, "on_delete": "restrict"}),
    Field("tags", "select", options={"values": ["a"], "many": True}),
    Field("secret", "text", hidden=True),
)
OWN = dict.fromkeys(ACTIONS, "record.owner == auth.id") | {"create": "next.owner == auth.id"}


def table_of(compiler: Compiler, *, version: int = 1, rules: dict[str, str | None] | None = None) -> Table:
    posts = Collection("posts", "p_1", FIELDS, rules=OWN if rules is None else rules, version=version)
    found = compiler.table({"posts": posts, "users": USERS}, "posts")
    assert found is not None
    return found


def asking(user: str = ALICE) -> Asking:
    return Asking(Principal("user", user), now=NOW, auth={"id": user, "collection": "users", "claims": {}})


def operator() -> Asking:
    return Asking(Principal("operator", ALICE), now=NOW)


def every_statement(compiler: Compiler, table: Table, who: str) -> dict[str, tuple[str, tuple[object, ...]]]:
    """One statement of each form, each with fresh facts."""
    ask = asking if who == "user" else operator
    row = {"id": RECORD, "title": "hole-title", "n": 77, "owner": ALICE, "tags": ["a"]}
    after = ("hole-after", str(RECORD))
    put = Put(RECORD, row, ("title", "n", "owner"), ("tags",), 3)
    made = {
        "get": compiler.get(table, Get(RECORD), ask()),
        "list": compiler.list(
            table, List((SortKey("title"), SortKey("id")), 20, Filter("n == $v", {"v": 77}), after, count="exact"), ask()
        ),
        "insert": compiler.insert(table, Insert(row), ask()),
        "insert_many": compiler.insert_many(table, InsertMany((row, row)), ask()),
        "update": compiler.update(table, Update(RECORD, {"title": "hole-title"}, 3), ask()),
        "put": compiler.put(table, put, ask()),
        "delete": compiler.delete(table, Delete(RECORD, 3), ask()),
        "why_not_inserted": compiler.why_not_inserted(table, Insert(row), ask()),
        "why_not_changed": compiler.why_not_changed(table, Update(RECORD, {"title": "hole-title"}, 3), ask()),
        "why_not_put": compiler.why_not_put(table, put, ask()),
    }
    return {name: (one.text, one.args) for name, one in made.items()}


@pytest.mark.parametrize("who", ["user", "operator"])
def test_no_value_stands_in_the_text(who: str) -> None:
    """What a client sent and who he is are parameters, every one of them with a cast."""
    compiler = Compiler()
    for name, (text, args) in every_statement(compiler, table_of(compiler), who).items():
        for value in ("hole-", ALICE, str(RECORD), "77"):
            assert value not in text, name
        for number in range(1, len(args) + 1):
            assert f"${number}::" in text, (name, number)


def test_every_table_is_named_with_its_schema() -> None:
    compiler = Compiler()
    for name, (text, _) in every_statement(compiler, table_of(compiler), "user").items():
        assert '"p_1"."posts"' in text or name == "why_not_inserted"
        for word in (' from "posts"', ' into "posts"', ' update "posts"', ' from "users"'):
            assert word not in text


def test_callers_of_one_shape_share_the_text() -> None:
    compiler = Compiler()
    table = table_of(compiler)
    hers = compiler.get(table, Get(RECORD), asking(ALICE))
    his = compiler.get(table, Get(UUID(BOB)), asking(BOB))

    assert hers.text is his.text
    assert hers.args == (RECORD, ALICE)
    assert his.args == (UUID(BOB), BOB)


def test_filters_that_differ_in_literals_share_the_text() -> None:
    compiler = Compiler()
    table = table_of(compiler)
    made = [compiler.list(table, List((SortKey("id"),), 20, Filter(f'title == "{word}"')), asking()) for word in ("x", "y")]

    assert made[0].text is made[1].text
    assert made[0].args != made[1].args


def test_another_version_of_the_schema_has_its_own_text() -> None:
    compiler = Compiler()
    before = compiler.get(table_of(compiler), Get(RECORD), asking())
    after = compiler.get(table_of(compiler, version=2, rules=dict.fromkeys(ACTIONS, "true")), Get(RECORD), asking())

    assert "owner" in before.text.partition("where")[2]
    assert "owner" not in after.text.partition("where")[2]


def test_an_operator_and_a_user_never_share_the_text() -> None:
    """Where rules are the same for both, the hidden field still is not."""
    compiler = Compiler()
    table = table_of(compiler, rules=dict.fromkeys(ACTIONS, "true"))

    assert '"secret"' in compiler.get(table, Get(RECORD), operator()).text
    assert '"secret"' not in compiler.get(table, Get(RECORD), asking()).text


def test_a_hidden_field_cannot_be_filtered_by() -> None:
    compiler = Compiler()
    table = table_of(compiler)
    compiler.check_filter(table, 'secret == "x"', operator())
    for name in ("secret", "nosuch"):
        with pytest.raises(RuleError) as refused:
            compiler.check_filter(table, f'{name} == "x"', asking())
        assert refused.value.message.replace(name, "NAME") == "unknown field 'NAME'."


def test_what_is_locked_admits_nobody() -> None:
    compiler = Compiler()
    table = table_of(compiler, rules={})

    assert " and (false)" in compiler.get(table, Get(RECORD), asking()).text
    assert "false" not in compiler.get(table, Get(RECORD), operator()).text


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ((), (SortKey("id"),)),
        ((SortKey("n", True),), (SortKey("n", True), SortKey("id", True))),
        ((SortKey("n"), SortKey("id", True), SortKey("title")), (SortKey("n"), SortKey("id", True))),
    ],
)
def test_every_order_ends_in_the_id(keys: tuple[SortKey, ...], expected: tuple[SortKey, ...]) -> None:
    assert ordered(keys) == expected


def test_a_template_keeps_constants_and_reads_the_rest() -> None:
    template = Template(sql("select {}::text, {}::int8, {}::text", "constant", Slot("n"), Slot("n")))

    assert template.bind({"n": 5}, {}).args == ("constant", 5, 5)
    assert template.bind({"n": 6}, {}).args == ("constant", 6, 6)
    assert template.text == "select $1::text, $2::int8, $3::text"


def test_what_is_kept_is_bounded_and_forgets_the_oldest() -> None:
    kept: Kept[str] = Kept(2)
    made: list[str] = []

    def make(name: str) -> str:
        made.append(name)
        return name

    for name in ("a", "b", "a", "c", "a", "b"):
        assert kept.get(name, lambda name=name: make(name)) == name  # type: ignore[misc]

    assert made == ["a", "b", "c", "b"]
    assert len(kept) == 2


def test_bound_text_compares_by_code_point() -> None:
    """A parameter has the database's own collation, which a rule on `next` or a page must not depend on."""
    compiler = Compiler()
    table = table_of(compiler)
    created = compiler.insert(table, Insert({"id": RECORD, "title": "x"}), asking()).text
    paged = compiler.list(table, List((SortKey("title"), SortKey("id")), 20, after=("x", str(RECORD))), asking()).text

    assert '::text collate "C" as "title"' in created
    assert '("r"."title", "r"."id") > ($2::text collate "C", $3::text::uuid)' in paged
