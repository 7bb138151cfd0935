"""Lists under rules beside pgbench running the same statements; what a rule costs to read, check, compile and evaluate.

    .venv/bin/python -m tests.bench.rules                  with the embedded PostgreSQL, one worker
    .venv/bin/python -m tests.bench.rules --rows 1000000 --seconds 5 --rounds 5

Needs `wrk`. Pages of 30 of 200,000 posts for one user; `expand` is 20 posts with owner and team, beside a join written by hand.
Rounds are interleaved and medians printed; the ratio is what to trust, the absolute numbers belong to the machine.
"""

import argparse
import asyncio
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import asyncpg
import httpx2

from baas.engines.rules.rows import Alone
from baas.engines.rules.rule import Env, Facts, RowField, RowType, check
from baas.infra.db.embedded.cluster import Cluster
from baas.infra.db.sql import ident
from tests.bench.rig import EMAIL, PASSWORD, Rig, cpu_seconds, tool

TEAMS, USERS = 5_000, 1_000
MEMBER = "record.team.members.exists(m, m.user == auth.id)"
PUBLISHED = 'record.status == "published" || record.owner == auth.id'
_ID = "('00000000-0000-7000-8000-' || lpad(to_hex({}), 12, '0'))::uuid"
_WORDS = "array['quick','brown','fox','jumps','over','lazy','dog','stone','river','cloud']"
_BY_HAND = """
select json_agg(row_to_json(x)) from (
  select p.id, p.rev, p.created_at, p.updated_at, p.owner, p.team, p.status, p.title, json_build_object(
    'owner', json_build_object('id', u.id, 'email', u.email), 'team', json_build_object('id', t.id, 'lead', t.lead)) as expand
  from {schema}.posts p left join {schema}.users u on u.id = p.owner left join {schema}.teams t on t.id = p.team
  order by p.created_at desc, p.id desc limit 21) x;
"""


@dataclass
class Case:
    """A rule and a query; the statement is read from PostgreSQL's own log."""

    name: str
    rule: str
    query: dict[str, str]
    statement: str = ""
    beside: str = ""
    figures: dict[str, list[float]] = field(default_factory=dict)

    def note(self, **values: float) -> None:
        for name, value in values.items():
            self.figures.setdefault(name, []).append(value)

    def median(self, name: str) -> float:
        return statistics.median(self.figures[name])


CASES = (
    Case("owner", "record.owner == auth.id", {"limit": "30"}),
    Case("published or own", PUBLISHED, {"limit": "30", "sort": "-created_at"}),
    Case("member, join table", MEMBER, {"limit": "30", "sort": "-created_at"}),
    Case("relation traversed", "record.team.lead == auth.id", {"limit": "30"}),
    Case("full-text search", PUBLISHED, {"limit": "30", "search": "quick river"}),
    Case("filter by relation", "true", {"limit": "30", "filter": "team.lead == auth.id && status == 'published'"}),
    Case("expand 20 × 2", "true", {"limit": "20", "sort": "-created_at", "expand": "owner,team"}),
)


def main() -> None:
    options = _options()
    _costs_of_rules()
    with tempfile.TemporaryDirectory(prefix="baas-bench-") as folder, Rig(Path(folder)) as rig:
        token, _ = rig.prepare(1)
        operator = _Operator(rig)
        operator.make_collections()
        user, schema = asyncio.run(_fill(rig, options.rows))
        for case in CASES:
            operator.set_rule(case.rule)
            case.statement = _statement(rig, case, token)
            case.beside = _BY_HAND.format(schema=schema) if case.name.startswith("expand") else ""
        for _ in range(options.rounds):
            for case in CASES:
                operator.set_rule(case.rule)
                _round(rig, case, token, options)
        _report(options, rig, user)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--show-statements", action="store_true")
    return parser.parse_args()


