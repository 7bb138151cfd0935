"""Sites and releases over HTTP."""

from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from baas.base.errors import BadRequest, Fault, Invalid, NotFound
from baas.base.paths import path_fault
from baas.base.project import Project
from baas.base.settings import Settings
from baas.base.strict_json import loads
from baas.features.hosting.archive import hidden
from baas.features.hosting.model import DEFAULT_SITE, Release, Site, Wanted
from baas.features.hosting.options import changed_options, new_site
from baas.features.hosting.service import Hosting, no_release
from baas.infra.http.answers import created, json_response, no_content, not_modified
from baas.infra.http.body import as_object, read_bytes, read_object, stream_body
from baas.infra.http.conditions import Condition, etag_of, is_known, tagged
from baas.infra.http.context import Context
from baas.infra.http.once import Once, Streamed, key_of
from baas.infra.http.page import Cursors, linked, query_of
from baas.infra.http.params import boolean, identifier, integer, query, text
from baas.infra.http.routes import BOTH, Body, Endpoint, scope

_TAG = "sites"
_MANIFEST_BYTES = 4 << 20
_MAX_MESSAGE = 500
_SITES = "/v1/projects/{project}/sites"
_SITE = _SITES + "/{site}"
_RELEASES = _SITE + "/releases"
_RELEASE = _RELEASES + "/{release}"
_FINALIZE, _ACTIVATE = _RELEASE + "/finalize", _RELEASE + "/activate"
_ADMIN = scope("sites")


