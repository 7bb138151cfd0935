"""Histories that clients see while the server is killed under them: money is conserved, no update is lost, a record is one
register, and the feed makes the tables (threat model P1 to P4).
"""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any

import pytest

from tests.support.feeds import beginning, follow_through_faults, replay
from tests.support.linearizable import Call, State, order_of
from tests.support.rig import Client, Crowd, Record, Rig, report, under_faults

SHORT, LONG = 1, 20
pytestmark = pytest.mark.timeout(300)
LENGTHS = [SHORT, pytest.param(LONG, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
names = itertools.count()


@pytest.mark.parametrize("kills", LENGTHS)
def test_transfers_keep_the_sum(killable: Rig, seed: int, kills: int, record_property: Record) -> None:
    """Bank: ten accounts, a transfer is a batch of two increments and a receipt, and no account goes below 0. In every answer of
    every list the sum is the same; each acknowledged transfer has one receipt, each refused one none; the receipts make the
    balances.
    """
    tag = next(names)
    path = killable.collection(f"accounts{tag}", {"name": "balance", "type": "int", "required": True, "min": 0})
    amounts = ({"name": name, "type": "int"} for name in ("amount", "from", "to"))
    receipts = killable.collection(f"receipts{tag}", {"name": "transfer", "type": "text"}, *amounts)
    made = killable.client().sure("POST", path, [{"balance": 100}] * 10)
    accounts = [one["id"] for one in made.body["items"]]
    acknowledged: list[str] = []
    refused: list[str] = []
    reads = Counter[bool]()

    def transfer(client: Client, chance: random.Random) -> bool:
        name, amount = f"{chance.getrandbits(64):x}", chance.randrange(1, 60)
        one, other = chance.sample(range(10), 2)
        operations = [
            {"method": "PATCH", "path": f"/{path}/{accounts[other]}", "body": {"balance": {"$inc": amount}}},
            {"method": "PATCH", "path": f"/{path}/{accounts[one]}", "body": {"balance": {"$inc": -amount}}},
            {"method": "POST", "path": f"/{receipts}", "body": {"transfer": name, "amount": amount, "from": one, "to": other}},
        ]
        answer = client.sure("POST", "batch", {"operations": operations}, idempotency_key=name)
        assert answer.status in {200, 422}, answer
        (acknowledged if answer.status == 200 else refused).append(name)
        return answer.status == 200

    def read(client: Client, _: random.Random) -> bool:
        answer = client.call("GET", path)
        if answer.status == 200:
            found = [one["balance"] for one in answer.body["items"]]
            assert (sum(found), len(found)) == (1000, 10), found
        reads[answer.status == 200] += 1
        return False

    crowd = under_faults(killable, [transfer] * 6 + [read] * 2, [killable.kill_server] * kills, seed, 30)
    kept = killable.everything(receipts)
    balances = Counter(dict.fromkeys(range(10), 100))
    for one in kept:
        balances[one["from"]] -= one["amount"]
        balances[one["to"]] += one["amount"]
    last = {one["id"]: one["balance"] for one in killable.everything(path)}

    assert Counter(one["transfer"] for one in kept) == Counter(acknowledged), "lost, doubled, or there and never acknowledged"
    assert refused
    assert {accounts[at]: balance for at, balance in balances.items()} == last
    assert reads[True] > 0
    _report(record_property, "bank", killable, crowd, kills, lost=0, doubled=0, refused=len(refused), sums_read=reads[True])


@pytest.mark.parametrize("kills", LENGTHS)
def test_appends_are_neither_lost_nor_doubled(killable: Rig, seed: int, kills: int, record_property: Record) -> None:
    """Append: each client reads a list, puts its own number behind it and writes with If-Match, with a key until it knows.
    What is acknowledged is there once, what is refused is not there, and every list read is a beginning of every later one.
    """
    path = killable.collection(f"lists{next(names)}", {"name": "numbers", "type": "json", "default": []})
    places = [f"{path}/{killable.client().sure('POST', path, {}).body['id']}" for _ in range(2)]
    acknowledged: dict[str, list[int]] = {place: [] for place in places}
    refused: dict[str, list[int]] = {place: [] for place in places}
    reads: dict[str, list[tuple[float, float, list[int]]]] = {place: [] for place in places}
    numbers = itertools.count()

    def append(client: Client, chance: random.Random) -> bool:
        place = chance.choice(places)
        began = time.monotonic()
        seen = client.call("GET", place)
        if seen.status != 200:
            return False
        reads[place].append((began, time.monotonic(), seen.body["numbers"]))
        number = next(numbers)
        body = {"numbers": [*seen.body["numbers"], number]}
        answer = client.sure("PATCH", place, body, if_match=seen.headers["etag"])
        assert answer.status in {200, 412}, answer
        (acknowledged if answer.status == 200 else refused)[place].append(number)
        return answer.status == 200

    crowd = under_faults(killable, [append] * 8, [killable.kill_server] * kills, seed, 30)
    for place in places:
        last = killable.client().call("GET", place).body["numbers"]
        assert sorted(last) == sorted(set(last))
        assert set(acknowledged[place]) == set(last), "acknowledged and lost, or there and never acknowledged"
        assert set(refused[place]).isdisjoint(last)
        assert all(seen == last[: len(seen)] for _, _, seen in reads[place]), "a read of what is no beginning of the last list"
        ended = sorted((end, len(seen)) for _, end, seen in reads[place])
        for began, _, seen in reads[place]:
            before = [length for end, length in ended if end < began]
            assert not before or max(before) <= len(seen), "a stale read"
    _report(
        record_property, "append", killable, crowd, kills, lost=0, doubled=0, refused=sum(map(len, refused.values())),
        reads=sum(map(len, reads.values())),
    )  # fmt: skip


@pytest.mark.parametrize("kills", LENGTHS)
def test_a_record_is_one_register(killable: Rig, seed: int, kills: int, record_property: Record) -> None:
    """Register: 8 clients with 12 calls each read, write and write under a condition; one kill in the middle. There is an order
    that explains every answer; a lost answer may have happened or not.
    """
    path = killable.collection(f"registers{next(names)}", {"name": "value", "type": "int"})
    calls = unknown = 0
    for round_ in range(kills):
        made = killable.client().sure("POST", path, {"value": 0})
        history: list[Call] = []
        place = f"{path}/{made.body['id']}"
        left = Counter({at * 100: 12 for at in range(8)})
        work = [_register_work(place, at * 100, left, history) for at in range(8)]
        with Crowd(killable, work, seed + round_) as crowd:
            crowd.wait_for_more(35)
            killable.kill_server()
            crowd.wait_until(partial(_is_zero, left))
        calls, unknown = calls + len(history), unknown + sum(one.ended == inf for one in history)
        told = "\n".join(map(str, history))
        assert order_of(history, State(1, 0)) is not None, f"seed {seed + round_}: no order explains\n{told}"
    report(record_property, f"register, {killable.way}", seed=seed, kills=kills, calls=calls, unknown=unknown, unexplained=0,
           recovery_s=_median_and_most(killable, kills))  # fmt: skip


def _is_zero(counts: Counter[int]) -> bool:
    return not any(counts.values())


def _register_work(place: str, first: int, left: Counter[int], history: list[Call]) -> Callable[[Client, random.Random], bool]:
    """What one client does until none of its calls is left; its values are `first` and on, so that no two are the same."""

    def work(client: Client, chance: random.Random) -> bool:
        if left[first] == 0:
            time.sleep(0.01)
            return False
        time.sleep(chance.random() * 0.05)
        history.append(_register_call(client, chance, place, first + left[first]))
        left[first] -= 1
        return True

    return work


def _register_call(client: Client, chance: random.Random, place: str, value: int) -> Call:
    """One call, as its client saw it; reads are repeated until there is an answer."""
    kind, began = chance.randrange(3), time.monotonic()
    if kind == 0:
        answer = client.call("GET", place)
        while answer.status != 200:
            began = time.monotonic()
            answer = client.call("GET", place)
        return Call("read", began, time.monotonic(), State(answer.body["rev"], answer.body["value"]))
    only_at = None
    headers = {}
    if kind == 2:
        seen = client.call("GET", place)
        only_at = seen.body["rev"] if seen.status == 200 else 1
        headers = {"if_match": f'"{only_at}"'}
        time.sleep(chance.random() * 0.01)
        began = time.monotonic()
    answer = client.call("PATCH", place, {"value": value}, **headers)
    ended = time.monotonic()
    if answer.status == 200:
        return Call("write", began, ended, State(answer.body["rev"], answer.body["value"]), value, only_at)
    if answer.status == 412:
        return Call("write", began, ended, "refused", value, only_at)
    assert answer.status in {0, 503}, answer
    while client.call("GET", place).status != 200:
        pass  # or the outage would use up all twelve
    return Call("write", began, inf, None, value, only_at)


@pytest.mark.parametrize("kills", LENGTHS)
def test_the_feed_makes_the_tables(killable: Rig, seed: int, kills: int, record_property: Record) -> None:
    """Feed: clients create, change and delete linked records, cascades included, and a reader follows through the kills. It
    misses no position and sees none twice; folded, the changes make the tables; each is signed by who caused it.
    """
    tag = next(names)
    teams = killable.collection(f"teams{tag}", {"name": "count", "type": "int"})
    cards = killable.collection(
        f"cards{tag}",
        {"name": "count", "type": "int"},
        {"name": "team", "type": "relation", "to": f"teams{tag}", "on_delete": "cascade"},
        {"name": "seen", "type": "relation", "to": f"teams{tag}", "on_delete": "set_null"},
    )
    tokens = [killable.user(f"u{tag}-{at}@example.com") for at in range(6)]
    acknowledged = Counter[str]()

    def work(client: Client, chance: random.Random) -> bool:
        path = chance.choice([teams, cards])
        known = [one["id"] for one in (client.call("GET", f"{path}?limit=20").body or {"items": []}).get("items", [])]
        some = client.call("GET", f"{teams}?limit=20")
        links = {"team": None, "seen": None}
        if some.status == 200 and some.body["items"]:
            links = {name: chance.choice(some.body["items"])["id"] for name in links}
        body: dict[str, Any] = {"count": chance.randrange(99), **(links if path == cards else {})}
        match chance.randrange(5) if known else 0:
            case 0 | 1:
                answer = client.sure("POST", path, body)
            case 2 | 3:
                answer = client.sure("PATCH", f"{path}/{chance.choice(known)}", body)
            case _:
                answer = client.sure("DELETE", f"{path}/{chance.choice(known)}")
        assert answer.status in {200, 201, 204, 404, 422}, answer
        acknowledged[f"{answer.status // 100}xx"] += 1
        return answer.status < 300

    project, start, base = asyncio.run(beginning(killable, f"teams{tag}", f"cards{tag}"))
    with follow_through_faults(killable, project, start) as reader:
        steps = [_as(killable, token, work) for token in tokens]
        crowd = under_faults(killable, steps, [killable.kill_server] * kills, seed, 30)
    changes = reader.changes
    _, _, tables = asyncio.run(beginning(killable, f"teams{tag}", f"cards{tag}"))

    assert [one.pos for one in changes] == list(range(start.pos + 1, start.pos + 1 + len(changes)))
    assert len({one.seq for one in changes}) == len(changes)
    assert replay(changes, base) == tables
    assert len(changes) >= acknowledged["2xx"] > 0
    assert {one.principal.partition(":")[0] for one in changes} == {"user"}
    assert all(one.request_id for one in changes)
    caused = Counter(one.action for one in changes)
    _report(record_property, "feed", killable, crowd, kills, changes=len(changes), missed=0, disordered=0, twice=0,
            actions=dict(caused), longest_silence_s=reader.longest_silence_s)  # fmt: skip


def _as(rig: Rig, token: str, work: Callable[[Client, random.Random], bool]) -> Callable[[Client, random.Random], bool]:
    """The same work by another principal."""
    own: list[Client] = []

    def act(client: Client, chance: random.Random) -> bool:
        if not own:
            own.append(rig.client(token, client.statuses))
        return work(own[0], chance)

    return act


def _median_and_most(rig: Rig, kills: int) -> tuple[float, float]:
    last = sorted(rig.recoveries[-kills:])
    return last[len(last) // 2], last[-1]


def _report(record: Record, name: str, rig: Rig, crowd: Any, kills: int, **more: object) -> None:
    report(
        record, f"{name}, {rig.way}", seed=crowd.seed, kills=kills, acknowledged=crowd.acknowledged,
        statuses=dict(crowd.statuses), recovery_median_and_most_s=_median_and_most(rig, kills), **more,
    )  # fmt: skip
