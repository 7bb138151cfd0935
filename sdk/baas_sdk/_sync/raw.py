# Made from _async/raw.py by sdk/unasync.py; change that one.
"""The answers themselves, with status and headers, for what the values do not show."""

from collections.abc import Callable
from typing import Any

import httpx2

from baas_sdk._sync.transport import Transport, Call


class _Seen(Transport):
    """Sends as the transport it is made of, and keeps the answer."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport.options, transport.http, transport.credentials)
        self.response: httpx2.Response | None = None

    def send(self, call: Call) -> httpx2.Response:
        """As the transport; the answer is kept."""
        self.response = super().send(call)
        return self.response


class Raw:
    """The calls of a collection that are one request each, answered by the response; all else is as without `raw`.

    `collection.raw.list(limit=5)` has `.headers["X-Feed-Cursor"]`, `.status_code` and `.json()`.
    """

    def __init__(self, transport: Transport, collection: Callable[[Transport], Any]) -> None:
        self._transport = transport
        self._collection = collection

    def list(self, **wishes: Any) -> httpx2.Response:
        """As `collection.list`."""
        return self._answer("list", **wishes)

    def get(self, record_id: str, **wishes: Any) -> httpx2.Response:
        """As `collection.get`."""
        return self._answer("get", record_id, **wishes)

    def create(self, *values: Any, **fields: Any) -> httpx2.Response:
        """As `collection.create`."""
        return self._answer("create", *values, **fields)

    def update(self, *values: Any, **fields: Any) -> httpx2.Response:
        """As `collection.update`."""
        return self._answer("update", *values, **fields)

    def put(self, *values: Any, **fields: Any) -> httpx2.Response:
        """As `collection.put`."""
        return self._answer("put", *values, **fields)

    def delete(self, *record: Any, **wishes: Any) -> httpx2.Response:
        """As `collection.delete`."""
        return self._answer("delete", *record, **wishes)

    def _answer(self, act: str, *given: Any, **named: Any) -> httpx2.Response:
        seen = _Seen(self._transport)
        getattr(self._collection(seen), act)(*given, **named)
        assert seen.response is not None  # noqa: S101  # each of these sends one request or raises
        return seen.response