class _Operator:
    """What the benchmark changes through the API."""

    def __init__(self, rig: Rig) -> None:
        self._http = httpx2.Client(base_url=rig.url, timeout=60)
        self._base = rig.base
        answer = self._http.post("/v1/operators/sign-in", json={"email": EMAIL, "password": PASSWORD})
        self._http.headers["authorization"] = f"Bearer {answer.json()['token']}"

    def make_collections(self) -> None:
        open_, link = {"list": "true", "view": "true"}, {"type": "relation", "required": True}
        self._made("patch", "/users", {"rules": open_})
        self._made("post", "", {"name": "teams", "fields": [{"name": "lead", "to": "users", **link}], "rules": open_})
        member = [{"name": "team", "to": "teams", "inverse": "members", **link}, {"name": "user", "to": "users", **link}]
        self._made("post", "", {"name": "members", "fields": member, "indexes": [{"fields": ["team", "user"]}]})
        posts = [{"name": "owner", "to": "users", **link}, {"name": "team", "to": "teams", **link}]
        posts += [{"name": "status", "type": "text"}, {"name": "title", "type": "text", "search": True}]
        indexes = [{"fields": ["-created_at", "-id"]}, {"fields": ["owner", "id"]}, {"fields": ["team", "id"]}]
        self._made("post", "", {"name": "posts", "fields": posts, "indexes": indexes, "rules": open_})

    def set_rule(self, rule: str) -> None:
        self._made("patch", "/posts", {"rules": {"list": rule}})

    def _made(self, verb: str, place: str, body: dict[str, Any]) -> None:
        answer = self._http.request(verb.upper(), f"{self._base}/collections{place}", json=body)
        if answer.status_code >= 300:
            sys.exit(f"{place}: {answer.status_code} {answer.text[:500]}")


async def _fill(rig: Rig, rows: int) -> tuple[str, str]:
    """In SQL, as fast as it goes; the id of the user who asks, and the schema."""
    connection = await asyncpg.connect(Cluster.of_running_server(rig.data).superuser_url("baas"))
    schema = await connection.fetchval("select schema from baas.projects where name = 'bench'")
    user = str(await connection.fetchval(f'select id from "{schema}".users'))
    one_of = f"case when g % {{0}} = 1 then '{user}'::uuid else {_ID.format('1 + g % {0}')} end"
    columns = {
        "users": (USERS, "email, email_verified, disabled", "g || '@example.com', false, false"),
        "teams": (TEAMS, "lead", one_of.format(USERS)),
        "members": (20_000, 'team, "user"', f"{_ID.format(f'1 + (g * 7919 + g / 7) % {TEAMS}')}, {one_of.format(USERS)}"),
        "posts": (
            rows,
            "owner, team, status, title",
            f"{one_of.format(USERS)}, {_ID.format(f'1 + g % {TEAMS}')}, case when g % 10 = 0 then 'published' else 'draft' end,"
            f" ({_WORDS})[1 + g % 10] || ' ' || ({_WORDS})[1 + g / 7 % 10] || ' ' || ({_WORDS})[1 + g / 3 % 10] || ' ' || g",
        ),
    }
    for table, (count, names, values) in columns.items():
        await connection.execute(
            f'insert into "{schema}"."{table}" (id, created_at, updated_at, {names}) select {_ID.format("g")},'
            f" now() - g * interval '1 second', now(), {values} from generate_series(1, {count}) g",
            timeout=600,
        )
    await connection.execute("vacuum analyze", timeout=600)
    await connection.close()
    return user, f'"{schema}"'


def _statement(rig: Rig, case: Case, token: str) -> str:
    return rig.statement_of(lambda: _wrk(rig, case, token, 1), case.name)


def _wrk(rig: Rig, case: Case, token: str, seconds: int) -> tuple[int, int, int, int, int]:
    script = rig.folder / "rules.lua"
    path = f"{rig.base}/collections/posts/records?{urlencode(case.query)}"
    script.write_text(
        f'wrk.headers["Authorization"] = "Bearer {token}"\nrequest = function() return wrk.format("GET", "{path}") end\n' + _DONE
    )
    command = [tool("wrk"), "-t1", "-c32", f"-d{seconds}s", "-s", str(script), rig.url]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 30).stdout
    found = re.search(r"RESULT (.*)", done)
    return tuple(map(int, found[1].split())) if found else sys.exit(done)  # type: ignore[return-value]


