"""Requests per second beside pgbench running the same statements, in one session on one database: get, list, create, a
conditional update, batches of 50, creates of 1,000 and imports; and how late the change log is under creates at full load.

    make bench                         with the embedded PostgreSQL, one worker
    .venv/bin/python -m tests.bench --rows 1000000 --seconds 10 --rounds 5 --workers 2 --only get,list

A batch is held against a transaction of 50 of pgbench's creates. A call with a thousand records is one statement that pgbench
cannot repeat, for its ids are taken then: it is held against pgbench's single creates, record by record.

Needs `wrk` as the load generator. The statements are read from PostgreSQL's own log, so they are what the server really sends.
Rounds are interleaved and medians printed; the ratio is what to trust, the absolute numbers belong to the machine.
"""

import argparse
import contextlib
import json
import os
import platform
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, urlsplit

from tests.bench.rig import Rig, cpu_seconds, tool

CONNECTIONS = 32
CLIENTS = 8
OVERLOAD = 512


@dataclass
class Case:
    """One operation: its wrk script, the pattern that finds its statement in the log, and how pgbench fills its parameters."""

    name: str
    lua: str
    clients: int = CLIENTS
    connections: int = CONNECTIONS
    records: int = 1  # in one call
    within: int = 1  # in one of pgbench's transactions
    statement: str = ""
    ours: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    limit: list[float] = field(default_factory=list)
    server_us: list[float] = field(default_factory=list)
    database_us: list[float] = field(default_factory=list)


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="baas-bench-") as folder, Rig(Path(folder), options.workers) as rig:
        token, owner = rig.prepare(options.rows)
        singles = _cases(rig, token, owner, options.rows)
        for case in singles:
            case.statement = rig.statement_of(lambda case=case: _wrk(rig, case, 1), case.name)
        cases = [*singles, *_of_many(rig, token, owner, next(one.statement for one in singles if one.name == "create"))]
        cases = [one for one in cases if not options.only or one.name in options.only.split(",")]
        for _ in range(options.rounds):
            for case in cases:
                _round(rig, case, options)
        halves = {case.name: _at_half_load(rig, case, options) for case in cases if case.connections == CONNECTIONS}
        _report(cases, halves, options, rig)
        if cases[0].name == "get":
            _report_overload(rig, cases[0], options.seconds)
        create = next((one for one in cases if one.name == "create"), None)
        if create is not None:
            _report_lag(rig, create, token, options.seconds)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", default="", help="names of operations, with commas between")
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
    update = f"""{head}
wrk.headers["Content-Type"] = "application/json"
request = function()
  return wrk.format("PATCH", string.format("{records}/00000000-0000-7000-8000-%012x?where=n%%20%%3E%%3D%%200",
    math.random(1, {rows})), nil, [[{{"n": {{"$inc": 1}}}}]])
end"""
    return [
        Case("get", get),
        Case("list", listing),
        Case("create", create, clients=CONNECTIONS),
        Case("update", update, clients=CONNECTIONS),
    ]


def _of_many(rig: "Rig", token: str, owner: str, create: str) -> list[Case]:
    """Calls with many records each; `create` is the script of one."""
    records = f"{rig.base}/collections/notes/records"
    body = {"owner": owner, "title": "A note from the benchmark", "body": "x" * 200, "n": 7, "done": False}
    operation = {"method": "POST", "path": "/collections/notes/records", "body": body}

    def case(name: str, path: str, text: str, kind: str, many: int, connections: int, limit: str) -> Case:
        lua = f"""wrk.headers["Authorization"] = "Bearer {token}"
wrk.headers["Content-Type"] = "{kind}"
request = function() return wrk.format("POST", "{path}", nil, [=[{text}]=]) end"""
        within = limit.count("insert into")
        return Case(name, lua, CONNECTIONS, connections, many, within, limit)

    batch = json.dumps({"operations": [operation] * 50})
    thousand, lines = json.dumps([body] * 1000), (json.dumps(body) + "\n") * 10_000
    in_one = "begin;\n" + create * 50 + "end;\n"
    return [
        case("batch of 50", f"{rig.base}/batch", batch, "application/json", 50, 8, in_one),
        case("create of 1,000", records, thousand, "application/json", 1000, 4, create),
        case("import of 10,000", f"{records}/import", lines, "application/x-ndjson", 10_000, 1, create),
    ]


