"""Random calls of everything in the API document: whatever is sent, no fault of ours is the answer."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from baas.base.ids import short_id
from tests.support.callers import ProjectUnderTest

CALLS = 400
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 1e308, 0.1, "", "a", "posts", "users", "\u0000x",
    "é" * 300, "😀", "'; --", "2026-11-20T10:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "a@example.com",
    "018f3c6e-1b7a-7000-8000-000000000000", "1e999", "null", "true", "auth.id", "record.title == $x", "(((", "%", "/", "..",
    "~1", "\\", "*", "[]", [], {}, [[]], [None], [1, "a"], {"a": {"b": []}}, {"": 1}, {"$inc": 1}, {"id": 1}, "sk_x", "{}",
)  # fmt: skip
NAMES = ("title", "n", "owner", "id", "rev", "name", "fields", "rules", "email", "password", "type", "options", "indexes")
# The project and the session of the user who calls stay.
ENDS = {("delete", path) for path in ("/auth/me", "/auth/sessions", "/users/{user}", "/users/{user}/sessions")}
ENDS |= {("post", "/auth/sign-out")}


async def test_nothing_that_is_sent_is_a_fault_of_ours(project: ProjectUnderTest) -> None:
    """Values of the right kind and of odd kinds, for every operation, as an operator, a user and nobody; seeded."""
    fields = [{"name": "title", "type": "text"}, {"name": "n", "type": "int"}, {"name": "meta", "type": "json"}]
    owner = {"name": "owner", "type": "relation", "to": "users"}
    await project.collection("posts", [*fields, owner], dict.fromkeys(("list", "view", "create", "update", "delete"), "true"))
    await project.operator.post("buckets", json={"name": "pics", "public": True, "rules": {"create": "true"}})
    await project.operator.post("sites", json={"name": "default"})
    user, post = await project.user(), await project.operator.create("posts", {"title": "a"})
    document = (await project.operator.get("openapi.json")).json()
    chance = random.Random(20261120)
    operations = [
        (method.upper(), path, operation, document["paths"][path].get("parameters", []))
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if path != "/" and (method, path) not in ENDS
    ]
    fuzz = Fuzz(chance, document, {"user": user.id, "id": post["id"]})
    wrong, seen = [], Counter[int]()
    for _ in range(CALLS):
        method, path, operation, shared = chance.choice(operations)
        caller = chance.choice((*[project.operator] * 4, user, project.anonymous))
        call = fuzz.call(path, operation, shared)
        try:
            async with asyncio.timeout(1 if path.endswith("/realtime") else None):
                answer = await caller.request(method, call["path"].removeprefix("/"), **call["options"])
        except TimeoutError:
            assert path.endswith("/realtime"), call
            continue  # a stream that was opened: it ends when nobody reads it
        seen[answer.status_code] += 1
        if answer.status_code >= 500 or (answer.status_code >= 400 and method != "HEAD" and "code" not in answer.json()):
            wrong.append((method, call, answer.status_code, answer.text))

    assert [] == wrong
    assert {200, 201, 400, 401, 403, 404, 422} <= seen.keys()


class Fuzz:
    """Makes calls out of the document's schemas."""

    def __init__(self, chance: random.Random, document: Mapping[str, Any], known: Mapping[str, str]) -> None:
        self._chance = chance
        self._document = document
        self._known = {"collection": "posts", "bucket": "pics", "site": "default", "path": "a/b.txt", **known}

    def call(self, path: str, operation: Mapping[str, Any], shared: list[Mapping[str, Any]]) -> dict[str, Any]:
        params, headers = {}, {}
        for parameter in map(self._resolved, [*shared, *operation.get("parameters", [])]):
            if parameter["in"] == "path":
                path = path.replace("{" + parameter["name"] + "}", quote(self._segment(parameter["name"]), safe=""))
            elif parameter["in"] == "query" and self._chance.random() < 0.5:
                value = self.value(parameter["schema"])
                params[parameter["name"]] = value if isinstance(value, str) else json.dumps(value)
        options: dict[str, Any] = {"params": params}
        content = self._resolved(operation.get("requestBody", {})).get("content", {})
        for kind, media in content.items():
            headers["content-type"] = kind if "*" not in kind else "text/plain"
            body = json.dumps(self.value(media.get("schema", {}))) if "json" in kind else "some bytes"
            options["content"] = body.encode() if self._chance.random() > 0.03 else body.encode()[:-1]
        if self._chance.random() < 0.2:
            name = self._chance.choice(("if-match", "if-none-match", "range", "idempotency-key"))
            headers[name] = self._chance.choice(("*", '"1"', 'W/"2"', "bytes=0-", "bytes=5-2", "x", '"99999999999999999999"'))
        return {"path": path, "options": options | {"headers": headers}}

    def value(self, schema: Mapping[str, Any], depth: int = 0) -> Any:
        """Mostly what the schema says, now and then anything."""
        schema, chance = self._resolved(schema), self._chance
        if depth > 6 or chance.random() < 0.05:
            return chance.choice(ODD)
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return self.value(chance.choice(schema[key]), depth + 1)
        if "enum" in schema:
            return chance.choice(schema["enum"])
        kind = schema.get("type", chance.choice(("string", "object", "array", "integer")))
        match chance.choice(kind) if isinstance(kind, list) else kind:
            case "object":
                known = {name: one for name, one in schema.get("properties", {}).items() if chance.random() < 0.7}
                made = {name: self.value(one, depth + 1) for name, one in known.items()}
                if chance.random() < 0.3 or not made:
                    made[chance.choice(NAMES)] = chance.choice(ODD)
                return made
            case "array":
                return [self.value(schema.get("items", {}), depth + 1) for _ in range(chance.randrange(4))]
            case "integer" | "number":
                return chance.choice((0, 1, 5, 100, -3, 10**12))
            case "boolean":
                return chance.random() < 0.5
            case "null":
                return None
        if "pattern" in schema or "format" in schema:
            return {"email": f"{short_id()}@example.com", "uuid": self._known["user"]}.get(
                schema.get("format", ""), f"n{short_id()}"
            )
        return chance.choice((*(one for one in ODD if isinstance(one, str)), *NAMES, f"n{short_id()}"))

    def _segment(self, name: str) -> str:
        if name in self._known and self._chance.random() < 0.95:
            return self._known[name]
        return str(self._chance.choice([one for one in ODD if isinstance(one, str) and one]))

    def _resolved(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        while "$ref" in node:
            found: Any = self._document
            for part in node["$ref"].removeprefix("#/").split("/"):
                found = found[part.replace("~1", "/").replace("~0", "~")]
            node = found
        return node
