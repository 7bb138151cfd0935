"""What the checker refuses, and in what words."""

import random
import re
from dataclasses import replace

import pytest

from baas.engines.rules.lint import check_access
from baas.engines.rules.rule import Env, RowField, RowType, RuleError, check
from tests.support.rule_expressions import Expressions
from tests.support.rule_world import COLUMNS, FACTS, env, pair

ROW = RowType(
    {
        "id": RowField("ref(posts)", False),
        "owner": RowField("ref(users)", True),
        "title": RowField("string", False),
        "n": RowField("int", False),
        "price": RowField("decimal", True),
        "score": RowField("double", False),
        "published": RowField("bool", False),
        "at": RowField("timestamp", False),
        "meta": RowField("json", True),
        "tags": RowField("list(string)", False),
        "now": RowField("timestamp", False),
        "secret": RowField("string", False, readable=False),
    }
)
LIST = Env("list", record=ROW, bare="record")
UPDATE = Env("update", record=ROW, next=ROW)
CREATE = Env("create", next=ROW, bare="next")
FILTER = Env("list", record=ROW, bare="record", vars=True, kind="filter")


_NOTHING = dict.fromkeys(COLUMNS)
CODES = {
    "syntax",
    "unknown_field",
    "unknown_name",
    "unknown_function",
    "type_mismatch",
    "not_allowed",
    "too_long",
    "too_complex",
    "bad_pattern",
    "no_value",
}


def _refused(source: str, env: Env = LIST) -> RuleError:
    with pytest.raises(RuleError) as refusal:
        check(source, env)
    return refusal.value


