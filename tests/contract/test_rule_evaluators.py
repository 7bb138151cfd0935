"""The gate of the rule engine: SQL and memory say the same of every row, for random expressions over hostile rows.

`BAAS_TEST_SEED` and `BAAS_TEST_EXPRESSIONS` widen the run; a failure prints the seed, the expression and the row.
"""

import os
from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest

from baas.base.ids import short_id
from baas.engines.rules import atoms
from baas.engines.rules import compile as emission
from baas.engines.rules.compile import Elements, Emitter, split_at
from baas.engines.rules.functions import FUNCTIONS
from baas.engines.rules.operands import Condition, Value, all_of, as_sql, negated
from baas.engines.rules.paths import Surroundings
from baas.engines.rules.rule import Rule, RuleFailure, check
from baas.engines.rules.tree import Has, Node, Not
from baas.infra.db.pool import Database
from baas.infra.db.sql import Sql, ident, join, literal, sql
from tests.support.rule_questions import questions
from tests.support.rule_world import FACTS, ROWS, World, differences, env, make_world

SEED = int(os.environ.get("BAAS_TEST_SEED", "20261120"))
EXPRESSIONS = int(os.environ.get("BAAS_TEST_EXPRESSIONS", "1500"))
_MOST_TRIES = 12


@pytest.fixture(scope="session")
async def world(db: Database) -> AsyncIterator[World]:
    """Hostile rows in a schema of their own."""
    schema = f"rules_{short_id()}"
    yield await make_world(db, SEED, schema)
    await db.execute(sql("drop schema {} cascade", ident(schema)))


