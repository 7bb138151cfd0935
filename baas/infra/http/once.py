"""`Idempotency-Key`: a call that is repeated has one effect and one answer.

The key, the effect and the answer are one transaction, so no crash and no cut connection can leave one without the others. Two
calls with one key at the same time: the second waits for the first, in this process without a connection, across processes at
the row of the key.

Answers may hold tokens and secrets: they are sealed under the server's key, for the place they are kept in.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from hashlib import sha256
from hmac import HMAC
from typing import NamedTuple, Protocol

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from baas.base.errors import BaasError, BadRequest, Conflict, Invalid, TooLarge, Unavailable
from baas.base.project import Project
from baas.infra.crypto.secretbox import SecretBox
from baas.infra.db import answers
from baas.infra.db.answers import Kept
from baas.infra.db.joined import Joined
from baas.infra.db.pool import Database, Transaction
from baas.infra.http.body import read_bytes
from baas.infra.http.context import Context
from baas.infra.http.problem import parts, shown_path
from baas.infra.http.routes import Endpoint

HEADER = b"idempotency-key"
_KEY = re.compile(rb"[\x20-\x7e]{1,255}")
_WAIT_S = 3.0
_MOST_SENT = 4 << 20
_MOST_KEPT = 4 << 20
# Who is asking, or how fast, is decided anew each time.
_NOT_KEPT = frozenset({401, 408, 413, 429})
# What else changes the meaning of a call.
_TELLING = (b"content-type", b"if-match", b"if-none-match")
REPLAYED = (b"idempotent-replayed", b"true")
_INSTALLATION = "baas"


def key_of(scope: Scope) -> str | None:
    """The key of a request. Raises BadRequest for one that is none, and for two."""
    given = [value.strip() for name, value in scope["headers"] if name == HEADER]
    if not given:
        return None
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        raise BadRequest(
            "An Idempotency-Key has 1 to 255 printable ASCII characters, and there is one.",
            code="bad_header",
            parameter="Idempotency-Key",
        )
    return str(given[0].decode("ascii"))


class Asked(Protocol):
    """What a call asks for: its endpoint and what answers it."""

    @property
    def endpoint(self) -> Endpoint: ...

    @property
    def app(self) -> ASGIApp: ...


class _Place(NamedTuple):
    """Where an answer is kept: the schema of the project, or of the installation, and whose key it is."""

    schema: str
    caller: str
    key: str

    @staticmethod
    def of(context: Context, key: str, *, beyond: bool = False) -> "_Place":
        project = context.maybe_project
        return _Place(_INSTALLATION if beyond or project is None else project.schema, who(context), key)


class _Shelf:
    """Answers at their places, sealed: who reads the table, or moves its rows, learns and gets nothing."""

    def __init__(self, db: Database, box: SecretBox) -> None:
        self._db = db
        self._box = box

    async def known(self, place: _Place) -> Kept | None:
        return await answers.known(self._db, *place)

    async def keep(self, tx: Transaction, place: _Place, answer: Kept) -> None:
        await answers.keep(tx, *place, answer._replace(body=self._box.seal(answer.body, purpose=_purpose(place))))

    def opened(self, place: _Place, known: Kept, fingerprint: bytes) -> Kept:
        """To whoever asks the same again. Raises Invalid (`idempotency_mismatch`)."""
        if known.fingerprint != fingerprint:
            raise mismatch()
        return known._replace(body=self._box.open(known.body, purpose=_purpose(place)))


class _Known(Exception):
    """Ends a call whose answer turns out to be known, wherever it is; no room takes it for its own."""

    def __init__(self, kept: Kept) -> None:
        super().__init__("answered before")
        self.kept = kept


class _Effect:
    """The transaction of a call, which begins at once or where its room says so."""

    def __init__(self, db: Database, place: _Place, fingerprint: bytes, stack: AsyncExitStack) -> None:
        self._db = db
        self._place = place
        self._fingerprint = fingerprint
        self._stack = stack
        self._begun: tuple[Transaction, Joined] | None = None

    async def begin(self) -> Transaction:
        """Raises _Known when the key has an answer, and Conflict (`idempotency_in_progress`)."""
        if self._begun is None:
            self._begun = await self._stack.enter_async_context(self._db.joined())
            known = await _claim(self._begun[0], self._place, self._fingerprint)
            if known is not None:
                raise _Known(known)
        return self._begun[0]

    async def undo(self) -> None:
        """The call changed nothing after all; the key stays taken."""
        if self._begun is not None:
            await self._begun[1].undo()


class Once:
    """Runs a call once for each key of a principal, and answers every other time with what it answered first."""

    def __init__(self, db: Database, secret: bytes) -> None:
        self._db = db
        self._secret = secret
        self._shelf = _Shelf(db, SecretBox(secret))
        self._running: dict[_Place, asyncio.Event] = {}

    async def run(self, key: str, asked: Asked, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises what the call raises, Invalid (`idempotency_mismatch`) and Conflict (`idempotency_in_progress`)."""
        context = Context.of(scope)
        place = _Place.of(context, key, beyond=asked.endpoint.beyond)
        project = context.maybe_project
        # Before the transaction: a slow client must not hold one open.
        most = max(_MOST_SENT, project.settings.limits.max_json_bytes if project else 0)
        body = await read_bytes(scope, receive, limit=most)
        fingerprint = self._fingerprint(scope, place, body)
        replayed = False
        async with self._turn(place):
            try:
                answer, failure = await self._first(place, fingerprint, asked, scope, _Recorded(body, receive))
            except _Known as known:
                answer, failure, replayed = self._shelf.opened(place, known.kept, fingerprint), None, True
        if failure is not None:
            raise failure
        extra = (REPLAYED,) if replayed else ()
        length = () if answer.status == 204 else ((b"content-length", b"%d" % len(answer.body)),)
        await send({"type": "http.response.start", "status": answer.status, "headers": [*answer.headers, *length, *extra]})
        await send({"type": "http.response.body", "body": answer.body})

    async def _first(
        self, place: _Place, fingerprint: bytes, asked: Asked, scope: Scope, recorded: "_Recorded"
    ) -> tuple[Kept, BaasError | None]:
        """The answer, kept with the effect, and the refusal that it stands for. Raises _Known."""
        failure: BaasError | None = None
        async with AsyncExitStack() as stack:
            effect = _Effect(self._db, place, fingerprint, stack)
            if asked.endpoint.once != "late":
                await effect.begin()
            elif (known := await self._shelf.known(place)) is not None:
                raise _Known(known)
            try:
                with self._db.delayed(effect.begin):
                    await asked.app(scope, recorded.receive, recorded.send)
                answer = recorded.answer(fingerprint)
            except BaasError as error:
                context = Context.of(scope)
                if not _is_kept(error, context):
                    raise
                failure = error
                await effect.undo()
                answer = Kept(fingerprint, *_problem(error, scope, context))
            await self._shelf.keep(await effect.begin(), place, answer)
        return answer, failure

    @asynccontextmanager
    async def streamed(self, scope: Scope, key: str) -> AsyncIterator["Streamed"]:
        """The turn of a call with this key whose body is too large to be held. Raises Conflict (`idempotency_in_progress`)."""
        place = _Place.of(Context.of(scope), key)
        async with self._turn(place):
            known = await self._shelf.known(place)
            yield Streamed(self._db, self._shelf, place, partial(self._fingerprint, scope, place), known)

    async def sweep(self, project: Project) -> int:
        """Forget the answers that are older than a day, the installation's too; their number."""
        return await answers.sweep(self._db, project.schema) + await answers.sweep(self._db, _INSTALLATION)

    def _fingerprint(self, scope: Scope, place: _Place, body: bytes) -> bytes:
        """What was asked, without what may differ between two attempts. Keyed: a body may hold a password."""
        path: str = scope["path"]
        project = Context.of(scope).maybe_project
        if project is not None and place.schema == project.schema:
            path = path.removeprefix(f"/v1/projects/{project.name}")
        query = b"&".join(sorted(scope["query_string"].split(b"&")))
        telling = [b"%b:%b" % pair for pair in sorted(scope["headers"]) if pair[0] in _TELLING]
        whole = HMAC(self._secret, digestmod=sha256)
        for part in (scope["method"].encode(), path.encode("utf-8", "surrogatepass"), query, *telling, body):
            whole.update(b"%d:" % len(part))
            whole.update(part)
        return whole.digest()

    @asynccontextmanager
    async def _turn(self, place: _Place) -> AsyncIterator[None]:
        """Alone in this process with this key. Raises Conflict when the one before takes too long."""
        try:
            async with asyncio.timeout(_WAIT_S):
                while (running := self._running.get(place)) is not None:
                    await running.wait()
        except TimeoutError:
            raise in_progress() from None
        done = self._running[place] = asyncio.Event()
        try:
            yield
        finally:
            del self._running[place]
            done.set()


