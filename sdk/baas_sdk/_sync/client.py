# Made from _async/client.py by sdk/unasync.py; change that one.
"""The client: where the server is, who calls, and the parts of the API by name."""

from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, overload

import httpx2

from baas_sdk._sync.admin import (
    Buckets,
    Collections,
    Keys,
    Operators,
    Projects,
    Settings,
    SigningKeys,
)
from baas_sdk._sync.auth import Auth, Users
from baas_sdk._sync.batch import Batch
from baas_sdk._sync.channels import Channel
from baas_sdk._sync.credentials import Credentials
from baas_sdk._sync.files import Bucket
from baas_sdk._sync.records import Collection
from baas_sdk._sync.rules import Rules
from baas_sdk._sync.sites import Sites
from baas_sdk._sync.transport import Transport, Call
from baas_sdk.errors import ConfigError
from baas_sdk.models import Record, TModel
from baas_sdk.options import Options, credential_of, options_of
from baas_sdk.stores import MemoryStore, Store
from baas_sdk.typed import named_reader
from baas_sdk.wire import encode

_KEEP_ALIVE_S = 4.0
"""Less than the five seconds after which servers close idle connections, so that none is used while it closes."""


class Client:
    """One caller of one project.

    Without `key` and `token` the caller is anonymous until `auth.sign_in`. `http_client` is used and left open if given.

    Raises:
        ConfigError: there is no address, or the credential is none.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        project: str | None = None,
        key: str | None = None,
        token: str | None = None,
        timeout: float | None = None,
        max_retries: int = 2,
        http_client: httpx2.Client | None = None,
        store: Store | None = None,
    ) -> None:
        options = options_of(url, project, timeout, max_retries)
        credentials = Credentials(store or MemoryStore(), options.scope, credential_of(key, token))
        limits = httpx2.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=_KEEP_ALIVE_S)
        self._owned = http_client is None
        self._assemble(Transport(options, http_client or httpx2.Client(limits=limits), credentials))

    def _assemble(self, transport: Transport) -> None:
        self._transport = transport
        self.auth = Auth(transport)
        self.users = Users(transport)
        self.collections = Collections(transport)
        self.rules = Rules(transport)
        self.buckets = Buckets(transport)
        self.sites = Sites(transport)
        self.keys = Keys(transport)
        self.signing_keys = SigningKeys(transport)
        self.settings = Settings(transport)
        self.projects = Projects(transport)
        self.operators = Operators(transport)

    @property
    def url(self) -> str:
        """The server's address."""
        return self._transport.options.url

    @property
    def project(self) -> str | None:
        """The project's name; None where the host stands for it."""
        return self._transport.options.project

    @overload
    def collection(self, what: str) -> Collection[Record]: ...
    @overload
    def collection(self, what: type[TModel]) -> Collection[TModel]: ...
    def collection(self, what: str | type[Any]) -> Collection[Any]:
        """The records of a collection: by name, or as instances of your own class with a `__collection__`.

        Raises:
            ConfigError: the class is no model.
        """
        return Collection(self._transport, *named_reader(what))

    def batch(self) -> Batch:
        """Several writes as one: `with client.batch() as batch:` sends them at the end of the block, all or none."""
        return Batch(self._transport)

    def channel(self, name: str) -> Channel:
        """What clients say to each other, and who is there: `with client.channel("room:1")`. Needs `baas-sdk[ws]`."""
        return Channel(self._transport, name)

    def bucket(self, name: str) -> Bucket:
        """The files of a bucket."""
        return Bucket(self._transport, name)

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """Any call of the API, with this client's credential, time-outs and errors; `path` is from the root: `/v1/…`.

        A write has an Idempotency-Key, its own or the one in `headers`, and is repeated as every call.

        Raises: as every call.
        """
        if not path.startswith("/") or path.startswith("//"):
            raise ConfigError("The path starts at the server's root, with one slash: /v1/….")
        content, kind = (b"", {}) if body is None else (encode(body), {"Content-Type": "application/json"})
        return self._transport.send(
            Call(
                method.upper(),
                path,
                params=params or {},
                content=content,
                headers={**kind, **(headers or {})},
            )
        )

    def with_options(
        self, *, timeout: float | None = None, max_retries: int | None = None, headers: Mapping[str, str] | None = None
    ) -> "Client":
        """The same caller with other time-outs, retries or extra headers; connections and session are shared."""
        held = self._transport.options
        options = replace(
            held,
            timeout_s=held.timeout_s if timeout is None else timeout,
            max_retries=held.max_retries if max_retries is None else max_retries,
            headers={**held.headers, **(headers or {})},
        )
        return self._clone(options, self._transport.credentials)

    def as_user(self, token: str) -> "Client":
        """Another caller over the same connections: no session is kept or shared, so a server can make one per request."""
        options = self._transport.options
        return self._clone(options, Credentials(MemoryStore(), options.scope, credential_of(None, token)))

    def in_project(self, name: str) -> "Client":
        """The same key or token in another project, over the same connections; a user's session stays behind."""
        options = replace(self._transport.options, project=name)
        fixed = self._transport.credentials.fixed
        return self._clone(options, Credentials(MemoryStore(), options.scope, fixed))

    def _clone(self, options: Options, credentials: Credentials) -> "Client":
        clone = object.__new__(type(self))
        clone._owned = False
        clone._assemble(Transport(options, self._transport.http, credentials))
        return clone

    def close(self) -> None:
        """Closes the connections, unless they are somebody else's."""
        if self._owned:
            self._transport.http.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
