"""Requests per second of get, list and create beside pgbench running the same statements, in one session on one database.

    make bench                         with the embedded PostgreSQL, one worker
    .venv/bin/python -m tests.bench --rows 1000000 --seconds 10 --rounds 5

Needs `wrk` as the load generator. The statements are read from PostgreSQL's own log, so they are what the server really sends.
Rounds are interleaved and medians printed; the ratio is what to trust, the absolute numbers belong to the machine.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.rig import Rig, cpu_seconds, tool

CONNECTIONS = 32
CLIENTS = 8


@dataclass
class Case:
    """One operation: its wrk script, the pattern that finds its statement in the log, and how pgbench fills its parameters."""

    name: str
    lua: str
    clients: int = CLIENTS
    statement: str = ""
    ours: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    limit: list[float] = field(default_factory=list)
    server_us: list[float] = field(default_factory=list)
    database_us: list[float] = field(default_factory=list)


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="baas-bench-") as folder, Rig(Path(folder)) as rig:
        token, owner = rig.prepare(options.rows)
        cases = _cases(rig, token, owner, options.rows)
        for case in cases:
            case.statement = rig.statement_of(lambda case=case: _wrk(rig, case, 1), case.name)
        for _ in range(options.rounds):
            for case in cases:
                _round(rig, case, options)
        half = _p99_at_half_load(rig, cases[0], options)
        _report(cases, half, options, rig)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--show-statements", action="store_true")
    return parser.parse_args()


def _cases(rig: "Rig", token: str, owner: str, rows: int) -> list[Case]:
    head = f'wrk.headers["Authorization"] = "Bearer {token}"\nmath.randomseed(os.time())\n'
    records = f"{rig.base}/collections/notes/records"
    get = f"""{head}
request = function()
  return wrk.format("GET", string.format("{records}/00000000-0000-7000-8000-%012x", math.random(1, {rows})))
end"""
    listing = f"""{head}
request = function()
  return wrk.format("GET", string.format("{records}?filter=n%%20%%3C%%20$n&vars=%%7B%%22n%%22:%d%%7D&sort=-created_at&limit=20",
    math.random(500, 1000)))
end"""
    body = json.dumps({"owner": owner, "title": "A note from the benchmark", "body": "x" * 200, "n": 7, "done": False})
    create = f"""{head}
wrk.headers["Content-Type"] = "application/json"
request = function() return wrk.format("POST", "{records}", nil, [[{body}]]) end"""
    return [Case("get", get), Case("list", listing), Case("create", create, clients=CONNECTIONS)]


def _wrk(rig: "Rig", case: Case, seconds: int, connections: int = CONNECTIONS) -> str:
    script = rig.folder / f"{case.name}.lua"
    script.write_text(case.lua + _DONE)
    command = [tool("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), rig.url]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 30).stdout


_DONE = """
done = function(summary, latency, requests)
  io.write(string.format("RESULT %d %d %d %d %d\\n", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), summary.errors.status + summary.errors.read + summary.errors.write + summary.errors.timeout))
end"""


def _round(rig: "Rig", case: Case, options: argparse.Namespace) -> None:
    case.limit.append(_pgbench(rig, case, options.seconds))
    time.sleep(0.5)  # until the backends of pgbench are gone, and their time is counted
    before = cpu_seconds(rig.server_pid), cpu_seconds(*rig.database_pids())
    requests, duration, p50, p99, errors = map(int, re.search(r"RESULT (.*)", _wrk(rig, case, options.seconds))[1].split())
    after = cpu_seconds(rig.server_pid), cpu_seconds(*rig.database_pids())
    if errors:
        sys.exit(f"{case.name}: {errors} of {requests} requests failed; a figure of failures is worth nothing")
    case.ours.append(requests / (duration / 1e6))
    case.p50.append(p50 / 1000)
    case.p99.append(p99 / 1000)
    case.server_us.append((after[0] - before[0]) / requests * 1e6)
    case.database_us.append((after[1] - before[1]) / requests * 1e6)


def _pgbench(rig: "Rig", case: Case, seconds: int) -> float:
    script = rig.folder / f"{case.name}.sql"
    script.write_text(case.statement)
    command = [
        rig.pgbench,
        "-n",
        "-M",
        "prepared",
        "-c",
        str(case.clients),
        "-j1",
        "-T",
        str(seconds),
        "-f",
        str(script),
        rig.dsn,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    if done.returncode:
        sys.exit(f"pgbench refused the statement of {case.name}:\n{case.statement}\n{done.stderr}")
    return float(re.search(r"tps = ([\d.]+)", done.stdout)[1])


def _p99_at_half_load(rig: "Rig", case: Case, options: argparse.Namespace) -> float:
    """wrk has no rate limit, so half load is the number of connections that gives about half of the peak rate."""
    peak, best = statistics.median(case.ours), 0.0
    for connections in (1, 2, 4, 8):
        result = re.search(r"RESULT (.*)", _wrk(rig, case, options.seconds, connections))[1].split()
        rate, best = int(result[0]) / (int(result[1]) / 1e6), int(result[3]) / 1000
        if rate > peak / 2:
            break
    return best


def _report(cases: list[Case], half: float, options: argparse.Namespace, rig: "Rig") -> None:
    print(f"{platform.platform()} · {os.cpu_count()} cores · Python {platform.python_version()} · {rig.version()}")
    made = f"{options.rounds} interleaved rounds of {options.seconds} s · medians · {time.strftime('%Y-%m-%d')}"
    print(f"{options.rows} rows · {made}\n")
    print("| operation | req/s | pgbench tps | ratio | p50 ms | p99 ms | server µs | PostgreSQL µs |")
    print("|---|---|---|---|---|---|---|---|")
    for case in cases:
        ratio = statistics.median(ours / limit for ours, limit in zip(case.ours, case.limit, strict=True))
        ours, limit = statistics.median(case.ours), statistics.median(case.limit)
        rest = [statistics.median(values) for values in (case.p50, case.p99, case.server_us, case.database_us)]
        cells = [case.name, f"{ours:,.0f}", f"{limit:,.0f}", f"{ratio:.2f}", *(f"{value:.1f}" for value in rest)]
        print("| " + " | ".join(cells) + " |")
    print(f"\nget at about half load: p99 {half:.1f} ms · idle memory: {rig.idle_memory}")
    if options.show_statements:
        for case in cases:
            print(f"\n{case.name}:\n{case.statement}")


if __name__ == "__main__":
    main()