class Streamed:
    """A call whose body goes somewhere while it is read. Its content is told by a digest; only its effect is kept."""

    def __init__(
        self, db: Database, shelf: _Shelf, place: _Place, fingerprint: Callable[[bytes], bytes], known: Kept | None
    ) -> None:
        self.known = known
        self._db = db
        self._shelf = shelf
        self._place = place
        self._fingerprint = fingerprint

    def again(self, digest: bytes) -> Response:
        """The answer that was given, to whoever sends the same body. Raises Invalid (`idempotency_mismatch`)."""
        assert self.known is not None  # noqa: S101  who asks for it has looked
        return self._replay(self.known, self._fingerprint(digest))

    async def first(self, digest: bytes, write: Callable[[], Awaitable[Response]]) -> Response:
        """Run `write` in one transaction with the key and its answer; where another server has done so meanwhile, that answer.

        Raises what `write` raises, and then nothing is kept: a refusal is judged anew.
        """
        fingerprint = self._fingerprint(digest)
        async with self._db.joined() as (tx, _):
            if (known := await _claim(tx, self._place, fingerprint)) is not None:
                return self._replay(known, fingerprint)
            response = await write()
            headers = tuple((name, value) for name, value in response.raw_headers if name != b"content-length")
            await self._shelf.keep(tx, self._place, Kept(fingerprint, response.status_code, headers, bytes(response.body)))
        return response

    def _replay(self, known: Kept, fingerprint: bytes) -> Response:
        answer = self._shelf.opened(self._place, known, fingerprint)
        response = Response(answer.body, answer.status)
        response.raw_headers += [pair for pair in (*answer.headers, REPLAYED) if pair[0] != b"content-length"]
        return response


