"""Fragments: what is text, what is a name and what is a value."""

import pytest

from baas.infra.db.sql import Sql, Statement, as_role, ident, join, literal, sql


def test_values_become_numbered_holes_and_fragments_are_spliced() -> None:
    columns = join(", ", [ident("id"), ident("title")])
    query = sql("select {} from {} where owner = {} limit {}", columns, ident("p_1", "posts"), "ada", 3)

    expected = Statement('select "id", "title" from "p_1"."posts" where owner = $1 limit $2', ("ada", 3))
    assert expected == query.render()


def test_a_value_never_becomes_text() -> None:
    hostile = "'; drop table posts; --"

    assert Statement("select $1", (hostile,)) == sql("select {}", hostile).render()


@pytest.mark.parametrize(("name", "quoted"), [("posts", '"posts"'), ('a"b', '"a""b"'), ("select", '"select"')])
def test_names_are_quoted(name: str, quoted: str) -> None:
    assert quoted == ident(name).render().text


@pytest.mark.parametrize("name", ["", "a\0b", "ä" * 32])
def test_names_that_the_database_would_refuse_or_cut_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="identifier"):
        ident(name)


@pytest.mark.parametrize("values", [(), (1, 2)])
def test_the_number_of_values_must_fit(values: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match="values"):
        sql("select {}", *values)


def test_braces_in_text_are_doubled() -> None:
    assert "select '{}'" == sql("select '{{}}'").render().text


@pytest.mark.parametrize("value", ["it's", "back\\slash", "both \\' of", "", "new\nline", "é😀", None, True, -7])
async def test_a_literal_comes_back_as_it_went(db: object, value: str | int | bool | None) -> None:
    """PostgreSQL reads each constant as the value it stands for."""
    kind = {str: sql("text"), bool: sql("boolean"), int: sql("bigint"), type(None): sql("text")}[type(value)]

    assert value == await db.fetch_value(sql("select ({})::{}", literal(value), kind))  # type: ignore[attr-defined]


def test_joining_nothing_is_nothing() -> None:
    assert not join(", ", [])
    assert not Sql()


def test_a_role_goes_with_the_statement_that_its_fragment_ends_in() -> None:
    """However deep inside; two roles cannot meet in one statement."""
    source = as_role("p_1_reader", ident("p_1", "v"))
    inner = sql("exists (select from {} where id = {})", source, 7)

    assert Statement('select 1 where exists (select from "p_1"."v" where id = $1)', (7,), "p_1_reader") == (
        sql("select 1 where {}", join(" and ", [inner])).render()
    )
    with pytest.raises(ValueError, match="one role"):
        sql("select from {}, {}", source, as_role("p_2_reader", ident("p_2", "v"))).render()
