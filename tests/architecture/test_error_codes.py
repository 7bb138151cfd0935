"""Error codes are part of the API: what the server can say, the reference explains."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
_CODE = re.compile(r"[a-z][a-z0-9_]*[a-z0-9]")
# Calls that take a fault's code as a plain argument.
_FAULTS = frozenset({"Fault", "FieldFault", "RuleError", "fault", "add", "_invalid", "_fault", "_refuse", "_stored_fault"})


def test_every_code_that_can_be_said_is_in_the_reference() -> None:
    """Codes in `code=…`, in the error classes and in faults, found in the source itself."""
    said = {code for file in (ROOT / "baas").rglob("*.py") for code in codes(ast.parse(file.read_text("utf-8")))}
    page = (ROOT / "docs" / "reference" / "errors.md").read_text("utf-8")
    explained = re.findall(r"^\| `([a-z0-9_]+)`", page, re.MULTILINE)

    assert len(said) > 100
    assert [] == sorted(said - set(explained))
    assert sorted(set(explained)) == sorted(explained), "a code is explained once"


def codes(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        for value in _places(node):
            for part in ast.walk(value):
                if isinstance(part, ast.Constant) and isinstance(part.value, str) and _CODE.fullmatch(part.value):
                    yield part.value


def _places(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Call):
        yield from (keyword.value for keyword in node.keywords if keyword.arg == "code")
        if getattr(node.func, "attr", getattr(node.func, "id", "")) in _FAULTS:
            yield from (argument for argument in node.args[1:3] if isinstance(argument, ast.Constant))
    if isinstance(node, ast.Assign):
        for target in node.targets:
            names = target.elts if isinstance(target, ast.Tuple) else [target]
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            yield from (
                value
                for name, value in zip(names, values, strict=False)
                if isinstance(name, ast.Name) and name.id == "default_code"
            )
