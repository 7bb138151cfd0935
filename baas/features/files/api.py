"""Buckets and files over HTTP."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from hashlib import sha256
from typing import cast
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from baas.base.clock import rfc3339
from baas.base.errors import BadRequest, Fault, Internal, Invalid
from baas.base.project import Project
from baas.features.files.headers import BYTES, content_digests, content_length, content_type, served
from baas.features.files.manifest import CONTENT_TYPE
from baas.features.files.model import Change, File, Page, Saved, Upload, Written
from baas.features.files.service import Files
from baas.infra.blobs.base import BlobMissing, BlobStore
from baas.infra.http.answers import created, json_response, no_content
from baas.infra.http.body import read_object, stream_body
from baas.infra.http.conditions import Condition, shown, tagged
from baas.infra.http.content import Content
from baas.infra.http.context import Context
from baas.infra.http.once import Once, Streamed, key_of
from baas.infra.http.page import Cursors, linked, query_of
from baas.infra.http.params import boolean, integer, one_of, query, text
from baas.infra.http.routes import ANYONE, BOTH, MATCH, Body, Endpoint, scope

_TAG = "files"
_ADMIN = scope("schema")
_BUCKETS = "/v1/projects/{project}/buckets"
_BUCKET = _BUCKETS + "/{bucket}"
_FILES = _BUCKET + "/files"
_FILE = _FILES + "/{path:path}"
_TRIES = 3
_MORE_THAN_ANY_FILE = 1 << 50
_MAX_PATH = 1024


class FilesApi:
    """Uploads and downloads are streamed; everything else is JSON."""

    def __init__(self, files: Files, blobs: BlobStore, once: Once, cursors: Cursors) -> None:
        self._files = files
        self._blobs = blobs
        self._once = once
        self._cursors = cursors

    def routes(self) -> tuple[Endpoint, ...]:
        download = {"download": {"type": "boolean", "description": "Save the file instead of showing it."}}
        confirm = {"confirm": {"type": "string", "enum": ["data-loss"], "description": "Agree to the loss of stored files."}}
        pages: dict[str, Mapping[str, object]] = {
            "prefix": {"type": "string", "description": "Only files whose path begins so."},
            "delimiter": {"type": "string", "enum": ["/"], "description": "List folders instead of what is in them."},
            "cursor": {"type": "string"},
            "limit": {"type": "integer", "minimum": 1, "maximum": 500, "default": 30},
        }
        binary = Body({"type": "string", "format": "binary"}, BYTES)
        made, changed, described = {201: _BUCKET_BODY}, {200: _BUCKET_BODY}, {200: _FILE_BODY}
        return (
            Endpoint("GET", _BUCKETS, _ADMIN, "List buckets", self.buckets, tag=_TAG, responses={200: _list_of(_BUCKET_SCHEMA)}),
            Endpoint(
                "POST",
                _BUCKETS,
                _ADMIN,
                "Create a bucket",
                self.create_bucket,
                tag=_TAG,
                request=_NEW,
                responses=made,
            ),
            Endpoint("GET", _BUCKET, _ADMIN, "Get a bucket", self.bucket, tag=_TAG, responses=changed),
            Endpoint(
                "PATCH",
                _BUCKET,
                _ADMIN,
                "Change a bucket",
                self.change_bucket,
                tag=_TAG,
                request=_CHANGED,
                responses=changed,
                conditions=BOTH,
            ),
            Endpoint(
                "DELETE",
                _BUCKET,
                _ADMIN,
                "Delete a bucket",
                self.delete_bucket,
                tag=_TAG,
                query=confirm,
                responses={204: None},
                conditions=BOTH,
            ),
            Endpoint("GET", _FILES, ANYONE, "List files", self.list, tag=_TAG, query=pages, responses={200: _FILE_PAGE}),
            Endpoint(
                "PUT",
                _FILE,
                ANYONE,
                "Upload a file",
                self.put,
                tag=_TAG,
                request=binary,
                responses={200: _FILE_BODY, 201: _FILE_BODY},
                streams=True,
                once="own",
                conditions=BOTH,
            ),
            Endpoint(
                "GET",
                _FILE,
                ANYONE,
                "Download a file",
                app=self.download,
                tag=_TAG,
                query=download,
                responses={200: binary, 206: binary, 304: None},
                streams=True,
            ),
            Endpoint(
                "HEAD",
                _FILE,
                ANYONE,
                "Ask about a file",
                app=self.download,
                tag=_TAG,
                query=download,
                responses={200: None},
                streams=True,
            ),
            Endpoint(
                "PATCH",
                _FILE,
                ANYONE,
                "Describe a file",
                self.describe,
                tag=_TAG,
                request=_CHANGE,
                responses=described,
                conditions=MATCH,
            ),
            Endpoint("DELETE", _FILE, ANYONE, "Delete a file", self.delete, tag=_TAG, responses={204: None}, conditions=MATCH),
        )

    # Buckets ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def buckets(self, request: Request) -> Response:
        found = await self._files.buckets(Context.of(request).project)
        return json_response({"items": [bucket.as_json() for bucket in found]})

    async def create_bucket(self, request: Request) -> Response:
        project = Context.of(request).project
        body = await read_object(request, limit=project.settings.limits.max_json_bytes)
        made = await self._files.create_bucket(project, body)
        location = f"/v1/projects/{project.name}/buckets/{made.bucket.name}"
        return created(_with_warnings(made), location=location, headers=tagged(made.bucket.as_json()))

    async def bucket(self, request: Request) -> Response:
        found = await self._files.bucket(Context.of(request).project, request.path_params["bucket"])
        return shown(request, found.as_json())

    async def change_bucket(self, request: Request) -> Response:
        project = Context.of(request).project
        body = await read_object(request, limit=project.settings.limits.max_json_bytes)
        changed = await self._files.change_bucket(project, request.path_params["bucket"], body, Condition.of(request))
        return json_response(_with_warnings(changed), headers=tagged(changed.bucket.as_json()))

    async def delete_bucket(self, request: Request) -> Response:
        agreed = one_of(query(request), "confirm", ("data-loss",)) is not None
        project, name = Context.of(request).project, request.path_params["bucket"]
        await self._files.delete_bucket(project, name, may_lose_data=agreed, only=Condition.of(request))
        return no_content()

    # Files ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def list(self, request: Request) -> Response:
        """Items and folders in one order of paths; a page holds `limit` of both together."""
        asked = query(request)
        context, bucket = Context.of(request), request.path_params["bucket"]
        prefix = text(asked, "prefix", "", max_length=_MAX_PATH)
        folders = one_of(asked, "delimiter", ("/",)) is not None
        whose = context.project.key, context.principal.kind, context.principal.id
        of, cursor = query_of("files", whose, bucket, prefix, folders), text(asked, "cursor")
        page = await self._files.list(
            context.project,
            context.principal,
            bucket,
            prefix,
            "" if cursor is None else str(self._cursors.open(cursor, of)[0]),
            folders=folders,
            limit=integer(asked, "limit", 30, minimum=1, maximum=500),
        )
        following = None if page.rest is None else self._cursors.seal((page.rest,), of)
        return json_response(_page_json(page, following, folders=folders), headers=linked(request.scope, following))

    async def put(self, request: Request) -> Response:
        context, headers = Context.of(request), request.headers
        only = Condition.of(request)
        if only.if_none_match not in (None, "*"):
            raise BadRequest("An upload takes If-None-Match: * alone.", code="bad_header", parameter="If-None-Match")
        digests = content_digests(headers)
        upload = Upload(
            stream_body(request, limit=_MORE_THAN_ANY_FILE),  # the bucket's own limit is counted by the service
            content_type(headers),
            size=content_length(headers),
            sha256=digests.get("sha-256"),
            sha512=digests.get("sha-512"),
            if_match=only.if_match,
            create_only=only.if_none_match == "*",
        )
        key = key_of(request.scope)
        if key is None:
            return await self._take(request, upload)
        async with self._once.streamed(request.scope, key) as call:
            if call.known is None:
                return await self._take(request, upload, call)
            # What the first attempt had as its effect would stand against this one: it is compared, and not judged again.
            whole = sha256()
            async for piece in stream_body(request, limit=context.project.settings.limits.max_file_bytes):
                whole.update(piece)
            return call.again(whole.digest())

    async def _take(self, request: Request, upload: Upload, call: Streamed | None = None) -> Response:
        context, params = Context.of(request), request.path_params
        place = context.project, context.principal, params["bucket"], params["path"]
        async with self._files.taken(*place, upload) as taken:

            async def write() -> Response:
                return _written(context.project, await taken.write())

            return await (write() if call is None else call.first(bytes.fromhex(taken.sha256), write))

    async def download(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET and HEAD. A file replaced between its row and its bytes is looked up again: nothing has been sent by then."""
        context, params = Context.of(scope), scope["path_params"]
        saved = boolean(query(scope), "download")
        bucket = await self._files.bucket(context.project, params["bucket"])
        for _ in range(_TRIES):
            file = await self._files.file(context.project, context.principal, params["bucket"], params["path"])
            headers = served(file, bucket, download=saved)
            content = Content(file.size, file.sha256, file.updated_at, headers, partial(self._open, file.blob))
            try:
                return await content(scope, receive, send)
            except BlobMissing:
                continue
        raise Internal(f"The bytes of {file.blob} are missing.", code="blob_missing")

    async def describe(self, request: Request) -> Response:
        context = Context.of(request)
        body = await read_object(request, limit=context.project.settings.limits.max_json_bytes)
        change = _change(body, Condition.of(request).if_match)
        bucket, path = request.path_params["bucket"], request.path_params["path"]
        return _written(context.project, await self._files.describe(context.project, context.principal, bucket, path, change))

    async def delete(self, request: Request) -> Response:
        context, params = Context.of(request), request.path_params
        wanted = Condition.of(request).if_match
        await self._files.delete(context.project, context.principal, params["bucket"], params["path"], if_match=wanted)
        return no_content()

    def _open(self, blob: str, start: int, stop: int) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._blobs.open(blob, start, stop)


