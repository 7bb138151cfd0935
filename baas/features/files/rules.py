"""A bucket's rules: what they may name, and what they mean for one caller."""

from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime
from typing import Literal

from baas.base.principal import Principal
from baas.engines.query.asking import ALWAYS, NEVER, Judgement
from baas.engines.query.guarded import Guarded
from baas.engines.query.rows import Tables
from baas.engines.query.table import RowTypes, auth_type, views_of
from baas.engines.query.text import Kept
from baas.engines.rules.rule import Env, Facts, RowField, RowType, Rule, RuleError, check
from baas.engines.schema.collection import ACTIONS, Action, Collection
from baas.engines.schema.manifest import USERS
from baas.features.files.model import Bucket

_TEXT = RowField("string", nullable=False)
_MOMENT = RowField("timestamp", nullable=False)
FILE = RowType(
    {
        "path": _TEXT,
        "name": _TEXT,
        "folder": _TEXT,
        "size": RowField("int", nullable=False),
        "content_type": _TEXT,
        "sha256": _TEXT,
        "owner": RowField("ref(users)", nullable=True),
        "metadata": RowField("json", nullable=False),
        "created_at": _MOMENT,
        "updated_at": _MOMENT,
    }
)
"""What `record` and `next` are in a bucket's rules."""
_BARE: Mapping[str, Literal["next"] | None] = {"create": "next", "update": None}


def rule_env(action: str, collections: Mapping[str, Collection]) -> Env:
    """What the rule of an action may name."""
    return Env(
        action=action,
        record=None if action == "create" else FILE,
        next=FILE if action in ("create", "update") else None,
        auth=auth_type(collections),
        bare=_BARE.get(action, "record"),
        collections=RowTypes(collections),
        views=views_of(collections),
    )


def guarded(bucket: Bucket) -> Guarded:
    """A bucket, for those who ask whether its rules fit the schema and what lints say of them. A public one is viewed by all."""
    rules: dict[str, str | None] = {action: bucket.rules.get(action) for action in ACTIONS}
    if bucket.public:
        rules["view"] = "true"
    return Guarded("bucket", bucket.name, rules, rule_env)


class BucketRules:
    """The checked rules of buckets, kept by their text, which means the same as long as the project's schema does not change."""

    def __init__(self) -> None:
        self._kept: Kept[Rule | RuleError] = Kept(4000)

    def rule(self, schema: str, bucket: Bucket, action: Action, collections: Mapping[str, Collection]) -> Rule | None:
        """None when the action is locked. A rule that does not fit the schema admits nobody: a change that would break it is
        refused, but another server's change of both may be known here by halves for a moment."""
        source = bucket.rules.get(action)
        if source is None:
            return None
        users = collections.get(USERS)
        # By text, not by the bucket's version: a bucket made anew under an old name begins at version 1 again.
        key = (schema, users.version if users else 0, action, source)

        def make() -> Rule | RuleError:
            try:
                return check(source, rule_env(action, collections))
            except RuleError as error:
                return error

        found = self._kept.get(key, make)
        return found if isinstance(found, Rule) else None


class Access:
    """The rules of one bucket with the facts of one request in them; never shared between requests."""

    def __init__(
        self,
        bucket: Bucket,
        rules: Mapping[Action, Rule | None],
        principal: Principal,
        *,
        auth: Mapping[str, object] | None,
        now: datetime,
        tables: Tables,
    ) -> None:
        self.bucket = bucket
        self.principal = principal
        self.now = now
        self.tables = tables
        self.leaves: dict[Hashable, Sequence[object]] = {}
        self._rules = rules
        self._auth = auth
        self._known: dict[Action, Judgement] = {}

    def judge(self, action: Action) -> Judgement:
        """The rule of an action for this caller; what is locked is never true."""
        if self.principal.privileged or (action == "view" and self.bucket.public):
            return ALWAYS
        if action not in self._known:
            self._known[action] = self._fold(action)
        return self._known[action]

    def rule(self, action: Action) -> Rule | None:
        """None where it is locked, or no longer fits the schema."""
        return self._rules[action]

    def locked(self, action: Action) -> bool:
        """Whether the action is for operators and keys alone, and this caller is neither."""
        return self.judge(action) is NEVER and self._rules[action] is None

    def facts(self, action: Action) -> Facts:
        """What is known before any file is looked at."""
        return Facts(auth=self._auth, now=self.now, action=action, input={})

    def knows(self, action: Action, unknown: frozenset[str]) -> bool:
        """Whether the rule of an action can be judged while these fields of `next` are not known yet."""
        if self.judge(action).verdict is not None:
            return True
        rule = self._rules[action]
        return rule is None or not any(root == "next" and name in unknown for root, name in rule.names)

    def _fold(self, action: Action) -> Judgement:
        rule = self._rules[action]
        if rule is None:
            return NEVER
        folded = rule.fold(self.facts(action))
        self.leaves[action] = folded.values
        return Judgement((action, folded.shape), folded.verdict, action, rule, folded)