class HostingApi:
    def __init__(self, hosting: Hosting, settings: Settings, once: Once, cursors: Cursors) -> None:
        self._hosting = hosting
        self._cursors = cursors
        self._once = once
        self._settings = settings

    def routes(self) -> tuple[Endpoint, ...]:
        """Streams are those whose bodies are larger than JSON may be."""
        archive = Body({"type": "string", "format": "binary"}, "application/octet-stream", "A tar.gz or zip file.")
        activate = {"activate": {"type": "boolean", "default": True}, "message": {"type": "string", "maxLength": _MAX_MESSAGE}}
        page: dict[str, Mapping[str, object]] = {
            "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 30},
            "cursor": {"type": "string"},
        }
        return (
            Endpoint("GET", _SITES, _ADMIN, "List sites", self.list_sites, tag=_TAG, responses={200: _list_of(_SITE_SCHEMA)}),
            Endpoint(
                "POST",
                _SITES,
                _ADMIN,
                "Create a site",
                self.create,
                tag=_TAG,
                request=_NEW_SITE,
                responses={201: _SITE_BODY},
            ),
            Endpoint("GET", _SITE, _ADMIN, "Get a site", self.get, tag=_TAG, responses={200: _SITE_BODY}),
            Endpoint(
                "PATCH",
                _SITE,
                _ADMIN,
                "Change a site",
                self.change,
                tag=_TAG,
                request=_OPTIONS,
                responses={200: _SITE_BODY},
                conditions=BOTH,
            ),
            Endpoint("DELETE", _SITE, _ADMIN, "Delete a site", self.delete, tag=_TAG, responses={204: None}, conditions=BOTH),
            Endpoint(
                "GET",
                _RELEASES,
                _ADMIN,
                "List releases",
                self.releases,
                tag=_TAG,
                query=page,
                responses={200: _list_of(_RELEASE_SCHEMA, next_cursor={"type": ["string", "null"]})},
            ),
            Endpoint(
                "POST",
                _RELEASES,
                _ADMIN,
                "Begin a release",
                self.begin,
                tag=_TAG,
                request=_MANIFEST,
                responses={201: _RELEASE_BODY},
                streams=True,
            ),
            Endpoint(
                "POST",
                _RELEASES + "/archive",
                _ADMIN,
                "Deploy an archive",
                self.deploy,
                tag=_TAG,
                query=activate,
                request=archive,
                responses={201: _RELEASE_BODY},
                streams=True,
                once="own",
            ),
            Endpoint(
                "PUT",
                _SITE + "/blobs/{sha256}",
                _ADMIN,
                "Upload a content",
                self.upload,
                tag=_TAG,
                request=Body({"type": "string", "format": "binary"}, "application/octet-stream"),
                responses={204: None},
                streams=True,
                once="same",
            ),
            Endpoint("GET", _RELEASE, _ADMIN, "Get a release", self.release, tag=_TAG, responses={200: _RELEASE_BODY}),
            Endpoint("POST", _FINALIZE, _ADMIN, "Finish a release", self.finalize, tag=_TAG, responses={200: _RELEASE_BODY}),
            Endpoint("POST", _ACTIVATE, _ADMIN, "Show a release", self.activate, tag=_TAG, responses={200: _RELEASE_BODY}),
        )

    async def list_sites(self, request: Request) -> Response:
        project = Context.of(request).project
        return json_response({"items": [self._site_json(project, site) for site in await self._hosting.sites(project)]})

    async def create(self, request: Request) -> Response:
        project = Context.of(request).project
        name, options = new_site(await read_object(request, limit=project.settings.limits.max_json_bytes))
        site = await self._hosting.create(project, name, options)
        location = f"/v1/projects/{project.name}/sites/{name}"
        return created(self._site_json(project, site), location=location, headers=tagged(site.as_json()))

    async def get(self, request: Request) -> Response:
        project = Context.of(request).project
        site = await self._hosting.site(project, _name(request))
        headers = tagged(site.as_json())
        if is_known(request, etag_of(site.as_json())):
            return not_modified(headers)
        return json_response(self._site_json(project, site), headers=headers)

    async def change(self, request: Request) -> Response:
        project = Context.of(request).project
        body = await read_object(request, limit=project.settings.limits.max_json_bytes)
        change = partial(changed_options, body)
        changed = await self._hosting.change(project, _name(request), change, Condition.of(request))
        return json_response(self._site_json(project, changed), headers=tagged(changed.as_json()))

    async def delete(self, request: Request) -> Response:
        await self._hosting.delete(Context.of(request).project, _name(request), Condition.of(request))
        return no_content()

    async def releases(self, request: Request) -> Response:
        context, name, asked = Context.of(request), _name(request), query(request)
        limit, cursor = integer(asked, "limit", 30, minimum=1, maximum=100), text(asked, "cursor")
        of = query_of("releases", context.project.key, context.principal.kind, context.principal.id, name)
        before = None if cursor is None else UUID(str(self._cursors.open(cursor, of)[0]))
        found = await self._hosting.releases(context.project, name, before=before, limit=limit + 1)
        following = self._cursors.seal((str(found[limit - 1].id),), of) if len(found) > limit else None
        body = {"items": [release.as_json() for release in found[:limit]], "next_cursor": following}
        return json_response(body, headers=linked(request.scope, following))

    async def release(self, request: Request) -> Response:
        release = await self._hosting.release(Context.of(request).project, _name(request), _release_id(request))
        return json_response(release.as_json())

    async def deploy(self, request: Request) -> Response:
        """Streamed to disk; the body is never in memory as a whole."""
        key = key_of(request.scope)
        if key is None:
            return await self._deploy(request)
        async with self._once.streamed(request.scope, key) as call:
            if call.known is None:
                return await self._deploy(request, call)
            whole = sha256()
            async for piece in stream_body(request, limit=self._settings.max_archive_bytes):
                whole.update(piece)
            return call.again(whole.digest())

    async def _deploy(self, request: Request, call: Streamed | None = None) -> Response:
        project, name = Context.of(request).project, _name(request)
        asked = query(request)
        activate, message = boolean(asked, "activate", True), text(asked, "message", max_length=_MAX_MESSAGE)
        body = stream_body(request, limit=self._settings.max_archive_bytes)
        async with self._hosting.unpacked(project, name, body) as unpacked:

            async def write() -> Response:
                deployed = await self._hosting.deploy(project, unpacked, activate=activate, message=message)
                more = {"ignored": list(deployed.ignored), "url": self._url(project, name)}
                return _created(project, name, deployed.release, more)

            return await (write() if call is None else call.first(unpacked.sha256, write))

    async def begin(self, request: Request) -> Response:
        project, name = Context.of(request).project, _name(request)
        data = await read_bytes(request.scope, request.receive, limit=_MANIFEST_BYTES)
        body = as_object(loads(data, max_depth=4, max_keys=3 * self._settings.max_archive_files + 100))
        files, message = _manifest(body)
        release, missing = await self._hosting.begin(project, name, files, message=message)
        return _created(project, name, release, {"missing": missing})

    async def upload(self, request: Request) -> Response:
        content = stream_body(request, limit=self._settings.max_archive_bytes)
        await self._hosting.upload(Context.of(request).project, _name(request), request.path_params["sha256"], content)
        return no_content()

    async def finalize(self, request: Request) -> Response:
        release = await self._hosting.finalize(Context.of(request).project, _name(request), _release_id(request))
        return json_response(release.as_json())

    async def activate(self, request: Request) -> Response:
        project, name = Context.of(request).project, _name(request)
        release = await self._hosting.activate(project, name, _release_id(request))
        return json_response({**release.as_json(), "url": self._url(project, name)})

    def _site_json(self, project: Project, site: Site) -> Mapping[str, object]:
        return {**site.as_json(), "url": self._url(project, site.name)}

    def _url(self, project: Project, site: str) -> str:
        """Where a browser finds the site: the public address's scheme and port, and the site's own host."""
        scheme, _, rest = self._settings.url.partition("://")
        port = rest.partition("/")[0].rpartition("]")[2].rpartition(":")
        host = f"{project.name}.{self._settings.sites_domain}"
        own = host if site == DEFAULT_SITE else f"{site}.{host}"
        return f"{scheme}://{own}{':' + port[2] if port[1] else ''}/"


