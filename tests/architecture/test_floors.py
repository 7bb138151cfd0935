"""The house stands: imports go down only, rooms keep to themselves, and each kind of thing is in its place."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOORS = (
    ("baas.base",),
    ("baas.infra",),
    ("baas.engines",),
    ("baas.features",),
    ("baas.server", "baas.process", "baas.__main__"),
)
INFRA = ("observe", "db", "crypto", "blobs", "http")
ENGINES = ("schema", "rules", "query", "changes")
FEATURES = ("projects", "auth", "collections", "records", "files", "rules", "realtime", "hosting", "console")
OPEN_TO_ROOMS_BELOW = ("service", "model")


def modules() -> dict[str, ast.Module]:
    """Every module of ours by its import name."""
    found = {}
    for base in (ROOT, ROOT / "sdk", ROOT / "cli"):
        for package in ("baas", "baas_sdk", "baas_cli"):
            for path in (base / package).rglob("*.py"):
                name = ".".join(path.relative_to(base).with_suffix("").parts).removesuffix(".__init__")
                found[name] = ast.parse(path.read_text("utf-8"), filename=str(path))
    return found


MODULES = modules()


def imports(name: str) -> Iterator[str]:
    """What a module imports of ours, typing-only and in-function imports included."""
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports by dots; say the whole name"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else str(node.module)


EDGES = sorted({(name, target) for name in MODULES for target in imports(name)})
OURS = [(name, target) for name, target in EDGES if target.partition(".")[0] in ("baas", "baas_sdk", "baas_cli")]


def floor(name: str) -> int:
    return next((level for level, names in enumerate(FLOORS) if name.startswith(names)), -1)


def room(name: str, parent: str) -> str | None:
    return name.split(".")[2] if name.startswith(parent + ".") else None


def test_there_is_a_house_to_check() -> None:
    assert len(OURS) > 100
    assert set(FEATURES) == {path.name for path in (ROOT / "baas/features").iterdir() if path.is_dir() and path.name[0] != "_"}


def test_imports_go_down_only() -> None:
    up = [f"{name} -> {target}" for name, target in OURS if -1 < floor(name) < floor(target)]

    assert up == []


@pytest.mark.parametrize(("parent", "order"), [("baas.infra", INFRA), ("baas.engines", ENGINES)])
def test_rooms_of_a_lower_floor_stand_in_order(parent: str, order: tuple[str, ...]) -> None:
    """A room imports those before it in its floor's order, never those after."""
    wrong = []
    for name, target in OURS:
        here, there = room(name, parent), room(target, parent)
        if here and there and order.index(there) > order.index(here):
            wrong.append(f"{name} -> {target}")

    assert wrong == []


def test_a_feature_uses_service_and_model_of_those_before_it() -> None:
    wrong = []
    for name, target in OURS:
        here, there = room(name, "baas.features"), room(target, "baas.features")
        if here and there and here != there:
            part = [*target.split("."), ""][3]
            if FEATURES.index(there) > FEATURES.index(here) or part not in OPEN_TO_ROOMS_BELOW:
                wrong.append(f"{name} -> {target}")

    assert wrong == []


def test_no_import_goes_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for name, target in OURS:
        graph.setdefault(name, set()).add(target)
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, "circle: " + " -> ".join((*path[path.index(name) :], name))
        if name not in done:
            for target in sorted(graph.get(name, ())):
                visit(target, (*path, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


def test_the_three_distributions_keep_apart() -> None:
    """The client needs neither server nor tool; the tool reaches the server only inside commands, never at import."""
    wrong = [f"{name} -> {target}" for name, target in OURS if name.startswith("baas_sdk") and not target.startswith("baas_sdk")]
    wrong += [f"{name} -> {target}" for name, target in OURS if name.startswith("baas.") and target.partition(".")[0] != "baas"]
    for name, tree in MODULES.items():
        if name.startswith("baas_cli"):
            tops = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
            named = [getattr(node, "module", None) or node.names[0].name for node in tops]
            wrong += [f"{name} -> {module} at import" for module in named if module.startswith("baas.")]

    assert wrong == []


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        ("asyncpg", ("baas.infra.db",)),
        ("boto3", ("baas.infra.blobs.s3",)),
        ("starlette", ("baas.infra.http", "baas.features", "baas.server")),
        ("httpx2", ("baas_sdk",)),
        ("typer", ("baas_cli",)),
        ("passlib", ("baas.infra.crypto",)),
    ],
)
def test_a_library_has_one_door(library: str, allowed: tuple[str, ...]) -> None:
    wrong = [name for name, target in EDGES if target.partition(".")[0] == library and not name.startswith(allowed)]

    assert wrong == []


