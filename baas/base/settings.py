"""Every setting of the server: name, default, unit, help. Flags win over `BAAS_*`, those over the file, those over the default.

A setting `name` is the flag `--name` where a command offers one, `BAAS_NAME` in the environment, and the key `name` of the file.
Secrets may come from a file instead, named by `BAAS_NAME_FILE`. What a project's owner may change is no setting; it is stored.
"""
# ruff: noqa: RUF009  `setting` is `dataclasses.field` with its metadata, no value shared between instances

import ipaddress
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from baas.base.errors import did_you_mean

KIB, MIB = 1024, 1024**2
_DAY_S = 24 * 3600
_PREFIX = "BAAS_"
# Read by the command line tool and the client; the server shares the environment and must not trip over them.
_OTHERS = "CONFIG CONFIG_DIR URL KEY TOKEN PROJECT PROFILE OUTPUT TIMEOUT NO_INPUT LOG"
_NOT_OURS = frozenset(f"{_PREFIX}{name}" for name in _OTHERS.split())
_TEST_PREFIX = "BAAS_TEST_"
_KNOWN_SECRETS = ("changeme", "change-me", "change_me", "secret", "password", "example", "insecure", "default")


class Secret:
    """A text that does not show itself: `repr`, `str` and formatting give dots, `reveal()` gives the text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __repr__(self) -> str:
        return "Secret(•••)" if self._text else "Secret()"

    __str__ = __repr__

    def __reduce__(self) -> Any:
        raise TypeError("a secret is not pickled")


@dataclass(frozen=True, slots=True)
class About:
    """What is known of one setting besides its type and default."""

    help: str
    unit: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    one_of: tuple[str, ...] = ()
    check: Callable[[Any], str | None] | None = None


def setting(
    default: Any,
    help: str,  # noqa: A002  the word the reader looks for
    *,
    unit: str | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    one_of: tuple[str, ...] = (),
    check: Callable[[Any], str | None] | None = None,
) -> Any:
    """A field of `Settings`. `check` gives a complaint in plain words, or None."""
    return field(default=default, metadata={"about": About(help, unit, at_least, at_most, one_of, check)})


def _complain_about_networks(values: Iterable[str]) -> str | None:
    for value in values:
        try:
            ipaddress.ip_network(value, strict=False)
        except ValueError:
            return f"{value!r} is no address or network, such as 10.0.0.1 or 10.0.0.0/8"
    return None


def _complain_about_url(value: str | None) -> str | None:
    parts = urlsplit(value or "http://unset")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "it must be a whole address, such as https://api.example.com"
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username:
        return "it must end after the host and port, without a path"
    return None


def _complain_about_database(value: Secret | None) -> str | None:
    if value is not None and urlsplit(value.reveal()).scheme not in ("postgresql", "postgres"):
        return "it must look like postgresql://user:password@host:5432/database"
    return None


def _complain_about_secret(value: Secret | None) -> str | None:
    """A known, short or monotonous secret stops the start (threat model S2)."""
    text = value.reveal() if value else ""
    if not text:
        return None
    if len(text.encode()) < 32 or len(set(text)) < 10 or any(word in text.lower() for word in _KNOWN_SECRETS):
        return "it is too easy to guess; take at least 32 random characters, such as those of `openssl rand -base64 48`"
    return None


@dataclass(frozen=True, slots=True)
class Settings:
    """The effective settings of one server, fixed from its start to its end."""

    host: str = setting("127.0.0.1", "Address to listen on.")
    port: int = setting(8000, "Port to listen on; 0 takes any free one.", at_least=0, at_most=65535)
    workers: int = setting(1, "Server processes that share the port.", at_least=1, at_most=64)
    data_dir: Path = setting(
        Path(".baas"), "Folder of files, secrets and the embedded PostgreSQL; `baas serve` has a place of the system as default."
    )
    database_url: Secret | None = setting(
        None, "An existing PostgreSQL (15 or newer) instead of the embedded one.", check=_complain_about_database
    )
    pg_bin: Path | None = setting(None, "Folder with the `postgres` program to embed; found by itself when not given.")
    public_url: str | None = setting(
        None, "Address under which clients reach the server; http://host:port when not given.", check=_complain_about_url
    )
    hosts: tuple[str, ...] = setting((), "Further Host names to answer to, besides those of the public address and loopback.")
    sites_domain: str = setting("localhost", "Domain below which sites are served, as project.domain.")
    trusted_proxies: tuple[str, ...] = setting(
        (), "Addresses or networks of proxies whose forwarding headers count.", check=_complain_about_networks
    )
    insecure_http: bool = setting(False, "Allow plain HTTP on an address that others can reach.")
    secret_key: Secret = setting(
        Secret(""), "Encrypts credentials at rest; made and kept in the data folder when not given.", check=_complain_about_secret
    )
    metrics_token: Secret | None = setting(
        None, "Bearer token that may read /metrics, besides operators.", check=_complain_about_secret
    )

    log_level: str = setting("info", "Least severe events to log.", one_of=("debug", "info", "warning", "error"))
    log_format: str = setting("json", "Shape of a log line.", one_of=("json", "text"))
    access_log_sample: float = setting(1.0, "Share of good requests that are logged; bad ones always are.", at_least=0, at_most=1)

    db_pool_size: int = setting(10, "Database connections of each process.", at_least=2, at_most=500)
    db_pipeline: bool = setting(
        True, "Send short statements of many requests on few connections, four more for each process; not behind a pooler."
    )
    statement_timeout_s: float = setting(
        5.0, "Longest statement; a project's own limits lie below.", unit="seconds", at_least=0.1, at_most=300
    )
    slow_query_ms: int = setting(
        500, "Statements that take longer are logged with their plan; 0 logs none.", unit="milliseconds", at_least=0
    )
    max_concurrent: int = setting(64, "Requests at work in each process.", at_least=1)
    realtime_per_project: int = setting(1000, "Clients of one project that follow changes, on each process.", at_least=1)
    realtime_per_user: int = setting(20, "The same of one user, key or operator.", at_least=1)
    changes_keep_days: int = setting(7, "Followers can go on from a change this long.", unit="days", at_least=1)
    changes_keep_most: int = setting(1_000_000, "Changes that a project keeps for its followers.", at_least=1000)
    history_keep_days: int = setting(
        0, "Versions of records are kept this long, where a collection keeps them; 0 is for ever.", unit="days", at_least=0
    )
    max_exports: int = setting(2, "Exports under way at once in each process; each holds a database connection.", at_least=1)
    max_queue: int = setting(128, "Requests that wait for their turn before 503.", at_least=0)
    queue_wait_s: float = setting(1.0, "Longest wait for a turn.", unit="seconds", at_least=0)

    max_url_bytes: int = setting(8 * KIB, "Longest request target.", unit="bytes", at_least=256, at_most=MIB)
    max_header_bytes: int = setting(32 * KIB, "All request headers together.", unit="bytes", at_least=1024, at_most=MIB)
    max_header_count: int = setting(100, "Number of request headers.", at_least=10, at_most=10_000)
    max_json_bytes: int = setting(MIB, "Longest JSON body.", unit="bytes", at_least=1024)
    max_json_depth: int = setting(32, "Deepest nesting of a JSON body.", at_least=2, at_most=200)
    max_json_keys: int = setting(1000, "Members of one object of a JSON body.", at_least=10)
    max_file_bytes: int = setting(50 * MIB, "Largest file accepted.", unit="bytes", at_least=1)
    max_archive_bytes: int = setting(200 * MIB, "Largest site archive accepted, packed.", unit="bytes", at_least=1)
    max_archive_open_bytes: int = setting(500 * MIB, "Largest site archive accepted, unpacked.", unit="bytes", at_least=1)
    max_archive_files: int = setting(10_000, "Files in a site archive.", at_least=1)

    header_timeout_s: float = setting(10.0, "A request's headers arrive within this time.", unit="seconds", at_least=0.1)
    keep_alive_s: float = setting(15.0, "An idle connection is kept this long.", unit="seconds", at_least=1)
    body_idle_timeout_s: float = setting(15.0, "Longest silence within a body.", unit="seconds", at_least=0.1)
    request_timeout_s: float = setting(30.0, "Longest request.", unit="seconds", at_least=1)
    upload_timeout_s: float = setting(600.0, "Longest upload.", unit="seconds", at_least=1)
    export_timeout_s: float = setting(300.0, "Longest export.", unit="seconds", at_least=1)
    export_idle_timeout_s: float = setting(
        30.0, "An export is cut when its client takes nothing for so long.", unit="seconds", at_least=1
    )
    drain_timeout_s: float = setting(25.0, "Requests at work get this long when the server stops.", unit="seconds", at_least=0)

    access_token_s: int = setting(900, "Life of an access token.", unit="seconds", at_least=30, at_most=_DAY_S)
    refresh_idle_s: int = setting(30 * _DAY_S, "A session ends when unused for this long.", unit="seconds", at_least=60)
    refresh_absolute_s: int = setting(90 * _DAY_S, "A session ends after this long.", unit="seconds", at_least=60)
    argon2_memory_kib: int = setting(19_456, "Memory of one password hash.", unit="KiB", at_least=8_192, at_most=MIB)
    argon2_time: int = setting(2, "Passes of one password hash.", at_least=1, at_most=20)
    hash_threads: int = setting(2, "Passwords hashed at a time in each process.", at_least=1, at_most=64)
    hash_queue: int = setting(32, "Passwords that wait for hashing before 503.", at_least=1)

    sign_in_per_address: int = setting(10, "Sign-in attempts from one address.", unit="a minute", at_least=1)
    sign_in_per_account: int = setting(5, "Sign-in attempts on one account.", unit="a minute", at_least=1)
    api_per_address: int = setting(300, "Requests from one address.", unit="in 10 seconds", at_least=1)
    anonymous_creates_per_address: int = setting(
        20, "Records that one address may create without a sign-in.", unit="in 5 seconds", at_least=1
    )

    @property
    def url(self) -> str:
        """The public address, without a slash at its end."""
        if self.public_url:
            return self.public_url.rstrip("/")
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, and for each name where its value came from, in words."""

    settings: Settings
    origins: Mapping[str, str]


