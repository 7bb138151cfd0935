"""The answers themselves, with status and headers, for what the values do not show."""

from collections.abc import Callable
from typing import Any

import httpx2

from baas_sdk._async.transport import AsyncTransport, Call


class _AsyncSeen(AsyncTransport):
    """Sends as the transport it is made of, and keeps the answer."""

    def __init__(self, transport: AsyncTransport) -> None:
        super().__init__(transport.options, transport.http, transport.credentials)
        self.response: httpx2.Response | None = None

    async def send(self, call: Call) -> httpx2.Response:
        """As the transport; the answer is kept."""
        self.response = await super().send(call)
        return self.response


class AsyncRaw:
    """The calls of a collection that are one request each, answered by the response; all else is as without `raw`.

    `collection.raw.list(limit=5)` has `.headers["X-Feed-Cursor"]`, `.status_code` and `.json()`.
    """

    def __init__(self, transport: AsyncTransport, collection: Callable[[AsyncTransport], Any]) -> None:
        self._transport = transport
        self._collection = collection

    async def list(self, **wishes: Any) -> httpx2.Response:
        """As `collection.list`."""
        return await self._answer("list", **wishes)

    async def get(self, record_id: str, **wishes: Any) -> httpx2.Response:
        """As `collection.get`."""
        return await self._answer("get", record_id, **wishes)

    async def create(self, *values: Any, **fields: Any) -> httpx2.Response:
        """As `collection.create`."""
        return await self._answer("create", *values, **fields)

    async def update(self, *values: Any, **fields: Any) -> httpx2.Response:
        """As `collection.update`."""
        return await self._answer("update", *values, **fields)

    async def put(self, *values: Any, **fields: Any) -> httpx2.Response:
        """As `collection.put`."""
        return await self._answer("put", *values, **fields)

    async def delete(self, *record: Any, **wishes: Any) -> httpx2.Response:
        """As `collection.delete`."""
        return await self._answer("delete", *record, **wishes)

    async def _answer(self, act: str, *given: Any, **named: Any) -> httpx2.Response:
        seen = _AsyncSeen(self._transport)
        await getattr(self._collection(seen), act)(*given, **named)
        assert seen.response is not None  # noqa: S101  # each of these sends one request or raises
        return seen.response
