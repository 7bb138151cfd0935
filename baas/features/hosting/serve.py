"""A site, by its host: which file answers, and how a browser may keep it. Its pages are another origin than the API's, always."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from html import escape
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from baas.base.errors import BaasError, MethodNotAllowed, NotFound
from baas.features.hosting.content_types import content_type
from baas.features.hosting.model import DEFAULT_SITE, Shown
from baas.features.hosting.resolve import Found, Moved, headers_of, resolve
from baas.features.hosting.service import Hosting
from baas.infra.blobs.base import BlobStore
from baas.infra.http.content import Content
from baas.infra.http.context import Context

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:20vh auto;padding:0 1rem}}</style>
<h1>{title}</h1><p>{detail}</p></html>
"""
_PAGE_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
}


class SiteApp:
    """Answers GET and HEAD for the site that the edge found by Host; project and site are in the Context.

    Every answer is made from one `Shown`, read once: never from two releases. A file is always asked for again (`no-cache`), and
    its SHA-256 as ETag makes that cheap; a site's owner may say otherwise for paths whose names change with their content.
    """

    def __init__(self, hosting: Hosting, blobs: BlobStore) -> None:
        self._hosting = hosting
        self._blobs = blobs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._answer(scope, receive, send)
        except BaasError as error:
            if error.status >= 500:
                raise  # the edge logs it
            await _page(error.status, error.title, error.detail, error.headers)(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            raise MethodNotAllowed("A site answers GET and HEAD.", headers={"Allow": "GET, HEAD"})
        context = Context.of(scope)
        shown = await self._hosting.shown(context.project, context.site or DEFAULT_SITE)
        if shown is None:
            raise NotFound("There is no site here, or nothing has been deployed to it yet.")
        path: str = scope["path"]
        match resolve(shown, path, navigation=_is_navigation(Headers(scope=scope))):
            case Found() as found:
                await self._file(shown, path, found)(scope, receive, send)
            case Moved(location, status):
                query = scope["query_string"].decode("latin-1")
                await _moved(location + ("?" + query if query and "?" not in location else ""), status)(scope, receive, send)
            case None:
                raise NotFound("There is nothing at this address.")

    def _file(self, shown: Shown, path: str, found: Found) -> Content:
        file = found.file
        headers = {"Content-Type": content_type(file.path), "Cache-Control": "no-cache"}
        for name, value in headers_of(shown, path).items():
            headers = {known: kept for known, kept in headers.items() if known.lower() != name.lower()}
            headers[name] = value
        opened = partial(self._open, file.blob)
        return Content(file.size, file.sha256, shown.activated_at, headers, opened, found.status)

    def _open(self, blob: str, start: int, stop: int) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._blobs.open(blob, start, stop)


def _is_navigation(asked: Headers) -> bool:
    """Browsers say what they fetch for; of others, who takes any type or asks for HTML wants a page."""
    if (mode := asked.get("sec-fetch-mode")) is not None:
        return mode == "navigate"
    accept = asked.get("accept", "*/*").lower()
    return "text/html" in accept or accept.strip() == "*/*"


def _moved(location: str, status: int) -> Response:
    return Response(None, status, {"Location": location, "Cache-Control": "no-cache"})


def _page(status: int, title: str, detail: str, headers: Mapping[str, str]) -> Response:
    """A small page of our own, with nothing in it that came from the request."""
    body = _PAGE.format(title=escape(f"{status} {HTTPStatus(status).phrase}"), detail=escape(detail or title))
    return Response(body, status, {**_PAGE_HEADERS, **headers})