@pytest.mark.parametrize(
    ("source", "code", "column", "words"),
    [
        ("record.owmer == auth.id", "unknown_field", 8, "Did you mean 'owner'?"),
        ("tittle == 'x'", "unknown_field", 1, "Did you mean 'title'?"),
        ("auth.rol == 'x'", "unknown_field", 6, "unknown field 'rol'"),
        ("recrd.title == 'x'", "unknown_field", 1, "Did you mean 'record'?"),
        ("next.title == 'x'", "unknown_name", 1, "no `next` in a list rule"),
        ("record == null", "type_mismatch", 1, "Say one of its fields"),
        ("n == '1'", "type_mismatch", 3, "int and string can never be equal"),
        ("n < title", "type_mismatch", 3, "have no order"),
        ("null < null", "type_mismatch", 6, "have no order"),
        ("n + score > 1.0", "type_mismatch", 3, "double(…)"),
        ("n + title == 'x'", "type_mismatch", 3, "`+` does not take an int and a string"),
        ("meta.a + 1 == 2", "type_mismatch", 8, "Convert the JSON value first"),
        ("title", "type_mismatch", 1, "this needs a condition"),
        ("title && published", "type_mismatch", 1, "this needs a condition"),
        ("!n", "type_mismatch", 2, "this needs a condition"),
        ("title.name == 'x'", "type_mismatch", 7, "has no field 'name'"),
        ("title.startWith('a')", "unknown_function", 7, "Did you mean 'startsWith'?"),
        ("startsWith(title, 'a')", "unknown_function", 1, "Write x.startsWith(…)."),
        ("title.int() == 1", "unknown_function", 7, "Write int(x)."),
        ("title.toLowerCase() == 'a'", "unknown_function", 7, "Did you mean 'lowerAscii'?"),
        ("title.length > 3", "type_mismatch", 7, "Say size(title)."),
        ("title.len() > 3", "unknown_function", 7, "Did you mean 'size'?"),
        ("tags.some(t, t == 'a')", "unknown_function", 6, "Did you mean 'exists'?"),
        ("tags.contains('a')", "type_mismatch", 6, "`x in list`"),
        ("owner == auth", "type_mismatch", 7, "Say auth.id"),
        ("owner == auth.uid", "unknown_field", 15, "Did you mean 'id'?"),
        ("value == 1", "unknown_field", 1, "unknown field 'value'."),
        ("sizeof(title) == 1", "unknown_function", 1, "unknown function 'sizeof'"),
        (
            "'a' in title",
            "type_mismatch",
            5,
            "`in` needs a list, and `record.title` (string) is not one. For a part of a text say",
        ),
        ("n in (1)", "type_mismatch", 3, "A list is written [1, 2]."),
        ("title[0] == 'a'", "type_mismatch", 6, "startsWith(), endsWith() or contains()"),
        ("abs(n) == 1", "unknown_function", 1, "Say x < 0 ? -x : x."),
        ("title.substring(0, 1) == 'a'", "unknown_function", 7, "startsWith(), endsWith() or contains()"),
        ("title.trim() == 'a'", "unknown_function", 7, "compared as they are stored"),
        ("rows('customer').exists(c, true)", "unknown_name", 6, "there is no collection 'customer'."),
        ("1 in tags", "type_mismatch", 3, "can never be equal"),
        ("tags == 'a'", "type_mismatch", 6, "x in list"),
        ("tags.exists(t, t == 1)", "type_mismatch", 18, "can never be equal"),
        ("tags.exists(t == 'a')", "type_mismatch", 6, "takes a name and a condition"),
        ("tags.exists(now, now == 'a')", "not_allowed", 13, "is taken"),
        ("tags.exists(t, tags.exists(t, true))", "not_allowed", 28, "is taken"),
        ("tags.exists(a, tags.exists(b, tags.exists(c, a == c)))", "too_complex", 31, "at most 2 deep"),
        ("tags.map(t, t) == ['a']", "not_allowed", 6, "takes no record fields"),
        ("tags.filter(t, t == 'a') == ['a']", "not_allowed", 6, "size(l.filter(…))"),
        ("published ? 1 : 2", "type_mismatch", 11, "this needs a condition"),
        ("(published ? n : title) == 1", "type_mismatch", 12, "both branches"),
        ("$x == 1", "not_allowed", 1, "variables"),
        ("input.title == 'x'", "not_allowed", 1, "has(input.title)"),
        ("has(input.title)", "unknown_name", 5, "no `input` in a list rule"),
        ("changed('title')", "not_allowed", 1, "update rules"),
        ("has(title)", "type_mismatch", 1, "has() takes a field"),
        ("at == '2024-01-01T00:00:00Z'", "type_mismatch", 4, "timestamp("),
        ("duration(title) > duration('1h')", "not_allowed", 1, "takes no record fields"),
        ("at.getHours(title) == 1", "not_allowed", 13, "time zone"),
        ("title == 'a\\u0000'", "type_mismatch", 10, "no NUL"),
        ("{'a': n} == null", "not_allowed", 1, "a map holds no record fields"),
        ("request.ip == ''", "unknown_field", 9, "unknown field 'ip'"),
    ],
)
def test_a_wrong_expression_is_refused_with_a_place_and_a_way_out(source: str, code: str, column: int, words: str) -> None:
    """Code, column of the fault, and what to write instead."""
    error = _refused(source)

    assert (code, column) == (error.code, error.column), str(error)
    assert words in str(error)


