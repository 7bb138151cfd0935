"""A TCP relay that fails when it is told to: cut after so many bytes in one direction, stalled, or gone."""

import asyncio
import contextlib
import socket
import struct
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

Direction = Literal["up", "down"]
"""`up` is from the client to the server."""


class Proxy:
    """Relays to `target`, a host and port or the path of a socket, from a port of its own on the loopback."""

    def __init__(self, target: tuple[str, int] | str) -> None:
        self._target = target
        self._left: dict[Direction, int | None] = {"up": None, "down": None}
        self._open: set[asyncio.StreamWriter] = set()
        self._relays: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.port = 0
        self.cuts = 0
        self.passed: dict[Direction, int] = {"up": 0, "down": 0}
        """Bytes relayed so far, of all connections."""

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut_all()
        for relay in self._relays:
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)

    def cut_after(self, direction: Direction, count: int) -> None:
        """Let `count` more bytes pass in this direction, whoever sends them, then reset the connection they came on. Once."""
        self._left[direction] = count

    def let_be(self) -> None:
        """Cut nothing, and let what is stalled go on."""
        self._left = {"up": None, "down": None}
        self._flowing.set()

    def stall(self) -> None:
        """Relay nothing until `let_be`; the connections stay."""
        self._flowing.clear()

    def cut_all(self) -> None:
        """Reset every connection there is now."""
        for writer in tuple(self._open):
            _reset(writer)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if isinstance(self._target, str):
                server_reader, server_writer = await asyncio.open_unix_connection(self._target)
            else:
                server_reader, server_writer = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(writer)
            return
        pair = (writer, server_writer)
        self._open.update(pair)
        relays = [
            asyncio.create_task(self._relay(reader, server_writer, "up", pair)),
            asyncio.create_task(self._relay(server_reader, writer, "down", pair)),
        ]
        self._relays.update(relays)
        await asyncio.gather(*relays, return_exceptions=True)
        self._relays.difference_update(relays)
        self._open.difference_update(pair)

    async def _relay(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        direction: Direction,
        pair: tuple[asyncio.StreamWriter, ...],
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(64 * 1024):
                await self._flowing.wait()
                left = self._left[direction]
                if left is not None and len(data) >= left:
                    self._left[direction] = None
                    self.cuts += 1
                    writer.write(data[:left])
                    await writer.drain()
                    break
                if left is not None:
                    self._left[direction] = left - len(data)
                self.passed[direction] += len(data)
                writer.write(data)
                await writer.drain()
        for one in pair:
            _reset(one)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Gone without a word. What was written just before still arrives where the system has passed it on already."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
    writer.transport.abort()


def target_of(url: str) -> tuple[str, int] | str:
    """Where a database URL leads: a host and port, or the path of PostgreSQL's socket."""
    place = urlsplit(url).netloc.rpartition("@")[2]
    host, _, port = place.rpartition(":")
    host = unquote(host)
    return f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, int(port))


def through(url: str, port: int, **options: str) -> str:
    """The URL of the same database by way of a proxy at this port."""
    parts = urlsplit(url)
    login = parts.netloc.rpartition("@")[0]
    query = urlencode({**dict(parse_qsl(parts.query)), "sslmode": "disable", **options})
    return urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{port}", query=query))
