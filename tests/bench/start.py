"""What a person who tries it out waits for: `baas dev --demo`, its first start, a restart, its end, and what it holds at rest.

python -m tests.bench.start [--runs 3] [--rest 60]
"""

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import httpx2

from tests.bench.rig import descendants, is_postgres, memory

LIMITS = {
    "first start (s)": 10.0,
    "restart (s)": 2.0,
    "stop (s)": 5.0,
    "server at rest (MiB)": 90.0,
    "PostgreSQL at rest (MiB)": 30.0,
    "PostgreSQL at rest, restarted (MiB)": 30.0,
}
_LONGEST_S = 300


def main() -> None:
    options = _options()
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(options.runs):
        with tempfile.TemporaryDirectory(prefix="baas-start-") as folder:
            Path(folder).chmod(0o755)
            _run(Path(folder), options.rest, found)
    print(f"`baas dev --demo`, medians of {options.runs}; at rest for {options.rest} s; {os.cpu_count()} CPUs, {_load()}")
    for name, limit in LIMITS.items():
        value = statistics.median(found[name])
        runs = ", ".join(f"{one:.2f}" for one in found[name])
        print(f"{name:36} {value:8.2f}   limit {limit:5.1f}  {'ok' if value <= limit else 'OVER'}   ({runs})")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rest", type=float, default=60, help="seconds without a call before memory is looked at")
    return parser.parse_args()


def _run(folder: Path, rest_s: float, found: dict[str, list[float]]) -> None:
    """One data folder: made, rested, stopped; started again, rested, stopped."""
    for start, database in (
        ("first start (s)", "PostgreSQL at rest (MiB)"),
        ("restart (s)", "PostgreSQL at rest, restarted (MiB)"),
    ):
        began = time.monotonic()
        server, output = _start(folder)
        found[start].append(_until_ready(server, output) - began)
        _until_told(server, output)
        time.sleep(rest_s)
        below = descendants(server.pid)
        found[database].append(memory(*filter(is_postgres, below)))
        if start.startswith("first"):
            found["server at rest (MiB)"].append(memory(server.pid, *(one for one in below if not is_postgres(one))))
        ended = time.monotonic()
        server.send_signal(signal.SIGTERM)
        if server.wait(_LONGEST_S) != 0:
            sys.exit(output.read_text())
        found["stop (s)"].append(time.monotonic() - ended)


def _start(folder: Path) -> tuple["subprocess.Popen[bytes]", Path]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    output = folder / f"output-{port}"
    command = [sys.executable, "-m", "baas", "dev", "--demo", "--port", str(port), "--data-dir", str(folder / "data")]
    environment = os.environ | {
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "BAAS_PUBLIC_URL": f"http://127.0.0.1:{port}",
    }
    with output.open("wb") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT), output


def _until_ready(server: "subprocess.Popen[bytes]", output: Path) -> float:
    """When it said for the first time that it is ready."""
    url = f"http://127.0.0.1:{output.name.rpartition('-')[2]}/readyz"
    until = time.monotonic() + _LONGEST_S
    while server.poll() is None and time.monotonic() < until:
        try:
            if httpx2.get(url).status_code == 200:
                return time.monotonic()
        except httpx2.TransportError:
            time.sleep(0.02)
    sys.exit(output.read_text())


def _until_told(server: "subprocess.Popen[bytes]", output: Path) -> None:
    """Until it has made the demo and says where it is."""
    until = time.monotonic() + _LONGEST_S
    while "You are its operator" not in output.read_text():
        if server.poll() is not None or time.monotonic() > until:
            sys.exit(output.read_text())
        time.sleep(0.05)


def _load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
