"""The room's values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as made
from datetime import datetime
from typing import Literal

from baas.base.clock import rfc3339
from baas.base.denial import Shape
from baas.base.errors import Fault
from baas.engines.rules.explain import Found
from baas.engines.schema.collection import Action

MAX_CASES = 500
MAX_TEST_ROWS = 1_000
BUCKET = "buckets/"
"""Before the name of a bucket, where collections are named too: their names have no slash."""
Verdict = Literal["allow", "deny", "depends"]
"""`depends`: no record was named, and the rule asks for one."""


@dataclass(frozen=True, slots=True)
class Question:
    """Whether `user` (an id, None for a guest) may do this. `claims` stand for his own.

    About a record of `collection`, or the file whose path is `record` of `bucket`; one of the two is None. With `field` the
    question is for the `read` of that field (view, list) or its `validate` (create, update), and not for the action's rule.

    `via` is what rules read as `request.via`. `call` is the kind of call whose part this is: what a put or an upsert (by `key`)
    changes in a stored record is more than it names, and many by a filter name no record at all.
    """

    action: Action
    collection: str | None = None
    bucket: str | None = None
    record: str | None = None
    user: str | None = None
    input: Mapping[str, object] | None = None
    claims: Mapping[str, object] | None = None
    field: str | None = None
    via: str = "rest"
    call: Shape = "one"
    key: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """For an answer."""
        return {
            **_subject(self.collection, self.bucket, self.record),
            "action": self.action,
            "as": self.user,
            "field": self.field,
            "via": self.via,
        }


def _subject(collection: str | None, bucket: str | None, record: str | None) -> dict[str, object]:
    """What a question or a refusal is about."""
    return {"bucket": bucket, "path": record} if bucket is not None else {"collection": collection, "id": record}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that a rule refused, as it was stored. `input` lacks hidden fields and is None when it was too long to keep.

    It is an object, of a `call` that sends many records the list of them, of an upsert `{"key", "items"}`, of a bulk change its
    patch. Of a file `bucket` stands for the collection, `record` is its path, and `schema_version` the bucket's.
    """

    request_id: str
    at: datetime
    status: int
    code: str
    collection: str | None
    bucket: str | None
    action: Action
    record: str | None
    principal_kind: str
    principal_id: str | None
    schema_version: int
    input: object
    input_rows: int | None
    filter: str | None
    call: Shape
    via: str
    claims: Mapping[str, object] | None

    def as_json(self, *, values: bool) -> dict[str, object]:
        """For an answer; without `values`, without what the caller sent."""
        principal = {"kind": self.principal_kind, "id": self.principal_id}
        shown = {
            "request_id": self.request_id,
            "at": rfc3339(self.at),
            "status": self.status,
            "code": self.code,
            **_subject(self.collection, self.bucket, self.record),
            "action": self.action,
            "principal": principal,
            "schema_version": self.schema_version,
            "input_rows": self.input_rows,
            "call": self.call,
            "via": self.via,
        }
        return shown | {"input": self.input, "filter": self.filter} if values else shown


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a rule came to for one caller and one record.

    `found` is None where the action is locked or there is no such record. `status` and `code` are what the caller is answered.
    `memory`: whether the evaluator in memory agrees with the database, or was not run because too many other records matter.
    `row` is which of many records this is about, from 0; None where there is one, or where every one of many is allowed.
    """

    question: Question
    source: str | None
    verdict: Verdict
    hint: str
    status: int
    code: str | None
    found: Found | None
    sql: str
    args: Sequence[object]
    memory: Literal["agrees", "disagrees", "not_run"]
    schema_version: int
    row: int | None = None
    faults: Sequence[Fault] = ()
    """Why a write that the rule allows is refused."""


@dataclass(frozen=True, slots=True)
class Unfit:
    """A write that the rule allows and that is refused, because these fields do not fit (None: whichever)."""

    fields: tuple[str, ...] | None = None


Expectation = str | tuple[str, ...] | Unfit
"""allow, deny, of a list the labels of the records that it must show, of a write that it does not fit."""


@dataclass(frozen=True, slots=True)
class Case:
    """One test of a rule, of a field's `read` or `validate` (`field`), or of a bucket's rule.

    `user` and `record` are labels of rows, or ids; of a file `record` is its path. `now` is the present when the case is asked,
    None for that of the run.
    """

    name: str
    collection: str
    action: Action
    expect: Expectation
    user: str | None = None
    record: str | None = None
    input: Mapping[str, object] | None = None
    claims: Mapping[str, object] = made(default_factory=dict)
    rows: Mapping[str, Sequence[Mapping[str, object]]] = made(default_factory=dict)
    bucket: str | None = None
    field: str | None = None
    via: str = "rest"
    now: datetime | None = None

    @property
    def subject(self) -> str:
        """What is asked, as rows and coverage name it."""
        return self.collection if self.bucket is None else f"{BUCKET}{self.bucket}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a case ended. `got` is in the words of `expect`; `reason` says why, or what stood in the way of asking at all.

    `disagreement` is set where the two evaluators do not say the same, which fails the case whatever was expected.
    """

    case: Case
    passed: bool
    got: Expectation | None
    reason: str | None = None
    disagreement: str | None = None

    def as_json(self) -> dict[str, object]:
        case = self.case
        shown: dict[str, object] = {
            "name": case.name,
            **({"collection": case.collection} if case.bucket is None else {"bucket": case.bucket, "path": case.record}),
            **({} if case.field is None else {"field": case.field}),
            "action": case.action,
            "passed": self.passed,
            "expected": _expectation(case.expect),
            "got": None if self.got is None else _expectation(self.got),
        }
        optional = {"reason": self.reason, "disagreement": self.disagreement}
        return shown | {name: value for name, value in optional.items() if value is not None}


def _expectation(value: Expectation) -> object:
    if isinstance(value, Unfit):
        return "invalid" if value.fields is None else {"invalid": list(value.fields)}
    return value if isinstance(value, str) else {"rows": list(value)}


@dataclass(slots=True)
class Branch:
    """A part of a rule that can go either way, and how often each was seen."""

    text: str
    start: int
    true: int = 0
    false: int = 0
    failed: int = 0

    def count(self, found: Found) -> None:
        if found.failure is not None:
            self.failed += 1
        elif found.value is True:
            self.true += 1
        else:
            self.false += 1

    def as_json(self) -> dict[str, object]:
        return {"text": self.text, "start": self.start, "true": self.true, "false": self.false, "error": self.failed}


@dataclass(frozen=True, slots=True)
class Coverage:
    """The branches of one rule that the cases asked; of a field's the collection is `cards.pin` and the action its property."""

    collection: str
    action: str
    source: str
    branches: Mapping[int, Branch]

    def as_json(self) -> dict[str, object]:
        return {
            "collection": self.collection,
            "action": self.action,
            "rule": self.source,
            "branches": [branch.as_json() for branch in self.branches.values()],
        }


@dataclass(frozen=True, slots=True)
class Report:
    """All cases, what they covered, and the rules (`collection.action`) that none of them asked."""

    outcomes: Sequence[Outcome]
    coverage: Sequence[Coverage]
    untested: Sequence[str]

    def as_json(self) -> dict[str, object]:
        failed = sum(1 for one in self.outcomes if not one.passed)
        return {
            "passed": len(self.outcomes) - failed,
            "failed": failed,
            "cases": [one.as_json() for one in self.outcomes],
            "coverage": [one.as_json() for one in self.coverage],
            "untested": list(self.untested),
        }
