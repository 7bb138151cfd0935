"""What is no collection and has rules over the schema all the same: a bucket of files, the pattern of channels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from baas.engines.rules.lint import check_access
from baas.engines.rules.rule import Rule
from baas.engines.rules.types import Env
from baas.engines.schema.collection import Collection

Kind = Literal["collection", "bucket", "channel"]
"""What has rules, by the name that answers give it."""


@dataclass(frozen=True, slots=True)
class Guarded:
    """One of them: its rules by action, and `env`, what the rule of an action may name in a project of these collections."""

    kind: Kind
    name: str
    rules: Mapping[str, str | None]
    env: Callable[[str, Mapping[str, Collection]], Env]

    def check(self, action: str, collections: Mapping[str, Collection]) -> Rule | None:
        """The checked rule of an action, None where it is locked. Raises RuleError, also for R003."""
        source = self.rules.get(action)
        return None if source is None else check_access(source, self.env(action, collections))
