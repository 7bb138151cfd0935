"""SQL that a person wrote enters a statement in one place, where it is judged."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
ALLOWED = {"baas/engines/schema/views.py"}


def test_only_views_put_a_persons_text_into_a_statement() -> None:
    """`sql.written` takes any text as SQL; `execute_written` runs it by the protocol that takes one statement."""
    users = set()
    for path in (ROOT / "baas").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            taken = isinstance(node, ast.ImportFrom) and node.module == "baas.infra.db.sql"
            if taken and "written" in [alias.name for alias in node.names]:
                users.add(path.relative_to(ROOT).as_posix())
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "execute_written":
                users.add(path.relative_to(ROOT).as_posix())

    assert users == ALLOWED
