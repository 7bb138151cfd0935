"""What the client tells of its calls in the log `baas_sdk`: a line of each at INFO, what was sent and came back at DEBUG.

No credential is in any line: headers and members that hold one are dots, and so is what looks like a token of ours.
"""

import json
import logging
import os
import re
from collections.abc import Mapping
from typing import Any

from baas_sdk.errors import ConfigError

LOG = logging.getLogger("baas_sdk")
_LEVELS = ("debug", "info", "warning", "error")
_DOTS = "•••"
_SECRET_HEADERS = ("authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key")
_SECRET_NAME = re.compile(r"(?i)passw|passphrase|secret|token|ticket|credential|api_?key|private_?key|^key$")
_TOKEN = re.compile(r"(?<![A-Za-z0-9])(?:(?:sk|rt|opt|set|mfa)_[A-Za-z0-9_-]{16,}|eyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){1,4})")
_MOST_CHARS = 4000


def listen_as_asked() -> None:
    """With `BAAS_LOG=debug` (or another level) the log goes to stderr, unless the program handles it already.

    Raises:
        ConfigError: there is no such level.
    """
    level = os.environ.get("BAAS_LOG")
    if not level:
        return
    if level.lower() not in _LEVELS:
        raise ConfigError(f"BAAS_LOG is {level!r}, but must be one of {', '.join(_LEVELS)}.")
    LOG.setLevel(level.upper())
    if not LOG.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
        LOG.addHandler(handler)


def tell(direction: str, headers: Mapping[str, str], content: bytes | None) -> None:
    """Headers and body of a request (`>`) or an answer (`<`), at DEBUG; a body of None is one that streams by."""
    if not LOG.isEnabledFor(logging.DEBUG):
        return
    for name, value in headers.items():
        LOG.debug("%s %s: %s", direction, name, _DOTS if name.lower() in _SECRET_HEADERS else _without_tokens(value))
    if content:
        LOG.debug("%s %s", direction, _body(content))


def target(path: str, params: Mapping[str, str]) -> str:
    """The path with its parameters, for a line."""
    shown = "&".join(f"{name}={_DOTS if _SECRET_NAME.search(name) else value}" for name, value in params.items())
    return _without_tokens(f"{path}?{shown}" if shown else path)


def _body(content: bytes) -> str:
    try:
        text = json.dumps(_hidden(json.loads(content)), ensure_ascii=False)
    except ValueError:
        return f"({len(content)} bytes that are no JSON)"
    text = _without_tokens(text)
    return text if len(text) <= _MOST_CHARS else f"{text[:_MOST_CHARS]}… ({len(text)} characters)"


def _hidden(value: Any) -> Any:
    """The same JSON with dots for what its name calls a secret."""
    if isinstance(value, dict):
        return {name: _DOTS if one and _SECRET_NAME.search(name) else _hidden(one) for name, one in value.items()}
    return [_hidden(one) for one in value] if isinstance(value, list) else value


def _without_tokens(text: str) -> str:
    return _TOKEN.sub(_DOTS, text)
