"""Which file of a release answers a path: pure, so that every case can be read off a table."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote

from baas.features.hosting.archive import hidden
from baas.features.hosting.model import Redirect, Shown, StoredFile

_INDEX = "index.html"
_SAFE = "/!$&'()*+,;=:@-._~"


@dataclass(frozen=True, slots=True)
class Found:
    """A file and the status it is answered with; an own page for what is missing has 404."""

    file: StoredFile
    status: HTTPStatus = HTTPStatus.OK


@dataclass(frozen=True, slots=True)
class Moved:
    location: str
    status: int


def resolve(shown: Shown, path: str, *, navigation: bool) -> Found | Moved | None:
    """What answers a decoded path, `/` first; None when nothing does. `navigation`: a person opens a page, a script fetches none.

    In this order: redirects, the file itself, the folder's index, the page without its `.html` (clean URLs), the index for every
    other page (SPA), the site's own 404 page.
    """
    for redirect in shown.options.redirects:
        if (location := _redirected(redirect, path)) is not None:
            return Moved(location, redirect.status)
    key = path.removeprefix("/")
    if key and hidden(key.rstrip("/")):
        return _missing(shown.files)
    found = _page(shown, key)
    if found is not None:
        return found
    if shown.options.spa and navigation and _INDEX in shown.files and "." not in key.rpartition("/")[2]:
        return Found(shown.files[_INDEX])
    return _missing(shown.files)


def headers_of(shown: Shown, path: str) -> dict[str, str]:
    """The site's own headers for a path, those named later over those before."""
    found: dict[str, str] = {}
    for rule in shown.options.headers:
        if _rest(rule.path, path) is not None:
            for name, value in rule.headers.items():
                found = {known: kept for known, kept in found.items() if known.lower() != name.lower()}
                found[name] = value
    return found


def _page(shown: Shown, key: str) -> Found | Moved | None:
    files, clean = shown.files, shown.options.clean_urls
    if key == "" or key.endswith("/"):
        if (index := files.get(key + _INDEX)) is not None:
            return Found(index)
        return _moved(key[:-1]) if clean and key[:-1] + ".html" in files else None
    if key in files:
        return _moved(_without_html(key)) if clean and key.endswith(".html") else Found(files[key])
    if f"{key}/{_INDEX}" in files:
        return _moved(key + "/")
    if clean and key + ".html" in files and key != "index":
        return Found(files[key + ".html"])
    return None


def _without_html(key: str) -> str:
    if key == _INDEX or key.endswith("/" + _INDEX):
        return key.removesuffix(_INDEX)
    return key.removesuffix(".html")


def _moved(key: str) -> Moved:
    """Found, not permanent: the next release may have a file there. No key begins with a slash, so this never leaves the host."""
    return Moved("/" + quote(key, safe=_SAFE), HTTPStatus.FOUND)


def _missing(files: Mapping[str, StoredFile]) -> Found | None:
    own = files.get("404.html")
    return Found(own, HTTPStatus.NOT_FOUND) if own else None


def _redirected(redirect: Redirect, path: str) -> str | None:
    rest = _rest(redirect.source, path)
    if rest is None:
        return None
    # Without the slashes of the rest: `/*` to `/*` must not turn `//elsewhere.example` into a redirect to another host.
    return redirect.to[:-1] + quote(rest.lstrip("/"), safe=_SAFE) if redirect.to.endswith("*") else redirect.to


def _rest(pattern: str, path: str) -> str | None:
    """What the `*` stands for, '' for an exact match, None for no match."""
    if pattern.endswith("*"):
        return path[len(pattern) - 1 :] if path.startswith(pattern[:-1]) else None
    return "" if path == pattern else None
