"""The judge of register histories: it takes what one register could have answered, and nothing else."""

import itertools
import random
from dataclasses import replace

import pytest

from tests.support.linearizable import Call, State, order_of, unknown

START = State(1, 0)


def read(began: float, ended: float, rev: int, value: int) -> Call:
    return Call("read", began, ended, State(rev, value))


def write(began: float, ended: float, value: int, rev: int, only_at: int | None = None) -> Call:
    return Call("write", began, ended, State(rev, value), value, only_at)


def refused(began: float, ended: float, value: int, only_at: int) -> Call:
    return Call("write", began, ended, "refused", value, only_at)


GOOD = {
    "one after the other": [write(0, 1, 7, 2), read(2, 3, 2, 7)],
    "a read beside a write sees either": [write(0, 10, 7, 2), read(1, 2, 1, 0), read(3, 4, 2, 7)],
    "a lost answer that was written": [unknown(write(0, 1, 7, 2)), read(2, 3, 2, 7)],
    "a lost answer that was not": [unknown(write(0, 1, 7, 2)), read(2, 3, 1, 0)],
    "a lost answer that is written late": [unknown(write(0, 1, 7, 2)), read(2, 3, 1, 0), read(4, 5, 2, 7)],
    "one of two wins": [write(0, 10, 7, 2, 1), refused(0, 10, 8, 1)],
}
BAD = {
    "a stale read": [write(0, 1, 7, 2), read(2, 3, 1, 0)],
    "a read of what was never written": [read(0, 1, 1, 5)],
    "forward and back": [write(0, 10, 7, 2), read(1, 2, 2, 7), read(3, 4, 1, 0)],
    "a lost update": [write(0, 10, 7, 2, 1), write(0, 10, 8, 2, 1)],
    "refused without a reason": [refused(0, 1, 7, 1)],
    "written twice": [write(0, 1, 7, 2), read(2, 3, 3, 7)],
    "acknowledged and lost": [write(0, 1, 7, 2), read(2, 3, 1, 0), read(4, 5, 1, 0)],
    "a lost answer undone": [unknown(write(0, 1, 7, 2)), read(2, 3, 2, 7), read(4, 5, 1, 0)],
}


@pytest.mark.parametrize("name", GOOD)
def test_what_a_register_could_have_answered_is_good(name: str) -> None:
    assert order_of(GOOD[name], START) is not None


@pytest.mark.parametrize("name", BAD)
def test_what_no_register_answers_is_bad(name: str) -> None:
    assert order_of(BAD[name], START) is None


@pytest.mark.parametrize("seed", range(20))
def test_a_true_history_is_good_and_one_false_answer_makes_it_bad(seed: int) -> None:
    """Calls that happen at one moment each, with times around it: good. With an answer that nobody could get: bad."""
    chance, state, calls = random.Random(seed), START, []
    for at in range(60):
        began, ended = at - chance.random() * 4, at + chance.random() * 4
        if chance.random() < 0.5:
            calls.append(Call("read", began, ended, state))
            continue
        only_at = chance.choice([None, state.rev, state.rev - 1])
        made = Call("write", began, ended, None, 100 + at, only_at)
        (*_, following) = made.after(state)
        calls.append(replace(made, seen="refused" if only_at == state.rev - 1 else following))
        state = following if calls[-1].seen != "refused" else state
    chance.shuffle(calls)
    assert order_of(calls, START) is not None

    reads = [at for at, one in enumerate(calls) if one.kind == "read"]
    for at in itertools.islice(reads, 5):
        wrong = [*calls]
        wrong[at] = replace(calls[at], seen=State(999, 999))
        assert order_of(wrong, START) is None
