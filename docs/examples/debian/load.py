"""Load the package index of a Debian machine into a project through the public API, then ask it four questions by REST.

    apt-get -o Acquire::Languages=en update                 # the index comes with it, long descriptions included
    BAAS_TOKEN=<operator token> .venv/bin/python docs/examples/debian/load.py --url http://127.0.0.1:8000

Some 64,000 packages and 400,000 edges between them: real names, sections, sizes, versions and descriptions. Maintainers'
addresses are left out. Loading again is harmless: ids are made from names, and what is there already is skipped.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import httpx2
from baas_sdk import Client, Conflict, NotFound

NAMESPACE = uuid.UUID("6d2f6b0e-6f0a-4b52-9a63-8c8a5f2f1c11")
LISTS = Path("/var/lib/apt/lists")
HELPER = "/usr/lib/apt/apt-helper"
BATCH = 1000
KINDS = ["pre-depends", "depends", "recommends", "suggests", "enhances", "breaks", "conflicts", "replaces"]

PACKAGES: dict[str, Any] = {
    "name": "packages",
    "fields": [
        {"name": "name", "type": "text", "required": True, "unique": True, "max": 200, "search": "A"},
        {"name": "version", "type": "text", "required": True},
        {"name": "section", "type": "text", "required": True},
        {"name": "architecture", "type": "text"},
        {"name": "size", "type": "int", "required": True, "min": 0},
        {"name": "installed_size", "type": "int", "min": 0},
        {"name": "homepage", "type": "text"},
        {"name": "summary", "type": "text", "search": "B"},
        {"name": "description", "type": "text", "search": True},
    ],
    "indexes": [{"fields": ["section", "-size"]}],
    "rules": {"list": "true", "view": "true"},
    "options": {"search": {"language": "english"}},
}
EDGES: dict[str, Any] = {
    "name": "dependencies",
    "fields": [
        {"name": "package", "type": "relation", "to": "packages", "required": True, "on_delete": "cascade"},
        {"name": "name", "type": "text", "required": True},
        {"name": "needs", "type": "relation", "to": "packages", "inverse": "needed_by", "on_delete": "cascade"},
        {"name": "kind", "type": "select", "required": True, "values": KINDS},
        {"name": "constraint", "type": "text"},
    ],
    "rules": {"list": "true", "view": "true"},
}


def main() -> None:
    options = _options()
    packages = {one["Package"]: one for one in stanzas(options.lists)}
    if not packages:
        sys.exit(f"No package lists in {options.lists}: this needs a Debian machine after `apt-get update`.")
    edges = list(dependencies(packages))
    print(f"{len(packages):,} packages, {len(edges):,} dependency edges read from {options.lists}")
    token = os.environ.get("BAAS_TOKEN") or sys.exit("Set BAAS_TOKEN to an operator token (see `baas login`).")
    with Client(options.url, token=token) as operator:
        _prepare(operator, options.project)
    with Client(options.url, project=options.project, token=token, timeout=60) as client:
        _load(client, "packages", [record(one) for one in packages.values()], options.jobs)
        _load(client, "dependencies", edges, options.jobs)
    ask(f"{options.url}/v1/projects/{options.project}", options)
    print(f"\nmemory of this script at its peak: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    if options.server_pid is not None:
        server, database = memory(options.server_pid)
        print(f"memory of the server now: {server:.0f} MiB, and {database:.0f} MiB of its PostgreSQL")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default=os.environ.get("BAAS_URL", "http://127.0.0.1:8000"))
    parser.add_argument("--project", default="debian")
    parser.add_argument("--lists", type=Path, default=LISTS, help="folder of the index")
    parser.add_argument("--jobs", type=int, default=4, help="requests in flight")
    parser.add_argument("--page", type=int, default=500, help="records a page of an answer that has several")
    parser.add_argument("--server-pid", type=int, help="process of a server on this machine whose memory to tell at the end")
    parser.add_argument("--section", default="games")
    parser.add_argument("--package", default="libssl3")
    parser.add_argument("--word", default="PostgreSQL")
    parser.add_argument("--search", default="postgresql client")
    return parser.parse_args()


def stanzas(lists: Path) -> Iterator[dict[str, str]]:
    """The stanzas of every package list in the folder with their long descriptions; the last one of a name wins."""
    translations = blocks(lists, "*_Translation-en*")
    long = {one["Description-md5"]: one["Description-en"] for one in translations if "Description-en" in one}
    for stanza in blocks(lists, "*_Packages*"):
        stanza["Description"] = long.get(stanza.get("Description-md5", ""), stanza.get("Description", ""))
        yield stanza


def blocks(lists: Path, pattern: str) -> Iterator[dict[str, str]]:
    """The RFC 822 blocks of the index files that match; packed ones are read by apt's own helper."""
    for file in sorted(lists.glob(pattern)):
        packed = file.suffix in (".lz4", ".gz", ".xz")
        data = subprocess.run([HELPER, "cat-file", file], check=True, capture_output=True).stdout if packed else file.read_bytes()
        for block in data.decode("utf-8", "replace").split("\n\n"):
            fields = {match[1]: match[2] for match in re.finditer(r"^(\S+?):[ ]?(.*(?:\n[ \t].*)*)", block, re.MULTILINE)}
            if "Package" in fields:
                yield fields


def identity(*parts: str) -> str:
    return str(uuid.uuid5(NAMESPACE, "\n".join(parts)))