def _change(body: Mapping[str, object], if_match: str | None) -> Change:
    """`{"metadata"?: {…}, "content_type"?: "…"}`. Raises Invalid with every fault."""
    faults = [Fault(f"/{name}", "unknown_key", "Known: metadata, content_type.") for name in body if name not in _CHANGEABLE]
    metadata, kind = body.get("metadata", {}), body.get("content_type")
    if not isinstance(metadata, dict):
        faults.append(Fault("/metadata", "wrong_type", "This must be an object; null members remove."))
    if "content_type" in body and not (isinstance(kind, str) and CONTENT_TYPE.fullmatch(kind)):
        faults.append(Fault("/content_type", "bad_type", "A content type such as image/png, in lower case."))
    if faults:
        raise Invalid("The change has faults.", errors=faults)
    patch = cast("Mapping[str, object]", metadata) if "metadata" in body else None
    return Change(patch, cast("str | None", kind), if_match)


def _page_json(page: Page, following: str | None, *, folders: bool) -> Mapping[str, object]:
    answer: dict[str, object] = {"items": [_as_json(file) for file in page.items]}
    if folders:
        answer["folders"] = list(page.folders)
    return {**answer, "next_cursor": following}


def _with_warnings(saved: Saved) -> dict[str, object]:
    """The bucket, and `warnings` when its rules are right and still give cause to some."""
    warnings = [advice.as_json() for advice in saved.advice]
    return {**saved.bucket.as_json(), **({"warnings": warnings} if warnings else {})}


