"""A server that answers by a script, and both clients on it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from baas_sdk import AsyncClient, Client


@dataclass
class Seen:
    """A request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    """What to answer. `cut` closes the connection without a word, after `cut_after` bytes of the body if that is given."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    cut_after: int | None = None
    delay_s: float = 0.0


Rule = Callable[[Seen], Reply] | Reply


class ScriptedServer:
    """Takes the next rule of the script for each request; the last one stays."""

    def __init__(self) -> None:
        self.script: list[Rule] = [Reply()]
        self.seen: list[Seen] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        seen = Seen(method, target, headers, await self._body(reader, headers))
        self.seen.append(seen)
        rule = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        reply = rule(seen) if callable(rule) else rule
        await asyncio.sleep(reply.delay_s)
        if reply.cut:
            return False
        body = reply.body if isinstance(reply.body, bytes) else b"" if reply.body is None else json.dumps(reply.body).encode()
        lines = [f"HTTP/1.1 {reply.status} X", f"Content-Length: {len(body)}", *(f"{n}: {v}" for n, v in reply.headers.items())]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        writer.write(b"" if method == "HEAD" else body[: reply.cut_after])
        await writer.drain()
        return reply.cut_after is None

    @staticmethod
    async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
        if "content-length" in headers:
            return await reader.readexactly(int(headers["content-length"]))
        pieces = b""
        while headers.get("transfer-encoding") == "chunked":
            size = int(await reader.readline(), 16)
            pieces += (await reader.readexactly(size + 2))[:-2]
            if size == 0:
                break
        return pieces


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    yield server
    listening.close()


class Twin:
    """Runs one scenario on the sync or on the async client: `await twin(lambda c: c.collection("a").get("1"))`."""

    def __init__(self, kind: str) -> None:
        self.is_async = kind == "async"
        self._clients: list[Any] = []

    def client(self, url: str, **options: Any) -> Any:
        made = (AsyncClient if self.is_async else Client)(url, **{"project": "p", **options})
        self._clients.append(made)
        return made

    async def __call__(self, act: Callable[[], Any]) -> Any:
        """The result of a call, whichever kind it is; lists what it iterates."""
        if not self.is_async:
            return await asyncio.to_thread(lambda: _listed(act()))
        result = act()
        if isinstance(result, AsyncIterator):
            return [one async for one in result]
        return await result if isinstance(result, Awaitable) else result

    async def close(self) -> None:
        for client in self._clients:
            await self(client.aclose if self.is_async else client.close)


def _listed(result: Any) -> Any:
    return list(result) if isinstance(result, Iterator) else result


@pytest.fixture(params=["sync", "async"])
async def twin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Twin]:
    """Both clients in turn; without pauses between attempts, and without a variable of the environment."""
    for name in ("BAAS_URL", "BAAS_PROJECT", "BAAS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("random.random", lambda: 0.0)
    made = Twin(request.param)
    yield made
    await made.close()
