"""Makes `docs/reference/cli.md` from the command tree: `python cli/reference.py`; `--check` says whether it is up to date."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from baas_cli.app import build
from baas_cli.command import PANEL
from baas_cli.failures import Exit

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "cli.md"
HEAD = """# The command

Made from the command tree by `cli/reference.py`; a test compares the two. How to use it: [the guide](../guides/cli.md).
"""


def page() -> str:
    """The whole page."""
    root = typer.main.get_command(build())
    shared = [line for param in root.params if getattr(param, "rich_help_panel", None) == PANEL for line in _param(param)]
    parts = [HEAD, "## Every command takes\n", _table("Flag", shared), "## Exit codes\n", _exit_codes()]
    return "\n".join([*parts, *_sections(root, "baas")])


def _sections(command: Any, path: str) -> Iterator[str]:
    children = getattr(command, "commands", None)
    if children is None:
        yield _command(command, path)
        return
    if path != "baas":
        yield f"## `{path}`\n\n{command.help}\n"
    for name, child in sorted(children.items(), key=lambda pair: hasattr(pair[1], "commands")):
        yield from _sections(child, f"{path} {name}")


def _command(command: Any, path: str) -> str:
    own = [param for param in command.params if getattr(param, "rich_help_panel", None) != PANEL and "--help" not in param.opts]
    arguments = " ".join(_place(param) for param in own if param.param_type_name == "argument")
    level = "##" if path.count(" ") == 1 else "###"
    lines = [line for param in own for line in _param(param)]
    return f"{level} `{' '.join([path, arguments]).strip()}`\n\n{command.help}\n" + (
        f"\n{_table('Argument', lines)}" if lines else ""
    )


def _place(param: Any) -> str:
    name = (param.metavar or param.name).upper()
    return name if param.required else f"[{name}]"


def _param(param: Any) -> list[tuple[str, str]]:
    if param.param_type_name == "argument":
        return [(f"`{(param.metavar or param.name).upper()}`", param.help or "")]
    names = ", ".join(f"`{name}`" for name in sorted(param.opts, key=len))
    return [(names, param.help or "")]


def _table(head: str, rows: list[tuple[str, str]]) -> str:
    lines = [f"| {head} | |", "|---|---|", *(f"| {name} | {text.replace('|', chr(92) + '|')} |" for name, text in rows)]
    return "\n".join(lines) + "\n"


def _exit_codes() -> str:
    return _table("Code", [(f"`{code.value}`", code.name.lower().replace("_", " ")) for code in Exit])


def main(arguments: list[str]) -> int:
    """Writes the page, or with `--check` says whether it is what the tree makes."""
    text = page()
    if "--check" in arguments:
        same = PAGE.exists() and PAGE.read_text("utf-8") == text
        sys.stderr.write("" if same else f"{PAGE} is not what the command tree makes; run: python cli/reference.py\n")
        return 0 if same else 1
    PAGE.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