def record(stanza: dict[str, str]) -> dict[str, Any]:
    summary, _, rest = stanza.get("Description", "").partition("\n")
    return {
        "id": identity(stanza["Package"]),
        "name": stanza["Package"],
        "version": stanza["Version"],
        "section": stanza.get("Section", "unknown"),
        "architecture": stanza.get("Architecture"),
        "size": int(stanza.get("Size", 0)),
        "installed_size": int(stanza["Installed-Size"]) if stanza.get("Installed-Size") else None,
        "homepage": stanza.get("Homepage"),
        "summary": summary,
        "description": "\n".join(line.strip() for line in rest.splitlines()) or summary,
    }


def dependencies(packages: dict[str, dict[str, str]]) -> Iterator[dict[str, Any]]:
    """An edge for every alternative of every dependency, each once; a virtual package has a `name` and nothing it `needs`."""
    seen = set()
    for name, stanza in packages.items():
        for kind in KINDS:
            for alternative in re.split(r"[,|]", stanza.get(kind.title(), "")):
                match = re.match(r"\s*([a-z0-9][a-z0-9.+-]+)(?::\w+)?\s*(?:\(([^)]*)\))?", alternative)
                edge = identity(name, kind, match[1], match[2] or "") if match else ""
                if match and edge not in seen:
                    seen.add(edge)
                    yield {
                        "id": edge,
                        "package": identity(name),
                        "name": match[1],
                        "needs": identity(match[1]) if match[1] in packages else None,
                        "kind": kind,
                        "constraint": match[2],
                    }


def _prepare(operator: Client, project: str) -> None:
    try:
        operator.projects.get(project)
    except NotFound:
        operator.projects.create(project)
    bound = operator.in_project(project)
    for manifest in (PACKAGES, EDGES):
        try:
            bound.collections.get(manifest["name"])
        except NotFound:
            bound.collections.create(manifest)


def _load(client: Client, collection: str, records: list[dict[str, Any]], jobs: int) -> None:
    started, requests = time.perf_counter(), 0

    def send(batch: list[dict[str, Any]]) -> None:
        try:
            client.collection(collection).create_many(batch)
        except Conflict as conflict:
            if conflict.code != "already_exists":
                raise

    with ThreadPoolExecutor(jobs) as pool:
        for _ in pool.map(send, batches(records)):
            requests += 1
    seconds = time.perf_counter() - started
    rate = len(records) / seconds
    print(f"{collection}: {len(records):,} records in {requests} requests, {seconds:.1f} s, {rate:,.0f} records/s")


def batches(records: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    remaining = iter(records)
    while batch := list(islice(remaining, BATCH)):
        yield batch


def memory(pid: int) -> tuple[float, float]:
    """MiB that a server process and its workers hold, and that its PostgreSQL holds; what several share is counted once."""
    held = {True: 0.0, False: 0.0}
    waiting = [pid]
    while waiting:
        one = Path("/proc") / str(waiting.pop())
        try:
            rollup = (one / "smaps_rollup").read_text("utf-8")
            is_postgres = (one / "comm").read_text("utf-8").startswith("postgres")
            waiting += [int(child) for task in one.glob("task/*/children") for child in task.read_text("utf-8").split()]
        except PermissionError:
            sys.exit(f"The memory of process {one.name} cannot be read: run this as the server's user or as root.")
        except OSError:  # it has ended meanwhile
            continue
        held[is_postgres] += int(rollup.partition("\nPss:")[2].split()[0]) / 1024
    return held[False], held[True]


def ask(base: str, options: argparse.Namespace) -> None:
    """The four questions, as any REST client would ask them: anonymously, because the rules say that everyone may look."""
    with httpx2.Client(timeout=30) as http:

        def page(collection: str, **query: Any) -> dict[str, Any]:
            started = time.perf_counter()
            answer = http.post(f"{base}/collections/{collection}/records/query", json=query)
            answer.raise_for_status()
            shown = json.dumps({name: value for name, value in query.items() if name not in ("vars", "cursor")})
            print(f"   POST …/{collection}/records/query {shown}   {(time.perf_counter() - started) * 1000:.1f} ms")
            found: dict[str, Any] = answer.json()
            return found

        def items(collection: str, **query: Any) -> list[dict[str, Any]]:
            return list(page(collection, **query)["items"])

        def every(collection: str, **query: Any) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = []
            cursor: dict[str, str] = {}
            while True:
                answer = page(collection, **query, limit=options.page, **cursor)
                found += answer["items"]
                if answer["next_cursor"] is None:
                    return found
                cursor = {"cursor": answer["next_cursor"]}

        print(f"\n1. The ten largest packages of section {options.section!r}:")
        by_section = {"filter": "section == $s", "vars": {"s": options.section}}
        largest = items("packages", **by_section, sort="-size", limit=10, fields="name,size")
        print("  ", ", ".join(f"{one['name']} {one['size'] / 1e6:.0f} MB" for one in largest))

        print(f"\n2. What depends on {options.package!r}:")
        by_target = {"filter": "needs == $p && kind == 'depends'", "vars": {"p": identity(options.package)}}
        edges = every("dependencies", **by_target, fields="package.name")
        names = sorted({one["expand"]["package"]["name"] for one in edges})
        print(f"   {len(names)} packages:", ", ".join(names[:8]), "…" if len(names) > 8 else "")

        print(f"\n3. Descriptions that mention {options.word!r}:")
        by_word = {"filter": "description.contains($w)", "vars": {"w": options.word}}
        found = [one["name"] for one in every("packages", **by_word, sort="name", fields="name,summary")]
        print(f"   {len(found)} packages:", ", ".join(found[:8]), "…" if len(found) > 8 else "")

        print(f"\n4. The best for {options.search!r}:")
        found = [one["name"] for one in items("packages", search=options.search, limit=10, fields="name,summary")]
        print("  ", ", ".join(found))


if __name__ == "__main__":
    main()
