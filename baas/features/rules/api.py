"""Rules over HTTP, for those who write them: operators, and keys with the scope `schema`."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from baas.base.errors import Fault, Invalid
from baas.base.principal import Principal
from baas.engines.rules.explain import Found, as_json, note
from baas.engines.schema.collection import ACTIONS
from baas.features.collections.service import Collections
from baas.features.rules.asked import read_question, read_suite
from baas.features.rules.fit import as_json as as_faults
from baas.features.rules.model import Explanation
from baas.features.rules.service import Rules
from baas.infra.http.answers import json_response
from baas.infra.http.body import read_object
from baas.infra.http.context import Context
from baas.infra.http.routes import Body, Endpoint, scope

_BASE = "/v1/projects/{project}/rules"
_POLICY = scope("schema")
_VALUES = ("records", "users")
"""The scopes without which a key sees verdicts and no stored values."""

_TEXT = {"type": "string"}
_OBJECT = {"type": "object"}
_MAYBE = {"type": ["string", "null"]}
_ACTION = {"type": "string", "enum": list(ACTIONS)}
_EXPLAIN = Body(
    {
        "type": "object",
        "properties": {
            "collection": _TEXT,
            "bucket": {"type": "string", "description": "Instead of a collection, for files."},
            "action": _ACTION,
            "id": {**_MAYBE, "description": "The record, of all but a create."},
            "path": {**_MAYBE, "description": "The file in the bucket."},
            "field": {**_MAYBE, "description": "Asked is its `read` (view, list) or `validate` (create, update), not the rule."},
            "as": {**_MAYBE, "description": "A user's id; null is a guest."},
            "input": {
                "type": ["object", "null"],
                "description": "The body of a create or an update; of a file its content_type, size and sha256, or metadata.",
            },
            "claims": {"type": ["object", "null"], "description": "`auth.claims`; the user's own when left out."},
            "via": {
                "type": "string",
                "enum": ["rest", "batch", "import", "realtime"],
                "description": "`request.via`; rest when left out.",
            },
            "request": {"type": "string", "description": "A refused call by its X-Request-Id, instead of all the others."},
        },
    }
)
_EXPLANATION = Body(
    {
        "type": "object",
        "properties": {
            "verdict": {"type": "string", "enum": ["allow", "deny", "depends"]},
            "hint": _TEXT,
            "rule": _MAYBE,
            "answer": _OBJECT,
            "tree": {"type": ["object", "null"]},
            "sql": _OBJECT,
            "memory": {"type": "string", "enum": ["agrees", "disagrees", "not_run"]},
            "disagreements": {"type": "array", "items": _OBJECT},
            "row": {"type": ["integer", "null"], "description": "Of a refused call with many records, which one, from 0."},
            "denial": _OBJECT,
        },
        "required": ["verdict", "hint", "rule", "answer", "tree", "sql", "memory"],
    }
)
_LINTS = Body({"type": "object", "properties": {"items": {"type": "array", "items": _OBJECT}}, "required": ["items"]})
_TEST = Body(
    {
        "type": "object",
        "properties": {"rows": _OBJECT, "cases": {"type": "array", "items": _OBJECT}},
        "required": ["cases"],
    }
)
_REPORT = Body(
    {
        "type": "object",
        "properties": {
            "passed": {"type": "integer"},
            "failed": {"type": "integer"},
            "cases": {"type": "array", "items": _OBJECT},
            "coverage": {"type": "array", "items": _OBJECT},
            "untested": {"type": "array", "items": _TEXT},
        },
        "required": ["passed", "failed", "cases", "coverage", "untested"],
    }
)


class RulesApi:
    """`/v1/projects/{project}/rules`."""

    def __init__(self, rules: Rules, collections: Collections) -> None:
        self._rules = rules
        self._collections = collections

    def routes(self) -> tuple[Endpoint, ...]:
        tag = "rules"
        return (
            Endpoint("POST", f"{_BASE}/explain", _POLICY, "Explain what a rule says", self.explain, tag=tag, request=_EXPLAIN,
                     responses={200: _EXPLANATION}, asks=True),
            Endpoint("POST", f"{_BASE}/test", _POLICY, "Run cases against the rules", self.test, tag=tag, request=_TEST,
                     responses={200: _REPORT}, asks=True),
            Endpoint("GET", f"{_BASE}/lint", _POLICY, "Lint every rule", self.lint, tag=tag, query={"collection": _TEXT},
                     responses={200: _LINTS}),
        )  # fmt: skip

    async def explain(self, request: Request) -> Response:
        """What a rule says to somebody, part by part; asked anew, or about a call that was refused."""
        context = Context.of(request)
        body, values = await _body(request), _shows_values(context.principal)
        if "request" not in body:
            explained = await self._rules.explain(context.project, read_question(body))
            return json_response(_explanation(explained, values=values))
        name = body["request"]
        if len(body) > 1 or not isinstance(name, str) or "\0" in name:
            message = "Stands alone: a text, the request id of a refused call."
            raise Invalid("The question is not right.", errors=[Fault("/request", "not_allowed", message)])
        refusal, explained = await self._rules.explain_refusal(context.project, name)
        denial = refusal.as_json(values=values)
        return json_response({**_explanation(explained, values=values), "denial": denial})

    async def test(self, request: Request) -> Response:
        """Every case with its outcome, and what of the rules they covered."""
        context = Context.of(request)
        report = await self._rules.test(context.project, read_suite(await _body(request)))
        return json_response(report.as_json())

    async def lint(self, request: Request) -> Response:
        """Every warning of the project, each by its `collection`, `bucket` or `channel`; or those of one collection."""
        project, name = Context.of(request).project, request.query_params.get("collection")
        found = await self._collections.lint(project, name)
        return json_response({"items": [{one.kind: one.name, **one.as_json()} for one in found]})


async def _body(request: Request) -> dict[str, object]:
    return await read_object(request, limit=Context.of(request).project.settings.limits.max_json_bytes)


def _shows_values(principal: Principal) -> bool:
    return all(principal.may(name) for name in _VALUES)


def _explanation(explained: Explanation, *, values: bool) -> dict[str, object]:
    question, found = explained.question, explained.found
    differing = [] if found is None else [one for one in found.walk() if one.memory is not None]
    return {
        **question.as_json(),
        "verdict": explained.verdict,
        "hint": explained.hint if values else _bare_hint(explained),
        "rule": explained.source,
        "answer": {"status": explained.status, "code": explained.code, **as_faults(explained.faults)},
        "tree": None if found is None else _node(found, values=values),
        "sql": {"text": explained.sql, "args": [as_json(one) for one in explained.args] if values else []},
        "memory": explained.memory,
        "disagreements": [
            {"text": one.part.text, "database": _said(one), "memory": one.memory if values else None} for one in differing
        ],
        "row": explained.row,
        "values": "shown" if values else "withheld",
        "schema_version": explained.schema_version,
    }


def _node(found: Found, *, values: bool) -> dict[str, object]:
    """One part; `value` where it has one and it may be shown, `error` where it has none."""
    part = found.part
    node: dict[str, object] = {"text": part.text, "start": part.start, "end": part.end, "kind": part.kind}
    node["type"] = str(part.rule.tree.type)
    if found.failure is not None:
        node["error"] = found.failure
    elif values or part.is_condition:
        node["value"] = as_json(found.value)
    if found.tally is not None:
        node["elements"] = {"true": found.tally.true, "false": found.tally.false, "error": found.tally.failed}
    if found.failure is None and values and (said := note(found)) is not None:
        node["note"] = said
    if found.memory is not None:
        node["memory"] = found.memory if values else "differs"
    return {**node, "children": [_node(one, values=values) for one in found.parts]}


def _said(found: Found) -> str:
    return "error" if found.failure is not None else str(found.value).lower()


def _bare_hint(explained: Explanation) -> str:
    if explained.found is None:
        return explained.hint
    return "The values behind this are shown to operators, and to keys that may also read records and users."


Members = Mapping[str, object]
