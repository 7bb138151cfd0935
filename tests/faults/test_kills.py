"""Killed under load, with clients that repeat by key until they know: every call has exactly one effect (threat model P1, P2)."""

import random
import time
from collections import Counter

import pytest

from tests.support.rig import Client, Record, Rig, report, under_faults

_PAUSE_S = 15.5
"""At the fifth death of PostgreSQL within a minute its supervisor gives up, by intent."""


@pytest.mark.parametrize("fault", ["server", "postgres", "backend"])
def test_each_call_has_one_effect_across_kills(killable: Rig, seed: int, fault: str, record_property: Record) -> None:
    _each_call_has_one_effect(killable, seed, fault, 1, record_property)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("fault", "kills"), [("server", 50), ("postgres", 20), ("backend", 20)])
def test_each_call_has_one_effect_across_many_kills(
    killable: Rig, seed: int, fault: str, kills: int, record_property: Record
) -> None:
    _each_call_has_one_effect(killable, seed, fault, kills, record_property)


def _each_call_has_one_effect(rig: Rig, seed: int, fault: str, kills: int, record_property: Record) -> None:
    """16 clients create records, each with a number and a key of its own, and repeat until they know."""
    path = rig.collection(f"{fault}{kills}", {"name": "n", "type": "text"})
    acknowledged: list[str] = []

    def create(client: Client, chance: random.Random) -> bool:
        name = f"{chance.getrandbits(64):x}"
        answer = client.sure("POST", path, {"n": name}, idempotency_key=name)
        assert (answer.status, answer.body["n"]) == (201, name), answer
        acknowledged.append(name)
        return True

    def kill() -> None:
        time.sleep(random.Random(f"{seed} {len(acknowledged)}").random() * 0.5)
        began, process = time.monotonic(), rig.server.process
        {"server": rig.kill_server, "postgres": rig.kill_postgres, "backend": rig.kill_backend}[fault]()
        assert (process is rig.server.process) == (fault != "server"), "the server lives on"
        assert rig.server.process.poll() is None
        if fault == "postgres" and kills > 4:
            time.sleep(max(0.0, _PAUSE_S - (time.monotonic() - began)))

    crowd = under_faults(rig, [create] * 16, [kill] * kills, seed, 40)
    found = Counter(one["n"] for one in rig.everything(path))
    recoveries = sorted(rig.recoveries[-kills:])

    assert set(acknowledged) == set(found), "lost, or there without an answer"
    assert set(found.values()) == {1}, "doubled"
    report(
        record_property, f"{fault} killed, {rig.way}", seed=seed, kills=kills, acknowledged=len(acknowledged), lost=0, doubled=0,
        statuses=dict(crowd.statuses), recovery_median_and_most_s=(recoveries[len(recoveries) // 2], recoveries[-1]),
    )  # fmt: skip
