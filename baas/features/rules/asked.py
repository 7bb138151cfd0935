"""Bodies of the room's calls as its values; every fault at once."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from baas.base.errors import Fault, Invalid, did_you_mean
from baas.engines.schema.collection import ACTIONS, Action
from baas.engines.schema.manifest import pointer
from baas.features.rules.model import MAX_CASES, MAX_TEST_ROWS, Case, Expectation, Question, Unfit
from baas.features.rules.testing import Rows, Suite

_QUESTION = ("collection", "bucket", "action", "id", "path", "as", "input", "claims", "field", "via")
_DOORS = ("rest", "batch", "import", "realtime")
_MOST_PATH = 1024
_SUITE = ("rows", "cases")
_CASE = (
    *("name", "collection", "bucket", "action", "auth", "claims", "id", "path", "field", "input", "rows", "via", "now", "expect"),
)
_MOST_LABEL = 200


class _Reader:
    """Reads members of one object and collects what is wrong with them."""

    def __init__(self, body: Mapping[str, object], known: Sequence[str], at: str, faults: list[Fault]) -> None:
        self._body = body
        self._at = at
        self._faults = faults
        for name in body:
            if name not in known:
                hint = did_you_mean(name, known)
                self.fault(name, "unknown_key", "There is no such key here." + (f" {hint}" if hint else ""))

    def fault(self, name: str, code: str, message: str) -> None:
        self._faults.append(Fault(pointer(self._at, name), code, message))

    def text(self, name: str, *, required: bool = False, most: int = _MOST_LABEL) -> str | None:
        value = self._body.get(name)
        if value is None:
            if required:
                self.fault(name, "required", "Must be given.")
            return None
        if not isinstance(value, str) or len(value) > most:
            self.fault(name, "wrong_type", f"Must be a text of up to {most} characters, or null.")
            return None
        return value

    def moment(self, name: str) -> datetime | None:
        """A time with its offset from UTC."""
        value = self.text(name)
        try:
            found = None if value is None else datetime.fromisoformat(value)
        except ValueError:
            found = None
        if value is not None and (found is None or found.tzinfo is None):
            self.fault(name, "wrong_type", "Must be a time such as 2026-05-01T09:00:00Z.")
            return None
        return found

    def action(self) -> Action:
        value = self.text("action", required=True)
        if value is not None and value not in ACTIONS:
            self.fault("action", "not_allowed", f"Must be one of {', '.join(ACTIONS)}.")
        return value if value in ACTIONS else "view"

    def door(self) -> str:
        """What rules read as `request.via`."""
        value = self.text("via")
        if value is not None and value not in _DOORS:
            self.fault("via", "not_allowed", f"Must be one of {', '.join(_DOORS)}.")
        return value if value in _DOORS else "rest"

    def object(self, name: str) -> Mapping[str, object] | None:
        value = self._body.get(name)
        if value is None or isinstance(value, dict):
            return value
        self.fault(name, "wrong_type", "Must be an object, or null.")
        return None

    def rows(self) -> Rows:
        """Lists of rows by collection."""
        given = self.object("rows") or {}
        rows: dict[str, list[Mapping[str, object]]] = {}
        for name, held in given.items():
            if not isinstance(held, list) or not all(isinstance(one, dict) for one in held):
                self._faults.append(Fault(pointer(self._at, "rows", name), "wrong_type", "Must be a list of objects."))
            else:
                rows[name] = held
        return rows


def read_question(body: Mapping[str, object]) -> Question:
    """What is to be explained. Raises Invalid."""
    faults: list[Fault] = []
    read = _Reader(body, _QUESTION, "", faults)
    bucket = read.text("bucket")
    record = read.text("id") if bucket is None else read.text("path", most=_MOST_PATH)
    for name in ("path",) if bucket is None else ("collection", "id", "field", "via"):
        if body.get(name) is not None:
            said = "Files have paths, in a bucket." if bucket is None else "A question about a file has a bucket and a path."
            read.fault(name, "not_allowed", said)
    question = Question(
        collection=read.text("collection", required=True) if bucket is None else None,
        bucket=bucket,
        action=read.action(),
        record=record,
        user=read.text("as"),
        input=read.object("input"),
        claims=read.object("claims"),
        field=read.text("field"),
        via=read.door(),
    )
    if question.field is not None and question.action == "delete":
        read.fault("field", "not_allowed", "A delete reads no field and validates none.")
    if question.input is not None and question.action not in ("create", "update"):
        read.fault("input", "not_allowed", "Only a create or an update has an input.")
    if question.user is None and question.claims:
        read.fault("claims", "not_allowed", "A guest has no claims.")
    if faults:
        raise Invalid("The question is not right.", errors=faults)
    return question


def read_suite(body: Mapping[str, object]) -> Suite:
    """Rows and cases. Raises Invalid."""
    faults: list[Fault] = []
    read = _Reader(body, _SUITE, "", faults)
    rows, given = read.rows(), body.get("cases")
    if not isinstance(given, list) or not given:
        read.fault("cases", "wrong_type", "Must be a list of at least one case.")
        given = []
    if len(given) > MAX_CASES:
        read.fault("cases", "too_many", f"One call runs at most {MAX_CASES} cases.")
        given = []
    cases = [_read_case(one, at, faults) for at, one in enumerate(given)]
    if sum(len(held) for held in rows.values()) > MAX_TEST_ROWS:
        read.fault("rows", "too_many", f"A test has at most {MAX_TEST_ROWS} rows.")
    if faults:
        raise Invalid("The cases are not right.", errors=faults[:100])
    return Suite(cases, rows)


def _check_subject(given: Mapping[str, object], bucket: str | None, read: _Reader) -> None:
    for name in ("path",) if bucket is None else ("collection", "id", "field", "via"):
        if given.get(name) is not None:
            said = "Files have paths, in a bucket." if bucket is None else "A case about a file has a bucket and a path."
            read.fault(name, "not_allowed", said)


def _read_case(given: object, at: int, faults: list[Fault]) -> Case:
    here = pointer("/cases", at)
    if not isinstance(given, dict):
        faults.append(Fault(here, "wrong_type", "A case is an object."))
        given = {"collection": "", "action": "view", "expect": "deny"}
    read = _Reader(given, _CASE, here, faults)
    bucket = read.text("bucket")
    _check_subject(given, bucket, read)
    case = Case(
        name=read.text("name") or f"case {at + 1}",
        collection="" if bucket is not None else read.text("collection", required=True) or "",
        action=read.action(),
        expect=_read_expectation(given.get("expect"), read),
        user=read.text("auth"),
        record=read.text("id") if bucket is None else read.text("path", required=True, most=_MOST_PATH),
        input=read.object("input"),
        claims=read.object("claims") or {},
        rows=read.rows(),
        bucket=bucket,
        field=read.text("field"),
        via=read.door(),
        now=read.moment("now"),
    )
    if case.field is not None and case.action == "delete":
        read.fault("field", "not_allowed", "A delete reads no field and validates none.")
    if case.field is not None and case.action == "list" and case.record is None:
        read.fault("id", "required", "A field is read of a record.")
    if isinstance(case.expect, Unfit) and (case.field or case.bucket or case.action not in ("create", "update")):
        read.fault("expect", "not_allowed", "Only a create or an update of a record can be invalid; say allow or deny.")
    if case.action in ("view", "update", "delete") and case.record is None:
        read.fault("id", "required", f"A {case.action} names the record.")
    if case.action == "list" and case.record is None and not isinstance(case.expect, tuple):
        read.fault("expect", "not_allowed", "A list names a record, or expects {rows: [ids]}.")
    if case.action != "list" and isinstance(case.expect, tuple):
        read.fault("expect", "not_allowed", "Only a list expects rows; say allow or deny.")
    if case.action == "list" and case.record is not None and isinstance(case.expect, tuple):
        read.fault("id", "not_allowed", "A list that expects rows names no record.")
    if case.input is not None and case.action not in ("create", "update"):
        read.fault("input", "not_allowed", "Only a create or an update has an input.")
    if sum(len(held) for held in case.rows.values()) > MAX_TEST_ROWS:
        read.fault("rows", "too_many", f"A test has at most {MAX_TEST_ROWS} rows.")
    return case


def _read_expectation(value: object, read: _Reader) -> Expectation:
    if value in ("allow", "deny"):
        return str(value)
    if value == "invalid":
        return Unfit()
    kind, names = next(iter(value.items())) if isinstance(value, dict) and len(value) == 1 else (None, None)
    if kind in ("rows", "invalid") and isinstance(names, list) and all(isinstance(one, str) for one in names):
        return tuple(names) if kind == "rows" else Unfit(tuple(names))
    read.fault("expect", "not_allowed", "Must be allow, deny, invalid, {invalid: [fields]} or {rows: [ids]}.")
    return "deny"
