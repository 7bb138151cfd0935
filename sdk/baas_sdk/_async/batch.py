"""Several writes as one: all of them happen, or none."""

from types import TracebackType
from typing import Any, Self, overload

from baas_sdk._async.transport import AsyncTransport
from baas_sdk.models import Model, Record, TModel
from baas_sdk.planned import Plan, PlannedCollection
from baas_sdk.typed import named_reader


class AsyncBatch:
    """`async with client.batch() as batch:` plans, and sends at the end of the block: one call, one transaction.

    A block that raises sends nothing.
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport
        self._plan = Plan()

    @overload
    def collection(self, what: str) -> PlannedCollection[Record]: ...
    @overload
    def collection(self, what: type[TModel]) -> PlannedCollection[TModel]: ...
    def collection(self, what: str | type[Model]) -> PlannedCollection[Any]:
        """The records of a collection, as `client.collection`; what is done with them is planned.

        Raises:
            ConfigError: the class is no model.
        """
        name, read = named_reader(what)
        return PlannedCollection(self._plan, name, read)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Sends the writes.

        Raises: what the first write is refused with that fails; `facts["failed_operation"]` counts from `o1`.
        """
        if kind is None and self._plan.operations:
            path = self._transport.options.path_of("batch")
            answer = await self._transport.json("POST", path, {"operations": self._plan.operations})
            self._plan.settle(answer["results"])
