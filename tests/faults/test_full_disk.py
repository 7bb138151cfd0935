"""A full disk: writes are refused in words, reads go on, nothing acknowledged is lost, and it works again by itself."""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.support.process import get, wait_for
from tests.support.rig import WAYS, Record, Rig, report, rig

_DISK_MB = 220
_SEGMENT_MB = 16  # of PostgreSQL's log; it takes a new one when the last is full


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A folder on a disk of its own in memory."""
    with tempfile.TemporaryDirectory(prefix="baas-disk-") as name:
        if sys.platform != "linux" or _mount(name, f"size={_DISK_MB}m"):
            missing("the right to mount a small disk (run as root)")
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", name], check=True, capture_output=True)


def _mount(place: str, options: str) -> int:
    return subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=False, capture_output=True).returncode


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", WAYS)
def test_a_full_disk_loses_nothing_and_heals(small_disk: Path, way: str, seed: int, record_property: Record) -> None:
    """The data folder's disk is filled but for a few MB by somebody else, then by our writes; then there is room again. Uploads
    go to the same disk: one that does not fit is refused and leaves nothing.
    """
    with rig(way, small_disk) as made:
        assert made.client().call("POST", "buckets", {"name": "docs"}).status == 201
        path = made.collection("notes", {"name": "n", "type": "int"}, {"name": "text", "type": "text"})
        client, acknowledged, refused = made.client(), [], Counter[int]()
        ballast = small_disk / "ballast"
        free = _free_mb(small_disk)
        ballast.write_bytes(b"\0" * (max(0, free - 3) << 20))
        number = 0
        until = time.monotonic() + 90
        while sum(refused.values()) < 5:
            number += 1
            answer = client.call("POST", path, [{"n": number, "text": f"{seed}" * 500}] * 50)
            if answer.status == 201:
                acknowledged.append(number)
            else:
                refused[answer.status] += 1
                reading = client.call("GET", f"{path}?limit=1")
                assert reading.status == 200 or answer.status != 507, (answer, reading)
            assert time.monotonic() < until, (len(acknowledged), refused, _free_mb(small_disk))
        assert set(refused) <= {503, 507}, refused
        uploads = [_upload(made, size << 20) for size in (8, 8)]
        assert set(uploads) <= {503, 507}, uploads
        assert not [one for one in (made.data / "files").rglob("*") if one.is_file()], "what did not fit is gone"
        ballast.unlink()
        freed = time.monotonic()
        wait_for(lambda: client.call("POST", path, {"n": 0}).status == 201, 60)
        healed = round(time.monotonic() - freed, 2)
        assert made.server.process.poll() is None, "the server lives on"
        assert _upload(made, 8 << 20) == 201
        found = Counter(one["n"] for one in made.everything(path) if one["n"])

    unknown = set(found) - set(acknowledged)
    assert set(acknowledged) <= set(found)
    assert set(found.values()) == {50}, "each call is there whole, or not at all"
    report(
        record_property, f"full disk, {way}", seed=seed, acknowledged=len(acknowledged), refused=dict(refused), lost=0,
        unknown_and_there=len(unknown), heals_in_s=healed,
    )  # fmt: skip


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", [pytest.param("ordinary", marks=pytest.mark.long), "pipelined"])
def test_a_full_disk_of_the_log_loses_nothing_and_heals(small_disk: Path, way: str, seed: int, record_property: Record) -> None:
    """The write-ahead log on a disk of its own: when that is full PostgreSQL ends itself, and starts when there is room again."""
    with rig(way) as made:
        path = made.collection("notes", {"name": "n", "type": "int"}, {"name": "text", "type": "text"})
        made.move_log(small_disk)
        client, acknowledged, answers = made.client(), [], Counter[int]()
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"\0" * ((_free_mb(small_disk) - _SEGMENT_MB // 2) << 20))
        number = 0
        until = time.monotonic() + 90
        while answers[503] + answers[507] < 5:
            number += 1
            answer = client.call("POST", path, [{"n": number, "text": f"{seed}" * 500}] * 50)
            answers[answer.status] += 1
            if answer.status == 201:
                acknowledged.append(number)
            assert time.monotonic() < until, (answers, _free_mb(small_disk))
        assert set(answers) <= {201, 503, 507}, answers
        assert get(f"{made.address}/healthz")[0] == 200
        ballast.unlink()
        freed = time.monotonic()
        wait_for(lambda: client.call("POST", path, {"n": 0}).status == 201, 60)
        healed = round(time.monotonic() - freed, 2)
        assert made.server.process.poll() is None, "the server lives on"
        panics = sum(log.read_text(errors="replace").count("PANIC") for log in made.data.glob("**/*.log"))
        found = Counter(one["n"] for one in made.everything(path) if one["n"])

    assert panics, "PostgreSQL ended itself"
    assert set(acknowledged) <= set(found)
    assert set(found.values()) == {50}, "each call is there whole, or not at all"
    report(
        record_property, f"full disk of the log, {way}", seed=seed, acknowledged=len(acknowledged), answers=dict(answers), lost=0,
        panics=panics, unknown_and_there=len(set(found) - set(acknowledged)), heals_in_s=healed,
    )  # fmt: skip


def _upload(made: Rig, size: int) -> int:
    """The status of an upload of so many bytes."""
    with contextlib.closing(HTTPConnection("127.0.0.1", made.port, timeout=30)) as connection:
        headers = {"Authorization": f"Bearer {made.token}", "Content-Type": "application/octet-stream"}
        connection.request("PUT", f"{made.base}buckets/docs/files/big", b"\0" * size, headers)
        return connection.getresponse().status


def _free_mb(folder: Path) -> int:
    told = subprocess.run(["df", "--output=avail", "-m", str(folder)], check=True, capture_output=True, text=True)
    return int(told.stdout.split()[-1])