@pytest.mark.parametrize(
    ("source", "column", "words"),
    [
        ("at > timestamp('2026-01-02')", 16, 'timestamp("2026-01-02T00:00:00Z")'),
        ("at > timestamp('2026-01-02 10:30')", 16, 'timestamp("2026-01-02T10:30:00Z")'),
        ("at > timestamp('yesterday')", 16, '"yesterday" is no timestamp. A time has a zone'),
        ("at > now - duration('1d')", 21, 'duration("24h")'),
        ("at.getHours('Foo/Bar') == 3", 13, 'there is no time zone "Foo/Bar". Say a name like "Europe/Berlin"'),
        ("n / 0 == 1", 3, "a division by zero has no value"),
        ("published || !(n % 0 == 1)", 18, "a division by zero has no value"),
        ("published ? 1 / 0 == n : true", 15, "a division by zero has no value"),
        ("n in [int('x')]", 11, '"x" is no int'),
        ("tags.exists(t, t == 'a' && at < timestamp('x'))", 43, "is no timestamp"),
        ("n == [1, 2][5]", 12, "there is no such position"),
        ("meta.a == {'b': 1}.c", 20, "there is no key 'c'"),
        ("n == 9223372036854775807 + 1", 26, "the result does not fit"),
    ],
)
@pytest.mark.parametrize("env", [LIST, FILTER])
def test_a_condition_that_can_never_have_a_value_is_refused(source: str, column: int, words: str, env: Env) -> None:
    """Of a filter, and of a rule when it is saved: one that is stored goes on to mean what it meant."""
    with pytest.raises(RuleError) as refusal:
        (check_access if env is LIST else check)(source, env)
    error = refusal.value

    assert ("no_value", column) == (error.code, error.column), str(error)
    assert words in str(error)
    assert check(source, LIST)


@pytest.mark.parametrize(
    "source",
    ["true || 1 / 0 == 1", "published || n == (published ? 1 : 1 / 0)", "n / n == 1", "has({'a': 1}.b) || published"],
)
def test_a_failure_that_is_absorbed_or_may_be_passed_by_is_no_mistake(source: str) -> None:
    assert check_access(source, LIST)


@pytest.mark.parametrize(
    "source",
    [
        "[1, 2].exists(x, auth.claims.n == 1 / x)",
        "[1, 2].all(x, auth.claims.n == 7 % x)",
        "['5', '7'].exists(x, auth.claims.n == int(x))",
        "[[1], [2]].exists(x, x.exists(y, auth.claims.n == 1 / y))",
        "[1, 2].exists(y, $x == y + 1)",
        "['2026-01-01T00:00:00Z'].exists(y, now > timestamp(y))",
        "size(['5'].filter(y, $x == int(y))) == 1",
    ],
)
def test_a_part_that_names_the_element_of_a_loop_has_a_value_for_each(source: str) -> None:
    assert check(source, FILTER)


@pytest.mark.parametrize(
    ("source", "column"),
    [
        ("[1, 2].exists(x, auth.claims.n == x / 0)", 37),
        ("[1, 2].exists(x, auth.claims.n == x + int('y'))", 43),
        ("[1, 2].exists(x, [0].exists(y, 1 / y == 1) && auth.claims.n == x)", 22),
    ],
)
def test_what_names_no_element_is_refused_inside_a_loop_too(source: str, column: int) -> None:
    error = _refused(source, FILTER)

    assert ("no_value", column) == (error.code, error.column), str(error)


PATHS = ("record.team.name == 'a'", "record.team.lead.name == 'a'", "record.owner.name == 'a'", "record.owner.team.name == 'a'")


@pytest.mark.parametrize(
    ("source", "position"),
    [
        (" && ".join([PATHS[0]] * 12), None),
        (" && ".join([PATHS[0]] * 13), 12 * len(PATHS[0] + " && ")),
        (" && ".join(PATHS[:3]), None),
        (" && ".join([*PATHS[:3], *PATHS[:3]]), None),
        (" && ".join(PATHS), len(" && ".join(PATHS[:3]) + " && ")),
        ("record.notes.exists(x, x.author.name == 'a' && x.author.team == null)", None),
        ("record.notes.exists(x, x.score > 0) && " * 3 + "record.notes.exists(x, x.score > 1)", 3 * 39),
    ],
)
def test_a_path_counts_once_however_many_conditions_it_has(source: str, position: int | None) -> None:
    """And lists each time; all of them stand in a number of conditions."""
    if position is None:
        assert check(source, env("filter"))
        return
    error = _refused(source, env("filter"))
    assert "too_complex" == error.code
    assert position <= error.position < position + len("record.team.lead")
    assert error.hint


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("input.title == 'x'", "there is no `input` in a filter."),
        ("has(input.title)", "there is no `input` in a filter."),
        ("next.n == 1", "there is no `next` in a filter."),
        ("record.members[0].name == 'a'", "Say list.exists(x, x.name == …)."),
    ],
)
def test_what_a_filter_lacks_is_told_as_of_a_filter(source: str, words: str) -> None:
    where = replace(env("filter"), next=None)

    assert words in str(_refused(source, where))