def _written(project: Project, written: Written) -> Response:
    """What its writer may not view he gets the path of, and nothing that was computed from the rest."""
    file = written.file
    body: Mapping[str, object] = _as_json(file) if written.seen else {"path": file.path}
    headers = {"ETag": f'"{file.sha256}"'} if written.seen else {}
    if not written.created:
        return json_response(body, headers=headers)
    location = f"/v1/projects/{project.name}/buckets/{file.bucket}/files/{quote(file.path)}"
    return created(body, location=location, headers=headers)


def _as_json(file: File) -> Mapping[str, object]:
    return {
        "bucket": file.bucket,
        "path": file.path,
        "name": file.name,
        "folder": file.folder,
        "size": file.size,
        "content_type": file.content_type,
        "sha256": file.sha256,
        "owner": str(file.owner) if file.owner else None,
        "metadata": msgspec.Raw(file.metadata.encode()),
        "created_at": rfc3339(file.created_at),
        "updated_at": rfc3339(file.updated_at),
    }


_CHANGEABLE = ("metadata", "content_type")
_STRING = {"type": "string"}
_TIME = {"type": "string", "format": "date-time"}
_RULE = {"type": ["string", "null"], "description": "An expression; null: operators and secret keys only."}
_BUCKET_PROPERTIES: dict[str, object] = {
    "public": {"type": "boolean", "description": "Anyone may download, whatever the view rule."},
    "max_size": {"type": ["integer", "null"], "description": "Bytes; null: the project's limit."},
    "types": {"type": ["array", "null"], "items": _STRING, "description": "image/png, image/*; null: all."},
    "rules": {
        "type": "object",
        "properties": dict.fromkeys(("list", "view", "create", "update", "delete"), _RULE),
        "additionalProperties": False,
    },
}
_BUCKET_SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {
        "name": _STRING,
        **_BUCKET_PROPERTIES,
        "created_at": _TIME,
        "updated_at": _TIME,
        "warnings": {
            "type": "array",
            "items": {"type": "object"},
            "readOnly": True,
            "description": "After a change: what lints say of the rules, when they say something.",
        },
    },
}
_FILE_SCHEMA: dict[str, object] = {
    "type": "object",
    "required": ["path"],
    "properties": {
        "bucket": _STRING,
        "path": _STRING,
        "name": _STRING,
        "folder": _STRING,
        "size": {"type": "integer"},
        "content_type": _STRING,
        "sha256": {"type": "string", "description": "Hexadecimal; also the ETag."},
        "owner": {"type": ["string", "null"], "format": "uuid"},
        "metadata": {"type": "object"},
        "created_at": _TIME,
        "updated_at": _TIME,
    },
}
_BUCKET_BODY, _FILE_BODY = Body(_BUCKET_SCHEMA), Body(_FILE_SCHEMA)
_CHANGED = Body({"type": "object", "properties": _BUCKET_PROPERTIES, "additionalProperties": False})
_NEW = Body(
    {
        "type": "object",
        "required": ["name"],
        "properties": {"name": _STRING, **_BUCKET_PROPERTIES},
        "additionalProperties": False,
    }
)
_CHANGE = Body(
    {
        "type": "object",
        "properties": {"metadata": {"type": "object", "description": "A merge patch."}, "content_type": _STRING},
        "additionalProperties": False,
    }
)


def _list_of(schema: Mapping[str, object], **more: object) -> Body:
    items = {"type": "array", "items": schema}
    return Body({"type": "object", "required": ["items"], "properties": {"items": items, **more}})


_FILE_PAGE = _list_of(
    _FILE_SCHEMA,
    folders={"type": "array", "items": _STRING, "description": "With delimiter=/: the folders, each with its slash."},
    next_cursor={"type": ["string", "null"]},
)
