"""WebSockets on the wire: uvicorn's protocol, with an end for clients who do not read, and no error for what was refused."""

import asyncio
from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from baas.infra.http.unsent import Unsent


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection after its upgrade."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # It writes again only when the client has caught up, or has said goodbye.
        self._unsent = Unsent(self.loop, cast(asyncio.Transport, transport), lambda: self.close_sent)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unsent.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unsent.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unsent.end()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        super().shutdown()
        self._unsent.watch()

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self._unsent.watch()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True  # it was answered: uvicorn would call that an error