# What CEL or its extensions have and this language has not: refused at a place, never taken for something else.
OUTSIDE = (
    ("optional field", "meta.?a == 1"),
    ("optional index", "meta[?'a'] == 1"),
    ("optional value", "optional.of(n) == 1"),
    ("two variables of a macro", "tags.exists(i, v, v == 'a')"),
    ("two variables of all", "tags.all(i, v, i > 0)"),
    ("two variables over JSON", "meta.a.exists(k, v, v == 1)"),
    ("transformList", "tags.transformList(i, v, v) == ['a']"),
    ("map of a row", "tags.map(t, t) == ['a']"),
    ("map with a condition", "tags.map(t, t == 'a', t) == ['a']"),
    ("exists_one of a row", "tags.exists_one(t, t == 'a')"),
    ("existsOne", "tags.existsOne(t, t == 'a')"),
    ("bind", "cel.bind(x, n, x == 1)"),
    ("a message", "Foo{a: 1} == null"),
    ("a qualified message", "google.protobuf.Timestamp{seconds: 1} == at"),
    ("type", "type(n) == int"),
    ("the name of a type", "n == int"),
    ("unsigned", "n == 1u"),
    ("unsigned hexadecimal", "n == 0x1fu"),
    ("uint", "uint(n) == 1"),
    ("bytes beside a text", "title == b'x'"),
    ("bytes of a row", "bytes(title) == b'a'"),
    ("dyn does not hide a type of a row", "dyn(title) == 1"),
    ("a map of a row's values", "{'a': n}.a == 1"),
    ("a map by a row's keys", "n in {n: 1}"),
    ("a map at a row's value", "{1: 'a'}[n] == 'a'"),
    ("a map beside a list", "tags == {'a': 1}"),
    ("math", "math.greatest(n, 1) == 1"),
    ("charAt", "title.charAt(0) == 'a'"),
    ("format", "'%d'.format([n]) == '1'"),
    ("replace", "title.replace('a', 'b') == 'a'"),
    ("split", "title.split(',') == ['a']"),
    ("join", "tags.join(',') == 'a'"),
    ("indexOf", "title.indexOf('a') == 1"),
    ("reverse", "title.reverse() == 'a'"),
    ("range", "lists.range(n) == [1]"),
    ("slice", "tags.slice(0, 1) == ['a']"),
    ("flatten", "tags.flatten() == ['a']"),
    ("sort", "tags.sort() == ['a']"),
    ("distinct", "tags.distinct() == ['a']"),
    ("sets", "sets.contains(tags, ['a'])"),
    ("base64", "base64.encode(b'a') == 'a'"),
    ("regular expressions", "re.extract(title, 'a') == 'a'"),
    ("addresses", "ip('1.2.3.4') == null"),
    ("has of an index", "has(meta['a'])"),
    ("parts of a duration that it has not", "duration('1h').getMilliseconds() == 1"),
    ("text beside text", "'a' 'b' == title"),
    ("a power", "n ** 2 == 4"),
    ("a default", "n ?? 1 == 1"),
)


@pytest.mark.parametrize("env", [LIST, FILTER], ids=["rule", "filter"])
@pytest.mark.parametrize(("name", "source"), OUTSIDE, ids=[name for name, _ in OUTSIDE])
def test_what_is_outside_of_the_subset_is_refused_and_never_taken_for_something_else(name: str, source: str, env: Env) -> None:
    error = _refused(source, env)

    assert error.code in CODES, name
    assert 0 <= error.position < len(source), name


