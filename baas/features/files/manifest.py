"""A bucket's manifest as its owner writes it: every fault named at once, rules checked before they are stored."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from baas.base.errors import Fault, Invalid, did_you_mean
from baas.engines.rules.lint import check_access
from baas.engines.rules.rule import RuleError
from baas.engines.schema.collection import ACTIONS, Action, Collection
from baas.features.files.model import Bucket
from baas.features.files.rules import rule_env

NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
CONTENT_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")
_FAMILY = re.compile(r"(\*|[a-z0-9][a-z0-9!#$&^_.+-]{0,126})/\*")
_KNOWN = ("public", "max_size", "types", "rules")
_MOST_BYTES = 2**53
_MOST_TYPES = 50
T = TypeVar("T")


def new_bucket(body: Mapping[str, object], collections: Mapping[str, Collection] | None) -> Bucket:
    """The bucket that a body describes. Raises Invalid with every fault; without collections the rules are not checked."""
    reader = _Reader(body, ("name", *_KNOWN), collections)
    name = reader.member("name", str, "")
    if not NAME.fullmatch(name):
        reader.fault("/name", "bad_name", "1 to 63 lower-case letters, digits, dashes and underscores; the first a letter.")
    return reader.bucket(Bucket(name))


def check_shape(body: Mapping[str, object], collections: Mapping[str, Collection]) -> None:
    """Raises Invalid, with every fault, for a body that describes no new bucket whatever the collections are."""
    try:
        new_bucket(body, None)
    except Invalid:
        new_bucket(body, collections)
        raise


def changed_bucket(body: Mapping[str, object], current: Bucket, collections: Mapping[str, Collection]) -> Bucket:
    """The bucket with the members of the body in place of its own, rule by rule; its name never changes."""
    return _Reader(body, _KNOWN, collections).bucket(current)


class _Reader:
    def __init__(self, body: Mapping[str, object], known: tuple[str, ...], collections: Mapping[str, Collection] | None) -> None:
        self._body = body
        self._collections = collections
        self._faults: list[Fault] = []
        for name in body:
            if name not in known:
                hint = did_you_mean(name, known)
                self.fault(f"/{_escaped(name)}", "unknown_key", f"There is no such member here. {hint or ''}".rstrip())

    def fault(self, pointer: str, code: str, message: str, details: Mapping[str, object] | None = None) -> None:
        self._faults.append(Fault(pointer, code, message, details))

    def member(self, name: str, kind: type[T], default: T) -> T:
        """A member of one exact type; the default when it is absent."""
        value = self._body.get(name, default)
        if type(value) is kind:
            return value
        self.fault(f"/{name}", "wrong_type", f"This must be {_WORDS[kind]}.")
        return default

    def bucket(self, current: Bucket) -> Bucket:
        bucket = replace(
            current,
            public=self.member("public", bool, current.public),
            max_size=self._max_size() if "max_size" in self._body else current.max_size,
            types=self._types() if "types" in self._body else current.types,
            rules={**current.rules, **self._rules()},
        )
        if bucket.public and bucket.rules.get("view") not in (None, "true"):
            self.fault("/public", "contradiction", "A public bucket shows its files to anyone: leave the view rule null or true.")
        if self._faults:
            raise Invalid("The bucket has faults.", errors=self._faults)
        return bucket

    def _max_size(self) -> int | None:
        if self._body["max_size"] is None:
            return None
        size = self.member("max_size", int, 1)
        if not 1 <= size <= _MOST_BYTES:
            self.fault("/max_size", "out_of_range", f"From 1 to {_MOST_BYTES} bytes.")
        return size

    def _types(self) -> tuple[str, ...] | None:
        if self._body["types"] is None:
            return None
        types: list[object] = self.member("types", list, [])
        if len(types) > _MOST_TYPES:
            self.fault("/types", "too_many", f"At most {_MOST_TYPES} types.")
            return None
        found = []
        for index, one in enumerate(types):
            if isinstance(one, str) and (CONTENT_TYPE.fullmatch(one) or _FAMILY.fullmatch(one)):
                found.append(one)
            else:
                self.fault(f"/types/{index}", "bad_type", "A content type such as image/png or image/*, in lower case.")
        return tuple(found)

    def _rules(self) -> dict[Action, str | None]:
        rules: dict[object, object] = self.member("rules", dict, {})
        found: dict[Action, str | None] = {}
        for name, source in rules.items():
            pointer = f"/rules/{_escaped(str(name))}"
            action = next((one for one in ACTIONS if one == name), None)
            if action is None:
                self.fault(pointer, "unknown_key", f"There is no such action; known: {', '.join(ACTIONS)}.")
            elif source is None or isinstance(source, str):
                found[action] = source
                self._check(action, source, pointer)
            else:
                self.fault(pointer, "wrong_type", "This must be an expression or null.")
        return found

    def _check(self, action: Action, source: str | None, pointer: str) -> None:
        if source is None or self._collections is None:
            return
        try:
            check_access(source, rule_env(action, self._collections))
        except RuleError as error:
            details = {name: value for name, value in error.as_dict().items() if name not in ("code", "message")}
            self.fault(pointer, error.code, error.message, details)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


_WORDS: Mapping[type, str] = {bool: "true or false", list: "a list", dict: "an object", str: "a text", int: "a whole number"}
