"""The two clients are one: `_sync` is what `_async` makes, and both have the same names and arguments."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import baas_sdk
import pytest

SDK = Path(__file__).parents[3] / "sdk"
PACKAGE = SDK / "baas_sdk"
TWINS = [
    ("AsyncBatch", "Batch"),
    ("AsyncChannel", "Channel"),
    ("AsyncClient", "Client"),
    ("AsyncCollection", "Collection"),
    ("AsyncBucket", "Bucket"),
    ("AsyncDownload", "Download"),
    ("AsyncExport", "Export"),
    ("AsyncSubscription", "Subscription"),
]
NOUNS = ("auth", "users", "collections", "rules", "buckets", "sites", "keys", "settings", "projects", "operators")


def test_the_sync_client_is_generated() -> None:
    done = subprocess.run([sys.executable, str(SDK / "unasync.py"), "--check"], check=False, capture_output=True, text=True)

    assert 0 == done.returncode, done.stderr


def test_nothing_asynchronous_is_left_in_the_sync_client() -> None:
    for path in (PACKAGE / "_sync").glob("*.py"):
        tree = ast.parse(path.read_text())
        kinds = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
        assert not [node for node in ast.walk(tree) if isinstance(node, kinds)], path
        assert "_async" not in path.read_text().partition("\n")[2].replace("_async/compat.py", ""), path


def test_the_parts_written_by_hand_have_the_same_names() -> None:
    both = [ast.parse((PACKAGE / side / "compat.py").read_text()) for side in ("_async", "_sync")]
    names = [
        {node.name.replace("Async", "") for node in tree.body if hasattr(node, "name") and not node.name.startswith("_")}
        for tree in both
    ]

    assert names[0] == names[1] != set()


@pytest.mark.parametrize(("async_name", "sync_name"), TWINS)
def test_twins_have_the_same_methods_and_arguments(async_name: str, sync_name: str) -> None:
    assert surface(getattr(baas_sdk, async_name)) == surface(getattr(baas_sdk, sync_name))


@pytest.mark.parametrize("noun", NOUNS)
def test_the_parts_of_the_clients_are_twins_too(noun: str) -> None:
    twins = [getattr(kind("http://x", project="p"), noun) for kind in (baas_sdk.AsyncClient, baas_sdk.Client)]

    assert surface(type(twins[0])) == surface(type(twins[1]))


def test_every_public_method_says_what_it_raises_or_cannot_fail() -> None:
    """A method that calls the server has a docstring; one that can be refused for more than its credential says so."""
    silent = []
    for path in (PACKAGE / "_async").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.AsyncFunctionDef) and not node.name.startswith("_") and not ast.get_docstring(node):
                silent.append(f"{path.name}: {node.name}")

    assert [name for name in silent if "settle" not in name and ": act" not in name] == []


def test_every_public_name_is_there() -> None:
    assert sorted(baas_sdk.__all__) == list(baas_sdk.__all__)
    assert [] == [name for name in baas_sdk.__all__ if not hasattr(baas_sdk, name)]


def surface(kind: type) -> dict[str, str]:
    """Public methods with their arguments, as the sync twin would spell them."""
    methods = {name: member for name, member in inspect.getmembers(kind, callable) if not name.startswith("_")}
    return {name.replace("aclose", "close"): str(list(inspect.signature(member).parameters)) for name, member in methods.items()}