def test_sql_stands_where_sql_belongs() -> None:
    """The fragment functions are imported by stores, the database floor and the engines; nobody else writes SQL."""
    writers = {name for name, target in OURS if target == "baas.infra.db.sql"}
    allowed = {name for name in writers if name.startswith(("baas.infra.db", "baas.engines")) or name.endswith(".store")}

    assert set() == writers - allowed


def is_literal(node: ast.expr, constants: set[str]) -> bool:
    """Text of our own source: a constant, a named one of the module, or a choice between such."""
    match node:
        case ast.Constant(value=str()):
            return True
        case ast.Name(id=name):
            return name in constants
        case ast.IfExp(body=one, orelse=other) | ast.BinOp(left=one, op=ast.Add(), right=other):
            return is_literal(one, constants) and is_literal(other, constants)
    return False


def test_sql_text_is_a_literal() -> None:
    """`sql(...)` and `join(...)` take text from our source alone: no f-string, no variable."""
    wrong = []
    for name, tree in MODULES.items():
        constants: set[str] = set()
        for node in tree.body:
            if isinstance(node, ast.Assign) and is_literal(node.value, constants):
                constants |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("sql", "join"):
                wrong += [f"{name}:{node.lineno}" for text in node.args[:1] if not is_literal(text, constants)]

    assert [] == wrong


def test_the_environment_is_read_in_three_places() -> None:
    """However it is come by: as `os.environ`, or as a name that was imported."""
    names = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
    wrong = []
    for name, tree in MODULES.items():
        reads = any(
            (isinstance(node, ast.Attribute) and node.attr in names)
            or (isinstance(node, ast.ImportFrom) and node.module in ("os", "posix") and {one.name for one in node.names} & names)
            for node in ast.walk(tree)
        )
        if reads and name not in ("baas.server", "baas.process", "baas_cli.profiles") and not name.startswith("baas_sdk"):
            wrong.append(name)

    assert wrong == []


CHANGING = frozenset(
    [
        "append",
        "appendleft",
        "add",
        "clear",
        "discard",
        "extend",
        "insert",
        "pop",
        "popitem",
        "popleft",
        "remove",
        "reverse",
        "setdefault",
        "sort",
        "update",
    ]
)


CONTAINERS = frozenset(
    [
        "Counter",
        "OrderedDict",
        "WeakKeyDictionary",
        "WeakSet",
        "WeakValueDictionary",
        "bytearray",
        "defaultdict",
        "deque",
        "dict",
        "list",
        "set",
    ]
)


def containers(tree: ast.Module) -> set[str]:
    """The names that a module binds to something that can be changed."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            made = node.value.func if isinstance(node.value, ast.Call) else None
            name = made.id if isinstance(made, ast.Name) else made.attr if isinstance(made, ast.Attribute) else ""
            display = ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp
            if name in CONTAINERS or isinstance(node.value, display):
                found |= {one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}
    return found


def changed(function: ast.AST) -> Iterator[str]:
    """The names whose values a function changes, if they are no names of its own."""
    own = {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    own |= {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
    for node in ast.walk(function):
        match node:
            case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()) if name not in own:
                yield name
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attr)) if attr in CHANGING and name not in own:
                yield name


def test_waits_have_their_limit_by_a_block() -> None:
    """`asyncio.wait_for` of Python 3.11 loses a cancellation that comes in the moment of the result: a task that waits so in a
    loop may never end.
    """
    wrong = [
        f"{name}:{node.lineno}"
        for name, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "asyncio.wait_for"
    ]

    assert [] == wrong


def test_no_module_holds_state() -> None:
    """What a module binds is bound once, when it is imported: no `global`, and no function changes a container of its module.

    Two servers in one process would share it, and so would two tests. What a server remembers is a part that it was given.
    """
    wrong = []
    for name, tree in MODULES.items():
        bound = containers(tree)
        for function in ast.walk(tree):
            if isinstance(function, ast.Global):
                wrong.append(f"{name}:{function.lineno} binds {', '.join(function.names)} anew")
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                wrong += [f"{name}:{function.lineno} changes {one}" for one in changed(function) if one in bound]

    assert [] == sorted(set(wrong))


def test_no_file_is_a_drawer_for_odds_and_ends() -> None:
    assert [name for name in MODULES if name.rpartition(".")[2] in ("utils", "helpers", "common", "manager", "misc")] == []