def _manifest(body: Mapping[str, object]) -> tuple[list[Wanted], str | None]:
    """`{"files": {path: {"sha256", "size"}}, "message"?}`; raises Invalid with every fault."""
    unknown = [name for name in body if name not in ("files", "message")]
    faults = [Fault(f"/{_escaped(name)}", "unknown_key", "Known: files, message.") for name in unknown]
    message, files = body.get("message"), body.get("files")
    if message is not None and not (isinstance(message, str) and len(message) <= _MAX_MESSAGE):
        faults.append(Fault("/message", "wrong_type", f"A text of at most {_MAX_MESSAGE} characters."))
    if not isinstance(files, dict) or not files:
        faults.append(Fault("/files", "required", "An object with a member for each file."))
        files = {}
    wanted = [_wanted(path, entry, faults) for path, entry in files.items()]
    if faults:
        raise Invalid("The manifest has faults.", errors=faults[:100])
    return wanted, message if isinstance(message, str) else None


def _wanted(path: str, entry: object, faults: list[Fault]) -> Wanted:
    pointer = f"/files/{_escaped(path)}"
    if fault := path_fault(path):
        faults.append(Fault(pointer, "bad_path", f"The path {fault}."))
    elif hidden(path):
        faults.append(Fault(pointer, "bad_path", "Dot files are never served; leave them out."))
    if not isinstance(entry, dict) or entry.keys() != {"sha256", "size"}:
        faults.append(Fault(pointer, "wrong_type", 'An object {"sha256", "size"}.'))
        return Wanted(path, "", 0)
    sha256, size = entry["sha256"], entry["size"]
    if not isinstance(sha256, str) or len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
        faults.append(Fault(f"{pointer}/sha256", "bad_sha256", "64 lower-case hexadecimal digits."))
    if type(size) is not int or not 0 <= size < 1 << 40:
        faults.append(Fault(f"{pointer}/size", "out_of_range", "The number of bytes."))
        return Wanted(path, "", 0)
    return Wanted(path, str(sha256), size)


def _created(project: Project, site: str, release: Release, more: Mapping[str, object]) -> Response:
    location = f"/v1/projects/{project.name}/sites/{site}/releases/{release.id}"
    return created({**release.as_json(), **more}, location=location)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _name(request: Request) -> str:
    name: str = request.path_params["site"]
    if "\0" in name or len(name) > 100:
        raise NotFound("There is no site of this name.", code="no_site")
    return name


def _release_id(request: Request) -> UUID:
    """What is no id names nothing."""
    try:
        return identifier(request.path_params["release"], "release")
    except BadRequest:
        raise no_release() from None


_BOOLEAN = {"type": "boolean"}
_STRING = {"type": "string"}
_TIME = {"type": "string", "format": "date-time"}
_OPTION_PROPERTIES: dict[str, object] = {
    "spa": {**_BOOLEAN, "description": "Every page that is not a file is index.html."},
    "clean_urls": {**_BOOLEAN, "description": "/about is about.html, and /about.html leads to /about."},
    "headers": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["path", "headers"],
            "properties": {"path": _STRING, "headers": {"type": "object", "additionalProperties": _STRING}},
        },
    },
    "redirects": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["from", "to"],
            "properties": {"from": _STRING, "to": _STRING, "status": {"type": "integer", "enum": [301, 302, 307, 308]}},
        },
    },
}
_SITE_SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {
        "name": _STRING,
        **_OPTION_PROPERTIES,
        "active_release": {"type": ["string", "null"], "format": "uuid"},
        "url": {"type": "string", "format": "uri"},
        "created_at": _TIME,
        "updated_at": _TIME,
    },
}
_RELEASE_SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "ready": _BOOLEAN,
        "active": _BOOLEAN,
        "message": {"type": ["string", "null"]},
        "files": {"type": "integer"},
        "size": {"type": "integer", "description": "Bytes of all files together."},
        "created_at": _TIME,
        "activated_at": {"type": ["string", "null"], "format": "date-time"},
        "ignored": {"type": "array", "items": _STRING, "description": "Dot files of the archive that were left out."},
        "missing": {"type": "array", "items": _STRING, "description": "SHA-256 of the contents to upload."},
        "url": {"type": "string", "format": "uri"},
    },
}
_SITE_BODY = Body(_SITE_SCHEMA)
_RELEASE_BODY = Body(_RELEASE_SCHEMA)
_OPTIONS = Body({"type": "object", "properties": _OPTION_PROPERTIES, "additionalProperties": False})
_NEW_SITE = Body(
    {
        "type": "object",
        "required": ["name"],
        "properties": {"name": _STRING, **_OPTION_PROPERTIES},
        "additionalProperties": False,
    }
)
_MANIFEST = Body(
    {
        "type": "object",
        "required": ["files"],
        "additionalProperties": False,
        "properties": {
            "message": {"type": ["string", "null"], "maxLength": _MAX_MESSAGE},
            "files": {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "required": ["sha256", "size"],
                    "properties": {"sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"}, "size": {"type": "integer"}},
                },
            },
        },
    }
)


def _list_of(schema: Mapping[str, object], **more: object) -> Body:
    items = {"type": "array", "items": schema}
    return Body({"type": "object", "required": ["items", *more], "properties": {"items": items, **more}})