class BadSettings(Exception):
    """All that is wrong with the settings given, each with its origin and the way out."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(["The settings are not usable:", *(f"  - {fault}" for fault in faults)]))


def load_settings(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    file_text: str | None,
    *,
    read: Callable[[str], str],
    defaults: Mapping[str, object] | None = None,
) -> Loaded:
    """Settings from flags (those not None), the environment, a TOML text and the defaults, in this order of weight.

    `read` gives the text of a file that a `BAAS_*_FILE` names; `defaults` replaces defaults that depend on the command.
    Raises BadSettings with every fault at once.
    """
    faults: list[str] = []
    given = [
        _from_flags(flags),
        _from_environ(environ, read, faults),
        _from_file(file_text, faults),
    ]
    values: dict[str, object] = dict(defaults or {})
    origins = dict.fromkeys(SETTINGS, "default")
    for name, one in SETTINGS.items():
        found = next((source[name] for source in given if name in source), None)
        if found is not None:
            raw, origin = found
            try:
                values[name] = _parse(one, raw)
                origins[name] = origin
            except ValueError as error:
                faults.append(f"{name} ({origin}) {'is not usable:' if is_secret(one) else f'is {raw!r}, but'} {error}")
    if faults:
        raise BadSettings(faults)
    settings = Settings(**values)  # type: ignore[arg-type]
    _check_together(settings)
    return Loaded(settings, origins)


def is_secret(one: Field[Any]) -> bool:
    """Whether the value is never shown."""
    return one.type in (Secret, Secret | None)


def shown(name: str, settings: Settings) -> str:
    """The value as a person may see it: secrets are dots, of a database address only the password is hidden."""
    value = getattr(settings, name)
    if isinstance(value, Secret) and name == "database_url":
        parts = urlsplit(value.reveal())
        return value.reveal().replace(f":{parts.password}@", ":•••@") if parts.password else value.reveal()
    if isinstance(value, Secret):
        return "•••" if value else ""
    if isinstance(value, tuple):
        return ",".join(value)
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


_Found = dict[str, tuple[object, str]]


def _from_flags(flags: Mapping[str, object]) -> _Found:
    return {name: (value, f"flag --{name.replace('_', '-')}") for name, value in flags.items() if value is not None}


def _from_environ(environ: Mapping[str, str], read: Callable[[str], str], faults: list[str]) -> _Found:
    found: _Found = {}
    for variable in sorted(environ):
        if not variable.startswith(_PREFIX) or variable in _NOT_OURS or variable.startswith(_TEST_PREFIX):
            continue
        name = variable.removeprefix(_PREFIX).lower()
        base = name.removesuffix("_file")
        if name in SETTINGS:
            found[name] = (environ[variable], f"environment {variable}")
        elif base in SETTINGS and base != name and is_secret(SETTINGS[base]):
            if f"{_PREFIX}{base.upper()}" in environ:
                faults.append(f"{_PREFIX}{base.upper()} and {variable} (environment) are both given. Keep one of them.")
            else:
                _from_secret_file(found, base, (variable, environ[variable]), read, faults)
        else:
            known = [f"{_PREFIX}{one.upper()}" for one in SETTINGS]
            hint = did_you_mean(variable, known) or "Remove it, or see `baas config show` for all names."
            faults.append(f"{variable} (environment) is no setting. {hint}")
    return found


def _from_secret_file(found: _Found, name: str, where: tuple[str, str], read: Callable[[str], str], faults: list[str]) -> None:
    variable, path = where
    try:
        found[name] = (read(path).strip("\r\n"), f"file of {variable}")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        faults.append(f"{variable} (environment) names {path!r}, which cannot be read: {reason}.")


def _from_file(text: str | None, faults: list[str]) -> _Found:
    try:
        table = tomllib.loads(text or "")
    except tomllib.TOMLDecodeError as error:
        faults.append(f"The settings file is not TOML: {error}.")
        return {}
    for name in table:
        if name not in SETTINGS:
            faults.append(f"{name} (settings file) is no setting. {did_you_mean(name, tuple(SETTINGS)) or 'Remove the line.'}")
    return {name: (value, "settings file") for name, value in table.items() if name in SETTINGS}


def _parse(one: Field[Any], raw: object) -> object:
    """The typed value of what was written. Raises ValueError with what is wrong, to follow "is …, but"."""
    about: About = one.metadata["about"]
    value = _PARSERS[one.type](raw, about)
    if about.one_of and value not in about.one_of:
        raise ValueError(f"must be one of {', '.join(about.one_of)}.")
    if isinstance(value, int | float) and not isinstance(value, bool):
        if about.at_least is not None and value < about.at_least:
            raise ValueError(f"must be at least {about.at_least:g}.")
        if about.at_most is not None and value > about.at_most:
            raise ValueError(f"must be at most {about.at_most:g}.")
    complaint = about.check(value) if about.check else None
    if complaint:
        raise ValueError(f"{complaint}.")
    return value


def _text(raw: object, _: About) -> str:
    if not isinstance(raw, str):
        raise ValueError("must be a text.")
    if not raw or any(ord(character) < 32 for character in raw):
        raise ValueError("must be a text that is not empty and has no control characters.")
    return raw


def _secret(raw: object, about: About) -> Secret:
    return raw if isinstance(raw, Secret) else Secret(_text(raw, about))


def _path(raw: object, about: About) -> Path:
    return raw if isinstance(raw, Path) else Path(_text(raw, about))


def _integer(raw: object, about: About) -> int:
    if isinstance(raw, bool):
        raise ValueError("must be a whole number.")
    if isinstance(raw, str) and about.unit == "bytes":
        for suffix, factor in (("KiB", KIB), ("MiB", MIB), ("GiB", 1024 * MIB)):
            if raw.endswith(suffix):
                return _integer(raw.removesuffix(suffix).strip(), about) * factor
    try:
        return int(raw) if isinstance(raw, str) and raw.isascii() and "_" not in raw else _exactly(raw)
    except ValueError:
        also = ", or one with KiB, MiB or GiB behind it" if about.unit == "bytes" else ""
        raise ValueError(f"must be a whole number{also}.") from None


def _exactly(raw: object) -> int:
    if isinstance(raw, int):
        return raw
    raise ValueError


def _number(raw: object, _: About) -> float:
    try:
        value = float(raw) if isinstance(raw, str | int | float) and not isinstance(raw, bool) else float("nan")
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise ValueError("must be a number.")
    return value


def _truth(raw: object, _: About) -> bool:
    known = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and raw.lower() in known:
        return known[raw.lower()]
    raise ValueError("must be true or false.")


def _texts(raw: object, _: About) -> tuple[str, ...]:
    parts = raw.split(",") if isinstance(raw, str) else raw
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise ValueError("must be a list of texts.")
    return tuple(stripped for part in parts if (stripped := part.strip()))


_PARSERS: Mapping[Any, Callable[[object, About], object]] = {
    str: _text,
    str | None: _text,
    Secret: _secret,
    Secret | None: _secret,
    Path: _path,
    Path | None: _path,
    int: _integer,
    float: _number,
    bool: _truth,
    tuple[str, ...]: _texts,
}

SETTINGS: Mapping[str, Field[Any]] = {one.name: one for one in fields(Settings)}


def default_of(one: Field[Any]) -> object:
    """The default as declared; every setting has one."""
    assert one.default is not MISSING  # noqa: S101  `setting()` requires it
    return one.default


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_together(settings: Settings) -> None:
    """What no single value shows. Plain HTTP beyond this machine needs a word from the operator (threat model S2)."""
    faults = []
    if not is_loopback(settings.host) and not settings.insecure_http and not settings.url.startswith("https://"):
        faults.append(
            f"host is {settings.host!r}, which others can reach, over plain HTTP. Put a proxy with TLS in front and set"
            " public_url to its https:// address, or accept the risk with --insecure-http or BAAS_INSECURE_HTTP=true."
        )
    if settings.refresh_idle_s > settings.refresh_absolute_s:
        faults.append("refresh_idle_s is longer than refresh_absolute_s. Lower the first or raise the second.")
    if faults:
        raise BadSettings(faults)