_DONE = """
done = function(summary, latency, requests)
  io.write(string.format("RESULT %d %d %d %d %d\\n", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), summary.errors.status + summary.errors.read + summary.errors.write + summary.errors.timeout))
end"""


def _round(rig: Rig, case: Case, token: str, options: argparse.Namespace) -> None:
    limit = _pgbench(rig, case.statement, options.seconds)
    by_hand = _pgbench(rig, case.beside, options.seconds) if case.beside else 0.0
    before = cpu_seconds(rig.server_pid)
    requests, duration, p50, p99, errors = _wrk(rig, case, token, options.seconds)
    if errors:
        sys.exit(f"{case.name}: {errors} of {requests} requests failed")
    used = (cpu_seconds(rig.server_pid) - before) / requests * 1e6
    rate = requests / (duration / 1e6)
    case.note(rate=rate, limit=limit, ratio=rate / limit, p50=p50 / 1000, p99=p99 / 1000, us=used)
    if by_hand:
        case.note(by_hand=limit / by_hand)


def _pgbench(rig: Rig, statement: str, seconds: int) -> float:
    script = rig.folder / "rules.sql"
    script.write_text(statement)
    command = [rig.pgbench, "-n", "-M", "prepared", "-c", "8", "-j1", "-T", str(seconds), "-f", str(script), rig.dsn]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    found = re.search(r"tps = ([\d.]+)", done.stdout)
    return float(found[1]) if found and not done.returncode else sys.exit(f"pgbench refused:\n{statement}\n{done.stderr}")


def _costs_of_rules() -> None:
    """Microseconds of the steps of one rule, best of five."""
    source = (
        'auth.id != "" && (record.owner == auth.id || record.status == "published")'
        ' && record.n >= 3 && record.tags.exists(t, t == "x")'
    )
    fields = {"owner": "ref(users)", "status": "string", "n": "int", "tags": "list(string)"}
    env = Env("list", record=RowType({name: RowField(kind, nullable=False) for name, kind in fields.items()}))
    user = "00000000-0000-7000-8000-000000000001"
    facts = Facts({"id": user, "collection": "users", "claims": {}}, datetime.now(UTC))
    rule = check(source, env)
    folded = rule.fold(facts)
    rows = Alone(lambda _root, name: ident("r", name))
    record = {"owner": user, "status": "draft", "n": 7, "tags": ["a", "x"]}
    steps: dict[str, Callable[[], object]] = {
        "parse and check": lambda: check(source, env),
        "fold for a caller": lambda: rule.fold(facts),
        "to SQL, uncached": lambda: rule.where(folded.shape, rows, "b"),
        "evaluate in memory": lambda: rule.evaluate(facts, record),
    }
    print(source)
    for name, step in steps.items():
        print(f"  {name:20} {min(timeit.repeat(step, number=2000, repeat=5)) / 2000 * 1e6:8.1f} µs")
    print()


def _report(options: argparse.Namespace, rig: Rig, user: str) -> None:
    print(f"{platform.platform()} · {os.cpu_count()} cores · Python {platform.python_version()} · {rig.version()}")
    made = f"{options.rounds} interleaved rounds of {options.seconds} s · medians · {time.strftime('%Y-%m-%d')}"
    print(f"{options.rows} posts, {USERS} users, {TEAMS} teams · user {user} · {made}\n")
    print("| list | req/s | pgbench tps | ratio | p50 ms | p99 ms | server µs | statement against a join by hand |")
    print("|---|---|---|---|---|---|---|---|")
    for case in CASES:
        beside = f"{case.median('by_hand'):.2f}" if case.beside else "–"
        cells = [case.name, f"{case.median('rate'):,.0f}", f"{case.median('limit'):,.0f}", f"{case.median('ratio'):.2f}"]
        cells += [*(f"{case.median(name):.1f}" for name in ("p50", "p99", "us")), beside]
        print("| " + " | ".join(cells) + " |")
    if options.show_statements:
        print(json.dumps({case.name: case.statement for case in CASES}, indent=1))


if __name__ == "__main__":
    main()
