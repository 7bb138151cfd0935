"""How a client reaches its server: fixed when it is made, changed only into another client."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import urlsplit

from baas_sdk.errors import ConfigError
from baas_sdk.logs import listen_as_asked
from baas_sdk.wire import segment

TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 5.0
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Options:
    """`url` has no slash at its end. Without a `project` the short paths are used, which a project's own host understands."""

    url: str
    project: str | None
    timeout_s: float = TIMEOUT_S
    max_retries: int = 2
    headers: Mapping[str, str] = field(default_factory=lambda: _NOTHING)

    @property
    def scope(self) -> str:
        """The address of the project, under which its session is stored."""
        return self.url + self.path_of("")

    def path_of(self, path: str) -> str:
        """A path of the project (`collections/todos`) as one of the server."""
        base = f"/v1/projects/{segment(self.project)}" if self.project is not None else "/v1"
        return f"{base}/{path}" if path else base


def options_of(url: str | None, project: str | None, timeout: float | None, max_retries: int) -> Options:
    """From a client's arguments and, for what they leave out, `BAAS_URL` and `BAAS_PROJECT`; `BAAS_LOG` begins to count.

    Raises:
        ConfigError: there is no address, or it is none; `BAAS_LOG` is no level.
    """
    listen_as_asked()
    address = url or os.environ.get("BAAS_URL")
    if not address:
        raise ConfigError('Where is the server? Client("http://127.0.0.1:8000"), or set BAAS_URL.')
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ConfigError(f"{address!r} is no address of a server, like https://baas.example.com.")
    if parts.username or parts.password:
        raise ConfigError("The address carries a password; credentials go to key= or token=.")
    if max_retries < 0:
        raise ConfigError("max_retries counts from 0.")
    name = project or os.environ.get("BAAS_PROJECT") or None
    return Options(address.rstrip("/"), name, TIMEOUT_S if timeout is None else timeout, max_retries)


def credential_of(key: str | None, token: str | None) -> str | None:
    """The one bearer credential of a client, or None for a client that signs in; `BAAS_KEY` stands for a missing `key`.

    Raises:
        ConfigError: a key and a token at once, or one that no header can carry.
    """
    if key and token:
        raise ConfigError("A client is one caller: give key= or token=, not both.")
    credential = key or token or os.environ.get("BAAS_KEY") or None
    if credential is not None and not (credential.isascii() and credential.isprintable() and " " not in credential):
        raise ConfigError("The key or token holds characters that none of ours has; was something else pasted?")
    return credential
