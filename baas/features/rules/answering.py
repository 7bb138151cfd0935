"""What was found of an expression, and what the caller is answered because of it, as an explanation."""

from dataclasses import dataclass

from baas.engines.rules.explain import Found, reason
from baas.engines.rules.types import RuleError
from baas.features.rules.explaining import Questioning, Seen
from baas.features.rules.model import Explanation, Question

_NO_RECORD = "No record was named, so only what is known of the caller was judged."
_NO_FILE = "No file was named, so only what is known of the caller was judged."
_ABSENT = "There is no record with this id."
_ABSENT_FILE = "There is no file of this path."
_LOCKED = "The rule is locked (null): only operators and secret keys."
_PUBLIC = "The bucket is public: anyone may download, whatever the rule says."
DENIED = (403, "rule_denied")
"""To whom the rule says no, and who may know of what he asked for."""
Answer = tuple[int, str | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """The text that was asked, None where there is none, and the version of what it stands in.

    `described`: it was asked of a change of a file that leaves its content as it is.
    """

    source: str | None
    version: int
    described: bool = False


def locked(question: Question, rule: Rule) -> Explanation:
    """Nobody but operators and keys."""
    return settled(question, rule, verdict=False, hint=_LOCKED, answer=DENIED)


def public(question: Question, rule: Rule) -> Explanation:
    """Everybody."""
    return settled(question, rule, verdict=True, hint=_PUBLIC, answer=(200, None))


def broken(question: Question, rule: Rule, error: RuleError) -> Explanation:
    """Nobody, as long as the rule names what is not there."""
    hint = f"The rule no longer fits the schema and admits nobody: {error}"
    return settled(question, rule, verdict=False, hint=hint, answer=DENIED)


def settled(question: Question, rule: Rule, *, verdict: bool, hint: str, answer: Answer) -> Explanation:
    """What needs no evaluation."""
    said, sql = ("allow", "true") if verdict else ("deny", "false")
    return Explanation(question, rule.source, said, hint, *answer, None, sql, (), "agrees", rule.version)  # type: ignore[arg-type]


def unasked(question: Question, rule: Rule, asked: Questioning) -> Explanation:
    """No record was named: what is known of the caller alone."""
    found, verdict = asked.unasked(), asked.verdict
    said = "depends" if verdict is None else "allow" if verdict else "deny"
    hint = (_NO_RECORD if question.bucket is None else _NO_FILE) if verdict is None else reason(found)
    memory = "not_run" if verdict is None else "agrees"
    return put_together(question, rule, asked, said, hint, found, memory, answered(question, rule, said, asked.verdict, None))


def explained(question: Question, rule: Rule, asked: Questioning, seen: Seen | None) -> Explanation:
    """The rule of an action, on the row that was named."""
    if seen is None:
        hint = _ABSENT if question.bucket is None else _ABSENT_FILE
        answer = answered(question, rule, "deny", asked.verdict, None)
        return put_together(question, rule, asked, "deny", hint, asked.unasked(), "not_run", answer)
    said = "allow" if holds(seen) else "deny"
    answer = answered(question, rule, said, asked.verdict, seen.judged.seen)
    return put_together(question, rule, asked, said, reason(seen.found), seen.found, agreement(seen), answer)


def holds(seen: Seen) -> bool:
    """Whether the whole is true."""
    return seen.found.failure is None and seen.found.value is True


def agreement(seen: Seen) -> str:
    """What is said of memory."""
    return "disagrees" if seen.disagreements else "agrees" if seen.complete else "not_run"


def put_together(  # noqa: PLR0917  what an explanation is made of
    question: Question, rule: Rule, asked: Questioning, said: str, hint: str, found: Found, memory: str, answer: Answer
) -> Explanation:
    """All of it, with the SQL that decides."""
    condition = asked.condition
    return Explanation(
        question=question,
        source=rule.source,
        verdict=said,  # type: ignore[arg-type]
        hint=hint,
        status=answer[0],
        code=answer[1],
        found=found,
        sql=condition[0] if condition is not None else str(asked.verdict).lower(),
        args=condition[1] if condition is not None else (),
        memory=memory,  # type: ignore[arg-type]
        schema_version=rule.version,
    )


def answered(question: Question, rule: Rule, said: str, verdict: bool | None, viewable: bool | None) -> Answer:
    """The status and code that the caller gets."""
    if said != "deny":
        deleted = question.action == "delete" and question.call != "bulk"
        return (201 if question.action == "create" else 204 if deleted else 200), None
    of_file = question.bucket is not None
    match question.action:
        case "update" | "delete" if question.call == "bulk":
            return DENIED
        case "create":
            return DENIED
        case "list" if verdict is not False:
            return 200, None
        case "list":
            return (401, "unauthenticated") if question.user is None else DENIED
        case "update" | "delete" if viewable:
            return DENIED
        case "update" if of_file and not rule.described:
            return DENIED  # an upload to a path that shows him nothing is judged as a new file's
    return 404, "file_not_found" if of_file else "record_not_found"