@pytest.mark.parametrize("source", ["record.secret == 'x'", "secret == 'x'", "has(record.secret)"])
def test_an_unreadable_field_is_one_that_does_not_exist(source: str) -> None:
    """The refusal is letter for letter that of an unknown field, so it tells nothing."""
    real, made_up = _refused(source, FILTER), _refused(source.replace("secret", "sicret"), FILTER)

    assert str(made_up).replace("sicret", "secret") == str(real)
    assert "'secret'" not in str(real.hint)


@pytest.mark.parametrize(
    ("source", "env"),
    [
        ("published || record.owner == auth.id", LIST),
        ("next.owner == auth.id && (has(input.title) || next.n > 0)", CREATE),
        ("owner == auth.id", CREATE),
        ('!changed("owner", "n") && record.owner == auth.id', UPDATE),
        ("record.now < now", LIST),
        ("price * 2 > 1.5 && n + 1 > 2 && score * 2.0 > 1.0", LIST),
        ("meta.a.b == 'x' && has(meta.c) && meta['k'] > 3", LIST),
        ("tags.exists(t, t.startsWith('a')) && size(tags.filter(t, t == 'b')) < 3", LIST),
        ("tags.filter(t, t > 'a').all(t, t < 'b')", LIST),
        ("auth != null && auth.claims.role == 'admin'", LIST),
        ("auth.id in [owner, id] || title in ['a', $x] || n in $list", FILTER),
        ("request.action == 'list' && request.via in ['rest', 'batch']", LIST),
        ("['a', 'b'].exists(x, x == title)", LIST),
        ("at + duration('24h') > now && at.getHours('Europe/Berlin') < 12", LIST),
        ("{'a': 1}.a == 1 && [1, 2].map(x, x * 2) == [2, 4]", LIST),
    ],
)
def test_a_sound_expression_is_taken(source: str, env: Env) -> None:
    """One of each thing the language reference shows."""
    check(source, env)


def test_a_bare_name_in_an_update_rule_must_say_which_row() -> None:
    """Before or after is the whole point of an update rule."""
    error = _refused("title == 'x'", UPDATE)

    assert "Say record.title or next.title." == error.hint


def test_value_is_the_field_under_validation() -> None:
    """Inside a field's validation, `value` is next.<field>."""
    env = Env("update", next=ROW, kind="validation", value="n")

    assert {("next", "n")} == check("value >= 0", env).names
    assert "unknown_field" == _refused("value >= 0", CREATE).code


def test_choices_used_as_values_are_held_small() -> None:
    """Each doubles the statement, so a tower of them is refused when it is saved."""
    value = "n"
    for _ in range(14):
        value = f"(({value} == 1) ? n : 2)"

    assert "too_complex" == _refused(f"{value} == 1").code
    assert "too_complex" == _refused(" == ".join(["(n == 1)"] * 14)).code


@pytest.mark.parametrize("seed", range(4))
def test_a_broken_expression_gives_a_rule_or_a_rule_error(seed: int) -> None:
    """Sound expressions with pieces cut out, doubled or put elsewhere, through every step up to the SQL; no other exception."""
    pick = random.Random(seed)
    stream = Expressions(seed, variables=True)
    for _ in range(400):
        pieces = re.findall(r"\w+|\W", stream.one())
        for _ in range(pick.choice((1, 1, 2, 5))):
            at, other = pick.randrange(len(pieces)), pick.randrange(len(pieces))
            pieces[at] = pick.choice(("", pieces[at] * 2, pieces[other], f"({pieces[at]}", pick.choice("!-.[]()?:,&|=$'\"")))
        try:
            rule = check("".join(pieces), env("filter"))
            folded = rule.fold(FACTS[1])
            rule.where(folded.shape, pair("filter"), "x")
            rule.evaluate(FACTS[1], _NOTHING, _NOTHING)
        except RuleError as error:
            assert error.code in CODES, error  # noqa: PT017  most are broken: both outcomes are right