def _wrk(rig: "Rig", case: Case, seconds: int, connections: int | None = None) -> str:
    script = rig.folder / f"{case.name.replace(' ', '-')}.lua"
    script.write_text(case.lua + _DONE)
    connections = connections or case.connections
    command = [tool("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script), rig.url]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 60).stdout


_DONE = """
done = function(summary, latency, requests)
  io.write(string.format("RESULT %d %d %d %d %d\\n", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), summary.errors.status + summary.errors.read + summary.errors.write + summary.errors.timeout))
end"""


def _round(rig: "Rig", case: Case, options: argparse.Namespace) -> None:
    case.limit.append(_pgbench(rig, case, options.seconds))
    time.sleep(0.5)  # until the backends of pgbench are gone, and their time is counted
    before = cpu_seconds(*rig.server_pids()), cpu_seconds(*rig.database_pids())
    requests, duration, p50, p99, errors = map(int, re.search(r"RESULT (.*)", _wrk(rig, case, options.seconds))[1].split())
    after = cpu_seconds(*rig.server_pids()), cpu_seconds(*rig.database_pids())
    if errors:
        sys.exit(f"{case.name}: {errors} of {requests} requests failed; a figure of failures is worth nothing")
    case.ours.append(requests * case.records / (duration / 1e6))
    case.p50.append(p50 / 1000)
    case.p99.append(p99 / 1000)
    case.server_us.append((after[0] - before[0]) / requests / case.records * 1e6)
    case.database_us.append((after[1] - before[1]) / requests / case.records * 1e6)


def _pgbench(rig: "Rig", case: Case, seconds: int) -> float:
    script = rig.folder / f"{case.name.replace(' ', '-')}.sql"
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
    return float(re.search(r"tps = ([\d.]+)", done.stdout)[1]) * case.within


def _at_half_load(rig: "Rig", case: Case, options: argparse.Namespace) -> tuple[float, float, float]:
    """Share of the peak rate, p50 and p99 in ms. wrk has no rate limit, so half load is the number of connections whose rate
    comes nearest to half of the peak.
    """
    peak, found = statistics.median(case.ours), []
    for connections in (1, 2, 4, 8):
        result = re.search(r"RESULT (.*)", _wrk(rig, case, options.seconds, connections))[1].split()
        share = int(result[0]) / (int(result[1]) / 1e6) / peak
        found.append((share, int(result[2]) / 1000, int(result[3]) / 1000))
        if share > 0.5:
            break
    return min(found, key=lambda one: abs(one[0] - 0.5))


_COUNTED = """
served, refused, threads = 0, 0, {}
setup = function(thread) table.insert(threads, thread) end
response = function(status) if status == 200 then served = served + 1 elseif status == 503 then refused = refused + 1 end end
done = function(summary, latency, requests)
  io.write(string.format("COUNTED %d %d %d %d %d\\n", threads[1]:get("served"), threads[1]:get("refused"), summary.duration,
    latency:percentile(99), summary.requests))
end"""


def _report_overload(rig: "Rig", case: Case, seconds: int) -> None:
    """Many more calls at once than there are places: what is still served, what is told to come back, what got no answer."""
    print()
    for connections in (CONNECTIONS, OVERLOAD):
        script = rig.folder / "overload.lua"
        script.write_text(case.lua + _COUNTED)
        command = [tool("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script), rig.url]
        told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 60).stdout
        served, refused, duration, p99, all_ = map(int, re.search(r"COUNTED (.*)", told)[1].split())
        rate = served / (duration / 1e6)
        print(f"{connections} gets at once: {rate:,.0f} served/s, {refused:,} told 503, {all_ - served - refused} others, "
              f"p99 {p99 / 1000:.0f} ms")  # fmt: skip


def _report(cases: list[Case], halves: dict[str, tuple[float, float, float]], options: argparse.Namespace, rig: "Rig") -> None:
    print(f"{platform.platform()} · {os.cpu_count()} cores · Python {platform.python_version()} · {rig.version()}")
    made = f"{options.rounds} interleaved rounds of {options.seconds} s · medians · {time.strftime('%Y-%m-%d')}"
    print(f"{options.rows} rows · {options.workers} worker(s) · {made}\n")
    print("| operation | records or requests/s | pgbench, the same | ratio | p50 ms | p99 ms | server µs | PostgreSQL µs |")
    print("|---|---|---|---|---|---|---|---|")
    for case in cases:
        ratio = statistics.median(ours / limit for ours, limit in zip(case.ours, case.limit, strict=True))
        ours, limit = statistics.median(case.ours), statistics.median(case.limit)
        rest = [statistics.median(values) for values in (case.p50, case.p99, case.server_us, case.database_us)]
        cells = [case.name, f"{ours:,.0f}", f"{limit:,.0f}", f"{ratio:.2f}", *(f"{value:.1f}" for value in rest)]
        print("| " + " | ".join(cells) + " |")
    print("\nAt about half load: " + " · ".join(
        f"{name} ({share:.0%}) p50 {p50:.1f}, p99 {p99:.1f} ms" for name, (share, p50, p99) in halves.items()
    ))  # fmt: skip
    print(f"Idle memory: {rig.idle_memory}")
    if options.show_statements:
        for case in cases:
            print(f"\n{case.name}:\n{case.statement}")


def _report_lag(rig: "Rig", case: Case, token: str, seconds: int) -> None:
    """From a record's `created_at`, which is taken before its statement, to the moment a subscriber has it."""
    ages: list[float] = []
    watched = quote(json.dumps([{"id": "a", "collection": "notes", "initial": False}]))
    address = urlsplit(rig.url)
    head = f"Host: {address.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n"
    request = f"GET {rig.base}/realtime?subscribe={watched} HTTP/1.1\r\n{head}"
    with socket.create_connection((address.hostname, address.port)) as client, ThreadPoolExecutor() as beside:
        client.sendall(request.encode())
        while b"event: ready" not in client.recv(65536):
            pass
        load = beside.submit(_wrk, rig, case, seconds)
        client.settimeout(3)
        rest = b""
        with contextlib.suppress(TimeoutError):
            while data := client.recv(1 << 20):
                lines, now = (rest + data).split(b"\n"), time.time()
                rest = lines.pop()
                for found in (re.search(rb'"created_at":"([^"]+)"', line) for line in lines):
                    if found:
                        ages.append((now - datetime.fromisoformat(found[1].decode()).timestamp()) * 1000)
        written = int(re.search(r"RESULT (\d+)", load.result())[1])
    ages.sort()
    p50, p99 = (ages[int(len(ages) * share)] for share in (0.5, 0.99))
    rate = f"{written / seconds:,.0f} creates/s, one subscriber"
    print(f"change log under {rate}: {len(ages):,} events, p50 {p50:.0f} ms, p99 {p99:.0f} ms")


if __name__ == "__main__":
    main()
