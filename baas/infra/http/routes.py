"""A room's table of endpoints: each names its policy, and one table makes the router, the checks and the API document."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from baas.base.errors import Forbidden, Unauthenticated
from baas.base.principal import Principal
from baas.base.project import Project

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
MATCH = ("If-Match",)
BOTH = ("If-Match", "If-None-Match")
Handler = Callable[[Request], Awaitable[Response]]
Once = Literal["whole", "late", "own", "same"]
"""How a call that changes something honours an Idempotency-Key.

whole: the call is one transaction, with the key and the answer in it. late: that begins where the room says so
(`Database.begin`), because it hashes passwords or counts attempts before. own: the room sees to it (`infra/http/once.py`,
`streamed`). same: it has one effect and one answer however often it comes, so a key adds nothing.
"""


@dataclass(frozen=True, slots=True)
class Policy:
    """Who may call an endpoint at all; what they then see is the rules' business.

    anyone: the rules (or nothing) decide. user: a signed-in user of the project. scope: operators, and keys with the scope.
    operator: operators alone.
    """

    who: Literal["anyone", "user", "scope", "operator"]
    scope: str = ""

    def __post_init__(self) -> None:
        if (self.who == "scope") != bool(self.scope):
            raise ValueError(f"a policy of {self.who!r} with the scope {self.scope!r}")

    def admit(self, principal: Principal) -> None:
        """Raises Unauthenticated for anonymous callers and Forbidden for known ones that the policy does not admit."""
        match self.who:
            case "anyone":
                return
            case "user":
                allowed = principal.kind == "user"
            case "scope":
                allowed = principal.may(self.scope)
            case "operator":
                allowed = principal.kind == "operator"
        if allowed:
            return
        if principal.kind == "anonymous":
            raise Unauthenticated("This needs a credential.")
        if self.who == "scope" and principal.kind == "key":
            raise Forbidden(f"This key lacks the scope {self.scope!r}.", code="scope_missing", scope=self.scope)
        raise Forbidden("This is not for your kind of account.")


ANYONE = Policy("anyone")
USER = Policy("user")
OPERATOR = Policy("operator")


def scope(name: str) -> Policy:
    """Operators, and secret keys that hold the scope."""
    return Policy("scope", name)


@dataclass(frozen=True, slots=True)
class Body:
    """How a request or response body looks in the API document: a JSON Schema (2020-12) and its media type."""

    schema: Mapping[str, object]
    content_type: str = "application/json"
    description: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """One method on one path. `path` is Starlette's form, from `/v1/…`; `{project}` in it has the project resolved first.

    `handle` takes a Request; `app` is a plain ASGI callable instead, for the hot routes, where Request and Response objects
    cost too much. Exactly one of them is given.
    """

    method: Method
    path: str
    policy: Policy
    summary: str
    handle: Handler | None = None
    app: ASGIApp | None = None
    tag: str = ""
    query: Mapping[str, Mapping[str, object]] = dataclass_field(default_factory=dict)
    request: Body | None = None
    responses: Mapping[int, Body | None] = dataclass_field(default_factory=dict)
    streams: bool = False
    """The body is read or written in pieces by the room: it may take the upload time, and does not hold a place at work."""
    lasting: bool = False
    """The answer goes on until the client leaves. The room counts these itself: they hold no place and have no deadline."""
    socket: ASGIApp | None = None
    """What answers a WebSocket at this address; the policy is its own business, because the credential comes in a message."""
    page: bool = False
    """A document of our own, or a part of one: answered with the headers of pages, not with those of data."""
    vital: bool = False
    """Served even when the server is full: health, sign-out, refresh."""
    once: Once = "whole"
    """How it honours an Idempotency-Key, where it changes something."""
    asks: bool = False
    """Changes nothing, whatever its method says: a question that is too long for a URL. A key means nothing to it."""
    conditions: tuple[str, ...] = ()
    """Which of `If-Match` and `If-None-Match` it judges, where it changes something; the router refuses the others."""
    beyond: bool = False
    """It changes the project itself: its answers are kept outside of it, and given though it is gone or has another name."""

    @property
    def changes(self) -> bool:
        """Whether it may change something, so that an Idempotency-Key means something to it."""
        return self.method not in ("GET", "HEAD") and not self.asks

    def __post_init__(self) -> None:
        if not isinstance(self.policy, Policy):
            raise TypeError(f"{self.method} {self.path} names no policy")
        if (self.handle is None) == (self.app is None):
            raise ValueError(f"{self.method} {self.path} needs exactly one of handle and app")


Resolve = Callable[[str], Awaitable[Project | None]]
"""Project by name, from memory; None when there is none."""
Authenticate = Callable[[str, Project | None], Awaitable[Principal]]
"""Principal of a bearer credential in a project (or none); raises Unauthenticated for a bad, expired or foreign one."""
