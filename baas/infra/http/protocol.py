"""HTTP/1.1 on the wire: uvicorn's protocol, with limits on a request's head and no doubt about where a message ends.

uvicorn has no time limit for headers and no limit on their size. What is refused here is answered with a problem like every other
error, and the connection is closed, since its message border is in doubt (threat model W1, W2). How a request begins and a
connection rests is written anew here: for what we do not have (WebSockets, a root path, uvicorn's log) nothing is done.
"""

import asyncio
import logging
import re
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from baas.base.errors import BaasError, BadRequest, HeadersTooLarge, RequestTimeout, UriTooLong
from baas.base.ids import uuid7
from baas.infra.http.arrival import ARRIVED, HeadLimits
from baas.infra.http.cycle import Cycle
from baas.infra.http.problem import parts
from baas.infra.http.unsent import Unsent

MAX_MESSAGE = 64 * 1024
"""Bytes of one message of a WebSocket."""
_SOCKET = "/realtime/socket"
_SOCKET_LINE, _SOCKET_HEADERS = 8000, 120
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
_STATUS = {400: "Bad Request", 408: "Request Timeout", 414: "URI Too Long", 431: "Request Header Fields Too Large"}
# After a refusal the client may still be sending; closing at once would reset the connection and lose the answer.
_LINGER_S = 2.0
_LINGER_BYTES = 1024**2
# One read of the event loop; it may hold the end of one request and the beginning of the next.
_LARGEST_READ = 256 * 1024


class Protocol(HttpToolsProtocol):
    """One connection. `limits` hold for every request on it, `header_timeout_s` from its first byte to the end of its head."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: HeadLimits,
        header_timeout_s: float,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._header_timeout_s = header_timeout_s
        self._header_timer: asyncio.TimerHandle | None = None
        self._begun = False  # some of a head has arrived, not all of it
        self._head_bytes = 0  # of the finished headers of this request
        self._idle_bytes = 0  # received since anything was finished: an endless header or trailer
        self._refused_bytes: int | None = None  # received since the refusal
        self._refusal: BaasError | None = None  # of what came behind requests that are still being answered
        self._resting_since = 0.0  # in the loop's time
        self._upgrades = False  # this request becomes a WebSocket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        self._unsent = Unsent(self.loop, self.transport, lambda: self.transport.is_closing() or self._is_at_rest())
        self._arm()

    def _is_at_rest(self) -> bool:
        cycle = cast(Cycle | None, self.cycle)
        return cycle is None or cycle.response_complete

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unsent.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unsent.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._unsent.end()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused_bytes is not None:
            self._refused_bytes += len(data)
            if self._refused_bytes > _LINGER_BYTES:
                self.transport.close()
            return
        self._idle_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            self._refuse(_cause(error))
        except httptools.HttpParserError:
            self._refuse(BadRequest("This is no HTTP/1.1 request.", code="bad_http"))
        except httptools.HttpParserUpgrade:
            if self._upgrades:
                self._unset_keepalive_if_required()
                self.handle_websocket_upgrade()
            # Else it is answered as an ordinary request, as RFC 9110 7.8 allows: there is nothing to upgrade to.
        else:
            self._watch()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begun = True
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > self._limits.url_bytes:
            raise UriTooLong(f"The request target is longer than {self._limits.url_bytes} bytes.", limit=self._limits.url_bytes)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._idle_bytes = 0
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > self._limits.header_bytes:
            raise _headers_too_large(self._limits)
        if not self._begun:
            return  # a trailer: what comes after the body must not become a header of a request already judged
        name = name.lower()
        self.headers.append((name, value))
        if name == b"expect":
            self.expect_100_continue = value.lower() == b"100-continue"
        if len(self.headers) > self._limits.header_count:
            count = self._limits.header_count
            raise HeadersTooLarge(f"The request has more than {count} headers.", code="too_many_headers", limit=count)

    def on_headers_complete(self) -> None:
        self._begun = False
        self._disarm()
        version = self.parser.get_http_version()
        _check_border(self.headers, version, upgrade=self.parser.should_upgrade())
        _check_target(self.url, self.headers)
        self._fill_scope(version)
        self._upgrades = self._is_socket()
        if self._upgrades:
            _check_handshake(self.url, self.headers)
            return
        rests = self._is_at_rest()
        self.cycle = self._new_cycle(version)
        if rests:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _fill_scope(self, version: str) -> None:
        scope = cast(dict[str, Any], self.scope)
        target = httptools.parse_url(self.url)
        path = target.path.decode("ascii")
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["http_version"] = version
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = target.path
        scope["query_string"] = target.query or b""

    def _is_socket(self) -> bool:
        """Whether this request asks for a WebSocket where there may be one, and nothing before it is still being answered."""
        if self.ws_protocol_class is None or not self.parser.should_upgrade() or self.pipeline:
            return False
        wanted = any(name == b"upgrade" and value.lower() == b"websocket" for name, value in self.headers)
        path: str = cast(dict[str, Any], self.scope)["path"]
        return wanted and path.endswith(_SOCKET) and self._is_at_rest()

    def _new_cycle(self, version: str) -> Cycle:
        return Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )

    def on_body(self, body: bytes) -> None:
        self._idle_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._idle_bytes = 0
        if self._upgrades:
            return
        cast(dict[str, Any], self.scope)[ARRIVED] = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        self._unsent.watch()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        if self._refusal is not None:
            self._end_with(self._refusal)
            return
        self._resting_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._rest(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        """Close what has rested long enough. The timer is not set anew for each request, which would cost a microsecond; it
        looks when the connection came to rest last.
        """
        self.timeout_keep_alive_task = None
        if self._begun or not self.cycle.response_complete:
            return  # set again when that request has been answered
        left_s = self._resting_since + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self._rest(left_s)
        elif not self.transport.is_closing():
            self.transport.close()

    def _rest(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def shutdown(self) -> None:
        """Also ends a connection on which a head is still arriving: its request was not accepted."""
        self._disarm()
        super().shutdown()

    def _watch(self) -> None:
        """Start the clock at a head's first byte, and end what never finishes a header."""
        if self._begun and self._header_timer is None:
            self._arm()
        if self._idle_bytes > _LARGEST_READ + self._limits.header_bytes + self._limits.url_bytes:
            self._refuse(_headers_too_large(self._limits))

    def _arm(self) -> None:
        self._header_timer = self.loop.call_later(self._header_timeout_s, self._too_slow)

    def _disarm(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _too_slow(self) -> None:
        self._header_timer = None
        if self._begun:
            self._refuse(
                RequestTimeout(f"The headers did not arrive within {self._header_timeout_s:g} seconds.", code="slow_headers")
            )
        else:
            self.transport.close()

    def _refuse(self, error: BaasError) -> None:
        """Answer and close, behind the answers to what came whole before. Where the last request itself is wrong, and its answer
        has begun or others wait for theirs, the connection just ends.
        """
        self._disarm()
        self._refused_bytes = 0
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            if not cycle.more_body:
                self._refusal = error
                return
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started or self.pipeline:
                self.transport.close()
                self._unsent.watch()
                return
        self._end_with(error)

    def _end_with(self, error: BaasError) -> None:
        self.transport.write(_answer(error))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.close)
        self._unsent.watch()


