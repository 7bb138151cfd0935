"""Makes `baas_sdk/_sync` from `baas_sdk/_async`: `python sdk/unasync.py`, or `--check` to see whether it is up to date.

Works on tokens, so comments and layout stay. `compat.py` is written by hand on both sides. A text is changed only when it is
exactly a name (`"AsyncClient"`) or a docstring.
"""

import io
import re
import sys
import tokenize
from pathlib import Path

PACKAGE = Path(__file__).parent / "baas_sdk"
BY_HAND = "compat.py"
NAMES = {
    "aclose": "close",
    "aread": "read",
    "aiter_bytes": "iter_bytes",
    "asynccontextmanager": "contextmanager",
    "enter_async_context": "enter_context",
    "aclosing": "closing",
    "anext": "next",
    "aiter": "iter",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "StopAsyncIteration": "StopIteration",
    "_async": "_sync",
}
_CLASS = re.compile(r"Async([A-Z]\w*)")


def sync_source(source: str) -> str:
    """The same module without async: keywords dropped, names of `NAMES` and `Async…` replaced, `Awaitable[T]` made `T`."""
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    edits: list[tuple[tuple[int, int], tuple[int, int], str]] = []
    for index, token in enumerate(tokens):
        if token.type == tokenize.NAME and token.string in ("async", "await"):
            edits.append((token.start, tokens[index + 1].start, ""))
        elif token.type == tokenize.NAME and token.string == "Awaitable" and tokens[index + 1].string == "[":
            closing = _closing(tokens, index + 1)
            edits += [(token.start, tokens[index + 1].end, ""), (tokens[closing].start, tokens[closing].end, "")]
        elif token.type == tokenize.NAME and (name := _name(token.string)) != token.string:
            edits.append((token.start, token.end, name))
        elif token.type == tokenize.STRING and (text := _text(token.string)) != token.string:
            edits.append((token.start, token.end, text))
    return _without_awaitable_import(_applied(source, edits))


def _name(name: str) -> str:
    return NAMES.get(name) or _CLASS.sub(r"\1", name)


def _text(literal: str) -> str:
    if literal.startswith('"""'):
        return re.sub(r"\b(await|async) (?=\w)", "", _CLASS.sub(r"\1", literal))
    return '"' + _name(literal[1:-1]) + '"' if re.fullmatch(r'"\w+"', literal) else literal


def _closing(tokens: list[tokenize.TokenInfo], opening: int) -> int:
    depth = 0
    for index in range(opening, len(tokens)):
        depth += {"[": 1, "]": -1}.get(tokens[index].string, 0)
        if depth == 0:
            return index
    raise SyntaxError("a bracket is never closed")


def _applied(source: str, edits: list[tuple[tuple[int, int], tuple[int, int], str]]) -> str:
    lines = source.splitlines(keepends=True)
    for (row, start), (end_row, end), text in sorted(edits, reverse=True):
        tail = lines[end_row - 1][end:]
        lines[row - 1 : end_row] = [lines[row - 1][:start] + text + tail]
    return "".join(lines)


def _without_awaitable_import(source: str) -> str:
    return re.sub(r"^(from collections\.abc import .*?)\bAwaitable, ", r"\1", source, flags=re.M)


def generated() -> dict[Path, str]:
    """What `_sync` should hold, by path."""
    note = "# Made from _async/{} by sdk/unasync.py; change that one.\n"
    return {
        PACKAGE / "_sync" / path.name: note.format(path.name) + _doubles_dropped(sync_source(path.read_text()))
        for path in sorted((PACKAGE / "_async").glob("*.py"))
        if path.name != BY_HAND
    }


def _doubles_dropped(source: str) -> str:
    """`AsyncIterable, Iterable` became the same name twice."""

    def once(match: re.Match[str]) -> str:
        return match[1] + ", ".join(dict.fromkeys(match[2].split(", ")))

    return re.sub(r"^(from collections\.abc import )(.*)$", once, source, flags=re.M)


def main(arguments: list[str]) -> int:
    """Writes the files, or with `--check` names those that differ; the exit code says whether all is well."""
    wanted = generated()
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    extra = [path for path in (PACKAGE / "_sync").glob("*.py") if path not in wanted and path.name != BY_HAND]
    if "--check" in arguments:
        for path in [*stale, *extra]:
            sys.stderr.write(f"{path} is not what _async makes; run: python sdk/unasync.py\n")
        return 1 if stale or extra else 0
    for path in extra:
        path.unlink()
    for path in stale:
        path.write_text(wanted[path])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
