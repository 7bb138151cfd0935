"""The only door to the network: one call in, one answer or one of our errors out; retries, time-outs and renewal inside."""

import random
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import httpx2

from baas_sdk._async.compat import sleep
from baas_sdk._async.credentials import AsyncCredentials
from baas_sdk.errors import APIError, BaasError, ConfigError, ConnectionFailed, NotAuthenticated, TimedOut, error_of
from baas_sdk.ids import uuid7
from baas_sdk.logs import LOG, target, tell
from baas_sdk.models import Session, utc_now
from baas_sdk.options import CONNECT_TIMEOUT_S, Options
from baas_sdk.retry import wait_s
from baas_sdk.wire import encode

_NOTHING: Mapping[str, str] = MappingProxyType({})
_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)

Content = bytes | Callable[[], AsyncIterable[bytes]]
"""A body: bytes, or a function that gives the stream from its start."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request as the caller means it, however often it is sent.

    `path` starts with a slash. `replays` is False for a stream that can be read once only. `silence_s` is how long an answer
    may say nothing, where that is not the client's time-out. `asks`: it changes nothing, whatever its method says.
    """

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    content: Content = b""
    headers: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    asks: bool = False
    replays: bool = True
    anonymous: bool = False
    silence_s: float | None = None


class AsyncTransport:
    """Sends calls. Clients made from one another share the pool `http` and, mostly, the credentials."""

    def __init__(self, options: Options, http: httpx2.AsyncClient, credentials: AsyncCredentials) -> None:
        self.options = options
        self.http = http
        self.credentials = credentials

    async def json(self, method: str, path: str, body: object = None, **call: Any) -> Any:
        """A call with a JSON body (none for None), answered by JSON (None for an empty answer). `call` is as in `Call`."""
        content, headers = (b"", {}) if body is None else (encode(body), {"Content-Type": "application/json"})
        headers |= call.pop("headers", _NOTHING)
        return parsed(await self.send(Call(method, path, content=content, headers=headers, **call)))

    async def send(self, call: Call) -> httpx2.Response:
        """The whole answer, read.

        Raises: APIError by its status, ConnectionFailed, TimedOut, ConfigError.
        """
        response = await self._answered(_prepared(call))
        try:
            await response.aread()
        finally:
            await response.aclose()
        tell("<", {}, response.content)
        return response

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[httpx2.Response]:
        """The answer with its body still to be read, piece by piece; closed at the end.

        Raises: as `send`; while the body is read, ConnectionFailed and TimedOut.
        """
        response = await self._answered(_prepared(call))
        try:
            with translated(self.options.url):
                yield response
        finally:
            await response.aclose()

    async def token(self) -> str | None:
        """The credential to show now, renewed when it ends soon; None for an anonymous caller."""
        return await self.credentials.token(self._exchange)

    async def renew(self, stale: str) -> bool:
        """Renews the session that `stale` is the access token of; whether there is a newer one now.

        Raises:
            NotAuthenticated: the server ended the session.
        """
        return await self.credentials.renew(stale, self._exchange)

    async def _answered(self, call: Call) -> httpx2.Response:
        attempt, renewed = 0, False
        while True:
            token = None if call.anonymous else await self.credentials.token(self._exchange)
            try:
                return await self._once(call, token)
            except BaasError as error:
                if isinstance(error, NotAuthenticated) and token is not None and call.replays and not renewed:
                    renewed = True
                    if await self.renew(token):
                        continue
                pause = wait_s(error, attempt=attempt, dice=random.random)
                if pause is None or attempt >= self.options.max_retries or not call.replays:
                    raise
                attempt += 1
                LOG.info("%s %s again in %.2f s: %s", call.method, call.path, pause, error)
                await sleep(pause)

    async def _once(self, call: Call, token: str | None) -> httpx2.Response:
        """One attempt: the answer with its body unread, or the error it means, with nothing left open."""
        headers = {"Accept": "application/json", **self.options.headers, **call.headers}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        content = call.content if isinstance(call.content, bytes) else call.content()
        with translated(self.options.url):
            request = self.http.build_request(
                call.method,
                self.options.url + call.path,
                params=dict(call.params) or None,
                content=content,
                headers=headers,
                timeout=self._timeout(call),
            )
            begun = time.perf_counter()
            tell(">", request.headers, content if isinstance(content, bytes) else None)
            response = await self.http.send(request, stream=True, follow_redirects=False)
        took, request_id = (time.perf_counter() - begun) * 1000, response.headers.get("X-Request-Id")
        where = target(call.path, call.params)
        LOG.info("%s %s -> %s in %.0f ms (request %s)", call.method, where, response.status_code, took, request_id)
        tell("<", response.headers, None)
        if response.status_code < 300 or response.status_code == 304:
            return response
        try:
            with translated(self.options.url):
                content = await response.aread()
        finally:
            await response.aclose()
        tell("<", {}, content)
        raise self._refusal(call, response, content)

    def _timeout(self, call: Call) -> httpx2.Timeout:
        whole = self.options.timeout_s
        return httpx2.Timeout(whole, connect=min(CONNECT_TIMEOUT_S, whole), read=call.silence_s or whole)

    def _refusal(self, call: Call, response: httpx2.Response, content: bytes) -> APIError:
        error = error_of(response.status_code, response.headers, content)
        if response.is_redirect:
            error.detail = f"The server sent us to {response.headers.get('Location')!r}; use that address if it is yours."
        elif response.status_code == 404 and self.options.project is None and not call.path.startswith("/v1/projects"):
            error.facts = {"hint": 'No project was named: Client(url, project="…"), or set BAAS_PROJECT.', **error.facts}
        return error

    async def _exchange(self, refresh_token: str) -> Session:
        """Repeatable as every call, so a lost answer does not lose the session."""
        path = self.options.path_of("auth/refresh")
        answer = await self.json("POST", path, {"refresh_token": refresh_token}, anonymous=True)
        return Session.of_answer(answer, now=utc_now())


def parsed(response: httpx2.Response) -> Any:
    """The JSON of an answer; None when it has no body.

    Raises:
        ConnectionFailed: the answer is no JSON, so something between us and the server spoke.
    """
    if not response.content:
        return None
    try:
        return response.json()
    except ValueError as error:
        raise ConnectionFailed("The answer is no JSON; is this the address of a baas server?") from error


class translated:  # noqa: N801  # reads as the word it is, like contextlib.suppress
    """Turns the errors of httpx2 in its block into ours."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, httpx2.TimeoutException):
            sent = not isinstance(error, _NEVER_SENT)
            raise TimedOut(f"{self._url} did not answer in time ({type(error).__name__}).", sent=sent) from error
        if isinstance(error, httpx2.InvalidURL | httpx2.UnsupportedProtocol | httpx2.LocalProtocolError):
            raise ConfigError(f"The request cannot be sent: {error}") from error
        if isinstance(error, httpx2.RequestError):
            reason = str(error) or type(error).__name__
            raise ConnectionFailed(f"{self._url} cannot be reached: {reason}", sent=not isinstance(error, _NEVER_SENT)) from error


def _prepared(call: Call) -> Call:
    """Reads may always be repeated; a write has the same Idempotency-Key on each attempt."""
    given = any(name.lower() == "idempotency-key" for name in call.headers)
    if call.method in ("GET", "HEAD") or call.asks or given:
        return call
    return replace(call, headers={"Idempotency-Key": uuid7(), **call.headers})
