"""The documents tell the truth as far as a machine can see it: links lead somewhere, commands and settings exist."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from baas_cli.app import build

from baas.base.settings import SETTINGS

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        *(ROOT / "sdk").glob("*.md"),
        *(ROOT / "deploy").glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
    )
)
README_LINES = 120
OF_THE_COMMAND = {"URL", "TOKEN", "KEY", "PROJECT", "PROFILE", "OUTPUT", "CONFIG", "CONFIG_DIR", "TIMEOUT", "NO_INPUT", "LOG"}
"""What the command and the client read besides the server's settings."""
OF_TESTS = {"TEST_ENGINES", "TEST_STRICT", "TEST_CHROMIUM", "TEST_DATABASE_URL"}
FILES_WITH_NAMES = [*PAGES, "deploy/Dockerfile", "deploy/compose.yaml", "deploy/baas.service"]


def text_of(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M)


def anchors(page: Path) -> set[str]:
    """The headings, as a forge makes anchors of them."""
    heads = re.findall(r"^#+ (.+)$", without_blocks(page.read_text("utf-8")), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    lost = []
    for link in re.findall(r"\]\(([^)\s]+)\)", without_blocks(text_of(page))):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)

    assert [] == lost


def test_the_readme_is_short() -> None:
    assert README_LINES >= len(text_of("README.md").splitlines())


@pytest.mark.parametrize("page", FILES_WITH_NAMES)
def test_variables_exist(page: str) -> None:
    """Every BAAS_* named is a setting of the server, or one of the few that the command reads."""
    named = set(re.findall(r"\bBAAS_([A-Z][A-Z0-9_]*[A-Z0-9])\b", text_of(page)))
    known = {name.upper() for name in SETTINGS} | OF_THE_COMMAND | OF_TESTS

    assert set() == {name for name in named if name not in known and name.removesuffix("_FILE") not in known}


def command_lines(page: str) -> Iterator[str]:
    """Every command line that begins with `baas`, in blocks and in running text, without what the shell does around it."""
    text = text_of(page)
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.S | re.M)
    blocks = [block for language, block in fenced if language in ("", "sh")]
    lines = [line for block in blocks for line in re.sub(r"\\\n", " ", block).splitlines()]
    spans = re.findall(r"`(?:[A-Z_]+=\S+ )?(baas [^`]+)`", without_blocks(text))
    for line in [*lines, *spans]:
        for piece in re.split(r"(?:&&|\|\||\$\(|;|\|)(?=(?:[^']*'[^']*')*[^']*$)", line):
            found = re.match(r"\s*(?:[A-Z_]+=\S+\s+)*(baas\s.*)", piece)
            if found:
                yield re.sub(r"\s(?:#.*|<<.*|\d?>\S+)\s*$|\)\s*$", "", found[1]).strip()


def fault_of(line: str) -> str | None:
    """Why the command tree would not take this line; None when it would. Words of the place (`ID`, `…`) stand for values."""
    words = [word for word in shlex.split(line)[1:] if not re.fullmatch(r"[\[…\]]+|<.*>", word)]
    command: Any = typer.main.get_command(build())
    path: Any = None
    while True:
        shown_help = "--help" in words
        path = command.make_context(command.name or "baas", list(words), parent=path, resilient_parsing=shown_help)
        if not hasattr(command, "commands"):
            return None
        rest = [*path._protected_args, *path.args]
        if not rest:
            return None if shown_help else "no subcommand"
        if rest[0] not in command.commands:
            return f"no command {rest[0]!r}"
        command, words = command.commands[rest[0]], rest[1:]


@pytest.mark.parametrize("page", [page for page in PAGES if not page.endswith("reference/cli.md")])
def test_commands_exist(page: str) -> None:
    """Each command line is parsed by the real command tree: subcommands, flags, number of arguments."""
    faults = {}
    for line in command_lines(page):
        try:
            fault = fault_of(line)
        except typer.TyperException as error:
            fault = error.format_message()
        if fault:
            faults[line] = fault

    assert {} == faults
