"""WebSockets on the wire: uvicorn's protocol, with an end for clients who do not read, and no error for what was refused."""

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from baas.infra.http.unsent import Unsent


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection after its upgrade."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._unsent = Unsent(self.loop, self.transport, lambda: self.close_sent or self.transport.is_closing())

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            # Refused below uvicorn, which looks for a later kind of fault only and would keep the connection for ever.
            self.handshake_complete = self.close_sent = True
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()
            self._unsent.watch()

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
        """Says goodbye, unless that has been said: uvicorn's own raises then, and would end the drain of all others."""
        if self.transport.is_closing() or self.conn.handshake_exc is not None:
            self.stop_keepalive()
            self.transport.close()
        else:
            super().shutdown()
        self._unsent.watch()

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self._unsent.watch()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True  # it was answered: uvicorn would call that an error
