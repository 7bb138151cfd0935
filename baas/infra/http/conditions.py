"""`If-Match` and `If-None-Match` for what is answered as one JSON document: definitions, settings, accounts (RFC 9110, 13).

The ETag of a definition is a digest of the document, so nothing has to be stored for it: the same document has the same ETag.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from baas.base.errors import PreconditionFailed
from baas.infra.http.answers import json_response, not_modified
from baas.infra.http.etags import condition, matches

_encode = msgspec.json.Encoder(order="deterministic").encode
_LENGTH = 20


class Condition(NamedTuple):
    """What a change demands of the state that it finds. Judge it where that state is locked."""

    if_match: str | None = None
    if_none_match: str | None = None

    @classmethod
    def of(cls, request: Request) -> "Condition":
        """The condition of a request. Raises BadRequest (`bad_header`)."""
        headers = request.headers.raw
        return cls(condition(headers, "If-Match"), condition(headers, "If-None-Match"))

    def check(self, etag: str) -> None:
        """`etag` is of what is there, without its quotes. Raises PreconditionFailed, with that ETag as a header."""
        if self.if_match is not None and not matches(self.if_match, etag, weak=False):
            raise PreconditionFailed(
                "This has changed since you read it.",
                hint="Read it again and repeat the change.",
                headers={"ETag": f'"{etag}"'},
            )
        if self.if_none_match is not None and matches(self.if_none_match, etag, weak=True):
            raise PreconditionFailed("This is what If-None-Match excludes.", headers={"ETag": f'"{etag}"'})


ANY = Condition()


def etag_of(document: object) -> str:
    """The ETag of a JSON document, without its quotes."""
    return sha256(_encode(document)).hexdigest()[:_LENGTH]


def tagged(document: Mapping[str, object]) -> dict[str, str]:
    """The header of an answer that holds this document."""
    return {"ETag": f'"{etag_of(document)}"'}


def shown(request: Request, document: Mapping[str, object]) -> Response:
    """The answer to a GET: the document with its ETag, or 304 for whoever has it."""
    headers = tagged(document)
    return not_modified(headers) if is_known(request, etag_of(document)) else json_response(document, headers=headers)


def is_known(request: Request, etag: str) -> bool:
    """Whether who asks has this version already. Raises PreconditionFailed where he wants another one."""
    only = Condition.of(request)
    only._replace(if_none_match=None).check(etag)
    return only.if_none_match is not None and matches(only.if_none_match, etag, weak=True)
