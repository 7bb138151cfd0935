"""A web address."""

import re
from urllib.parse import urlsplit

from baas.engines.schema.collection import Field
from baas.engines.schema.fields.base import SEARCH, FieldFault, Texts, clean_text

_MAX_BYTES = 2048
_NOT_IN_A_URL = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029<>\"\\^`{|}]")


class UrlKind(Texts):
    """An absolute `http` or `https` address, kept as it was sent. Other schemes (`javascript:`) never pass."""

    name = "url"
    options = (SEARCH,)

    def clean(self, field: Field, value: object) -> str:
        text = clean_text(value)
        if len(text.encode()) > _MAX_BYTES:
            raise FieldFault("too_long", f"Must have at most {_MAX_BYTES} bytes.")
        try:
            parts = urlsplit(text)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good or _NOT_IN_A_URL.search(text):
            raise FieldFault("bad_url", "Must be an absolute http or https address.")
        return text

    def json_schema(self, field: Field) -> dict[str, object]:
        return {"type": "string", "format": "uri", "pattern": "^[hH][tT][tT][pP][sS]?://", "maxLength": _MAX_BYTES}