class _Recorded:
    """Gives a body that was read already, and keeps the answer instead of sending it."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive
        self._status = 0
        self._headers: tuple[tuple[bytes, bytes], ...] = ()
        self._pieces: list[bytes] = []

    async def receive(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = tuple((name, value) for name, value in message["headers"] if name != b"content-length")
        else:
            self._pieces.append(message.get("body", b""))

    def answer(self, fingerprint: bytes) -> Kept:
        """Raises TooLarge, and so undoes the call, for what is too much to keep."""
        body = b"".join(self._pieces)
        if len(body) > _MOST_KEPT:
            raise TooLarge(
                f"The answer has more than {_MOST_KEPT} bytes, which are not kept for an Idempotency-Key. Write fewer at once.",
                code="answer_too_large",
                limit=_MOST_KEPT,
            )
        return Kept(fingerprint, self._status, self._headers, body)


async def _claim(tx: Transaction, place: _Place, fingerprint: bytes) -> Kept | None:
    try:
        return await answers.claim(tx, *place, fingerprint)
    except Unavailable as error:
        if error.code == "busy":
            raise in_progress() from None
        raise


def _purpose(place: _Place) -> str:
    """Lengths first: no two places are spelled alike."""
    return f"answer {len(place.schema)} {len(place.caller)} {place.schema} {place.caller} {place.key}"


def who(context: Context) -> str:
    """To whom a key belongs."""
    principal = context.principal
    return f"{principal.kind}:{principal.id or context.address}"


def _is_kept(error: BaasError, context: Context) -> bool:
    """Of callers that nobody knows only effects are kept: refusing them must not fill the disk."""
    return 400 <= error.status < 500 and error.status not in _NOT_KEPT and context.principal.kind != "anonymous"


def _problem(error: BaasError, scope: Scope, context: Context) -> tuple[int, tuple[tuple[bytes, bytes], ...], bytes]:
    """As the edge will write it once the error has gone up there."""
    status, headers, body = parts(error, request_id=context.request_id, instance=shown_path(scope))
    return status, tuple(pair for pair in headers if pair[0] != b"content-length"), body


def mismatch() -> Invalid:
    return Invalid(
        "This Idempotency-Key was used for something else within the last 24 hours.",
        code="idempotency_mismatch",
        hint="A new call needs a new key.",
    )


def in_progress() -> Conflict:
    return Conflict(
        "The first call with this Idempotency-Key is still running.",
        code="idempotency_in_progress",
        headers={"Retry-After": "1"},
    )
