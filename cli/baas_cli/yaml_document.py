"""YAML with the meaning of JSON: the few files that people write by hand and programs must not misread."""

import re

import yaml

_DEPTH = 50
_NULL = re.compile(r"^(?:null|~|)$")
_BOOL = re.compile(r"^(?:true|false)$")
_INT = re.compile(r"^-?(?:0|[1-9][0-9]*)$")
_FLOAT = re.compile(r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?$")


class BadDocument(Exception):
    """This is no document of ours; the text says why and where."""


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # the library has no types
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  the library's own way
    depth = 0

    def compose_node(self, parent: object, index: object) -> object:
        if self.check_event(yaml.AliasEvent):
            raise BadDocument(f"line {self.peek_event().start_mark.line + 1} refers to another place; write it out")
        self.depth += 1
        if self.depth > _DEPTH:
            raise BadDocument(f"it is nested more than {_DEPTH} levels deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        seen = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                raise BadDocument(f"line {key.start_mark.line + 1} has a key that is no text")
            if key.value in seen:
                raise BadDocument(f"line {key.start_mark.line + 1} has the key {key.value!r} for the second time")
            seen.add(key.value)
        made: dict[object, object] = super().construct_mapping(node, deep=True)
        return made


for _name, _pattern, _first in (
    ("null", _NULL, ["n", "~", ""]),
    ("bool", _BOOL, ["t", "f"]),
    ("int", _INT, list("-0123456789")),
    ("float", _FLOAT, list("-0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", _pattern, _first)


def loads(text: str) -> dict[str, object]:
    """The one object of a text. Raises BadDocument."""
    try:
        value = yaml.load(text, _Loader)  # noqa: S506  a SafeLoader
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark is not None else ""
        raise BadDocument(f"{where}{error.problem or 'it is no YAML'}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise BadDocument("it is no YAML") from error
    if not isinstance(value, dict):
        raise BadDocument("it holds no object")
    return value
