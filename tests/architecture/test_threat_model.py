"""Rules of the threat model are named by their ids: who looks one up finds it on the page."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "threat-model.md"
_ID = r"[ADFIOPRSTW]\d{1,2}"
# "(threat model A1 to A8, R2)", "(promise P10)", or the ids alone in brackets.
_NAMED = re.compile(rf"(?:threat model|promise) ({_ID}(?:(?:, | and | to ){_ID})*)|\(({_ID}(?:, {_ID})*)\)")
_EXPLAINED = re.compile(rf"(?:^- |^  |[.;] )({_ID}) (?=[A-Z`])", re.MULTILINE)


def named() -> dict[str, set[str]]:
    """The ids in our sources, each with the files that name it."""
    found: dict[str, set[str]] = {}
    for folder in ("baas", "cli", "sdk", "tests", "docs"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".sql", ".md") and path != PAGE and path.is_file():
                for match in _NAMED.finditer(path.read_text("utf-8")):
                    for one in re.findall(_ID, match[0]):
                        found.setdefault(one, set()).add(path.relative_to(ROOT).as_posix())
    return found


def test_what_is_named_is_on_the_page() -> None:
    """In code, tests and documents."""
    explained = _EXPLAINED.findall(PAGE.read_text("utf-8"))
    uses = named()

    assert len(explained) > 50
    assert len(uses) > 20
    assert sorted(set(explained)) == sorted(explained), "a rule is told once"
    assert {} == {one: files for one, files in uses.items() if one not in explained}


def test_the_page_tells_of_nothing_to_come() -> None:
    """It says what is so; what is planned has no rule yet."""
    text = PAGE.read_text("utf-8").lower()

    assert [] == [word for word in (" yet;", "not exist yet", "there is no ", "will be ") if word in text]
