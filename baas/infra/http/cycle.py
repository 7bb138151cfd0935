"""One request and its answer on the wire: uvicorn's cycle, with an answer of one piece in one write.

uvicorn writes head and body apart, which is a system call more for each answer, and looks through every header name and value on
its own. Here a head that declares its length waits for the first piece of the body, and all lines are looked through at once.
"""

from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from baas.infra.http.arrival import CUT

_BODILESS = (204, 304)
_WORTH_COPYING = 64 * 1024  # bytes; putting more behind a head costs more than the second write
# Every byte that may stand in a header line (RFC 9110, section 5.5); what is left of a head without them is its line ends.
_HARMLESS = bytes({9, *range(32, 127), *range(128, 256)})


class Cycle(RequestResponseCycle):
    """Raises RuntimeError for an answer that breaks the message border: a control character in a header, a wrong length."""

    _head = b""  # held until the first piece of the body

    async def run_asgi(self, app: Any) -> None:
        """What is left of an answer that was cut is dropped: closing would wait for a client that may never take it, and with it
        the end of the server.
        """
        try:
            await app(self.scope, self.receive, self.send)
        except BaseException as error:
            await self._complain("Exception in ASGI application", error)
        else:
            if not self.response_complete and not self.disconnected and CUT not in self.scope:
                await self._complain("ASGI callable returned without completing its response.")
        finally:
            self.on_response = lambda: None
            if self.response_started and not self.response_complete:
                self.transport.abort()

    async def _complain(self, text: str, error: BaseException | None = None) -> None:
        self.logger.error(text, exc_info=error)
        if not self.response_started:
            await self.send_500_response()

    async def send(self, message: Any) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self.response_started:
            self._begin(message)
        elif self.response_complete:
            raise RuntimeError(f"Unexpected ASGI message {message['type']!r} sent, after response already completed.")
        else:
            self._go_on(message)

    def _begin(self, message: Any) -> None:
        if message["type"] != "http.response.start":
            raise RuntimeError(f"Expected ASGI message 'http.response.start', but got {message['type']!r}.")
        self.response_started, self.waiting_for_100_continue = True, False
        status: int = message["status"]
        headers = [*self.default_headers, *message.get("headers", ())]
        for name, value in headers:
            if name == b"content-length":
                self.expected_content_length, self.chunked_encoding = int(value), False
            elif name == b"connection" and b"close" in value.lower():
                self.keep_alive = False
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in _BODILESS:
            self.chunked_encoding = True
            headers.append((b"transfer-encoding", b"chunked"))
        if not self.keep_alive:
            headers = [*((name, value) for name, value in headers if name != b"connection"), (b"connection", b"close")]
        lines = b"".join([b": ".join(header) + b"\r\n" for header in headers])
        if lines.translate(None, _HARMLESS) != b"\r\n" * len(headers):
            raise RuntimeError("Invalid HTTP header.")
        self._head = b"%b%b\r\n" % (STATUS_LINE[status], lines)
        if self.chunked_encoding:  # its first piece may be long in coming
            self._write(b"")

    def _go_on(self, message: Any) -> None:
        if message["type"] != "http.response.body":
            raise RuntimeError(f"Expected ASGI message 'http.response.body', but got {message['type']!r}.")
        body: bytes = message.get("body", b"")
        more: bool = message.get("more_body", False)
        if self.scope["method"] == "HEAD":
            self.expected_content_length, body = 0, b""
        elif self.chunked_encoding:
            body = b"".join((b"%x\r\n%b\r\n" % (len(body), body) if body else b"", b"" if more else b"0\r\n\r\n"))
        else:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0:
                raise RuntimeError("Response content longer than Content-Length")
        if not more and self.expected_content_length:
            raise RuntimeError("Response content shorter than Content-Length")
        self._write(body)
        if not more:
            self._end()

    def _write(self, data: bytes) -> None:
        if self._head:
            head, self._head = self._head, b""
            if len(data) > _WORTH_COPYING:
                self.transport.write(head)
            else:
                data = head + data
        if data:
            self.transport.write(data)

    def _end(self) -> None:
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