@pytest.mark.parametrize("kind", ["rule", "filter"])
async def test_sql_and_memory_agree_on_every_row(db: Database, world: World, kind: str) -> None:
    """Both rails and the evaluator give one verdict, constants written in or bound; no statement raises."""
    asked = questions(kind, SEED, EXPRESSIONS // 2)

    found = await differences(db, world, asked)

    assert not found, f"seed {SEED}: {len(found)} disagreements, the first:\n{found[0]}"


def test_the_random_expressions_reach_all_three_truth_values(world: World) -> None:
    """A generator whose expressions all fail would agree on everything."""
    verdicts: Counter[str] = Counter()
    for one in questions("rule", SEED, 200):
        for number in range(ROWS):
            verdict = one.rule.evaluate(one.facts, world.rows[number], world.rows[(number * 7 + 3) % ROWS])
            verdicts["failure" if isinstance(verdict, RuleFailure) else str(verdict)] += 1

    assert all(share > 0.15 * verdicts.total() for share in verdicts.values()), verdicts
    assert len(verdicts) == 3


# Seeded bugs: each breaks the compiler in a way that has been seen in the wild, and must be noticed


def _plain_not(patch: pytest.MonkeyPatch) -> None:
    original = Emitter._truth

    def truth(self: Emitter, node: Node, want: bool) -> Condition:
        if isinstance(node, Not) and node not in self._leaves and not want:
            return original(self, node.item, True)
        if isinstance(node, Not) and node not in self._leaves:
            return negated(original(self, node.item, True))
        return original(self, node, want)

    patch.setattr(Emitter, "_truth", truth)


def _case_else(patch: pytest.MonkeyPatch) -> None:
    def either(self: Emitter, condition: Node, yes: Node, no: Node, want: bool) -> Condition:
        parts = (self._truth(condition, True), self._truth(yes, want), self._truth(no, want))
        return sql("case when {} then {} else {} end", *(as_sql(part) for part in parts))

    patch.setattr(Emitter, "_either", either)


def _bare_key_test(patch: pytest.MonkeyPatch) -> None:
    original = Emitter._atom

    def atom(self: Emitter, node: Node, want: bool) -> Condition:
        if isinstance(node, Has) and split_at(node) is None:
            found = sql("({} ? {})", self._value(node.object).sql, literal(node.name))
            return found if want else sql("not {}", found)
        return original(self, node, want)

    patch.setattr(Emitter, "_atom", atom)


def _not_exists_without_is_not_true(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Emitter, "_against", lambda self, body, opposite: self._truth(body, opposite))


def _no_guard_for_a_missing_list(patch: pytest.MonkeyPatch) -> None:
    original = Emitter._elements

    def elements(self: Emitter, node: Node, level: int) -> Elements | None:
        found = original(self, node, level)
        return None if found is None else found._replace(present=True)

    patch.setattr(Emitter, "_elements", elements)


def _plain_equality(patch: pytest.MonkeyPatch) -> None:
    def equality(a: Value, b: Value, want: bool) -> Condition:
        sides = None if {"error", "null"} & {a.kind, b.kind} else atoms.alike(a, b)
        if sides is None:
            return _equality(a, b, want)
        return sql("{} = {}" if want else "{} <> {}", sides[0].sql, sides[1].sql)

    patch.setattr(emission, "equality", equality)


_equality = atoms.equality


def _plain_not_in(patch: pytest.MonkeyPatch) -> None:
    original = atoms.membership

    def membership(item: Value, held: Value, want: bool) -> Condition:
        return original(item, held, True) if want else negated(original(item, held, True))

    patch.setattr(emission, "membership", membership)


def _unguarded_json_order(patch: pytest.MonkeyPatch) -> None:
    original = atoms._as_the_other

    def as_the_other(a: Value, b: Value) -> tuple[Value, Value]:
        x, y = original(a, b)
        return (x._replace(sql=sql("({} #>> '{{}}')::numeric", a.sql)), y) if a.kind == "json" and y.kind == "decimal" else (x, y)

    patch.setattr(atoms, "_as_the_other", as_the_other)


def _rounded_doubles(patch: pytest.MonkeyPatch) -> None:
    original = atoms.as_decimal
    patch.setattr(
        atoms,
        "as_decimal",
        lambda value: (
            value._replace(sql=sql("{}::numeric", value.sql), kind="decimal") if value.kind == "double" else original(value)
        ),
    )


def _null_equals_a_failure(patch: pytest.MonkeyPatch) -> None:
    original = atoms._is_null
    patch.setattr(
        atoms, "_is_null", lambda value, want: original(value._replace(null="null") if value.null == "error" else value, want)
    )


def _collation_of_a_language(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(atoms, "collated", lambda text: sql('{} collate "und-x-icu"', text.sql))


def _ids_of_any_spelling(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(atoms, "_alike_ids", lambda a, b: (_lowered(a), _lowered(b)))


def _lowered(value: Value) -> Value:
    return value._replace(sql=sql("lower({}::text)", value.sql), kind="string")


def _negated_and(patch: pytest.MonkeyPatch) -> None:
    """The F rail of `&&` joined as its T rail is."""
    original = emission.any_of
    patch.setattr(emission, "any_of", lambda parts: all_of(list(parts)) if not isinstance(parts, tuple) else original(parts))


def _left_join(patch: pytest.MonkeyPatch) -> None:
    """A record that is not there as one whose fields are null."""

    def around(self: Surroundings, atom: Condition) -> Condition:
        if not self._tables:
            return all_of((*self._conditions.values(), atom))
        tables, conditions = join(" cross join ", self._tables), as_sql(all_of(self._conditions.values()))
        return sql("(select {} from (select) start left join ({}) on {})", as_sql(atom), tables, conditions)

    patch.setattr(Surroundings, "around", around)


def _function_in_sql(name: str, params: tuple[str, ...], mutant: Callable[..., Sql]) -> Callable[[pytest.MonkeyPatch], None]:
    def apply(patch: pytest.MonkeyPatch) -> None:
        (function,) = (one for one in FUNCTIONS if one.name == name and one.params == params)
        original = emission.call

        def call(chosen: object, args: list[Value]) -> Value:
            if chosen is not function:
                return original(chosen, args)  # type: ignore[arg-type]
            return original(function, args)._replace(sql=mutant(*(atoms.as_text(arg).sql for arg in args)))

        patch.setattr(emission, "call", call)

    return apply


_TEXT_PAIR = ("string", "string")
MUTANTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "plain NOT": _plain_not,
    "CASE … ELSE for ?:": _case_else,
    "bare jsonb ?": _bare_key_test,
    "NOT EXISTS without IS NOT TRUE": _not_exists_without_is_not_true,
    "no guard for a missing list": _no_guard_for_a_missing_list,
    "plain = and <>": _plain_equality,
    "plain NOT IN": _plain_not_in,
    "unguarded order of JSON": _unguarded_json_order,
    "float8::numeric": _rounded_doubles,
    "null equals a failure": _null_equals_a_failure,
    "a language's collation": _collation_of_a_language,
    "ids of any spelling": _ids_of_any_spelling,
    "F of && as its T": _negated_and,
    "a relation as a left join": _left_join,
    "unescaped LIKE": _function_in_sql(".contains", _TEXT_PAIR, lambda s, part: sql("({} like '%' || {} || '%')", s, part)),
    "lower() for lowerAscii": _function_in_sql(".lowerAscii", ("string",), lambda s: sql('lower({} collate "und-x-icu")', s)),
    "raw int arithmetic": _function_in_sql("+", ("int", "int"), lambda a, b: sql("({} + {})", a, b)),
    "raw division": _function_in_sql("/", ("int", "int"), lambda a, b: sql("({} / {})", a, b)),
}


@pytest.mark.parametrize("bug", MUTANTS)
async def test_a_seeded_compiler_bug_is_caught(db: Database, world: World, monkeypatch: pytest.MonkeyPatch, bug: str) -> None:
    """The same questions that pass without the bug find it."""
    if bug in ("a language's collation", "lower() for lowerAscii") and not await db.fetch_value(
        sql("select exists (select from pg_collation where collname = 'und-x-icu')")
    ):
        pytest.skip("this PostgreSQL has no ICU collations")
    MUTANTS[bug](monkeypatch)

    for attempt in range(_MOST_TRIES):
        if await differences(db, world, questions("rule", SEED + attempt, 250)):
            return
    pytest.fail(f"{bug!r} survived {250 * _MOST_TRIES} expressions")


def test_folded_rules_of_one_shape_share_one_text() -> None:
    """Four hundred callers, three texts: the values are in the holes."""
    rule: Rule = check('auth.name == "admin" || (record.owner == auth.id && record.ok)', env("rule"))
    facts = [FACTS[0], *(FACTS[1] for _ in range(300)), FACTS[2]]

    assert len({rule.fold(one).shape for one in facts}) == 3
