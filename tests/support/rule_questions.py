"""What both evaluators are asked: pointed expressions, and random ones from a seed."""

from baas.engines.rules.rule import RuleError, check
from tests.support.rule_expressions import Expressions
from tests.support.rule_values import IDS
from tests.support.rule_world import FACTS, Asked, ask, env

POINTED = (
    "string(decimal(record.d)) == record.s || string(decimal(record.d) + record.n).startsWith(string(record.n))",
    "record.n / record.nn == 0 || record.n % record.nn == 0",
    "record.n + next.n > 0 && record.n * next.n > 0 && record.n - next.n > 0",
    'record.s.lowerAscii() == "a" || record.sn.lowerAscii() != record.s.lowerAscii()',
    "record.s.contains(record.sn) || next.s.startsWith(record.sn) || next.s.endsWith(record.sn)",
    "record.d == record.p || record.dn >= next.p || record.d in [record.p, next.pn]",
    "record.j.a == record.d || record.j < record.p || record.j.a > next.j.a",
    f'record.owner == "{IDS[0].upper()}" || record.owner == auth.id || record.s == record.owner || record.owner in auth.teams',
    "!(record.okn && record.ok) || !(record.okn || record.ok) || !record.okn",
    "record.okn ? record.sn == null : record.nn > 1",
    "record.tagsn.exists(x, x == record.sn) || !record.tagsn.all(x, x != record.sn) || !record.nums.exists(x, x / record.nn > 0)",
    '!(record.sn in ["a", "b"]) && !(record.sn in record.tagsn) && !("a" in record.tagsn) && !(record.j in ["a", 1])',
    'has(record.j.a) || has(record.j.b) || record.j["a"] == null || record.j[0] == "a"',
    'record.s < record.sn && record.s >= "İ" && record.owner < record.s',
    "record.at.getHours('Europe/Berlin') == 2 || record.at - next.atn > duration('1h') || record.atn + duration('1h') < now",
    "record.owner.name == 'a' || record.owner.team.name != record.team.name",
    "!(record.owner.team.open) && record.team.open == null || record.owner.id != auth.id",
    "record.notes.exists(x, x.score > 1 && x.author == record.owner) && !record.notes.all(x, x.body == record.sn)",
    "record.team.players.all(x, x.name != null) || record.members.exists(x, x.name > 'a')",
    "size(record.notes.filter(x, x.score > 0)) == 1 || size(record.owner.notes) > 1",
    "record.pn == 1 || has(record.owner.name) || !(record.pn > 0)",
    "size(record.tagsn.filter(x, x > 'a')) == 1 || size(record.j) > 1 || size(record.nums) > 2",
)


def questions(kind: str, seed: int, count: int) -> list[Asked]:
    """So many random expressions that check, each for one of the callers in turn."""
    stream = Expressions(seed, variables=kind == "filter")
    asked = [ask(check(text, env(kind)), facts) for text in POINTED for facts in FACTS[:2]]
    refused = 0
    while len(asked) < count:
        try:
            rule = check(stream.one(), env(kind))
        except RuleError:
            refused += 1
            assert refused < 100 + count, "the generator makes mostly nonsense"
            continue
        asked.append(ask(rule, FACTS[len(asked) % len(FACTS)]))
    return asked
