"""A refused call asked again, as the call it was: of many records the first that is refused, of a bulk change what admits it.

The answers are those that the records room would give: which of several refusals wins is told here a second time, and
`tests/features/test_denied_calls.py` holds the two together.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from baas.base.errors import Fault, Invalid
from baas.engines.query.table import Table
from baas.engines.schema.validate import immutable_names
from baas.features.rules import answering, store
from baas.features.rules.explaining import Caller, about_rule
from baas.features.rules.inputs import cleaned
from baas.features.rules.model import Explanation, Question, Refusal
from baas.infra.db.pool import Database

Ask = Callable[[Table, Caller, Question], Awaitable[Explanation]]
_NOTHING = "Nothing was sent, so nothing is asked."
_LISTED = "The list rule says which records are meant, and it shows this caller none."
_TAKEN = (409, "already_exists")


def question_of(refusal: Refusal) -> Question:
    """The call as a question, without what was sent."""
    user = refusal.principal_id if refusal.principal_kind == "user" else None
    return Question(
        refusal.action,
        refusal.collection,
        refusal.bucket,
        refusal.record,
        user,
        claims=refusal.claims or {},
        via=refusal.via,
        call=refusal.call,
    )


class Again:
    """`ask` explains a question about one record, or about the caller alone."""

    def __init__(self, db: Database, ask: Ask, now: datetime) -> None:
        self._db = db
        self._ask = ask
        self._now = now

    async def explain(self, table: Table, caller: Caller, question: Question, refusal: Refusal) -> Explanation:
        """What the rules say now. Raises Invalid when what was sent was not kept, or would no longer come to a rule."""
        if refusal.input is None and question.action in ("create", "update"):
            message = "What was sent was too long to be kept, so the call cannot be asked again."
            raise Invalid(message, errors=[Fault("/request", "input_not_kept", message)])
        sent = refusal.input
        match question.call:
            case "many" if isinstance(sent, list):
                return await self._many(table, caller, question, sent)
            case "upsert" if isinstance(sent, dict):
                asked = replace(question, key=tuple(sent["key"]))
                return await self._upsert(table, caller, asked, sent["items"])
            case "bulk":
                return await self._bulk(table, caller, replace(question, input=_object(sent), record=None))
        return await self._ask(table, caller, replace(question, input=_without_fixed(table, question, _object(sent))))

    async def _many(self, table: Table, caller: Caller, question: Question, rows: Sequence[object]) -> Explanation:
        said, unfit = _nothing(table, question), None
        for at, one in enumerate(rows):
            said = await self._ask(table, caller, replace(question, input=_object(one) or {}))
            if said.verdict == "deny":
                return replace(said, row=at)
            if said.faults:
                unfit = unfit or replace(said, row=at)
        return unfit or said

    async def _upsert(self, table: Table, caller: Caller, question: Question, items: Sequence[object]) -> Explanation:
        """The refusal that wins: of a new record, then of one that he sees, then of one that he does not see."""
        for action in ("create", "update"):
            if table.collection.rules.get(action) is None:
                return answering.locked(replace(question, action=action), answering.Rule(None, table.collection.version))
        said, refused, creatable = replace(_nothing(table, question), status=200), [], True
        unfit: Explanation | None = None
        for at, one in enumerate(items):
            said = await self._item(table, caller, replace(question, input=_object(one) or {}))
            if said.verdict != "deny":
                unfit = unfit or (replace(said, row=at) if said.faults else None)
                continue
            refused.append(replace(said, row=at))
            if _is_out_of_sight(said):
                fresh = await self._ask(table, caller, replace(said.question, action="create", record=None))
                creatable = creatable and fresh.verdict == "allow"
        if not refused:
            return unfit or replace(said, status=200)
        first = min(refused, key=_rank)
        status, code = _TAKEN if _is_out_of_sight(first) and creatable else answering.DENIED
        return replace(first, status=status, code=code)

    async def _item(self, table: Table, caller: Caller, question: Question) -> Explanation:
        """One item, as a change of the stored record with its key or as a new one."""
        new = replace(question, action="create", record=None)
        if not question.key or not table.columns.keys() >= set(question.key):
            raise _key_is_gone()
        values = cleaned(table, caller.asking(self._now, new.input), new) or {}
        if not values.keys() >= set(question.key):
            raise _key_is_gone()
        stored = await store.by_key(self._db, table, {name: values[name] for name in question.key})
        return await self._ask(table, caller, new if stored is None else replace(question, action="update", record=str(stored)))

    async def _bulk(self, table: Table, caller: Caller, question: Question) -> Explanation:
        """The list rule chooses the records and that of the action leaves some alone; refused is who can reach none at all."""
        if table.collection.rules.get(question.action) is None:
            return await self._ask(table, caller, question)
        listing = replace(question, action="list", input=None)
        if table.collection.rules.get("list") is None:
            return await self._ask(table, caller, listing)
        if about_rule(table, "list", caller, self._now).verdict is False:
            said = await self._ask(table, caller, listing)
            return replace(said, hint=f"{_LISTED} {said.hint}")
        return await self._ask(table, caller, question)


def _without_fixed(table: Table, question: Question, sent: Mapping[str, object] | None) -> Mapping[str, object] | None:
    """A put names what it may not change and must find as it is; as a question that is no change."""
    if question.action != "update" or sent is None:
        return sent
    fixed = {"id", *immutable_names(table.collection, privileged=False)}
    return {name: value for name, value in sent.items() if name not in fixed}


def _object(value: object) -> Mapping[str, object] | None:
    return value if isinstance(value, dict) else None


def _nothing(table: Table, question: Question) -> Explanation:
    """An empty list, of which no rule is asked unless it is locked."""
    rule = answering.Rule(table.collection.rules.get(question.action), table.collection.version)
    if rule.source is None:
        return answering.locked(question, rule)
    return answering.settled(question, rule, verdict=True, hint=_NOTHING, answer=(201, None))


def _rank(refused: Explanation) -> int:
    return 0 if refused.question.action == "create" else 2 if _is_out_of_sight(refused) else 1


def _is_out_of_sight(refused: Explanation) -> bool:
    return refused.question.action == "update" and refused.status == 404


def _key_is_gone() -> Invalid:
    message = "The key of this upsert is no longer one of the collection."
    return Invalid(message, errors=[Fault("/request", "no_unique_key", message)])