def _check_border(headers: list[tuple[bytes, bytes]], version: str, *, upgrade: bool) -> None:
    """One Host; one way to tell where the body ends. The parser refuses most of it; this holds whatever its leniencies are."""
    if version not in ("1.0", "1.1"):
        raise BadRequest("This is no HTTP/1.1 request.", code="bad_http")
    names = [name for name, _ in headers]
    if names.count(b"host") != 1:
        raise BadRequest("The request must have exactly one Host header.", code="bad_host")
    lengths, codings = names.count(b"content-length"), names.count(b"transfer-encoding")
    if lengths > 1 or codings > 1 or (lengths and codings):
        raise BadRequest("The request says in two ways where its body ends.", code="ambiguous_length")
    if codings and (
        version != "1.1" or next(value for name, value in headers if name == b"transfer-encoding").lower() != b"chunked"
    ):
        raise BadRequest("The only transfer coding understood is chunked, in HTTP/1.1.", code="bad_transfer_encoding")
    if upgrade and (lengths or codings):
        # The parser takes what follows for another protocol's bytes, or for the next request.
        raise BadRequest("A request with a body cannot ask for an upgrade.", code="bad_upgrade")


def _check_handshake(url: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """What RFC 6455, section 4.2.1, wants of a client that asks for a WebSocket, and `websockets` of the length of lines."""
    if len(url) > _SOCKET_LINE:
        raise UriTooLong(f"The target of a WebSocket may have {_SOCKET_LINE} bytes.", limit=_SOCKET_LINE)
    if len(headers) > _SOCKET_HEADERS or any(len(name) + len(value) > _SOCKET_LINE for name, value in headers):
        raise HeadersTooLarge(
            f"A WebSocket is asked for by at most {_SOCKET_HEADERS} headers of {_SOCKET_LINE} bytes.", limit=_SOCKET_LINE
        )
    keys = [value for name, value in headers if name == b"sec-websocket-key"]
    versions = [value for name, value in headers if name == b"sec-websocket-version"]
    if versions != [b"13"]:
        raise BadRequest(
            "The version of WebSockets spoken here is 13.", code="bad_handshake", headers={"Sec-WebSocket-Version": "13"}
        )
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        raise BadRequest("Sec-WebSocket-Key must be 16 bytes in base64.", code="bad_handshake")


def _check_target(url: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """A path, or a whole address that names the same host as the Host header."""
    if url.startswith(b"/"):
        return
    host = next(value for name, value in headers if name == b"host")
    authority = urlsplit(url.decode("latin-1")).netloc.encode("latin-1")
    if not url.lower().startswith((b"http://", b"https://")) or authority.lower() != host.lower():
        raise BadRequest("The request target must be a path.", code="bad_target")


def _cause(error: BaseException) -> BaasError:
    """What a callback raised, which the parser wraps; anything but a refusal of ours is a target that cannot be read."""
    seen = error.__context__ or error.__cause__
    return seen if isinstance(seen, BaasError) else BadRequest("The request target cannot be read.", code="bad_target")


def _headers_too_large(limits: HeadLimits) -> HeadersTooLarge:
    return HeadersTooLarge(f"The headers are longer than {limits.header_bytes} bytes together.", limit=limits.header_bytes)


def _answer(error: BaasError) -> bytes:
    request_id = str(uuid7())
    logging.getLogger("baas.protocol").debug("refused: %s", error.code)
    status, headers, body = parts(error, request_id=request_id, instance="")
    headers += [(b"x-request-id", request_id.encode()), (b"x-content-type-options", b"nosniff"), (b"connection", b"close")]
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    return f"HTTP/1.1 {status} {_STATUS.get(status, 'Error')}\r\n".encode() + lines + b"\r\n" + body
