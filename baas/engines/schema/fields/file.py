"""A link to files of a bucket."""

import re

from baas.engines.schema.collection import Field
from baas.engines.schema.fields.base import (
    MAX_ITEMS,
    FieldFault,
    Option,
    Texts,
    clean_items,
    clean_text,
    is_many,
    whole,
)

_BUCKET = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_BYTES = 1024
_DEFAULT_ITEMS = 100


class FileKind(Texts):
    """The path of a file in the project's `bucket`; with `many`, a list of paths. The bytes are uploaded to the bucket itself."""

    name = "file"
    options = (
        Option("bucket", "text", "The bucket of the project that holds the files.", low=1, high=63, required=True),
        Option("many", "bool", "Whether the field holds a list of paths."),
        Option("max", "int", "Most paths of the list.", low=1, high=MAX_ITEMS),
    )

    def settle(self, options: dict[str, object]) -> dict[str, object]:
        if not _BUCKET.fullmatch(str(options["bucket"])):
            raise FieldFault("bad_name", "Must be the name of a bucket.", at="/bucket")
        most = options.get("max")
        many = options.get("many", isinstance(most, int) and most > 1)
        if not many:
            if most is not None:
                raise FieldFault("not_allowed", "max is for a field with many.", at="/max")
            return {"bucket": options["bucket"], "many": False}
        return {"bucket": options["bucket"], "many": True, "max": most or _DEFAULT_ITEMS}

    def check_field(self, field: Field) -> None:
        super().check_field(field)
        if field.default is not None:
            raise FieldFault("not_allowed", "A file has no default.", at="/default")

    def accepts(self, old: Field, new: Field) -> bool:
        same = old.type == "file" and is_many(old) == is_many(new)
        return same and old.options.get("bucket") == new.options.get("bucket")

    def clean(self, field: Field, value: object) -> str | list[str]:
        return clean_items(value, field, clean_path) if is_many(field) else clean_path(value)

    def json_schema(self, field: Field) -> dict[str, object]:
        one: dict[str, object] = {"type": "string", "description": f"Path of a file in the bucket {field.options['bucket']}."}
        if not is_many(field):
            return one
        return {"type": "array", "items": one, "uniqueItems": True, "maxItems": whole(field, "max") or _DEFAULT_ITEMS}


def clean_path(value: object) -> str:
    """A relative path of non-empty names, up to 1,024 bytes; raises FieldFault. A label: it never becomes a path on a disk."""
    path = clean_text(value)
    if len(path.encode()) > _MAX_BYTES:
        raise FieldFault("too_long", f"Must have at most {_MAX_BYTES} bytes.")
    if _CONTROL.search(path) or "\\" in path or any(name in ("", ".", "..") for name in path.split("/")):
        raise FieldFault("bad_path", 'Must be the path of a file, such as "photos/cat.jpg".')
    return path
