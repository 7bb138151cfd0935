"""A site's manifest as its owner writes it: checked by hand, every fault named at once."""

import re
from collections.abc import Mapping
from typing import TypeVar

from baas.base.errors import Fault, Invalid
from baas.features.hosting.model import HeaderRule, Redirect, SiteOptions

_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,39}[a-z0-9])?")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{0,2000}")
_TARGET = re.compile(r"/(?!/)[!-\[\]-~]*|https?://[A-Za-z0-9.-]+(?::[0-9]+)?(?:/[!-\[\]-~]*)?")
_PATH = re.compile(r"/[!-\[\]-~]*")
_STATUSES = (301, 302, 307, 308)
_MOST = 100
# What the server alone says: framing, validators, and cookies, which sites never set.
_OURS = frozenset(
    {
        *(
            "accept-ranges",
            "age",
            "connection",
            "content-encoding",
            "content-length",
            "content-range",
            "date",
            "etag",
            "keep-alive",
        ),
        *("last-modified", "location", "server", "set-cookie", "set-cookie2", "te", "trailer", "transfer-encoding", "upgrade"),
        *("x-content-type-options", "x-request-id"),
    }
)
_Entries = list[tuple[str, dict[str, object]]]
T = TypeVar("T")


class _Faults:
    def __init__(self) -> None:
        self.found: list[Fault] = []

    def add(self, pointer: str, code: str, message: str) -> None:
        self.found.append(Fault(pointer, code, message))

    def member(self, body: Mapping[str, object], name: str, kind: type[T], default: T, pointer: str = "") -> T:
        """A member of one exact type, the default when it is absent."""
        value = body.get(name, default)
        if type(value) is kind:
            return value
        self.add(f"{pointer}/{name}", "wrong_type", f"This must be {_WORDS[kind]}.")
        return default

    def unknown(self, body: Mapping[str, object], known: tuple[str, ...], pointer: str = "") -> None:
        for name in body:
            if name not in known:
                escaped = name.replace("~", "~0").replace("/", "~1")
                self.add(f"{pointer}/{escaped}", "unknown_key", f"There is no such member here; known: {', '.join(known)}.")

    def done(self) -> None:
        if self.found:
            raise Invalid("The site has faults.", errors=self.found)


_WORDS: Mapping[type, str] = {bool: "true or false", list: "a list", dict: "an object", str: "a text", int: "a whole number"}


def new_site(body: Mapping[str, object]) -> tuple[str, SiteOptions]:
    """Name and options of a site to be made. Raises Invalid with every fault."""
    faults = _Faults()
    faults.unknown(body, ("name", "spa", "clean_urls", "headers", "redirects"))
    name = faults.member(body, "name", str, "")
    if not _NAME.fullmatch(name) or name.startswith("xn--"):
        faults.add("/name", "bad_name", "1 to 41 lower-case letters, digits and dashes; the first a letter, the last no dash.")
    options = _options(body, SiteOptions(), faults)
    faults.done()
    return name, options


def changed_options(body: Mapping[str, object], current: SiteOptions) -> SiteOptions:
    """The options with those of the body in place of theirs; a name never changes. Raises Invalid with every fault."""
    faults = _Faults()
    faults.unknown(body, ("spa", "clean_urls", "headers", "redirects"))
    options = _options(body, current, faults)
    faults.done()
    return options


def _options(body: Mapping[str, object], current: SiteOptions, faults: _Faults) -> SiteOptions:
    return SiteOptions(
        spa=faults.member(body, "spa", bool, current.spa),
        clean_urls=faults.member(body, "clean_urls", bool, current.clean_urls),
        headers=_headers(body, faults) if "headers" in body else current.headers,
        redirects=_redirects(body, faults) if "redirects" in body else current.redirects,
    )


def _entries(body: Mapping[str, object], name: str, known: tuple[str, ...], faults: _Faults) -> _Entries:
    """The objects of a list with their pointers."""
    entries: list[object] = faults.member(body, name, list, [])
    if len(entries) > _MOST:
        faults.add(f"/{name}", "too_many", f"At most {_MOST} of them.")
        return []
    found = []
    for index, entry in enumerate(entries):
        pointer = f"/{name}/{index}"
        if isinstance(entry, dict):
            faults.unknown(entry, known, pointer)
            found.append((pointer, entry))
        else:
            faults.add(pointer, "wrong_type", "This must be an object.")
    return found


def _headers(body: Mapping[str, object], faults: _Faults) -> tuple[HeaderRule, ...]:
    rules = []
    for pointer, entry in _entries(body, "headers", ("path", "headers"), faults):
        path = faults.member(entry, "path", str, "", pointer)
        _check_pattern(path, f"{pointer}/path", faults)
        headers = faults.member(entry, "headers", dict, {}, pointer)
        for name, value in headers.items():
            _check_header(name, value, f"{pointer}/headers", faults)
        rules.append(HeaderRule(path, {name: str(value) for name, value in headers.items()}))
    return tuple(rules)


def _check_header(name: str, value: object, pointer: str, faults: _Faults) -> None:
    if not _HEADER_NAME.fullmatch(name):
        faults.add(pointer, "bad_header", f"{name[:100]!r} is no header name.")
    elif name.lower() in _OURS:
        faults.add(f"{pointer}/{name}", "bad_header", "The server alone sets this header.")
    elif not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
        faults.add(f"{pointer}/{name}", "bad_header", "A header's value is up to 2,000 printable ASCII characters.")


def _redirects(body: Mapping[str, object], faults: _Faults) -> tuple[Redirect, ...]:
    redirects = []
    for pointer, entry in _entries(body, "redirects", ("from", "to", "status"), faults):
        source = faults.member(entry, "from", str, "", pointer)
        _check_pattern(source, f"{pointer}/from", faults)
        to = faults.member(entry, "to", str, "", pointer)
        if len(to) > 1000 or not _TARGET.fullmatch(to) or ("*" in to and not (to.endswith("*") and source.endswith("*"))):
            faults.add(
                f"{pointer}/to", "bad_redirect", "A path such as /new or an http(s) URL; with * at its end if from has one."
            )
        status = faults.member(entry, "status", int, 302, pointer)
        if status not in _STATUSES:
            faults.add(f"{pointer}/status", "out_of_range", f"One of {', '.join(map(str, _STATUSES))}.")
        redirects.append(Redirect(source, to, status))
    return tuple(redirects)


def _check_pattern(path: str, pointer: str, faults: _Faults) -> None:
    if len(path) > 1000 or not _PATH.fullmatch(path) or "*" in path[:-1]:
        faults.add(pointer, "bad_path", "A path such as /old, or /old/* for all that begin so.")
