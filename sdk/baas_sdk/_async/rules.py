"""What rules say and why, for operators and keys with the scope `schema`."""

from collections.abc import Mapping, Sequence
from typing import Any

from baas_sdk._async.transport import AsyncTransport


class AsyncRules:
    """Explains, lints and tests the rules of the project."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def explain(
        self,
        collection: str,
        action: str,
        record_id: str | None = None,
        *,
        as_user: str | None = None,
        input: Mapping[str, object] | None = None,  # noqa: A002  the language's word
        claims: Mapping[str, object] | None = None,
        field: str | None = None,
    ) -> dict[str, Any]:
        """Whether the user with this id (None: a guest) may do this now, part by part of the rule, with the values.

        With `field` it is the field's `read` (list, view) or `validate` (create, update) that is asked.

        Raises:
            NotFound: no such collection or user. Invalid: a write with this input would be refused whatever the rule says; no
                such field.
        """
        body = {"collection": collection, "action": action, "id": record_id, "as": as_user, "input": input, "claims": claims}
        return await self._post("explain", body if field is None else {**body, "field": field})

    async def explain_file(
        self,
        bucket: str,
        action: str,
        key: str | None = None,
        *,
        as_user: str | None = None,
        input: Mapping[str, object] | None = None,  # noqa: A002  the language's word
        claims: Mapping[str, object] | None = None,
    ) -> dict[str, Any]:
        """The same about a bucket's rule and the file with this key.

        `input` is what an upload says of its file, `content_type`, `size` and `sha256`, or what a change of it says,
        `content_type` and `metadata`.

        Raises:
            NotFound: no such bucket or user. Invalid: an input that no call can have, or that lacks what the rule looks at.
        """
        body = {"bucket": bucket, "action": action, "path": key, "as": as_user, "input": input, "claims": claims}
        return await self._post("explain", body)

    async def explain_request(self, request_id: str) -> dict[str, Any]:
        """The same about a call that a rule refused; `denial` tells of the call.

        Raises:
            NotFound: no refused call with this request id is kept.
        """
        return await self._post("explain", {"request": request_id})

    async def lint(self, collection: str | None = None) -> list[dict[str, Any]]:
        """Every warning about rules, each by its `collection`, `bucket` or `channel`; or those of one collection.

        Raises:
            NotFound: no such collection.
        """
        params = {} if collection is None else {"collection": collection}
        answer = await self._transport.json("GET", self._path("lint"), params=params)
        items: list[dict[str, Any]] = answer["items"]
        return items

    async def test(
        self, cases: Sequence[Mapping[str, object]], rows: Mapping[str, Sequence[Mapping[str, object]]] | None = None
    ) -> dict[str, Any]:
        """Runs cases against the rules over rows of their own; nothing is stored.

        Raises:
            Invalid: every fault of rows and cases, with its place.
        """
        return await self._post("test", {"rows": rows or {}, "cases": cases})

    async def _post(self, name: str, body: Mapping[str, object]) -> dict[str, Any]:
        answer: dict[str, Any] = await self._transport.json("POST", self._path(name), body, asks=True)
        return answer

    def _path(self, name: str) -> str:
        return self._transport.options.path_of(f"rules/{name}")
