"""Records are read in one place: what selects from a collection's table is made by the compiler, with the rules in it."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAKERS = ("baas/engines/query/", "baas/engines/schema/")
"""The compiler, and what makes and alters the tables."""
ALLOWED = {
    "baas/engines/changes/log.py": "Locks a table where its history begins.",
    "baas/features/auth/store.py": "Who signs in is nobody yet: it asks `users` who he is, and for what `auth` is in rules.",
    "baas/features/collections/store.py": "Counts what a change of the schema would lose, for those who may change it.",
    "baas/features/rules/store.py": "Fills the tables of tests, in a schema that is gone afterwards.",
    "baas/infra/db/readers.py": "Lets the role of views read collections.",
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / "baas").rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8"))


def names_a_table(node: ast.AST) -> bool:
    """`ident(schema, "posts")`, `ident(schema, name)`, `ddl.table(…)`, `table.sql`; our own tables begin with `_`."""
    if isinstance(node, ast.Attribute) and node.attr == "sql":
        return ast.unparse(node.value).endswith("table")
    if not isinstance(node, ast.Call):
        return False
    if ast.unparse(node.func).endswith("ddl.table"):
        return True
    if ast.unparse(node.func) != "ident" or len(node.args) < 2 or not ast.unparse(node.args[0]).endswith("schema"):
        return False
    name = node.args[1]
    return not (isinstance(name, ast.Constant) and str(name.value).startswith("_"))


def test_nobody_but_the_compiler_reads_records() -> None:
    """Named exceptions, none of which answers a caller with what it read."""
    found = {name for name, tree in modules() if any(names_a_table(node) for node in ast.walk(tree))}

    assert set(ALLOWED) == {name for name in found if not name.startswith(MAKERS)}
    assert any(name.startswith(MAKERS[0]) for name in found)


def test_the_ways_to_name_a_table_are_seen() -> None:
    ways = ("ident(schema, 'posts')", "ident(project.schema, name)", "ddl.table(old)", "self._table.sql", "table.sql")
    ours = ("ident(schema, '_files')", "ident(alias, name)", "value.sql", "ident(schema)")

    assert all(any(map(names_a_table, ast.walk(ast.parse(text)))) for text in ways)
    assert not any(names_a_table(node) for text in ours for node in ast.walk(ast.parse(text)))
