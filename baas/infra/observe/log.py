"""Structured events, one line each, and the one redactor that every line passes, other libraries' lines included."""

import asyncio
import logging
import re
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, TextIO

import msgspec

Level = Literal["debug", "info", "warning", "error"]
_LEVELS: Mapping[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_ENCODER = msgspec.json.Encoder(enc_hook=str)
_FLUSH_S = 0.5
_FLUSH_LINES = 200

# Every prefix that `ids.new_token` is called with (a test compares the two lists).
TOKEN_PREFIXES = ("sk", "rt", "opt", "set", "mfa")
_HIDDEN = "[redacted]"
_NAMED = r"(?:password|passwd|passphrase|secret|token|(?:api|private|access)[_-]?key|ticket|code_verifier|credential)"
# Patterns, each group with the texts of which one must be there, in lower case: looking for those costs a hundredth.
_PATTERNS: tuple[tuple[tuple[str, ...], tuple[tuple[re.Pattern[str], str], ...]], ...] = (
    # Headers, as text, as JSON and as pairs of bytes: everything up to the end of the value.
    (
        ("authorization", "cookie", "x-api-key"),
        (
            (
                re.compile(
                    r"""(?i)\b((?:proxy-)?authorization|(?:set-)?cookie|x-api-key)"""
                    r"""(\\*["']?\s*[:=,]\s*(?:b(?=\\*["']))?\\*["']?)[^\r\n"'\\]+"""
                ),
                rf"\1\2{_HIDDEN}",
            ),
        ),
    ),
    (("bearer ", "basic "), ((re.compile(r"(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]{6,}"), rf"\1 {_HIDDEN}"),)),
    # Our own tokens, whole or cut short, and JSON web tokens.
    (
        tuple(f"{prefix}_" for prefix in TOKEN_PREFIXES),
        ((re.compile(rf"(?<![A-Za-z0-9])({'|'.join(TOKEN_PREFIXES)})_[A-Za-z0-9_-]{{16,}}"), rf"\1_{_HIDDEN}"),),
    ),
    (("eyj",), ((re.compile(r"(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){1,4}"), _HIDDEN),)),
    # The password of a database or mail address.
    (("://",), ((re.compile(r"(://[^\s:/@\"']*):[^\s/@]+@"), rf"\1:{_HIDDEN}@"),)),
    (("?", "&"), ((re.compile(r"""(?i)([?&](?:code|state|sig|signature)=)[^&\s"'\\]+"""), rf"\1{_HIDDEN}"),)),
    # Named values in JSON, in JSON inside a JSON string, in Python's repr, and behind an equals sign.
    (
        ("pass", "secret", "token", "_key", "-key", "apikey", "ticket", "code_verifier", "credential"),
        (
            (re.compile(rf"""(?i)({_NAMED}[\w-]*"\s*:\s*)"(?:[^"\\]|\\.)*\""""), rf'\1"{_HIDDEN}"'),
            (re.compile(rf"""(?i)({_NAMED}[\w-]*\\+"\s*:\s*\\+")(?:[^"\\]|\\\\\\.)*"""), rf"\1{_HIDDEN}"),
            (re.compile(rf"""(?i)({_NAMED}[\w-]*'\s*:\s*)(?:'(?:[^'\\]|\\.)*'|\\*"(?:[^"\\]|\\.)*")"""), rf"\1'{_HIDDEN}'"),
            (re.compile(rf"""(?i)({_NAMED}[\w-]*\s*=\s*)(?:'[^']*'|\\*"[^"\\]*\\*"|[^\s,;&"'\\)\]}}]+)"""), rf"\1{_HIDDEN}"),
        ),
    ),
)


def redact(text: str) -> str:
    """The text without credentials: headers, tokens, passwords, secrets in addresses and query strings."""
    lower = text.lower()
    for needles, patterns in _PATTERNS:
        for needle in needles:
            if needle in lower:
                for pattern, replacement in patterns:
                    text = pattern.sub(replacement, text)
                break
    return text


class Log:
    """Writes events to one stream, as JSON lines or for a person's eye. Access lines are held back up to half a second."""

    def __init__(self, stream: TextIO, *, level: Level = "info", shape: Literal["json", "text"] = "json") -> None:
        self._stream = stream
        self._level = _LEVELS[level]
        self._json = shape == "json"
        self._held: list[str] = []
        self._timer: asyncio.TimerHandle | None = None

    def debug(self, event: str, **facts: object) -> None:
        self._write("debug", event, facts, None)

    def info(self, event: str, **facts: object) -> None:
        self._write("info", event, facts, None)

    def warning(self, event: str, *, error: BaseException | None = None, **facts: object) -> None:
        self._write("warning", event, facts, error)

    def error(self, event: str, *, error: BaseException | None = None, **facts: object) -> None:
        """Something that a person should look at; `error` adds its stack."""
        self._write("error", event, facts, error)

    @property
    def is_for_programs(self) -> bool:
        """Whether every line must be JSON: it was asked for, and no person sits at the other end."""
        return self._json and not self._stream.isatty()

    def announce(self, event: str, text: str, *, level: Level = "info", **facts: object) -> None:
        """What whoever started the server is told whatever the level is: a sentence for a person, an event for programs."""
        self._put(redact(self._announcement(event, text, level, facts)))

    def hand_over(self, event: str, text: str, **facts: object) -> None:
        """As `announce`, and whole: a one-time secret meant for whoever reads it here. The one way past the redactor."""
        self._put(self._announcement(event, text, "info", facts))

    def access(self, facts: Mapping[str, object]) -> None:
        """One served request; needs a running loop. Lines leave together, in one write."""
        if self._level > _LEVELS["info"]:
            return
        self._held.append(self._line("info", "request", facts))
        if len(self._held) >= _FLUSH_LINES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_S, self.flush)

    def flush(self) -> None:
        """Write what is held back; the server calls it last when it stops."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        held, self._held = self._held, []
        if held:
            self._put("".join(map(redact, held)))

    def adopt_standard_logging(self) -> logging.Handler:
        """Route the standard library's logging (uvicorn, asyncio, drivers) through here, and so through the redactor."""
        handler = _Adopted(self)
        root = logging.getLogger()
        root.handlers[:] = [handler]
        root.setLevel(max(self._level, logging.INFO))
        return handler

    def _write(self, level: Level, event: str, facts: Mapping[str, object], error: BaseException | None) -> None:
        if _LEVELS[level] < self._level:
            return
        if error is not None:
            stack = "".join(traceback.format_exception(error))
            facts = {**facts, "error": type(error).__name__, "stack": stack}
        self._put(redact(self._line(level, event, facts)))

    def _announcement(self, event: str, text: str, level: Level, facts: Mapping[str, object]) -> str:
        return self._line(level, event, {"message": text, **facts}) if self.is_for_programs else f"baas: {text}\n"

    def _line(self, level: str, event: str, facts: Mapping[str, object]) -> str:
        at = datetime.now(UTC).isoformat(timespec="microseconds")[:26] + "Z"
        if self._json:
            return _ENCODER.encode({"at": at, "level": level, "event": event, **facts}).decode() + "\n"
        shown = " ".join(f"{name}={_readable(value)}" for name, value in facts.items() if name != "stack" and value is not None)
        stack = facts.get("stack")
        return f"{at[11:23]} {level:<7} {event} {shown}\n" + (f"{stack}\n" if stack else "")

    def _put(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            # A closed pipe or a full disk must not end a request; there is nowhere left to say so.
            return


class _Adopted(logging.Handler):
    """Hands records of the standard library's logging to the Log."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = str(record.msg)
        facts = {"logger": record.name, "message": message}
        error = record.exc_info[1] if record.exc_info else None
        if record.levelno >= logging.ERROR:
            self._log.error("log", error=error, **facts)
        elif record.levelno >= logging.WARNING:
            self._log.warning("log", error=error, **facts)
        elif record.levelno >= logging.INFO:
            self._log.info("log", **facts)
        else:
            self._log.debug("log", **facts)


def _readable(value: object) -> str:
    """A value on a line for a person: no line breaks, quoted when it holds a space."""
    text = str(value).replace("\n", "\\n").replace("\r", "\\r")
    return f'"{text}"' if " " in text else text
