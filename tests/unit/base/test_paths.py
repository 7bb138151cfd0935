"""What is a path of a file, and what only looks like one."""

import pytest

from baas.base.paths import folder_and_name, path_fault


@pytest.mark.parametrize("path", ["a", "a/b.txt", "ä/😀", "..a", "a..", ".hidden", "a b", "x" * 1024, "%2e%2e/x", "a?b", "a#b"])
def test_paths(path: str) -> None:
    assert path_fault(path) is None


@pytest.mark.parametrize(
    "path",
    ["", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/..", "a/../b", "./a", *"\0\n\\\x7f\x85\ud800", "x" * 1025, "é" * 513],
)
def test_what_is_no_path(path: str) -> None:
    assert path_fault(path)


def test_folder_and_name() -> None:
    assert [("", "a"), ("a/b", "c.txt")] == [folder_and_name("a"), folder_and_name("a/b/c.txt")]
